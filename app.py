"""The HTTP API and the pages: routes only.

Each view parses, makes one call into `chalicelib` and answers; its declaration says for whom it is.
Chalice deploys this file to Lambda; `infra/servers/serve.py` and `chalice local` serve it on a
machine.
"""

from typing import TYPE_CHECKING, Any

from chalice.app import CloudWatchEvent, Rate, Response

from chalicelib.errors import (
    AddressConfirmed,
    AddressUnconfirmed,
    CoolingDown,
    DeliveryInProgress,
    EmailInProgress,
    EmailTaken,
    ExportGone,
    IdempotencyKeyReused,
    ImportGone,
    LinkOver,
    NoFile,
    NotFound,
    NothingUploaded,
    NotReady,
    QuotaExceeded,
    RegistrationClosed,
    ReportGone,
    ReportNotReady,
    ScheduleEnded,
    SignInAgain,
    TaskActive,
    TaskEnded,
    TaskInProgress,
    TaskSucceeded,
    TooManyAttempts,
    TooManySchedules,
    TooManyWebhooks,
    Unavailable,
    UploadTooLarge,
    UsernameTaken,
    WebhookDisabled,
    WrongCredentials,
    WrongPassword,
)
from chalicelib.operations import backlog, prometheus
from chalicelib.schemas import administration as admin_schemas
from chalicelib.schemas import imports as import_schemas
from chalicelib.schemas import responses
from chalicelib.schemas import schedules as schedule_schemas
from chalicelib.schemas.exports import DatasetList, NewExport
from chalicelib.schemas.requests import (
    Confirmation,
    Credentials,
    Erasure,
    ListQuery,
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
from chalicelib.schemas.schedules import NewSchedule, PauseChange, ScheduleChange
from chalicelib.schemas.serializers import show_post, show_time
from chalicelib.schemas.webhooks import (
    ChangedWebhook,
    DeliveryList,
    NewWebhook,
    ShownDelivery,
    ShownWebhook,
    WebhookList,
    show_delivery,
    show_webhook,
)
from chalicelib.web import (
    account_actions,
    actions,
    datasets,
    imports,
    lists,
    metrics,
    openapi,
    recovery,
    schedules,
    sessions,
    status,
    webhooks,
)
from chalicelib.web.api import Api
from chalicelib.web.lazy import LazyModule
from chalicelib.web.pages import account, assets, links, profile, sign_in
from chalicelib.web.pages import exports as export_pages
from chalicelib.web.pages import imports as import_pages
from chalicelib.web.pages import schedules as schedule_pages
from chalicelib.web.pages import webhooks as webhook_pages
from chalicelib.web.pages.problem import problem
from chalicelib.web.pages.security_txt import security_txt
from chalicelib.web.request import Call
from chalicelib.web.responses import accepted, json_response, no_content

if TYPE_CHECKING:
    from chalicelib.web import administration
    from chalicelib.web.pages import admin, admin_sections
    from chalicelib.web.pages import reference as reference_page
else:  # what operators and readers of the reference need, a cold start does without
    administration = LazyModule("chalicelib.web.administration")
    admin = LazyModule("chalicelib.web.pages.admin")
    admin_sections = LazyModule("chalicelib.web.pages.admin_sections")
    reference_page = LazyModule("chalicelib.web.pages.reference")

app = Api("carryout")

NEW_TASK = ("Location", "ETag", "[Retry-After]")
"""The headers of a response that has queued a task."""

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
    user = account_actions.sign_up(call, call.body(SignUp))
    return json_response(user, status=201, headers={"Location": user["links"]["self"]})


@app.endpoint(
    "POST",
    "/v1/tokens",
    who="anybody",
    body=Credentials,
    status=201,
    returns=responses.Token,
    problems=(WrongCredentials, TooManyAttempts),
)
def create_token(call: Call) -> responses.Token:
    """Sign in: get a bearer token."""
    given = call.body(Credentials)
    new = sessions.sign_in(call, username=given.username, password=given.password)
    return {"token": new.token, "expires_at": show_time(new.expires_at)}


@app.endpoint("DELETE", "/v1/tokens/current", status=204)
def revoke_token(call: Call) -> Response:
    """Sign out: revoke the token that this request carries."""
    sessions.sign_out(call, call.token)
    return no_content()


@app.endpoint("GET", "/v1/me", returns=responses.User)
def show_me(call: Call) -> responses.User:
    """Show your account."""
    return account_actions.show_account(call)


@app.endpoint(
    "PATCH",
    "/v1/me",
    body=Profile,
    returns=responses.User,
    problems=(WrongPassword, TooManyAttempts, EmailTaken),
)
def change_me(call: Call) -> responses.User:
    """Change your email address, which takes your password, or your language."""
    return account_actions.change_profile(call, call.body(Profile))


@app.endpoint("DELETE", "/v1/me", status=204, problems=(SignInAgain,))
def erase_me(call: Call) -> Response:
    """Delete your account, with all data, files and pending emails; needs a recent sign-in."""
    account_actions.erase(call)
    return no_content()


@app.endpoint(
    "POST",
    "/v1/me/erasure",
    body=Erasure,
    status=204,
    problems=(WrongPassword, TooManyAttempts),
)
def erase_me_with_password(call: Call) -> Response:
    """Delete your account with your password, however long ago you signed in."""
    account_actions.erase(call, password=call.body(Erasure).current_password)
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
    account_actions.change_password(call, current=given.current_password, password=given.password)
    return no_content()


@app.endpoint("POST", "/v1/me/confirmation", body=Nothing, status=202, problems=(AddressConfirmed,))
def request_confirmation(call: Call) -> Response:
    """Email a link that confirms your email address."""
    call.body(Nothing)
    recovery.request_confirmation(call)
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
def request_reset(call: Call) -> Response:
    """Email a link that resets a password; the response is the same for unknown addresses."""
    recovery.request_reset(call, call.body(ResetWish).email)
    return accepted()


@app.endpoint("POST", "/v1/passwords", who="anybody", body=Reset, status=204, problems=(LinkOver,))
def reset_password(call: Call) -> Response:
    """Set a new password with the key from the link; all sessions end."""
    given = call.body(Reset)
    recovery.reset_password(call, key=given.key, password=given.password)
    return no_content()


@app.endpoint(
    "POST",
    "/v1/address-restorations",
    who="anybody",
    body=Confirmation,
    status=204,
    problems=(LinkOver, EmailTaken),
)
def restore_address(call: Call) -> Response:
    """Take a change of email address back with the key that the old address got, for 7 days.

    All sessions end, and a link to a new password is emailed.
    """
    recovery.restore_address(call, call.body(Confirmation).key)
    return no_content()


# --- Posts ---


@app.endpoint(
    "POST",
    "/v1/posts",
    body=NewPost,
    status=201,
    returns=responses.Post,
    problems=(QuotaExceeded,),
)
def create_post(call: Call) -> responses.Post:
    """Write a post."""
    return show_post(actions.write_post(call, call.body(NewPost).body))


@app.endpoint(
    "GET",
    "/v1/users/{username}/posts",
    query=PostListQuery,
    returns=responses.PostList,
    headers=("[Link]",),
)
def list_posts(call: Call, username: str) -> Response:
    """List a user's posts, the newest first."""
    return lists.post_list(call, username)


@app.endpoint("DELETE", "/v1/posts/{post_id}", status=204)
def delete_post(call: Call, post_id: str) -> Response:
    """Delete one of your posts."""
    actions.delete_post(call, post_id)
    return no_content()


# --- Tasks ---


@app.endpoint(
    "POST",
    "/v1/exports",
    body=NewExport,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(TaskInProgress, CoolingDown, IdempotencyKeyReused),
    reads=("Idempotency-Key",),
)
def create_export(call: Call) -> Response:
    """Request an export: of your posts, or with `archive` of what you choose of all your data."""
    view, alive = datasets.launch_export(call, call.body(NewExport))
    return lists.task_response(call, view, status=202, alive=alive)


@app.endpoint(
    "POST",
    "/v1/tasks",
    body=NewTask,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(
        NotFound,
        TaskInProgress,
        CoolingDown,
        NothingUploaded,
        ImportGone,
        IdempotencyKeyReused,
    ),
    reads=("Idempotency-Key",),
)
def create_task(call: Call) -> Response:
    """Launch any registered task."""
    view, alive = actions.launch_any(call, call.body(NewTask))
    return lists.task_response(call, view, status=202, alive=alive)


@app.endpoint(
    "GET", "/v1/tasks", query=TaskListQuery, returns=responses.TaskList, headers=("[Link]",)
)
def list_tasks(call: Call) -> Response:
    """List your tasks, newest first."""
    return lists.task_list(call, user_id=call.user.id)


@app.endpoint(
    "GET",
    "/v1/tasks/{task_id}",
    query=WaitQuery,
    returns=responses.Task,
    headers=("ETag", "[Retry-After]"),
    also={304: None},
    reads=("If-None-Match",),
)
def show_one_task(call: Call, task_id: str) -> Response:
    """Show a task; with `If-None-Match`, `wait` holds the response until something changes."""
    return lists.changed_task(call, task_id, wait_s=call.query(WaitQuery).wait)


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
    view = actions.cancel(call, task_id)
    return lists.task_response(call, view, status=202 if view.task.status == "cancelling" else 200)


@app.endpoint(
    "POST",
    "/v1/tasks/{task_id}/retry",
    body=Nothing,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(TaskActive, TaskSucceeded, TaskInProgress, CoolingDown, ImportGone),
)
def retry_task(call: Call, task_id: str) -> Response:
    """Queue a failed or cancelled task again."""
    call.body(Nothing)
    return lists.task_response(call, actions.retry(call, task_id), status=202)


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
    url, disposition = actions.download(call, task_id)
    headers = {"Cache-Control": "no-store", "Content-Disposition": disposition}
    return Response("", {"Location": url, **headers}, 303)


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
    problems=(NotReady, NoFile, EmailInProgress, AddressUnconfirmed, ExportGone),
)
def resend_export_email(call: Call, task_id: str) -> Response:
    """Resend the email for an export."""
    call.body(Nothing)
    return lists.task_response(call, actions.email_again(call, task_id), status=202)


