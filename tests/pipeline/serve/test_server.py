"""`dferc-serve` as a process: signals, uploads and downloads that are broken off, kills, and its options."""

import io
import json
import re
import signal
import socket
import subprocess
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import httpx2 as httpx
import psutil
import pytest
from click.testing import CliRunner

from pipeline.serve.command import PREFIX, _own_folder, main
from tests.helpers.processes import all_end
from tests.helpers.servers import LIMIT, REPOSITORY, running, upload, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("server") / "tmp") as one:
        yield one


@pytest.fixture
def one(server):
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def folders(temporary: Path) -> list[Path]:
    """Return the folders of jobs below a folder for temporary files."""
    return [path for path in temporary.glob(f"{PREFIX}*/*") if path.is_dir() and not path.name.startswith("cache-")]


def wait_until(holds, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def descendants(server) -> list[int]:
    """Return the worker and the process that its job has started, once both run."""
    found = []

    def both_run() -> bool:
        found[:] = [child.pid for child in psutil.Process(server.process.pid).children(recursive=True)]
        return len(found) >= 2

    wait_until(both_run)
    return found


def send(server, head: str, body: bytes = b"") -> socket.socket:
    """Send the begin of a request."""
    address = urlsplit(server.url)
    connection = socket.create_connection((address.hostname, address.port), timeout=30)
    connection.sendall(f"{head}\r\nHost: {address.netloc}\r\n\r\n".encode() + body)
    return connection


def test_the_folder_is_private(server):
    (folder,) = server.temporary.glob(f"{PREFIX}*")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_broken_off_upload_leaves_nothing_and_no_traceback(server, one):
    connection = send(server, f"POST /api/jobs HTTP/1.1\r\nContent-Length: {LIMIT}", bytes(1_000_000))
    wait_until(lambda: folders(server.temporary))
    connection.close()
    wait_until(lambda: not folders(server.temporary))
    assert one.get("/health").json()["queue"]["running"] == 0


def test_a_huge_upload_is_refused_before_its_first_byte(server):
    connection = send(server, "POST /api/jobs HTTP/1.1\r\nContent-Length: 1000000000000")
    answer = connection.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 413") and "connection: close" in answer.lower()
    assert folders(server.temporary) == []
    connection.close()


def test_a_download_that_is_broken_off_deletes_nothing(server, one):
    job = upload(one, b"\0" * 2_500_000)
    archive = wait_for(one, job["id"], "done")["files"]["results.zip"]
    (medium,) = (folder / "results" / "results.zip" for folder in folders(server.temporary))
    medium.write_bytes(bytes(50_000_000))  # more than buffers of the system hold
    connection = send(server, f"GET {archive}?delete=true HTTP/1.1")
    assert b"200 OK" in connection.recv(1000)
    connection.close()
    time.sleep(0.5)
    assert one.get(f"/api/jobs/{job['id']}").status_code == 200
    assert len(one.get(f"{archive}?delete=true").content) == 50_000_000
    wait_until(lambda: not folders(server.temporary))


def test_the_commands_of_the_guide(server, tmp_path):
    (tmp_path / "talk.mp4").write_bytes(b"\0video")
    (tmp_path / "talk.srt").write_text("Hello")
    block = re.search(r"```bash\n(curl .*?)```", (REPOSITORY / "docs/serve.md").read_text(encoding="utf-8"), re.DOTALL)
    job, answers = "", []
    for line in block[1].replace("http://127.0.0.1:8765", server.url).splitlines():
        command = line.partition(" #")[0].replace("/ID", f"/{job}")
        deadline = time.monotonic() + 60
        while "running" in (answer := subprocess.check_output(command, shell=True, cwd=tmp_path, text=True)):
            if "/api/jobs/" not in command or time.monotonic() > deadline:
                break
            time.sleep(0.05)
        answers.append(answer)
        job = job or json.loads(answer)["id"]
    first, raw, status, saved, archive, deleted, health = answers
    assert json.loads(raw)["name"] == "talk.mp4" and json.loads(status)["state"] == "done" and saved == archive == ""
    assert json.loads((tmp_path / "talk.json").read_text())["utterances"][0]["text"] == "Hello"
    assert "emotions.eaf" in zipfile.ZipFile(tmp_path / "talk.zip").namelist()
    # The archive's `delete=true` deletes once the last byte is sent, which may be after the next command.
    assert ("no such job" in deleted or not deleted) and json.loads(health)["status"] == "ok" and first
    httpx.delete(f"{server.url}/api/jobs/{json.loads(raw)['id']}")


def test_two_videos_at_once(tmp_path):
    with running(tmp_path / "tmp", slots=2) as server, httpx.Client(base_url=server.url, timeout=30) as one:
        jobs = [upload(one, content) for content in (b"wait", b"\0one", b"wait", b"\0two")]
        wait_for(one, jobs[1]["id"], "done")
        wait_for(one, jobs[2]["id"], "running")
        assert one.get("/health").json()["queue"] == {"running": 2, "waiting": 1, "slots": 2}
        one.delete(f"/api/jobs/{jobs[0]['id']}")
        wait_for(one, jobs[3]["id"], "done")
        with zipfile.ZipFile(io.BytesIO(one.get(f"/api/jobs/{jobs[3]['id']}/results.zip").content)) as archive:
            assert json.loads(archive.read("emotions.json"))["media"]["name"] == "talk.mp4"


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_all_jobs_uploads_and_processes(tmp_path, number, status):
    with running(tmp_path / "tmp") as server, httpx.Client(base_url=server.url, timeout=30) as one:
        upload(one, b"\0done")
        wait_for(one, upload(one, b"wait")["id"], "running")
        uploading = send(server, f"POST /api/jobs HTTP/1.1\r\nContent-Length: {LIMIT}", bytes(1000))
        wait_until(lambda: len(folders(server.temporary)) == 3)
        children = descendants(server)
        code, printed = server.end(number)
        assert code == status and "deleted" in printed and "Traceback" not in printed
        assert all_end(children, within_s=20) and list(server.temporary.iterdir()) == []
        uploading.close()


def test_what_a_killed_server_leaves_is_deleted_by_the_next_one(tmp_path, monkeypatch):
    with running(tmp_path / "tmp") as server, httpx.Client(base_url=server.url, timeout=30) as one:
        wait_for(one, upload(one, b"wait")["id"], "running")
        children = descendants(server)
        server.end(signal.SIGKILL)
        assert all_end(children, within_s=20)  # a worker ends with its server
        (left,) = server.temporary.iterdir()
        monkeypatch.setattr("pipeline.serve.command.YOUNG_S", -1.0)
        monkeypatch.setattr("tempfile.tempdir", str(server.temporary))
        with _own_folder() as first, _own_folder() as second:
            assert not left.exists() and first.exists() and second.exists()


def invoke(*words: str):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_faulty_options_are_one_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = invoke("--model", "m", "--port", port)
        assert result.exit_code == 1 and str(port) in result.stderr and "--port" in result.stderr
    result = invoke("--model", "m", "--host", "192.0.2.1", "--port", 0)
    assert result.exit_code == 1 and "192.0.2.1" in result.stderr and "--host" in result.stderr
    for words in (("--limit-mb", 0), ("--jobs", 0), ("--keep-minutes", -1), ("--abstain", 2), ("--port", 70000)):
        assert invoke(*words).exit_code == 2
    for option in ("--limit-mb", "--keep-minutes"):  # infinite times are in no JSON: every answer would be a fault
        for value in ("inf", "nan", "1e308"):
            assert invoke(option, value, "--model", "nowhere").exit_code == 2
