"""Every error that Carryout raises on purpose.

The tree::

    CarryoutError
    ├── SettingsError                 a setting is missing or wrong; the process must not start
    ├── DeclarationError              a task or a dataset is declared in a way that cannot work
    ├── RequestError                  what a caller asked for cannot be done (mapped to HTTP)
    │   ├── Unauthenticated
    │   │   └── WrongCredentials
    │   ├── Forbidden
    │   │   ├── FormOutdated
    │   │   ├── LinkOver
    │   │   ├── SignInAgain
    │   │   ├── WrongPassword
    │   │   └── RegistrationClosed
    │   ├── NotFound
    │   ├── MethodNotAllowed
    │   ├── Conflict
    │   │   ├── UsernameTaken
    │   │   ├── EmailTaken
    │   │   ├── TaskInProgress
    │   │   ├── TaskEnded
    │   │   ├── TaskActive
    │   │   ├── TaskSucceeded
    │   │   ├── NotReady
    │   │   ├── NoFile
    │   │   ├── EmailInProgress
    │   │   ├── AddressConfirmed
    │   │   ├── AddressUnconfirmed
    │   │   ├── NothingUploaded
    │   │   ├── ReportNotReady
    │   │   ├── TooManySchedules
    │   │   ├── ScheduleEnded
    │   │   ├── TooManyWebhooks
    │   │   ├── WebhookDisabled
    │   │   ├── DeliveryInProgress
    │   │   └── QuotaExceeded
    │   ├── ExportGone
    │   ├── ImportGone
    │   ├── ReportGone
    │   ├── BodyTooLarge
    │   ├── UploadTooLarge
    │   ├── UnsupportedMediaType
    │   ├── Invalid
    │   │   ├── MalformedJson
    │   │   └── IdempotencyKeyReused
    │   ├── TooMany
    │   │   ├── CoolingDown
    │   │   └── TooManyAttempts
    │   └── Unavailable
    ├── TaskError                     an attempt failed for a reason of the task's own
    │   └── ImportRefused             an uploaded file cannot be taken in
    └── AttemptOver                   an attempt must stop now, without an outcome of its own
        ├── ClaimLost                 somebody else owns the task, or it is gone
        ├── CancelRequested           the user asked to cancel
        ├── ReleaseRequested          this process must stop; another one goes on
        └── SliceOver                 others wait; the task goes on after them

An error's docstring is its message unless another one is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class CarryoutError(Exception):
    """Something went wrong in Carryout."""

    code = "internal_error"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (self.__doc__ or "").strip().splitlines()[0]
        super().__init__(self.detail)


class SettingsError(CarryoutError):
    """A setting is missing or wrong."""

    code = "bad_settings"


class DeclarationError(CarryoutError):
    """A task or a dataset is declared in a way that cannot work."""

    code = "bad_declaration"


class RequestError(CarryoutError):
    """The request cannot be fulfilled."""

    code = "bad_request"

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that belong to the answer; `Location` is a path without the stage."""
        return {}


class Unauthenticated(RequestError):
    """Sign in first: send `Authorization: Bearer <token>` or the page's session cookie."""

    code = "unauthenticated"

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 11.6.1: a 401 names the scheme."""
        return {"WWW-Authenticate": "Bearer"}


class WrongCredentials(Unauthenticated):
    """Incorrect username or password."""

    code = "wrong_credentials"


class Forbidden(RequestError):
    """You don't have permission to do this."""

    code = "forbidden"


class FormOutdated(Forbidden):
    """This form is out of date; reload the page and try again."""

    code = "form_outdated"


class SignInAgain(Forbidden):
    """This needs a token from the last 15 minutes; sign in again."""

    code = "sign_in_again"


class RegistrationClosed(Forbidden):
    """Sign-up is closed."""

    code = "registration_closed"


class LinkOver(Forbidden):
    """The link has expired or has already been used; request a new one."""

    code = "link_over"


class WrongPassword(Forbidden):
    """The current password is incorrect."""

    code = "wrong_password"


class NotFound(RequestError):
    """This doesn't exist, or you don't have access to it."""

    code = "not_found"


class MethodNotAllowed(RequestError):
    """This path doesn't support that method; see `Allow`."""

    code = "method_not_allowed"

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__()
        self.allowed = sorted(allowed)

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 15.5.6: a 405 lists the methods."""
        return {"Allow": ", ".join(self.allowed)}


class Conflict(RequestError):
    """The request conflicts with the current state of the resource."""

    code = "conflict"


class UsernameTaken(Conflict):
    """This username is taken."""

    code = "username_taken"


class EmailTaken(Conflict):
    """This email address is already in use."""

    code = "email_taken"


class TaskInProgress(Conflict):
    """A task of this kind is already in progress; wait for it or cancel it."""

    code = "task_in_progress"

    def __init__(self, task_id: str) -> None:
        super().__init__()
        self.task_id = task_id

    @property
    def headers(self) -> dict[str, str]:
        """Where the running task is."""
        return {"Location": f"/v1/tasks/{self.task_id}"}


class TaskEnded(Conflict):
    """The task has already ended, so it can't be cancelled."""

    code = "task_ended"


