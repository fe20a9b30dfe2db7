"""Files and display of an evaluation: metrics.json, and tables per seed, per class pair and per utterance."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dferc.core.console import console, print_note, print_table, warn_of_simulation
from dferc.core.files import digest, write_json
from dferc.core.metrics import MAIN_FIRST, PER_CLASS, SCORES
from dferc.core.tables import write_csv
from dferc.evaluation.evaluate import Evaluation, Predictions, summarise, zero_f1
from dferc.evaluation.score_table import mean_and_spread
from dferc.settings.sections import DEFAULTS
from dferc.store.card import protocol_card, simulations
from dferc.store.rows import CachedCorpus, Utterances
from dferc.store.vocabulary import SCORED
from dferc.training.checkpoint import modalities_of
from dferc.training.data import describe_transduction


def write_evaluation(folder: Path, corpus: CachedCorpus, evaluations: Sequence[Evaluation]) -> dict:
    """Write and return runs/<corpus>/<variant>/metrics.json; in its evaluate/, write the tables and the card."""
    metrics, tables = summarise(evaluations, corpus.utterances), folder / "evaluate"
    per_seed, first = list(_per_seed(evaluations)), evaluations[0].record
    card = _card(corpus) | describe_method(first.get("settings", {}))
    if not first["widths"]:  # a baseline has no settings.json
        card["features"] = first.get("features", {})
        card |= {"settings": first["trained_with"]} if "trained_with" in first else {}
    predictions = [
        {"seed": record["seed"], **identify(corpus.utterances, row), "split": split, **columns}
        for _, record, of_seed, *_ in evaluations
        for split, predicted in of_seed.items()
        for row, columns in prediction_columns(corpus.utterances, predicted, record)
    ]
    # A row per labelled test utterance and seed, as DVC's confusion template counts them.
    confusions = [row | {"actual": row["emotion"]} for row in predictions if row["split"] == "test" and row["emotion"]]
    named = dict.fromkeys(name for row in per_seed for name in row) or dict.fromkeys(("seed", "split"))
    write_csv(tables / "per_seed.csv", list(named), [named | row for row in per_seed])  # a split may have no votes
    columns = list(predictions[0]) if predictions else ["seed", "split"]  # a refit model may have no split to score
    write_csv(tables / "predictions.csv", columns, map(with_milliseconds, predictions))
    write_csv(tables / "confusion.csv", ["actual", "predicted"], confusions)
    write_json(tables / "protocol.json", card)
    metrics["files"] = digest(tables)
    write_json(folder / "metrics.json", metrics)  # comes last: where it is, the tables are
    return metrics


def describe_method(settings: Mapping) -> dict[str, str]:
    """Return what protocol.json has of a run's `train` settings, where they are not the defaults.

    Returns:
        `transductive`, a sentence; `selected_by`, the score on validation that chose the epoch; `labels`, what training
        learnt; `selection`, `validation_split` and `causal`.
    """
    transductive, about = describe_transduction(settings), {"selected_by": "select_by"}
    about |= {name: name for name in ("labels", "selection", "validation_split", "causal")}
    values = {name: settings.get(setting, getattr(DEFAULTS, setting)) for name, setting in about.items()}
    differ = {name: value for name, value in values.items() if value != getattr(DEFAULTS, about[name])}
    return ({"transductive": transductive} if transductive else {}) | differ


def write_absence(folder: Path, corpus: CachedCorpus, reason: str) -> dict:
    """Write metrics.json and evaluate/ of a variant that cannot exist on a corpus, so that later stages know it.

    Args:
        folder: runs/<corpus>/<variant>.
        corpus: the features.
        reason: from `dferc.training.task.why_absent`.

    Returns:
        The content of metrics.json: protocol card, no seeds, and `absent`, the reason.
    """
    card = _card(corpus)
    metrics = {"card": card["card"], "protocol": card["protocol"], "seeds": 0, "absent": reason}
    write_json(folder / "evaluate" / "protocol.json", card)
    write_json(folder / "metrics.json", metrics)
    return metrics


def _card(corpus: CachedCorpus) -> dict:
    """Return the protocol card, with the feature sets where they are not the first ones."""
    return protocol_card(corpus.utterances) | ({"sets": dict(corpus.sets)} if corpus.sets else {})


def _per_seed(evaluations: Sequence[Evaluation]) -> Iterator[dict]:
    """Yield a row per seed and split: scores, and precision, recall, F1 and support of each class."""
    for evaluation in evaluations:
        record = evaluation.record
        for split, scores in evaluation.scores.items():
            row = {"seed": record["seed"], "best_epoch": record["best_epoch"], "split": split}
            row |= {name: float(getattr(scores, name)) for name in SCORES}
            row |= evaluation.calibration_errors[split]
            per_class = {name: getattr(scores, f"{name}_C") for name in PER_CLASS} | {"support": scores.actual_C}
            for index, emotion in enumerate(record["classes"]):
                row |= {f"{name}_{emotion}": values_C[index].item() for name, values_C in per_class.items()}
            yield row


def identify(rows: Utterances, row: int) -> dict[str, object]:
    """Return the columns of a table of predictions that name an utterance."""
    columns = {name: getattr(rows, name)[row] for name in ("utterance_id", "dialogue_id", "position", "speaker")}
    return columns | {"position": int(rows.position[row])}  # NumPy's is none of JSON's numbers


def locate(rows: Utterances, row: int) -> dict[str, object]:
    """Return the columns that say where an utterance is: start, end (s) and media file, empty where unknown."""
    times = {name: float(getattr(rows, name)[row]) for name in ("start_s", "end_s")}
    media = "" if rows.media is None else rows.media[row]
    return {name: "" if math.isnan(time) else time for name, time in times.items()} | {"media": media}


def with_milliseconds(row: Mapping[str, object]) -> dict[str, object]:
    """Return a row of `locate` with its times as text for a CSV: six digits are too few in a long recording."""
    return dict(row) | {name: f"{row[name]:.3f}" for name in ("start_s", "end_s") if row[name] != ""}


def prediction_columns(rows: Utterances, predicted: Predictions, record: Mapping) -> Iterator[tuple[int, dict]]:
    """Yield each predicted row of the corpus with its columns; `emotion` is the corpus' own label, or empty."""
    classes, modalities = record["classes"], modalities_of(record)
    for index, row in enumerate(predicted.rows_N):
        probability_C = predicted.probabilities_NC[index]
        contributions = zip(modalities, predicted.contribution_NM[index], strict=True)
        columns = {
            "emotion": rows.classes[rows.emotion[row]] if rows.emotion[row] >= 0 else "",
            "predicted": classes[probability_C.argmax()],
            **{f"p_{name}": float(value) for name, value in zip(classes, probability_C, strict=True)},
            **locate(rows, row),
            **{f"contribution_{name}": float(value) for name, value in contributions},
            "context_weight": float(predicted.context_weight_N[index]),
            "agreement": float(predicted.agreement_N[index]),
        }
        yield int(row), columns


