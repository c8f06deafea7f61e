"""The narrow seam to AWS that a deployment needs: stacks, images, artifacts, one-off tasks.

Credentials and everything else about who signs in are boto3's own business.
"""

import base64
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from infra.aws import DeploymentError
from infra.aws.capacity import Account

UNCHANGED = ("didn't contain changes", "No updates are to be performed")
"""What a change set that would change nothing fails with."""

SERVICES = (
    "ecs.amazonaws.com",
    "ecs.application-autoscaling.amazonaws.com",
    "elasticache.amazonaws.com",
    "rds.amazonaws.com",
)
"""Services that act under a role of their own, which a new account lacks. Most make it when they
are first called; ECS's comes too late for a cluster with capacity providers (ECS developer guide,
"Using service-linked roles for Amazon ECS")."""

STACK_WAIT = {"Delay": 30, "MaxAttempts": 480}
"""Four hours. A worker is protected for up to 90 minutes while ECS replaces it, and CloudFormation
itself waits three hours for a service; botocore's own waiter gives up after one."""

TASK_WAIT = {"Delay": 10, "MaxAttempts": 8640}
"""A day: whoever gives up on a migration must not start a second one. botocore's own waiter gives
up after ten minutes."""

EMPTY = "REVIEW_IN_PROGRESS"
"""The state of a stack that has a change set and nothing else."""


