#!/usr/bin/env bash
# An MLflow server on this machine, with the secrets that cluster/secrets.sh has made.
#
#   export ARTIFACTS=s3://my-bucket/mlflow LISTEN=10.0.0.5
#   bash cluster/mlflow/start.sh
#
# LISTEN is this machine's address in a private network; without it others do not reach the server.
set -euo pipefail
cd "$(dirname "$0")/../.."
secrets="$HOME/.ray/orchestrator"
docker compose --env-file "$secrets/mlflow.env" --env-file "$secrets/mlflow-server.env" \
    --file cluster/mlflow/compose.yaml up --detach --wait
