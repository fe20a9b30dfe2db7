"""The commands: output, exit statuses, and the message of every bad input."""

import dataclasses
import json
import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import h5py
import pytest
import torch
from click.testing import CliRunner, Result
from rich.console import Console
from safetensors.torch import load_file, save_file

import dferc.cli.main
import dferc.core.console
import dferc.training.display
from dferc.cli.main import main
from dferc.core.files import SECTIONS
from dferc.core.sources import imported_distributions
from dferc.core.tables import read_numbers
from dferc.settings.sections import DEFAULT_ABLATION, DEFAULTS, Ablate, Train, recorded_settings
from dferc.settings.yaml import read_yaml
from dferc.store.card import card_hash
from dferc.store.hdf5 import read_utterances, write_utterances
from dferc.store.rows import Note
from tests.helpers.common import REPOSITORY, WIDTHS, make_utterances, write_features_folder
from tests.helpers.finished_runs import write_run

SMALL = [f"--set=train.{setting}" for setting in ("hidden=8", "align=8", "epochs=2", "warmup_steps=2")]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Make a folder with features/demo and, trained on it, runs/demo/full (one seed)."""
    root = tmp_path_factory.mktemp("cli")
    write_features_folder(root / "features/demo")
    assert run_train(root, "--seed=0").exit_code == 0
    return root


def dferc_command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def paths(root: Path) -> list[str]:
    return [f"--features={root / 'features'}", f"--out={root / 'runs'}"]


def run_train(root: Path, *arguments: object) -> Result:
    common = [*paths(root), f"--scratch={root / 'scratch'}", f"--params={REPOSITORY / 'params.yaml'}", "--device=cpu"]
    return dferc_command("train", "--corpus=demo", *common, *SMALL, *arguments)


def run_evaluate(root: Path, *arguments: object) -> Result:
    return dferc_command("evaluate", "--corpus=demo", *paths(root), "--device=cpu", *arguments)


def flat(text: str) -> str:
    return " ".join(text.split())


def expect_error(result: Result, *parts: str) -> None:
    """Expect exit status 1, the message on stderr, no traceback, nothing on stdout."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("error:") and "Traceback" not in result.stderr
    for part in parts:
        assert part in flat(result.stderr)


@pytest.fixture
def copy(root, tmp_path) -> Path:
    """Copy the folder, to be damaged."""
    shutil.copytree(root, tmp_path / "copy")
    return tmp_path / "copy"


# ---------------------------------------------------------------------------------------------------- what works


@pytest.mark.parametrize("command", sorted(main.commands))
def test_help_keeps_its_tables_and_shows_no_markup(command):
    shown = CliRunner().invoke(main, [command, "--help"])
    assert shown.exit_code == 0 and shown.stdout.startswith(f"Usage: main {command}")
    assert "\\b" not in shown.stdout


def test_help_does_not_import_what_is_slow():
    slow = ("torch", "h5py", "sklearn", "pydantic")
    code = f"import sys, dferc.cli.main; print([name for name in {slow} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_scores_are_shown_without_pytorch():
    loaded = imported_distributions("dferc.evaluation.score_table", "dferc.results.runs", "dferc.store.card")
    assert "numpy" in loaded and "torch" not in loaded


