"""Text encoders: loaded by name or path, or built from the corpus; and one vector per utterance from their states.

Legend: B windows of a batch, L tokens of the longest, U utterances in the batch, T tokens of the longest utterance, W
width of the encoder.
"""

import contextlib
import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import ModelOutput

from dferc.core.errors import InputError
from pipeline.encoders.batches import Batching, check_batching
from pipeline.encoders.kinds import Wanted, tower
from pipeline.encoders.opening import open_model, open_processor, quiet_transformers
from pipeline.encoders.refusals import first_line
from pipeline.encoders.states import count_layers, layer_states, pool, pooled_width, read_layer
from pipeline.text.windows import Window, special_tokens, tokenize_texts

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import FinetuneText

SCRATCH = "scratch"  # the setting that builds an encoder from the corpus
HEAD_WIDTH = 32  # width of one attention head of an encoder built from scratch

WANTED = Wanted("text", "finetune_text.encoder")
_TRIAL, _LONGEST_TRIAL = 8, 512  # tokens of the windows that are tried at load


@dataclass(frozen=True)
class Encoder:
    """Model and its tokenizer, and what a trial at load showed."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    batching: Batching = Batching.PADDED  # batches that change no vector
    layers: int = 0  # number of layers whose states it gives
    shortened: frozenset[int] = frozenset()  # layers with fewer states than tokens (CANINE, Funnel)
    forwards: bool = False  # whether the state of a token does not depend on the tokens after it (GPT)

    @property
    def width(self) -> int:
        """Width W of its states."""
        return self.model.config.get_text_config().hidden_size

    @property
    def pad(self) -> int:
        """Id of the token that fills windows up; the mask hides it, so any id serves where there is no such token."""
        tokens = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, self.tokenizer.unk_token_id)
        return next((token for token in tokens if token is not None), 0)

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and tokenizer, for `load_encoder` to read."""
        with quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def reading(self, layer: str, pooling: str) -> "Reading":
        """Return how vectors are taken from the states; raise InputError for a layer that does not exist."""
        layers = read_layer(layer, self.layers, "the text encoder")
        if short := sorted(self.shortened.intersection(layers)):
            raise InputError(
                f"layer is {layer!r}, and layer {short[0]} of the text encoder has no state per token: it shortens the "
                f"text on the way, in {len(self.shortened)} layers. Set another, or last."
            )
        return Reading(layers, pooling)


class Reading(NamedTuple):
    """Way from the states of tokens to the vector of an utterance (settings `layer` and `pooling`)."""

    layers: tuple[int, ...] = ()  # indices into hidden_states; none = the last states
    pooling: str = "first_last"  # mean of first and last token, as published; or as in pipeline/encoders/states.py

    def width(self, width: int) -> int:
        """Return the width of a vector of states of `width`."""
        return pooled_width(width, self.pooling)


PUBLISHED = Reading()  # vectors as in the paper


class TokenBatch(NamedTuple):
    """Windows padded to one length, and the places of their utterances."""

    tokens_BL: Tensor
    mask_BL: Tensor  # 1 = token, 0 = padding
    window_U: Tensor  # window of each utterance
    first_U: Tensor  # index of its first token in the window
    last_U: Tensor  # and of its last token
    row_U: Tensor  # its row in the corpus

    def to(self, device: torch.device) -> Self:
        """Return the batch on a device."""
        return type(self)(*(tensor.to(device, non_blocking=True) for tensor in self))

    def pick(self, chosen: Tensor) -> Self:
        """Return the same windows with only the chosen utterances (indices into U)."""
        return type(self)(*self[:2], *(column_U[chosen] for column_U in self[2:]))


