"""README and guides against the repository: links, paths, commands, settings. Blocks that need no media are run."""

import argparse
import importlib
import os
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dferc.baselines.registry import BASELINES
from dferc.cli.main import main as dferc_main
from dferc.core.errors import InputError
from dferc.model.variants import VARIANTS
from dferc.settings.document import load_params
from dferc.settings.yaml import read_yaml
from pipeline.prepare import verify_rows
from pipeline.video.command import main as dferc_video
from tests.helpers.common import REPOSITORY, write_features_folder
from tests.helpers.projects import edit

PAGES = sorted(
    path.relative_to(REPOSITORY)
    for pattern in ("*.md", "docs/**/*.md", "features/*.md", "data/*/*/README.md")
    for path in REPOSITORY.glob(pattern)
    if path.name != "LOG.md"  # a log is not rewritten when files move
)
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
OTHERS = "apt-get awk cat cd cp curl export git mkdir ray sed source tar touch .venv/bin/pre-commit".split()
EXTRAS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
STAGES = {
    name
    for file in ("dvc.yaml", "pipeline/dvc.yaml")
    for name in read_yaml((REPOSITORY / file).read_text(encoding="utf-8"))["stages"]
}


def read(page: Path) -> str:
    return (REPOSITORY / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", read(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", title)).lower().replace(" ", "-") for title in titles
    }


