"""The stages of stage 1 over one medium with subtitles, as commands: what `dferc-video` must equal."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from ruamel.yaml import YAML

from tests.helpers.corpora import REPOSITORY


def stage_commands(root: Path, project: Path, talk: Path, text: Mapping[str, object]) -> list[tuple[str, list[str]]]:
    """Write a raw folder and settings below `root`, and return stages with their arguments; they write root/features.

    Args:
        root: folder to fill.
        project: folder of models/demo/text and models/demo/face.
        talk: the medium; its .srt lies beside it.
        text: section `extract_text`; the other sections are the demo's.
    """
    raw = root / "raw"
    raw.mkdir(parents=True)
    for path in (talk, talk.with_suffix(".srt")):
        shutil.copy(path, raw)
    yaml = YAML(typ="safe", pure=True)
    document = yaml.load(REPOSITORY / "params.yaml")
    own = document["mine"]["prepare"] | {"options": document["mine"]["prepare"]["options"] | {"table": "subtitles"}}
    document["mine"] = document["demo"] | {"prepare": own, "extract_text": dict(text)}
    document["mine"]["train"] = document["mine"]["train"] | {"class_weights": "balanced"}
    yaml.dump(document, root / "params.yaml")
    rows, utterances, device = root / "rows.csv", root / "features/utterances.h5", ["--device", "cpu"]
    shared = ["--corpus", "mine", "--params", root / "params.yaml", "--raw", raw]
    stages = {"prepare": ["--utterances", rows, "--problems", root / "problems.csv", "--features", utterances]}
    for modality, options in {
        "text": ["--encoder", project / "models/demo/text", *device],
        "audio": [],
        "visual": ["--face", project / "models/demo/face", *device],
    }.items():
        places = {"table": rows, "utterances": utterances, "out": root / f"features/{modality}.h5"}
        places |= {"problems": root / "p.csv", "log": root / "l.json", "scratch": root / "scratch.sqlite"}
        named = [part for name, path in places.items() for part in (f"--{name}", path)]
        stages[f"extract_{modality}"] = [*named, *options]
    return [(name, list(map(str, [*shared, *options]))) for name, options in stages.items()]
