"""A template as CloudFormation deploys it, after AWS's own transform of `AWS::Serverless`.

The transform adds resources and leaves some out; what it makes is what is deployed. It is AWS's
own code, which runs here as it does there, but for policies that are looked up by name.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import boto3

CODE = {"Bucket": "artifacts", "Key": "functions/digest.zip"}
"""Where the functions' code is; the transform takes no path on this machine."""


def transform(template: Mapping[str, Any], *, region: str = "eu-central-1") -> dict[str, Any]:
    """What CloudFormation makes of a template that uses `AWS::Serverless`.

    Args:
        template: With its functions in the long form (`Fn::GetAtt`, not `!GetAtt`).
        region: The partition follows from it.
    """
    # Both are for development only.
    from samtranslator.parser.parser import Parser  # noqa: PLC0415
    from samtranslator.translator.translator import Translator  # noqa: PLC0415

    given = deepcopy(dict(template))
    for resource in given["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = CODE
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=region))
    made: dict[str, Any] = translator.translate(given, {})
    return made
