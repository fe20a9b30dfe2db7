"""Good feature files, perturbed: the same rows come out, or a problem is listed, or the file is refused. Never silence.

`DFERC_PERTURBATIONS` sets how many are tried (`make test-long` may set 2000).
"""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.importing.file_types import read_source
from dferc.importing.join import join
from dferc.importing.transcripts import read_prepared
from dferc.store.hdf5 import read_corpus, write_features, write_utterances
from tests.helpers.common import make_features, make_utterances
from tests.helpers.feature_files import dump_python2

COUNT = int(os.environ.get("DFERC_PERTURBATIONS", "60"))
BATCHES = 8
LENGTHS = {"train": (3, 2, 4), "validation": (2, 3), "test": (3,)}
EMOTIONS = ("joy", "anger", "fear")
OTHER_NAMES = {"validation": "valid"}


class Good:
    """Utterances that are known by their number: each vector and each label shows whose it is."""

    def __init__(self):
        self.rows = []  # (split, dialogue, position, number)
        for split, lengths in LENGTHS.items():
            for dialogue, length in enumerate(lengths):
                self.rows += [
                    (split, f"{split}{dialogue}", place, len(self.rows) + place + 1) for place in range(length)
                ]
        self.numbers = {f"{dialogue}_{place}": number for _, dialogue, place, number in self.rows}

    def label(self, number: int) -> str:
        return EMOTIONS[number % 3]


GOOD = Good()


def vector(number: int, modality: str) -> np.ndarray:
    return np.full(5 if modality.endswith("text") else 4, number + (0.5 if modality.endswith("audio") else 0.0), "f4")


# ---------------------------------------------------------------------------------------------------- tables


def table() -> dict[str, np.ndarray]:
    return {
        "dialogue": np.array([dialogue for _, dialogue, *_ in GOOD.rows]),
        "utterance": np.array([f"{dialogue}_{place}" for _, dialogue, place, _ in GOOD.rows]),
        "split": np.array([split for split, *_ in GOOD.rows]),
        "emotion": np.array([GOOD.label(number) for *_, number in GOOD.rows]),
        "text": np.stack([vector(number, "text") for *_, number in GOOD.rows]),
        "audio": np.stack([vector(number, "audio") for *_, number in GOOD.rows]),
    }


def perturb_table(columns: dict[str, np.ndarray], random: np.random.Generator) -> dict[str, np.ndarray]:
    name, row, other = random.choice(list(columns)), *random.integers(0, len(GOOD.rows), 2)
    text = [key for key, column in columns.items() if column.dtype.kind == "U"]
    matrix = str(random.choice(["text", "audio"]))
    return random.choice(
        [
            lambda: {key: np.delete(column, row, axis=0) for key, column in columns.items()},
            lambda: {key: np.concatenate([column, column[[row]]]) for key, column in columns.items()},
            lambda: {key: column[_swapped(len(column), row, other)] for key, column in columns.items()},
            lambda: {key: column[random.permutation(len(column))[: 9 + row]] for key, column in columns.items()},
            lambda: columns | {name: np.delete(columns[name], row, axis=0)},
            lambda: columns | {name: np.concatenate([columns[name], columns[name][[row]]])},
            lambda: {key: column for key, column in columns.items() if key != name},
            lambda: {key.upper() if key == name else key: column for key, column in columns.items()},
            lambda: {f"my_{key}" if key == name else key: column for key, column in columns.items()},
            lambda: columns | {name: columns[name].astype(object)},
            lambda: columns | {matrix: columns[matrix].astype(random.choice([">f4", "f2", "f8", ">f8"]))},
            lambda: columns | {matrix: np.nan_to_num(columns[matrix], neginf=0).astype("i4")},
            lambda: columns | {matrix: np.asfortranarray(columns[matrix])},
            lambda: columns | {matrix: columns[matrix].T},
            lambda: columns | {matrix: columns[matrix][:, :, None]},
            lambda: columns | {matrix: np.where(np.arange(len(GOOD.rows))[:, None] == row, np.nan, columns[matrix])},
            lambda: columns | {matrix: np.where(np.arange(len(GOOD.rows))[:, None] == row, -np.inf, columns[matrix])},
            lambda: columns | {key: np.char.encode(columns[key]) for key in text},
            lambda: columns | {key: np.char.add(columns[key], "  ") for key in text},
            lambda: columns | {"emotion": np.char.upper(columns["emotion"])},
            lambda: columns | {"emotion": np.where(np.arange(len(GOOD.rows)) == row, "", columns["emotion"])},
            lambda: columns | {"split": np.where(np.arange(len(GOOD.rows)) == row, "holdout", columns["split"])},
            lambda: columns | {"split": np.where(columns["split"] == "validation", "dev", columns["split"])},
            lambda: columns | {"more": np.arange(len(GOOD.rows))},
            lambda: {key: column[:0] for key, column in columns.items()},
        ]
    )()


