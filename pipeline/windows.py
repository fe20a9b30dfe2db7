"""Dialogues -> windows of tokens: `<s>` u1 u2 … `</s>` (METHOD §0), and windows -> batches.

The text encoder reads a whole dialogue at once, so that an utterance is seen in its context. Utterances of a dialogue
are packed in order, each window as full as it gets; one that is longer than a window is cut to fit. With `window:
utterance` each is read alone, and its context is left to the second stage.

The tokens are those of the dialogue's text written on one line, utterances joined by a space. That matters to
byte-level BPE (RoBERTa), to which "Yes" and " Yes" are different tokens and the first is rare inside a text: every
utterance but the dialogue's first is tokenised with a space before it. WordPiece (BERT) does not see the difference.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from dferc.console import InputError
from pipeline.utterances import Utterance

SPECIAL_TOKENS = 2
"""The first and the last token of every window."""

WIDEST = 1.1
"""Longest over shortest window of a batch, at most: keeps padding below 1 - 1/1.1 = 9.1 % of a batch's tokens."""


@dataclass(frozen=True, slots=True)
class Window:
    """One input of the encoder and the utterances in it.

    Attributes:
        tokens: ids, special tokens included.
        rows: row of each utterance in the corpus.
        first: index in `tokens` of each utterance's first token.
        last: index in `tokens` of its last token.
    """

    tokens: tuple[int, ...]
    rows: tuple[int, ...]
    first: tuple[int, ...]
    last: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.tokens)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """Ids of the tokens that open and close a window: `<s>` `</s>`, or BERT's `[CLS]` `[SEP]`.

    Raises:
        InputError: the tokenizer has none, as those of generative language models.
    """
    opens = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    closes = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    if opens is None or closes is None or tokenizer.pad_token_id is None:
        raise InputError(
            f"The tokenizer {type(tokenizer).__name__} has no tokens that open, close and pad a text "
            "(<s> </s> <pad>, or [CLS] [SEP] [PAD]); choose an encoder that has, such as RoBERTa or BERT."
        )
    return opens, closes


def tokenize(rows: Sequence[Utterance], tokenizer: PreTrainedTokenizerBase, texts_of: Sequence) -> list[list[int]]:
    """Token ids of every utterance, without special tokens; nothing for an utterance without text.

    Args:
        rows: of the corpus.
        tokenizer: the encoder's.
        texts_of: by row, the text that it is part of: utterances of one text are tokenised as if joined by spaces.
    """
    texts = [row.text.strip() for row in rows]
    opened = set()  # texts whose first words have been met
    for index, text in enumerate(texts_of):
        if texts[index] and text in opened:
            texts[index] = " " + texts[index]
        elif texts[index]:
            opened.add(text)
    # A transcript that happens to hold "</s>" must not close the window: such text is split like any other.
    made = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return made["input_ids"]


def pack(tokens: Iterable[tuple[int, Sequence[int]]], max_tokens: int, opens: int, closes: int) -> Iterator[Window]:
    """Pack the utterances of one dialogue into windows, greedily and in order.

    Args:
        tokens: corpus row and token ids of each utterance, in order; none is empty.
        max_tokens: most tokens of a window, special tokens included; at least 3.
        opens: id of the token that opens a window.
        closes: id of the token that closes it.
    """
    room = max_tokens - SPECIAL_TOKENS
    if room < 1:
        raise InputError(
            f"max_tokens is {max_tokens}; a window needs 3 at least: {SPECIAL_TOKENS} special, one of text."
        )
    content, rows, first, last = [], [], [], []
    for row, ids in tokens:
        ids = ids[:room]
        if content and len(content) + len(ids) > room:
            yield Window((opens, *content, closes), tuple(rows), tuple(first), tuple(last))
            content, rows, first, last = [], [], [], []
        rows.append(row)
        first.append(1 + len(content))
        content.extend(ids)
        last.append(len(content))
    if content:
        yield Window((opens, *content, closes), tuple(rows), tuple(first), tuple(last))


def dialogue_windows(
    rows: Sequence[Utterance], tokenizer: PreTrainedTokenizerBase, max_tokens: int, window: str = "dialogue"
) -> tuple[list[Window], dict[int, str]]:
    """Windows of all dialogues, in corpus order, and what was found wrong with the text of which row.

    An utterance whose text gives no token is in no window and in the problems; one that is cut is in both.

    Args:
        rows: of the corpus.
        tokenizer: the encoder's.
        max_tokens: most tokens of a window.
        window: `dialogue`, or `utterance` for one utterance per window.
    """
    opens, closes = special_tokens(tokenizer)
    texts_of = [index if window == "utterance" else row.dialogue_id for index, row in enumerate(rows)]
    tokens = tokenize(rows, tokenizer, texts_of)
    room = max_tokens - SPECIAL_TOKENS
    problems = {}
    for index, ids in enumerate(tokens):
        if not ids:
            problems[index] = f"no text: {rows[index].text!r}"
        elif len(ids) > room:
            problems[index] = f"text too long: {len(ids)} tokens, cut to {room} (max_tokens {max_tokens})"
    windows = []
    for _, together in itertools.groupby(range(len(rows)), key=texts_of.__getitem__):
        spoken = ((index, tokens[index]) for index in together if tokens[index])
        windows.extend(pack(spoken, max_tokens, opens, closes))
    return windows, problems


def batches_by_length(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Group windows of nearly equal length: indices of each batch, all together covering every window once.

    In a batch the longest is at most `WIDEST` times the shortest, so padding stays below 10 % of the tokens. Windows
    are taken in order, so that batches already full do not change when a corpus grows at its end.

    Args:
        lengths: tokens of each window.
        batch_tokens: most tokens of a batch, padding included; a longer window is a batch of its own.
    """
    full: list[list[int]] = []
    filling: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        kind = math.floor(math.log(length) / math.log(WIDEST))
        batch = filling.setdefault(kind, [])
        longest = max(length, *(lengths[other] for other in batch)) if batch else length
        if batch and longest * (len(batch) + 1) > batch_tokens:
            full.append(batch)
            batch = filling[kind] = []
        batch.append(index)
    return full + [filling[kind] for kind in sorted(filling)]
