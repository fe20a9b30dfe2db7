"""A row of scores per run, for the terminal; without PyTorch, so that `dferc scores` is there at once."""

from collections.abc import Mapping

from dferc.core.console import print_table
from dferc.store.vocabulary import SCORED


def show_scores(
    metrics: Mapping[str, Mapping], title: str = "weighted F1: mean ± standard deviation over the seeds"
) -> None:
    """Print a row of scores per run, from the content of each one's metrics.json."""
    rows = []
    for name, of_run in metrics.items():
        scores = (mean_and_spread(of_run[split], "weighted_f1") if split in of_run else "–" for split in SCORED)
        scored = of_run.get("test") or of_run.get("validation") or {}
        errors = [f"{scored[key]:.3f}" for key in ("ece", "ece_calibrated") if key in scored]
        row = [name, "absent" if "absent" in of_run else str(of_run["seeds"]), *scores, " → ".join(errors) or "–"]
        rows.append(row)
    print_table(["run", "seeds", *SCORED, "ECE → calibrated"], rows, title)


def mean_and_spread(scores: Mapping, name: str) -> str:
    """Format a score such as `0.8053 ± 0.0341`; without the spread for a single seed."""
    spread = scores.get(f"{name}_std")
    return f"{scores[name]:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")
