"""What is measured in media files becomes spans, streams and problems; too much that is missing is refused."""

from dataclasses import replace

import numpy as np
import pytest

from dferc import engine
from dferc.core.errors import InputError
from dferc.core.tables import write_table
from pipeline.media.files import MediaInfo
from pipeline.rows import measure
from pipeline.rows.utterances import Utterance, read_utterances_csv
from tests.helpers.meld_files import touch

ROW = Utterance(
    utterance_id="u", dialogue_id="d", position=0, speaker="", emotion="", split="train", text="t", media="c"
)


def test_times_of_an_adapter_in_single_precision_are_those_that_the_table_holds(tmp_path):
    """The table has 1.1 of `np.float32(1.1)`, utterances.h5 1.10000002384: extraction took them for two corpora."""
    row = replace(ROW, start_s=np.float32(1.1), end_s=np.float32(2.3))
    row, _ = measure.complete(row, {"c": _info(10.0)}, max_utterance_s=6.0)
    write_table(tmp_path / "utterances.csv", [row], Utterance)
    (read,) = read_utterances_csv(tmp_path / "utterances.csv")
    assert (read.start_s, read.end_s) == (float(row.start_s), float(row.end_s))


def _info(duration_s):
    return MediaInfo(duration_s=duration_s, has_audio=True, has_video=True)


@pytest.mark.parametrize(
    ("duration_s", "end_s", "kinds"),
    [
        (0.05, 0.05, ["very short"]),
        (0.08, 0.08, []),
        (2.0, 2.0, []),
        (2.001, 2.0, ["too long"]),
        (305.0, 2.0, ["too long"]),
    ],
)
def test_span_is_the_whole_clip_up_to_the_cap(duration_s, end_s, kinds):
    row, problems = measure.complete(ROW, {"c": _info(duration_s)}, max_utterance_s=2.0)

    assert (row.start_s, row.end_s, row.has_audio, row.has_video) == (0.0, end_s, True, True)
    assert [problem.kind for problem in problems] == kinds


@pytest.mark.parametrize(
    ("asked", "used", "kinds"),
    [
        ((1.0, 3.0), (1.0, 3.0), []),
        ((4.0, 0.0), (4.0, 10.0), []),  # no end: up to the file's
        ((9.0, 10.05), (9.0, 10.0), []),  # within what containers round
        ((9.0, 12.0), (9.0, 10.0), ["span ends beyond its file"]),
        ((-0.5, 1.0), (0.0, 1.0), ["span begins before its file"]),
        ((1.0, 9.5), (1.0, 7.0), ["too long"]),  # 8.5 s, capped at 6
        ((3.0, 3.05), (3.0, 3.05), ["very short"]),
    ],
)
def test_span_of_the_adapter_is_kept_within_its_file(asked, used, kinds):
    row = replace(ROW, start_s=asked[0], end_s=asked[1])

    row, problems = measure.complete(row, {"c": _info(10.0)}, max_utterance_s=6.0)

    assert ((row.start_s, row.end_s), row.has_audio) == (used, True)
    assert [problem.kind for problem in problems] == kinds and all(problem.consequence for problem in problems)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ((5.0, 4.0), "span empty: 5 s to 4 s"),
        ((5.0, 5.0), "span empty: 5 s to 5 s"),
        ((12.0, 14.0), "span outside its file: 12 s to 14 s, the file has 10.000 s"),
        ((12.0, 0.0), "span outside its file: 12 s to its end, the file has 10.000 s"),
        ((-3.0, -1.0), "span outside its file: -3 s to -1 s, the file has 10.000 s"),
    ],
)
def test_span_with_nothing_of_its_file_leaves_the_text(asked, problem):
    row, problems = measure.complete(
        replace(ROW, start_s=asked[0], end_s=asked[1]), {"c": _info(10.0)}, max_utterance_s=6.0
    )

    assert row == ROW  # no span, no sound, no picture
    assert [(each.problem, each.consequence) for each in problems] == [
        (problem, "no audio and no visual; the text is kept")
    ]


