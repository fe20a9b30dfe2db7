"""Does context come in where modalities disagree, and where it does, are the models right? CRM (METHOD §5).

S seeds, T utterances.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dferc.results.analyses.inside import Inside
from dferc.results.analyses.numbers import mean_where, number, scores_where
from dferc.results.analyses.saved import Saved, ask_each

BINS = 5

HOW = (
    "The context weight of an utterance is w = gamma * (1 - s) with the agreement s of its modalities, so in "
    "variants with CRM their correlation is -1 by definition; the bins are the finding. They are fifths of each "
    "seed's labelled utterances by context weight, lowest first (equal weights are never parted). `votes`, a second "
    "opinion on agreement: how many of the modalities' own classifiers (CFM's) name the same class, over the "
    "labelled utterances that have every modality."
)


def analyse_context(runs: Mapping[str, Saved], votes: Sequence[Mapping] = ()) -> dict:
    """The `context` of the file: every run whose context weight varies, and `count_votes` per seed of one of them."""
    found, statements = ask_each(runs, why_not, _of_run)
    return {"how": HOW, "statements": statements, "runs": found, "votes": _over_seeds(votes)}


def why_not(run: Saved) -> str | None:
    """Why a run's context weight says nothing; None where it does."""
    weight_ST = run.context_weight_ST[:, run.labelled]
    if not np.isfinite(weight_ST).all():
        return "no context weight: it has no CRM (a baseline)"
    if np.ptp(weight_ST) <= 1e-5:
        return f"the context weight is {weight_ST.flat[0]:.3g} for every utterance, by construction"
    return None


def _of_run(run: Saved) -> dict:
    labelled_T = run.labelled
    pairs = zip(run.agreement_ST[:, labelled_T], run.context_weight_ST[:, labelled_T], strict=True)
    bin_ST = np.stack([fifths(weight_T, labelled_T) for weight_T in run.context_weight_ST])
    bins = []
    for at in range(BINS):
        here_ST = (bin_ST == at) & labelled_T
        if here_ST.any():
            values = {"weight": run.context_weight_ST, "agreement": run.agreement_ST}
            line = {name: mean_where(values_ST, here_ST) for name, values_ST in values.items()}
            bins.append(line | scores_where(run.actual_T, run.predicted_ST, here_ST))
    return {"correlation": number([correlation(*pair) for pair in pairs], labelled_T.sum()), "bins": bins}


def fifths(weight_T: np.ndarray, labelled_T: np.ndarray) -> np.ndarray:
    """[T] numbers from 0, by quantiles of the labelled ones; a weight on an edge belongs to the bin below it."""
    edges = np.quantile(weight_T[labelled_T], np.arange(1, BINS) / BINS)
    return np.searchsorted(edges, weight_T)


def correlation(one_T: np.ndarray, two_T: np.ndarray) -> float:
    """Pearson's; NaN where either does not vary."""
    if min(np.ptp(one_T), np.ptp(two_T)) <= 1e-6:
        return float("nan")
    return float(np.corrcoef(one_T, two_T)[0, 1])


def count_votes(inside: Inside) -> dict[int, dict[str, float]]:
    """Of one seed, by how many modalities name the same class: `n` `of` all, and the means that the file holds.

    Nothing without CFM, which has the modalities' own classifiers, or where no labelled utterance has every modality.
    """
    made, batch = inside.outputs, inside.batch
    if made.unimodal_MNC is None or len(batch.present_MN) < 2:
        return {}
    counted_N = (batch.present_MN.all(dim=0) & (batch.labels_N >= 0)).cpu().numpy()
    choice_MN = made.unimodal_MNC.argmax(dim=-1).cpu().numpy()[:, counted_N]
    columns = {
        "agreement": made.agreement_N.float().cpu().numpy()[counted_N],
        "weight": made.context_weight_N.float().cpu().numpy()[counted_N],
        "accuracy": (made.logits_NC.argmax(dim=1) == batch.labels_N).cpu().numpy()[counted_N].astype(float),
    }
    agreeing_N = (choice_MN[:, None] == choice_MN[None]).sum(axis=0).max(axis=0)
    found = {}
    for agreeing in range(len(choice_MN), 0, -1):
        here_N = agreeing_N == agreeing
        means = {name: values_N[here_N].mean() if here_N.any() else np.nan for name, values_N in columns.items()}
        if len(here_N):
            found[agreeing] = {"n": int(here_N.sum()), "of": len(here_N), "share": here_N.mean(), **means}
    return found


def _over_seeds(votes: Sequence[Mapping]) -> list[dict]:
    """A line per count of agreeing modalities, the most first."""
    lines = []
    for agreeing in votes[0] if votes else ():
        of_seeds = [each[agreeing] for each in votes]
        line = {"agreeing": agreeing, "share": number([each["share"] for each in of_seeds], of_seeds[0]["of"])}
        for name in ("agreement", "weight", "accuracy"):
            line[name] = number([each[name] for each in of_seeds], [each["n"] for each in of_seeds])
        lines.append(line)
    return lines