def test_train_prints_its_task_and_scores_it(root, tmp_path):
    result = run_train(root, "--seed=3", "--seed=4", f"--out={tmp_path}")
    assert result.exit_code == 0 and result.stdout == ""
    shown = flat(result.stderr)
    for part in (
        "demo / full, seeds 3, 4",
        "hidden 8,",
        "device: cpu, float32: asked for",
        "parameters, modalities text, audio, visual",
        "train: 12 dialogues, 42 utterances, 42 labelled; present: text",
        "seed 4 epoch 2: loss",
        "mean of 2 seed(s)",
    ):
        assert part in shown
    made = {str(path.relative_to(tmp_path / "demo/full")) for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {
        *(f"train/seed-{s}/{name}" for s in (3, 4) for name in ("model.safetensors", "settings.json", "history.csv")),
        *("train/curves.csv", "metrics.json"),
        *(f"evaluate/{name}.csv" for name in ("per_seed", "confusion", "predictions")),
        "evaluate/protocol.json",
    }


def test_train_takes_the_seeds_of_the_params_file_and_leaves_scoring_to_evaluate(root, tmp_path):
    result = run_train(root, "--set=train.epochs=1", "--no-evaluate", "--variant=t", f"--out={tmp_path}")
    assert result.exit_code == 0
    assert "demo / t, seeds 0, 1, 2, 3, 4" in result.stderr
    assert not (tmp_path / "demo/t/metrics.json").exists()
    assert len(list((tmp_path / "demo/t/train").glob("seed-*"))) == 5


def test_evaluate_prints_json_for_programs_and_a_table_for_people(root):
    result = run_evaluate(root, "--json", "--seed=0")
    assert json.loads(result.stdout) == json.loads((root / "runs/demo/full/metrics.json").read_text())
    assert all(each in result.stderr for each in ("weighted F1", "UAR", "recall", "precision", "anger"))


def test_inspect_counts_what_is_in_the_folder(root):
    found = json.loads(dferc_command("inspect", root / "features/demo", "--json").stdout)
    assert found["splits"]["validation"] == {
        "dialogues": 5,
        "utterances": 15,  # 1 + 2 + 3 + 4 + 5
        "labelled": 15,
        "most_speakers": 2,
        "classes": found["splits"]["validation"]["classes"],
    }
    assert sum(found["splits"]["validation"]["classes"].values()) == 15
    assert {modality: about["width"] for modality, about in found["modalities"].items()} == WIDTHS
    assert all(0.5 < share <= 1 for about in found["modalities"].values() for share in about["present"].values())
    shown = dferc_command("inspect", root / "features/demo")
    assert "audio present (width 6)" in shown.stderr and "extractor: synthetic-0" in shown.stderr


def test_inspect_shows_the_protocol_card(root, tmp_path):
    note = Note(action="promoted", what="turns [xxx]", count=53, why="votes")
    rows = read_utterances(root / "features/demo/utterances.h5")
    rows = dataclasses.replace(rows, notes=(note,), speaker_independent=True)
    shutil.copytree(root / "features/demo", tmp_path / "demo")
    write_utterances(tmp_path / "demo/utterances.h5", rows)

    found = json.loads(dferc_command("inspect", tmp_path / "demo", "--json").stdout)
    assert found["card"] == card_hash(rows) and found["protocol"] == "synthetic"
    assert [check["verdict"] for check in found["checks"]] == ["none", "found", "found", "not checked"]

    shown = flat(dferc_command("inspect", tmp_path / "demo").stderr)
    for part in (
        f"protocol card {found['card']}: synthetic",
        "promoted 53 turns [xxx]: votes",
        "a dialogue in two splits: none (0 of 22 dialogues)",
        "a test speaker in another split: found (2 of 2 test speakers are in another split; the protocol claims there",
        "Ann (train, validation, test)",
        "the same media in two splits: not checked (the media were never compared)",
    ):
        assert part in shown, part


def test_inspect_names_a_modality_without_a_file(copy):
    (copy / "features/demo/audio.h5").unlink()
    assert json.loads(dferc_command("inspect", copy / "features/demo", "--json").stdout)["missing"] == ["audio"]
    assert "audio: there is no audio.h5" in dferc_command("inspect", copy / "features/demo").stderr


def test_inspect_shows_the_card_before_there_are_features(copy):
    for modality in WIDTHS:
        (copy / f"features/demo/{modality}.h5").unlink()
    result = dferc_command("inspect", copy / "features/demo")
    assert result.exit_code == 0 and "no features yet" in result.stderr
    assert f"protocol card {card_hash(read_utterances(copy / 'features/demo/utterances.h5'))}" in flat(result.stderr)


def test_params_option_asks_for_a_file():
    assert "--params FILE" in dferc_command("train", "--help").stdout


def test_train_shows_the_settings_in_lines_that_can_be_read(root, tmp_path):
    lines = run_train(root, "--set=train.epochs=1", "--seed=0", f"--out={tmp_path}").stderr.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("train settings that differ")]
    assert len(starts) == 1
    assert lines[starts[0] + 1] == "  hidden 8, align 8, learning_rate 0.001, warmup_steps 2, epochs 1"


