"""Transcripts of the synthetic demo corpus: a topic, then clauses that show the emotion or are vague."""

import numpy as np

CLAUSES = 2  # clauses per utterance; each is a cue of the shown emotion with probability = reliability, else vague

TOPICS = (
    "the train to Malmö", "the letter", "your brother", "the café on the corner", "Zoë's concert", "the old house",
    "the phone call", "dinner tonight", "the garden", "our trip to São Paulo", "the new neighbour", "the exam",
    "the piñata", "the kitchen door", "his résumé", "the last page",
)  # fmt: skip

OPENINGS = ("About {}:", "So, {}.", "You mean {}?", "It's {}.", "{}, then.", "And {}.")

VAGUE = (
    "Well, you know", "Hm, maybe", "I guess so", "Let's see", "Anyway", "If you say so", "Something like that",
    "I don't know", "Whatever it is", "Could be",
)  # fmt: skip

CUES = {
    "neutral": ("It starts at nine as usual", "Here is the list", "The meeting is on Tuesday",
        "I put it on the table", "Please take a copy", "The office is on the second floor",
        "It takes about ten minutes"),
    "joy": ("That is wonderful", "I am so happy", "This is great fun", "What a lovely day", "We won, hooray",
        "I love it", "That made me laugh"),
    "sadness": ("I am so sorry", "It makes me cry", "I miss her so much", "I feel so lonely", "It's all lost",
        "My heart is broken", "She is gone"),
    "anger": ("I am furious", "How dare you", "Stop it, enough", "I hate this", "That is outrageous",
        "Get out of here", "You lied to me"),
    "fear": ("I am scared", "Someone is out there in the dark", "Please don't leave me alone", "I'm afraid to look",
        "We are in danger", "My hands are shaking", "Run, hide"),
    "surprise": ("Oh my god", "I can't believe it", "Wow, just like that", "I never expected that", "Since when",
        "You what, seriously", "No way"),
}  # fmt: skip
"""Clauses that give an emotion away."""

ENDINGS = {"neutral": ".", "joy": "!", "sadness": "…", "anger": "!", "fear": "…", "surprise": "?!"}


def write_text(rng: np.random.Generator, emotion: str, reliability: float) -> str:
    """Return an utterance that shows an emotion with a reliability of 0 to 1."""
    opening = str(rng.choice(OPENINGS)).format(rng.choice(TOPICS))
    clauses = [opening[0].upper() + opening[1:]]
    cues, vague = list(rng.permutation(CUES[emotion])), list(rng.permutation(VAGUE))
    for _ in range(CLAUSES):
        shows = rng.random() < reliability
        clauses.append(f"{cues.pop()}{ENDINGS[emotion]}" if shows else f"{vague.pop()}.")
    return " ".join(clauses)