def collate(windows: Sequence[Window], pad: int) -> TokenBatch:
    """Pad windows on the right, with the token `pad`, to the longest of them."""
    longest = max(map(len, windows))
    tokens_BL = torch.tensor([[*window.tokens, *[pad] * (longest - len(window))] for window in windows])
    mask_BL = torch.arange(longest) < torch.tensor([len(window) for window in windows])[:, None]
    utterances = [
        (index, *places)
        for index, window in enumerate(windows)
        for places in zip(window.first, window.last, window.rows, strict=True)
    ]
    return TokenBatch(tokens_BL, mask_BL.long(), *torch.tensor(utterances).T)


def utterance_vectors(model: PreTrainedModel, batch: TokenBatch, reading: Reading = PUBLISHED) -> Tensor:
    """Pool the states of each utterance's tokens, [U, W], or [U, 2 W] with deviations (docs/method.md, §0)."""
    states_BLW = _states(model, batch, reading.layers)
    if reading.pooling == "first_last":
        return (states_BLW[batch.window_U, batch.first_U] + states_BLW[batch.window_U, batch.last_U]) / 2
    length_U = batch.last_U - batch.first_U + 1
    step_T = torch.arange(int(length_U.max()), device=length_U.device)
    mask_UT = step_T < length_U[:, None]
    token_UT = batch.first_U[:, None] + step_T * mask_UT
    return pool(states_BLW[batch.window_U[:, None], token_UT], mask_UT, reading.pooling)


def load_encoder(name: str | Path, max_tokens: int, trust: bool = False) -> Encoder:
    """Load an encoder for windows of `max_tokens` from a folder, or by its name on the Hugging Face hub (or its cache).

    `model@revision` names a commit, branch or tag of the hub; `model` alone is the newest commit of its main branch.
    Weights must be safetensors; code that comes with a model runs only if it is trusted. Raise InputError, with the
    cause and the remedy, whatever the files of a model make transformers do.
    """
    name, wanted = str(name), WANTED._replace(trust=trust)
    model, tokenizer = open_model(name, wanted), open_processor(name, wanted)
    limit = position_limit(model)
    if limit is not None and max_tokens > limit:
        raise InputError(
            f"{name} has positions for {limit} tokens, and max_tokens is {max_tokens}. "
            f"Set max_tokens to {limit} or less, in finetune_text and in extract_text."
        )
    try:
        with torch.random.fork_rng([]), quiet_transformers():
            return _try_out(name, Encoder(model, tokenizer), max_tokens if limit is None else 2 * _TRIAL)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{name}: the {type(model).__name__} with its {type(tokenizer).__name__} cannot encode plain text "
            f"({first_line(error)}). Choose another encoder, such as roberta-large."
        ) from error


