"""Copies of this project in which DVC can run without touching the checkout."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ruamel.yaml import YAML

from tests.helpers.common import REPOSITORY

PROJECT = ("dferc", "pipeline", ".dvc", ".dvcignore", "dvc.yaml", "params.yaml")
"""What DVC needs of the repository."""


def copy_project(folder: Path) -> Path:
    """A copy of the project without its data, results and caches, in a git repository of its own."""
    for name in PROJECT:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(
                REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "cache", "tmp")
            )
        else:
            shutil.copy(REPOSITORY / name, folder / name)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return folder


def dvc(project: Path, *arguments: str) -> str:
    """Run DVC in a project; return what it prints to stdout."""
    return _dvc(project, *arguments).stdout


def dvc_messages(project: Path, *arguments: str) -> str:
    """Run DVC and return the messages of its stages, which are on stderr."""
    return _dvc(project, *arguments).stderr


def _dvc(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(project)}
    command = ["python", "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"dvc {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done


def edit(path: Path, change: Callable) -> None:
    """Let `change` alter a YAML document in place; comments stay."""
    yaml = YAML()
    document = yaml.load(path.read_text(encoding="utf-8"))
    change(document)
    with open(path, "w", encoding="utf-8") as file:
        yaml.dump(document, file)


def ran(output: str) -> list[str]:
    """The stages that a `dvc repro` really ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
