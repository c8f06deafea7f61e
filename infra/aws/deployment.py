"""The steps of a deployment, each of which is left out when there is nothing to do.

    roles of services ─▶ foundation ─▶ image ─▶ migration ─▶ application ─▶ its address

A deployment that was stopped anywhere is taken up by starting it again. The schema is migrated
before the new code takes traffic, while the old code still runs: see the runbook on what a
migration may do.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from infra.aws import DeploymentError
from infra.aws import image as images
from infra.aws.capacity import Account, concurrency, connections
from infra.aws.cloud import Change, Cloud, Plan, Resource, Stack
from infra.aws.published import publish
from infra.aws.stage import ARCHITECTURES, Parameters, Stage, check
from infra.aws.validate import body, load

NOT_YET = "https://not-yet.invalid"
"""PUBLIC_URL of a first deployment, until API Gateway has given an address."""

DATABASE_LOG_DAYS = 30
"""How long the database's own log is kept. RDS makes its group, and would keep it for ever."""

RESERVATIONS = ("ApiConcurrency", "ReconcilerConcurrency")
"""Parameters that take functions from all others of the account."""

HOLDS_DATA = frozenset(
    {
        "AWS::RDS::DBCluster",
        "AWS::RDS::DBInstance",
        "AWS::S3::Bucket",
        "AWS::SecretsManager::Secret",
    }
)
"""What nobody replaces or removes in passing."""

SETTLED = frozenset(
    {
        "CREATE_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
    }
)
"""States of a stack that can be updated."""


class Declined(DeploymentError):
    """Somebody said no."""


class Confirm(Protocol):
    """Asks people."""

    def __call__(self, question: str, *, about_data: bool = False) -> bool:
        """Whether they say yes; what is about data needs more than a yes in advance."""


@dataclass(frozen=True)
class Builder:
    """What makes images; a test has one of its own.

    Attributes:
        tag: The tag of what is in this folder, for an architecture.
        check: Raises `DeploymentError` where this machine cannot build for an architecture.
        build: Builds and pushes.
    """

    tag: Callable[[str], str] = images.tag
    check: Callable[[str], None] = images.check
    build: Callable[..., None] = images.build


