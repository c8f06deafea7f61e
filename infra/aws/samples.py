"""What a value of a template can become, for every choice that its parameters leave."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Template = Mapping[str, Any]
Known = Mapping[str, Sequence[str]]

MOST = 256
"""How many combinations of parameters are looked at for one value."""

NO_VALUE = {"Ref": "AWS::NoValue"}

AT_THE_LIMIT: Mapping[str, Sequence[str]] = {
    "Stage": ("a", "prod", "a1", "a-1", "a" * 16, "a" * 14 + "-1", "a-", "a--b", "a" * 15 + "-"),
    "MailDomain": ("example.com", "mail.a-b.example.com"),
    "Foundation": ("carryout-prod-foundation",),
    "Image": ("123456789012.dkr.ecr.eu-central-1.amazonaws.com/carryout-prod:arm64-0",),
    "MailSender": ("Carryout <carryout@example.com>",),
    "SenderAddress": ("carryout@example.com",),
    "PublicUrl": ("https://abcdefghij.execute-api.eu-central-1.amazonaws.com/api",),
}
"""Values of parameters whose default says too little; a template may refuse some of them."""

PSEUDO: Known = {
    "AWS::AccountId": ("123456789012",),
    "AWS::Partition": ("aws",),
    "AWS::Region": ("eu-central-1", "ap-southeast-2"),
    "AWS::StackName": ("carryout-prod-foundation",),
    "AWS::URLSuffix": ("amazonaws.com",),
}


def known(template: Template) -> Known:
    """Each parameter's choices: all that are allowed, or its default and its limits."""
    found = {name: _choices(name, one) for name, one in template.get("Parameters", {}).items()}
    return {**PSEUDO, **{name: values for name, values in found.items() if values}}


def _choices(name: str, parameter: Mapping[str, Any]) -> Sequence[str]:
    if "AllowedValues" in parameter:
        return [str(one) for one in parameter["AllowedValues"]]
    limits = [parameter[one] for one in ("Default", "MinValue", "MaxValue") if one in parameter]
    values = [*(str(one) for one in limits if one != ""), *AT_THE_LIMIT.get(name, ())]
    pattern = re.compile(str(parameter.get("AllowedPattern", ".*")))
    longest = int(parameter.get("MaxLength", 4096))
    return [one for one in dict.fromkeys(values) if pattern.fullmatch(one) and len(one) <= longest]


def possible(value: Any, choices: Known) -> Iterator[Any]:
    """What a value can become; nothing when only AWS can tell, such as the address of a database.

    A structure is resolved as a whole only as far as its own functions go: `Fn::If` and
    `AWS::NoValue`. What is inside is the caller's to walk through.
    """
    if not isinstance(value, Mapping) or len(value) != 1:
        yield value
        return
    ((name, argument),) = value.items()
    if name == "Ref":
        yield from () if value == NO_VALUE else choices.get(argument, ())
    elif name == "Fn::If":
        for branch in argument[1:]:
            yield from possible(branch, choices)
    elif name == "Fn::Sub":
        yield from _substituted(argument, choices)
    elif name == "Fn::Join":
        separator, parts = argument
        yield from _joined(separator, parts, choices)
    elif not name.startswith("Fn::"):
        yield value


def _substituted(argument: Any, choices: Known) -> Iterator[str]:
    text, own = (argument, {}) if isinstance(argument, str) else argument
    names = list(dict.fromkeys(re.findall(r"\$\{([^!][^}]*)\}", text)))
    values = [
        [*possible(own[name], choices)] if name in own else choices.get(name, ()) for name in names
    ]
    for chosen in itertools.islice(itertools.product(*values), MOST):
        filled = text
        for name, one in zip(names, chosen, strict=True):
            filled = filled.replace(f"${{{name}}}", str(one))
        yield filled


def _joined(separator: str, parts: Any, choices: Known) -> Iterator[str]:
    if isinstance(parts, Sequence):
        values = [[*possible(one, choices)] for one in parts]
        for chosen in itertools.islice(itertools.product(*values), MOST):
            yield separator.join(map(str, chosen))
