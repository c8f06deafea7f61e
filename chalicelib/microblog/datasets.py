"""What of this application is exported."""

from chalicelib.exports.datasets import Dataset
from chalicelib.microblog.models import Post
from chalicelib.values.fields import PostBody

POSTS = Dataset(
    "posts",
    title="Posts",
    owner=Post.user_id,
    key=(Post.timestamp, Post.id),
    snapshot=Post.id,
    fields={"body": Post.body, "timestamp": Post.timestamp},
    accepts={"body": PostBody},
)

DATASETS = (POSTS,)
"""Everything that can be exported; what comes first is what one gets without asking."""
