r"""JSON as a script that a page may load from a disk, where it may not read files.

The script gives one text to one function, and the text is JSON:

    carryout.add("posts", 1, '[\n\
    {"body":"Hello"}\n\
    ]');

In such a text only the backslash, the apostrophe and the end of a line are special. `<` is escaped,
too, for it begins all that a page could take for markup, and so are the two separators that were
ends of lines to JavaScript once. Why the JSON is a text and not a literal of JavaScript: in that
one, the name `__proto__` would not be a name like others. A text in apostrophes loads in half the
time that one in backticks takes.
"""

_ESCAPES = (
    (b"\\", rb"\\"),  # first, for the others add some
    (b"'", rb"\'"),
    (b"\n", b"\\n\\\n"),
    (b"<", rb"\x3c"),
    ("\N{LINE SEPARATOR}".encode(), rb"\u2028"),
    ("\N{PARAGRAPH SEPARATOR}".encode(), rb"\u2029"),
)


def escaped(json: bytes) -> bytes:
    """JSON as it stands in a script; a line stays a line."""
    for character, escape in _ESCAPES:
        json = json.replace(character, escape)
    return json


def head(name: str, number: int) -> bytes:
    """What stands before the JSON.

    Args:
        name: The name of a dataset: lower-case letters, digits and _.
        number: Which of its files it is.
    """
    return f'carryout.add("{name}", {number}, \''.encode()


TAIL = b"');\n"
"""What stands after the JSON."""
