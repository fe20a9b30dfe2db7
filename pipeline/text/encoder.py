"""Text encoders: loaded by name or path, or built from the corpus; and one vector per utterance from their states.

Legend: B windows of a batch, L tokens of the longest, U utterances in the batch, W width of the encoder.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import torch
import transformers
from huggingface_hub import hf_hub_download
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.tokenization_auto import get_tokenizer_config
from transformers.utils import logging as transformers_logging

from dferc.core.errors import InputError
from pipeline.text.folder import explain, first_line, refuse_description, refuse_files
from pipeline.text.windows import Window, special_tokens, tokenize_texts

if TYPE_CHECKING:  # another stage's setting must not change the hash of this code
    from pipeline.settings import FinetuneText

SCRATCH = "scratch"  # the setting that builds an encoder from the corpus
HEAD_WIDTH = 32  # width of one attention head of an encoder built from scratch

_BOTH_DIRECTIONS = "an encoder that reads in both directions is needed, such as roberta-large."
_TRIAL, _LONGEST_TRIAL = 8, 512  # tokens of the windows that are tried at load
_PADDING_TOLERANCE = 1e-3  # of the largest state; rounding is below 1e-5


@dataclass(frozen=True)
class Encoder:
    """Model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def width(self) -> int:
        """Width W of its states."""
        return self.model.config.hidden_size

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors), configuration and tokenizer, for `load_encoder` to read."""
        with _quiet_transformers():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


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


def utterance_vectors(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    """Average the last-layer states of each utterance's first and last token, [U, W] (docs/method.md, §0)."""
    states_BLW = _states(model, batch)
    return (states_BLW[batch.window_U, batch.first_U] + states_BLW[batch.window_U, batch.last_U]) / 2


def hub_commit(name: str) -> str:
    """Return the commit of `model` or `model@revision` on the hub, or in its cache without network; "" for a folder."""
    if Path(name).is_dir():
        return ""
    model, _, revision = name.partition("@")
    try:
        return Path(hf_hub_download(model, "config.json", revision=revision or None)).parent.name
    except Exception as error:  # of the network, the hub or the cache
        raise explain(name, error) from error


def load_encoder(name: str | Path, max_tokens: int) -> Encoder:
    """Load an encoder for windows of `max_tokens` from a folder, or by its name on the Hugging Face hub (or its cache).

    `model@revision` names a commit, branch or tag of the hub; `model` alone is the newest commit of its main branch.
    Weights must be safetensors; code that comes with a model is never run. Raise InputError, with the cause and the
    remedy, whatever the files of a model make transformers do.
    """
    try:
        with _quiet_transformers():
            return _load(str(name), max_tokens)
    except InputError:
        raise
    except Exception as error:  # files of strangers reach code of some hundred architectures, which raises anything
        raise explain(str(name), error) from error


def _load(name: str, max_tokens: int) -> Encoder:
    model, _, revision = (name, "", "") if Path(name).is_dir() else name.partition("@")
    options = {"revision": revision or "main", "trust_remote_code": False}
    raw, _ = PreTrainedConfig.get_config_dict(model, revision=options["revision"])
    refuse_description(name, raw, get_tokenizer_config(model, revision=options["revision"]))
    config = AutoConfig.from_pretrained(model, **options)
    # A model that can fill in a masked word has read the words after it; one that generates text has not.
    if config.is_encoder_decoder or type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        raise InputError(f"{name} is a {config.model_type}; {_BOTH_DIRECTIONS}")
    refuse_files(Path(name))
    tokenizer = AutoTokenizer.from_pretrained(model, **options)
    model, report = AutoModel.from_pretrained(
        model, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
    )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise InputError(
            f"{name} lacks {len(missing)} of the {type(model).__name__}'s weights, first {missing[0]!r}; "
            "they would be random. Is it a checkpoint of another architecture?"
        )
    limit = position_limit(model)
    if limit is not None and max_tokens > limit:
        raise InputError(
            f"{name} has positions for {limit} tokens, and max_tokens is {max_tokens}. "
            f"Set max_tokens to {limit} or less, in finetune_text and in extract_text."
        )
    if hasattr(model, "pooler"):
        model.pooler = nn.Identity()  # only states of tokens are used; an unused layer would dilute the weight hash
    encoder = Encoder(model, tokenizer)
    try:
        with torch.random.fork_rng([]):
            _try_out(name, encoder, max_tokens if limit is None else 2 * _TRIAL)
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{name}: the {type(model).__name__} with its {type(tokenizer).__name__} cannot encode plain text "
            f"({first_line(error)}). Choose another encoder, such as roberta-large."
        ) from error
    return encoder


