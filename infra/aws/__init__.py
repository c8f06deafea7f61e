"""The system on AWS: two stacks, what checks them, and what deploys them."""


class DeploymentError(Exception):
    """What stopped a deployment, and what to do about it."""
