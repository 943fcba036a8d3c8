"""A look ahead (--plan): what would be done, and from a timed sample, how long it would take and what it would cost."""

import statistics
import time

import duckdb
import torch
from rich.filesize import decimal

from colornet.archive import occupancy
from colornet.archive.plan import ColorizePlan
from colornet.archive.task import ColorizeTask
from colornet.colorize import Colorizer
from colornet.errors import ColornetError
from colornet.inference import bundle as bundles

from .settings import ColorizeSettings

PART = "this is a part of the input and of its run: a start without the selection finds it finished"
"""What is said of a selection."""
SAMPLE = 12
"""Scans that are timed."""


def preview(plan: ColorizePlan, task: ColorizeTask, settings: ColorizeSettings) -> None:
    """Print what would be done. A few scans are fetched, colorized and thrown away; nothing is written anywhere."""
    reckoning = settings.reckoning
    print(f"{plan.scans} scans, {decimal(plan.bytes)}")
    if settings.select.is_partial:
        print(PART)
    print(f"finished before: {plan.done} done, {plan.skipped} skipped; {plan.failed} failed")
    print(f"to do: {plan.pending} scans, {decimal(plan.pending_bytes)}, to {task.output}")
    if plan.occupants:
        print(f"{occupancy.told(task.output, plan.occupants)}; without --replace, nothing is painted over them")
    if plan.hinted:
        print(f"with hints: {plan.hinted} scans, {plan.hinted_pending} of them to do")
    if not plan.pending:
        return
    seconds, errors = _time_sample(plan, task)
    if len(errors) == len(seconds):
        print(f"none of a sample of {len(seconds)} is colorized, so there is no estimate; the first: {errors[0]}")
        return
    each = statistics.mean(seconds)
    error = statistics.stdev(seconds) / len(seconds) ** 0.5 if len(seconds) > 1 else each
    hours = plan.pending * each / 3600 / (reckoning.nodes * reckoning.node_cpus)
    print(f"a sample of {len(seconds)} scans: {each:.2f} ± {error:.2f} s each on one core of this machine")
    if errors:
        print(f"  {len(errors)} of them are not colorized; the first: {errors[0]}")
    price = f", {hours * reckoning.nodes * reckoning.node_price:,.2f} in all" if reckoning.node_price else ""
    cores = f"{reckoning.nodes} nodes of {reckoning.node_cpus} such cores"
    print(f"on {cores}: {_duration(hours)}{price}, if storage keeps up")


def _time_sample(plan: ColorizePlan, task: ColorizeTask) -> tuple[list[float], list[ColornetError]]:
    """Return the seconds that each scan of a sample takes, and why some of them are not colorized."""
    torch.set_num_threads(1)
    colorizer = Colorizer(bundles.load(task.model, task.storage), task.render, precision=task.precision)
    sample = _sample(plan)
    _time(colorizer, task, *sample[0])  # for what happens once in a process
    timed = [_time(colorizer, task, *scan) for scan in sample]
    return [seconds for seconds, _ in timed], [error for _, error in timed if error]


def _time(colorizer: Colorizer, task: ColorizeTask, key: str, uri: str) -> tuple[float, ColornetError | None]:
    started, failure = time.perf_counter(), None
    try:
        colorizer.render(task.storage.read(uri).data, key, task.credentials)
    except ColornetError as error:
        failure = error
    return time.perf_counter() - started, failure


def _sample(plan: ColorizePlan) -> list[tuple[str, str]]:
    query = "SELECT key, source_uri FROM read_parquet($path) ORDER BY md5_number(source_uri) LIMIT $count"
    return duckdb.execute(query, {"path": str(plan.path), "count": SAMPLE}).fetchall()


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.1f} minutes"
