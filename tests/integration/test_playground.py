"""Who gets the page and who gets help, and how its files are served."""

import re

import pytest

from sentiment.api.faces.playground import FOLDER, prefers_page
from sentiment.api.security_headers import SECURITY_HEADERS

CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    "accept",
    [
        CHROME,
        "text/html",
        "TEXT/HTML",
        "text/html;level=1;q=0.9, text/plain;q=0.8",
        "text/html, text/*;q=0.5",
        "text/plain;q=0, text/*",
        "text/html, text/plain;q=many",
    ],
)
def test_a_browser_gets_the_page(service, accept):
    response = service.get("/", headers={"Accept": accept})
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.text.startswith("<!doctype html>")
    assert response.headers["vary"] == "Accept"


@pytest.mark.parametrize(
    "accept",
    [
        "*/*",
        "",
        "text/plain",
        "application/json",
        "text/*",
        "text/html;q=0.5, */*",
        "text/html, text/plain",
        "text/html;q=0",
        "text/html;q=nan",
        ";;,,q",
    ],
)
def test_curl_and_everybody_else_get_help(service, accept):
    response = service.get("/", headers={"Accept": accept})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert "curl" in response.text
    assert response.headers["vary"] == "Accept"


def test_no_accept_header_asks_for_help():
    assert not prefers_page("")


def test_the_page_may_only_talk_to_its_server_and_runs_nothing_from_strings(service):
    policy = service.get("/", headers={"Accept": CHROME}).headers["content-security-policy"]
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives.pop("default-src") == "'none'"
    assert directives.pop("require-trusted-types-for") == "'script'"
    assert set(directives.values()) == {"'self'", "'none'"}
    assert {name for name, value in directives.items() if value == "'self'"} == {
        "script-src",
        "style-src",
        "img-src",
        "connect-src",
    }


def test_the_pages_policy_is_for_the_page_alone(service):
    strict = SECURITY_HEADERS["Content-Security-Policy"]
    for response in (
        service.get("/"),
        service.post("/", json=["a"]),
        service.get("/playground/app.js"),
        service.get("/playground/nothing.js"),
    ):
        assert response.headers["content-security-policy"] == strict


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.iterdir()))
def test_every_file_is_served_and_asks_for_nothing_from_elsewhere(service, name):
    if name == "index.html":
        response = service.get("/", headers={"Accept": CHROME})
    else:
        response = service.get(f"/playground/{name}")
    assert response.status_code == 200
    text = response.text.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?://|\burl\(|@import|<style|<script>|style=|\son\w+=", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", text)


def test_every_file_that_the_page_names_is_there(service):
    page = service.get("/", headers={"Accept": CHROME}).text
    named = set(re.findall(r'(?:src|href)="(playground/[^"]*)"', page))
    for module in FOLDER.glob("*.js"):
        named |= {f"playground/{file}" for file in re.findall(r'"\./([^"/]+)"', module.read_text())}
    named.discard("playground/")
    assert {f"playground/{path.name}" for path in FOLDER.iterdir()} == {
        *named,
        "playground/index.html",
    }


def test_a_file_is_kept_and_asked_for_again(service):
    first = service.get("/playground/app.js")
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    for known in (first.headers["etag"], f'"x", W/{first.headers["etag"]}', "*"):
        again = service.get("/playground/app.js", headers={"If-None-Match": known})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["cache-control"] == "no-cache"
    other = service.get("/playground/app.js", headers={"If-None-Match": '"other"'})
    assert other.status_code == 200


def test_the_page_itself_is_never_kept(service):
    response = service.get("/", headers={"Accept": CHROME})
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2Fdocs.html", "%2e%2e", "", "."])
def test_nothing_else_is_served(service, name):
    response = service.get(f"/playground/{name}")
    assert response.status_code == 404
    assert response.json()["code"] == "not-found"


def test_the_document_says_both_forms_of_the_root(service):
    root = service.get("/openapi.json").json()["paths"]["/"]["get"]
    assert set(root["responses"]["200"]["content"]) == {"text/html", "text/plain"}
