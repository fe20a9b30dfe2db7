"""The JSON API of `dferc-serve`, with a stand-in for the model: uploads, queue, results, deletion, refusals."""

import asyncio
import io
import json
import os
import re
import signal
import time
import zipfile
from pathlib import Path

import pytest

from dferc.core import VERSION
from pipeline.serve import uploads
from pipeline.serve.application import make_app
from pipeline.serve.jobs import JobQueue, ServedJob
from pipeline.serve.uploads import Upload, shown_name
from tests.helpers.servers import LIMIT, client, upload, wait_for
from tests.helpers.stand_in_recogniser import COMMAND, MANY

SUBTITLES = b"1\n00:00:00,000 --> 00:00:01,000\nHello\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with client(tmp_path_factory.mktemp("served")) as (one, queue):
        yield one, queue


@pytest.fixture
def one(served):
    return served[0]


def left(queue) -> list[str]:
    """Return what lies in the folder of a server."""
    return sorted(path.name for path in queue.root.iterdir() if not path.name.startswith("cache-"))


def test_an_upload_becomes_a_result_and_leaves_nothing_once_deleted(served):
    one, queue = served
    before = left(queue)
    transcript = {"transcript": ("s.srt", SUBTITLES)}
    job = upload(one, b"\0video", "My talk.mp4", files=transcript, data={"language": "fr"})
    status = wait_for(one, job["id"], "done", "failed")
    assert status["state"] == "done" and [step["name"] for step in status["steps"]] == ["open", "audio"]
    assert 0 < status["seconds_to_deletion"] <= 3600
    answer = one.get(status["files"]["emotions.json"])
    emotions = answer.json()
    assert emotions["media"]["name"] == "My talk.mp4" and emotions["transcript"]["language"] == "fr"
    assert [each["text"] for each in emotions["utterances"]] == [SUBTITLES.decode()] * MANY
    assert "My%20talk.emotions.json" in answer.headers["content-disposition"]
    archive = zipfile.ZipFile(io.BytesIO(one.get(status["files"]["results.zip"]).content))
    assert {"results.zip", *archive.namelist()} == set(status["files"])
    assert json.loads(archive.read("emotions.json")) == emotions
    assert "My%20talk.mp4" in archive.read("index.html").decode()  # the page is put beside the user's own file
    assert len(left(queue)) == len(before) + 1
    assert one.delete(f"/api/jobs/{job['id']}").status_code == 204
    assert left(queue) == before and one.get(f"/api/jobs/{job['id']}").status_code == 404


def test_a_body_that_is_the_medium_itself_works_too(one):
    answer = one.post("/api/jobs?name=a%20b.webm&language=fr", content=b"\0video")
    status = wait_for(one, answer.json()["id"], "done")
    assert answer.headers["location"] == f"/api/jobs/{status['id']}" and status["name"] == "a b.webm"
    assert one.get(status["files"]["emotions.json"]).json()["transcript"]["language"] == "fr"


@pytest.mark.parametrize("name", ["", "; filename*=utf-8''%C3%BC.srt"])  # as older versions of `requests` name it
def test_a_transcript_without_a_file_name_is_refused_and_never_left_out(served, name):
    one, queue = served
    before = left(queue)
    parts = ((f'transcript"{name}'.encode(), SUBTITLES), (b'media"; filename="a.mp4"', b"\0video"))
    body = b"".join(b'--x\r\nContent-Disposition: form-data; name="%b\r\n\r\n%b\r\n' % part for part in parts)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = one.post("/api/jobs", content=body + b"--x--\r\n", headers=headers)
    assert answer.status_code == 400 and "transcript" in answer.json()["error"] and left(queue) == before


def test_a_file_of_another_field_is_refused_and_never_left_out(served):
    one, queue = served
    before = left(queue)
    files = {"media": ("a.mp4", b"\0video"), "subtitles": ("talk.srt", SUBTITLES)}
    answer = one.post("/api/jobs", files=files)
    assert answer.status_code == 400 and "subtitles" in answer.json()["error"] and left(queue) == before


def test_the_medium_is_sent_in_ranges(one):
    job = upload(one, b"\0" + bytes(range(100)))
    wait_for(one, job["id"], "done")
    page = one.get(f"/jobs/{job['id']}/page/index.html").text
    medium = f"/jobs/{job['id']}/" + re.search(r'src="../(upload/[0-9a-f]+.mp4)"', page)[1]
    part = one.get(medium, headers={"Range": "bytes=11-20"})
    assert part.status_code == 206 and part.content == bytes(range(10, 20))
    assert part.headers["content-range"] == "bytes 11-20/101" and part.headers["content-type"] == "video/mp4"
    assert one.get(f"/jobs/{job['id']}/upload/lock").status_code == 404


