"""Emotions of drawn-up talks, with hostile names and texts, for tests of their formats and of their page."""

import random

from dferc.results.emotions import EmotionalUtterance, Emotions, MediumFacts, ModelFacts, TranscriptFacts

CLASSES = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
SYNTHETIC = "the corpus was drawn by a program"
WORDS = "well I never thought that you would say so but then again who knows what tomorrow brings to us all".split()


def talk(count: int = 12, speakers: tuple[str, ...] = ("Anna", "Bo"), **changes) -> Emotions:
    """Return emotions of `count` utterances that follow each other in a second and a half each."""
    draw = random.Random(count)
    utterances = [
        utterance(number, speaker=draw.choice(speakers), text=" ".join(draw.sample(WORDS, draw.randint(2, 9))))
        for number in range(count)
    ]
    whole = {
        "media": MediumFacts(name="talk.webm", length_s=1.5 * count + 1, has_sound=True, has_picture=True),
        "model": ModelFacts(
            name="demo.dferc",
            corpus="demo",
            classes=list(CLASSES),
            modalities=["text", "audio", "visual"],
            seeds=[0, 1, 2],
            temperature=1.31,
        ),
        "transcript": TranscriptFacts(origin="talk.srt", language="en", speakers_from="talk.srt"),
        "utterances": utterances,
    }
    return Emotions(**whole | changes)


def utterance(number: int, **changes) -> EmotionalUtterance:
    """Return an utterance of random probabilities; `changes` replace its fields."""
    draw = random.Random(number)
    weights = {name: draw.random() ** 4 for name in CLASSES}
    probabilities = {name: weight / sum(weights.values()) for name, weight in weights.items()}
    fields = {
        "id": f"u{number}",
        "start_s": 1.5 * number,
        "end_s": 1.5 * number + 1.2,
        "speaker": "Anna",
        "text": f"These are the words of number {number}.",
        "emotion": max(probabilities, key=probabilities.get),
        "probabilities": probabilities,
        "disagreement": 0.03,
        "contributions": {"text": 0.5, "audio": 0.3, "visual": 0.2},
        "context_weight": 0.4,
        "face_share": 0.9,
        "absent": {"visual": "no face was found"} if number % 5 == 4 else {},
    }
    return EmotionalUtterance(**fields | changes)
