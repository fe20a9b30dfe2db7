"""Write and show what an evaluation found: metrics.json, and tables per seed, per class pair and per utterance."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from dferc.core.console import console
from dferc.core.files import write_atomically
from dferc.core.tables import write_csv
from dferc.evaluation.evaluate import SCORED, Evaluation, summarise, zero_f1
from dferc.store.card import protocol_card
from dferc.store.rows import CachedCorpus


def write_report(folder: Path, corpus: CachedCorpus, evaluations: Sequence[Evaluation]) -> dict:
    """Write runs/<corpus>/<variant>/metrics.json and, in its evaluate/, the tables and the protocol card.

    Returns:
        What metrics.json holds.
    """
    metrics = summarise(evaluations)
    tables = folder / "evaluate"
    per_seed, predictions = list(_per_seed(evaluations)), list(_predictions(corpus, evaluations))
    write_csv(tables / "per_seed.csv", list(per_seed[0]) if per_seed else ["seed", "split"], per_seed)
    write_csv(tables / "predictions.csv", list(predictions[0]), predictions)
    write_csv(tables / "confusion.csv", ["actual", "predicted"], _confusions(predictions))
    _write_json(tables / "protocol.json", protocol_card(corpus.utterances))
    _write_json(folder / "metrics.json", metrics)  # comes last: where it is, the tables are
    return metrics


def _write_json(path: Path, values: Mapping) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _per_seed(evaluations: Sequence[Evaluation]) -> Iterator[dict]:
    for evaluation in evaluations:
        record = evaluation.checkpoint.record
        for split, scores in evaluation.scores.items():
            row = {"seed": record["seed"], "best_epoch": record["best_epoch"], "split": split}
            row |= {name: getattr(scores, name) for name in ("accuracy", "weighted_f1", "macro_f1")}
            for index, emotion in enumerate(record["classes"]):
                for name in ("precision", "recall", "f1", "support"):
                    row[f"{name}_{emotion}"] = getattr(scores, f"{name}_C")[index].item()
            yield row


def _confusions(predictions: Iterable[Mapping]) -> Iterator[dict]:
    """One row per labelled test utterance and seed, as DVC's confusion template counts them."""
    for row in predictions:
        if row["split"] == "test" and row["emotion"]:
            yield {"actual": row["emotion"], "predicted": row["predicted"]}


def _predictions(corpus: CachedCorpus, evaluations: Sequence[Evaluation]) -> Iterator[dict]:
    rows, classes = corpus.utterances, corpus.utterances.classes
    for evaluation in evaluations:
        for split, made in evaluation.predictions.items():
            for at, row in enumerate(made.rows_N):
                yield {
                    "seed": evaluation.checkpoint.record["seed"],
                    "utterance_id": rows.utterance_id[row],
                    "dialogue_id": rows.dialogue_id[row],
                    "position": rows.position[row],
                    "speaker": rows.speaker[row],
                    "split": split,
                    "emotion": classes[rows.emotion[row]] if rows.emotion[row] >= 0 else "",
                    "predicted": classes[made.probabilities_NC[at].argmax()],
                    **numbered("p", classes, made.probabilities_NC[at]),
                    **numbered("contribution", evaluation.checkpoint.modalities, made.contribution_NM[at]),
                    "context_weight": float(made.context_weight_N[at]),
                    "agreement": float(made.agreement_N[at]),
                }


def numbered(prefix: str, names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """Columns `<prefix>_<name>` of a table."""
    return {f"{prefix}_{name}": float(value) for name, value in zip(names, values, strict=True)}


def show_report(folder: Path, metrics: dict, evaluations: Sequence[Evaluation]) -> None:
    """Print the scores and their protocol for people, with a loud note for each class that is never right."""
    splits = [split for split in SCORED if split in metrics]
    table = Table("", *splits, box=None, header_style="bold", title=f"{folder}: mean of {metrics['seeds']} seed(s)")
    for name in ("weighted_f1", "macro_f1", "accuracy"):
        table.add_row(name.replace("_", " "), *(mean_and_spread(metrics[split], name) for split in splits))
    for emotion in evaluations[0].checkpoint.record["classes"]:
        table.add_row(f"  F1 {emotion}", *(f"{metrics[split]['f1'][emotion]:.4f}" for split in splits))
    console.print(table)
    console.print(f"protocol card {metrics['card']}: {metrics['protocol']}", markup=False)
    for split in SCORED:
        if split not in splits:
            console.print(f"[bold yellow]note:[/] the {split} split has no labelled utterance: no scores for it.")
    for evaluation in evaluations:
        if not evaluation.checkpoint.record["finished"]:
            console.print(f"[bold yellow]note:[/] {evaluation.checkpoint.folder} is of an interrupted training.")
    for sentence in zero_f1(evaluations):
        console.print(f"[bold red]F1 = 0:[/] {sentence}")


def mean_and_spread(scores: Mapping, name: str) -> str:
    """Such as `0.8053 ± 0.0341`; without the spread for a single seed."""
    spread = scores.get(f"{name}_std")
    return f"{scores[name]:.4f}" + (f" ± {spread:.4f}" if spread is not None else "")
