"""params.yaml and its schema: every fault reported at once and readably, every value in the file, every key read."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from dferc.core.errors import InputError
from dferc.core.sources import find_source
from dferc.model.variants import settings_of
from dferc.settings.document import Params, load_params
from dferc.settings.yaml import read_yaml
from pipeline.settings import StageSettings, load_settings, sets_of, with_set
from tests.helpers.common import REPOSITORY

PARAMS = REPOSITORY / "params.yaml"


def _written(tmp_path, *changes):
    """Write a copy of params.yaml with each (old, new) replaced everywhere."""
    text = PARAMS.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _faults(path, **arguments):
    """Return the faults of a file, one per line."""
    with pytest.raises(InputError) as caught:
        load_settings(path, **arguments)
    first, *faults = str(caught.value).split("\n")
    assert first == f"{'--set' if arguments.get('overrides') else path}: {len(faults)} fault(s)"
    return [fault.removeprefix("  - ") for fault in faults]


# ---------------------------------------------------------------------------------------------------- the file


def test_file_of_the_repository_holds_the_published_settings():
    meld = load_settings(PARAMS).corpus("meld")

    assert meld.train.hidden == 300 and meld.train.betas == (0.9, 0.84)
    assert meld.train.class_weights == {"neutral": 1.0, "other": 1.3}
    assert meld.finetune_text.learning_rate == 2e-5


def test_block_takes_the_sections_values_where_it_says_nothing():
    loaded = load_settings(PARAMS)

    assert loaded.corpus("demo").train.hidden == 64
    assert loaded.corpus("demo").train.dropout == loaded.corpus("meld").train.dropout


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        load_settings(PARAMS).corpus("demo").train.hidden = 3


def _sections():
    queue, found = [Params, StageSettings], []
    while queue:
        section = queue.pop()
        found.append(section)
        for field in section.model_fields.values():
            kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
            queue += [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return {section.__name__: section for section in found}


@pytest.mark.parametrize("section", _sections().values(), ids=_sections())
def test_no_setting_has_a_default(section):
    """Else a value could change without params.yaml, and so without DVC, noticing."""
    assert [name for name, field in section.model_fields.items() if not field.is_required()] == []


def test_every_key_has_a_comment():
    before_corpora = re.split("# -+ corpora", PARAMS.read_text(encoding="utf-8"))[0]
    keys = [line for line in before_corpora.splitlines() if re.match(r" *\w+: *[^& ]", line)]

    assert len(keys) > 60
    assert [line for line in keys if " # " not in line] == []


# ---------------------------------------------------------------------------------------------------- keys are read


def _first_party_closure(path):
    """Return the sources that a module imports, itself included: first-party modules, transitively."""
    queue, closure = [path], set()
    while queue:
        path = queue.pop()
        if path in closure:
            continue
        closure.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                target = REPOSITORY.joinpath(*name.split("."))
                queue += [found for found in (target.with_suffix(".py"), target / "__init__.py") if found.exists()]
    return closure


def _attributes_read(paths):
    nodes = (node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    return {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def _sources_of(section):
    """Where a section's settings are read: its stage and what that imports; for stage 2, all of dferc."""
    if section in ("train", "ablate"):
        sources = set((REPOSITORY / "dferc").rglob("*.py"))
    else:
        sources = _first_party_closure(REPOSITORY / "pipeline" / f"{section}.py")
    return sources - {REPOSITORY / "pipeline/settings.py"}


@pytest.mark.parametrize("section", [*StageSettings.model_fields, "ablate"])
def test_every_key_is_read_by_its_stage(section):
    content = read_yaml(PARAMS.read_text(encoding="utf-8"))
    read = _attributes_read(_sources_of(section))
    plan = REPOSITORY / "dvc.yaml"  # DVC reads what runs straight from params.yaml: ${ablate.seeds}
    templated = set(re.findall(rf"\$\{{{section}\.(\w+)\}}", plan.read_text("utf-8"))) if plan.exists() else set()

    assert [key for key in content[section] if key not in read | templated | {"options"}] == []  # those: see below


