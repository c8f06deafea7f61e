"""The HTTP API and the pages: routes only.

Each view authenticates, parses, makes one call into `chalicelib` and answers. Chalice deploys this
file to Lambda; `infra/servers/serve.py` and `chalice local` serve it on a machine.
"""

from typing import Any

import msgspec
from chalice.app import CloudWatchEvent, Rate, Response

from chalicelib.accounts import accounts
from chalicelib.adapters.object_store import DOWNLOAD_HEADERS
from chalicelib.errors import (
    AddressConfirmed,
    AddressUnconfirmed,
    CoolingDown,
    EmailTaken,
    ExportGone,
    Fault,
    IdempotencyKeyReused,
    Invalid,
    LinkOver,
    MailInProgress,
    NoFile,
    NotFound,
    NotReady,
    RegistrationClosed,
    TaskActive,
    TaskEnded,
    TaskInProgress,
    TooManyAttempts,
    Unauthenticated,
    UsernameTaken,
    WrongPassword,
)
from chalicelib.exports import files
from chalicelib.microblog import posts
from chalicelib.operations import backlog
from chalicelib.schemas import responses
from chalicelib.schemas.requests import (
    Confirmation,
    Credentials,
    NewPost,
    NewTask,
    Nothing,
    NotificationQuery,
    PasswordChange,
    PostListQuery,
    Profile,
    Reset,
    ResetWish,
    SignUp,
    TaskListQuery,
    WaitQuery,
)
from chalicelib.schemas.serializers import show_post, show_time, show_user
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.registry import TASKS
from chalicelib.tasks.requests import Seen
from chalicelib.values.fields import check
from chalicelib.values.paging import cursor
from chalicelib.web import actions, answers, openapi, recovery, sessions
from chalicelib.web.api import Api, Call, accepted, json_response, no_content
from chalicelib.web.pages import account, admin, assets, links, profile, sign_in
from chalicelib.web.pages import exports as export_pages
from chalicelib.web.pages.problem import problem
from chalicelib.web.pages.reference import reference

app = Api("carryout")

NEW_TASK = ("Location", "ETag", "[Retry-After]")
"""The headers of an answer that has set a task to work."""

# --- Accounts ---


@app.endpoint(
    "POST",
    "/v1/users",
    who="anybody",
    body=SignUp,
    status=201,
    returns=responses.User,
    headers=("Location",),
    problems=(RegistrationClosed, UsernameTaken, EmailTaken),
)
def create_user(call: Call) -> Response:
    """Sign up."""
    if call.wiring.settings.registration == "closed":
        raise RegistrationClosed
    new = accounts.NewUser(**msgspec.structs.asdict(call.body(SignUp)))
    verify = call.wiring.settings.verify_email
    with call.wiring.database.write() as session:
        user = accounts.sign_up(session, new, now=call.now, verify=verify)
    if verify:
        recovery.ring(call)
    shown = show_user(user, post_count=0, prefix=call.prefix)
    return json_response(shown, status=201, headers={"Location": f"{call.prefix}/v1/me"})


@app.endpoint(
    "POST",
    "/v1/tokens",
    who="anybody",
    body=Credentials,
    status=201,
    returns=responses.Token,
    problems=(Unauthenticated, TooManyAttempts),
)
def create_token(call: Call) -> responses.Token:
    """Sign in: get a bearer token."""
    given = call.body(Credentials)
    new = sessions.sign_in(call, username=given.username, password=given.password)
    return {"token": new.token, "expires_at": show_time(new.expires_at)}


@app.endpoint("DELETE", "/v1/tokens/current", status=204)
def revoke_token(call: Call) -> Response:
    """Sign out: revoke the token that this request carries."""
    with call.wiring.database.write() as session:
        accounts.revoke(session, call.token or "")
    return no_content()


@app.endpoint("GET", "/v1/me", returns=responses.User)
def show_me(call: Call) -> responses.User:
    """Show your account."""
    with call.wiring.database.read() as session:
        post_count = accounts.count_posts(session, call.user.id)
    return show_user(call.user, post_count=post_count, prefix=call.prefix)


@app.endpoint("PATCH", "/v1/me", body=Profile, returns=responses.User, problems=(EmailTaken,))
def change_me(call: Call) -> responses.User:
    """Change your email address or language."""
    fields = msgspec.structs.asdict(call.body(Profile))
    changes = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
    with call.wiring.database.write() as session:
        user = accounts.change_user(
            session,
            call.user.id,
            changes,
            now=call.now,
            verify=call.wiring.settings.verify_email,
        )
        post_count = accounts.count_posts(session, user.id)
    if "email" in changes:
        recovery.ring(call)
    return show_user(user, post_count=post_count, prefix=call.prefix)


