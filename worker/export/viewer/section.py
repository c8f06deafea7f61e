"""The viewer as a part of an archive: its pages, its data, and at last its index."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from worker.export.archive.archive import About
from worker.export.archive.members import Block, Member, Section, Whole
from worker.export.pages import Page, Source
from worker.export.viewer import index
from worker.export.viewer.data import Contents, DataFile, Layout
from worker.export.viewer.files import media_type, static_files


def sections(about: About, language: str, sources: Sequence[Source]) -> list[Section]:
    """Everything that an archive needs to be looked at.

    Args:
        about: What is known of the archive.
        language: The code of the language that it opens in.
        sources: The rows to show, in the order in which they are listed.
    """
    static = [Whole(_member(name), path.read_bytes()) for name, path in static_files()]
    return [*static, Data(about, language, sources)]


@dataclass(frozen=True)
class Data:
    """The rows of all datasets, each in files of its own, and the index of them.

    It is one section, because the index needs to know all that was written; so a checkpoint keeps
    that: how many rows each file holds, and each month.

    Attributes:
        about: What is known of the archive.
        language: The code of the language that it opens in.
        sources: The rows.
    """

    about: About
    language: str
    sources: Sequence[Source]

    def blocks(self, cursor: Any = None) -> Generator[Block]:
        """A block for each page of rows, and one for the index. Must be closed."""
        given = cursor or {"written": [], "rest": None}
        written, rest = [Contents.from_json(one) for one in given["written"]], given["rest"]
        first = len(written) if rest is None else len(written) - 1
        for source in self.sources[first:]:
            if rest is None:
                written.append(Contents())
            with closing(_rows(source, written[-1], rest)) as blocks:
                for block in blocks:
                    yield replace(block, cursor=_cursor(block, written))
            rest = None
        datasets = zip((one.dataset for one in self.sources), written, strict=True)
        data = index.index(self.about, self.language, datasets)
        yield Block(_member(index.NAME), data, last=True)


def _cursor(block: Block, written: Sequence[Contents]) -> Any:
    """Where the section goes on after a block of one of its datasets."""
    if block.cursor is None and not block.last:
        return None
    return {"written": [one.to_json() for one in written], "rest": block.cursor}


def _rows(source: Source, contents: Contents, rest: Any) -> Generator[Block]:
    """The files of one dataset, from a cursor on, as a section of their own would have them."""
    dataset, layout = source.dataset, Layout(source.dataset)
    after, sizes, file = None, (), None
    if rest is not None:
        after, sizes = dataset.cursor_from_json(rest["after"]), tuple(rest["sizes"])
        if rest["bytes"] is not None:
            file = DataFile(layout, contents, rest["bytes"])
    with closing(source.pages(after, sizes)) as pages:
        for page in pages:
            file = file or DataFile(layout, contents)
            data = file.rows(page.lines, page.rows)
            # A file ends where an archive can go on, for what follows is another member.
            is_last = page.cursor is None or (page.sizes is not None and file.is_full)
            at = None if page.cursor is None else _rest(source, page, file, is_last=is_last)
            end = file.end() if is_last else b""
            yield Block(_member(file.path, dataset.name), data + end, page.rows, is_last, at)
            file = None if is_last else file
    if file is not None:  # what was to follow has been deleted meanwhile
        yield Block(_member(file.path, dataset.name), file.end(), last=True)


def _rest(source: Source, page: Page, file: DataFile, *, is_last: bool) -> Any:
    """Where a dataset goes on after a page; None where it cannot."""
    if page.sizes is None or page.cursor is None:
        return None
    after = source.dataset.cursor_to_json(page.cursor)
    size_bytes = None if is_last else file.size_bytes
    return {"after": after, "sizes": page.sizes, "bytes": size_bytes}


def _member(path: str, dataset: str | None = None) -> Member:
    return Member(path, media_type(path), dataset)