@pytest.mark.parametrize("block", load_settings(PARAMS).blocks)
def test_every_option_is_read_by_its_adapter(block):
    prepare = load_settings(PARAMS).corpus(block).prepare
    if prepare.adapter == "import":  # nothing reads it
        assert not type(prepare.options).model_fields
        return
    adapter = find_source(f"pipeline.corpora.{prepare.adapter}")
    read = _attributes_read(_first_party_closure(adapter) - {REPOSITORY / "pipeline/settings.py"})

    assert [key for key in type(prepare.options).model_fields if key not in read] == []


# ---------------------------------------------------------------------------------------------------- faults


def test_all_faults_are_reported_together(tmp_path):
    path = _written(
        tmp_path,
        ("  clip_norm: 1.0 ", "  clip_nrom: 1.0 "),
        ("  patience: 10 ", "  patience: ten "),
        ("  max_unreadable: 0.02 ", "  max_unreadable: 1.5 "),
        ("seeds: [0, 1, 2, 3,", "seeds: [true, -1, 2, 3,"),
        ("[full, plus", "[ful, plus"),
    )

    unknown, *faults = sorted(_faults(path), key=lambda fault: "unknown key" not in fault)

    assert unknown.startswith(
        "train.clip_nrom: unknown key. Did you mean 'clip_norm'? Known: features, hidden, align, "
    )
    assert set(faults) == {
        "train.clip_norm: missing; add `clip_norm: 1.0`",
        "train.patience: got 'ten' (str); input should be a valid integer",
        "prepare.max_unreadable: got 1.5 (float); input should be less than or equal to 1",
        "ablate.seeds.0: got True (bool); input should be a valid integer",
        "ablate.seeds.1: got -1 (int); input should be greater than or equal to 0",
        "ablate.variants.0: got 'ful' (str); value error, expected one of full, no_ddm, no_modality_level, "
        "no_utterance_level, no_cfm, no_crm, full_context, no_alignment, t, a, v, ta, tv, av, plus, or modalities as "
        "in only-text-physiology or without-audio. Did you mean 'full'?",
    }


def test_fault_of_one_corpus_is_reported_at_that_corpus(tmp_path):
    path = _written(tmp_path, ("    hidden: 64", "    hidden: 64\n    hiddn: 3"))

    assert [fault.partition(":")[0] for fault in _faults(path)] == ["demo.train.hiddn"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("  eps: 1.0e-7 ", "  eps: '1.0e-7' ", "train.eps: got '1.0e-7' (str); input should be a valid number (write"),
        ("  hidden: 300 ", "  hidden: 300.0 ", "train.hidden: got 300.0 (float); input should be a valid integer"),
        ("  hidden: 300 ", "  hidden: true ", "train.hidden: got True (bool); input should be a valid integer"),
        ("  hidden: 300 ", "  hidden: ", "train.hidden: got None (NoneType)"),
        ("  clip_norm: 1.0 ", "  clip_norm: .nan ", "train.clip_norm: got nan (float); input should be a finite"),
        ("  clip_norm: 1.0 ", "  clip_norm: .inf ", "train.clip_norm: got inf (float); input should be a finite"),
        ("  min_face: 0.08 ", "  min_face: 0.0 ", "extract_visual.min_face: got 0.0 (float); input should be"),
        ("  dropout: 0.2 ", "  dropout: .nan ", "train.dropout: got nan (float)"),
        ("  dropout: 0.2 ", "  dropout: 1.0 ", "train.dropout: got 1.0 (float); input should be less than 1"),
        ("[0.9, 0.84]", "[0.9]", "train.betas.1: missing"),
        ("[0.9, 0.84]", "0.9", "train.betas: got 0.9 (float)"),
        ("{neutral: 1.0, other: 1.3}", "authorz", "train.class_weights: got 'authorz' (str); input should be 'unif"),
        ("{neutral: 1.0, other: 1.3}", "{joy: 0}", "train.class_weights.joy: got 0 (int); input should be greater"),
        ("encoder: roberta-large ", "encoder: '' ", "finetune_text.encoder: got '' (str); string should have"),
        ("labels: emotion ", "labels: mood ", "meld.prepare.options.labels: got 'mood' (str); input should be"),
        ("corpora: [demo] ", "corpora: demo ", "corpora: got 'demo' (str); input should be a valid list"),
        ("corpora: [demo] ", "corpora: [dmo] ", "corpora: 'dmo' has no block in this file; blocks: demo, meld,"),
        ("seeds: [0, 1, 2, 3, 4] ", "seeds: [] ", "ablate.seeds: got [] (list); list should have at least 1 item"),
    ],
)  # fmt: skip
def test_value_that_is_not_allowed_is_told_with_its_path(tmp_path, old, new, fault):
    faults = _faults(_written(tmp_path, (old, new)))

    assert len(faults) == 1 and faults[0].startswith(fault), faults


