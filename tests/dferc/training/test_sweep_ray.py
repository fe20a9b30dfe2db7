"""Ablations on Ray on this machine (tests/dferc/engine/test_engine_ray.py has GPUs, losses and bad input)."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from dferc.cli.main import main
from tests.helpers.clusters import ray_here
from tests.helpers.common import REPOSITORY, write_features_folder


@pytest.fixture(scope="module", autouse=True)
def connected():
    """Start Ray with two CPUs, once for this module."""
    with ray_here(num_cpus=2):
        yield


def ablate(root: Path, name: str, *more: str) -> dict[str, bytes]:
    """Run an ablation; return the bytes of all files but settings.json, which names the revision of the code."""
    arguments = ["ablate", "--corpus=demo", f"--features={root / 'features'}", f"--out={root / name}", "--device=cpu"]
    arguments += [f"--scratch={root / name}-scratch", f"--params={REPOSITORY / 'params.yaml'}"]
    arguments += [f"--set=train.{setting}" for setting in ("hidden=8", "align=8", "epochs=2")]
    result = CliRunner().invoke(main, [*arguments, "--variant=full", "--variant=v", "--seed=0", "--seed=1", *more])
    assert result.exit_code == 0, result.output
    files = (path for path in (root / name).rglob("*") if path.is_file() and path.name != "settings.json")
    return {str(path.relative_to(root / name)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_runs_on_ray_have_the_bytes_of_runs_here(tmp_path):
    write_features_folder(tmp_path / "features/demo")
    on_ray = ablate(tmp_path, "ray", "--engine=ray")
    assert len([name for name in on_ray if name.endswith("model.safetensors")]) == 4
    assert on_ray == ablate(tmp_path, "here", "--workers=0")
