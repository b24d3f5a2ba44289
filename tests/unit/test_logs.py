import json
import logging
import os

import pytest

from sentiment.errors import InferenceFailed
from sentiment.logs import JsonFormatter, NonBlockingHandler, configure_logging

LOGGERS = [logging.getLogger(name) for name in ("sentiment", "uvicorn", "uvicorn.error")]


@pytest.fixture(autouse=True)
def loggers_as_they_were():
    saved = [(each, each.handlers, each.propagate, each.level) for each in LOGGERS]
    root_handlers = logging.getLogger().handlers
    yield
    logging.getLogger().handlers = root_handlers
    for each, handlers, propagate, level in saved:
        each.handlers, each.propagate = handlers, propagate
        each.setLevel(level)
    logging.getLogger("uvicorn.access").disabled = False


def configured(level="info"):
    configure_logging(level)
    return logging.getLogger("sentiment.test")


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.rstrip("\n").split("\n") if line]


def test_a_line_is_one_json_object_with_its_fields(capsys):
    configured().info("request\nforged\u2028", extra={"texts": 3, "route": "POST /"})
    (line,) = lines(capsys)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "INFO",
        "logger": "sentiment.test",
        "message": "request\nforged\u2028",
        "texts": 3,
        "route": "POST /",
    }


def test_uvicorns_own_lines_have_the_same_form(capsys):
    configured()
    logging.getLogger("uvicorn.error").info("Started", extra={"color_message": "\x1b[36m"})
    (line,) = lines(capsys)
    assert line["message"] == "Started"
    assert "color_message" not in line


def test_lines_below_the_level_are_not_written(capsys):
    configured().debug("detail")
    assert lines(capsys) == []


def test_an_exception_is_logged_by_type_and_place_but_not_by_message(capsys):
    try:
        try:
            int("a client's text")
        except ValueError as cause:
            raise InferenceFailed("of our own making") from cause
    except InferenceFailed:
        configured().exception("failed")
    (line,) = lines(capsys)
    assert "invalid literal" not in line["exception"]
    assert line["exception"].count("test_logs.py") == 2
    assert "ValueError" in line["exception"]
    assert line["exception"].endswith("InferenceFailed: of our own making")


def test_what_a_library_warns_of_is_json_too(capsys):
    configured()
    logging.getLogger("huggingface_hub.file_download").warning("Retrying in 1s")
    (line,) = lines(capsys)
    assert (line["logger"], line["level"]) == ("huggingface_hub.file_download", "WARNING")


def test_a_circle_of_causes_is_no_endless_line(capsys):
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    configured().error("failed", exc_info=first)
    assert "KeyError" in lines(capsys)[0]["exception"]


def test_the_formatter_needs_no_configuration():
    record = logging.LogRecord("n", logging.INFO, "p", 1, "said %d", (1,), None)
    assert json.loads(JsonFormatter().format(record))["message"] == "said 1"


@pytest.fixture
def pipe():
    """A logger that writes into a pipe, and the pipe's other end."""
    reader, writer = os.pipe()
    logger = logging.getLogger("sentiment.pipe")
    with os.fdopen(writer, "w") as stream:
        handler = NonBlockingHandler(stream)
        handler.setFormatter(JsonFormatter())
        logger.handlers, logger.propagate = [handler], False
        yield logger, reader
    os.close(reader)


def read_lines(reader, last):
    """Read up to the line whose message is `last`."""
    text = b""
    while last.encode() not in text:
        text += os.read(reader, 2**20)
    return [json.loads(line) for line in text.splitlines()]


def test_a_reader_that_stopped_does_not_stop_the_writer(pipe):
    logger, reader = pipe
    for number in range(40_000):
        logger.warning("line %d", number)
    text = b""
    while b"log lines were lost" not in text:
        text += os.read(reader, 2**16)
        logger.warning("after")  # what is kept is written as the reader comes back
    lines = [json.loads(line) for line in text.splitlines() if line.endswith(b"}")]
    assert [line["message"] for line in lines[:1000]] == [f"line {i}" for i in range(1000)]
    (lost,) = [line["lines"] for line in lines if "lines" in line]
    assert lost + sum(line["message"].startswith("line ") for line in lines) == 40_000


def test_a_line_longer_than_a_page_arrives_whole(pipe):
    logger, reader = pipe
    logger.warning("x" * 20_000)
    (line,) = read_lines(reader, "x" * 20_000)
    assert len(line["message"]) == 20_000


def test_a_reader_that_left_is_no_error(pipe):
    logger, reader = pipe
    os.dup2(os.open(os.devnull, os.O_RDONLY), reader)
    for _ in range(10):
        logger.warning("to nobody")
