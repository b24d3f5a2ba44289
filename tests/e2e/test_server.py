"""The server as its users meet it: a process, a socket, curl."""

import json
import signal
import socket
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from tests.e2e.conftest import environment, running_server
from tests.texts import TEXTS


def curl(*arguments, stdin=None):
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--max-time", "30", *arguments],
        input=stdin,
        capture_output=True,
        check=True,
    )
    return done.stdout.decode()


def serve_once(*command, **settings):
    """Run a server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=REPOSITORY,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_curl_gets_a_label_and_a_score_for_each_text(server):
    body = json.dumps([{"text": text} for text in TEXTS])
    answer = json.loads(curl("-H", "Content-Type: application/json", "-d", body, server.url))
    assert len(answer) == len(TEXTS)
    assert {item["label"] for item in answer} == {"positive", "negative", "neutral"}


def test_curl_without_a_content_type_is_understood(server):
    answer = curl("-d", '{"text": "Profit rose"}', f"{server.url}/analyze_sentiment")
    assert set(json.loads(answer)) == {"sentiment", "confidence_score"}


def test_five_mebibytes_by_curl_get_their_413_and_the_next_request_its_answer(server):
    body = b'["' + b"a" * (5 * 2**20) + b'"]'
    headers = ("-H", "Content-Type: application/json")
    answer = json.loads(curl(*headers, "--data-binary", "@-", server.url, stdin=body))
    assert answer["code"] == "body-too-large"
    assert len(json.loads(curl(*headers, "-d", '["a"]', server.url))) == 1


@pytest.mark.parametrize("declared", [b"Content-Length: 5242884", b"Transfer-Encoding: chunked"])
def test_a_client_that_sends_everything_first_still_reads_its_413(server, declared):
    # Without `Expect: 100-continue`: the server must not reset a connection it still reads.
    host, port = server.url.removeprefix("http://").split(":")
    body = b'["' + b"a" * (5 * 2**20) + b'"]'
    if b"chunked" in declared:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n%s\r\n\r\n" % declared
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "body-too-large"


def test_a_client_that_hangs_up_inside_its_body_harms_nobody(server):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b'Content-Length: 100\r\n\r\n["half'
        )
    assert json.loads(curl("-d", '["a"]', server.url))


def test_uvicorn_serves_the_same_application():
    command = ("-m", "uvicorn", "batch_server:app", "--port", "0")
    with running_server(*command) as server:
        assert len(json.loads(curl("-d", '["a", "b"]', server.url))) == 2


def test_every_line_of_the_log_is_one_json_object():
    with running_server(SENTIMENT_LOG_LEVEL="debug") as server:
        curl("-d", '["a"]', server.url)
        curl(f"{server.url}/livez")
        server.stop()
    requests = [line for line in server.log if line["message"] == "request"]
    assert [line["route"] for line in requests] == ["POST /", "GET /livez"]
    for line in server.log:
        assert {"time", "level", "logger", "message"} <= line.keys()


def test_sigterm_answers_what_was_accepted_and_ends():
    with running_server() as server:
        body = json.dumps(list(TEXTS) * 40)
        client = subprocess.Popen(
            ["curl", "--silent", "-H", "Expect:", "-d", body, server.url], stdout=subprocess.PIPE
        )
        # The text count is logged when the answer is sent, so wait for the queue instead.
        for _ in range(1000):
            if "sentiment_batch_texts_count 4.0" not in curl(f"{server.url}/metrics"):
                break  # 4: the warm-up's batches
        else:
            pytest.fail("the request never came to a batch")
        code = server.stop()
        answer, _ = client.communicate(timeout=30)
    assert len(json.loads(answer)) == 40 * len(TEXTS)
    # uvicorn ends by the signal that it was sent, once it has finished.
    assert code in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("./no-such-folder", "neither a folder nor a Hub name"),
        ("nobody/nothing", "is not in the local cache and the Hub is out of reach"),
        ("tests", "config.json: No such file"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [("-m", "sentiment", "serve", "--port", "0"), ("-m", "uvicorn", "batch_server:app")],
    ids=["sentiment", "uvicorn"],
)
def test_a_model_that_cannot_be_had_ends_the_process_with_3_and_one_line(
    tmp_path, model, message, command
):
    done = serve_once(*command, SENTIMENT_MODEL=model, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 3
    lines = [line for line in done.stderr.splitlines() if message in line]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command",
    [("-m", "sentiment", "serve", "--port", "0"), ("-m", "uvicorn", "batch_server:app")],
    ids=["sentiment", "uvicorn"],
)
def test_a_wrong_setting_ends_the_process_with_3_and_one_line(command):
    done = serve_once(*command, SENTIMENT_TREADS="2")
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: unknown setting SENTIMENT_TREADS; known are ")


def test_a_port_that_is_taken_is_said(server):
    port = server.url.rpartition(":")[2]
    done = serve_once("-m", "sentiment", "serve", "--port", port)
    assert done.returncode not in (0, None)
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--port", "99999"], "'--port'"),
        (["serv"], "No such command 'serv'. Did you mean 'serve'?"),
        (["train"], "Missing option"),
    ],
)
def test_a_wrong_command_line_is_told_so_in_one_line(arguments, message):
    done = serve_once("-m", "sentiment", *arguments)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_help_names_the_commands():
    done = serve_once("-m", "sentiment", "--help", COLUMNS="100")
    assert done.returncode == 0
    for command in ("serve", "train", "evaluate"):
        assert command in done.stdout
