"""What several unit tests write."""

import pytest


@pytest.fixture
def write(tmp_path):
    """Write a data file; text becomes UTF-8."""

    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