def _swapped(count: int, row: int, other: int) -> np.ndarray:
    order = np.arange(count)
    order[[row, other]] = order[[other, row]]
    return order


def write_table(path: Path, columns: dict[str, np.ndarray], random: np.random.Generator) -> None:
    kind = random.choice(["npz", "compressed", "HDF5", "gzip"])
    if kind in ("npz", "compressed"):
        (np.savez if kind == "npz" else np.savez_compressed)(path.open("wb"), **columns)
        return
    with h5py.File(path, "w") as file:
        for key, column in columns.items():
            text = column.dtype.kind in "UO" and key not in ("text", "audio")
            data = column.astype(object if text else column.dtype.str.replace("O", "f4").replace("U", "S"))
            options = {"compression": 4} if kind == "gzip" and column.size else {}
            file.create_dataset(key, data=data, **({"dtype": h5py.string_dtype()} if text else {}), **options)


# ---------------------------------------------------------------------------------------------------- pickles


def mmsa() -> dict:
    parts: dict = {}
    for split, dialogue, place, number in GOOD.rows:
        part = parts.setdefault(
            OTHER_NAMES.get(split, split), {key: [] for key in ("id", "text", "audio", "annotations")}
        )
        part["id"].append(f"{dialogue}$_${place}")
        part["text"].append(np.stack([vector(number, "text")] * 2 + [np.zeros(5, "f4")]))
        part["audio"].append(np.stack([vector(number, "audio")] * 2))
        part["annotations"].append(GOOD.label(number))
    return {s: {k: np.stack(v) if k in ("text", "audio") else v for k, v in part.items()} for s, part in parts.items()}


def perturb_mmsa(parts: dict, random: np.random.Generator) -> object:
    split, name = random.choice(list(parts)), random.choice(["id", "text", "audio", "annotations"])
    part = parts[split]
    order = random.permutation(len(part["id"]))

    def put(key: str, value: object) -> dict:
        return parts | {split: part | {key: value}}

    def every(change) -> dict:
        return parts | {split: {key: change(value) for key, value in part.items()}}

    return random.choice(
        [
            lambda: {key: value for key, value in parts.items() if key != split},
            lambda: parts | {"more": part},
            lambda: put(name, part[name][1:]),
            lambda: put(name, None),
            lambda: parts | {split: {key: value for key, value in part.items() if key != name}},
            lambda: every(lambda value: [value[place] for place in order] if isinstance(value, list) else value[order]),
            lambda: every(lambda value: value[1:]),
            lambda: every(
                lambda value: value + value[:1] if isinstance(value, list) else np.concatenate([value, value[:1]])
            ),
            lambda: put("id", [text.encode() for text in part["id"]]),
            lambda: put("id", np.array(part["id"])),
            lambda: put("id", [text.replace("$_$", "_") for text in part["id"]]),
            lambda: put("text", part["text"].astype("f8")),
            lambda: put("text", part["text"][:, :, :3]),
            lambda: put("text", part["text"][:, 0]),
            lambda: put("text", part["text"].tolist()),
            lambda: put("audio", np.where(np.arange(2)[:, None] == 1, -np.inf, part["audio"])),
            lambda: put("audio", np.full_like(part["audio"], np.nan)),
            lambda: put("audio_lengths", [1] * len(part["id"])),
            lambda: put("audio_lengths", [3] * len(part["id"])),
            lambda: put("annotations", [label.upper() for label in part["annotations"]]),
            lambda: put("annotations", ["", *part["annotations"][1:]]),
            lambda: {key.upper(): value for key, value in parts.items()},
            lambda: list(parts.values()),
            lambda: {key.encode(): value for key, value in parts.items()},
        ]
    )()


