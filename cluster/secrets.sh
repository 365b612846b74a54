#!/usr/bin/env bash
# The secrets of a cluster, made at random, once: what is there already stays as it is.
#
#   bash cluster/secrets.sh
#
# ~/.ray/orchestrator/auth_token         Ray's
# ~/.ray/orchestrator/mlflow.env         what studies log in to MLflow with
# ~/.ray/orchestrator/mlflow-server.env  what its server starts with, besides
#
# On AWS and Google Cloud cluster.yaml copies the folder to the nodes. Kubernetes makes its own.
set -euo pipefail
umask 077

command -v openssl > /dev/null || { echo "error: openssl is not installed" >&2; exit 1; }
folder="$HOME/.ray/orchestrator"
mkdir -p "$folder"
chmod 700 "$folder"
if [[ ! -e "$folder/auth_token" ]]; then
    openssl rand -hex 32 > "$folder/auth_token"
fi
if [[ ! -e "$folder/mlflow.env" ]]; then
    {
        echo "MLFLOW_TRACKING_USERNAME=orchestrator"
        echo "MLFLOW_TRACKING_PASSWORD=$(openssl rand -hex 32)"
    } > "$folder/mlflow.env"
fi
if [[ ! -e "$folder/mlflow-server.env" ]]; then
    {
        echo "MLFLOW_SECRET_KEY=$(openssl rand -hex 32)"
        echo "POSTGRES_PASSWORD=$(openssl rand -hex 32)"
    } > "$folder/mlflow-server.env"
fi
