"""Silhouette and t-SNE of the features before and after DDM: do modalities, and do utterances, lie together?

M modalities, N utterances of a split, H hidden, R sampled rows: a present modality of a sampled utterance.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score

from dferc.results.analyses.inside import Inside
from dferc.results.analyses.numbers import number

MOST_ROWS = 2000
SAMPLE_SEED = 0  # seed of the sample and of t-SNE
PERPLEXITY = 30.0

LEVELS = ("projected", "modality_level", "utterance_level", "disentangled")
DRAWN = LEVELS[:3]  # levels with a t-SNE: before DDM, and its two levels

HOW = (
    "Rows are the modalities of utterances (a random sample of at most {most} rows, the same for every seed), "
    "scaled to unit length; only utterances with two modalities and more, absent ones left out. Raw features of "
    "different widths share no space: projected is h, their projection to one width, before DDM; modality_level "
    "is a, utterance_level is u, disentangled their sum r. Silhouette (cosine): by modality, the modality is "
    "the cluster; by utterance, the utterance is (this number falls as the sample grows: among more utterances, the "
    "nearest other one is nearer). t-SNE is of the first seed, perplexity {perplexity:g}, random seed {seed}."
)


def analyse_geometry(silhouettes: Sequence[Mapping], rows: Mapping, tsne: Mapping | None) -> dict:
    """Return the file's `geometry`, from `silhouettes` per seed, `sample_rows` and `embed`."""
    count = len(rows["utterance"])
    by_level = {
        level: {by: number([seed[level][by] for seed in silhouettes], count) for by in ("by_modality", "by_utterance")}
        for level in (silhouettes[0] if silhouettes else ())
    }
    absent = [level for level in LEVELS if silhouettes and level not in by_level]
    statements = [f"{level} does not exist in this variant" for level in absent]
    if not count:
        statements.append("no two modalities of an utterance to lie apart or together")
    return {
        "how": HOW.format(most=MOST_ROWS, perplexity=tsne["perplexity"] if tsne else PERPLEXITY, seed=SAMPLE_SEED),
        "statements": statements,
        "levels": list(by_level),
        "silhouette": by_level,
        "utterances": len(set(rows["utterance"])),
        "rows": count,
        "tsne": tsne,
    }


def sample_rows(present_MN: np.ndarray) -> dict[str, np.ndarray]:
    """Return sampled rows as two columns, [R] each: `modality` (index) and `utterance` (index of N)."""
    several = np.flatnonzero(present_MN.sum(axis=0) > 1)
    most = MOST_ROWS // len(present_MN)
    if len(several) > most:
        several = np.sort(np.random.default_rng(SAMPLE_SEED).choice(several, size=most, replace=False))
    modality, index = np.nonzero(present_MN[:, several])
    return {"modality": modality, "utterance": several[index]}


def levels_of(inside: Inside, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return unit rows [R, H] of every level that the variant has."""
    outputs = inside.outputs
    has_levels = outputs.modality_MNH is not None or outputs.utterance_MNH is not None
    disentangled_MNH = outputs.disentangled_MNH if has_levels else None
    tensors = (inside.projected_MNH, outputs.modality_MNH, outputs.utterance_MNH, disentangled_MNH)
    levels = {}
    for level, x_MNH in zip(LEVELS, tensors, strict=True):
        if x_MNH is not None:
            x_RH = x_MNH.float().cpu().numpy()[rows["modality"], rows["utterance"]]
            levels[level] = x_RH / np.maximum(np.linalg.norm(x_RH, axis=1, keepdims=True), 1e-12)
    return levels


def silhouettes(levels: Mapping[str, np.ndarray], rows: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return mean silhouettes of one seed, with modalities and utterances as clusters; NaN for fewer than two."""
    scores: dict[str, dict[str, float]] = {level: {} for level in levels}
    for by, cluster_R in {"by_modality": rows["modality"], "by_utterance": rows["utterance"]}.items():
        several = 1 < len(np.unique(cluster_R)) < len(cluster_R)
        for level, x_RH in levels.items():
            scores[level][by] = float(silhouette_score(x_RH, cluster_R, metric="cosine")) if several else float("nan")
    return scores


def embed(levels: Mapping[str, np.ndarray]) -> dict:
    """Return the t-SNE of the levels in `DRAWN`, each on its own: perplexity and, by level, x and y [R]."""
    rows = len(next(iter(levels.values())))
    perplexity = min(PERPLEXITY, max(1.0, (rows - 1) / 3))  # scikit-learn needs it below the number of rows
    points = {}
    for level in filter(levels.__contains__, DRAWN):
        # Of unit rows, Euclidean distance orders as cosine does, and has the fast neighbour search.
        method = TSNE(perplexity=perplexity, init="pca", random_state=SAMPLE_SEED, n_jobs=1)
        x, y = method.fit_transform(levels[level]).T.astype(float).round(2)
        points[level] = {"x": x.tolist(), "y": y.tolist()}
    return {"perplexity": perplexity, "levels": points}
