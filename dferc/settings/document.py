"""Loader of params.yaml: typed, checked, frozen settings.

All faults are reported at once, each with its path, the value received, what is allowed, and the nearest known key.
Stage 2 checks the sections that it reads (`train`, `ablate`); stage 1 passes its own block model, with a section per
stage. No setting in the file has a default: each value is there, where DVC tracks it. On a corpus without a block, or
without the file, stage 2 trains with the paper's values (`dferc.settings.sections.DEFAULTS`).
"""

import itertools
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, Tag, ValidationError, create_model
from ruamel.yaml import YAMLError

from dferc.core.errors import InputError, brief, did_you_mean
from dferc.core.files import regular_file
from dferc.settings.sections import DEFAULT_ABLATION, DEFAULT_TUNING, DEFAULTS, Ablate, Train, Tune, Video
from dferc.settings.types import CorpusName, Name, Section, Unique
from dferc.settings.yaml import MOST_CHARACTERS, read_yaml

MOST_FAULTS = 20
"""Faults of a file that a message lists; the others are counted."""

PARAMS = Path("params.yaml")


class TrainBlock(Section):
    """The block of a corpus as stage 2 reads it; other sections belong to stage 1."""

    model_config = ConfigDict(extra="ignore")

    train: Train


class Params(Section):
    """The whole of params.yaml."""

    corpora: list[Name]  # those that `dvc repro` runs
    ablate: Ablate
    video: Video | None  # an older file has none
    tune: Tune  # an older file has none: the default space
    sets: Any  # further feature sets that stage 1 extracts; an older file has none
    blocks: dict[str, Any]  # settings of each corpus

    def corpus(self, name: str) -> Any:
        """Return the block of one corpus."""
        if name not in self.blocks:
            raise InputError(
                f"params.yaml has no block for the corpus {name!r}; it has {', '.join(self.blocks)}."
                f"{did_you_mean(name, self.blocks)} Add a block `{name}:` with a section per stage (see "
                "CONTRIBUTING.md)."
            )
        return self.blocks[name]


def load_params(
    path: str | Path = PARAMS,
    overrides: Iterable[str] = (),
    corpus: str | None = None,
    block: type[Section] = TrainBlock,
    sets: type[Section] | None = None,
    default: Callable[[dict], dict | None] = lambda section: None,
) -> Params:
    """Read and check a params file, with a model of the corpora's blocks; report all its faults together.

    Args:
        path: the file.
        overrides: `section.key=value` settings (YAML values) that are tried in the block of `corpus`.
        corpus: corpus of the overrides.
        block: model of a corpus' block.
        sets: model of the section `sets`, which stage 2 does not read.
        default: called where `corpus` has no block, or there is no file at the usual place, with the section `train`
            that blocks inherit (without a file, the paper's); returns the corpus' own, or None for an error.
    """
    path, overrides = Path(path), list(overrides)
    raw = _read(path) if path.exists() or path != PARAMS else {}
    paper = {"train": DEFAULTS.model_dump(mode="json"), "ablate": DEFAULT_ABLATION.model_dump(mode="json")}
    shared = (raw or paper).get("train")
    if corpus not in raw and isinstance(shared, dict) and (section := default(shared)):
        raw = {**(raw or {**paper, "corpora": [corpus]}), corpus: {"train": section}}
    raw = raw or _read(path)
    faults = _apply_overrides(raw, overrides, corpus, tuple(block.model_fields))
    document, misspelt = _gather_blocks(raw, block)
    faults += misspelt
    model = create_model(  # what runs, the sections that blocks inherit, and the blocks themselves
        "Document",
        __base__=block,
        corpora=(Annotated[list[Name], Field(min_length=1), Unique], ...),
        ablate=(Ablate, ...),
        video=(Video, None),
        tune=(Tune, DEFAULT_TUNING),
        sets=(sets or Any, None),
        blocks=(dict[CorpusName, block], ...),
    )
    try:
        checked = model.model_validate(document)
    except ValidationError as error:
        faults += _explain_all(error.errors(), model)
    else:
        of_sets = itertools.chain.from_iterable(vars(checked.sets).values() if sets and checked.sets else ())
        named = [("corpora", name, f"; blocks: {', '.join(checked.blocks)}") for name in checked.corpora]
        named += [("sets", item.corpus, "") for item in of_sets]
        for key, name, more in named:
            if name not in checked.blocks:
                faults.append(f"{key}: {name!r} has no block in this file{more}.{did_you_mean(name, checked.blocks)}")
    if faults:
        raise InputError(_list_faults(path, faults, [f"{corpus}.{text.partition('=')[0]}" for text in overrides]))
    if given := {text.partition("=")[0].removeprefix("train.") for text in overrides if text.startswith("train.")}:
        of_corpus = checked.blocks[corpus]
        checked.blocks[corpus] = of_corpus.model_copy(update={"train": of_corpus.train.giving(given)})
    return Params(**{name: getattr(checked, name) for name in Params.model_fields})


