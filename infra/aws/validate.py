"""`python -m infra.aws.validate`: both templates, by cfn-lint, checkov and `constraints`.

cfn-lint knows what CloudFormation takes, checkov what is unwise, and `constraints` what the
services behind them refuse. Nothing may be found; where a
rule of checkov's does not fit, the template says so beside the resource, with the reason. checkov's
pins clash with ours, so it lives in an environment of its own, made at the first use.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from chalice.package import YAMLTemplateSerializer

from infra import environments
from infra.aws import constraints
from infra.aws.transformed import transform

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-checkov"
LOCK = Path(__file__).with_name("checkov.txt")
TIME_LIMIT_S = 600

MAX_BODY_BYTES = 51_200
"""What CloudFormation takes in a request; the foundation must fit, for before it is no bucket."""

Template = Mapping[str, Any]


def load(path: Path) -> Template:
    """Read a template; `!Ref x` becomes `{"Ref": "x"}`, and so on."""
    loaded: Template = YAMLTemplateSerializer().load_template(path.read_text(), str(path))
    return loaded


def templates(folder: Path) -> list[Path]:
    """The files in a folder that are templates."""
    found = sorted(path for suffix in ("yaml", "json") for path in folder.glob(f"*.{suffix}"))
    return [path for path in found if "Resources" in load(path)]


def lint(paths: Sequence[Path]) -> list[str]:
    """What cfn-lint finds, warnings and hints included."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "json"]
    found = json.loads(_run([*command, "--include-checks", "I", "--", *map(str, paths)]))
    return [
        f"{Path(one['Filename']).name}:{one['Location']['Start']['LineNumber']}: "
        f"{one['Rule']['Id']} {one['Message']}"
        for one in found
    ]


def refused(paths: Sequence[Path]) -> list[str]:
    """What the services would refuse, once a template is what CloudFormation deploys."""
    return [line for path in paths for line in _refused(path)]


def _refused(path: Path) -> Iterator[str]:
    text, template = path.read_text(), load(path)
    serverless = any(one["Type"].startswith("AWS::Serverless") for one in _resources(template))
    for one in constraints.faults(transform(template) if serverless else template):
        yield f"{path.name}:{constraints.line_of(text, one.place)}: {one}"


def _resources(template: Template) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = [*template["Resources"].values()]
    return found


def scan(paths: Sequence[Path], tool: Path) -> list[str]:
    """What checkov finds, and what is wrong with the exceptions that the templates make."""
    return [line for path in paths for line in judge(load(path), _scanned(path, tool))]


def _scanned(path: Path, tool: Path) -> Mapping[str, Any]:
    command = [str(tool), "--framework", "cloudformation", "--file", str(path), "--output", "json"]
    report: dict[str, Any] = json.loads(_run([*command, "--skip-download"]))
    return report


def judge(template: Template, report: Mapping[str, Any]) -> Iterator[str]:
    """What a report of checkov's says about a template.

    Args:
        template: The template.
        report: checkov's, as JSON.

    Yields:
        A line for each failed check, for each exception without a reason, and for each exception
        that is not needed.
    """
    results = report["results"]
    if results["parsing_errors"] or not results["passed_checks"]:
        yield "checkov could not read the template"
    for one in results["failed_checks"]:
        yield f"{one['check_id']} {one['resource']}: {one['check_name']}"
    needed = {
        (one["resource"].split(".")[-1], one["check_id"]) for one in results["skipped_checks"]
    }
    for name, check, reason in exceptions(template):
        if not reason:
            yield f"{check} {name}: an exception without a reason"
        if (name, check) not in needed:
            yield f"{check} {name}: an exception that is not needed"


def exceptions(template: Template) -> Iterator[tuple[str, str, str]]:
    """Each exception: the resource's name, the check, and the reason."""
    for name, resource in template["Resources"].items():
        for one in resource.get("Metadata", {}).get("checkov", {}).get("skip", ()):
            yield name, one["id"], one.get("comment", "")


def body(path: Path) -> str:
    """A template as it is sent in a request: what stands there for people takes no room."""
    return json.dumps(load(path), separators=(",", ":"))


def oversized(paths: Sequence[Path]) -> list[str]:
    """Whether the foundation does not fit into a request."""
    sizes = {path.name: len(body(path).encode()) for path in paths}
    size = sizes.get("foundation.yaml", 0)
    return [f"foundation.yaml takes {size} bytes"] if size > MAX_BODY_BYTES else []


def _run(command: Sequence[str]) -> str:
    """Run a tool that says on standard output what it found; how it exits says no more."""
    done = subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
        command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    if not done.stdout.strip():
        sys.exit(f"{command[0]} said nothing:\n{done.stderr}")
    return done.stdout


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True), default=ROOT / "build")
def main(folder: Path) -> None:
    """Validate every template in FOLDER; exit 1 when something is found."""
    paths = templates(folder)
    if not paths:
        sys.exit(f"no template in {folder}")
    environments.make(HOME, LOCK)
    found = [*oversized(paths), *lint(paths), *refused(paths)]
    found += scan(paths, HOME / "bin" / "checkov")
    for line in found:
        click.echo(line)
    if found:
        sys.exit(1)
    excused = sum(1 for path in paths for _ in exceptions(load(path)))
    names = ", ".join(path.name for path in paths)
    click.echo(
        f"{names}: cfn-lint, checkov and the services' models find nothing; "
        f"{excused} exceptions, each explained"
    )


if __name__ == "__main__":
    main()
