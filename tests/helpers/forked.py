"""Commands that start in a moment: forks of one process that has loaded the large packages, but nothing of ours.

A stage imports for seconds and works for a moment on a tiny corpus. `forked_commands` makes a folder with `python` and
`dferc` for the front of the path. They pass what they were given (arguments, folder, environment, streams) to that
process, whose fork goes on as the command would; our own code is imported in the fork, from its PYTHONPATH.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOADED = (
    "dvc.cli.parser dvc.repo.reproduce dvc.repo.status dvc.repo.experiments dvc.fs dvc.scm dvc.stage.cache "
    "sklearn.linear_model sklearn.manifold scipy.stats matplotlib.pyplot plotly.graph_objects jinja2 av cv2 opensmile "
    "h5py ruamel.yaml pydantic rich.progress torch torch._dynamo torchvision transformers.models.auto tokenizers"
).split()
_CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [b"."], [0, 1, 2])
    server.sendall(json.dumps([sys.argv, os.getcwd(), dict(os.environ)]).encode())
    server.shutdown(socket.SHUT_WR)
    sys.exit(int(server.recv(4) or 70))
"""


@contextlib.contextmanager
def forked_commands() -> Iterator[Path]:
    """Yield a folder with `python -m MODULE` and `dferc`; the process that they fork ends with the context."""
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's folder: the path of a socket is short
        address, server = f"{folder}/socket", [sys.executable, __file__]
        for name in ("python", "dferc"):
            command = Path(folder, name)
            command.write_text(_CLIENT.format(python=sys.executable, address=address))
            command.chmod(0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            process = subprocess.Popen([*server, str(listener.fileno())], pass_fds=[listener.fileno()])
        try:
            yield Path(folder)
        finally:
            process.kill()
            process.wait()


def serve(listener: socket.socket) -> list[str]:
    """Fork for each command that comes, and never return here; in the fork, return its arguments."""
    parent = os.getppid()
    listener.settimeout(5)
    while True:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            if os.getppid() != parent:  # the tests were killed
                os._exit(1)
            continue
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # keepers that ended
                pass
        if not os.fork():
            break
        connection.close()
    # The keeper: it waits for the command and reports its end.
    listener.close()
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    arguments, folder, environment = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    command = os.fork()
    if command:
        code = os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])
        connection.send(str(code if code >= 0 else 128 - code).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:1] = [folder, *environment.get("PYTHONPATH", "").split(os.pathsep)]
    return arguments


def perform(command: str, *arguments: str) -> None:
    """Run `python -m MODULE …` or `dferc …`, and exit as it does."""
    module = "dferc"
    if Path(command).name == "python":
        option, module, *arguments = arguments
        assert option == "-m", "only `python -m` is forked"
    sys.argv = [command, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        ended.append(end.code)
        raise
    except BaseException:
        ended.append(1)
        raise


def leave() -> None:
    """End without freeing each object of the packages, which would take seconds; all else is done by now."""
    sys.stdout.flush()
    sys.stderr.flush()
    code = ended[-1] if ended else 0
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    ended: list = []
    atexit.register(leave)  # the first to be registered is the last to be called
    for each in LOADED:
        __import__(each)
    gc.freeze()  # a collection would touch, so copy, every page
    gc.set_threshold(50_000)
    perform(*serve(socket.socket(fileno=int(sys.argv[1]))))