@app.endpoint(
    "GET",
    "/v1/datasets",
    query=ListQuery,
    returns=DatasetList,
    headers=("[Link]",),
)
def list_datasets(call: Call) -> Response:
    """List what there is of your data, with an estimate of the size and time of an export."""
    return datasets.dataset_list(call)


# --- Notifications ---


@app.endpoint("GET", "/v1/notifications", query=NotificationQuery, returns=responses.News)
def list_notifications(call: Call) -> responses.News:
    """List notifications after a sequence number; `wait` holds the response until there are any."""
    query = call.query(NotificationQuery)
    return lists.news(call, after=query.after, wait_s=query.wait)


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
    return lists.task_list(call, user_id=None)


@app.endpoint("GET", "/v1/admin/queue", who="administrator", returns=responses.Queue)
def show_queue(call: Call) -> responses.Queue:
    """Show the queue."""
    return status.queue_state(call)


@app.endpoint("GET", "/v1/admin/workers", who="administrator", returns=responses.WorkerList)
def list_workers(call: Call) -> responses.WorkerList:
    """List the workers that are alive."""
    return status.workers(call)


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
    code, shown = status.health(call)
    return json_response(shown, status=code)


@app.endpoint("GET", "/openapi.json", who="anybody", returns=dict[str, Any])
def show_openapi(call: Call) -> dict[str, Any]:
    """The API as an OpenAPI 3.1 document."""
    return openapi.document(app.endpoints, prefix=call.prefix, cookie=call.cookie_name)


