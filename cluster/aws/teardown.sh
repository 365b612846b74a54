#!/usr/bin/env bash
# Ends the cluster of my-aws.yaml, and deletes its storage, with all results, and its network rules.
#
#   export AWS_REGION=us-west-2
#   bash cluster/aws/teardown.sh
#
# The roles cost nothing and stay for the next cluster.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${AWS_REGION:?export the region, such as us-west-2}"
EFS=$(grep --only-matching --extended-regexp 'fs-[0-9a-f]{8,}' my-aws.yaml | head -n 1)
SECURITY_GROUP=$(grep --only-matching --extended-regexp 'sg-[0-9a-f]{8,}' my-aws.yaml | head -n 1)
set -x

ray down --yes my-aws.yaml
aws ec2 wait instance-terminated --filters Name=tag:ray-cluster-name,Values=orchestrator
target=$(aws efs describe-mount-targets --file-system-id "$EFS" \
    --query 'MountTargets[0].MountTargetId' --output text)
aws efs delete-mount-target --mount-target-id "$target"
until aws efs describe-mount-targets --file-system-id "$EFS" \
    --query 'length(MountTargets)' --output text | grep -qx 0; do sleep 5; done
aws efs delete-file-system --file-system-id "$EFS"
aws ec2 delete-security-group --group-id "$SECURITY_GROUP"
