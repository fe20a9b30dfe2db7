"""`dferc tune`: search of `train` settings on validation. Every heavy import stands in the command."""

from dataclasses import replace

import click

from dferc.cli.options import CORPUS, DEVICE, FEATURES, JSON, OUT, REPORTS, SEEDS, SET, check_label, dir_option, options
from dferc.cli.training import load_block, make_sweep
from dferc.core.console import console, print_json, readable_errors, shown_option
from dferc.engine.options import engine_options


@click.command()
@options(CORPUS)
@shown_option("--trials", type=click.IntRange(1, 100_000), default=50, help="Of the whole study.")
@click.option("--variant", help="An ablation row.  [default: tune.variant]")
@shown_option("--name", default="tune", callback=check_label, help="Of the study, and of its outputs.")
@click.option(
    "--storage",
    metavar="URL",
    help="A database, such as postgresql://…, for several machines.  [default: the SQLite file OUT/CORPUS/tune.db]",
)
@click.option("--at-once", type=click.IntRange(1, 4096), help="Trials drawn together.  [default: to fill the workers]")
@shown_option("--test/--no-test", default=True, help="Score the best settings on test at the end.")
@options(SEEDS, FEATURES, OUT, REPORTS, SET, DEVICE)
@dir_option("--scratch", ".scratch/tune", "Runs of unfinished trials, on a disk that all workers see.")
@options(JSON, engine_options)
@readable_errors
def tune(
    corpus, trials, variant, name, storage, at_once, test, seeds, features, out, reports, params, overrides, device,
    scratch, as_json, workers,
) -> None:  # fmt: skip
    """Search `train` settings (the section `tune` of params.yaml) by their validation score, with Optuna.

    A trial is one choice of settings, trained once per seed; its value is the mean of the seeds' best validation scores
    (train.select_by). The test split decides nothing: once the trials are done, the best settings are trained as
    OUT/CORPUS/VARIANT@NAME and scored on test once, and the gap is reported. The same command goes on after a kill;
    several processes or machines may share a storage. Another corpus, code or search space needs another --name.

    \b
    dferc tune --corpus iemocap --trials 50
    dferc tune --corpus iemocap --trials 200 --engine ray --storage postgresql://host/dferc
    """  # noqa: D301 (click reads a real backspace as "leave these lines as they are")
    from dferc.model.variants import get_variant

    if variant:
        get_variant(variant)
    settings, block = load_block(params, overrides, corpus, features)
    from dferc.core.device import choose_device
    from dferc.core.errors import InputError
    from dferc.core.files import verify_writable
    from dferc.engine import default_workers
    from dferc.evaluation.ablate import run_ablation
    from dferc.results.runs import read_metrics
    from dferc.settings.sections import Tune
    from dferc.store.hdf5 import read_corpus
    from dferc.training.seeds import run_name
    from dferc.training.sweep import place
    from dferc.training.task import make_task
    from dferc.tuning.study import describe_study, open_study, require_optuna
    from dferc.tuning.summary import TESTED, completed, show_summary, summarise, write_summary
    from dferc.tuning.trials import Search, run_trials, running, trials_at_once

    require_optuna()
    chosen = {"variant": variant} if variant else {}
    chosen |= {"seeds": list(dict.fromkeys(seeds))} if seeds else {}
    wanted = Tune.model_validate(settings.tune.model_dump() | chosen)
    cached = read_corpus(features / corpus, corpus, block.features)
    found = choose_device(device, block.precision)
    make_task(cached, wanted.variant, block, found)  # faults of the data are reported before the first trial
    about = describe_study(cached, block, wanted, found.device.type)
    verify_writable(out / corpus)
    (out / corpus).mkdir(parents=True, exist_ok=True)
    storage = storage or f"sqlite:///{(out / corpus / 'tune.db').absolute()}"
    study = open_study(storage, name, about, wanted.sampler_seed)
    of_best = out / corpus / run_name(wanted.variant, name) / "train"
    if test and of_best.exists() and TESTED not in study.user_attrs:  # else it is found after hours of trials
        raise InputError(f"{of_best} is there, and not of this study. Choose another --name, or move it away.")
    runs = {"variants": (wanted.variant,), "seeds": wanted.seeds, "scratch": scratch / corpus / name / "best"}
    sweep = make_sweep(settings, block, corpus, features, out, device=device, fresh=False, label=name, **runs)
    search = Search(study, wanted, sweep, (scratch / corpus / name).absolute())
    at_once = at_once or trials_at_once(workers, wanted.seeds, block.threads, default_workers)
    several = replace(sweep, seeds=tuple(range(at_once * len(wanted.seeds))))
    console.print(
        f"study {name!r}: {len(study.trials)} trial(s) are there, {trials} wanted; {len(wanted.space)} setting(s), "
        f"{len(wanted.seeds)} seed(s) each, {at_once} trial(s) at once"
    )
    run_trials(search, trials, place(workers, several, found.device.type == "cuda", 1.0), at_once)
    best, scores = completed(search) and study.best_trial, None
    if test and (others := running(search)):
        console.print(
            f"{others} trial(s) are still trained elsewhere: the same command scores test once they are done."
        )
    elif test:
        tested = list(dict.fromkeys([*study.user_attrs.get(TESTED, []), best.number]))
        study.set_user_attr(TESTED, tested)
        label = name if tested[0] == best.number else f"{name}-{best.number}"  # a later best has a folder of its own
        console.print(f"trains the best settings again, as {out / corpus / run_name(wanted.variant, label)}")
        final = replace(sweep, settings=search.settings(best.params), label=label)
        run_ablation(final, workers, gpu_share=1.0, score=True)
        scores = read_metrics(out / corpus)[0][run_name(wanted.variant, label)].get("test")
    summary = summarise(search, scores)
    show_summary(summary)
    console.print(f"written: {', '.join(map(str, write_summary(reports / corpus, search, summary)))}")
    if as_json:
        print_json(summary, indent=2)
