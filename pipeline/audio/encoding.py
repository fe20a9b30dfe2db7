"""Extractor of audio features by a speech encoder: workers decode, the encoder runs over groups of utterances.

On a CPU each utterance is encoded alone, which is as fast there as batches (`benchmarks.encoder_audio`). On a GPU a
group is encoded in padded batches of nearly equal lengths. Rounding may depend on the rest of a batch, and a rerun
after a kill must give the same bytes: so the key of finished work holds the whole group, and a group is computed whole.
"""

import functools
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import transformers

from dferc import engine
from dferc.core.console import print_note
from dferc.core.device import Device
from dferc.core.errors import InputError
from pipeline.audio import speech
from pipeline.audio.hearing import Heard, SoundWorker
from pipeline.audio.speech import MARGIN_S, SpeechEncoder, SpeechWorker, load_speech_encoder
from pipeline.encoders.batches import Batching
from pipeline.encoders.opening import code_identity, model_hash
from pipeline.encoders.states import pooled_width
from pipeline.extraction.loop import Extractor, media_content, prefetched
from pipeline.extraction.records import Clock, Record
from pipeline.extraction.scratch import Scratch, key_of
from pipeline.media import files as media
from pipeline.rows.utterances import Utterance
from pipeline.settings import ExtractAudio

BATCH_S = 60.0  # seconds of sound in a batch on a GPU, padding included

_GROUP, _GROUP_S = 512, 1800.0  # most utterances, and seconds of sound, from which batches are formed
_GROUPS_AHEAD = 2  # groups that are decoded while one is encoded


