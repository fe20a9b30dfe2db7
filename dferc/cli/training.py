"""Commands that train: `train`, `ablate`, `baselines`. Heavy imports are inside, so that --help answers at once."""

import contextlib
from pathlib import Path

import click

from dferc.cli.options import CORPUS, FRESH, LABEL, SCORE, SCRATCH, SEEDS, SPLITS, TRAINING, VARIANT, options
from dferc.cli.scoring import score_and_show
from dferc.core.console import console, print_note, readable_errors, shown_option
from dferc.core.errors import InputError, did_you_mean
from dferc.engine.options import engine_options


def load_block(params: Path, overrides: tuple[str, ...], corpus: str, features: Path) -> tuple:
    """Return the settings and the `train` section of a corpus; where it has no block, the shared one, with a note.

    Args:
        params: params.yaml.
        overrides: `--set` options.
        corpus: its name.
        features: folder with a folder per corpus.
    """
    from dferc.settings.document import load_params

    def default(section: dict) -> dict | None:
        if not (features / corpus / "utterances.h5").exists():
            return None
        from dferc.store.hdf5 import read_utterances

        classes, weights = read_utterances(features / corpus / "utterances.h5").classes, section.get("class_weights")
        unfit = sorted(set(weights) - {*classes, "other"}) if isinstance(weights, dict) else []
        whose = "the section `train` there" if params.exists() else "the paper's values"
        balanced = f", with balanced class weights, since it has no class {', '.join(unfit)}" if unfit else ""
        console.print(f"note: {corpus} has no block in {params}: it trains with {whose}{balanced}.")
        return section | ({"class_weights": "balanced"} if unfit else {})

    settings = load_params(params, overrides, corpus, default=default)
    try:
        block = settings.corpus(corpus).train
    except InputError as error:
        there = features / corpus / "utterances.h5"
        raise InputError(f"{error} Imported features train without one, but there is no {there}.") from None
    if block.validation_split == "by_seed":
        print_note(
            "drawn validation splits have dialogues of training. A text encoder that was fine-tuned has seen their "
            "labels: extract text with finetune_text.folds, or without fine-tuning, or epochs are chosen on seen ones."
        )
    if left_out := [name for name, chosen in block.features.items() if not chosen]:
        from dferc.store.hdf5 import find_sets

        there = sorted({name.partition("/")[0] for name in find_sets(features / corpus)})
        for name in left_out:  # one that no corpus has is harmless, a slip is not
            if name not in there and (nearest := did_you_mean(name, there)):
                raise InputError(
                    f"train.features leaves out {name}, and {features / corpus} has no such modality.{nearest} It has "
                    f"{', '.join(there)}."
                )
    return settings, block


def by_splits(splits: int | None, seeds: tuple[int, ...], overrides: tuple[str, ...]) -> tuple[tuple, tuple]:
    """Return seeds and `--set` options of `--splits`: each seed from 0 on draws its own validation split."""
    if splits is None:
        return seeds, overrides
    if seeds:
        raise click.UsageError("--splits takes the seeds from 0 on: give it, or --seed, and not both.")
    return tuple(range(splits)), (*overrides, "train.validation_split=by_seed")


def make_sweep(settings, block, corpus, features, out, scratch, variants, seeds, **options):
    """Return the runs that options of a command choose; without variants or seeds, those of params.yaml."""
    from dferc.training.sweep import Sweep

    return Sweep(
        corpus=corpus,
        features=(features / corpus).absolute(),
        folder=(out / corpus).absolute(),
        scratch=scratch.absolute(),
        variants=tuple(dict.fromkeys(variants)) or tuple(settings.ablate.variants),
        seeds=tuple(dict.fromkeys(seeds)) or tuple(settings.ablate.seeds),
        settings=block,
        **options,
    )


@click.command()
@options(CORPUS, VARIANT, LABEL, SEEDS, TRAINING, SCORE, FRESH, SCRATCH)
@readable_errors
def train(corpus, variant, label, seeds, features, out, params, overrides, device, evaluate, fresh, scratch) -> None:
    """Train one model per seed into OUT/CORPUS/VARIANT/train/ (default seeds: ablate.seeds).

    Finished seeds are kept. For several variants, or several runs at once: `dferc ablate`.
    """
    from dferc.model.variants import get_variant

    get_variant(variant)
    settings, block = load_block(params, overrides, corpus, features)
    # Faults so far are reported before the wait for torch's import.
    from dferc.core.device import choose_device
    from dferc.core.files import verify_writable
    from dferc.store.hdf5 import read_corpus
    from dferc.training.display import EpochTable, show_task
    from dferc.training.resume import remove_abandoned
    from dferc.training.run import refuse_other_settings
    from dferc.training.run import train as train_seeds
    from dferc.training.seeds import finish_run, run_name
    from dferc.training.task import make_task

    seeds = tuple(dict.fromkeys(seeds)) or tuple(settings.ablate.seeds)
    cached = read_corpus(features / corpus, corpus, block.features)
    task = make_task(cached, variant, block, choose_device(device, block.precision))
    folder = out / corpus / run_name(variant, label)
    refuse_other_settings(folder / "train", task.settings)
    verify_writable(folder / "train")
    show_task(task, seeds)
    with EpochTable(task.settings.epochs, len(seeds)) as table:
        callbacks = {"report": table.add, "notify": console.print, "track": table.track}
        train_seeds(task, seeds, folder=folder / "train", scratch=scratch, fresh=fresh, **callbacks)
    checkpoints, left_out = finish_run(folder / "train", task.describe())
    remove_abandoned(scratch, console.print)
    for sentence in left_out:
        console.print(f"note: {sentence}")
    others = f", beside {len(checkpoints) - len(seeds)} trained earlier" if len(checkpoints) > len(seeds) else ""
    console.print(f"trained: {folder / 'train'}, {len(seeds)} seed(s){others}")
    if evaluate:
        score_and_show(task.corpus, folder, checkpoints, task.device.device)