def vectors() -> dict[str, np.ndarray]:
    return {key: vector(number, "text") for key, number in GOOD.numbers.items()}


def perturb_vectors(content: dict, random: np.random.Generator) -> object:
    key = random.choice(list(content))
    return random.choice(
        [
            lambda: {name: value for name, value in content.items() if name != key},
            lambda: {name: content[name] for name in random.permutation(list(content)).tolist()},
            lambda: content | {f"{key} ": content[key]},
            lambda: content | {"other": content[key]},
            lambda: content | {key: content[key][1:]},
            lambda: content | {key: content[key][None]},
            lambda: content | {key: np.full(5, np.nan, "f4")},
            lambda: {name: value.astype("f8") for name, value in content.items()},
            lambda: {name: value[None] for name, value in content.items()},
            lambda: {name.upper(): value for name, value in content.items()},
            lambda: {f"{name}.wav": value for name, value in content.items()},
        ]
    )()


def write_pickle(path: Path, content: object, random: np.random.Generator) -> None:
    protocol = int(random.integers(0, 7))
    path.write_bytes(dump_python2(content) if protocol > 5 else pickle.dumps(content, protocol))


def write_vectors(path: Path, content: dict, random: np.random.Generator) -> None:
    kind = random.choice(["pickle", "npz", "safetensors", "npy"])
    if kind == "safetensors":
        save_file({key: np.ascontiguousarray(value) for key, value in content.items()}, path)
    elif kind == "npz":
        np.savez(path.open("wb"), **content)
    elif kind == "npy":
        np.save(path.open("wb"), content, allow_pickle=True)
    else:
        write_pickle(path, content, random)


# ---------------------------------------------------------------------------------------------------- the property


def prepared(folder: Path) -> None:
    rows = make_utterances(corpus="mine", classes=EMOTIONS)
    from dataclasses import replace

    count = len(GOOD.rows)
    columns = {name: getattr(rows, name)[:count] for name in ("speaker", "text", "start_s", "end_s")}
    ids = [np.array(column, dtype=object) for column in zip(*((d, f"{d}_{p}", s) for s, d, p, _ in GOOD.rows))]
    columns |= dict(zip(("dialogue_id", "utterance_id", "split"), ids))
    columns["position"] = np.array([place for _, _, place, _ in GOOD.rows])
    columns["emotion"] = np.array([EMOTIONS.index(GOOD.label(number)) for *_, number in GOOD.rows])
    write_utterances(folder / "utterances.h5", replace(rows, **columns))


def outcome(path: Path, folder: Path) -> str:
    """Import a file; return "refused", "listed" or "same". Fails where a row is wrong and nothing tells."""
    try:
        source = read_source(path, "mean", classes=())
        guides = [] if source.labels else [read_prepared(folder)]
        chosen = {"text": source} if source.modalities == ("?",) else {}
        imported = join([source], chosen, guides, "mine")
    except InputError as error:
        assert str(path) in str(error) and len(str(error)) < 3000, error
        return "refused"
    rows, told = imported.corpus.utterances, bool(imported.problems or rows_notes(imported))
    counted = any(problem.kind == "no utterance ids" for problem in imported.problems)
    for row, name in enumerate(rows.utterance_id):
        if counted:  # which is listed; then labels and vectors must still belong together
            text = imported.corpus.modalities.get("text") or imported.corpus.modalities["audio"]
            number = int(text.features[row, 0]) or GOOD.numbers["train0_0"]
            if not text.present[row]:
                continue
        else:
            number = GOOD.numbers[name.replace("$_$", "_").removeprefix("train_").strip()]
        label = rows.classes[rows.emotion[row]].lower() if rows.emotion[row] >= 0 else None
        assert label in (GOOD.label(number), None), (name, label)
        for modality, features in imported.corpus.modalities.items():
            if features.present[row]:
                expected = vector(number, modality)
                value = features.features[row]
                is_whole = value.tolist() == expected[: len(value)].astype(int).tolist()  # integers were given
                assert is_whole or np.allclose(value, expected[: len(value)], rtol=1e-3), (name, modality, value)
            else:
                assert told, (name, modality)
    return "listed" if told else "same"


