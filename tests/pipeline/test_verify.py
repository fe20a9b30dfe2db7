"""A features file against what is computed again: what differs is found, named and measured; rounding is not."""

import json
import re
import shutil
import tomllib
from importlib.metadata import EntryPoint, EntryPoints

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from dferc.cli import main as commands
from dferc.core.errors import InputError
from dferc.engine import WorkerDied
from dferc.store.hdf5 import write_features
from dferc.store.rows import Features
from pipeline import extract_audio, verify
from pipeline.extraction.loop import Extractor
from pipeline.extraction.records import Record
from tests.helpers.clips import tone, write_clip
from tests.helpers.corpora import REPOSITORY, make_row, run_stage, write_rows

NAMES = ["a.wav", "b.wav", "c.wav", "d.wav"]
ROWS = [make_row(f"u{number}", "clip") for number in range(5)]
VALUES = np.array([[0, 10], [2, 10], [4, 10], [6, 10], [8, 10]], np.float32)  # deviations √8 and 0


def features(absent=(), **changes):
    present = ~np.isin(np.arange(5), absent)
    settings = {
        "modality": "visual",
        "corpus": "demo",
        "features": VALUES * present[:, None],
        "present": present,
        "utterance_id": np.array([row.utterance_id for row in ROWS], object),
        "identity": {"extractor": "one", "params": {"margin": 0.1, "size": 64}, "rows_hash": "x"},
        "quality": {"share": np.linspace(0, 1, 5, dtype=np.float32)},
    }
    return Features(**settings | changes)


def extractor(records=None, **changes):
    """Gives what `features` holds, but for `records`; backwards, as workers may."""
    made = features()

    def compute(sample):
        for row in reversed(sample):
            record = Record({"features": VALUES[row], "share": made.quality["share"][row]})
            yield row, (records or {}).get(row, record)

    settings = {
        "modality": "visual",
        "width": 2,
        "identity": {name: made.identity[name] for name in ("extractor", "params")},
        "code": (),
        "wants": lambda row: True,
        "content": lambda row: None,
        "compute": compute,
        "quality": ("share",),
    }
    return Extractor(**settings | changes)


def record(first, second, share):
    return Record({"features": np.array([first, second], np.float32), "share": np.float32(share)})


def test_deviation_is_in_standard_deviations_of_the_feature():
    changed = {1: record(2 + np.sqrt(8) / 4, 10, 0.25), 2: record(4, 10, 0.5 + np.sqrt(0.125) * 3)}
    found = verify.deviations(features(), extractor(changed), [0, 1, 2])
    assert [each.utterance_id for each in found] == ["u0", "u1", "u2"]
    assert [each.largest for each in found] == pytest.approx([0, 0.25, 3], rel=1e-6)
    assert [each.what for each in found[1:]] == ["feature 0", "feature share"]


def test_deviation_of_a_constant_feature_is_in_thousandths_of_its_size():
    [found] = verify.deviations(features(), extractor({3: record(6, 10.01, 0.75)}), [3])
    assert found.largest == pytest.approx(1, rel=1e-4) and found.what == "feature 1"


def test_scale_leaves_out_what_is_absent():
    made = features(absent=[3, 4])  # 0, 2, 4: deviation √(8/3)
    [found] = verify.deviations(made, extractor({0: record(1, 10, 0)}), [0])
    assert found.largest == pytest.approx(np.sqrt(3 / 8))


@pytest.mark.parametrize(
    ("absent", "given", "what"),
    [
        ([], Record(problem="no face: none"), "present in the file only; here: no face: none"),
        ([0], record(0, 10, 0), "absent in the file only"),
        ([], WorkerDied(3), "worker died: 3 times"),
    ],
)
def test_presence_and_dead_workers_count_as_differences(absent, given, what):
    [found] = verify.deviations(features(absent), extractor({0: given}), [0])
    assert found.largest == np.inf and what in found.what


def test_absent_in_both_is_the_same():
    [found] = verify.deviations(features(absent=[0]), extractor({0: Record(problem="no face")}), [0])
    assert found.largest == 0


def test_identity_differs_setting_by_setting(tmp_path, capsys):
    here = {"extractor": "one", "params": {"margin": 0.2, "size": 64}, "model": "abc"}
    verify.verify(tmp_path, features(), ROWS, extractor(identity=here), 20, 0)
    model, margin, _ = capsys.readouterr().err.splitlines()
    assert model.endswith("model: None in the file, 'abc' here")
    assert margin.endswith("params.margin: 0.1 in the file, 0.2 here")


