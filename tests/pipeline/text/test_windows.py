"""Packing of dialogues into windows and of windows into batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from dferc.core.errors import InputError
from pipeline.encoders.batches import batches_by_length
from pipeline.text.windows import Window, dialogue_windows, pack, special_tokens, tokenize
from tests.helpers.corpora import make_row
from tests.helpers.encoders import small_encoder, talk, word_tokenizer

OPENS, CLOSES = 101, 102


def packed(utterances, max_tokens, context_share=None):
    return list(pack(list(enumerate(utterances)), max_tokens, (OPENS,), (CLOSES,), context_share))


def rows_of(*texts, dialogue="d"):
    return [make_row(f"{dialogue}{n}", dialogue_id=dialogue, position=n, text=text) for n, text in enumerate(texts)]


def test_pack_fills_a_window_then_opens_the_next():
    # Room for 5 - 2 = 3 tokens: the first two utterances fill a window exactly, the third needs one of its own.
    assert packed([[1, 2], [3], [4, 5]], max_tokens=5) == [
        Window(tokens=(101, 1, 2, 3, 102), rows=(0, 1), first=(1, 3), last=(2, 3)),
        Window(tokens=(101, 4, 5, 102), rows=(2,), first=(1,), last=(2,)),
    ]


def test_pack_keeps_the_order_even_where_a_later_utterance_would_fit():
    assert [window.rows for window in packed([[1], [2, 3, 4], [5]], max_tokens=5)] == [(0,), (1,), (2,)]


def test_pack_cuts_an_utterance_that_is_longer_than_a_window():
    assert packed([[1], [2, 3, 4, 5, 6], [7]], max_tokens=5) == [
        Window(tokens=(101, 1, 102), rows=(0,), first=(1,), last=(1,)),
        Window(tokens=(101, 2, 3, 4, 102), rows=(1,), first=(1,), last=(3,)),
        Window(tokens=(101, 7, 102), rows=(2,), first=(1,), last=(1,)),
    ]


def test_pack_of_nothing_is_nothing():
    assert packed([], max_tokens=5) == []


@pytest.mark.parametrize("max_tokens", [0, 2])
def test_pack_refuses_windows_without_room(max_tokens):
    with pytest.raises(InputError, match=f"max_tokens is {max_tokens}; a window needs 3 at least"):
        packed([[1]], max_tokens)


spoken = st.lists(st.lists(st.integers(0, 99), min_size=1, max_size=9), max_size=30)


@given(spoken, st.integers(3, 20))
def test_pack_is_whole_ordered_and_greedy(utterances, max_tokens):
    windows = packed(utterances, max_tokens)
    room = max_tokens - 2
    assert [row for window in windows for row in window.rows] == list(range(len(utterances)))
    for window in windows:
        assert len(window) <= max_tokens
        assert (window.tokens[0], window.tokens[-1]) == (OPENS, CLOSES)
        for row, first, last in zip(window.rows, window.first, window.last, strict=True):
            assert list(window.tokens[first : last + 1]) == utterances[row][:room]
    for window, following in zip(windows, windows[1:], strict=False):
        assert len(window) + min(len(utterances[following.rows[0]]), room) > max_tokens


# ---------------------------------------------------------------------------------------------------- overlapping


def test_overlapping_windows_open_with_what_was_said_before():
    """Room for 6 - 2 = 4 tokens, half of it for context: up to 2 tokens of new utterances, the rest from before."""
    assert packed([[1, 2], [3, 4], [5], [6], [7, 8, 9], [10]], 6, context_share=0.5) == [
        Window(tokens=(101, 1, 2, 3, 4, 102), rows=(0, 1), first=(1, 3), last=(2, 4)),
        Window(tokens=(101, 3, 4, 5, 6, 102), rows=(2, 3), first=(3, 4), last=(3, 4)),
        Window(tokens=(101, 6, 7, 8, 9, 102), rows=(4,), first=(2,), last=(4,)),
        Window(tokens=(101, 7, 8, 9, 10, 102), rows=(5,), first=(4,), last=(4,)),
    ]


def test_overlapping_windows_of_share_one_hold_one_new_utterance_each():
    windows = packed([[1, 2], [3], [4], [5]], 5, context_share=1.0)
    assert [(window.tokens[1:-1], window.rows) for window in windows] == [
        ((1, 2, 3), (0, 1)),  # the first has nothing before it and is as full as it gets
        ((2, 3, 4), (2,)),
        ((3, 4, 5), (3,)),
    ]


@given(spoken, st.integers(3, 20), st.sampled_from([0.0, 0.3, 0.5, 1.0]))
def test_overlapping_windows_take_every_utterance_once_with_the_longest_left_context(utterances, max_tokens, share):
    room = max_tokens - 2
    windows = packed(utterances, max_tokens, share)
    assert [row for window in windows for row in window.rows] == list(range(len(utterances)))
    line = [token for ids in utterances for token in ids[:room]]
    preceding = 0
    for window in windows:
        new = sum(len(utterances[row][:room]) for row in window.rows)
        # The window is the end of all previous text, and as long as it can be.
        assert list(window.tokens[1:-1]) == line[: preceding + new][-room:]
        assert window.last[-1] == len(window) - 2  # nothing after its last own utterance
        for row, first, last in zip(window.rows, window.first, window.last, strict=True):
            assert list(window.tokens[first : last + 1]) == utterances[row][:room]
        assert preceding == 0 or len(window.rows) == 1 or new <= (1 - share) * room
        preceding += new


@given(spoken, st.integers(3, 20))
def test_overlapping_windows_without_a_share_change_no_right_context(utterances, max_tokens):
    """The same utterances are together as without overlap: what follows one is the same, what goes before is more."""
    plain, overlapping = packed(utterances, max_tokens), packed(utterances, max_tokens, context_share=0.0)
    assert [window.rows for window in overlapping] == [window.rows for window in plain]
    for before, after in zip(plain, overlapping, strict=True):
        assert before.tokens[1:] == after.tokens[-len(before) + 1 :]


@given(spoken, st.sampled_from([0.0, 0.5, 1.0]))
def test_overlapping_windows_of_a_dialogue_that_fits_one_are_that_one(utterances, share):
    room = sum(map(len, utterances))
    assert packed(utterances, max(3, room + 2), share) == packed(utterances, max(3, room + 2))


def test_overlapping_windows_keep_to_their_dialogue():
    rows = [*talk(8), *talk(5, split="test")]
    tokenizer = small_encoder(rows).tokenizer
    windows, problems = dialogue_windows(rows, tokenizer, 14, "overlapping", 0.5)
    alone = []
    for dialogue in dict.fromkeys(row.dialogue_id for row in rows):
        mine = [row for row in rows if row.dialogue_id == dialogue]
        alone += dialogue_windows(mine, tokenizer, 14, "overlapping", 0.5)[0]
    assert [window.tokens for window in windows] == [window.tokens for window in alone]
    assert problems == dialogue_windows(rows, tokenizer, 14)[1]


@pytest.mark.parametrize("window", ["dialogue", "overlapping"])
def test_windows_in_batches_are_padded_by_a_tenth_at_most(window):
    rows = [*talk(60, longest=9)]
    windows, _ = dialogue_windows(rows, small_encoder(rows).tokenizer, 24, window, 0.5)
    lengths = list(map(len, windows))
    padded = sum(len(batch) * max(lengths[index] for index in batch) for batch in batches_by_length(lengths, 512))
    assert padded <= sum(lengths) / 0.9


def test_dialogue_windows_never_span_dialogues():
    tokenizer = word_tokenizer("yes no")  # [PAD] [CLS] [SEP] [UNK] yes no = 0 … 5
    rows = [*rows_of("yes no", "no", dialogue="a"), *rows_of("no", dialogue="b")]
    windows, problems = dialogue_windows(rows, tokenizer, max_tokens=20)
    assert windows == [
        Window(tokens=(1, 4, 5, 5, 2), rows=(0, 1), first=(1, 3), last=(2, 3)),
        Window(tokens=(1, 5, 2), rows=(2,), first=(1,), last=(1,)),
    ]
    assert problems == {}


def test_utterance_windows_hold_one_utterance_each_tokenised_as_if_nothing_came_before():
    rows = [*talk(4, longest=4)]
    tokenizer = small_encoder(rows).tokenizer
    windows, _ = dialogue_windows(rows, tokenizer, 48, "utterance")
    assert [window.rows for window in windows] == [(index,) for index in range(len(rows))]
    for row, window in zip(rows, windows, strict=True):
        alone, _ = dialogue_windows([row], tokenizer, 48)
        assert window.tokens == alone[0].tokens


def test_dialogue_windows_list_empty_texts_and_cut_ones():
    tokenizer = word_tokenizer("yes no")
    rows = [*rows_of("yes", "", " \t", "no " * 9, dialogue="a"), *rows_of("", dialogue="b")]
    windows, problems = dialogue_windows(rows, tokenizer, max_tokens=8)
    assert [window.rows for window in windows] == [(0,), (3,)]
    assert problems == {
        1: "no text: ''",
        2: "no text: ' \\t'",
        3: "text too long: 9 tokens, cut to 6 (max_tokens 8)",
        4: "no text: ''",
    }


def test_tokens_are_those_of_the_dialogue_on_one_line():
    rows = [*talk(4, longest=4), *rows_of("", "the train", "  the train ", "…the train!", dialogue="z")]
    tokenizer = small_encoder(rows).tokenizer
    tokens = tokenize(rows, tokenizer, [row.dialogue_id for row in rows])
    for dialogue in {row.dialogue_id for row in rows}:
        mine = [index for index, row in enumerate(rows) if row.dialogue_id == dialogue]
        line = " ".join(text for index in mine if (text := rows[index].text.strip()))
        assert sum((tokens[index] for index in mine), []) == tokenizer(line, add_special_tokens=False)["input_ids"]
    # Byte-level BPE tells "the" at the start of a text from " the" within it: that is what the space is for.
    assert tokens[-3][0] != tokens[-2][0]


@pytest.mark.parametrize("spaces", [True, False])
def test_a_tokenizer_that_puts_a_space_before_every_text_gets_no_second_one(spaces):
    """SentencePiece's way of Llama's first tokenizer.json: ▁the ▁train, never ▁ ▁the."""
    pieces = ["<unk>", "▁", "▁the", "▁train", "▁no", "the", "train", "no", "▁a", "a"]
    tokens = Tokenizer(models.Unigram([(piece, -float(len(pieces) - n)) for n, piece in enumerate(pieces)], unk_id=0))
    prepend = [normalizers.Prepend("▁")] if spaces else []
    tokens.normalizer = normalizers.Sequence([*prepend, normalizers.Replace(" ", "▁")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="<unk>")
    rows = rows_of("the train", "no", "the no")
    found = tokenize(rows, tokenizer, [row.dialogue_id for row in rows])
    line = tokenizer("the train no the no", add_special_tokens=False)["input_ids"]
    assert sum(found, []) == line and tokenizer.convert_tokens_to_ids("▁") not in line


@pytest.mark.parametrize("name", ["</s>", "<s>", "<pad>", "<mask>"])
def test_special_tokens_written_in_a_transcript_are_text(name):
    rows = talk(3)
    tokenizer = small_encoder(rows).tokenizer
    (ids,) = tokenize(rows_of(f"he wrote {name} twice"), tokenizer, ["a"])
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_special_tokens_of_bert_and_roberta():
    assert special_tokens(word_tokenizer("a")) == ((1,), (2,))
    by_other_names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    assert special_tokens(word_tokenizer("a", **by_other_names)) == ((0,), (1,))


@pytest.mark.parametrize(
    ("single", "expected"),
    [("[CLS] $A [SEP]", ((1,), (2,))), ("$A [SEP] [CLS]", ((), (2, 1))), ("[UNK] $A [SEP]", ((3,), (2,)))],
)
def test_special_tokens_are_where_the_tokenizer_puts_them(single, expected):
    """XLNet's stand at the end; XLM's and FlauBERT's first one is not what they call cls_token."""
    tokenizer = word_tokenizer("a")
    names = [("[CLS]", 1), ("[SEP]", 2), ("[UNK]", 3)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=names)
    assert special_tokens(tokenizer) == expected


