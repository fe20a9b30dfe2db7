"""dvc.yaml against the code: each stage depends on the folders that its command really imports, and on no others."""

import ast
import inspect
import shutil
import subprocess
from pathlib import Path

import pytest
from dvc.scm import Git
from dvc.utils.hydra import apply_overrides

from dferc.cli.main import main as dferc_commands
from dferc.core.sources import find_source, imported_modules
from dferc.settings.yaml import read_yaml

ROOT = Path(__file__).parents[1]
FILES = ("dvc.yaml", "pipeline/dvc.yaml")
STAGES = {
    name: stage.get("do", stage)
    for file in FILES
    for name, stage in read_yaml((ROOT / file).read_text(encoding="utf-8"))["stages"].items()
}
FILES_NAMED = ("prepare.options", "finetune_text.encoder", "train_face.source", "extract_audio.encoder")
SECTION = {
    "check": None,
    "link_files": (*FILES_NAMED, "extract_visual.finder", "extract_visual.encoder", "extract_visual.view"),
    **dict.fromkeys(("extract_text_set", "extract_audio_set", "extract_visual_set")),  # the list `sets`
    "evaluate": None,
    "baselines": "train",
    "table": None,
    "analyse": None,
    "report": None,
}
"""The parts of a corpus' block that a stage reads, where they are not the section of its name."""


def imported_by(command: str) -> set[str]:
    """Return the modules of ours that a stage's command imports, from its real entry point."""
    words = command.split()
    if words[:2] == ["python", "-m"]:
        return imported_modules(words[2])
    assert words[0] == "dferc"
    # The callback alone: its file holds other commands, whose imports stand in their functions.
    callback = inspect.unwrap(dferc_commands.commands[words[1]].callback)
    file = ast.parse(Path(inspect.getfile(callback)).read_text(encoding="utf-8"))
    called = {callback.__name__} | {node.id for node in ast.walk(function(file, callback.__name__)) if is_name(node)}
    read = [node for node in file.body if not isinstance(node, ast.FunctionDef) or node.name in called]
    tree = ast.Module(read, [])
    return {callback.__module__} | imported_modules(*first_party(tree))


def function(file: ast.Module, name: str) -> ast.FunctionDef:
    return next(node for node in file.body if isinstance(node, ast.FunctionDef) and node.name == name)


def is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def first_party(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("dferc", "pipeline"):
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if find_source(name) else node.module for name in submodules}
    return found


def places_of(modules: set[str]) -> set[str]:
    """Return the outermost folders that hold these modules, and the files that lie on top of `pipeline/`."""
    files = {find_source(module).relative_to(ROOT) for module in modules} - {Path("dferc/__init__.py")}
    folders = {Path(*file.parts[:2]) for file in files}
    return {place.as_posix() for place in folders if place.name != "__init__.py"}


def code_of(stage: dict) -> list[str]:
    return [dep for dep in stage["deps"] if dep.split("/")[0] in ("dferc", "pipeline")]


def test_every_file_of_stages_is_looked_at():
    found = subprocess.run(["git", "ls-files", "*dvc.yaml"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(found.stdout.split()) == sorted(FILES)


@pytest.mark.parametrize("name", STAGES)
def test_stage_depends_on_the_folders_that_its_command_imports(name):
    modules = imported_by(STAGES[name]["cmd"])
    if name == "prepare":  # imports adapters by name
        adapters = (ROOT / "pipeline/corpora").rglob("*.py")
        names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in adapters]
        modules |= imported_modules(*(each.removesuffix(".__init__") for each in names))
    assert code_of(STAGES[name]) == sorted(places_of(modules))


@pytest.mark.parametrize("name", STAGES)
def test_stage_lists_are_alphabetical_data_before_code(name):
    stage = STAGES[name]
    code = code_of(stage)
    assert stage["deps"] == sorted(stage["deps"], key=lambda dep: (dep in code, dep))
    outs = [name for out in stage["outs"] for name in ([out] if isinstance(out, str) else out)]
    assert outs == sorted(outs)


@pytest.mark.parametrize("name", sorted(set(STAGES) - {"make_demo"}))
def test_stage_reads_its_own_section_of_params(name):
    stage = STAGES[name]
    sections = [param for param in stage.get("params", []) if param.startswith("${item")]
    parts = SECTION.get(name, name) or ()
    corpus = "item.corpus" if "${item.corpus}" in stage["cmd"] else "item"
    assert sections == [f"${{{corpus}}}.{part}" for part in ([parts] if isinstance(parts, str) else parts)]


@pytest.mark.parametrize("setting", SECTION["link_files"])
def test_stage_of_a_setting_that_may_name_files_depends_on_their_links(setting):
    stage = setting.partition(".")[0]
    links = f"data/${{item}}/files/{stage}"
    assert links in STAGES[stage]["deps"]
    assert {links: {"cache": False}} in STAGES["link_files"]["outs"]  # the user's files, not ours to keep or to restore


@pytest.mark.parametrize("corpus", ["meld", "m3ed", "mine"])
def test_a_setting_that_an_experiment_changes_is_that_of_its_corpus_alone(tmp_path, corpus):
    """As `dvc exp run -S` writes it; a section that blocks share (`train: *train`) changes in all or in none."""
    path = Path(shutil.copy(ROOT / "params.yaml", tmp_path))
    expected = read_yaml(path.read_text(encoding="utf-8"))
    for section, key in {"train": "hidden", "extract_audio": "min_s"}.items():
        apply_overrides(path, [f"{corpus}.{section}.{key}=7"])
        expected[corpus][section] = expected[corpus][section] | {key: 7}
    assert read_yaml(path.read_text(encoding="utf-8")) == expected


def test_git_keeps_the_dvc_files_of_raw_data_and_dvc_finds_them(tmp_path):
    """DVC asks dulwich, which would not enter a folder whose content `folder/*` ignores."""
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    scm = Git(str(tmp_path))
    kept = ["data/raw/mine.dvc", "data/faces/mine.dvc", "data/raw/meld/train_splits.dvc", "data/raw/meld/README.md"]
    ignored = ["data/raw/mine/a.mp4", "data/mine/utterances.csv", "data/raw/meld/a.mp4", "dvc_plots/index.html"]
    for name in (*kept, *ignored):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    untracked = ["git", "status", "--porcelain", "--untracked-files=all"]
    shown = subprocess.run(untracked, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert {line[3:] for line in shown.splitlines()} == {".gitignore", *kept}
    for name in kept:
        folders = [*(tmp_path / name).relative_to(tmp_path).parents][:-1]
        assert not any(scm.is_ignored(f"{tmp_path / folder}/") for folder in folders), name
        assert not scm.is_ignored(str(tmp_path / name))


def test_the_index_stays_readable():
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 220
