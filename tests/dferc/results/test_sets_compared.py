"""Four modalities and runs of other feature sets, in tables, analyses, the report, predictions and lists."""

import csv
import json
import shutil

import pytest
from click.testing import CliRunner

import dferc
from dferc.cli.main import main
from dferc.core.errors import InputError
from dferc.results.analyses.missing import subsets
from dferc.results.compare import set_notes
from dferc.results.runs import read_run, read_runs
from dferc.store.hdf5 import read_features, read_utterances, write_features
from tests.helpers.common import make_features, write_features_folder

JOINED = "--set=train.features={audio: [audio, audio/wavlm]}"
WIDTHS = {"text": 4, "audio": 3, "visual": 3, "physiology": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    folder = write_features_folder(root / "features/demo", widths=WIDTHS, absent=0.2)
    rows = read_utterances(folder / "utterances.h5")
    write_features(folder / "audio/wavlm.h5", make_features(rows, "audio", 5, absent=0.3, seed=1))
    small = [f"--set=train.{name}" for name in ("hidden=8", "align=8", "epochs=2", "warmup_steps=2")]
    options = ["--seed=0", "--device=cpu", f"--out={root / 'runs'}", f"--features={root / 'features'}", *small]
    options += [f"--scratch={root / 'scratch'}", "--workers=0"]
    command(root, "ablate", "--variant=full", "--variant=only-text-physiology", *options)
    command(root, "ablate", "--variant=full", "--label=joined", JOINED, *options)
    return root


def command(root, name, *options):
    places = {"runs": ("table", "analyse", "report"), "features": ("analyse", "report", "features")}
    named = [f"--{place}={root / place}" for place, commands in places.items() if name in commands]
    named += [f"--out={root / 'reports'}"] if name in places["runs"] else []
    done = CliRunner().invoke(main, [name, "--corpus=demo", *named, *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_a_table_marks_runs_of_other_sets_and_orders_them_behind_their_variant(root):
    shown = " ".join(command(root, "table").stderr.split())
    assert "full@joined reads other feature sets than full: audio from audio + audio/wavlm (full: audio)" in shown
    assert "only-text-physiology reads" not in shown
    runs, _ = read_runs(root / "runs/demo", "test", "full")
    assert list(runs) == ["full", "full@joined", "only-text-physiology"]
    assert runs["only-text-physiology"].modalities == ("text", "physiology")


def test_a_modality_that_the_reference_lacks_is_none_there(root):
    run, reference = (read_run(root / "runs/demo" / name) for name in ("full@joined", "full"))
    run.card["sets"] = {"voice": ["audio/wavlm"]}
    note, *_ = set_notes("voice", run, reference)
    assert note.startswith("voice reads other feature sets than full: voice from audio/wavlm (full: none)")


def test_two_runs_of_other_sets_are_compared_with_a_note(root):
    folders = [str(root / "runs/demo" / name) for name in ("full@joined", "full")]
    done = CliRunner().invoke(main, ["compare", *folders], catch_exceptions=False)
    assert "reads other feature sets than full: audio from audio + audio/wavlm" in " ".join(done.stderr.split())


def test_a_run_on_features_made_otherwise_under_the_same_name_is_marked(root, tmp_path):
    shutil.copytree(root / "runs", tmp_path / "runs")
    path = tmp_path / "runs/demo/only-text-physiology/train/seed-0/settings.json"
    record = json.loads(path.read_text())
    record["features"]["text"]["extractor"] = "another one"
    path.write_text(json.dumps(record))
    shown = " ".join(command(tmp_path, "table").stderr.split())
    assert "only-text-physiology was trained on text features that were made otherwise than those of full" in shown


def test_analyses_and_report_show_every_modality(root):
    command(root, "analyse", "--no-figures")
    analyses = json.loads((root / "reports/demo/analyses.json").read_text())
    assert analyses["modalities"] == list(WIDTHS)
    assert [line["modalities"] for line in analyses["missing"]["subsets"]][:2] == [list(WIDTHS), [*WIDTHS][:3]]
    assert len(analyses["missing"]["subsets"]) == 15
    command(root, "report", "--against=full@joined")
    page = (root / "reports/demo/index.html").read_text()
    assert "physiology" in page and "audio + audio/wavlm" in page


def test_subsets_of_many_modalities_are_those_without_one_and_of_one():
    assert len(subsets(5)) == 31
    assert [len(subset) for subset in subsets(7)] == [7, *[6] * 7, *[1] * 7]


def test_a_prediction_reads_the_sets_of_the_training_and_has_a_contribution_of_each_modality(root):
    table = dferc.load(root / "runs/demo/full@joined", device="cpu").predict(root / "features/demo")
    with open(root / "runs/demo/full@joined/evaluate/predictions.csv", newline="") as file:
        scored = {row["utterance_id"]: row for row in csv.DictReader(file)}
    for row in table.rows:
        shares = [row[f"contribution_{name}"] for name in WIDTHS]
        assert sum(shares) == pytest.approx(1, abs=1e-5) or sum(shares) == 0
        if expected := scored.get(row["utterance_id"]):
            assert [float(expected[f"contribution_{name}"]) for name in WIDTHS] == pytest.approx(shares, abs=1e-5)


def other_corpus(root, folder):
    """The same utterances under another name; all sets are there."""
    shutil.copytree(root / "features/demo", folder)
    return folder


def test_a_joined_set_that_another_corpus_lacks_is_named(root, tmp_path):
    folder = other_corpus(root, tmp_path / "mine")
    (folder / "audio/wavlm.h5").unlink()
    with pytest.raises(InputError, match="no feature set 'audio/wavlm' for audio"):
        dferc.load(root / "runs/demo/full@joined", device="cpu").predict(folder)


def test_a_joined_set_that_was_made_otherwise_is_refused_by_its_name(root, tmp_path):
    folder = other_corpus(root, tmp_path / "mine")
    rows = read_utterances(folder / "utterances.h5")
    write_features(folder / "audio/wavlm.h5", make_features(rows, "audio", 5, absent=0.3, seed=9))
    with pytest.raises(InputError, match="audio/wavlm, extractor: trained on 'synthetic-1', found 'synthetic-9'"):
        dferc.load(root / "runs/demo/full@joined", device="cpu").predict(folder)


def test_a_modality_that_another_corpus_lacks_is_absent_and_one_it_has_beside_is_not_read(root, tmp_path):
    folder = other_corpus(root, tmp_path / "mine")
    (folder / "physiology.h5").rename(folder / "unread.h5")  # of a wrong kind, were it read
    table = dferc.load(root / "runs/demo/only-text-physiology", device="cpu").predict(folder)
    assert table.notes == ("physiology: absent throughout",)


def test_the_sets_of_a_corpus_are_listed_one_line_each(root, tmp_path):
    (tmp_path / "demo").mkdir()
    identity = read_features(root / "features/demo/audio/wavlm.h5", "audio").identity
    logged = {"identity": {key: value for key, value in identity.items() if key != "rows_hash"}}
    (tmp_path / "demo/extract_audio_wavlm.json").write_text(
        json.dumps(logged | {"steps_s": {"decode": 1.5, "write": 2}})
    )
    shown = command(root, "features", f"--data={tmp_path}").stderr.splitlines()
    assert [line.split()[0] for line in shown] == ["text", "audio", "audio/wavlm", "visual", "physiology"]
    assert "width     5, present " in shown[2] and shown[2].endswith("%; synthetic-1; 3.5 s")
    sets = json.loads(command(root, "features", "--json", f"--data={tmp_path}").stdout)["sets"]
    assert sets["audio/wavlm"]["seconds"] == 3.5 and sets["audio"]["seconds"] is None
    assert sets["physiology"]["width"] == 2 and set(sets["text"]["present"]) == {"train", "validation", "test"}
