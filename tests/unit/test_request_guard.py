"""The guard alone, on heads by the thousand: a path or a refusal, nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.api.request_guard import MAX_HEAD_BYTES, MAX_HEADERS, check_head
from sentiment.errors import HeadersTooLarge, MalformedHttp

HOST = (b"host", b"x")


def checked(target=b"/", *headers, method=b"GET", version="1.1"):
    return check_head(method=method, version=version, target=target, headers=headers or [HOST])


def test_a_plain_head_keeps_its_target():
    assert checked(b"/a?b=%20&c") == b"/a?b=%20&c"


@given(st.binary(max_size=40))
def test_a_target_is_a_path_or_refused(target):
    try:
        path = checked(target)
    except MalformedHttp:
        return
    assert path.startswith(b"/")
    assert path.isascii()
    assert not set(path) & set(b" #\r\n\0\x7f")


names = st.sampled_from(
    [b"host", b"content-length", b"transfer-encoding", b"content-type", b"accept"]
)
values = st.sampled_from([b"x", b"3", b"chunked", b"gzip", b"a b", b""])


@given(st.lists(st.tuples(names, values), max_size=6), st.sampled_from(["1.0", "1.1"]))
def test_an_accepted_head_has_one_host_and_one_framing(headers, version):
    try:
        check_head(method=b"POST", version=version, target=b"/", headers=headers)
    except MalformedHttp:
        return
    sent = [name for name, _ in headers]
    assert sent.count(b"host") <= 1
    assert version == "1.0" or sent.count(b"host") == 1
    assert sent.count(b"content-length") + sent.count(b"transfer-encoding") <= 1
    assert all(value == b"chunked" for name, value in headers if name == b"transfer-encoding")


def test_limits_hold_to_the_byte():
    room = MAX_HEAD_BYTES - len(b"GET / HTTP/1.1\r\nhost: x\r\na: \r\n\r\n")
    checked(b"/", HOST, (b"a", b"b" * room))
    with pytest.raises(HeadersTooLarge):
        checked(b"/", HOST, (b"a", b"b" * (room + 1)))
    checked(b"/", HOST, *[(b"a", b"")] * (MAX_HEADERS - 1))
    with pytest.raises(HeadersTooLarge):
        checked(b"/", HOST, *[(b"a", b"")] * MAX_HEADERS)


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://x/a?b", b"x", b"/a?b"),
        (b"https://X", b"x", b"/"),
        (b"http://x?a", b"x", b"/?a"),
        (b"http://[::1]:80/a", b"[::1]:80", b"/a"),
    ],
)
def test_a_url_of_the_host_becomes_its_path(target, host, path):
    assert checked(target, (b"host", host)) == path
