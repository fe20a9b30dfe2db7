"""A trained model that predictions from media can be tested with: tiny, and of features that nobody extracted."""

from dataclasses import replace
from pathlib import Path

import torch

from dferc.core.device import choose_device
from dferc.engine import HERE
from dferc.evaluation.evaluate import evaluate
from dferc.evaluation.files import write_evaluation
from dferc.store.rows import CachedCorpus, Features, join_sets
from dferc.training.run import train
from dferc.training.task import make_task
from pipeline import extract_audio, extract_text, extract_visual
from pipeline.settings import ExtractVisual, load_settings
from pipeline.text.encoder import load_encoder
from tests.helpers.common import REPOSITORY, make_features, make_utterances, small_settings
from tests.helpers.encoders import extract_settings, small_encoder, talk
from tests.helpers.face_models import write_untrained


def write_model(
    root: Path,
    seeds: tuple[int, ...] = (0, 1),
    variants: tuple[str, ...] = ("full",),
    encoder: Path | None = None,
    image_size: int = 16,
    speech: Path | None = None,
    beside: Path | None = None,
    text_beside: Path | None = None,
    visual: ExtractVisual | None = None,
    **text,
) -> Path:
    """Write a project: models/demo/text, models/demo/face, and runs/demo/<variant>, trained for a second.

    Its features are random, and have the widths and identities of what the extractors make with the demo's settings.

    Args:
        root: folder to fill.
        seeds: trained seeds.
        variants: trained variants.
        encoder: folder of a text encoder; None = a tiny one.
        image_size: side of the face network's input.
        speech: folder of a speech encoder; None = openSMILE.
        beside: folder of a speech encoder whose set `audio/beside` is joined to the first; None = there is none.
        text_beside: folder of a text encoder whose set `text/beside` is joined to the first; None = there is none.
        visual: settings of extract_visual; None = the demo's.
        text: settings of extract_text, other than those of `extract_settings`.

    Returns:
        The folder of the first variant's run.
    """
    rows = talk(3)
    if encoder is None:
        small_encoder(rows).save(root / "models/demo/text")
    else:
        load_encoder(encoder, extract_settings(**text).max_tokens).save(root / "models/demo/text")
    write_untrained(root / "models/demo/face", image_size)
    settings, cpu = load_settings(REPOSITORY / "params.yaml").corpus("demo"), choose_device("cpu", "float32")
    texts = extract_text.make_extractor(rows, extract_settings(**text), root / "models/demo/text", cpu)
    audio = settings.extract_audio.model_copy(update={} if speech is None else {"encoder": str(speech)})
    sounds = extract_audio.make_extractor(rows, audio, root, None, HERE, "cpu")
    face = (root / "models/demo/face", root, None, cpu.device, HERE)
    pictures = extract_visual.make_extractor(rows, visual or settings.extract_visual, *face)
    utterances, modalities = make_utterances(), {}
    for extractor in (texts, sounds, pictures):
        made = make_features(utterances, extractor.modality, extractor.width)
        identity = {**extractor.identity, "rows_hash": utterances.rows_hash}
        fields = {name: getattr(made, name) for name in Features.__dataclass_fields__}
        modalities[extractor.modality] = Features(**fields | {"identity": identity})
    further, sets = [], {}
    if beside is not None:
        speaking = settings.extract_audio.model_copy(update={"encoder": str(beside)})
        further.append(extract_audio.make_extractor(rows, speaking, root, None, HERE, "cpu"))
    if text_beside is not None:
        further.append(extract_text.make_extractor(rows, extract_settings(**text), text_beside, cpu))
    for extractor in further:
        first, second = names = (extractor.modality, f"{extractor.modality}/beside")
        made = make_features(utterances, first, extractor.width, absent=0.3, seed=1)
        made = replace(made, identity={**extractor.identity, "rows_hash": utterances.rows_hash})
        sets[first] = list(names)
        modalities[first] = join_sets(first, {first: modalities[first], second: made})
    corpus = CachedCorpus(utterances=utterances, modalities=modalities, sets=sets)
    for variant in variants:
        run, task = root / "runs/demo" / variant, make_task(corpus, variant, small_settings(features=sets), cpu)
        folders = train(task, seeds, folder=run / "train", scratch=root / "scratch")
        write_evaluation(run, corpus, evaluate(corpus, folders, torch.device("cpu")))
    return root / "runs/demo" / variants[0]
