#!/usr/bin/env bash
# Lets the machines pull an image from Artifact Registry: workers as the project's default account,
# the head as one that Ray would make too late to be given the right.
#
#   export PROJECT=$(gcloud config get-value project)
#   bash cluster/gcp/accounts.sh
#
# Once for all clusters of a project. It shows each command, and stops at one that fails.
set -euo pipefail
: "${PROJECT:?export the name of the project}"
set -x

number=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')
gcloud iam service-accounts create ray-autoscaler-sa-v1
for account in "$number-compute@developer.gserviceaccount.com" \
    "ray-autoscaler-sa-v1@$PROJECT.iam.gserviceaccount.com"; do
    gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$account" \
        --role=roles/artifactregistry.reader --condition=None
done