class TaskActive(Conflict):
    """The task is still in progress; only a failed or cancelled task can be retried."""

    code = "task_active"


class TaskSucceeded(Conflict):
    """The task succeeded; only a failed or cancelled task can be retried."""

    code = "task_succeeded"


class NotReady(Conflict):
    """The export isn't ready yet: it is still queued or running."""

    code = "not_ready"


class NoFile(Conflict):
    """The export failed or was cancelled, so it has no file; request a new export."""

    code = "no_file"


class EmailInProgress(Conflict):
    """The email for this export is already on its way."""

    code = "mail_in_progress"


class AddressConfirmed(Conflict):
    """The email address is already confirmed."""

    code = "address_confirmed"


class AddressUnconfirmed(Conflict):
    """The email address isn't confirmed; request a link with `POST /v1/me/confirmation`."""

    code = "address_unconfirmed"


class QuotaExceeded(Conflict):
    """Your posts take as much space as they may; delete some first."""

    code = "quota_exceeded"


class TooManySchedules(Conflict):
    """You have as many schedules as you can have; delete one first."""

    code = "too_many_schedules"


class ScheduleEnded(Conflict):
    """The schedule's rule has no further runs; change the rule first."""

    code = "schedule_ended"


class TooManyWebhooks(Conflict):
    """You have as many webhooks as one account may have; delete one first."""

    code = "too_many_webhooks"


class WebhookDisabled(Conflict):
    """The webhook is disabled; enable it first."""

    code = "webhook_disabled"


class DeliveryInProgress(Conflict):
    """This delivery is still on its way."""

    code = "delivery_in_progress"


class ExportGone(RequestError):
    """The file has expired or was deleted; request a new export."""

    code = "export_gone"


class NothingUploaded(Conflict):
    """Nothing has been uploaded yet; send the file to the URL that creating the import gave."""

    code = "nothing_uploaded"


class ReportNotReady(Conflict):
    """There's no report: the import hasn't finished, or it failed or was cancelled."""

    code = "report_not_ready"


class ImportGone(RequestError):
    """The upload has expired or has been used; create another import and upload the file again."""

    code = "import_gone"


class ReportGone(RequestError):
    """The report has expired; import the file again for a new one."""

    code = "report_gone"


class UploadTooLarge(RequestError):
    """The file is larger than an import may be."""

    code = "upload_too_large"


class BodyTooLarge(RequestError):
    """The request body is too large; the limit is 10 MB."""

    code = "body_too_large"


class UnsupportedMediaType(RequestError):
    """This path doesn't accept the media type of the request body."""

    code = "unsupported_media_type"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a request.

    Attributes:
        pointer: Where, as a JSON pointer (RFC 6901) into the body, or `?name` for a query
            parameter.
        detail: What, as a sentence for people.
    """

    pointer: str
    detail: str


class Invalid(RequestError):
    """The request isn't valid; see `errors`."""

    code = "invalid"

    def __init__(self, *faults: Fault, detail: str | None = None) -> None:
        super().__init__(detail)
        self.faults = faults


class MalformedJson(Invalid):
    """The request body must be a JSON object in UTF-8."""

    code = "malformed_json"


class IdempotencyKeyReused(Invalid):
    """This Idempotency-Key was already used with a different request; use a new one."""

    code = "idempotency_key_reused"


class TooMany(RequestError):
    """Too many requests; wait as long as `Retry-After` says."""

    code = "too_many_requests"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__()
        self.retry_after_s = max(1, retry_after_s)

    @property
    def headers(self) -> dict[str, str]:
        """RFC 9110, section 10.2.3: how long to wait, in whole seconds."""
        return {"Retry-After": str(self.retry_after_s)}


class CoolingDown(TooMany):
    """The last export finished a short while ago; wait as long as `Retry-After` says."""

    code = "cooling_down"


class TooManyAttempts(TooMany):
    """Too many failed sign-in attempts; wait as long as `Retry-After` says."""

    code = "too_many_attempts"


class Unavailable(RequestError):
    """A service that Carryout depends on isn't responding; try again in a moment."""

    code = "unavailable"

    @property
    def headers(self) -> dict[str, str]:
        """A short wait: most outages of a managed database are fail-overs."""
        return {"Retry-After": "5"}


class TaskError(CarryoutError):
    """The task failed.

    Raise it (or a subclass with a `code`) from a task's function: the attempt ends as `failed`
    with this code and detail, and is not tried again.
    """

    code = "task_failed"

    def __init__(self, detail: str | None = None, *, code: str | None = None) -> None:
        super().__init__(detail)
        if code is not None:
            self.code = code


class ImportRefused(TaskError):
    """The file can't be imported."""

    code = "import_refused"


class AttemptOver(CarryoutError):
    """The attempt must stop."""

    code = "attempt_over"


class ClaimLost(AttemptOver):
    """Another attempt owns this task, or the task is gone."""

    code = "claim_lost"


class CancelRequested(AttemptOver):
    """The user asked to cancel this task."""

    code = "cancelled"


class ReleaseRequested(AttemptOver):
    """This worker is stopping; another one will go on."""

    code = "released"


class SliceOver(AttemptOver):
    """Others wait for a worker; this task goes on after them."""

    code = "slice_over"
