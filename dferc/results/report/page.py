"""One HTML file from plain data: template, style, scripts and plotly.js itself, nothing loaded from anywhere."""

import json
from pathlib import Path

from dferc.core import VERSION
from dferc.core.errors import InputError
from dferc.core.files import write_atomically
from dferc.results.compare import Ablation, collect
from dferc.results.grid import NONE, Grid
from dferc.results.report.analyses import analysis_figures, missing_analyses, read_analyses
from dferc.results.report.dialogues import browser
from dferc.results.report.figures import Figure, class_figure, confusion_figure, curve_figures
from dferc.results.report.intervals import drawn_intervals
from dferc.results.report.summary import basis_of, summary
from dferc.results.tables import caption, class_grid, main_grid, notes
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus
from dferc.store.vocabulary import SPLITS

try:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs
except ModuleNotFoundError as error:
    raise InputError(f"the report needs {error.name}, which is not installed: pip install 'dferc[report]'") from None

PAGE = Path(__file__).parent / "page"
SECTIONS = {
    "summary": "Summary",
    "ablation": "Ablation",
    "classes": "Classes",
    "analyses": "Analyses",
    "training": "Training",
    "dialogues": "Dialogues",
}
DIFFERENCE = 5
"""The column of `main_grid` that the drawn intervals follow."""


def write_page(path: Path, features: Path, runs: Path, *, split: str = "test", against: str = "full") -> None:
    """Write the report of a corpus.

    Args:
        path: reports/<corpus>/index.html.
        features: features/<corpus>, which the runs were trained on.
        runs: runs/<corpus>.
        split: which to show.
        against: the run that the others are compared with.

    Raises:
        InputError: a run or the features are missing or damaged, or they do not belong together.
    """
    page = render(page_data(read_corpus(features), runs, collect(runs, split, against), path.parent / "analyses.json"))
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def page_data(corpus: CachedCorpus, runs: Path, ablation: Ablation, analyses: Path) -> dict:
    """Everything that the template shows, as plain data.

    Args:
        corpus: what the runs were trained on.
        runs: runs/<corpus>.
        ablation: of these runs.
        analyses: analyses.json, which need not be there.

    Raises:
        InputError: runs and features do not belong together.
    """
    basis = basis_of(ablation)
    about = summary(ablation, corpus, basis)
    found = read_analyses(analyses, basis.split, about["card"]["card"])
    figures = {
        "classes": [class_figure(ablation, basis), confusion_figure(ablation, basis)],
        "analyses": analysis_figures(found, basis) if found else [],
        "training": curve_figures(runs, ablation, basis),
    }
    said = notes(ablation)
    mind = said[len(said) - len(ablation.notes) :]  # those of these runs; the others say how tables are made
    return {
        "version": VERSION,
        "summary": about,
        "sections": SECTIONS,
        "splits": splits_grid(about["card"]),
        "features": features_grid(about["card"]),
        "makers": {name: maker(each["identity"]) for name, each in about["card"]["modalities"].items()},
        "main_grid": own_grid(ablation),
        "published_grid": published_grid(ablation),
        "class_grid": class_grid(ablation),
        "intervals": drawn_intervals(ablation, DIFFERENCE),
        "caption": caption(ablation),
        "how": said[: len(said) - len(mind)],
        "mind": mind,
        "basis": basis.sentence(len(ablation.reference.seeds)),
        "missing_analyses": missing_analyses(found) if found else [],
        "figures": figures,
        "figures_data": [_plain(figure) for group in figures.values() for figure in group],
        "browser": browser(ablation, corpus),
    }


def render(data: dict) -> str:
    """The page, everything in it; text is escaped, JSON so that no text can end its script element."""
    environment = Environment(loader=FileSystemLoader(PAGE), autoescape=True, undefined=StrictUndefined)
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    own = {path.name: Markup(path.read_text(encoding="utf-8")) for path in PAGE.iterdir() if path.suffix != ".html"}
    return environment.get_template("page.html").render(data, files=own | {"plotly.js": Markup(get_plotlyjs())})


def _plain(figure: Figure) -> dict:
    return figure._asdict() | {"views": [view._asdict() for view in figure.views]}


# ---------------------------------------------------------------------------------------------------- tables


def splits_grid(card: dict) -> Grid:
    """Sizes and labels of the protocol card, a column per split."""
    splits = [card["splits"][name] for name in SPLITS]
    rows = [[name, *(f"{split[name]:,}" for split in splits)] for name in ("dialogues", "utterances", "labelled")]
    rows.append(["speakers in a dialogue, at most", *(str(split["most_speakers"]) for split in splits)])
    rows += [[name, *(f"{split['classes'][name]:,}" for split in splits)] for name in card["classes"]]
    return Grid(["in the split", *SPLITS], rows, len(rows))


def own_grid(ablation: Ablation) -> Grid:
    """The ablation table without the published rows."""
    grid = main_grid(ablation)
    return grid._replace(rows=grid.rows[: grid.published])


def published_grid(ablation: Ablation) -> Grid:
    """The published rows alone: name and scores, which is all they have."""
    grid = main_grid(ablation)
    columns = [0, 2, 3, 4]
    rows = [[row[at] for at in columns] for row in grid.rows[grid.published :]]
    return Grid(["system", *(grid.header[at] for at in columns[1:])], rows, len(rows))


def features_grid(card: dict) -> Grid:
    """Width and presence of each modality's features."""
    rows = []
    for modality, about in card["modalities"].items():
        shares = (NONE if share is None else f"{share:.1%}" for share in about["present"].values())
        rows.append([modality, str(about["width"]), *shares])
    return Grid(["modality", "width", *(f"present, {name}" for name in SPLITS)], rows, len(rows))


def maker(identity: dict) -> str:
    """The identity of a features file in a line, less hashes, which say nothing to people."""
    said = {name: value for name, value in identity.items() if name not in ("rows_hash", "model")}
    return "; ".join(f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in said.items())