def test_special_tokens_of_a_tokenizer_without_latin_letters():
    """One without a token for what it does not know makes none of them, and all stand at the end of nothing."""
    backend = Tokenizer(models.BPE({"<s>": 0, "</s>": 1, "안": 2}, []))
    backend.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    assert special_tokens(tokenizer) == ((0,), (1,))


def test_windows_do_without_special_tokens_that_are_missing():
    """T5 has none that opens, many decoders none at all."""
    assert special_tokens(word_tokenizer("a", unk_token="[UNK]", eos_token="[END]")) == ((), (1,))
    assert special_tokens(word_tokenizer("a", unk_token="[UNK]")) == ((), ())
    assert list(pack([(0, [1, 2]), (1, [3])], 3, (), ())) == [Window((1, 2, 3), (0, 1), (0, 2), (1, 2))]
    assert list(pack([(0, [1, 2]), (1, [3])], 3, (), (9,))) == [
        Window((1, 2, 9), (0,), (0,), (1,)),
        Window((3, 9), (1,), (0,), (0,)),
    ]


lengths = st.lists(st.integers(3, 512), max_size=200)


@given(lengths, st.integers(1, 4096))
def test_batches_cover_every_window_once_with_little_padding_within_the_budget(lengths, budget):
    batches = batches_by_length(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert sum(lengths[index] for index in batch) >= 0.9 * longest * len(batch)
        assert longest * len(batch) <= budget or len(batch) == 1


def test_batches_are_filled():
    # Lengths 20 and 21 lie within one tenth; 3 of at most 21 tokens fit into 63, a fourth does not.
    assert batches_by_length([20, 100, 21, 20, 20], 63) == [[0, 2, 3], [4], [1]]


@given(lengths, lengths, st.integers(64, 2048))
def test_batches_that_are_full_do_not_change_when_the_corpus_grows(lengths, more, budget):
    before, after = batches_by_length(lengths, budget), batches_by_length(lengths + more, budget)
    unfinished = [batch for batch in before if batch not in after]
    assert all(any(set(batch) <= set(other) for other in after) for batch in unfinished)
