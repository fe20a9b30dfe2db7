"""The page of `dferc-serve` in a real headless Chromium: drop, record, progress, result, downloads, deletion."""

import base64
import contextlib
import zipfile

import httpx2 as httpx
import pytest

from tests.helpers.chromium import axe_faults, launched, needs_chromium
from tests.helpers.drawn_media import write_webm
from tests.helpers.servers import LIMIT, running
from tests.helpers.stand_in_recogniser import MANY

pytestmark = needs_chromium
NAME = "my <b>talk& 'more'.webm"
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server") / "tmp") as one:
        yield one


@pytest.fixture(scope="module")
def browser():
    with launched(*FAKE_CAMERA) as browser:
        yield browser


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    return write_webm(tmp_path_factory.mktemp("film") / "film.webm", length_s=MANY).read_bytes()


@contextlib.contextmanager
def visited(browser, server, path: str = "/", **context):
    """Open the page; afterwards, fail if it requested anything elsewhere or wrote to the console."""
    page = browser.new_context(**context).new_page()
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(server.url + path)
    page.locator("#limit", has_text="Up to").wait_for(state="attached")
    yield page
    httpx.delete(page.url.replace("/jobs/", "/api/jobs/"))  # what a test leaves must not block the next one's jobs
    page.context.close()
    # The browser itself writes of answers of 400 and above; here they are those of jobs that are gone.
    assert [message for message in messages if "404 (Not Found)" not in message] == []
    assert [url for url in requests if not url.startswith((server.url, "data:", "blob:"))] == []


@pytest.fixture
def page(browser, server):
    with visited(browser, server) as page:
        yield page


def drop(page, content: bytes, name: str) -> None:
    """Drop a file onto the page, as a file manager does."""
    transfer = page.evaluate_handle(
        """([text, name]) => {
            const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name));
            return transfer;
        }""",
        [base64.b64encode(content).decode(), name],
    )
    for kind in ("dragenter", "dragover", "drop"):
        page.dispatch_event("#drop", kind, {"dataTransfer": transfer})


def choose(page, content: bytes, name: str = "a.mp4", field: str = "#media") -> None:
    page.set_input_files(field, {"name": name, "mimeType": "", "buffer": content})


def result_of(page):
    """Return the frame of the result, once it is drawn."""
    frame = page.frame_locator("#page")
    frame.locator(".utterance").nth(MANY - 1).wait_for()
    return frame


def test_a_dropped_video_becomes_a_timeline_that_plays_it(page, film):
    drop(page, film, NAME)
    assert NAME in page.locator("#chosen").text_content()
    page.click("#go")
    page.locator("#steps li").first.wait_for()
    assert page.locator("#work-title").text_content() == NAME
    frame = result_of(page)
    assert page.title() == f"Emotions of {NAME}" and page.locator("#result-name").text_content() == NAME
    player = frame.locator("video")
    assert player.evaluate("video => new Promise(done => { video.onseeked = () => done(true); video.currentTime = 2 })")
    frame.locator(".utterance").nth(1).locator("text=1").first.wait_for(state="attached")
    assert frame.locator("text=</script>").count() > 0  # as text
    with page.expect_download() as found:
        page.click("#files >> text=JSON")
    assert found.value.suggested_filename == "my <b>talk& 'more'.emotions.json".replace("<", "_").replace(">", "_")
    page.reload()
    result_of(page)  # the address is that of the job
    with page.expect_download() as found:
        page.click("#fetch")
    with zipfile.ZipFile(found.value.path()) as archive:
        assert "index.html" in archive.namelist()
    page.locator("#news", has_text="Downloaded, and deleted").wait_for()
    assert page.url.endswith("/") and page.locator("#form").is_visible()


