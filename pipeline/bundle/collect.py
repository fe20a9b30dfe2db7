"""Parts of a bundle, each proven to be what the features of the training were made with, and its manifest."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from scipy import stats

from dferc.core import VERSION
from dferc.core.errors import InputError, brief
from dferc.core.files import file_hash
from dferc.core.metrics import MAIN_FIRST
from dferc.core.records import differences, read_record
from dferc.evaluation.predict import find_run, load_run, why_no_mean_temperature
from dferc.results.runs import RunMetrics
from dferc.settings.sections import DEFAULTS
from dferc.store.bundle import FACE, FILES, HEADS, VOCABULARIES, is_bundle, place_of_set
from dferc.store.card import simulations
from dferc.store.records import ProtocolRecord
from dferc.store.rows import by_set
from dferc.training.checkpoint import RECORD, WEIGHTS, Checkpoint
from pipeline.encoders import hub
from pipeline.faces.densenet import WEIGHTS as FACE_WEIGHTS
from pipeline.faces.densenet import description_path
from pipeline.faces.finder import YUNET, YUNET_FILE
from pipeline.settings import UNSTATED, ExtractAudio, ExtractText, ExtractVisual, restored

SECTIONS = {"text": ExtractText, "audio": ExtractAudio, "visual": ExtractVisual}
EXTRACTORS = {
    "text": ("transformers",),
    "audio": ("opensmile", "transformers"),
    "visual": ("densenet-bc-100-12", "transformers"),
}
"""By modality: the extractors of stage 1, as the identity of features begins."""

_OF_TRAINING = ("metrics.json", "classifier.safetensors")  # in the folder of an encoder, and not needed to encode
_OF_TEXT = (".json", ".safetensors", *VOCABULARIES)  # kinds of files that an encoder and its tokenizer need


def collect(
    run: Path, seeds: Sequence[int], texts: Sequence[Path], face: Path | None
) -> tuple[dict, dict[str, Path | bytes], list[str]]:
    """Collect the parts of a bundle.

    Args:
        run: runs/<corpus>/<variant>, or the folder of one seed.
        seeds: which seeds; all that are there if empty.
        texts: folders of the text encoders, one for each text set; if empty, the encoders in models/<corpus>.
        face: folder of the face network; by default models/<corpus>/face.

    Returns:
        Manifest and parts, as `dferc.store.bundle.write_bundle` takes them, and notes for people.

    Raises:
        InputError: a part is missing, or is not the one that the features of the training were made with.
    """
    if is_bundle(run):
        raise InputError(f"{run} is a bundle already. Name the folder of a run, such as runs/meld/full.")
    checkpoints = load_run(find_run(run, seeds), torch.device("cpu"))
    record = checkpoints[0].record
    _verify_features(checkpoints)
    parts: dict[str, Path | bytes] = {}
    for checkpoint in checkpoints:
        files = [WEIGHTS] + ([RECORD] if (checkpoint.folder / RECORD).exists() else [])
        parts |= {f"{HEADS}/seed-{checkpoint.record['seed']}/{name}": checkpoint.folder / name for name in files}
    modalities, models, sections = checkpoints[0].modalities, Path("models", record["corpus"]), {}
    for modality in modalities:
        for number, (name, identity) in enumerate(by_set(modality, record["features"][modality]).items()):
            section = sections[name] = _section(modality, identity, run)
            place = place_of_set(modality, number, name)
            if modality == "text":
                found = _text_parts(texts or text_encoders(models) or [models / "text"], identity, run, name, place)
            elif _tool(identity) == "transformers":
                found = _encoder_parts(section, identity, run, modality, place)
            elif modality == "visual":
                found = _face_parts(face or models / "face", identity, run)
            else:
                found = _audio_parts(section, identity, run)
            found |= _finder_parts(section, identity) if modality == "visual" else {}
            if other := [part for part in found if part in parts and parts[part] != found[part]]:
                raise InputError(
                    f"{run}: two of its sets need a file {other[0]}: {parts[other[0]]} and {found[other[0]]}. Rename "
                    "one and extract its set again."
                )
            parts |= found
    opensmile = "opensmile" in map(_tool, by_set("audio", record["features"].get("audio", {})).values())
    scores, of_mean, notes = _scores(run, checkpoints)
    interrupted = [each.record["seed"] for each in checkpoints if not each.record["finished"]]
    notes += [f"seed {seed} is of an interrupted training" for seed in interrupted]
    calibration = {str(each.record["seed"]): each.record.get("calibration") for each in checkpoints}
    if missing := [seed for seed, fitted in calibration.items() if not fitted]:
        notes.append(f"seed {', '.join(missing)} has no temperature (an older version trained it): train it again")
    paper, beside = DEFAULTS.model_dump(mode="json"), checkpoints[0].folder / RECORD
    trained_with = json.loads(beside.read_text(encoding="utf-8")).get("versions", {}) if beside.exists() else {}
    manifest = {
        **{name: record[name] for name in ("corpus", "protocol", "card", "classes", "variant")},
        "seeds": [each.record["seed"] for each in checkpoints],
        "modalities": list(modalities),
        "training": {name: value for name, value in record["settings"].items() if value != paper.get(name)},
        "settings": {f"extract_{name}": section for name, section in sections.items()},
        "identities": {name: record["features"][name] for name in modalities},
        "calibration": {seed: fitted for seed, fitted in calibration.items() if fitted},
        "calibration_of_mean": of_mean,
        "synthetic": list(simulations(record)),
        **scores,
        "opensmile": opensmile,
        "licences": _licences(record["corpus"], modalities, parts, opensmile),
        "versions": {"dferc": VERSION, "trained_with": trained_with},
    }
    return manifest, parts, notes


def _verify_features(checkpoints: Sequence[Checkpoint]) -> None:
    """Check that all seeds were trained on the same features of the same corpus."""
    first, *others = checkpoints
    keys = ("features", "corpus", "card")
    for other in others:
        pair = ({key: each.record[key] for key in keys} for each in (first, other))
        if found := [f"{key} = {one!r} and {two!r}" for key, one, two in differences(*pair)]:
            raise InputError(
                f"{first.folder} and {other.folder} were trained on different features: {'; '.join(found)}. Train them "
                "on the same, or name the seeds to bundle with --seed."
            )


def _section(name: str, identity: Mapping, run: Path) -> dict:
    """Return the section extract_<name> of params.yaml by which features were made: their identity holds it."""
    if name not in EXTRACTORS:
        raise InputError(
            f"{run}: its modality {name} is none that stage 1 extracts from media ({', '.join(EXTRACTORS)}). Bundle a "
            f"run without it (--variant without-{name}), or hand on the run's folder for `dferc predict`."
        )
    extractor = str(identity.get("extractor", ""))
    if _tool(identity) in ("torchvision", "timm"):
        raise InputError(
            f"{run}: its visual features were made by {extractor}, whose weights a bundle does not carry. Use a model "
            "of transformers (timm's are there as well), or bundle a variant without visual."
        )
    if _tool(identity) not in EXTRACTORS[name]:
        raise InputError(
            f"{run}: its {name} features were made by {brief(extractor or 'an unknown extractor')}, which makes none "
            f"from media here; expected {' or '.join(EXTRACTORS[name])}, of stage 1. Extract them with `python -m "
            f"pipeline.extract_{name}` and train again, or bundle a variant without {name}."
        )
    values = restored(name, identity.get("params") or {})
    if values.get("trust_remote_code"):
        raise InputError(
            f"{run}: the encoder of its {name} features runs code of its own (extract_{name}.trust_remote_code), which "
            f"a bundle does not carry. Use an encoder that transformers knows, or bundle a variant without {name}."
        )
    if name == "visual":
        values["face"] = (identity.get("face") or {}).get("choice", "largest")
        values["runtime"] = identity.get("runtime", UNSTATED[name]["runtime"])
    try:
        return SECTIONS[name].model_validate(values).model_dump(mode="json")
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, fault["loc"])) for fault in error.errors()}))
        raise InputError(
            f"{run}: the settings of its {name} features are not those of this version (extract_{name}: {fields}). "
            "Extract them and train again, or bundle it with the version that trained it."
        ) from None


def _tool(identity: Mapping) -> str:
    """Return the name of the extractor that made features, without its version."""
    return next(iter(str(identity.get("extractor", "")).replace(",", " ").split()), "")


def text_encoders(models: Path) -> list[Path]:
    """Return the folders of models/<corpus> that may hold a text encoder, that of finetune_text first."""
    return sorted((path.parent for path in models.glob("*/config.json")), key=lambda folder: folder.name != "text")


def _text_parts(
    folders: Sequence[Path], identity: Mapping, run: Path, name: str, place: str
) -> dict[str, Path | bytes]:
    """Return the files of the encoder that made a text set; its weights tell which of the folders it is."""
    from pipeline.encoders.opening import open_processor
    from pipeline.extract_text import LEFT_OUT, hashes_of_folds, tokenizer_hash, weights_hash
    from pipeline.text.encoder import WANTED

    expected, tokens = identity["model"], identity.get("tokenizer")  # older features do not name theirs
    there = [folder for folder in folders if (folder / "config.json").is_file()]
    if not there:
        raise InputError(f"{folders[0]} holds no text encoder (config.json). Name the one of the training with --text.")
    alike = [each for each in there if weights_hash(each) == expected]
    of_tokens = {each: tokenizer_hash(open_processor(each, WANTED)) for each in alike if tokens is not None}
    folder = next((each for each in alike if of_tokens.get(each) == tokens), None)
    if alike and folder is None:
        _verify_same(f"the tokenizer of {alike[0]}", of_tokens[alike[0]], tokens, f"{name} of {run}", "--text")
    if folder is None:
        if len(there) == 1:
            _verify_same(f"the text encoder {there[0]}", weights_hash(there[0]), expected, f"{name} of {run}", "--text")
        seen = ", ".join(f"{each} ({weights_hash(each)[:16]}…)" for each in there)
        raise InputError(
            f"none of the text encoders {seen} made the features {name} that {run} was trained on ({expected[:16]}…). "
            "Name those of the training (--text, once for each set), or extract the features anew and train again."
        )
    parts: dict[str, Path | bytes] = {
        f"{place}/{path.name}": path
        for path in sorted(folder.iterdir())
        if path.is_file() and path.suffix in _OF_TEXT and path.name not in _OF_TRAINING
    }
    if hashes := hashes_of_folds(folder):  # the folds themselves encode the training dialogues alone
        parts[f"{place}/{LEFT_OUT}"] = (json.dumps({"hashes": hashes}, indent=1) + "\n").encode()
    return parts


def _face_parts(folder: Path, identity: Mapping, run: Path) -> dict[str, Path]:
    weights = folder / FACE_WEIGHTS
    if not weights.is_file():
        raise InputError(f"{folder} holds no face network ({FACE_WEIGHTS}). Name the one of the training with --face.")
    _verify_same(f"the face network {folder}", file_hash(weights), str(identity["model"]), run, "--face")
    return {f"{FACE}/{path.name}": path for path in (weights, description_path(weights))}


def _finder_parts(section: dict, identity: Mapping) -> dict[str, Path]:
    """Return the .onnx of a YuNet finder, and set its path in the section to that within the bundle."""
    expected = (identity.get("finder") or {}).get("yunet")
    if expected is None:
        return {}
    path = hub.fetch(*YUNET_FILE) if section["finder"] == YUNET else Path(section["finder"])
    if not path.is_file():
        raise InputError(f"{path}, the face finder of the training, is missing. Put it there (extract_visual.finder).")
    _verify_same(f"the face finder {path}", file_hash(path), expected, path, "extract_visual.finder")
    section["finder"] = f"{FILES}/{path.stem}.onnx"
    return {section["finder"]: path}


def _encoder_parts(section: dict, identity: Mapping, run: Path, name: str, place: str) -> dict[str, Path]:
    """Return the files of a speech or picture encoder, and set its path in the section to that within the bundle."""
    from pipeline.encoders.kinds import Wanted
    from pipeline.encoders.opening import deciding_files, model_folder, model_hash

    wanted = Wanted("audio" if name == "audio" else "image", f"extract_{name}.encoder")
    folder = model_folder(section["encoder"], wanted)
    _verify_same(f"the {name} encoder {folder}", model_hash(folder), identity["model"], run, wanted.setting)
    section["encoder"] = place
    files = [*deciding_files(folder), *sorted(folder.glob("*.safetensors.index.json"))]  # names the parts of weights
    return {f"{place}/{path.name}": path for path in files}


def _audio_parts(section: dict, identity: Mapping, run: Path) -> dict[str, Path]:
    """Return an openSMILE .conf of the user's own with its includes, laid out as they are."""
    if identity.get("model") is None:
        return {}
    from pipeline.audio.configuration import configuration_files
    from pipeline.extract_audio import configuration_hash

    path = Path(section["encoder"])
    if not path.is_file():
        raise InputError(f"{path}, the openSMILE configuration of the training, is missing. Put it there.")
    _verify_same(f"the configuration {path}", configuration_hash(str(path)), identity["model"], run, "encoder")
    files = [Path(os.path.abspath(file)) for file in configuration_files(path)]  # without `..`, and links kept
    top = files[0].parent
    if outside := [str(file) for file in files if not file.is_relative_to(top)]:
        raise InputError(
            f"{path} includes {', '.join(outside)}, which would not be found from a bundle: its includes must lie in "
            f"{top} or below. Move them there, extract audio again and train again."
        )
    section["encoder"] = f"{FILES}/opensmile/{files[0].name}"
    return {f"{FILES}/opensmile/{file.relative_to(top).as_posix()}": file for file in files}


