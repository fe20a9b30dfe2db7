"""A real headless Chromium, Debian's or another that is installed; without one, tests of pages are skipped."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


@contextmanager
def launched(*arguments: str) -> Iterator:
    """Launch a browser with further arguments, for as many pages as wanted."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *arguments])
        yield browser
        browser.close()


@contextmanager
def opened(browser, path: Path, media: Path | None = None, **context) -> Iterator:
    """Open a local file; afterwards, fail if the page requested anything else or wrote to the console.

    Args:
        browser: result of `launched`.
        path: the file.
        media: a file that the page may request; if it is missing, the browser may write so.
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
    if media and not media.exists():
        messages = [message for message in messages if "ERR_FILE_NOT_FOUND" not in message]
    assert messages == []
    addresses = {url for url in requests if not url.startswith(("data:", "blob:"))}
    assert addresses == {each.as_uri() for each in (path, media) if each}


def wait_until(page, expression: str, seconds: float = 20.0) -> None:
    """Wait for an expression to become true; Playwright's own `wait_for_function` needs a policy that allows `eval`."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, f"never became true: {expression}"
        page.wait_for_timeout(30)


def axe_faults(page, within: str = "html") -> list[str]:
    """Return what axe-core finds within an element: the rule of WCAG 2 or good practice, and the first at fault."""
    axe = pytest.importorskip("axe_playwright_python.base", reason="no axe-core here: pip install '.[dev]'")
    page.evaluate(axe.AXE_FILE_PATH.read_text(encoding="utf-8"))
    found = page.evaluate("(within) => axe.run(within)", within)["violations"]
    return [f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]}" for fault in found]
