"""The templates as they are deployed."""

import json
import re
from pathlib import Path
from typing import Any

from chalice.package import YAMLTemplateSerializer

from infra.package import template
from infra.package.target import Target

ROOT = Path(__file__).parents[2]
AWS = ROOT / "infra" / "aws"

Template = dict[str, Any]


def load(path: Path) -> Template:
    """Read a template; `!Ref x` becomes `{"Ref": "x"}`, and so on."""
    loaded: Template = YAMLTemplateSerializer().load_template(path.read_text())
    return loaded


def access_log_line(template: Template) -> dict[str, Any]:
    """A line of the access log, with the names of variables for their values, and 0 for numbers."""
    text = template["Resources"]["RestAPI"]["Properties"]["AccessLogSetting"]["Format"]
    line: dict[str, Any] = json.loads(re.sub(r": \$context\.\w+", ": 0", text))
    return line


def merge(folder: Path) -> Path:
    """Have Chalice write its template and merge `app.yaml` into it; return its path.

    Args:
        folder: An empty folder.
    """
    return template.write(folder, Target("x86_64"), scratch=folder, merge=AWS / "app.yaml")


def statements(template: Template, role: str) -> list[dict[str, Any]]:
    """Everything that a role's policies state."""
    policies = template["Resources"][role]["Properties"]["Policies"]
    return [one for policy in policies for one in policy["PolicyDocument"]["Statement"]]


def actions(statement: dict[str, Any]) -> set[str]:
    """The actions of a statement, one or many."""
    action = statement["Action"]
    return {action} if isinstance(action, str) else set(action)