@dataclass(frozen=True)
class Deployment:
    """A stage, and everything that is needed to bring it about.

    Attributes:
        stage: What it is made of.
        cloud: AWS.
        build: Where `make package` left the templates and the zip.
        say: Tells people.
        confirm: Asks people.
        builder: Makes images.
    """

    stage: Stage
    cloud: Cloud
    build: Path
    say: Callable[[str], None]
    confirm: Confirm
    builder: Builder = Builder()

    def deploy(self) -> None:
        """Bring the stage about.

        Raises:
            DeploymentError: Something stops it; all that was done before stands.
        """
        self._greet()
        self._check_builder()
        if made := self.cloud.create_service_roles():
            self.say(f"roles: created for {', '.join(made)}")
        outputs = self._foundation()
        self.cloud.keep_logs(outputs["DatabaseLogs"], days=DATABASE_LOG_DAYS)
        image = self._image(outputs)
        self._migration(outputs, image)
        self._application(outputs, image)

    def _greet(self) -> None:
        account = self.cloud.account()
        if self.stage.account not in {None, account}:
            raise DeploymentError(f"signed in at {account}; the stage is {self.stage.account}'s")
        self.say(f"stage {self.stage.name}, account {account}, {self.stage.region}")

    # --- Steps ---

    def _check_builder(self) -> None:
        """Find out before anything is created whether the image can be built here."""
        stack = self.cloud.stack(self.stage.foundation_stack)
        if stack is None or not self._has_image(stack.outputs):
            self.builder.check(self.stage.architecture)

    def _has_image(self, outputs: Mapping[str, str]) -> bool:
        return "Images" in outputs and self.cloud.has_image(self._image_name(outputs))

    def _image_name(self, outputs: Mapping[str, str]) -> str:
        return f"{outputs['Images']}:{self.builder.tag(self.stage.architecture)}"

    def _foundation(self) -> Mapping[str, str]:
        template = self._template("foundation.yaml")
        parameters = self.stage.foundation_parameters()
        check(parameters, template)
        sent = {"TemplateBody": body(self.build / "foundation.yaml")}
        name = self.stage.foundation_stack
        if self._settled(name) is None:
            # CloudFormation cannot roll back a creation whose database is protected from deletion.
            self._bring_about(name, sent, {**parameters, "ProtectDatabase": "no"})
        return self._bring_about(name, sent, parameters)

    def _image(self, outputs: Mapping[str, str]) -> str:
        image = self._image_name(outputs)
        if self.cloud.has_image(image):
            self.say(f"image: {image} is there")
            return image
        self.say(f"image: building {image}")
        user, password = self.cloud.registry_login()
        self.builder.build(image, self.stage.architecture, user=user, password=password)
        return image

    def _migration(self, outputs: Mapping[str, str], image: str) -> None:
        running = self._settled(self.stage.app_stack)
        if running is not None and running.parameters.get("Image") == image:
            self.say("migration: the application runs this image already")
            return
        if not self.confirm("migrate the schema?"):
            raise Declined("not migrated; the old code goes on")
        self.say("migration: running")
        ended = self.cloud.run_task(
            migration(self.stage, outputs, image),
            cluster=outputs["Cluster"],
            network={
                "subnets": outputs["PrivateSubnets"].split(","),
                "securityGroups": [outputs["WorkerSecurity"]],
                "assignPublicIp": "DISABLED",
            },
        )
        if ended.code != 0:
            raise DeploymentError(
                f"the migration failed (exit code {ended.code}; {ended.reason}); the log group"
                f" {outputs['MigrationLogs']} has what it printed"
            )
        self.say("migration: done")

    def _application(self, outputs: Mapping[str, str], image: str) -> None:
        name = self.stage.app_stack
        before = self._settled(name)
        known = before.parameters.get("PublicUrl", NOT_YET) if before else NOT_YET
        reserved = self._reserved(before)
        url = self._publish(outputs["Artifacts"])
        role = outputs.get("DeployService")
        after = self._app(url, reserved, image=image, public_url=known, role=role)
        address = after["EndpointURL"].rstrip("/")
        if not self.stage.has_address and after["PublicUrl"] != address:
            self.say(f"application: its address is {address}; functions and workers learn it")
            after = self._app(url, reserved, image=image, public_url=address, role=role)
        self.say(f"ready {after['PublicUrl']}/")
        if "DomainTarget" in after and "HostedZoneId" not in self.stage.app:
            self.say(f"point {self.stage.app['DomainName']} at {after['DomainTarget']}")

    def _reserved(self, before: Stack | None) -> Parameters:
        """How many functions are reserved, and a word where that is none."""
        account = self.cloud.functions()
        own = sum(int((before.parameters if before else {}).get(name, 0)) for name in RESERVATIONS)
        free = Account(account.functions, account.unreserved + own)
        reserved = concurrency(self.stage.foundation, self.stage.app, free)
        if int(reserved["ReconcilerConcurrency"]) == 0:
            self.say(
                f"functions: this account runs {account.functions} at a time, so none are reserved,"
                " and a busy API can stop scaling: ask for a higher quota (Service Quotas, Lambda)"
            )
        if sum(map(int, reserved.values())) > free.reservable:
            raise DeploymentError(
                f"the stage reserves {' and '.join(reserved.values())} functions, and"
                f" {free.reservable} can be reserved in this account"
            )
        return reserved

    def _app(
        self, url: str, reserved: Parameters, *, image: str, public_url: str, role: str | None
    ) -> Mapping[str, str]:
        parameters = self.stage.app_parameters(image=image, public_url=public_url) | reserved
        parameters.setdefault("MaxConnections", str(connections(self.stage.foundation)))
        check(parameters, self._template("sam.yaml"))
        return self._bring_about(self.stage.app_stack, {"TemplateURL": url}, parameters, role)

    def _publish(self, bucket: str) -> str:
        """Upload the zip and a template that names it; return the template's address."""
        package = self.build / "deployment.zip"
        key = f"functions/{_digest(package)}.zip"
        self.cloud.store(bucket, key, package)
        named = named_code(self._template("sam.yaml"), bucket=bucket, key=key)
        template = publish(
            with_settings(named, self.stage.settings),
            snap_start=self.stage.snap_start,
            provisioned=self.stage.provisioned_concurrency,
        )
        path = self.build / "deployed" / "template.json"  # not among those that are validated
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(template))
        key = f"templates/{_digest(path)}.json"
        self.cloud.store(bucket, key, path)
        return self.cloud.address(bucket, key)

    # --- Stacks ---

    def _bring_about(
        self,
        name: str,
        template: Mapping[str, str],
        parameters: Mapping[str, str],
        role: str | None = None,
    ) -> Mapping[str, str]:
        """Change a stack to a template and parameters; with a role, CloudFormation acts as that."""
        self._settled(name)
        plan = self.cloud.plan(name, template, parameters, role=role)
        if plan is None:
            self.say(f"{name}: nothing to change")
        else:
            self._execute(plan)
        stack = self.cloud.stack(name)
        if stack is None:
            raise DeploymentError(f"{name} is gone")
        return stack.outputs

    def _execute(self, plan: Plan) -> None:
        self.say(f"{plan.stack}:")
        for change in plan.changes:
            self.say(f"  {shown(change)}")
        in_danger = [change for change in plan.changes if endangers(change)]
        for change in in_danger:
            self.say(f"  DATA: {change.name} would be replaced or removed; the old one is kept")
        if not self.confirm(f"change {plan.stack}?", about_data=bool(in_danger)):
            self.cloud.discard(plan)
            raise Declined(f"{plan.stack} is left as it is")
        self.cloud.execute(plan)
        self.say(f"{plan.stack}: done")

    def _settled(self, name: str) -> Stack | None:
        """A stack that can be changed, or None where there is none."""
        stack = self.cloud.stack(name)
        if stack is None or stack.status in SETTLED:
            return stack
        if stack.status.endswith("_IN_PROGRESS"):
            raise DeploymentError(f"{name} is {stack.status}: somebody changes it; wait")
        if stack.status == "ROLLBACK_COMPLETE":
            self._forget(name)
            return None
        if stack.status in {"ROLLBACK_FAILED", "CREATE_FAILED"}:
            raise DeploymentError(f"{name} never came about ({stack.status}): make destroy first")
        raise DeploymentError(f"{name} is {stack.status}: see the runbook, Rollback")

    def _forget(self, name: str) -> None:
        """Delete a stack whose creation failed; CloudFormation rolled back all that was in it."""
        if not self.confirm(f"the creation of {name} failed and was rolled back; delete the rest?"):
            raise Declined(f"{name} is left as it is")
        if left := self.cloud.delete(name):
            raise DeploymentError(f"{name} cannot delete {', '.join(left)}")
        self.say(f"{name}: deleted")

    def _template(self, name: str) -> Mapping[str, Any]:
        path = self.build / name
        if not path.is_file():
            raise DeploymentError(f"{path} is missing: make package first")
        return load(path)

    # --- The end ---

    def destroy(self) -> None:
        """Delete both stacks; what holds data is kept, and said.

        A database that is kept stands in a network, so CloudFormation cannot delete that either:
        what it fails to delete is left where it is.
        """
        self._greet()
        if self.cloud.stack(self.stage.app_stack):
            if not self.confirm(f"delete {self.stage.app_stack}? it holds no data"):
                raise Declined("nothing was deleted")
            if left := self.cloud.delete(self.stage.app_stack):
                raise DeploymentError(f"{self.stage.app_stack} cannot delete {', '.join(left)}")
            self.say(f"{self.stage.app_stack}: deleted")
        name = self.stage.foundation_stack
        if self.cloud.stack(name) is None:
            self.say(f"{name}: not there")
            return
        kept = self._kept(self.cloud.resources(name))
        self.say(f"{name}: these are kept, with what is in them:")
        for one in kept:
            self.say(f"  {one.type} {one.id}")
        if not self.confirm(f"delete the rest of {name}?", about_data=True):
            raise Declined(f"{name} is left as it is")
        before = self.cloud.resources(name)
        if left := self.cloud.delete(name):
            self.cloud.delete(name, keep=left)
            for one in before:
                if one.name in left:
                    self.say(f"  kept for them: {one.type} {one.id}")
        self.say(f"{name}: deleted; a new one does not take up what was kept (runbook, Restore)")

    def _kept(self, resources: Sequence[Resource]) -> list[Resource]:
        stated = self._template("foundation.yaml")["Resources"]
        return [
            one
            for one in resources
            if str(stated.get(one.name, {}).get("DeletionPolicy")).startswith("Retain")
        ]


