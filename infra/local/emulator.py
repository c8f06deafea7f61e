"""S3 and SES in this process: moto behind a port, with what it stores kept on disk."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from email.utils import parseaddr
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from infra.local.emails import Emails
from infra.local.neighbours import Neighbours
from infra.local.objects import Objects, backend

CHANGING = {"PUT", "POST", "DELETE"}

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


def serve(
    application: Application,
    *,
    handler: type[WSGIRequestHandler] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    page_url: str = "",
) -> BaseWSGIServer:
    """Serve a WSGI application in a thread, on a free port unless one is named.

    Args:
        application: What to serve.
        handler: What reads requests.
        host: The interface to listen on.
        port: Its port; 0 takes a free one.
        page_url: Where the pages are whose scripts may call it.
    """
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    neighbours = Neighbours(application, page_url=page_url)
    server = make_server(host, port, neighbours, threaded=True, request_handler=handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


class Emulator:
    """An AWS endpoint that remembers.

    Args:
        data_dir: Objects are kept under `s3`, emails under `mail`.
        env: The settings that it serves: bucket, sender, region; and where the pages are that
            upload files, if there are any.
        host: The interface that it listens on.
        port: Its port; 0 takes a free one.
    """

    def __init__(
        self, data_dir: Path, *, env: Mapping[str, str], host: str = "127.0.0.1", port: int = 0
    ) -> None:
        region = env["AWS_DEFAULT_REGION"]
        self._objects = Objects(data_dir / "s3")
        self._objects.restore(region=region)
        if env["EXPORT_BUCKET"] not in backend().buckets:
            backend().create_bucket(env["EXPORT_BUCKET"], region)
        _, sender = parseaddr(env["MAIL_SENDER"])
        get_backend("ses")[DEFAULT_ACCOUNT_ID][region].verify_email_identity(sender)
        self._mails = Emails(data_dir / "mail")
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = serve(
            self._answer,
            handler=MotoRequestHandler,
            host=host,
            port=port,
            page_url=env.get("PUBLIC_URL", ""),
        )
        self.endpoint_url = f"http://{host}:{self._server.port}"

    def close(self) -> None:
        """Stop answering, and forget what the files remember."""
        self._server.shutdown()
        self._server.server_close()
        backend().reset()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if _is_about_lost_upload(environ):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response("404 Not Found", [("Content-Type", "application/xml")])
            return [b"<Error><Code>NoSuchUpload</Code></Error>"]
        body: Iterable[bytes] = self._moto(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method in CHANGING:  # on disk before the client hears of it
            path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")
            self._objects.keep_up(method, path)
            self._mails.take()
        return body


def _is_about_lost_upload(environ: Mapping[str, Any]) -> bool:
    """Whether S3 would not know the upload; moto 5.2.5 answers 500 then, for good."""
    upload_ids = parse_qs(environ["QUERY_STRING"]).get("uploadId", [])
    name, _, key = environ["PATH_INFO"][1:].partition("/")
    bucket = backend().buckets.get(name)
    if bucket is None or all(one in bucket.multiparts for one in upload_ids):
        return False
    # To complete an upload twice does no harm.
    return environ["REQUEST_METHOD"] != "POST" or key not in bucket.keys
