"""`dferc import` of every known layout: what it writes, and that it trains."""

import csv
import json
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dferc.cli.main import main
from dferc.core.device import choose_device
from dferc.importing import corpora as known
from dferc.importing.dialogues import true_splits
from dferc.importing.source import About
from dferc.settings.document import load_params
from dferc.store.hdf5 import read_corpus
from dferc.store.rows import CachedCorpus
from dferc.training.run import train
from dferc.training.task import make_task
from tests.helpers import feature_files as made
from tests.helpers.clips import SHARED
from tests.helpers.common import REPOSITORY, small_settings


def run_import(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["import", *map(str, arguments)])


def imported(tmp_path: Path, *arguments: object, corpus: str = "meld") -> CachedCorpus:
    result = run_import(*arguments, f"--features={tmp_path / 'features'}")
    assert result.exit_code == 0, result.output
    return read_corpus(tmp_path / "features" / corpus, corpus)


def problems(tmp_path: Path, corpus: str = "meld") -> list[list[str]]:
    with open(tmp_path / "features" / corpus / "problems.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def train_one_epoch(corpus: CachedCorpus, folder: Path) -> None:
    settings = small_settings(epochs=1, class_weights="uniform")
    (run,) = train(
        make_task(corpus, "full", settings, choose_device("cpu", "float32")),
        (0,),
        folder=folder / "train",
        scratch=folder / "scratch",
    )
    assert json.loads((run / "settings.json").read_text())["epochs"] == 1


# ---------------------------------------------------------------------------------------------------- every layout


@pytest.mark.parametrize("name", made.LAYOUTS)
def test_layout_is_recognised_imported_and_trained(tmp_path, name):
    corpus, names, _ = made.LAYOUTS[name]
    found = imported(tmp_path, made.write_layout(tmp_path / "anything.bin", name), corpus=corpus)
    lengths = {"meld": made.MELD, "iemocap": made.IEMOCAP, "m3ed": made.M3ED}[corpus]
    assert len(found.utterances) == sum(lengths.values())
    modalities = {part.rstrip("1234") for part in names.split()} & set(made.WIDTHS)
    assert {m: f.width for m, f in found.modalities.items()} == {m: made.WIDTHS[m] for m in modalities}
    assert set(found.utterances.split) == {"train", "validation", "test"}
    assert found.utterances.text[0].startswith("I’m fine … really so ")
    identity = found.modalities["text"].identity
    assert identity["file"] == "anything.bin" and corpus in identity["layout"] and len(identity["file_sha256"]) == 64
    train_one_epoch(found, tmp_path)


def test_meld_dev_is_pulled_apart_and_ids_are_real(tmp_path):
    rows = imported(tmp_path, made.write_layout(tmp_path / "meld.pkl", "meld-10")).utterances
    splits = dict(zip(rows.dialogue_id, rows.split))
    assert splits == {
        "train_0": "train", "train_1": "train", "train_59": "train", "train_61": "train",
        "dev_0": "validation", "dev_1": "validation", "test_0": "test", "test_279": "test",
    }  # fmt: skip
    here = rows.dialogue_id == "train_61"
    assert rows.utterance_id[here].tolist() == [f"train_dia61_utt{n}" for n in (0, 1, 3, 4)]
    assert rows.position[here].tolist() == [0, 1, 3, 4]
    assert rows.speaker[here].tolist() == ["speaker 1", "speaker 2", "speaker 1", "speaker 2"]


def test_features_lie_at_their_utterances(tmp_path):
    found = imported(tmp_path, made.write_layout(tmp_path / "meld.pkl", "meld-10"))
    parts = made.parts("meld")
    for dialogue, key in (("train_61", 61), ("dev_1", 1040), ("test_279", 1432)):
        here = found.utterances.dialogue_id == dialogue
        assert found.utterances.emotion[here].tolist() == parts["labels"][key]
        for modality in made.WIDTHS:
            np.testing.assert_array_equal(found.modalities[modality].features[here], np.stack(parts[modality][key]))


def test_iemocap_validation_is_cosmics_and_ids_are_the_files(tmp_path):
    rows = imported(tmp_path, made.write_layout(tmp_path / "i.pkl", "iemocap-9"), corpus="iemocap").utterances
    validation = sorted(set(rows.dialogue_id[rows.split == "validation"]))
    assert validation == ["Ses01M_impro01", "Ses04F_impro07"]
    assert rows.utterance_id[:2].tolist() == ["Ses01F_impro01_F000", "Ses01F_impro01_M001"]
    assert rows.classes == known.IEMOCAP.classes
    assert rows.speaker[:2].tolist() == ["Ses01F", "Ses01M"] and rows.speaker_independent
    assert "validation cosmic" in rows.protocol and "own selection" in rows.protocol


def test_iemocap_in_splits_of_its_own_is_not_called_cosmics(tmp_path):
    """As a table of sessions 1 to 4: the card said which dialogues validate, and none of them did."""
    table = {"emotion": [0, 1, 2, 3, 4, 5], "split": ["train"] * 4 + ["validation", "test"]}
    table |= {"dialogue": ["Ses01F_impro01", "Ses01F_impro02", "Ses02F_impro01", "Ses02F_impro02", "Ses03M_impro01"]}
    table["dialogue"].append("Ses04F_impro01")
    columns = {name: np.array(column) for name, column in table.items()} | {"audio": np.eye(6, 3)}
    np.savez(tmp_path / "mine.npz", **columns)
    rows = imported(tmp_path, tmp_path / "mine.npz", "--corpus=iemocap", corpus="iemocap").utterances
    assert rows.protocol == "IEMOCAP 6way-7433, own selection (train 4, dev 1, test 1 utterances)"


@pytest.mark.parametrize("layer", ["1", "4", "mean"])
def test_cosmic_layer_is_settable_and_mean_by_default(tmp_path, layer):
    file = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-meld-11")
    found = imported(tmp_path, file, *([] if layer == "mean" else [f"--layer={layer}"]))
    layers = [np.stack(made.parts("meld")[f"text{number}"][1039]) for number in (1, 2, 3, 4)]
    expected = np.mean(layers, axis=0) if layer == "mean" else layers[int(layer) - 1]
    here = found.utterances.dialogue_id == "dev_0"
    np.testing.assert_allclose(found.modalities["text"].features[here], expected, rtol=1e-5, atol=1e-6)
    assert found.modalities["text"].identity["layout"].endswith(f"text layer {layer}")


def test_another_word_that_ends_as_a_modality_names_none(tmp_path):
    files = made.write_multiemo(tmp_path, "meld")
    text = next(path for path in files if path.stem == "TextFeatures")
    files = [path for path in files if path != text] + [text.rename(tmp_path / "ContextFeatures.pkl")]
    arguments = ["import", *map(str, files), f"--features={tmp_path / 'features'}"]
    assert "does not say which" in " ".join(CliRunner().invoke(main, arguments).stderr.split())


@pytest.mark.parametrize("corpus", ["meld", "iemocap", "MELD"])
def test_multiemo_four_files_are_one_corpus(tmp_path, corpus):
    """Both corpora have files of these names, so that people put another word before them, in any case."""
    case, corpus = str.upper if corpus.isupper() else str.lower if corpus == "meld" else str, corpus.lower()
    files = made.write_multiemo(tmp_path, corpus)
    files = [path.rename(path.with_name(f"{case(f'{corpus}_{path.stem}')}.pkl")) for path in files]
    found = imported(tmp_path, *files, corpus=corpus)
    assert {m: f.width for m, f in found.modalities.items()} == {"text": 768, "audio": 512, "visual": 1000}
    train_one_epoch(found, tmp_path)


def test_text_and_audio_come_from_different_files(tmp_path):
    cosmic = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-iemocap-10", text=7)
    mmgcn = made.write_layout(tmp_path / "mmgcn.pkl", "iemocap-9", audio=9)
    found = imported(tmp_path, f"--text={cosmic}", f"--audio={mmgcn}", f"--visual={mmgcn}", corpus="iemocap")
    assert {m: f.width for m, f in found.modalities.items()} == {"text": 7, "audio": 9, "visual": 4}
    assert [found.modalities[m].identity["file"] for m in ("text", "audio")] == ["cosmic.pkl", "mmgcn.pkl"]
    assert found.utterances.utterance_id[0] == "Ses01F_impro01_F000"  # COSMIC has none; MMGCN's file does


@pytest.mark.parametrize("kind", ["txt", "npz"])
def test_iemocap_ids_come_from_a_list(tmp_path, kind):
    names = [name for ids in made.parts("iemocap")["ids"].values() for name in ids]
    if kind == "txt":
        (tmp_path / "ids.txt").write_text("\ufeff" + "\n".join(names), encoding="utf-8")  # as Windows writes it
    else:  # as MERBench's label_6way.npz
        np.savez(tmp_path / "ids.npz", whole_corpus={name: {"emo": 0, "val": -10} for name in names})
    file = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-iemocap-10")
    rows = imported(tmp_path, file, f"--ids={tmp_path / f'ids.{kind}'}", corpus="iemocap").utterances
    assert sorted(rows.utterance_id) == sorted(names)


def test_iemocap_ids_in_the_order_of_the_alphabet_are_refused(tmp_path):
    parts = made.parts("iemocap")
    ids = [f"{d}_{who}{n:03d}" for d in parts["ids"] for n, who in enumerate(parts["speakers"][d])]
    file = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-iemocap-10")
    for order, refused in ((ids, False), (sorted(ids), True)):
        (tmp_path / "ids.txt").write_text("\n".join(order))
        result = run_import(file, f"--ids={tmp_path / 'ids.txt'}", f"--features={tmp_path / 'features'}", "--replace")
        assert result.exit_code == refused, result.output
        assert ("in the order of the turns' time" in " ".join(result.stderr.split())) == refused


def test_classes_of_a_published_file_cannot_be_renamed(tmp_path):
    file = made.write_layout(tmp_path / "meld.pkl", "meld-10")
    result = run_import(file, "--classes=neutral,positive,negative", f"--features={tmp_path}")
    assert result.exit_code == 1
    assert "is a file of meld, whose classes are neutral, surprise" in " ".join(result.stderr.split())


def test_a_name_that_contradicts_the_width_is_asked_about(tmp_path):
    parts = made.parts("meld", audio=768)
    (tmp_path / "AudioFeatures.pkl").write_bytes(pickle.dumps({d: np.stack(r) for d, r in parts["audio"].items()}))
    speakers = made.write_layout(tmp_path / "Speakers.pkl", "meld-10")
    places = (speakers, tmp_path / "AudioFeatures.pkl", f"--features={tmp_path / 'features'}")
    result = run_import(*places)
    assert result.exit_code == 1 and "Give it as --text, --audio or --visual FILE" in " ".join(result.stderr.split())
    found = imported(tmp_path, speakers, "--audio", tmp_path / "AudioFeatures.pkl")
    assert found.modalities["audio"].width == 768


@pytest.mark.parametrize("name", ["audio_hubert_base.pkl", "vit.pkl"])
def test_the_width_of_many_encoders_alone_shows_no_modality(tmp_path, name):
    parts = made.parts("meld", audio=768)
    (tmp_path / name).write_bytes(pickle.dumps({d: np.stack(r) for d, r in parts["audio"].items()}))
    speakers = made.write_layout(tmp_path / "Speakers.pkl", "meld-10")
    result = run_import(speakers, tmp_path / name, f"--features={tmp_path / 'features'}")
    assert result.exit_code == 1 and "Give it as --text, --audio or --visual FILE" in " ".join(result.stderr.split())


def test_transcripts_that_do_not_fit_are_listed_and_not_used(tmp_path):
    parts = made.parts("meld")
    rows = {"train": [], "dev": [], "test": []}
    for key, labels in parts["labels"].items():
        dialogue, split = known.meld_dialogue(key)
        for place, label in enumerate(labels):
            label = 6 - label if key == 0 else label  # another labelling of the first dialogue
            rows[split].append(
                (dialogue.split("_")[1], 10 + place, known.MELD.classes[label], "hi\x92".encode("latin-1"))
            )
    for split, lines in rows.items():
        text = b"Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\n"
        text += b"".join(b"%s,Ross,%s,%s,%d\n" % (text, e.encode(), d.encode(), u) for d, u, e, text in lines)
        (tmp_path / f"{split}_sent_emo.csv").write_bytes(text)
    file = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-meld-11")
    found = imported(tmp_path, file, f"--transcripts={tmp_path}").utterances
    assert found.utterance_id[:4].tolist() == [*(f"train_dia0_utt{place}" for place in range(3)), "train_dia1_utt10"]
    assert found.speaker[3] == "Ross" and found.text[3] == "hi’"
    listed = [row[:1] + row[2:] for row in problems(tmp_path) if row[0] == "train_0"]
    labels = made.parts("meld")["labels"][0]
    differ = sum(6 - label != label for label in labels)
    problem = f"other labels: {differ} of {len(labels)} are not those of cosmic.pkl"
    assert ["train_0", problem, "utterance ids not taken from here"] in listed


def test_mismatched_dialogue_is_listed_and_absent(tmp_path):
    parts = made.layout("meld", f"{made.MMGCN} other")
    for part in parts[:7]:
        part[61] = part[61][:3]
        del part[1]
    parts[7].remove(1)
    (tmp_path / "other.pkl").write_bytes(made.dump_python2(tuple(parts)))
    first = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-meld-11")
    found = imported(tmp_path, f"--text={first}", f"--audio={tmp_path / 'other.pkl'}")
    present = found.modalities["audio"].present
    assert set(found.utterances.dialogue_id[~present]) == {"train_61", "train_1"}
    listed = {row[0]: row[2] for row in problems(tmp_path) if row[3].startswith("audio absent")}
    assert listed == {"train_61": "other number of utterances: 3, 4 in cosmic.pkl", "train_1": "dialogue not there"}


def test_zeros_and_infinities_are_absent_and_listed(tmp_path):
    parts = made.layout("meld", f"{made.MMGCN} other")
    parts[5][0][1] = np.zeros((1, 4), "f4")  # how the field writes "no face"
    parts[4][1039][2][0] = np.inf
    (tmp_path / "meld.pkl").write_bytes(made.dump_python2(tuple(parts)))
    found = imported(tmp_path, tmp_path / "meld.pkl")
    rows = found.utterances.utterance_id
    assert rows[~found.modalities["visual"].present].tolist() == ["train_dia0_utt1"]
    assert rows[~found.modalities["audio"].present].tolist() == ["dev_dia0_utt3"]
    assert {(row[0], row[2]) for row in problems(tmp_path) if row[3].endswith("absent")} == {
        ("train_dia0_utt1", "visual all zeros"),
        ("dev_dia0_utt3", "audio not finite"),
    }


@pytest.mark.parametrize("how", ["bytes keys", "object arrays", "lists of floats", "numpy labels", "protocol 5"])
def test_layout_is_read_however_it_was_pickled(tmp_path, how):
    parts = list(made.content("iemocap-9", text=40))
    expected = np.stack(parts[3]["Ses01F_impro01"])
    if how == "bytes keys":
        parts = [{key.encode(): rows for key, rows in part.items()} for part in parts[:7]] + [
            {key.encode() for key in part} for part in parts[7:]
        ]
    elif how == "object arrays":
        for part in parts[:7]:
            for key, rows in part.items():
                part[key] = np.empty(len(rows), object)
                part[key][:] = rows
    elif how == "lists of floats":
        parts[3] = {key: [[float(value) for value in row] for row in rows] for key, rows in parts[3].items()}
    elif how == "numpy labels":
        parts[2] = {key: np.array(rows) for key, rows in parts[2].items()}
        parts[7] = np.array(sorted(parts[7]))
    data = (
        pickle.dumps(tuple(parts), protocol=5)
        if how in ("bytes keys", "protocol 5")
        else made.dump_python2(tuple(parts))
    )
    (tmp_path / "file.pkl").write_bytes(data)
    found = imported(tmp_path, tmp_path / "file.pkl", corpus="iemocap")
    here = found.utterances.dialogue_id == "Ses01F_impro01"
    np.testing.assert_array_equal(found.modalities["text"].features[here], expected)
    assert found.utterances.emotion[here].tolist() == made.parts("iemocap")["labels"]["Ses01F_impro01"]


# ---------------------------------------------------------------------------------------------------- M3ED, MMIN


def test_m3ed_has_its_own_ids_and_the_params_to_train_it(tmp_path):
    rows = imported(tmp_path, made.write_layout(tmp_path / "m3ed.pkl", "m3ed-10"), corpus="m3ed").utterances
    assert rows.utterance_id[:3].tolist() == ["A_one_1_1", "B_one_1_2", "A_one_1_3"]
    assert rows.speaker[:2].tolist() == ["A", "B"] and rows.classes[:2] == ("happy", "neutral")
    assert load_params(REPOSITORY / "params.yaml").corpus("m3ed").train.epochs > 0


def test_m3ed_lists_in_the_other_order_are_recognised_by_their_shows():
    shows = {"train": 38, "validation": 11, "test": 7}  # as some loaders name them; published are 7 and 11
    given = {f"{split}{number}_1": split for split, count in shows.items() for number in range(count)}
    about = About(path=Path("m3ed.pkl"), bytes=0, sha256="", git_blob="")
    found = true_splits("m3ed", given, about)
    assert Counter(found.values()) == {"train": 38, "validation": 7, "test": 11}
    assert found["validation0_1"] == "test" and true_splits("m3ed", found, about) == found


@pytest.mark.parametrize("raw", [False, True])
def test_mmin_frames_are_averaged_and_joined_by_utterance_id(tmp_path, raw):
    labels = made.write_layout(tmp_path / "IEMOCAP_features.pkl", "iemocap-9")
    files = made.write_mmin(tmp_path, raw=raw, leave_out=("Ses01M_impro01_M001",))
    named = [f"--{modality}={path}" for modality, path in files.items()]
    found = imported(tmp_path, labels, *named, corpus="iemocap")
    names = sorted(set(found.utterances.utterance_id) - {"Ses01M_impro01_M001"})
    order = [name for ids in made.parts("iemocap")["ids"].values() for name in ids if name in names]
    for modality, (_, width) in made.MMIN.items():
        features = found.modalities[modality]
        rows = dict(zip(features.utterance_id, features.features))
        for number, name in enumerate(order):
            np.testing.assert_array_equal(rows[name], np.full(width, 2 * number + 2, np.float32))
        assert features.utterance_id[~features.present].tolist() == ["Ses01M_impro01_M001"]
        assert features.identity["layout"].startswith("HDF5 of MMIN")
    listed = [row for row in problems(tmp_path, "iemocap") if row[3] == "audio absent there"]
    assert [(row[0], row[2]) for row in listed] == [
        ("Ses01M_impro01", "utterances not there: 1 of 3, first Ses01M_impro01_M001")
    ]
    if raw:
        train_one_epoch(found, tmp_path)


def test_mmin_files_are_recognised_by_their_width_and_taken_before_the_pickles_own(tmp_path):
    labels = made.write_layout(tmp_path / "IEMOCAP_features.pkl", "iemocap-9")
    found = imported(tmp_path, labels, *made.write_mmin(tmp_path).values(), corpus="iemocap")
    assert {m: f.width for m, f in found.modalities.items()} == {"text": 1024, "audio": 130, "visual": 342}


@pytest.mark.parametrize("name", ["hubert_large.h5", "w2v-bert-2.0.h5"])
def test_frames_as_wide_as_mmins_text_are_no_text_but_by_their_name(tmp_path, name):
    labels = made.write_layout(tmp_path / "IEMOCAP_features.pkl", "iemocap-9")
    path = made.write_mmin(tmp_path)["text"].rename(tmp_path / name)
    result = run_import(labels, path, f"--features={tmp_path / 'features'}")
    assert result.exit_code == 1 and "1024 wide, and does not say which" in " ".join(result.stderr.split())
    found = imported(tmp_path, labels, f"--audio={path}", corpus="iemocap")
    assert found.modalities["audio"].width == 1024 and found.modalities["text"].width != 1024


def test_problems_are_reported_with_counts_and_dialogues(tmp_path):
    parts = made.layout("meld", f"{made.MMGCN} other")
    parts[2][61][2] = (parts[2][61][2] + 1) % 7
    (tmp_path / "other.pkl").write_bytes(made.dump_python2(tuple(parts)))
    first = made.write_layout(tmp_path / "cosmic.pkl", "cosmic-meld-11")
    result = run_import(f"--text={first}", f"--audio={tmp_path / 'other.pkl'}", f"--features={tmp_path / 'features'}")
    printed = " ".join(result.stderr.split())
    assert result.exit_code == 0 and "train_61: 1 of 4, utterances 2;" in printed
    assert "labels differ" in printed and "files unused: none" in printed


# ---------------------------------------------------------------------------------------------------- facts


def test_known_counts_are_those_of_the_meld_adapter():
    from pipeline.corpora import meld

    named = {"train": "train", "validation": "dev", "test": "test"}
    published = meld.PUBLISHED["multiparty", "emotion"]
    counts = {split: tuple(published[name].values()) for split, name in named.items()}  # dialogues, then each class
    assert {
        split: (dialogues, tuple(classes)) for split, (dialogues, *classes) in counts.items()
    } == known.MELD.published
    assert meld.CLASSES == known.MELD.classes


def test_iemocap_facts_are_those_of_its_adapter():
    from pipeline.corpora import iemocap
    from pipeline.corpora.iemocap import protocol as _iemocap_protocol
    from pipeline.settings import load_settings

    options = load_settings(REPOSITORY / "params.yaml").corpus("iemocap").prepare.options
    protocol = _iemocap_protocol.PROTOCOLS["6way-7433"]
    per_class = zip(*(counts for _, counts in known.IEMOCAP.published.values()))
    assert protocol.names == known.IEMOCAP.classes and protocol.per_class == tuple(map(sum, per_class))
    assert set(_iemocap_protocol.COSMIC_VALIDATION) == known.COSMIC_VALIDATION
    assert iemocap._describe(options) == f"{known.IEMOCAP.labels}, {known.IEMOCAP.splits}"


def test_numbering_follows_the_field():
    assert known.meld_dialogue(0) == ("train_0", "train") and known.meld_dialogue(1038) == ("train_1038", "train")
    assert known.meld_dialogue(1039) == ("dev_0", "dev") and known.meld_dialogue(1152) == ("dev_113", "dev")
    assert known.meld_dialogue(1153) == ("test_0", "test") and known.meld_dialogue(1432) == ("test_279", "test")
    assert known.meld_dialogue(1433) is None and known.meld_dialogue(-1) is None


def test_file_is_named_by_its_git_blob(tmp_path, monkeypatch):
    file = made.write_layout(tmp_path / "x.pkl", "meld-10")
    import subprocess

    blob = subprocess.run(["git", "hash-object", file], capture_output=True, text=True, check=True).stdout.strip()
    monkeypatch.setitem(known.KNOWN_FILES, blob, "a file of somebody")
    assert imported(tmp_path, file).modalities["text"].identity["known_as"] == "a file of somebody"


@pytest.mark.skipif(not (SHARED / "data/meld_text_minilm.npz").exists(), reason="no MELD features in $DFERC_SHARED")
def test_real_meld_features_have_the_published_counts_and_the_adapters_rows(tmp_path):
    from pipeline import corpora
    from pipeline.settings import load_settings

    csvs = SHARED / "data/MELD"
    found = imported(tmp_path, SHARED / "data/meld_text_minilm.npz", f"--transcripts={csvs}")
    rows = found.utterances
    assert rows.protocol == "MELD, 7 emotions, published splits" and found.modalities["text"].width == 384
    assert [int((rows.split == split).sum()) for split in ("train", "validation", "test")] == [9989, 1109, 2610]
    adapter = corpora.read(csvs, load_settings(REPOSITORY / "params.yaml").corpus("meld").prepare).utterances
    for column in ("utterance_id", "dialogue_id", "position", "speaker", "text", "split"):
        assert getattr(rows, column).tolist() == [getattr(row, column) for row in adapter], column
    gaps = set(rows.dialogue_id[1:][(rows.dialogue_id[1:] == rows.dialogue_id[:-1]) & (np.diff(rows.position) > 1)])
    gaps |= set(rows.dialogue_id[:1]) if rows.position[0] else set()
    assert {"dev_49", "dev_66", "test_93", "test_108"} <= gaps
    assert not any(0x80 <= ord(mark) < 0xA0 for text in rows.text for mark in text)
    assert not problems(tmp_path)
