"""`dferc-serve` with a real model: the very result of `Recogniser`, and nothing of an upload in anybody's cache."""

import pytest

from pipeline.serve.jobs import WORKER
from pipeline.video.recogniser import Recogniser
from tests.helpers.servers import client, upload, wait_for
from tests.helpers.small_models import write_model
from tests.helpers.talks import write_talk


@pytest.mark.slow
def test_a_result_is_that_of_the_recogniser(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    run, talk = write_model(tmp_path), write_talk(tmp_path / "media/my talk.mp4")
    subtitles = talk.with_suffix(".srt").read_bytes()
    options = {"source": str(run), "device": "cpu", "asr": "no-such-model"}
    (tmp_path / "served").mkdir()
    with client(tmp_path / "served", options=options, command=WORKER) as (one, queue):
        health = one.get("/health").json()
        assert health["model"]["name"] == "demo/full" and "no-such-model" in health["model"]["speech_problem"]
        job = upload(one, talk.read_bytes(), talk.name, files={"transcript": ("my talk.srt", subtitles)})
        status = wait_for(one, job["id"], "done")
        assert [step["name"] for step in status["steps"]] == [
            "open",
            "transcript",
            "text",
            "visual",
            "audio",
            "emotions",
        ]
        served = one.get(status["files"]["emotions.json"]).json()
        page = one.get(f"/jobs/{job['id']}/page/index.html")
        assert page.status_code == 200 and "what a wonderful letter" in page.text
        for name, fact in (("talk.mp4", "no-such-model"), ("talk.srt", "")):
            content = talk.read_bytes() if name.endswith("mp4") else subtitles
            other = upload(one, content, name)
            status = wait_for(one, other["id"], "done", "failed")
            assert fact in status["message"] and (status["state"] == "done") == (fact == "")
        text = upload(one, b"this is text", "text.mp4")
        assert "text.mp4 is no video" in wait_for(one, text["id"], "failed")["message"]
        assert [path for path in queue.root.glob("cache-*/*") if path.is_file()] == []
    assert [path.name for path in (tmp_path / "caches/dferc").iterdir()] == ["runs"]  # the model alone
    with Recogniser.load(run, device="cpu", cache=tmp_path / "own") as recognise:
        assert recognise(talk).model_dump(by_alias=True) == served
