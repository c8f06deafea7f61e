"""What requests may hold: bodies and query parameters, every bound in one place."""

from typing import Annotated, Any

import msgspec

from chalicelib.values.fields import (
    AnyText,
    Cursor,
    Email,
    Language,
    Moment,
    Password,
    PostBody,
    PostCursor,
    Status,
    Text,
    Username,
)
from chalicelib.values.paging import DEFAULT_LIMIT, MAX_LIMIT

Wait = Annotated[float, msgspec.Meta(ge=0, le=20)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]

Key = Annotated[Text, msgspec.Meta(examples=["9hXo4d1mPpN2v8t0cQZ0e7s3yKqU5rWbL6jAfGiT_Vk"])]


class Nothing(msgspec.Struct):
    """No fields at all."""


class SignUp(msgspec.Struct):
    """A new account."""

    username: Username
    email: Email
    password: Password
    language: Language = "en"


class Credentials(msgspec.Struct):
    """Who signs in; any string may be tried, so that all wrong ones are answered alike."""

    username: Annotated[AnyText, msgspec.Meta(examples=["susan"])]
    password: Annotated[AnyText, msgspec.Meta(examples=["correct horse"])]


class Profile(msgspec.Struct):
    """What a user may change; a field that is left out stays as it is."""

    email: Email | msgspec.UnsetType = msgspec.UNSET
    language: Language | msgspec.UnsetType = msgspec.UNSET
    current_password: Annotated[Text, msgspec.Meta(examples=["correct horse"])] = ""
    """Needed beside a new email address."""


class Erasure(msgspec.Struct):
    """The password of whoever wants an account erased."""

    current_password: Annotated[Text, msgspec.Meta(examples=["correct horse"])]


class PasswordChange(msgspec.Struct):
    """The present password, and the one that takes its place."""

    current_password: Annotated[Text, msgspec.Meta(examples=["correct horse"])]
    password: Password


class ResetWish(msgspec.Struct):
    """Whose password is to be reset."""

    email: Email


class Reset(msgspec.Struct):
    """The key of a link from a mail, and the new password."""

    key: Key
    password: Password


class Confirmation(msgspec.Struct):
    """The key of a link from a mail."""

    key: Key


class NewPost(msgspec.Struct):
    """A post to write."""

    body: PostBody


class NewTask(msgspec.Struct):
    """A task to launch."""

    name: str
    params: dict[str, Any] = {}
    not_before: Moment | None = None
    """When it may begin, at most a year ahead; a time that is over is now."""


class ListQuery(msgspec.Struct):
    """A page of a list."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | msgspec.UnsetType = msgspec.UNSET


class PostListQuery(ListQuery):
    """A page of posts, whose ids are whole numbers."""

    cursor: PostCursor | msgspec.UnsetType = msgspec.UNSET


class TaskListQuery(ListQuery):
    """A page of tasks."""

    # Unset, not None: `?status=null` would be one.
    status: Status | msgspec.UnsetType = msgspec.UNSET
    name: Text | msgspec.UnsetType = msgspec.UNSET


class WaitQuery(msgspec.Struct):
    """How long an answer may be held, in seconds."""

    wait: Wait = 0.0


class NotificationQuery(WaitQuery):
    """What the client has seen already."""

    after: Number = 0