@app.endpoint(
    "GET",
    "/metrics",
    who="administrator",
    admits=metrics.has_token,
    returns=str,
    problems=(Unavailable,),
    media_type=prometheus.MEDIA_TYPE,
)
def show_metrics(call: Call) -> Response:
    """Numbers for Prometheus, for administrators and for the token of the settings."""
    return metrics.metrics(call)


# --- Schedules and pauses ---


@app.endpoint(
    "POST",
    "/v1/schedules",
    body=NewSchedule,
    status=201,
    returns=schedule_schemas.Schedule,
    headers=("Location",),
    problems=(TooManySchedules,),
)
def create_schedule(call: Call) -> Response:
    """Launch a task again and again, by a recurrence rule."""
    shown = schedules.create(call, call.body(NewSchedule))
    return json_response(shown, status=201, headers={"Location": shown["links"]["self"]})


@app.endpoint(
    "GET",
    "/v1/schedules",
    query=ListQuery,
    returns=schedule_schemas.ScheduleList,
    headers=("[Link]",),
)
def list_schedules(call: Call) -> Response:
    """List your schedules, newest first."""
    return schedules.list_all(call)


@app.endpoint("GET", "/v1/schedules/{schedule_id}", returns=schedule_schemas.Schedule)
def show_schedule(call: Call, schedule_id: str) -> schedule_schemas.Schedule:
    """Show a schedule."""
    return schedules.get(call, schedule_id)


@app.endpoint(
    "PATCH",
    "/v1/schedules/{schedule_id}",
    body=ScheduleChange,
    returns=schedule_schemas.Schedule,
    problems=(ScheduleEnded,),
)
def change_schedule(call: Call, schedule_id: str) -> schedule_schemas.Schedule:
    """Pause or resume a schedule, or change its task, its rule or its time zone."""
    return schedules.change(call, schedule_id, call.body(ScheduleChange))


@app.endpoint("DELETE", "/v1/schedules/{schedule_id}", status=204)
def delete_schedule(call: Call, schedule_id: str) -> Response:
    """Delete a schedule; the tasks that it launched stay."""
    schedules.delete(call, schedule_id)
    return no_content()


