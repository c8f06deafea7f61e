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
    """A new account.

    Attributes:
        username: What you sign in with; unique, whatever the case.
        email: Where emails about your tasks go; unique.
        password: 8 to 128 characters of any script, compared after normalization (NFC).
        language: The language of your pages and emails.
    """

    username: Username
    email: Email
    password: Password
    language: Language = "en"


class Credentials(msgspec.Struct):
    """Who signs in; any string may be tried, so that all wrong ones are answered alike.

    Attributes:
        username: The account's name, whatever the case.
        password: The account's password.
    """

    username: Annotated[AnyText, msgspec.Meta(examples=["susan"])]
    password: Annotated[AnyText, msgspec.Meta(examples=["correct horse"])]


class Profile(msgspec.Struct):
    """What a user may change; a field that is left out stays as it is.

    Attributes:
        email: The new address; it needs `current_password` beside it.
        language: The language of your pages and emails.
        current_password: Your password; needed beside a new email address alone.
    """

    email: Email | msgspec.UnsetType = msgspec.UNSET
    language: Language | msgspec.UnsetType = msgspec.UNSET
    current_password: Annotated[Text, msgspec.Meta(examples=["correct horse"])] = ""


class Erasure(msgspec.Struct):
    """The password of whoever wants an account erased.

    Attributes:
        current_password: Your password.
    """

    current_password: Annotated[Text, msgspec.Meta(examples=["correct horse"])]


class PasswordChange(msgspec.Struct):
    """The present password, and the one that takes its place.

    Attributes:
        current_password: Your password until now.
        password: The new one: 8 to 128 characters of any script.
    """

    current_password: Annotated[Text, msgspec.Meta(examples=["correct horse"])]
    password: Password


class ResetWish(msgspec.Struct):
    """Whose password is to be reset.

    Attributes:
        email: The account's email address.
    """

    email: Email


class Reset(msgspec.Struct):
    """The key of a link from a mail, and the new password.

    Attributes:
        key: What follows `key=` in the link.
        password: The new password: 8 to 128 characters of any script.
    """

    key: Key
    password: Password


class Confirmation(msgspec.Struct):
    """The key of a link from a mail.

    Attributes:
        key: What follows `key=` in the link.
    """

    key: Key


class NewPost(msgspec.Struct):
    """A post to write.

    Attributes:
        body: The text, kept code point for code point.
    """

    body: PostBody


class NewTask(msgspec.Struct):
    """A task to launch.

    Attributes:
        name: The kind of task.
        params: What this kind of task takes.
        not_before: When it may begin, at most a year ahead; a time that is over is now.
    """

    name: str
    params: dict[str, Any] = {}
    not_before: Moment | None = None


class ListQuery(msgspec.Struct):
    """A page of a list.

    Attributes:
        limit: How many items a page has at most.
        cursor: `next` of the page before; left out, the first page.
    """

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | msgspec.UnsetType = msgspec.UNSET


class PostListQuery(ListQuery):
    """A page of posts, whose ids are whole numbers."""

    cursor: PostCursor | msgspec.UnsetType = msgspec.UNSET


class TaskListQuery(ListQuery):
    """A page of tasks.

    Attributes:
        status: Only tasks with this status.
        name: Only tasks of this kind.
    """

    # Unset, not None: `?status=null` would be one.
    status: Status | msgspec.UnsetType = msgspec.UNSET
    name: Text | msgspec.UnsetType = msgspec.UNSET


class WaitQuery(msgspec.Struct):
    """How long an answer may be held, in seconds.

    Attributes:
        wait: How long the response may be held until there is something new, in seconds.
    """

    wait: Wait = 0.0


class NotificationQuery(WaitQuery):
    """What the client has seen already.

    Attributes:
        after: The last `seq` that the client has seen; 0 for everything.
    """

    after: Number = 0
