"""The templates as they are deployed."""

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


def merge(folder: Path) -> Path:
    """Have Chalice write its template and merge `app.yaml` into it; return its path.

    Args:
        folder: An empty folder.
    """
    return template.write(folder, Target("x86_64"), scratch=folder, merge=AWS / "app.yaml")
