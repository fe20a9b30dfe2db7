"""Folders of encoders made by strangers: no code runs, nothing is unpickled, and every refusal names its remedy."""

import importlib.util
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from transformers import BertConfig, BertModel, DebertaV2Config, DebertaV2Model, XLMRobertaConfig, XLMRobertaModel

from dferc.core.errors import InputError
from pipeline.encoders.convert import main as convert
from pipeline.encoders.opening import code_identity
from pipeline.text.encoder import Encoder, load_encoder
from pipeline.text.windows import dialogue_windows
from tests.helpers.encoders import naive_vectors, talk, word_tokenizer

ROWS = talk(4)
WORDS = " ".join(sorted({word for row in ROWS for word in row.text.split()}))
SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A folder that works."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("good")
    Encoder(BertModel(BertConfig(vocab_size=64, max_position_embeddings=64, **SIZES)), word_tokenizer(WORDS)).save(
        folder
    )
    return folder


@pytest.fixture
def folder(good, tmp_path):
    """A copy of it, to change."""
    return Path(shutil.copytree(good, tmp_path / "encoder"))


def change(path: Path, **entries) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | entries
    path.write_text(json.dumps(content), encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_encoder(folder, 48)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------- code of strangers

STRANGER = """
from pathlib import Path
Path({mark!r}).touch()
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
class OwnConfig(BertConfig): model_type = "own"
class OwnModel(BertModel): config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast): pass
"""
AUTO = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel", "AutoModelForMaskedLM": "own.OwnModel"}


@pytest.mark.parametrize(
    ("config", "tokenizer"),
    [
        ({"auto_map": AUTO, "model_type": "own"}, {}),
        ({"auto_map": AUTO, "model_type": None}, {}),
        ({"auto_map": {"AutoModel": "own.OwnModel"}, "model_type": "own"}, {}),
        ({"auto_map": {"AutoConfig": "someone/else--own.OwnConfig"}, "model_type": "own"}, {}),
        ({}, {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}, "tokenizer_class": "OwnTokenizer"}),
        ({}, {"auto_map": ["own.OwnTokenizer", None], "tokenizer_class": "OwnTokenizer"}),
        ({"auto_map": AUTO, "model_type": "own"}, {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}),
    ],
)
def test_code_of_an_encoder_s_folder_is_refused_and_never_run(folder, tmp_path, monkeypatch, config, tokenizer):
    """Also where someone, or a pipe, would answer yes to every question."""
    mark = tmp_path / "it ran"
    (folder / "own.py").write_text(STRANGER.format(mark=str(mark)))
    change(folder / "config.json", **config)
    change(folder / "tokenizer_config.json", **tokenizer)
    asked = []
    monkeypatch.setattr("builtins.input", lambda question="": asked.append(question) or "y")
    message = refusal(folder)
    assert not mark.exists() and asked == []
    assert "asks for code that comes with the model" in message and "roberta-large" in message


def test_code_of_an_encoder_s_folder_runs_where_a_setting_allows_it(folder, tmp_path, monkeypatch, good):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    (folder / "own.py").write_text(STRANGER.format(mark=str(tmp_path / "it ran")))
    change(folder / "config.json", auto_map=AUTO, model_type="own")
    assert "finetune_text.trust_remote_code: true" in refusal(folder)
    encoder = load_encoder(folder, 48, trust=True)
    assert (tmp_path / "it ran").exists()
    assert type(encoder.model).__name__ == "OwnModel" and encoder.width == load_encoder(good, 48).width
    encoder.save(tmp_path / "tuned")  # as finetune_text does, which needs the code again
    again = load_encoder(tmp_path / "tuned", 48, trust=True)
    assert all(torch.equal(*pair) for pair in zip(again.model.parameters(), encoder.model.parameters(), strict=True))
    assert code_identity(tmp_path / "tuned", True).keys() == {"remote_code"} and code_identity(folder, False) == {}
    change(folder / "config.json", auto_map={"AutoConfig": "someone/else--own.OwnConfig"})
    with pytest.raises(InputError, match="code of another repository .*someone/else--own.*Copy its .py files"):
        load_encoder(folder, 48, trust=True)


def test_code_beside_an_architecture_that_transformers_knows_is_not_run(folder, tmp_path, good):
    (folder / "own.py").write_text(STRANGER.format(mark=str(tmp_path / "it ran")))
    change(folder / "config.json", auto_map=AUTO)  # as many published BERTs have it
    assert load_encoder(folder, 48).width == load_encoder(good, 48).width
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation", "_attn_implementation_internal"])
def test_attention_from_a_hub_is_refused(folder, key):
    change(folder / "config.json", **{key: "someone/kernels"})
    assert "asks for the attention 'someone/kernels'" in refusal(folder) and f"Remove {key}" in refusal(folder)