def test_cosmics_validation_wants_its_sessions_in_training(tmp_path):
    changed = ("      split: session5 ", "      split: loso-2 ")

    assert _faults(_written(tmp_path, changed)) == [
        "iemocap.prepare.options.validation: got 'cosmic' (str); value error, cosmic's dialogues are of sessions 1 to "
        "4, and split is loso-2; set random-10pct"
    ]
    random = ("      validation: cosmic ", "      validation: random-10pct ")
    assert load_settings(_written(tmp_path, changed, random)).corpus("iemocap").prepare.options.split == "loso-2"


@pytest.mark.parametrize(
    ("crop", "fault"),
    [
        (
            "[0.5, 0.2, 0.5, 0.8]",
            "iemocap.prepare.options.crop: got [0.5, 0.2, 0.5, 0.8] (list); value error, expected",
        ),
        ("[0.1, 0.2, 0.9]", "iemocap.prepare.options.crop.3: missing"),
        ("[52, 0.2, 308, 0.8]", "iemocap.prepare.options.crop.0: got 52 (int); input should be less than or equal to"),
    ],
)
def test_crop_is_a_rectangle_in_shares(tmp_path, crop, fault):
    assert _faults(_written(tmp_path, ("[0.1444, 0.2333, 0.8556, 0.7667]", crop)))[0].startswith(fault)


def test_misspelt_top_level_key_is_named_and_not_taken_for_a_corpus(tmp_path):
    faults = _faults(_written(tmp_path, ("\nablate:", "\nablat:")))

    assert faults == ["ablat: unknown key. Did you mean 'ablate'?", "ablate: missing; add it"]


def test_unknown_key_of_a_section_that_files_may_lack_is_named(tmp_path):
    faults = _faults(_written(tmp_path, ("\nvideo:\n", "\nvideo:\n  adapter: demo\n")))

    assert faults == ["video.adapter: unknown key. Known: model"]


@pytest.mark.parametrize("name", ["json", "copy", "model_config", "blocks", "my-corpus"])
def test_corpus_may_have_any_plain_name(tmp_path, name):
    path = _written(tmp_path, ("\niemocap:", f"\n{name}:"), ("[demo]", f"[{name}]"))

    assert load_settings(path).corpus(name).prepare.adapter == "iemocap"


@pytest.mark.parametrize("name", ["../x", "2024", "a/b", "'a b'"])
def test_corpus_name_that_is_no_plain_folder_name_is_refused(tmp_path, name):
    faults = _faults(_written(tmp_path, ("\niemocap:", f"\n{name}:")))

    assert len(faults) == 1 and "string should match pattern" in faults[0]


def test_unknown_corpus_is_told_with_the_known_ones():
    with pytest.raises(
        InputError,
        match="no block for the corpus 'mled'; it has demo, meld, iemocap, emorynlp, m3ed, mine. Did you mean 'meld'?",
    ):
        load_settings(PARAMS).corpus("mled")


# ---------------------------------------------------------------------------------------------------- YAML


def test_float_without_a_point_is_a_float():
    """YAML 1.2; in 1.1, PyYAML's, `2e-5` is a string."""
    assert read_yaml("2e-5") == read_yaml("2.0e-5") == 0.00002


