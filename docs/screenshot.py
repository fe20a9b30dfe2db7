"""Draw docs/images/report.png: the top of a report, its ablation table and its first two figures, in Chromium.

    python docs/screenshot.py                      # of reports/demo/index.html, which `make repro` writes
    python docs/screenshot.py reports/meld/index.html

Needs the extra `dev` and a `chromium` or `google-chrome` on the path. The protocol card, between the top and
the table, and later sections are hidden; nothing else of the page is changed.
"""

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

REPORT = Path("reports/demo/index.html")
PICTURE = Path(__file__).with_name("images") / "report.png"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDTH = 1300
COLOURS = 128  # of the palette: a third of the bytes, and no difference that the eye sees
HIDDEN = """
    nav.sections, #summary > :not(h2, .tiles), #ablation > details, #ablation > ul, #analyses > :not(h2, .pair),
    #analyses .pair > :nth-child(n + 3), #analyses details,
    main > :not(#summary, #ablation, #analyses), footer { display: none }
    section { margin-block: 0; padding-block: 1rem }
"""


def draw(report: Path, picture: Path) -> None:
    """Open the report, hide what lies between the parts that are shown, and write the picture."""
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is on the path; install one, for example: apt-get install chromium")
    if not report.is_file():
        sys.exit(f"{report}: no such report; `make repro` writes {REPORT}, `dferc report` any other")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
        page.goto(report.absolute().as_uri())
        page.add_style_tag(content=HIDDEN)
        page.wait_for_timeout(1000)  # figures draw themselves when they come into view
        shot = page.screenshot(full_page=True)
        browser.close()
    picture.parent.mkdir(exist_ok=True)
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(picture, optimize=True)
    print(f"{picture}: {image.width} x {image.height}, {picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else REPORT, PICTURE)
