"""DVC's second half, over features that are there: a variant or a seed more, failures, trials and their scores."""

import csv
import io
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers.common import write_features_folder
from tests.helpers.projects import copy_project, dvc, edit, ran

pytestmark = pytest.mark.slow

SECOND_HALF = ("train", "evaluate", "baselines", "table")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The stages from `train` on, with two variants and one seed, reproduced once."""
    folder = copy_project(tmp_path_factory.mktemp("ablation"))
    write_features_folder(folder / "features/demo")
    edit(folder / "dvc.yaml", keep_second_half)
    edit(folder / "params.yaml", shrink)
    assert {name.split("@")[0] for name in ran(dvc(folder, "repro"))} == set(SECOND_HALF)
    return folder


def keep_second_half(document) -> None:
    for name in [name for name in document["stages"] if name not in SECOND_HALF]:
        del document["stages"][name]
    document["stages"]["baselines"]["matrix"]["name"] = ["majority", "bc_lstm"]


def shrink(params) -> None:
    params["ablate"].update(variants=["full", "t"], seeds=[0])
    params["demo"]["train"].update(hidden=8, align=8, epochs=2)


def states(project: Path) -> dict[Path, int]:
    """When each run's state was last written."""
    return {path: path.stat().st_mtime_ns for path in (project / ".scratch/train").glob("*/state.pt")}


def rows_of_table(project: Path) -> list[str]:
    with open(project / "reports/demo/ablation.csv", newline="", encoding="utf-8") as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_table_and_baselines_are_stages_and_nothing_is_stale_after_them(project):
    assert ran(dvc(project, "repro")) == []
    assert {"full", "t", "majority", "bc_lstm"} <= set(rows_of_table(project))
    shown = dvc(project, "metrics", "show")
    assert "runs/demo/t/metrics.json" in shown and "runs/demo/bc_lstm/metrics.json" in shown


def test_a_variant_more_runs_only_that_and_the_table(project):
    before = states(project)
    edit(project / "params.yaml", lambda params: params["ablate"].update(variants=["full", "t", "no_crm"]))
    assert ran(dvc(project, "repro")) == ["train@demo-no_crm", "evaluate@demo-no_crm", "table@demo"]
    after = states(project)
    assert len(after) == len(before) + 1 and before.items() <= after.items()
    assert "no_crm" in rows_of_table(project)


def test_a_seed_more_trains_only_that_seed(project):
    before = states(project)
    models = {path: path.read_bytes() for path in project.glob("runs/demo/*/train/seed-0/model.safetensors")}
    edit(project / "params.yaml", lambda params: params["ablate"].update(seeds=[0, 5]))
    ran_again = ran(dvc(project, "repro"))
    variants = [name.split("-")[1] for name in ran_again if name.startswith("train@")]
    after = states(project)
    assert len(after) == len(before) + len(variants) and before.items() <= after.items()
    assert variants and all(path.read_bytes() == bytes_of for path, bytes_of in models.items())
    edit(project / "params.yaml", lambda params: params["ablate"].update(seeds=[0]))
    assert ran(dvc(project, "repro")) == [] and states(project) == after


def test_trials_are_listed_with_their_settings_and_scores(project):
    git(project, "add", "-A", "--", "dvc.yaml", "dvc.lock", "params.yaml", "dferc", ".dvc", ".dvcignore")
    git(project, "commit", "-qm", "before the trial")
    dvc(project, "exp", "run", "-n", "narrow", "-S", "demo.train.hidden=4")
    rows = list(csv.DictReader(io.StringIO(dvc(project, "exp", "show", "--csv"))))
    (trial,) = [row for row in rows if row["Experiment"] == "narrow"]
    assert trial["demo.train.hidden"] == "4"
    found = {name: value for name, value in trial.items() if name.endswith("test.weighted_f1")}
    assert found and all(0 <= float(value) <= 1 for value in found.values() if value)


def git(project: Path, *arguments: str) -> None:
    """With an author, whoever runs the tests."""
    author = {f"GIT_{who}_{what}": f"test@{who}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["git", *arguments], cwd=project, env=os.environ | author, check=True)
