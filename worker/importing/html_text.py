"""HTML of posts as plain text.

The tokens of HTML are few, and only a handful of elements matter here, so that one pattern reads
them. It cannot backtrack and builds no tree: time and memory are linear whatever somebody has put
into a file. `html.parser` takes quadratic time for unclosed markup in Pythons that we run on
(CVE-2025-6069), and a parser in C would take files of strangers without the safety of Python.
"""

import html
import re
from dataclasses import dataclass, field

# WHATWG HTML, section 13.2.5: a tag or a comment that is not closed goes on to the end. All that
# repeats is possessive, and every branch ends in what must match.
_TOKEN = re.compile(
    r"""
    <!--(?s:.)*?(?:-->|\Z)
    | <(?P<close>/?)(?P<name>[A-Za-z][^\s/>]*+)
      (?P<attributes>(?:[^>=]++|=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))?+)*+)(?:>|\Z)
    | <(?:[!?]|/(?=[^A-Za-z]))[^>]*+(?:>|\Z)
    | (?P<text>[^<]++|<)
    """,
    re.VERBOSE,
)
_ATTRIBUTE = re.compile(
    r"""(?<![^\s"'/])([^\s=/"'>]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s"'>]++))"""
)
_BREAK = re.compile(r"[\t\r\n\f]")
_SPACES = re.compile(r"[ \t\r\n\f]++")
_ORIGIN = re.compile(r"https?://(?:www\.)?+", re.IGNORECASE)

_PARAGRAPHS = frozenset(
    {"p", "blockquote", "ul", "ol", "dl", "pre", "h1", "h2", "h3", "h4", "h5", "h6", "hr"}
    | {"table", "figure", "article", "section", "aside", "header", "footer"}
)
"""Apart from what is around them by a blank line."""

_LINES = frozenset({"div", "li", "dt", "dd", "tr", "figcaption", "address", "details", "summary"})
"""On lines of their own."""

_UNSEEN = frozenset(
    {"script", "style", "template", "noscript", "iframe", "object", "head", "title", "svg", "math"}
)
"""What a browser does not show as text."""


def text_of(markup: str) -> str:
    """The text of a piece of HTML, as its author would have typed it.

    Paragraphs are apart by a blank line, `<br>` is a line's end, entities are resolved. A link is
    its text, and where it goes in brackets unless the text says so; of a link that a server has
    shortened, all is there. Mentions and hashtags are as they are shown.
    """
    text = _Text()
    unseen: str | None = None
    for token in _TOKEN.finditer(markup):
        if token["name"] is None:
            if token["text"] and unseen is None:
                text.add(html.unescape(token["text"]))
            continue
        name, is_end = token["name"].lower(), bool(token["close"])
        if unseen is not None:
            unseen = None if is_end and name == unseen else unseen
        elif name in _UNSEEN:
            unseen = None if is_end else name
        elif is_end:
            text.close(name)
        else:
            text.open(name, token["attributes"])
    return text.finish()


@dataclass
class _Link:
    """A link that is being read; its text begins at a number among the parts."""

    href: str
    is_name: bool
    start: int


@dataclass
class _Text:
    """The text so far, and what is to be written before more of it."""

    parts: list[str] = field(default_factory=list)
    link: _Link | None = None
    numbers: list[int | None] = field(default_factory=list)
    gap: int = 0
    breaks: int = 0
    preformatted: int = 0
    bullet_end: int = -1

    def add(self, text: str) -> None:
        """Text between tags, its entities resolved."""
        if not self.preformatted:
            if _BREAK.search(text):
                text = _SPACES.sub(_shown, text)
            if self.gap or self.breaks or not self.parts:
                text = text.lstrip(" \t")
        if text:
            self._end_line()
            self.parts.append(text)

    def open(self, name: str, attributes: str) -> None:
        """A start tag."""
        if self.bullet_end != len(self.parts):
            self._separate(name, is_nested=bool(self.numbers))
        if name == "br":
            self.breaks += 1
        elif name == "a":
            self._open_link(_read(attributes))
        elif name == "img":
            self.add(_read(attributes).get("alt", ""))
        elif name == "pre":
            self.preformatted += 1
        elif name in {"ul", "ol"}:
            self.numbers.append(0 if name == "ol" else None)
        elif name == "li":
            self.add(self._bullet())
            self.bullet_end = len(self.parts)
        elif name in {"td", "th"}:
            self.add(" ")

    def close(self, name: str) -> None:
        """An end tag."""
        self._separate(name, is_nested=len(self.numbers) > 1)
        if name == "a":
            self._close_link()
        elif name == "pre":
            self.preformatted = max(0, self.preformatted - 1)
        elif name in {"ul", "ol"} and self.numbers:
            self.numbers.pop()

    def finish(self) -> str:
        """All of it."""
        self._close_link()
        return "".join(self.parts).rstrip(" \t\r\n\f")

    def _separate(self, name: str, *, is_nested: bool) -> None:
        """Let a block begin or end; a list in a list has no blank line around it."""
        lines = 2 if name in _PARAGRAPHS else int(name in _LINES)
        if name in {"ul", "ol"} and is_nested:
            lines = 1
        self.gap = max(self.gap, lines)

    def _end_line(self) -> None:
        lines, self.gap, self.breaks = max(self.gap, self.breaks), 0, 0
        if lines and self.parts:
            self.parts[-1] = self.parts[-1].rstrip(" \t")
            self.parts.append("\n" * lines)

    def _bullet(self) -> str:
        if not self.numbers or self.numbers[-1] is None:
            return "- "
        self.numbers[-1] += 1
        return f"{self.numbers[-1]}. "

    def _open_link(self, attributes: dict[str, str]) -> None:
        self._close_link()  # HTML has no link in a link
        words = {*attributes.get("class", "").split(), *attributes.get("rel", "").split()}
        is_name = not words.isdisjoint({"mention", "hashtag", "tag"})
        self.link = _Link(attributes.get("href", ""), is_name, len(self.parts))

    def _close_link(self) -> None:
        if (link := self.link) is None:
            return
        self.link = None
        whole = "".join(self.parts[link.start :])
        text = whole.strip(" \t\n")
        if not text or link.is_name or text[0] in "@#" or not _ORIGIN.match(link.href):
            return
        if _says(text, link.href):
            self.parts[link.start :] = [whole.replace(text, link.href, 1)]
        else:
            self.parts.append(f" ({link.href})")


def _shown(spaces: re.Match[str]) -> str:
    """White space as a browser shows it, but for spaces in a row, which an author has typed."""
    return " " if spaces[0].strip(" ") else spaces[0]


def _read(attributes: str) -> dict[str, str]:
    found = _ATTRIBUTE.findall(attributes)
    return {name.lower(): html.unescape(one or two or three) for name, one, two, three in found}


def _says(text: str, href: str) -> bool:
    """Whether a link's text is where it goes, whole or shortened at its end."""
    bare, shown = _bare(href), _bare(text)
    if shown.endswith(("…", "...")):
        return bare.startswith(shown.rstrip("….") or " ")
    return bare == shown


def _bare(url: str) -> str:
    return _ORIGIN.sub("", url, count=1).rstrip("/").removeprefix("www.")
