"""A public corpus of raw requests, where it lies beside the project: our verdict on each file.

gunicorn's own verdicts depend on its settings; these are this server's, and a change of any
is a change of what clients and attackers get.
"""

import os
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.conftest import GATED, running_server
from tests.e2e.wire import answers, connect, post, read

CORPUS = (
    Path(os.environ.get("HTTP_CORPUS", REPOSITORY.parent / "shared/corpora/gunicorn-http"))
    / "tests/requests"
)

pytestmark = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="gunicorn's tests/requests are not there; HTTP_CORPUS names them"
)

VERDICTS: dict[str, tuple[int, ...]] = {
    "invalid/001.http": (400,),
    "invalid/002.http": (400,),
    "invalid/003.http": (400,),
    "invalid/003b.http": (400,),
    "invalid/003c.http": (400,),
    "invalid/004.http": (400,),
    "invalid/005.http": (400,),
    "invalid/006.http": (404,),
    "invalid/007.http": (404,),
    "invalid/008.http": (404,),
    "invalid/009.http": (431,),
    "invalid/010.http": (400,),
    "invalid/011.http": (400,),
    "invalid/012.http": (400,),
    "invalid/013.http": (400,),
    "invalid/014.http": (400,),
    "invalid/015.http": (400,),
    "invalid/016.http": (400,),
    "invalid/017.http": (400,),
    "invalid/018.http": (400,),
    "invalid/019.http": (400,),
    "invalid/020.http": (400,),
    "invalid/021.http": (400,),
    "invalid/022.http": (400,),
    "invalid/023.http": (400,),
    "invalid/024.http": (400,),
    "invalid/040.http": (404,),
    "invalid/041.http": (400,),
    "invalid/042.http": (400,),
    "invalid/chunked_01.http": (400,),
    "invalid/chunked_02.http": (400,),
    "invalid/chunked_03.http": (400,),
    "invalid/chunked_04.http": (400,),
    "invalid/chunked_05.http": (400,),
    "invalid/chunked_06.http": (400,),
    "invalid/chunked_07.http": (400,),
    "invalid/chunked_08.http": (400,),
    "invalid/chunked_09.http": (400,),
    "invalid/chunked_10.http": (400,),
    "invalid/chunked_11.http": (400,),
    "invalid/chunked_12.http": (400,),
    "invalid/chunked_13.http": (400,),
    "invalid/chunked_14.http": (400,),
    "invalid/invalid_field_value_01.http": (400,),
    "invalid/limit_header_default_01.http": (200,),
    "invalid/nonascii_01.http": (400,),
    "invalid/nonascii_02.http": (400,),
    "invalid/nonascii_03.http": (400,),
    "invalid/nonascii_04.http": (400,),
    "invalid/obs_fold_01.http": (400,),
    "invalid/pp_01.http": (400,),
    "invalid/pp_02.http": (400,),
    "invalid/pp_03.http": (400,),
    "invalid/prefix_01.http": (400,),
    "invalid/prefix_02.http": (400,),
    "invalid/prefix_03.http": (400,),
    "invalid/prefix_04.http": (400,),
    "invalid/prefix_05.http": (400,),
    "invalid/prefix_06.http": (400,),
    "invalid/rfc9110_field_value_ctl_bel_01.http": (400,),
    "invalid/rfc9110_field_value_ctl_del_01.http": (400,),
    "invalid/rfc9110_trailer_forbidden_cl_01.http": (404,),
    "invalid/rfc9110_trailer_forbidden_host_01.http": (404,),
    "invalid/rfc9110_trailer_forbidden_te_01.http": (404,),
    "invalid/rfc9112_chunked_missing_final_crlf_01.http": (404,),
    "invalid/rfc9112_chunked_size_minus_sign_01.http": (404,),
    "invalid/rfc9112_chunked_size_plus_sign_01.http": (404,),
    "invalid/rfc9112_smuggle_cl_list_form_01.http": (400,),
    "invalid/rfc9112_smuggle_cl_te_chunked_01.http": (400,),
    "invalid/rfc9112_target_asterisk_non_options_01.http": (400,),
    "invalid/rfc9112_target_authority_non_connect_01.http": (400,),
    "invalid/rfc9112_target_relative_01.http": (400,),
    "invalid/version_01.http": (400,),
    "invalid/version_02.http": (400,),
    "valid/001.http": (404,),
    "valid/002.http": (400,),
    "valid/003.http": (400,),
    "valid/004.http": (400,),
    "valid/005.http": (400,),
    "valid/006.http": (400,),
    "valid/007.http": (400,),
    "valid/008.http": (404,),
    "valid/009.http": (400,),
    "valid/010.http": (400,),
    "valid/011.http": (400,),
    "valid/012.http": (400,),
    "valid/013.http": (400,),
    "valid/014.http": (400,),
    "valid/015.http": (404,),
    "valid/017.http": (404,),
    "valid/018.http": (400,),
    "valid/019.http": (404,),
    "valid/020.http": (404,),
    "valid/021.http": (400,),
    "valid/022.http": (404,),
    "valid/023.http": (400,),
    "valid/024.http": (431,),
    "valid/025.http": (400,),
    "valid/025_line.http": (400,),
    "valid/026.http": (200,),
    "valid/027.http": (400,),
    "valid/028.http": (400,),
    "valid/029.http": (400,),
    "valid/030.http": (400,),
    "valid/031.http": (400,),
    "valid/031compat.http": (400,),
    "valid/031compat2.http": (400,),
    "valid/040.http": (404,),
    "valid/040_compat.http": (404,),
    "valid/099.http": (404,),
    "valid/100.http": (400,),
    "valid/compat_obs_fold.http": (400,),
    "valid/compat_obs_fold_huge.http": (400,),
    "valid/padding_01.http": (200, 404),
    "valid/pp_01.http": (400,),
    "valid/pp_02.http": (400,),
    "valid/pp_03.http": (404, 404),
    "valid/pp_04.http": (400,),
    "valid/pp_05.http": (400,),
    "valid/rfc9110_body_framing_get_cl_nonzero_01.http": (404, 404),
    "valid/rfc9110_body_framing_get_cl_zero_01.http": (404, 404),
    "valid/rfc9110_body_framing_http10_cl_01.http": (404,),
    "valid/rfc9110_field_name_special_chars_01.http": (404, 404),
    "valid/rfc9110_field_value_htab_trim_01.http": (404, 404),
    "valid/rfc9110_field_value_obs_text_01.http": (404, 404),
    "valid/rfc9112_chunked_ext_quoted_01.http": (404, 404),
    "valid/rfc9112_chunked_size_leading_zeros_01.http": (404, 404),
    "valid/rfc9112_chunked_size_uppercase_hex_01.http": (404, 404),
    "valid/rfc9112_smuggle_gzip_chunked_01.http": (400,),
    "valid/rfc9112_smuggle_te_identity_chunked_01.http": (400,),
    "valid/rfc9112_target_absolute_01.http": (404, 404),
    "valid/rfc9112_target_absolute_https_01.http": (404, 404),
    "valid/rfc9112_target_absolute_ipv6_01.http": (404, 404),
    "valid/rfc9112_target_absolute_userinfo_01.http": (400,),
    "valid/rfc9112_target_asterisk_options_01.http": (400,),
    "valid/rfc9112_target_authority_connect_01.http": (400,),
    "valid/rfc9112_target_authority_ipv6_01.http": (400,),
}
"""File -> status of each answer, to it and to a good request behind it.

A single 404 is a request that was answered before its broken body came: the connection ends.
What gunicorn takes and this server does not is mostly a request without a Host, a transfer
coding beside chunked, trailer fields, or the PROXY protocol."""


def raw(file):
    """Return the bytes that a file stands for: line ends are written out in it."""
    text = file.read_bytes().replace(b"\n", b"")
    return text.decode("latin-1").encode("latin-1").decode("unicode_escape").encode("latin-1")


@pytest.fixture(scope="module")
def edge():
    with running_server(
        *GATED, SENTIMENT_HEAD_TIMEOUT_S="0.5", SENTIMENT_BODY_TIMEOUT_S="0.5"
    ) as server:
        yield server


def statuses(address, request_bytes):
    with connect(address) as connection:
        connection.sendall(request_bytes)
        # Kept alive where it is well-formed: a last request says that no more will come.
        connection.sendall(b"GET /end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return tuple(answer.status for answer in answers(read(connection)))


def files():
    return sorted(f"{file.parent.name}/{file.name}" for file in CORPUS.glob("*/*.http"))


@pytest.mark.parametrize("name", files())
def test_each_request_of_the_corpus_gets_its_pinned_verdict(edge, name):
    got = statuses(edge.address, raw(CORPUS / name))
    assert got == VERDICTS[name]
    assert post(edge.address).status == 200


def test_no_verdict_is_without_its_request():
    assert sorted(VERDICTS) == files()
