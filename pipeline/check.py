"""Check of what stage 1 needs before anything runs, with the expected time of each stage.

`dferc check` checks types and ranges; this checks that the named adapters, feature sets, finders and face models exist,
and that media, FER+, the text encoder and room on the disk are there. `make repro` and the first stage of `dvc repro`
run it; `prepare` checks the settings of its own block, for those who call it directly.

    python -m pipeline.check
"""

import configparser
import datetime
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import torch

from dferc.core.console import PATH, console, print_note, print_table, readable_errors, shown_option
from dferc.core.device import cpu_threads
from dferc.core.errors import InputError
from dferc.core.files import write_text
from dferc.core.threads import usable_cpus
from dferc.settings.document import Params
from dferc.settings.sections import class_weights
from pipeline import corpora
from pipeline.audio import functionals
from pipeline.corpora._files import all_files
from pipeline.encoders import hub
from pipeline.faces import finder
from pipeline.faces.densenet import FERPLUS, NONE, find_weights
from pipeline.faces.ferplus import missing_files
from pipeline.faces.runtime import choose_runtime
from pipeline.media.files import MediaError, probe
from pipeline.settings import StageSettings, load_settings, sets_of, with_set

SCRATCH_ENCODER = "scratch"
BY_NAME = ("torchvision:", "timm:")  # beginnings of `extract_visual.encoder`: pipeline/vision/encoder.py

LINKED = {
    "prepare": "prepare.options",
    "finetune_text": "finetune_text.encoder",
    "train_face": "train_face.source",
    "extract_audio": "extract_audio.encoder",
    "extract_visual": "extract_visual (finder, encoder)",
}
"""Settings that name files, by the stage that reads them: see `pipeline.link_files`."""

_SAMPLE = 20  # files that are opened to see whether a corpus has pictures, and how long its clips are
_BYTES_OF_UTTERANCE = 13_000  # of all features: docs/scale.md
_HUB_ENCODER_BYTES = 1 << 30 | 1 << 29  # of an encoder that is not here yet: roberta-large

# Rates of one core at `_CORE_FLOPS`: docs/scale.md, docs/measured.md.
_CORE_FLOPS = 95e9
_SOUND_S = 45.0  # seconds of media per second
_PICTURE_S = {"pytorch": 5.0, "openvino": 7.4, "openvino_bfloat16": 11.0}  # the same, by the face network's runtime
_DECODED_S = 40.0  # `prepare` decodes what the extractors decode
_TEXT_FLOPS = 248 * 2 * 22e6  # utterances per second, by two operations per weight
_FACE_S = 0.17  # a training step, per face of 64 px
_EPOCH_S = 17.0 / 13_708  # per utterance, at the paper's sizes
_FRAMES_S, _CONVOLUTIONS = 50, 5e9  # frames of a speech encoder, and operations of its convolutions, per second
_SPEECH_SHARE = 0.78  # of the peak that it reaches: benchmarks/encoder_audio.py
_UTTERANCE_S = 3.6  # seconds of an utterance of MELD
_FERPLUS_FACES = 28_709
_BACKWARDS = 3.0  # a training step against a forward pass


@click.command()
@shown_option("--params", type=click.Path(dir_okay=False), default="params.yaml", help="Settings.")
@click.option("--out", type=PATH, help="File to write when all is well, for DVC.")
@readable_errors
def main(params: str, out: Path | None) -> None:
    """Check what the corpora that `dvc repro` would run need, and print the expected times."""
    unlink_missing(Path("data"))
    settings = load_settings(params)
    blocks = {corpus: settings.corpus(corpus) for corpus in settings.corpora}
    further = {f"{name} {one}": with_set(settings, name, one) for name in blocks for one in sets_of(settings, name)}
    check_corpora(blocks | further)
    root = Path()
    faults = [
        f"sets: {item.name} is of {item.corpus}, which is not in `corpora`: leave out the one, or add the other."
        for items in (vars(settings.sets).values() if settings.sets else ())
        for item in items
        if item.corpus not in blocks
    ]
    faults += [*check_repository(root), *(fault for name in blocks for fault in check_needs(name, blocks[name], root))]
    faults += [fault for name, block in further.items() for fault in check_encoders(name, block)]
    faults += [
        f"{corpus}: {one.encoder}, the encoder of the set {name} (sets), is no folder. `hf download NAME --local-dir "
        "FOLDER` makes one of a published encoder, `python -m pipeline.finetune_text --out FOLDER` a tuned one."
        for corpus in blocks
        for name, one in sets_of(settings, corpus).items()
        if name.startswith("text/") and Path(one.encoder) not in (Path("models", each, "text") for each in blocks)
        if not Path(one.encoder).is_dir()
    ]
    if faults:
        raise InputError(f"{len(faults)} thing(s) that the run needs are missing:\n  - " + "\n  - ".join(faults))
    for corpus, block in blocks.items():
        print_times(corpus, block, settings, root)
    console.print(f"{params}: adapters, feature sets and face finders of {', '.join(blocks)} are there.")
    if out:
        write_text(out, "checked\n")


