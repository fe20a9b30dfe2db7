"""Content of a features folder with its protocol card, or of a bundle, as data and as text: `dferc inspect`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from rich.text import Text

from dferc.core.console import console, print_table, warn_of_simulation
from dferc.core.metrics import MAIN_FIRST
from dferc.core.records import StoredRecord, read_record
from dferc.store.bundle import open_bundle
from dferc.store.card import protocol_card
from dferc.store.hdf5 import read_sets
from dferc.store.rows import OF_ROWS, CachedCorpus, Features, Utterances, by_set
from dferc.store.vocabulary import MODALITIES, SPLITS


def inspect_corpus(corpus: CachedCorpus) -> dict:
    """Return the protocol card, with what there is of each modality or set; presence is None in an empty split."""
    modalities = {name: _describe(features, corpus.utterances) for name, features in corpus.modalities.items()}
    there = {name.partition("/")[0] for name in modalities}
    return {
        "rows_hash": corpus.utterances.rows_hash,
        **protocol_card(corpus.utterances),
        "votes": _count_votes(corpus.utterances),
        "missing": [modality for modality in MODALITIES if modality not in there],
        "modalities": modalities,
    }


def _count_votes(rows: Utterances) -> dict[str, int] | None:
    """Return how many utterances of each split have annotators' votes; None where the corpus has none."""
    if rows.votes is None:
        return None
    given_N = ~np.isnan(rows.votes).any(axis=1)
    return {split: int((given_N & (rows.split == split)).sum()) for split in SPLITS}


def _describe(features: Features, rows: Utterances) -> dict:
    present = {split: features.present[rows.split == split] for split in SPLITS}
    return {
        "width": features.width,
        "present": {split: float(there.mean()) if len(there) else None for split, there in present.items()},
        "identity": dict(features.identity),
    }


def inspect_sets(folder: Path, data: Path) -> dict[str, dict]:
    """Read and verify every feature set of a folder; return for each what `inspect_corpus` does, and `seconds`.

    Args:
        folder: features/<corpus>.
        data: data/<corpus>, where stage 1 logs the time of an extraction; `seconds` is None where no log is of the set.
    """
    corpus, sets = read_sets(folder), {}
    rows = corpus.utterances
    for name, features in corpus.modalities.items():
        seconds, log = None, data / f"extract_{name.replace('/', '_')}.json"
        if log.exists():
            logged = read_record(log, ExtractionLog, "Extract the set again.")
            of_rows = {key: features.identity[key] for key in OF_ROWS if key in features.identity}
            if logged["identity"] | of_rows == features.identity:
                seconds = sum(logged["steps_s"].values())
        sets[name] = _describe(features, rows) | {"seconds": seconds}
    return sets


def show_sets(sets: Mapping[str, Mapping]) -> None:
    """Print each feature set on a line: name, width, presence by split, maker, seconds of its extraction."""
    widest = max(map(len, sets), default=0)
    for name, about in sets.items():
        shares = " ".join("-" if share is None else f"{share:.1%}" for share in about["present"].values())
        seconds = "" if about["seconds"] is None else f"; {about['seconds']:,.1f} s"
        line = f"{name:<{widest}}  width {about['width']:5}, present {shares}; {maker_of(about['identity'])}{seconds}"
        console.print(Text(line), soft_wrap=True)


def maker_of(identity: Mapping) -> str:
    """Return who made features, in a few words: extractor, the settings that name an encoder, the file of an import."""
    params = identity.get("params") if isinstance(identity.get("params"), Mapping) else {}
    named = {key: {**identity, **params}.get(key) for key in ("encoder", "feature_set", "layer", "pooling", "known_as")}
    words = [str(identity.get("extractor", "unknown")), *(f"{key} {value}" for key, value in named.items() if value)]
    if "known_as" not in identity and "file" in identity:
        words.append(f"file {identity['file']}")
    if isinstance(identity.get("model"), str):  # tells two encoders of one library apart, and an edited folder
        words.append(f"model {identity['model'][:8]}")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in ", ".join(words))


class ExtractionLog(StoredRecord):
    """Schema of what `dferc features` reads of data/<corpus>/extract_<set>.json."""

    identity: dict[str, Any]
    steps_s: dict[str, Annotated[float, Field(ge=0)]]


