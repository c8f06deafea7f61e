import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from chalicelib import errors
from chalicelib.accounts.rate_limits import REQUESTS_PER_ADDRESS
from chalicelib.operations import scaling
from chalicelib.settings import Settings
from chalicelib.web.problems import describe
from infra.aws import validate
from infra.aws.deployment import migration
from tests.infra.templates import AWS, ROOT, Template, access_log_line
from tests.infra.test_deployment import OUTPUTS, STAGE
from worker.alive import HEALTHY_S

FOUNDATION = AWS / "foundation.yaml"


def test_cfn_lint_finds_nothing(app_path: Path) -> None:
    """Both templates are what CloudFormation takes, and the first fits into a request."""
    assert validate.lint([FOUNDATION, app_path]) == []
    assert validate.oversized([FOUNDATION]) == []


def test_what_checkov_says_is_judged() -> None:
    """Failed checks count, and so do exceptions that have no reason or no use."""
    skip = [{"id": "A", "comment": "because"}, {"id": "B"}, {"id": "C", "comment": "because"}]
    template = {"Resources": {"Bucket": {"Metadata": {"checkov": {"skip": skip}}}, "Topic": {}}}
    skipped = [{"check_id": one, "resource": "AWS::S3::Bucket.Bucket"} for one in "AB"]
    failed = [{"check_id": "D", "resource": "AWS::SNS::Topic.Topic", "check_name": "is bad"}]
    results: dict[str, Any] = {"passed_checks": [{}], "parsing_errors": []}
    report = {"results": {**results, "failed_checks": failed, "skipped_checks": skipped}}
    assert list(validate.judge(template, report)) == [
        "D AWS::SNS::Topic.Topic: is bad",
        "B Bucket: an exception without a reason",
        "C Bucket: an exception that is not needed",
    ]
    unread = {**results, "passed_checks": [], "failed_checks": [], "skipped_checks": []}
    assert "could not read" in next(validate.judge({"Resources": {}}, {"results": unread}))


def test_only_templates_are_validated(tmp_path: Path) -> None:
    """A folder may hold other files of the same kinds."""
    (tmp_path / "sbom.cdx.json").write_text('{"components": []}')
    (tmp_path / "sam.yaml").write_text("Resources: {Topic: {Type: AWS::SNS::Topic}}")
    assert [path.name for path in validate.templates(tmp_path)] == ["sam.yaml"]


HOLDS_DATA = {
    "AWS::RDS::DBCluster",
    "AWS::RDS::DBInstance",
    "AWS::S3::Bucket",
    "AWS::SecretsManager::Secret",
    "AWS::SES::EmailIdentity",
    "AWS::ECR::Repository",
}


def test_what_holds_data_is_kept(foundation: Template, app_template: Template) -> None:
    """Neither a deleted stack nor a replaced resource takes data along; what runs has none."""
    kept = {"DeletionPolicy": "RetainExceptOnCreate", "UpdateReplacePolicy": "Retain"}
    found = {
        name: resource
        for name, resource in foundation["Resources"].items()
        if resource["Type"] in HOLDS_DATA
    }
    assert {resource["Type"] for resource in found.values()} == HOLDS_DATA
    for name, resource in found.items():
        assert {key: resource.get(key) for key in kept} == kept, name
    types = {resource["Type"] for resource in app_template["Resources"].values()}
    assert types & HOLDS_DATA == set()


def test_what_is_imported_is_exported(foundation: Template, app_template: Template) -> None:
    """Each value that the second stack imports is an output of the first."""
    exported = {
        one["Export"]["Name"]["Fn::Sub"].replace("${AWS::StackName}-", "")
        for one in foundation["Outputs"].values()
        if "Export" in one
    }
    imported = {
        one["Fn::Sub"].replace("${Foundation}-", "")
        for one in values(app_template, "Fn::ImportValue")
    }
    assert imported == exported - {"Artifacts", "Images"}  # which the deployment uses


