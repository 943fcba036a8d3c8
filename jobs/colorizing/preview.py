"""A look ahead (--plan): what would be done, and from a timed sample, how long it would take and what it would cost."""

import statistics
import time
from collections.abc import Iterator

import duckdb
import torch
from rich.filesize import decimal

from colornet import bundle as bundles
from colornet import storage
from colornet.archive.plan import Plan
from colornet.archive.stages import Work
from colornet.colorize import Colorizer
from colornet.errors import ColornetError
from jobs.colorizing.settings import PlanSettings

SAMPLE = 12
"""Scans that are timed."""


def preview(plan: Plan, work: Work, reckoning: PlanSettings) -> None:
    """Print what would be done. A few scans are fetched, colorized and thrown away; nothing is written anywhere."""
    print(f"{plan.scans} scans, {decimal(plan.bytes)}")
    print(f"finished before: {plan.done} done, {plan.skipped} skipped; {plan.failed} failed")
    print(f"to do: {plan.pending} scans, {decimal(plan.pending_bytes)}, to {work.output}")
    if not plan.pending:
        return
    seconds, failed = _time_sample(plan, work)
    if not seconds:
        print(f"none of the {failed} scans of a sample could be colorized: no estimate")
        return
    each = statistics.mean(seconds)
    error = statistics.stdev(seconds) / len(seconds) ** 0.5 if len(seconds) > 1 else each
    hours = plan.pending * each / 3600 / (reckoning.nodes * reckoning.node_cpus)
    others = f"; {failed} others of the sample failed" if failed else ""
    print(f"timed on one core of this machine: {each:.2f} ± {error:.2f} s each for {len(seconds)} scans{others}")
    price = f", {hours * reckoning.nodes * reckoning.node_price:,.2f} in all" if reckoning.node_price else ""
    cores = f"{reckoning.nodes} nodes of {reckoning.node_cpus} such cores"
    print(f"on {cores}: {_duration(hours)}{price}, if storage keeps up")


def _time_sample(plan: Plan, work: Work) -> tuple[list[float], int]:
    """Return the seconds that each scan of a sample takes, and how many others of it failed."""
    torch.set_num_threads(1)
    colorizer = Colorizer(bundles.load(work.model), work.render, precision=work.precision)
    seconds: list[float] = []
    failed = 0
    for key, uri in _sample(plan):
        started = time.perf_counter()
        try:
            colorizer.render(storage.read(uri).data, key, work.credentials)
        except ColornetError:
            failed += 1
        else:
            seconds.append(time.perf_counter() - started)
    # The first one also pays for what happens once in a process.
    return seconds[1:] or seconds, failed


def _sample(plan: Plan) -> Iterator[tuple[str, str]]:
    query = "SELECT key, source_uri FROM read_parquet($path) ORDER BY md5_number(source_uri) LIMIT $count"
    yield from duckdb.execute(query, {"path": str(plan.path), "count": SAMPLE}).fetchall()


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.1f} minutes"
