"""The report's data by hand, its refusals, and that the file is whole and holds hostile text harmlessly."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.results.analyses.dialogues import SHIFT
from dferc.results.analyses.document import read_analyses, write_analyses
from dferc.results.compare import collect
from dferc.results.figures.of_analyses import analysis_figures
from dferc.results.figures.of_runs import confusion, confusion_figure, curve_figures
from dferc.results.report.dialogues import browser
from dferc.results.report.intervals import EDGE, LIMIT, WIDTH, drawn_intervals, ticks
from dferc.results.report.page import sample_of, summary, write_page, zero_f1
from dferc.results.runs import read_run
from dferc.store.hdf5 import read_corpus
from tests.helpers.common import make_utterances
from tests.helpers.finished_runs import guess, write_run
from tests.helpers.reports import CLASSES, HOSTILE, ROWS, make_analyses, write_inputs, write_report


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_inputs(folder)
    return folder


@pytest.fixture(scope="module")
def ablation(root):
    return collect(root / "runs/demo")


@pytest.fixture(scope="module")
def corpus(root):
    return read_corpus(root / "features/demo")


@pytest.fixture(scope="module")
def page(root) -> str:
    return write_report(root).read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Elements of a page with their attributes, and the text of scripts by id, as a browser reads them."""

    def __init__(self, page: str):
        super().__init__()
        self.elements, self.scripts, self._within = [], {}, None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._within = dict(attrs).get("id", len(self.elements)) if tag == "script" else None

    def handle_endtag(self, tag):
        self._within = None if tag == "script" else self._within

    def handle_data(self, data):
        if self._within is not None:
            self.scripts[self._within] = self.scripts.get(self._within, "") + data


# ---------------------------------------------------------------------------------------------------- summary


def test_summary_says_sizes_card_and_which_classes_are_never_right(ablation, corpus):
    found = summary(ablation, corpus, sample_of(ablation))
    labelled = int(((ROWS.split == "test") & (ROWS.emotion >= 0)).sum())
    assert (found["utterances"], found["dialogues"], found["seeds"], found["runs"]) == (labelled, 30, 3, 3)
    assert found["warn"] and "synthetic" in found["simulated"]
    assert [sentence.split(":")[0] for sentence in found["zero_f1"]] == ["majority"]
    assert "</script>joy (3 of 3 seeds" in found["zero_f1"][0] and "anger (3 of 3 seeds" in found["zero_f1"][0]


def test_zero_f1_is_silent_about_a_class_that_the_split_lacks(tmp_path):
    rows = make_utterances(classes=("neutral", "joy", "absent"))
    rows.emotion[:] = np.arange(len(rows)) % 2
    run = read_run(write_run(tmp_path / "full", rows, {0: rows.emotion}))
    assert zero_f1("full", run) == ""
    assert zero_f1("t", read_run(write_run(tmp_path / "t", rows, {0: rows.emotion * 0}))).startswith(
        "t: joy (1 of 1 seed,"
    )


def test_caption_says_n_seeds_and_what_is_simulated(ablation):
    sample = sample_of(ablation)
    assert sample.basis("1 seed", "t").startswith(
        f"Run t; n = {sample.utterances} labelled utterances in 30 dialogues (test); 1 seed. "
    )
    assert "synthetic" in sample.basis("3 seeds")


def test_every_caption_of_every_figure_ends_with_what_is_simulated(root, ablation, corpus):
    found = make_analyses(root)
    sample = sample_of(ablation)
    figures = [confusion_figure(ablation, sample), *curve_figures(root / "runs/demo", ablation, sample)]
    figures += analysis_figures(found)
    captions = [view.caption for figure in figures for view in figure.views]
    assert len(captions) > 10
    assert all(re.search(r"n = \d", caption) and re.search(r"\d seed", caption) for caption in captions)
    assert all(caption.endswith(sample.simulated) for caption in captions)


def test_features_of_another_protocol_are_refused_with_both_cards(root, ablation):
    corpus = read_corpus(root / "features/demo")
    corpus.utterances.emotion[0] = (corpus.utterances.emotion[0] + 1) % 3
    with pytest.raises(InputError, match="the features are of protocol card"):
        summary(ablation, corpus, sample_of(ablation))