@app.endpoint(
    "POST",
    "/v1/admin/queue/pause",
    who="administrator",
    body=PauseChange,
    returns=responses.Queue,
)
def pause_queue(call: Call) -> responses.Queue:
    """Pause a kind of task, or all of them; running tasks go on."""
    return schedules.pause(call, call.body(PauseChange).name)


@app.endpoint(
    "POST",
    "/v1/admin/queue/resume",
    who="administrator",
    body=PauseChange,
    returns=responses.Queue,
)
def resume_queue(call: Call) -> responses.Queue:
    """Resume a kind of task, or all of them."""
    return schedules.resume(call, call.body(PauseChange).name)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def sweep(_event: CloudWatchEvent) -> None:
    """Run the reconciler, and publish the size of the backlog."""
    app.wiring.reconciler.sweep(now=app.wiring.now())
    measured = backlog.measure(app.wiring.database, app.wiring.queue)
    backlog.publish(measured, queue=app.wiring.settings.queue_name)


# --- Imports ---


@app.endpoint(
    "POST",
    "/v1/imports",
    body=import_schemas.NewImport,
    status=201,
    returns=import_schemas.Import,
    headers=("Location",),
    problems=(UploadTooLarge,),
)
def create_import(call: Call) -> Response:
    """Ask for a URL to upload a file to; then start the import."""
    return imports.create_response(call, call.body(import_schemas.NewImport))


@app.endpoint(
    "GET",
    "/v1/imports",
    query=import_schemas.ImportListQuery,
    returns=import_schemas.ImportList,
    headers=("[Link]",),
)
def list_imports(call: Call) -> Response:
    """List your imports, newest first."""
    return imports.show_list(call)


@app.endpoint("GET", "/v1/imports/{import_id}", returns=import_schemas.Import)
def show_one_import(call: Call, import_id: str) -> Response:
    """Show an import."""
    return imports.show(call, import_id)


@app.endpoint(
    "POST",
    "/v1/imports/{import_id}/start",
    body=Nothing,
    status=202,
    returns=responses.Task,
    headers=NEW_TASK,
    problems=(TaskInProgress, NothingUploaded, ImportGone, IdempotencyKeyReused),
    reads=("Idempotency-Key",),
)
def start_import(call: Call, import_id: str) -> Response:
    """Import the posts of the uploaded file: all that can be imported, or none."""
    call.body(Nothing)
    view, alive = imports.start(call, import_id)
    return lists.task_response(call, view, status=202, alive=alive)


@app.endpoint(
    "GET",
    "/v1/imports/{import_id}/report",
    status=303,
    headers=("Location", "Content-Disposition"),
    problems=(ReportNotReady, ReportGone),
)
def download_report(call: Call, import_id: str) -> Response:
    """Redirect to the report of what was left out: one `{position, reason}` object per line."""
    return imports.report(call, import_id)


# --- Webhooks ---


@app.endpoint(
    "POST",
    "/v1/webhooks",
    body=NewWebhook,
    status=201,
    returns=ShownWebhook,
    headers=("Location",),
    problems=(TooManyWebhooks, AddressUnconfirmed),
)
def create_webhook(call: Call) -> Response:
    """Add a webhook, which hears when tasks end; the response alone shows its secret."""
    return webhooks.created(call, call.body(NewWebhook))


@app.endpoint("GET", "/v1/webhooks", query=ListQuery, returns=WebhookList, headers=("[Link]",))
def list_webhooks(call: Call) -> Response:
    """List your webhooks, newest first."""
    return webhooks.webhook_list(call)


@app.endpoint("GET", "/v1/webhooks/{webhook_id}", returns=ShownWebhook)
def show_one_webhook(call: Call, webhook_id: str) -> ShownWebhook:
    """Show a webhook."""
    return show_webhook(webhooks.find(call, webhook_id), prefix=call.prefix)


@app.endpoint("PATCH", "/v1/webhooks/{webhook_id}", body=ChangedWebhook, returns=ShownWebhook)
def change_webhook(call: Call, webhook_id: str) -> ShownWebhook:
    """Change a webhook, disable it or enable it again."""
    changed = webhooks.change(call, webhook_id, call.body(ChangedWebhook))
    return show_webhook(changed, prefix=call.prefix)


@app.endpoint("DELETE", "/v1/webhooks/{webhook_id}", status=204)
def delete_webhook(call: Call, webhook_id: str) -> Response:
    """Delete a webhook and its deliveries."""
    webhooks.delete(call, webhook_id)
    return no_content()


