"""A miniature of IEMOCAP's full release for tests: its folders, odd names and odd files, twelve dialogues, 29 turns."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from tests.helpers.clips import tone, write_clip
from tests.helpers.drawn_faces import draw_scene

FOR = "E2 Happiness|E3 Happiness|E4 Neutral|M1 Excited"
"""Happiness 2, Neutral 1, Excited 1."""
AGAINST = "E2 Neutral|E3 Neutral|E4 Happiness|F1 Anger"
TIED = "E2 Happiness|E3 Happiness|E4 Neutral|M1 Neutral"
EXTERNAL = "E2 Neutral; Happiness|E3 Excited; Happiness|E4 Neutral|F1 Happiness"
"""Happiness 3, Neutral 2, Excited 1; by first labels alone Neutral would be ahead."""
OWN_SECOND = "E2 Happiness|E3 Excited|E4 Neutral|M1 Anger; Happiness"
"""All four 1; with the actor's second label Happiness would be ahead."""
OWN_FIRST = "E2 Happiness|E3 Neutral|F1 Happiness; Neutral"
"""Happiness 2, Neutral 1; with the actor's second label they would be level."""
FRUSTRATED = "E2 Frustration|E3 Frustration|E4 Happiness|F1 Frustration"
PLAIN = "E2 Neutral|E3 Neutral|E4 Other"

Line = tuple[str, float, float, str, str]
"""Speaker and index, begin and end in seconds, majority label, votes."""

DIALOGUES: dict[str, list[Line]] = {
    "Ses01F_impro03": [
        ("F000", 1.0, 2.0, "neu", PLAIN),
        ("M003", 9.0, 10.0, "hap", PLAIN),  # the file's order is not that of time
        ("M000", 1.5, 3.5, "xxx", FOR),
        ("F001", 4.0, 5.0, "xxx", AGAINST),
        ("M001", 5.0, 6.0, "xxx", TIED),
        ("F002", 6.0, 7.0, "xxx", EXTERNAL),
        ("M002", 7.0, 8.0, "xxx", OWN_SECOND),
        ("F003", 8.0, 9.0, "xxx", OWN_FIRST),
    ],
    "Ses01M_impro01": [("F000", 0.5, 1.5, "ang", PLAIN), ("M000", 1.2, 2.2, "sur", PLAIN)],
    "Ses02F_impro02": [("M000", 0.5, 1.5, "exc", PLAIN), ("F000", 2.0, 3.0, "fru", PLAIN)],
    "Ses02M_script01_1": [
        ("F000", 0.5, 1.0, "sad", PLAIN),
        ("M000", 1.0, 2.0, "fea", PLAIN),
        ("F001", 2.0, 3.0, "neu", PLAIN),
    ],
    "Ses03M_impro05a": [("F000", 0.5, 1.0, "hap", PLAIN), ("M000", 1.0, 2.0, "oth", PLAIN)],
    "Ses03M_impro05b": [("M000", 0.5, 1.0, "dis", PLAIN)],
    "Ses03M_impro08a": [("F000", 0.5, 1.0, "sad", PLAIN)],
    "Ses03M_impro08b": [("M000", 0.5, 1.0, "fru", PLAIN), ("F000", 1.0, 2.0, "exc", PLAIN)],
    "Ses04F_impro07": [("F000", 0.5, 1.0, "neu", PLAIN)],
    "Ses04M_script03_2": [("M000", 0.5, 1.0, "ang", PLAIN), ("F000", 1.0, 2.0, "xxx", "")],
    "Ses05F_impro07": [
        ("F000", 0.5, 1.0, "sad", PLAIN),
        ("M000", 1.0, 2.0, "exc", PLAIN),
        ("F001", 2.0, 3.0, "xxx", FRUSTRATED),
    ],
    "Ses05M_script01_1b": [("M000", 0.5, 1.0, "neu", PLAIN), ("F000", 1.0, 2.0, "fru", PLAIN)],
}

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\r\n"


