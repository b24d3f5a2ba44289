"""Paths and addresses such as `gs://bucket/news` become file systems of pyarrow."""

from contextlib import suppress
from pathlib import Path

from pyarrow import fs

from sentiment.errors import DataError, LibraryError, first_line


def find_filesystem(address: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a path or an address, and the path in it.

    pyarrow's own for gs://, s3://, hdfs:// and abfs://, else fsspec's.

    Raises:
        DataError: the address is none.
        LibraryError: a library for it is missing.
    """
    if "://" not in address:
        return fs.LocalFileSystem(), str(Path(address).absolute())
    with suppress(ValueError):  # pyarrow does not know this kind
        filesystem, path = fs.FileSystem.from_uri(address)
        return filesystem, path.rstrip("/")
    try:
        import fsspec

        filesystem, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise LibraryError(f"{address}: {first_line(error)}") from error
    except ValueError as error:
        raise DataError(f"{address}: {first_line(error)}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path.rstrip("/")
