"""The API for people."""

from collections.abc import Iterable

from chalice.app import Response

from chalicelib.web.api import Endpoint
from chalicelib.web.pages.page_rendering import render
from chalicelib.web.request import Call


def reference(call: Call, endpoints: Iterable[Endpoint]) -> Response:
    """Every route of the API, in a line each."""
    return render(call, "docs.html", endpoints=list(endpoints))
