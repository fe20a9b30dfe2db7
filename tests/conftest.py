"""The one fixture that is expensive: the demo corpus, media to scores."""

from pathlib import Path

import pytest

from tests.helpers import REPOSITORY
from tests.projects import copy_project, dvc


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """A project in which the demo is reproduced, by `dvc repro` in a copy that shares this checkout's DVC cache.

    What the checkout has reproduced already is restored in seconds, and what is made here is restored by its next
    `make repro`.
    """
    project = copy_project(tmp_path_factory.mktemp("demo"))
    dvc(project, "cache", "dir", "--local", str(REPOSITORY / ".dvc" / "cache"))
    dvc(project, "repro")
    return project
