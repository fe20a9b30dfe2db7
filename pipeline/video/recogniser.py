"""Emotions of a video, a sound file or a transcript in one pass.

>>> from pipeline import Recogniser
>>> Recogniser.load("models/meld.dferc")("talk.mp4").to_json("talk.json")

The features are made by the very extractors of stage 1 (`pipeline.extract_text`, `extract_audio`, `extract_visual`), so
they have the same bytes as those of the stages over the same utterances. The whole medium is one dialogue.
"""

import contextlib
import functools
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple, Self

from dferc import engine
from dferc.core.device import choose_device
from dferc.core.errors import InputError, Problem
from dferc.core.files import file_hash, regular_file, user_cache
from dferc.core.records import check_values
from dferc.evaluation.predict import PredictionTable, load_predictor, verify_share
from dferc.results.emotions import EmotionalUtterance, EmotionProblem, Emotions, MediumFacts, ModelFacts
from dferc.results.emotions.schema import OPENSMILE_LICENCE, TranscriptFacts
from dferc.store import bundle as bundles
from dferc.store.rows import CachedCorpus, Features, join_sets
from dferc.training.checkpoint import WEIGHTS
from pipeline import extract_audio, extract_text, extract_visual
from pipeline.audio.functionals import is_speech_encoder
from pipeline.audio.speech import load_speech_encoder
from pipeline.bundle.collect import SECTIONS, collect, text_encoders
from pipeline.bundle.model_card import model_card
from pipeline.extraction.loop import Extractor, extract_features
from pipeline.extraction.scratch import Scratch, key_of
from pipeline.faces.runtime import nearest_runtime
from pipeline.media.files import MediaInfo
from pipeline.settings import restored
from pipeline.speech import Diarizer, SpeechRecogniser, Transcript, find_transcript, language_note, read_transcript
from pipeline.speech.beside import unread_beside
from pipeline.speech.cutting import LONGEST_S, PAUSE_S
from pipeline.speech.transcript import GIVE_ONE
from pipeline.text.encoder import load_encoder
from pipeline.video.kept import FEATURES, kept_transcript
from pipeline.video.medium import MediumRows, file_remarks, measure_medium, plain_name, rows_of, with_extracted
from pipeline.vision.encoder import load_picture_encoder

STEPS = ("open", "transcript", "text", "visual", "audio", "emotions")
"""Steps of one medium, in order, as `progress` receives them. With the picture openSMILE hears the sound."""

Progress = Callable[[str, float], None]
"""Receives the name of a step of `STEPS`, and the share of it that is done, 0 to 1. It may raise to stop the work."""

_SHORT_S = 60.0  # a shorter medium is worked on in this process: worker processes take seconds to start


class _Medium(NamedTuple):
    """A medium, its measurements (None for a transcript alone), and its words."""

    path: Path
    info: MediaInfo | None
    words: Transcript


