"""The report in a real headless Chromium: it opens silently, sorts, filters, obeys the keyboard, fits a phone."""

from pathlib import Path

import numpy as np
import pytest

from dferc.results.analyses.dialogues import INERTIA, SHIFT, emotion_shifts
from dferc.results.compare import collect
from dferc.results.report.page import page_data, render
from dferc.results.runs import read_run
from dferc.store.hdf5 import read_corpus
from tests.helpers.chromium import axe_faults, launched, needs_chromium, opened, wait_until
from tests.helpers.reports import ROWS, write_inputs, write_report

pytestmark = needs_chromium
TEST = ROWS.split == "test"


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("page")
    write_inputs(root)
    return write_report(root)


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser, path):
    with opened(browser, path, viewport={"width": 1280, "height": 900}) as page:
        yield page


def focused(page) -> int:
    """Return the row of the utterance that has the focus."""
    return int(page.evaluate("document.activeElement.dataset.row"))


def matches(page) -> int:
    return int(page.locator("#matches").text_content().split(": ")[1].split(" of ")[0].replace(",", ""))


def test_every_figure_is_drawn_without_a_request_or_a_word_on_the_console(page):
    for figure in page.locator("figure[data-figure]").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.main-svg").first.wait_for()
        figure.locator("summary").click()
        figure.locator("details tr").nth(2).wait_for()
    assert page.locator("figure[data-figure]").count() >= 13


def test_choosing_a_run_changes_figure_and_caption(page):
    figure = page.locator("figure[data-figure=confusion]")
    figure.scroll_into_view_if_needed()
    figure.locator("select").select_option(label="majority")
    assert "Run majority" in figure.locator("figcaption").text_content()
    assert "</script>joy" in figure.locator("svg.main-svg").first.text_content()


def test_table_sorts_by_number_and_back(page):
    table = page.locator("#ablation table").first
    heading = table.locator("th", has_text="weighted F1")

    def order():
        return table.locator("tbody th").all_text_contents()

    assert [name.strip() for name in order()] == ["full", "t", "majority"]
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    down = order()
    heading.locator("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending" and order() == down[::-1]
    assert down[0].strip() == "full"


def test_sorting_goes_by_numbers_as_people_write_them(page):
    cells = ["−1.50", "[−2.00, +1.00]", "< 0.001", "61.20 ± 3.00", "1,256", "–", "reference"]
    found = page.evaluate("(cells) => cells.map(leadingNumber)", cells)
    assert found == [-1.5, -2, pytest.approx(0.001), 61.2, 1256, None, None] and found[2] < 0.001
    table = page.locator("#summary table").first
    table.locator("th", has_text="test").locator("button").click()
    numbers = [int(cell.replace(",", "")) for cell in table.locator("tbody td:last-child").all_text_contents()]
    assert numbers == sorted(numbers, reverse=True) and len({len(str(number)) for number in numbers}) > 1
    ablation = page.locator("#ablation table").first
    for _ in range(2):  # what has no number stays at the end either way
        ablation.locator("th", has_text="p, seeds").locator("button").click()
        assert ablation.locator("tbody th").all_text_contents()[-1].strip() == "full"


def test_filters_count_what_matches(page):
    everything = int(TEST.sum())
    assert matches(page) == everything
    page.select_option("[name=verdict]", "wrong")
    wrong = matches(page)
    page.select_option("[name=verdict]", "right")
    unlabelled = int((ROWS.emotion[TEST] < 0).sum())
    assert 0 < wrong and matches(page) + wrong + unlabelled == everything
    page.select_option("[name=verdict]", "any")
    page.select_option("[name=actual]", "2")
    assert matches(page) == int((ROWS.emotion[TEST] == 2).sum())
    page.click("button[type=reset]")
    wait_until(page, "document.getElementById('matches').textContent.includes('are shown')")
    assert matches(page) == everything


def test_search_finds_letters_that_patterns_and_markup_use(page):
    page.fill("[name=words]", "{{ 7 * 7 }}")
    assert matches(page) == sum("{{ 7" in text for text in ROWS.text[TEST])
    assert page.locator("#utterances mark").first.text_content() == "{{ 7 * 7 }}"
    page.fill("[name=words]", "<B>BOLD")
    assert matches(page) == sum("<b>bold" in text for text in ROWS.text[TEST])
    page.fill("[name=words]", "nowhere at all")
    assert matches(page) == 0 and page.locator("#utterances li").count() == 0


def test_shift_filter_and_tag_agree(page, path):
    kinds = emotion_shifts(read_run(path.parents[2] / "runs/demo/full"))
    for kind in (INERTIA, SHIFT):
        page.select_option("[name=shift]", kind)
        assert matches(page) == int((kinds == kind).sum()) > 0
    page.check("[name=only]")
    shown = page.locator("#utterances > li")
    assert shown.count() > 0 and page.locator("#utterances .tag.shift").count() == shown.count()


def test_keyboard_walks_through_utterances_matches_and_dialogues(page):
    page.select_option("[name=verdict]", "wrong")
    page.locator("#utterances [tabindex='0']").focus()
    first = focused(page)
    page.keyboard.press("n")
    second = focused(page)
    assert second > first and page.locator("#utterances [aria-current=true]").count() == 1
    assert page.locator("#utterances [aria-current=true]").get_attribute("class") == "utterance wrong match"
    page.keyboard.press("p")
    assert focused(page) == first
    page.keyboard.press("Enter")
    assert page.locator(f"[data-row='{first}'] .details").is_visible() and focused(page) == first
    dialogue = page.locator("#dialogue-name").text_content()
    page.keyboard.press("ArrowRight")
    assert page.locator("#dialogue-name").text_content() != dialogue
    page.keyboard.press("ArrowLeft")
    assert page.locator("#dialogue-name").text_content() == dialogue
    page.select_option("[name=verdict]", "any")
    page.select_option("#dialogue-list", index=5)  # dialogues have 1 to 6 utterances
    page.locator("#utterances [tabindex='0']").focus()
    start = focused(page)
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    assert focused(page) == start + 2
    page.keyboard.press("k")
    assert focused(page) == start + 1
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "words"
    page.keyboard.type("njk")
    assert page.input_value("[name=words]") == "njk"


def test_details_say_what_the_data_say(page):
    page.locator("#utterances .more").first.click()
    details = page.locator("#utterances .details").first
    names = details.locator(".name").all_text_contents()
    assert [name.split(" ")[0] for name in names] == ["neutral", "</script>joy", "anger", "text", "audio", "visual"]
    page.select_option("[name=run]", label="majority")
    assert "no contributions" in page.locator("#utterances li").first.text_content()


def test_hostile_text_is_shown_and_never_run(browser, path):
    with opened(browser, path) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
        for at in range(8):  # 28 utterances, every text among them
            page.select_option("#dialogue-list", index=at)
            assert page.locator("#utterances img, #utterances script, #utterances i, #utterances .words b").count() == 0
        page.fill("[name=words]", "</script>")
        shown = page.locator("#utterances .match .words").first.text_content()
        assert shown == "</script><script>alert(1)</script>"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_scheme(browser, path, scheme):
    with opened(browser, path, color_scheme=scheme) as page:
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 27)"}[scheme]


