"""The workers of a cluster: Ray actors, each with a CPU or a GPU to itself, fed so that none ever waits for an item."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import ray

from dferc.core.errors import InputError
from dferc.engine.common import AHEAD, MAX_DEATHS, Task, WorkerDied, Workers
from dferc.engine.dealing import Dealer
from dferc.engine.job import Job

_LOOK_S = 5.0
"""How often it is asked whether the cluster has grown."""

_MAX_STILLBORN = 10
"""Workers that may die one after the other as they begin."""

_QUICK_S = 5.0
"""A worker that takes longer for an item gets the next when it is done: another may be free before."""

_LOST = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.LocalRayletDiedError,
    ray.exceptions.ObjectLostError,
)


class _Died:
    """The outcome of what a dead worker was at."""


class _Worker:
    """A process of the cluster."""

    def __init__(self, job: Job):
        self.job = job

    def start(self) -> None:
        self.job.start()

    def work(self, item: Any) -> Any:
        return self.job.work(item)


@dataclass(eq=False, slots=True)
class _Hand:
    """A worker as it is seen from here.

    Attributes:
        actor: of Ray.
        begun: reference of the end of its start; None once that is over.
        at: what it was given, and has not given back.
        since: when it last gave something back, or begun.
        quick: whether that took little time.
    """

    actor: "ray.actor.ActorHandle"
    begun: "ray.ObjectRef | None"
    at: "dict[ray.ObjectRef, Task]" = field(default_factory=dict)
    since: float = 0.0
    quick: bool = False

    def has_room(self, depth: int) -> bool:
        """Whether it takes an item beside the `depth` that it has; one that killed a worker is given alone."""
        if self.begun is not None or len(self.at) != depth:
            return False
        return not depth or self.quick and not any(task.deaths for task in self.at.values())

    def gave_back(self) -> None:
        """Note the time."""
        now = time.monotonic()
        self.since, self.quick = now, self.begun is None and now - self.since < _QUICK_S


class Crew:
    """Workers that are replaced when they die, as many as the cluster has room for.

    Nobody can say which of its items a worker died of: the result of the one before may be lost with it. So each is
    tried again by a worker that has nothing else; from then on a death has one culprit. Ray is never asked to try
    anything again: it counts a lost machine, a killer and a want of memory each in another way.
    """

    def __init__(self, job: Job, dealer: Dealer, workers: Workers):
        self.job, self.workers = ray.put(job), workers
        takes = {"num_cpus": workers.cpus, "num_gpus": workers.gpus}
        self.hire = ray.remote(**takes, max_restarts=0, max_task_retries=0)(_Worker)
        self.dealer = dealer
        self.suspects: list[Task] = []
        self.hands: list[_Hand] = []
        self.owner: dict[ray.ObjectRef, _Hand] = {}
        self.stillborn = 0
        self.looked_at = -_LOOK_S

    def results(self) -> Iterator[tuple[int, Any]]:
        """Run everything; see `engine.run`."""
        while True:
            self._replenish()
            more = self._give()
            if not more and not any(hand.at for hand in self.hands):
                return
            if not self.owner:  # every machine is lost
                time.sleep(_LOOK_S)
                continue
            finished, _ = ray.wait(list(self.owner), timeout=_LOOK_S)
            for reference in finished:
                yield from self._take(reference)

    def _replenish(self) -> None:
        """As many workers as were asked for, or as the cluster has room for; one that finds none now waits for it."""
        if time.monotonic() - self.looked_at < _LOOK_S:
            return
        self.looked_at = time.monotonic()
        for _ in range(len(self.hands), self._room()):
            actor = self.hire.remote(self.job)
            hand = _Hand(actor, actor.start.remote())
            self.hands.append(hand)
            self.owner[hand.begun] = hand

    def _room(self) -> int:
        """Workers that the cluster can hold at a time, or as many of them as were asked for."""
        has = ray.cluster_resources()
        takes = {"CPU": self.workers.cpus, "GPU": self.workers.gpus}
        room = min(int(has.get(name, 0) // share) for name, share in takes.items() if share)
        return room if self.workers.count is None else min(room, self.workers.count)

    def _give(self) -> bool:
        """Give each worker that has begun what it can take; False where there was nothing left to give."""
        for depth in range(AHEAD):  # the idle ones first
            for hand in self.hands:
                if not hand.has_room(depth):
                    continue
                task = self.suspects.pop() if self.suspects and not depth else self.dealer.deal(hand)
                if task is None:
                    return bool(self.suspects)
                reference = hand.actor.work.remote(task.item)
                hand.at[reference] = task
                self.owner[reference] = hand
        return True

    def _take(self, reference: "ray.ObjectRef") -> Iterator[tuple[int, Any]]:
        """The end of one thing a worker was at: its result, its start, or the death of the worker."""
        hand = self.owner.get(reference)
        if hand is None:
            return  # it was of a worker that has died since
        outcome = _outcome(reference)
        if outcome is _Died:
            yield from self._bury(hand)
            return
        del self.owner[reference]
        hand.gave_back()
        if reference == hand.begun:
            hand.begun, self.stillborn = None, 0
        else:
            yield hand.at.pop(reference).index, outcome

    def _bury(self, hand: _Hand) -> Iterator[tuple[int, Any]]:
        self.hands.remove(hand)
        self.looked_at = -_LOOK_S  # its place is free at once, or its machine is gone
        if hand.begun is not None:
            del self.owner[hand.begun]
            self.stillborn += 1
            if self.stillborn == _MAX_STILLBORN:
                raise InputError(f"{self.stillborn} workers in a row died as they began. Is the memory too small?")
        for reference, task in hand.at.items():
            del self.owner[reference]
            outcome = _outcome(reference)
            if outcome is not _Died:
                yield task.index, outcome
                continue
            task.deaths += 1
            if task.deaths < MAX_DEATHS:
                self.suspects.append(task)
            else:
                yield task.index, WorkerDied(task.deaths)


def _outcome(reference: "ray.ObjectRef") -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except _LOST:
        return _Died
    except ray.exceptions.RayError as error:
        raise InputError(f"Ray failed: {error}") from error
