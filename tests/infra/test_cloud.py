"""The seam to AWS, held to botocore's own models of requests and answers."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from infra.aws import DeploymentError
from infra.aws.cloud import SERVICES, Change, Cloud, Ended, Plan, Stack
from infra.aws.deployment import migration
from infra.aws.stage import Stage
from tests.harness.servers import Aws
from tests.infra.test_deployment import OUTPUTS, STAGE
from worker.protection import EXPIRES_IN_MIN

NOW = datetime(2026, 1, 2, tzinfo=UTC)
PLAN = "arn:aws:cloudformation:eu-central-1:123456789012:changeSet/carryout-1/0a"
ROLE = {
    "Path": "/",
    "RoleName": "AWSServiceRoleForECS",
    "RoleId": "AROA0123456789ABCDEF",
    "Arn": "arn:aws:iam::123456789012:role/x",
    "CreateDate": NOW,
}
GONE = "Stack with id test does not exist"


class Stubs:
    """A cloud whose services answer what they are told, each request once and in order."""

    def __init__(self) -> None:
        self.stubbers: dict[str, Stubber] = {}
        self.cloud = Cloud("eu-central-1", client=lambda name: self[name].client)

    def __getitem__(self, service: str) -> Stubber:
        if service not in self.stubbers:
            client = boto3.client(
                service,
                region_name="eu-central-1",
                aws_access_key_id="testing",
                aws_secret_access_key="testing",
            )
            self.stubbers[service] = Stubber(client)
            self.stubbers[service].activate()
        return self.stubbers[service]

    def answer(self, operation: str, answer: dict[str, Any], **expected: Any) -> None:
        self["cloudformation"].add_response(operation, answer, expected or None)

    def stack(self, status: str | None, **facts: Any) -> None:
        """Say what CloudFormation knows of a stack; None is one that is not there."""
        if status is None:
            self["cloudformation"].add_client_error("describe_stacks", "ValidationError", GONE)
            return
        found = {"StackName": "test", "CreationTime": NOW, "StackStatus": status, **facts}
        self.answer("describe_stacks", {"Stacks": [found]})


@pytest.fixture
def stubs() -> Iterator[Stubs]:
    """Services that expect what the test says, and all of it."""
    made = Stubs()
    yield made
    for stubber in made.stubbers.values():
        stubber.assert_no_pending_responses()


def test_stack(stubs: Stubs) -> None:
    """A stack has parameters and outputs; one in review has nothing yet."""
    stubs.stack(None)
    assert stubs.cloud.stack("test") is None
    stubs.stack("REVIEW_IN_PROGRESS")
    assert stubs.cloud.stack("test") is None
    parameters = [{"ParameterKey": "Image", "ParameterValue": "x:1"}]
    outputs = [{"OutputKey": "Url", "OutputValue": "https://x"}]
    stubs.stack("UPDATE_COMPLETE", Parameters=parameters, Outputs=outputs)
    known = Stack("UPDATE_COMPLETE", {"Image": "x:1"}, {"Url": "https://x"})
    assert stubs.cloud.stack("test") == known


def expect_plan(stubs: Stubs, kind: str) -> None:
    stubs.answer(
        "create_change_set",
        {"Id": PLAN, "StackId": "arn:aws:stack"},
        StackName="test",
        ChangeSetName=ANY,
        ChangeSetType=kind,
        Parameters=[{"ParameterKey": "A", "ParameterValue": "1"}],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        TemplateURL="https://x",
    )


def plan(stubs: Stubs) -> Plan | None:
    return stubs.cloud.plan("test", {"TemplateURL": "https://x"}, {"A": "1"})


@pytest.mark.parametrize(("status", "kind"), [(None, "CREATE"), ("UPDATE_COMPLETE", "UPDATE")])
def test_plan(stubs: Stubs, status: str | None, kind: str) -> None:
    """A plan says what would happen, on all its pages."""
    stubs.stack(status)
    expect_plan(stubs, kind)
    stubs.answer("describe_change_set", {"Status": "CREATE_COMPLETE"}, ChangeSetName=PLAN)
    for token, name in (("next", "A"), (None, "B")):
        change = {"Action": "Modify", "LogicalResourceId": name, "ResourceType": "AWS::X::Y"}
        change |= {"Replacement": "True"} if name == "B" else {}
        page: dict[str, Any] = {"Changes": [{"ResourceChange": change}]}
        stubs.answer("describe_change_set", page | ({"NextToken": token} if token else {}))
    found = plan(stubs)
    assert found == Plan(
        "test",
        PLAN,
        [Change("Modify", "A", "AWS::X::Y"), Change("Modify", "B", "AWS::X::Y", "True")],
    )


@pytest.mark.parametrize(
    "reason",
    [
        "The submitted information didn't contain changes. Submit different information.",
        "No updates are to be performed.",
    ],
)
def test_plan_without_changes(stubs: Stubs, reason: str) -> None:
    """CloudFormation fails a change set that changes nothing; it is put away."""
    stubs.stack("UPDATE_COMPLETE")
    expect_plan(stubs, "UPDATE")
    for _ in range(2):
        stubs.answer("describe_change_set", {"Status": "FAILED", "StatusReason": reason})
    stubs.answer("delete_change_set", {}, ChangeSetName=PLAN)
    assert plan(stubs) is None


def test_plan_that_is_refused(stubs: Stubs) -> None:
    """Any other failure says why."""
    stubs.stack("UPDATE_COMPLETE")
    expect_plan(stubs, "UPDATE")
    for _ in range(2):
        stubs.answer("describe_change_set", {"Status": "FAILED", "StatusReason": "No such export"})
    stubs.answer("delete_change_set", {})
    with pytest.raises(DeploymentError, match="No such export"):
        plan(stubs)


def test_plan_is_executed(stubs: Stubs) -> None:
    """It is waited for; a failure tells which resource was the first."""
    stubs.stack("UPDATE_COMPLETE")
    stubs.answer("execute_change_set", {}, ChangeSetName=PLAN)
    stubs.stack("UPDATE_COMPLETE")
    stubs.cloud.execute(Plan("test", PLAN, []))

    stubs.stack("REVIEW_IN_PROGRESS")
    stubs.answer("execute_change_set", {})
    stubs.stack("ROLLBACK_COMPLETE")
    common = {"StackId": "x", "StackName": "test", "Timestamp": NOW}
    events = [
        {
            **common,
            "EventId": "3",
            "LogicalResourceId": "test",
            "ResourceStatus": "CREATE_COMPLETE",
        },
        {
            **common,
            "EventId": "2",
            "LogicalResourceId": "Worker",
            "ResourceStatus": "CREATE_FAILED",
            "ResourceStatusReason": "cancelled",
        },
        {
            **common,
            "EventId": "1",
            "LogicalResourceId": "Cache",
            "ResourceStatus": "CREATE_FAILED",
            "ResourceStatusReason": "no such node",
        },
    ]
    stubs.answer("describe_stack_events", {"StackEvents": events})
    with pytest.raises(DeploymentError, match=r"(?s)Cache: no such node.*Worker"):
        stubs.cloud.execute(Plan("test", PLAN, []))


def test_delete(stubs: Stubs) -> None:
    """What cannot be deleted is named, and left alone the second time."""
    stubs.answer("delete_stack", {}, StackName="test")
    stubs.stack("DELETE_FAILED")
    common = {"ResourceType": "AWS::X", "LastUpdatedTimestamp": NOW}
    statuses = {"Vpc": "DELETE_FAILED", "Cache": "DELETE_COMPLETE"}
    summaries = [
        {**common, "LogicalResourceId": name, "ResourceStatus": status}
        for name, status in statuses.items()
    ]
    stubs.answer("list_stack_resources", {"StackResourceSummaries": summaries})
    assert stubs.cloud.delete("test") == ["Vpc"]
    stubs.answer("delete_stack", {}, StackName="test", RetainResources=["Vpc"])
    stubs.stack(None)
    assert stubs.cloud.delete("test", keep=["Vpc"]) == []


def test_image(stubs: Stubs) -> None:
    """An image is looked up by repository and tag, and pushed with a token."""
    images = stubs["ecr"]
    about = {"repositoryName": "carryout-test", "imageIds": [{"imageTag": "arm64-1"}]}
    images.add_response("describe_images", {"imageDetails": []}, about)
    name = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/carryout-test:arm64-1"
    assert stubs.cloud.has_image(name)
    images.add_client_error("describe_images", "ImageNotFoundException")
    assert not stubs.cloud.has_image(name)
    token = base64.b64encode(b"AWS:a:password").decode()
    given = {"authorizationData": [{"authorizationToken": token}]}
    images.add_response("get_authorization_token", given)
    assert stubs.cloud.registry_login() == ("AWS", "a:password")


def test_artifact(aws: Aws, tmp_path: Path) -> None:
    """A file is uploaded once; CloudFormation finds it under its address."""
    client = boto3.client("s3", endpoint_url=aws.url)
    client.create_bucket(Bucket="artifacts")
    cloud = Cloud("eu-central-1", client=lambda _service: client)
    path = tmp_path / "deployment.zip"
    path.write_bytes(b"zip")
    assert cloud.store("artifacts", "functions/1.zip", path)
    assert not cloud.store("artifacts", "functions/1.zip", path)
    address = cloud.address("artifacts", "templates/1.json")
    assert address == "https://artifacts.s3.eu-central-1.amazonaws.com/templates/1.json"


@pytest.mark.parametrize("code", [0, 1, None])
def test_migration(stubs: Stubs, code: int | None) -> None:
    """ECS takes the definition as it is, runs it once, and tells how it ended."""
    stage: Stage = STAGE
    definition = migration(stage, OUTPUTS, "image:1")
    tasks = stubs["ecs"]
    arn = {"taskDefinition": {"taskDefinitionArn": "arn:definition"}}
    tasks.add_response("register_task_definition", arn, definition)
    network = {"subnets": ["a"], "securityGroups": ["b"], "assignPublicIp": "DISABLED"}
    tasks.add_response(
        "run_task",
        {"tasks": [{"taskArn": "arn:task"}], "failures": []},
        {
            "cluster": "cluster",
            "taskDefinition": "arn:definition",
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": network},
        },
    )
    container = {"name": "migrate"} | ({} if code is None else {"exitCode": code})
    if code is None:
        container |= {"reason": "CannotPullContainerError"}
    stopped = {"lastStatus": "STOPPED", "stoppedReason": "ended", "containers": [container]}
    for _ in range(2):
        tasks.add_response("describe_tasks", {"tasks": [stopped]})
    ended = stubs.cloud.run_task(definition, cluster="cluster", network=network)
    assert ended == Ended(code, "ended; CannotPullContainerError" if code is None else "ended")


def test_long_migration(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for however long it runs: an hour, and nobody starts a second one."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    tasks = stubs["ecs"]
    tasks.add_response("register_task_definition", {"taskDefinition": {"taskDefinitionArn": "a"}})
    tasks.add_response("run_task", {"tasks": [{"taskArn": "arn:task"}], "failures": []})
    running = {"tasks": [{"lastStatus": "RUNNING", "containers": [{"name": "migrate"}]}]}
    for _ in range(360):
        tasks.add_response("describe_tasks", running)
    stopped = {"lastStatus": "STOPPED", "containers": [{"name": "migrate", "exitCode": 0}]}
    for _ in range(2):
        tasks.add_response("describe_tasks", {"tasks": [stopped]})
    definition = migration(STAGE, OUTPUTS, "i:1")
    ended = stubs.cloud.run_task(definition, cluster="c", network={"subnets": []})
    assert (ended, sum(waited)) == (Ended(0), 3600)


def test_long_change(stubs: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack is waited for longer than a worker is protected, which is 90 minutes."""
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    stubs.stack("UPDATE_COMPLETE")
    stubs.answer("execute_change_set", {}, ChangeSetName=PLAN)
    while 30 * len(stubs["cloudformation"]._queue) < 2 * EXPIRES_IN_MIN * 60:
        stubs.stack("UPDATE_IN_PROGRESS")
    stubs.stack("UPDATE_COMPLETE")
    stubs.cloud.execute(Plan("test", PLAN, []))
    assert sum(waited) > EXPIRES_IN_MIN * 60