@app.endpoint(
    "POST",
    "/v1/webhooks/{webhook_id}/test",
    body=Nothing,
    status=202,
    returns=ShownDelivery,
    problems=(WebhookDisabled,),
)
def create_test_delivery(call: Call, webhook_id: str) -> ShownDelivery:
    """Deliver an event of the type `webhook.test` to a webhook."""
    call.body(Nothing)
    return show_delivery(webhooks.deliver_test(call, webhook_id), prefix=call.prefix)


@app.endpoint(
    "GET",
    "/v1/webhooks/{webhook_id}/deliveries",
    query=PostListQuery,
    returns=DeliveryList,
    headers=("[Link]",),
)
def list_deliveries(call: Call, webhook_id: str) -> Response:
    """List the deliveries to a webhook, newest first."""
    return webhooks.delivery_list(call, webhook_id)


@app.endpoint(
    "POST",
    "/v1/webhooks/{webhook_id}/deliveries/{number}/redeliver",
    body=Nothing,
    status=202,
    returns=ShownDelivery,
    problems=(WebhookDisabled, DeliveryInProgress),
)
def redeliver(call: Call, webhook_id: str, number: str) -> ShownDelivery:
    """Deliver an event once more, under the same `webhook-id`."""
    call.body(Nothing)
    return show_delivery(webhooks.redeliver(call, webhook_id, number), prefix=call.prefix)


# --- What operators look at ---


@app.endpoint(
    "GET",
    "/v1/admin/tasks/{task_id}",
    who="administrator",
    returns=admin_schemas.TaskStory,
)
def show_task_story(call: Call, task_id: str) -> admin_schemas.TaskStory:
    """Show a task's whole story: its attempts, events, messages, and lines in the log."""
    return administration.story(call, task_id)


@app.endpoint(
    "GET",
    "/v1/admin/outbox",
    who="administrator",
    query=admin_schemas.OutboxQuery,
    returns=admin_schemas.OverseenMessageList,
    headers=("[Link]",),
)
def list_outbox(call: Call) -> Response:
    """List emails and deliveries to webhooks, newest first; never what they say."""
    return administration.message_list(call)


@app.endpoint(
    "GET",
    "/v1/admin/schedules",
    who="administrator",
    query=ListQuery,
    returns=admin_schemas.OverseenScheduleList,
    headers=("[Link]",),
)
def list_all_schedules(call: Call) -> Response:
    """List all users' schedules, newest first."""
    return administration.schedule_list(call)


@app.endpoint(
    "PATCH",
    "/v1/admin/schedules/{schedule_id}",
    who="administrator",
    body=admin_schemas.Switch,
    returns=admin_schemas.OverseenSchedule,
    problems=(ScheduleEnded,),
)
def switch_any_schedule(call: Call, schedule_id: str) -> admin_schemas.OverseenSchedule:
    """Pause or resume anybody's schedule."""
    wanted = call.body(admin_schemas.Switch)
    return administration.switch_schedule(call, schedule_id, enabled=wanted.enabled)


@app.endpoint(
    "GET",
    "/v1/admin/webhooks",
    who="administrator",
    query=admin_schemas.WebhookQuery,
    returns=admin_schemas.OverseenWebhookList,
    headers=("[Link]",),
)
def list_all_webhooks(call: Call) -> Response:
    """List all users' webhooks, newest first, or only those that fail."""
    return administration.webhook_list(call)


@app.endpoint(
    "PATCH",
    "/v1/admin/webhooks/{webhook_id}",
    who="administrator",
    body=admin_schemas.Switch,
    returns=admin_schemas.OverseenWebhook,
)
def switch_any_webhook(call: Call, webhook_id: str) -> admin_schemas.OverseenWebhook:
    """Pause or resume anybody's webhook."""
    wanted = call.body(admin_schemas.Switch)
    return administration.switch_webhook(call, webhook_id, enabled=wanted.enabled)


@app.endpoint(
    "POST",
    "/v1/admin/webhooks/{webhook_id}/deliveries/{number}/redeliver",
    who="administrator",
    status=202,
    returns=admin_schemas.OverseenMessage,
    problems=(WebhookDisabled, DeliveryInProgress),
)
def redeliver_any(call: Call, webhook_id: str, number: str) -> admin_schemas.OverseenMessage:
    """Deliver an event to anybody's webhook once more."""
    call.body(Nothing)
    return administration.redeliver(call, webhook_id, number)


@app.endpoint(
    "GET",
    "/v1/admin/imports",
    who="administrator",
    query=ListQuery,
    returns=admin_schemas.OverseenImportList,
    headers=("[Link]",),
)
def list_all_imports(call: Call) -> Response:
    """List all users' imports, newest first."""
    return administration.import_list(call)


