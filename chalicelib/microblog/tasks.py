"""The kinds of task of this application."""

from typing import Annotated

from msgspec import Meta

from chalicelib.exports.account_data import (
    AUDIT,
    EMAILS,
    NOTIFICATIONS,
    PROFILE,
    SCHEDULES,
    SESSIONS,
    TASKS,
    WEBHOOKS,
)
from chalicelib.exports.archive import Archive
from chalicelib.exports.kinds import Export, ExportWords
from chalicelib.imports.kinds import Import
from chalicelib.imports.publication import Target
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post
from chalicelib.tasks.registry import TaskKind
from chalicelib.values.languages import N_, NN_

EXPORT_POSTS = Export(
    name="export_posts",
    title=N_("Exporting your posts"),
    filename="posts.json",
    datasets=(POSTS,),
    words=ExportWords(
        heading=N_("Export your posts"),
        offer=NN_(
            "%(number)s post in one JSON file. We'll email you when it's ready.",
            "%(number)s posts in one JSON file. We'll email you when it's ready.",
        ),
        count=NN_("%(number)s post", "%(number)s posts"),
        ready=NN_(
            "The export you requested is ready: %(number)s post, %(size)s.",
            "The export you requested is ready: %(number)s posts, %(size)s.",
        ),
        rows=N_("Posts"),
        contents=N_("All posts by %(username)s"),
        safe=N_("Your posts are safe."),
        retry=N_("Your posts are safe. You can try again here:"),
        footer=N_(
            "You're receiving this email because an export of your posts was requested from"
            " your account."
        ),
        delete=N_("Delete this file? You can't undo this, but you can export your posts again."),
    ),
)

IMPORT_POSTS = Import(
    name="import_posts",
    title=N_("Importing your posts"),
    target=Target(owner=Post.user_id, body=Post.body, timestamp=Post.timestamp),
)

EXPORT_ARCHIVE = Archive(
    name="export_archive",
    title=N_("Exporting all of your data"),
    datasets=(
        PROFILE,
        POSTS,
        TASKS,
        NOTIFICATIONS,
        SESSIONS,
        EMAILS,
        SCHEDULES,
        WEBHOOKS,
        AUDIT,
    ),
    words=ExportWords(
        heading=N_("Export all your data"),
        offer=NN_(
            "Everything we keep about you, in one ZIP file. We'll email you when it's ready.",
            "Everything we keep about you, in one ZIP file. We'll email you when it's ready.",
        ),
        count=NN_("Archive: %(number)s row", "Archive: %(number)s rows"),
    ),
)

EXAMPLE = TaskKind(
    name="example",
    title=N_("Counting the seconds"),
    params={"seconds": Annotated[int, Meta(ge=0, le=60, description="How long, in seconds")]},
)

COUNT_WORDS = TaskKind(name="count_words", title=N_("Counting your words"), resumable=True)

KINDS = (
    EXPORT_POSTS,
    EXPORT_ARCHIVE,
    IMPORT_POSTS,
    COUNT_WORDS,
    EXAMPLE,
)
"""Every kind of task; `chalicelib.wiring` registers them."""
