"""Engines that run work: worker processes of this machine, this process, or a Ray cluster.

One function, `run`, is the whole interface. Its promises (results as they finish, flat memory, a dead worker costs no
more than the item that killed it) hold wherever the work runs; a caller may rely on nothing else.
"""

import contextlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dferc.core.errors import InputError
from dferc.core.threads import usable_cpus as default_workers
from dferc.engine.common import HERE, Standby, WorkerDied, Workers, absolute, stateless
from dferc.engine.crew import Dealer
from dferc.engine.local import ProcessCrew, run_here

__all__ = ["HERE", "Standby", "WorkerDied", "Workers", "absolute", "default_workers", "run", "stateless"]

_MAX_LOST_IN_A_ROW = 10
"""Items given up one after the other, without a result between: then the machine is at fault, not the items."""


def run(
    make_worker: Callable[[], Callable[[Any], Any]],
    items: Iterable[Any],
    workers: Workers,
    paths: Sequence[Path] = (),
    together: Callable[[Any], Hashable] | None = None,
) -> Iterator[tuple[int, Any]]:
    """Apply a function to many items.

    Args:
        make_worker: called once in each worker process; it returns the function of one item, such as an object that
            holds a model. Picklable, such as `functools.partial(SomeClass, settings)`; for a function that needs no
            preparation, `stateless(function)`. The function runs single-threaded, except on a GPU.
        items: picklable; consumed lazily, so that memory stays flat. Paths in them are absolute, because a worker may
            have another working directory.
        workers: where, and how many.
        paths: files and folders that every machine must see under the same name, if they exist here.
        together: key of an item, such as its file. Consecutive items with equal keys go to one worker, unless another
            would have nothing to do.

    Yields:
        (index of the item, result) as they finish; the result is a `WorkerDied` where the item killed its worker
        `MAX_DEATHS` times.

    Raises:
        InputError: workers keep dying, whatever the item; or the cluster cannot be reached or used.
        Exception: what `make_worker` or its function raises; the run ends with it.
    """
    if workers.cluster is not None:
        from dferc.engine import cluster  # Ray is optional, and slow to import

        results = cluster.run_on_cluster(make_worker, items, workers, paths, together)
    elif count := default_workers() if workers.count is None else workers.count:
        results = ProcessCrew(make_worker, Dealer(items, together), count, workers.standby).results()
    else:
        results = run_here(make_worker, items)
    lost_in_a_row = 0
    with contextlib.closing(results):
        for index, result in results:
            lost_in_a_row = lost_in_a_row + 1 if isinstance(result, WorkerDied) else 0
            if lost_in_a_row == _MAX_LOST_IN_A_ROW:
                raise InputError(
                    f"{lost_in_a_row} items in a row killed their worker process. Is the memory too small for so many "
                    "at a time? Try fewer with --workers."
                )
            yield index, result
