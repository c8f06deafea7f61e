"""Versions of the API's function, for those who pay to have no cold start.

SnapStart resumes a function from a snapshot of its memory, provisioned concurrency keeps some of
it warm. Lambda has both for published versions alone, so the API must call an alias of one. That
is a change all over the template, which a parameter cannot make; `make deploy` makes it.
"""

import json
from collections.abc import Mapping
from typing import Any

ALIAS = "live"


def publish(
    template: Mapping[str, Any], *, snap_start: bool, provisioned: int
) -> Mapping[str, Any]:
    """A template whose API calls the newest version of its function, if that is asked for.

    Args:
        template: As `make package` made it, before AWS's transform.
        snap_start: Whether to start functions from a snapshot.
        provisioned: How many functions are kept warm; 0 keeps none.
    """
    if not snap_start and not provisioned:
        return template
    made: dict[str, Any] = json.loads(
        json.dumps(template)
        .replace("${APIHandler.Arn}/invocations", "${APIHandler.Alias}/invocations")
        .replace('"FunctionName": {"Ref": "APIHandler"}, "Principal"', _PERMISSION)
    )
    function = made["Resources"]["APIHandler"]["Properties"]
    # All properties: a changed variable needs a new version as much as changed code does.
    function |= {"AutoPublishAlias": ALIAS, "AutoPublishAliasAllProperties": True}
    if snap_start:
        function["SnapStart"] = {"ApplyOn": "PublishedVersions"}
    if provisioned:
        function["ProvisionedConcurrencyConfig"] = {"ProvisionedConcurrentExecutions": provisioned}
    return made


_PERMISSION = '"FunctionName": {"Ref": "APIHandler.Alias"}, "Principal"'
"""API Gateway may call what it calls: the alias, not whatever is newest."""