@torch.inference_mode()
def _try_out(name: str, encoder: Encoder, longest: int) -> None:
    """Encode made-up windows; raise InputError if the states are not those of tokens that read in both directions."""
    model, tokenizer = encoder.model.eval(), encoder.tokenizer
    embeddings = len(model.get_input_embeddings().weight)
    if len(tokenizer) > embeddings:
        raise InputError(
            f"{name}: the tokenizer has {len(tokenizer)} tokens, the model {embeddings} embeddings; "
            "they are not of one model."
        )
    opens, closes = special_tokens(tokenizer)
    ids = tokenize_texts(tokenizer, ["Good morning!", "", " and <b>you</b>?"])
    if [len(text) for text in ids][1] or not all(isinstance(token, int) for text in ids for token in text):
        raise InputError(f"{name}: the tokenizer {type(tokenizer).__name__} does not turn plain text into tokens.")
    usual = [token for token in range(len(tokenizer)) if token not in tokenizer.all_special_ids] or [opens]
    tokens = (opens, *(usual[number % len(usual)] for number in range(min(longest, _LONGEST_TRIAL) - 2)), closes)
    short = (*tokens[: _TRIAL - 1], closes)
    other = (*short[:-2], usual[-1] if usual[-1] != short[-2] else opens, closes)
    alone, beside, changed = (
        _states(model, collate([Window(window, (0,), (1,), (1,)) for window in windows], tokenizer.pad_token_id))
        for windows in ([short], [short, tokens], [other])
    )
    expected = (1, len(short), encoder.width)
    if alone.shape != expected or beside.shape != (2, len(tokens), encoder.width):
        raise InputError(
            f"{name}: the {type(model).__name__} gives states of shape {list(alone.shape)} for {len(short)} tokens; "
            f"expected {list(expected)}, a state of its hidden_size per token. Choose another encoder."
        )
    if torch.equal(alone[0, 1], changed[0, 1]):
        raise InputError(f"{name}: the state of a token does not depend on the tokens after it; {_BOTH_DIRECTIONS}")
    if (beside[0, : len(short)] - alone[0]).abs().max() > _PADDING_TOLERANCE * alone.abs().max():
        raise InputError(
            f"{name}: the {type(model).__name__} gives a text other states where padding stands beside it, so that "
            "features would depend on the other texts of a batch. Choose another encoder, such as roberta-large."
        )


def _states(model: PreTrainedModel, batch: TokenBatch) -> Tensor:
    return model(input_ids=batch.tokens_BL, attention_mask=batch.mask_BL).last_hidden_state


def position_limit(model: PreTrainedModel) -> int | None:
    """Return the most tokens of an input, None = any number."""
    # RoBERTa and its relatives count positions from their padding id + 1: its 514 positions are for 512 tokens.
    positions = getattr(model.config, "max_position_embeddings", None)
    offset = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return positions if positions is None or offset is None else positions - offset - 1


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Switch off progress bars and the report of missing weights, which `load_encoder` checks itself."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.enable_progress_bar()
        transformers_logging.set_verbosity(verbosity)


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
    return Encoder(transformers.RobertaModel(config, add_pooling_layer=False), tokenizer)
