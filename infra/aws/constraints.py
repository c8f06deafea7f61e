"""What a service would refuse in a template, and cfn-lint and checkov let pass.

CloudFormation makes a resource by calling its service. Every value of a template is held to what
botocore knows of the member that it becomes: characters, lengths, choices and ranges of the model,
and the rules that its documentation gives in words (`prose`). What neither has stands in `RULES`.

A value that a parameter decides is held to them for each choice that the parameter leaves
(`samples`): a stage's name that the template takes must suit every service.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, NamedTuple

import regex
import yaml

from infra.aws import calls, prose
from infra.aws.samples import Known, Template, known, possible

Place = tuple[str | int, ...]

UNKNOWN = "x"
"""Stands in a document for what only AWS can tell."""


class Finding(NamedTuple):
    """A value that a service refuses.

    Attributes:
        place: Where it is in the template.
        value: What it becomes, for one choice of the parameters.
        why: The rule that it breaks.
    """

    place: Place
    value: Any
    why: str

    def __str__(self) -> str:
        """For people."""
        shown = json.dumps(self.value, default=str)
        shown = shown if len(shown) < 80 else f"{shown[:76]}..."  # noqa: PLR2004 - a line's width
        return f"{'.'.join(map(str, self.place[1:]))} = {shown}: {self.why}"


class Rule(NamedTuple):
    """What neither a model nor its documentation has.

    Attributes:
        where: A resource's type and the place in its properties, with wildcards.
        allows: Whether the service takes a value.
        why: What it would say otherwise.
    """

    where: str
    allows: Callable[[Any], bool]
    why: str


def faults(template: Template) -> list[Finding]:
    """Everything in a template that a service would refuse; SAM's own types must be transformed."""
    choices = known(template)
    found: list[Finding] = []
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        place: Place = ("Resources", name, "Properties")
        found += _Resource(resource["Type"], choices).faults(properties, place)
    found += _exports(template, choices)
    return list({(one.place, one.why): one for one in reversed(found)}.values())[::-1]


def unknown_types(template: Template) -> set[str]:
    """Types of resources of which nobody told which call makes them."""
    return {one["Type"] for one in template["Resources"].values()} - calls.CALLS.keys()


def held(template: Template) -> tuple[int, int]:
    """How many values are held to the member of a call, and how many there are."""
    choices = known(template)
    resources = [_Resource(one["Type"], choices) for one in template["Resources"].values()]
    for checker, one in zip(resources, template["Resources"].values(), strict=True):
        checker.faults(one.get("Properties", {}), ())
    return sum(one.held for one in resources), sum(one.seen for one in resources)


