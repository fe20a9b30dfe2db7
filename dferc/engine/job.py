"""The job that travels to the workers of a cluster: how to make a worker, and the requirements for its machine."""

import functools
import importlib.metadata
import os
import pickle
import platform
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dferc.core.errors import InputError
from dferc.core.sources import code_hash, find_source, imported_distributions
from dferc.engine.common import use_threads


def defining_modules(make_worker: Callable) -> tuple[str, ...]:
    """Return the modules of ours in which a worker is defined; all code of a worker is imported from there."""
    parts, names = [make_worker], {__name__}
    for part in parts:
        if isinstance(part, functools.partial):
            parts += filter(callable, (part.func, *part.args, *part.keywords.values()))
        names.add(part.__module__)
    return tuple(sorted(name for name in names if name != "__main__" and find_source(name)))


@dataclass
class Job:
    """Work of a cluster's workers; made where the command runs, and sent to each of them."""

    make_worker: bytes  # pickled, so that a machine is verified before it imports the worker's code
    modules: Sequence[str]  # that define the worker (`defining_modules`)
    paths: Sequence[str] = ()  # that every machine must see, absolute
    threads: int = 1  # of a worker's numeric libraries; a network on a CPU rounds differently with another number
    distributions: Sequence[str] = field(init=False)  # installed packages from which the code imports
    installed: dict[str, str] = field(init=False)  # versions where the command runs

    def __post_init__(self):
        self.distributions = sorted(imported_distributions(*self.modules))
        self.installed = self._installed()

    def make_worker_here(self) -> Callable[[Any], Any]:
        """Make the worker function in a process of the cluster; an InputError names the machine."""
        self._verify_machine()
        use_threads(self.threads)
        try:
            return pickle.loads(self.make_worker)()
        except InputError as error:
            raise InputError(f"machine {machine()} of the cluster: {error}") from error

    def _installed(self) -> dict[str, str]:
        """Return the versions on this machine: of Python, of the packages, of our code."""
        versions = {"Python": platform.python_version()}
        for name in self.distributions:
            try:
                versions[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                versions[name] = "missing"
        return versions | {"our code": code_hash(*self.modules) if all(map(find_source, self.modules)) else "missing"}

    def _verify_machine(self) -> None:
        """Check that this machine can give the same results as the one where the command runs."""
        for path in self.paths:
            if not os.path.exists(path):
                raise InputError(
                    f"machine {machine()} of the cluster lacks {path}. Every machine needs the same files under the "
                    "same path: share the folder, or copy it there."
                )
        own, other = self.installed, self._installed()
        if differing := [f"{name} {other[name]}, here {own[name]}" for name in own if other[name] != own[name]]:
            raise InputError(
                f"machine {machine()} of the cluster has {'; '.join(differing)}. Values could depend on where they "
                "were computed: install the same versions everywhere (constraints.txt)."
            )


def machine() -> str:
    """Return the name and address of this machine of the cluster."""
    import ray  # an extra

    return f"{socket.gethostname()} ({ray.util.get_node_ip_address()})"
