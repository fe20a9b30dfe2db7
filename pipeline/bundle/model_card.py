"""Model card of a bundle: README.md with the front matter of the Hugging Face hub, from the manifest alone."""

import html
import json
import re
from collections.abc import Iterator, Mapping

from dferc.core.console import printable
from dferc.core.errors import counted
from dferc.core.metrics import MAIN_FIRST, SCORES
from dferc.store.inspection import score_and_interval
from dferc.store.rows import by_set

_ERRORS = {
    "ece": "calibration error (ECE), uncalibrated",
    "ece_calibrated": "calibration error (ECE), calibrated",
    "ece_of_mean": "ECE of the mean over the seeds",
    "ece_of_mean_calibrated": "ECE of that mean, calibrated",
}
_WORDS = SCORES | _ERRORS

AI_ACT = (
    "In the European Union, AI systems that infer emotions of people **at work and in education are prohibited** since "
    "2 February 2025, but for medical and safety reasons (AI Act, Regulation (EU) 2024/1689, Art. 5(1)(f)). Other "
    "emotion recognition is a high-risk use (Annex III), and the people concerned must be informed (Art. 50(3))."
)


def model_card(manifest: Mapping) -> str:
    """Return the README.md of a bundle; the same manifest gives the same text."""
    return "\n".join([*_front_matter(manifest), *_body(manifest)]) + "\n"


def _front_matter(manifest: Mapping) -> Iterator[str]:
    corpus = json.dumps(manifest["corpus"], ensure_ascii=False)  # a JSON string is a YAML string
    yield from ("---", "library_name: dferc", "license: other", "license_name: see-licences-below")
    yield from ("tags:", "- emotion-recognition", "- emotion-recognition-in-conversation", "- multimodal")
    if manifest["synthetic"]:
        yield "- synthetic-data"
    if test := manifest["scores"].get("test"):
        yield from ("model-index:", f"- name: {corpus}", "  results:", "  - task:", "      type: text-classification")
        yield from ("      name: Emotion recognition in conversation", "    dataset:", f"      name: {corpus}")
        yield from (f"      type: {corpus}", "      split: test", "    metrics:")
        for name in ("weighted_f1", "accuracy"):
            kind = "f1" if name == "weighted_f1" else name
            yield from (f"    - type: {kind}", f"      name: {_WORDS[name]}", f"      value: {test[name]}")
    yield from ("---", "")


def _body(manifest: Mapping) -> Iterator[str]:
    corpus, modalities = _cell(manifest["corpus"]), ", ".join(manifest["modalities"])
    yield f"# Emotions in conversation, trained on {corpus}"
    yield ""
    if manifest["synthetic"]:
        yield "> **SYNTHETIC DATA.** This model was trained on data that is no recording of people:"
        yield from (f"> {_cell(sentence)}." for sentence in manifest["synthetic"])
        yield "> Its predictions say nothing about real conversations."
        yield ""
    yield (
        f"A bundle of DF-ERC (variant `{_cell(manifest['variant'])}`): it predicts one of {len(manifest['classes'])} "
        f"emotions for each utterance of a conversation, from {modalities}. Classes: "
        f"{', '.join(map(_cell, manifest['classes']))}."
    )
    yield from ("", "```bash", "dferc-video talk.mp4 --model BUNDLE          # a video in, emotions out")
    yield from ("dferc predict --run BUNDLE --features features/mine --out predictions.csv", "```", "")
    yield from ("## Training", "")
    yield f"- Corpus: {corpus}; {_cell(manifest['protocol'])}. Protocol card `{_cell(manifest['card'])}`."
    for split, counts in manifest["counts"].items():
        sizes = f"{counted(counts['dialogues'], 'dialogue')}, {counted(counts['utterances'], 'utterance')}"
        yield f"- {_cell(split)}: {sizes}, {counts['labelled']} labelled"
    yield f"- Seeds: {', '.join(map(str, manifest['seeds']))}; a prediction is the mean over them."
    yield from _method(manifest["training"])
    for modality, identity in manifest["identities"].items():
        for name, of_set in by_set(modality, identity).items():
            yield f"- {name}: {_cell(of_set['extractor'])}"
    yield from ("", "## Scores", "", *_scores(manifest), "")
    yield from ("## What the probabilities mean", "", *_probabilities(manifest), "")
    yield from (
        "The probability of a class is an estimate of how often annotators of the training corpus would choose it for "
        "such an utterance. It is no measurement of what a person feels. On other people, languages, recordings and "
        "situations than those of the corpus it can be far off, and nothing in it says so.",
        "",
        "## Limits of use",
        "",
        AI_ACT,
        "",
        "## Licences",
        "",
        *(f"- {line['part']}: {_cell(line['licence'])}." for line in manifest["licences"]),
    )
    if not manifest["opensmile"]:
        yield "- **Free of openSMILE**: no feature of it is used, so its non-commercial licence does not apply."


def _method(training: Mapping) -> Iterator[str]:
    """Yield a line on how the weights were chosen, and one on settings other than the paper's."""
    chosen = f"- Weights: of the epoch with the best {SCORES[training.get('select_by', MAIN_FIRST[0])]} on validation"
    again = "; then trained anew on training and validation together (refit), for as many steps"
    yield f"{chosen}{again if training.get('selection') == 'refit' else ''}."
    values = (f"`{_cell(name)}` {_cell(json.dumps(value))}" for name, value in training.items())
    yield f"- Settings other than the paper's: {', '.join(values)}." if training else "- Settings: the paper's."


def _scores(manifest: Mapping) -> Iterator[str]:
    """Yield a table: mean over the seeds, with the 95 % interval of the mean."""
    scores = manifest["scores"]
    splits = [split for split in ("validation", "test") if split in scores]
    if not splits:
        yield "This model was never scored."
        return
    yield f"Mean over {manifest['scored_seeds']} seed(s) [95 % interval of that mean, by the t distribution]."
    yield ""
    yield f"| | {' | '.join(splits)} |"
    yield f"| --- |{' --- |' * len(splits)}"
    for name in (*MAIN_FIRST, *_ERRORS):
        if all(name in scores[split] for split in splits):
            yield f"| {_WORDS[name]} | {' | '.join(score_and_interval(scores[split], name) for split in splits)} |"
    for emotion in scores[splits[0]]["f1"]:
        cells = (f"{scores[split]['f1'].get(emotion, 0):.4f}" for split in splits)
        yield f"| F1 {_cell(emotion)} | {' | '.join(cells)} |"


def _probabilities(manifest: Mapping) -> Iterator[str]:
    fitted = manifest["calibration"]
    if not fitted:
        yield "They are as the model gives them: no temperature was fitted."
        return
    shown = ", ".join(f"{each['temperature']:g} (seed {seed})" for seed, each in fitted.items())
    yield (
        f"They are calibrated: the logits of each seed are divided by a temperature fitted on the validation split: "
        f"{shown}. ECE is the mean gap between confidence and accuracy over 15 bins."
    )
    if of_mean := manifest.get("calibration_of_mean"):
        yield f"Their mean is divided likewise, by {of_mean['temperature']:g}, which changes no choice of a class."
    yield from (f"Seed {seed}: {_cell(each['note'])}." for seed, each in fitted.items() if each.get("note"))


def _cell(text: object) -> str:
    """Return a text of others for Markdown: one line, without markup or HTML."""
    return re.sub(r"([\\`*\[\]|#])", r"\\\1", html.escape(printable(" ".join(str(text).split())), quote=False))