# ---------------------------------------------------------------------------------------------------- weights


def only_pickled(folder: Path, parts: int = 1) -> dict[str, torch.Tensor]:
    """Replace a folder's safetensors by pickled weights, in several files where asked for."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for number in range(parts):
        name = "pytorch_model.bin" if parts == 1 else f"pytorch_model-{number + 1:05}-of-{parts:05}.bin"
        torch.save({key: weights[key] for key in names[number::parts]}, folder / name)
    return weights


@pytest.mark.parametrize("parts", [1, 3])
def test_pickled_weights_are_refused_with_a_command_that_mends_it(folder, good, parts):
    only_pickled(folder, parts)
    message = refusal(folder)
    assert "the weights are pickled (pytorch_model" in message
    assert f"python -m pipeline.encoders.convert {folder}" in message
    done = CliRunner().invoke(convert, [str(folder)])
    assert done.exit_code == 0, done.output
    before, after = (load_encoder(path, 48) for path in (good, folder))
    windows, _ = dialogue_windows(ROWS, before.tokenizer, 48)
    one, other = (naive_vectors(encoder, windows) for encoder in (before, after))
    assert all(torch.equal(one[row], other[row]) for row in one)


class Program:
    """A pickle that runs something."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_conversion_runs_no_program_of_a_pickle(folder, tmp_path):
    only_pickled(folder)
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        write({"weight": torch.ones(2), "more": Program(tmp_path / "it ran")}, folder / "pytorch_model.bin")
        done = CliRunner().invoke(convert, [str(folder)])
        assert done.exit_code == 1 and "pytorch_model.bin" in done.output and "more than tensors" in done.output
        assert not (tmp_path / "it ran").exists() and not (folder / "model.safetensors").exists()


def test_conversion_of_a_folder_without_pickles_or_with_both_is_refused(folder):
    done = CliRunner().invoke(convert, [str(folder)])
    assert done.exit_code == 1 and "holds no pytorch_model*.bin" in done.output
    torch.save({}, folder / "pytorch_model.bin")
    done = CliRunner().invoke(convert, [str(folder)])
    assert done.exit_code == 1 and "is there already" in done.output


def test_adapter_and_quantised_weights_are_refused(folder):
    change(folder / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})
    assert "quantised" in refusal(folder)
    change(folder / "config.json", quantization_config=None)
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/else"}))
    assert "holds an adapter" in refusal(folder) and "merge_and_unload" in refusal(folder)


# ---------------------------------------------------------------------------------------------------- tokenizers


def sentencepiece_folder(folder: Path, kind: str) -> Path:
    """Write an encoder whose tokenizer is a SentencePiece model alone, as DeBERTa-v3's and XLM-R's are published."""
    spm = pytest.importorskip("sentencepiece")
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    (folder / "text.txt").write_text("\n".join(f"{row.text} {number}" for number, row in enumerate(ROWS * 9)))
    special = {"bos_id": 1, "eos_id": 2, "unk_id": 0}
    name, model = "sentencepiece.bpe.model", XLMRobertaModel(XLMRobertaConfig(vocab_size=90, pad_token_id=1, **SIZES))
    if kind == "deberta":
        special = {"pad_id": 0, "bos_id": 1, "eos_id": 2, "unk_id": 3}
        special |= {"pad_piece": "[PAD]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "unk_piece": "[UNK]"}
        name, model = "spm.model", DebertaV2Model(DebertaV2Config(vocab_size=90, relative_attention=True, **SIZES))
    options = {
        "input": str(folder / "text.txt"),
        "model_prefix": str(folder / "made"),
        "vocab_size": 48,
        "minloglevel": 2,
    }
    spm.SentencePieceTrainer.train(**options, **special)
    (folder / "made.model").rename(folder / name)
    model.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["deberta", "xlm-roberta"])
def test_sentencepiece_model_alone_is_read_and_saved(tmp_path, kind):
    encoder = load_encoder(sentencepiece_folder(tmp_path / "published", kind), 48)
    windows, problems = dialogue_windows(ROWS, encoder.tokenizer, 48)
    assert not problems and encoder.tokenizer.unk_token_id not in {
        token for window in windows for token in window.tokens
    }
    encoder.save(tmp_path / "tuned")
    assert dialogue_windows(ROWS, load_encoder(tmp_path / "tuned", 48).tokenizer, 48)[0] == windows


@pytest.mark.parametrize("kind", ["deberta", "xlm-roberta"])
def test_missing_sentencepiece_is_named(tmp_path, monkeypatch, kind):
    folder = sentencepiece_folder(tmp_path, kind)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "sentencepiece" else real(name, *more)
    )
    assert "pip install sentencepiece protobuf" in refusal(folder)