def test_axe_finds_nothing_to_mend_in_the_dialogue_browser(page):
    page.select_option("[name=verdict]", "wrong")
    page.check("[name=details]")
    assert axe_faults(page, "#dialogues") == []


@pytest.mark.parametrize("width", [320, 360, 390])
def test_phone_needs_no_sideways_scrolling(browser, path, width):
    with opened(browser, path, viewport={"width": width, "height": 800}, is_mobile=True, has_touch=True) as page:
        for figure in page.locator("figure[data-figure]").all():
            figure.scroll_into_view_if_needed()
            figure.locator("svg.main-svg").first.wait_for()
        page.check("[name=details]")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for title in page.locator(".xtitle").all():
            assert title.evaluate("(each) => each.getBoundingClientRect().right") <= width


def contrast(one: str, two: str) -> float:
    """Return the contrast of two colours (#rrggbb), as WCAG 2 defines it: 1 to 21."""
    channels = np.array([[int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)] for colour in (one, two)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_lines_stand_out_from_what_is_behind_them(browser, path, scheme):
    """Contrasts are at least 4.5 and 3, as WCAG 2 asks at level AA."""
    with opened(browser, path, color_scheme=scheme) as page:
        behind = {
            "ink": ["paper", "panel", "warn", "mark", "sequential"],
            "muted": ["paper", "panel", "warn"],
            "link": ["paper"],
            "warn-line": ["paper", "panel"],
            "on": ["c1", "c2", "c3"],
            "c1": ["paper", "panel"],
            "c2": ["paper", "panel"],
        }
        asked = [(text, ground, 4.5) for text, grounds in behind.items() for ground in grounds]
        asked += [(line, ground, 3) for line in ("strong-line", "focus") for ground in ("paper", "panel")]
        asked += [(f"c{number}", "paper", 3) for number in range(1, 9)]
        for text, ground, least in asked:
            colours = page.evaluate("([one, two]) => [property(one), property(two)]", [f"--{text}", f"--{ground}"])
            for colour in colours[1].split(", "):
                assert contrast(colours[0], colour) >= least, (text, ground, colour)
        ink = page.evaluate("getComputedStyle(document.body).color")
        figure = page.locator("figure[data-figure=confusion]")
        figure.scroll_into_view_if_needed()
        number = figure.locator(".plot .hm text").first
        assert number.evaluate("(each) => getComputedStyle(each).fill") == ink
        page.fill("[name=words]", "a")
        found = page.locator("#utterances .words mark").first
        found.evaluate("(each) => each.closest('.utterance').classList.add('other')")
        assert found.evaluate("(each) => getComputedStyle(each).color") == ink


def test_buttons_of_a_figure_that_the_keyboard_reaches_are_no_part_of_a_picture(page):
    figure = page.locator("figure[data-figure=confusion]")
    figure.scroll_into_view_if_needed()
    figure.locator("svg.main-svg").first.wait_for()
    figure.locator("select").focus()
    page.keyboard.press("Tab")
    assert (
        page.evaluate("document.activeElement.closest('.plot [role=img], .plot[role=img], [aria-hidden=true]')") is None
    )
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Download plot"


def test_regions_can_be_told_apart_by_name(page):
    for figure in page.locator("figure[data-figure]").all():
        figure.locator("summary").click()
        figure.locator("[role=region]").wait_for()
    names = page.evaluate(
        "[...document.querySelectorAll('[role=region]')].map((each) => each.getAttribute('aria-label'))"
    )
    assert len(names) == len(set(names)) > page.locator("figure[data-figure]").count()


def test_every_control_has_a_name_and_every_id_is_there_once(page):
    unnamed = page.evaluate(
        """[...document.querySelectorAll("button, select, input, [role=region], [role=img]")].filter((each) =>
        !each.closest(".plot svg, .modebar") && !each.getAttribute("aria-label") && !each.labels?.length &&
        (each.tagName !== "BUTTON" || !each.textContent.trim())).length"""
    )
    assert unnamed == 0
    for _ in range(2):  # who speaks to a browser says what stands on a button: its name must have it
        names = "(buttons) => buttons.map((each) => [each.textContent, each.getAttribute('aria-label')])"
        buttons = page.locator("#utterances button").evaluate_all(names)
        assert buttons and all(label.startswith(text) for text, label in buttons)
        page.check("[name=details]")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].filter((e) => !e.closest('svg')).map((e) => e.id)")
    assert len(ids) == len(set(ids))