def _read(path: Path) -> dict:
    if not path.exists():
        raise InputError(f"{path}: no such params file. Run from the repository root, or use --params.")
    try:
        with open(regular_file(path), encoding="utf-8") as file:
            raw = read_yaml(file.read(MOST_CHARACTERS + 1))
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)  # not the whole error, which has advice for programmers
        where = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}" if mark else str(error)
        raise InputError(f"{path} is not readable YAML: {where}. Correct it, or use --params.") from None
    if not isinstance(raw, dict):
        found = type(raw).__name__
        raise InputError(f"{path}: expected sections (corpora, ablate, one block per corpus), found {found}.")
    return raw


def _gather_blocks(raw: Mapping, block: type[Section]) -> tuple[dict[str, Any], list[str]]:
    """Gather the blocks (the keys without a fixed meaning) under one key; return also misspellings of missing keys."""
    fixed = ("corpora", "ablate", "video", "tune", "sets", *block.model_fields)
    missing = [name for name in fixed if name not in raw and name not in ("video", "tune", "sets")]
    document, blocks, faults = {}, {}, []
    for key, value in raw.items():
        nearest = did_you_mean(key, missing)
        if key in fixed:
            document[key] = value
        elif nearest:
            faults.append(f"{key}: unknown key.{nearest}")
        elif block.model_config["extra"] == "forbid" or not isinstance(value, dict) or set(value) & set(fixed):
            blocks[str(key)] = value  # else: a section of stage 1 that blocks inherit
    return document | {"blocks": blocks}, faults


def _apply_overrides(raw: dict, overrides: Iterable[str], corpus: str | None, sections: tuple[str, ...]) -> list[str]:
    """Set each `section.key=value` in the block of `corpus`; return the faults of the overrides themselves."""
    faults = []
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.partition(".")
        block = raw.get(corpus)
        if not (equals and dot and section and key):
            faults.append(f"--set {override}: expected section.key=value, such as train.learning_rate=1.0e-3")
        elif not isinstance(block, dict):
            faults.append(f"--set {override}: there is no block for the corpus {corpus!r}")
        elif section not in sections and section in block:
            faults.append(f"--set {override}: only {', '.join(sections)} is read here; change {section} in the file")
        elif not isinstance(block.get(section), dict):
            faults.append(f"--set {override}: {corpus} has no section {section!r}.{did_you_mean(section, sections)}")
        else:
            try:
                value = read_yaml(text)
            except YAMLError:
                faults.append(f"--set {override}: {brief(text)} is not a YAML value")
                continue
            # A section shared by `<<: *section` or `*section` is one object; the override is for this corpus alone.
            raw[corpus] = block | {section: block[section] | {key: value}}
    return faults


