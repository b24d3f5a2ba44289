"""The playground's modules on their own, in the browser that runs them."""

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.browser import running_browser, visit

EXAMPLES = settings(
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def page(server):
    with running_browser() as browser, visit(browser, server.url) as playground:
        yield playground.page


@pytest.fixture(scope="module")
def call(page):
    """Call an exported function of a module; what it yields comes as a list."""

    def call(module, name, *arguments):
        return page.evaluate(
            """async ([module, name, given]) => {
              const returned = (await import(`/playground/${module}.js`))[name](...given);
              return returned?.next ? [...returned] : returned;
            }""",
            [module, name, arguments],
        )

    return call


DELIMITERS = st.sampled_from([",", ";", "\t", "|"])
# Python's own reader and writer do not take NUL for text.
CELLS = st.text(
    st.one_of(
        st.sampled_from('",;\t|\r\n =+-@'),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"),
    ),
    max_size=8,
)
TABLES = st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=5)


@given(TABLES, DELIMITERS, st.sampled_from(["\r\n", "\n", "\r"]), st.sampled_from(["", "\ufeff"]))
@EXAMPLES
def test_what_python_writes_is_read(call, table, delimiter, line_end, mark):
    written = io.StringIO()
    # Python leaves a cell bare that holds another line break than the one it writes.
    quoting = csv.QUOTE_MINIMAL if line_end == "\r\n" else csv.QUOTE_ALL
    writer = csv.writer(written, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerows(table)
    assert call("csv", "records", mark + written.getvalue(), delimiter) == table


@given(st.lists(CELLS, min_size=2, max_size=4))
@EXAMPLES
def test_what_is_written_python_reads(call, cells):
    line = call("csv", "csvLine", cells)
    assert list(csv.reader(io.StringIO(line, newline=""))) == [cells]


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("", []),
        ("a", [["a"]]),
        ("a,b", [["a", "b"]]),
        ("a,b\r\n", [["a", "b"]]),
        ("a,\r\n,b", [["a", ""], ["", "b"]]),
        ("\r\n\r\na", [[""], [""], ["a"]]),
        ('"a""b","c\r\nd"', [['a"b', "c\r\nd"]]),
        ('""', [[""]]),
        ('"a"b,c', [["ab", "c"]]),
        ('a"b,c', [['a"b', "c"]]),
        ("\ufeffa\rb", [["a"], ["b"]]),
    ],
)
def test_records_are_what_rfc_4180_says_and_what_spreadsheets_do(call, text, table):
    assert call("csv", "records", text, ",") == table


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2\n2,5;3\n", ";"),
        ("a\tb\nx, y\tz\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ('"a;b;c",d\n"e;f;g",h\n', ","),
        ("Profit rose, said the board\nLoss\n", ","),
        ("only one column\nof texts\n", ","),
        ("", ","),
    ],
)
def test_the_delimiter_is_guessed(call, text, delimiter):
    assert call("csv", "guessDelimiter", text) == delimiter


@pytest.mark.parametrize(
    ("table", "has_header", "column"),
    [
        ([["id", "headline"], ["1", "Profit"]], True, 1),
        ([["Text", "a very long other column"], ["Profit", "x" * 99]], True, 0),
        ([["news_title", "body_id"], ["Profit", "1"]], True, 0),
        ([["a", "b"], ["1", "Profit rose"], ["2", "Loss"]], True, 1),
        ([["1", "Profit rose"], ["2", "Loss widens"]], False, 1),
        ([["Profit rose"], ["Loss widens"]], False, 0),
        ([["Profit rose"]], False, 0),
        ([["x", "y"], ["only"], ["a", "the longest of them"]], False, 1),
        ([], False, 0),
    ],
)
def test_header_and_column_of_texts_are_guessed(call, table, has_header, column):
    assert call("csv", "guessHeader", table) is has_header
    assert call("csv", "guessColumn", table, has_header) == column


@pytest.mark.parametrize("first", "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
def test_a_cell_that_a_spreadsheet_would_run_is_guarded(call, first):
    assert call("csv", "guarded", f"{first}1+1") == f"'{first}1+1"


@pytest.mark.parametrize("text", ["", "a=b", " =1", "Profit +5 %", "'=1"])
def test_other_cells_stay_as_they_are(call, text):
    assert call("csv", "guarded", text) == text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_files_of_every_usual_encoding_are_read(page, encoding):
    decoded = page.evaluate(
        """async (bytes) =>
          (await import("/playground/sources.js")).decoded(new Uint8Array(bytes))""",
        list("Umsätze – stark".encode(encoding)),
    )
    assert decoded == "Umsätze – stark"


def test_lines_keep_their_numbers_though_blank_ones_go(call):
    assert call("sources", "rowsOfLines", "a\r\n\r\n \t\nb\rc\n") == [
        {"number": 1, "text": "a"},
        {"number": 4, "text": "b"},
        {"number": 5, "text": "c"},
    ]


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), max_size=40),
    st.integers(1, 10),
    st.integers(200, 400),
)
@EXAMPLES
def test_chunks_hold_every_text_once_within_the_limits(call, page, texts, max_texts, max_bytes):
    limits = {"max_texts": max_texts, "max_body_bytes": max_bytes, "max_text_chars": 30}
    chunks = call("scoring", "chunks", [{"text": text} for text in texts], limits)
    assert [row["text"] for chunk in chunks for row in chunk] == texts
    for chunk in chunks:
        assert len(chunk) <= max_texts
        size = "(chunk) => new Blob([JSON.stringify(chunk.map((row) => row.text))]).size"
        assert len(chunk) == 1 or page.evaluate(size, chunk) <= max_bytes


@pytest.mark.parametrize(
    ("header", "timing"),
    [
        ("queue;dur=0.12, tokenize;dur=1, infer;dur=20.50", [0.12, 1, 20.5]),
        ("queue; dur=3,tokenize;dur=4 , infer ;dur=5, proxy;desc=x", [3, 4, 5]),
    ],
)
def test_server_timing_is_read(call, header, timing):
    read = call("server", "parseTiming", header)
    assert read == dict(zip(("queue", "tokenize", "infer"), timing, strict=True))


@pytest.mark.parametrize(
    ("label", "tone"),
    [
        ("positive", "positive"),
        ("Very Negative", "negative"),
        ("bearish", "negative"),
        ("bullish", "positive"),
        ("neutral", "neutral"),
        ("LABEL_0", "neutral"),
    ],
)
def test_labels_of_other_models_have_a_tone(call, label, tone):
    assert call("labels", "toneOf", label) == tone