@torch.inference_mode()
def _try_out(name: str, encoder: Encoder, longest: int) -> Encoder:
    """Encode made-up windows; return the encoder with what they show. Raise InputError if it has no state per token."""
    model, tokenizer = encoder.model.eval(), encoder.tokenizer
    embeddings = math.inf
    with contextlib.suppress(AttributeError, NotImplementedError, TypeError):  # CANINE hashes characters: no table
        embeddings = len(tower(model, "text").get_input_embeddings().weight)
    if len(tokenizer) > embeddings:
        raise InputError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the model {embeddings} embeddings; "
            "they are not of one model."
        )
    usual = [token for token in range(len(tokenizer)) if token not in tokenizer.all_special_ids]
    if len(usual) < 3:  # transformers makes an empty tokenizer where its files are missing (DeBERTa-v3's has two left)
        raise InputError(
            f"{name}: its {type(tokenizer).__name__} knows no words, since its files (tokenizer.json, vocab.txt, "
            "spiece.model, …) are missing or empty. Copy them from the model that this one was made from."
        )
    opens, closes = special_tokens(tokenizer)
    ids = tokenize_texts(tokenizer, ["Good morning!", "", " and <b>you</b>?"])
    if [len(text) for text in ids][1] or not all(isinstance(token, int) for text in ids for token in text):
        raise InputError(f"{name}: the tokenizer {type(tokenizer).__name__} does not turn plain text into tokens.")
    tokens = [usual[number % len(usual)] for number in range(min(longest, _LONGEST_TRIAL) - len(opens) - len(closes))]
    long = (*opens, *tokens, *closes)
    short = (*long[: _TRIAL - len(closes)], *closes)
    at = _TRIAL - 1 - len(closes)  # the last token of the text
    other = (*short[:at], usual[-1] if usual[-1] != short[at] else usual[0], *short[at + 1 :])

    def run(windows: list[tuple[int, ...]]) -> list[Tensor]:
        batch = collate([Window(window, (0,), (1,), (1,)) for window in windows], encoder.pad)
        states_BLW = _states(model, batch)
        if states_BLW.shape != (*batch.tokens_BL.shape, encoder.width):
            raise InputError(
                f"{name}: the {type(model).__name__} gives states of shape {list(states_BLW.shape)} for "
                f"{len(windows)} x {batch.tokens_BL.shape[1]} tokens; expected a state of its hidden_size "
                f"({encoder.width}) per token. Choose another encoder."
            )
        return [states_LW[: len(window)] for states_LW, window in zip(states_BLW, windows, strict=True)]

    (one,), (two,) = run([short]), run([other])
    output = _call(model, collate([Window(short, (0,), (1,), (1,))], encoder.pad), hidden=True)
    layers = count_layers(output, model)
    states = enumerate(getattr(output, "hidden_states", None) or ())
    shortened = frozenset(layer for layer, of_layer in states if of_layer.shape[1] < len(short))
    batching = check_batching(run, short, other, long)
    return replace(
        encoder, batching=batching, layers=layers, shortened=shortened, forwards=torch.equal(one[:at], two[:at])
    )


def _states(model: PreTrainedModel, batch: TokenBatch, layers: Sequence[int] = ()) -> Tensor:
    return layer_states(_call(model, batch, hidden=bool(layers)), layers)


def _call(model: PreTrainedModel, batch: TokenBatch, hidden: bool) -> ModelOutput:
    """Encode a batch, with the arguments that this architecture knows."""
    encoder = tower(model, "text")
    known = inspect.signature(encoder.forward).parameters
    options = {"attention_mask": batch.mask_BL, "use_cache": False}
    options = {key: value for key, value in options.items() if key in known}
    if hidden:
        options["output_hidden_states"] = True
    return encoder(input_ids=batch.tokens_BL, **options)


def position_limit(model: PreTrainedModel) -> int | None:
    """Return the most tokens of an input, None = any number."""
    # RoBERTa and its relatives count positions from their padding id + 1: its 514 positions are for 512 tokens.
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    embeddings = getattr(tower(model, "text"), "embeddings", None)  # XLM's are those of the words alone
    offset = None if isinstance(embeddings, torch.nn.Embedding) else getattr(embeddings, "padding_idx", None)
    if positions is None or positions < 1:  # XLNet gives -1
        return None
    return positions if offset is None else positions - offset - 1


def build_encoder(texts: Sequence[str], settings: "FinetuneText") -> Encoder:
    """Build a small RoBERTa with random weights and a byte-level BPE learned from `texts`, without a download.

    Weights come from torch's global generator; seed it first.
    """
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise InputError("`encoder: scratch` learns its vocabulary from the training split's text, and there is none.")
    # Each text also with a space before it, as it stands inside a dialogue (see pipeline/text/windows.py).
    both = [variant for text in texts for variant in (text, f" {text}")]
    tokenizer = transformers.RobertaTokenizer().train_new_from_iterator(
        both, vocab_size=settings.scratch_vocabulary, show_progress=False
    )
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.scratch_width,
        num_hidden_layers=settings.scratch_layers,
        num_attention_heads=settings.scratch_width // HEAD_WIDTH,
        intermediate_size=4 * settings.scratch_width,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        max_position_embeddings=settings.max_tokens + tokenizer.pad_token_id + 1,
        type_vocab_size=1,
    )
    model = transformers.RobertaModel(config, add_pooling_layer=False)
    return Encoder(model, tokenizer, layers=settings.scratch_layers)
