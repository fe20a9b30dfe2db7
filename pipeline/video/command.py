"""`dferc-video`: videos, sound files or transcripts in; emotions, subtitles and a page out."""

import contextlib
import filecmp
import functools
import itertools
import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import Progress as Bar
from rich.text import Text

from dferc import engine
from dferc.core.console import (
    console,
    print_json,
    print_note,
    print_table,
    progress_bar,
    readable_errors,
    shorten,
    shown_option,
    warn_of_simulation,
)
from dferc.core.device import DEVICES
from dferc.core.errors import InputError, counted, explained
from dferc.core.files import regular_file, user_cache, verify_writable, write_atomically
from dferc.engine.options import engine_options
from pipeline.settings import default_model

if TYPE_CHECKING:
    from dferc.results.emotions import Emotions

FORMATS = ("json", "csv", "srt", "vtt", "eaf", "textgrid", "html")
_COLUMNS = ("begin", "speaker", "emotion", "probability", "text")
ROWS = 12  # utterances that are shown on the screen; the page has all

_STEPS = {"open": "reading", "text": "words", "audio": "voice", "visual": "faces"}  # others are shown by their names


class _Place(click.Path):
    """A path; an empty one, as of an unset shell variable, would mean the folder that the command runs in."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path; an empty one is a usage error."""
        if not value:
            self.fail("the name is empty. Is a shell variable unset? The present folder is `.`.", param, ctx)
        return super().convert(value, param, ctx)


@click.command()
@click.argument("media", nargs=-1, required=True, type=_Place(path_type=Path))
@click.option("--model", envvar="DFERC_MODEL", help="Bundle (folder, .zip or hub id) or run.  [default: params.yaml]")
@click.option("--revision", help="Of a bundle on the hub: branch, tag or commit.")
@click.option("--transcript", type=_Place(path_type=Path), help="Of one medium: .srt, .vtt, a table or text.")
@shown_option("--asr", default="small", help="Speech recognition: faster-whisper's name, or a folder.")
@click.option("--language", help="Of the speech, such as en.  [default: recognised]")
@shown_option(
    "--pause",
    "pause_s",
    type=click.FloatRange(0.2, 10),
    default=0.4,
    help="Silence in seconds that ends an utterance of recognised speech.",
)
@shown_option(
    "--longest",
    "longest_s",
    type=click.FloatRange(1, 30),
    default=15,
    help="Longest utterance of recognised speech, in seconds.",
)
@click.option("--diarize", metavar="MODEL", help="Tell speakers apart by pyannote.audio: hub id or folder.")
@click.option(
    "--scene-gap",
    "scene_s",
    type=click.FloatRange(min=0, min_open=True),
    help="Silence in seconds that begins a new dialogue.  [default: the whole medium is one]",
)
@shown_option(
    "--abstain", type=click.FloatRange(0, 1), default=0.0, help="Leave utterances below this probability undecided."
)
@click.option("--seed", "seeds", type=click.IntRange(min=0), multiple=True, help="Repeatable.  [default: all]")
@click.option("--out", type=_Place(path_type=Path), help="Folder of the results.  [default: MEDIUM.emotions beside it]")
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    help="Repeatable; the JSON is always written.  [default: all]",
)
@click.option("--embed", is_flag=True, help="Put the medium into the page, which is then one file to send.")
@click.option("--json", "as_json", is_flag=True, help="Print the document to stdout; files only with --out.")
@shown_option("--device", type=click.Choice(DEVICES), default="auto")
@click.option("--cache", type=_Place(path_type=Path), help="Finished work.  [default: ~/.cache/dferc]")
@engine_options
@readable_errors
def main(media, model, revision, transcript, out, formats, embed, as_json, cache, workers, **options) -> None:
    """Recognise the emotion of every utterance in MEDIA: videos, sound files, transcripts, or folders of them.

    \b
        dferc-video talk.mp4                           # talk.emotions/index.html: open it in a browser
        dferc-video talk.mp4 --model meld.dferc --abstain 0.5
        dferc-video talks/ --engine ray                # a folder, spread over a cluster
        dferc-video talk.srt                           # words alone

    The transcript is the one beside the medium (talk.srt, .vtt, .csv, .tsv, .jsonl, .txt); without one, the speech is
    recognised. Finished work is kept: after a kill, the same command pays only for the rest. A medium that fails does
    not stop the others; the exit status is then 1.

    A probability is the model's estimate of how annotators would have labelled the utterance, no measurement of what a
    person feels. In the EU, emotion recognition at work and in education is prohibited (AI Act, Art. 5(1)(f)).
    """  # noqa: D301 (click reads a real backspace as "leave these lines as they are")
    if as_json and out is None and (formats or embed):
        raise click.UsageError("--format and --embed choose files, which --json writes only with --out. Name a folder.")
    several = len(media) > 1 or media[0].is_dir()  # however many media a folder has
    media = _expanded(media)
    if transcript is not None and len(media) > 1:
        raise click.UsageError(f"--transcript is of one medium, and there are {len(media)}. Name them one by one.")
    if transcript is not None:
        regular_file(transcript)
    if len(media) == 1:
        regular_file(media[0])  # seconds before the model is loaded
    folders = {} if as_json and not out else _folders(media, out) if several or not out else {media[0]: out}
    for path, folder in folders.items():
        _verify_replaceable(folder, path, transcript)
        _verify_writable(folder, "--out")
    _verify_writable(cache or user_cache(), "--cache")
    options |= {"revision": revision, "cache": cache}
    source = model or default_model()
    results = _on_cluster if workers.cluster else _one_by_one
    failed, summary = [], []
    for path, result in results(source, options, media, transcript, workers):
        if not isinstance(result, str):
            try:
                if folders:
                    _verify_same(folders[path], result)
                    _keep_corrected(folders[path], path)
                    embedded = bool(formats) and "html" not in formats and b"media-src blob:" in _head(folders[path])
                    result.write(folders[path], path, _formats(folders[path], formats), embed or embedded)
                summary.append((path, result))
            except InputError as error:
                result = str(error)
        if isinstance(result, str):
            failed.append(path)
            print_note(shorten(result), "error:", "bold red")
        elif as_json:
            print_json(result.model_dump(by_alias=True), indent=None if several else 2)
    show([(path, emotions, folders.get(path)) for path, emotions in summary], short=as_json)
    if failed:
        if len(media) > 1:
            names = ", ".join(_shown(path.name) for path in failed[:20])
            print_note(f"{len(failed)} of {len(media)} media failed: {names}", "error:", "bold red")
        sys.exit(1)


