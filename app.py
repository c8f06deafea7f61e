"""The HTTP API and the pages: routes only.

Each view authenticates, parses, makes one call into `chalicelib` and answers. Chalice deploys this
file to Lambda; `infra/servers/serve.py` and `chalice local` serve it on a machine.
"""

import msgspec
from chalice.app import CloudWatchEvent, Rate, Response

from chalicelib import accounts, exports, posts, removals, tasks
from chalicelib.errors import ExportGone, Fault, Invalid, NotFound, RegistrationClosed
from chalicelib.fields import check
from chalicelib.paging import cursor
from chalicelib.registry import TASKS
from chalicelib.representations import Json, show_post, show_time, show_user
from chalicelib.storage import DOWNLOAD_HEADERS
from chalicelib.tasks import Seen
from chalicelib.web import answers, openapi, pages
from chalicelib.web.api import Api, Call, json_response, no_content
from chalicelib.web.bodies import (
    Credentials,
    ListQuery,
    NewPost,
    NewTask,
    Nothing,
    NotificationQuery,
    Profile,
    SignUp,
    TaskListQuery,
    WaitQuery,
)
from chalicelib.web.sessions import sign_in

app = Api("carryout")

# --- Accounts ---


@app.endpoint("POST", "/v1/users", who="anybody", body=SignUp, status=201)
def create_user(call: Call) -> Response:
    """Sign up."""
    if call.wiring.settings.registration == "closed":
        raise RegistrationClosed
    new = accounts.NewUser(**msgspec.structs.asdict(call.body(SignUp)))
    with call.wiring.database.write() as session:
        user = accounts.sign_up(session, new, now=call.now)
    shown = show_user(user, post_count=0, prefix=call.prefix)
    return json_response(shown, status=201, headers={"Location": f"{call.prefix}/v1/me"})


@app.endpoint("POST", "/v1/tokens", who="anybody", body=Credentials, status=201)
def create_token(call: Call) -> Json:
    """Sign in: get a bearer token."""
    given = call.body(Credentials)
    new = sign_in(call, username=given.username, password=given.password)
    return {"token": new.token, "expires_at": show_time(new.expires_at)}


@app.endpoint("DELETE", "/v1/tokens/current", status=204)
def revoke_token(call: Call) -> Response:
    """Sign out: revoke the token that this request carries."""
    with call.wiring.database.write() as session:
        accounts.revoke(session, call.token or "")
    return no_content()


@app.endpoint("GET", "/v1/me")
def show_me(call: Call) -> Json:
    """Show one's own account."""
    with call.wiring.database.read() as session:
        post_count = accounts.count_posts(session, call.user.id)
    return show_user(call.user, post_count=post_count, prefix=call.prefix)


@app.endpoint("PATCH", "/v1/me", body=Profile)
def change_me(call: Call) -> Json:
    """Change the mail address or the language."""
    fields = msgspec.structs.asdict(call.body(Profile))
    changes = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
    with call.wiring.database.write() as session:
        user = accounts.change_user(session, call.user.id, changes)
        post_count = accounts.count_posts(session, user.id)
    return show_user(user, post_count=post_count, prefix=call.prefix)


@app.endpoint("DELETE", "/v1/me", status=204)
def erase_me(call: Call) -> Response:
    """Erase the account: posts, tasks, files, mail to be sent."""
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.write() as session:
        accounts.erase(session, call.user.id, lease_s=lease_s, now=call.now)
    answers.remove(call, removals.user_prefix(call.user.id))
    return no_content()


# --- Posts ---


@app.endpoint("POST", "/v1/posts", body=NewPost, status=201)
def create_post(call: Call) -> Json:
    """Write a post."""
    body = call.body(NewPost).body
    with call.wiring.database.write() as session:
        return show_post(posts.write_post(session, call.user.id, body, now=call.now))


