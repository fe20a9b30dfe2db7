"""Links to the files that settings name, where DVC sees them change -> data/<corpus>/files/<stage>.

    python -m pipeline.link_files --corpus meld

dvc.yaml cannot name a file that params.yaml names: it may be a name of the hub, or nothing. So each stage that reads
such files depends on data/<corpus>/files/<stage>: a link to the one file or folder (an encoder, a YuNet model), a
folder of links to several files (an openSMILE .conf and its includes), or a folder with a note. DVC hashes what a link
leads to, so that `dvc status` reports an edited file, and `dvc repro` runs what depends on it.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from dferc.core.console import PATH, CorpusName, console, readable_errors, shown_option
from dferc.core.errors import InputError
from pipeline.audio.functionals import named_files
from pipeline.check import BY_NAME, check_corpora, needs_finder
from pipeline.faces.densenet import FERPLUS, NONE, description_path, find_weights
from pipeline.faces.finder import HAAR, WHOLE_FRAME, locate_finder
from pipeline.settings import Prepare, StageSettings, load_settings, sets_of, with_set

NOTE = "none.txt"


@click.command()
@click.option("--corpus", type=CorpusName(), required=True, help="Block of params.yaml.")
@shown_option("--params", default="params.yaml", type=PATH)
@click.option("--raw", type=PATH, help="Raw corpus.  [default: data/raw/CORPUS]")
@click.option("--out", type=PATH, help="Folder of the links.  [default: data/CORPUS/files]")
@readable_errors
def main(corpus: str, params: Path, raw: Path | None, out: Path | None) -> None:
    """Check the settings of a corpus, and link the files that they name."""
    document = load_settings(params)
    names = [None, *sets_of(document, corpus)]  # the first sets, then the further ones
    blocks = {f"{corpus} {name or ''}".strip(): with_set(document, corpus, name) for name in names}
    check_corpora(blocks)
    files_by_stage: dict[str, list[Path]] = {}
    for block in blocks.values():
        for stage, files in files_of(block, raw or Path("data/raw", corpus)).items():
            files_by_stage[stage] = list(dict.fromkeys([*files_by_stage.get(stage, []), *files]))
    for stage, files in files_by_stage.items():
        link(files, (out or Path("data", corpus, "files")) / stage)
        for file in files:
            console.print(f"{stage} depends on {file}")


def files_of(settings: StageSettings, raw: Path) -> dict[str, list[Path]]:
    """Return by stage the files, or the one folder, that its settings name; InputError if one does not exist."""
    encoder, source = Path(settings.finetune_text.encoder), settings.train_face.source
    weights = [] if source in (FERPLUS, NONE) else [find_weights(Path(source))]
    finder = locate_finder(settings.extract_visual.finder) if needs_finder(settings) else HAAR
    seeing = settings.extract_visual.encoder
    if seeing.startswith(BY_NAME):  # torchvision:NAME@FILE
        networks = [Path(file) for file in (seeing.partition("@")[2],) if file]
    else:
        networks = [Path(seeing)] if Path(seeing).is_dir() else []
    return {
        "prepare": list(_tables(settings.prepare, raw)),
        "finetune_text": [encoder] if encoder.is_dir() else [],
        "train_face": weights + [description_path(path) for path in weights],
        "extract_audio": named_files(settings.extract_audio.encoder),
        "extract_visual": networks + ([] if finder in (HAAR, WHOLE_FRAME) else [Path(finder)]),
    }


def link(files: list[Path], out: Path) -> None:
    """Replace `out` by a link to the one path in `files`, or by a folder with a link to each of them, or a note."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.is_symlink():
        out.unlink()  # never what it leads to
    elif out.exists():
        if any(part.is_file() and not part.is_symlink() and part.name != NOTE for part in (out, *out.rglob("*"))):
            raise InputError(f"{out} has files that are no links: it is not replaced. Name another folder with --out.")
        shutil.rmtree(out)
    if len(files) == 1:
        out.symlink_to(files[0].resolve())
        return
    out.mkdir()
    for number, file in enumerate(files):
        # DVC looks behind a link to a folder only where it is the outermost: a further folder has links to its files.
        for part in [file] if file.is_file() else filter(Path.is_file, file.rglob("*")):
            place = out / f"{number}-{file.name}" / part.relative_to(file)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(part.resolve())
    if not files:
        (out / NOTE).write_text("The settings of this stage name no file.\n", encoding="utf-8")


def _tables(prepare: Prepare, raw: Path) -> Iterator[Path]:
    """Yield the files that options of an adapter name outside of the raw folder, on which `prepare` depends anyway."""
    options = prepare.options if isinstance(prepare.options, dict) else prepare.options.model_dump()
    for value in options.values():
        for file in (raw / value, Path(value)) if isinstance(value, str) and value else ():
            if file.is_file() and not file.resolve().is_relative_to(raw.resolve()):
                yield file


if __name__ == "__main__":
    main()