def test_features_that_were_made_anew_since_the_training_are_named(root, corpus, tmp_path):
    record = write_run(tmp_path / "runs/full", ROWS, {0: ROWS.emotion.clip(0)}) / "train/seed-0/settings.json"
    record.parent.mkdir(parents=True)
    same = {name: dict(features.identity) for name, features in corpus.modalities.items()}
    for features, named in ((same, False), (same | {"audio": {"extractor": "openSMILE"}}, True)):
        record.write_text(json.dumps({"corpus": "demo", "variant": "full", "settings": {}, "features": features}))
        write_page(tmp_path / "index.html", root / "features/demo", tmp_path / "runs")
        page = (tmp_path / "index.html").read_text(encoding="utf-8")
        assert ("full was trained on audio features that were made otherwise than those in the" in page) == named


# ---------------------------------------------------------------------------------------------------- figures


def test_confusion_matrix_is_the_mean_over_seeds_by_hand(tmp_path):
    rows = make_utterances(dialogues={"train": 1, "validation": 1, "test": 3})
    here = rows.split == "test"  # dialogues of 1, 2 and 3 utterances
    rows.emotion[here] = [0, 0, 1, 1, 1, 2]
    one, two = rows.emotion.copy(), rows.emotion.copy()
    one[here], two[here] = [0, 1, 1, 1, 0, 2], [0, 0, 1, 1, 1, 0]
    run = read_run(write_run(tmp_path / "full", rows, {0: one, 1: two}))
    assert confusion(run).tolist() == [[1.5, 0.5, 0], [0.5, 2.5, 0], [0.5, 0, 0.5]]


def test_confusion_figure_shows_percent_of_the_true_class(ablation):
    view = next(view for view in confusion_figure(ablation, sample_of(ablation)).views if view.name == "majority")
    assert [series.y for series in view.panel.series] == [[100, 0, 0]] * 3
    assert view.panel.series[0].x[1] == "</script>joy"
    assert view.panel.x.names and view.panel.y.names  # else classes 3, 1, 2 are places on a scale


def test_curves_of_seeds_that_stopped_early_count_up_to_their_last_epoch(root, ablation):
    figures = curve_figures(root / "runs/demo", ablation, sample_of(ablation))
    assert [[view.name for view in figure.views] for figure in figures] == [["full"], ["full"]]
    series = {series.name: series for series in figures[0].views[0].panel.series}  # epoch / (10 + seed), 3 to 5 epochs
    expected = [np.mean([epoch / (10 + seed) for seed in range(3) if epoch <= 3 + seed]) for epoch in range(1, 6)]
    assert series["validation, mean"].y == pytest.approx(expected, abs=1e-6)
    assert series["chosen epoch"].x == [3, 4, 5]


def test_curves_of_a_refit_run_do_not_claim_to_be_what_is_scored(root):
    ablation = collect(root / "runs/demo")
    ablation.reference.card["selection"] = "refit"
    for figure in curve_figures(root / "runs/demo", ablation, sample_of(ablation)):
        assert "circles); what is scored was trained anew" in figure.views[0].caption


def test_damaged_history_is_refused_by_name(root, ablation, tmp_path):
    path = tmp_path / "full/train/seed-0/history.csv"
    path.parent.mkdir(parents=True)
    path.write_text("epoch,train_loss\n1,much\n")
    with pytest.raises(InputError, match=re.escape(str(path))):
        curve_figures(tmp_path, ablation, sample_of(ablation))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-47, 0, [-40, -30, -20, -10, 0]), (-0.4, 1.3, [0, 0.5, 1.0]), (-3, 3, [-2, 0, 2]), (0, 0, [0])],
)
def test_ticks_are_few_and_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_drawn_intervals_lie_on_one_scale_with_zero(tmp_path):
    rows = make_utterances(dialogues={"train": 1, "validation": 2, "test": 40})
    for name, right in {"full": 0.7, "no_crm": 0.66, "t": 0.05}.items():
        write_run(tmp_path / name, rows, {seed: guess(rows, right, seed) for seed in range(3)})
    ablation = collect(tmp_path)
    drawn = drawn_intervals(ablation, 5)
    made = {row.name: row.comparison.differences["weighted_f1"] for row in ablation.rows[1:]}
    assert made["t"].mean < -LIMIT < made["no_crm"].mean
    near, far = drawn["rows"]["no_crm"], drawn["rows"]["t"]
    high = min(LIMIT, max(0, *(interval.high for each in made.values() for interval in (each.dialogues, each.seeds))))
    per_px = (high + LIMIT) / (WIDTH - 2 * EDGE)
    assert near["mean"] - drawn["zero"] == pytest.approx(made["no_crm"].mean / per_px, abs=0.2)
    assert near["dialogues"][1] - drawn["zero"] == pytest.approx(made["no_crm"].dialogues.high / per_px, abs=0.2)
    assert far["mean"] is None and "left" in far["beyond"] and far["dialogues"][0] == EDGE


