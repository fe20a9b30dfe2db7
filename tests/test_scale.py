"""The arithmetic of benchmarks/scale.py, by hand."""

import json
import re

import pytest

from benchmarks import scale
from dferc.core.errors import InputError


def test_worker_hours_follow_from_rates():
    """7200 s at 20 times real time are 360 s; 3600 utterances at 10 a second too."""
    size = scale.Size(utterances=3600, hours=2.0)
    assert scale.worker_hours(size, {"text": 10.0, "audio": 20.0}) == {"text": 0.1, "audio": 0.1}


def test_logged_rate_adds_up_all_steps(tmp_path):
    log = {"computed": 10, "media_s": 40.0, "steps_s": {"decode": 1.0, "openSMILE": 7.0}}
    assert scale.logged_rate(log, "audio") == 5.0 and scale.logged_rate(log, "text") == 1.25
    (tmp_path / "extract_audio.json").write_text(json.dumps(log), encoding="utf-8")
    assert scale.read_rates(tmp_path, ("text=3", "visual=2.5")) == {"text": 3.0, "audio": 5.0, "visual": 2.5}
    (tmp_path / "extract_audio.json").write_text(json.dumps(log | {"media_s": 0}), encoding="utf-8")
    with pytest.raises(InputError, match=r"extract_audio\.json: its run computed nothing"):
        scale.read_rates(tmp_path, ())


@pytest.mark.parametrize("given", ["audio", "audio=", "audio=0", "audio=-1", "smell=3"])
def test_rates_that_are_none_are_refused(given):
    with pytest.raises(InputError, match=re.escape(f"--rate {given}: expected one of text, audio, visual")):
        scale.read_rates(None, (given,))
    with pytest.raises(InputError, match="no rates"):
        scale.read_rates(None, ())


def test_table_divides_hours_by_workers_and_prices_them_all():
    """MELD: 13.7 h at real time are 13.7 worker hours, 1.7 h on eight; 27.40 at 2 an hour."""
    lines = scale.table({"audio": 1.0}, 2.0).splitlines()
    assert lines[0] == "| corpus | audio, worker h | on 1 | on 8 | on 64 | cost |"
    assert lines[2] == "| MELD | 13.7 | 13.7 h | 1.7 h | 0.2 h | 27.40 |" and len(lines) == 5
