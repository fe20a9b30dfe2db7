"""`dferc verify`: stage 1 computes some of a folder's features again, in a process of its own, from the checkout.

Stage 2 knows stage 1 by its files only; what is asked for here is what only stage 1 can do.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dferc.core.errors import InputError
from dferc.store.hdf5 import read_utterances

_MODULE = "pipeline.verify"


def verify_folder(folder: Path, modalities: Sequence[str], arguments: Sequence[str]) -> None:
    """Verify the files of a features folder, all of them, whatever is found in the first.

    Args:
        folder: holds utterances.h5 and a file per modality.
        modalities: which to verify.
        arguments: for `python -m pipeline.verify`.

    Raises:
        InputError: stage 1 is not here, or a file differs; what and where is told by then.
    """
    corpus = read_utterances(folder / "utterances.h5").corpus
    if not Path(*_MODULE.split(".")).with_suffix(".py").is_file():
        raise InputError(
            f"verifying computes features again from their media, and {Path.cwd()} has no {_MODULE}: run this at the "
            "top of the repository, after pip install '.[pipeline]'."
        )
    told = ["--corpus", corpus, "--features", str(folder), *arguments]
    commands = {name: [sys.executable, "-m", _MODULE, "--modality", name, *told] for name in modalities}
    failed = [name for name, command in commands.items() if subprocess.run(command).returncode]
    if failed:
        raise InputError(f"{folder}: {', '.join(failed)} not verified, as told above.")
