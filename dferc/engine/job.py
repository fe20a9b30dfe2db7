"""What travels to the workers of a cluster: the function, how it begins, and what a machine must have for it."""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dferc.core.errors import InputError
from dferc.engine.common import call, single_thread, use_threads

_PACKAGES = ("av", "numpy", "opencv-python-headless", "opensmile", "ray", "tokenizers", "torch", "transformers")
"""On which values may depend."""

_OURS = ("dferc", "pipeline")


def versions() -> dict[str, str | None]:
    """Of Python and of the packages on which values may depend; None = not installed."""
    found = {"Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def loaded_sources() -> tuple[str, ...]:
    """Our own source files that this process has loaded, as package/file.

    A module of our name that lies elsewhere (an adapter of the user's own) is not ours to compare.
    """
    found = set()
    for name, module in list(sys.modules.items()):
        package = name.partition(".")[0]
        if package in _OURS and getattr(module, "__file__", None):
            file, folder = Path(module.__file__), _folder(package)
            if file.is_relative_to(folder):
                found.add(f"{package}/{file.relative_to(folder).as_posix()}")
    return tuple(sorted(found))


def code_hash(sources: Sequence[str]) -> str:
    """Of these files as they are on this machine."""
    found = [_folder(package) / file for package, _, file in (source.partition("/") for source in sources)]
    return hashlib.sha256(b"".join(path.read_bytes() if path.exists() else b"missing" for path in found)).hexdigest()[
        :12
    ]


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    return Path(spec.submodule_search_locations[0] if spec else package)


def there(paths: Sequence[Path]) -> list[str]:
    """Those paths that exist here, absolute: what every other machine must see."""
    return [str(path.absolute()) for path in paths if path.exists()]


@dataclass
class Job:
    """Made where the command runs, sent to every worker.

    Attributes:
        function: of one item.
        initializer: called once in each worker, with `initargs`.
        initargs: its arguments.
        paths: that every machine must see, absolute.
        threads: of a worker's numeric libraries; a network on a CPU rounds otherwise with another number.
        versions: of the packages where the command runs.
        sources: our own code there, by file.
        code: its hash.
    """

    function: Callable[[Any], Any]
    initializer: Callable[..., None] | None = None
    initargs: tuple = ()
    paths: Sequence[str] = ()
    threads: int = 1
    versions: dict[str, str | None] = field(default_factory=versions)
    sources: tuple[str, ...] = field(default_factory=loaded_sources)
    code: str = ""

    def __post_init__(self):
        self.code = code_hash(self.sources)

    def start(self) -> None:
        """Begin, in a worker.

        Raises:
            InputError: this machine is not fit, or the initializer says so; it names the machine.
            Exception: what the initializer raises.
        """
        self.verify_machine()
        single_thread() if self.threads == 1 else use_threads(self.threads)
        if self.initializer is not None:
            try:
                self.initializer(*self.initargs)
            except InputError as error:
                raise InputError(f"machine {machine()} of the cluster: {error}") from error

    def work(self, item: Any) -> Any:
        """The result of one item, in a worker that has begun."""
        return call(self.function, item)

    def verify_machine(self) -> None:
        """Check that this machine can give the same results as the one that asks for them.

        Raises:
            InputError: it lacks a path, or has another version of a package; it names the machine.
        """
        for path in self.paths:
            if not os.path.exists(path):
                raise InputError(
                    f"machine {machine()} of the cluster lacks {path}. Every machine needs the same files under the "
                    "same path: share the folder, or copy it there."
                )
        found = versions() | {"our code": code_hash(self.sources)}
        other = [
            f"{name} {found[name] or 'missing'}, here {asked}"
            for name, asked in (self.versions | {"our code": self.code}).items()
            if found[name] != asked
        ]
        if other:
            raise InputError(
                f"machine {machine()} of the cluster has {'; '.join(other)}. Values could depend on where they were "
                "computed: install the same versions everywhere (constraints.txt)."
            )


def machine() -> str:
    """Name and address of this machine of the cluster."""
    import ray  # an extra

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
