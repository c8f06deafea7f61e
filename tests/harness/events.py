"""Requests as Lambda gets them from API Gateway, and its answers."""

import json
from typing import Any

Event = dict[str, Any]


def proxy_event(
    method: str,
    resource: str,
    parameters: dict[str, str] | None = None,
    *,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: str | None = None,
    is_base64: bool = False,
    stage: str = "",
) -> Event:
    """Make a REST (v1) proxy event.

    Args:
        method: The HTTP method.
        resource: The route's pattern.
        parameters: What its names stand for, decoded.
        query: Query parameters, decoded.
        headers: The headers.
        body: The body, as text or in base64.
        is_base64: Whether it is in base64.
        stage: The stage's path, such as `/api`.
    """
    path = resource.format(**(parameters or {}))
    headers = headers or {}
    return {
        "resource": resource,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {k: [v] for k, v in query.items()} if query else None,
        "pathParameters": parameters,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": resource,
            "httpMethod": method,
            "path": stage + path,
            "stage": stage.strip("/"),
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": body,
        "isBase64Encoded": is_base64,
    }


def shown(answer: dict[str, Any]) -> Any:
    """The JSON of an answer that Lambda gave; it must be text that UTF-8 can hold."""
    return json.loads(answer["body"].encode())
