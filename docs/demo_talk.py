"""Make a film of dialogues of the demo, and the page of its emotions: build/demo-talk/index.html.

    python docs/demo_talk.py            # after `make repro`

The emotions are those that the demo's models predict from the demo's features. The clips are drawn by code, so a
picture of the page may be in the repository.
"""

import csv
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

import dferc
from dferc.results.emotions import EmotionalUtterance, Emotions, MediumFacts, ModelFacts, TranscriptFacts

RAW, ROWS = Path("data/raw/demo"), Path("data/demo/utterances.csv")
FEATURES, RUN = Path("features/demo"), Path("runs/demo/full")
FOLDER = Path("build/demo-talk")
DIALOGUES = 3
RATE = 48_000  # Hz, Opus' own


def join(clips: list[Path], path: Path) -> list[float]:
    """Write clips one after the other, as VP8 and Opus, which every Chromium plays; return their ends in seconds."""
    ends_s = [0.0]
    with av.open(str(path), "w", format="webm") as container:
        picture = container.add_stream("libvpx", rate=25, width=320, height=240, pix_fmt="yuv420p")
        picture.options = {"deadline": "realtime", "b": "300k"}
        picture.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("libopus", rate=RATE, layout="mono")
        for clip in clips:
            images, samples = decode(clip)
            begin_s, length_s = ends_s[-1], max(images[-1][0] + 0.04, len(samples) / RATE)
            for time_s, image in images:
                frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(320, 240)
                frame.pts, frame.time_base = round(1000 * (begin_s + time_s)), Fraction(1, 1000)
                container.mux(picture.encode(frame))
            first = round(begin_s * RATE)
            padded = np.zeros(round((begin_s + length_s) * RATE) - first, np.float32)
            padded[: len(samples)] = samples[: len(padded)]
            frame = av.AudioFrame.from_ndarray(padded[None], format="fltp", layout="mono")
            frame.rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            container.mux(sound.encode(frame))
            ends_s.append(begin_s + length_s)
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    return ends_s[1:]


def decode(clip: Path) -> tuple[list[tuple[float, np.ndarray]], np.ndarray]:
    """Return the pictures of a clip with their times in seconds, and its sound at `RATE`."""
    with av.open(str(clip)) as container:
        images = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    with av.open(str(clip)) as container:
        resampler = av.AudioResampler("fltp", "mono", RATE)
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return images, np.concatenate([frame.to_ndarray()[0] for frame in frames])


def main() -> None:
    """Write the film and the page."""
    with open(ROWS, newline="", encoding="utf-8") as file:
        clips = {row["utterance_id"]: RAW / row["media"] for row in csv.DictReader(file) if row["split"] == "test"}
    predictor = dferc.load(RUN)
    table = predictor.predict(FEATURES)
    whole = [row for row in table if clips.get(row["utterance_id"], RAW / "none").exists()]
    dialogues = list(dict.fromkeys(row["dialogue_id"] for row in whole))[:DIALOGUES]
    rows = [row for row in whole if row["dialogue_id"] in dialogues]
    FOLDER.mkdir(parents=True, exist_ok=True)
    ends_s = join([clips[row["utterance_id"]] for row in rows], FOLDER / "talk.webm")
    record = predictor.checkpoints[0].record
    modalities = [name.removeprefix("contribution_") for name in rows[0] if name.startswith("contribution_")]
    Emotions(
        media=MediumFacts(name="talk.webm", length_s=ends_s[-1], has_sound=True, has_picture=True),
        model=ModelFacts(
            name=str(RUN),
            corpus=record["corpus"],
            classes=list(table.classes),
            modalities=modalities,
            seeds=[checkpoint.record["seed"] for checkpoint in predictor.checkpoints],
            synthetic=list(table.synthetic),
        ),
        transcript=TranscriptFacts(origin="transcripts.csv", language="en", speakers_from="transcripts.csv"),
        utterances=[
            EmotionalUtterance(
                id=row["utterance_id"],
                start_s=start_s,
                end_s=end_s,
                speaker=row["speaker"],
                text=row["text"],
                emotion=row["predicted"],
                probabilities={name: float(row[f"p_{name}"]) for name in table.classes},
                contributions={name: float(row[f"contribution_{name}"]) for name in modalities},
                context_weight=float(row["context_weight"]),
            )
            for row, start_s, end_s in zip(rows, [0.0, *ends_s], ends_s)
        ],
    ).write(FOLDER, media=FOLDER / "talk.webm")
    print(f"{FOLDER / 'index.html'}: {len(rows)} utterances of {len(dialogues)} dialogues, {ends_s[-1]:.0f} s")


if __name__ == "__main__":
    main()