@dataclass(frozen=True)
class Stack:
    """A stack as it is.

    Attributes:
        status: CloudFormation's word.
        parameters: What it was last deployed with.
        outputs: What it gives to others.
    """

    status: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What would happen to a resource.

    Attributes:
        action: `Add`, `Modify`, `Remove`, or `Import`.
        name: Its name in the template.
        type: What it is.
        replacement: `True`, `False` or `Conditional` when it is modified, else an empty string.
    """

    action: str
    name: str
    type: str
    replacement: str = ""


@dataclass(frozen=True)
class Plan:
    """A change set that nobody has executed yet."""

    stack: str
    id: str
    changes: Sequence[Change]


@dataclass(frozen=True)
class Ended:
    """How a one-off task ended.

    Attributes:
        code: What its container exited with, or None when it never ran.
        reason: Why ECS stopped it, in ECS's words.
    """

    code: int | None
    reason: str = ""


@dataclass(frozen=True)
class Resource:
    """A resource of a stack: its name in the template, what it is, and its name on AWS."""

    name: str
    type: str
    id: str


class Cloud:
    """AWS in one region.

    Args:
        region: Which.
        client: Makes a client of a service; boto3's by default.
    """

    def __init__(self, region: str, *, client: Callable[[str], Any] | None = None) -> None:
        self.region = region
        self._made = client

    def _client(self, service: str) -> Any:
        if self._made is not None:
            return self._made(service)
        import boto3  # noqa: PLC0415 - slow, and not needed when another client is given

        return boto3.client(service, region_name=self.region)

    @cached_property
    def _stacks(self) -> Any:
        return self._client("cloudformation")

    @cached_property
    def _images(self) -> Any:
        return self._client("ecr")

    @cached_property
    def _files(self) -> Any:
        return self._client("s3")

    @cached_property
    def _tasks(self) -> Any:
        return self._client("ecs")

    def account(self) -> str:
        """Whose account is signed in."""
        return str(self._client("sts").get_caller_identity()["Account"])

    def create_service_roles(self) -> list[str]:
        """Create the service-linked roles that this account lacks; return for which services."""
        client = self._client("iam")
        return [name for name in SERVICES if _create_service_role(client, name)]

    def functions(self) -> Account:
        """How many Lambda functions may run at the same time, and how many can be reserved."""
        limit = self._client("lambda").get_account_settings()["AccountLimit"]
        return Account(limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"])

    def keep_logs(self, group: str, *, days: int) -> None:
        """Keep a log group's lines for so many days; make it where it is not there yet."""
        client = self._client("logs")
        with suppress(client.exceptions.ResourceAlreadyExistsException):
            client.create_log_group(logGroupName=group)
        client.put_retention_policy(logGroupName=group, retentionInDays=days)

    # --- Stacks ---

    def stack(self, name: str) -> Stack | None:
        """A stack, or None where there is none, or nothing in it yet."""
        try:
            (found,) = self._stacks.describe_stacks(StackName=name)["Stacks"]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise
        if found["StackStatus"] == EMPTY:
            return None
        parameters = found.get("Parameters", ())
        return Stack(
            found["StackStatus"],
            {one["ParameterKey"]: one.get("ParameterValue", "") for one in parameters},
            {one["OutputKey"]: one["OutputValue"] for one in found.get("Outputs", ())},
        )

    def plan(
        self,
        name: str,
        template: Mapping[str, str],
        parameters: Mapping[str, str],
        *,
        role: str | None = None,
    ) -> Plan | None:
        """Have CloudFormation say what would change.

        Args:
            name: The stack.
            template: `TemplateBody` or `TemplateURL`.
            parameters: All that are not left at their defaults.
            role: What CloudFormation acts as, or None for whoever is signed in.

        Returns:
            A change set, or None when nothing would change.

        Raises:
            DeploymentError: CloudFormation does not take the template.
        """
        answer = self._stacks.create_change_set(
            StackName=name,
            ChangeSetName=f"carryout-{time.time_ns()}",
            ChangeSetType="CREATE" if self.stack(name) is None else "UPDATE",
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
            ],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            **template,
            **({"RoleARN": role} if role else {}),
        )
        try:
            self._stacks.get_waiter("change_set_create_complete").wait(ChangeSetName=answer["Id"])
        except WaiterError:
            self._give_up(answer["Id"])
            return None
        return Plan(name, answer["Id"], self._changes(answer["Id"]))

    def _give_up(self, change_set: str) -> None:
        found = self._stacks.describe_change_set(ChangeSetName=change_set)
        reason = str(found.get("StatusReason", "no reason given"))
        self._stacks.delete_change_set(ChangeSetName=change_set)
        if not any(words in reason for words in UNCHANGED):
            raise DeploymentError(f"CloudFormation refuses: {reason}")

    def _changes(self, change_set: str) -> list[Change]:
        pages = self._stacks.get_paginator("describe_change_set").paginate(ChangeSetName=change_set)
        found = [one["ResourceChange"] for page in pages for one in page["Changes"]]
        return [
            Change(
                one["Action"],
                one["LogicalResourceId"],
                one["ResourceType"],
                one.get("Replacement", ""),
            )
            for one in found
        ]

    def discard(self, plan: Plan) -> None:
        """Forget a plan."""
        self._stacks.delete_change_set(ChangeSetName=plan.id)

    def execute(self, plan: Plan) -> None:
        """Do what a plan says, and wait for the end.

        Raises:
            DeploymentError: It failed, and CloudFormation rolled it back.
        """
        created = self.stack(plan.stack) is None
        self._stacks.execute_change_set(ChangeSetName=plan.id)
        waiter = "stack_create_complete" if created else "stack_update_complete"
        try:
            self._stacks.get_waiter(waiter).wait(StackName=plan.stack, WaiterConfig=STACK_WAIT)
        except WaiterError as error:
            raise DeploymentError(self._failure(plan.stack)) from error

    def _failure(self, name: str) -> str:
        events = self._stacks.describe_stack_events(StackName=name)["StackEvents"]
        failed = [one for one in events if one["ResourceStatus"].endswith("_FAILED")]
        lines = [
            f"  {one['LogicalResourceId']}: {one.get('ResourceStatusReason', '')}" for one in failed
        ]
        return "\n".join([f"{name} failed:", *reversed(lines[:10])])

    def resources(self, name: str) -> list[Resource]:
        """What is in a stack."""
        pages = self._stacks.get_paginator("list_stack_resources").paginate(StackName=name)
        return [
            Resource(
                one["LogicalResourceId"], one["ResourceType"], one.get("PhysicalResourceId", "")
            )
            for page in pages
            for one in page["StackResourceSummaries"]
        ]

    def delete(self, name: str, *, keep: Sequence[str] = ()) -> list[str]:
        """Delete a stack, and wait for the end.

        Args:
            name: The stack.
            keep: What it could not delete before and shall leave alone.

        Returns:
            The names of the resources that it could not delete; then the stack is still there.
        """
        self._stacks.delete_stack(StackName=name, **({"RetainResources": [*keep]} if keep else {}))
        try:
            waiter = self._stacks.get_waiter("stack_delete_complete")
            waiter.wait(StackName=name, WaiterConfig=STACK_WAIT)
        except WaiterError:
            pages = self._stacks.get_paginator("list_stack_resources").paginate(StackName=name)
            return [
                one["LogicalResourceId"]
                for page in pages
                for one in page["StackResourceSummaries"]
                if one["ResourceStatus"] == "DELETE_FAILED"
            ]
        return []

    # --- Images and artifacts ---

    def has_image(self, image: str) -> bool:
        """Whether a registry has an image, named by repository and tag."""
        path, _, tag = image.partition("/")[2].rpartition(":")
        try:
            self._images.describe_images(repositoryName=path, imageIds=[{"imageTag": tag}])
        except self._images.exceptions.ImageNotFoundException:
            return False
        return True

    def registry_login(self) -> tuple[str, str]:
        """User and password with which images can be pushed for some hours."""
        (given,) = self._images.get_authorization_token()["authorizationData"]
        user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
        return user, password

    def store(self, bucket: str, key: str, path: Path) -> bool:
        """Upload a file, unless there is one of this key; return whether it was."""
        try:
            self._files.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:  # noqa: PLR2004
                raise
            self._files.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
            return True
        return False

    def address(self, bucket: str, key: str) -> str:
        """Where CloudFormation finds a template."""
        return f"https://{bucket}.s3.{self.region}.amazonaws.com/{key}"

    # --- One-off tasks ---

    def run_task(
        self, definition: Mapping[str, Any], *, cluster: str, network: Mapping[str, Any]
    ) -> Ended:
        """Run a container once, and wait for its end, however long it takes.

        Args:
            definition: The task's, as ECS registers it.
            cluster: Where.
            network: Its subnets and security groups.

        Raises:
            DeploymentError: ECS does not start it.
        """
        registered = self._tasks.register_task_definition(**definition)
        started = self._tasks.run_task(
            cluster=cluster,
            taskDefinition=registered["taskDefinition"]["taskDefinitionArn"],
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": network},
        )
        arns = [one["taskArn"] for one in started["tasks"]]
        if not arns:
            reasons = ", ".join(one.get("reason", "") for one in started["failures"])
            raise DeploymentError(f"ECS cannot run the task: {reasons}")
        waiter = self._tasks.get_waiter("tasks_stopped")
        waiter.wait(cluster=cluster, tasks=arns, WaiterConfig=TASK_WAIT)
        (task,) = self._tasks.describe_tasks(cluster=cluster, tasks=arns)["tasks"]
        (container,) = task["containers"]
        said = (task.get("stoppedReason"), container.get("reason"))
        return Ended(container.get("exitCode"), "; ".join(one for one in said if one))


def _create_service_role(client: Any, service: str) -> bool:
    try:
        client.create_service_linked_role(AWSServiceName=service)
    except ClientError as error:
        if "has been taken" not in error.response["Error"]["Message"]:
            raise
        return False
    return True