@app.endpoint("GET", "/v1/admin/limits", who="administrator", returns=admin_schemas.Limits)
def show_limits(call: Call) -> admin_schemas.Limits:
    """Show all limits, and who was refused within a day."""
    return administration.limits(call)


# --- Pages ---

app.problem_page = problem


@app.page("GET", "/static/{name}", who="anybody")
def show_asset(_call: Call, name: str) -> Response:
    """A style sheet, script or icon."""
    return assets.serve(name)


@app.page("GET", "/.well-known/security.txt", who="anybody")
def show_security_txt(call: Call) -> Response:
    """Where to report a weakness."""
    return security_txt(call)


@app.page("GET", "/docs", who="anybody")
def show_docs(call: Call) -> Response:
    """The API's reference."""
    return reference_page.reference(call, app.endpoints)


@app.page("GET", "/", who="anybody")
def show_home(call: Call) -> Response:
    """The caller's exports, or the welcome page."""
    return export_pages.home(call)


@app.page("GET", "/sign-up", who="anybody")
def show_sign_up(call: Call) -> Response:
    """The form that creates an account."""
    return sign_in.sign_up_form(call)


@app.page("POST", "/sign-up", who="anybody", csrf=False)
def submit_sign_up(call: Call) -> Response:
    """Create an account."""
    return sign_in.submit_sign_up(call)


@app.page("POST", "/try", who="anybody", csrf=False)
def submit_try(call: Call) -> Response:
    """Create a guest's account, on a demo."""
    return sign_in.submit_try(call)


@app.page("GET", "/sign-in", who="anybody")
def show_sign_in(call: Call) -> Response:
    """The form that signs in."""
    return sign_in.sign_in_form(call)


@app.page("POST", "/sign-in", who="anybody", csrf=False)
def submit_sign_in(call: Call) -> Response:
    """Sign in."""
    return sign_in.submit_sign_in(call)


@app.page("POST", "/sign-out", who="anybody")
def submit_sign_out(call: Call) -> Response:
    """Sign out."""
    return sign_in.submit_sign_out(call)


@app.page("GET", "/account", who="user")
def show_account(call: Call) -> Response:
    """The caller's account."""
    return account.account(call)


@app.page("POST", "/account", who="user")
def submit_account(call: Call) -> Response:
    """Change the email address or the language."""
    return account.submit_account(call)


@app.page("POST", "/account/confirmation", who="user")
def submit_account_confirmation(call: Call) -> Response:
    """Email a link that confirms the address."""
    return account.submit_confirmation(call)


@app.page("POST", "/account/password", who="user")
def submit_account_password(call: Call) -> Response:
    """Change the password."""
    return account.submit_password(call)


@app.page("POST", "/account/erase", who="user")
def submit_erase(call: Call) -> Response:
    """Erase the account."""
    return account.submit_erase(call)


@app.page("GET", "/users/{username}", who="user")
def show_profile(call: Call, username: str) -> Response:
    """A user's posts."""
    return profile.profile(call, username)


@app.page("POST", "/posts", who="user")
def submit_post(call: Call) -> Response:
    """Write a post."""
    return profile.submit_post(call)


@app.page("POST", "/posts/{post_id}/delete", who="user")
def submit_post_deletion(call: Call, post_id: str) -> Response:
    """Delete a post."""
    return profile.submit_deletion(call, post_id)


@app.page("POST", "/exports", who="user")
def submit_export(call: Call) -> Response:
    """Request an export."""
    return export_pages.submit_export(call)


@app.page("GET", "/exports/{task_id}", who="user")
def show_export(call: Call, task_id: str) -> Response:
    """An export: its progress, or its download."""
    return export_pages.export(call, task_id)


@app.page("POST", "/exports/{task_id}/delete", who="user")
def submit_export_deletion(call: Call, task_id: str) -> Response:
    """Delete an export's file."""
    return export_pages.submit_deletion(call, task_id)


@app.page("POST", "/exports/{task_id}/mail", who="user")
def submit_export_email(call: Call, task_id: str) -> Response:
    """Resend the email for an export."""
    return export_pages.submit_email(call, task_id)


@app.page("POST", "/tasks/{task_id}/cancel", who="user")
def submit_cancel(call: Call, task_id: str) -> Response:
    """Cancel a task."""
    return export_pages.submit_cancel(call, task_id)


@app.page("POST", "/tasks/{task_id}/retry", who="user")
def submit_retry(call: Call, task_id: str) -> Response:
    """Retry a task."""
    return export_pages.submit_retry(call, task_id)


@app.page("GET", "/admin", who="administrator")
def show_admin(call: Call) -> Response:
    """The queue, the workers, tasks in progress and tasks that failed."""
    return admin.admin(call)


