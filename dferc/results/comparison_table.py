"""The comparison of two runs (`dferc compare`), on the terminal and as plain data."""

from dferc.core.console import console
from dferc.results.ablation_table import HOW, as_note
from dferc.results.compare import Comparison, class_notes, scores_of, seed_notes
from dferc.results.corpus_runs import simulated_features
from dferc.results.runs import FinishedRun
from dferc.results.text_tables import TextTable, difference_cell, interval_cell, mean_cell, p_cell, terminal


def show_comparison(one: FinishedRun, two: FinishedRun, comparison: Comparison) -> None:
    """Print two runs side by side, score by score."""
    console.print(terminal(f"{one.split}: {one.folder} less {two.folder}", comparison_table(one, two, comparison)))
    weighted = comparison.differences["weighted_f1"]
    over = {"dialogues": weighted.dialogues and weighted.dialogues.p, "seeds": weighted.seeds and weighted.seeds.p}
    tests = ", over ".join(f"{name} {p_cell(p)}" for name, p in over.items())
    console.print(f"p of no difference: weighted F1 over {tests}; accuracy by McNemar {p_cell(comparison.mcnemar)}")
    console.print(f"protocol card {one.card['card']}: {one.card['protocol']}", markup=False)
    console.print(f"{HOW} Intervals of single scores and classes are not corrected for their number.", markup=False)
    features = simulated_features({str(run.folder): run for run in (one, two)})
    for note in (*features, *seed_notes(str(one.folder), one, two, comparison), *class_notes(two)):
        console.print(as_note(note), markup=False)


def comparison_table(one: FinishedRun, two: FinishedRun, comparison: Comparison) -> TextTable:
    """Return a row per score: both runs over all their seeds, the difference over the seeds of both, both intervals."""
    header = ["", f"{one.folder} ({len(one.seeds)})", f"{two.folder} ({len(two.seeds)})"]
    header += ["Δ", "95 % over dialogues", "95 % over seeds"]
    scores, others = scores_of(one), scores_of(two)
    rows = []
    for name, (mean, dialogues, seeds) in comparison.differences.items():
        title = f"F1 {name.removeprefix('f1_')}" if name.startswith("f1_") else name.replace("_f1", " F1")
        cells = [difference_cell(mean), interval_cell(dialogues), interval_cell(seeds)]
        rows.append([title, mean_cell(scores[name]), mean_cell(others[name]), *cells])
    return TextTable(header, rows, len(rows))


def comparison_json(one: FinishedRun, two: FinishedRun, comparison: Comparison) -> dict:
    """Return the comparison as plain data, between 0 and 1."""
    scores, others = scores_of(one), scores_of(two)
    return {
        "card": one.card["card"],
        "split": one.split,
        "runs": [str(one.folder), str(two.folder)],
        "seeds": list(comparison.seeds),
        "mcnemar_p": comparison.mcnemar,
        "scores": {
            name: {
                "means": [float(scores[name].mean()), float(others[name].mean())],
                "difference": difference.mean,
                "dialogues": difference.dialogues and difference.dialogues._asdict(),
                "seeds": difference.seeds and difference.seeds._asdict(),
            }
            for name, difference in comparison.differences.items()
        },
    }
