"""The page of one medium in a real headless Chromium: it plays, seeks, filters, obeys the keyboard, fits a phone."""

import math
import re

import numpy as np
import pytest

from dferc.core.errors import InputError
from dferc.results.emotions import page as page_module
from dferc.results.emotions.page import relative_url
from dferc.results.emotions.schema import EU_LAW, MEANING, OPENSMILE_LICENCE, MediumFacts
from tests.dferc.results.emotions.test_document import HOSTILE
from tests.helpers.chromium import axe_faults, launched, needs_chromium, opened, wait_until
from tests.helpers.clips import tone, write_clip
from tests.helpers.drawn_media import write_webm
from tests.helpers.emotional_talks import CLASSES, SYNTHETIC, talk, utterance

pytestmark = needs_chromium
ODD = 'a talk\'s #1 "100%" ?x=<b>&amp;: 李.webm'  # no character of a file name may lead the page elsewhere
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A film of 12 utterances under an odd name in the parent of the page's folder."""
    folder = tmp_path_factory.mktemp("talk")
    write_webm(folder / ODD, 19)
    emotions = talk(12, abstain=0.4)
    emotions.media = MediumFacts(name=ODD, length_s=19.0, has_sound=True, has_picture=True)
    emotions.utterances[3].emotion = None
    emotions.write(folder / "out", media=folder / ODD, formats=("html",))
    return folder


@pytest.fixture
def page(browser, folder):
    with opened(browser, folder / "out/index.html", folder / ODD, viewport=DESK) as page:
        wait_until(page, "player.readyState >= 1")
        yield page


def position(page) -> float:
    return page.evaluate("player.currentTime")


def current(page) -> int:
    """Return the row of the current utterance, which list, timeline and player must agree on."""
    row = int(page.locator("#utterances [aria-current=true]").get_attribute("data-row"))
    assert page.locator(".block.current").get_attribute("data-row") == str(row)
    assert page.locator("#now .words").text_content() == page.evaluate(f"UTTERANCES[{row}].text")
    return row


def matches(page) -> int:
    return int(page.locator("#matches").text_content().split(" of ")[0].replace(",", ""))


def test_a_click_in_the_transcript_or_the_timeline_seeks(page):
    page.locator("[data-row='4'] .words").click()
    assert position(page) == pytest.approx(6.0, abs=0.01) and current(page) == 4
    page.locator(".block[data-row='7']").click()
    assert position(page) == pytest.approx(10.5, abs=0.01) and current(page) == 7
    strip = page.locator("#strip").bounding_box()
    page.mouse.click(strip["x"] + strip["width"] / 2, strip["y"] + 8)  # on the ruler
    assert position(page) == pytest.approx(9.5, abs=0.05)


def test_the_transcript_follows_the_player_until_it_is_asked_not_to(page):
    page.evaluate("player.muted = true; player.currentTime = 16.6; player.play()")
    wait_until(page, "player.currentTime > 16.7 && list.row === 11")
    item, box = page.locator("li[data-row='11']").bounding_box(), page.locator("#box").bounding_box()
    assert box["y"] <= item["y"] and item["y"] + item["height"] <= box["y"] + box["height"]
    assert page.evaluate("scrollY") == 0, "the page itself stays"
    head = page.locator("#playhead").evaluate("(each) => parseFloat(each.style.left)")
    assert head == pytest.approx(100 * position(page) / 19, abs=3)
    page.uncheck("#follow")
    page.evaluate("player.pause(); player.currentTime = 0.5")
    wait_until(page, "document.querySelector('.block.current').dataset.row === '0'")
    assert page.evaluate("list.row") == 11


def test_with_reduced_motion_the_playhead_moves_by_the_players_own_events(browser, folder):
    with opened(browser, folder / "out/index.html", folder / ODD, reduced_motion="reduce") as page:
        counting = "(act) => { asked += 1; return own(act); }"
        page.evaluate(f"window.own = requestAnimationFrame; window.asked = 0; requestAnimationFrame = {counting}; null")
        page.evaluate("player.muted = true; player.play()")
        wait_until(page, "parseFloat(document.getElementById('playhead').style.left) > 2")
        assert page.evaluate("asked") < 5, "no frame asks for the next"


