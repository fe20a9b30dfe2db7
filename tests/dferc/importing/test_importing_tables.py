"""`dferc import` of tables: .npz, HDF5 and Parquet, one row per utterance."""

import h5py
import numpy as np
import pyarrow
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from dferc.cli.main import main
from dferc.store.hdf5 import read_corpus
from tests.dferc.importing.test_importing_layouts import train_one_epoch
from tests.helpers import feature_files as made


def write_npz(path, columns):
    np.savez(path, **columns)


def write_objects(path, columns):
    np.savez(path, **{name: column.astype(object) if column.ndim == 1 else column for name, column in columns.items()})


def write_hdf5(path, columns):
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[name] = column.astype(object) if column.dtype.kind == "U" else column


def write_parquet(path, columns):
    table = {name: list(column) if column.ndim == 2 else column for name, column in columns.items()}
    parquet.write_table(pyarrow.table(table), path)


@pytest.mark.parametrize("write", [write_npz, write_objects, write_hdf5, write_parquet])
def test_table_is_imported_and_trained(tmp_path, write):
    write(tmp_path / "table.npz", made.table())
    result = CliRunner().invoke(
        main, ["import", str(tmp_path / "table.npz"), "--corpus=mine", f"--features={tmp_path}"]
    )
    assert result.exit_code == 0, result.output
    found = read_corpus(tmp_path / "mine", "mine")
    rows = found.utterances
    assert rows.dialogue_id.tolist() == ["train_0"] * 2 + ["train_1"] * 3 + ["train_2"] + ["dev_0"] * 2 + ["test_1"]
    assert rows.utterance_id[:2].tolist() == ["train_0_0", "train_0_2"] and rows.position[1] == 2
    assert rows.classes == ("anger", "joy") and rows.emotion.tolist() == [1, 0, -1, 1, 0, 1, 1, 0, 1]
    assert rows.split.tolist() == ["train"] * 6 + ["validation"] * 2 + ["test"]
    assert rows.speaker[1] == "Bob" and rows.text[8] == "line 8"
    np.testing.assert_array_equal(found.modalities["text"].features, made.table()["text"].astype(np.float32))
    assert found.modalities["audio"].width == 5
    train_one_epoch(found, tmp_path)


def test_rows_are_put_in_order_with_their_features(tmp_path):
    columns = made.table()
    order = np.random.default_rng(1).permutation(9)
    write_npz(tmp_path / "shuffled.npz", {name: column[order] for name, column in columns.items()})
    write_npz(tmp_path / "table.npz", columns)
    for name in ("table", "shuffled"):
        arguments = ["import", str(tmp_path / f"{name}.npz"), f"--corpus={name}", f"--features={tmp_path}"]
        assert CliRunner().invoke(main, arguments).exit_code == 0
    sorted_rows, shuffled = (read_corpus(tmp_path / name) for name in ("table", "shuffled"))
    assert sorted_rows.utterances.rows_hash == shuffled.utterances.rows_hash
    np.testing.assert_array_equal(sorted_rows.modalities["text"].features, shuffled.modalities["text"].features)


def test_parquet_with_two_columns_of_one_name_is_refused(tmp_path):
    columns = [pyarrow.array(range(2)), pyarrow.array([[1.0], [2.0]]), pyarrow.array([[1.0], [2.0]])]
    parquet.write_table(pyarrow.Table.from_arrays(columns, names=["dialogue", "text", "text"]), tmp_path / "x.parquet")
    result = CliRunner().invoke(main, ["import", str(tmp_path / "x.parquet"), "--corpus=mine"])
    assert result.exit_code == 1 and "x.parquet: columns of one name: dialogue, text, text" in result.stderr