@app.endpoint("DELETE", "/v1/me", status=204)
def erase_me(call: Call) -> Response:
    """Delete your account: posts, tasks, files and pending emails."""
    actions.erase(call)
    return no_content()


@app.endpoint(
    "PUT",
    "/v1/me/password",
    body=PasswordChange,
    status=204,
    problems=(WrongPassword, TooManyAttempts),
)
def change_password(call: Call) -> Response:
    """Change your password; all other sessions end."""
    given = call.body(PasswordChange)
    recovery.change_password(call, current=given.current_password, password=given.password)
    return no_content()


@app.endpoint("POST", "/v1/me/confirmation", body=Nothing, status=202, problems=(AddressConfirmed,))
def ask_for_confirmation(call: Call) -> Response:
    """Email a link that confirms your email address."""
    call.body(Nothing)
    recovery.ask_for_confirmation(call)
    return accepted()


@app.endpoint(
    "POST",
    "/v1/confirmations",
    who="anybody",
    body=Confirmation,
    status=204,
    problems=(LinkOver,),
)
def confirm_address(call: Call) -> Response:
    """Confirm an email address with the key from the link."""
    recovery.confirm_address(call, call.body(Confirmation).key)
    return no_content()


@app.endpoint("POST", "/v1/password-resets", who="anybody", body=ResetWish, status=202)
def ask_for_reset(call: Call) -> Response:
    """Email a link that resets a password; the response is the same for unknown addresses."""
    recovery.ask_for_reset(call, call.body(ResetWish).email)
    return accepted()


@app.endpoint("POST", "/v1/passwords", who="anybody", body=Reset, status=204, problems=(LinkOver,))
def reset_password(call: Call) -> Response:
    """Set a new password with the key from the link; all sessions end."""
    given = call.body(Reset)
    recovery.reset_password(call, key=given.key, password=given.password)
    return no_content()


# --- Posts ---


@app.endpoint("POST", "/v1/posts", body=NewPost, status=201, returns=responses.Post)
def create_post(call: Call) -> responses.Post:
    """Write a post."""
    body = call.body(NewPost).body
    with call.wiring.database.write() as session:
        return show_post(posts.write_post(session, call.user.id, body, now=call.now))


@app.endpoint(
    "GET",
    "/v1/users/{username}/posts",
    query=PostListQuery,
    returns=responses.PostList,
    headers=("[Link]",),
)
def list_posts(call: Call, username: str) -> Response:
    """List a user's posts, the newest first."""
    page = answers.page_of(call.query(PostListQuery), numbered=True)
    with call.wiring.database.read() as session:
        user = accounts.find_user(session, username)
        if user is None:
            raise NotFound
        found, more = posts.list_posts(session, user.id, page=page)
    last = found[-1] if more else None
    after = cursor(last.timestamp, last.id) if last else None
    return answers.list_response(call, [show_post(post) for post in found], after=after)


@app.endpoint("DELETE", "/v1/posts/{post_id}", status=204)
def delete_post(call: Call, post_id: str) -> Response:
    """Delete one of your posts."""
    actions.delete_post(call, post_id)
    return no_content()


# --- Tasks ---


@app.endpoint(
    "POST",
    "/v1/exports",
    body=Nothing,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(TaskInProgress, CoolingDown, IdempotencyKeyReused),
    takes=("Idempotency-Key",),
)
def create_export(call: Call) -> Response:
    """Request an export of your posts."""
    call.body(Nothing)
    return answers.launch(call, "export_posts", {})


@app.endpoint(
    "POST",
    "/v1/tasks",
    body=NewTask,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(TaskInProgress, CoolingDown, IdempotencyKeyReused),
    takes=("Idempotency-Key",),
)
def create_task(call: Call) -> Response:
    """Launch any registered task."""
    new = call.body(NewTask)
    if new.name not in TASKS:
        raise Invalid(Fault("/name", "must be one of " + ", ".join(TASKS)))
    params = check(new.params, TASKS[new.name].params, at="/params")
    return answers.launch(call, new.name, msgspec.structs.asdict(params))


@app.endpoint(
    "GET", "/v1/tasks", query=TaskListQuery, returns=responses.TaskList, headers=("[Link]",)
)
def list_tasks(call: Call) -> Response:
    """List your tasks, newest first."""
    return answers.task_list(call, user_id=call.user.id)


@app.endpoint(
    "GET",
    "/v1/tasks/{task_id}",
    query=WaitQuery,
    returns=responses.Task,
    headers=("ETag", "[Retry-After]"),
    also={304: None},
    takes=("If-None-Match",),
)
def show_one_task(call: Call, task_id: str) -> Response:
    """Show a task; with `If-None-Match`, `wait` holds the response until something changes."""
    return answers.changed_task(call, task_id, wait_s=call.query(WaitQuery).wait)