def values(part: Any, key: str) -> Iterator[Any]:
    """All values of a key, wherever they are."""
    if isinstance(part, Mapping):
        yield from (value for name, value in part.items() if name == key)
        for value in part.values():
            yield from values(value, key)
    elif isinstance(part, list):
        for value in part:
            yield from values(value, key)


def test_functions_do_not_name_their_api(app_template: Template) -> None:
    """CloudFormation could not tell which to make first."""
    assert "RestAPI" not in json.dumps(app_template["Globals"])
    for name in ("APIHandler", "Sweep"):
        assert "RestAPI" not in json.dumps(app_template["Resources"][name])


def worker(app_template: Template) -> dict[str, Any]:
    definition = app_template["Resources"]["WorkerDefinition"]["Properties"]
    (container,) = definition["ContainerDefinitions"]
    return dict(container)


def test_everybody_has_every_setting_they_need(app_template: Template) -> None:
    """Functions and workers get the same settings, enough of them, and no password."""
    functions = app_template["Globals"]["Function"]["Environment"]["Variables"]
    container = {one["Name"]: one["Value"] for one in worker(app_template)["Environment"]}
    container.pop("AWS_DEFAULT_REGION")  # which Lambda sets by itself
    assert functions == container
    sample = {
        "DATABASE_URL": "postgresql+psycopg://carryout@db:5432/carryout?sslmode=require",
        "REDIS_URL": "rediss://queue:6379/0",
        "PUBLIC_URL": "https://example.com/api",
        "MAIL_SENDER": "Carryout <carryout@example.com>",
        "LOG_FORMAT": "json",
        "DATABASE_POOLER": "on",
    }
    settings = Settings.from_mapping({name: sample.get(name, "given") for name in functions})
    assert (settings.database_secret, settings.redis_secret) == ("given", "given")


def test_worker_container(app_template: Template) -> None:
    """It can write nowhere but in /tmp, is nobody, and has time to release its task."""
    container = worker(app_template)
    assert container["ReadonlyRootFilesystem"] is True
    assert [one["ContainerPath"] for one in container["MountPoints"]] == ["/tmp"]
    # Fargate gives a volume the owner and mode of the image's folder only where this stands.
    assert "\nVOLUME /tmp\n" in (ROOT / "worker" / "Dockerfile").read_text()
    assert int(container["User"].partition(":")[0]) >= 10_000
    assert container["StopTimeout"] == 120
    check = container["HealthCheck"]
    assert check["Command"] == ["CMD", "python", "-S", "-m", "worker.alive"]
    assert check["StartPeriod"] + check["Interval"] * check["Retries"] < HEALTHY_S
    assert container["LogConfiguration"]["Options"]["mode"] == "non-blocking"


def test_the_only_worker_is_not_on_spot(app_template: Template) -> None:
    """ECS waits for Spot where there is none; it never takes an on-demand worker instead."""
    parameters = app_template["Parameters"]
    assert parameters["OnDemandBase"]["Default"] >= parameters["MinWorkers"]["Default"] == 1
    on_demand, spot = app_template["Resources"]["Worker"]["Properties"]["CapacityProviderStrategy"]
    assert on_demand["Base"] == {"Ref": "OnDemandBase"}
    assert "Base" not in spot


