"""Figures of analyses: which files there are, what stands beneath, and that the same numbers give the same bytes."""

import importlib.util
import json
import re
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib import font_manager
from matplotlib.image import imread

from dferc.cli.main import main
from dferc.results.analyses.calibration import analyse_calibration
from dferc.results.analyses.context import analyse_context
from dferc.results.analyses.contributions import analyse_contributions
from dferc.results.analyses.dialogues import analyse_dialogues
from dferc.results.analyses.geometry import analyse_geometry
from dferc.results.analyses.missing import Reduced, analyse_missing, subsets
from dferc.results.figures import static
from dferc.results.figures.description import COLOURS, MARKERS
from dferc.results.figures.of_analyses import analysis_figures, look_of, over_seeds, with_spread
from dferc.results.figures.static import (
    COLUMN_IN,
    FURTHER_FONTS,
    HEX,
    PAGE_IN,
    SHEETS,
    SYMBOLS,
    caption,
    draw_sheet,
    write_figures,
)
from dferc.results.runs import FinishedRun
from tests.dferc.results.test_analyses import CLASSES, make_run

ROWS = {"modality": np.tile([0, 1, 2], 4), "utterance": np.repeat(np.arange(4), 3)}


def random_run(modalities: int = 3, seeds: int = 2) -> FinishedRun:
    random = np.random.default_rng(0)
    shares = random.dirichlet(np.ones(modalities), size=(seeds, 12)) if modalities else np.zeros((seeds, 12, 0))
    weights = random.random((seeds, 12)) if modalities > 1 else np.full((seeds, 12), 0.8)
    predicted = ["nnjjaanjanja", "jjjjaanjajja"][:seeds]
    return make_run("nnjjaanjanj-", predicted, dialogues="ddddeeeeefff", contributions=shares, weights=weights)


def make_found(runs: dict[str, FinishedRun], simulated: tuple[str, ...] = ()) -> dict:
    """Return a document as `dferc analyse` writes it, geometry and missing modalities by hand."""
    first = next(iter(runs.values()))
    seeds, several = len(first.seeds), len(first.modalities) > 1
    levels = ("projected", "modality_level", "utterance_level") if several else ()
    points = {level: {"x": list(range(12)), "y": list(range(12))} for level in levels}
    labels = {
        "utterance_id": ["u"] * 12,
        "modality": [("text", "audio", "visual")[at] for at in ROWS["modality"]],
        "emotion": ["joy"] * 12,
    }
    tsne = {"seed": 0, "perplexity": 3.0, "levels": points, **labels} if several else None
    silhouettes = [{level: {"by_modality": 0.5, "by_utterance": -0.25} for level in levels}] * seeds if several else []
    shown = Reduced(
        [(0.5, 0.4)] * len(subsets(len(first.modalities))), [0] * 7, np.full((7, 1, 2), 0.3), np.full((7, 1), 0.5)
    )
    return {
        "corpus": "demo",
        "split": "test",
        "simulated": list(simulated),
        "classes": list(CLASSES),
        "modalities": list(first.modalities),
        "labelled": 11,
        "dialogue_count": 3,
        "runs": {name: {"folder": name, "seeds": list(run.seeds)} for name, run in runs.items()},
        "run": next(iter(runs)),
        "contributions": analyse_contributions(runs),
        "context": analyse_context(runs),
        "dialogues": analyse_dialogues(runs),
        "calibration": analyse_calibration(runs),
        "geometry": analyse_geometry(silhouettes, ROWS, tsne),
        "missing": analyse_missing(first.modalities, [shown] * seeds, 11),
    }


def test_every_figure_is_there_as_pdf_and_png_at_its_width(tmp_path):
    written = write_figures(tmp_path, make_found({"full": random_run(), "no_crm": random_run()}))
    assert sorted(path.name for path in written) == sorted(
        f"{name}.{kind}" for name in SHEETS for kind in ("pdf", "png")
    )
    assert all(path.stat().st_size > 1000 for path in written)
    assert imread(tmp_path / "calibration.png").shape[1] == pytest.approx(300 * COLUMN_IN, abs=1)
    assert (tmp_path / "calibration.pdf").read_bytes().startswith(b"%PDF")


def test_groups_of_two_runs_are_drawn_beside_each_other_by_their_names(tmp_path):
    named, nameless = (make_run("nnjjaann", ["nnjjaanj"], speakers=who) for who in ("AAAAAAAA", "..AAAAAA"))
    found = make_found({"full": named, "no_crm": nameless})
    assert write_figures(tmp_path, found)
    [figure] = [figure for figure in analysis_figures(found) if figure.key == "by-shift"]
    for view, other in zip(figure.views, ("no_crm", "full"), strict=True):
        cells = found["dialogues"]["by_shift"][other]
        groups = {cell["name"]: cell["weighted_f1"]["mean"] for cell in cells}
        beside = view.panel.series[-1]
        assert beside.y == [groups[x.partition("\n")[0]] for x in beside.x]


def test_class_names_are_no_formulas_and_letters_without_a_font_are_told(tmp_path, capsys):
    names = ("$5 and $\\bad$", "愤怒", "n" * 95)
    found = make_found({"full": random_run()})
    text = json.dumps(found)
    for old, new in zip(CLASSES, names, strict=True):
        text = text.replace(f'"{old}"', json.dumps(new))
    found = json.loads(text)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert write_figures(tmp_path, found)
    there = set(font_manager.get_font_names()) & set(FURTHER_FONTS)
    assert there or "no font here has some letters of the class names" in " ".join(capsys.readouterr().err.split())