def show_evaluation(folder: Path, metrics: dict, evaluations: Sequence[Evaluation]) -> None:
    """Print the scores and their protocol, with a loud note for each class that is never recognised."""
    splits = [split for split in SCORED if split in metrics]
    names = {name: SCORES[name] for name in MAIN_FIRST}
    names |= {"ece": "calibration error (ECE)", "ece_calibrated": "  with the fitted temperature"}
    names |= {"ece_of_mean": "ECE of the mean over the seeds", "ece_of_mean_calibrated": "  with its own temperature"}
    names |= {"votes_loss": "cross-entropy to the votes", "votes_loss_calibrated": "  with the fitted temperature"}
    rows = [
        [shown, *(mean_and_spread(metrics[split], name) for split in splits)]
        for name, shown in names.items()
        if all(name in metrics[split] for split in splits)
    ]
    print_table(["", *splits], rows, f"{folder}: mean of {metrics['seeds']} seed(s)")
    for split in splits:
        counts_C = map(max, zip(*(each.scores[split].actual_C for each in evaluations)))  # drawn splits differ
        per_class = [
            [emotion, *(f"{metrics[split][name][emotion]:.4f}" for name in PER_CLASS), str(count)]
            for emotion, count in zip(evaluations[0].record["classes"], counts_C, strict=True)
        ]
        print_table([split, *(name.replace("f1", "F1") for name in PER_CLASS), "utterances"], per_class)
    if selected_by := describe_method(evaluations[0].record.get("settings", {})).get("selected_by"):
        console.print(f"epochs were selected by {SCORES[selected_by]} on validation")
    console.print(f"protocol card {metrics['card']}: {metrics['protocol']}")
    warn_of_simulation(simulations(evaluations[0].record))
    for split in SCORED:
        if split not in splits:
            refit = evaluations[0].record.get("settings", {}).get("selection") == "refit" and split == "validation"
            why = "was trained on (selection: refit)" if refit else "has no labelled utterance"
            print_note(f"the {split} split {why}: no scores for it.")
    for evaluation in evaluations:
        if not evaluation.record["finished"]:
            print_note(f"{evaluation.folder} is of an interrupted training.")
        if note := (evaluation.record.get("calibration") or {}).get("note"):
            print_note(f"{evaluation.folder}, temperature {evaluation.record['calibration']['temperature']:g}: {note}.")
    if note := metrics.get("mean", {}).get("note"):
        print_note(f"mean over the seeds, temperature {metrics['mean']['temperature']:g}: {note}.")
    for sentence in zero_f1(evaluations):
        print_note(sentence, "F1 = 0:", "bold red")