def test_a_single_run_draws_no_intervals(root, tmp_path):
    write_run(tmp_path / "full", ROWS, {0: ROWS.emotion.clip(0)})
    assert drawn_intervals(collect(tmp_path), 5) is None


# ---------------------------------------------------------------------------------------------------- dialogues


def test_browser_holds_every_utterance_of_the_split_unlabelled_ones_too(ablation, corpus):
    found = browser(ablation, corpus)
    here = np.flatnonzero(ROWS.split == "test")
    assert found["utterances"]["id"] == ROWS.utterance_id[here].tolist()
    assert found["utterances"]["text"] == ROWS.text[here].tolist()
    assert found["utterances"]["actual"] == ROWS.emotion[here].tolist() and -1 in found["utterances"]["actual"]
    absent = [[0], [1], [2]]
    for modality, each in zip(corpus.modalities, absent, strict=True):
        row = here[~corpus.modalities[modality].present[here]][0]
        assert set(each) <= set(found["utterances"]["absent"][list(here).index(row)])


def test_browser_says_means_over_seeds_in_percent(ablation, corpus):
    runs = {run["name"]: run for run in browser(ablation, corpus)["runs"]}
    saved = read_run(ablation.reference.folder)
    full, count = runs["full"], len(saved.utterance_id_T)
    assert full["probability"][:3] == np.rint(100 * saved.probability_STC[:, 0].mean(axis=0)).astype(int).tolist()
    assert full["by_seed"][count] == saved.predicted_ST[1, 0]
    assert full["contribution"][:3] == np.rint(100 * saved.contribution_STM[:, 0].mean(axis=0)).astype(int).tolist()
    assert runs["t"]["contribution"][:2] == [100, 100]
    assert runs["majority"]["contribution"] is None and set(runs["majority"]["chosen"]) == {0}


def test_browser_shows_shifts_with_the_emotion_before(ablation, corpus):
    utterances = browser(ablation, corpus)["utterances"]
    shifts = [row for row, kind in enumerate(utterances["shift"]) if kind == SHIFT]
    assert shifts
    for row in shifts:
        earlier = [
            utterances["actual"][other]
            for other in range(row)
            if utterances["dialogue"][other] == utterances["dialogue"][row]
            and utterances["speaker"][other] == utterances["speaker"][row]
            and utterances["actual"][other] >= 0
        ]
        assert utterances["before"][row] == earlier[-1] != utterances["actual"][row]


# ---------------------------------------------------------------------------------------------------- analyses


def test_analyses_become_figures(root):
    figures = {figure.key: figure for figure in analysis_figures(make_analyses(root))}
    assert {"contributions", "by-length", "by-position", "by-shift", "calibration"} <= set(figures)
    assert [view.name for view in figures["calibration"].views] == ["full", "t", "majority"]
    accuracy, weighted = figures["subsets"].views[0].panel.series
    assert (accuracy.x, accuracy.y, accuracy.x_spread) == ([0.5], ["text + audio"], [0.1])
    assert weighted.x == [None]
    assert figures["random"].views[0].panel.series[0].x == [0, 0.1]
    by_modality, by_emotion = figures["tsne"].views
    assert [series.x for series in by_modality.panel.series] == [[0.0, 2.0], [1.0], []]
    assert [series.x for series in by_emotion.panel.series] == [[1.0], [0.0], []]
    assert by_modality.panel.series[0].notes[0].startswith("u<1>, text")


def test_analyses_that_were_not_made_are_a_sentence_with_the_command(root, tmp_path):
    write_page(tmp_path / "index.html", root / "features/demo", root / "runs/demo", split="validation")
    assert "<code>dferc analyse --corpus demo --split validation</code>" in (tmp_path / "index.html").read_text()


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.pop("geometry"),
        lambda found: found.pop("digest"),
        lambda found: found["contributions"].update(statements=7),
        lambda found: found["support"].update(dict.fromkeys(found["support"], 1)),
    ],
)
def test_analyses_that_were_changed_are_refused(root, tmp_path, change):
    path = write_analyses(tmp_path, make_analyses(root))
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    with pytest.raises(InputError, match="Make it again: `dferc analyse") as caught:
        read_analyses(path, "test", found["card"])
    assert str(path) in str(caught.value) and "digest" in str(caught.value)


