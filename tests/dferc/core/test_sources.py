"""Cache keys hold the code that decides a value: found by imports, blind to comments, docstrings and layout."""

import itertools

import pytest

from dferc.core.sources import code_hash, find_source, imported_distributions, imported_modules, read_source

MAIN = '''"""A module."""

from typing import TYPE_CHECKING

from {package} import constants
from {package}.inner import helper

if TYPE_CHECKING:
    from {package} import types_only


def run(x):
    """Return it scaled."""
    from {package}.late import shift

    return shift(helper(x) * constants.SCALE)
'''
SOURCES = {
    "__init__": "",
    "main": MAIN,
    "constants": 'SCALE = 2.0\n"""Of everything."""\n',
    "inner": "import json\n\n\ndef helper(x):\n    return x\n",
    "late": "def shift(x):\n    return x + 1\n",
    "types_only": "A = 1\n",
    "unused": "B = 1\n",
}
_numbers = itertools.count()


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """Return a function that hashes `main` in a fresh package of `SOURCES`, some modules of which are changed."""

    def of(**changes: str) -> str:
        root = tmp_path / str(next(_numbers))
        (root / "example").mkdir(parents=True)
        for name, text in (SOURCES | changes).items():
            (root / "example" / f"{name}.py").write_text(text.replace("{package}", "example"))
        monkeypatch.syspath_prepend(root)
        forget()
        return code_hash("example.main")

    yield of
    forget()


def forget() -> None:
    for kept in (code_hash, find_source, read_source):
        kept.cache_clear()


@pytest.mark.parametrize(
    "changed",
    [
        {"main": MAIN.replace("A module.", "Another text.").replace("Return it scaled.", "Scale.")},
        {"main": "# a comment\n\n" + MAIN.replace("    return shift", "\n    # why\n    return (\n    shift") + ")\n"},
        {"constants": "SCALE = 2.0  # of everything\n"},
        {"types_only": "A = 2\n"},
        {"unused": "B = 2\n"},
    ],
    ids=["docstrings", "comments and layout", "attribute docstring", "for type checkers only", "not imported"],
)
def test_what_decides_no_value_changes_no_hash(hashed, changed):
    assert hashed(**changed) == hashed()


@pytest.mark.parametrize(
    "changed",
    [
        {"main": MAIN.replace("helper(x) *", "helper(x) +")},
        {"constants": "SCALE = 2.5\n"},
        {"inner": "import json\n\n\ndef helper(x):\n    return -x\n"},
        {"late": "def shift(x):\n    return x + 2\n"},
        {"__init__": "X = 1\n", "main": MAIN.replace("import constants", "import X, constants")},
    ],
    ids=["the module", "a constant elsewhere", "a function elsewhere", "imported in a function", "the package"],
)
def test_what_decides_a_value_changes_the_hash(hashed, changed):
    assert hashed(**changed) != hashed()


def test_a_function_without_its_docstring_still_parses(hashed):
    assert hashed(inner='def helper(x):\n    """Nothing."""\n') == hashed(inner="def helper(x):\n    pass\n")


def test_trained_weights_depend_on_the_model_and_not_on_the_report():
    found = imported_modules("dferc.training.run")
    assert {
        "dferc.model.ddm",
        "dferc.model.cfm",
        "dferc.model.crm",
        "dferc.model.losses",
        "dferc.training.optimiser",
    } <= found
    assert not [name for name in found if "report" in name or "cli" in name or "engine" in name]


def test_distributions_are_the_installed_packages_that_the_code_imports():
    found = imported_distributions("dferc.store.hdf5")
    assert {"h5py", "numpy"} <= found and "torch" not in found
    assert "opencv-python-headless" in imported_distributions("pipeline.faces.speaker_face")  # imported as cv2
