"""The stages on Ray: the bytes that one process makes (several make the same: test_kill.py), whoever is first.

All share one Ray, which takes seconds to start. GPUs, losses and bad input: tests/dferc/engine/test_engine_ray.py.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dferc.cli.main import main
from dferc.store.hdf5 import read_features
from pipeline import extract_audio, extract_text, extract_visual, prepare
from pipeline.audio import functionals
from pipeline.faces import speaker_face
from pipeline.faces.densenet import FaceNet, save_face_net
from tests.helpers import late_audio, late_faces
from tests.helpers.clips import tone, write_clip
from tests.helpers.clusters import ray_here
from tests.helpers.common import REPOSITORY, left_to_long, write_features_folder
from tests.helpers.corpora import make_row, read_problems, run_stage, write_rows
from tests.helpers.drawn_faces import draw_scene
from tests.helpers.encoders import extract_settings, finetune_settings, small_encoder, talk, write_params
from tests.helpers.meld_files import write_csvs

pytestmark = pytest.mark.slow

RAY = {"engine": "ray"}
HERE = {"one process": {"workers": 0}}
RAY_TWO = {"ray, two": RAY}


@pytest.fixture(scope="module", autouse=True)
def connected():
    """Start Ray with two CPUs and a pretended GPU, once for this module."""
    with ray_here(num_cpus=2, num_gpus=1):
        yield


def same_bytes(command, folder, ways, **options):
    """Run a stage in each way, everything from the start; it must write the same files. Returns them."""
    made = {}
    for way, how in ways.items():
        places = {key: folder / f"{way}.{key}" for key in ("out", "problems", "scratch")}
        outcome = run_stage(command, folder, **how, **options, **places)
        assert outcome.exit_code == 0, (way, outcome.stderr)
        made[way] = (places["out"].read_bytes(), places["problems"].read_bytes())
    first, *others = made
    assert not [way for way in others if made[way] != made[first]]
    return made[first]


def test_audio_is_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(functionals, "AudioWorker", late_audio.LateAudioWorker)
    rows = [make_row(f"{n}.wav", f"{n}.wav", 0.3) for n in range(12)] + [make_row("gone.wav", "gone.wav", 0.3)]
    for number, row in enumerate(rows[:-1]):
        write_clip(tmp_path / row.media, sound=tone(0.3, hz=200 + 50 * number))
    write_rows(tmp_path, rows)
    _, problems = same_bytes(extract_audio.main, tmp_path, HERE | RAY_TWO)
    assert b"gone.wav" in problems


@left_to_long("test_engine_ray.py (what kills), test_video_command.py (how it is listed)")
def test_clip_that_kills_its_worker_is_listed_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(functionals, "AudioWorker", late_audio.DeadlyAudioWorker)
    rows = [make_row(name, name, 0.3) for name in ("0.wav", "crash.wav", "1.wav", "2.wav")]
    for number, row in enumerate(rows):
        write_clip(tmp_path / row.media, sound=tone(0.3, hz=200 + 50 * number))
    write_rows(tmp_path, rows)
    same_bytes(extract_audio.main, tmp_path, RAY_TWO)  # without Ray: test_engine.py, test_video_command.py
    died = "worker died: 3 times on this item (a crash in a library, or out of memory)"
    assert read_problems(tmp_path / "ray, two.problems") == [("crash.wav", "crash.wav", died, "audio not present")]
    assert read_features(tmp_path / "ray, two.out", "audio").present.tolist() == [True, False, True, True]


def test_visual_is_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(speaker_face, "FaceWorker", late_faces.LateFaceWorker)
    blank = np.full((120, 160), 90, np.uint8)
    rows = [make_row(f"{n}.mp4", f"{n}.mp4", 1.0) for n in range(10)]
    for number, row in enumerate(rows):
        scene = draw_scene(("joy", "anger", "fear")[number % 3])[0] if number % 4 else blank
        write_clip(tmp_path / row.media, pictures=[scene] * (5 + number))
    write_rows(tmp_path, rows)
    torch.manual_seed(0)
    net = FaceNet(image_size=16, mean=110.0, std=55.0)
    save_face_net(tmp_path / "model" / "face.safetensors", net, {})
    _, problems = same_bytes(extract_visual.main, tmp_path, HERE | RAY_TWO, face=tmp_path / "model", device="cpu")
    assert problems.count(b"no face") == 3


@left_to_long("test_visual_is_the_same_bytes, the other stage with a network")
def test_text_is_the_same_bytes(tmp_path):
    rows = [*talk(20), *talk(6, split="test"), make_row("silent", text="")]
    write_rows(tmp_path, rows)
    write_params(tmp_path / "params.yaml", finetune_settings(), extract_settings())
    small_encoder(rows).save(tmp_path / "model")
    options = {"params": tmp_path / "params.yaml", "encoder": tmp_path / "model", "device": "cpu", "batch-tokens": 128}
    _, problems = same_bytes(extract_text.main, tmp_path, {"one process": {}} | RAY_TWO, **options)
    assert b"silent" in problems


@left_to_long("test_audio_is_the_same_bytes")
def test_prepared_rows_are_the_same_bytes(tmp_path):
    raw, made = write_csvs(tmp_path / "raw"), {}
    for folder, length_s in (("train/dia0_utt0", 1.0), ("train/dia0_utt3", 1.5), ("dev/dia0_utt0", 0.05)):
        (raw / folder).parent.mkdir(exist_ok=True)
        write_clip(raw / f"{folder}.mp4", sound=tone(length_s))
    params = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    changed = params.replace("max_unreadable: 0.02", "max_unreadable: 1.0")
    (tmp_path / "params.yaml").write_text(changed, encoding="utf-8")
    names = {"utterances": "utterances.csv", "problems": "problems.csv", "features": "utterances.h5"}
    for way, more in {"here": ["--workers=0"], "ray": ["--engine=ray", "--workers=2"]}.items():
        places = [f"--{option}={tmp_path / way / name}" for option, name in names.items()]
        arguments = ["--corpus=meld", f"--params={tmp_path / 'params.yaml'}", f"--raw={raw}", *places, *more]
        outcome = CliRunner().invoke(prepare.main, arguments)
        assert outcome.exit_code == 0, outcome.output
        made[way] = [(tmp_path / way / name).read_bytes() for name in names.values()]
    assert made["ray"] == made["here"] and b"clip missing" in made["here"][1]


def ablate(root: Path, name: str, *more: str) -> dict[str, bytes]:
    """Run an ablation; return the bytes of all files but settings.json, which names the revision of the code."""
    arguments = ["ablate", "--corpus=demo", f"--features={root / 'features'}", f"--out={root / name}", "--device=cpu"]
    arguments += [f"--scratch={root / name}-scratch", f"--params={REPOSITORY / 'params.yaml'}"]
    arguments += [f"--set=train.{setting}" for setting in ("hidden=8", "align=8", "epochs=2")]
    result = CliRunner().invoke(main, [*arguments, "--variant=full", "--variant=v", "--seed=0", "--seed=1", *more])
    assert result.exit_code == 0, result.output
    files = (path for path in (root / name).rglob("*") if path.is_file() and path.name != "settings.json")
    return {str(path.relative_to(root / name)): path.read_bytes() for path in files}


def test_trained_runs_are_the_same_bytes(tmp_path):
    write_features_folder(tmp_path / "features/demo")
    on_ray = ablate(tmp_path, "ray", "--engine=ray")
    assert len([name for name in on_ray if name.endswith("model.safetensors")]) == 4
    assert on_ray == ablate(tmp_path, "here", "--workers=0")
