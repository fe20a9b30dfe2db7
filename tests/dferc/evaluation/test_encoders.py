"""`dferc encoders`: combinations of feature sets, each set alone and in addition, trained once and compared."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.evaluation.ablate import floor_of
from dferc.results.compare import compare
from dferc.results.encoders import FILE, read_encoders
from dferc.results.report.page import write_page
from dferc.results.runs import read_run
from dferc.settings.combinations import Combination, plan_runs, settings_of
from dferc.settings.sections import DEFAULTS
from dferc.settings.yaml import read_yaml
from dferc.store.hdf5 import read_corpus, read_features, write_features
from tests.helpers.common import REPOSITORY, make_features, write_features_folder

THERE = ("text", "audio", "audio/wavlm", "visual")
QUICK = ("hidden=4", "align=4", "epochs=2", "batch_dialogues=4", "warmup_steps=2")


def test_every_combination_of_one_set_a_modality():
    plan = plan_runs(THERE, (), (), 24)
    assert [str(each) for each in plan.combinations] == ["text + audio + visual", "text + audio/wavlm + visual"]
    assert list(plan.alone) == list(THERE)
    pairs = {name: tuple(map(str, pair)) for name, pair in plan.added.items()}
    assert pairs["audio/wavlm"] == ("text + audio/wavlm + visual", "text + visual")
    assert pairs["text"] == ("text + audio + visual", "audio + visual")
    assert len(plan.runs) == len(set(plan.runs)) == 2 + 4 + 3


def test_two_modalities_share_the_runs_alone_with_those_left_out():
    plan = plan_runs(("text", "audio", "audio/wavlm"), (), (), 24)
    assert [str(each) for each in plan.runs] == ["text + audio", "text + audio/wavlm", "text", "audio", "audio/wavlm"]


def test_one_modality_adds_to_nothing():
    plan = plan_runs(("text", "text/large"), (), (), 24)
    assert plan.added == {} and [str(each) for each in plan.runs] == ["text", "text/large"]


def test_chosen_sets_and_combinations():
    assert [str(each) for each in plan_runs(THERE, ("text", "visual"), (), 24).combinations] == ["text + visual"]
    plan = plan_runs(THERE, (), ("text+audio", "audio + audio/wavlm+text"), 24)
    assert [str(each) for each in plan.combinations] == ["text + audio", "text + audio + audio/wavlm"]
    joined = plan.combinations[1].features(THERE)
    assert joined == {"text": ["text"], "audio": ["audio", "audio/wavlm"], "visual": []}
    assert list(plan.alone) == ["text", "audio", "audio/wavlm"]


@pytest.mark.parametrize(
    ("use", "wanted", "most", "fact"),
    [
        ((), (), 1, "2 combinations (1 text x 2 audio x 1 visual)"),
        (("audio/wavml",), (), 24, "audio/wavlm"),
        ((), ("text+speech",), 24, "'speech'"),
        ((), ("text+",), 24, "''"),
        ((), ("text+audio", "audio+text"), 24, "text + audio is given twice"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_the_remedy(use, wanted, most, fact):
    with pytest.raises(InputError) as error:
        plan_runs(THERE, use, wanted, most)
    assert fact in str(error.value) and re.search("--use|There are text, audio|Give each once", str(error.value))


def test_labels_are_file_names_and_long_ones_stay_different():
    assert Combination(("text", "audio/wavlm")).label == "text--audio.wavlm"
    long = [Combination((f"text/{'x' * 60}", f"audio/{'y' * 50}{end}")) for end in "ab"]
    assert len({each.label for each in long}) == 2 and all(len(each.label) < 120 for each in long)


def run_encoders(root: Path, *more: str) -> Result:
    settings = [f"--set=train.{value}" for value in QUICK]
    places = [f"--features={root / 'features'}", f"--out={root / 'runs'}", f"--reports={root / 'reports'}"]
    places += [
        f"--report-runs={root / 'main'}",
        f"--params={REPOSITORY / 'params.yaml'}",
        f"--scratch={root / 'scratch'}",
        "--workers=0",
        "--device=cpu",
    ]
    return CliRunner().invoke(main, ["encoders", "--corpus=demo", "--seed=0", "--seed=1", *places, *settings, *more])


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Features of text and two audio sets, of which the second is noise, compared once; the output in `first`."""
    root = tmp_path_factory.mktemp("encoders")
    folder = write_features_folder(root / "features/demo", widths={"text": 8, "audio": 6}, absent=0.0)
    rows = read_corpus(folder).utterances
    noise = make_features(rows, "audio", 5, absent=0.0)
    values = np.random.default_rng(0).normal(size=(len(rows), 5)).astype(np.float32)
    write_features(folder / "audio/noise.h5", replace(noise, features=values))
    nowhere = replace(noise, features=np.zeros_like(values), present=np.zeros(len(rows), bool))
    write_features(folder / "audio/nowhere.h5", nowhere)
    result = run_encoders(root)
    assert result.exit_code == 0, result.output
    (root / "first").write_text(result.stderr, encoding="utf-8")
    return root


