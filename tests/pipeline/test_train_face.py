import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from dferc.core.errors import InputError
from dferc.core.files import file_hash
from pipeline.faces import training
from pipeline.faces.densenet import CLASSES, FaceNet, load_face_net
from pipeline.faces.ferplus import NO_MAJORITY, LabelledFaces, read_ferplus
from pipeline.faces.training import FaceScore, augment, score, train, train_net
from pipeline.settings import TrainFace, load_settings
from pipeline.train_face import copy_checkpoint, leave_untrained, main
from tests.helpers.common import REPOSITORY
from tests.helpers.drawn_faces import write_ferplus

CPU = torch.device("cpu")


def settings(**changes) -> TrainFace:
    small = {"image_size": 16, "epochs": 2, "batch_size": 8, "learning_rate": 0.03}
    return load_settings(REPOSITORY / "params.yaml").corpus("demo").train_face.model_copy(update=small | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Trained by the command itself on drawn bars, for four short epochs."""
    folder = tmp_path_factory.mktemp("face")
    write_ferplus(folder / "faces", {"Training": 72, "PublicTest": 12, "PrivateTest": 12})
    params = folder / "params.yaml"
    params.write_text(with_settings(source="ferplus", image_size=16, epochs=4, batch_size=8, learning_rate=0.03))
    run(params, folder / "faces", folder / "out")
    return folder


def with_settings(**changes) -> str:
    text = (REPOSITORY / "params.yaml").read_text()
    extra = "".join(f"\n    {name}: {value}" for name, value in changes.items())
    return re.sub(r"(\ndemo:.*?\n  train_face:\n    <<: \*train_face)(\n    [^\n]*)*", rf"\1{extra}", text, flags=re.S)


def run(params: Path, faces: Path, out: Path):
    arguments = ["--corpus", "demo", "--params", params, "--faces", faces, "--out", out, "--device", "cpu"]
    arguments += ["--scratch", out.with_name(f"{out.name}-scratch")]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result


def test_training_learns_the_bars_and_records_what_it_did(folder):
    """Three kinds of bars, easily distinguished: chance is a third."""
    metrics = json.loads((folder / "out/metrics.json").read_text())
    assert metrics["test"]["accuracy"] > 0.6
    assert metrics["train"] == {"faces": 72} and metrics["test"]["faces"] == 12
    described = json.loads((folder / "out/face.json").read_text())
    assert described["trained"] and described["epoch"] in (1, 2, 3, 4) and described["settings"]["image_size"] == 16


def test_training_keeps_the_epoch_it_scored(folder):
    net = load_face_net(folder / "out/face.safetensors")
    splits = read_ferplus(folder / "faces", 16)
    metrics = json.loads((folder / "out/metrics.json").read_text())
    for split in ("validation", "test"):
        found = score(net, splits[split])
        assert (found.accuracy, found.loss) == pytest.approx(
            (metrics[split]["accuracy"], metrics[split]["loss"]), rel=1e-5
        )
    images = splits["train"].images
    assert (net.mean.item(), net.std.item()) == pytest.approx((images.mean(), images.std()))


def test_fit_keeps_the_best_epoch_and_of_equals_the_lower_loss(tmp_path, monkeypatch):
    write_ferplus(tmp_path, {"Training": 6, "PublicTest": 3, "PrivateTest": 3})
    splits = read_ferplus(tmp_path, 16)
    scores = iter([FaceScore(accuracy=a, loss=loss) for a, loss in ((0.5, 1.0), (0.5, 0.9), (0.4, 0.1))])
    stems = []

    def scripted(net, faces):
        stems.append(net.body.conv0.weight.detach().clone())
        return next(scores)

    monkeypatch.setattr(training, "score", scripted)
    net = FaceNet(image_size=16, mean=128.0, std=50.0)
    epoch, found = train_net(net, splits["train"], splits["validation"], settings(epochs=3))
    assert epoch == 2 and found.loss == 0.9
    assert torch.equal(net.body.conv0.weight, stems[1]) and not torch.equal(stems[1], stems[2])


def test_training_repeats_itself_bit_by_bit_and_differs_by_seed(tmp_path):
    write_ferplus(tmp_path, {"Training": 16, "PublicTest": 3, "PrivateTest": 3})
    splits = read_ferplus(tmp_path, 16)
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        train(splits, settings(seed=seed, epochs=1), tmp_path / name, CPU)
    one, again, other = (load_file(tmp_path / name / "face.safetensors") for name in ("one", "again", "other"))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["body.conv0.weight"], other["body.conv0.weight"])


def test_training_leaves_the_global_random_state_alone(tmp_path):
    write_ferplus(tmp_path, {"Training": 6, "PublicTest": 3, "PrivateTest": 3})
    before = torch.get_rng_state()
    train(read_ferplus(tmp_path, 16), settings(epochs=1), tmp_path / "out", CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_stops_where_the_loss_is_no_number(tmp_path):
    write_ferplus(tmp_path, {"Training": 32, "PublicTest": 3, "PrivateTest": 3})
    with pytest.raises(InputError, match="no longer a number in epoch 1. Lower train_face.learning_rate"):
        train(read_ferplus(tmp_path, 16), settings(learning_rate=1e30), tmp_path / "out", CPU)
    assert not (tmp_path / "out").exists()


def test_score_counts_majority_faces_only():
    """A network of zeros says `neutral` everywhere, with a loss of ln 8: 2 of the 3 that count are right."""
    net = FaceNet(image_size=16)
    torch.nn.init.zeros_(net.classifier.weight)
    net.classifier.bias.data = torch.zeros(8)
    targets = np.full((4, 8), 1 / 8, np.float32)
    images, majority = np.zeros((4, 16, 16), np.uint8), np.array([0, 1, 0, NO_MAJORITY])
    faces = LabelledFaces(images=images, targets=targets, majority=majority)
    found = score(net, faces)
    assert found.accuracy == pytest.approx(2 / 3) and found.loss == pytest.approx(np.log(8))
    undecided = LabelledFaces(images=images, targets=targets, majority=np.full(4, NO_MAJORITY))
    assert score(net, undecided).accuracy == 0


def test_augment_gives_shifted_and_mirrored_faces_only():
    """Of 25-pixel faces a shift is at most 2; the edge is repeated where it shows."""
    faces = torch.arange(25 * 25).reshape(1, 25, 25).expand(64, -1, -1)
    index = torch.arange(25)
    possible = {
        tuple(faces[0][(index + dy).clamp(0, 24)][:, columns].flatten().tolist()): (dy, dx, mirrored)
        for dy in range(-2, 3)
        for dx in range(-2, 3)
        for mirrored, columns in enumerate(((index + dx).clamp(0, 24), (index + dx).clamp(0, 24).flip(0)))
    }
    seen = {possible[tuple(face.flatten().tolist())] for face in augment(faces, torch.Generator().manual_seed(0))}
    assert {dy for dy, _, _ in seen} == {dx for _, dx, _ in seen} == {-2, -1, 0, 1, 2}
    assert {mirrored for _, _, mirrored in seen} == {0, 1}


def test_source_none_leaves_a_note_instead_of_a_model(folder, tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(with_settings(source="none"))
    shutil.copytree(folder / "out", tmp_path / "out")  # an older model must not stay
    run(params, tmp_path, tmp_path / "out")
    described = json.loads((tmp_path / "out/face.json").read_text())
    assert described["trained"] is False and described["source"] == "none"
    assert not (tmp_path / "out/face.safetensors").exists()


def test_missing_ferplus_files_are_told_loudly_and_do_not_stop(tmp_path):
    params = tmp_path / "params.yaml"
    params.write_text(with_settings(source="ferplus"))
    result = run(params, tmp_path / "faces", tmp_path / "out")
    described = json.loads((tmp_path / "out/face.json").read_text())
    assert described["trained"] is False and described["source"] == "ferplus"
    assert "fer2013.csv and fer2013new.csv not found" in described["reason"]
    assert "NO FACE MODEL WAS TRAINED" in result.output
    assert json.loads((tmp_path / "out/metrics.json").read_text()) == {"trained": False}


def test_a_ready_checkpoint_is_checked_and_copied(folder, tmp_path):
    for source in (folder / "out", folder / "out/face.safetensors"):
        params = tmp_path / "params.yaml"
        params.write_text(with_settings(source=source))
        out = tmp_path / "out"
        run(params, tmp_path, out)
        for name in ("face.safetensors", "face.json"):
            assert (out / name).read_bytes() == (folder / "out" / name).read_bytes()
        shutil.rmtree(out)


def test_a_ready_checkpoint_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match=re.escape("train_face.source: no file nowhere.safetensors. Expected ferplus")):
        copy_checkpoint(Path("nowhere.safetensors"), tmp_path / "out")
    leave_untrained(tmp_path / "none", "none", "a test")
    (tmp_path / "none/face.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="schema is missing"):
        copy_checkpoint(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_classes_are_the_first_columns_of_ferplus():
    assert CLASSES == ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")


# ---------------------------------------------------------------------------------------------------- interruption


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in folder.iterdir()}


def test_an_interrupted_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    write_ferplus(tmp_path / "faces", {"Training": 24, "PublicTest": 6, "PrivateTest": 6})
    params = tmp_path / "params.yaml"
    params.write_text(with_settings(source="ferplus", image_size=16, epochs=3, batch_size=8, learning_rate=0.03))
    run(params, tmp_path / "faces", tmp_path / "whole")

    loss, seen = training.FaceLearner.loss, []

    def interrupted(self, *arguments):
        seen.append(1)
        if len(seen) == 5:  # in the second epoch of three steps
            raise KeyboardInterrupt
        return loss(self, *arguments)

    monkeypatch.setattr(training.FaceLearner, "loss", interrupted)
    arguments = ["--corpus=demo", f"--params={params}", f"--faces={tmp_path / 'faces'}", f"--out={tmp_path / 'out'}"]
    arguments += ["--device=cpu", f"--scratch={tmp_path / 'out-scratch'}"]
    stopped = CliRunner().invoke(main, arguments)
    assert stopped.exit_code == 130 and "goes on from there" in stopped.stderr
    assert not (tmp_path / "out").exists()

    assert "train_face: resumes after epoch 1" in run(params, tmp_path / "faces", tmp_path / "out").stderr
    assert len(seen) == 5 + 2 * 3  # two epochs, not three
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")
    assert len(list((tmp_path / "out-scratch").iterdir())) == 1  # the model alone


def test_training_computes_with_the_threads_of_its_settings(tmp_path, monkeypatch):
    write_ferplus(tmp_path, {"Training": 6, "PublicTest": 3, "PrivateTest": 3})
    seen, before = [], torch.get_num_threads()

    def stop(self, faces):
        """No step with three threads: on two cores beside other work oneDNN's own barriers make it take minutes."""
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    monkeypatch.setattr(FaceNet, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        train(read_ferplus(tmp_path, 16), settings(epochs=1, threads=3), tmp_path / "out", CPU)
    assert seen == [3] and torch.get_num_threads() == before