def test_floor_of_chosen_sets_is_that_of_a_folder_with_no_others(root, tmp_path):
    folder = tmp_path / "features/demo"
    shutil.copytree(root / "features/demo", folder)
    (folder / "audio").mkdir()
    (folder / "audio.h5").rename(folder / "audio/other.h5")
    (folder / "visual.h5").rename(tmp_path / "visual.h5")
    features = f"--features={folder.parent}"
    expected = dferc_command("floor", "--corpus=demo", features, "--json").stdout
    shutil.copy(tmp_path / "visual.h5", folder)
    shutil.copy(tmp_path / "visual.h5", folder / "audio.h5")  # is not read
    assert (
        dferc_command("floor", "--corpus=demo", features, "--use=text", "--use=audio/other", "--json").stdout
        == expected
    )
    refused = dferc_command("floor", "--corpus=demo", features, "--use=audio/othr")
    assert refused.exit_code == 1 and "audio/other" in refused.stderr


def test_floor_and_check_answer(root):
    found = json.loads(dferc_command("floor", "--corpus=demo", paths(root)[0], "--json").stdout)
    assert found["test"] > 0.8
    assert found["card"] == card_hash(read_utterances(root / "features/demo/utterances.h5"))
    shown = dferc_command("floor", "--corpus=demo", paths(root)[0]).stderr
    assert "linear floor, weighted F1: validation" in shown and f"protocol card {found['card']}" in shown
    few = ", ".join(f"{split} {count}" for split, count in found["labelled"].items() if count < 30)
    assert few and f"hardly anything is labelled (utterances: {few})" in shown
    params = REPOSITORY / "params.yaml"
    assert "is sound" in dferc_command("check", f"--params={params}").stderr
    assert "demo" in json.loads(dferc_command("check", f"--params={params}", "--json").stdout)["blocks"]


def test_epoch_table_is_live_on_a_terminal(monkeypatch, tmp_path):
    with open(tmp_path / "screen", "w+", encoding="utf-8") as screen:
        monkeypatch.setattr(dferc.training.display, "console", Console(file=screen, force_terminal=True, width=150))
        with dferc.training.display.EpochTable() as table:
            for epoch in (1, 2):
                row = dict.fromkeys(dferc.training.display.COLUMNS, 0.25) | {"epoch": epoch}
                table.add(7, row, is_best=epoch == 1)
        screen.seek(0)
        shown = screen.read()
    assert "val. weighted F1" in shown and shown.count("best so far") > 1  # drawn again with the second epoch
    assert "0.2500" in shown


# ---------------------------------------------------------------------------------------------------- plug-ins


@pytest.fixture
def plugin(monkeypatch):
    """Return a function that installs a command of another package, given its `module:attribute`."""

    def install(value: str) -> None:
        plugins = EntryPoints([EntryPoint("greet", value, dferc.cli.main.PLUGINS)])
        monkeypatch.setattr(dferc.cli.main, "entry_points", plugins.select)

    return install


def test_command_of_another_package_runs_and_is_listed(plugin):
    plugin("dferc.cli.features:check")
    assert "greet See `dferc greet --help`." in flat(dferc_command("--help").stdout)
    assert "sound" in dferc_command("greet", f"--params={REPOSITORY / 'params.yaml'}").stderr


def test_command_of_another_package_is_imported_only_when_it_runs(plugin):
    plugin("no_such_package:command")
    assert dferc_command("--help").exit_code == 0
    result = dferc_command("greet")
    assert result.exit_code == 2
    assert "'greet' cannot be loaded from no_such_package: No module named 'no_such_package'" in flat(result.stderr)
    assert "pip install '.[pipeline]'" in flat(result.stderr)


