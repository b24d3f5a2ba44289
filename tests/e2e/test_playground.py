"""The playground as its visitors meet it: a real browser, a real server."""

import csv
import io
import json
import os
import subprocess
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from benchmarks.reliability.texts import poison
from tests.e2e.browser import running_browser, visit
from tests.e2e.conftest import GATED, running_server

DOUBLE = ("-m", "benchmarks.reliability.double")
"""The server around an engine that can be told to fail on a word."""

HEADLINES = (
    "Operating profit rose to EUR 13.1 mn from EUR 8.7 mn",
    "The company will publish its report on Thursday",
    "Sales fell sharply and the dividend was cancelled",
)

SPREADSHEET = """\
\ufeffid;published;headline;close
1;2026-03-02;"Orders ""surge"";
guidance raised";10.5
2;2026-03-03;Loss widens as demand weakens;9.8
3;2026-03-04;;9.9
4;2026-03-05;The board met on Tuesday;10.0
"""

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<b>Profit</b> & \"quotes\" 'doubled'",
    "\u202egninrut fo tiforP",
    "{{constructor.constructor('alert(3)')()}}",
    "javascript:alert(4)",
)


@pytest.fixture(scope="module")
def browser():
    # Of the module, not of the session: its event loop would stand in the way of other tests'.
    with running_browser() as browser:
        yield browser


@pytest.fixture
def playground(browser, server):
    with visit(browser, server.url) as playground:
        yield playground


