"""Invariant: sentences are in order, apart, inside the text and visible, and hold all of it."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sentencex import get_sentence_boundaries

from sentiment import sentences as splitting
from sentiment.sentences import (
    NARROWEST,
    SCAN_CHARS,
    WIDEST,
    WINDOW_CHARS,
    sentence_spans,
    sentence_steps,
)
from sentiment.visible import is_visible

MAX_CHARS = 20_000

CASES = {
    "full stops": "Sales rose.‖ Profit fell.",
    "question and exclamation": "Is this the bottom?‖ Analysts doubt it!‖ We do not.",
    "company forms": (
        "Acme Inc. reported a loss.‖ Bolt Corp. did not.‖ Cargo Ltd. and Delta Co. merged."
    ),
    "company form before a capital": "Shares of Acme Inc. Thursday fell 3%.",
    "company form ends": "She joined Acme Inc.‖ The shares fell.",
    "countries": "The U.S. economy grew by 2 percent.‖ The U.K. economy shrank.",
    "country before a capital": "The U.S. Federal Reserve raised rates.‖ Stocks fell.",
    "country ends": "Exports go to the U.S.‖ They rose by 4 percent.",
    "decimals": "Revenue was 3.5 bn, up from 3.1 bn.‖ Costs were 0.75 per unit.",
    "amount ends": "Net sales amounted to EUR 1.2 mn.‖ The order book grew.",
    "amount of shares": "It earned $1.05 per share.‖ A year ago it earned $.98.",
    "thousands": "It sold 1.234.567 units.‖ It made 12,500.50 dollars.",
    "percent": "Margins fell 1.5%.‖ Costs rose 2.25 %.",
    "number one": "It is the No. 1 brewer in Asia.‖ Rivals follow.",
    "numbers in series": "Nos. 3 and 4 were closed.‖ No. 5 stays open.",
    "quarter ends": "Profit doubled in Q3.‖ Sales were flat.",
    "versus": "EPS was $0.12 vs. $0.31 expected.‖ Shares slid.",
    "titles": "Mr. Smith and Dr. Jones resigned.‖ Mrs. Brown stays.",
    "initials": "J.P. Morgan cut its target.‖ J. K. Lee of U.B.S. agreed.",
    "saints": "The plant in St. Petersburg closed.‖ St. Louis is next.",
    "months": "The deal closed on Jan. 15, 2026.‖ The next review is in Sept. 2027.",
    "weekday": "Results are due on Tues. Jan. 6.",
    "times": "Trading began at 9:30 a.m. in New York.‖ It ended at 4 p.m.",
    "approximately": "Costs of approx. 5 million are expected.‖ Savings will be higher.",
    "and so on": "Metals, oil, etc. fell.‖ Gold rose.",
    "examples": "Cyclicals, e.g. Ford, and defensives, i.e. Nestle, diverged.",
    "estimates": "Q3 EPS -$0.12 vs. -$0.31 est.; FY23 rev. guide raised to $1.05-1.10bn",
    "figures": "See Fig. 3 and Sec. 2.‖ They show the trend.",
    "per annum": "The coupon is 4.5 percent p.a. and is paid in arrears.",
    "ratings": "Moody's cut it to Baa3.‖ S&P kept BBB-.‖ Fitch agreed.",
    "names with dots": "Amazon.com and Booking.com rose.‖ Yahoo! fell.",
    "exchange codes": "Apple Inc. (NASDAQ: AAPL) rose 2%.‖ Nokia Oyj (HEL: NOKIA) fell.",
    "german form": "Siemens AG und die Deutsche Bank AG legten zu.‖ Der Dax stieg um 1,2 Prozent.",
    "french": "Le bénéfice a augmenté de 3,5 %.‖ Le chiffre d'affaires a reculé.",
    "spanish": "¿Subirá el dividendo?‖ ¡Sin duda!‖ La acción cayó.",
    "chinese": "央行下调存款准备金率。‖股市上涨！‖投资者会高兴吗？",
    "japanese": "売上高は増加した。‖利益は減少した。",
    "hindi": "लाभ बढ़ा।‖ बिक्री घटी।",
    "three dots": "Profit rose... but not by much.",
    "three dots end": "We waited...‖ Nothing came.",
    "ellipsis": "Shares rose… and fell again.‖ Then they stopped.",
    "spaced dots": "The bank . . . declined to comment.",
    "quotation after": '"Demand is weak."‖ The chief executive said so on Monday.',
    "quotation goes on": '"Demand is weak," he said.‖ "It will stay so."',
    "curly quotation": "“Demand is weak.”‖ The board disagreed.",
    "quotation of a question": '"Will it last?" she asked.‖ Nobody knew.',
    "single quotation": "The 'special dividend' is off.‖ Shareholders' anger grew.",
    "bracket after": "Sales rose (excluding currency effects).‖ Profit fell.",
    "sentence in brackets": "Sales rose.‖ (Currency effects are excluded.) Profit fell.",
    "stop in brackets": "Sales rose (by approx. 3 per cent) in Q2.‖ Profit fell.",
    "footnote": "Sales rose by 3 percent.[1]‖ Profit fell.",
    "address": "See https://example.com/a.b?c=d.e#f for details.‖ Call us.",
    "mail": "Write to investor.relations@example.com.‖ We answer.",
    "file": "The figures are in report.v2.xlsx.‖ Download it.",
    "tickers": "$TSLA 🚀🚀 to the moon!‖ $GME next.",
    "emoji between": "To the moon!‖ 🚀🚀🚀 Sell now.",
    "emoji first": "🚀 Shares of Acme doubled.‖ 📉 Bonds fell.",
    "combining": "Le be\u0301ne\u0301fice monte.‖ La perte re\u0301tre\u0301cit.",
    "family emoji": "Household 👨\u200d👩\u200d👧\u200d👦 spending rose.‖ Saving fell.",
    "astral letters": "𝐏𝐫𝐨𝐟𝐢𝐭 𝐫𝐨𝐬𝐞.‖ Sales fell.",
    "paragraphs": "Profit rises at Acme\n\n‖Shares rose.‖ Bonds fell.\n\n\n‖Outlook is flat",
    "paragraphs of windows": "Sales rose.\r\n\r\n‖Profit fell.\r\n",
    "blank line of spaces": "Sales rose in Q2\n \t \n‖Profit fell in Q3",
    "wrapped": (
        "Net sales rose in the third quarter of the year because of strong\ndemand for pumps "
        "in Asia and North America, the company said on\nThursday.‖ Profit fell."
    ),
    "wrapped before a capital": (
        "The bank raised its forecast for the whole of the year because the\nEuropean Central "
        "Bank left its rates where they were.‖ Shares of\nrivals rose."
    ),
    "wrapped windows": "The bank raised its forecast for\r\nthe year.‖ Shares rose.",
    "old mac": "Sales rose.\r‖Profit fell.",
    "heading": "Outlook\n‖Sales will grow by 3 to 5 percent this year, the company said.",
    "heading before wrapped": (
        "Results of the third quarter\n‖Net sales rose in the third quarter of the year "
        "because of strong\ndemand for pumps in Asia."
    ),
    "headlines": "Profit rises at Acme\n‖Bolt cuts 300 jobs\n‖Cargo names new chief",
    "headlines of one length or another": (
        "Nokia shares fall after profit warning\n‖Board proposes a dividend of 0.45 per share, "
        "unchanged from last year\n‖Order intake grows for the sixth quarter\n‖Rating outlook "
        "cut"
    ),
    "dashes": "Highlights:\n‖- Sales rose by 3%\n‖- Profit fell\n‖- Outlook unchanged",
    "bullets": "• Sales rose.‖ Profit fell.\n‖• The outlook is unchanged",
    "stars": "* sales up\n‖* costs down",
    "numbered with brackets": "1) Sales rose\n‖2) Profit fell\n‖(3) Debt is stable",
    "numbered with stops": "1. Sales rose.\n‖2. Profit fell.\n‖10. Debt is stable.",
    "lettered": "a) Sales rose\n‖b) Profit fell",
    "bullet goes on": (
        "- Net sales rose in the third quarter of the year because of strong\n  demand for "
        "pumps in Asia.\n‖- Profit fell"
    ),
    "negative number goes on": (
        "The change of the operating profit in the whole of last year was\n-3.5 percent."
    ),
    "table with bars": "| Quarter | Sales |\n‖| Q1 | 3.5 |\n‖| Q2 | 3.6 |",
    "table with tabs": "Quarter\tSales\tProfit\n‖Q1\t3.5\t0.4\n‖Q2\t3.6\t0.5",
    "table with spaces": "Net sales        3.5    3.1\n‖Operating profit 0.4    0.3",
    "rule": "Sales rose.\n-----\n‖Profit fell.",
    "no stop": "Loss widens",
    "one word": "Bankrupt",
    "only marks": "...!!!???",
    "white space around": "  \n\t Sales rose. \u3000\n",
    "zero width": "Sales rose.‖\u200b Profit fell.",
    "nothing between": "Sales rose.‖Profit fell.",
    "lower case": "sales rose.‖ profit fell.",
    "semicolon": "S&P 500 closes flat; oil steady at $71.30 a barrel",
    "dash": "Profit fell – by 3 per cent – in Q2.‖ Sales rose.",
    "new sentence with a number": "Sales rose.‖ 2026 will be better.",
    "new sentence with a currency": "Sales rose.‖ $3.5 bn was paid out.",
    "dateline": "HELSINKI (Reuters) - Nokia cut its outlook on Thursday.‖ Shares fell.",
    "news in brackets": "Nokia cut its outlook.‖ (Reporting by A. Writer; editing by B. Editor)",
    "two marks": "Profit doubled?!‖ Nobody expected it!!‖ Really.",
    "interrobang spaced": "Profit doubled !‖ Nobody expected it.",
    "nbsp": "Sales rose.\u00a0‖Profit fell by 3\u00a0%.",
    "line separator": "Sales rose.\u2028‖Profit fell.",
    "abbreviations that the library does not know": (
        "Costs incl. Interest rose.‖ Foods Cos. International fell.‖ It reports on Thurs. Nov. 5."
    ),
    "words that the library takes for abbreviations": (
        "The deal is due in May.‖ Stocks fell after a warning from the Fed.‖ Shareholders said "
        "no.‖ Analysts do not."
    ),
    "units before a small letter": (
        "It paid EUR 3 mn. in cash and 1.5 bn. in shares.‖ Acme plc. said so."
    ),
    "units at the end": "It paid EUR 3 mn.‖ The rest is due in May.",
    "three initials": "The S.E.C. fined the bank.‖ J.\u00a0P. Morgan paid.",
    "a name across lines": (
        "Sales of the joint venture of Siemens Energy AG and of the company Deutsche\nBank AG rose."
    ),
    "long lines of paragraphs": "Nokia cuts its outlook for the year\n‖"
    + "Net sales fell in every region and in every business of the company, " * 3
    + "it said\n‖Analysts had expected "
    + "that, as they said in notes to clients on Monday, " * 4
    + "and more",
}
"""What it is about -> a text, with a bar wherever a sentence ends and another begins."""

HOSTILE = {
    "dots": ".",
    "quotation marks": '"',
    "quotations that only open": "“",
    "apostrophes": "'",
    "brackets that only open": "(",
    "quotations of TeX": "``",
    "line breaks": "\n",
    "lines of spaces": "\n ",
    "words": "word ",
    "letters": "a",
    "sentences of a letter": "A. ",
    "short sentences": "Word. ",
    "short paragraphs": "A b.\n\n",
    "items": "- a\n",
    "numbers": "1. ",
    "rows": "|a|b\n",
    "Chinese": "央行下调。",
    "emoji": "🚀",
    "marks": "\u0301",
    "half of an address": "a.b@c.",
    "marks on lines of their own": "!\n",
    "marks in paragraphs of their own": "...\n\n",
    "letters on lines of their own": "a\n",
    "controls": "\0",
    "controls on lines of their own": "\0\n",
}
"""What is repeated to break a splitter."""

ALPHABET = [
    *".!?。！？…।\"'“”‘’«»()[]{}（）「」`,;:-–•| \t\r\naAbZ19é中🚀@/¿؟\0_",
    *"\u0301\u200b\u200d\u00a0\u3000\u2028\u0085\x1c\ufeff",
    *("Inc.", "Mr.", "No. ", "U.S.", "e.g.", "approx.", "mn.", "a@b.c", "http://x.y", "Yahoo!"),
    *("Jan. ", "\r\n", "\n\n", "- ", "1) ", "(a) ", "``", "''", "[1]", "word ", "Word "),
]
"""What texts are made of that try every rule at once."""

TEXTS = st.text() | st.lists(st.sampled_from(ALPHABET), max_size=80).map("".join)


def spans_of(text, max_chars=MAX_CHARS):
    return list(sentence_spans(text, max_chars=max_chars))


def sentences(text, max_chars=MAX_CHARS):
    return [text[start:end] for start, end in spans_of(text, max_chars)]


def is_blank(text):
    return all(unicodedata.category(character)[0] in "ZC" for character in text)


def expected(marked):
    """Return a text without its bars, and where the sentences between them stand."""
    text, spans = "", []
    for part in marked.split("‖"):
        inner = part.strip(" \t\r\n\u00a0\u200b\u2028\u3000")
        start = len(text) + part.index(inner)
        spans.append((start, start + len(inner)))
        text += part
    return text, spans


@pytest.mark.parametrize("marked", CASES.values(), ids=CASES.keys())
def test_a_text_is_split_where_a_reader_would(marked):
    text, spans = expected(marked)
    assert [text[start:end] for start, end in spans_of(text)] == [
        text[start:end] for start, end in spans
    ]
    assert spans_of(text) == spans


def test_there_are_cases_enough():
    assert len(CASES) >= 100


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\u200b", "\u0301", " \u0301\n\0\u3000"])
def test_a_text_with_nothing_visible_has_no_sentence(text):
    assert spans_of(text) == []


@given(TEXTS, st.integers(1, 60))
@example("A\u00a0.M", 60)  # on which the library alone panics
@example("a" * 3 * WINDOW_CHARS, 60)
def test_sentences_hold_all_of_the_text_that_is_visible_in_its_order(text, max_chars):
    end = 0
    for span in spans_of(text, max_chars):
        assert end <= span.start < span.end <= len(text)
        assert not is_visible(text[end : span.start])
        assert is_visible(text[span.start : span.end])
        assert span.end - span.start <= max_chars
        assert not is_blank(text[span.start] + text[span.end - 1])
        end = span.end
    assert not is_visible(text[end:])


@given(TEXTS)
def test_windows_line_ends_split_as_others_do(text):
    text = text.replace("\r", "")
    windows = text.replace("\n", "\r\n")
    assert [each.split() for each in sentences(windows)] == [
        each.split() for each in sentences(text)
    ]


def test_a_sentence_over_the_limit_is_cut_at_white_space():
    text = "Sales rose. " + "and profit rose " * 10
    assert sentences(text, max_chars=50) == [
        "Sales rose.",
        *["and profit rose and profit rose and profit rose"] * 3,
        "and profit rose",
    ]


def test_a_word_over_the_limit_is_cut_where_the_limit_is():
    assert sentences("a" * 25, max_chars=10) == ["a" * 10, "a" * 10, "a" * 5]


def test_a_sentence_may_be_as_long_as_the_limit():
    words = "word " * (MAX_CHARS // 5 - 1) + "ends."
    assert len(words) == MAX_CHARS
    assert sentences(f"Sales rose. {words} Profit fell.") == ["Sales rose.", words, "Profit fell."]


def test_sentences_are_found_across_the_windows_that_the_library_sees():
    own = [f"Sales of unit number {number} rose by 3.5 percent." for number in range(1000)]
    assert len(" ".join(own)) > 20 * WINDOW_CHARS
    assert sentences(" ".join(own)) == own


def test_a_sentence_after_a_long_one_is_found():
    long = "word " * WINDOW_CHARS + "ends."
    assert sentences(f"{long} Profit fell.", max_chars=len(long)) == [long, "Profit fell."]


@pytest.mark.parametrize("length", [NARROWEST - 10, WIDEST + 10])
def test_lines_that_nobody_wraps_are_sentences_of_their_own(length):
    lines = [("Word " * length)[: length - 1] + "s"] * 3
    assert sentences("\n".join(lines)) == lines


def test_lines_as_long_as_text_is_wrapped_go_on():
    lines = ["Word " * 15 + "Word"] * 3
    assert len(sentences("\n".join(lines))) == 1


@pytest.mark.parametrize("repeated", HOSTILE.values(), ids=HOSTILE.keys())
def test_of_hostile_texts_the_library_sees_little_at_once_and_little_twice(repeated, monkeypatch):
    seen = []

    def seeing(language, window):
        seen.append(len(window))
        return get_sentence_boundaries(language, window)

    monkeypatch.setattr(splitting, "get_sentence_boundaries", seeing)
    text = (repeated * 50_000)[:50_000]
    steps = list(sentence_steps(text, max_chars=MAX_CHARS))
    # Its time grows with the square of what it sees at once.
    assert max(seen, default=0) <= WINDOW_CHARS
    assert sum(seen) <= 2 * len(text)
    # A call is dear: there are no more than steps, which the caller counts.
    assert len(seen) <= len(steps)
    if not any(character.isalnum() for character in repeated):
        assert seen == []


@pytest.mark.parametrize("repeated", HOSTILE.values(), ids=HOSTILE.keys())
def test_splitting_may_pause_wherever_the_text_is(repeated):
    text = (repeated * 50_000)[:50_000]
    steps = sum(1 for _ in sentence_steps(text, max_chars=MAX_CHARS))
    assert steps >= len(text) // SCAN_CHARS


@pytest.mark.parametrize("repeated", ["!\n", "a\n", "\0\n", "? a", "A b.\n\n"])
def test_every_line_and_piece_is_a_step_though_it_becomes_no_sentence(repeated):
    steps = sum(1 for _ in sentence_steps(repeated * 5000, max_chars=MAX_CHARS))
    assert steps >= 5000
