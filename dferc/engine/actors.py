"""The workers of a cluster: Ray actors, each with CPUs or a GPU to itself."""

import time
from collections.abc import Sequence
from typing import Any

import ray

from dferc.core.errors import InputError
from dferc.engine.common import Workers, call
from dferc.engine.crew import Crew, CrewMember, Dealer
from dferc.engine.job import Job

_LOOK_S = 5.0  # seconds between two looks at the size of the cluster


class RayWorker:
    """A process of the cluster."""

    def start(self, job: Job) -> None:
        """Make the worker function."""
        self.function = job.make_worker_here()

    def work(self, item: Any) -> Any:
        """Return the result of one item."""
        return call(self.function, item)


class RayCrew(Crew):
    """Actors that are replaced when they die, as many as the cluster has room for.

    Ray's own retries (`max_task_retries`) are off: it charges each death to all items of the actor, so that the one
    that waits behind a killer is given up with it; and it counts a lost machine and a lack of memory in another way.
    `ray.util.ActorPool` gives an actor one item at a time, and neither replaces a dead one nor names what it had.
    """

    lost = (
        ray.exceptions.RayActorError,
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.OutOfMemoryError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.LocalRayletDiedError,
        ray.exceptions.ObjectLostError,
    )

    def __init__(self, job: Job, dealer: Dealer, workers: Workers):
        super().__init__(dealer)
        self.job, self.count = ray.put(job), workers.count
        self.shares = {"CPU": workers.cpus, "GPU": workers.gpus}
        options = {"num_cpus": workers.cpus, "num_gpus": workers.gpus, "max_restarts": 0, "max_task_retries": 0}
        self.actor_class = ray.remote(**options)(RayWorker)
        self.size, self.looked_s = 0, 0.0

    def _replenish(self) -> None:
        # As many workers as were asked for, or as fit. Ray starts each as soon as there is room for it.
        if len(self.members) == self.size and time.monotonic() - self.looked_s < _LOOK_S:
            return
        has = ray.cluster_resources()
        room = min(int(has.get(name, 0) // share) for name, share in self.shares.items() if share)
        for _ in range(len(self.members), room if self.count is None else min(room, self.count)):
            actor = self.actor_class.remote()
            self.members.append(CrewMember(actor, {actor.start.remote(self.job): None}))
        self.size, self.looked_s = len(self.members), time.monotonic()

    def _submit(self, member: CrewMember, item: Any) -> "ray.ObjectRef":
        return member.handle.work.remote(item)

    def _wait(self, handles: Sequence["ray.ObjectRef"]) -> Sequence["ray.ObjectRef"]:
        if not handles:  # every machine is lost
            time.sleep(_LOOK_S)
            return ()
        finished, _ = ray.wait(handles, timeout=_LOOK_S)
        return finished

    def _fetch(self, handle: "ray.ObjectRef") -> Any:
        try:
            return ray.get(handle)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None  # what the worker raised, without Ray's wrapping
        except self.lost:
            raise
        except ray.exceptions.RayError as error:
            raise InputError(f"Ray failed: {error}") from error
