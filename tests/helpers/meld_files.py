"""Miniature MELDs for tests: CSVs with the published columns, in any of the known layouts."""

import csv
from collections.abc import Mapping
from pathlib import Path

COLUMNS = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"
).split(",")

ROWS = {
    "train": [(0, 0, "neutral", "Hi."), (0, 1, "joy", "You’re here!"), (0, 3, "joy", "Yes…"), (2, 0, "fear", "Oh no")],
    "dev": [(0, 0, "anger", "What?"), (0, 1, "neutral", "Nothing.")],
    "test": [(7, 0, "surprise", "Really?"), (7, 1, "disgust", "Ugh.")],
}
"""Dialogue, utterance, emotion, text. One gap in train 0, one dialogue of one utterance."""

CSVS = {split: f"{split}_sent_emo.csv" for split in ROWS}


def csv_text(rows: list[tuple[int, int, str, str]], episode: int = 2) -> str:
    """One of MELD's CSVs; every row has its own times."""
    lines = [
        [
            number,
            text,
            "Joey",
            emotion,
            "neutral",
            dialogue,
            utterance,
            1,
            episode,
            f"0:00:0{number},000",
            f"0:00:0{number},900",
        ]
        for number, (dialogue, utterance, emotion, text) in enumerate(rows)
    ]
    quoted = [",".join(COLUMNS), *(",".join(_quote(value) for value in line) for line in lines)]
    return "".join(line + "\r\n" for line in quoted)


def write_csvs(folder: Path, rows: Mapping[str, list] = ROWS, places: Mapping[str, str] | None = None) -> Path:
    """Write the three CSVs below `folder`, an episode each; `places` says where those lie that are not at its top."""
    for split, split_rows in rows.items():
        path = folder / (places or {}).get(split, "") / CSVS[split]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(csv_text(split_rows, 1 + list(CSVS).index(split)), encoding="utf-8", newline="")
    return folder


def touch(folder: Path, *names: str) -> None:
    """Put files where clips would be (the adapter opens none)."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table by column."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _quote(value: object) -> str:
    text = str(value).replace('"', '""')
    return f'"{text}"' if any(mark in text for mark in ',"\r\n') else text