def _verify_replaceable(folder: Path, media: Path, transcript: Path | None) -> None:
    """Check that no source, no result of another medium and no file of others would be replaced."""
    from dferc.results.emotions.document import FILES
    from pipeline.video.medium import plain_name

    results = {(folder / name).resolve() for name in FILES.values()}
    for source in filter(None, (media, transcript)):  # of a medium named `emotions`, the subtitles would be transcripts
        if {source.resolve(), source.with_suffix(".srt").resolve()} & results:
            raise InputError(
                f"--out {folder}: results there are named {FILES['srt']} and so on, which would replace {source.name} "
                "or pass for its transcript. Name another folder with --out."
            )

    there = [name for name in FILES.values() if (folder / name).exists()]
    try:
        of = json.loads((folder / FILES["json"]).read_bytes())["media"]["name"]
    except (OSError, ValueError, LookupError, TypeError):
        of = None
    if there and of != plain_name(media):
        found = f"the results of {of}" if of else f"{', '.join(there)}, and no {FILES['json']} that is of {media.name}"
        raise InputError(f"{folder} has {found}. Name another folder for {media.name} with --out.")
    if FILES["html"] in there and b": emotions</title>" not in _head(folder):
        raise InputError(f"{folder} has an {FILES['html']} that is no page of dferc-video. Name another with --out.")


def _formats(folder: Path, chosen: Sequence[str]) -> list[str]:
    """Return the formats to write: the chosen, the document, and those that are there, which would contradict it."""
    from dferc.results.emotions.document import FILES

    return [name for name in FORMATS if not chosen or name in ("json", *chosen) or (folder / FILES[name]).exists()]


def _keep_corrected(folder: Path, media: Path) -> None:
    """Copy files that are not as the document there gives them, and it: a person has corrected them, or it."""
    from dferc.results.emotions.document import FILES, Emotions

    document, again, changed = None, folder / ".again.part", []
    with contextlib.suppress(InputError):  # there is none, or of another version: nothing is known to be unchanged
        document = Emotions.read(folder / FILES["json"])
    for name in (name for name in FILES if name not in ("json", "html") and (folder / FILES[name]).exists()):
        if document is not None:
            getattr(document, f"to_{name}")(again, *([media] if name == "eaf" else []))
        if document is None or not filecmp.cmp(again, folder / FILES[name], shallow=False):
            changed.append(name)
    again.unlink(missing_ok=True)
    if changed:
        names = [FILES[name] for name in ("json", *changed)]
        end = next(f".bak{number}" for number in itertools.count(1) if not any(folder.glob(f"*.bak{number}")))
        for name in names:
            write_atomically(folder / f"{name}{end}", functools.partial(shutil.copyfile, folder / name))
        kept = ", ".join(name + end for name in names)
        print_note(f"{_shown(str(folder))}: changed by others: {', '.join(names[1:])}; kept as {kept}")