def test_service_roles(stubs: Stubs) -> None:
    """A new account gets the roles that services act under; one that has them keeps them."""
    roles = stubs["iam"]
    answer = {"Role": {**ROLE, "AssumeRolePolicyDocument": "{}"}}
    for number, name in enumerate(SERVICES):
        expected = {"AWSServiceName": name}
        if number:
            roles.add_client_error(
                "create_service_linked_role",
                "InvalidInput",
                "Service role name AWSServiceRoleForX has been taken in this account",
                expected_params=expected,
            )
        else:
            roles.add_response("create_service_linked_role", answer, expected)
    assert stubs.cloud.create_service_roles() == ["ecs.amazonaws.com"]
    roles.add_client_error("create_service_linked_role", "AccessDenied", "not authorized")
    with pytest.raises(ClientError, match="not authorized"):
        stubs.cloud.create_service_roles()


def test_migration_that_cannot_start(stubs: Stubs) -> None:
    """ECS says why."""
    tasks = stubs["ecs"]
    tasks.add_response("register_task_definition", {"taskDefinition": {"taskDefinitionArn": "a"}})
    tasks.add_response("run_task", {"tasks": [], "failures": [{"reason": "RESOURCE:CPU"}]})
    with pytest.raises(DeploymentError, match="RESOURCE:CPU"):
        stubs.cloud.run_task(migration(STAGE, OUTPUTS, "i:1"), cluster="c", network={"subnets": []})


@pytest.mark.parametrize("is_there", [False, True])
def test_logs_are_kept_for_a_while(stubs: Stubs, *, is_there: bool) -> None:
    """RDS's group is given a limit, whether RDS has made it already or not."""
    logs, group = stubs["logs"], {"logGroupName": "/aws/rds/cluster/x/postgresql"}
    if is_there:
        logs.add_client_error("create_log_group", "ResourceAlreadyExistsException")
    else:
        logs.add_response("create_log_group", {}, group)
    logs.add_response("put_retention_policy", {}, {**group, "retentionInDays": 30})
    stubs.cloud.keep_logs(group["logGroupName"], days=30)


def test_functions(stubs: Stubs) -> None:
    """What Lambda grants, and what can still be reserved."""
    limits = {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 400}
    stubs["lambda"].add_response("get_account_settings", {"AccountLimit": limits})
    assert stubs.cloud.functions().reservable == 300


def test_account(stubs: Stubs) -> None:
    """Whose account it is."""
    stubs["sts"].add_response("get_caller_identity", {"Account": "123456789012"})
    assert stubs.cloud.account() == "123456789012"
