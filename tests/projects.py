"""Copies of this project in which DVC can run without touching the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers import REPOSITORY

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
    """Run DVC in a project with this interpreter's commands on the path; its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"dvc {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