def test_a_job_is_deleted_once_it_was_fetched_whole_and_only_where_that_is_asked_for(one):
    job = upload(one, b"\0video")
    archive = wait_for(one, job["id"], "done")["files"]["results.zip"]
    assert one.get(archive).status_code == 200
    one.head(f"{archive}?delete=true")
    one.get(f"{archive}?delete=true", headers={"Range": "bytes=0-9"})
    assert one.get(f"/api/jobs/{job['id']}").status_code == 200
    assert zipfile.ZipFile(io.BytesIO(one.get(f"{archive}?delete=true").content)).testzip() is None
    assert one.get(f"/api/jobs/{job['id']}").status_code == 404


def test_jobs_wait_in_order_and_a_running_one_is_cancelled(served):
    one, queue = served
    before = left(queue)
    running, *waiting = (upload(one, content) for content in (b"wait", b"\0video", b"\0video"))
    wait_for(one, running["id"], "running")
    assert [one.get(f"/api/jobs/{job['id']}").json()["position"] for job in waiting] == [1, 2]
    health = one.get("/health").json()
    assert health["queue"] == {"running": 1, "waiting": 2, "slots": 1} and health["version"] == VERSION
    assert one.get(f"/api/jobs/{running['id']}/emotions.json").status_code == 409
    deadline_steps = wait_for(one, running["id"], "running")["steps"]
    assert all(0 <= step["share"] <= 1 for step in deadline_steps)
    for job in (waiting[0], running):
        assert one.delete(f"/api/jobs/{job['id']}").status_code == 204
    assert wait_for(one, waiting[1]["id"], "done")  # by a new process
    one.delete(f"/api/jobs/{waiting[1]['id']}")
    assert left(queue) == before


@pytest.mark.parametrize(
    "content, name, facts",
    [
        (b"refuse", "a.mp4", ("a.mp4: this is text", "Choose a video", "None")),
        (b"fail", "a.mp4", ("RuntimeError", "odd: a.mp4", "report")),
        (b"full", "a.mp4", ("[Errno 28] No space left on device: '",)),
        (b"large", "a.mp4", ("the memory is too small (",)),
        (b"die", "a.mp4", ("died", "signal 9", "memory")),
    ],
)
def test_a_faulty_file_fails_its_own_job_with_a_message_that_names_no_path_of_the_server(served, content, name, facts):
    one, queue = served
    before = left(queue)
    status = wait_for(one, upload(one, content, name)["id"], "failed")
    assert all(fact in status["message"] for fact in facts) and str(queue.root) not in status["message"]
    assert ("report" in status["message"]) == (content == b"fail")
    assert left(queue) == before and status["files"] == {}  # the upload of a failed job is deleted at once
    assert status["message"] in one.get(f"/api/jobs/{status['id']}/emotions.json").json()["error"]
    after = upload(one, b"\0video")
    assert wait_for(one, after["id"], "done", "failed")["state"] == "done"


def test_a_worker_that_died_while_idle_costs_no_job(served):
    one, queue = served
    wait_for(one, upload(one, b"\0video")["id"], "done")
    (process,) = queue._processes
    os.kill(process._process.pid, signal.SIGKILL)
    while process._process.returncode is None:
        time.sleep(0.01)
    assert wait_for(one, upload(one, b"\0video")["id"], "done")


def test_a_job_for_which_no_process_can_be_started_fails(tmp_path, monkeypatch):
    with client(tmp_path) as (one, queue):
        assert "signal 9" in wait_for(one, upload(one, b"die")["id"], "failed")["message"]
        make = Path.mkdir

        def full(path: Path, *args, **options):
            if path.name.startswith("cache-"):
                raise OSError(28, "No space left on device", str(path))
            make(path, *args, **options)

        monkeypatch.setattr(Path, "mkdir", full)
        message = wait_for(one, upload(one, b"\0video")["id"], "failed", within_s=5.0)["message"]
        assert "No space left" in message and str(queue.root) not in message
        monkeypatch.undo()
        assert wait_for(one, upload(one, b"\0video")["id"], "done")


def chunks(size: int):
    """Yield a form with a file of so many bytes, of undeclared length."""
    yield b'--x\r\nContent-Disposition: form-data; name="media"; filename="a.mp4"\r\n\r\n'
    for _ in range(size // 100_000):
        yield bytes(100_000)
    yield b"\r\n--x--\r\n"


MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}


