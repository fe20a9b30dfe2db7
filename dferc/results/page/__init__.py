"""Pages that are one HTML file and load nothing: the template engine, and the style and scripts that all pages share.

`dom.js` makes elements, `utterances.js` shows an utterance, `list.js` is the list of them that the keyboard walks
through, `base.css` has colours, type, forms and that list. The report (dferc/results/report) and the page of one medium
(dferc/results/emotions) add their own.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path

from dferc.core.errors import InputError

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
except ModuleNotFoundError as error:
    raise InputError(f"the page needs {error.name}, which is not installed: pip install '.[report]'") from None

SHARED = Path(__file__).parent


def render(folder: Path, data: Mapping, scripts: Mapping[str, str] | None = None) -> str:
    """Return page.html of a folder as one file.

    The template finds styles and scripts, the shared ones and the folder's, by name in `files`. Text is escaped, and
    JSON so that no text can end its script element. `script_hashes` let a security policy allow these scripts alone.

    Args:
        folder: templates, styles and scripts of a page.
        data: names of the template; `tojson` refuses numbers that are not finite.
        scripts: further scripts, from libraries.
    """
    environment = Environment(loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    paths = [path for place in (SHARED, folder) for path in place.iterdir() if path.suffix in (".css", ".js")]
    files = {path.name: path.read_text(encoding="utf-8") for path in paths} | dict(scripts or {})
    hashes = [source_hash(text) for name, text in sorted(files.items()) if name.endswith(".js")]
    marked = {name: Markup(text) for name, text in files.items()}
    return environment.get_template("page.html").render(data, files=marked, script_hashes=Markup(" ".join(hashes)))


def source_hash(script: str) -> str:
    """Return what names a script in a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