def line_of(text: str, place: Place) -> int:
    """The line of a template's text in which a value begins."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    line = 0
    for step in place:
        if isinstance(node, yaml.MappingNode):
            found = [pair for pair in node.value if pair[0].value == step]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int):
            node = node.value[step]
            line = node.start_mark.line
    return line + 1


class _Resource:
    """Checks one resource.

    Args:
        kind: Its type.
        choices: What the template's parameters can be.

    Attributes:
        seen, held: Values, and those that a member of a call is known for.
    """

    def __init__(self, kind: str, choices: Known) -> None:
        self._kind = kind
        self._choices = choices
        service, *operations = calls.CALLS.get(kind, ("",))
        self._inputs = [calls.input_of(service, one) for one in operations]
        self.seen = self.held = 0

    def faults(self, properties: Any, place: Place) -> Iterator[Finding]:
        self._start = len(place)
        whole = calls.RENAMED.get(self._kind)
        shapes = [calls.renamed(whole)] if whole else self._inputs
        return iter([*self._walk(properties, shapes, place)])

    def _walk(self, value: Any, shapes: Sequence[Any], place: Place) -> Iterator[Finding]:
        """Hold a value, and all that is inside it, to the shapes that it may become."""
        for one in possible(value, self._choices):
            if isinstance(one, Mapping) and not _is_text(shapes):
                for name, inner in one.items():
                    yield from self._walk(
                        inner, self._inside(shapes, name, (*place, name)), (*place, name)
                    )
            elif isinstance(one, list):
                yield from self._lengths(one, shapes, place)
                for number, inner in enumerate(one):
                    step = (*place, number)
                    yield from self._walk(inner, self._inside(shapes, number, step), step)
            else:
                self.seen += 1
                self.held += any(shape is not None for shape in shapes)
                leaf = self._document(one) if isinstance(one, Mapping) else one
                yield from _refusals(leaf, shapes, place)
            yield from self._own(one, place)

    def _inside(self, shapes: Sequence[Any], step: str | int, place: Place) -> list[Any]:
        steps = ["*" if isinstance(one, int) else one for one in place[self._start :]]
        if target := calls.RENAMED.get(".".join([self._kind, *steps])):
            return [calls.renamed(target)]
        return [found for shape in shapes if (found := _step(shape, step)) is not None]

    def _own(self, value: Any, place: Place) -> Iterator[Finding]:
        name = ".".join([self._kind, *map(str, place[self._start :])])
        for rule in RULES:
            if fnmatchcase(name, rule.where) and not rule.allows(value):
                yield Finding(place, value, rule.why)

    def _lengths(self, value: list[Any], shapes: Sequence[Any], place: Place) -> Iterator[Finding]:
        for shape in shapes:
            if shape.type_name == "list" and not _between(len(value), shape.metadata):
                yield Finding(place, value, f"{shape.name} has {_range(shape.metadata)} items")

    def _document(self, value: Any) -> str:
        """A policy as the service gets it: JSON."""
        return json.dumps(_settled(value, self._choices), separators=(",", ":"), ensure_ascii=False)


def _settled(value: Any, choices: Known) -> Any:
    one = next(possible(value, choices), UNKNOWN)
    if isinstance(one, Mapping):
        return {name: _settled(inner, choices) for name, inner in one.items()}
    if isinstance(one, list):
        return [_settled(inner, choices) for inner in one]
    return one


def _is_text(shapes: Sequence[Any]) -> bool:
    return bool(shapes) and all(shape.type_name == "string" for shape in shapes)


def _step(shape: Any, step: str | int) -> Any:
    if shape is None:
        return None
    if isinstance(step, int):
        return shape.member if shape.type_name == "list" else None
    return shape.value if shape.type_name == "map" else calls.member(shape, step)


def _refusals(value: Any, shapes: Sequence[Any], place: Place) -> Iterator[Finding]:
    for shape in shapes:
        if shape.type_name in {"string", "integer", "long", "double", "float"}:
            text = str(value)
            yield from (Finding(place, value, why) for why in _by_model(text, shape))
            for rule in prose.rules(shape.documentation or ""):
                if not rule.allows(text):
                    yield Finding(place, value, f"{shape.name}: {rule.words}")


def _by_model(text: str, shape: Any) -> Iterator[str]:
    facts = shape.metadata
    if "enum" in facts and text not in facts["enum"]:
        yield f"{shape.name} is one of {', '.join(facts['enum'])}"
    if "pattern" in facts and not _pattern(facts["pattern"]).search(text):
        yield f"{shape.name} matches {facts['pattern']}"
    size = len(text) if shape.type_name == "string" else _number(text)
    if size is not None and not _between(size, facts):
        yield f"{shape.name} is {_range(facts)}"


@cache
def _pattern(pattern: str) -> Any:
    # Models are written for Java, which knows \p{L}, and mean the whole value.
    return regex.compile(rf"\A(?:{pattern})\Z")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _between(size: float, facts: Mapping[str, Any]) -> bool:
    return bool(facts.get("min", size) <= size <= facts.get("max", size))


def _range(facts: Mapping[str, Any]) -> str:
    return f"{facts.get('min', 0)} to {facts.get('max', 'any')}"


def _exports(template: Template, choices: Known) -> Iterator[Finding]:
    """Names under which another stack imports: letters, digits, colons and hyphens."""
    for name, output in template.get("Outputs", {}).items():
        for value in possible(output.get("Export", {}).get("Name", "x"), choices):
            if not regex.fullmatch(r"[A-Za-z0-9:-]{1,255}", value):
                yield Finding(("Outputs", name, "Export"), value, "letters, digits, : and -")


# --- What neither models nor their documentation say ---


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: not isinstance(value, str) or bool(regex.fullmatch(pattern, value))


def _is_json(value: Any) -> bool:
    if not isinstance(value, str):
        return True
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


IDENTIFIER = r"(?!.*--)[a-zA-Z][a-zA-Z0-9-]*(?<!-)"

LAMBDAS_OWN = frozenset(
    {
        *("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_EXECUTION_ENV", "_HANDLER"),
        *("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "_X_AMZN_TRACE_ID"),
        *("AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE", "LAMBDA_TASK_ROOT"),
        *("AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "LAMBDA_RUNTIME_DIR"),
        *("AWS_LAMBDA_RUNTIME_API", "AWS_XRAY_DAEMON_ADDRESS", "AWS_XRAY_CONTEXT_MISSING"),
    }
)

RESERVED_BY_RDS = frozenset(
    {
        "rdsadmin",
        "admin",
        "postgres",
        "public",
        "user",
        "replication",
        "rdsrepladmin",
        "rds_superuser",
    }
)

RULES: Sequence[Rule] = (
    Rule(
        "AWS::ElastiCache::User*.User*Id",
        _matches(IDENTIFIER),
        "an identifier ends with no hyphen and has no two in a row (as ReplicationGroupId's does)",
    ),
    Rule(
        "AWS::Lambda::Function.Environment.Variables",
        lambda value: not LAMBDAS_OWN & value.keys(),
        "Lambda reserves variables (Defined runtime environment variables)",
    ),
    Rule(
        "AWS::Lambda::Function.Environment.Variables",
        lambda value: len(json.dumps(value)) < 4096,  # noqa: PLR2004 - the quota itself
        "4 KB of variables (Lambda quotas)",
    ),
    Rule(
        "AWS::RDS::DB*.MasterUsername",
        lambda value: str(value).lower() not in RESERVED_BY_RDS,
        "a reserved word",
    ),
    Rule(
        "AWS::RDS::DB*.D*Name",
        lambda value: str(value).lower() not in RESERVED_BY_RDS or not isinstance(value, str),
        "a reserved word",
    ),
    Rule(
        "AWS::CloudWatch::Alarm.*Period",
        lambda value: value in (10, 20, 30) or int(value) % 60 == 0,
        "10, 20, 30 or a multiple of 60",
    ),
    Rule(
        "AWS::CloudWatch::Alarm.Metrics.*.Id",
        _matches(r"[a-z][A-Za-z0-9_]*"),
        "the first character is a lower-case letter",
    ),
    Rule(
        "AWS::CloudWatch::Alarm.TreatMissingData",
        _matches("breaching|notBreaching|ignore|missing"),
        "one of breaching, notBreaching, ignore, missing",
    ),
    Rule("AWS::CloudWatch::Dashboard.DashboardBody", _is_json, "JSON"),
    Rule("AWS::ECR::Repository.LifecyclePolicy.LifecyclePolicyText", _is_json, "JSON"),
    Rule("AWS::SecretsManager::Secret.GenerateSecretString.SecretStringTemplate", _is_json, "JSON"),
    Rule(
        "AWS::ApiGateway::Stage.AccessLogSetting.Format",
        lambda value: "\n" not in value and "requestId" in value,
        "one line, with $context.requestId in it",
    ),
    Rule(
        "AWS::IAM::Role.Policies",
        lambda value: len(json.dumps(value, separators=(",", ":"))) < 10_240,  # noqa: PLR2004
        "10,240 characters of policies (IAM quotas)",
    ),
    Rule(
        "*.Tags.*.Key",
        lambda value: not str(value).lower().startswith("aws:"),
        "AWS keeps tags that begin with aws: to itself",
    ),
    Rule(
        "*.Tags.*.Value",
        _matches(r"[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}"),
        "letters, digits, spaces and _.:/=+-@",
    ),
)