@app.endpoint(
    "POST",
    "/v1/tasks/{task_id}/cancel",
    body=Nothing,
    status=202,
    returns=responses.Task,
    headers=("ETag", "[Location]", "[Retry-After]"),
    problems=(TaskEnded,),
    also={200: responses.Task},
)
def cancel_task(call: Call, task_id: str) -> Response:
    """Cancel a task: 202 while an attempt is still stopping, 200 once it is cancelled."""
    call.body(Nothing)
    task = actions.cancel(call, task_id)
    status = 202 if task.status == "cancelling" else 200
    return answers.task_response(call, Seen(task, None), status=status)


@app.endpoint(
    "POST",
    "/v1/tasks/{task_id}/retry",
    body=Nothing,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(TaskActive, TaskInProgress),
)
def retry_task(call: Call, task_id: str) -> Response:
    """Queue a failed or cancelled task again."""
    call.body(Nothing)
    return answers.task_response(call, actions.retry(call, task_id), status=202)


# --- Exports ---


@app.endpoint(
    "GET",
    "/v1/exports/{task_id}/download",
    status=303,
    headers=("Location", "Content-Disposition"),
    problems=(NotReady, NoFile, ExportGone),
)
def download_export(call: Call, task_id: str) -> Response:
    """Redirect to a download URL that is valid for one minute."""
    with call.wiring.database.read() as session:
        seen = task_requests.get_task(session, call.user.id, task_id)
    key = files.require_file(seen.task, now=call.now)
    answers.require_object(call, key)
    with call.wiring.database.write() as session:
        files.note_download(session, seen.task)
    return Response("", {"Location": call.wiring.storage.sign(key), **DOWNLOAD_HEADERS}, 303)


@app.endpoint("DELETE", "/v1/exports/{task_id}", status=204, problems=(NotReady,))
def delete_export(call: Call, task_id: str) -> Response:
    """Delete an export's file."""
    actions.delete_file(call, task_id)
    return no_content()


@app.endpoint(
    "POST",
    "/v1/exports/{task_id}/mail",
    body=Nothing,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(NotReady, NoFile, MailInProgress, AddressUnconfirmed, ExportGone),
)
def mail_export(call: Call, task_id: str) -> Response:
    """Resend the email for an export."""
    call.body(Nothing)
    task = actions.mail_again(call, task_id)
    return answers.task_response(call, Seen(task, None), status=202)


# --- Notifications ---


@app.endpoint("GET", "/v1/notifications", query=NotificationQuery, returns=responses.News)
def list_notifications(call: Call) -> responses.News:
    """List notifications after a sequence number; `wait` holds the response until there are any."""
    query = call.query(NotificationQuery)
    return answers.news(call, after=query.after, wait_s=query.wait)


# --- Operations ---


@app.endpoint(
    "GET",
    "/v1/admin/tasks",
    who="administrator",
    query=TaskListQuery,
    returns=responses.TaskList,
    headers=("[Link]",),
)
def list_all_tasks(call: Call) -> Response:
    """List all users' tasks, newest first."""
    return answers.task_list(call, user_id=None)


@app.endpoint("GET", "/v1/admin/queue", who="administrator", returns=responses.Queue)
def show_queue(call: Call) -> responses.Queue:
    """Show the queue."""
    return answers.queue_state(call)


@app.endpoint("GET", "/v1/admin/workers", who="administrator", returns=responses.WorkerList)
def list_workers(call: Call) -> responses.WorkerList:
    """List the workers that are alive."""
    return answers.workers(call)


@app.endpoint("GET", "/healthz", who="anybody", returns=responses.Liveness)
def show_liveness(_call: Call) -> responses.Liveness:
    """Check that the API responds."""
    return {"status": "ok"}


@app.endpoint(
    "GET",
    "/readyz",
    who="anybody",
    returns=responses.Readiness,
    also={503: responses.Readiness},
)
def show_readiness(call: Call) -> Response:
    """Check the API's dependencies: 200, or 503 if one is unavailable."""
    status, shown = answers.health(call)
    return json_response(shown, status=status)


@app.endpoint("GET", "/openapi.json", who="anybody", returns=dict[str, Any])
def show_openapi(call: Call) -> dict[str, Any]:
    """The API as an OpenAPI 3.1 document."""
    return openapi.document(app.endpoints, prefix=call.prefix)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(_event: CloudWatchEvent) -> None:
    """Find what was lost and get it going again, and say how much there is to do."""
    app.wiring.sweeper.sweep(now=app.wiring.now())
    measured = backlog.measure(app.wiring.database, app.wiring.queue)
    backlog.publish(measured, queue=app.wiring.settings.queue_name)


# --- Pages ---

app.problem_page = problem


@app.page("GET", "/static/{name}")
def show_asset(_call: Call, name: str) -> Response:
    """A file that pages load."""
    return assets.serve(name)


