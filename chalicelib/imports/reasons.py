"""Why a post of an imported file is left out."""

from collections.abc import Mapping
from enum import Enum

from chalicelib.values.languages import N_


class Reason(Enum):
    """A stable code, as the report has it; `sentence` says it to people."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_LONG = "too_long"
    BODY_MISSING = "body_missing"
    BODY_NOT_TEXT = "body_not_text"
    BODY_EMPTY = "body_empty"
    BODY_TOO_LONG = "body_too_long"
    BODY_NOT_STORABLE = "body_not_storable"
    TIME_MISSING = "timestamp_missing"
    TIME_INVALID = "timestamp_invalid"

    @property
    def sentence(self) -> str:
        """For people, in English; the catalogues translate it."""
        return _SENTENCES[self]


_SENTENCES: Mapping[Reason, str] = {
    Reason.NOT_JSON: N_("It isn't valid JSON in UTF-8."),
    Reason.NOT_AN_OBJECT: N_("It isn't a JSON object."),
    Reason.TOO_LONG: N_("It's longer than 1 MiB or too deeply nested."),
    Reason.BODY_MISSING: N_("It has no text."),
    Reason.BODY_NOT_TEXT: N_("What should be its text is something else."),
    Reason.BODY_EMPTY: N_("Its text is empty."),
    Reason.BODY_TOO_LONG: N_("Its text is longer than 10,000 characters."),
    Reason.BODY_NOT_STORABLE: N_("Its text contains characters that can't be stored."),
    Reason.TIME_MISSING: N_("It has no date and time."),
    Reason.TIME_INVALID: N_("Its date and time can't be read."),
}