@app.page("POST", "/admin/tasks/{task_id}/cancel", who="administrator")
def submit_admin_cancel(call: Call, task_id: str) -> Response:
    """Cancel any user's task."""
    return admin.submit_cancel(call, task_id)


@app.page("POST", "/admin/tasks/{task_id}/retry", who="administrator")
def submit_admin_retry(call: Call, task_id: str) -> Response:
    """Retry any user's task."""
    return admin.submit_retry(call, task_id)


# --- Pages that emails link to ---


@app.page("GET", "/forgot", who="anybody")
def show_forgot(call: Call) -> Response:
    """The form that requests a link to a new password."""
    return links.forgot_form(call)


@app.page("POST", "/forgot", who="anybody", csrf=False)
def submit_forgot(call: Call) -> Response:
    """Email a link to a new password."""
    return links.submit_forgot(call)


@app.page("GET", "/new-password", who="anybody")
def show_new_password(call: Call) -> Response:
    """The form that sets a new password."""
    return links.new_password_form(call)


@app.page("POST", "/new-password", who="anybody", csrf=False)
def submit_new_password(call: Call) -> Response:
    """Set a new password."""
    return links.submit_new_password(call)


@app.page("GET", "/confirm", who="anybody")
def show_confirm(call: Call) -> Response:
    """The button that confirms an email address."""
    return links.confirm_form(call)


@app.page("POST", "/confirm", who="anybody", csrf=False)
def submit_confirm(call: Call) -> Response:
    """Confirm an email address."""
    return links.submit_confirm(call)


@app.page("GET", "/restore-address", who="anybody")
def show_restore_address(call: Call) -> Response:
    """The button that takes a change of address back."""
    return links.restore_form(call)


@app.page("POST", "/restore-address", who="anybody", csrf=False)
def submit_restore_address(call: Call) -> Response:
    """Take a change of address back."""
    return links.submit_restoration(call)


# --- Pages of imports ---


@app.page("GET", "/imports", who="user")
def show_imports(call: Call) -> Response:
    """The caller's imports, and the form for a new one."""
    return import_pages.imports(call)


@app.page("POST", "/imports", who="user")
def submit_import(call: Call) -> Response:
    """Begin an import without a script: the next page uploads the file."""
    return import_pages.submit_import(call)


@app.page("GET", "/imports/{import_id}", who="user")
def show_import_page(call: Call, import_id: str) -> Response:
    """An import: its upload, its progress, or its report."""
    return import_pages.one_import(call, import_id)


@app.page("GET", "/imports/{import_id}/uploaded", who="anybody")
def show_uploaded(call: Call, import_id: str) -> Response:
    """Where the bucket sends a browser after an upload."""
    return import_pages.uploaded(call, import_id)


@app.page("POST", "/imports/{import_id}/start", who="user")
def submit_import_start(call: Call, import_id: str) -> Response:
    """Start the import of an uploaded file."""
    return import_pages.submit_start(call, import_id)


# --- Pages of schedules and pauses ---


@app.page("GET", "/schedules", who="user")
def show_schedules(call: Call) -> Response:
    """The caller's schedules, and the form for a new one."""
    return schedule_pages.schedules(call)


@app.page("POST", "/schedules", who="user")
def submit_schedule(call: Call) -> Response:
    """Add a schedule."""
    return schedule_pages.submit(call)


@app.page("POST", "/schedules/{schedule_id}/pause", who="user")
def submit_schedule_pause(call: Call, schedule_id: str) -> Response:
    """Pause a schedule."""
    return schedule_pages.submit_switch(call, schedule_id, enabled=False)


@app.page("POST", "/schedules/{schedule_id}/resume", who="user")
def submit_schedule_resume(call: Call, schedule_id: str) -> Response:
    """Resume a schedule."""
    return schedule_pages.submit_switch(call, schedule_id, enabled=True)


@app.page("POST", "/schedules/{schedule_id}/delete", who="user")
def submit_schedule_deletion(call: Call, schedule_id: str) -> Response:
    """Delete a schedule."""
    return schedule_pages.submit_deletion(call, schedule_id)


@app.page("POST", "/admin/pause", who="administrator")
def submit_admin_pause(call: Call) -> Response:
    """Pause a kind of task, or all of them."""
    return admin.submit_pause(call)


@app.page("POST", "/admin/resume", who="administrator")
def submit_admin_resume(call: Call) -> Response:
    """Resume a kind of task, or all of them."""
    return admin.submit_resume(call)


# --- Pages of webhooks ---


@app.page("GET", "/webhooks", who="user")
def show_webhooks(call: Call) -> Response:
    """The caller's webhooks."""
    return webhook_pages.webhook_list(call)


