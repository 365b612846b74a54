#!/usr/bin/env bash
# Lists the images that a machine with a GPU can start from, for SOURCE_IMAGE, after it has switched
# on the services of the project that a cluster needs.
#
#   bash cluster/gcp/images.sh
set -euxo pipefail

gcloud services enable compute.googleapis.com file.googleapis.com \
    artifactregistry.googleapis.com iam.googleapis.com cloudresourcemanager.googleapis.com
gcloud compute images list --project=deeplearning-platform-release --no-standard-images \
    --filter='family~common.*ubuntu.*nvidia-58' --format='value(selfLink)'
