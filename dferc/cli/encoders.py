"""`dferc encoders`: which feature sets to take. Every heavy import stands in the command."""

import click

from dferc.cli.options import CORPUS, DEVICE, FEATURES, FRESH, REPORTS, SCRATCH, SEEDS, SET, SPLIT, dir_option, options
from dferc.cli.training import load_block, make_sweep
from dferc.core.console import console, print_note, readable_errors, shown_option
from dferc.engine.options import engine_options


@click.command()
@options(CORPUS)
@click.option("--use", multiple=True, metavar="SET", help="A set to compare. Repeatable.  [default: all]")
@click.option(
    "--combination",
    "wanted",
    multiple=True,
    metavar="SET+SET…",
    help="A combination; the first is the reference. Repeatable.  [default: one set of each modality, in every way]",
)
@shown_option("--most", type=click.IntRange(1), default=24, help="Refuse more combinations than this.")
@shown_option("--variant", default="full", help="An ablation row that keeps all modalities.")
@options(SEEDS, FEATURES)
@dir_option("--out", "runs/encoders", "Runs go to OUT/CORPUS/VARIANT@SETS/.")
@REPORTS
@dir_option("--report-runs", "runs", "encoders.json, for the report, goes to REPORT_RUNS/CORPUS/.")
@options(SET, SPLIT, DEVICE, FRESH, SCRATCH, engine_options)
@readable_errors
def encoders(
    corpus, use, wanted, most, variant, features, out, reports, report_runs, params, overrides, split, workers, **more
) -> None:
    """Compare the feature sets of a corpus: every combination x seeds, each set alone, and what it adds to the rest.

    Sets are files: features/CORPUS/audio.h5 is `audio`, features/CORPUS/audio/wavlm.h5 is `audio/wavlm` (`dferc
    features` lists them). Each run is kept: after an interruption, or with another set, only the rest is trained.
    Writes encoders.csv, .md and .tex, and encoders.json among the runs of the corpus, for the report.

    \b
    dferc encoders --corpus meld
    dferc encoders --corpus meld --use text --use audio --use audio/wavlm --seed 0 --seed 1
    dferc encoders --corpus meld --combination text+audio --combination text+audio+audio/wavlm    # both, joined
    """  # noqa: D301 (click reads a real backspace as "leave these lines as they are")
    from dferc.core.errors import InputError
    from dferc.model.variants import get_variant

    chosen = get_variant(variant)
    if chosen.modalities or chosen.without:
        raise InputError(
            f"The variant {variant!r} selects modalities. Select feature sets instead: --use, --combination."
        )
    settings, block = load_block(params, overrides, corpus, features)
    if block.features:
        raise InputError(
            f"train.features of {corpus} is {block.features}; `dferc encoders` chooses the sets itself. Name sets with "
            "--use or --combination, and reset it: --set train.features={}."
        )
    from dferc.evaluation.ablate import floor_of, train_runs
    from dferc.evaluation.seen_labels import check_honesty
    from dferc.results.encoders import compare_encoders, show_encoders, write_encoders
    from dferc.settings.combinations import plan_runs
    from dferc.store.hdf5 import read_sets
    from dferc.training.seeds import run_name

    folder, there = features / corpus, {}
    cached = read_sets(folder)
    rows, sets = cached.utterances, cached.modalities
    for name, read in sets.items():
        if share := float(read.present[rows.split == "train"].mean()):
            there[name] = (read.width, share)
        else:
            print_note(f"{name}: no training utterance has it, so it is left out.")
    plan = plan_runs(list(there), use, wanted, most)
    sweep = make_sweep(settings, block, corpus, features, out, variants=(variant,), **more)
    runs = plan.runs
    console.print(f"{len(plan.combinations)} combination(s) and their parts: {len(runs)} x {len(sweep.seeds)} runs")
    train_runs(runs, list(sets), sweep, workers)
    folders, floors = {one: run_name(variant, one.label) for one in runs}, {}
    for name, alone in plan.alone.items():
        console.print(f"linear floor of {name}")
        floors[name] = floor_of(sweep.folder / folders[alone], folder, alone, list(sets))
    compared = compare_encoders(out / corpus, plan, folders, there, floors, split)
    honesty = check_honesty(rows, {name: sets[name] for name in plan.alone})
    seen = tuple(f"{name} has seen labels: {found.detail}" for name, found in honesty.items() if found.seen)
    if block.selection == "refit" or block.validation_split == "by_seed" or block.select_by != "weighted_f1":
        seen += ("floors: of the training split alone, selected by weighted F1 on the corpus' own validation",)
    compared = compared._replace(warnings=seen)
    show_encoders(compared)
    console.print(f"written: {', '.join(map(str, write_encoders(reports / corpus, report_runs / corpus, compared)))}")
