"""What of a run's corpus and features is no recording of people, as they say of themselves."""

import json
from collections.abc import Iterator, Mapping

from dferc.results.runs import Run
from dferc.store.vocabulary import MODALITIES


def simulated(runs: Mapping[str, Run]) -> Iterator[str]:
    """A sentence for the corpus and for each modality that says of itself that it is synthetic or simulated."""
    first = next(iter(runs.values()))
    if _says_so(first.card["protocol"]):
        yield f"the corpus is no recording: {first.card['protocol']}"
    yield from simulated_features(runs)


def simulated_features(runs: Mapping[str, Run]) -> Iterator[str]:
    """A sentence for each modality that says of itself that it is synthetic or simulated."""
    features = {}
    for run in runs.values():
        for path in sorted(run.folder.glob("train/seed-*/settings.json"))[:1]:
            features |= json.loads(path.read_text(encoding="utf-8")).get("features", {})
    for name in MODALITIES:
        if _says_so(json.dumps(features.get(name))):
            yield f"{name} features are simulated: {features[name].get('extractor', 'so their identity says')}"


def _says_so(text: str) -> bool:
    return any(word in text.lower() for word in ("synthetic", "simulat"))
