#!/usr/bin/env bash
# Makes the network and the storage of a cluster, and my-gcp.yaml for `ray up`.
#
#   export PROJECT=$(gcloud config get-value project) REGION=us-central1 ZONE=us-central1-a
#   export SOURCE_IMAGE=... IMAGE=registry.example.org/team/orchestrator:0.1.0
#   bash cluster/gcp/setup.sh
#
# It shows each command, and stops at one that fails: what was made before that stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${PROJECT:?export the name of the project}" "${REGION:?export it, such as us-central1}"
: "${ZONE:?export it, such as us-central1-a}" "${SOURCE_IMAGE:?export one that images.sh lists}"
: "${IMAGE:?export the name of the image, see cluster/README.md}"
set -x

own_address=$(curl -fsS https://checkip.amazonaws.com)
gcloud compute networks create orchestrator --subnet-mode=custom
gcloud compute networks subnets create orchestrator --network=orchestrator --region="$REGION" \
    --range=10.0.0.0/20
gcloud compute firewall-rules create orchestrator-ssh --network=orchestrator \
    --target-tags=orchestrator --allow=tcp:22 --source-ranges="$own_address/32"
gcloud compute firewall-rules create orchestrator-inside --network=orchestrator \
    --target-tags=orchestrator --allow=tcp,udp,icmp --source-tags=orchestrator
gcloud filestore instances create orchestrator --zone="$ZONE" --tier=BASIC_SSD \
    --file-share=name=shared,capacity=2560GB --network=name=orchestrator
FILESTORE=$(gcloud filestore instances describe orchestrator --zone="$ZONE" \
    --format='value(networks[0].ipAddresses[0])')
export PROJECT REGION ZONE IMAGE FILESTORE SOURCE_IMAGE
# shellcheck disable=SC2016  # envsubst fills these in, not the shell
envsubst '$PROJECT $REGION $ZONE $IMAGE $FILESTORE $SOURCE_IMAGE' < cluster/gcp/cluster.yaml > my-gcp.yaml
