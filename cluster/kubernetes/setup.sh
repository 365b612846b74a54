#!/usr/bin/env bash
# KubeRay's operator, and a namespace with the storage and the network policy of Ray clusters.
#
#   export STORAGE_CLASS=standard-rwx
#   bash cluster/kubernetes/setup.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${STORAGE_CLASS:?export a class that offers ReadWriteMany}"
export STORAGE_CLASS
set -x

helm install kuberay-operator kuberay-operator --version 1.7.1 \
    --repo https://ray-project.github.io/kuberay-helm \
    --namespace kuberay-operator --create-namespace
kubectl create namespace orchestrator
kubectl config set-context --current --namespace=orchestrator
# shellcheck disable=SC2016  # envsubst fills these in, not the shell
envsubst '$STORAGE_CLASS' < cluster/kubernetes/storage.yaml | kubectl apply --filename -
kubectl apply --filename cluster/kubernetes/network.yaml