def test_unknown_command_names_the_nearest_or_stage_1(monkeypatch):
    monkeypatch.setattr(dferc.cli.main, "entry_points", EntryPoints().select)
    assert "No such command 'trian'. Did you mean 'train'?" in dferc_command("trian").stderr
    result = dferc_command("verify", "features/demo")
    assert result.exit_code == 2
    assert "No such command 'verify'. Commands of stage 1, such as `verify`" in flat(result.stderr)


# ---------------------------------------------------------------------------------------------------- bad input


def test_unknown_variant_names_the_nearest(root):
    expect_error(run_train(root, "--variant=no_crn"), "There is no variant 'no_crn'. Did you mean 'no_crm'")
    expect_error(run_evaluate(root, "--variant=ful"), "There is no variant 'ful'. Did you mean 'full'")


def test_unknown_corpus_names_those_there_are():
    result = dferc_command("train", "--corpus=medl", f"--params={REPOSITORY / 'params.yaml'}")
    expect_error(
        result,
        "params.yaml has no block for the corpus 'medl'; it has demo, meld, iemocap, emorynlp, m3ed, mine.",
        "Did you mean 'meld'?",
        "Imported features train without one, but there is no features/medl/utterances.h5.",
    )


@pytest.mark.parametrize(
    "override, message",
    [
        ("train.epochs=many", "demo.train.epochs: got 'many' (str); input should be a valid integer"),
        ("train.dropout=1.5", "demo.train.dropout: got 1.5 (float)"),
        ("train.features={audoi: []}", "leaves out audoi, and "),
        ("train.learning_rat=1.0e-3", "demo.train.learning_rat: unknown key. Did you mean 'learning_rate'?"),
        ("trian.epochs=3", "demo has no section 'trian'. Did you mean 'train'?"),
        ("epochs", "expected section.key=value"),
        ("train.class_weights={bliss: 1.0}", "not a class: bliss; without a weight: neutral, joy, anger"),
    ],
)
def test_ill_typed_settings_are_refused_with_their_path(root, override, message):
    expect_error(run_train(root, f"--set={override}"), message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
def test_cuda_without_a_gpu_is_an_error(root):
    message = "--device cuda: this PyTorch"
    expect_error(run_train(root, "--device=cuda"), message, "sees no CUDA device")
    expect_error(run_evaluate(root, "--device=cuda"), message)


def test_usage_errors_exit_with_2(root):
    assert run_train(root, "--device=tpu").exit_code == 2
    assert run_train(root, "--seed=-1").exit_code == 2
    assert dferc_command("train").exit_code == 2


def every_reader(root: Path) -> list[Result]:
    """Run all commands that read features."""
    return [
        run_train(root, "--seed=9"),
        run_evaluate(root),
        dferc_command("inspect", root / "features/demo"),
        dferc_command("floor", "--corpus=demo", paths(root)[0]),
    ]


def test_missing_features_folder(tmp_path):
    for result in every_reader(tmp_path):
        expect_error(result, "features/demo/utterances.h5 is missing. Make it with `python -m pipeline.prepare`")


def test_truncated_features_file(copy):
    path = copy / "features/demo/audio.h5"
    path.write_bytes(path.read_bytes()[:3000])
    for result in every_reader(copy):
        expect_error(result, "audio.h5 is not a readable HDF5 file (truncated?)")


def test_features_with_nan(copy):
    with h5py.File(copy / "features/demo/text.h5", "r+") as file:
        row = int(file["present"][()].argmax())
        file["features"][row, 0] = float("nan")
        name = file["utterance_id"].asstr()[row]
    for result in every_reader(copy):
        expect_error(result, "text.h5: text: 1 present utterance(s) have values that are not finite", name)


def test_features_of_another_corpus(copy):
    shutil.copy(write_features_folder(copy / "other", corpus="other") / "visual.h5", copy / "features/demo")
    for result in every_reader(copy):
        expect_error(result, "visual.h5 is of the corpus 'other', its utterances.h5 of 'demo'")


def test_features_of_other_rows(copy):
    other = write_features_folder(copy / "other", dialogues={"train": 13, "validation": 5, "test": 4})
    shutil.copy(other / "visual.h5", copy / "features/demo")
    for result in every_reader(copy):
        expect_error(result, "visual.h5 has", "rows, its utterances.h5 72")


def test_features_of_another_width_than_the_model(copy):
    write_features_folder(copy / "features/demo", widths=WIDTHS | {"visual": 4})
    expect_error(run_evaluate(copy), "widths.visual: trained on 5, found 4", "Train again")


def test_evaluate_before_training(copy):
    expect_error(run_evaluate(copy, "--variant=ta"), "runs/demo/ta/train has no trained seed", "dferc train")
    expect_error(run_evaluate(copy, "--seed=8"), "seed-8/model.safetensors is missing")


def test_splits_without_labels(copy):
    write_features_folder(copy / "features/demo", unlabelled=("train",))
    expect_error(run_train(copy), "the train split has 42 utterance(s), none of them labelled: nothing to learn from")
    write_features_folder(copy / "features/demo", dialogues={"train": 12, "test": 3})
    expect_error(run_train(copy), "the validation split has 0 utterance(s)", "nothing to select on")


def test_params_file_missing_or_broken(tmp_path):
    for command in (["check"], ["train", "--corpus=demo"]):
        expect_error(dferc_command(*command, f"--params={tmp_path / 'none.yaml'}"), "no such params file")
    broken = tmp_path / "params.yaml"
    broken.write_text((REPOSITORY / "params.yaml").read_text().replace("epochs: 20", "epochs: -1\n  epohcs: 3", 1))
    expect_error(
        dferc_command("check", f"--params={broken}"), "fault(s)", "train.epochs: got -1", "epohcs: unknown key"
    )


def test_results_that_cannot_be_written(root, tmp_path):
    (tmp_path / "demo").write_text("a file where a folder should be")
    result = run_train(root, "--seed=0", f"--out={tmp_path}")
    expect_error(result, "demo/full/train cannot be a folder", f"{tmp_path / 'demo'} is a file")
    assert "epoch" not in result.stderr  # before the training, not after it


def test_debug_shows_the_traceback(root):
    result = run_train(root, "--variant=no_crn", "--debug")
    assert result.exit_code == 1 and "There is no variant" in str(result.exception)


def test_train_does_not_mix_a_trial_into_a_run(copy):
    expect_error(
        run_train(copy, "--seed=1", "--set=train.dropout=0.3"),
        "seed-0 was trained with other settings (dropout)",
        "--out runs/trial",
    )
    assert not (copy / "runs/demo/full/train/seed-1").exists()


def test_train_refuses_the_features_of_another_corpus(copy):
    shutil.move(copy / "features/demo", copy / "features/meld")
    refused = dferc_command("train", "--corpus=meld", *paths(copy), f"--params={REPOSITORY / 'params.yaml'}")
    expect_error(refused, "holds features of the corpus 'demo'; expected 'meld'", "--corpus demo")


# ------------------------------------------------------------------------------------------------ seeds, defaults


def metrics_of(root: Path) -> dict:
    return json.loads((root / "runs/demo/full/metrics.json").read_text())


@pytest.mark.parametrize("command", ["train", "ablate"])
def test_metrics_cover_all_trained_seeds_of_the_run(copy, command):
    """Seed 0 is there; seed 5 alone is trained now: the scores are those of both, as `dferc evaluate` gives them."""
    done = run_train(copy, "--seed=5") if command == "train" else run_ablate(copy, "--variant=full", "--seed=5")
    assert done.exit_code == 0, done.output
    assert "SYNTHETIC DATA" in done.stderr
    found = metrics_of(copy)
    assert found["seeds"] == 2
    assert {row["seeds"] for row in read_numbers(copy / "runs/demo/full/train/curves.csv")} == {2.0}
    assert run_evaluate(copy).exit_code == 0 and metrics_of(copy) == found


def test_seeds_of_other_features_and_interrupted_ones_are_left_out_and_named(copy):
    shutil.copytree(copy / "runs/demo/full/train/seed-0", copy / "runs/demo/full/train/seed-7")
    (copy / "runs/demo/full/train/seed-7/model.safetensors").write_bytes(b"cut off")
    write_features_folder(copy / "features/demo", seed=3)
    done = run_train(copy, "--seed=5")
    assert done.exit_code == 0, done.output
    shown = flat(done.stderr)
    assert "note: seed-0 is left out: it was trained with other" in shown and "dferc train --seed" in shown
    assert "note: seed-7 is left out:" in shown and "not a readable safetensors file" in shown
    assert metrics_of(copy)["seeds"] == 1


def run_ablate(root: Path, *arguments: object) -> Result:
    common = [*paths(root), f"--scratch={root / 'scratch'}", f"--params={REPOSITORY / 'params.yaml'}", "--device=cpu"]
    return dferc_command("ablate", "--corpus=demo", "--workers=0", *common, *SMALL, *arguments)


def test_checkpoint_from_before_a_setting_existed_loads_with_its_default(copy):
    """Whatever the setting, except the sizes; scored, predicted and trained beside as if nothing had happened."""
    folder = copy / "runs/demo/full/train/seed-0"
    assert run_evaluate(copy).exit_code == 0
    before, names = metrics_of(copy), sorted(set(Train.model_fields) - {"hidden", "align", "epochs", "warmup_steps"})
    settings = json.loads((folder / "settings.json").read_text())
    for name in names:
        if settings["settings"].get(name) == DEFAULTS.model_dump(mode="json")[name]:
            del settings["settings"][name]
    del settings["weights"]  # their hash, which such a version did not write
    (folder / "settings.json").write_text(json.dumps(settings))
    record = {key: value for key, value in settings.items() if key not in ("run", "versions")}
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {"dferc": json.dumps(record)})
    assert len(record["settings"]) < 8
    assert run_evaluate(copy).exit_code == 0 and metrics_of(copy) == before
    done = run_train(copy, "--seed=1")
    assert done.exit_code == 0, done.output
    assert metrics_of(copy)["seeds"] == 2


