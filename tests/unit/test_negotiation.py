import pytest

from chalicelib.web.negotiation import prefers_html

CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;"
    "q=0.8,application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (CHROME, True),
        ("text/html", True),
        ("TEXT/HTML ; charset=utf-8", True),
        ("text/*", True),
        ("text/html, */*", True),  # named, where JSON is not
        ("text/html;q=0.5, application/json;q=0.4", True),
        ("text/html;q=0", False),
        ("text/html;q=0.000, */*", False),
        ("text/*, text/html;q=0", False),  # what is more precise counts, in whatever order
        ("text/html;q=0, text/*", False),
        ("application/json", False),
        ("application/problem+json", False),
        ("application/json, */*", False),
        ("application/json, text/html;q=0.9", False),
        ("text/html;q=0.8, */*", False),
        ("text/html;level=1;q=0.1, application/*;q=0.2", False),
        ("image/png", False),
        ("x" * 10_000, False),
    ],
)
def test_what_a_client_wants(accept: str, wanted: bool) -> None:
    """A page is for those who want one more than JSON, by weight and then by name."""
    assert prefers_html(accept, otherwise=True) is wanted
    assert prefers_html(accept, otherwise=False) is wanted


@pytest.mark.parametrize("accept", [None, "", "*/*", "text/html, application/json", "*/*;q=0.1"])
def test_clients_that_take_both_alike(accept: str | None) -> None:
    """The caller says what is best for those."""
    assert prefers_html(accept, otherwise=True)
    assert not prefers_html(accept, otherwise=False)