def post(url, texts):
    body = json.dumps(texts).encode()
    request = Request(f"{url}/?top_k=3", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_typed_lines_get_what_the_api_answers(playground, server):
    playground.score_lines(*HEADLINES)
    best = [ranked[0] for ranked in post(server.url, HEADLINES)]
    assert playground.column("text") == list(HEADLINES)
    assert playground.column("label") == [answer["label"].capitalize() for answer in best]
    assert playground.column("score") == [f"{answer['score']:.0%}" for answer in best]


def test_a_bar_says_every_probability_in_words(playground, server):
    playground.score_lines(HEADLINES[0])
    (ranked,) = post(server.url, HEADLINES[:1])
    scores = {answer["label"]: answer["score"] for answer in ranked}
    said = ", ".join(
        f"{label} {scores[label]:.2%}" for label in ("positive", "neutral", "negative")
    )
    expect(playground.row(1).get_by_role("img")).to_have_accessible_name(said)


def test_the_summary_counts_labels_and_draws_the_balance(playground):
    playground.score_lines(*HEADLINES, "Profit fell to EUR 1 mn from EUR 5 mn")
    assert playground.page.locator("#counts .figure").all_inner_texts() == ["1", "1", "2"]
    assert playground.page.locator("#net").inner_text() == "\u22120.25"


def test_model_and_time_come_from_the_answers(playground, server):
    playground.score_lines(HEADLINES[0])
    with urlopen(f"{server.url}/info", timeout=60) as answer:
        model = json.load(answer)["model"]
    reference = f"{model['name']}@{model['revision']}"
    expect(playground.page.locator("#model")).to_have_text(reference)
    expect(playground.page.locator("#answered-by")).to_have_text(reference)
    for figure in ("#round-trip", "#in-model"):
        assert playground.page.locator(figure).inner_text().endswith("s")
    assert playground.page.locator("#speed").inner_text() != "0"


@pytest.mark.parametrize("name", ["Earnings season", "Deals and debt", "Markets and macro"])
def test_an_example_is_one_click_away(playground, name):
    playground.page.get_by_role("button", name=name).click()
    playground.score()
    assert len(set(playground.column("label"))) == 3


@pytest.mark.parametrize("how", ["drop", "choose"])
def test_a_spreadsheet_is_read_and_its_column_of_texts_is_found(playground, how):
    if how == "drop":
        playground.drop("news.csv", SPREADSHEET)
    else:
        playground.choose("news.csv", SPREADSHEET.encode())
    expect(playground.page.locator("#file-rows")).to_have_text("3 texts")
    chosen = playground.page.get_by_label("Column of texts").locator("option:checked")
    expect(chosen).to_have_text("headline")
    assert "Loss widens" in playground.page.locator("#preview").inner_text()
    playground.score()
    # Numbers are a spreadsheet's: the names are row 1, and the row without a headline counts.
    assert playground.column("number") == ["2", "3", "5"]
    assert playground.column("text")[0].split() == ["Orders", '"surge";', "guidance", "raised"]


def test_another_column_can_be_picked(playground):
    playground.choose("news.csv", SPREADSHEET.encode())
    playground.page.get_by_label("Column of texts").select_option("published")
    playground.page.get_by_label("The first row holds names").uncheck()
    playground.score()
    assert playground.column("text") == ["published", *(f"2026-03-0{day}" for day in (2, 3, 4, 5))]


def test_a_text_file_is_lines_and_can_be_put_away(playground):
    playground.choose("news.txt", "Profit rose\r\n\r\nLoss widens\r\n".encode("utf-16"))
    playground.score()
    assert playground.column("number") == ["1", "3"]
    playground.page.get_by_role("button", name="Remove").click()
    expect(playground.field).to_be_focused()
    expect(playground.button).to_have_text("Score")


def test_a_broken_spreadsheet_is_refused_with_its_row(playground):
    playground.choose("news.csv", b'a,b\n1,"x\n')
    expect(playground.page.get_by_role("alert")).to_contain_text("opens in row 2 is never closed")


def test_more_rows_than_the_page_takes_are_refused_where_the_limit_is(playground):
    expect(playground.page.locator("#texts-hint")).to_contain_text("up to 200,000 rows and 100 MB")
    # What is wrong behind the limit is not even looked at.
    playground.drop("news.csv", "id,text\n" + "1,a\n" * 200_000 + '1,"never closed')
    alert = playground.page.get_by_role("alert")
    expect(alert).to_contain_text("news.csv cannot be used")
    expect(alert).to_contain_text("more than 200,000 rows")
    playground.paste("a\n" * 200_001)
    expect(alert).to_contain_text("Pasted lines cannot be used")
    expect(playground.field).to_be_visible()


def test_as_many_rows_as_the_page_takes_are_taken(playground):
    playground.drop("news.txt", "a\n" * 200_000)
    expect(playground.button).to_have_text("Score 200,000 texts")


def test_a_file_of_too_many_bytes_is_refused_unread(playground, tmp_path):
    path = tmp_path / "news.csv"
    path.write_bytes(b"")
    os.truncate(path, 100_000_001)
    files_read = playground.files_read()
    playground.choose_path(path)
    alert = playground.page.get_by_role("alert")
    expect(alert).to_contain_text("news.csv cannot be used")
    expect(alert).to_contain_text("more than 100 MB")
    assert files_read() == 0
    playground.choose("news.csv", SPREADSHEET.encode())
    expect(alert).to_be_hidden()
    assert files_read() == 1


def test_what_cannot_be_read_is_refused_by_name(playground, tmp_path):
    # A folder that is dropped fails as this file does, which is gone before it is read.
    path = tmp_path / "news.csv"
    path.write_text(SPREADSHEET)
    playground.page.evaluate(
        "document.body.append(Object.assign(document.createElement('input'),"
        " { type: 'file', id: 'taken' }))"
    )
    playground.page.set_input_files("#taken", path)
    path.unlink()
    playground.page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(document.getElementById("taken").files[0]);
            document.documentElement.dispatchEvent(new DragEvent("drop", { dataTransfer }));
        }"""
    )
    expect(playground.page.get_by_role("alert")).to_contain_text("news.csv cannot be used")


def test_columns_sort_both_ways_and_say_so(playground):
    playground.score_lines(*HEADLINES)
    net = playground.page.get_by_role("columnheader", name="Net")
    playground.sort("Net")
    expect(net).to_have_attribute("aria-sort", "descending")
    expect(playground.rows.nth(0)).to_contain_text("Operating profit")
    expect(playground.rows.nth(2)).to_contain_text("Sales fell")
    playground.sort("Net")
    expect(net).to_have_attribute("aria-sort", "ascending")
    expect(playground.rows.nth(0)).to_contain_text("Sales fell")
    playground.sort("Text")
    expect(net).to_have_attribute("aria-sort", "none")
    expect(playground.rows.nth(0)).to_contain_text("Operating profit")
    expect(playground.rows.nth(2)).to_contain_text("The company")


def test_rows_are_filtered_by_label_and_by_words(playground):
    playground.score_lines(*HEADLINES)
    show = playground.page.get_by_role("group", name="Show")
    show.get_by_role("button", name="Negative").click()
    expect(playground.rows).to_have_count(1)
    expect(playground.row(3)).to_be_visible()
    show.get_by_role("button", name="All").click()
    playground.page.get_by_label("Filter by words").fill("PROFIT eur")
    expect(playground.rows).to_have_count(1)
    expect(playground.page.locator("#shown")).to_have_text("1 of 3 texts")
    playground.page.get_by_label("Filter by words").fill("no such word")
    expect(playground.page.get_by_text("No text matches")).to_be_visible()


def test_the_download_is_what_is_shown_and_runs_no_formula(playground, server):
    lines = ["=1+1 profit rose", '@SUM(A1) "quoted", with comma', "-5 % sales", "plain\ttext"]
    playground.score_lines(*lines)
    playground.sort("Net")
    with playground.page.expect_download() as download:
        playground.page.get_by_role("button", name="Download CSV").click()
    assert download.value.suggested_filename == "sentiment.csv"
    text = Path(download.value.path()).read_bytes().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    expected = {}
    for number, (line, ranked) in enumerate(zip(lines, post(server.url, lines), strict=True), 1):
        shown = line if line.startswith("plain") else f"'{line}"
        expected[str(number)] = (shown, {answer["label"]: answer["score"] for answer in ranked})
    assert {row["row"] for row in rows} == expected.keys()
    for row in rows:
        shown, scores = expected[row["row"]]
        assert row["text"] == shown
        for label, score in scores.items():
            assert float(row[label]) == pytest.approx(score, abs=1e-5)
    nets = [float(row["positive"]) - float(row["negative"]) for row in rows]
    assert nets == sorted(nets, reverse=True)


def test_a_wrong_line_gets_the_servers_words_and_the_others_their_scores(playground):
    lines = [HEADLINES[0], "", "\u200b", HEADLINES[1], "\u0301\u200d", HEADLINES[2]]
    playground.score_lines(*lines)
    assert playground.column("number") == ["1", "3", "4", "5", "6"]
    for number in (3, 5):
        expect(playground.row(number)).to_contain_text("Not scored")
        expect(playground.row(number)).to_contain_text("nothing visible")
    for number in (1, 4, 6):
        expect(playground.row(number).get_by_role("img")).to_be_visible()
    expect(playground.status).to_contain_text("3 texts scored, 2 not")


def test_more_wrong_lines_than_one_refusal_names_are_all_found(playground):
    playground.score_lines(*["\u200b"] * 50, HEADLINES[0])
    expect(playground.status).to_contain_text("1 text scored, 50 not")


def test_a_text_over_the_limit_is_flagged_before_anything_is_sent(playground):
    posted = []
    playground.page.on("request", lambda request: posted.append(request.post_data))
    playground.field.fill("\n".join(["Profit rose", "", "x" * 20_001, "\U0001f4c8" * 20_000]))
    warning = playground.page.get_by_text("Will be left out: line 3 (more than 20,000 characters)")
    expect(warning).to_be_visible()
    assert not any(posted)
    playground.score()
    expect(playground.row(3)).to_contain_text("not sent: more than 20,000 characters")
    expect(playground.row(4).get_by_role("img")).to_be_visible()  # characters, not UTF-16 units
    assert [len(json.loads(body)) for body in posted if body] == [2]


def test_a_text_that_the_model_reads_in_part_is_said_to_be_so(playground):
    playground.score_lines("profit " * 600, "Profit rose")
    expect(playground.page.locator("#truncated")).to_contain_text("1 long text")


def test_hostile_text_stays_text(playground):
    playground.score_lines(*HOSTILE)
    assert playground.column("text") == list(HOSTILE)
    assert playground.page.locator("#report img, #report script, #report b").count() == 0
    # The direction of a text ends with it.
    assert playground.row(4).locator("bdi").evaluate("e => getComputedStyle(e).unicodeBidi") in (
        "isolate",
        "plaintext",
    )
    playground.row(1).get_by_role("button").click()
    expect(playground.page.get_by_role("dialog")).to_contain_text(HOSTILE[0])


def test_hostile_text_stays_text_in_the_names_of_columns_and_files(playground):
    name = "<img src=x onerror=alert(5)>"
    playground.drop(f"{name}.csv", f"{name},text\n1,Profit rose\n2,{name}\n")
    expect(playground.page.locator("#file-name")).to_have_text(f"{name}.csv")
    assert name in playground.page.get_by_label("Column of texts").inner_text()
    assert playground.page.locator("#entry-title ~ * img").count() == 0


def test_the_browser_itself_forbids_html_from_strings(browser, server):
    with visit(browser, server.url) as playground:
        refused = playground.page.evaluate(
            "() => { try { document.body.innerHTML = '<p>'; } catch (e) { return e.name; } }"
        )
        assert refused == "TypeError"
        # What was tried is reported, which proves that reports are heard.
        assert playground.page.evaluate("window.violations.splice(0)") != []
        playground.faults.clear()


def test_all_of_a_long_text_is_shown_on_demand(playground):
    text = "Profit rose. " * 200
    playground.score_lines(text)
    opener = playground.row(1).get_by_role("button")
    opener.click()
    dialog = playground.page.get_by_role("dialog")
    assert dialog.locator("#detail-text").text_content() == text
    assert dialog.locator("dd").all_inner_texts()[0].endswith("%")
    playground.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(opener).to_be_focused()


def test_the_command_to_copy_gives_the_same_answers(playground, server):
    lines = ['It\'s "quoted" $HOME `id` \\ !', "\u202eturned", HEADLINES[0]]
    playground.score_lines(*lines)
    playground.page.get_by_text("The same from a terminal").click()
    command = playground.page.get_by_label("The curl command").inner_text()
    assert "\u202e" not in command
    done = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl --silent ", 1)],
        capture_output=True,
        check=True,
        timeout=60,
    )
    answers = json.loads(done.stdout)
    assert [ranked[0]["label"] for ranked in answers] == [
        label.lower() for label in playground.column("label")
    ]


def test_rows_wait_until_their_answer_comes(browser):
    with running_server(*GATED) as server, visit(browser, server.url) as playground:
        server.tell("hold", until="held")
        playground.field.fill("a\nb")
        playground.button.click()
        server.hear("entered")
        expect(playground.row(2)).to_contain_text("Waiting")
        expect(playground.status).to_have_text("Scoring 2 texts")
        server.tell("release", until="released")
        playground.wait_until_done()
        expect(playground.row(2).get_by_role("img")).to_be_visible()


def test_a_full_server_is_asked_again_when_it_says(browser):
    # A pass takes half a second, and nothing may wait for so long: of two requests one is refused.
    settings = {"SENTIMENT_MAX_TEXTS": "1", "SENTIMENT_MAX_BACKLOG_S": "0.01"}
    with (
        running_server(*DOUBLE, "--base-ms", "500", **settings) as server,
        visit(browser, server.url) as playground,
    ):
        said = playground.everything_said()
        playground.score_lines("a", "b", "c", "d")
        expect(playground.status).to_contain_text("4 texts scored")
        assert any("Too much work lies ahead" in text and "Going on in" in text for text in said())
        server.stop()
    statuses = [line["status"] for line in server.log if line.get("route") == "POST /"]
    assert statuses.count(200) == 4
    assert 429 in statuses


def test_a_run_can_be_stopped_and_gone_on_with(browser):
    with (
        running_server(*GATED, SENTIMENT_MAX_TEXTS="2") as server,
        visit(browser, server.url) as playground,
    ):
        before = int(server.ask("count"))
        server.tell("hold", until="held")
        playground.field.fill("\n".join(f"text {number}" for number in range(20)))
        playground.button.click()
        server.hear("entered")
        expect(playground.button).to_have_text("Stop")
        playground.button.click()
        expect(playground.status).to_have_text("Stopped: 0 of 20 texts scored")
        server.tell("release", until="released")
        assert int(server.ask("count")) - before <= 4  # two requests were on their way
        expect(playground.button).to_have_text("Score the other 20")
        playground.button.click()
        playground.wait_until_done()
        expect(playground.status).to_contain_text("20 texts scored")


def test_a_run_that_waits_for_the_server_is_begun_once_and_can_be_stopped(browser, server):
    with visit(browser, server.url) as playground:
        page, asked, posted = playground.page, [], []
        page.on("request", lambda request: posted.extend(filter(None, [request.post_data])))
        page.route("**/info", lambda route: asked.append(route))
        page.reload()
        playground.field.fill("a\nb")
        with page.expect_request("**/info"):
            playground.button.click()
        expect(playground.status).to_have_text("Waiting for the server")
        expect(playground.button).to_have_text("Stop")
        with page.expect_event("requestfailed"):  # it is hung up, not only forgotten
            playground.button.click()
        expect(playground.status).to_have_text("Stopped: nothing was sent")
        expect(playground.button).to_have_text("Score 2 texts")
        with page.expect_request("**/info"):
            playground.button.click()
        asked[0].continue_()  # what the page asked when it was opened
        asked[-1].continue_()
        playground.wait_until_done()
        expect(playground.status).to_contain_text("2 texts scored")
        assert posted == ['["a","b"]']


def test_rounds_that_get_on_are_no_failures_to_reach_the_server(playground):
    # Each refusal of the server names 20 wrong lines. What stands in front of it fails four times
    # in a row, one less than is given up at, before the first round, the second and the last.
    outages = iter([True] * 4 + [False] + [True] * 4 + [False] * 5 + [True] * 4)

    def pass_on(route):
        if next(outages, False):
            route.fulfill(status=503, headers={"Retry-After": "0"}, body="no answer behind")
        else:
            route.continue_()

    playground.page.route("**/?top_k=3", pass_on)
    playground.score_lines(*["\u200b"] * 105, HEADLINES[0])
    expect(playground.status).to_contain_text("1 text scored, 105 not")
    assert list(outages) == []


def test_a_text_on_which_the_model_fails_costs_no_other(browser):
    word, _ = poison()
    with running_server(*DOUBLE) as server, visit(browser, server.url) as playground:
        server.tell("poison on", until="poison on")
        playground.score_lines("a", "b", f"c {word}", "d", "e")
        expect(playground.row(3)).to_contain_text("The model failed on this request")
        expect(playground.status).to_contain_text("4 texts scored, 1 not")


def test_a_server_that_is_gone_is_asked_five_times_and_said_to_be_gone(browser):
    with running_server() as server, visit(browser, server.url) as playground:
        playground.score_lines(HEADLINES[0])
        server.stop()
        said = playground.everything_said()
        playground.field.fill("one more")
        playground.button.click()
        expect(playground.page.get_by_role("alert")).to_contain_text("cannot be reached")
        assert sum("Going on in" in text for text in said()) == 4  # it may only be starting again
        expect(playground.button).to_have_text("Score the other 1")
        playground.faults.clear()  # Chromium's own words for a refused connection


def test_a_key_is_asked_for_and_kept_in_memory_only(browser):
    with (
        running_server(SENTIMENT_API_KEYS="right-key") as server,
        visit(browser, server.url) as playground,
    ):
        alert = playground.page.get_by_role("alert")
        key = playground.page.get_by_label("API key")
        expect(alert).to_contain_text("An API key is needed")
        expect(key).to_be_focused()
        for given in ("wrong-key", "right-key"):
            key.fill(given)
            key.press("Enter")
            (expect(key).to_be_visible if given == "wrong-key" else expect(key).to_be_hidden)()
        expect(alert).to_be_hidden()
        playground.score_lines(HEADLINES[0])
        expect(playground.row(1).get_by_role("img")).to_be_visible()
        kept = "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
        assert playground.page.evaluate(kept) == [0, 0, "", f"{server.url}/"]
        assert "right-key" not in playground.page.content()
        playground.page.reload()
        expect(key).to_be_visible()


def test_without_keys_no_key_is_asked_for(playground):
    expect(playground.page.locator("#model")).to_contain_text("compact")
    expect(playground.page.get_by_label("API key")).to_be_hidden()


def test_ten_thousand_lines_are_all_answered_by_a_page_that_draws_forty(browser):
    count = 10_000
    with running_server(*GATED) as server, visit(browser, server.url) as playground:
        playground.paste("\n".join(f"Company {number} meets" for number in range(1, count + 1)))
        expect(playground.button).to_have_text("Score 10,000 texts")
        playground.score()
        expect(playground.status).to_contain_text("10,000 texts scored")
        table = playground.page.get_by_role("table", name="Texts and their sentiment")
        expect(table).to_have_attribute("aria-rowcount", "10001")
        playground.row(1).get_by_role("button").focus()
        for key, number in (("End", count), ("Home", 1), ("PageDown", None)):
            playground.page.keyboard.press(key)
            if number:
                expect(playground.row(number).get_by_role("button")).to_be_focused()
                expect(playground.row(number)).to_be_in_viewport()
                expect(playground.row(number)).to_have_attribute("aria-rowindex", str(number + 1))
            assert 10 < playground.rows.count() < 50
        playground.page.get_by_label("Filter by words").fill("company 9999")
        expect(playground.rows).to_have_count(1)


def test_everything_works_from_the_keyboard(playground):
    page, keyboard = playground.page, playground.page.keyboard
    reached = []

    def tab_to(name):
        for _ in range(60):
            keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.textContent.trim()"))
            if reached[-1].startswith(name):
                return
        pytest.fail(f"{name} is not reached: {reached}")

    expect(page.locator("#model")).to_contain_text("compact")
    tab_to("Skip to the results")
    tab_to("API docs")
    keyboard.press("Tab")
    expect(playground.field).to_be_focused()
    keyboard.type("\n".join(HEADLINES))
    keyboard.press("Control+Enter")
    playground.wait_until_done()
    tab_to("Negative")
    keyboard.press("Space")
    expect(playground.rows).to_have_count(1)
    keyboard.press("Shift+Tab")
    keyboard.press("Shift+Tab")
    keyboard.press("Shift+Tab")
    keyboard.press("Enter")
    expect(playground.rows).to_have_count(3)
    tab_to("Net")
    keyboard.press("Enter")
    tab_to(HEADLINES[0])
    keyboard.press("ArrowDown")
    expect(playground.rows.nth(1).get_by_role("button")).to_be_focused()
    keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("Row 2")
    keyboard.press("Escape")
    expect(playground.rows.nth(1).get_by_role("button")).to_be_focused()


def test_progress_is_read_out(playground):
    playground.score_lines(*HEADLINES)
    said = playground.page.locator("#said")
    expect(said).to_have_attribute("role", "status")
    expect(said).to_contain_text("3 texts scored")


WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
LOOKS = {
    "light": {"viewport": WIDE, "color_scheme": "light"},
    "dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "color_scheme": "light", "device_scale_factor": 2},
    "dark phone": {"viewport": PHONE, "color_scheme": "dark"},
    "tablet": {"viewport": {"width": 1024, "height": 768}, "color_scheme": "light"},
}


@pytest.mark.parametrize("look", LOOKS)
def test_nothing_on_the_page_shuts_anybody_out(browser, server, look):
    with visit(browser, server.url, **LOOKS[look]) as playground:
        assert barriers(playground) == []
        playground.score_lines(*HEADLINES, "\u200b", "x" * 20_001)
        assert barriers(playground) == []
        playground.row(1).get_by_role("button").click()
        assert barriers(playground) == []
        playground.page.keyboard.press("Escape")
        playground.choose("news.csv", SPREADSHEET.encode())
        playground.page.get_by_text("The same from a terminal").click()
        assert barriers(playground) == []


def barriers(playground):
    """Return what axe finds that is serious or critical."""
    found = Axe().run(playground.page).response["violations"]
    return [
        (violation["id"], [node["html"] for node in violation["nodes"]])
        for violation in found
        if violation["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440, 2560])
def test_no_width_makes_the_page_scroll_sideways(browser, server, width):
    with visit(browser, server.url, viewport={"width": width, "height": 800}) as playground:
        playground.score_lines(*HEADLINES, "x" * 3000)
        assert playground.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_the_pictures_in_the_docs_are_of_this_page(browser, server, look):
    with visit(browser, server.url, **LOOKS[look]) as playground:
        playground.page.get_by_role("button", name="Earnings season").click()
        playground.score()
        playground.button.blur()
        if folder := os.environ.get("SCREENSHOTS"):  # as `make screenshots` sets it
            playground.page.screenshot(path=f"{folder}/playground-{look}.png")