class Recogniser(contextlib.AbstractContextManager):
    """A model bundle, loaded and ready for several media; see `load`. As a context manager it ends its processes."""

    def __init__(
        self,
        bundle: bundles.Bundle,
        name: str,
        *,
        device: str = "auto",
        abstain: float = 0.0,
        asr: str = "small",
        language: str | None = None,
        diarize: str | None = None,
        cache: Path | None = None,
        seeds: Sequence[int] = (),
        scene_s: float | None = None,
        pause_s: float = PAUSE_S,
        longest_s: float = LONGEST_S,
        workers: int | None = 0,
    ):
        verify_share(abstain, "abstain")
        if scene_s is not None and not scene_s > 0:
            raise InputError(f"scene_s is {scene_s!r}; expected seconds above 0, or None.")
        if not (0.2 <= pause_s <= 10 and 1 <= longest_s <= 30):
            raise InputError(f"pause_s is {pause_s!r}, longest_s {longest_s!r}; expected 0.2 to 10 s and 1 to 30 s.")
        self.bundle, self.name, self.abstain, self.cache = bundle, name, abstain, cache or user_cache()
        self._device, self._asr, self._language, self._workers = device, asr, language, workers
        self._scene_s, self._cut = scene_s, (pause_s, longest_s)
        self._standby = engine.Standby()
        self.seeds = _chosen(bundle.manifest.seeds, seeds, name)
        of_network = choose_device(device, "float32").device
        heads = [head for head, seed in zip(bundle.heads, bundle.manifest.seeds, strict=True) if seed in self.seeds]
        self._predictor = load_predictor(heads, of_network)
        self._diarizer = Diarizer(diarize, device) if diarize else None
        # Encoders stay in memory for the next medium.
        load_text = functools.cache(load_encoder)
        self._load_encoder = lambda folder, max_tokens: load_text(str(Path(folder).absolute()), max_tokens)
        self._load_speech_encoder = functools.cache(load_speech_encoder)
        self._load_picture_encoder = functools.cache(load_picture_encoder)
        settings = bundle.settings
        self._settings = {
            name: check_values(
                restored(modality, settings[f"extract_{name}"]),
                SECTIONS[modality],
                f"{self.name}: {bundles.MANIFEST}, settings.extract_{name}",
                bundles.AGAIN,
            )
            for modality in bundle.manifest.modalities
            for name in bundle.sets(modality)
        }

    @classmethod
    def load(cls, source: str | Path, *, revision: str | None = None, cache: Path | None = None, **options) -> Self:
        """Load a model.

        Args:
            source: model bundle (a folder, a .zip, or an id on the hub), or a run such as runs/meld/full.
            revision: of a bundle on the hub.
            cache: folder of finished work.  [default: dferc in $XDG_CACHE_HOME or ~/.cache]
            options: `device` (auto, cpu or cuda); `abstain`, the probability below which an utterance is left undecided
                (0 = none); `asr`, the model of faster-whisper for media without a transcript, by name or folder
                (small); `language` of the speech, such as `en` (None = recognised); `diarize`, the model of
                pyannote.audio that tells speakers apart (None = one speaker); `seeds` of the bundle to use (() = all);
                `scene_s`, the silence in seconds that begins a new dialogue (None = the whole medium is one);
                `pause_s` and `longest_s`, the silence that ends an utterance of recognised speech and the longest one
                in seconds (0.4, 15); `workers`, processes that decode (0 = this one; None = all CPUs; other than 0
                needs the usual `if __name__ == "__main__":` in a script).

        Raises:
            InputError: the source is no usable model.
        """
        cache = Path(cache or user_cache())
        bundles.refuse_revision(source, revision)
        if bundles.is_bundle(source) or bundles.is_hub_id(source) or not Path(source).is_dir():
            bundle = bundles.open_bundle(source, revision, cache / "bundles")
        elif not any((Path(source) / name).exists() for name in ("train", WEIGHTS)):
            raise InputError(
                f"{source} is neither a bundle (a folder with {bundles.MANIFEST}, made by `dferc bundle`) nor a "
                "trained run, such as runs/meld/full."
            )
        else:
            bundle = _bundle_of_run(Path(source), cache)
        return cls(bundle, _plain(source), cache=cache, **options)

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """End the worker processes; the recogniser can be used again."""
        self._standby.close()

    def __call__(
        self,
        media: str | Path,
        transcript: str | Path | None = None,
        progress: Progress | None = None,
        names: tuple[str, str | None] | None = None,
    ) -> Emotions:
        """Recognise the emotion of each utterance of one medium.

        Args:
            media: video or sound, or a transcript alone.
            transcript: subtitles or a table; None = the one beside the medium, else speech recognition.
            progress: called during the work.
            names: of medium and transcript, where they lie under others, as uploads do.

        Raises:
            InputError: the medium or its transcript cannot be used.
        """
        media, progress = regular_file(media), progress or (lambda step, share: None)
        found = Path(transcript) if transcript is not None else find_transcript(media)
        with _step(progress, "open"):
            info = None if found == media else measure_medium(media)
        with Scratch(self.cache / FEATURES) as scratch:
            with _step(progress, "transcript") as report:
                words = self._transcript(media, info, found, scratch, report, names)
            result = self._recognise(_Medium(media, info, words), scratch, progress)
            result.media.sha256 = scratch.media_hash(media)
            return result

    def _transcript(
        self,
        media: Path,
        info: MediaInfo | None,
        found: Path | None,
        scratch: Scratch,
        report: Callable[[float], None],
        names: tuple[str, str | None] | None = None,
    ) -> Transcript:
        """Read the transcript that was found, or recognise the speech; then tell the speakers apart."""
        if found is not None:
            called, transcript = (media, found) if names is None else (Path(names[0]), Path(names[1] or names[0]))
            length_s = info.duration_s if info else None
            words = read_transcript(found, called if info else None, length_s, named=transcript)
            words = replace(words, language=words.language or self._language or "")
        elif not info.has_audio:
            raise InputError(
                f"{media} has no sound track and no transcript, so it has no utterances. Give one: {media.stem}.srt "
                f"{GIVE_ONE} {unread_beside(media)}".rstrip()
            )
        else:
            content = scratch.media_hash(media)
            recognise = lambda keep: self._speech(media, report, keep)  # noqa: E731 - loads the model if it is called
            words = kept_transcript(self.cache, self._asr, self._language, content, self._cut, recognise)
            renamed = [replace(problem, where=media.name, file=media.name) for problem in words.problems]
            notes = (*words.notes, *filter(None, [unread_beside(media)]))
            words = replace(words, problems=tuple(renamed), notes=notes)  # it may have had another name then
        if self._diarizer is not None and info is not None and info.has_audio and words.utterances:
            words = self._diarizer(media, words)
        return words

    def load_speech(self) -> None:
        """Load the speech recognition now, and not with the first medium that has no transcript.

        Raises:
            InputError: there is none.
        """
        self._speech  # noqa: B018 - a cached property

    @functools.cached_property
    def _speech(self) -> SpeechRecogniser:
        pause_s, longest_s = self._cut
        return SpeechRecogniser(self._asr, self._language, self._device, pause_s=pause_s, longest_s=longest_s)

    def _recognise(self, medium: _Medium, scratch: Scratch, progress: Progress) -> Emotions:
        if not medium.words.utterances:
            return self._document(medium, file_remarks(medium.path, medium.info), [], [])
        rows = rows_of(*medium, self.bundle.manifest.classes, self._scene_s)
        absent, problems, modalities, made = rows.absent, rows.problems, {}, {}
        for modality in sorted(self.bundle.manifest.modalities, key=STEPS.index):
            with _step(progress, modality) as report:
                made[modality] = self._extract(modality, rows, medium, scratch, report)
        for modality in self.bundle.manifest.modalities:
            features, found = made[modality]
            modalities[modality] = features
            absent = with_extracted(absent, features, found)
            odd = {row.utterance_id for row, there in zip(rows.rows, features.present, strict=True) if there}
            problems = problems + [problem for problem in found if problem.where in odd]
        with _step(progress, "emotions"):
            corpus = CachedCorpus(utterances=rows.utterances, modalities=modalities)
            table = self._predictor.predict(corpus, self.abstain)
            absent = [{name: why for name, why in of_row.items() if name in modalities} for of_row in absent]
            utterances = self._utterances(table, medium.words, corpus, absent)
            notes = list(_explained(table.notes, absent, medium.info))
            return self._document(medium, problems, notes, utterances)

    def _extract(
        self, modality: str, rows: MediumRows, medium: _Medium, scratch: Scratch, report: Callable[[float], None]
    ) -> tuple[Features, list[Problem]]:
        """Return the features of a modality, its sets side by side where the model joins several, and problems."""
        names, made, problems = self.bundle.sets(modality), {}, []
        for number, name in enumerate(names):
            extractor = self._extractor(modality, name, rows, medium, scratch)
            part = lambda share, done=number: report((done + share) / len(names))  # noqa: E731
            made[name], found, *_ = extract_features(rows.rows, extractor, rows.utterances, scratch, part)
            problems += [problem for problem in found if problem not in problems]
        if len(names) == 1:
            return made[names[0]], problems
        quality = next((each.quality for each in made.values() if each.quality), {})  # of the faces
        return replace(join_sets(modality, made), quality=quality), problems

    def _extractor(self, modality: str, name: str, rows: MediumRows, medium: _Medium, scratch: Scratch) -> Extractor:
        """Make the extractor of a feature set, with the identity that the features of the training have."""
        settings, raw = self._settings[name], medium.path.parent
        short = not self._standby.idle and (medium.info is None or medium.info.duration_s < _SHORT_S)
        workers = engine.HERE if short else engine.Workers(self._workers, standby=self._standby)
        if modality == "text":
            where = choose_device(self._device, settings.precision)
            return extract_text.make_extractor(
                rows.rows, settings, self.bundle.texts[name], where, load=self._load_encoder
            )
        if modality == "audio":
            return extract_audio.make_extractor(
                rows.rows, settings, raw, scratch, workers, self._device, load=self._load_speech_encoder
            )
        device, listener = choose_device(self._device, "float32").device, None
        for name in self.bundle.sets("audio") if "audio" in self.bundle.manifest.modalities else ():
            if listener is None and not is_speech_encoder(self._settings[name].encoder):  # its weights would be hashed
                audio = self._extractor("audio", name, rows, medium, scratch)
                listener = extract_audio.make_listener(rows.rows, audio, self._settings[name], scratch)
        settings = settings.model_copy(update={"runtime": nearest_runtime(settings.runtime, device.type)})
        return extract_visual.make_extractor(
            rows.rows,
            settings,
            self.bundle.face,
            raw,
            scratch,
            device,
            workers,
            load=self._load_picture_encoder,
            listener=listener,
        )

    def _utterances(
        self, table: PredictionTable, words: Transcript, corpus: CachedCorpus, absent: Sequence[dict[str, str]]
    ) -> list[EmotionalUtterance]:
        visual, utterances = corpus.modalities.get("visual"), []
        for number, (row, spoken) in enumerate(zip(table.rows, words.utterances, strict=True)):
            timed = spoken.start_s is not None and spoken.end_s >= spoken.start_s  # `absent` and `problems` explain it
            probabilities = {name: _share(row[f"p_{name}"]) for name in table.classes}
            sampled = visual is not None and bool(visual.quality) and visual.quality["frames"][number] > 0
            utterances.append(
                EmotionalUtterance(
                    id=row["utterance_id"],
                    start_s=round(max(0.0, spoken.start_s), 3) if timed else None,
                    end_s=round(max(0.0, spoken.end_s), 3) if timed else None,
                    speaker=spoken.speaker,
                    text=spoken.text,
                    emotion=row["predicted"] or None,
                    probabilities=probabilities,
                    disagreement=None if row["disagreement"] == "" else _share(row["disagreement"]),
                    contributions={name: _share(row[f"contribution_{name}"]) for name in corpus.modalities},
                    context_weight=round(row["context_weight"], 6),
                    face_share=_share(visual.quality["face_share"][number]) if sampled else None,
                    absent=absent[number],
                )
            )
        return utterances

    def _document(
        self, medium: _Medium, problems: Sequence[Problem], notes: Sequence[str], utterances: list[EmotionalUtterance]
    ) -> Emotions:
        (media, info, words), manifest = medium, self.bundle.manifest
        calibrations = [manifest.calibration.get(str(seed)) for seed in self.seeds]
        temperature = None if None in calibrations else fmean(fitted.temperature for fitted in calibrations)
        parts = (entry for entry in manifest.licences if entry["part"] != "openSMILE")  # has a sentence of its own
        licences = [f"{entry['part']}: {entry['licence']}" for entry in parts]
        return Emotions(
            media=MediumFacts(
                name=plain_name(media),
                length_s=None if info is None else round(info.duration_s, 3),
                has_sound=info is not None and info.has_audio,
                has_picture=info is not None and info.has_video,
            ),
            model=ModelFacts(
                name=self.name,
                corpus=manifest.corpus,
                classes=list(manifest.classes),
                modalities=list(manifest.modalities),
                seeds=list(self.seeds),
                temperature=temperature,
                temperature_of_mean=self._predictor.temperature_of_mean,
                synthetic=list(manifest.synthetic),
                licences=licences + [OPENSMILE_LICENCE] * manifest.opensmile,
            ),
            transcript=TranscriptFacts(origin=words.origin, language=words.language, speakers_from=words.speakers_from),
            abstain=self.abstain,
            notes=[*self._notes(info, words), *notes],
            problems=[
                EmotionProblem(where=problem.where, problem=problem.problem, consequence=problem.consequence)
                for problem in [*words.problems, *problems]
            ],
            utterances=utterances,
        )

    def _notes(self, info: MediaInfo | None, words: Transcript) -> Iterator[str]:
        yield from words.notes
        for modality, signal in (("audio", "sound"), ("visual", "picture")):
            if modality in self.bundle.manifest.modalities and not _has(info, modality):
                yield f"There is no {signal}: {modality} is absent throughout."
        if "text" in self.bundle.manifest.modalities:
            texts = [spoken.text for spoken in words.utterances]
            notes = (language_note(words.language, texts, str(folder)) for folder in self.bundle.texts.values())
            yield from itertools.islice(filter(None, notes), 1)


