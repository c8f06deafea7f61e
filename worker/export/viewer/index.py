"""The index: what the viewer reads first, and the archive writes last.

It is small however much there is: names, fields, and numbers of rows. A file of data is read when
somebody looks at it.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from chalicelib.exports.datasets import Dataset
from chalicelib.values.fields import format_time
from chalicelib.values.languages import LANGUAGES, language_for
from worker.export.archive.archive import About
from worker.export.viewer import frames
from worker.export.viewer.data import Contents, Layout
from worker.export.viewer.files import FOLDER

NAME = f"{FOLDER}/data/index.html"
VERSION = 1


def index(about: About, language: str, datasets: Iterable[tuple[Dataset, Contents]]) -> bytes:
    """The file that says what there is.

    Args:
        about: What is known of the archive.
        language: The code of the language that the viewer opens in; there is a switch.
        datasets: What is in it, in the order in which it is listed.
    """
    facts = {
        "version": VERSION,
        "user": about.username,
        "language": language,
        "exported_at": format_time(about.exported_at),
        "from": about.since and format_time(about.since),
        "to": about.until and format_time(about.until),
        "datasets": [_described(*one) for one in datasets],
    }
    return frames.HEAD + frames.escaped(orjson.dumps(facts)) + frames.TAIL


def _described(dataset: Dataset, contents: Contents) -> dict[str, Any]:
    layout = Layout(dataset)
    return {
        "name": dataset.name,
        "titles": {code: language_for(code).gettext(dataset.title) for code in LANGUAGES},
        "fields": [[one.name, one.kind] for one in dataset.columns],
        "time": layout.time,
        "chronological": layout.is_chronological,
        "prose": layout.prose,
        "files": contents.files,
        "periods": list(contents.counts.items()),
    }
