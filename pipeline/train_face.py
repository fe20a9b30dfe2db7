"""Training of the 342-d DenseNet on FER+ vote distributions -> models/<corpus>/face/.

`python -m pipeline.train_face --corpus meld` writes face.safetensors and face.json (for extract_visual) and
metrics.json. Soft cross-entropy on the Training faces, mirrored and shifted at random; the epoch with the highest
PublicTest accuracy is kept; PrivateTest is scored once, at the end. Accuracy is, as FER+ reports it, over the faces on
which more than half of the votes agree (docs/data.md, FER+ and the visual feature).

B faces, S side of a face in pixels, 8 emotions.
"""

from pathlib import Path

import click
import torch

from dferc.core.console import PATH, CorpusName, console, print_note, readable_errors, shown_option
from dferc.core.device import DEVICES, choose_device
from dferc.core.files import file_hash, write_atomically, write_json
from dferc.core.sources import code_hash
from pipeline.extraction.kept import DEFAULT_PATH, make_or_reuse, state_folder
from pipeline.extraction.scratch import key_of
from pipeline.faces import training
from pipeline.faces.densenet import FERPLUS, NONE, WEIGHTS, description_path, find_weights, load_face_net, read_json
from pipeline.faces.ferplus import FILES, missing_files, read_ferplus
from pipeline.settings import load_settings


@click.command()
@click.option("--corpus", type=CorpusName(), required=True, help="Name of the corpus block in params.yaml.")
@shown_option("--params", default="params.yaml", type=PATH)
@click.option("--faces", type=PATH, help="FER+ files.  [default: data/faces/{corpus}]")
@click.option("--out", type=PATH, help="Folder to write.  [default: models/{corpus}/face]")
@shown_option("--device", type=click.Choice(DEVICES), default="auto")
@shown_option("--scratch", type=PATH, default=DEFAULT_PATH, help="Kept models.")
@readable_errors
def main(corpus: str, params: Path, faces: Path | None, out: Path | None, device: str, scratch: Path) -> None:
    """Train the face network on FER+, or take one that is trained."""
    settings = load_settings(params).corpus(corpus).train_face
    faces, out = faces or Path("data/faces", corpus), out or Path("models", corpus, "face")
    if settings.source == NONE:
        leave_untrained(out, NONE, "params.yaml asks for no face model (train_face.source: none)")
    elif settings.source != FERPLUS:
        copy_checkpoint(Path(settings.source), out)
    elif missing := missing_files(faces):
        reason = f"{' and '.join(missing)} not found in {faces}; see {faces / 'README.md'} for where to get them"
        leave_untrained(out, FERPLUS, reason)
        print_note(
            f"{reason}. extract_visual will fail if any utterance has a picture; a corpus without clips goes on. "
            "To do without pictures, set train_face.source to none.",
            "NOTE: NO FACE MODEL WAS TRAINED:",
        )
    else:
        where = choose_device(device, "float32").device
        # Everything that decides the network; rounding depends on the device and on `threads`, which is a setting.
        arithmetic = [where.type, torch.__version__]
        inputs = [file_hash(faces / name) for name in FILES]
        key = key_of(settings.model_dump(mode="json"), arithmetic, inputs, code_hash(training.__name__))

        def make(part: Path) -> None:
            state = state_folder(scratch, key) / "face.pt"
            training.train(read_ferplus(faces, settings.image_size), settings, part, where, state)

        make_or_reuse(out, key, scratch, make)
        console.print(str(out / WEIGHTS))


def leave_untrained(out: Path, source: str, reason: str) -> None:
    """Replace the folder's model by the reason why there is none."""
    (out / WEIGHTS).unlink(missing_ok=True)
    write_json(description_path(out / WEIGHTS), {"trained": False, "source": source, "reason": reason})
    write_json(out / "metrics.json", {"trained": False})


def copy_checkpoint(source: Path, out: Path) -> None:
    """Copy a checkpoint made elsewhere to `out`; raise InputError if it is no checkpoint of this network."""
    weights = find_weights(source)
    net = load_face_net(weights)
    write_atomically(out / WEIGHTS, lambda temporary: temporary.write_bytes(weights.read_bytes()))
    write_json(description_path(out / WEIGHTS), read_json(description_path(weights)))
    write_json(out / "metrics.json", {"trained": True, "source": "checkpoint"})
    console.print(f"train_face: {weights} checked and copied to {out} (faces of {net.image_size} px)")


if __name__ == "__main__":
    main()