def test_sample_is_drawn_from_those_that_have_the_modality(tmp_path):
    drawn = []

    def compute(sample):
        drawn.append(sample)
        return extractor().compute(sample)

    here = extractor(compute=compute, wants=lambda row: row.utterance_id != "u4")
    made = features(absent=[4])
    for seed in (0, 0, 1, 2, 3):
        verify.verify(tmp_path, made, ROWS, here, 2, seed)
    verify.verify(tmp_path, made, ROWS, here, 99, 0)
    assert drawn[0] == drawn[1] and len(set(map(tuple, drawn))) > 2 and drawn[-1] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("made", "here", "rows", "message"),
    [
        (features(), extractor(wants=lambda row: row.utterance_id != "u4"), ROWS, "1 utterance(s) that have no visual"),
        (features(), extractor(width=3), ROWS, "2 features per utterance; here there would be 3"),
        (features(), extractor(quality=("share", "size")), ROWS, "figures share; here there would be share, size"),
        (features(), extractor(), ROWS[1:], "has not the utterances prepared here"),
        (features(), extractor({4: record(0, 0, 0)}), ROWS, "5 of 5 utterances computed again; 1 differ"),
    ],
)
def test_files_that_cannot_be_the_same_are_refused(tmp_path, made, here, rows, message):
    with pytest.raises(InputError, match=re.escape(message)):
        verify.verify(tmp_path, made, rows, here, 20, 0)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """A corpus with audio.h5, as the stage makes it."""
    folder = tmp_path_factory.mktemp("corpus")
    for number, name in enumerate(NAMES):
        write_clip(folder / name, sound=tone(0.3, hz=150 + 100 * number))
    write_rows(folder, [make_row(name, name, 0.3) for name in NAMES])
    assert run_stage(extract_audio.main, folder, workers=0, out=folder / "audio.h5").exit_code == 0
    return folder


@pytest.fixture
def copied(extracted, tmp_path):
    """A copy of its file, to be changed."""
    shutil.copy(extracted / "audio.h5", tmp_path)
    return tmp_path / "audio.h5"


def run(corpus, file, **options):
    given = {
        "corpus": "demo",
        "modality": "audio",
        "features": file.parent,
        "params": REPOSITORY / "params.yaml",
        "raw": corpus,
        "table": corpus / "utterances.csv",
        "workers": 0,
    } | options
    return CliRunner().invoke(verify.main, [f"--{name}={value}" for name, value in given.items()])


def test_file_as_made_here_is_the_same(extracted, copied):
    outcome = run(extracted, copied, sample=3)
    assert outcome.exit_code == 0, outcome.stderr
    assert "3 of 4 utterances computed again; all within 0.001 standard deviations" in outcome.stderr
    assert "note:" not in outcome.stderr
    (copied.parent / "demo").mkdir()  # where a corpus is called audio, its further sets lie there
    assert run(extracted, copied, sample=1).exit_code == 0
    (copied.parent / "features/demo").mkdir(parents=True)
    moved = copied.rename(copied.parent / "features/demo/audio.h5")
    assert run(extracted, moved, features=moved.parents[1], sample=1).exit_code == 0  # as other commands name it


@pytest.mark.parametrize(("moved", "status"), [(1e-4, 0), (1e-2, 1)])
def test_changed_value_is_found_and_named(extracted, copied, moved, status):
    with h5py.File(copied, "r+") as file:
        values_ND = file["features"][()].astype(np.float64)
        column = int((values_ND.std(axis=0) / (np.abs(values_ND).max(axis=0) + 1e-9)).argmax())
        file["features"][2, column] = values_ND[2, column] + moved * values_ND[:, column].std()
        name = file["feature_names"].asstr()[column]
    outcome = run(extracted, copied)
    assert outcome.exit_code == status, outcome.stderr
    told = re.search(rf"c\.wav: (\S+) \(feature {re.escape(name)}\)", outcome.stderr)
    assert float(told[1]) == pytest.approx(moved, rel=0.02)


def test_other_identity_is_told_first(extracted, copied):
    with h5py.File(copied, "r+") as file:
        identity = json.loads(file.attrs["identity"])
        identity["extractor"], identity["params"]["min_s"] = "opensmile 2.4.0", 0.1
        file.attrs["identity"] = json.dumps(identity)
    outcome = run(extracted, copied)
    assert outcome.exit_code == 0
    lines = outcome.stderr.splitlines()
    assert "extractor: 'opensmile 2.4.0' in the file" in lines[0] and "params.min_s: 0.1 in the file" in lines[1]
    assert "4 of 4 utterances computed again" in lines[2]


