"""Commands that read finished runs: `scores`, `table`, `compare`, `analyse`, `report`."""

from collections import defaultdict

import click

from dferc.cli.options import AGAINST, CORPUS, DEVICE, FEATURES, FOLDER, JSON, PARAMS, RUNS, SPLIT, dir_option, options
from dferc.core.console import CorpusName, console, print_json, print_note, readable_errors, warn_of_simulation


@click.command()
@click.option(
    "--corpus", "corpora", type=CorpusName(), multiple=True, help="Repeatable.  [default: those of params.yaml]"
)
@options(PARAMS, RUNS)
@dir_option("--reports", "reports", "Where reports are kept.")
@readable_errors
def scores(corpora, params, runs, reports) -> None:
    """Print a line of scores per finished run, and where the report is; for differences and tests: `dferc table`."""
    from dferc.settings.document import load_params

    corpora = corpora or load_params(params).corpora
    from dferc.evaluation.score_table import show_scores
    from dferc.results.runs import read_metrics
    from dferc.store.card import simulations

    for corpus in corpora:
        metrics, notes = read_metrics(runs / corpus)
        if metrics:
            show_scores(metrics, f"{corpus}, weighted F1: mean ± standard deviation over the seeds")
        else:
            notes.append(
                f"{corpus} has no finished run in {runs / corpus}. Make some: `dferc ablate --corpus {corpus}`"
            )
        warn_of_simulation(dict.fromkeys(each for of_run in metrics.values() for each in simulations(of_run)))
        by_card = defaultdict(list)
        for name, of_run in metrics.items():
            by_card[of_run["card"]].append(name)
        if len(by_card) > 1:
            named = {card: f"{metrics[names[0]]['protocol']} ({card})" for card, names in by_card.items()}
            each = "; ".join(f"{', '.join(names)}: {named[card]}" for card, names in by_card.items())
            notes.append(f"these runs follow {len(by_card)} protocols, so their scores cannot be compared. {each}")
        notes += [f"{name} is absent: {of_run['absent']}" for name, of_run in metrics.items() if "absent" in of_run]
        for note in notes:
            print_note(note)
        page = reports / corpus / "index.html"
        console.print(f"report: {page}" if page.exists() else f"no report yet: `dferc report --corpus {corpus}`")


@click.command()
@options(CORPUS, RUNS, SPLIT, AGAINST)
@dir_option("--out", "reports", "Tables go to OUT/CORPUS/.")
@readable_errors
def table(corpus, runs, split, against, out) -> None:
    """Write the ablation table: every run of a corpus, differences to one of them, paired tests, published scores."""
    from dferc.results.compare import collect
    from dferc.results.tables import show_ablation, write_tables

    ablation = collect(runs / corpus, split, against)
    show_ablation(ablation)
    console.print(f"written: {', '.join(map(str, write_tables(out / corpus, ablation)))}")


@click.command()
@click.argument("run", type=FOLDER)
@click.argument("reference", type=FOLDER)
@options(SPLIT, JSON)
@readable_errors
def compare(run, reference, split, as_json) -> None:
    """Compare two runs of one protocol, such as runs/meld/full and runs/trial/meld/full: RUN less REFERENCE."""
    from dferc.results.compare import compare as compare_runs
    from dferc.results.runs import choose_split, read_run
    from dferc.results.tables import comparison_json, show_comparison

    split = split or choose_split(reference)
    one, two = read_run(run, split), read_run(reference, split)
    comparison = compare_runs(one, two)
    if as_json:
        print_json(comparison_json(one, two, comparison), indent=2)
    else:
        show_comparison(one, two, comparison)


@click.command()
@options(CORPUS, RUNS, FEATURES, SPLIT, DEVICE)
@click.option("--run", default="full", show_default=True, help="The run whose models are analysed.")
@click.option("--figures/--no-figures", default=True, show_default=True, help="Figures as PDF and PNG, too.")
@dir_option("--out", "reports", "Files go to OUT/CORPUS/.")
@readable_errors
def analyse(corpus, runs, features, split, device, run, figures, out) -> None:
    """Write the paper's analyses of a corpus' runs (analyses.json): contributions, context, dialogues, missing."""
    from dferc.core.device import choose_device
    from dferc.results.analyses.collect import analyse as analyse_runs
    from dferc.results.analyses.document import write_analyses
    from dferc.results.figures.static import verify_matplotlib, write_figures

    if figures:
        verify_matplotlib()
    analyses = analyse_runs(runs / corpus, features / corpus, split, run, choose_device(device, "float32").device)
    for note in analyses["notes"]:
        console.print(f"note: {note}")
    console.print(f"written: {write_analyses(out / corpus, analyses)}")
    if figures:
        written = write_figures(out / corpus / "figures", analyses)
        console.print(f"written: {len(written)} figures in {out / corpus / 'figures'}")


@click.command()
@options(CORPUS, FEATURES, RUNS, SPLIT, AGAINST)
@dir_option("--out", "reports", "Where reports are kept.")
@readable_errors
def report(corpus, features, runs, split, against, out) -> None:
    """Write OUT/CORPUS/index.html: tables, figures and a dialogue browser of every run, in one file."""
    from dferc.results.report.page import write_page

    path = out / corpus / "index.html"
    write_page(path, features / corpus, runs / corpus, split=split, against=against)
    console.print(f"written: {path}, {path.stat().st_size / 1e6:.1f} MB: open it in any browser")