def test_tables_hold_what_the_runs_hold(root):
    with open(root / "reports/demo/encoders.csv", newline="", encoding="utf-8") as file:
        rows = {(row["part"], row["name"]): row for row in csv.DictReader(file)}
    combinations, sets = ("text + audio", "text + audio/noise"), ("text", "audio", "audio/noise")
    assert list(rows) == [*(("combination", name) for name in combinations), *(("set", name) for name in sets)]
    runs = {path.name.partition("@")[2]: read_run(path) for path in (root / "runs/demo").glob("full@*")}
    noise = rows["set", "audio/noise"]
    assert float(noise["weighted_f1"]) == pytest.approx(runs["audio.noise"].scores.weighted_f1.mean(), abs=1e-5)
    assert float(noise["width"]) == 5 and float(noise["present"]) == 1
    difference = compare(runs["text--audio.noise"], runs["text"]).differences["weighted_f1"]
    assert float(noise["difference"]) == pytest.approx(difference.mean, abs=1e-5)
    assert float(rows["set", "audio"]["floor"]) > float(noise["floor"])
    assert rows["combination", "text + audio"]["difference"] == ""
    text = (root / "first").read_text(encoding="utf-8")
    assert "audio/nowhere" in text and "no training utterance has it" in text
    markdown = (root / "reports/demo/encoders.md").read_text(encoding="utf-8")
    assert (
        "| text + audio/noise |" in markdown
        and "reads other feature sets" not in markdown
        and "highest weighted F1 on validation" in markdown
    )
    assert r"\toprule" in (root / "reports/demo/encoders.tex").read_text(encoding="utf-8")


def test_a_second_call_trains_nothing_and_a_new_set_only_its_runs(root):
    weights = {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("model.safetensors")}
    floors = {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("floor.json")}
    before = (root / "reports/demo/encoders.csv").read_bytes()
    again = run_encoders(root)
    assert again.exit_code == 0 and again.stderr.count("was finished") == 2 * 5
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert len(floors) == 3 and {path: path.stat().st_mtime_ns for path in floors} == floors
    assert (root / "reports/demo/encoders.csv").read_bytes() == before
    only = run_encoders(
        root,
        "--combination=text+audio+audio/noise",
        "--combination=text+audio",
        f"--reports={root / 'r'}",
        f"--report-runs={root / 'r'}",
    )
    assert only.exit_code == 0 and only.stderr.count("was finished") == 2 * 5 and "7 x 2 runs" in only.stderr


def test_a_floor_on_other_test_features_of_the_same_identity_is_made_again(tmp_path):
    folder, text = write_features_folder(tmp_path / "demo"), Combination(("text",))
    floor = dict(floor_of(tmp_path / "run", folder, text, ("text", "audio", "visual")))
    made, test_N = read_features(folder / "text.h5", "text"), read_corpus(folder).utterances.split == "test"
    made.features[test_N] = 0
    write_features(folder / "text.h5", replace(made, present=made.present & ~test_N))
    again = floor_of(tmp_path / "run", folder, text, ("text", "audio", "visual"))
    assert again["validation"] == floor["validation"] and again["test"] < floor["test"]


