"""The order of a deployment, where it is taken up again, and what it refuses."""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from chalicelib.settings import Settings
from infra.aws import DeploymentError, constraints
from infra.aws.capacity import Account, connections
from infra.aws.cloud import Change, Cloud, Ended, Plan, Resource, Stack
from infra.aws.deployment import (
    NOT_YET,
    RESERVATIONS,
    Builder,
    Declined,
    Deployment,
    endangers,
    shown,
)
from infra.aws.published import publish
from infra.aws.stage import DECIDED, SAMPLE, Stage, check, read
from infra.aws.transformed import transform
from tests.infra.templates import AWS, ROOT, Template

STAGE = Stage(
    name="test",
    region="eu-central-1",
    account=None,
    mail_sender="Carryout <carryout@example.com>",
    architecture="arm64",
    foundation={},
    app={},
)
FOUNDATION, APP = STAGE.foundation_stack, STAGE.app_stack
ADDRESS = "https://abc.execute-api.eu-central-1.amazonaws.com/api"


@dataclass
class FakeCloud(Cloud):
    """AWS in memory: a plan is a difference of templates and parameters.

    Attributes:
        done: What was done, in order; a repetition that changes nothing does nothing.
        failing: What fails, as `done` would name it.
        exit_code: How the migration ends.
        dangerous: What plans for the foundation contain besides.
    """

    region: str = "eu-central-1"
    has_roles: bool = False
    kept_days: dict[str, int] = field(default_factory=dict)
    limit: int = 1000
    deploy_service: str | None = None
    done: list[str] = field(default_factory=list)
    failing: str = ""
    exit_code: int | None = 0
    dangerous: list[Change] = field(default_factory=list)
    stacks: dict[str, Stack] = field(default_factory=dict)
    deployed: dict[str, Mapping[str, str]] = field(default_factory=dict)
    wanted: dict[str, tuple[Mapping[str, str], Mapping[str, str]]] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)
    stored: set[str] = field(default_factory=set)
    undeletable: list[str] = field(default_factory=list)

    def _do(self, what: str) -> None:
        if what == self.failing:
            raise DeploymentError(f"{what} failed")
        self.done.append(what)

    def account(self) -> str:
        return "123456789012"

    def create_service_roles(self) -> list[str]:
        if self.has_roles:
            return []
        self._do("roles")
        self.has_roles = True
        return ["ecs.amazonaws.com"]

    def keep_logs(self, group: str, *, days: int) -> None:
        self.kept_days[group] = days

    def functions(self) -> Account:
        """What Lambda grants; what the application reserved is no longer free."""
        app = self.stacks.get(APP)
        own = sum(int((app.parameters if app else {}).get(name, 0)) for name in RESERVATIONS)
        return Account(self.limit, self.limit - own)

    def stack(self, name: str) -> Stack | None:
        return self.stacks.get(name)

    def plan(
        self,
        name: str,
        template: Mapping[str, str],
        parameters: Mapping[str, str],
        *,
        role: str | None = None,
    ) -> Plan | None:
        """A plan, when anything is different."""
        assert role == (self.deploy_service if name == APP else None)
        now = self.stacks.get(name)
        if now and now.parameters == parameters and self.deployed[name] == template:
            return None
        self.wanted[name] = template, parameters
        change = Change("Modify" if now else "Add", "Thing", "AWS::Thing", "")
        return Plan(name, f"plan-{name}", [change, *self.dangerous])

    def discard(self, plan: Plan) -> None:
        self._do(f"discard {plan.stack}")

    def execute(self, plan: Plan) -> None:
        self._do(f"change {plan.stack}")
        template, parameters = self.wanted[plan.stack]
        self.deployed[plan.stack] = template
        outputs = {**OUTPUTS} if plan.stack == FOUNDATION else {"EndpointURL": f"{ADDRESS}/"}
        if plan.stack == FOUNDATION and self.deploy_service:
            outputs["DeployService"] = self.deploy_service
        if plan.stack == APP:
            outputs["PublicUrl"] = parameters["PublicUrl"]
        self.stacks[plan.stack] = Stack("UPDATE_COMPLETE", {**parameters}, outputs)

    def resources(self, name: str) -> list[Resource]:
        """Some that hold data and some that do not."""
        names = ("Aurora", "Exports", "Vpc", "Cache")
        return [Resource(one, f"AWS::{one}", f"{name}/{one}") for one in names]

    def delete(self, name: str, *, keep: Sequence[str] = ()) -> list[str]:
        self._do(f"delete {name}" + f" without {','.join(keep)}" * bool(keep))
        if self.undeletable and not keep and name == FOUNDATION:
            return self.undeletable
        del self.stacks[name]
        return []

    def has_image(self, image: str) -> bool:
        return image in self.images

    def registry_login(self) -> tuple[str, str]:
        return "AWS", "a-password"

    def store(self, bucket: str, key: str, path: Path) -> bool:
        assert path.is_file()
        if key in self.stored:
            return False
        self._do(f"store {bucket}/{key.partition('/')[0]}")
        self.stored.add(key)
        return True

    def run_task(
        self, definition: Mapping[str, Any], *, cluster: str, network: Mapping[str, Any]
    ) -> Ended:
        (container,) = definition["containerDefinitions"]
        assert container["command"][-1] == "migrate"
        assert container["image"] in self.images
        assert (cluster, network["subnets"]) == ("cluster", ["a", "b"])
        self._do("migrate")
        return Ended(self.exit_code, "Essential container in task exited")