def _verify_same(folder: Path, result: "Emotions") -> None:
    """Check that the results that are there are not those of another medium of the same name (`day2/00001.mts`)."""
    two, differ = result.media, ""
    try:  # as it is: a newer version may have written it, or a person corrected it
        there = json.loads((folder / "emotions.json").read_bytes())
        # Case and punctuation may have been mended since.
        one, texts = there["media"], {re.sub(r"\W+", "", str(each["text"]).casefold()) for each in there["utterances"]}
        if None not in (one["length_s"], two.length_s) and abs(one["length_s"] - two.length_s) >= 0.1:
            differ = f", of {one['length_s']:.1f} s, and this one has {two.length_s:.1f} s"
    except (OSError, ValueError, LookupError, TypeError):  # there are none
        return
    if not differ and one.get("sha256") not in (None, two.sha256):  # a camera's are alike in name and length
        others = {re.sub(r"\W+", "", each.text.casefold()) for each in result.utterances}
        if 2 * len(texts & others) < max(1, min(len(texts), len(others))):
            differ = ": the file is another one, and so are its words"
    if differ:
        raise InputError(
            f"{folder} has the results of another {two.name}{differ}. Name another folder with --out, or remove these; "
            "finished work is kept."
        )


def _head(folder: Path) -> bytes:
    """Return the beginning of a folder's page, with its title; empty where there is none."""
    try:
        with open(folder / "index.html", "rb") as file:
            return file.read(1 << 14)
    except OSError:
        return b""


def _verify_writable(folder: Path, option: str) -> None:
    """Check before the work that a folder can be written to; the error names the option that chooses another."""
    try:
        verify_writable(folder)
    except InputError as error:
        raise InputError(f"{error} Name another folder with {option}.") from None


def _expanded(media: Sequence[Path]) -> list[Path]:
    """Return the media, with those in folders, each once and in order."""
    from pipeline.corpora._files import is_media

    found = []
    for path in media:
        inside = [path]
        if path.is_dir():
            files = (file for file in sorted(path.iterdir()) if not file.name.startswith(".") and file.is_file())
            inside = [file for file in files if is_media(file)]
        if not inside:
            raise InputError(f"{path} is a folder without video or sound. Name a file, or a folder with some.")
        found += inside
    return list({path.parent.resolve() / path.name: path for path in found}.values())


def _folders(media: Sequence[Path], out: Path | None) -> dict[Path, Path]:
    """Return the folder of each medium's results; media of one name keep their suffix to tell them apart."""
    places = {path: (out or path.parent) / f"{path.stem}.emotions" for path in media}
    taken = Counter(folder.resolve() for folder in places.values())  # `talk.mp4` and `/here/talk.wav` lie together
    places = {
        path: folder if taken[folder.resolve()] == 1 else folder.with_name(f"{path.name}.emotions")
        for path, folder in places.items()
    }
    for folder, count in Counter(folder.resolve() for folder in places.values()).items():
        if count > 1:
            raise InputError(f"{count} media would write to {folder}. Run them one by one, each with its own --out.")
    return places


def _one_by_one(
    source: str, options: dict, media: Sequence[Path], transcript: Path | None, workers: engine.Workers
) -> Iterator[tuple[Path, "Emotions | str"]]:
    """Yield each medium with its emotions, or with the error; one model serves them all."""
    from pipeline.video.recogniser import Recogniser

    with Recogniser.load(source, workers=workers.count, **options) as recogniser:
        for number, path in enumerate(media, start=1):
            of_all = f"{number} of {len(media)}, " if len(media) > 1 else ""
            try:
                with progress_bar() as bar:
                    result = recogniser(path, transcript, _Steps(bar, f"{of_all}{_shown(path.name)}", bool(of_all)))
            except Exception as error:
                if (result := explained(error)) is None:
                    raise
            yield path, result


def _on_cluster(
    source: str, options: dict, media: Sequence[Path], transcript: Path | None, workers: engine.Workers
) -> Iterator[tuple[Path, "Emotions | str"]]:
    """Yield each medium as it is finished by a worker of the cluster; a worker takes a medium at a time."""
    from dferc.results.emotions import Emotions

    named = {name: _absolute(options[name]) for name in ("asr", "diarize", "cache") if options[name]}
    place = _absolute(source)
    make_worker = functools.partial(MediumWorker, place, options | named, transcript and transcript.absolute())
    paths = [Path(place), *(path.absolute() for path in media[:1])]
    with progress_bar() as bar:
        task = bar.add_task("media", total=len(media))
        for index, result in engine.run(make_worker, [path.absolute() for path in media], workers, paths):
            bar.advance(task)
            if isinstance(result, dict):
                result = Emotions.model_validate(result)
            elif isinstance(result, engine.WorkerDied):
                result = f"{media[index]}: {result}"
            yield media[index], result


