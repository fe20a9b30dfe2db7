"""Dialogues -> windows of tokens: `<s>` u1 u2 … `</s>` (docs/method.md, §0), and windows -> batches.

The text encoder reads a whole dialogue at once, so that every utterance has its context. Utterances of a dialogue are
packed greedily, in order; one that is longer than a window is cut to fit. With `window: utterance` each utterance is
encoded alone, and context is left to stage 2. With `window: overlapping` each window but a dialogue's first begins with
as many of the preceding tokens as fit, so that its first utterances keep their left context. These repeated tokens are
context only: every utterance has its vector (and, in fine-tuning, its loss) from the first window that it is in, where
its left context is longest.

The tokens are those of the dialogue's text on one line, utterances joined by a space. To byte-level BPE (RoBERTa)
"Yes" and " Yes" are different tokens, and the first is rare inside a text: every utterance but the dialogue's first is
tokenised with a space before it. To WordPiece (BERT) they are equal.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from dferc.core.errors import InputError
from pipeline.rows.utterances import Utterance


@dataclass(frozen=True, slots=True)
class Window:
    """One input of the encoder, and the utterances whose vectors are taken from it."""

    tokens: tuple[int, ...]  # ids, special ones included; may begin with context, utterances that are not in `rows`
    rows: tuple[int, ...]  # row of each utterance in the corpus
    first: tuple[int, ...]  # index in `tokens` of each utterance's first token
    last: tuple[int, ...]  # and of its last token

    def __len__(self) -> int:
        return len(self.tokens)


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of the tokens that open and close a window, as the tokenizer puts them around a text.

    They are `<s>` `</s>`, or BERT's `[CLS]` `[SEP]`; T5 has none that opens, XLNet closes with both. Where it puts
    none (GPT-2), they are those that it has, one or none each.
    """
    alone, whole = (tokenizer("a", add_special_tokens=add, verbose=False)["input_ids"] for add in (False, True))
    for at in range(len(whole) - len(alone) + 1 if len(whole) > len(alone) > 0 else 0):
        if whole[at : at + len(alone)] == alone:
            return tuple(whole[:at]), tuple(whole[at + len(alone) :])
    opens = tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
    closes = tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
    return () if opens is None else (opens,), () if closes is None else (closes,)


def tokenize(rows: Sequence[Utterance], tokenizer: PreTrainedTokenizerBase, texts_of: Sequence) -> list[list[int]]:
    """Return the token ids of every utterance, without special tokens; none for an utterance without text.

    Utterances of one text (its key is in `texts_of`, by row) are tokenised as if joined by spaces.
    """
    texts = [row.text.strip() for row in rows]
    # Some tokenizers put a space before every text themselves (Llama's first tokenizer.json), and would get two.
    alone, spaced, line = tokenize_texts(tokenizer, ["a", " a", "a a"])
    space = "" if alone + alone == line != alone + spaced else " "
    opened = set()  # texts whose first words are tokenised
    for index, text in enumerate(texts_of):
        if texts[index] and text in opened:
            texts[index] = space + texts[index]
        elif texts[index]:
            opened.add(text)
    return tokenize_texts(tokenizer, texts)


def tokenize_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each text, without special tokens."""
    # A transcript that happens to hold "</s>" must not close the window: such text is split like any other.
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def pack(
    tokens: Iterable[tuple[int, Sequence[int]]],
    max_tokens: int,
    opens: tuple[int, ...],
    closes: tuple[int, ...],
    context_share: float | None = None,
) -> Iterator[Window]:
    """Pack the utterances of one dialogue into windows, greedily and in order.

    Args:
        tokens: corpus row and token ids of each utterance, in order; none is empty.
        max_tokens: most tokens of a window, special tokens included; at least one of text.
        opens: ids of the tokens that open a window.
        closes: ids of those that close it.
        context_share: None = windows do not overlap. Else each window after the first is filled up on the left with the
            tokens just before its first utterance, and takes new utterances to 1 - context_share of its room only (one
            at least). 0 packs the same utterances as without overlap; 1 makes a window of each utterance.
    """
    special = len(opens) + len(closes)
    room = max_tokens - special
    if room < 1:
        raise InputError(
            f"max_tokens is {max_tokens}; a window needs {special + 1} at least: {special} special, one of text."
        )
    cut = ((row, ids[:room]) for row, ids in tokens)
    preceding: list[int] = []  # tokens of the dialogue before the window
    for together in _groups(cut, room, room if context_share is None else (1 - context_share) * room):
        new = [token for _, ids in together for token in ids]
        free = 0 if context_share is None else room - len(new)
        context = preceding[max(0, len(preceding) - free) :]
        begin = len(opens) + len(context)
        ends = list(itertools.accumulate((len(ids) for _, ids in together), initial=begin))
        rows = tuple(row for row, _ in together)
        yield Window((*opens, *context, *new, *closes), rows, tuple(ends[:-1]), tuple(end - 1 for end in ends[1:]))
        preceding += new


def _groups(tokens: Iterable[tuple[int, Sequence[int]]], first_room: float, room: float) -> Iterator[list]:
    """Group consecutive utterances that fit the room, or one that does not; the first group has its own room."""
    group, filled, limit = [], 0, first_room
    for row, ids in tokens:
        if group and filled + len(ids) > limit:
            yield group
            group, filled, limit = [], 0, room
        group.append((row, ids))
        filled += len(ids)
    if group:
        yield group


def dialogue_windows(
    rows: Sequence[Utterance],
    tokenizer: PreTrainedTokenizerBase,
    max_tokens: int,
    window: str = "dialogue",
    context_share: float = 0.0,
) -> tuple[list[Window], dict[int, str]]:
    """Return the windows of all dialogues, in corpus order, and problems by row.

    An utterance whose text gives no token is in no window and in the problems; one that is cut is in both. `window` is
    `dialogue`, `utterance` for one utterance per window, or `overlapping` with a context share, see `pack`.
    """
    opens, closes = special_tokens(tokenizer)
    texts_of = [index if window == "utterance" else row.dialogue_id for index, row in enumerate(rows)]
    tokens = tokenize(rows, tokenizer, texts_of)
    room = max_tokens - len(opens) - len(closes)
    problems = {}
    for index, ids in enumerate(tokens):
        if not ids:
            problems[index] = f"no text: {rows[index].text!r}"
        elif len(ids) > room:
            problems[index] = f"text too long: {len(ids)} tokens, cut to {room} (max_tokens {max_tokens})"
    windows = []
    for _, together in itertools.groupby(range(len(rows)), key=texts_of.__getitem__):
        spoken = ((index, tokens[index]) for index in together if tokens[index])
        windows.extend(pack(spoken, max_tokens, opens, closes, context_share if window == "overlapping" else None))
    return windows, problems