OUTPUTS = {
    "Images": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/carryout-test",
    "Cluster": "cluster",
    "PrivateSubnets": "a,b",
    "WorkerSecurity": "sg",
    "MigrationLogs": "/carryout/test/migrations",
    "DatabaseLogs": "/aws/rds/cluster/x/postgresql",
    "MigrationStart": "start-role",
    "MigrationRole": "role",
    "Artifacts": "artifacts",
    "DatabaseUrl": "postgresql+psycopg://db/carryout",
    "DatabaseOwnerUrl": "postgresql+psycopg://db/carryout",
    "DatabaseOwnerSecret": "owner-secret",
    "DatabaseSecret": "secret",
    "RedisUrl": "rediss://queue",
    "Bucket": "exports",
}


def test_outputs_are_those_of_the_template(foundation: Template) -> None:
    """The fake gives what the real stack gives."""
    assert OUTPUTS.keys() <= foundation["Outputs"].keys()


@pytest.fixture
def cloud() -> FakeCloud:
    return FakeCloud()


@dataclass
class Desk:
    """Somebody who deploys.

    Attributes:
        said: What they were told.
        answers: What they answer to questions that contain a word; yes to all others.
    """

    cloud: FakeCloud
    build: Path
    tag: str = "arm64-1"
    builds: bool = True
    said: list[str] = field(default_factory=list)
    answers: dict[str, bool] = field(default_factory=dict)
    asked_about_data: list[str] = field(default_factory=list)

    def deployment(self, stage: Stage = STAGE) -> Deployment:
        builder = Builder(lambda _architecture: self.tag, self._check, self._build)
        return Deployment(stage, self.cloud, self.build, self.said.append, self._confirm, builder)

    def _check(self, architecture: str) -> None:
        assert architecture == "arm64"
        if not self.builds:
            raise DeploymentError("exec format error")

    def _build(self, image: str, architecture: str, *, user: str, password: str) -> None:
        assert (architecture, user, password) == ("arm64", "AWS", "a-password")
        self.cloud._do("build")
        self.cloud.images.add(image)

    def _confirm(self, question: str, *, about_data: bool = False) -> bool:
        self.asked_about_data += [question] * about_data
        return all(answer for word, answer in self.answers.items() if word in question)

    def deploy(self, **options: Any) -> list[str]:
        del self.cloud.done[:]
        self.deployment(**options).deploy()
        return self.cloud.done


@pytest.fixture
def desk(cloud: FakeCloud, foundation: Template, app_template: Template, tmp_path: Path) -> Desk:
    """Somebody, after `make package`; templates without what a deployment does not look at."""
    kept = {
        name: {"DeletionPolicy": resource.get("DeletionPolicy")}
        for name, resource in foundation["Resources"].items()
    }
    names = ("APIHandler", "Sweep", "WorkerDefinition", "Board")
    functions = {name: app_template["Resources"][name] for name in names}
    for name, template, resources in (
        ("foundation", foundation, kept),
        ("sam", app_template, functions),
    ):
        small = {"Parameters": template["Parameters"], "Resources": resources}
        small |= {"Globals": template["Globals"]} if "Globals" in template else {}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(small))
    (tmp_path / "deployment.zip").write_bytes(b"the zip")
    return Desk(cloud, tmp_path)