def show_inspection(inspection: dict) -> None:
    """Print the folder's name, and what `inspect_corpus` returned, for people."""
    console.print(f"{inspection['folder']}: corpus {inspection['corpus']}, rows {inspection['rows_hash']}")
    console.print(f"protocol card {inspection['card']}: {inspection['protocol']}")
    splits = inspection["splits"]
    names = ("dialogues", "utterances", "labelled")
    rows = [[name, *(str(split[name]) for split in splits.values())] for name in names]
    rows.append(["speakers in a dialogue, at most", *(str(split["most_speakers"]) for split in splits.values())])
    for emotion in splits[SPLITS[0]]["classes"]:
        rows.append([f"  {emotion}", *(str(split["classes"][emotion]) for split in splits.values())])
    if inspection["votes"]:
        rows.append(["with annotators' votes", *map(str, inspection["votes"].values())])
    for modality, about in inspection["modalities"].items():
        shares = ("-" if share is None else f"{share:.1%}" for share in about["present"].values())
        rows.append([f"{modality} present (width {about['width']})", *shares])
    print_table(["", *splits], rows)
    if not inspection["modalities"]:
        console.print("no features yet: the `extract` stages of `dvc repro` make them, `dferc import` reads others'")
    else:
        for modality in inspection["missing"]:
            console.print(f"{modality}: there is no {modality}.h5; a model trained here does without it")
    console.print("changes to the corpus:" if inspection["notes"] else "changes to the corpus: none are noted")
    for note in inspection["notes"]:
        what = note["what"].replace("utterances", "utterance", 1) if note["count"] == 1 else note["what"]
        console.print(f"  {note['action']} {note['count']} {what}: {note['why']}")
    console.print("leaks looked for:")
    for check in inspection["checks"]:
        colour = {"none": "green", "found": "bold red"}.get(check["verdict"], "yellow")
        console.print(f"  {check['leak']}:", Text(check["verdict"], style=colour), f"({check['detail']})")
        for example in check["examples"]:
            console.print(f"    {example}")
    for modality, about in inspection["modalities"].items():
        console.print(f"{modality} was made by:")
        for key, value in about["identity"].items():
            console.print(f"  {key}: {value}")


def inspect_bundle(source: str | Path) -> dict:
    """Open and verify a bundle; return its manifest and the folder where it lies."""
    bundle = open_bundle(source)
    return {"folder": str(bundle.folder), **bundle.manifest.model_dump(mode="json", by_alias=True, exclude_none=True)}


def show_bundle(inspection: dict) -> None:
    """Print what `inspect_bundle` returned, for people."""
    seeds = ", ".join(map(str, inspection["seeds"]))
    console.print(f"{inspection['folder']}: bundle, all {len(inspection['files'])} files as they were bundled")
    console.print(f"trained on {inspection['corpus']}, variant {inspection['variant']}, seed {seeds}")
    console.print(f"protocol card {inspection['card']}: {inspection['protocol']}")
    console.print(f"classes: {', '.join(inspection['classes'])}")
    warn_of_simulation(inspection["synthetic"], "its predictions")
    if splits := [split for split in SPLITS if split in inspection["scores"]]:
        names = (*MAIN_FIRST, "ece", "ece_calibrated", "ece_of_mean", "ece_of_mean_calibrated")
        rows = [[name, *(score_and_interval(inspection["scores"][split], name) for split in splits)] for name in names]
        print_table(["", *splits], rows, f"mean over {inspection['scored_seeds']} seed(s) [95 % interval]")
    for seed in inspection["seeds"]:
        fitted = inspection["calibration"].get(str(seed), {})
        note = f" ({fitted['note']})" if fitted.get("note") else ""
        console.print(f"seed {seed}: temperature {fitted.get('temperature', 'none')}{note}")
    if of_mean := inspection.get("calibration_of_mean"):
        console.print(f"mean over the seeds: temperature {of_mean['temperature']}")
    for name, section in inspection["settings"].items():
        name = name.removeprefix("extract_")
        modality = name.partition("/")[0]
        identity = by_set(modality, inspection["identities"].get(modality, {})).get(name, {})
        console.print(f"{name}: {identity.get('extractor')}; {section}")
    for licence in inspection["licences"]:
        console.print(f"{licence.get('part')}: {licence.get('licence')}")
    if not inspection["opensmile"]:
        console.print("free of openSMILE: no audio feature is used, so its non-commercial licence does not apply")
    for name, digest in inspection["files"].items():
        console.print(f"  {digest[:16]}  {name}")


def score_and_interval(scores: Mapping, name: str) -> str:
    """Write a bundle's score with the 95 % interval of its mean, where there is one; a dash where there is no score."""
    if name not in scores:
        return "–"
    interval = scores.get(f"{name}_interval")
    return f"{scores[name]:.4f}" + (" [{:.4f}, {:.4f}]".format(*interval) if interval else "")