def _verify_same(what: str, found: str | None, expected: str, where: Path | str, option: str) -> None:
    if found != expected:
        raise InputError(
            f"{what} has the hash {str(found)[:16]}…, and the features that {where} was trained on were made with "
            f"{expected[:16]}…: it is another one. Name the one of the training ({option}), or extract the features "
            "with this one and train again."
        )


def _scores(run: Path, checkpoints: Sequence[Checkpoint]) -> tuple[dict, dict | None, list[str]]:
    """Return scores over the run's seeds with counts of its card, the temperature of their mean, and notes.

    The scores have 95 % intervals. The temperature is None unless the seeds are all those that were scored.
    """
    remedy = "Score it again: `dferc evaluate`."
    home = next((folder for folder in (run, *run.absolute().parents[:2]) if (folder / "metrics.json").exists()), None)
    if home is None:
        note = f"{run} was never scored: the card has no scores. Score it: `dferc evaluate`"
        return {"scores": {}, "scored_seeds": 0, "counts": {}}, None, [note]
    metrics = read_record(home / "metrics.json", RunMetrics, remedy)
    card = read_record(home / "evaluate/protocol.json", ProtocolRecord, remedy)
    fitted = {str(each.record["seed"]): each.temperature for each in checkpoints}
    scored = metrics.get("temperatures") or fitted
    differ = metrics["card"] != checkpoints[0].record["card"] or card["card"] != metrics["card"]
    if differ or any(scored.get(seed) != temperature for seed, temperature in fitted.items()):
        raise InputError(f"{home / 'metrics.json'} is of other models than those in {run}. {remedy}")
    scores: dict = {}
    for split in ("validation", "test"):
        if metrics.get(split) is None:
            continue
        scores[split] = {**metrics[split]}
        for name in MAIN_FIRST:
            if (deviation := metrics[split].get(f"{name}_std")) is not None:
                half = float(stats.t.ppf(0.975, metrics["seeds"] - 1)) * deviation / metrics["seeds"] ** 0.5
                mean = metrics[split][name]
                scores[split][f"{name}_interval"] = [round(max(0.0, mean - half), 4), round(min(1.0, mean + half), 4)]
    of_mean, notes = metrics.get("mean") if fitted == scored else None, []
    if of_mean is None and len(checkpoints) > 1:
        how = why_no_mean_temperature(checkpoints[0].record["settings"])
        notes = [f"no temperature is fitted to the mean over these seeds of {run}: {how}"]
    return {"scores": scores, "scored_seeds": metrics["seeds"], "counts": card["splits"]}, of_mean, notes