def test_everything_works_by_keyboard(page, film, tmp_path):
    (tmp_path / "film.webm").write_bytes(film)
    # From the start: what is asked for as the key is pressed may reach a busy browser after the key.
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "film.webm"))
    seen = []
    for _ in range(20):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id"))
        if seen[-1] == "media":
            page.keyboard.press("Enter")
            page.locator("#chosen", has_text="film.webm").wait_for()
        if seen[-1] == "go":
            break
    assert [name for name in seen if name] == ["media", "record", "transcript", "language", "go"]
    page.keyboard.press("Enter")
    page.locator("#result").wait_for()
    assert page.evaluate("document.activeElement.id") == "result-name"
    page.focus("#delete")
    page.keyboard.press("Enter")
    page.locator("#news", has_text="Deleted").wait_for()


def test_a_transcript_goes_with_the_file(page):
    page.locator("#speech", has_text="needs a transcript").wait_for()
    choose(page, b"\0video")
    choose(page, b"1\n00:00:00,000 --> 00:00:01,000\nHallo\n", "s.srt", "#transcript")
    page.click("#go")
    assert "Hallo" in result_of(page).locator(".utterance").first.text_content()
    page.click("#delete")


def test_the_language_goes_with_the_file(page):
    choose(page, b"\0video")
    unnamed = "all => all.filter(one => one.text === one.value).map(one => one.value)"
    assert page.eval_on_selector_all("#language option", unnamed) == []
    page.select_option("#language", label="German")
    page.click("#go")
    result_of(page)
    answer = httpx.get(page.url.replace("/jobs/", "/api/jobs/") + "/emotions.json")
    assert answer.json()["transcript"]["language"] == "de"


def test_progress_is_shown_and_a_job_is_cancelled(page):
    choose(page, b"wait")
    page.click("#go")
    page.locator("#steps li", has_text="Voice").locator(".time", has_text="left").wait_for()
    assert 0 < page.locator("#steps progress").nth(2).evaluate("bar => bar.value") < 1
    assert "Voice" in page.locator("#state").text_content() and "Voice" in page.title()
    assert axe_faults(page) == []
    page.click("#cancel")
    page.locator("#news", has_text="Cancelled").wait_for()
    assert page.locator("#form").is_visible()


def test_a_waiting_job_shows_its_place(browser, server, page):
    choose(page, b"wait")
    page.click("#go")
    page.locator("#steps li", has_text="Voice").wait_for()
    with visited(browser, server) as other:
        choose(other, b"\0video")
        other.click("#go")
        other.locator("#state", has_text="next in the queue").wait_for()
        other.click("#cancel")
        other.locator("#news", has_text="Cancelled").wait_for()
    page.click("#cancel")


def test_faults_are_shown_as_text_and_the_next_file_is_welcome(page):
    choose(page, b"refuse", "<img src=x onerror=alert(1)>.mp4")
    page.click("#go")
    alert = page.locator("#error")
    alert.get_by_text("this is text, no video").wait_for()
    assert "<img src=x" in alert.text_content() and page.locator("#error img").count() == 0
    assert page.locator("#go").is_enabled() and page.locator("#form").is_visible()
    choose(page, b"")
    assert "empty" in alert.text_content() and page.locator("#go").is_disabled()
    choose(page, bytes(LIMIT + 1))
    assert "at most 3 MB" in alert.text_content() and page.locator("#go").is_disabled()


def test_an_address_of_a_deleted_job_leads_to_the_form(browser, server):
    with visited(browser, server, "/jobs/nothing") as page:
        page.locator("#error", has_text="no such job").wait_for()
        assert page.locator("#form").is_visible() and page.url == f"{server.url}/"


def test_a_recording_becomes_a_result(page):
    page.click("#record")
    page.locator("#clock", has_text="1 s").wait_for()
    page.click("#stop")
    page.locator("#chosen", has_text="recording.webm").wait_for()
    page.keyboard.press("Enter")  # the focus is on the button that starts the work
    result_of(page)
    page.click("#delete")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(browser, server, film, scheme):
    with visited(browser, server, viewport={"width": 360, "height": 740}, color_scheme=scheme) as page:
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(wide) and axe_faults(page) == []
        choose(page, film, "a " + "very " * 30 + "long name.webm")
        assert not page.evaluate(wide)
        page.click("#go")
        result_of(page)
        assert not page.evaluate(wide) and axe_faults(page, ".resultbar") == []
        page.click("#delete")