FIRST = [
    "roles",
    f"change {FOUNDATION}",  # with a database that a failed creation can take away again
    f"change {FOUNDATION}",  # with one that is protected from deletion
    "build",
    "migrate",
    "store artifacts/functions",
    "store artifacts/templates",
    f"change {APP}",  # with an address that nobody has
    f"change {APP}",  # with the one that API Gateway gave
]


def test_first_deployment(desk: Desk) -> None:
    """Data first, then the image, the schema, and at last what takes traffic."""
    assert desk.deploy() == FIRST
    assert "ProtectDatabase" not in desk.cloud.stacks[FOUNDATION].parameters  # so it is on
    app = desk.cloud.stacks[APP]
    assert app.parameters["PublicUrl"] == ADDRESS
    assert app.parameters["SenderAddress"] == "carryout@example.com"
    assert app.parameters["Image"] == f"{OUTPUTS['Images']}:arm64-1"
    assert desk.said[-1] == f"ready {ADDRESS}/"
    assert desk.cloud.kept_days == {"/aws/rds/cluster/x/postgresql": 30}


def test_again(desk: Desk) -> None:
    """What is up to date is left alone."""
    desk.deploy()
    assert desk.deploy() == []


def test_upgrade(desk: Desk) -> None:
    """New code is one change of the application, after its migration."""
    desk.deploy()
    desk.tag = "arm64-2"
    (desk.build / "deployment.zip").write_bytes(b"another zip")
    steps = ["build", "migrate", "store artifacts/functions", "store artifacts/templates"]
    assert desk.deploy() == [*steps, f"change {APP}"]


def test_rollback(desk: Desk) -> None:
    """An image that was built once is not built again; the schema is asked, and says it is new."""
    desk.deploy()
    desk.tag = "arm64-2"
    desk.deploy()
    desk.tag = "arm64-1"
    assert desk.deploy() == ["migrate", f"change {APP}"]


@pytest.mark.parametrize("failing", dict.fromkeys(FIRST))
def test_taken_up_where_it_stopped(desk: Desk, failing: str) -> None:
    """Whatever fails, the next deployment does what is left; a migration may be repeated."""
    desk.cloud.failing = failing
    with pytest.raises(DeploymentError, match=failing):
        desk.deploy()
    before = [*desk.cloud.done]
    assert before == FIRST[: FIRST.index(failing)]
    desk.cloud.failing = ""
    again = ["migrate"] * ("migrate" in before)
    assert sorted(desk.deploy()) == sorted([*again, *FIRST[len(before) :]])
    assert desk.deploy() == []


@pytest.mark.parametrize("name", [FOUNDATION, APP])
def test_failed_creation_is_started_anew(desk: Desk, name: str) -> None:
    """What CloudFormation rolled back holds nothing: it goes, after a question."""
    desk.deploy()
    whole = desk.cloud.stacks[name]
    desk.cloud.stacks[name] = replace(whole, status="ROLLBACK_COMPLETE")
    desk.answers["rolled back"] = False
    with pytest.raises(Declined):
        desk.deploy()
    desk.answers.clear()
    assert [one for one in desk.deploy() if name in one][:2] == [f"delete {name}", f"change {name}"]
    assert desk.cloud.stacks[name].parameters.keys() == whole.parameters.keys()
    assert desk.deploy() == []


def test_nothing_is_in_the_way_of_another_try(foundation: Template) -> None:
    """CloudFormation rolls a failed creation back whole, so that every name is free again."""
    for name, resource in foundation["Resources"].items():
        assert resource.get("DeletionPolicy") != "Retain", name
        protected = resource.get("Properties", {}).get("DeletionProtection")
        assert protected in (None, {"Fn::If": ["ProtectsDatabase", True, False]}), name