def commands(text: str) -> list[list[str]]:
    """Return the commands of a block of shell, each as its words; loops are unrolled, output of others is left out."""
    text = re.sub(r"<<'(\w+)'\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    lines = []
    for line in text.splitlines():
        loop = re.fullmatch(r"for (\w+) in (.*?); do (.*); done(.*)", line)
        if loop:
            name, values, body, _ = loop.groups()
            lines += [body.replace(f"${name}", value) for value in values.split()]
        else:
            lines.append(line)
    found = []
    for line in lines:
        line = re.sub(r"\$\((printf .*? \S+|mktemp .*?)\)", "", line)
        words = shlex.split(re.sub(r"(&&|;|\|)(?=\s|$)", r" \1 ", line), comments=True)
        while words:
            end = next((at for at, word in enumerate(words) if word in {"&&", ";", "|"}), len(words))
            command, words = words[:end], words[end + 1 :]
            while command and re.fullmatch(r"[A-Z_]+=.*", command[0]):
                command = command[1:]
            if command:
                found.append(command)
    return found


def blocks(page: Path, *languages: str) -> list[str]:
    return [block for _, language, block in FENCE.findall(read(page)) if language in languages]


# ---------------------------------------------------------------------------------------------------- links and paths


def test_readme_is_a_front_door():
    assert len(read(Path("README.md")).splitlines()) <= 150


def links(page: Path) -> list[tuple[str, Path, str]]:
    """Return the relative links of a page: as written, the file they lead to, and the anchor."""
    written = (
        target for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not re.match(r"https?:|mailto:", target)
    )
    split = ((target, *target.partition("#")[::2]) for target in written)
    return [
        (target, Path(os.path.normpath(page.parent / path)) if path else page, mark) for target, path, mark in split
    ]


def test_every_relative_link_leads_somewhere():
    broken = []
    for page in PAGES:
        for target, goal, anchor in links(page):
            if not (REPOSITORY / goal).exists() or ".." in goal.parts:
                broken.append(f"{page}: {target}: no such file")
            elif anchor and anchor not in anchors(goal):
                broken.append(f"{page}: {target}: {goal} has only {', '.join(sorted(anchors(goal)))}")
    assert not broken, "\n".join(broken)


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [Path("README.md")]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        waiting += [goal for _, goal, _ in links(page) if goal in PAGES and goal not in reached]
    assert [page for page in PAGES if page not in reached] == []


def test_every_page_is_in_the_site():
    def pages(entry) -> list[str]:
        return [entry] if isinstance(entry, str) else [page for part in entry for page in pages(part_of(part))]

    def part_of(part):
        return next(iter(part.values())) if isinstance(part, dict) else part

    listed = pages(read_yaml((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(listed) == sorted([*map(str, PAGES), "LOG.md"])


def test_every_kind_of_input_is_held_by_a_test_that_its_row_names():
    rows = [line for line in read(Path("docs/accepted.md")).splitlines() if line.startswith("| ")]
    unheld = []
    for row in (row for row in rows if not re.match(r"\| (kind |-)", row)):
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.rstrip("| ").rpartition("|")[2])
        if not named:
            unheld.append(f"{row}: names no test")
        for file, test in named:
            if not (REPOSITORY / file).exists() or f"def {test}(" not in read(Path(file)):
                unheld.append(f"{row}: no {file}::{test}")
    assert rows and not unheld, "\n".join(unheld)


def test_every_file_and_name_in_code_font_exists():
    """`dferc/model/ddm.py`, and of `dferc/model/ddm.py` (`Disentanglement`) the class as well."""
    missing = []
    for page in PAGES:
        for code, names in re.findall(r"`([^`\n]+)`(?: \(((?:`\w+`(?:, )?)+)\))?", prose(page)):
            for path in re.findall(r"(?:dferc|pipeline|tests|benchmarks|docs)/[\w/.-]*\w", code):
                if "<" not in code and not (REPOSITORY / path).exists():
                    missing.append(f"{page}: {path}")
                elif path.endswith(".py"):
                    words = re.findall(r"\w+", names)
                    missing += [f"{page}: {word} in {path}" for word in words if word not in read(Path(path))]
    assert not missing, "\n".join(missing)


def test_every_documented_module_exists():
    for page in PAGES:
        for module in re.findall(r"^::: (\S+)$", read(page), re.MULTILINE):
            importlib.import_module(module)


# ---------------------------------------------------------------------------------------------------- commands


def test_every_command_of_a_guide_would_be_understood():
    faults = []
    for page in PAGES:
        for command in (command for block in blocks(page, "", "bash", "sh") for command in commands(block)):
            try:
                verify(command)
            except (AssertionError, click.ClickException, ImportError, KeyError, InputError) as error:
                faults.append(f"{page}: {' '.join(command)}: {type(error).__name__}: {error}")
    assert not faults, "\n".join(faults)


def verify(command: list[str]) -> None:
    match command:
        case ["dferc", *words]:
            verify_dferc(words)
        case ["dferc-train" | "dferc-ablate" as name, *words]:
            verify_dferc([name.removeprefix("dferc-"), *words])
        case ["dferc-video" | ".venv/bin/dferc-video", *words]:
            verify_click(dferc_video, words)
        case ["dferc-serve", *words]:
            verify_click(importlib.import_module("pipeline.serve.command").main, words)
        case ["python", "-m", module, *words]:
            main = importlib.import_module(module).main
            if isinstance(main, click.Command):
                verify_click(main, words)
        case ["python", script, *_]:
            assert script.startswith("/tmp/") or (REPOSITORY / script).exists()
        case ["make", *targets]:
            assert set(targets) <= set(re.findall(r"^([a-z-]+):", read(Path("Makefile")), re.MULTILINE))
        case ["dvc", *words]:
            verify_dvc(words)
        case ["pip", "install", *words]:
            named = {name for word in words for name in re.findall(r"\w+", word.partition("[")[2])}
            assert named <= set(EXTRAS)
        case ["pytest", *words]:
            assert all((REPOSITORY / word).exists() for word in words if not word.startswith("-"))
        case [program, *_]:
            assert program in OTHERS, "no command of ours; if it is right, add it to OTHERS"


def verify_dferc(words: list[str]) -> None:
    name, *words = words
    command = dferc_main.get_command(click.Context(dferc_main), name)
    values = verify_click(command, words)
    assert set(values.get("variants", ())) | {values.get("variant", "full")} <= set(VARIANTS)
    assert name != "baselines" or set(values.get("names", ())) <= set(BASELINES)
    if values.get("overrides"):
        load_params(REPOSITORY / "params.yaml", values["overrides"], values["corpus"])


def verify_click(command: click.Command, words: list[str]) -> dict:
    """Parse a command line without opening a file; return the values as text."""
    if "--help" in words:
        return {}
    context = click.Context(command)
    values, rest, _ = command.make_parser(context).parse_args(args=list(words))
    assert rest == []
    for parameter in command.params:
        value = values.get(parameter.name)
        given = isinstance(value, str | list | tuple) and bool(value)
        assert given or not parameter.required, f"{parameter.name} is missing"
        if given and not isinstance(parameter.type, click.Path):
            for each in [value] if isinstance(value, str) else value:
                parameter.type.convert(each, parameter, context)
    return {name: value for name, value in values.items() if isinstance(value, str | list | tuple)}


def verify_dvc(words: list[str]) -> None:
    cli, parser = pytest.importorskip("dvc.cli"), pytest.importorskip("dvc.cli.parser")
    try:
        parsed = parser.get_main_parser().parse_args(words)
    except (SystemExit, argparse.ArgumentError, cli.DvcParserError) as error:
        raise AssertionError("DVC does not understand it") from error
    targets = [target for target in getattr(parsed, "targets", None) or [] if "/" not in target]
    assert {target.partition("@")[0] for target in targets} <= STAGES


# ---------------------------------------------------------------------------------------------------- run for real


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """Return a working folder with synthetic features of `meld` and `mine`, and settings that train in a second."""
    (tmp_path / "params.yaml").write_text(read(Path("params.yaml")), encoding="utf-8")

    def shrink(document) -> None:
        document["meld"]["train"] |= {"hidden": 8, "align": 8, "epochs": 2, "batch_dialogues": 8}
        document["ablate"] = {"variants": ["full", "no_crm"], "seeds": [0, 1]}

    edit(tmp_path / "params.yaml", shrink)
    write_features_folder(tmp_path / "features/meld", corpus="meld")
    nobody = ("train", "validation", "test")
    write_features_folder(tmp_path / "features/mine", corpus="mine", dialogues={"test": 4}, unlabelled=nobody)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DFERC_WORKERS", "0")
    return tmp_path


def test_the_adapter_of_contributing_reads_a_corpus(tmp_path):
    (block,) = blocks(Path("CONTRIBUTING.md"), "python")
    adapter = {}
    exec(compile(block, "CONTRIBUTING.md", "exec"), adapter)
    (tmp_path / "lines.txt").write_text("d1|0|Ann|joy|train|Yes!|No?\nd1|1|Bo||train|Hm.\n", encoding="utf-8")
    corpus = adapter["read"](tmp_path, settings=None)
    verify_rows("podcast", "podcast", tmp_path, corpus)
    assert [(row.utterance_id, row.emotion, row.text) for row in corpus.utterances] == [
        ("d1_0", "joy", "Yes!|No?"),
        ("d1_1", "", "Hm."),
    ]


@pytest.mark.slow
def test_guides_run_from_features_to_report(project):
    """Every `dferc` command of the guides from training to report, in their order, but those that need media or Ray."""
    performed = []
    for page in map(Path, ("docs/training.md", "docs/statistics.md", "docs/report.md")):
        for command in (command for block in blocks(page, "bash") for command in commands(block)):
            if command[0] == "dferc" and "--engine" not in command:
                result = CliRunner().invoke(dferc_main, command[1:])
                assert result.exit_code == 0, f"{page}: {' '.join(command)}\n{result.output}"
                performed.append(command[1])
    assert {"train", "ablate", "evaluate", "predict", "baselines", "table", "compare", "analyse", "report"} <= set(
        performed
    )
    for name in ("runs/meld/full/metrics.json", "runs/trial/meld/full/metrics.json", "predictions.csv"):
        assert (project / name).exists()
    assert {path.name for path in (project / "reports/meld").iterdir()} >= {
        "ablation.tex",
        "analyses.json",
        "index.html",
    }


@pytest.mark.slow
def test_python_of_the_documentation_runs(project):
    write_features_folder(project / "features/demo")
    for corpus in ("meld", "demo"):
        small = [f"--set=train.{setting}" for setting in ("hidden=8", "align=8", "epochs=2")]
        result = CliRunner().invoke(dferc_main, ["train", "--corpus", corpus, "--no-evaluate", *small])
        assert result.exit_code == 0, result.output
    pages = [page for page in PAGES if any("dferc.load" in block for block in blocks(page, "python"))]
    assert Path("README.md") in pages
    for page in pages:
        Path("mine.csv").unlink(missing_ok=True)
        for block in blocks(page, "python"):
            exec(compile(block, str(page), "exec"), {})
        assert Path("mine.csv").exists()
