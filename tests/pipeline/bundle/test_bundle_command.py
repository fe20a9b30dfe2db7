"""dferc bundle: the parts are those of the training or it is refused, and a bundle predicts as its run does."""

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from ruamel.yaml import YAML
from safetensors import safe_open
from safetensors.torch import save
from scipy import stats
from transformers import AutoModel

import dferc
from dferc.core.device import choose_device
from dferc.core.errors import InputError
from dferc.core.files import file_hash
from dferc.evaluation.evaluate import evaluate
from dferc.evaluation.files import write_evaluation
from dferc.evaluation.predict import load
from dferc.store.bundle import open_bundle
from dferc.store.hdf5 import read_corpus, read_features, write_features
from dferc.store.rows import Features
from dferc.training.run import train
from dferc.training.task import make_task
from pipeline.audio.configuration import configuration_files
from pipeline.audio.speech import load_speech_encoder
from pipeline.bundle.collect import _section
from pipeline.bundle.command import bundle
from pipeline.bundle.model_card import model_card
from pipeline.encoders.opening import model_hash
from pipeline.extract_audio import configuration_hash
from pipeline.extract_text import tokenizer_hash, weights_hash
from pipeline.faces.finder import finder_identity
from pipeline.settings import UNSTATED, ExtractText, ExtractVisual, restored
from pipeline.text.encoder import load_encoder
from pipeline.text.folds import read_folds, write_folds
from tests.helpers.clips import SHARED
from tests.helpers.common import CLASSES, small_settings, write_features_folder
from tests.helpers.encoders import small_encoder, talk
from tests.helpers.face_models import offline_hub, write_untrained
from tests.helpers.speech_encoders import write_speech_encoder