@pytest.mark.parametrize(
    ("limit", "below", "chosen", "reserved"),
    [
        (1000, {}, {}, (200, 2)),
        (1000, {"DatabaseKind": "rds"}, {}, (69, 2)),  # 189 connections
        (1000, {"DatabaseKind": "rds"}, {"MaxWorkers": "4"}, (149, 2)),
        (1000, {"DatabaseKind": "rds", "DatabaseProxy": "yes"}, {}, (200, 2)),
        (1000, {}, {"ApiConcurrency": "500"}, (500, 2)),
        (150, {}, {}, (48, 2)),
        (10, {}, {}, (0, 0)),  # a new account
        (1000, {}, {"ApiConcurrency": "0"}, (0, 2)),
    ],
)
def test_functions_are_reserved(
    desk: Desk,
    limit: int,
    below: dict[str, str],
    chosen: dict[str, str],
    reserved: tuple[int, int],
) -> None:
    """The API gets as many as the database bears, the reconciler its own, where there are any."""
    desk.cloud.limit = limit
    stage = replace(STAGE, foundation=below, app=chosen)
    desk.deploy(stage=stage)
    given = desk.cloud.stacks[APP].parameters
    assert tuple(int(given[name]) for name in RESERVATIONS) == reserved
    assert any("higher quota" in line for line in desk.said) == (reserved[1] == 0)
    assert desk.deploy(stage=stage) == []  # its own reservations are not in its way


def test_more_functions_than_there_are(desk: Desk) -> None:
    """A stage that asks for more than the account has is told so before anything changes."""
    desk.deploy()
    desk.tag = "arm64-2"
    greedy = replace(STAGE, app={"ApiConcurrency": "950"})
    with pytest.raises(DeploymentError, match="950 and 0 functions, and 900 can be"):
        desk.deploy(stage=greedy)
    assert f"change {APP}" not in desk.cloud.done


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"AuroraMaxCapacity": "1", "AuroraMinCapacity": "1"}, 189),
        ({"AuroraMaxCapacity": "4"}, 823),
        ({}, 1669),
        ({"AuroraMaxCapacity": "16", "AuroraMinCapacity": "1"}, 3360),
        ({"AuroraMaxCapacity": "16"}, 2000),
        ({"AuroraMaxCapacity": "128", "AuroraMinCapacity": "2"}, 5000),
        ({"DatabaseKind": "rds"}, 189),
        ({"DatabaseKind": "rds", "RdsInstanceClass": "db.m7g.large"}, 823),
        ({"DatabaseKind": "rds", "RdsInstanceClass": "db.x9z.huge"}, 83),
    ],
)
def test_connections(chosen: dict[str, str], expected: int) -> None:
    """What AWS documents for Aurora Serverless v2, and what follows for an instance's memory."""
    assert connections(chosen) == expected


def test_image_that_cannot_be_built(desk: Desk) -> None:
    """It is found out before anything is created; whoever has the image needs no builder."""
    desk.builds = False
    with pytest.raises(DeploymentError, match="exec format error"):
        desk.deploy()
    assert desk.cloud.done == []
    desk.builds = True
    desk.deploy()
    desk.builds = False
    assert desk.deploy() == []


def test_address_comes_last(desk: Desk) -> None:
    """A first deployment that stopped before people could be told the address tells it now."""
    desk.deploy()
    app = desk.cloud.stacks[APP]
    early = {"PublicUrl": NOT_YET}
    desk.cloud.stacks[APP] = replace(
        app, parameters={**app.parameters, **early}, outputs={**app.outputs, **early}
    )
    assert desk.deploy() == [f"change {APP}"]
    assert desk.cloud.stacks[APP].parameters["PublicUrl"] == ADDRESS


def test_failed_migration_keeps_the_old_code(desk: Desk) -> None:
    """New code never meets a schema that it does not know."""
    desk.deploy()
    desk.tag, desk.cloud.exit_code = "arm64-2", 1
    with pytest.raises(DeploymentError, match=r"Essential container.*/carryout/test/migrations"):
        desk.deploy()
    assert desk.cloud.done == ["build", "migrate"]
    assert desk.cloud.stacks[APP].parameters["Image"].endswith("arm64-1")


