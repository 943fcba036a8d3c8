"""All processes that come of a run, looked at while it goes on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from typing import Any

import psutil  # type: ignore[import-untyped]

_SPAWN = SpawnContext()


@dataclass(frozen=True)
class Sample:
    """All processes of a run at one moment."""

    moment: float
    """Seconds since the epoch."""
    cpu: dict[int, float]
    """CPU seconds of each so far."""
    store: int
    """Bytes of the object store."""


def watch(main: Callable[[Any], None], argument: object, every: float) -> list[Sample]:
    """Run `main` in a process of its own, and look at all that come of it every so many seconds, until it ends.

    Raises:
        SystemExit: if it fails.
    """
    samples = []
    process = _SPAWN.Process(target=main, args=(argument,))
    process.start()
    while process.is_alive():
        samples.append(_sample(process.pid))
        process.join(every)
    if process.exitcode:
        raise SystemExit(f"the {main.__name__.strip('_')} ended with exit code {process.exitcode}")
    return samples


def _sample(process: int | None) -> Sample:
    cpu, store = {}, 0
    root = psutil.Process(process)
    for each in [root, *root.children(recursive=True)]:
        try:
            with each.oneshot():
                times = each.cpu_times()
                cpu[each.pid] = times.user + times.system
                store += each.memory_info().shared if each.name() == "raylet" else 0
        except psutil.NoSuchProcess:
            continue
    return Sample(time.time(), cpu, store)