def make_speech_extractor(
    rows: Sequence[Utterance],
    settings: ExtractAudio,
    raw: Path,
    scratch: Scratch,
    workers: engine.Workers,
    where: Device,
    batch_s: float | None = None,
    load: Callable[[str, str, bool], SpeechEncoder] | None = None,
) -> Extractor:
    """Make the audio extractor of a corpus with a speech encoder.

    Args:
        rows: rows of stage 1.
        settings: section extract_audio.
        raw: folder of the raw corpus.
        scratch: for the hashes of media.
        workers: that decode; the encoder has its own (`Workers.for_network`).
        where: device of the encoder.
        batch_s: seconds of sound in a batch; 0 = one utterance at a time; None = `BATCH_S` on a GPU, else 0.
        load: returns the encoder of a name and a layer, whose code is trusted or not, perhaps one in memory already.

    Raises:
        InputError: there is no such encoder or layer, or the context does not fit into what it hears at once.
    """
    encoder = (load or load_speech_encoder)(settings.encoder, settings.layer, settings.trust_remote_code)
    margin_s = max(MARGIN_S, settings.context_s)
    most_s = min(settings.chunk_s, encoder.most_s)
    if most_s <= 2 * margin_s:
        raise InputError(
            f"extract_audio.context_s is {settings.context_s} and {settings.encoder} hears {most_s} s of sound at once "
            f"(chunk_s): a piece needs more than twice the context. Set context_s below {most_s / 2}."
        )
    if batch_s is None:
        batch_s = 0.0 if where.device.type == "cpu" else BATCH_S
    if workers == engine.Workers() and where.device.type == "cpu":
        workers = engine.Workers(1)  # decoding takes a hundredth of the encoder's time; a process of its own may die
    batching = encoder.batching if batch_s else Batching.SINGLE
    if batch_s and batching is not Batching.PADDED:
        print_note(
            f"{settings.encoder}: its states depend on padding, so utterances are encoded in batches {batching}."
        )
    groups = list(_groups(rows, 1 if batching is Batching.SINGLE else _GROUP))
    place = {row: (number, position) for number, group in enumerate(groups) for position, row in enumerate(group)}
    content_of, clock = media_content(raw, scratch, lambda row: row.heard), Clock()

    def compute(indices: list[int]) -> Iterator[tuple[int, Record | engine.WorkerDied]]:
        wanted, sent = set(indices), []
        decode = functools.partial(SoundWorker, settings.min_s, settings.context_s, encoder.rate_hz)
        chosen = [groups[number] for number in sorted({place[row][0] for row in indices})]
        spans = [rows[row].heard for group in chosen for row in group]
        items = [(str(raw.absolute() / file), *span) for file, *span in spans]
        paths = (raw, *(raw / file for file, *_ in spans[:1]))
        decoded = clock.unpacked(engine.run(decode, items, workers, paths, together=lambda item: item[0]))
        heard = _gathered(decoded, chosen, sent)
        # On a cluster nothing waits for this process, and two threads must not start and end Ray.
        heard = heard if workers.cluster else prefetched(heard, _GROUPS_AHEAD)
        in_folder, folder = Path(encoder.name).is_dir(), encoder.folder
        # Of the hub, each machine of a cluster has its own copy of the same commit.
        portable_name = str(folder.absolute()) if in_folder else f"{encoder.name.partition('@')[0]}@{folder.name}"
        portable = (portable_name, settings.layer, settings.trust_remote_code)
        how = (settings.pooling, most_s, margin_s, where.device.type, settings.precision, batch_s, batching)
        encode = functools.partial(SpeechWorker, portable if workers.cluster else encoder, *how)
        results = engine.run(encode, heard, workers.for_network(), [folder] if in_folder else [])
        for number, records in clock.unpacked(results):
            group = sent[number]
            records = [records] * len(group) if isinstance(records, engine.WorkerDied) else records
            yield from ((row, record) for row, record in zip(group, records, strict=True) if row in wanted)

    @functools.cache
    def digest(number: int) -> str:
        contents = []
        for row in groups[number]:
            try:
                contents.append(content_of(rows[row]))
            except media.MediaError as error:
                contents.append(error.problem)
        return key_of(batch_s, contents)

    by_id = {rows[row].utterance_id: place[row] for row in place}

    def content(row: Utterance) -> object:
        alone, (number, position) = content_of(row), by_id[row.utterance_id]
        return alone if len(groups[number]) == 1 else [digest(number), position]

    return Extractor(
        modality="audio",
        width=pooled_width(encoder.width, settings.pooling),
        identity={
            "extractor": f"transformers {transformers.__version__}",
            "decoder": media.DECODER,
            "params": settings.model_dump(exclude=set() if settings.trust_remote_code else {"trust_remote_code"}),
            "computed_in": str(where.dtype).removeprefix("torch."),
            "model": model_hash(encoder.folder),
            **code_identity(encoder.folder, settings.trust_remote_code),
        },
        code=(speech.__name__,),
        wants=lambda row: row.has_audio,
        content=content,
        compute=compute,
        file=lambda row: row.heard[0],
        length_s=lambda row: row.heard[2] - row.heard[1],
        clock=clock,
    )


def _groups(rows: Sequence[Utterance], most: int) -> Iterator[list[int]]:
    """Yield consecutive rows with sound, at most `most` and about `_GROUP_S` at a time."""
    group, length_s = [], 0.0
    for index, row in enumerate(rows):
        if row.has_audio:
            group.append(index)
            length_s += row.heard[2] - row.heard[1]
            if len(group) == most or length_s >= _GROUP_S:
                yield group
                group, length_s = [], 0.0
    if group:
        yield group


def _gathered(
    decoded: Iterable[tuple[int, Heard | engine.WorkerDied]], groups: Sequence[list[int]], sent: list[list[int]]
) -> Generator[list[Heard | engine.WorkerDied], None, None]:
    """Yield the sound of each group once it is whole, and append the group to `sent`."""
    numbers = [number for number, group in enumerate(groups) for _ in group]
    waiting: dict[int, dict[int, Heard | engine.WorkerDied]] = defaultdict(dict)
    for index, heard in decoded:
        number = numbers[index]
        waiting[number][index] = heard
        if len(waiting[number]) == len(groups[number]):
            sent.append(groups[number])
            yield [heard for _, heard in sorted(waiting.pop(number).items())]