@pytest.mark.parametrize(
    ("word", "done"),
    [
        (FOUNDATION, ["roles", f"discard {FOUNDATION}"]),
        ("migrate", FIRST[:4]),
        (APP, [*FIRST[:7], f"discard {APP}"]),
    ],
)
def test_no_means_no(desk: Desk, word: str, done: list[str]) -> None:
    """Each plan is shown and asked about; a no stops everything after it."""
    desk.answers[word] = False
    with pytest.raises(Declined):
        desk.deploy()
    assert desk.cloud.done == done
    assert "  + Thing AWS::Thing" in desk.said


def test_data_in_danger(desk: Desk) -> None:
    """A plan that replaces or removes what holds data needs more than a yes in advance."""
    desk.deploy()
    desk.cloud.dangerous = [Change("Modify", "Aurora", "AWS::RDS::DBCluster", "True")]
    assert desk.asked_about_data == []
    desk.deploy(stage=replace(STAGE, foundation={"BackupDays": "35"}))
    assert desk.asked_about_data == [f"change {FOUNDATION}?"]
    assert "  ! Aurora AWS::RDS::DBCluster (replaced)" in desk.said


@pytest.mark.parametrize(
    ("change", "line", "danger"),
    [
        (Change("Add", "B", "AWS::S3::Bucket"), "+ B AWS::S3::Bucket", False),
        (Change("Remove", "B", "AWS::S3::Bucket"), "- B AWS::S3::Bucket", True),
        (Change("Modify", "B", "AWS::S3::Bucket", "False"), "~ B AWS::S3::Bucket", False),
        (
            Change("Modify", "B", "AWS::S3::Bucket", "Conditional"),
            "~ B AWS::S3::Bucket (perhaps replaced)",
            True,
        ),
        (
            Change("Modify", "T", "AWS::SNS::Topic", "True"),
            "! T AWS::SNS::Topic (replaced)",
            False,
        ),
    ],
)
def test_changes_are_shown(change: Change, line: str, *, danger: bool) -> None:
    """A change is a line; some of them cost data."""
    assert (shown(change), endangers(change)) == (line, danger)


def test_domain_of_ones_own(desk: Desk) -> None:
    """With a domain the address is known at once, so there is one change."""
    domain = replace(STAGE, app={"DomainName": "c.example.com", "CertificateArn": "arn"})
    assert desk.deploy(stage=domain) == FIRST[:-1]
    assert desk.cloud.stacks[APP].parameters["PublicUrl"] == "https://c.example.com"


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        ("UPDATE_IN_PROGRESS", "wait"),
        ("ROLLBACK_FAILED", "make destroy"),
        ("UPDATE_ROLLBACK_FAILED", "runbook"),
        ("DELETE_FAILED", "runbook"),
    ],
)
@pytest.mark.parametrize("name", [FOUNDATION, APP])
def test_stack_that_cannot_be_changed(desk: Desk, name: str, status: str, hint: str) -> None:
    """A stack in the midst of something is left alone, with a word on what to do."""
    desk.deploy()
    desk.cloud.stacks[name] = replace(desk.cloud.stacks[name], status=status)
    with pytest.raises(DeploymentError, match=hint):
        desk.deploy()
    assert desk.cloud.done == []


def test_wrong_account(desk: Desk) -> None:
    """Who is signed in elsewhere changes nothing."""
    with pytest.raises(DeploymentError, match="signed in at 123456789012"):
        desk.deploy(stage=replace(STAGE, account="999999999999"))
    assert desk.cloud.done == []


def test_no_package(desk: Desk) -> None:
    """Without `make package` there is nothing to deploy."""
    (desk.build / "foundation.yaml").unlink()
    with pytest.raises(DeploymentError, match="make package"):
        desk.deploy()


def test_functions_find_their_code(desk: Desk) -> None:
    """The deployed template names the zip by its content, and so changes with it."""
    desk.deploy()
    template = json.loads((desk.build / "deployed" / "template.json").read_text())
    keys = {
        one["Properties"]["CodeUri"]["Key"]
        for one in template["Resources"].values()
        if one["Type"] == "AWS::Serverless::Function"
    }
    (key,) = keys
    assert key in desk.cloud.stored