def _licences(corpus: str, modalities: Sequence[str], parts: Mapping, opensmile: bool) -> list[dict[str, str]]:
    lines = {"heads": f"weights trained on {corpus}; the terms of that corpus apply to them"}
    if "text" in modalities:
        lines["text"] = "weights; the licence of the encoder that it was fine-tuned from applies, and the corpus' terms"
    if _carries(parts, "visual"):
        lines["visual"] = "weights of the encoder of pictures; the licence under which it was published applies"
    if any(part.startswith(f"{FACE}/") for part in parts):
        lines["face"] = "weights; the terms of the pictures that it was trained on apply (FER+: its labels are MIT)"
    if _carries(parts, "audio"):
        lines["audio"] = "weights of the speech encoder; the licence under which it was published applies"
    if opensmile:
        lines["openSMILE"] = (
            "not part of the bundle, and needed to use it: free for research and non-commercial use only (audEERING)"
        )
    if any(name.endswith(".onnx") for name in parts):
        lines["face finder"] = "the licence of the .onnx applies (YuNet of opencv_zoo: MIT)"
    return [{"part": part, "licence": licence} for part, licence in lines.items()]


def _carries(parts: Mapping, modality: str) -> bool:
    """Return whether a published encoder of a modality is among the parts, at its own place or as a further set's."""
    places = (f"{modality}/", f"{FILES}/{modality}-")
    return any(part.startswith(places) and part.endswith(".safetensors") for part in parts)
