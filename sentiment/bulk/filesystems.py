"""Paths and addresses such as `gs://bucket/news` become file systems of pyarrow."""

import os
import re

import pyarrow as pa
from pyarrow import fs

from sentiment.errors import LibraryError, first_line

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def is_address(place: str) -> bool:
    """Whether a place is an address such as `gs://bucket/news`, and no path."""
    return _ADDRESS.match(place) is not None


def find_filesystem(place: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or an address, and the path in it.

    pyarrow's own for gs://, s3://, hdfs:// and abfs://, else fsspec's.

    Raises:
        LibraryError: nothing here knows such addresses.
        OSError: what an address names cannot be reached.
    """
    if not is_address(place):
        return fs.LocalFileSystem(), os.path.abspath(place)
    try:
        filesystem, path = fs.FileSystem.from_uri(place)
    except pa.ArrowInvalid:
        filesystem, path = _other_filesystem(place)
    return filesystem, path.rstrip("/") or "/"


def _other_filesystem(address: str) -> tuple[fs.FileSystem, str]:
    """Ask fsspec for a file system that Arrow does not know."""
    protocol = address.partition("://")[0]
    try:
        import fsspec
    except ImportError as error:
        raise LibraryError(f"{protocol}:// needs fsspec: pip install fsspec") from error
    try:
        filesystem, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise LibraryError(f"{protocol}:// cannot be read: {first_line(error)}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path
