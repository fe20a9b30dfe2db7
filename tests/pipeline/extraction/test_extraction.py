"""The loop that the extractors share, with an extractor that counts."""

import json
from dataclasses import replace

import click
import numpy as np
import pytest

from dferc import engine
from dferc.core.errors import InputError
from dferc.store.hdf5 import read_features
from pipeline.extraction.loop import Extractor, extract, media_content, write_log
from pipeline.extraction.places import Places, stage_options
from pipeline.extraction.records import Clock, Record
from pipeline.extraction.scratch import Scratch
from pipeline.media.files import MediaError
from pipeline.rows.utterances import Region
from tests.helpers.corpora import make_row, read_problems, run_stage, write_rows


def seen(row):
    return row.seen


class Counting:
    """Width 2: the length of the text and the share of 'a' in it; `order` is how rows come back."""

    def __init__(self, rows, order=1, problems=None):
        self.rows, self.order, self.problems, self.computed = rows, order, problems or {}, []

    def __call__(self, indices):
        for index in indices[:: self.order]:
            row = self.rows[index]
            self.computed.append(row.utterance_id)
            problem = self.problems.get(row.utterance_id, "")
            values = np.array([len(row.text), row.text.count("a") / 3], np.float32)
            yield (
                index,
                problem
                if isinstance(problem, engine.WorkerDied)
                else Record(
                    {"features": values, "share": np.float32(0.5)} if not problem.startswith("no") else {}, problem
                ),
            )

    def extractor(self, **changes):
        settings = {
            "modality": "text",
            "width": 2,
            "identity": {"extractor": "counting 1"},
            "code": ("pipeline.extraction.scratch",),
            "wants": lambda row: bool(row.text),
            "content": lambda row: row.text,
            "compute": self,
            "names": ("length", "a"),
            "quality": ("share",),
        }
        return Extractor(**settings | changes)


def places(folder, corpus="demo"):
    names = {"table": "utterances.csv", "utterances": "utterances.h5", "out": "out.h5", "problems": "problems.csv"}
    names["log"] = "log.json"
    paths = {name: folder / file for name, file in names.items()}
    return Places(corpus=corpus, set=None, params=folder, raw=folder, scratch=folder / "scratch.sqlite", **paths)


def run(folder, rows, *, order=1, problems=None, **changes):
    """Run the loop; returns the tally and the ids that were computed."""
    compute = Counting(rows, order, problems)
    write_rows(folder, rows)
    with Scratch(folder / "scratch.sqlite") as scratch:
        return extract(rows, compute.extractor(**changes), places(folder), scratch), compute.computed


@pytest.fixture
def rows():
    return [make_row(f"u{number}", text="banana"[: number % 7]) for number in range(10)]  # u0 and u7 have no text


def test_extract_writes_rows_in_corpus_order(tmp_path, rows):
    tally, _ = run(tmp_path, rows, order=-1)
    made = read_features(tmp_path / "out.h5", "text")
    assert list(made.utterance_id) == [row.utterance_id for row in rows]
    assert list(made.present) == [bool(row.text) for row in rows]
    assert [int(length) for length in made.features[:, 0]] == [len(row.text) for row in rows]
    assert made.names == ("length", "a") and list(made.quality["share"]) == [0.5 * bool(row.text) for row in rows]
    assert (tally.done, tally.reused, tally.failed, tally.absent) == (8, 0, 0, 2)


def test_extract_records_the_identity_with_the_rows(tmp_path, rows):
    run(tmp_path, rows)
    identity = read_features(tmp_path / "out.h5", "text").identity
    assert identity["extractor"] == "counting 1" and len(identity["rows_hash"]) == 16


def test_extract_gives_the_same_bytes_whatever_the_order_and_the_past(tmp_path, rows):
    contents = set()
    for name, order in [("a", 1), ("b", -1)]:
        for _ in range(2):  # the second time all is reused
            run(tmp_path / name, rows, order=order, problems={"u3": "no sense"})
            contents.add(((tmp_path / name / "out.h5").read_bytes(), (tmp_path / name / "problems.csv").read_bytes()))
    assert len(contents) == 1


def test_extract_pays_only_for_what_is_new(tmp_path, rows):
    _, computed = run(tmp_path, rows[:4])
    assert computed == ["u1", "u2", "u3"]
    tally, computed = run(tmp_path, rows)
    assert computed == ["u4", "u5", "u6"]  # u8 and u9 say what u1 and u2 do
    assert (tally.done, tally.reused, tally.failed, tally.absent) == (3, 5, 0, 2)