def test_analyses_of_another_protocol_version_or_split_are_not_shown(root, tmp_path):
    found = make_analyses(root)
    path = write_analyses(tmp_path, found)
    assert read_analyses(path, "validation", found["card"]) is None
    assert read_analyses(tmp_path / "no.json", "test", found["card"]) is None
    with pytest.raises(InputError, match="protocol card"):
        read_analyses(path, "test", "0123")
    write_analyses(tmp_path, found | {"schema": 99})
    with pytest.raises(InputError, match="schema is 99; it should be"):
        read_analyses(path, "test", found["card"])
    path.write_text("{")
    with pytest.raises(InputError, match="no readable JSON"):
        read_analyses(path, "test", found["card"])


def test_analyses_of_other_predictions_than_the_runs_have_now_are_refused(tmp_path):
    write_inputs(tmp_path)
    write_report(tmp_path)
    write_run(tmp_path / "runs/demo/t", ROWS, {seed: guess(ROWS, 0.2, seed).clip(0) for seed in range(3)})
    with pytest.raises(
        InputError, match=r"other predictions of t than .* Make it again: `dferc analyse --corpus demo`"
    ):
        write_page(tmp_path / "reports/demo/index.html", tmp_path / "features/demo", tmp_path / "runs/demo")


# ---------------------------------------------------------------------------------------------------- the file


def test_page_is_whole_and_loads_nothing(page):
    found = Elements(page)
    loading = {"src", "srcset", "data", "poster", "action", "background"}
    assert not [each for each in found.elements if loading & set(each[1])]
    assert not {tag for tag, _ in found.elements} & {"iframe", "object", "embed", "img", "base"}
    links = [attributes["href"] for _, attributes in found.elements if "href" in attributes]
    assert all(link.startswith("#") or link == "data:," for link in links)
    style = (Path(sys.modules["dferc.results.report.page"].PAGE) / "style.css").read_text()
    assert "url(" not in style and "@import" not in style
    policy = next(each["content"] for tag, each in found.elements if each.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_hostile_text_stays_text(page):
    found = Elements(page)
    data = json.loads(found.scripts["browser-data"])
    assert data["utterances"]["text"] == ROWS.text[ROWS.split == "test"].tolist()
    assert data["classes"] == list(CLASSES)
    assert not [attributes for _, attributes in found.elements if "onerror" in attributes]
    carried = "".join(text for name, text in found.scripts.items() if str(name).endswith("-data"))
    assert "<" not in carried and "\u2028" not in carried
    assert HOSTILE[0] not in page and "<i>Bøb" not in page


def test_a_run_that_is_left_out_is_said_beside_the_table(root, tmp_path):
    write_run(tmp_path / "runs/full", ROWS, {0: ROWS.emotion.clip(0)})
    write_run(tmp_path / "runs/t", ROWS, {0: ROWS.emotion.clip(0)})
    (tmp_path / "runs/no_crm").mkdir()
    write_page(tmp_path / "index.html", root / "features/demo", tmp_path / "runs")
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    mind = page[page.index('<ul class="mind">') :].split("</ul>")[0]
    assert "no_crm is left out" in mind and "t is compared with full on one seed only" in mind


def test_page_is_the_same_for_the_same_runs(root, page, tmp_path):
    write_analyses(tmp_path, make_analyses(root))
    write_page(tmp_path / "index.html", root / "features/demo", root / "runs/demo")
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page


def test_report_command_says_where_and_how_large(root, tmp_path):
    arguments = ["--features", str(root / "features"), "--runs", str(root / "runs"), "--out", str(tmp_path)]
    result = CliRunner().invoke(main, ["report", "--corpus", "demo", *arguments], catch_exceptions=False)
    assert result.exit_code == 0 and "index.html, 4.9 MB" in result.stderr
    assert (tmp_path / "demo/index.html").stat().st_size < 6e6


@pytest.mark.parametrize("library", ["jinja2", "plotly"])
def test_report_command_names_the_extra_that_is_not_installed(library, monkeypatch):
    for name in ("dferc.results.report.page", "dferc.results.page"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for name in [name for name in sys.modules if name.split(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    result = CliRunner().invoke(main, ["report", "--corpus", "demo"])
    assert result.exit_code == 1
    assert library in result.stderr and "pip install '.[report]'" in result.stderr
