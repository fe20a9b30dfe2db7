"""The ablation table and the comparison of two runs, from finished runs with known predictions."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.core.files import digest
from dferc.core.metrics import SCORES
from dferc.evaluation.files import write_absence
from dferc.model.variants import get_variant
from dferc.results.compare import collect, compare
from dferc.results.published import published_scores
from dferc.results.runs import read_run
from dferc.results.statistics import holm, mcnemar
from dferc.results.tables import caption, main_table, notes, write_tables
from dferc.results.text_tables import TextTable, latex, markdown
from dferc.store.rows import CachedCorpus
from tests.helpers.common import make_utterances
from tests.helpers.finished_runs import guess, write_run

MELD = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
ROWS = make_utterances(dialogues={"train": 1, "validation": 3, "test": 60})


def write_variants(root: Path, rows=ROWS, seeds=range(5), **right: float) -> Path:
    """runs/demo with a run per variant, right with this chance; returns it."""
    for place, (name, chance) in enumerate(right.items()):
        write_run(root / "demo" / name, rows, {s: guess(rows, chance, 100 * place + s + 1) for s in seeds})
    return root / "demo"


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return write_variants(tmp_path_factory.mktemp("runs"), majority=0.1, full=0.7, t=0.4, no_ddm=0.7, trial=0.7)


# ---------------------------------------------------------------------------------------------------- comparisons


def test_comparison_is_of_the_paired_seeds_by_hand(runs):
    one, two = read_run(runs / "t"), read_run(runs / "full")
    found = compare(one, two)
    difference_S = one.scores.weighted_f1 - two.scores.weighted_f1
    weighted = found.differences["weighted_f1"]
    assert found.seeds == (0, 1, 2, 3, 4)
    assert found.mcnemar == mcnemar(one.labelled.actual_T, one.labelled.together, two.labelled.together)
    assert weighted.mean == pytest.approx(difference_S.mean())
    half = 2.776445 * difference_S.std(ddof=1) / np.sqrt(5)  # t(0.975; 4)
    assert (weighted.seeds.low, weighted.seeds.high) == pytest.approx((weighted.mean - half, weighted.mean + half))
    assert weighted.dialogues.low < weighted.mean < weighted.dialogues.high < 0
    assert list(found.differences) == [*SCORES, "f1_neutral", "f1_joy", "f1_anger"]


def test_comparison_turned_round_changes_sign_only(runs):
    one, two = read_run(runs / "t"), read_run(runs / "full")
    there, back = compare(one, two), compare(two, one)
    assert back.mcnemar == there.mcnemar
    for name, made in there.differences.items():
        other = back.differences[name]
        assert other.mean == pytest.approx(-made.mean)
        assert other.dialogues == pytest.approx((-made.dialogues.high, -made.dialogues.low, made.dialogues.p), abs=1e-6)
        assert other.seeds == pytest.approx((-made.seeds.high, -made.seeds.low, made.seeds.p))


def test_comparison_with_itself_is_nothing(runs):
    run = read_run(runs / "full")
    found = compare(run, run)
    assert found.mcnemar == 1
    assert {made[:2] for made in found.differences.values()} == {(0.0, (0.0, 0.0, 1.0))}
    assert {made.seeds for made in found.differences.values()} == {None}


# ---------------------------------------------------------------------------------------------------- the table


def test_table_has_the_papers_order_then_names_and_the_reference_is_compared_with_nothing(runs):
    found = collect(runs)
    assert [row.name for row in found.rows] == ["full", "no_ddm", "t", "majority", "trial"]
    assert [row.comparison is None for row in found.rows] == [True, False, False, False, False]
    assert found.notes == []


def test_table_finds_what_is_planted_and_nothing_else(runs):
    rows = {row.name: row for row in collect(runs).rows}
    for name in ("t", "majority"):
        assert max(rows[name].corrected) < 0.05
        assert rows[name].comparison.differences["weighted_f1"].mean < -0.1
    for name in ("no_ddm", "trial"):
        assert min(rows[name].corrected) > 0.05


def test_table_corrects_each_test_over_the_rows(runs):
    rows = [row for row in collect(runs).rows if row.comparison]
    weighted = [row.comparison.differences["weighted_f1"] for row in rows]
    assert [row.corrected.dialogues for row in rows] == holm([made.dialogues.p for made in weighted])
    assert [row.corrected.seeds for row in rows] == holm([made.seeds.p for made in weighted])
    assert [row.corrected.mcnemar for row in rows] == holm([row.comparison.mcnemar for row in rows])


def test_table_against_another_run_and_one_that_is_not_there(runs):
    assert collect(runs, against="t").reference.folder.name == "t"
    with pytest.raises(
        InputError, match=re.escape("has no run 'no_dm'. Did you mean 'no_ddm'? Choose one of: full, no_ddm")
    ):
        collect(runs, against="no_dm")
    with pytest.raises(InputError, match="has no run yet. `dferc ablate"):
        collect(runs / "nowhere")


def test_table_of_other_seeds_pairs_those_of_both_and_says_so(tmp_path):
    runs = write_variants(tmp_path, full=0.7)
    write_variants(tmp_path, seeds=(3, 4, 9), t=0.4)
    write_variants(tmp_path, seeds=(2,), a=0.4)
    write_variants(tmp_path, seeds=(7, 8), v=0.4)
    found = collect(runs)
    rows = {row.name: row.comparison for row in found.rows}
    full, t = read_run(runs / "full"), read_run(runs / "t")
    assert rows["t"].seeds == (3, 4)
    assert rows["t"].differences["weighted_f1"].mean == pytest.approx(
        t.scores.weighted_f1[:2].mean() - full.scores.weighted_f1[3:].mean()
    )
    for name in "av":
        assert rows[name].differences["weighted_f1"].seeds is None
        assert rows[name].differences["weighted_f1"].dialogues.p < 0.05
    assert found.notes == [
        "t has seeds 3, 4, 9, full 0, 1, 2, 3, 4: compared on 3, 4",
        "a has seeds 2, full 0, 1, 2, 3, 4: compared on 2",
        "a is compared with full on one seed only: the interval and test over seeds are withheld",
        "v has seeds 7, 8, full 0, 1, 2, 3, 4, none in common: all of each are compared, and the interval and test "
        "over seeds are withheld",
    ]


def test_table_of_single_seeds_has_no_spread(tmp_path):
    runs = write_variants(tmp_path, seeds=(0,), full=0.7, t=0.4)
    found = collect(runs)
    table = main_table(found)
    assert not any("±" in cell for row in table.rows for cell in row)
    assert found.notes == ["t is compared with full on one seed only: the interval and test over seeds are withheld"]
    write_tables(tmp_path, found)
    assert [row["weighted_f1_std"] for row in read_table(tmp_path / "ablation.csv")] == ["", ""]


def test_table_leaves_out_what_is_half_written_and_says_so(tmp_path):
    runs = write_variants(tmp_path, full=0.7, t=0.4)
    (runs / "t/metrics.json").unlink()
    found = collect(runs)
    assert [row.name for row in found.rows] == ["full"]
    assert found.notes == [
        f"t is left out: {runs}/t/metrics.json is missing: {runs}/t is no finished run. Score it again: "
        "`dferc evaluate` or `dferc baselines` for t. If its training was interrupted, the same command goes on."
    ]
    assert notes(found)[-1].startswith("Note: t is left out") and notes(found)[-1].endswith("goes on.")


def test_table_refuses_runs_of_another_protocol(tmp_path):
    runs = write_variants(tmp_path, full=0.7)
    write_variants(tmp_path, make_utterances(dialogues={"validation": 3, "test": 8}), t=0.4)
    with pytest.raises(InputError, match="follow different protocols"):
        collect(runs)


def test_table_without_a_class_in_test_says_so(tmp_path):
    classes = ("neutral", "joy", "anger", "fear")
    rows = make_utterances(dialogues={"validation": 3, "test": 20}, classes=classes)
    rows.emotion[rows.emotion == 3] = 1
    found = collect(write_variants(tmp_path, rows, full=0.7, t=0.4))
    assert found.notes == ["fear: no utterance in the test split, so no F1, and no part in macro F1"]
    assert "f1_fear" not in found.rows[1].comparison.differences
    write_tables(tmp_path, found)
    assert read_table(tmp_path / "ablation.csv")[0]["f1_fear"] == ""
    assert (
        "| full | " in (tmp_path / "ablation.md").read_text() and "fear (0)" in (tmp_path / "ablation.md").read_text()
    )


# ---------------------------------------------------------------------------------------------------- files


def test_csv_holds_every_score_and_test(runs, tmp_path):
    found = collect(runs)
    write_tables(tmp_path, found)
    for line, row in zip(read_table(tmp_path / "ablation.csv"), found.rows, strict=True):
        assert line["name"] == row.name and line["published"] == ""
        assert float(line["weighted_f1"]) == pytest.approx(row.run.scores.weighted_f1.mean(), rel=1e-5)
        assert float(line["f1_joy_std"]) == pytest.approx(row.run.scores.f1_C[:, 1].std(ddof=1), rel=1e-5)
        if row.comparison is None:
            assert {line[name] for name in ("difference", "dialogues_low", "seeds_p_holm", "mcnemar_p")} == {""}
            continue
        made = row.comparison.differences["weighted_f1"]
        numbers = {"difference": made.mean, "dialogues_low": made.dialogues.low, "seeds_high": made.seeds.high}
        numbers |= {"dialogues_p_holm": row.corrected.dialogues, "mcnemar_p": row.comparison.mcnemar}
        assert {name: float(line[name]) for name in numbers} == pytest.approx(numbers, rel=1e-5)


def test_documents_have_all_rows_and_repeat_byte_for_byte(runs, tmp_path):
    paths = write_tables(tmp_path, collect(runs))
    first = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_tables(tmp_path, collect(runs))] == first
    _, words, tex = (text.decode() for text in first)
    assert tex.count(r"\toprule") == tex.count(r"\bottomrule") == tex.count(r"\end{tabular}") == 4
    for name in ("full", "no_ddm", "t", "majority", "trial"):
        assert words.count(f"| {name} |") == tex.count(f"\n{name.replace('_', chr(92) + '_')} & ") == 4
    for text in (words, tex):
        assert "whole dialogues" in text and "Holm" in text and collect(runs).reference.card["card"] in text
    assert caption(collect(runs)).startswith("demo, test (210 utterances in 60 dialogues; protocol card ")


def test_classes_and_calibration_errors_are_columns(runs, tmp_path):
    found = collect(runs)
    write_tables(tmp_path, found)
    first, *_ = read_table(tmp_path / "ablation.csv")
    scores = read_run(runs / "full").scores
    for index, name in enumerate(("neutral", "joy", "anger")):
        for score in ("f1", "recall", "precision"):
            mean = getattr(scores, f"{score}_C")[:, index].mean()
            assert float(first[f"{score}_{name}"]) == pytest.approx(mean, rel=1e-5)
    assert float(first["uar"]) == pytest.approx(scores.uar.mean(), rel=1e-5)
    metrics = json.loads((runs / "full/metrics.json").read_text())["test"]
    assert float(first["ece"]) == pytest.approx(metrics["ece"]) and first["ece_calibrated"] == ""
    table = main_table(found)
    assert table.header[-1] == "ECE → calibrated" and table.rows[0][-1] == f"{metrics['ece']:.3f}"


def test_markdown_and_latex_keep_odd_names():
    table = TextTable(["a|b", "50 %"], [["x_1 & {y}\\", "−1 ± 2"], ["p < 0.05", "–"]], 1)
    assert "| a\\|b | 50 % |\n| --- | ---: |" in markdown("title", [table], [])
    found = latex("title", [table], ["~100 #1"])
    assert "x\\_1 \\& \\{y\\}\\textbackslash{} & $-$1 $\\pm$ 2 \\\\\n\\midrule\np $<$ 0.05 & -- \\\\" in found
    assert r"\caption{title. \textasciitilde{}100 \#1}" in found
    assert "\\begin{adjustbox}{max width=\\textwidth}\n\\begin{tabular}{lr}" in found


# ---------------------------------------------------------------------------------------------------- published


def card(classes, labelled):
    return {"classes": classes, "splits": {"test": {"labelled": labelled}}}


def test_published_rows_stand_only_beside_the_published_test_split():
    assert published_scores(card(MELD[::-1], 2610))[0][:2] == ("DF-ERC", 67.03)
    iemocap = ["happy", "sad", "neutral", "angry", "excited", "frustrated"]
    assert published_scores(card(iemocap, 1623))[0][:2] == ("DF-ERC", 71.75)
    assert published_scores(card(MELD, 2609)) == published_scores(card(MELD[:3], 2610)) == ()


def test_published_rows_are_marked_as_such(tmp_path):
    # 124 times dialogues of 1 to 6 utterances, and one each of 1, 2 and 3: 124 * 21 + 6 = 2610
    rows = make_utterances(corpus="meld", dialogues={"validation": 3, "test": 747}, classes=MELD)
    assert (rows.split == "test").sum() == 2610
    found = collect(write_variants(tmp_path, rows, seeds=(0, 1), full=0.6))
    table = main_table(found)
    assert table.published == 1 and len(table.rows) > 10
    assert all("(published" in row[0] for row in table.rows[1:])
    assert table.rows[1][:6] == ["DF-ERC (published, the paper)", "–", "–", "–", "67.03", "–"]
    assert any(note.startswith("Published rows are as printed elsewhere") for note in notes(found))
    write_tables(tmp_path, found)
    line = read_table(tmp_path / "ablation.csv")[1]
    assert (line["name"], float(line["weighted_f1"]), line["accuracy"]) == ("DF-ERC", 0.6703, "")
    assert line["published"] == "published, the paper"
    assert "DF-ERC" not in "".join(row[0] for row in main_table(collect(tmp_path / "demo", "validation")).rows)


def test_simulated_features_are_named_in_the_caption_and_stand_beside_no_published_score(tmp_path):
    rows = make_utterances(corpus="meld", dialogues={"validation": 3, "test": 747}, classes=MELD)
    folder = write_variants(tmp_path, rows, seeds=(0, 1), full=0.6)
    settings = folder / "full/train/seed-0/settings.json"
    settings.parent.mkdir(parents=True)
    features = {"text": {}, "audio": {"extractor": "made of labels (simulated)"}}
    record = {"variant": "full", "corpus": "meld", "settings": {}, "features": features}
    settings.write_text(json.dumps(record))

    found = collect(folder)
    assert caption(found).endswith("; audio features are simulated: made of labels (simulated)")
    assert [row[0] for row in main_table(found).rows] == ["full"]
    compared = CliRunner().invoke(main, ["compare", str(folder / "full"), str(folder / "full")], catch_exceptions=False)
    assert "audio features are simulated" in compared.stdout + compared.stderr


def test_simulated_features_are_named_beside_runs_on_others_of_the_modality(tmp_path):
    folder = write_variants(tmp_path, seeds=(0, 1), **{"full": 0.7, "full@real": 0.6})
    write_settings(folder, "full", identity="made of labels (simulated)")
    write_settings(folder, "full@real", identity="measured")
    assert caption(collect(folder)).endswith("; text features are simulated: made of labels (simulated)")


def test_runs_on_modalities_that_came_later_are_named(tmp_path):
    """`no_ddm` was trained when the features had pictures too; `t` selects its modality by its name."""
    folder = write_variants(tmp_path, seeds=(0, 1), full=0.7, no_ddm=0.6, t=0.6)
    for variant in ("full", "no_ddm", "t"):
        write_settings(folder, variant, variant)
    path = folder / "no_ddm/train/seed-0/settings.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"features": record["features"] | {"visual": {"extractor": "a"}}}))
    found = [note for note in collect(folder).notes if "trained on" in note]
    assert found == ["no_ddm was trained on text, visual, full on text: the features had other modalities then"]


def write_settings(folder: Path, name: str, variant: str = "full", identity: str = "a", **settings: object) -> None:
    path = folder / name / "train/seed-0/settings.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"variant": variant, "corpus": "demo", "settings": settings, "features": {"text": {"extractor": identity}}}
    path.write_text(json.dumps(record))


def test_runs_on_other_values_of_the_same_identity_are_named(tmp_path):
    folder = write_variants(tmp_path, seeds=(0, 1), full=0.7, no_crm=0.6, no_ddm=0.6, bc_lstm=0.5)
    for variant, values in {"full": "new", "no_crm": "old", "no_ddm": "new"}.items():
        write_settings(folder, variant, variant)
        path = folder / variant / "train/seed-0/settings.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"values": {"text": values}}))
    [note] = [note for note in collect(folder).notes if "made otherwise" in note]
    assert note.startswith("no_crm was trained on text features")


def test_rows_of_other_settings_are_named(tmp_path):
    folder = write_variants(tmp_path, seeds=(0, 1), full=0.7, no_crm=0.6, no_ddm=0.6, plus=0.6, majority=0.5)
    write_settings(folder, "full", hidden=16, epochs=3)
    write_settings(folder, "no_crm", "no_crm", hidden=64, epochs=3)
    write_settings(folder, "no_ddm", "no_ddm", hidden=16, epochs=3)
    write_settings(folder, "plus", "plus", **{"hidden": 16, "epochs": 3} | get_variant("plus").own_settings("demo"))
    found = [note for note in collect(folder).notes if "other settings" in note]
    assert found == ["no_crm was trained with other settings than full: hidden 64 (full: 16)"]
    shown = CliRunner().invoke(main, ["compare", str(folder / "no_crm"), str(folder / "full")]).stderr
    assert "other settings than full: hidden 64" in " ".join(shown.split())


@pytest.mark.parametrize(("key", "value"), [("variant", None), ("corpus", 7), ("settings", [1])])
def test_a_damaged_record_of_settings_is_refused_by_name(tmp_path, key, value):
    folder = write_variants(tmp_path, seeds=(0, 1), full=0.7, no_crm=0.6)
    for variant in ("full", "no_crm"):
        write_settings(folder, variant, variant)
    path = folder / "no_crm/train/seed-0/settings.json"
    record = json.loads(path.read_text()) | {key: value}
    path.write_text(json.dumps({name: kept for name, kept in record.items() if kept is not None}))
    with pytest.raises(InputError, match=re.escape(f"{path}: {key}") + r".*Train no_crm again\."):
        collect(folder)


def test_a_seed_that_is_left_out_of_the_scores_decides_no_note(tmp_path):
    folder = write_variants(tmp_path, seeds=(1, 2), full=0.7, no_crm=0.6)
    for name in ("full", "no_crm"):
        write_settings(folder, name, name, identity="new", hidden=16)
        (folder / name / "train/seed-0").rename(folder / name / "train/seed-1")
    write_settings(folder / "full/train/..", "", identity="old (simulated)", hidden=64)  # an older seed 0
    found = collect(folder)
    assert not [note for note in (*found.notes, *found.synthetic) if "trained" in note or "simulated" in note]
    (folder / "full/train/seed-0/settings.json").write_text("{")
    assert collect(folder).reference.seeds == (1, 2)


def test_simulated_features_are_named_where_the_checkpoint_of_the_first_seed_was_removed(tmp_path):
    folder = write_variants(tmp_path, seeds=(0, 1), full=0.7)
    write_settings(folder, "full", identity="made of labels (simulated)")
    (folder / "full/train/seed-0").rename(folder / "full/train/seed-1")
    assert caption(collect(folder)).endswith("; text features are simulated: made of labels (simulated)")


def test_a_baseline_on_older_features_is_named(tmp_path):
    folder = write_variants(tmp_path, seeds=(0, 1), full=0.7, bc_lstm=0.6, logistic=0.6)
    write_settings(folder, "full", identity="new")
    for name, identity in (("bc_lstm", "old"), ("logistic", "new")):
        card = folder / name / "evaluate/protocol.json"
        card.write_text(json.dumps(json.loads(card.read_text()) | {"features": {"text": {"extractor": identity}}}))
        metrics = folder / name / "metrics.json"
        files = {"files": digest(folder / name / "evaluate")}
        metrics.write_text(json.dumps(json.loads(metrics.read_text()) | files))
    [note] = [note for note in collect(folder).notes if "made otherwise" in note]
    assert note.startswith("bc_lstm was trained on text features")


# ---------------------------------------------------------------------------------------------------- commands


def test_table_command_writes_three_files(runs, tmp_path):
    result = CliRunner().invoke(
        main, ["table", "--corpus", "demo", "--runs", str(runs.parent), "--out", str(tmp_path)], catch_exceptions=False
    )
    assert result.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == [
        "ablation.csv",
        "ablation.md",
        "ablation.tex",
    ]


def test_compare_command_shows_and_prints_json(runs):
    arguments = ["compare", str(runs / "t"), str(runs / "full")]
    shown = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert shown.exit_code == 0 and "weighted F1 over dialogues < 0.001" in shown.stderr
    found = json.loads(CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False).stdout)
    expected = compare(read_run(runs / "t"), read_run(runs / "full"))
    assert found["scores"]["weighted_f1"]["difference"] == pytest.approx(expected.differences["weighted_f1"].mean)
    assert found["mcnemar_p"] == expected.mcnemar and found["seeds"] == [0, 1, 2, 3, 4]


def test_compare_command_gives_the_reason_of_an_absent_run(runs, tmp_path):
    write_absence(tmp_path / "v", CachedCorpus(utterances=ROWS, modalities={}), "no visual signal")
    result = CliRunner().invoke(main, ["compare", str(tmp_path / "v"), str(runs / "full")])
    assert result.exit_code == 1 and "is absent, so there is nothing to compare: no visual signal" in result.stderr


def test_compare_command_refuses_another_protocol(runs, tmp_path):
    other = write_variants(tmp_path, make_utterances(dialogues={"validation": 3, "test": 8}), t=0.4)
    result = CliRunner().invoke(main, ["compare", str(runs / "full"), str(other / "t")])
    assert result.exit_code == 1
    assert "follow different protocols" in result.stderr and result.stderr.count("card ") == 2


def test_changed_settings_of_a_variants_own_are_named_beside_the_variant(tmp_path):
    folder = write_variants(tmp_path, seeds=(0, 1), **{"plus": 0.7, "plus@single": 0.6})
    own = {"hidden": 16, "align": 8} | get_variant("plus").own_settings("demo")
    write_settings(folder, "plus", "plus", **own)
    write_settings(folder, "plus@single", "plus", **own | {"members": 3, "recurrent_members": 0})
    found = [note for note in collect(folder, against="plus").notes if "other settings" in note]
    different = "members 3 (plus: 1), recurrent_members 0 (plus: 2)"
    assert found == [f"plus@single was trained with other settings than plus: {different}"]
