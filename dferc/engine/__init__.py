"""Where work runs: worker processes of this machine, this process, or a Ray cluster.

One function, `run`, is the whole interface; what it promises (results as they finish, flat memory, a dead worker costs
no more than the item that killed it) is all that its caller may rely on, wherever the work runs.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dferc.core.errors import InputError
from dferc.engine.common import HERE, WorkerDied, Workers, absolute, default_workers
from dferc.engine.dealing import Dealer
from dferc.engine.local import Pool, here

__all__ = ["HERE", "WorkerDied", "Workers", "absolute", "default_workers", "run"]

_MAX_LOST_IN_A_ROW = 10
"""Items given up one after the other, without a result between: then the machine is at fault, not the items."""


def run(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    workers: Workers,
    initializer: Callable[..., None] | None = None,
    initargs: tuple = (),
    paths: Sequence[Path] = (),
    together: Callable[[Any], Hashable] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Apply a function to many items.

    Args:
        function: of one item, importable by name (processes are spawned); single-threaded there, but on a GPU's.
        items: picklable; consumed lazily, so that memory stays flat. Paths in them are absolute: a worker may have
            another working directory.
        workers: where, and how many.
        initializer: called once per process before its first item, with `initargs`.
        initargs: its arguments.
        paths: what every machine must see under the same name, of what this one sees.
        together: of an item, such as the file that it lies in: items that follow one another and have it in common go
            to one worker, unless another would have nothing to do.

    Yields:
        (index of the item, result) as they finish; the result is a `WorkerDied` where the item killed its worker
        `MAX_DEATHS` times.

    Raises:
        InputError: workers keep dying, whatever the item; or the cluster is not there, or not fit for this.
        Exception: what `function` or `initializer` raises; the run ends with it.
    """
    lost_in_a_row = 0
    with contextlib.closing(_results(function, items, workers, initializer, initargs, paths, together)) as results:
        for index, result in results:
            lost_in_a_row = lost_in_a_row + 1 if isinstance(result, WorkerDied) else 0
            if lost_in_a_row == _MAX_LOST_IN_A_ROW:
                raise InputError(
                    f"{lost_in_a_row} items in a row killed their worker process. Is the memory too small for so many "
                    "at a time? Try fewer with --workers."
                )
            yield index, result


def _results(function, items, workers, initializer, initargs, paths, together) -> Iterator[tuple[int, Any]]:
    if workers.cluster is not None:
        from dferc.engine import cluster  # Ray is optional, and slow to import

        return cluster.results(function, items, workers, initializer, initargs, paths, together)
    count = default_workers() if workers.count is None else workers.count
    if count:
        return Pool(function, Dealer(items, together), count, initializer, initargs).results()
    return here(function, items, initializer, initargs)