def migration(stage: Stage, outputs: Mapping[str, str], image: str) -> dict[str, Any]:
    """The task that brings the schema to the newest revision: the worker's image, once.

    It signs in as the owner of the database, and sets up the role that the application signs in as.
    """
    environment = {
        "DATABASE_URL": outputs["DatabaseOwnerUrl"],
        "DATABASE_SECRET": outputs["DatabaseOwnerSecret"],
        "APPLICATION_DATABASE_SECRET": outputs["DatabaseSecret"],
        "REDIS_URL": outputs["RedisUrl"],  # it connects to nothing but the ledger
        "EXPORT_BUCKET": outputs["Bucket"],
        "MAIL_SENDER": stage.mail_sender,
        "PUBLIC_URL": NOT_YET,
        "AWS_DEFAULT_REGION": stage.region,
    }
    container = {
        "name": "migrate",
        "image": image,
        "command": ["python", "-m", "worker", "migrate"],
        "user": "10001:10001",
        "readonlyRootFilesystem": True,
        "environment": [{"name": key, "value": value} for key, value in environment.items()],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": outputs["MigrationLogs"],
                "awslogs-region": stage.region,
                "awslogs-stream-prefix": "migrate",
            },
        },
    }
    return {
        "family": f"carryout-{stage.name}-migrate",
        "requiresCompatibilities": ["FARGATE"],
        "networkMode": "awsvpc",
        "cpu": "256",
        "memory": "512",
        "runtimePlatform": {
            "cpuArchitecture": ARCHITECTURES[stage.architecture],
            "operatingSystemFamily": "LINUX",
        },
        "executionRoleArn": outputs["MigrationStart"],
        "taskRoleArn": outputs["MigrationRole"],
        "containerDefinitions": [container],
    }


