"""What users do to their imports: ask for an upload, start it, look at it, fetch the report."""

import logging
from datetime import timedelta

import msgspec
from chalice.app import Response

from chalicelib.accounts.rate_limits import IMPORTS_PER_USER
from chalicelib.adapters.job_queue import Workers
from chalicelib.adapters.object_store import Content, Found, SignedUpload
from chalicelib.errors import ImportGone, NothingUploaded, ReportGone, Unavailable, UploadTooLarge
from chalicelib.exports.views import TaskView
from chalicelib.imports import uploads
from chalicelib.imports.kinds import import_kinds
from chalicelib.imports.uploads import URL_TTL_S, ImportView, is_waiting, upload_key
from chalicelib.schemas.imports import ImportListQuery, NewImport, Upload, show_import
from chalicelib.schemas.serializers import show_time
from chalicelib.values.paging import cursor
from chalicelib.web import actions
from chalicelib.web.lists import list_response, page_of
from chalicelib.web.request import Call
from chalicelib.web.responses import json_response

log = logging.getLogger(__name__)

REPORT = Content("import-report.ndjson", "application/x-ndjson")
"""What a report is called where it is saved."""


def create(call: Call, new: NewImport) -> ImportView:
    """Note that a file is going to be uploaded.

    Raises:
        UploadTooLarge: It is larger than an import may be.
        TooMany: The user has asked for too many imports recently.
    """
    settings = call.wiring.settings
    if new.size is not msgspec.UNSET and new.size > settings.import_max_bytes:
        raise UploadTooLarge
    call.wiring.rate_limiter.spend((IMPORTS_PER_USER, call.user.id))
    filename = None if new.filename is msgspec.UNSET else new.filename
    with call.wiring.database.write() as session:
        upload = uploads.create(session, call.user.id, filename=filename, now=call.now)
        uploads.retire_older(session, call.user.id, now=call.now, lease_s=settings.lease_s)
    return ImportView(upload, None)


def create_response(call: Call, new: NewImport) -> Response:
    """A new import, and how to upload its file."""
    view = create(call, new)
    size = None if new.size is msgspec.UNSET else new.size
    signed = call.wiring.object_store.sign_upload(
        upload_key(view.upload), size_bytes=size, ttl_s=URL_TTL_S
    )
    expires_at = (call.now + timedelta(seconds=URL_TTL_S)).replace(microsecond=0)
    upload: Upload = {
        "method": "PUT",
        "url": signed.url,
        "headers": signed.headers,
        "expires_at": show_time(expires_at),
        "max_bytes": call.wiring.settings.import_max_bytes,
    }
    shown = show_import(view, now=call.now, prefix=call.prefix, upload=upload)
    return json_response(shown, status=201, headers={"Location": shown["links"]["self"]})


def sign_form(call: Call, view: ImportView, *, redirect: str) -> SignedUpload:
    """How a form of a page uploads the file, and comes back."""
    return call.wiring.object_store.sign_form(
        upload_key(view.upload),
        max_bytes=call.wiring.settings.import_max_bytes,
        redirect=redirect,
        ttl_s=URL_TTL_S,
    )


def find(call: Call, import_id: str) -> ImportView:
    """One of the caller's imports.

    Raises:
        NotFound: They have no such import.
    """
    with call.wiring.database.read() as session:
        return uploads.view_import(session, import_id, owner=call.user.id)


def show(call: Call, import_id: str) -> Response:
    """One of the caller's imports, as a response."""
    return json_response(show_import(find(call, import_id), now=call.now, prefix=call.prefix))


def show_list(call: Call) -> Response:
    """A page of the caller's imports."""
    page = page_of(call.query(ImportListQuery))
    with call.wiring.database.read() as session:
        found, more = uploads.list_imports(session, call.user.id, page=page)
    last = found[-1].upload if more else None
    items = [show_import(one, now=call.now, prefix=call.prefix) for one in found]
    return list_response(call, items, after=cursor(last.created_at, last.id) if last else None)


def start(call: Call, import_id: str) -> tuple[TaskView, Workers | None]:
    """Launch the task that imports an uploaded file; as `actions.launch`.

    Raises:
        NotFound: The caller has no such import.
        NothingUploaded: There is no file in the bucket.
        ImportGone: It has expired, or was started before and is over.
        TaskInProgress: It was started before.
        Unavailable: S3 does not respond.
    """
    view = find(call, import_id)
    if view.upload.task_id is None:
        if not is_waiting(view.upload, now=call.now):
            raise ImportGone
        found = look(call, view)
        if found is None:
            raise NothingUploaded
        with call.wiring.database.write() as session:
            uploads.note_content(session, view.upload, size_bytes=found.size_bytes, etag=found.etag)
    (kind,) = import_kinds()
    return actions.launch(call, kind.name, {"import_id": import_id})


def look(call: Call, view: ImportView) -> Found | None:
    """What there is of an upload in the bucket.

    Raises:
        Unavailable: S3 does not respond.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to import

    try:
        return call.wiring.object_store.find(upload_key(view.upload))
    except (BotoCoreError, ClientError) as error:
        log.warning("S3 does not respond", extra={"action": "import"}, exc_info=True)
        raise Unavailable from error


def report(call: Call, import_id: str) -> Response:
    """Redirect to the report of an import, by a URL that is signed now.

    Raises:
        NotFound, ReportNotReady, ReportGone: As `uploads.require_report`; gone also when S3 has
            lost it.
        Unavailable: S3 does not respond.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to import

    key = uploads.require_report(find(call, import_id), now=call.now)
    store = call.wiring.object_store
    try:
        if store.find(key) is None:
            raise ReportGone
    except (BotoCoreError, ClientError) as error:
        log.warning("S3 does not respond", extra={"action": "import"}, exc_info=True)
        raise Unavailable from error
    headers = {"Cache-Control": "no-store", "Content-Disposition": REPORT.disposition}
    return Response("", {"Location": store.sign(key, REPORT), **headers}, 303)