def test_role_of_cloudformation(desk: Desk) -> None:
    """Where the foundation has a role for it, CloudFormation changes the application as that."""
    desk.cloud.deploy_service = "arn:aws:iam::123456789012:role/deploy"
    assert desk.deploy() == FIRST  # the fake compares the role of each plan


@pytest.mark.parametrize(
    ("chosen", "properties"),
    [
        ({"snap_start": True}, {"SnapStart": {"ApplyOn": "PublishedVersions"}}),
        (
            {"provisioned_concurrency": 2},
            {"ProvisionedConcurrencyConfig": {"ProvisionedConcurrentExecutions": 2}},
        ),
    ],
)
def test_published_versions(
    app_template: Template, chosen: dict[str, Any], properties: dict[str, Any]
) -> None:
    """SnapStart and warm functions are of versions: API Gateway calls those, and may call them."""
    stage = replace(STAGE, **chosen)
    template = publish(
        app_template, snap_start=stage.snap_start, provisioned=stage.provisioned_concurrency
    )
    assert template["Resources"]["APIHandler"]["Properties"].items() >= properties.items()
    made = transform(template)
    (alias,) = (n for n, one in made["Resources"].items() if one["Type"] == "AWS::Lambda::Alias")
    assert [one for one in made["Resources"].values() if one["Type"] == "AWS::Lambda::Version"]
    called = {
        integration["uri"]["Fn::Sub"]
        for path in made["Resources"]["RestAPI"]["Properties"]["Body"]["paths"].values()
        for method in path.values()
        if (integration := method.get("x-amazon-apigateway-integration"))
        and integration["type"] == "aws_proxy"
    }
    assert called
    assert all(f"functions/${{{alias}}}/invocations" in one for one in called)
    permission = made["Resources"]["APIHandlerInvokePermission"]["Properties"]
    assert permission["FunctionName"] == {"Ref": alias}
    assert constraints.faults(made) == []


def test_nothing_is_published_by_default(desk: Desk, app_template: Template) -> None:
    """Versions cost nothing and add up; nobody has them who did not ask."""
    desk.deploy()
    assert "AutoPublishAlias" not in (desk.build / "deployed" / "template.json").read_text()
    assert publish(app_template, snap_start=False, provisioned=0) is app_template


def test_destroy(desk: Desk) -> None:
    """What runs goes, then the foundation; what holds data, and its network, stay and are named."""
    desk.deploy()
    desk.cloud.undeletable = ["Vpc"]
    del desk.cloud.done[:], desk.said[:]
    desk.deployment().destroy()
    assert desk.cloud.done == [
        f"delete {APP}",
        f"delete {FOUNDATION}",
        f"delete {FOUNDATION} without Vpc",
    ]
    assert desk.cloud.stacks == {}
    told = "\n".join(desk.said)
    for name in ("Aurora", "Exports"):
        assert f"  AWS::{name} {FOUNDATION}/{name}" in told
    assert f"kept for them: AWS::Vpc {FOUNDATION}/Vpc" in told
    assert "AWS::Cache" not in told
    assert desk.asked_about_data == [f"delete the rest of {FOUNDATION}?"]
    desk.deployment().destroy()  # there is nothing left, and that is no error


@pytest.mark.parametrize(("word", "done"), [(APP, []), ("the rest", [f"delete {APP}"])])
def test_destroy_asks(desk: Desk, word: str, done: list[str]) -> None:
    """A no keeps what the question was about."""
    desk.deploy()
    del desk.cloud.done[:]
    desk.answers[word] = False
    with pytest.raises(Declined):
        desk.deployment().destroy()
    assert desk.cloud.done == done


def test_example_is_a_stage(tmp_path: Path, foundation: Template, app_template: Template) -> None:
    """The example is read, and its parameters are those of the templates."""
    shutil.copy(AWS / "stages" / "example.toml", tmp_path / "new.toml")
    stage = read("new", tmp_path)
    assert stage.sender_address == "carryout@example.com"
    check(stage.foundation_parameters(), foundation)
    check(stage.app_parameters(image="image:tag", public_url=NOT_YET), app_template)
    with pytest.raises(DeploymentError, match="no parameter Nothing"):
        check({"Nothing": ""}, app_template)
    with pytest.raises(DeploymentError, match=r"missing: .*Image"):
        check({"Stage": "new"}, app_template)