def check_corpora(blocks: Mapping[str, StageSettings]) -> None:
    """Raise InputError with all adapters, feature sets, finders and face models of the blocks that do not exist."""
    faults = []
    for corpus, settings in blocks.items():
        visual, source = settings.extract_visual, settings.train_face.source
        for check, *arguments in (
            (corpora.verify_adapter, settings.prepare.adapter),
            (functionals.verify_encoder, settings.extract_audio.encoder),
            (verify_encoder, visual.encoder),
            (choose_runtime, visual.runtime, "cpu"),
            *([(finder.make_finder, visual.finder, visual.min_face)] if needs_finder(settings) else []),
            *([] if source in (FERPLUS, NONE) else [(find_weights, Path(source))]),
        ):
            try:
                check(*arguments)
            except InputError as error:
                faults.append(f"  - {corpus}.{error}")
    if faults:
        raise InputError(f"the settings ask for what is not there: {len(faults)} fault(s)\n" + "\n".join(faults))


def needs_finder(settings: StageSettings) -> bool:
    """Return whether faces are looked for: neither without pictures nor where an encoder sees whole frames."""
    visual = settings.extract_visual
    return settings.train_face.source != NONE if visual.encoder == FERPLUS else visual.view != "frame"


def verify_encoder(name: str) -> None:
    """Raise InputError if `extract_visual.encoder` can be no encoder; whether it is one, its stage finds."""
    if name.startswith(BY_NAME) and (file := name.partition("@")[2]) and not Path(file).is_file():
        raise InputError(f"extract_visual.encoder: {name}: no file {file}. Name a file of weights, or omit `@{file}`.")
    known = name == FERPLUS or name.startswith(BY_NAME) or Path(name).is_dir() or name.count("/") == 1
    if not known:
        raise InputError(
            f"extract_visual.encoder: {name!r} is neither {FERPLUS} nor a folder, a hub name such as "
            f"facebook/dinov2-base, nor {' nor '.join(f'{library}NAME' for library in BY_NAME)}."
        )


def check_classes(corpus: str, settings: StageSettings, classes: tuple[str, ...]) -> None:
    """Raise InputError if `train.class_weights` names no class, or lacks one; the raw corpus gives the classes."""
    if not classes:  # a corpus without labels is only predicted
        return
    try:
        class_weights(settings.train.class_weights, classes, counts=[1] * len(classes))
    except InputError as error:
        raise InputError(f"{corpus}.{error}") from None


def check_repository(root: Path) -> Iterator[str]:
    """Yield the fault that `dvc repro` would stop at where the project is no git repository, such as a ZIP."""
    folders = (root.absolute(), *root.absolute().parents)
    if not (root / ".dvc").is_dir() or any((folder / ".git").exists() for folder in folders):
        return
    options = configparser.ConfigParser()
    options.read([root / ".dvc/config", root / ".dvc/config.local"])
    if options.get("core", "no_scm", fallback="").strip().lower() != "true":
        yield (
            f"{root.absolute()} is no git repository, which DVC expects. To go without git, run `dvc config --local "
            "core.no_scm true` (in a new folder `dvc init --no-scm`); to have experiments, run `git init`."
        )


