"""Every format, from a file to the ledger, by the command line."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.microblog.models import Post
from tests.harness.imports import (
    activity,
    as_export,
    as_lines,
    as_outbox,
    as_tweets,
    feed,
    note,
    own_post,
    tweet,
)
from tests.harness.processes import WORKER, output
from tests.unit.test_import_archives import as_tar, as_zip

BOOST = {"type": "Announce", "object": "https://m.example/users/bob/statuses/1"}
OUTBOX = as_outbox(activity(note("<p>a</p><p>&amp;</p>")), BOOST, activity(note("")))
TWEETS = as_tweets(tweet("a\n\n&amp;"), tweet("RT @bob: his"), tweet(""))
FILES = {
    "json_lines": as_lines(own_post("a\n\n&"), own_post("")),
    "carryout_posts": as_export(own_post("a\n\n&"), own_post("")),
    "carryout_archive": as_zip({"data/posts.json": as_export(own_post("a\n\n&"), own_post(""))}),
    "mastodon_outbox": OUTBOX,
    "mastodon_archive": as_tar({"media/1.png": b"x", "outbox.json": OUTBOX}),
    "twitter_js": TWEETS,
    "twitter_archive": as_zip({"data/tweets.js": TWEETS, "data/like.js": b"window.YTD.like = []"}),
    "json_feed": feed({"content_html": "<p>a</p><p>&amp;</p>"}, {"content_text": ""}),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_comes_in(
    name: str, database: Database, user_id: int, environment: dict[str, str], tmp_path: Path
) -> None:
    """A good post is taken in, a bad one is reported, and somebody else's is passed over."""
    assert user_id
    path = tmp_path / "upload"
    path.write_bytes(FILES[name])
    others = int(name.startswith(("mastodon", "twitter")))

    said = output(*WORKER, "import", path, "--user", "susan", env=environment)

    counts = f"{2 + others} read, {others} skipped, 1 rejected"
    assert said.startswith(f"imported 1 posts for susan ({name}): {counts}\n")
    with database.read() as session:
        assert session.scalars(sa.select(Post.body)).all() == ["a\n\n&"]