def test_defaults_are_the_paper_s_values_of_the_params_file():
    document = read_yaml((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    assert DEFAULTS == Train.model_validate(document["train"])
    assert DEFAULT_ABLATION == Ablate.model_validate(document["ablate"])


@pytest.mark.parametrize(
    "command",
    [
        ["train", "--seed=0"],
        ["ablate", "--variant=t", "--seed=0", "--workers=0"],
        ["baselines", "--name=majority", "--seed=0"],
    ],
)
@pytest.mark.parametrize("params", [True, False], ids=["no block", "no file"])
def test_a_corpus_without_a_block_trains_with_the_paper_s_values(tmp_path, monkeypatch, command, params):
    """Copy features/ anywhere and train: with a params file that does not know the corpus, and without any."""
    monkeypatch.chdir(tmp_path)
    write_features_folder(tmp_path / "features/podcast", corpus="podcast", classes=("calm", "glad"))
    if params:
        shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    done = dferc_command(*command, "--corpus=podcast", "--device=cpu", *SMALL)
    assert done.exit_code == 0, done.output
    shown = flat(done.stderr)
    whose = "the section `train` there" if params else "the paper's values"
    assert (
        f"podcast has no block in params.yaml: it trains with {whose}, with balanced class weights, since it" in shown
    )
    for path in tmp_path.glob("runs/podcast/*/train/seed-0/settings.json"):
        found = json.loads(path.read_text())["settings"]
        small = {"hidden": 8, "align": 8, "epochs": 2, "warmup_steps": 2, "class_weights": "balanced"}
        assert found == recorded_settings(DEFAULTS) | small
    if command[0] == "train":
        assert "class_weights balanced" in shown  # what differs from the defaults


def test_with_a_class_neutral_the_default_class_weights_are_the_paper_s(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_features_folder(tmp_path / "features/podcast", corpus="podcast")
    done = dferc_command("train", "--corpus=podcast", "--seed=0", *SMALL, "--device=cpu", "--no-evaluate")
    assert done.exit_code == 0 and "balanced" not in done.stderr


def test_without_features_a_corpus_without_a_block_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expect_error(dferc_command("train", "--corpus=podcast"), "params.yaml: no such params file")
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    expect_error(dferc_command("train", "--corpus=podcast"), "params.yaml has no block for the corpus 'podcast'")


def test_bar_shows_the_epoch_and_the_time_left(monkeypatch, tmp_path):
    """Two seeds of 4 epochs; after 1 of them in 10 s, 7 are left: 70 s at most."""
    now = iter([0.0, 10.0, 10.0])
    monkeypatch.setattr(dferc.training.display.time, "monotonic", lambda: next(now))
    with open(tmp_path / "screen", "w+", encoding="utf-8") as screen:
        console = Console(file=screen, force_terminal=True, width=80)
        monkeypatch.setattr(dferc.training.display, "console", console)
        monkeypatch.setattr(dferc.core.console, "console", console)
        table = dferc.training.display.EpochTable(epochs=4, seeds=2)
        finish = table.track(0, 1, 5)
        finish()
        row = dict.fromkeys(dferc.training.display.COLUMNS, 0.25) | {"epoch": 1}
        table._rows.append((0, row, True))
        table._trained[0] = 1
        table.track(0, 2, 5)()
        console.print(table._shown())
        screen.seek(0)
        shown = flat(screen.read())
    assert "seed 0, epoch 2/4, at most 0:01:10 left" in shown and "1/5" in shown
    assert "val. weighted F1" in shown and "0.2500" in shown and "ddm" not in shown  # fewer columns at 80


def test_missing_run_is_named_with_the_runs_beside_it(root, tmp_path):
    result = dferc_command(
        "predict",
        f"--run={root / 'runs/demo/ful'}",
        f"--features={root / 'features/demo'}",
        f"--out={tmp_path / 'p.csv'}",
    )
    expect_error(
        result, "runs/demo/ful is not there", "Expected the folder of a trained variant", "Did you mean", "demo/full"
    )
    expect_error(run_evaluate(root, "--variant=no_ddm"), "has no trained seed", "Trained there: full.", "dferc train")


def test_scores_end_with_the_report(root, tmp_path):
    assert run_evaluate(root).exit_code == 0
    common = ["scores", f"--params={REPOSITORY / 'params.yaml'}", f"--runs={root / 'runs'}", f"--reports={tmp_path}"]
    shown = dferc_command(*common)
    assert shown.exit_code == 0 and shown.stdout == ""
    assert "SYNTHETIC DATA" in shown.stderr and shown.stderr.rstrip().endswith("`dferc report --corpus demo`")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/index.html").write_text("")
    assert dferc_command(*common, "--corpus=demo").stderr.rstrip().endswith(f"report: {tmp_path / 'demo/index.html'}")
    assert "note: meld has no finished run in" in dferc_command(*common, "--corpus=meld").stderr
    (root / "runs/demo/half").mkdir()
    shown = dferc_command(*common)
    (root / "runs/demo/half").rmdir()
    assert shown.exit_code == 0 and "note: half is left out" in shown.stderr
    assert "protocols" not in shown.stderr
    of_run = root / "runs/demo/full/metrics.json"
    other = json.loads(of_run.read_text()) | {"card": "b" * 16, "protocol": "demo, 6 classes"}
    (root / "runs/demo/half").mkdir()
    (root / "runs/demo/half/metrics.json").write_text(json.dumps(other))
    shown = dferc_command(*common)
    shutil.rmtree(root / "runs/demo/half")
    said = " ".join(shown.stderr.split())
    assert "note: these runs follow 2 protocols, so their scores cannot be compared." in said
    assert f"half: demo, 6 classes ({'b' * 16})" in said


def test_scores_name_simulated_features_and_only_protocols_of_other_cards(tmp_path):
    rows = make_utterances()
    for name, protocol in {"full": "the film, published splits", "t": "published splits of the film"}.items():
        folder = write_run(tmp_path / "demo" / name, dataclasses.replace(rows, protocol=protocol), {0: rows.emotion})
    common = ["scores", "--corpus=demo", f"--runs={tmp_path}", f"--reports={tmp_path}"]
    shown = dferc_command(*common)
    assert shown.exit_code == 0 and "protocols" not in shown.stderr and "SYNTHETIC" not in shown.stderr
    (folder / "train/seed-0").mkdir(parents=True)
    features = {"audio": {"extractor": "made of labels (simulated)"}}
    (folder / "train/seed-0/settings.json").write_text(json.dumps({"features": features}))
    metrics = json.loads((folder / "metrics.json").read_text()) | {"temperatures": {"0": 1.0}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    assert "SYNTHETIC DATA audio features are simulated: made of labels" in flat(dferc_command(*common).stderr)


def test_scores_are_shown_though_the_record_of_a_seed_is_damaged(tmp_path):
    rows = make_utterances()
    for name in ("full", "t"):
        folder = write_run(tmp_path / "demo" / name, rows, {0: rows.emotion})
    (folder / "train/seed-0").mkdir(parents=True)
    (folder / "train/seed-0/settings.json").write_text('{"features": {"aud')
    metrics = json.loads((folder / "metrics.json").read_text()) | {"temperatures": {"0": 1.0}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    shown = dferc_command("scores", "--corpus=demo", f"--runs={tmp_path}", f"--reports={tmp_path}")
    assert shown.exit_code == 0 and "no report yet" in shown.stderr
    assert "note: t was trained on features that are not known" in flat(shown.stderr)


def test_every_section_of_the_params_file_is_known_as_none_of_a_corpus():
    document = read_yaml((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    blocks = {name for name, block in document.items() if isinstance(block, dict) and "prepare" in block}
    assert document.keys() - blocks == SECTIONS


@pytest.mark.parametrize("name", ["video", "train", "sets", "extract_text"])
def test_a_section_of_the_params_file_is_no_corpus(tmp_path, monkeypatch, name):
    """It was imported, and then could not be trained: there is no file, said the message, that was there."""
    monkeypatch.chdir(tmp_path)
    write_features_folder(tmp_path / f"features/{name}", corpus=name)
    result = dferc_command("train", f"--corpus={name}")
    assert result.exit_code == 2 and f"{name!r} is a section of params.yaml" in flat(result.stderr)


def test_a_seed_of_an_interrupted_training_is_scored_on_request_alone(copy):
    """Tables and the report do not tell it from a finished one."""
    assert run_train(copy, "--seed=1").exit_code == 0
    folder = copy / "runs/demo/full/train/seed-1"
    record = json.loads((folder / "settings.json").read_text()) | {"finished": False}
    del record["weights"]
    (folder / "settings.json").write_text(json.dumps(record))
    record = {key: value for key, value in record.items() if key not in ("run", "versions", "calibration")}
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", {"dferc": json.dumps(record)})
    done = run_evaluate(copy)
    assert done.exit_code == 0 and metrics_of(copy)["seeds"] == 1
    assert "note: seed-1 is left out: its training was interrupted" in flat(done.stderr)
    assert run_evaluate(copy, "--seed=0", "--seed=1").exit_code == 0 and metrics_of(copy)["seeds"] == 2
    shutil.rmtree(copy / "runs/demo/full/train/seed-0")
    expect_error(run_evaluate(copy), "no seed whose training is finished", "--seed")
