"""`dferc bundle`: pack a trained run for predictions from media."""

import click

from dferc.core.console import FOLDER, PATH, console, print_note, readable_errors, warn_of_simulation


@click.command()
@click.argument("run", type=FOLDER)
@click.option(
    "--out", type=PATH, required=True, help="Folder to write, such as meld.dferc; one file if the name ends in .zip."
)
@click.option("--seed", "seeds", type=click.IntRange(0, 2**31 - 1), multiple=True, help="Repeatable.  [default: all]")
@click.option(
    "--text",
    "texts",
    type=FOLDER,
    multiple=True,
    help="Text encoder of the training; once for each text set.  [default: those in models/CORPUS]",
)
@click.option("--face", type=FOLDER, help="Face network of the training.  [default: models/CORPUS/face]")
@readable_errors
def bundle(run, out, seeds, texts, face) -> None:
    """Pack RUN (such as runs/meld/full) with all that a prediction from media needs into one folder or .zip.

    Packed are the heads of the seeds, the text encoders, the face network, the settings of extraction, and a model
    card. An encoder or a network that is not the one of the training is refused. The settings come from the run's own
    record, not from params.yaml. The same inputs give the same bytes. `dferc inspect` shows a bundle; `dferc-video
    --model` and `dferc predict --run` take it.
    """
    from dferc.store.bundle import CARD, write_bundle
    from pipeline.bundle.collect import collect
    from pipeline.bundle.model_card import model_card

    manifest, parts, notes = collect(run, seeds, texts, face)
    write_bundle(out, manifest, parts | {CARD: model_card(manifest).encode("utf-8")})
    if manifest["synthetic"]:
        warn_of_simulation(["the model was trained on it", *manifest["synthetic"]], "its predictions")
    for note in notes:
        print_note(note)
    for line in manifest["licences"]:
        console.print(f"{line['part']}: {line['licence']}")
    size = sum(path.stat().st_size for path in ([out] if out.is_file() else out.rglob("*")) if path.is_file())
    console.print(
        f"written: {out}, {size / 1e6:.1f} MB: seed {', '.join(map(str, manifest['seeds']))}; "
        f"{', '.join(manifest['modalities'])}; see {CARD} in it, or `dferc inspect {out}`"
    )
