"""What is seen of a run while it lasts."""

import io
import os
import pty
import re
import threading
from contextlib import suppress

import pytest

from sentiment.bulk.progress import SCORING, WRITING, Progress, roughly


class Clock:
    """Stands until a test moves it."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return io.StringIO()


def lines(stream):
    return stream.getvalue().splitlines()


def advance(progress, clock, *, seconds, texts_per_s, bytes_per_text=10, start=0, file=None):
    """Update eight times a second, which floating point can count."""
    began_at = clock.now
    for eighth in range(1, 8 * seconds + 1):
        clock.now = began_at + eighth / 8
        texts = start + eighth * texts_per_s // 8
        progress.update(rows=texts, bytes_read=texts * bytes_per_text, texts=texts, file=file)


def test_a_line_every_ten_seconds_tells_rows_share_rate_and_what_is_left(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING, total_bytes=100_000)
        advance(progress, clock, seconds=25, texts_per_s=100)
        assert lines(stream) == [
            "scored 1,000 rows, 10 %, 100 texts/s, 2 min left",
            "scored 2,000 rows, 20 %, 100 texts/s, 1 min left",
        ]
    assert lines(stream)[2:] == ["scored 2,500 rows in 25 s"]


def test_a_run_of_a_few_seconds_says_nothing(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING, total_bytes=1000)
        advance(progress, clock, seconds=1, texts_per_s=100)
        progress.begin(WRITING, total_rows=100)
        progress.update(rows=100)
    assert stream.getvalue() == ""


def test_the_rate_is_that_of_the_last_half_minute(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING, total_bytes=1_000_000)
        advance(progress, clock, seconds=60, texts_per_s=1000)
        advance(progress, clock, seconds=40, texts_per_s=10, start=60_000)
        assert "1,000 texts/s" in lines(stream)[5]
        assert ", 10 texts/s" in lines(stream)[9]


def test_a_resumed_run_begins_at_its_share_and_counts_only_what_it_does_itself(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING, total_bytes=1_000_000, rows=80_000, bytes_read=800_000)
        clock.now += 10
        progress.update(rows=81_000, bytes_read=810_000, texts=1000)
        assert lines(stream) == ["scored 81,000 rows, 81 %, 100 texts/s, 3 min left"]
    assert lines(stream)[1:] == ["scored 1,000 rows in 10 s"]


def test_without_a_total_nothing_is_said_of_the_share_and_the_end(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING)
        clock.now += 10
        progress.update(rows=500, texts=500)
        assert lines(stream) == ["scored 500 rows, 50 texts/s"]


def test_the_writing_is_counted_in_rows(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(WRITING, total_rows=40_000)
        clock.now += 10
        progress.update(rows=10_000)
        assert lines(stream) == ["wrote 10,000 rows, 25 %, 1,000 rows/s, 30 s left"]


def test_all_is_not_said_before_it_is_done(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(WRITING, total_rows=10_000)
        clock.now += 10
        progress.update(rows=9_999)
        assert "99 %" in lines(stream)[0]


def test_an_input_that_stalls_has_no_time_left(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING, total_bytes=1000)
        clock.now += 10
        progress.update(rows=0)
        assert lines(stream) == ["scored 0 rows, 0 %, 0 texts/s"]


def test_an_interrupted_run_does_not_say_that_it_is_done(stream, clock):
    with suppress(KeyboardInterrupt), Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING)
        clock.now += 60
        raise KeyboardInterrupt
    assert stream.getvalue() == ""


def test_a_line_of_its_own_is_written_as_it_is(stream, clock):
    with Progress(stream=stream, clock=clock) as progress:
        progress.say("[bold]" + "long " * 40)
    assert stream.getvalue() == "[bold]" + "long " * 40 + "\n"


def test_a_run_goes_on_where_nobody_reads_its_progress(clock):
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "w", buffering=1) as stream,
        Progress(stream=stream, clock=clock) as progress,
    ):
        progress.begin(SCORING)
        clock.now += 10
        progress.update(rows=1)
        progress.say("still here")
        # What Python has kept of it would fail once more when the stream is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (3569, "59 min"),
        (3590, "1 h"),
        (7800, "2 h 10 min"),
    ],
)
def test_a_guessed_time_is_said_roughly(seconds, text):
    assert roughly(seconds) == text


# On a terminal


@pytest.fixture
def terminal(monkeypatch):
    """A stream to a terminal of 120 columns, and a function that returns what it shows."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    ours, theirs = pty.openpty()
    received = bytearray()

    def read():
        while True:
            try:
                received.extend(os.read(ours, 65536))
            except OSError:  # the other end is closed
                return

    reader = threading.Thread(target=read)
    reader.start()
    stream = os.fdopen(theirs, "w", buffering=1)

    def shown():
        stream.close()
        reader.join(timeout=30)
        return received.decode()

    yield stream, shown
    stream.close()
    reader.join(timeout=30)
    os.close(ours)


def plain(text):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_terminal_shows_a_bar_with_the_file_that_is_read(terminal, clock):
    stream, shown = terminal
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING, total_bytes=100_000)
        advance(progress, clock, seconds=5, texts_per_s=100, file="news[red].csv")
        progress.say("row 7 is bad")
    text = plain(shown())
    assert "scoring news[red].csv" in text
    assert "500 rows, 5 %, 100 texts/s, 2 min left" in text
    assert "row 7 is bad" in text
    assert "━" in text


def test_the_bar_is_drawn_at_most_ten_times_a_second(terminal, clock):
    stream, shown = terminal
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING, total_rows=1000)
        for row in range(1000):
            clock.now += 0.001
            progress.update(rows=row)
    assert plain(shown()).count("scoring") <= 12


def test_the_cursor_is_given_back_when_a_run_is_interrupted(terminal, clock):
    stream, shown = terminal
    with suppress(KeyboardInterrupt), Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING)
        raise KeyboardInterrupt
    assert shown().rindex("\x1b[?25h") > 0


def test_a_file_cannot_move_the_cursor_and_shows_the_end_of_a_long_name(terminal, clock):
    stream, shown = terminal
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING)
        clock.now += 1
        progress.update(rows=1, file="folder/" * 20 + "\x1b[2Jnews.csv")
    text = shown()
    assert "\x1b[2J" not in text
    assert "[2Jnews.csv" in plain(text)
    assert "scoring ..." in plain(text)


def test_a_dumb_terminal_gets_lines(terminal, clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream, shown = terminal
    with Progress(stream=stream, clock=clock) as progress:
        progress.begin(SCORING)
        clock.now += 10
        progress.update(rows=500, texts=500)
    assert shown().splitlines() == ["scored 500 rows, 50 texts/s", "scored 500 rows in 10 s"]
