#!/usr/bin/env bash
# Ends the cluster of my-gcp.yaml, and deletes its storage, with all results, and its network.
#
#   export REGION=us-central1 ZONE=us-central1-a
#   bash cluster/gcp/teardown.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${REGION:?export it, such as us-central1}" "${ZONE:?export it, such as us-central1-a}"
set -x

ray down --yes my-gcp.yaml
gcloud filestore instances delete orchestrator --zone="$ZONE" --quiet
gcloud compute firewall-rules delete orchestrator-ssh orchestrator-inside --quiet
gcloud compute networks subnets delete orchestrator --region="$REGION" --quiet
gcloud compute networks delete orchestrator --quiet