def test_a_report_of_melds_size_is_small_and_opens_at_once(browser, path, tmp_path):
    """2,610 utterances of 10 words in 280 dialogues, 14 variants and 4 baselines of 5 seeds, 7 classes."""
    count, classes, modalities, seeds, runs = 2610, 7, 3, 5, 18
    random = np.random.default_rng(0)
    root = path.parents[2]
    corpus, ablation = read_corpus(root / "features/demo"), collect(root / "runs/demo")
    data = page_data(corpus, root / "runs/demo", ablation, path.parent / "none.json", {})

    def percents(size: int) -> list[int]:
        return random.integers(0, 100, size).tolist()

    dialogue = np.sort(random.integers(0, 280, count))
    utterances = {
        "id": [f"test_dia{at}_utt0" for at in range(count)],
        "dialogue": [f"test_{at}" for at in dialogue],
        "text": ["What she said to them was not that bad."] * count,
        "speaker": ["Rachel"] * count,
        "absent": [[]] * count,
    } | {name: random.integers(0, classes, count).tolist() for name in ("position", "actual", "before")}
    utterances["shift"] = ["inertia"] * count
    run = {
        "seeds": list(range(seeds)),
        "modalities": ["text", "audio", "visual"],
        "probability": percents(count * classes),
        "chosen": random.integers(0, classes, count).tolist(),
        "by_seed": random.integers(0, classes, count * seeds).tolist(),
        "contribution": percents(count * modalities),
        "context_weight": percents(count),
    }
    data["browser"] |= {
        "classes": [f"class {at}" for at in range(classes)],
        "utterances": utterances,
        "runs": [run | {"name": "full" if at == 0 else f"run {at}"} for at in range(runs)],
    }
    large = tmp_path / "index.html"
    large.write_text(render(data), encoding="utf-8")
    assert large.stat().st_size < 10e6
    opening_s = []
    for _ in range(3):  # the best: others may be using the machine
        with opened(browser, large) as page:
            assert matches(page) == count
            opening_s.append(page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd / 1000"))
    assert min(opening_s) < 2
