"""Ask the ledger of a colour archive what has become of it.

    python -m jobs.ledger colour/                               # its runs, and the latest one at length
    python -m jobs.ledger s3://archive/colour --check           # is everything there that the ledger speaks of?
    python -m jobs.ledger colour/ --failures failures.csv       # what could not be colorized, and why
    python -m jobs.ledger colour/ --least-certain 100           # whose colour people should look at first
    python -m jobs.ledger colour/ --hinted                      # in which people chose colours, and who

Exit codes: 0; 1 it failed; 2 if there is no ledger there; 3 if --check found anything.
"""

import dataclasses
import json
import sys
import tempfile
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from colornet.archive import inventory, ledger
from colornet.archive.audit import Finding, audit
from colornet.archive.summary import (
    Group,
    LedgerRun,
    Steered,
    Summary,
    find_run,
    least_certain,
    steered,
    summarize,
    write_failures,
)
from colornet.errors import ExitCode, SettingsError
from colornet.settings import Field, settings
from colornet.storage import S3Options, Storage, uris

from .command import Job


@settings
class LedgerSettings:
    """The settings of jobs.ledger."""

    output: tyro.conf.Positional[str]
    """The colour archive: folder or s3:// prefix."""
    compact: bool = False
    """Merge the ledger's small parts into large ones first."""
    check: bool = False
    """Compare what is there with the rows that it was made under: read every output, and list what is not as it should
    be. With --run, compare with the rows of that run. `jobs.colorize --repair` makes again what of its run is found."""
    run: str = ""
    """Which run is meant: what the digest of its bundle, or of its settings, begins with, or both with a / between. The
    latest one, if this is empty."""
    input: str | None = None
    """With --check: the archive's input, as jobs.colorize takes it, to find scans without a row."""
    json: bool = False
    """Print what is asked for, the totals or a list, as JSON."""
    failures: Path | None = None
    """Write the run's failed scans to this file, .csv or .parquet."""
    least_certain: Annotated[int, Field(ge=1)] | None = None
    """List so many pictures of the run of whose colour the generator was least sure, the least certain first:
    confidence, from 0 to 1, and key. Only bundles that predict distributions (head bins) know how sure they are."""
    hinted: bool = False
    """List the pictures of the run in which people chose colours: how many, how strong, key, and who."""
    s3: S3Options = field(default_factory=S3Options)
    """What a bucket's owner may ask of requests."""

    def __post_init__(self) -> None:
        """Check what belongs together; raises SettingsError."""
        if self.input is not None and not self.check:
            raise SettingsError("input is for check only")
        asked = {"least_certain": self.least_certain is not None, "hinted": self.hinted, "check": self.check}
        questions = [name for name, is_asked in asked.items() if is_asked]
        if len(questions) > 1:
            raise SettingsError(f"{questions[0]} and {questions[1]} are two questions: ask one at a time")


def report(settings: LedgerSettings) -> ExitCode:
    """Print what is asked for; returns the exit code. Raises ColornetError if there is no ledger, or none to read."""
    storage = Storage(settings.s3)
    if not ledger.parts(settings.output, storage):
        raise SettingsError(f"there is no ledger in {settings.output}")
    console = Console(width=None if sys.stdout.isatty() else 120, soft_wrap=True, highlight=False)
    notes = Console(stderr=True, soft_wrap=True, highlight=False) if settings.json else console
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if settings.compact:
            done = ledger.compact(settings.output, storage)
            notes.print(f"{done.merged} small parts merged into {done.written}, with {done.rows} rows")
        if settings.failures is not None:
            count = write_failures(settings.output, settings.failures, folder, storage, settings.run)
            notes.print(f"{count} failed scans written to {escape(str(settings.failures))}")
        if settings.check:
            return _check(settings, folder, storage, console)
        if settings.least_certain is not None:
            pictures = least_certain(settings.output, settings.least_certain, folder, storage, settings.run)
            _list(pictures, settings, console)
            return ExitCode.DONE
        if settings.hinted:
            _list_steered(steered(settings.output, folder, storage, settings.run), settings, console)
            return ExitCode.DONE
        summary = summarize(settings.output, folder, storage, settings.run)
        if settings.json:
            print(json.dumps(_totals(settings.output, summary), indent=2))
        else:
            _print(console, summary)
    return ExitCode.DONE


# --- the check -------------------------------------------------------------------------------------------------------