def test_report_shows_the_tables_and_refuses_those_of_other_rows(root, tmp_path):
    path = root / "main/demo" / FILE
    document = json.loads(path.read_text(encoding="utf-8"))
    assert read_encoders(path, document["card"])["tables"].keys() == document["tables"].keys()
    assert read_encoders(tmp_path / FILE, document["card"]) is None
    with pytest.raises(InputError, match="protocol card .* Make it again"):
        read_encoders(path, "0" * 16)
    document["tables"]["Feature sets one by one"]["rows"][0].pop()
    (tmp_path / FILE).write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(InputError, match="not as many cells"):
        read_encoders(tmp_path / FILE, document["card"])


def test_report_has_a_section_of_encoders_where_they_were_compared(root, tmp_path):
    page, runs = tmp_path / "index.html", tmp_path / "runs/demo"
    shutil.copytree(root / "runs/demo", runs)
    write_page(page, root / "features/demo", runs, against="full@text--audio")
    assert 'id="encoders"' not in page.read_text(encoding="utf-8")
    shutil.copy(root / "main/demo" / FILE, runs)
    write_page(page, root / "features/demo", runs, against="full@text--audio")
    text = page.read_text(encoding="utf-8")
    assert 'href="#encoders"' in text and "Feature sets one by one" in text
    assert '<th scope="row">text + audio/noise</th>' in text and "highest weighted F1 on validation" in text


def test_report_names_sets_that_were_made_anew_since_they_were_compared(root, tmp_path):
    page, runs, features = tmp_path / "index.html", tmp_path / "runs/demo", tmp_path / "features/demo"
    shutil.copytree(root / "runs/demo", runs)
    shutil.copytree(root / "features/demo", features)
    shutil.copy(root / "main/demo" / FILE, runs)
    write_page(page, features, runs, against="full@text--audio")
    assert "was compared before" not in page.read_text(encoding="utf-8")
    for name in ("audio", "audio/noise"):
        made = read_features(features / f"{name}.h5", "audio")
        write_features(features / f"{name}.h5", replace(made, identity={**made.identity, "extractor": "another"}))
        write_page(page, features, runs, against="full@text--audio")
        assert f"{name} was compared before its features were made anew" in page.read_text(encoding="utf-8")


def test_dvc_notices_a_new_comparison():
    """It is written into a folder on which the report depends."""
    defaults = {option.name: option.default for option in main.commands["encoders"].params}
    report = read_yaml((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["report"]
    assert f"{defaults['report_runs']}/${{item}}" in report["do"]["deps"]


@pytest.mark.parametrize(
    ("more", "facts"),
    [
        (("--variant=ta",), ("selects modalities", "--use")),
        (("--set=train.features={audio: audio/noise}",), ("chooses the sets itself", "--combination")),
        (("--use=audio/nowhere",), ("'audio/nowhere' with a present training row",)),
        (("--most=1",), ("2 combinations", "--most")),
    ],
)
def test_bad_requests_are_refused_before_any_training(root, more, facts):
    result = run_encoders(root, *more)
    assert result.exit_code == 1 and "Traceback" not in result.output
    assert all(fact in " ".join(result.stderr.split()) for fact in facts)


def test_what_is_set_on_the_command_line_stays_so_in_every_combination():
    given = settings_of(DEFAULTS.giving(["members"]), Combination(("text",)), ["text", "audio"])
    assert list(given.features["audio"]) == [] and given.given == {"members"}


@pytest.mark.parametrize("changed", ["selection=refit", "select_by=uar"])
def test_floors_that_learn_less_than_the_models_beside_them_are_told_so(tmp_path, changed):
    write_features_folder(tmp_path / "features/demo", widths={"text": 8, "audio": 6}, absent=0.0)
    result = run_encoders(tmp_path, f"--set=train.{changed}", "--seed=0")
    assert result.exit_code == 0, result.output
    (written,) = (tmp_path / "main").rglob(FILE)
    assert "floors: of the training split alone, selected by weighted F1" in written.read_text(encoding="utf-8")