def check_needs(corpus: str, settings: StageSettings, root: Path) -> Iterator[str]:
    """Yield what the stages of a corpus would miss: media, FER+, the text encoder, room on the disk."""
    raw, faces = root / "data/raw" / corpus, root / "data/faces" / corpus
    made = settings.prepare.adapter == "demo"  # make_demo writes both folders
    content = (path for path in all_files(raw) if path.is_file() and path.name != "README.md")
    if not made and not any(content) and not raw.with_name(f"{raw.name}.dvc").exists():
        yield f"{corpus}: {raw} is missing or empty. Put the raw corpus there, or `dvc pull` it."
    if not made and not faces.exists() and not faces.with_name(f"{faces.name}.dvc").exists():
        yield f"{corpus}: {faces} is missing, without which DVC stops at train_face, FER+ or not: `mkdir -p {faces}`."
    source, missing = settings.train_face.source, missing_files(faces)
    trains = source == FERPLUS == settings.extract_visual.encoder
    if not made and trains and missing and any(info.has_video for info in _sample(raw)):
        yield (
            f"{corpus}: {' and '.join(missing)} not found in {faces}, and the clips have pictures. Put FER+ there "
            "(data/faces/meld/README.md), or set train_face.source to none, or to the path of a trained network."
        )
    yield from check_encoders(corpus, settings)
    # About what the stages write: fine-tuned encoders (kept, and in DVC's cache) and features.
    written = 2 * (1 + settings.finetune_text.folds) * _encoder_bytes(settings.finetune_text.encoder)
    written += 3 * sum(1 for _ in _files(raw)) * _BYTES_OF_UTTERANCE
    needed, free = written + (100 << 20), shutil.disk_usage(root).free
    if free < needed:
        amounts = f"about {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
        yield f"{corpus}: the disk of {root.absolute()} is too small: {amounts}. Remove files, or move the project."


def check_encoders(corpus: str, settings: StageSettings) -> Iterator[str]:
    """Yield the encoders that are neither here nor to be had."""
    text, audio = settings.finetune_text.encoder, settings.extract_audio.encoder
    if text != SCRATCH_ENCODER:
        yield from _missing_encoder(corpus, "text", text, "finetune_text.encoder")
    if functionals.is_speech_encoder(audio):
        yield from _missing_encoder(corpus, "speech", audio, "extract_audio.encoder")
    visual = settings.extract_visual.encoder
    if visual != FERPLUS and not visual.startswith(BY_NAME):
        yield from _missing_encoder(corpus, "visual", visual, "extract_visual.encoder")


def _missing_encoder(corpus: str, kind: str, name: str, setting: str) -> Iterator[str]:
    """Yield the fault of an encoder that is no whole folder, and that the hub cannot give."""
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        yield f"{corpus}: the folder {name} ({setting}) has no config.json: it holds no encoder."
    elif not folder.is_dir() and not _is_cached(name) and (fault := hub.unreachable()):
        yield (
            f"{corpus}: the {kind} encoder {name!r} ({setting}) is no folder and not in the hub's local cache, and "
            f"{fault}. Copy a folder with it here (`hf download {name.partition('@')[0]} --local-dir FOLDER`); set its "
            "path."
        )


def print_times(corpus: str, settings: StageSettings, params: Params, root: Path) -> None:
    """Print the expected time of each stage on the CPUs of this machine; nothing for a corpus without media here."""
    flops = _core_flops()
    times = expected_times(settings, params, root / "data/raw" / corpus, flops / _CORE_FLOPS)
    if not times:
        return
    rows = [
        [stage, "under a minute" if s < 60 else f"{datetime.timedelta(minutes=round(s / 60))}"[:-3] + " h"]
        for stage, s in times.items()
    ]
    print_table(["stage", "about"], rows, f"{corpus}: expected time on {usable_cpus()} CPU core(s), the first time")
    console.print(
        f"These are estimates, right within a factor of about two: from the lengths of at most {_SAMPLE} files, "
        f"{flops / 1e9:.0f} GFLOP/s of a core as just measured, and the rates in docs/scale.md."
    )
    if torch.cuda.is_available():
        console.print("A GPU is here: text, train_face and train take a fraction of this.")


