"""A real headless Chromium, Debian's or another that is installed; without one, tests of pages are skipped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@contextmanager
def launched() -> Iterator:
    """Launch a browser, for as many pages as wanted."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, path: Path, **context) -> Iterator:
    """Open a local file; afterwards, fail if the page requested anything or wrote to the console.

    Args:
        browser: result of `launched`.
        path: the file.
        context: options of playwright's `new_context`, such as `viewport` or `color_scheme`.
    """
    page = browser.new_context(**context).new_page()
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    yield page
    page.context.close()
    assert messages == []
    assert [url for url in requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()]
