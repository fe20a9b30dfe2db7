"""Context weights of CRM (docs/method.md, §5): large where modalities disagree, and are the models right there?

S seeds, T utterances.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from dferc.results.analyses.inside import Inside
from dferc.results.analyses.numbers import analyse_each, mean_where, number, scores_where
from dferc.results.runs import FinishedRun

BINS = 5

HOW = (
    "The context weight of an utterance is w = gamma * (1 - s) with the agreement s of its modalities, so in "
    "variants with CRM their correlation is -1 by definition; the bins are the finding. They are fifths of each "
    "seed's labelled utterances by context weight, lowest first (equal weights are never parted). Votes are a second "
    "opinion on agreement: how many of the modalities' own classifiers (CFM's) name the same class, over the "
    "labelled utterances that have every modality."
)


def analyse_context(runs: Mapping[str, FinishedRun], votes: Sequence[Mapping] = ()) -> dict:
    """Return the file's `context`: every run whose context weight varies, and `count_votes` per seed of one of them."""
    analysed, statements = analyse_each(runs, _context)
    lines = []
    for agreeing in votes[0] if votes else ():
        seeds = [of_seed[agreeing] for of_seed in votes]
        line = {"agreeing": agreeing, "share": number([seed["share"] for seed in seeds], seeds[0]["of"])}
        for name in ("agreement", "weight", "accuracy"):
            line[name] = number([seed[name] for seed in seeds], [seed["n"] for seed in seeds])
        lines.append(line)
    return {"how": HOW, "statements": statements, "runs": analysed, "votes": lines}


def _context(run: FinishedRun) -> dict | str:
    """Return the analysis of a run, or why its context weight carries no information."""
    labelled_T = run.is_labelled
    weight_ST = run.context_weight_ST[:, labelled_T]
    if not np.isfinite(weight_ST).all():
        return "no context weight: it has no CRM (a baseline)"
    if np.ptp(weight_ST) <= 1e-5:
        return f"the context weight is {weight_ST.flat[0]:.3g} for every utterance, by construction"
    correlation_S, bin_ST, bins = [], [], []
    for agreement_T, weight_T in zip(run.agreement_ST, run.context_weight_ST, strict=True):
        pair = np.stack([agreement_T, weight_T])[:, labelled_T]
        varies = np.ptp(pair, axis=1).min() > 1e-6
        correlation_S.append(np.corrcoef(pair)[0, 1] if varies else np.nan)
        # Quantiles of the labelled ones; a weight on an edge belongs to the bin below it.
        bin_ST.append(np.searchsorted(np.quantile(weight_T[labelled_T], np.arange(1, BINS) / BINS), weight_T))
    for index in range(BINS):
        inside_ST = (np.stack(bin_ST) == index) & labelled_T
        if inside_ST.any():
            values = {"weight": run.context_weight_ST, "agreement": run.agreement_ST}
            line = {name: mean_where(values_ST, inside_ST) for name, values_ST in values.items()}
            bins.append(line | scores_where(run.actual_T, run.predicted_ST, inside_ST))
    return {"correlation": number(correlation_S, labelled_T.sum()), "bins": bins}


def count_votes(inside: Inside) -> dict[int, dict[str, float]]:
    """Return statistics of one seed by number of modalities that name the same class: `n` of `of`, share and means.

    Empty without CFM, which has the modalities' own classifiers, or where no labelled utterance has every modality.
    """
    outputs, batch = inside.outputs, inside.batch
    counted_N = (batch.present_MN.all(dim=0) & (batch.labels_N >= 0)).cpu().numpy()
    if outputs.unimodal_MNC is None or len(batch.present_MN) < 2 or not counted_N.any():
        return {}
    choice_MN = outputs.unimodal_MNC.argmax(dim=-1).cpu().numpy()[:, counted_N]
    columns = {
        "agreement": outputs.agreement_N.float().cpu().numpy()[counted_N],
        "weight": outputs.context_weight_N.float().cpu().numpy()[counted_N],
        "accuracy": (outputs.logits_NC.argmax(dim=1) == batch.labels_N).cpu().numpy()[counted_N].astype(float),
    }
    agreeing_N = (choice_MN[:, None] == choice_MN[None]).sum(axis=0).max(axis=0)
    votes = {}
    for agreeing in range(len(choice_MN), 0, -1):
        same_N = agreeing_N == agreeing
        means = {name: values_N[same_N].mean() if same_N.any() else np.nan for name, values_N in columns.items()}
        votes[agreeing] = {"n": int(same_N.sum()), "of": len(same_N), "share": same_N.mean(), **means}
    return votes