@contextlib.contextmanager
def _step(progress: Progress, step: str) -> Iterator[Callable[[float], None]]:
    """Report the begin and the end of a step; yield the function that reports what is between."""
    progress(step, 0.0)
    yield functools.partial(progress, step)
    progress(step, 1.0)


def _has(info: MediaInfo | None, modality: str) -> bool:
    """Return whether a medium can have a modality; text comes from its transcript."""
    return modality == "text" or info is not None and (info.has_audio if modality == "audio" else info.has_video)


def _explained(notes: Sequence[str], absent: Sequence[dict[str, str]], info: MediaInfo | None) -> Iterator[str]:
    """Yield the notes of the prediction, with the reasons for which a modality is absent from all utterances.

    Of a medium without sound or picture `Recogniser._notes` reports it.
    """
    for note in notes:
        modality = note.removesuffix(": absent throughout")
        if modality == note:
            yield note
        elif _has(info, modality):
            reasons = Counter(reasons[modality].partition(":")[0] for reasons in absent if modality in reasons)
            yield f"{modality} is absent throughout: {'; '.join(why for why, _ in reasons.most_common(3))}"


def _share(value: float) -> float:
    """Return a share as JSON has it: six digits, and no rounding out of 0 to 1."""
    return round(min(1.0, max(0.0, float(value))), 6)