def _absolute(place: str | Path) -> str | Path:
    """Make the path of something that exists absolute, since workers may have another working folder."""
    return type(place)(Path(place).absolute()) if Path(place).exists() else place


class MediumWorker:
    """Recognises one medium after another on a machine of a cluster."""

    def __init__(self, source: str, options: dict, transcript: Path | None):
        from pipeline.video.recogniser import Recogniser

        self._recogniser, self._transcript = Recogniser.load(source, workers=0, **options), transcript

    def __call__(self, path: Path) -> dict | str:
        """Return the document, or the error."""
        try:
            return json.loads(self._recogniser(path, self._transcript).model_dump_json(by_alias=True))
        except Exception as error:
            if (message := explained(error)) is None:
                raise
            return message


class _Steps:
    """Progress of one medium: a bar with the time left for each step; in a log a line, of several media one each."""

    def __init__(self, bar: Bar, name: str, of_several: bool):
        self._bar, self._name, self._step, self._task, self._done = bar, name, "", None, 0.0
        self._of_several = of_several

    def __call__(self, step: str, share: float) -> None:
        if step != self._step:
            if self._task is not None:
                self._bar.remove_task(self._task)
            shown = f"{self._name}: {_STEPS.get(step, step)}"
            self._task = self._bar.add_task(shown, total=100)
            if not console.is_terminal and not (self._of_several and self._step):
                console.print(shown)
            self._step, self._done = step, 0.0
        if share * 100 > self._done:
            self._bar.advance(self._task, share * 100 - self._done)
            self._done = share * 100


def show(results: Sequence[tuple[Path, "Emotions", Path | None]], short: bool = False) -> None:
    """Print what was found: a row per utterance of a single medium, else a row per medium; and where the pages are.

    `short` leaves the tables out.
    """
    notes = Counter(note for _, emotions, _ in results for note in dict.fromkeys(emotions.notes))
    for note in (note for note, count in notes.items() if count == len(results)):
        print_note(f"all {len(results)} media: {note}" if len(results) > 1 else note)
    for path, emotions, place in results:
        for note in emotions.notes:
            if notes[note] < len(results):
                print_note(f"{_shown(path.name)}: {note}")
        if emotions.problems:  # the first of them, and where all of them are
            first, count = emotions.problems[0], len(emotions.problems)
            document = _shown(str(place / "emotions.json")) if place else "the printed document"
            others = f" (1 of {count}: `problems` in {document})" if count > 1 else ""
            print_note(f"{_shown(first.where)}: {first.problem}; {first.consequence}{others}")
    if not results:
        return
    _, first, folder = results[0]
    if len(results) == 1 and not short:
        _show_utterances(first)
    elif not short:
        rows = []
        for path, emotions, place in results:
            counts = Counter(each.label for each in emotions.utterances).most_common(3)
            common = ", ".join(f"{name} {count}" for name, count in counts) or "no utterance"
            rows.append([_shown(path.name), str(len(emotions.utterances)), common, _shown(str(place or ""))])
        print_table(["medium", "utterances", "most frequent", "results"], rows)
    synthetic = first.model.synthetic
    warn_of_simulation(["the model was trained on it", *synthetic] * bool(synthetic), "these emotions")
    if len(results) == 1 and folder is not None:
        page, count = folder / "index.html", counted(len(first.utterances), "utterance")
        words = f", words of {_shown(first.transcript.origin)}" if first.transcript else ""
        console.print(f"{count}{words}: {_shown(str(page if page.exists() else folder))}")


def _shown(name: str) -> str:
    """Return a name on one line: a line break in it could pass for a message of its own."""
    return name.replace("\n", r"\n").replace("\t", r"\t")


def _show_utterances(emotions: "Emotions") -> None:
    rows = []
    for each in emotions.utterances[:ROWS]:
        minutes, seconds = divmod(round(each.start_s or 0, 1), 60)
        begin = "" if each.start_s is None else f"{minutes:.0f}:{seconds:04.1f}"
        rows.append([begin, each.speaker[:20], each.label, f"{each.confidence:.2f}", each.text])
    if rows:
        used = sum(max(len(name), *(len(row[column]) for row in rows)) + 2 for column, name in enumerate(_COLUMNS[:-1]))
        room = max(16, console.width - used - 2)
        rows = [[*row, text if len(text) <= room else f"{text[: room - 1]}…"] for *row, text in rows]
        header, *rows = ([*row[:-1], Text(row[-1], justify="left")] for row in [_COLUMNS, *rows])
        print_table(header, rows, emotions.media.name)
    if len(emotions.utterances) > ROWS:
        console.print(f"… and {len(emotions.utterances) - ROWS} more")