@pytest.mark.parametrize(
    "status, facts, request_of",
    [
        (413, ("5.0 MB", "3 MB", "--limit-mb"), {"content": bytes(5_000_000)}),
        (413, ("more than that", "3 MB"), {"content": chunks(5_000_000), "headers": MULTIPART}),
        (400, ("a.mp4 is empty",), {"files": {"media": ("a.mp4", b"")}}),
        (400, ("media is empty",), {"content": b""}),
        (400, ("s.srt is empty",), {"files": {"media": ("a.mp4", b"1"), "transcript": ("s.srt", b"")}}),
        (400, ("no file", "`media`"), {"files": {"video": ("a.mp4", b"1")}}),
        (400, ("each once",), {"files": [("media", ("a.mp4", b"1")), ("media", ("b.mp4", b"1"))]}),
        (400, ("language", "1,000"), {"files": {"media": ("a.mp4", b"1")}, "data": {"language": "x" * 2000}}),
        (400, ("boundary",), {"content": b"1", "headers": {"Content-Type": "multipart/form-data"}}),
        (400, ("incomplete",), {"content": b"--x\r\nA: b\r\n\r\nc", "headers": MULTIPART}),
        (400, ("cannot be read",), {"content": b"no form", "headers": MULTIPART}),
    ],
)
def test_an_upload_that_is_none_is_refused_and_leaves_nothing(served, status, facts, request_of):
    one, queue = served
    before = left(queue)
    answer = one.post("/api/jobs", **request_of)
    assert answer.status_code == status and all(fact in answer.json()["error"] for fact in facts), answer.text
    assert left(queue) == before


def test_an_upload_over_the_limit_is_refused_before_it_is_read(one):
    def body():
        pytest.fail("the body was read")
        yield b""

    answer = one.post("/api/jobs", content=body(), headers={"Content-Length": str(LIMIT + 1)})
    assert answer.status_code == 413


def test_a_full_disk_is_noticed_before_and_while_an_upload_is_read(served, monkeypatch):
    one, queue = served
    before = left(queue)
    usage = type("Usage", (), {"free": uploads.RESERVE_BYTES + 1000})
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: usage)
    answer = one.post("/api/jobs", content=bytes(2000))
    assert answer.status_code == 507 and "TMPDIR" in answer.json()["error"]
    monkeypatch.setattr(uploads, "_CHECKED_BYTES", 1000)
    answer = one.post("/api/jobs", content=(bytes(1500) for _ in range(2)))
    assert answer.status_code == 507 and left(queue) == before


def test_a_full_queue_refuses(tmp_path):
    with client(tmp_path, most_waiting=1) as (one, _):
        jobs = [upload(one, b"wait") for _ in range(2)]
        answer = one.post("/api/jobs", content=b"\0video")
        assert answer.status_code == 503 and "1 jobs are waiting" in answer.json()["error"]
        one.delete(f"/api/jobs/{jobs[1]['id']}")
        assert one.post("/api/jobs", content=b"\0video").status_code == 201


def test_two_jobs_run_at_a_time_and_end_with_the_server(tmp_path):
    with client(tmp_path, slots=2) as (one, queue):
        for job in [upload(one, b"wait") for _ in range(2)]:
            wait_for(one, job["id"], "running")
        assert one.get("/health").json()["queue"]["running"] == 2
        pids = [process._process.pid for process in queue._processes]
    assert list(tmp_path.iterdir()) == []
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_job_is_deleted_when_its_time_is_over(tmp_path):
    with client(tmp_path, keep_s=0.5) as (one, queue):
        job = upload(one, b"\0video")
        wait_for(one, job["id"], "done")
        deadline = time.monotonic() + 30
        while left(queue):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert one.get(f"/api/jobs/{job['id']}").status_code == 404


@pytest.mark.parametrize(
    "name, shown",
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\videos\\a b.mp4", "a b.mp4"),
        ("<script>alert(1)</script>.mp4", "script>.mp4"),
        ("a\nb\x1b[31m\u202e.mp4", "a b\\x1b[31m\\u202e.mp4"),
        ("..", "media"),
        ("", "media"),
        ("x" * 300 + ".mp4", "x" * 150 + "…" + "x" * 36 + ".mp4"),
    ],
)
def test_a_name_is_shown_and_never_a_path(served, name, shown):
    one, queue = served
    assert shown_name(name, "media") == shown
    job = upload(one, b"\0video", name or " ")
    folder = queue.jobs[job["id"]].folder
    wait_for(one, job["id"], "done")
    (path,) = (folder / "upload").iterdir()
    assert re.fullmatch(r"[0-9a-f]{16}(\.mp4)?", path.name)
    emotions = one.get(f"/api/jobs/{job['id']}/emotions.json").json()
    assert emotions["media"]["name"] == shown and emotions["utterances"][2]["id"] == f"{Path(shown).stem}_0002"
    assert path.stem not in json.dumps(emotions)


