"""Small text encoders and talkative little corpora for tests, built on the spot."""

from pathlib import Path

import torch
from ruamel.yaml import YAML
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from pipeline.rows.utterances import Utterance
from pipeline.settings import ExtractText, FinetuneText, load_settings
from pipeline.text.encoder import Encoder, build_encoder
from pipeline.text.windows import Window
from tests.helpers.corpora import REPOSITORY, make_row

CUES = {"joy": "wonderful", "anger": "outrageous", "fear": "scared"}
"""The word that gives each emotion away."""

_TOPICS = ("the train", "a letter", "your brother", "dinner", "the old house")


def word_tokenizer(words: str, **special: str) -> PreTrainedTokenizerFast:
    """One token per word, numbered in the order given, after [PAD] [CLS] [SEP] [UNK] (0 to 3) or those in `special`."""
    special = special or {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    vocabulary = {word: number for number, word in enumerate([*special.values(), *words.split()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=special.get("unk_token")))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def finetune_settings(**changes) -> FinetuneText:
    """Return the demo's finetune_text settings, shrunk to run in a second, with `changes`."""
    small = {"epochs": 2, "max_tokens": 48, "scratch_layers": 1, "scratch_width": 32, "scratch_vocabulary": 300}
    base = load_settings(REPOSITORY / "params.yaml").corpus("demo").finetune_text
    return FinetuneText.model_validate(base.model_dump() | small | changes)


def extract_settings(**changes) -> ExtractText:
    """Return the demo's extract_text settings with `changes`."""
    base = load_settings(REPOSITORY / "params.yaml").corpus("demo").extract_text
    return ExtractText.model_validate(base.model_dump() | {"max_tokens": 48} | changes)


def write_params(path: Path, finetune: FinetuneText, extract: ExtractText) -> Path:
    """Write a params file whose demo block has these two sections."""
    yaml = YAML(typ="safe", pure=True)
    document = yaml.load(REPOSITORY / "params.yaml")
    document["demo"] |= {"finetune_text": finetune.model_dump(), "extract_text": extract.model_dump()}
    yaml.dump(document, path)
    return path


def small_encoder(rows: list[Utterance], seed: int = 0, **changes) -> Encoder:
    """Build an untrained encoder from scratch, ready to encode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = build_encoder([row.text for row in rows], finetune_settings(**changes))
    encoder.model.eval()
    return encoder


def talk(dialogues: int, *, longest: int = 6, split: str = "train", labelled: bool = True) -> list[Utterance]:
    """Dialogues of 1 to `longest` utterances; the last word of each gives its emotion away."""
    emotions, rows = list(CUES), []
    for dialogue in range(dialogues):
        for position in range(1 + dialogue % longest):
            emotion = emotions[(dialogue + position * (1 + dialogue % 2)) % len(emotions)]
            topic = " and ".join(
                _TOPICS[(dialogue + position + more) % len(_TOPICS)] for more in range(1 + position % 3)
            )
            rows.append(
                make_row(
                    f"{split}-{dialogue}-{position}",
                    dialogue_id=f"{split}-{dialogue}",
                    position=position,
                    split=split,
                    emotion=emotion if labelled else "",
                    text=f"{topic} {CUES[emotion]}",
                )
            )
    return rows


def naive_vectors(encoder: Encoder, windows: list[Window]) -> dict[int, torch.Tensor]:
    """Return the vector of each row, one window at a time, without padding: docs/method.md, §0, word by word."""
    vectors = {}
    with torch.no_grad():
        for window in windows:
            states = encoder.model(input_ids=torch.tensor([window.tokens])).last_hidden_state[0]
            for row, first, last in zip(window.rows, window.first, window.last, strict=True):
                vectors[row] = torch.stack([states[first], states[last]]).mean(dim=0)
    return vectors
