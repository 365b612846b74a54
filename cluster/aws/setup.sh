#!/usr/bin/env bash
# Makes the network rules and the storage of a cluster, and my-aws.yaml for `ray up`.
#
#   export AWS_REGION=us-west-2 IMAGE=registry.example.org/team/orchestrator:0.1.0
#   bash cluster/aws/setup.sh
#
# It shows each command, and stops at one that fails: what was made before that stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${AWS_REGION:?export the region, such as us-west-2}"
: "${IMAGE:?export the name of the image, see cluster/README.md}"
set -x

base=/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04
AMI=$(aws ssm get-parameter --name "$base/latest/ami-id" --query Parameter.Value --output text)
own_address=$(curl -fsS https://checkip.amazonaws.com)
VPC=$(aws ec2 describe-vpcs --filters Name=is-default,Values=true \
    --query 'Vpcs[0].VpcId' --output text)
SUBNET=$(aws ec2 describe-subnets --filters "Name=vpc-id,Values=$VPC" \
    --query 'Subnets[0].SubnetId' --output text)
SECURITY_GROUP=$(aws ec2 create-security-group --group-name orchestrator \
    --description orchestrator --vpc-id "$VPC" --query GroupId --output text)
aws ec2 authorize-security-group-ingress --group-id "$SECURITY_GROUP" \
    --protocol tcp --port 22 --cidr "$own_address/32"
aws ec2 authorize-security-group-ingress --group-id "$SECURITY_GROUP" \
    --protocol -1 --source-group "$SECURITY_GROUP"

EFS=$(aws efs create-file-system --encrypted --throughput-mode elastic \
    --query FileSystemId --output text)
until aws efs describe-file-systems --file-system-id "$EFS" \
    --query 'FileSystems[0].LifeCycleState' --output text | grep -qx available; do sleep 5; done
aws efs create-mount-target --file-system-id "$EFS" --subnet-id "$SUBNET" \
    --security-groups "$SECURITY_GROUP"
until aws efs describe-mount-targets --file-system-id "$EFS" \
    --query 'MountTargets[0].LifeCycleState' --output text | grep -qx available; do sleep 5; done

export AWS_REGION IMAGE AMI SUBNET SECURITY_GROUP EFS
# shellcheck disable=SC2016  # envsubst fills these in, not the shell
envsubst '$AWS_REGION $IMAGE $AMI $SUBNET $SECURITY_GROUP $EFS' < cluster/aws/cluster.yaml > my-aws.yaml