YUNET = SHARED / "media/face_detection_yunet_2026may.onnx"
VISUAL = {"frames_per_s": 4.0, "max_frames": 50, "finder": "haar", "min_face": 0.08, "margin": 0.1}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A project: an encoder, a face network, features that name them, and two seeds trained on these and scored."""
    root = tmp_path_factory.mktemp("bundle")
    small_encoder(talk(3)).save(root / "models/demo/text")
    (root / "models/demo/text/metrics.json").write_text("{}")
    write_untrained(root / "models/demo/face", 16)
    made = {
        "text": {"extractor": "transformers 5.0", "model": weights_hash(root / "models/demo/text")}
        | {"params": {"window": "dialogue", "max_tokens": 24, "precision": "float32"}, "computed_in": "float32"},
        "audio": {"extractor": "opensmile 2.6.0", "model": None, "params": {"feature_set": "IS10", "min_s": 0.08}},
        "visual": {"extractor": "densenet-bc-100-12, torch 2.15.0", "params": VISUAL, "finder": finder_identity("haar")}
        | {"model": file_hash(root / "models/demo/face/face.safetensors"), "image_size": 16},
    }
    write_features_folder(root / "features/demo")
    for name, identity in made.items():
        path = root / f"features/demo/{name}.h5"
        there = read_features(path, name)
        fields = {field: getattr(there, field) for field in Features.__dataclass_fields__}
        write_features(path, Features(**fields | {"identity": {**identity, "rows_hash": there.identity["rows_hash"]}}))
    corpus = read_corpus(root / "features/demo")
    for variant, seeds in (("full", (0, 1)), ("v", (0,))):
        run = root / "runs/demo" / variant
        task = make_task(corpus, variant, small_settings(), choose_device("cpu", "float32"))
        folders = train(task, seeds, folder=run / "train", scratch=root / "scratch")
        write_evaluation(run, corpus, evaluate(corpus, folders, torch.device("cpu")))
    return root


@pytest.fixture
def project(root, tmp_path, monkeypatch) -> Path:
    """The project, to be changed; the working directory."""
    shutil.copytree(root, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def pack(*arguments: object) -> Result:
    result = CliRunner().invoke(bundle, list(map(str, arguments)))
    assert result.stdout == "" and "Traceback" not in result.output
    return result


def packed(run: Path, out: Path, *more: object) -> str:
    result = pack(run, "--out", out, *more)
    assert result.exit_code == 0, result.output
    return result.stderr


def refused(run: Path, *parts: str, more: tuple = ()) -> None:
    """Check that nothing is written, and one message holds these parts."""
    result = pack(run, "--out", "out.dferc", *more)
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1 and message.startswith("error:"), result.output
    for part in parts:
        assert part in message, message
    assert not Path("out.dferc").exists()


def rewrite(run: Path, change: Callable[[dict], object], seeds: tuple[int, ...] = (0, 1)) -> Path:
    """Change the records of trained seeds, in the weights and beside them; metrics.json stays."""
    for seed in seeds:
        folder = run / f"train/seed-{seed}"
        with safe_open(folder / "model.safetensors", "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            record = json.loads(file.metadata()["dferc"])
        change(record)
        content = save(tensors, {"dferc": json.dumps(record)})
        (folder / "model.safetensors").write_bytes(content)
        beside = json.loads((folder / "settings.json").read_text())
        change(beside)
        beside["weights"] = hashlib.sha256(content).hexdigest()
        (folder / "settings.json").write_text(json.dumps(beside))
    return run


def manifest_of(out: Path) -> dict:
    return json.loads((out / "bundle.json").read_text())


# ------------------------------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("out", ["meld.dferc", "meld.zip"])
def test_bundle_predicts_what_its_run_predicts_to_the_bit(project, monkeypatch, out):
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    shown = packed(Path("runs/demo/full"), Path(out))
    assert f"written: {out}" in shown and "seed 0, 1; text, audio, visual" in shown and "SYNTHETIC DATA" in shown
    expected = dferc.load("runs/demo/full", device="cpu").predict("features/demo")
    shutil.rmtree(project / "runs")
    shutil.rmtree(project / "models")
    table = dferc.load(out, device="cpu").predict("features/demo", abstain=0.5)
    undecided = [row | {"predicted": made["predicted"]} for row, made in zip(expected.rows, table.rows, strict=True)]
    assert table.rows == undecided and table.temperatures == expected.temperatures and 1 not in table.temperatures
    one = dferc.load(out, seeds=[1], device="cpu").predict("features/demo")
    assert one.models == 1 and one.rows[0]["p_joy"] != table.rows[0]["p_joy"]
    with pytest.raises(InputError, match=r"no seed 7. Choose among 0, 1"):
        dferc.load(out, seeds=[7])


def test_bundle_holds_what_a_prediction_needs_and_nothing_else(project):
    packed(Path("runs/demo/full"), Path("a.dferc"))
    made = open_bundle("a.dferc")
    names = {path.relative_to("a.dferc").as_posix() for path in Path("a.dferc").rglob("*") if path.is_file()}
    heads = {f"heads/seed-{seed}/{name}" for seed in (0, 1) for name in ("model.safetensors", "settings.json")}
    text = {f"text/{name}" for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")}
    assert names == heads | text | {"bundle.json", "README.md", "face/face.json", "face/face.safetensors"}
    assert weights_hash(made.texts["text"]) == made.manifest.identities["text"]["model"]
    assert made.settings["extract_text"] == {"window": "dialogue", "max_tokens": 24, "precision": "float32"} | {
        "context_share": 0.0,
        "layer": "last",
        "pooling": "first_last",
        "trust_remote_code": False,
    }
    assert ExtractVisual.model_validate(made.settings["extract_visual"]).face == "largest"
    settings = json.loads((project / "runs/demo/full/train/seed-1/settings.json").read_text())
    assert manifest_of(Path("a.dferc"))["calibration"]["1"] == settings["calibration"]
    metrics = json.loads((project / "runs/demo/full/metrics.json").read_text())["test"]
    scores = made.manifest.scores["test"]
    half = stats.t.ppf(0.975, 1) * metrics["weighted_f1_std"] / 2**0.5
    expected = [max(0, scores.weighted_f1 - half), min(1, scores.weighted_f1 + half)]
    assert scores.weighted_f1 == metrics["weighted_f1"] and scores.ece_calibrated == metrics["ece_calibrated"]
    assert scores.weighted_f1_interval == pytest.approx(expected, abs=1e-4)
    of_run = json.loads((project / "runs/demo/full/metrics.json").read_text())["mean"]
    assert made.manifest.calibration_of_mean.temperature == of_run["temperature"]
    assert [load(source, device="cpu").temperature_of_mean for source in ("runs/demo/full", "a.dferc")] == [
        of_run["temperature"]
    ] * 2


def test_bundles_from_before_a_setting_have_its_usual_value():
    before = {"window": "dialogue", "context_share": 0.5, "max_tokens": 24, "precision": "float32"}
    settings = ExtractText.model_validate(restored("text", before))
    assert settings.model_dump() == before | {"layer": "last", "pooling": "first_last", "trust_remote_code": False}


def test_same_inputs_elsewhere_give_the_same_bytes(project, root, monkeypatch):
    packed(Path("runs/demo/full"), project / "a.zip")
    monkeypatch.chdir(root.parent)
    packed(
        root / "runs/demo/full",
        project / "b.zip",
        "--text",
        root / "models/demo/text",
        "--face",
        root / "models/demo/face",
    )
    assert (project / "a.zip").read_bytes() == (project / "b.zip").read_bytes()


def test_seed_alone_and_folder_of_one_seed_give_the_same_bundle(project):
    packed(Path("runs/demo/full"), Path("a.zip"), "--seed", 1)
    packed(Path("runs/demo/full/train/seed-1"), Path("b.zip"))
    assert Path("a.zip").read_bytes() == Path("b.zip").read_bytes()


def test_variant_of_faces_alone_is_free_of_text_and_of_openSMILE(project):
    shutil.rmtree("models/demo/text")
    packed(Path("runs/demo/v"), Path("v.dferc"))
    made = open_bundle("v.dferc")
    assert (made.texts, made.face, made.manifest.opensmile) == ({}, Path("v.dferc/face"), False)
    card = Path("v.dferc/README.md").read_text()
    assert "Free of openSMILE" in card and "audEERING" not in card
    packed(Path("runs/demo/v"), Path("v.dferc"))  # an older one is replaced
    assert len(dferc.load("v.dferc", device="cpu").predict("features/demo"))


# ------------------------------------------------------------------------------------------------------------- refusals


def test_another_encoder_or_face_network_is_refused_with_both_hashes(project):
    expected = json.loads(Path("runs/demo/full/train/seed-0/settings.json").read_text())["features"]
    small_encoder(talk(3), seed=1).save(project / "other")
    refused(
        Path("runs/demo/full"), "encoder other", weights_hash(project / "other")[:16], "--text", more=("--text=other",)
    )
    refused(Path("runs/demo/full"), expected["text"]["model"][:16], more=("--text=other",))
    shutil.copytree("models/demo/face", "others")
    content = bytearray(Path("others/face.safetensors").read_bytes())
    content[-1] ^= 1
    Path("others/face.safetensors").write_bytes(content)
    refused(
        Path("runs/demo/full"), "network others", expected["visual"]["model"][:16], "--face", more=("--face=others",)
    )
    shutil.rmtree("models/demo/face")
    refused(Path("runs/demo/full"), "models/demo/face holds no face network", "--face")
    shutil.rmtree("models/demo/text")
    refused(Path("runs/demo/full"), "models/demo/text holds no text encoder", "--text")


def test_imported_features_are_refused_with_the_remedy(project):
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["text"].update(extractor="features.pkl, 1024"))
    refused(Path("runs/demo/full"), "text features", "features.pkl", "expected transformers", "a variant without text")
    packed(Path("runs/demo/v"), Path("v.dferc"))


def test_settings_of_another_version_are_refused_by_name(project):
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["audio"]["params"].update(min_s="short"))
    refused(Path("runs/demo/full"), "audio features", "extract_audio: min_s")


def test_scores_of_other_models_are_refused_and_no_scores_are_noted(project):
    def warmer(record: dict) -> None:
        if "calibration" in record:
            record["calibration"]["temperature"] *= 2

    rewrite(Path("runs/demo/full"), warmer, seeds=(1,))
    refused(Path("runs/demo/full"), "metrics.json", "of other models", "dferc evaluate")
    Path("runs/demo/full/metrics.json").unlink()
    assert "never scored" in packed(Path("runs/demo/full"), Path("a.dferc"))
    assert open_bundle("a.dferc").manifest.scores == {} and "never scored" in Path("a.dferc/README.md").read_text()


def test_seeds_trained_on_different_features_are_refused(project):
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["text"].update(model="f00d"), seeds=(1,))
    refused(Path("runs/demo/full"), "seed-0", "seed-1", "features.text.model", "--seed")


def test_checkpoints_of_an_older_version_have_no_temperature_and_it_is_noted(project):
    rewrite(Path("runs/demo/full"), lambda record: record.pop("calibration", None))
    metrics = json.loads(Path("runs/demo/full/metrics.json").read_text())
    del metrics["temperatures"]
    Path("runs/demo/full/metrics.json").write_text(json.dumps(metrics))
    assert "seed 0, 1 has no temperature" in packed(Path("runs/demo/full"), Path("a.dferc"))
    assert "no temperature was fitted" in Path("a.dferc/README.md").read_text()
    table = dferc.load("a.dferc", device="cpu").predict("features/demo")
    assert table.temperatures == (1, 1) and any("no temperature" in note for note in table.notes)


def test_a_bundle_of_a_bundle_is_refused(project):
    packed(Path("runs/demo/v"), Path("v.dferc"))
    refused(Path("v.dferc"), "v.dferc is a bundle already")


# ------------------------------------------------------------------------------------------------------------- files


def test_folds_are_left_out_and_the_encoder_is_still_known(project):
    folder = Path("models/demo/text")
    for fold in (0, 1):
        small_encoder(talk(3), seed=2 + fold).save(folder / f"fold-{fold}")
    write_folds(folder, {"train-0": 0, "train-1": 1})
    refused(Path("runs/demo/full"), "encoder models/demo/text")  # with folds it is another one
    with_folds = weights_hash(folder)
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["text"].update(model=with_folds))
    packed(Path("runs/demo/full"), Path("a.dferc"))
    made = open_bundle("a.dferc")
    assert weights_hash(made.texts["text"]) == with_folds and read_folds(made.texts["text"]) == {}
    assert not list(made.texts["text"].glob("fold-*")) and not (made.texts["text"] / "folds.csv").exists()


def test_conf_comes_with_its_includes_and_is_found_from_anywhere(project, monkeypatch):
    Path("conf/parts").mkdir(parents=True)
    Path("conf/mine.conf").write_text("\\{parts/one.inc}\n")
    Path("conf/parts/one.inc").write_text("\\{two.inc}\n")
    Path("conf/parts/two.inc").write_text("; nothing\n")
    proof = configuration_hash("conf/mine.conf")
    change = {"model": proof, "params": {"feature_set": "conf/mine.conf", "min_s": 0.08}}
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["audio"].update(change))
    packed(Path("runs/demo/full"), Path("a.dferc"))
    made = open_bundle(project / "a.dferc")
    shutil.rmtree("conf")
    monkeypatch.chdir(project.parent)
    assert configuration_hash(made.settings["extract_audio"]["encoder"]) == proof
    assert all(
        path.is_relative_to(made.folder) for path in configuration_files(made.settings["extract_audio"]["encoder"])
    )
    monkeypatch.chdir(project)
    refused(Path("runs/demo/full"), "conf/mine.conf", "is missing")
    Path("conf").mkdir()
    Path("conf/mine.conf").write_text("; another\n")
    refused(Path("runs/demo/full"), "conf/mine.conf", proof[:16])


def test_speech_encoder_comes_with_the_bundle(project, monkeypatch):
    folder = write_speech_encoder(Path("models/wavlm"))
    params = {"encoder": str(folder), "min_s": 0.08, **UNSTATED["audio"]}
    change = {"extractor": "transformers 5.0", "model": model_hash(folder), "params": params}
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["audio"].update(change))
    packed(Path("runs/demo/full"), Path("a.dferc"))
    write_speech_encoder(folder, seed=1)
    refused(Path("runs/demo/full"), "the audio encoder models/wavlm", "is another one", "extract_audio.encoder")
    shutil.rmtree(folder)
    monkeypatch.chdir(project.parent)
    made = open_bundle(project / "a.dferc")
    there = made.settings["extract_audio"]["encoder"]
    assert Path(there) == made.folder / "audio" and model_hash(Path(there)) == change["model"]
    assert not made.manifest.opensmile and [line for line in made.manifest.licences if line["part"] == "audio"]
    assert "Free of openSMILE" in (made.folder / "README.md").read_text()


def test_parts_of_large_weights_come_with_the_list_of_them(project, monkeypatch):
    folder = write_speech_encoder(Path("models/wavlm"))
    model = AutoModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="10KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    params = {"encoder": str(folder), "min_s": 0.08, **UNSTATED["audio"]}
    change = {"extractor": "transformers 5.0", "model": model_hash(folder), "params": params}
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["audio"].update(change))
    packed(Path("runs/demo/full"), Path("a.dferc"))
    shutil.rmtree(folder)
    encoder = load_speech_encoder(open_bundle(project / "a.dferc").settings["extract_audio"]["encoder"], "last")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(encoder.model.state_dict()[name], value, rtol=0, atol=0)


def test_the_tokenizer_is_that_of_the_training_too(project):
    """Merges decide vectors as weights do; the weights alone do not tell two encoders apart."""
    folder = Path("models/demo/text")
    change = {"tokenizer": tokenizer_hash(load_encoder(folder, 24).tokenizer)}
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["text"].update(change))
    shutil.copytree(folder, "models/demo/another")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:5]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    packed(Path("runs/demo/full"), Path("a.dferc"))  # of two encoders with the same weights, the other
    assert open_bundle("a.dferc").folder.joinpath("text/tokenizer.json").read_text() != json.dumps(tokenizer)
    refused(
        Path("runs/demo/full"),
        "the tokenizer of",
        change["tokenizer"][:16],
        "--text",
        more=("--text=models/demo/text",),
    )


def test_every_file_of_a_tokenizer_is_a_part(project):
    """BERTweet has its merges in bpe.codes, Marian its pieces in source.spm."""
    (Path("models/demo/text") / "bpe.codes").write_text("t h 5\n")
    (Path("models/demo/text") / "source.spm").write_bytes(b"\x0a\x0e\x0a\x05<unk>")
    packed(Path("runs/demo/full"), Path("a.dferc"))
    assert {"bpe.codes", "source.spm"} <= {path.name for path in (open_bundle("a.dferc").folder / "text").iterdir()}


def test_conf_whose_include_lies_elsewhere_is_refused(project):
    Path("conf").mkdir()
    Path("shared.inc").write_text("; nothing\n")
    Path("conf/mine.conf").write_text("\\{../shared.inc}\n")
    change = {"model": configuration_hash("conf/mine.conf"), "params": {"feature_set": "conf/mine.conf", "min_s": 0.08}}
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["audio"].update(change))
    refused(Path("runs/demo/full"), "shared.inc", "Move them there")


@pytest.mark.parametrize("name", ["text", "audio", "visual"])
def test_encoder_with_code_of_its_own_is_refused(project, name):
    def trust(record):
        record["features"][name]["params"]["trust_remote_code"] = True

    rewrite(Path("runs/demo/full"), trust)
    refused(Path("runs/demo/full"), f"extract_{name}.trust_remote_code", "a bundle does not carry")


@pytest.mark.parametrize("runtime", ["pytorch", "openvino_bfloat16"])
def test_runtime_of_the_training_is_that_of_the_bundle(project, runtime):
    change = {} if runtime == "pytorch" else {"runtime": runtime}
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["visual"].update(change))
    packed(Path("runs/demo/full"), Path("a.dferc"))
    section = ExtractVisual.model_validate(open_bundle("a.dferc").settings["extract_visual"])
    assert section.runtime == runtime


@pytest.mark.skipif(not YUNET.exists(), reason=f"no {YUNET}")
@pytest.mark.parametrize("finder", ["yu net.onnx", "yunet"])
def test_face_finder_of_the_settings_is_a_part(project, monkeypatch, finder):
    published = offline_hub(project / "hub", monkeypatch)
    file = published if finder == "yunet" else Path(finder)
    file.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(YUNET, file)
    change = {"finder": finder_identity(str(file)), "params": VISUAL | {"finder": finder}}
    change |= {"face": {"choice": "longest_track", "version": 2}}
    rewrite(Path("runs/demo/full"), lambda record: record["features"]["visual"].update(change))
    packed(Path("runs/demo/full"), Path("a.dferc"))
    made = open_bundle(project / "a.dferc")
    file.unlink()
    section = ExtractVisual.model_validate(made.settings["extract_visual"])
    assert finder_identity(section.finder) == change["finder"] and section.face == "longest_track"
    refused(Path("runs/demo/full"), file.name, "is not in the local cache" if finder == "yunet" else "is missing")


# ------------------------------------------------------------------------------------------------------------- card


def test_card_tells_training_scores_limits_and_licences(project):
    packed(Path("runs/demo/full"), Path("a.dferc"))
    card = Path("a.dferc/README.md").read_text()
    _, front, body = card.split("---\n", 2)
    values = YAML(typ="safe").load(front)
    assert "synthetic-data" in values["tags"] and values["license"] == "other"
    metrics = json.loads(Path("runs/demo/full/metrics.json").read_text())
    assert values["model-index"][0]["results"][0]["metrics"][0]["value"] == metrics["test"]["weighted_f1"]
    for part in (
        "SYNTHETIC DATA",
        "Art. 5(1)(f)",
        "work and in education",
        "2 February 2025",
        "high-risk",
        "openSMILE",
    ):
        assert part in body, part
    assert "no measurement of what a person feels" in body and "temperature fitted on the validation split" in body
    interval = manifest_of(Path("a.dferc"))["scores"]["test"]["weighted_f1_interval"]
    assert f"[{interval[0]:.4f}, {interval[1]:.4f}]" in body and metrics["card"] in body


def test_card_names_selection_and_settings_of_its_own(project):
    packed(Path("runs/demo/full"), Path("a.dferc"))
    card = Path("a.dferc/README.md").read_text()
    assert "best weighted F1 on validation.\n" in card and "`hidden` 8" in card and "`eps`" not in card

    def changed(record):
        record["settings"] |= {"selection": "refit", "select_by": "uar", "weight_average": 0.5}

    rewrite(Path("runs/demo/full"), changed)
    packed(Path("runs/demo/full"), Path("b.dferc"))
    card = Path("b.dferc/README.md").read_text()
    assert "best UAR on validation; then trained anew" in card and "`weight_average` 0.5" in card


def test_card_of_hostile_names_is_one_line_each_and_no_markup(project):
    packed(Path("runs/demo/full"), Path("a.dferc"))
    manifest = manifest_of(Path("a.dferc"))
    manifest["corpus"] = 'x"\n---\n<script>alert(1)</script>'
    manifest["protocol"] = "[click](http://x) | `rm` \x1b[31m"
    card = model_card(manifest)
    assert (
        "<script>" not in card.split("---\n", 2)[2]
        and "\x1b" not in card
        and "\\](http" in card
        and "&lt;script&gt;" in card
    )
    assert YAML(typ="safe").load(card.split("---\n")[1])["model-index"][0]["name"] == manifest["corpus"]


def test_predictions_of_the_command_are_calibrated_by_the_bundle(project):
    from dferc.cli.main import main

    packed(Path("runs/demo/full"), Path("a.dferc"))
    for run, out in (("runs/demo/full", "p.csv"), ("a.dferc", "q.csv")):
        made = CliRunner().invoke(main, ["predict", f"--run={run}", "--features=features/demo", f"--out={out}"])
        assert made.exit_code == 0, made.output
    assert Path("p.csv").read_bytes() == Path("q.csv").read_bytes()
    with open("p.csv", newline="") as file:
        assert [name for name in next(csv.reader(file)) if name.startswith("p_")] == [f"p_{name}" for name in CLASSES]


def test_a_modality_that_no_stage_extracts_is_not_bundled():
    with pytest.raises(InputError, match="its modality physiology is none that stage 1 .*--variant without-physiology"):
        _section("physiology", {"extractor": "e4"}, Path("runs/demo/full"))


def test_text_set_whose_encoder_is_not_there_is_refused_with_its_name(project):
    def joined(record):
        text = record["features"]["text"]
        sets = {"text": text, "text/other": text | {"model": "0" * 64}}
        record["features"]["text"] = {"sets": sets, "rows_hash": text["rows_hash"]}

    rewrite(Path("runs/demo/full"), joined)
    refused(Path("runs/demo/full"), "text/other of runs/demo/full", "models/demo/text", "0" * 16, "--text")
    shutil.copytree("models/demo/text", "models/demo/copy")
    refused(Path("runs/demo/full"), "models/demo/text", "models/demo/copy", "text/other", "0" * 16, "--text")
