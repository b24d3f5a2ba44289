"""A real Chromium on the playground, and what no visit may show."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.offline import METERED

NAMES = ("chromium", "chromium-browser", "google-chrome")

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)

PATIENCE_MS = 60_000
"""A busy machine is no defect."""

REFUSED = "Failed to load resource: the server responded with a status of"
"""What Chromium itself says of every answer other than 2xx, wanted or not."""

REPORT_VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""

NOTE_STATUSES = """
() => {
  window.statuses = [];
  const status = document.getElementById("status");
  const note = () => window.statuses.push(status.textContent);
  new MutationObserver(note).observe(status, { childList: true });
}
"""

PASTE = """
(field, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  field.dispatchEvent(new ClipboardEvent("paste", { clipboardData, cancelable: true }));
}
"""

DROP = """
([name, content]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([content], name));
  const options = { dataTransfer, bubbles: true, cancelable: true };
  return ["dragover", "drop"].map(
    (kind) => document.body.dispatchEvent(new DragEvent(kind, options)));
}
"""

NOTE_READING = """
() => {
  window.reads = 0;
  File.prototype.arrayBuffer = function () {
    window.reads += 1;
    return Blob.prototype.arrayBuffer.call(this);
  };
}
"""


def chromium_path() -> str:
    if os.environ.get(METERED):
        # It sends nothing, but asks the kernel every second for a route to an IPv6 address.
        pytest.skip("Chromium's search for a route would count as leaving this machine")
    for name in NAMES:
        if path := shutil.which(name):
            return path
    reason = "no Chromium: apt-get install chromium"
    if os.environ.get("CI"):
        pytest.fail(reason)  # there it must not go unnoticed
    pytest.skip(reason)


@contextmanager
def running_browser() -> Iterator[Browser]:
    path = chromium_path()
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Playground:
    """The page, as somebody uses it who sees and reads."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.url = url
        self.faults: list[str] = []
        self.page.on("console", self._note_console)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("dialog", lambda dialog: self.faults.append(f"dialog: {dialog.message}"))
        self.page.on("request", self._note_request)
        self.page.add_init_script(REPORT_VIOLATIONS)
        self.page.goto(url)

    def _note_console(self, message) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(REFUSED):
            self.faults.append(f"console: {message.text}")

    def _note_request(self, request) -> None:
        if not request.url.startswith((self.url, f"blob:{self.url}")):
            self.faults.append(f"left the origin: {request.url}")

    def assert_faultless(self) -> None:
        assert self.faults == []
        assert self.page.evaluate("window.violations") == []

    @property
    def field(self) -> Locator:
        return self.page.get_by_label("One text a line")

    @property
    def button(self) -> Locator:
        return self.page.locator("#score")

    @property
    def status(self) -> Locator:
        return self.page.locator("#status")

    def everything_said(self) -> Callable[[], list[str]]:
        """Return what tells every status that is shown from now on, however short."""
        self.page.evaluate(NOTE_STATUSES)
        return lambda: self.page.evaluate("window.statuses")

    @property
    def rows(self) -> Locator:
        """Table rows that are drawn: those on screen and a few beside it."""
        return self.page.locator("#table tbody tr")

    def row(self, number: int) -> Locator:
        return self.page.locator(f'#table tbody tr[data-number="{number}"]')

    def column(self, name: str) -> list[str]:
        return self.page.locator(f"#table tbody .cell-{name}").all_inner_texts()

    def paste(self, text: str) -> None:
        self.field.evaluate(PASTE, text)

    def drop(self, name: str, content: str) -> None:
        leaves_the_page = self.page.evaluate(DROP, [name, content])
        assert leaves_the_page == [False, False]

    def choose(self, name: str, content: bytes) -> None:
        file = {"name": name, "mimeType": "", "buffer": content}
        self.page.get_by_label("Choose a file").set_input_files(files=[file])

    def choose_path(self, path: Path) -> None:
        self.page.get_by_label("Choose a file").set_input_files(path)

    def files_read(self) -> Callable[[], int]:
        """Return what tells how many files the page has read from now on."""
        self.page.evaluate(NOTE_READING)
        return lambda: self.page.evaluate("window.reads")

    def score(self) -> None:
        """Press the button and wait until every text is answered or refused."""
        self.button.click()
        self.wait_until_done()

    def wait_until_done(self) -> None:
        expect(self.status).to_contain_text("scored")
        expect(self.button).to_contain_text("Score")
        expect(self.page.locator("#table .tag", has_text="Waiting")).to_have_count(0)

    def score_lines(self, *lines: str) -> None:
        self.field.fill("\n".join(lines))
        self.score()

    def sort(self, by: str) -> None:
        self.page.get_by_role("columnheader", name=by).get_by_role("button").click()


@contextmanager
def visit(browser: Browser, url: str, **options) -> Iterator[Playground]:
    """Open the page; at the end nothing may have gone wrong behind its back."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    try:
        playground = Playground(context, url)
        yield playground
        playground.assert_faultless()
    finally:
        context.close()