def test_dvc_reads_the_same_values():
    serialize = pytest.importorskip("dvc.utils.serialize")

    assert serialize.load_yaml(PARAMS) == read_yaml(PARAMS.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", "is not readable YAML: line 2, column 2: expected ',' or ']', but got ':'"),
        ("a: 1\na: 2\n", "is not readable YAML: line 2, column 1: duplicate key 'a', which is in line 1 too"),
        ("a: *nowhere\n", "is not readable YAML: line 1, column 4: found undefined alias"),
        ("- 1\n", "expected sections (corpora, ablate, one block per corpus), found list"),
        ("", "found NoneType"),
    ],
)
def test_file_that_is_no_settings_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "params.yaml"
    path.write_text(text)

    with pytest.raises(InputError, match=re.escape(message)):
        load_settings(path)


def test_file_that_is_not_text_is_one_clear_error(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(b"a: \xff\n")

    with pytest.raises(InputError, match="is not readable YAML"):
        load_settings(path)


def test_an_older_file_gets_lines_to_paste(tmp_path):
    """A missing key stays an error, since nothing but the file may change a result; its remedy is a line of YAML."""
    later = {
        "train": ("linear_blend", "attention_layers", "class_weights", "label_smoothing"),
        "finetune_text": ("lora_alpha", "trust_remote_code"),
        "extract_audio": ("layer",),
        "extract_visual": ("runtime", "max_frames"),
    }
    lines, found, section = [], {}, ""
    for line in PARAMS.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"(\w+):", line):
            section = match[1]
        if not re.match(rf"  ({'|'.join(later.get(section, ['-']))}):", line):
            lines.append(line)
    path = tmp_path / "params.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    for fault in _faults(path):
        key, proposed = re.fullmatch(r"(\S+): missing; add (?:`(.*)`|it)", fault).groups()
        found[key] = read_yaml(proposed) if proposed else None
    assert set(found) == {f"{name}.{key}" for name, keys in later.items() for key in keys}
    assert found["train.class_weights"] == {"class_weights": {"neutral": 1.0, "other": 1.3}}
    assert found["train.linear_blend"] == {"linear_blend": False}
    assert found["extract_visual.runtime"] == {"runtime": "pytorch"} and found["extract_visual.max_frames"] is None


def test_missing_file_says_where_to_run():
    with pytest.raises(InputError, match="nowhere.yaml: no such params file. Run from the repository root"):
        load_settings("nowhere.yaml")


# ---------------------------------------------------------------------------------------------------- --set


def test_override_changes_one_corpus_only():
    loaded = load_settings(PARAMS, ["train.learning_rate=1e-3", "train.class_weights={joy: 2.0}"], corpus="meld")
    plain = load_settings(PARAMS)

    assert loaded.corpus("meld").train.learning_rate == 0.001
    assert loaded.corpus("meld").train.class_weights == {"joy": 2.0}
    assert loaded.corpus("demo") == plain.corpus("demo") and loaded.corpus("iemocap") == plain.corpus("iemocap")


def test_what_is_set_on_the_command_line_wins_over_a_variant():
    set_ = load_settings(PARAMS, ["train.members=1"], corpus="iemocap").corpus("iemocap").train
    unset = load_settings(PARAMS).corpus("iemocap").train
    assert (settings_of("plus", set_, "iemocap").members, settings_of("plus", unset, "iemocap").members) == (1, 2)


def test_faulty_overrides_are_reported_together(tmp_path):
    overrides = ["train.hidden=0", "train.hiden=3", "trian.hidden=3", "hidden", "train.eps=[", "train.eps=tiny"]

    faults = _faults(PARAMS, overrides=overrides[:5], corpus="demo")

    assert faults[:3] == [
        "--set trian.hidden=3: demo has no section 'trian'. Did you mean 'train'?",
        "--set hidden: expected section.key=value, such as train.learning_rate=1.0e-3",
        "--set train.eps=[: '[' is not a YAML value",
    ]
    assert faults[3] == "demo.train.hidden: got 0 (int); input should be greater than or equal to 1"
    assert faults[4].startswith("demo.train.hiden: unknown key. Did you mean 'hidden'?")
    assert _faults(PARAMS, overrides=overrides[5:], corpus="demo")[0].startswith("demo.train.eps: got 'tiny' (str)")


