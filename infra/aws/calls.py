"""Which calls of which service CloudFormation makes for a resource.

A property becomes the member of the same name, whatever its case, of one of the calls. Where names
differ, `RENAMED` has the way: from the property to the call and its member.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from botocore.model import OperationModel, ServiceModel, Shape
from botocore.session import get_session

CALLS: Mapping[str, tuple[str, ...]] = {
    "AWS::ApiGateway::Account": ("apigateway", "UpdateAccount"),
    "AWS::ApiGateway::BasePathMapping": ("apigateway", "CreateBasePathMapping"),
    "AWS::ApiGateway::Deployment": ("apigateway", "CreateDeployment"),
    "AWS::ApiGateway::DomainName": ("apigateway", "CreateDomainName"),
    "AWS::ApiGateway::RestApi": ("apigateway", "CreateRestApi"),
    "AWS::ApiGateway::Stage": ("apigateway", "CreateStage"),
    "AWS::ApplicationAutoScaling::ScalableTarget": (
        *("application-autoscaling", "RegisterScalableTarget"),
    ),
    "AWS::ApplicationAutoScaling::ScalingPolicy": ("application-autoscaling", "PutScalingPolicy"),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "PutMetricAlarm"),
    "AWS::CloudWatch::Dashboard": ("cloudwatch", "PutDashboard"),
    "AWS::EC2::EIP": ("ec2", "AllocateAddress"),
    "AWS::EC2::FlowLog": ("ec2", "CreateFlowLogs"),
    "AWS::EC2::InternetGateway": ("ec2", "CreateInternetGateway"),
    "AWS::EC2::NatGateway": ("ec2", "CreateNatGateway"),
    "AWS::EC2::Route": ("ec2", "CreateRoute"),
    "AWS::EC2::RouteTable": ("ec2", "CreateRouteTable"),
    "AWS::EC2::SecurityGroup": ("ec2", "CreateSecurityGroup"),
    "AWS::EC2::SecurityGroupIngress": ("ec2", "AuthorizeSecurityGroupIngress"),
    "AWS::EC2::Subnet": ("ec2", "CreateSubnet", "ModifySubnetAttribute"),
    "AWS::EC2::SubnetRouteTableAssociation": ("ec2", "AssociateRouteTable"),
    "AWS::EC2::VPC": ("ec2", "CreateVpc", "ModifyVpcAttribute"),
    "AWS::EC2::VPCEndpoint": ("ec2", "CreateVpcEndpoint"),
    "AWS::EC2::VPCGatewayAttachment": ("ec2", "AttachInternetGateway"),
    "AWS::ECR::Repository": ("ecr", "CreateRepository"),
    "AWS::ECS::Cluster": ("ecs", "CreateCluster"),
    "AWS::ECS::ClusterCapacityProviderAssociations": ("ecs", "PutClusterCapacityProviders"),
    "AWS::ECS::Service": ("ecs", "CreateService"),
    "AWS::ECS::TaskDefinition": ("ecs", "RegisterTaskDefinition"),
    "AWS::ElastiCache::ParameterGroup": ("elasticache", "CreateCacheParameterGroup"),
    "AWS::ElastiCache::ReplicationGroup": ("elasticache", "CreateReplicationGroup"),
    "AWS::ElastiCache::SubnetGroup": ("elasticache", "CreateCacheSubnetGroup"),
    "AWS::ElastiCache::User": ("elasticache", "CreateUser"),
    "AWS::ElastiCache::UserGroup": ("elasticache", "CreateUserGroup"),
    "AWS::Events::Rule": ("events", "PutRule", "PutTargets"),
    "AWS::IAM::ManagedPolicy": ("iam", "CreatePolicy"),
    "AWS::IAM::OIDCProvider": ("iam", "CreateOpenIDConnectProvider"),
    "AWS::IAM::Role": ("iam", "CreateRole"),
    "AWS::Lambda::Alias": ("lambda", "CreateAlias", "PutProvisionedConcurrencyConfig"),
    "AWS::Lambda::Function": ("lambda", "CreateFunction", "PutFunctionConcurrency"),
    "AWS::Lambda::Permission": ("lambda", "AddPermission"),
    "AWS::Lambda::Version": ("lambda", "PublishVersion"),
    "AWS::Logs::LogGroup": ("logs", "CreateLogGroup", "PutRetentionPolicy"),
    "AWS::Logs::MetricFilter": ("logs", "PutMetricFilter"),
    "AWS::RDS::DBCluster": ("rds", "CreateDBCluster", "RestoreDBClusterFromSnapshot"),
    "AWS::RDS::DBClusterParameterGroup": ("rds", "CreateDBClusterParameterGroup"),
    "AWS::RDS::DBInstance": ("rds", "CreateDBInstance", "RestoreDBInstanceFromDBSnapshot"),
    "AWS::RDS::DBParameterGroup": ("rds", "CreateDBParameterGroup"),
    "AWS::RDS::DBProxy": ("rds", "CreateDBProxy"),
    "AWS::RDS::DBProxyTargetGroup": ("rds", "ModifyDBProxyTargetGroup", "RegisterDBProxyTargets"),
    "AWS::RDS::DBSubnetGroup": ("rds", "CreateDBSubnetGroup"),
    "AWS::Route53::RecordSet": ("route53", "ChangeResourceRecordSets"),
    "AWS::S3::Bucket": (
        *("s3", "PutBucketEncryption", "PutBucketLifecycleConfiguration", "PutBucketVersioning"),
        *("PutPublicAccessBlock", "PutBucketOwnershipControls", "PutBucketCors"),
    ),
    "AWS::S3::BucketPolicy": ("s3", "PutBucketPolicy"),
    "AWS::SES::ConfigurationSet": ("sesv2", "CreateConfigurationSet"),
    "AWS::SES::ConfigurationSetEventDestination": ("ses", "CreateConfigurationSetEventDestination"),
    "AWS::SES::EmailIdentity": (
        *("sesv2", "CreateEmailIdentity", "PutEmailIdentityMailFromAttributes"),
        *("PutEmailIdentityFeedbackAttributes", "PutEmailIdentityConfigurationSetAttributes"),
    ),
    "AWS::SNS::Subscription": ("sns", "Subscribe"),
    "AWS::SNS::Topic": ("sns", "CreateTopic"),
    "AWS::SecretsManager::Secret": ("secretsmanager", "CreateSecret"),
    "AWS::WAFv2::WebACL": ("wafv2", "CreateWebACL"),
    "AWS::WAFv2::WebACLAssociation": ("wafv2", "AssociateWebACL"),
}
"""The service, and its calls."""

RENAMED: Mapping[str, str] = {
    "AWS::ApiGateway::Stage.MethodSettings.*": "apigateway GetStage .methodSettings.*",
    "AWS::ApiGateway::Stage.AccessLogSetting": "apigateway GetStage .accessLogSettings",
    "AWS::EC2::SecurityGroup.GroupDescription": "ec2 CreateSecurityGroup Description",
    "AWS::EC2::SecurityGroup.SecurityGroupEgress.*.Description": (
        "ec2 AuthorizeSecurityGroupEgress IpPermissions.*.IpRanges.*.Description"
    ),
    "AWS::EC2::SecurityGroup.SecurityGroupEgress.*": (
        "ec2 AuthorizeSecurityGroupEgress IpPermissions.*"
    ),
    "AWS::EC2::SecurityGroup.SecurityGroupIngress.*.Description": (
        "ec2 AuthorizeSecurityGroupIngress IpPermissions.*.IpRanges.*.Description"
    ),
    "AWS::EC2::SecurityGroup.SecurityGroupIngress.*": (
        "ec2 AuthorizeSecurityGroupIngress IpPermissions.*"
    ),
    "AWS::EC2::SecurityGroupIngress.Description": (
        "ec2 AuthorizeSecurityGroupIngress IpPermissions.*.IpRanges.*.Description"
    ),
    "AWS::EC2::FlowLog.ResourceId": "ec2 CreateFlowLogs ResourceIds.*",
    "AWS::ECR::Repository.LifecyclePolicy": "ecr PutLifecyclePolicy",
    "AWS::ECS::Cluster.ClusterSettings": "ecs CreateCluster settings",
    "AWS::ElastiCache::SubnetGroup.Description": (
        "elasticache CreateCacheSubnetGroup CacheSubnetGroupDescription"
    ),
    "AWS::ElastiCache::ReplicationGroup.UserGroupIds.*": "elasticache CreateUserGroup UserGroupId",
    "AWS::IAM::OIDCProvider.ClientIdList": "iam CreateOpenIDConnectProvider ClientIDList",
    "AWS::IAM::Role.Policies.*": "iam PutRolePolicy",
    "AWS::IAM::Role.ManagedPolicyArns.*": "iam AttachRolePolicy PolicyArn",
    "AWS::Lambda::Alias.ProvisionedConcurrencyConfig": "lambda PutProvisionedConcurrencyConfig",
    "AWS::RDS::DBClusterParameterGroup.Family": (
        "rds CreateDBClusterParameterGroup DBParameterGroupFamily"
    ),
    "AWS::RDS::DBInstance.VPCSecurityGroups": "rds CreateDBInstance VpcSecurityGroupIds",
    "AWS::RDS::DBParameterGroup.Family": "rds CreateDBParameterGroup DBParameterGroupFamily",
    "AWS::RDS::DBProxyTargetGroup.ConnectionPoolConfigurationInfo": (
        "rds ModifyDBProxyTargetGroup ConnectionPoolConfig"
    ),
    "AWS::Route53::RecordSet": (
        "route53 ChangeResourceRecordSets ChangeBatch.Changes.*.ResourceRecordSet"
    ),
    "AWS::S3::Bucket.BucketEncryption": (
        "s3 PutBucketEncryption ServerSideEncryptionConfiguration"
    ),
    "AWS::S3::Bucket.BucketEncryption.ServerSideEncryptionConfiguration": (
        "s3 PutBucketEncryption ServerSideEncryptionConfiguration.Rules"
    ),
    "AWS::S3::Bucket.BucketEncryption.ServerSideEncryptionConfiguration.*"
    ".ServerSideEncryptionByDefault": (
        "s3 PutBucketEncryption"
        " ServerSideEncryptionConfiguration.Rules.*.ApplyServerSideEncryptionByDefault"
    ),
    "AWS::S3::Bucket.LifecycleConfiguration.Rules.*.Id": (
        "s3 PutBucketLifecycleConfiguration LifecycleConfiguration.Rules.*.ID"
    ),
    "AWS::S3::BucketPolicy.PolicyDocument": "s3 PutBucketPolicy Policy",
    "AWS::SES::ConfigurationSet.Name": "sesv2 CreateConfigurationSet ConfigurationSetName",
    "AWS::SES::EmailIdentity.DkimSigningAttributes.NextSigningKeyLength": (
        "sesv2 CreateEmailIdentity DkimSigningAttributes.NextSigningKeyLength"
    ),
    "AWS::SES::EmailIdentity.MailFromAttributes": "sesv2 PutEmailIdentityMailFromAttributes",
    "AWS::SES::EmailIdentity.FeedbackAttributes": "sesv2 PutEmailIdentityFeedbackAttributes",
    "AWS::SES::EmailIdentity.ConfigurationSetAttributes": (
        "sesv2 PutEmailIdentityConfigurationSetAttributes"
    ),
    "AWS::SNS::Topic.TopicName": "sns CreateTopic Name",
    "AWS::SecretsManager::Secret.GenerateSecretString": "secretsmanager GetRandomPassword",
}
"""Where a property ends up whose name, or whose place, is not that of the call's member."""


@cache
def model(service: str) -> ServiceModel:
    """A service as botocore describes it."""
    return get_session().get_service_model(service)


@cache
def input_of(service: str, operation: str) -> Shape | None:
    """What an operation takes."""
    found: OperationModel = model(service).operation_model(operation)
    return found.input_shape


def member(shape: Any, name: str) -> Any:
    """A structure's member by its name, whatever the case; None where it has no such member."""
    for known, found in getattr(shape, "members", {}).items():
        if known.lower() == name.lower():
            return found
    return None


@cache
def renamed(target: str) -> Any:
    """The shape that `RENAMED` leads to."""
    service, operation, path = f"{target} ".split(" ", 2)
    found = model(service).operation_model(operation)
    shape = found.output_shape if path.startswith(".") else found.input_shape
    for step in path.strip(" .").split("."):
        if step:
            shape = _inside(shape) if step == "*" else shape.members[step]
    return shape


def _inside(shape: Any) -> Any:
    return shape.value if shape.type_name == "map" else shape.member
