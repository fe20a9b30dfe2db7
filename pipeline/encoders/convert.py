"""Pickled weights of an encoder -> model.safetensors, without internet.

    python -m pipeline.encoders.convert FOLDER

Only tensors are unpickled (`weights_only`): no program in the file is run.
"""

from pathlib import Path

import click
import torch
from safetensors.torch import save_file

from dferc.core.console import console, readable_errors
from dferc.core.errors import InputError
from dferc.core.files import write_atomically

PICKLED = "pytorch_model*.bin"
WEIGHTS = "model.safetensors"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@readable_errors
def main(folder: Path) -> None:
    """Write the pickled weights of an encoder's folder as model.safetensors beside them."""
    files = [path for path in sorted(folder.glob(PICKLED)) if path.is_file()]
    if not files:
        raise InputError(f"{folder} holds no {PICKLED}: nothing to convert.")
    if (folder / WEIGHTS).exists():
        raise InputError(f"{folder / WEIGHTS} is there already; remove it to write it again.")
    weights = {}
    for path in files:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            # clones: safetensors stores no two tensors in the same memory, as tied weights are
            weights |= {name: value.clone().contiguous() for name, value in content.items()}
        except Exception as error:  # an unpickler of strangers' files raises anything
            raise InputError(
                f"{path} holds no table of tensors, or more than tensors, or is damaged "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0][:200]})"
            ) from error
    write_atomically(folder / WEIGHTS, lambda temporary: save_file(weights, temporary, metadata={"format": "pt"}))
    console.print(f"{folder / WEIGHTS}: {len(weights)} tensors of {len(files)} file(s)")


if __name__ == "__main__":
    main()