def expected_times(settings: StageSettings, params: Params, raw: Path, speed: float) -> dict[str, float]:
    """Return seconds by stage, from the lengths of some files; empty without media.

    `speed` is that of a core, against the one on which docs/scale.md was measured. Right within a factor of about two
    for pictures of 640x360 and utterances of the length of MELD's.
    """
    sample, count = _sample(raw), sum(1 for _ in _files(raw))
    if not sample:
        return {}
    mean_s = sum(info.duration_s for info in sample) / len(sample)
    seen = sum(info.has_video for info in sample) / len(sample)
    media_s = mean_s * count
    utterances, parallel = max(count, media_s / _UTTERANCE_S), speed * usable_cpus()
    text, face = settings.finetune_text, settings.train_face
    weights = _encoder_bytes(text.encoder) / 4 or 1e6  # about those that multiply each token
    encode_s = utterances * 2 * weights / (_TEXT_FLOPS * parallel)
    size = (face.image_size / 64) ** 2
    trained = face.source == FERPLUS and seen > 0
    runtime = choose_runtime(settings.extract_visual.runtime, "cpu")
    runs = len(params.ablate.variants) * len(params.ablate.seeds)
    times = {
        "prepare": media_s / (_DECODED_S * parallel),
        "finetune_text": encode_s * _BACKWARDS * text.epochs * (1 + text.folds),
        "extract_text": encode_s,
        "extract_audio": media_s / (_SOUND_S * parallel)
        + _speech_s(settings.extract_audio.encoder, media_s) / parallel,
        "train_face": _FERPLUS_FACES * _FACE_S * size * face.epochs / parallel if trained else 0.0,
        "extract_visual": seen * media_s / (_PICTURE_S[runtime] * parallel),
        "train": utterances * _EPOCH_S * settings.train.epochs * runs / parallel,
    }
    return {stage: seconds for stage, seconds in times.items() if seconds}


def _speech_s(encoder: str, media_s: float) -> float:
    """Return seconds of a core that a speech encoder takes, by its weights and its convolutions; 0 for openSMILE."""
    if not functionals.is_speech_encoder(encoder):
        return 0.0
    return media_s * (_FRAMES_S * 2 * _encoder_bytes(encoder) / 4 + _CONVOLUTIONS) / (_SPEECH_SHARE * _CORE_FLOPS)


def unlink_missing(data: Path) -> None:
    """Remove links of `pipeline.link_files` to what is gone, at which DVC ends with an unexpected error; name each."""
    for files in data.glob("*/files"):
        for stage, setting in LINKED.items():
            link = files / stage
            for path in [link] if link.is_symlink() else sorted(link.rglob("*")):
                if path.is_symlink() and not path.exists():
                    print_note(
                        f"{path.readlink()} is gone, which {files.parent.name}.{setting} in params.yaml named. "
                        f"Put it back, or correct the setting. The link {path}, at which DVC would stop, is removed."
                    )
                    path.unlink()


def _files(raw: Path) -> Iterator[Path]:
    """Yield the files of a raw corpus that may be media."""
    text = (".csv", ".tsv", ".json", ".jsonl", ".srt", ".vtt", ".txt", ".md", ".dvc", ".pdf", ".lab")
    return (path for path in all_files(raw) if path.is_file() and path.suffix.lower() not in text)


def _sample(raw: Path) -> list:
    """Return the measurements of some files that decode, spread over a corpus."""
    files, infos = sorted(_files(raw)), []
    for path in files[:: max(1, len(files) // _SAMPLE)][:_SAMPLE]:
        try:
            infos.append(probe(path))
        except MediaError:
            continue  # `prepare` lists it
    return infos


def _is_cached(name: str) -> bool:
    """Return whether the hub's local cache has a model, `name` or `name@revision`."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    model, _, revision = name.partition("@")
    try:
        return isinstance(try_to_load_from_cache(model, "config.json", revision=revision or None), str)
    except HFValidationError:
        return False


def _encoder_bytes(name: str) -> int:
    if name == SCRATCH_ENCODER:
        return 0
    folder = Path(name)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors")) if folder.is_dir() else _HUB_ENCODER_BYTES


def _core_flops() -> float:
    """Return the float operations per second of one core, from a product of matrices."""
    side = 1024
    with cpu_threads(1):
        matrix = torch.ones(side, side)
        matrix @ matrix
        began = time.perf_counter()
        for _ in range(3):
            matrix @ matrix
        return 3 * 2 * side**3 / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