EVERY_SETTING = re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)


FORMED = {
    "METRICS_TOKEN": "x" * 16,
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318",
    "SECURITY_CONTACT": "mailto:security@example.com",
    "SOURCE_URL": "https://example.com/source",
}
"""Values of settings that have a form of their own."""


def another_value(name: str) -> str:
    """A value of a setting that is not its default."""
    kind, default = get_type_hints(Settings)[name.lower()], getattr(Settings, name.lower(), None)
    if name in FORMED:
        return FORMED[name]
    if kind is bool:
        return "off" if default else "on"
    if kind is int:
        return "86399"
    if kind == tuple[str, ...]:
        return "https://example.com"
    return next((str(one) for one in get_args(kind) if one != default), "another")


@pytest.mark.parametrize("name", EVERY_SETTING)
def test_every_setting_can_be_chosen_or_follows(tmp_path: Path, desk: Desk, name: str) -> None:
    """Each setting goes from the stage's file to functions and workers, or says what decides it."""
    value = another_value(name)
    text = f'region = "x"\nmail_sender = "a@b.c"\n[settings]\n{name} = "{value}"'
    (tmp_path / "one.toml").write_text(text)
    if name in DECIDED:
        with pytest.raises(DeploymentError, match=f"{name} is "):
            read("one", tmp_path)
        return
    desk.deploy(stage=replace(STAGE, settings=read("one", tmp_path).settings))
    template = json.loads((desk.build / "deployed" / "template.json").read_text())
    assert template["Globals"]["Function"]["Environment"]["Variables"][name] == value
    (worker,) = template["Resources"]["WorkerDefinition"]["Properties"]["ContainerDefinitions"]
    assert {"Name": name, "Value": value} in worker["Environment"]
    given = {**SAMPLE, **template["Globals"]["Function"]["Environment"]["Variables"], **SAMPLE}
    texts = {key: one for key, one in given.items() if isinstance(one, str)}
    default = Settings.from_mapping(SAMPLE)
    assert getattr(Settings.from_mapping(texts), name.lower()) != getattr(default, name.lower())


def test_files_outlive_their_links(foundation: Template) -> None:
    """S3 deletes what the reconciler missed, and never what a link still leads to."""
    for ttl_s, days in ((604_800, "8"), (86_400, "2"), (86_401, "3"), (1, "2")):
        stage = replace(STAGE, settings={"EXPORT_TTL_S": str(ttl_s)})
        assert stage.foundation_parameters()["ExportTtlDays"] == days
        assert int(days) * 86_400 > ttl_s
    assert STAGE.foundation_parameters()["ExportTtlDays"] == "8"
    assert foundation["Parameters"]["ExportTtlDays"]["Default"] == 8


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('region = "x"\nmail_sender = "a@b.c"\n[settings]\nLIMITS = "some"', "LIMITS: expected"),
        ('region = "x"\nmail_sender = "a@b.c"\n[settings]\nLIMIT = "on"', "no setting LIMIT"),
        (
            'region = "x"\nmail_sender = "a@b.c"\nsnap_start = true\nprovisioned_concurrency = 1',
            "not both",
        ),
        ('region = "x"\nmail_sender = "a@b.c"\nsnap_start = "yes"', "snap_start is true or false"),
        ('region = "x"', "mail_sender is missing"),
        ('region = "x"\nmail_sender = "nobody"', "mail_sender: expected one address"),
        ('region = "x"\nmail_sender = "a@b.c"\narchitecture = "mips"', "architecture"),
        ('region = "x"\nmail_sender = "a@b.c"\nReigon = "y"', "Reigon"),
        ("region = ", "toml"),
    ],
)
def test_bad_stage(tmp_path: Path, text: str, complaint: str) -> None:
    """A stage that makes no sense is refused before anything is touched."""
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(DeploymentError, match=complaint):
        read("bad", tmp_path)


@pytest.mark.parametrize("name", ["none", "No", "../example", "", "a-", "a--b", "a" * 17])
def test_no_stage(tmp_path: Path, name: str) -> None:
    """So is one that is not there."""
    with pytest.raises(DeploymentError):
        read(name, tmp_path)