def test_the_keyboard_reads_seeks_plays_and_zooms(page):
    page.locator("#utterances [tabindex='0']").focus()
    for key in ("j", "ArrowDown", "j", "k"):
        page.keyboard.press(key)
    assert page.evaluate("list.row") == 2 and position(page) == 0
    page.keyboard.press("Enter")
    assert position(page) == pytest.approx(3.0, abs=0.01) and current(page) == 2
    page.keyboard.press("d")
    assert page.locator("[data-row='2'] .details .name").all_text_contents()[0].startswith("A anger")
    page.locator("#strip").focus()
    page.keyboard.press("ArrowRight")
    assert position(page) == pytest.approx(8.0, abs=0.01)
    page.keyboard.press("PageDown")
    assert position(page) == pytest.approx(9.0, abs=0.01) and current(page) == 6
    assert "0:09 of 0:19" in page.locator("#strip").get_attribute("aria-valuetext")
    page.keyboard.press("End")
    assert position(page) == pytest.approx(19, abs=0.1)
    page.keyboard.press("Home")
    width = page.locator("#strip").bounding_box()["width"]
    page.keyboard.press("+")
    assert page.locator("#strip").bounding_box()["width"] == pytest.approx(1.5 * width, rel=0.01)
    page.evaluate("player.muted = true")
    page.keyboard.press(" ")
    wait_until(page, "!player.paused && player.currentTime > 0.1")
    page.keyboard.press(" ")
    assert page.evaluate("player.paused")
    page.locator("#utterances [tabindex='0']").focus()
    page.keyboard.press("/")
    page.keyboard.type("jkd")
    assert page.input_value("[name=words]") == "jkd"


def test_curves_of_utterances_that_overlap_never_run_back_in_time(browser, tmp_path):
    rows = [utterance(0, end_s=6.0), utterance(1, start_s=2.0, end_s=3.0), utterance(2, start_s=5.0, end_s=7.0)]
    talk(utterances=rows, media=MediumFacts(name="t", length_s=8.0, has_sound=True, has_picture=True)).write(
        tmp_path, formats=("html",)
    )
    with opened(browser, tmp_path / "index.html", viewport=DESK) as page:
        for path in page.locator("#curves path").evaluate_all("(all) => all.map((each) => each.getAttribute('d'))"):
            for piece in path.split("M")[1:]:
                times = [float(each) for each in re.findall(r"(?:^|[LH])([\d.]+)", piece)]
                assert times == sorted(times)


def test_filters_by_emotion_speaker_probability_and_words(page):
    emotions = page.evaluate("UTTERANCES")
    assert matches(page) == 12
    counts = {}
    for at, name in enumerate([*CLASSES, "undecided"]):
        counts[name] = sum((each["emotion"] or "undecided") == name for each in emotions)
        assert page.locator(f"label:has(#chip-{at})").text_content().split()[-2:] == [name, str(counts[name])]
    page.uncheck("#chip-0")
    assert matches(page) == 12 - counts["anger"]
    assert page.locator("path[data-class=anger]").is_hidden()
    assert page.locator(".block.other").count() == page.locator("li.other").count() == counts["anger"]
    page.click("button[type=reset]")
    wait_until(page, "document.getElementById('matches').textContent.startsWith('12')")
    page.select_option("[name=speaker]", label="Bo")
    bo = [each for each in emotions if each["speaker"] == "Bo"]
    assert matches(page) == len(bo)
    page.fill("[name=least]", "45")
    sure = [each for each in bo if max(each["probabilities"].values()) >= 0.45]
    assert 0 < matches(page) == len(sure) < len(bo) and "45 %" in page.locator("form").text_content()
    page.check("[name=only]")
    assert page.locator("#utterances > li").count() == len(sure)
    page.fill("[name=words]", sure[0]["text"].upper())
    assert page.locator("#utterances mark").first.text_content() == sure[0]["text"]


