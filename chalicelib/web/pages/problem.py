"""What people see where programs get a problem document."""

from chalice.app import Response

from chalicelib.errors import CarryoutError, RequestError, Unauthenticated
from chalicelib.web.pages.messages import complaint
from chalicelib.web.pages.page_rendering import language, render, visitor
from chalicelib.web.pages.sign_in import ask_to_sign_in
from chalicelib.web.problems import status_of
from chalicelib.web.request import Call


def problem(call: Call, error: CarryoutError) -> Response:
    """The page of an error; where signing in helps, the form for it."""
    if isinstance(error, Unauthenticated):
        return ask_to_sign_in(call, error)
    status = status_of(error)
    ours = status >= 500  # noqa: PLR2004 - then the database may be what is away
    user = None if ours else visitor(call)
    return render(
        call,
        "problem.html",
        status=status,
        headers=error.headers if isinstance(error, RequestError) else {},
        user=user,
        complaint=complaint(error, language(call)),
        problem_status=status,
    )