@app.page("GET", "/docs")
def show_docs(call: Call) -> Response:
    """The API for people."""
    return reference(call, app.endpoints)


@app.page("GET", "/")
def show_home(call: Call) -> Response:
    """One's own exports, or the way in."""
    return export_pages.home(call)


@app.page("GET", "/sign-up")
def show_sign_up(call: Call) -> Response:
    """The form to make an account with."""
    return sign_in.sign_up_form(call)


@app.page("POST", "/sign-up")
def submit_sign_up(call: Call) -> Response:
    """Make an account with the form."""
    return sign_in.submit_sign_up(call)


@app.page("GET", "/sign-in")
def show_sign_in(call: Call) -> Response:
    """The form to sign in with."""
    return sign_in.sign_in_form(call)


@app.page("POST", "/sign-in")
def submit_sign_in(call: Call) -> Response:
    """Sign in with the form."""
    return sign_in.submit_sign_in(call)


@app.page("POST", "/sign-out")
def submit_sign_out(call: Call) -> Response:
    """Sign out."""
    return sign_in.submit_sign_out(call)


@app.page("GET", "/account")
def show_account(call: Call) -> Response:
    """One's own account."""
    return account.account(call)


@app.page("POST", "/account")
def submit_account(call: Call) -> Response:
    """Change the account with the form."""
    return account.submit_account(call)


@app.page("POST", "/account/password")
def submit_account_password(call: Call) -> Response:
    """Change the password with the form."""
    return account.submit_password(call)


@app.page("POST", "/account/erase")
def submit_erase(call: Call) -> Response:
    """Erase the account with the form."""
    return account.submit_erase(call)


@app.page("GET", "/users/{username}")
def show_profile(call: Call, username: str) -> Response:
    """A user's posts."""
    return profile.profile(call, username)


@app.page("POST", "/posts")
def submit_post(call: Call) -> Response:
    """Write a post with the form."""
    return profile.submit_post(call)


@app.page("POST", "/posts/{post_id}/delete")
def submit_post_deletion(call: Call, post_id: str) -> Response:
    """Delete a post with the button."""
    return profile.submit_deletion(call, post_id)


@app.page("POST", "/exports")
def submit_export(call: Call) -> Response:
    """Ask for an export with the button."""
    return export_pages.submit_export(call)


@app.page("GET", "/exports/{task_id}")
def show_export(call: Call, task_id: str) -> Response:
    """An export: how far it is, or the download."""
    return export_pages.export(call, task_id)


@app.page("POST", "/exports/{task_id}/delete")
def submit_export_deletion(call: Call, task_id: str) -> Response:
    """Delete an export's file with the button."""
    return export_pages.submit_deletion(call, task_id)


@app.page("POST", "/exports/{task_id}/mail")
def submit_export_mail(call: Call, task_id: str) -> Response:
    """Have an export's mail sent again with the button."""
    return export_pages.submit_mail(call, task_id)


@app.page("POST", "/tasks/{task_id}/cancel")
def submit_cancel(call: Call, task_id: str) -> Response:
    """Cancel a task with the button."""
    return export_pages.submit_cancel(call, task_id)


@app.page("POST", "/tasks/{task_id}/retry")
def submit_retry(call: Call, task_id: str) -> Response:
    """Try a task again with the button."""
    return export_pages.submit_retry(call, task_id)


@app.page("GET", "/admin")
def show_admin(call: Call) -> Response:
    """The queue, the workers, what goes on and what failed."""
    return admin.admin(call)


@app.page("POST", "/admin/tasks/{task_id}/cancel")
def submit_admin_cancel(call: Call, task_id: str) -> Response:
    """Cancel anybody's task."""
    return admin.submit_cancel(call, task_id)


@app.page("POST", "/admin/tasks/{task_id}/retry")
def submit_admin_retry(call: Call, task_id: str) -> Response:
    """Try anybody's task again."""
    return admin.submit_retry(call, task_id)


# --- Pages that mails link to ---


@app.page("GET", "/forgot")
def show_forgot(call: Call) -> Response:
    """The form to ask for a new password with."""
    return links.forgot_form(call)


@app.page("POST", "/forgot")
def submit_forgot(call: Call) -> Response:
    """Have a link to a new password mailed."""
    return links.submit_forgot(call)


@app.page("GET", "/new-password")
def show_new_password(call: Call) -> Response:
    """The form that the link leads to."""
    return links.new_password_form(call)


@app.page("POST", "/new-password")
def submit_new_password(call: Call) -> Response:
    """Set a new password with the form."""
    return links.submit_new_password(call)


@app.page("GET", "/confirm")
def show_confirm(call: Call) -> Response:
    """The button that confirms a mail address."""
    return links.confirm_form(call)


@app.page("POST", "/confirm")
def submit_confirm(call: Call) -> Response:
    """Confirm a mail address with the button."""
    return links.submit_confirm(call)