def test_letters_tell_emotions_apart_without_colour(page):
    letters = page.evaluate("[...LETTERS]")
    assert dict(letters) == dict(zip(CLASSES, ("A", "D", "F", "J", "N", "Sa", "Su"))) | {"undecided": "?"}
    shown = page.locator(".block").all_text_contents()
    expected = page.evaluate("TIMED.map((row) => LETTERS.get(labelOf(row)))")
    assert sorted(shown) == sorted(expected)
    assert page.locator(".block.open").count() == page.locator("li.undecided").count() == 1
    assert "undecided" in page.locator("li.undecided .emotion").text_content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_mend(browser, folder, scheme):
    with opened(browser, folder / "out/index.html", folder / ODD, viewport=DESK, color_scheme=scheme) as page:
        page.locator("[data-row='3'] .more").click()
        page.uncheck("#chip-1")
        assert axe_faults(page) == []


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_needs_no_sideways_scrolling(browser, folder, width):
    options = {"viewport": {"width": width, "height": 800}, "is_mobile": True, "has_touch": True}
    with opened(browser, folder / "out/index.html", folder / ODD, **options) as page:
        page.locator("[data-row='3'] .more").tap()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".block[data-row='2']").tap()
        assert current(page) == 2


def test_a_missing_medium_is_explained_and_all_else_works(browser, folder, tmp_path):
    emotions = talk(12)
    emotions.write(tmp_path, media=tmp_path / "gone.webm", formats=("html",))
    with opened(browser, tmp_path / "index.html", tmp_path / "gone.webm") as page:
        page.locator("#trouble").wait_for()
        assert "cannot be played" in page.locator("#trouble").text_content()
        page.locator("[data-row='5'] .words").click()
        assert current(page) == 5 and "0:07" in page.locator("#strip").get_attribute("aria-valuetext")


def test_a_format_that_the_browser_lacks_is_explained(browser, tmp_path):
    (tmp_path / "talk.avi").write_bytes(b"RIFF\0\0\0\0AVI LIST")
    talk(3).write(tmp_path, media=tmp_path / "talk.avi", formats=("html",))
    with opened(browser, tmp_path / "index.html", tmp_path / "talk.avi") as page:
        page.locator("#trouble").wait_for()


def test_a_picture_that_the_browser_cannot_show_is_explained_where_the_sound_plays(browser, tmp_path):
    path = write_clip(tmp_path / "talk.mp4", sound=tone(3.0), pictures=[np.zeros((64, 64), np.uint8)] * 30)  # MPEG-4
    talk(2, media=MediumFacts(name="talk.mp4", length_s=3.0, has_sound=True, has_picture=True)).write(
        tmp_path, media=path, formats=("html",)
    )
    with opened(browser, tmp_path / "index.html", path) as page:
        page.locator("#trouble").wait_for()
        assert "plays the sound of “talk.mp4”" in page.locator("#trouble").text_content()
        assert page.locator("#player").is_visible()


def test_an_embedded_medium_plays_without_any_request(browser, folder, tmp_path, monkeypatch):
    sound = write_webm(tmp_path / "sound.webm", 3, picture=False)
    emotions = talk(2, media=MediumFacts(name="sound.webm", length_s=3.0, has_sound=True, has_picture=False))
    emotions.to_html(tmp_path / "out/index.html", sound, embed=True)
    with opened(browser, tmp_path / "out/index.html") as page:
        wait_until(page, "player.readyState >= 1")
        assert page.locator("audio#player").is_visible() and page.locator("video").count() == 0
        page.locator("[data-row='1'] .words").click()
        assert position(page) == pytest.approx(1.5, abs=0.05)
    monkeypatch.setattr(page_module, "MOST_EMBEDDED", 100)
    with pytest.raises(InputError, match=r"sound\.webm has 0 MB; .*--embed"):
        emotions.to_html(tmp_path / "out/index.html", sound, embed=True)


