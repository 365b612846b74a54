#!/usr/bin/env bash
# MLflow with random passwords, which exist in the cluster alone. Ray's head logs in with them.
#
#   export ARTIFACTS=s3://my-bucket/mlflow
#   bash cluster/kubernetes/mlflow.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${ARTIFACTS:?export an s3:// or gs:// address}"
export ARTIFACTS

{
    echo username=orchestrator
    for name in password database-password secret-key; do
        echo "$name=$(openssl rand -hex 32)"
    done
} | kubectl create secret generic mlflow --from-env-file=/dev/stdin
# shellcheck disable=SC2016  # envsubst fills these in, not the shell
envsubst '$ARTIFACTS' < cluster/kubernetes/mlflow.yaml | kubectl apply --filename -