def _list_faults(path: Path, faults: list[str], overridden: list[str]) -> str:
    """List the faults of the file under its name, those of overridden settings under `--set`."""
    starts = ("--set ", *(f"{name}{mark}" for name in overridden for mark in ":."))
    of_set = [fault for fault in faults if fault.startswith(starts)]
    of_file = [fault for fault in faults if fault not in of_set]
    lines = []
    for source, listed in ((path, of_file), ("--set", of_set)):
        more = [f"and {len(listed) - MOST_FAULTS:,} more"] if len(listed) > MOST_FAULTS else []
        if listed:
            lines += [f"{source}: {len(listed)} fault(s)", *(f"  - {one}" for one in listed[:MOST_FAULTS] + more)]
    return "\n".join(lines)


def _explain_all(errors: Iterable[Mapping], model: type[Section]) -> list[str]:
    """Explain each fault in a line; one that a block inherits from a section is reported once."""

    def fault(error: Mapping, location: tuple) -> tuple:
        # The input of a missing key is the whole section, which a block may have changed elsewhere.
        location = tuple(part for part in location if not _is_tag(part))  # a block may have another adapter
        return location, error["type"], "" if error["type"] == "missing" else brief(error["input"])

    errors = list(errors)
    of_sections = {fault(error, error["loc"]) for error in errors}
    return [_explain(error, model) for error in errors if fault(error, error["loc"][2:]) not in of_sections]


def _explain(fault: Mapping, model: type[Section]) -> str:
    """Explain one pydantic error in a line: path, value received, what is allowed, nearest known key."""
    location = tuple(part for part in fault["loc"] if part != "[key]")
    named = [str(part) for part in location if not _is_tag(part)]
    path = ".".join(named[1:] if named[0] == "blocks" else named)
    if fault["type"] == "extra_forbidden":
        known = list(getattr(_section_at(model, location[:-1]), "model_fields", ()))
        return f"{path}: unknown key.{did_you_mean(location[-1], known)} Known: {', '.join(known) or 'none'}"
    if fault["type"] == "missing":
        section, key = _section_at(model, location[:-1]), location[-1]
        usual = section.usual if isinstance(section, type) and issubclass(section, Section) else {}
        return f"{path}: missing; add " + (f"`{key}: {json.dumps(usual[key])}`" if key in usual else "it")
    received, hint = fault["input"], ""
    if isinstance(received, str) and "number" in fault["msg"]:
        hint = " (write floats as 2.0e-5, unquoted)"
    if fault["type"] == "literal_error" and isinstance(received, str):
        expected = fault["ctx"]["expected"].replace(" or ", ",").split(",")
        hint = did_you_mean(received, [option.strip("' ") for option in expected])
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return f"{path}: got {brief(received)} ({type(received).__name__}); {message}{hint}"


def _section_at(model: type[Section], location: tuple) -> Any:
    """Return the type at a location of the document; None where it is unknown."""
    if location and location[0] == "blocks":
        model, location = typing.get_args(model.model_fields["blocks"].annotation)[1], location[2:]
    for part in location:
        if _is_tag(part):  # an alternative of a union, such as the `prepare` section of one adapter
            alternatives = map(typing.get_args, typing.get_args(model))
            model = next(kind for kind, *marks in alternatives if Tag(part) in marks)
        elif isinstance(part, int):  # an item of a list
            model = typing.get_args(model)[0]
        elif typing.get_origin(model) is dict:  # a name of the user's, such as a setting of `tune.space`
            model = typing.get_args(model)[1]
        elif not hasattr(model, "model_fields"):  # an alternative that pydantic names by its type, such as `Range`
            model = next((kind for kind in typing.get_args(model) if getattr(kind, "__name__", "") == part), None)
        else:
            model = model.model_fields[part].annotation
        if model is None:
            return None
    return model


def _is_tag(part: object) -> bool:
    """Return whether a part of a location is no key, but the alternative of a union that pydantic chose."""
    return isinstance(part, str) and part.startswith("<") and part.endswith(">")