def _plain(source: str | Path) -> str:
    """Return the name of a model as results show it, without the folders of this machine."""
    path = Path(source)
    if not path.exists():
        return str(source)
    path = path.resolve()
    return path.name if bundles.is_bundle(path) else f"{path.parent.name}/{path.name}"


def _bundle_of_run(run: Path, cache: Path) -> bundles.Bundle:
    """Pack a run into the cache, unless it lies there as it is now; its models are those of its project."""
    place = run.absolute()
    if (place / WEIGHTS).exists():  # of one seed: runs/<corpus>/<variant>/train/seed-0
        place = place.parents[1]
    models = place.parents[2] / "models" / place.parent.name if len(place.parents) > 2 else place
    face = models / "face"
    manifest, parts, _ = collect(run, (), text_encoders(models), face if face.is_dir() else None)
    parts[bundles.CARD] = model_card(manifest).encode("utf-8")
    content = {name: file_hash(part) if isinstance(part, Path) else part.decode() for name, part in parts.items()}
    packed = cache / "runs" / key_of(str(run.absolute()), manifest, content)[:32]
    with contextlib.suppress(InputError):  # it is not there, or is damaged: it is packed again
        return bundles.open_bundle(packed)
    shutil.rmtree(packed, ignore_errors=True)
    bundles.write_bundle(packed, manifest, parts)
    return bundles.open_bundle(packed)


def _chosen(there: Sequence[int], wanted: Sequence[int], name: str) -> list[int]:
    """Return the wanted seeds of a bundle in its order, all if none are named."""
    if missing := sorted(set(wanted) - set(there)):
        raise InputError(
            f"{name} has no seed {', '.join(map(str, missing))}. Name some of {', '.join(map(str, there))}."
        )
    return [seed for seed in there if not wanted or seed in wanted]