def test_other_feature_set_is_told_before_it_is_refused(extracted, copied, tmp_path):
    params = tmp_path / "params.yaml"
    text = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
    params.write_text(text.replace("encoder: IS10", "encoder: eGeMAPSv02"), encoding="utf-8")
    outcome = run(extracted, copied, params=params)
    assert outcome.exit_code == 1
    assert "params.feature_set: 'IS10' in the file, 'eGeMAPSv02' here" in outcome.stderr
    assert "1582 features per utterance; here there would be 88" in outcome.stderr


@pytest.fixture
def run_folder(extracted, copied, monkeypatch):
    """Return a function that runs `dferc verify` on the folder of features, at the top of the repository."""
    shutil.copy(extracted / "utterances.h5", copied.parent)
    monkeypatch.chdir(REPOSITORY)
    plugins = EntryPoints([EntryPoint("verify", "pipeline.verify:verify_folder", "dferc.commands")])
    monkeypatch.setattr(commands, "entry_points", plugins.select)
    given = [str(copied.parent), "--", f"--raw={extracted}", f"--table={extracted / 'utterances.csv'}", "--workers=0"]
    return lambda *options: CliRunner().invoke(commands.main, ["verify", *options, *given])


def test_further_set_is_computed_by_its_own_settings(extracted, copied, tmp_path, run_folder):
    document = YAML(typ="safe").load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    section = document["demo"]["extract_audio"] | {"encoder": "eGeMAPSv02", "corpus": "demo", "name": "small"}
    document["sets"]["audio"] = [section]
    with open(params := tmp_path / "params.yaml", "w", encoding="utf-8") as file:
        YAML(typ="safe").dump(document, file)
    (tmp_path / "audio").mkdir()
    further = tmp_path / "audio/small.h5"
    options = {"params": params, "out": further, "set": "audio/small", "log": tmp_path / "log.json"}
    assert run_stage(extract_audio.main, extracted, workers=0, **options).exit_code == 0
    outcome = run_folder("--modality=audio/small", "--sample=2")
    assert outcome.exit_code == 1 and "params.yaml has no set 'audio/small' of demo" in outcome.stderr
    outcome = run(extracted, copied, params=params, modality="audio/small")
    assert outcome.exit_code == 0 and f"{further}: 4 of 4 utterances computed again" in outcome.stderr
    shutil.copy(copied, further)  # the first set's values under its name
    outcome = run(extracted, copied, params=params, modality="audio/small")
    assert outcome.exit_code == 1 and "1582 features per utterance; here there would be 88" in outcome.stderr
    outcome = run(extracted, copied, modality="sound/small")
    assert outcome.exit_code == 2 and "or a further set such as audio/wavlm" in outcome.stderr


def test_every_set_that_is_there_is_verified(copied, run_folder):
    (copied.parent / "audio").mkdir()
    shutil.copy(copied, copied.parent / "audio/other.h5")
    assert "text, visual, audio/other not verified" in run_folder("--sample=1").stderr


def test_entry_point_names_the_command():
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    plugins = tomllib.loads(text)["project"]["entry-points"]["dferc.commands"]
    assert plugins["verify"] == "pipeline.verify:verify_folder"


def test_dferc_verify_computes_a_sample_again(run_folder):
    outcome = run_folder("--modality=audio", "--sample=3")
    assert outcome.exit_code == 0, outcome.stderr
    assert "3 of 4 utterances computed again; all within" in outcome.stderr


def test_dferc_verify_goes_through_every_modality_and_names_those_that_fail(run_folder, copied):
    with h5py.File(copied, "r+") as file:
        file["features"][0] = file["features"][0] + 1
    outcome = run_folder()
    assert outcome.exit_code == 1 and "text, audio, visual not verified, as reported above" in outcome.stderr
    assert "text.h5" in outcome.stderr and "1 differ by more than" in outcome.stderr and "visual.h5" in outcome.stderr


def test_dferc_verify_ends_at_an_interruption(run_folder, monkeypatch):
    monkeypatch.setattr(verify, "read_features", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    outcome = run_folder()
    assert outcome.exit_code == 130 and outcome.stderr.count("interrupted") == 1


def test_dferc_verify_away_from_the_repository_names_what_is_missing(run_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = run_folder("--modality=audio")
    assert outcome.exit_code == 1 and "Run from the repository root" in " ".join(outcome.stderr.split())


def test_what_was_imported_is_said_to_be_so_whatever_the_params_file(tmp_path):
    """Before, a corpus without a block was told to add one."""
    write_features(
        tmp_path / "text.h5", features(modality="text", identity={"extractor": "dferc import", "rows_hash": "x"})
    )
    result = CliRunner().invoke(verify.main, ["--corpus=nowhere", "--modality=text", f"--features={tmp_path}"])
    assert result.exit_code == 1 and "text.h5 was imported: nothing here can compute it" in " ".join(
        result.stderr.split()
    )