def test_hostile_text_is_shown_and_never_run(browser, tmp_path):
    utterances = [utterance(at, text=text, speaker=text, id=f"{at} {text}") for at, text in enumerate(HOSTILE)]
    emotions = talk(utterances=utterances, notes=list(HOSTILE))
    emotions.media.name = emotions.model.name = HOSTILE[0]
    emotions.model.synthetic = [HOSTILE[0], SYNTHETIC]
    emotions.utterances[0].absent = {"visual": HOSTILE[0]}
    emotions.write(tmp_path, formats=("html",))
    with opened(browser, tmp_path / "index.html", viewport=DESK) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        for row in range(len(HOSTILE)):
            page.locator(f"[data-row='{row}'] .more").click()
        assert page.locator("main script, main img, .words b, bdi b").count() == 0
        assert page.locator("[data-row='0'] .words").first.text_content() == HOSTILE[0]
        assert page.title() == f"{HOSTILE[0]}: emotions"
        assert page.locator("h1").text_content() == HOSTILE[0]


def test_the_policy_allows_no_script_but_the_pages_own(browser, tmp_path):
    talk(1).write(tmp_path, formats=("html",))
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.evaluate("document.head.append(Object.assign(document.createElement('script'), {textContent: 'ran = 1'}))")
    assert page.evaluate("typeof ran") == "undefined" and page.locator("#utterances li").count() == 1
    page.close()


def test_the_page_states_meaning_law_licences_and_synthetic_data(browser, tmp_path):
    emotions = talk(2)
    emotions.model.synthetic = [SYNTHETIC]
    emotions.model.licences = ["encoder: Apache-2.0", OPENSMILE_LICENCE]
    emotions.write(tmp_path, formats=("html",))
    with opened(browser, tmp_path / "index.html") as page:
        head = page.locator("header").text_content()
        assert all(sentence in head for sentence in (MEANING, EU_LAW, OPENSMILE_LICENCE))
        assert f"{SYNTHETIC[0].upper()}{SYNTHETIC[1:]}. These emotions say nothing" in head
        assert "encoder: Apache-2.0" in page.locator("#about").text_content()
        assert page.locator("header .warning").first.is_visible()
        assert page.locator("#player").count() == 0


@pytest.mark.parametrize("utterances", [[], [utterance(0, start_s=None, end_s=None)]])
def test_no_speech_and_no_times_are_no_errors(browser, tmp_path, utterances):
    talk(utterances=utterances).write(tmp_path, formats=("html",))
    with opened(browser, tmp_path / "index.html") as page:
        assert page.locator("#utterances > li").count() == len(utterances) and page.locator("#timeline").count() == 0
        assert utterances or "No speech" in page.locator("#matches").text_content()
        if utterances:
            page.locator("#utterances .words").click()


def test_an_hour_of_900_utterances_opens_in_two_seconds(browser, tmp_path):
    spans = [(4.0 * at, 4.0 * at + 3.4) for at in range(900)]
    rows = [
        utterance(at, start_s=start, end_s=end, speaker=f"Speaker {at % 4}") for at, (start, end) in enumerate(spans)
    ]
    talk(utterances=rows, media=MediumFacts(name="t", length_s=3600.0, has_sound=True, has_picture=True)).write(
        tmp_path, formats=("html",)
    )
    opening_s = math.inf
    for _ in range(3):  # the best: others may be using the machine
        with opened(browser, tmp_path / "index.html", viewport=DESK) as page:
            assert matches(page) == 900 and page.locator(".block").count() == 900
            ended = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
            opening_s = min(opening_s, ended)
            page.evaluate("zoomBy(20); seek(1802)")
            block = page.locator(".block.current")
            assert block.get_attribute("data-row") == "450" and block.text_content() and block.is_visible()
            left, width = page.evaluate("[view.scrollLeft, view.clientWidth]")
            assert left <= (1802 / 3600) * 20 * width <= left + width
        if opening_s < 2:
            return
    pytest.fail(f"opened in {opening_s:.1f} s")


@pytest.mark.parametrize("name", ["a:b.mp4", "-x.mp4", "ä ü%20#.mp4", "line\nbreak.mp4", "\udcff.mp4", "//x.mp4"])
def test_the_address_of_any_file_is_relative_and_quoted(tmp_path, name):
    url = relative_url(tmp_path / name.lstrip("/"), tmp_path / "out")
    assert re.fullmatch(r"\.\./[\w./~%-]+", url, re.ASCII)
