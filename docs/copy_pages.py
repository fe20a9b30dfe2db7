"""Copy every Markdown page and picture of the repository into build/docs, in the same folders.

The pages link to one another across folders (README.md, docs/, features/), and a site has one folder for all. In copies
under the same relative paths the links lead to the same pages, here and on a code host.
"""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build/docs"
PATTERNS = ("*.md", "docs/**/*.md", "docs/images/*", "docs/*.json", "features/README.md", "data/*/*/README.md")

if __name__ == "__main__":
    shutil.rmtree(BUILD, ignore_errors=True)
    for source in (path for pattern in PATTERNS for path in ROOT.glob(pattern)):
        target = BUILD / source.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