def test_faults_of_overrides_are_told_apart_from_those_of_the_file(tmp_path):
    with pytest.raises(InputError) as caught:
        load_settings(PARAMS, ["train.eps=tiny", "train.hiden=3"], corpus="demo")
    assert str(caught.value).startswith("--set: 2 fault(s)\n  - demo.train.") and "params.yaml" not in str(caught.value)

    path = tmp_path / "params.yaml"
    path.write_text(Path(PARAMS).read_text(encoding="utf-8").replace("eps: 1.0e-7", "eps: 0", 1), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load_settings(path, ["train.hidden=0"], corpus="demo")
    of_file, of_set = str(caught.value).split("\n--set: 1 fault(s)\n")
    assert of_file.startswith(f"{path}: 1 fault(s)\n  - train.eps: got 0")
    assert of_set.startswith("  - demo.train.hidden: got 0")


def test_override_of_a_section_that_the_command_does_not_read_is_refused():
    assert load_settings(PARAMS, ["extract_text.layer=all"], corpus="demo").corpus("demo").extract_text.layer == "all"
    with pytest.raises(InputError, match="--set extract_text.layer=all: only train is read here"):
        load_params(PARAMS, ["extract_text.layer=all"], corpus="demo")


def test_override_of_an_unknown_corpus_is_refused():
    assert _faults(PARAMS, overrides=["train.hidden=3"], corpus="mled") == [
        "--set train.hidden=3: there is no block for the corpus 'mled'"
    ]


def test_default_path_is_the_working_folders(monkeypatch):
    monkeypatch.chdir(REPOSITORY)

    assert load_settings() == load_settings(Path(PARAMS))


def test_a_seed_twice_and_no_corpus_are_faults(tmp_path):
    text = Path(PARAMS).read_text(encoding="utf-8")
    text = text.replace("seeds: [0, 1, 2, 3, 4]", "seeds: [0, 1, 0]").replace("corpora: [demo]", "corpora: []")
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"2 fault\(s\)(.|\n)*corpora(.|\n)*ablate.seeds: (.|\n)*duplicate values: 0"):
        load_settings(path)


def test_shares_that_leave_nothing_to_train_on_are_refused(tmp_path):
    text = PARAMS.read_text("utf-8").replace("validation_share: 0.15", "validation_share: 0.85")
    (tmp_path / "params.yaml").write_text(text, "utf-8")
    with pytest.raises(InputError, match="validation_share and test_share together must stay below 1"):
        load_settings(tmp_path / "params.yaml")


# ---------------------------------------------------------------------------------------------------- further sets


def _with_sets(tmp_path, sets):
    return _written(tmp_path, ("  audio: []", f"  audio: {sets}"))


def test_a_further_set_has_the_settings_of_its_item(tmp_path):
    item = "{<<: *extract_audio, corpus: meld, name: egemaps, encoder: eGeMAPSv02}"
    settings = load_settings(_with_sets(tmp_path, f"[{item}]"))
    plain, further = (with_set(settings, "meld", name).extract_audio for name in (None, "audio/egemaps"))
    assert plain == settings.corpus("meld").extract_audio and type(further) is type(plain)
    assert further == plain.model_copy(update={"encoder": "eGeMAPSv02"})
    assert list(sets_of(settings, "meld")) == ["audio/egemaps"] and sets_of(settings, "demo") == {}
    with pytest.raises(InputError, match="no set 'audio/egemap' of meld. Did you mean 'audio/egemaps'"):
        with_set(settings, "meld", "audio/egemap")


@pytest.mark.parametrize(
    ("items", "fault"),
    [
        (("meld, name: a", "meld, name: A"), "two sets of one name: a of meld"),
        (("meldd, name: a",), "'meldd' has no block in this file. Did you mean 'meld'"),
        (("meld, name: ../a",), "string should match pattern"),
        (("meld, name: a, encodr: x",), "unknown key. Did you mean 'encoder'"),
    ],
)
def test_wrong_further_sets_are_faults(tmp_path, items, fault):
    sets = ", ".join(f"{{<<: *extract_audio, corpus: {item}}}" for item in items)
    with pytest.raises(InputError) as error:
        load_settings(_with_sets(tmp_path, f"[{sets}]"))
    assert fault in str(error.value)