@pytest.mark.parametrize(
    "change", [{"identity": {"extractor": "counting 2"}}, {"content": lambda row: row.text + "!"}, {"code": ()}]
)
def test_extract_reuses_nothing_of_another_extractor(tmp_path, rows, change):
    run(tmp_path, rows)
    tally, _ = run(tmp_path, rows, **change)
    assert tally.reused == 0


def test_extract_keeps_what_was_finished_before_an_error(tmp_path, rows):
    def break_off(indices):
        yield from list(Counting(rows)(indices))[:2]
        raise InputError("unplugged")

    with pytest.raises(InputError, match="unplugged"):
        run(tmp_path, rows, compute=break_off)
    assert not (tmp_path / "out.h5").exists()
    tally, _ = run(tmp_path, rows)
    assert tally.reused == 4  # u1 and u2, and their copies u8 and u9


def test_extract_lists_problems_with_what_follows(tmp_path, rows):
    problems = {"u2": "no face: in 3 frames", "u4": "incomplete: half"}
    tally, _ = run(tmp_path, rows[:6], problems=problems)
    assert read_problems(tmp_path / "problems.csv") == [
        ("u2", "", "no face: in 3 frames", "text not present"),
        ("u4", "", "incomplete: half", "what there is was used"),
    ]
    assert (tally.done, tally.failed) == (4, 1)
    assert list(read_features(tmp_path / "out.h5", "text").present) == [False, True, False, True, True, True]


def test_extract_remembers_a_problem_but_tries_a_dead_worker_again(tmp_path, rows):
    run(tmp_path, rows[:5], problems={"u2": "no face", "u3": engine.WorkerDied(3)})
    (u2, _, face, _), (u3, _, died, _) = read_problems(tmp_path / "problems.csv")
    assert (u2, face, u3) == ("u2", "no face", "u3") and "worker died: 3 times" in died
    tally, computed = run(tmp_path, rows[:5])
    assert computed == ["u3"]
    assert (tally.done, tally.reused, tally.failed, tally.absent) == (1, 2, 1, 1)


def test_extract_lists_unreadable_media_without_computing(tmp_path):
    (tmp_path / "here.mp4").write_bytes(b"content")
    rows = [make_row("a", "here.mp4", 1.0), make_row("b", "gone.mp4", 1.0)]
    with Scratch(tmp_path / "other.sqlite") as scratch:
        tally, computed = run(tmp_path, rows, content=media_content(tmp_path, scratch, seen))
    assert computed == ["a"] and tally.failed == 1
    assert read_problems(tmp_path / "problems.csv") == [
        ("b", "gone.mp4", "unreadable: No such file or directory", "text not present")
    ]


def test_extract_of_media_that_are_gone_fails_and_leaves_the_features(tmp_path):
    """A drive that was unmounted since `prepare`; DVC would take absent features for the result."""
    rows = [make_row(name, name, 1.0) for name in ("a.mp4", "b.mp4", "c.mp4")]
    for number, row in enumerate(rows):
        (tmp_path / row.media).write_bytes(b"content %d" % number)
    with Scratch(tmp_path / "other.sqlite") as scratch:
        content = media_content(tmp_path, scratch, seen)
        run(tmp_path, rows, content=content)
        before = (tmp_path / "out.h5").read_bytes()
        for row in rows[:2]:
            (tmp_path / row.media).unlink()
        with pytest.raises(InputError, match=r"2 utterances have media .* first a\.mp4; .* Is the disk of"):
            run(tmp_path, rows, content=content)
    assert (tmp_path / "out.h5").read_bytes() == before and len(read_problems(tmp_path / "problems.csv")) == 2


def test_extract_of_what_opens_no_media_needs_none(tmp_path):
    """Text is encoded where the media are not: `extract_text` has problems of rows whose file is elsewhere."""
    rows = [make_row(f"u{number}", f"u{number}.mp4", 1.0, text="a" * (number + 1)) for number in range(4)]
    tally, _ = run(tmp_path, rows, problems={row.utterance_id: "text too long: cut" for row in rows})
    assert tally.done == 4


def test_media_content_is_the_bytes_and_the_span_not_the_name(tmp_path):
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(b"content")
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        content = media_content(tmp_path, scratch, seen)
        assert content(make_row("a", "one.mp4", 1.0)) == content(make_row("b", "two.mp4", 1.0))
        assert content(make_row("a", "one.mp4", 1.0)) != content(make_row("a", "one.mp4", 2.0))
        assert content(make_row("a", "one.mp4", 1.0)) != content(
            make_row("a", "one.mp4", 1.0, region=Region(right=0.5))
        )
        with pytest.raises(MediaError, match="gone.mp4: unreadable"):
            content(make_row("a", "gone.mp4", 1.0))