@app.endpoint("GET", "/v1/users/{username}/posts", query=ListQuery)
def list_posts(call: Call, username: str) -> Response:
    """List a user's posts, the newest first."""
    page = answers.page_of(call.query(ListQuery), numbered=True)
    with call.wiring.database.read() as session:
        user = accounts.find_user(session, username)
        if user is None:
            raise NotFound
        found = posts.list_posts(session, user.id, page=page)
    last = found[-1] if len(found) == page.limit else None
    after = cursor(last.timestamp, last.id) if last else None
    return answers.list_response(call, [show_post(post) for post in found], after=after)


@app.endpoint("DELETE", "/v1/posts/{post_id}", status=204)
def delete_post(call: Call, post_id: str) -> Response:
    """Delete one's own post."""
    if not (post_id.isascii() and post_id.isdigit() and len(post_id) < 19):  # noqa: PLR2004 - 64 bits
        raise NotFound
    with call.wiring.database.write() as session:
        posts.delete_post(session, call.user.id, int(post_id))
    return no_content()


# --- Tasks ---


@app.endpoint("POST", "/v1/exports", body=Nothing, status=202)
def create_export(call: Call) -> Response:
    """Ask for an export of one's posts."""
    call.body(Nothing)
    return answers.launch(call, "export_posts", {})


@app.endpoint("POST", "/v1/tasks", body=NewTask, status=202)
def create_task(call: Call) -> Response:
    """Launch any registered task."""
    new = call.body(NewTask)
    if new.name not in TASKS:
        raise Invalid(Fault("/name", "must be one of " + ", ".join(TASKS)))
    params = check(new.params, TASKS[new.name].params, at="/params")
    return answers.launch(call, new.name, msgspec.structs.asdict(params))


@app.endpoint("GET", "/v1/tasks", query=TaskListQuery)
def list_tasks(call: Call) -> Response:
    """List one's tasks, the newest first."""
    return answers.task_list(call, user_id=call.user.id)


@app.endpoint("GET", "/v1/tasks/{task_id}", query=WaitQuery)
def show_one_task(call: Call, task_id: str) -> Response:
    """Show a task; with `If-None-Match`, `wait` holds the answer until something changes."""
    wait_s = call.query(WaitQuery).wait
    known = call.request.headers.get("if-none-match")
    changed = call.hold(
        lambda: answers.changed_task(call, task_id, known), wait_s=wait_s if known else 0
    )
    return changed or Response("", {"ETag": known, "Cache-Control": "no-store"}, 304)


@app.endpoint("POST", "/v1/tasks/{task_id}/cancel", status=202)
def cancel_task(call: Call, task_id: str) -> Response:
    """Cancel a task: 202 while an attempt has yet to stop, 200 when it is cancelled."""
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.write() as session:
        tasks.get_task(session, call.user.id, task_id)
        task = tasks.cancel_task(session, task_id, lease_s=lease_s, now=call.now)
    if task.mail_state == "pending":
        answers.ring(call, task)
    status = 202 if task.status == "cancelling" else 200
    return answers.task_response(call, Seen(task, None), status=status)


@app.endpoint("POST", "/v1/tasks/{task_id}/retry", status=202)
def retry_task(call: Call, task_id: str) -> Response:
    """Queue a failed or cancelled task again."""
    with call.wiring.database.write() as session:
        tasks.get_task(session, call.user.id, task_id)
        tasks.retry_task(session, task_id, now=call.now)
        seen = tasks.get_task(session, call.user.id, task_id)
    answers.ring(call, seen.task)
    return answers.task_response(call, seen, status=202)


# --- Exports ---


@app.endpoint("GET", "/v1/exports/{task_id}/download", status=303)
def download_export(call: Call, task_id: str) -> Response:
    """Go to a URL from which the file can be downloaded for a minute."""
    with call.wiring.database.read() as session:
        seen = tasks.get_task(session, call.user.id, task_id)
    key = exports.require_file(seen.task, now=call.now)
    storage = call.wiring.storage
    if storage.size(key) is None:
        raise ExportGone
    with call.wiring.database.write() as session:
        exports.note_download(session, seen.task)
    return Response("", {"Location": storage.sign(key), **DOWNLOAD_HEADERS}, 303)


