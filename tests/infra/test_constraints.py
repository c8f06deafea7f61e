from pathlib import Path
from typing import Any

import pytest
from botocore.session import get_session

from infra.aws import constraints, prose, validate
from infra.aws.transformed import transform
from tests.infra.templates import AWS, Template

RESOURCES: dict[str, tuple[str, dict[str, Any], str]] = {
    "an apostrophe": (
        "AWS::EC2::SecurityGroup",
        {
            "GroupDescription": "Functions",
            "SecurityGroupEgress": [{"IpProtocol": "tcp", "Description": "AWS's services"}],
        },
        "SecurityGroupEgress.0.Description",
    ),
    "a semicolon too many in a name": ("AWS::SNS::Topic", {"TopicName": "a;b"}, "TopicName"),
    "two hyphens": (
        "AWS::ElastiCache::ReplicationGroup",
        {"ReplicationGroupId": "carryout--prod"},
        "ReplicationGroupId",
    ),
    "a hyphen at the end": ("AWS::ElastiCache::User", {"UserId": "carryout-"}, "UserId"),
    "a name of a registry": ("AWS::ECR::Repository", {"RepositoryName": "a-"}, "RepositoryName"),
    "a choice that is none": (
        "AWS::ECS::TaskDefinition",
        {"RuntimePlatform": {"CpuArchitecture": "arm64"}},
        "RuntimePlatform.CpuArchitecture",
    ),
    "too long": ("AWS::Lambda::Function", {"Description": "x" * 257}, "Description"),
    "too many": (
        "AWS::Lambda::Function",
        {"VpcConfig": {"SecurityGroupIds": ["sg-1"] * 6}},
        "VpcConfig.SecurityGroupIds",
    ),
    "too much": ("AWS::Lambda::Function", {"MemorySize": 65_536}, "MemorySize"),
    "Lambda's own": (
        "AWS::Lambda::Function",
        {"Environment": {"Variables": {"AWS_DEFAULT_REGION": "eu-central-1"}}},
        "Environment.Variables",
    ),
    "a reserved word": ("AWS::RDS::DBCluster", {"MasterUsername": "postgres"}, "MasterUsername"),
    "a document beyond Latin-1": (
        "AWS::IAM::Role",
        {"AssumeRolePolicyDocument": {"Statement": [{"Sid": "—"}]}},
        "AssumeRolePolicyDocument",
    ),
    "a lifecycle that is no JSON": (
        "AWS::ECR::Repository",
        {"LifecyclePolicy": {"LifecyclePolicyText": "{rules: []}"}},
        "LifecyclePolicy.LifecyclePolicyText",
    ),
    "a period": ("AWS::CloudWatch::Alarm", {"Period": 45}, "Period"),
    "a longer stop": (
        "AWS::ECS::TaskDefinition",
        {"ContainerDefinitions": [{"StopTimeout": 300}]},
        "ContainerDefinitions.0.StopTimeout",
    ),
}


@pytest.mark.parametrize("name", RESOURCES)
def test_refused(name: str) -> None:
    """A value that the service refuses is named, and it alone."""
    kind, properties, place = RESOURCES[name]
    template = {"Resources": {"It": {"Type": kind, "Properties": properties}}}
    found = {".".join(map(str, one.place)) for one in constraints.faults(template)}
    assert found == {f"Resources.It.Properties.{place}"}


TOPIC = {"Type": "AWS::ElastiCache::User", "Properties": {"UserId": {"Fn::Sub": "c-${Stage}"}}}


@pytest.mark.parametrize(
    ("parameter", "refused"),
    [
        ({"AllowedPattern": "[a-z][a-z0-9-]{0,15}"}, True),
        ({"AllowedPattern": "[a-z](-?[a-z0-9])*", "MaxLength": 16}, False),
        ({"AllowedValues": ["prod", "test-"]}, True),
    ],
)
def test_every_choice_of_a_parameter_counts(parameter: dict[str, Any], *, refused: bool) -> None:
    """A name that a template takes must be one that the services take."""
    template = {"Parameters": {"Stage": parameter}, "Resources": {"It": TOPIC}}
    assert bool(constraints.faults(template)) == refused


