"""One HTML file from plain data: template, style, scripts and plotly.js itself, nothing loaded from anywhere."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dferc.core import VERSION
from dferc.core.errors import InputError, counted
from dferc.core.files import digest, write_text
from dferc.core.metrics import MAIN_FIRST, SCORES
from dferc.evaluation.seen_labels import check_honesty, honesty_table
from dferc.results.analyses.document import limits, read_analyses
from dferc.results.compare import Ablation, collect, scores_of
from dferc.results.encoders import FILE, read_encoders
from dferc.results.figures.description import Sample
from dferc.results.figures.of_analyses import analysis_figures
from dferc.results.figures.of_runs import class_figure, confusion_figure, curve_figures
from dferc.results.page import render as render_page
from dferc.results.report.dialogues import browser
from dferc.results.report.intervals import drawn_intervals
from dferc.results.runs import FinishedRun
from dferc.results.tables import as_note, caption, class_tables, main_table, method_notes
from dferc.results.text_tables import NONE, TextTable, mean_cell
from dferc.store.hdf5 import find_sets, read_corpus, read_features
from dferc.store.inspection import inspect_corpus
from dferc.store.rows import OF_ROWS, CachedCorpus
from dferc.store.vocabulary import SPLITS

try:
    from plotly.offline import get_plotlyjs
except ModuleNotFoundError as error:
    raise InputError(f"the report needs {error.name}, which is not installed: pip install '.[report]'") from None

PAGE = Path(__file__).parent / "page"
SECTIONS = ("classes", "analyses", "training", "dialogues")  # that every page has after the tables of runs


def write_page(path: Path, features: Path, runs: Path, *, split: str | None = None, against: str = "full") -> None:
    """Write reports/<corpus>/index.html from features/<corpus> and runs/<corpus>."""
    ablation = collect(runs, split, against)
    corpus = read_corpus(features, sets=ablation.reference.card.get("sets"))
    write_text(path, render(page_data(corpus, runs, ablation, path.parent / "analyses.json", find_sets(features))))


def page_data(corpus: CachedCorpus, runs: Path, ablation: Ablation, path: Path, sets: Mapping[str, Path]) -> dict:
    """Return everything that the template shows, as plain data; analyses.json at `path` need not exist."""
    sample = sample_of(ablation)
    about = summary(ablation, corpus, sample)
    card, table = about["card"], main_table(ablation)
    # Name and scores are all that published rows have.
    published = [[row[0], *row[2 : 2 + len(SCORES)]] for row in table.rows[table.published :]]
    files = {row.name: digest(row.run.folder / "evaluate") for row in ablation.rows}
    analyses = read_analyses(path, sample.split, card["card"], files)
    honesty = check_honesty(corpus.utterances, corpus.modalities)
    if encoders := read_encoders(runs / FILE, card["card"]):
        encoders["notes"] += map(as_note, encoder_notes(encoders, sets))
    figures = {
        "classes": [class_figure(ablation, sample), confusion_figure(ablation, sample)],
        "analyses": analysis_figures(analyses) if analyses else [],
        "training": curve_figures(runs, ablation, sample),
    }
    return {
        "version": VERSION,
        "summary": about,
        "sections": ("summary", "ablation", *(["encoders"] if encoders else []), *SECTIONS),
        "encoders": encoders,
        "splits": splits_table(card),
        "features": features_table(card),
        "honesty": TextTable(*honesty_table(honesty), len(honesty)),
        "seen_labels": {name: found.detail for name, found in honesty.items() if found.seen},
        "makers": {name: maker(features["identity"]) for name, features in card["modalities"].items()},
        "main_table": table._replace(rows=table.rows[: table.published]),
        "published_table": TextTable(["system", *table.header[2 : 2 + len(SCORES)]], published, len(published)),
        "class_tables": class_tables(ablation),
        "intervals": drawn_intervals(ablation, 2 + len(SCORES)),
        "caption": caption(ablation),
        "how": method_notes(ablation),
        "mind": list(map(as_note, [*ablation.notes, *feature_notes(ablation.reference, corpus)])),
        "basis": sample.basis(counted(len(ablation.reference.seeds), "seed")),
        "limits": limits(analyses) if analyses else [],
        "figures": figures,
        "figures_data": [asdict(figure) for group in figures.values() for figure in group],
        "browser": browser(ablation, corpus),
    }


def sample_of(ablation: Ablation) -> Sample:
    """Return the utterances behind the numbers of a report."""
    run = ablation.reference
    return Sample(run.split, len(run.labelled.actual_T), run.dialogues, ablation.synthetic)


def summary(ablation: Ablation, corpus: CachedCorpus, sample: Sample) -> dict:
    """Return the data of the page's first section; refuse features of another protocol than the runs'."""
    run, card = ablation.reference, inspect_corpus(corpus)
    if card["card"] != run.card["card"]:
        raise InputError(
            f"the features are of protocol card {card['card']} ({card['protocol']}), {run.folder} of "
            f"{run.card['card']} ({run.card['protocol']}): texts and labels would be those of another corpus. "
            "Name the features that the runs were trained on with --features."
        )
    scores = scores_of(run)
    return {
        "corpus": ablation.corpus,
        "split": run.split,
        "reference": run.folder.name,
        "seeds": len(run.seeds),
        "runs": len(ablation.rows),
        "utterances": sample.utterances,
        "dialogues": sample.dialogues,
        "headline": [(SCORES[name], mean_cell(scores[name])) for name in MAIN_FIRST],
        "simulated": sample.simulated,
        "warn": bool(sample.simulations),
        "card": card,
        "zero_f1": [sentence for row in ablation.rows if (sentence := zero_f1(row.name, row.run))],
    }


def zero_f1(name: str, run: FinishedRun) -> str:
    """Return which classes some seed never gets right though the split has them; empty where there is none."""
    never_SC = (run.scores.f1_C == 0) & (run.support > 0)
    seeds = counted(len(run.seeds), "seed")
    classes = [
        f"{run.classes[index]} ({never_SC[:, index].sum()} of {seeds}, n = {run.support[index]})"
        for index in np.flatnonzero(never_SC.any(axis=0))
    ]
    return f"{name}: {', '.join(classes)}" if classes else ""


def render(data: dict) -> str:
    """Return the whole page."""
    return render_page(PAGE, data, {"plotly.js": get_plotlyjs()})


def feature_notes(run: FinishedRun, corpus: CachedCorpus) -> Iterator[str]:
    """Yield on which features a run was trained that are not those of the folder, which the page describes."""
    there = {name: dict(features.identity) for name, features in corpus.modalities.items()}
    if differ := [name for name, identity in run.trained_features.items() if there.get(name) != identity]:
        found = f"{run.folder.name} was trained on {', '.join(differ)} features that were made otherwise"
        yield f"{found} than those in the features folder, which are the ones that this page describes"


def encoder_notes(encoders: dict, sets: Mapping[str, Path]) -> Iterator[str]:
    """Yield which sets were compared as others than those of the folder, which have their names now."""
    for name, compared in encoders.get("features", {}).items():
        identity = read_features(sets[name], name.partition("/")[0]).identity if name in sets else compared
        if any(identity.get(key) != value for key, value in compared.items()):
            yield f"{name} was compared before its features were made anew: run `dferc encoders` again"


def splits_table(card: dict) -> TextTable:
    """Return sizes and labels of the protocol card, a column per split."""
    splits = [card["splits"][name] for name in SPLITS]
    rows = [[name, *(f"{split[name]:,}" for split in splits)] for name in ("dialogues", "utterances", "labelled")]
    rows.append(["speakers in a dialogue, at most", *(str(split["most_speakers"]) for split in splits)])
    rows += [[name, *(f"{split['classes'][name]:,}" for split in splits)] for name in card["classes"]]
    return TextTable(["in the split", *SPLITS], rows, len(rows))


def features_table(card: dict) -> TextTable:
    """Return width and presence of each modality's features."""
    rows = []
    for modality, about in card["modalities"].items():
        shares = (NONE if share is None else f"{share:.1%}" for share in about["present"].values())
        rows.append([modality, str(about["width"]), *shares])
    return TextTable(["modality", "width", *(f"present, {name}" for name in SPLITS)], rows, len(rows))


def maker(identity: dict) -> str:
    """Return the identity of a features file in a line, without hashes, which mean nothing to people."""
    if "sets" in identity:
        return ". ".join(f"{name}: {maker(one)}" for name, one in identity["sets"].items())
    shown = {name: value for name, value in identity.items() if name not in (*OF_ROWS, "model", "tokenizer")}
    lines = (f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in shown.items())
    return "; ".join(lines)