def test_corpus_of_spans_in_milliseconds_is_refused():
    rows = [replace(ROW, utterance_id=f"u{n}", start_s=1000.0 * n, end_s=1000.0 * n + 900) for n in range(4)]
    problems = [each for row in rows for each in measure.complete(row, {"c": _info(10.0)}, 6.0)[1]]

    with pytest.raises(InputError, match=r"3 of 4 utterances have no part of their file \(75.0%; allowed: 2.0%\)"):
        measure.check_spans("mine", rows, problems, max_unreadable=0.02)
    measure.check_spans("mine", rows, problems, max_unreadable=0.75)


def test_row_that_names_no_clip_stays_as_it_is():
    row = replace(ROW, media="")

    assert measure.complete(row, {}, max_utterance_s=2.0) == (row, [])


def test_sound_of_its_own_is_measured_apart():
    measured = {
        "d.avi": MediaInfo(duration_s=300.0, has_audio=False, has_video=True),
        "u.wav": MediaInfo(duration_s=1.4, has_audio=True, has_video=False),
    }
    row = replace(ROW, media="d.avi", start_s=20.0, end_s=21.5, sound="u.wav")

    done, problems = measure.complete(row, measured, max_utterance_s=30.0)
    assert (done.seen[:3], done.heard) == (("d.avi", 20.0, 21.5), ("u.wav", 0.0, 1.4))
    assert (done.has_audio, done.has_video, problems) == (True, True, [])


@pytest.mark.parametrize(
    ("lost", "streams", "consequence"),
    [
        ("u.wav", (False, True), "no audio; picture and text are kept"),
        ("d.avi", (True, False), "no visual; sound and text are kept"),
    ],
)
def test_file_at_fault_costs_only_what_was_wanted_of_it(lost, streams, consequence):
    row = replace(ROW, media="d.avi", start_s=2.0, end_s=3.0, sound="u.wav")
    measured = {"d.avi": _info(10.0), "u.wav": _info(1.0), lost: measure.Faulty("clip missing")}

    done, problems = measure.complete(row, measured, max_utterance_s=30.0)

    assert (done.has_audio, done.has_video) == streams
    assert [(found.file, found.problem, found.consequence) for found in problems] == [
        (lost, "clip missing", consequence)
    ]


def test_sound_alone_has_no_picture_to_miss():
    row = replace(ROW, media="", sound="u.wav")
    sound = MediaInfo(duration_s=1.4, has_audio=True, has_video=False)

    done, problems = measure.complete(row, {"u.wav": sound}, max_utterance_s=1.0)

    assert (done.has_audio, done.has_video, done.heard) == (True, False, ("u.wav", 0.0, 1.0))
    assert [found.problem for found in problems] == ["too long: 1.4 s, cut at 1 s"]


def test_clip_of_several_rows_is_measured_once(tmp_path, monkeypatch):
    measured = []
    monkeypatch.setattr(measure, "probe", lambda path: measured.append(path) or _info(1.0))
    touch(tmp_path, "c")
    rows = [ROW, replace(ROW, sound="s"), replace(ROW, media="")]
    touch(tmp_path, "s")

    assert measure.measure_clips(tmp_path, rows, workers=engine.Workers(0)) == {"c": _info(1.0), "s": _info(1.0)}
    assert measured == [tmp_path / "c", tmp_path / "s"]


def test_clip_that_kills_its_worker_is_unreadable(tmp_path, monkeypatch):
    monkeypatch.setattr(measure.engine, "run", lambda *_, **__: iter([(0, engine.WorkerDied(3))]))

    found = measure.measure_clips(tmp_path, [ROW], workers=engine.Workers(1))
    assert found["c"].problem.startswith("worker died: 3 times")
