#!/usr/bin/env bash
# MLflow beside Ray's head, on AWS and Google Cloud: their cluster.yaml copies this folder and the
# secrets there, their README.md has the command. Runs and users are in PostgreSQL on the head's
# own disk.
set -euo pipefail

here=$(dirname "$(realpath "$0")")
export ARTIFACTS=/shared/mlflow
mkdir -p "$ARTIFACTS" # by Docker it would be root's
secrets="$here/../orchestrator"
docker compose --env-file "$secrets/mlflow.env" --env-file "$secrets/mlflow-server.env" \
    --file "$here/compose.yaml" --file "$here/shared.yaml" up --detach --wait