def test_both_branches_count() -> None:
    """What a condition decides is checked both ways; what only AWS can tell is left alone."""
    name = {"Fn::If": ["Any", "fine", {"Fn::If": ["Other", "a b", {"Ref": "AWS::NoValue"}]}]}
    endpoint = {"Fn::GetAtt": ["Queue", "Endpoint"]}
    template = {
        "Resources": {
            "It": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": name}},
            "Other": {"Type": "AWS::SNS::Topic", "Properties": {"TopicName": endpoint}},
        }
    }
    assert [one.value for one in constraints.faults(template)] == ["a b"]


def test_a_finding_has_a_line(tmp_path: Path) -> None:
    """Whoever mends it is told where."""
    path = tmp_path / "one.yaml"
    path.write_text(
        "Resources:\n"
        "  It:\n"
        "    Type: AWS::EC2::SecurityGroup\n"
        "    Properties:\n"
        '      GroupDescription: !If [A, fine, "it\'s not"]\n'
        "      SecurityGroupIngress:\n"
        "        - IpProtocol: tcp\n"
        '          Description: "naïve"\n'
    )
    assert [line.split(": ")[0] for line in validate.refused([path])] == [
        "one.yaml:5",
        "one.yaml:8",
    ]


def test_foundation(foundation: Template) -> None:
    """AWS takes every value of the foundation, for every stage's name."""
    assert constraints.unknown_types(foundation) == set()
    assert validate.refused([AWS / "foundation.yaml"]) == []
    held, seen = constraints.held(foundation)
    assert held / seen > 0.8, f"{held} of {seen} values are held to the member of a call"


def test_application(app_path: Path, deployed: Template) -> None:
    """AWS takes every value of the application, as the transform makes it."""
    assert constraints.unknown_types(deployed) == set()
    assert validate.refused([app_path]) == []
    without_body = {
        name: one for name, one in deployed["Resources"].items() if "RestApi" not in one["Type"]
    }
    held, seen = constraints.held({**deployed, "Resources": without_body})
    assert held / seen > 0.8, f"{held} of {seen} values are held to the member of a call"


def documentation(service: str, operation: str, *members: str) -> str:
    shape = get_session().get_service_model(service).operation_model(operation).input_shape
    for name in members:
        shape = (shape.member if shape.type_name == "list" else shape).members[name]
    return str(shape.documentation)


@pytest.mark.parametrize(
    ("where", "taken", "refused"),
    [
        (("ec2", "CreateSecurityGroup", "Description"), "a-b, c (d) = $5!*", "it's"),
        (("elasticache", "CreateReplicationGroup", "ReplicationGroupId"), "a-b", "a--b"),
        (("elasticache", "CreateReplicationGroup", "ReplicationGroupId"), "a" * 40, "a" * 41),
        (("rds", "CreateDBCluster", "MasterUsername"), "carryout", "1carryout"),
        (("sesv2", "CreateConfigurationSet", "ConfigurationSetName"), "a_b-1", "a.b"),
        (("cloudwatch", "PutDashboard", "DashboardName"), "a_b-1", "a.b"),
        (("ecs", "RegisterTaskDefinition", "family"), "a_b-1", "a:b"),
        (("secretsmanager", "CreateSecret", "Name"), "a/b+c=d.e@f-g", "a b"),
        (("apigateway", "CreateStage", "stageName"), "a_1", "a/1"),
        (("rds", "CreateDBProxy", "DBProxyName"), "a-1", "a-"),
        (("rds", "CreateDBCluster", "BackupRetentionPeriod"), "35", "36"),
    ],
)
def test_rules_in_words(where: tuple[str, ...], taken: str, refused: str) -> None:
    """What services write in their documentation alone is understood."""
    rules = prose.rules(documentation(*where))
    assert all(rule.allows(taken) for rule in rules)
    assert not all(rule.allows(refused) for rule in rules)


def test_transform_is_the_one_of_aws(app_template: Template, deployed: Template) -> None:
    """What is checked is what CloudFormation deploys: nothing of SAM's own is left."""
    types = {one["Type"] for one in deployed["Resources"].values()}
    assert not {one for one in types if one.startswith("AWS::Serverless")}
    assert {"AWS::Lambda::Function", "AWS::ApiGateway::Stage", "AWS::Events::Rule"} <= types
    assert transform(app_template) == deployed
