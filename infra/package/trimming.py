"""What of the installed dependencies the API never uses, and leaves out."""

import csv
import shutil
from collections.abc import Mapping
from pathlib import Path

from chalicelib.values.languages import LANGUAGES

AWS_SERVICES = ("s3", "secretsmanager", "sesv2", "sts")
"""Whose clients can be made: for the bucket, passwords, emails (which workers send), and a role to
assume."""

ALL_THAT_STAYS: Mapping[str, tuple[str, ...]] = {
    # Chalice's own packager takes the same two files: the rest deploys, and serves locally.
    "chalice": ("__init__.py", "app.py"),
    # The languages of the pages; each inherits from the root and from nothing else.
    "babel/locale-data": ("root.dat", *(f"{code}.dat" for code in LANGUAGES)),
    # Resources, an older way to call S3 and others, of which none is used.
    "boto3/data": ("s3",),
    # Descriptions of some 400 services, and what all clients share.
    "botocore/data": (
        *AWS_SERVICES,
        "_retry.json",
        "endpoints.json",
        "partitions.json",
        "sdk-default-configuration.json",
    ),
    "sqlalchemy/dialects": ("__init__.py", "_typing.py", "postgresql", "sqlite"),
}
"""What stays of a folder."""

ALL_THAT_GOES = (
    ".lock",  # uv's, while it installs
    "bin",  # commands, which begin with this machine's path to Python
    "dateutil/zoneinfo/*.tar.gz",  # the zones are those of tzdata
    "distutils-precedence.pth",  # read by the `site` of an environment, which this is not
    "pip/_vendor/distlib/*.exe",  # launchers for Windows
    "setuptools/*.exe",
    "sqlalchemy/testing",
    "*.dist-info/INSTALLER",  # uv's notes about this installation
    "*.dist-info/REQUESTED",
)
"""What goes, as patterns."""


def trim(folder: Path) -> None:
    """Take away what is not used, and bring each `RECORD` in line with what is left."""
    unused = [path for pattern in ALL_THAT_GOES for path in folder.glob(pattern)]
    for name, kept in ALL_THAT_STAYS.items():
        unused += [path for path in (folder / name).iterdir() if path.name not in kept]
    for path in unused:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for record in folder.glob("*.dist-info/RECORD"):
        _shorten(record, folder)


def _shorten(record: Path, folder: Path) -> None:
    with record.open(newline="") as lines:
        rows = [row for row in csv.reader(lines) if (folder / row[0]).is_file()]
    with record.open("w", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows(rows)
