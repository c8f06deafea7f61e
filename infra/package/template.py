"""The CloudFormation templates: Chalice's own, with what surrounds it merged in."""

import json
import os
import re
import sys
from pathlib import Path

from infra.package import PackagingError, application
from infra.package.program import run
from infra.package.target import Target

STAGE = "dev"
"""The stage of `.chalice/config.json` that is deployed; what it is called is a parameter."""

ROLE_TO_COME = "infra/aws/app.yaml gives it"
"""What Chalice is told to write for a function's role; no template may say it in the end."""


def write(out: Path, target: Target, *, scratch: Path, merge: Path) -> Path:
    """Have Chalice write the template of the API and the sweep.

    Chalice gets a project without dependencies, since it would pack them into a zip of its own,
    which is put aside.

    Args:
        out: Where the template goes.
        target: The machine that the functions run on.
        scratch: An empty folder.
        merge: The template that is merged into it.

    Returns:
        The template's path.

    Raises:
        PackagingError: Chalice cannot, or a function is left without a role.
    """
    project, made = scratch / "project", scratch / "made"
    application.copy_into(project)
    (project / ".chalice").mkdir()
    (project / "requirements.txt").touch()
    (project / ".chalice" / "config.json").write_text(json.dumps(_config(target)))
    region = os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"  # asked for, but never written
    run(
        [
            *(str(Path(sys.executable).with_name("chalice")), "--project-dir", str(project)),
            *("package", "--stage", STAGE, "--template-format", "yaml"),
            *("--merge-template", str(merge), str(made)),
        ],
        variables={"AWS_DEFAULT_REGION": region},
    )
    template = out / "sam.yaml"
    # Chalice names the runtime of the Python that it runs on, and cannot be told otherwise.
    template.write_text(
        re.sub(
            r"^( +Runtime: )python3\.\d+$",
            rf"\g<1>{target.runtime}",
            (made / template.name).read_text(),
            flags=re.MULTILINE,
        )
    )
    if ROLE_TO_COME in template.read_text():
        raise PackagingError(f"{merge.name} leaves a function without a Role")
    return template


def _config(target: Target) -> dict[str, object]:
    config: dict[str, object] = json.loads(
        (application.ROOT / ".chalice" / "config.json").read_bytes()
    )
    return {**config, "lambda_architecture": target.architecture}