def write_release(
    raw: Path, dialogues: Mapping[str, list[Line]] = DIALOGUES, *, odd: bool = True, root: str = "IEMOCAP_full_release"
) -> Path:
    """Write labels and transcripts.

    Args:
        raw: folder to write below.
        dialogues: turns by dialogue.
        odd: with the files and lines of the release that are to be passed over.
        root: folder that holds the sessions.

    Returns:
        The folder that holds the sessions.
    """
    for name, lines in dialogues.items():
        dialog = raw / root / f"Session{name[4]}" / "dialog"
        for folder in ("EmoEvaluation", "transcriptions"):
            (dialog / folder).mkdir(parents=True, exist_ok=True)
        labels = HEADER + "".join(f"\n{label_line(name, line)}" for line in lines)
        (dialog / "EmoEvaluation" / f"{name}.txt").write_bytes(labels.encode("latin-1"))
        words = [f"{name}_{turn} [{begin:08.4f}-{end:08.4f}]: Spoken in {turn}.\n" for turn, begin, end, *_ in lines]
        (dialog / "transcriptions" / f"{name}.txt").write_text("".join(words))
        if odd:
            _write_oddities(dialog, name)
    return raw / root


def label_line(dialogue: str, line: Line) -> str:
    """Return a label line and its votes, as the release has them."""
    turn, begin, end, code, votes = line
    lines = [f"[{begin:.4f} - {end:.4f}]\t{dialogue}_{turn}\t{code}\t[2.5000, 2.5000, 2.5000]"]
    lines += [
        f"C-{rater}:\t{labels};\t()" for rater, labels in (vote.split(" ", 1) for vote in votes.split("|") if vote)
    ]
    lines += [
        "A-E3:\tval 3; act 2; dom  2;\t(mildly aggravated; na\xefve)",
        f"A-{turn[0]}1:\tval 3; act 2; dom  1;\t()",
    ]
    return "".join(f"{text}\n" for text in lines)


def write_wavs(release: Path, dialogues: Mapping[str, list[Line]] = DIALOGUES, seconds: float = 0.4) -> None:
    """Write a wav for every turn, none of them as long as its span in the dialogue."""
    for name, lines in dialogues.items():
        folder = release / f"Session{name[4]}" / "sentences" / "wav" / name
        folder.mkdir(parents=True)
        for number, (turn, *_) in enumerate(lines):
            write_clip(folder / f"{name}_{turn}.wav", sound=tone(seconds, hz=200 + 40 * number))
            (folder / f"._{name}_{turn}.wav").write_bytes(b"\x00\x05\x16\x07")


def write_videos(release: Path, dialogues: Iterable[str], seconds: int = 12) -> None:
    """Write a split screen for each dialogue: a drawn face in the left half, a plain wall in the right one."""
    face, _ = draw_scene()
    for name in dialogues:
        folder = release / f"Session{name[4]}" / "dialog" / "avi" / "DivX"
        folder.mkdir(parents=True, exist_ok=True)
        screen = np.hstack([face, np.full_like(face, 90)])
        write_clip(folder / f"{name}.avi", pictures=[screen] * (10 * seconds))


def _write_oddities(dialog: Path, name: str) -> None:
    """Add what is to be ignored: lines of both at once, macOS's files, single raters in sub-folders."""
    with open(dialog / "transcriptions" / f"{name}.txt", "a") as file:
        file.write(f"{name}_MXX0 [011.0000-011.5000]: Yes.\n{name}_FXX0 [011.0000-011.5000]: No.\n\n")
    for folder in ("EmoEvaluation", "transcriptions"):
        (dialog / folder / f"._{name}.txt").write_bytes(b"\x00\x05\x16\x07\x00\x02")
    for folder, suffix in (("Categorical", "e2_cat"), ("Self-evaluation", "f1_atr"), ("Attribute", "e3_atr")):
        (dialog / "EmoEvaluation" / folder).mkdir(exist_ok=True)
        (dialog / "EmoEvaluation" / folder / f"{name}_{suffix}.txt").write_text(f"{name}_F000 :Anger; ()\n")
    (dialog / "EmoEvaluation" / "Categorical" / f"{name}.txt").write_text("[1.0 - 2.0]\tnonsense\tang\t[]\n")
