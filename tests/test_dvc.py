"""dvc.yaml against the code: each stage depends on exactly the first-party files its results come from."""

import ast
import subprocess
from pathlib import Path

import pytest

from dferc.params import read_yaml

ROOT = Path(__file__).parents[1]
FILES = ("dvc.yaml", "pipeline/demo/dvc.yaml")
STAGES = {
    name: stage
    for file in FILES
    for name, stage in read_yaml((ROOT / file).read_text(encoding="utf-8"))["stages"].items()
}

NO_RESULTS = {
    "dferc/params.py": "checks settings; DVC tracks every value itself, and no setting has a default in the code",
    "dferc/console.py": "talks to the terminal",
    "pipeline/check.py": "checks settings",
    "dferc/engine/options.py": "parses options",
    "dferc/cli.py": "parses options and calls the stages' modules",
    "dferc/display.py": "talks to the terminal",
}
ENTRY = {
    "train": ["dferc/train.py", "dferc/task.py", "dferc/device.py"],
    "evaluate": ["dferc/evaluate.py", "dferc/report.py"],
    "baselines": ["dferc/baselines.py", "dferc/task.py", "dferc/device.py"],
    "table": ["dferc/ablation.py", "dferc/tables.py"],
    "analyse": ["dferc/analyses/collect.py", "dferc/analyses/figures.py", "dferc/device.py"],
    "report": ["dferc/reporting/page.py"],
}
SECTION = {"evaluate": None, "baselines": "train", "table": None, "analyse": None, "report": None}
"""The section of a corpus' block that a stage reads, where it is not named as the stage."""


def test_every_file_of_stages_is_looked_at():
    found = subprocess.run(["git", "ls-files", "*dvc.yaml"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert sorted(found.stdout.split()) == sorted(FILES)


def first_party(module: str) -> str | None:
    """The file of a module of ours, relative to the root; None for a library's or an empty package."""
    if module.split(".")[0] not in ("dferc", "pipeline"):
        return None
    path = ROOT / module.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.exists():
            return candidate.relative_to(ROOT).as_posix()
    return None


def imports(file: str) -> set[str]:
    """First-party files that a file imports anywhere, packages' `__init__.py` included where a name comes from it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {first_party(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            submodules = {first_party(f"{node.module}.{alias.name}") for alias in node.names}
            found |= submodules if submodules != {None} else {first_party(node.module)}
    return found - {None}


def closure(entries: list[str]) -> set[str]:
    """Everything these files import, directly or not, less what cannot change a result."""
    done, todo = set(), set(entries)
    while todo:
        file = todo.pop()
        if file not in done and file not in NO_RESULTS:
            done.add(file)
            todo |= imports(file)
    return done


@pytest.mark.parametrize("name", STAGES)
def test_stage_depends_on_exactly_the_files_it_imports(name):
    stage = STAGES[name].get("do", STAGES[name])
    entries = ENTRY.get(name, [f"pipeline/{name}.py"])
    expected = closure(entries)
    if name == "prepare":  # adapters are imported by name: the whole folder is a dependency, a new one included
        adapters = closure([path.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline/corpora").glob("*.py")])
        assert "pipeline/corpora" in stage["deps"]
        expected = {file for file in expected | adapters if not file.startswith("pipeline/corpora/")}
    code = {dep for dep in stage["deps"] if dep.endswith(".py")}
    assert sorted(code) == sorted(expected - {"dferc/__init__.py"})


@pytest.mark.parametrize("name", STAGES)
def test_stage_lists_are_alphabetical_data_before_code(name):
    stage = STAGES[name].get("do", STAGES[name])
    assert stage["deps"] == sorted(stage["deps"], key=lambda dep: (dep.endswith(".py"), dep))
    assert stage["outs"] == sorted(stage["outs"])


@pytest.mark.parametrize("name", sorted(set(STAGES) - {"make_demo"}))
def test_stage_reads_its_own_section_of_params(name):
    stage = STAGES[name].get("do", STAGES[name])
    sections = [param for param in stage.get("params", []) if param.startswith("${item")]
    section = SECTION.get(name, name)
    assert sections == ([f"${{item{'.corpus' if 'matrix' in stage else ''}}}.{section}"] if section else [])


def test_dferc_never_imports_pipeline():
    for file in (ROOT / "dferc").rglob("*.py"):
        assert not [f for f in imports(file.relative_to(ROOT).as_posix()) if f.startswith("pipeline")], file