def test_scaling_is_what_the_formula_says(app_template: Template) -> None:
    """The template's numbers are those of `operations/scaling.py`, which the simulation runs."""
    resources, parameters = app_template["Resources"], app_template["Parameters"]
    limits = scaling.Limits()
    for name, value in (
        ("BacklogPerWorker", limits.target),
        ("MinWorkers", limits.least),
        ("MaxWorkers", limits.most),
    ):
        assert parameters[name]["Default"] == value
    policy = resources["FollowBacklog"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
    assert policy["TargetValue"] == {"Ref": "BacklogPerWorker"}
    assert policy["ScaleOutCooldown"] == scaling.OUT_COOLDOWN_S
    assert policy["DisableScaleIn"] is True
    assert policy["CustomizedMetricSpecification"]["MetricName"] == "BacklogPerWorker"
    away = resources["TakeAway"]["Properties"]["StepScalingPolicyConfiguration"]
    assert (away["Cooldown"], away["MinAdjustmentMagnitude"]) == (scaling.IN_COOLDOWN_S, 1)
    percent = -100 * scaling.IN_PART
    steps = [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": percent}]
    assert (away["AdjustmentType"], away["StepAdjustments"]) == ("PercentChangeInCapacity", steps)
    first = resources["StartFirst"]["Properties"]["StepScalingPolicyConfiguration"]
    assert first["StepAdjustments"] == [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    alarm = resources["NobodyWorks"]["Properties"]
    assert alarm["EvaluationPeriods"] == scaling.FIRST_PERIODS
    assert {one["MetricStat"]["Period"] for one in alarm["Metrics"][1:]} == {scaling.PERIOD_S}
    assert resources["TooMany"]["Properties"]["EvaluationPeriods"] == scaling.IN_PERIODS


@pytest.mark.parametrize("workers", [0, 1, 2, 4, 5, 16, 20])
@pytest.mark.parametrize("unfinished", range(16))
def test_nobody_is_taken_away_who_is_missed(
    app_template: Template, workers: int, unfinished: int
) -> None:
    """The alarm's expression, by hand: it goes off when those who would stay are enough."""
    (spare, *_) = app_template["Resources"]["TooMany"]["Properties"]["Metrics"]
    limits = scaling.Limits(least=0, most=1000)
    expression = spare["Expression"]["Fn::Sub"].replace("${BacklogPerWorker}", str(limits.target))
    step = re.search(r"IF\((.+) > (.+), (.+), (.+)\)", expression)
    assert step is not None
    assert step.groups() == ("workers", "4", "workers / 4", "1")
    at_once = workers / 4 if workers > 4 else 1
    goes_off = (workers - unfinished / limits.target) / at_once >= 1
    stay = workers - max(1, int(at_once))
    backlog = scaling.backlog_per_worker(unfinished, workers)
    wanted = scaling.desired_workers(workers, backlog, limits)
    assert not goes_off or wanted <= stay
    assert goes_off or unfinished / limits.target > workers - max(1, at_once) or not workers


MAIL_RECORDS = ("MailRecords", "MailFromRecords", "MailPolicyRecord")
PUBLISHED = {"Unfinished", "OldestWaiting", "Workers", "BacklogPerWorker"}


def test_metrics_that_are_watched_are_published(app_template: Template) -> None:
    """What alarms, scaling and the dashboard look at is what the reconciler measures."""
    watched = set()
    for part in (one for key in ("Metric", "Properties") for one in values(app_template, key)):
        if part.get("Namespace") == "Carryout":
            assert part["Dimensions"] == [
                {"Name": "queue", "Value": {"Fn::Sub": "carryout-${Stage}"}}
            ]
            watched.add(part["MetricName"])
    for policy in values(app_template, "CustomizedMetricSpecification"):
        watched.add(policy["MetricName"])
    assert watched == PUBLISHED
    body = app_template["Resources"]["Board"]["Properties"]["DashboardBody"]["Fn::Sub"][0]
    shown = json.loads(re.sub(r"\$\{[^}]+\}", "x", body))
    assert set(re.findall(r'"Carryout", "(\w+)", "queue"', body)) == PUBLISHED
    assert len(shown["widgets"]) == 9


GATEWAY: dict[str, type[errors.RequestError]] = {
    "MISSING_AUTHENTICATION_TOKEN": errors.NotFound,
    "REQUEST_TOO_LARGE": errors.BodyTooLarge,
    "THROTTLED": errors.TooMany,
    "WAF_FILTERED": errors.Forbidden,
    "DEFAULT_4XX": errors.RequestError,
    "DEFAULT_5XX": errors.Unavailable,
}


@pytest.mark.parametrize("kind", GATEWAY)
def test_gateway_answers_as_the_application_does(app_template: Template, kind: str) -> None:
    """What API Gateway says by itself is a problem document of ours."""
    body = app_template["Resources"]["RestAPI"]["Properties"]["DefinitionBody"]
    responses = body["x-amazon-apigateway-gateway-responses"]
    assert responses.keys() == GATEWAY.keys()
    headers = responses[kind]["responseParameters"]
    assert headers["gatewayresponse.header.Content-Type"] == "'application/problem+json'"
    assert headers["gatewayresponse.header.X-Request-Id"] == "context.requestId"
    (template,) = responses[kind]["responseTemplates"].values()
    shown = json.loads(template)
    assert shown == describe(GATEWAY[kind])
    assert shown["status"] == int(responses[kind]["statusCode"])


def of_type(template: Template, kind: str) -> list[dict[str, Any]]:
    """The properties of all resources of a type."""
    return [one["Properties"] for one in template["Resources"].values() if one["Type"] == kind]


def test_there_is_one_stage(app_template: Template, deployed: Template) -> None:
    """Whoever comes, comes by the stage that throttles and logs; the transform adds no other."""
    (stage,) = of_type(deployed, "AWS::ApiGateway::Stage")
    assert stage["StageName"] == "api"
    (deployment,) = of_type(deployed, "AWS::ApiGateway::Deployment")
    assert "StageName" not in deployment
    assert stage["AccessLogSetting"]["DestinationArn"] == {"Fn::GetAtt": ["AccessLogs", "Arn"]}
    logged = access_log_line(app_template)
    assert logged["requestId"] == "$context.requestId"
    told = " ".join(map(str, logged.values())).lower()
    assert not {"path", "ip", "user"} & set(re.findall(r"[a-z]+", told))
    (settings,) = stage["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
        assert settings[limit] == {"Ref": "RequestsPerSecond"}
    assert (settings["LoggingLevel"], settings["DataTraceEnabled"]) == ("OFF", False)


def test_door_can_be_shut(deployed: Template) -> None:
    """With a domain, API Gateway's own address answers as long as one wants it to."""
    (api,) = of_type(deployed, "AWS::ApiGateway::RestApi")
    endpoint = api["Body"]["x-amazon-apigateway-endpoint-configuration"]
    closed = {"Fn::If": ["ClosesExecuteApi", True, False]}
    assert endpoint["disableExecuteApiEndpoint"] == closed
    condition = json.dumps(deployed["Conditions"]["ClosesExecuteApi"])
    assert "HasDomain" in condition  # without a domain nobody could come at all


def test_draining_is_for_real(deployed: Template) -> None:
    """A rate of 0 is none to API Gateway, so the function is not called; sweeps go on."""
    functions = of_type(deployed, "AWS::Lambda::Function")
    reserved = {str(one["FunctionName"]): one["ReservedConcurrentExecutions"] for one in functions}
    assert deployed["Conditions"]["Drains"] == {"Fn::Equals": [{"Ref": "RequestsPerSecond"}, 0]}
    (api,) = (one for name, one in reserved.items() if "-api" in name)
    (sweep,) = (one for name, one in reserved.items() if "-sweep" in name)
    assert api["Fn::If"][:2] == ["Drains", 0]
    assert "Drains" not in json.dumps(sweep)


def test_waf(deployed: Template) -> None:
    """It stands before the stage that people use, and takes posts of the largest size."""
    (association,) = of_type(deployed, "AWS::WAFv2::WebACLAssociation")
    assert "/stages/${" in association["ResourceArn"]["Fn::Sub"]
    (acl,) = of_type(deployed, "AWS::WAFv2::WebACL")
    groups = {
        one["Statement"]["ManagedRuleGroupStatement"]["Name"]
        for one in acl["Rules"]
        if "OverrideAction" in one
    }
    assert "AWSManagedRulesCommonRuleSet" not in groups  # it refuses bodies above 8 KB
    per_address = deployed["Parameters"]["WafRequestsPerAddress"]["Default"]
    rate = REQUESTS_PER_ADDRESS
    assert per_address >= rate.most * 300 / rate.window_s  # the application's own limit comes first


def test_runbook_knows_every_alarm(app_template: Template) -> None:
    """Whoever is woken finds what to do under the alarm's name."""
    runbook = (ROOT / "infra" / "README.md").read_text()
    alarms = [
        resource["Properties"]["AlarmName"]["Fn::Sub"].replace("carryout-${Stage}-", "")
        for resource in app_template["Resources"].values()
        if resource["Type"] == "AWS::CloudWatch::Alarm"
    ]
    assert len(alarms) == 18
    assert [name for name in alarms if f"`{name}`" not in runbook] == []


def test_mail_passes_dmarc(foundation: Template) -> None:
    """Bounces come back under the domain itself; every record that this needs is an output."""
    identity = foundation["Resources"]["MailIdentity"]["Properties"]
    (_, mail_from, _) = identity["MailFromAttributes"]["Fn::If"]
    assert mail_from["MailFromDomain"] == {"Fn::Sub": "${MailFromSubdomain}.${MailDomain}"}
    assert mail_from["BehaviorOnMxFailure"] == "USE_DEFAULT_VALUE"
    records = {name: foundation["Outputs"][name]["Value"]["Fn::Sub"] for name in MAIL_RECORDS}
    assert 'TXT "v=spf1 include:amazonses.com -all"' in records["MailFromRecords"]
    assert "MX 10 feedback-smtp.${AWS::Region}.amazonses.com" in records["MailFromRecords"]
    assert records["MailPolicyRecord"].startswith('_dmarc.${MailDomain} TXT "v=DMARC1; p=')
    runbook = (ROOT / "infra" / "README.md").read_text()
    assert [name for name in MAIL_RECORDS if f"`{name}`" not in runbook] == []


@pytest.mark.parametrize(("name", "version"), [("Aurora", "AuroraVersion"), ("Rds", "RdsVersion")])
def test_engine_version_is_a_choice(foundation: Template, name: str, version: str) -> None:
    """A snapshot that RDS took after an upgrade of its own can be restored."""
    assert foundation["Resources"][name]["Properties"]["EngineVersion"] == {"Ref": version}
    allowed = re.compile(foundation["Parameters"][version]["AllowedPattern"])
    assert allowed.fullmatch("17.12")
    assert not allowed.fullmatch("18.1")  # another family of parameters


def test_nobody_else_signs_in_as_the_owner(foundation: Template, app_template: Template) -> None:
    """Only the migration may read the owner's secret; what runs every day has a role of its own."""
    owner = json.dumps({"Fn::GetAtt": ["Aurora", "MasterUserSecret.SecretArn"]})
    readers = {
        name
        for name, one in foundation["Resources"].items()
        if one["Type"] == "AWS::IAM::Role" and owner in json.dumps(one)
    }
    assert readers == {"MigrationRole"}
    assert "Export" not in foundation["Outputs"]["DatabaseOwnerSecret"]
    assert foundation["Outputs"]["DatabaseSecret"]["Value"] == {"Ref": "DatabaseAppSecret"}
    assert "DatabaseOwnerSecret" not in json.dumps(app_template)
    environment = {
        one["name"]: one["value"]
        for one in migration(STAGE, OUTPUTS, "image:1")["containerDefinitions"][0]["environment"]
    }
    assert environment["DATABASE_SECRET"] == OUTPUTS["DatabaseOwnerSecret"]
    assert environment["APPLICATION_DATABASE_SECRET"] == OUTPUTS["DatabaseSecret"]


def test_proxy(foundation: Template) -> None:
    """Functions and workers go through it, told so; a migration, which holds a lock, does not."""
    outputs = foundation["Outputs"]
    (_, through, past) = outputs["DatabaseUrl"]["Value"]["Fn::Sub"][1]["Host"]["Fn::If"]
    assert through == {"Fn::GetAtt": ["Proxy", "Endpoint"]}
    assert past == outputs["DatabaseOwnerUrl"]["Value"]["Fn::Sub"][1]["Host"]
    assert outputs["DatabasePooler"]["Value"] == {"Fn::If": ["UseProxy", "on", "off"]}
    (auth,) = foundation["Resources"]["Proxy"]["Properties"]["Auth"]
    assert auth["SecretArn"] == {"Ref": "DatabaseAppSecret"}
