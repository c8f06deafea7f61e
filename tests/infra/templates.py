"""The templates as they are deployed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from chalice.package import YAMLTemplateSerializer

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
    project = folder / "project"
    shutil.copytree(ROOT / "chalicelib", project / "chalicelib")
    shutil.copy(ROOT / "app.py", project)
    (project / "requirements.txt").touch()  # the zip is not what this is about
    config = json.loads((ROOT / ".chalice" / "config.json").read_bytes())
    config["stages"]["dev"] |= {"manage_iam_role": False, "iam_role_arn": "app.yaml gives it"}
    (project / ".chalice").mkdir()
    (project / ".chalice" / "config.json").write_text(json.dumps(config))
    command = [str(Path(sys.executable).with_name("chalice")), "--project-dir", str(project)]
    command += ["package", "--stage", "dev", "--template-format", "yaml"]
    command += ["--merge-template", str(AWS / "app.yaml"), str(folder / "made")]
    variables = {"PATH": "/usr/bin:/bin", "AWS_DEFAULT_REGION": "us-east-1"}
    variables |= {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    subprocess.run(command, env=variables, capture_output=True, check=True)
    return folder / "made" / "sam.yaml"
