"""`dferc import`: features made elsewhere -> features/<corpus>/. Every heavy import stands in the command."""

import csv
import re
from pathlib import Path

import click

from dferc.cli.options import dir_option
from dferc.core.console import CorpusName, console, readable_errors, shown_option
from dferc.core.errors import InputError, listed
from dferc.core.files import SET_NAME


def _check_sets(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    sets = {}
    for value in values:
        name, _, path = value.partition("=")
        if not re.match(SET_NAME, name) or name == "utterances" or not path:
            raise click.BadParameter(f"{value!r:.80}: expected NAME=FILE, such as audio/wavlm=wavlm.npz.")
        if name.casefold() in map(str.casefold, sets):
            raise click.BadParameter(f"two sets of one name: {name}.")
        sets[name] = FILE.convert(path, _parameter, _context)
    return sets


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command("import")
@click.argument("files", nargs=-1, type=FILE, metavar="[FILE]...")
@click.option("--text", type=FILE, help="Take the text features from this file.")
@click.option("--audio", type=FILE, help="Take the audio features from this file.")
@click.option("--visual", type=FILE, help="Take the visual features from this file.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    callback=_check_sets,
    metavar="NAME=FILE",
    help="As --text, for a modality of any name: physiology=FILE. Alone, with --corpus: add this feature set, such as "
    "audio/wavlm=FILE, to the features that are there. Repeatable.",
)
@shown_option(
    "--layer",
    type=click.Choice(["1", "2", "3", "4", "mean"]),
    default="mean",
    help="Which of COSMIC's (SDT's, GraphSmile's) four RoBERTa layers, or their mean.",
)
@click.option(
    "--corpus", type=CorpusName(), default="", help="Its block in params.yaml and its folder [default: as recognised]."
)
@click.option("--classes", default="", metavar="A,B,…", help="A table's class names, in the order of their numbers.")
@click.option("--transcripts", type=FOLDER, help="MELD's CSVs: real utterance numbers, names and texts.")
@click.option("--ids", type=FILE, help="IEMOCAP's utterance ids: one per line, or MERBench's label_6way.npz.")
@dir_option("--features", "features", "Where to put the folder.")
@click.option("--replace", is_flag=True, help="Replace the features that are there.")
@readable_errors
def import_features(
    files, text, audio, visual, sets, layer, corpus, classes, transcripts, ids, features, replace
) -> None:
    """Import features made elsewhere into features/CORPUS/, ready for `dferc train`.

    FILEs are recognised by their content; their names do not matter, but for MultiEMO's and MELD's own:

    \b
    pickles   MMGCN, MM-DFN, DFERC, conv-emotion, COGMEN, CORECT, bc-LSTM   9- and 10-tuples
              SDT, GraphSmile, CFN-ESA, M3Net                               12-, 13- and 14-tuples
              COSMIC's RoBERTa features                                     10- and 11-lists
              MultiEMO: Speakers, TextFeatures, AudioFeatures, VisualFeatures, given together
              M3ED                                                          10-list
    frames    MMIN, IF-MMIN, CIF-MMIN: HDF5, a dataset [T, D] per utterance, averaged; with a pickle that has the labels
    MELD      its own features ([train, dev, test] of vectors by utterance) and data_emotion.p
    MMSA      MOSI, MOSEI, SIMS (train, valid, test): frames by clip, averaged
    vectors   by utterance id: a pickle, .npz, HDF5 or safetensors. Labels from --transcripts, or from what `prepare`
              left in features/CORPUS/
    tables    .npz, HDF5, Parquet (needs pyarrow): one row per utterance.
              `text`, `audio`, `visual` [N, D]: what there is of them (or `features`, with --text FILE …);
              another column of vectors, such as `physiology`, is a modality of its own
              `dialogue`, `emotion`, `split`; if there: `utterance`, `position`, `speaker`, `sentence`, `votes`

    Pickles are read as data: one that names anything but plain containers, numbers, text and numpy arrays is refused,
    and no code in it is run. Labels and splits come from the first FILE that has them; MELD's dev dialogues, which the
    pickles count to the training, become the validation split again, as do COSMIC's 12 dialogues of IEMOCAP. The
    counts are compared with the published ones. Whatever does not fit is listed in features/CORPUS/problems.csv.

    \b
    dferc import MELD_features_raw1.pkl --transcripts data/raw/meld
    dferc import --text iemocap_features_roberta.pkl --audio IEMOCAP_features.pkl --visual IEMOCAP_features.pkl
    dferc import IEMOCAP_features.pkl --audio A/comparE.h5 --visual V/denseface.h5
    dferc import --corpus meld --set audio/wavlm=wavlm.npz --set physiology=e4.npz
    dferc import Speakers.pkl TextFeatures.pkl AudioFeatures.pkl VisualFeatures.pkl
    """  # noqa: D301 (click reads a real backspace as "leave these lines as they are")
    named = {modality: path for modality, path in (("text", text), ("audio", audio), ("visual", visual)) if path}
    if corpus and sets and not (files or named):
        if unread := ("--classes" if classes else "--transcripts" if transcripts else ids and "--ids"):
            raise click.UsageError(f"{unread}: labels and ids are those of the features that are there.")
        _add_sets(features / corpus, sets, layer, corpus, replace)
        return
    if any("/" in name for name in sets):
        raise click.UsageError("A further set is added to features that are there: give --set alone, with --corpus.")
    named |= sets
    paths = list(dict.fromkeys([*files, *named.values()]))
    if not paths:
        raise click.UsageError("Give at least one FILE, or --text, --audio, --visual FILE, or --set NAME=FILE.")
    from dferc.importing.corpora import CORPORA
    from dferc.importing.file_types import read_source
    from dferc.importing.join import join, refuse_overwriting, write_import
    from dferc.importing.source import numbered_by
    from dferc.importing.transcripts import read_ids, read_prepared, read_transcripts

    if corpus:
        refuse_overwriting(features / corpus, replace)
    names = tuple(name.strip() for name in next(csv.reader([classes], skipinitialspace=True)) if name.strip())
    sources = {path: read_source(path, layer, corpus, names) for path in paths}
    for source in sources.values():
        if names and source.corpus in CORPORA and source.classes not in ((), names):
            raise InputError(
                f"{source.path} is a file of {source.corpus}, whose classes are {', '.join(source.classes)}: --classes "
                "names those of tables and of MMSA's pickles. For other labels write an .npz (see `--help`)."
            )
    guides = [read(path) for read, path in ((read_transcripts, transcripts), (read_ids, ids)) if path]
    for guide in guides:  # theirs are the corpus's own numbers, whatever a source counts from
        sources = {path: numbered_by(source, guide) for path, source in sources.items()}
    chosen = {modality: sources[path] for modality, path in named.items()}
    known = corpus or next((source.corpus for source in sources.values() if source.corpus), "")
    if known and not any(source.labels and source.splits for source in (*sources.values(), *guides)):
        guides += [prepared] if (prepared := read_prepared(features / known)) else []
    imported = join(list(sources.values()), chosen, guides, corpus)
    folder = features / imported.corpus.utterances.corpus
    refuse_overwriting(folder, replace)
    write_import(folder, imported)
    _report(folder, imported)


def _add_sets(folder: Path, sets: dict[str, Path], layer: str, corpus: str, replace: bool) -> None:
    """Add feature sets to a folder that has its utterances, and print what became of each."""
    from dferc.importing.file_types import read_source
    from dferc.importing.join import add_set
    from dferc.importing.transcripts import read_prepared

    rows = read_prepared(folder)
    if rows is None:
        raise InputError(f"{folder} has no utterances.h5 to add a set to. Prepare the corpus, or import it first.")
    for name, path in sets.items():
        made, problems = add_set(folder, name, read_source(path, layer, corpus, ()), rows, replace)
        there = f"{made.present.sum()} of {len(made.present)} utterances, width {made.width}"
        kinds = listed(dict.fromkeys(problem.problem for problem in problems), 3)
        console.print(f"{name}: {there}; {len(problems)} problem(s){': ' + kinds if kinds else ''}; {folder / name}.h5")


def _report(folder: Path, imported) -> None:
    """Print what was recognised, and what became of the rows, on one screen."""
    from dferc.evaluation.seen_labels import check_honesty, show_honesty
    from dferc.store.card import card_hash
    from dferc.store.hdf5 import IMPORT_PROBLEMS
    from dferc.store.summary import show_summary

    for use, source in imported.sources.items():
        known = f"; known as {source.about.known_as}" if source.about.known_as else ""
        console.print(f"{use}: {source.path}: {source.about.layout}{known}")
    rows, sets = imported.corpus.utterances, imported.corpus.modalities
    present = {f"{name} present (width {features.width})": features.present for name, features in sets.items()}
    read = sum(map(len, imported.sources["labels"].labels.values()))
    show_summary(rows, imported.problems, rows_read=read, signals=present)
    if imported.problems:
        console.print(f"{len(imported.problems)} problem(s) in all: {folder / IMPORT_PROBLEMS}")
    show_honesty(check_honesty(rows, sets))
    console.print(f"protocol card {card_hash(rows)}: {rows.protocol} (`dferc inspect {folder}` shows it)")
    console.print(f"done: dferc train --corpus {rows.corpus} --features {folder.parent}")