@pytest.mark.parametrize(
    "headers, status",
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8765"}, 421),
        ({"Host": "localhost.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "[::1"}, 421),
        ({"Host": "localhost:8765"}, 201),
        ({"Host": "[::1]:8765"}, 201),
        ({"Host": "192.168.1.2:8765", "Origin": "http://192.168.1.2:8765"}, 201),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://127.0.0.1"}, 201),
    ],
)
def test_other_sites_cannot_use_the_server(one, headers, status):
    answer = one.post("/api/jobs", content=b"\0video", headers=headers)
    assert answer.status_code == status, answer.text
    assert status == 201 or "error" in answer.json()


def test_every_answer_forbids_to_load_anything_from_elsewhere(one):
    job = upload(one, b"\0video")
    wait_for(one, job["id"], "done")
    for path in ("/", "/static/serve.js", "/health", f"/jobs/{job['id']}/page/index.html", "/nothing", "/api/jobs/x"):
        answer = one.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "http" not in policy and "*" not in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2].partition(";")[0]
        assert answer.headers["x-content-type-options"] == "nosniff" and "set-cookie" not in answer.headers
        assert answer.headers["cache-control"] == "no-store"


def test_the_api_says_what_its_schema_says(one):
    schema = one.get("/openapi.json").json()
    assert schema["openapi"].startswith("3.1") and {"Emotions", "JobStatus"} <= set(schema["components"]["schemas"])
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            answer = one.request(method, path.format(id="nothing", file="nothing"))
            assert str(answer.status_code) in operation["responses"], (path, method)
    assert one.put("/api/jobs").status_code == 405


def test_a_browser_gets_a_page_with_the_error_and_a_program_gets_json(one):
    browser = {"accept": "text/html,application/xhtml+xml"}
    page = one.get("/nope/<b>", headers=browser)
    assert page.status_code == 404 and page.headers["content-type"].startswith("text/html")
    assert "there is no page /nope/&lt;b&gt;" in page.text and 'href="/"' in page.text and "<b>" not in page.text
    page = one.put("/health", headers=browser)
    assert page.status_code == 405 and "/health does not answer to PUT" in page.text
    for answer in (one.get("/nope"), one.get("/api/nope", headers=browser)):
        assert answer.status_code == 404 and "there is no page" in answer.json()["error"]


def test_a_model_that_cannot_be_loaded_is_an_error_at_the_start(tmp_path):
    from dferc.core.errors import InputError

    for source, facts in (("missing", ("--model", "no such model")),):
        with pytest.raises(InputError) as error, client(tmp_path, options={"source": source}):
            pass
        assert all(fact in str(error.value) for fact in facts)
    assert list(tmp_path.iterdir()) == []


def test_upload_that_stalls_is_given_up_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "SILENCE_S", 0.05)
    queue = JobQueue(tmp_path, {})
    headers = [(b"host", b"127.0.0.1"), (b"content-length", b"1000")]
    scope = {"type": "http", "method": "POST", "path": "/api/jobs", "query_string": b"name=a.mp4", "headers": headers}
    sent, begun = [], [{"type": "http.request", "body": b"\0video", "more_body": True}]

    async def receive() -> dict:
        return begun.pop() if begun else await asyncio.Event().wait()

    async def send(message: dict) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(make_app(queue, LIMIT)(scope, receive, send), timeout=30))
    assert sent[0]["status"] == 408 and b"nothing arrived for" in sent[1]["body"] and b"kept" in sent[1]["body"]
    assert (b"connection", b"close") in sent[0]["headers"]  # the rest would be taken for the next request
    assert left(queue) == [] and not queue.jobs


def test_a_job_that_is_removed_before_it_began_frees_its_process(tmp_path):
    async def state_of_the_next() -> str:
        async with JobQueue(tmp_path, options={"source": None}, command=COMMAND) as queue:
            first, second = (waiting_job(queue) for _ in range(2))
            queue.add(first)
            await queue.remove(first)  # in the same turn of the loop
            queue.add(second)
            await asyncio.sleep(0)
            return second.state

    assert asyncio.run(state_of_the_next()) == "running"


def waiting_job(queue: JobQueue) -> ServedJob:
    name, folder = queue.new_folder()
    medium = folder / "upload/talk.mp4"
    medium.parent.mkdir()
    medium.write_bytes(b"\0video")
    return ServedJob(name, folder, Upload({"media": medium}, {"media": "talk.mp4"}, {}))
