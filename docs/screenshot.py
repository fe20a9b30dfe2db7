"""Draw docs/images/report.png and video.png in Chromium: the report of the demo, and the page of one of its videos.

    python docs/screenshot.py                      # of the pages that `make repro` and docs/demo_talk.py write
    python docs/screenshot.py report reports/meld/index.html
    python docs/screenshot.py video build/demo-talk/index.html

Needs the extra `dev` and a `chromium` or `google-chrome` on the path. Of the report, the protocol card, between the top
and the table, the table's last column, and later sections are hidden; nothing else of a page is changed.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PAGES = {"report": Path("reports/demo/index.html"), "video": Path("build/demo-talk/index.html")}
IMAGES = Path(__file__).with_name("images")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = {"report": 1440, "video": 1300}
COLOURS = {"report": 128, "video": 256}  # of the palette: a third of the bytes, and no difference that the eye sees
HIDDEN = """
    nav.sections, #summary > :not(h2, .tiles), #ablation > details, #ablation > ul, #analyses > :not(h2, .pair),
    #analyses .pair > :nth-child(n + 3), #analyses details,
    #ablation :is(th, td):last-child, main > :not(#summary, #ablation, #analyses), footer { display: none }
    section { margin-block: 0; padding-block: 1rem }
"""
SHOWN_S = 9.3  # position in the video


def show_report(page: Page) -> bytes:
    """Hide what lies between the parts that are shown, and return the picture."""
    page.add_style_tag(content=HIDDEN)
    page.wait_for_timeout(1000)  # figures draw themselves when they come into view
    return page.screenshot(full_page=True)


def show_video(page: Page) -> bytes:
    """Go to a place in the video, and return the picture down to the end of the timeline."""
    page.evaluate(f"seek({SHOWN_S})")
    page.wait_for_timeout(1000)
    end = page.locator("#timeline").evaluate("(each) => each.getBoundingClientRect().bottom + scrollY")
    return page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": WIDTHS["video"], "height": end + 8})


def draw(name: str, path: Path) -> None:
    """Open a page, and write its picture."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on the path; install one, for example: apt-get install chromium")
    if not path.is_file():
        sys.exit(f"{path}: no such page; `make repro` writes {PAGES['report']}, docs/demo_talk.py {PAGES['video']}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTHS[name], "height": 1000})
        page.goto(path.absolute().as_uri())
        shot = {"report": show_report, "video": show_video}[name](page)
        browser.close()
    picture = IMAGES / f"{name}.png"
    picture.parent.mkdir(exist_ok=True)
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS[name], dither=Image.Dither.NONE)
    image.save(picture, optimize=True)
    print(f"{picture}: {image.width} x {image.height}, {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    named = {sys.argv[1]: Path(sys.argv[2])} if len(sys.argv) == 3 else PAGES
    for each, page_path in named.items():
        draw(each, page_path)