def test_the_same_numbers_give_the_same_bytes(tmp_path, monkeypatch):
    few = ("contributions_by_class", "missing")
    monkeypatch.setattr(static, "SHEETS", {name: SHEETS[name] for name in few})
    found = make_found({"full": random_run()})
    before = {path.name: path.read_bytes() for path in write_figures(tmp_path, found)}
    assert {path.name: path.read_bytes() for path in write_figures(tmp_path, found)} == before


def test_what_has_no_data_has_no_figure_and_an_old_one_goes(tmp_path):
    (tmp_path / "geometry.pdf").write_bytes(b"of another run")
    written = write_figures(tmp_path, make_found({"t": random_run(modalities=1, seeds=1)}))
    assert {path.stem for path in written} == {"dialogues", "calibration"}
    assert {path.stem for path in tmp_path.iterdir()} == {"dialogues", "calibration"}


def test_a_baseline_and_a_class_without_utterances_are_drawn(tmp_path):
    baseline = make_run("nnj", ["nnn"], weights=np.nan)
    assert {path.stem for path in write_figures(tmp_path, make_found({"majority": baseline}))} == {
        "dialogues",
        "calibration",
    }


def test_what_stands_beneath_says_n_seeds_and_what_is_simulated():
    found = make_found({"full": random_run()}, simulated=("audio features are simulated: noise",))
    figures = {figure.key: figure for figure in analysis_figures(found)}
    text = " ".join(caption("demo", figures["random"].views, PAGE_IN).split())
    assert text.startswith("demo: 1 draw per seed and rate;")
    assert "Run full; n = 11 labelled utterances in 3 dialogues (test)" in text
    assert "mean ± standard deviation over 2 seeds" in text
    assert text.endswith("Audio features are simulated: noise.")


def test_the_correlation_stands_at_the_figure_of_the_agreement_alone():
    figures = {figure.key: figure for figure in analysis_figures(make_found({"full": random_run()}))}
    assert "agreement and weight: −1.00 ± 0.00." in figures["context-agreement"].views[0].finding
    assert "orrelation" not in caption("demo", figures["context-scores"].views, PAGE_IN)


def test_static_and_interactive_figures_are_of_the_same_numbers():
    found = make_found({"full": random_run(), "no_crm": random_run()})
    view = next(figure for figure in analysis_figures(found) if figure.key == "random").views[0]
    axes = draw_sheet(SHEETS["missing"], "demo", [view]).axes[0]
    lines = {line.get_label(): line for line in axes.get_lines()}
    drawn = [container.lines[0].get_ydata().tolist() for container in axes.containers]
    assert drawn == [pytest.approx(list(series.y)) for series in view.panel.series] and lines


def test_several_runs_are_listed_in_the_plural_and_what_stays_is_one_modality_at_least():
    found = make_found({name: random_run() for name in ("full", "no_crm", "plus")})
    figures = {figure.key: figure for figure in analysis_figures(found)}
    assert figures["contributions-runs"].views[0].basis.startswith("Runs full, no_crm, plus; n = 11")
    assert figures["random"].views[0].finding.endswith("each utterance keeps at least one modality.")


def test_single_seeds_and_unlike_numbers_of_seeds_are_told():
    found = {"runs": {"full": {"seeds": [0, 1]}, "t": {"seeds": [4]}}}
    assert over_seeds(found, "t") == "1 seed: no standard deviation"
    assert over_seeds(found, "full", "t") == "mean ± standard deviation over 1 to 2 seeds"


def test_numbers_that_are_not_there_are_not_drawn():
    run = analyse_calibration({"full": make_run("nn", ["nn"], confidence=0.9)})
    found = make_found({"full": random_run()}) | {"calibration": run}
    view = next(figure for figure in analysis_figures(found) if figure.key == "calibration").views[0]
    assert view.panel.series[1].y == [1] and len(view.panel.series[1].x) == 1  # one bin of fifteen has utterances
    assert with_spread({"mean": -0.25, "std": None}) == "−0.25" and with_spread({"mean": None, "std": None}) == "none"
    assert with_spread({"mean": 0.5, "std": 0.011}) == "0.50 ± 0.01"


def test_without_matplotlib_the_extra_is_named_before_anything_is_read(monkeypatch, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name))
    arguments = ["analyse", "--corpus=demo", f"--runs={tmp_path}", f"--out={tmp_path}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and re.search(r"pip install .*report.*--no-figures", " ".join(result.stderr.split()))
    result = CliRunner().invoke(main, [*arguments, "--no-figures"])
    assert "has no run yet" in result.stderr


def test_colours_are_okabe_and_itos():
    palette = {"#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000", "#767676"}
    assert set(HEX) <= palette and len(HEX) == len(set(HEX)) == len(COLOURS)
    names = ("text", "audio", "visual", "gaze", "physiology")
    for key in ("colour", "marker", "hatch"):  # nothing differs by colour alone
        assert len({look_of(name, names)[key] for name in names}) == len(names)
    assert set(MARKERS) <= set(SYMBOLS)