def rows_notes(imported) -> tuple:
    return imported.corpus.utterances.notes


WAYS = {
    "table": (table, perturb_table, write_table),
    "MMSA": (mmsa, perturb_mmsa, write_pickle),
    "vectors": (vectors, perturb_vectors, write_vectors),
}


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.parametrize("way", WAYS)
def test_perturbed_files_give_the_same_rows_or_a_problem_or_a_refusal(tmp_path, way, batch):
    make, perturb, write = WAYS[way]
    prepared(tmp_path / "mine")
    outcomes = []
    for number in range(COUNT // BATCHES // len(WAYS) + 1):
        random = np.random.default_rng([batch, number])
        content = make()
        try:
            for _ in range(int(random.integers(1, 3))):
                content = perturb(content, random)
                if way == "table" and len(set(map(len, content.values()))) > 1:
                    break  # a second change could restore the length, with values at other rows: no file shows that
            write(tmp_path / "file", content, random)
        except (TypeError, ValueError, KeyError, AttributeError, IndexError):
            continue  # no format of its kind can hold this, or two perturbations exclude each other
        outcomes.append(outcome(tmp_path / "file", tmp_path / "mine"))
    assert outcomes


@pytest.mark.parametrize("way", WAYS)
def test_a_good_file_is_the_same(tmp_path, way):
    make, _, write = WAYS[way]
    prepared(tmp_path / "mine")
    for seed in range(8):
        write(tmp_path / "file", make(), np.random.default_rng(seed))
        outcome(tmp_path / "file", tmp_path / "mine")
        source = read_source(tmp_path / "file", "mean")
        assert sum(map(len, (source.vectors or source.labels).values())) == len(GOOD.rows)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_bytes_are_a_message_or_nothing(tmp_path, batch):
    """Values may change where a file has no checksum; a traceback or a hang may not come of it."""
    prepared(tmp_path / "mine")
    for number in range(COUNT // BATCHES + 1):
        random = np.random.default_rng([1, batch, number])
        make, _, write = WAYS[random.choice(list(WAYS))]
        write(tmp_path / "file", make(), random)
        (tmp_path / "file").write_bytes(damaged((tmp_path / "file").read_bytes(), random))
        try:
            source = read_source(tmp_path / "file", "mean")
            guides = [] if source.labels else [read_prepared(tmp_path / "mine")]
            join([source], {"text": source} if source.modalities == ("?",) else {}, guides, "mine")
        except InputError as error:
            assert len(str(error)) < 3000


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(int(random.integers(1, 6))):
        place = int(random.integers(0, len(changed)))
        how = random.integers(0, 4)
        if how == 0:
            changed[place] = int(random.integers(0, 256))
        elif how == 1:
            changed[place : place + 4] = random.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
        elif how == 2:
            del changed[place : place + int(random.integers(1, 40))]
        else:
            changed[place:place] = changed[max(0, place - 30) : place]
        if not changed:
            break
    return bytes(changed)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_damaged_features_folder_is_a_message_or_sound(tmp_path, batch):
    rows = make_utterances()
    write_utterances(tmp_path / "demo/utterances.h5", rows)
    write_features(tmp_path / "demo/text.h5", make_features(rows, "text", 4))
    whole = {name: (tmp_path / "demo" / name).read_bytes() for name in ("utterances.h5", "text.h5")}
    for number in range(COUNT // BATCHES + 1):
        random = np.random.default_rng([2, batch, number])
        for name, data in whole.items():
            (tmp_path / "demo" / name).write_bytes(data)
        name = str(random.choice(list(whole)))
        (tmp_path / "demo" / name).write_bytes(damaged(whole[name], random))
        try:
            read_corpus(tmp_path / "demo")
        except InputError as error:
            assert str(tmp_path / "demo") in str(error)
        if number % 10 == 0:
            result = CliRunner().invoke(main, ["inspect", str(tmp_path / "demo")])
            assert result.exit_code in (0, 1) and (result.exit_code == 0 or "error:" in result.stderr), result.output
