#!/usr/bin/env bash
# What the machines may do: pull the image from ECR, and the head start and end the others.
#
#   bash cluster/aws/roles.sh
#
# Once for all clusters of an account. It shows each command, and stops at one that fails.
set -euxo pipefail
cd "$(dirname "$0")/../.."

for role in orchestrator-head orchestrator-worker; do
    aws iam create-role --role-name "$role" \
        --assume-role-policy-document file://cluster/aws/trust.json
    aws iam attach-role-policy --role-name "$role" \
        --policy-arn arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly
    aws iam create-instance-profile --instance-profile-name "$role"
    aws iam add-role-to-instance-profile --instance-profile-name "$role" --role-name "$role"
done
aws iam attach-role-policy --role-name orchestrator-head \
    --policy-arn arn:aws:iam::aws:policy/AmazonEC2FullAccess
aws iam put-role-policy --role-name orchestrator-head --policy-name start-workers \
    --policy-document file://cluster/aws/start_workers.json
