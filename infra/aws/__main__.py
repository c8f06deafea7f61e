"""`python -m infra.aws deploy STAGE` and `python -m infra.aws destroy STAGE`: what `make` calls."""

import sys
from collections.abc import Callable
from pathlib import Path

import click
from botocore.exceptions import BotoCoreError, ClientError

from infra.aws import DeploymentError
from infra.aws.cloud import Cloud
from infra.aws.deployment import Deployment
from infra.aws.stage import read

BUILD = Path(__file__).parents[2] / "build"


@click.group()
def main() -> None:
    """The stages on AWS."""


@main.command()
@click.argument("stage")
@click.option("--yes", is_flag=True, help="Ask for nothing but what endangers data.")
def deploy(stage: str, *, yes: bool) -> None:
    """Bring a stage about, or up to date: foundation, image, migration, application."""
    _run(stage, yes, Deployment.deploy)


@main.command()
@click.argument("stage")
@click.option("--yes", is_flag=True, help="Ask for nothing but the deletion of the foundation.")
def destroy(stage: str, *, yes: bool) -> None:
    """Delete a stage's stacks; what holds data is kept, and said."""
    _run(stage, yes, Deployment.destroy)


def _run(name: str, yes: bool, action: Callable[[Deployment], None]) -> None:
    def confirm(question: str, *, about_data: bool = False) -> bool:
        if about_data:
            return bool(click.prompt(f"{question} Type the stage's name", default="") == name)
        return yes or click.confirm(question)

    try:
        stage = read(name)
        cloud = Cloud(stage.region)
        action(Deployment(stage, cloud, BUILD, say=click.echo, confirm=confirm))
    except DeploymentError as error:
        sys.exit(f"stopped: {error}")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"AWS: {error}")


if __name__ == "__main__":
    main()
