"""The templates, made once."""

from pathlib import Path

import pytest

from infra.aws.transformed import transform
from tests.infra.templates import AWS, Template, load, merge


@pytest.fixture(scope="session")
def app_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template of what runs, as `make package` makes it."""
    return merge(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="session")
def app_template(app_path: Path) -> Template:
    return load(app_path)


@pytest.fixture(scope="session")
def deployed(app_template: Template) -> Template:
    return transform(app_template)


@pytest.fixture(scope="session")
def foundation() -> Template:
    """What is in the template of the foundation."""
    return load(AWS / "foundation.yaml")
