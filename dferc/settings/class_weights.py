"""Resolution of the `class_weights` setting for the classes of a corpus (docs/method.md §6)."""

from collections.abc import Mapping, Sequence

from dferc.core.errors import InputError


def class_weights(setting: str | Mapping[str, float], classes: Sequence[str], counts: Sequence[float]) -> list[float]:
    """Resolve the `class_weights` setting to one weight per class; `counts` are those of the training targets.

    The setting is `uniform`; `authors` (first class 1.0, others 1.3: the first is neutral in MELD, but happy in
    IEMOCAP); `balanced` (inverse to the training counts, mean 1 over the utterances); or weights by class name, with
    `other` for the rest.
    """
    if setting == "uniform":
        return [1.0] * len(classes)
    if setting == "authors":
        return [1.0] + [1.3] * (len(classes) - 1)
    if setting == "balanced":
        return [float(sum(counts)) / (len(classes) * max(1.0, float(count))) for count in counts]
    unknown = [name for name in setting if name not in classes and name != "other"]
    missing = [name for name in classes if name not in setting and "other" not in setting]
    if unknown or missing:
        raise InputError(
            f"train.class_weights: not a class: {', '.join(unknown) or 'none'}; without a weight: "
            f"{', '.join(missing) or 'none'}. The classes are {', '.join(classes)}; `other` stands for the rest."
        )
    return [float(setting.get(name, setting.get("other"))) for name in classes]
