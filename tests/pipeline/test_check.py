"""What params.yaml asks of stage 1 is checked before anything runs."""

import re

import pytest
from click.testing import CliRunner

from dferc.core.errors import InputError
from pipeline.check import check_classes, check_corpora, main
from pipeline.settings import load_settings
from tests.helpers.common import REPOSITORY

PARAMS = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")


def run(tmp_path, **changes):
    """Check params.yaml with other values in its first sections, from which the demo takes."""
    text = PARAMS
    for key, value in changes.items():
        text, count = re.subn(rf"(?m)^  {key}: \S+", f"  {key}: {value}", text, count=1)
        assert count == 1, key
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    return CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}"])


def test_check_of_the_shipped_params_passes(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 0 and "of demo are there" in result.stderr


def test_check_tells_every_fault_of_the_corpora_that_run_together(tmp_path):
    changes = {"feature_set": "IS99", "finder": "harr", "source": "faces.safetensors"}
    result = run(tmp_path, **changes)
    assert result.exit_code == 1 and "Traceback" not in result.output
    for part in (
        "3 fault(s)",
        "demo.extract_audio.feature_set: 'IS99' is neither a file nor one of",
        "demo.extract_visual.finder: no file harr. Expected haar, whole_frame",
        "demo.train_face.source: no file faces.safetensors. Expected ferplus, none",
    ):
        assert part in " ".join(result.stderr.split())


def test_check_knows_the_adapters_by_their_files(tmp_path):
    block = load_settings(REPOSITORY / "params.yaml").corpus("demo")
    mine = block.model_copy(update={"prepare": block.prepare.model_copy(update={"adapter": "mned"})})
    with pytest.raises(
        InputError, match=r"mine\.prepare\.adapter: no adapter 'mned': pipeline/corpora/mned\.py does not"
    ):
        check_corpora({"mine": mine})


def test_corpus_whose_features_are_imported_cannot_be_prepared():
    with pytest.raises(InputError, match=r"m3ed\.prepare\.adapter: this corpus has no media .* `dferc import FILE…`"):
        check_corpora({"m3ed": load_settings(REPOSITORY / "params.yaml").corpus("m3ed")})


def test_check_asks_nothing_of_a_corpus_that_does_not_run(tmp_path):
    block = PARAMS[PARAMS.index("\nmeld:") : PARAMS.index("\niemocap:")].replace("meld", "own")
    (tmp_path / "params.yaml").write_text(PARAMS + re.sub(r"options:\n.*\n.*\n", "options: {}\n", block))
    result = CliRunner().invoke(main, [f"--params={tmp_path / 'params.yaml'}"])
    assert result.exit_code == 0, result.output


def test_class_weights_of_a_class_that_is_none_are_refused():
    block = load_settings(REPOSITORY / "params.yaml").corpus("demo")
    check_classes("demo", block, ("neutral", "joy"))
    with pytest.raises(
        InputError, match=r"demo\.train\.class_weights: not a class: neutral; .* The classes are calm, joy"
    ):
        check_classes("demo", block, ("calm", "joy"))
