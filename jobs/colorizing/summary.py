"""What a job has come to: lines for people, and OUTPUT/_colornet/summary.json for machines."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

from colornet.archive.plan import ColorizePlan, Tally
from colornet.archive.task import ColorizeTask
from colornet.storage import LeftOut, uris

SHOWN = 10
"""Reasons of failures that are printed; summary.json has more."""


def place(output: str) -> str:
    """Where the summary of an output lies."""
    return uris.own(output, "summary.json")


def write(
    source: str,
    plan: ColorizePlan,
    tally: Tally,
    task: ColorizeTask,
    started: datetime,
    left_out: LeftOut,
    stopped: str | None,
) -> None:
    """Write the summary of a job; `stopped` says why, if it ended before its work did."""
    now = datetime.now(UTC)
    summary = {
        "input": source,
        "output": task.output,
        "state": "stopped" if stopped else "finished",
        "stopped": stopped,
        "tried": plan.pending,
        **asdict(tally),
        "failures": dict(tally.failures),
        "left_out": +left_out.counts,
        "started_at": started.isoformat(timespec="seconds"),
        "finished_at": now.isoformat(timespec="seconds"),
        "seconds": round((now - started).total_seconds(), 1),
        "model": task.model,
        **task.run._asdict(),
    }
    data = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
    task.storage.write(place(task.output), data.encode(), "application/json")


def show_left_out(left_out: LeftOut) -> None:
    """Print what of the input is no scan."""
    for line in left_out.lines():
        print(f"  besides, {line}")


def show(tally: Tally, output: str) -> None:
    """Print it."""
    print(f"{tally.done} done, {tally.failed} failed, {tally.skipped} skipped: {output}, {place(output)}")
    if tally.hinted:
        print(f"  {tally.hinted} of them with colours that people chose")
    for reason, count in tally.failures[:SHOWN]:
        print(f"  {count} × {reason}")