@app.page("POST", "/webhooks", who="user")
def submit_webhook(call: Call) -> Response:
    """Add a webhook, and show its secret."""
    return webhook_pages.submit_webhook(call)


@app.page("GET", "/webhooks/{webhook_id}", who="user")
def show_webhook_page(call: Call, webhook_id: str) -> Response:
    """A webhook and its deliveries."""
    return webhook_pages.webhook(call, webhook_id)


@app.page("POST", "/webhooks/{webhook_id}/enable", who="user")
def submit_webhook_enabled(call: Call, webhook_id: str) -> Response:
    """Enable a webhook."""
    return webhook_pages.submit_enabled(call, webhook_id, enabled=True)


@app.page("POST", "/webhooks/{webhook_id}/disable", who="user")
def submit_webhook_disabled(call: Call, webhook_id: str) -> Response:
    """Disable a webhook."""
    return webhook_pages.submit_enabled(call, webhook_id, enabled=False)


@app.page("POST", "/webhooks/{webhook_id}/delete", who="user")
def submit_webhook_deletion(call: Call, webhook_id: str) -> Response:
    """Delete a webhook."""
    return webhook_pages.submit_deletion(call, webhook_id)


@app.page("POST", "/webhooks/{webhook_id}/test", who="user")
def submit_webhook_test(call: Call, webhook_id: str) -> Response:
    """Deliver a test."""
    return webhook_pages.submit_test(call, webhook_id)


@app.page("POST", "/webhooks/{webhook_id}/deliveries/{number}/redeliver", who="user")
def submit_redelivery(call: Call, webhook_id: str, number: str) -> Response:
    """Deliver an event once more."""
    return webhook_pages.submit_redelivery(call, webhook_id, number)


# --- Pages of operators ---


@app.page("GET", "/admin/period", who="administrator")
def show_admin_period(call: Call) -> Response:
    """The tasks that ended in a stretch of time, as plots and as a table."""
    return admin.period(call)


@app.page("GET", "/admin/outbox", who="administrator")
def show_admin_outbox(call: Call) -> Response:
    """Emails and deliveries."""
    return admin_sections.outbox(call)


@app.page("GET", "/admin/schedules", who="administrator")
def show_admin_schedules(call: Call) -> Response:
    """Everybody's schedules."""
    return admin_sections.schedules(call)


@app.page("POST", "/admin/schedules/{schedule_id}/pause", who="administrator")
def submit_admin_schedule_pause(call: Call, schedule_id: str) -> Response:
    """Pause anybody's schedule."""
    return admin_sections.submit_schedule(call, schedule_id, enabled=False)


@app.page("POST", "/admin/schedules/{schedule_id}/resume", who="administrator")
def submit_admin_schedule_resume(call: Call, schedule_id: str) -> Response:
    """Resume anybody's schedule."""
    return admin_sections.submit_schedule(call, schedule_id, enabled=True)


@app.page("GET", "/admin/webhooks", who="administrator")
def show_admin_webhooks(call: Call) -> Response:
    """Everybody's webhooks, and deliveries that failed."""
    return admin_sections.all_webhooks(call)


@app.page("POST", "/admin/webhooks/{webhook_id}/pause", who="administrator")
def submit_admin_webhook_pause(call: Call, webhook_id: str) -> Response:
    """Pause anybody's webhook."""
    return admin_sections.submit_webhook(call, webhook_id, enabled=False)


@app.page("POST", "/admin/webhooks/{webhook_id}/resume", who="administrator")
def submit_admin_webhook_resume(call: Call, webhook_id: str) -> Response:
    """Resume anybody's webhook."""
    return admin_sections.submit_webhook(call, webhook_id, enabled=True)


@app.page("POST", "/admin/webhooks/{webhook_id}/deliveries/{number}/redeliver", who="administrator")
def submit_admin_redelivery(call: Call, webhook_id: str, number: str) -> Response:
    """Deliver an event to anybody's webhook once more."""
    return admin_sections.submit_redelivery(call, webhook_id, number)


@app.page("GET", "/admin/imports", who="administrator")
def show_admin_imports(call: Call) -> Response:
    """Everybody's imports."""
    return admin_sections.imports(call)


@app.page("GET", "/admin/limits", who="administrator")
def show_admin_limits(call: Call) -> Response:
    """All limits, and who was refused lately."""
    return admin_sections.limits(call)


@app.page("GET", "/admin/tasks/{task_id}", who="administrator")
def show_admin_task(call: Call, task_id: str) -> Response:
    """A task's whole story."""
    return admin_sections.story(call, task_id)