@pytest.mark.parametrize(
    ("tokenizer", "package"),
    [("BertJapaneseTokenizer", "fugashi"), ("XLMTokenizer", "sacremoses"), ("FlaubertTokenizer", "sacremoses")],
)
def test_missing_package_of_a_tokenizer_is_named(folder, tokenizer, package):
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    for name in ("tokenizer.json",):
        (folder / name).unlink()
    change(folder / "tokenizer_config.json", tokenizer_class=tokenizer, word_tokenizer_type="mecab")
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS.split()]))
    (folder / "vocab.json").write_text(json.dumps({"<unk>": 0}))
    (folder / "merges.txt").write_text("")
    assert f"pip install {package}" in refusal(folder)


# ---------------------------------------------------------------------------------------------------- architectures


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"model_type": "gpt2"}, "the GPT2Model's weights"), ({"model_type": "whisper"}, "which encodes sound")],
)
def test_model_of_another_architecture_is_refused(folder, changes, reason):
    change(folder / "config.json", **changes)
    assert reason in refusal(folder)


@pytest.mark.parametrize("key", ["num_hidden_layers", "max_position_embeddings", "vocab_size", "hidden_size"])
def test_sizes_beyond_any_encoder_are_refused_before_a_model_is_built(folder, key):
    change(folder / "config.json", **{key: 10**9})
    assert f"{key} in config.json is 1000000000" in refusal(folder)


def test_encoder_that_uses_its_pooler_always_works(tmp_path):
    from transformers import LayoutLMConfig, LayoutLMModel

    Encoder(LayoutLMModel(LayoutLMConfig(vocab_size=64, **SIZES)), word_tokenizer(WORDS)).save(tmp_path)
    assert load_encoder(tmp_path, 48).width == 8


def test_trial_of_an_encoder_draws_no_random_number(folder, monkeypatch):
    def drawn_after_load():
        torch.manual_seed(5)
        load_encoder(folder, 48)
        return torch.rand(1)

    expected = drawn_after_load()
    monkeypatch.setattr("pipeline.text.encoder._try_out", lambda name, encoder, longest: encoder)
    assert torch.equal(drawn_after_load(), expected)


# ---------------------------------------------------------------------------------------------------- perturbations

ODD = (None, True, -1, 0, 10**9, 1.5, "", "\0", "nonsense", [], ["a"], {}, {"a": 1}, [[1]], float("nan"))


def perturb(folder: Path, randoms: random.Random) -> str:
    """Damage one file of an encoder's folder; return what was done."""
    path = randoms.choice(sorted(folder.iterdir()))
    content = path.read_bytes()
    kind = randoms.choice(["drop", "cut", "flip", "encode", "swap", "value", "value", "value", "key", "double"])
    if kind in ("value", "key") and path.suffix != ".json":
        kind = "cut"
    if kind == "drop":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(content[: randoms.randrange(len(content))])
    elif kind == "flip":
        at = randoms.randrange(min(len(content), 3000))
        path.write_bytes(content[:at] + bytes([randoms.randrange(256)]) + content[at + 1 :])
    elif kind == "encode":
        path.write_bytes(content.decode("latin-1").encode(randoms.choice(["utf-16", "utf-8-sig"])))
    elif kind == "swap":
        path.write_bytes(randoms.choice(sorted(folder.iterdir())).read_bytes())
    elif kind == "double":
        path.write_bytes(content * 2)
    else:
        entries = json.loads(content)
        name = randoms.choice(sorted(entries) or [""])
        nested = entries.get(name)
        if isinstance(nested, dict) and nested and randoms.random() < 0.8:
            entries, name, whole = nested, randoms.choice(sorted(nested)), entries
        else:
            whole = entries
        entries.pop(name, None) if kind == "key" else entries.update({name: randoms.choice(ODD)})
        path.write_text(json.dumps(whole))
        kind = f"{kind} {name} = {entries.get(name)!r}"
    return f"{path.name}: {kind}"


def test_perturbed_folders_work_or_are_refused(good, tmp_path):
    """Never another exception, nor states of another kind than those of tokens."""
    randoms = random.Random(int(os.environ.get("DFERC_SEED", 0)))
    for number in range(int(os.environ.get("DFERC_PERTURBATIONS", 200))):
        folder = Path(shutil.copytree(good, tmp_path / str(number)))
        done = perturb(folder, randoms)
        try:
            encoder = load_encoder(folder, 48)
            windows, _ = dialogue_windows(ROWS, encoder.tokenizer, 48)
            vectors = naive_vectors(encoder, windows)
            assert {vector.shape for vector in vectors.values()} <= {(encoder.width,)}
        except InputError as error:
            assert len(str(error)) < 1000, done
        except Exception as error:
            raise AssertionError(f"{done}: {type(error).__name__}: {error}") from error
        shutil.rmtree(folder)
