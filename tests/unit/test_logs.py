import fcntl
import json
import logging
import os

import pytest

from sentiment.errors import InferenceFailed
from sentiment.logs import DroppingHandler, JsonFormatter, LineLimit, configure_logging

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
    """A pipe of 16 KiB that nobody reads, as a text stream to write to."""
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as reading, open(writer, "w") as writing:
        yield reading, writing


def log_to(stream, *lines):
    handler = DroppingHandler(stream)
    fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, 16_384)
    handler.setFormatter(JsonFormatter())
    for line in lines:
        record = logging.LogRecord("n", logging.INFO, "p", 1, line, (), None)
        handler.emit(record)
    return handler


def test_a_reader_of_logs_that_is_stuck_keeps_nobody_waiting_and_is_told_what_it_missed(pipe):
    reading, writing = pipe
    handler = log_to(writing, *["x" * 3000] * 10)
    written = reading.read(65536).decode().splitlines()
    assert 1 <= len(written) < 10
    handler.emit(logging.LogRecord("n", logging.INFO, "p", 1, "again", (), None))
    notice, line = map(json.loads, reading.read(65536).decode().splitlines())
    assert (notice["message"], notice["level"]) == ("log lines were dropped", "WARNING")
    assert notice["lines"] + len(written) == 10
    assert line["message"] == "again"


def test_a_line_that_a_full_pipe_cuts_short_does_not_swallow_the_next_one(pipe):
    reading, writing = pipe
    handler = log_to(writing, "x" * 20_000)
    assert "\n" not in reading.read(65536).decode()
    handler.emit(logging.LogRecord("n", logging.INFO, "p", 1, "next", (), None))
    rest, _notice, line = reading.read(65536).decode().splitlines()
    assert rest == ""
    assert json.loads(line)["message"] == "next"


def test_a_reader_of_logs_that_is_gone_harms_nobody(pipe, capsys):
    reading, writing = pipe
    reading.close()
    log_to(writing, "said to nobody", "and again")
    assert capsys.readouterr().err == ""


def test_of_many_lines_in_one_second_a_few_are_written_and_the_rest_are_counted():
    limit = LineLimit(2)
    assert [limit.next(7.0 + tenth / 10) for tenth in range(5)] == [0, 0, None, None, None]
    assert [limit.next(8.0), limit.next(8.1), limit.next(8.2)] == [3, 0, None]
    assert limit.next(20.0) == 1


def test_of_several_workers_each_line_tells_whose_it_is(capsys):
    configure_logging("info", worker=2)
    logging.getLogger("sentiment.test").info("ready", extra={"load_s": 1})
    (line,) = lines(capsys)
    assert (line["worker"], line["message"], line["load_s"]) == (2, "ready", 1)


def test_room_that_another_process_takes_first_is_not_waited_for(monkeypatch):
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb"), os.fdopen(writer, "w") as stream:
        handler = DroppingHandler(stream, shared=True)
        handler.setFormatter(JsonFormatter())
        # Between the look at the pipe, which said that there is room, and the write.
        monkeypatch.setattr(handler, "_writable", lambda: True)
        record = logging.makeLogRecord({"msg": "x" * 4000})
        capacity = fcntl.fcntl(writer, fcntl.F_GETPIPE_SZ)
        for _ in range(capacity // 4000 + 1):
            handler.emit(record)
        assert handler._dropped


def test_a_file_that_several_write_to_is_written_to_as_it_was_opened(tmp_path):
    # A descriptor of its own would have a place of its own, and write over others' lines.
    with (tmp_path / "log").open("w") as stream:
        handler = DroppingHandler(stream, shared=True)
        handler.setFormatter(JsonFormatter())
        os.write(stream.fileno(), b"somebody else's\n")
        handler.emit(logging.makeLogRecord({"msg": "ours"}))
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first == "somebody else's"
    assert json.loads(second)["message"] == "ours"