def named_code(template: Mapping[str, Any], *, bucket: str, key: str) -> dict[str, Any]:
    """A template whose functions find their code in a bucket instead of beside it."""
    resources = {}
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            code = {"CodeUri": {"Bucket": bucket, "Key": key}}
            resources[name] = {**resource, "Properties": {**resource["Properties"], **code}}
        else:
            resources[name] = resource
    return {**template, "Resources": resources}


def with_settings(template: Mapping[str, Any], settings: Parameters) -> dict[str, Any]:
    """A template whose functions and workers have a stage's settings besides their own."""
    made: dict[str, Any] = copy.deepcopy(dict(template))
    made["Globals"]["Function"]["Environment"]["Variables"] |= settings
    (worker,) = made["Resources"]["WorkerDefinition"]["Properties"]["ContainerDefinitions"]
    worker["Environment"] += [{"Name": name, "Value": value} for name, value in settings.items()]
    return made


def shown(change: Change) -> str:
    """A change in a line."""
    signs = {"Add": "+", "Remove": "-", "Modify": "~"}
    sign = "!" if change.replacement == "True" else signs.get(change.action, "?")
    how = {"True": " (replaced)", "Conditional": " (perhaps replaced)"}
    return f"{sign} {change.name} {change.type}{how.get(change.replacement, '')}"


def endangers(change: Change) -> bool:
    """Whether a change leaves data behind."""
    loses = change.action == "Remove" or change.replacement in {"True", "Conditional"}
    return loses and change.type in HOLDS_DATA


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
