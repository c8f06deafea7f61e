"""What the types of requests and responses say of themselves, for those who read the reference."""

import inspect
import re
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

_ATTRIBUTE = re.compile(r"(?m)^(\w+): ((?:.|\n(?! {0,3}\S))*)")


@dataclass(frozen=True)
class Docstring:
    """A class's docstring, taken apart.

    Attributes:
        text: What the class is, with line breaks between paragraphs only.
        attributes: What each of its fields is, by the name that the code has for it.
    """

    text: str
    attributes: dict[str, str]


@cache
def docstring(kind: type) -> Docstring:
    """Take the docstring of a class apart; fields that it inherits are said by its bases."""
    attributes: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        attributes |= _attributes(base)
    whole = inspect.cleandoc(kind.__doc__ or "")
    text = whole.partition("\nAttributes:\n")[0].strip()
    paragraphs = [_one_line(paragraph) for paragraph in text.split("\n\n")]
    return Docstring("\n\n".join(paragraphs), attributes)


def _attributes(kind: type) -> dict[str, str]:
    listed = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")[2]
    section = takewhile(lambda line: not line or line.startswith(" "), listed.splitlines())
    found = _ATTRIBUTE.findall(inspect.cleandoc("\n" + "\n".join(section)))
    return {name: _one_line(text) for name, text in found}


def _one_line(text: str) -> str:
    return " ".join(text.split())
