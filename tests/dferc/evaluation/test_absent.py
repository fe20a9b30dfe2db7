"""A corpus without some modality: its variants are absent, and no later stage fails for what an earlier one knew."""

import csv
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.model.variants import VARIANTS
from dferc.results.compare import collect
from dferc.results.tables import main_table
from dferc.settings.sections import DEFAULT_ABLATION
from dferc.store.hdf5 import read_corpus, write_features
from dferc.training.task import usable_modalities, why_absent
from tests.helpers.common import REPOSITORY, WIDTHS, make_features, write_features_folder

SMALL = [f"--set=train.{setting}" for setting in ("hidden=8", "align=8", "epochs=1", "warmup_steps=2")]
WHY = "uses audio, and no training utterance of demo has such a signal"


def dferc(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ablate(root: Path, *arguments: object) -> Result:
    """Run `dferc ablate` as dvc.yaml does, with small settings."""
    places = [f"--features={root / 'features'}", f"--out={root / 'runs'}", f"--scratch={root / 'scratch'}"]
    params = f"--params={REPOSITORY / 'params.yaml'}"
    return dferc("ablate", "--corpus=demo", *places, params, *SMALL, "--workers=0", "--device=cpu", *arguments)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Text alone, the default variants and two seeds, stage by stage as `dvc repro` runs them."""
    root = tmp_path_factory.mktemp("text")
    folder = write_features_folder(root / "features/demo", widths={"text": 8}, absent=0)
    rows = read_corpus(folder).utterances
    write_features(
        folder / "audio.h5", make_features(rows, "audio", 6, absent=1.0)
    )  # as the extractor of sound leaves it
    for variant in DEFAULT_ABLATION.variants:
        trained = ablate(root, f"--variant={variant}", "--seed=0", "--seed=1", "--no-evaluate")
        assert trained.exit_code == 0, trained.output
        scored = dferc(
            "evaluate",
            "--corpus=demo",
            f"--variant={variant}",
            f"--features={root / 'features'}",
            f"--out={root / 'runs'}",
        )
        assert scored.exit_code == 0, scored.output
    return root


def test_every_variant_has_what_dvc_expects_of_its_stages(root):
    for variant in DEFAULT_ABLATION.variants:
        folder = root / "runs/demo" / variant
        assert (folder / "train").is_dir() and any((folder / "evaluate").iterdir())
        metrics = json.loads((folder / "metrics.json").read_text())
        if variant in ("a", "v"):
            assert (
                metrics["seeds"] == 0
                and "test" not in metrics
                and metrics["absent"].startswith(f"the variant '{variant}'")
            )
            assert json.loads((folder / "train/absent.json").read_text()) == {"absent": metrics["absent"]}
        else:
            assert metrics["seeds"] == 2 and "absent" not in metrics


def test_tables_show_the_absent_and_why(root, tmp_path):
    shown = dferc("table", "--corpus=demo", f"--runs={root / 'runs'}", f"--out={tmp_path}")
    assert shown.exit_code == 0, shown.output
    assert f"a is absent: the variant 'a' {WHY}" in " ".join(shown.stderr.split())
    for kind in ("md", "tex"):
        text = (tmp_path / f"demo/ablation.{kind}").read_text()
        assert re.search(r"^\W*a\W+absent", text, re.MULTILINE) and "absent" in text.split("Note: v is", 1)[1]
    with open(tmp_path / "demo/ablation.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert WHY in rows["a"]["absent"] and rows["a"]["weighted_f1"] == "" and rows["a"]["seeds"] == "0"
    assert rows["full"]["absent"] == "" and rows["full"]["seeds"] == "2"
    assert [row[:3] for row in main_table(collect(root / "runs/demo")).rows][-2:] == [
        ["a", "absent", "–"],
        ["v", "absent", "–"],
    ]


def test_analyses_report_and_scores_do_not_fail(root, tmp_path):
    places = [f"--features={root / 'features'}", f"--runs={root / 'runs'}", f"--out={tmp_path}"]
    for command in (["analyse", "--no-figures"], ["report"]):
        done = dferc(*command, "--corpus=demo", *places)
        assert done.exit_code == 0, done.output
    assert f"a is absent: the variant 'a' {WHY}" in " ".join(
        json.loads((tmp_path / "demo/analyses.json").read_text())["notes"]
    )
    page = (tmp_path / "demo/index.html").read_text()
    assert '<th scope="row">a</th>' in page and "<td>absent</td>" in page
    shown = dferc("scores", "--corpus=demo", f"--runs={root / 'runs'}", f"--reports={tmp_path}")
    assert re.search(r"^ a +absent +– +– +– *$", shown.stderr, re.MULTILINE)
    assert shown.stderr.rstrip().endswith(f"report: {tmp_path / 'demo/index.html'}")


def test_an_absent_reference_is_replaced_by_a_run_that_is_there(root, tmp_path):
    found = collect(root / "runs/demo", against="a")
    assert found.reference.folder.name == "full"
    assert "a is absent, so the others are compared with full" in found.notes
    places = [f"--features={root / 'features'}", f"--runs={root / 'runs'}", f"--out={tmp_path}"]
    assert dferc("analyse", "--no-figures", "--run=v", "--corpus=demo", *places).exit_code == 0
    assert dferc("report", "--against=v", "--corpus=demo", *places).exit_code == 0


def test_absent_alone_is_told_and_still_scored_as_absent(tmp_path):
    write_features_folder(tmp_path / "features/demo", widths={"text": 8})
    done = ablate(tmp_path, "--variant=a", "--variant=v")
    assert done.exit_code == 0 and f"note: the variant 'a' {WHY}: skipped" in " ".join(done.stderr.split())
    with pytest.raises(InputError, match="all runs are absent"):
        collect(tmp_path / "runs/demo", against="a")


def test_a_variant_is_trained_once_its_signal_is_there(tmp_path):
    folder = write_features_folder(tmp_path / "features/demo", widths={"text": 8})
    assert ablate(tmp_path, "--variant=a", "--seed=0").exit_code == 0
    write_features(folder / "audio.h5", make_features(read_corpus(folder).utterances, "audio", 6))
    assert ablate(tmp_path, "--variant=a", "--seed=0").exit_code == 0
    assert not (tmp_path / "runs/demo/a/train/absent.json").exists()
    assert "absent" not in json.loads((tmp_path / "runs/demo/a/metrics.json").read_text())


@pytest.mark.parametrize("there", [("text",), ("audio",), ("text", "visual"), ("audio", "visual"), tuple(WIDTHS)])
def test_a_variant_that_selects_modalities_needs_all_of_them(tmp_path, there):
    """Without pictures `tv` would be `t` under another name; `full` and its ablations use what is there."""
    corpus = read_corpus(write_features_folder(tmp_path / "demo", widths={name: WIDTHS[name] for name in there}))
    for name, variant in VARIANTS.items():
        selects = variant.modalities is not None
        if selects and not set(variant.modalities) <= set(there):
            missing = ", ".join(each for each in variant.modalities if each not in there)
            assert f"the variant '{name}' uses {missing}, and no training" in why_absent(corpus, name)
            with pytest.raises(InputError, match="has such a signal. The features folder has"):
                usable_modalities(corpus, name)
        else:
            assert why_absent(corpus, name) == ""
            assert usable_modalities(corpus, name) == (variant.modalities if selects else there)


def test_a_corpus_without_any_signal_in_training_is_an_error(tmp_path):
    write_features_folder(tmp_path / "features/demo", widths={"text": 8}, absent=1.0)
    done = ablate(tmp_path, "--variant=full", "--seed=0")
    assert done.exit_code == 1 and "nothing to learn from" in done.stderr and "Traceback" not in done.stderr


def test_ablate_names_the_modalities_that_no_model_uses(root):
    shown = " ".join(ablate(root, "--variant=full", "--seed=0", "--no-evaluate").stderr.split())
    assert "note: audio is in no training utterance: no model uses it" in shown


def test_refused_settings_leave_the_scores_of_a_variant_that_they_make_absent(tmp_path):
    write_features_folder(tmp_path / "features/demo")
    chosen = ("--variant=full", "--variant=v", "--seed=0")
    assert ablate(tmp_path, *chosen).exit_code == 0
    scored = (tmp_path / "runs/demo/v/metrics.json").read_bytes()
    for variants in (chosen, chosen[1:]):
        done = ablate(tmp_path, *variants, "--set=train.features={visual: []}")
        assert done.exit_code == 1 and "was trained with other settings (features)" in " ".join(done.stderr.split())
        assert (tmp_path / "runs/demo/v/metrics.json").read_bytes() == scored
    assert not (tmp_path / "runs/demo/v/train/absent.json").exists()
