#!/usr/bin/env bash
# MLflow beside Ray's head, for aws.yaml and gcp.yaml, which copy this folder and the secrets there.
# README.md has the command. Runs and users are in PostgreSQL on the head's own disk.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
export ARTIFACTS=/shared/mlflow
mkdir -p "$ARTIFACTS" # by Docker it would be root's
secrets="$here/../orchestrator"
docker compose --env-file "$secrets/mlflow.env" --env-file "$secrets/mlflow-server.env" \
    --file "$here/compose.yaml" --file "$here/shared.yaml" up --detach --wait