def _check(settings: LedgerSettings, folder: Path, storage: Storage, console: Console) -> ExitCode:
    scans = None
    if settings.input is not None:
        scans = folder / "scans.parquet"
        inventory.write_inventory(uris.normalize(settings.input), scans, storage)
    run = find_run(settings.output, settings.run, folder, storage) if settings.run else None
    findings = audit(settings.output, run, scans, storage)
    if settings.json:
        print(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            console.print(_line(finding), markup=False)
        console.print(f"{len(findings)} findings" if findings else "all is as the ledger says")
    return ExitCode.FINDINGS if findings else ExitCode.DONE


def _line(finding: Finding) -> str:
    return _plain(f"{finding.kind}: {finding.uri}: {finding.words}")


def _plain(text: str) -> str:
    """A scan's name and what is said of it may hold anything, also what a terminal would obey."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


# --- the list --------------------------------------------------------------------------------------------------------


def _list(pictures: list[tuple[str, float]], settings: LedgerSettings, console: Console) -> None:
    if settings.json:
        print(json.dumps([{"key": key, "confidence": confidence} for key, confidence in pictures], indent=2))
        return
    for key, confidence in pictures:
        console.print(f"{confidence:.4f}  {_plain(key)}", markup=False)
    if not pictures:
        console.print("no picture of the latest run has a confidence: its bundle predicts no distribution")


def _list_steered(pictures: list[Steered], settings: LedgerSettings, console: Console) -> None:
    if settings.json:
        told = [dataclasses.asdict(each) | {"hints": json.loads(each.hints)} for each in pictures]
        print(json.dumps(told, indent=2))
        return
    for picture in pictures:
        strength = "" if picture.strength is None else f"  strength {picture.strength:.2f}"
        by = f"  by {picture.by}" if picture.by else ""
        console.print(_plain(f"{len(json.loads(picture.hints)):4}{strength}  {picture.key}{by}"), markup=False)
    if not pictures:
        console.print("people chose no colours in the latest run")


# --- tables ----------------------------------------------------------------------------------------------------------


def _print(console: Console, summary: Summary) -> None:
    runs = _table("runs", "bundle", "settings", "first", "last", "rows", "done", "failed", "skipped")
    for run in summary.runs:
        runs.add_row(
            run.bundle_digest[:12], run.settings_digest[:12], _clock(run.first), _clock(run.last), *_counts(run)
        )
    console.print(runs)
    run, is_latest = summary.run, summary.run == summary.runs[-1]
    name = "The latest run" if is_latest else "The run"
    console.print(
        f"\n{name}, {escape(run.bundle_digest[:12])} with {escape(run.settings_digest[:12])}: "
        f"{run.done:,} done, {run.failed:,} failed, {run.skipped:,} skipped; {summary.pixels / 1e6:,.0f} megapixels, "
        f"{decimal(summary.source_bytes)} in, {decimal(summary.output_bytes)} out"
    )
    if summary.confidence is not None:
        sure = summary.confidence
        console.print(f"confidence: median {sure.median:.2f}, quartiles {sure.lower:.2f} and {sure.upper:.2f}")
    if summary.hinted:
        console.print(f"people chose colours in {summary.hinted:,} of them: --hinted lists these")
    if summary.failures:
        failures = _table("failures", "count", "reason")
        for reason, count in summary.failures:
            failures.add_row(f"{count:,}", escape(_plain(reason)))
        console.print(failures)
    pace = _table("throughput", "from", "scans", "scans/h", "MP/s")
    for period in summary.pace:
        hours = period.seconds / 3600
        megapixels = period.pixels / 1e6 / period.seconds
        pace.add_row(_clock(period.start), f"{period.scans:,}", f"{period.scans / hours:,.0f}", f"{megapixels:,.2f}")
    console.print(pace)
    if summary.steps:
        steps = _table("steps, seconds a scan", "step", "median", "95 %")
        for step in summary.steps:
            steps.add_row(step.name, f"{step.median:.3f}", f"{step.p95:.3f}")
        console.print(steps)
    for title, groups in (("hosts", summary.hosts), ("formats", summary.formats)):
        table = _table(title, "name", "done", "failed", "skipped", "megapixels", "median seconds")
        for group in groups:
            seconds = "" if group.seconds is None else f"{group.seconds:.3f}"
            table.add_row(escape(_plain(group.name)), *_counts(group), f"{group.pixels / 1e6:,.0f}", seconds)
        console.print(table)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        is_text = column in ("bundle", "settings", "first", "last", "reason", "from", "step", "name")
        table.add_column(column, justify="left" if is_text else "right", overflow="fold")
    return table


def _counts(counted: LedgerRun | Group) -> list[str]:
    rows = [f"{counted.rows:,}"] if isinstance(counted, LedgerRun) else []
    return [*rows, f"{counted.done:,}", f"{counted.failed:,}", f"{counted.skipped:,}"]


def _clock(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


def _totals(output: str, summary: Summary) -> dict[str, Any]:
    """Return the summary as plain data for JSON; times are ISO 8601 in UTC."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        return [plain(each) for each in value] if isinstance(value, list | tuple) else value

    found = plain(dataclasses.asdict(summary))
    runs, run, failures = found.pop("runs"), found.pop("run"), dict(found.pop("failures"))
    told = "latest" if run == runs[-1] else "run"
    return {"output": uris.normalize(output), "runs": runs, told: {**run, **found, "failures": failures}}


main = Job(settings=LedgerSettings, run=report, description=__doc__, program="python -m jobs.ledger")

if __name__ == "__main__":
    main()
