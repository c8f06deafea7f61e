"""The `From` header of every email: one address, with or without a name, in ASCII."""

import re
from base64 import b64encode

from chalicelib.values.fields import Email, flaw

MAX_NAME_BYTES = 42
"""One encoded word (RFC 2047) on the header's first line: readers disagree about spaces between
two, Python's own among them."""

_USUAL = re.compile(r"([A-Za-z0-9 ]+ <)?([^ <>]+)(?(1)>)")
_EXPECTED = "expected one address, such as Carryout <carryout@example.com>"


def email_sender(value: str) -> str:
    """A sender as it is written into headers and sent to SES; a name in ASCII stays as it is.

    Raises:
        ValueError: It is not exactly one address that people can have, or its name must be quoted.
    """
    usual = _USUAL.fullmatch(value)
    if usual and not flaw(usual[2], Email):
        return value  # what almost everybody has needs no parser, whose import takes longer
    name, address = _parsed(value)
    if not name.isprintable() or flaw(address, Email):
        raise ValueError(_EXPECTED)
    if value.isascii():
        return value
    encoded = name.encode()
    if len(encoded) > MAX_NAME_BYTES:
        raise ValueError(f"expected a name of at most {MAX_NAME_BYTES} bytes where it is not ASCII")
    return f"=?utf-8?b?{b64encode(encoded).decode()}?= <{address}>"


def _parsed(value: str) -> tuple[str, str]:
    """Name and address, as the package reads them that writes emails."""
    from email.errors import ObsoleteHeaderDefect  # noqa: PLC0415 - slow
    from email.policy import SMTP  # noqa: PLC0415 - slow

    try:
        _, header = SMTP.header_store_parse("From", value)
        (group,) = header.groups
        (address,) = group.addresses
    except ValueError:
        raise ValueError(_EXPECTED) from None
    wrong = [one for one in header.defects if not isinstance(one, ObsoleteHeaderDefect)]
    if wrong or group.display_name is not None:
        raise ValueError(f'{_EXPECTED}; quote a name with punctuation: "Export: daily" <…>')
    return address.display_name, address.addr_spec
