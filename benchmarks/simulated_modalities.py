"""Simulated audio and visual features beside real text features, for trying fusion where no recordings are at hand.

    python -m benchmarks.simulated_modalities features/meld --out trial/meld
    dferc ablate --corpus meld --features trial

Of every utterance, in each of the two modalities:

    x = strength * reliability * prototype[emotion] + noise

with a random unit vector per emotion, a reliability drawn evenly from 0 to 1 for each utterance and modality, and
standard normal noise. A share of the utterances lacks the modality. Given its emotion, an utterance's modalities are
independent, which those of real people are not: such features can show whether a mechanism works where what it is made
for is present, not how much it brings on recordings. The identity in each file says "simulated", and so do the protocol
card, the tables and the report.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from dferc.core.console import readable_errors
from dferc.store.hdf5 import read_utterances, write_features
from dferc.store.rows import Features, Utterances
from dferc.store.vocabulary import MODALITIES

STRENGTH = {"audio": 1.9, "visual": 1.5}
"""Length of the prototypes against a noise of 1 in each dimension."""

ABSENT = {"audio": 0.02, "visual": 0.1}
"""Share of the utterances without the modality."""

WIDTH = 64
QUALITY = "reliability"


def simulate(utterances: Utterances, modality: str, strength: float, absent: float, seed: int) -> Features:
    """One modality's simulated features of a corpus; the same arguments give the same values.

    Args:
        utterances: with emotions; one without (-1) gets noise alone.
        modality: audio or visual.
        strength: length of an emotion's prototype; the noise has 1 in each dimension.
        absent: share of the utterances that lack the modality.
        seed: of everything drawn.
    """
    draw = np.random.default_rng([seed, MODALITIES.index(modality)])
    N = len(utterances)
    prototypes = draw.standard_normal((len(utterances.classes), WIDTH))
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    reliability_N = draw.random(N)
    signal_N = strength * reliability_N * (utterances.emotion >= 0)
    features = signal_N[:, None] * prototypes[utterances.emotion] + draw.standard_normal((N, WIDTH))
    present_N = draw.random(N) >= absent
    return Features(
        modality=modality,
        corpus=utterances.corpus,
        features=(features * present_N[:, None]).astype(np.float32),
        present=present_N,
        utterance_id=utterances.utterance_id,
        identity={
            "extractor": f"made from the labels (simulated): strength {strength}, absent {absent}, seed {seed}",
            "rows_hash": utterances.rows_hash,
        },
        quality={QUALITY: reliability_N.astype(np.float32)},
    )


def simulate_beside(source: Path, out: Path, strength: Mapping[str, float], seed: int) -> None:
    """Copy a corpus's utterances and text features, and put simulated audio and visual features beside them."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("utterances.h5", "text.h5"):
        shutil.copy(source / name, out / name)
    utterances = read_utterances(source / "utterances.h5")
    for modality in ("audio", "visual"):
        made = simulate(utterances, modality, strength[modality], ABSENT[modality], seed)
        write_features(out / f"{modality}.h5", made)


@click.command(help=__doc__.split("\n")[0])
@click.argument("source", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write; named after the corpus.")
@click.option("--audio", default=STRENGTH["audio"], show_default=True, help="Strength of the audio's signal.")
@click.option("--visual", default=STRENGTH["visual"], show_default=True, help="Strength of the picture's signal.")
@click.option("--seed", default=0, show_default=True, help="Of what is drawn.")
@readable_errors
def main(source: Path, out: Path, audio: float, visual: float, seed: int) -> None:
    """Simulate audio and visual features beside the real text features in SOURCE."""
    simulate_beside(source, out, {"audio": audio, "visual": visual}, seed)


if __name__ == "__main__":
    main()
