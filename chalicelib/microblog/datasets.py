"""What of this application is exported."""

from chalicelib.exports.datasets import Activity, Dataset
from chalicelib.microblog.models import Post
from chalicelib.values.fields import PostBody
from chalicelib.values.languages import N_

POSTS = Dataset(
    "posts",
    title=N_("Posts"),
    owner=Post.user_id,
    key=(Post.timestamp, Post.id),
    snapshot=Post.id,
    fields={"body": Post.body, "timestamp": Post.timestamp},
    accepts={"body": PostBody},
    time=Post.timestamp,
    activity=Activity(Post.id, content="body", published="timestamp"),
)