def test_sound_of_its_own_is_the_content_and_the_file_of_a_problem(tmp_path):
    (tmp_path / "here.avi").write_bytes(b"picture")
    (tmp_path / "here.wav").write_bytes(b"sound")
    with Scratch(tmp_path / "other.sqlite") as scratch:
        heard = media_content(tmp_path, scratch, lambda row: row.heard)
        row = make_row("a", "here.avi", 9.0, sound="here.wav", sound_end_s=1.0)
        assert heard(row) == heard(make_row("b", "here.wav", 1.0)) != heard(make_row("c", "here.avi", 1.0))
        gone = make_row("d", "here.avi", 9.0, sound="gone.wav")
        run(tmp_path, [row, gone], content=heard, file=lambda row: row.heard[0])
    assert [problem[:2] for problem in read_problems(tmp_path / "problems.csv")] == [("d", "gone.wav")]


def test_extract_of_an_absent_modality_has_its_width(tmp_path, rows):
    def must_not(row):
        raise AssertionError("opened")

    tally, computed = run(tmp_path, rows, wants=lambda row: False, content=must_not)
    made = read_features(tmp_path / "out.h5", "text")
    assert made.features.shape == (10, 2) and not made.present.any() and computed == []
    assert (tally.done, tally.reused, tally.failed, tally.absent) == (0, 0, 0, 10)


def test_extract_refuses_other_utterances(tmp_path, rows):
    write_rows(tmp_path, rows)
    with Scratch(tmp_path / "scratch.sqlite") as scratch:
        extractor = Counting(rows).extractor()
        with pytest.raises(InputError, match="not of the same utterances.*pipeline.prepare --corpus demo"):
            extract(rows[1:], extractor, places(tmp_path), scratch)
        with pytest.raises(InputError, match="of the corpus 'demo', expected 'meld'"):
            extract(rows, extractor, places(tmp_path, corpus="meld"), scratch)


@pytest.mark.parametrize("change", [{"text": "other"}, {"split": "test"}, {"end_s": 2.0}])
def test_extract_refuses_rows_of_which_one_file_alone_was_made_again(tmp_path, rows, change):
    """As a full disk or a kill between the two files leaves them; the features would claim what they are not of."""
    rows[1] = replace(rows[1], media="a.wav", has_audio=True, end_s=1.0)
    write_rows(tmp_path, rows)
    rows[1] = replace(rows[1], **change)
    with (
        Scratch(tmp_path / "scratch.sqlite") as scratch,
        pytest.raises(InputError, match="not of the same utterances"),
    ):
        extract(rows, Counting(rows).extractor(), places(tmp_path), scratch)


def test_extract_closes_with_one_line(tmp_path, rows, capfd):
    run(tmp_path, rows, problems={"u2": "no face"})
    assert "10 utterances: 6 done, 0 reused, 2 failed, 2 absent" in capfd.readouterr().err


def test_stage_options_follow_the_corpus(tmp_path):
    seen = []

    @click.command()
    @stage_options("audio")
    def command(places):
        seen.append(places)

    assert run_stage(command, tmp_path, out="x.h5").exit_code == 0
    assert command.main(["--corpus", "meld"], standalone_mode=False) is None
    given, derived = seen
    assert str(given.out) == "x.h5" and given.raw == tmp_path
    assert {name: str(getattr(derived, name)) for name in ("raw", "table", "utterances", "out", "problems")} == {
        "raw": "data/raw/meld",
        "table": "data/meld/utterances.csv",
        "utterances": "features/meld/utterances.h5",
        "out": "features/meld/audio.h5",
        "problems": "data/meld/problems_extract_audio.csv",
    }


def test_log_tells_versions_counts_and_times(tmp_path):
    clock = Clock()
    clock.seconds.update({"write": 0.25, "decode": 1.5})
    write_log(tmp_path / "data" / "log.json", {"extractor": "one"}, 7, {"done": 5}, clock)
    log = json.loads((tmp_path / "data" / "log.json").read_text(encoding="utf-8"))
    assert log["identity"] == {"extractor": "one"} and (log["computed"], log["done"]) == (7, 5)
    assert list(log["steps_s"].items()) == [("decode", 1.5), ("write", 0.25)]
    assert {"python", "numpy", "av"} <= log["versions"].keys() and log["finished"].endswith("+00:00")