@click.command()
@options(CORPUS)
@click.option("--variant", "variants", multiple=True, help="Repeatable.  [default: ablate.variants]")
@options(LABEL, SEEDS, SPLITS, TRAINING, SCORE, FRESH, SCRATCH, engine_options)
@shown_option(
    "--gpu-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Share of a GPU that a run takes, on a Ray cluster with GPUs.",
)
@readable_errors
def ablate(variants, seeds, splits, features, params, overrides, corpus, evaluate, workers, gpu_share, **more) -> None:
    """Train and score variants x seeds, several runs at once (default: ablate.variants, ablate.seeds).

    Each run has its own folder in OUT/CORPUS/VARIANT/train/: another variant or seed trains only that, and a run that
    fails or is interrupted costs no other. The number of runs at once changes no result.
    """
    from dferc.model.variants import get_variant

    for variant in variants:
        get_variant(variant)
    seeds, overrides = by_splits(splits, seeds, overrides)
    settings, block = load_block(params, overrides, corpus, features)
    from dferc.evaluation.ablate import run_ablation

    sweep = make_sweep(settings, block, corpus, features, variants=variants, seeds=seeds, **more)
    run_ablation(sweep, workers, gpu_share=gpu_share, score=evaluate)


@click.command()
@options(CORPUS)
@click.option("--name", "names", multiple=True, help="One of those above. Repeatable.  [default: the first four]")
@options(LABEL, SEEDS, SPLITS, TRAINING, FRESH, SCRATCH)
@readable_errors
def baselines(corpus, names, label, seeds, splits, features, out, params, overrides, device, fresh, scratch) -> None:
    """Fit baselines on the corpus' features and splits into OUT/CORPUS/NAME/ (default seeds: ablate.seeds).

    \b
    majority       the most frequent class
    logistic       the linear floor: a logistic regression without context
    bc_lstm        bidirectional LSTM over the concatenated modalities
    late_fusion    a bc_lstm per modality, probabilities averaged
    dialogue_rnn   BiDialogueRNN with attention (Majumder et al., 2019)
    mmgcn          multimodal deep graph convolution (Hu et al., 2021)
    sdt            transformers with self-distillation (Ma et al., 2023)

    bc_lstm and late_fusion use the corpus' train settings. The last three have their papers' sizes, rates, losses and
    epochs; of the settings they use features, labels, normalisation, select_by, selection, validation_split, threads
    and precision. Sources of each constant, and times: docs/baselines.md. Interrupted, they resume after their last
    epoch; finished seeds are kept in --scratch. OUT/CORPUS/NAME/ has the seeds of the last call alone.
    """  # noqa: D301 (click reads a real backspace as "leave these lines as they are")
    seeds, overrides = by_splits(splits, seeds, overrides)
    settings, block = load_block(params, overrides, corpus, features)
    from dferc.baselines.registry import QUICK, verify_baseline
    from dferc.baselines.run import run_baseline
    from dferc.core.device import choose_device
    from dferc.core.records import StoredRecord, read_record
    from dferc.evaluation.files import show_evaluation
    from dferc.store.hdf5 import read_corpus
    from dferc.training.seeds import run_name
    from dferc.training.task import make_task

    names = tuple(dict.fromkeys(names)) or QUICK
    for name in names:
        verify_baseline(name)
    seeds = tuple(dict.fromkeys(seeds)) or tuple(settings.ablate.seeds)
    cached = read_corpus(features / corpus, corpus, block.features)
    task = make_task(cached, "full", block, choose_device(device, block.precision))
    for name in names:
        folder = out / corpus / run_name(name, label)
        with contextlib.suppress(InputError):  # not there, or damaged
            had = read_record(folder / "metrics.json", StoredRecord, "").get("seeds")
            if isinstance(had, int) and had > len(seeds):
                print_note(f"{folder} had {had} seeds and is made anew with {len(seeds)}: name all, or give a --label.")
        show_evaluation(folder, *run_baseline(name, task, seeds, folder, scratch, fresh))