@app.endpoint("DELETE", "/v1/exports/{task_id}", status=204)
def delete_export(call: Call, task_id: str) -> Response:
    """Delete an export's file."""
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.write() as session:
        tasks.get_task(session, call.user.id, task_id)
        prefix = exports.remove_file(session, task_id, lease_s=lease_s, now=call.now)
    answers.remove(call, prefix)
    return no_content()


@app.endpoint("POST", "/v1/exports/{task_id}/mail", body=Nothing, status=202)
def mail_export(call: Call, task_id: str) -> Response:
    """Have the mail of an export sent again."""
    call.body(Nothing)
    with call.wiring.database.write() as session:
        tasks.get_task(session, call.user.id, task_id)
        task = exports.mail_again(session, task_id, now=call.now)
    answers.ring(call, task)
    return answers.task_response(call, Seen(task, None), status=202)


# --- Notifications ---


@app.endpoint("GET", "/v1/notifications", query=NotificationQuery)
def list_notifications(call: Call) -> Json:
    """List what is new after a number; `wait` holds the answer until something is."""
    query = call.query(NotificationQuery)
    return answers.news(call, after=query.after, wait_s=query.wait)


# --- Operations ---


@app.endpoint("GET", "/v1/admin/tasks", who="administrator", query=TaskListQuery)
def list_all_tasks(call: Call) -> Response:
    """List everybody's tasks, the newest first."""
    return answers.task_list(call, user_id=None)


@app.endpoint("GET", "/v1/admin/queue", who="administrator")
def show_queue(call: Call) -> Json:
    """Show the queue."""
    return answers.queue_state(call)


@app.endpoint("GET", "/v1/admin/workers", who="administrator")
def list_workers(call: Call) -> Json:
    """List the workers that are alive."""
    return answers.workers(call)


@app.endpoint("GET", "/healthz", who="anybody")
def show_liveness(_call: Call) -> Json:
    """Say that the API answers."""
    return {"status": "ok"}


@app.endpoint("GET", "/readyz", who="anybody")
def show_readiness(call: Call) -> Response:
    """Check what the API stands on: 200, or 503 when something is missing."""
    status, shown = answers.health(call)
    return json_response(shown, status=status)


@app.endpoint("GET", "/openapi.json", who="anybody")
def show_openapi(call: Call) -> Json:
    """The API as an OpenAPI 3.1 document."""
    return openapi.document(app.endpoints, prefix=call.prefix)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(_event: CloudWatchEvent) -> None:
    """Find what was lost and get it going again, also while no worker runs."""
    app.wiring.sweeper.sweep(now=app.wiring.now())


# --- Pages ---


@app.page("GET", "/docs")
def show_docs(call: Call) -> Response:
    """The API for people."""
    return pages.docs(call, app.endpoints)


@app.page("GET", "/")
def show_home(call: Call) -> Response:
    """One's own tasks, or the way in."""
    return pages.home(call)


@app.page("GET", "/sign-in")
def show_sign_in(call: Call) -> Response:
    """The form to sign in with."""
    return pages.sign_in_form(call)


@app.page("POST", "/sign-in")
def submit_sign_in(call: Call) -> Response:
    """Sign in with the form."""
    return pages.submit_sign_in(call)


@app.page("POST", "/sign-out")
def submit_sign_out(call: Call) -> Response:
    """Sign out."""
    return pages.submit_sign_out(call)


@app.page("POST", "/exports")
def submit_export(call: Call) -> Response:
    """Ask for an export with the button."""
    return pages.submit_export(call)


@app.page("GET", "/users/{username}")
def show_profile(call: Call, username: str) -> Response:
    """A user's posts."""
    return pages.profile(call, username)


@app.page("GET", "/exports/{task_id}")
def show_export(call: Call, task_id: str) -> Response:
    """An export: how far it is, or the download."""
    return pages.export(call, task_id)


@app.page("GET", "/admin")
def show_admin(call: Call) -> Response:
    """The queue, the workers and the newest tasks."""
    return pages.admin(call)
