#!/usr/bin/env bash
# Ends the MLflow server that start.sh has started, and deletes its database.
#
#   export ARTIFACTS=s3://my-bucket/mlflow
#   bash cluster/mlflow/stop.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
secrets="$HOME/.ray/orchestrator"
docker compose --env-file "$secrets/mlflow.env" --env-file "$secrets/mlflow-server.env" \
    --file cluster/mlflow/compose.yaml down --volumes
