"""Colorize an archive: scans in, the same scans in colour out, under the same keys.

    python -m jobs.colorize --input scans/ --output colour/ --plan
    python -m jobs.colorize --input scans/ --output colour/ --sample 500
    python -m jobs.colorize --input s3://archive/scans --output s3://archive/colour --model s3://models/bundle
    python -m jobs.colorize --input scans/ --output colour/ --hints hints.csv

The job's own files lie under OUTPUT/_colornet/: `ledger/*.parquet` has one row a scan, `summary.json` the totals;
`python -m jobs.ledger OUTPUT` reads them. The same command started again goes on where it stopped, and tries the failed
scans again. An output holds the pictures of one run: one bundle, and the same settings of how they look.

Exit codes: 0 every scan has its row; 1 the job failed; 2 the command line, a path or a setting is wrong; 3 with
--fail-on-errors, if scans failed; 4 stopped, because storage fails for everything or another job has the output: the
same command goes on from there once that is over; 130 and 143 interrupted, and it goes on too.
"""

import contextlib
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from colornet.archive import inventory, ledger, occupancy
from colornet.archive.hints import Row, read_hints, write_hints
from colornet.archive.plan import ColorizePlan, Tally, make_plan, tally
from colornet.archive.task import ColorizeTask
from colornet.errors import ExitCode, SettingsError, StoppedError, StorageError
from colornet.inference import bundle as bundles
from colornet.storage import LeftOut, Storage, uris
from colornet.storage.lock import OutputLock

from .colorizing import summary
from .colorizing.preview import PART, preview
from .colorizing.repair import amiss
from .colorizing.run import work_off
from .colorizing.settings import ColorizeSettings
from .command import Job
from .session import start_ray


def colorize(settings: ColorizeSettings) -> ExitCode:
    """Run the job; returns its exit code. Raises ColornetError for what is wrong before it starts."""
    source, output = uris.normalize(settings.input), uris.normalize(settings.output)
    if uris.contains(source, output) or uris.contains(output, source):
        raise SettingsError(f"the output {output} and the input {source} must lie apart: sources are never touched")
    storage = Storage(settings.s3)
    task = _task(output, settings, storage)
    hints = None if settings.hints is None else read_hints(uris.normalize(settings.hints), storage)
    with contextlib.ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="colornet-")))
        scans, left_out = folder / "inventory.parquet", LeftOut()
        if settings.reckoning.plan:
            inventory.write_inventory(source, scans, storage, left_out)
            hinted = _hinted(hints, scans, folder, task, settings)
            preview(_plan(scans, folder, task, settings, hinted), task, settings)
            summary.show_left_out(left_out)
            return ExitCode.DONE
        storage.check_writable(uris.own(output))
        started = datetime.now(UTC)
        lock = held.enter_context(OutputLock(output, "jobs.colorize", storage))
        inventory.write_inventory(source, scans, storage, left_out)
        hinted = _hinted(hints, scans, folder, task, settings)
        ledger.compact(output, storage)
        plan = _plan(scans, folder, task, settings, hinted)
        if plan.pending and plan.occupants and not settings.replace:
            raise SettingsError(
                f"{occupancy.told(output, plan.occupants)}; choose another output, or --replace to paint over them"
            )
        print(f"{plan.scans} scans in {source}, {plan.scans - plan.pending} finished before, {plan.pending} to do")
        summary.show_left_out(left_out)
        if settings.select.is_partial:
            print(PART)
        if plan.hinted:
            print(f"{plan.hinted} of them with hints, {plan.hinted_pending} of those to do")
        try:
            if plan.pending:
                start_ray(log_format=settings.log_format)
                work_off(plan, task, settings, lock)
        except StoppedError as error:
            with contextlib.suppress(StorageError):  # it may be the output's storage that fails
                _conclude(source, scans, plan, task, settings, started, hinted, left_out, stopped=str(error))
            raise
        result = _conclude(source, scans, plan, task, settings, started, hinted, left_out)
    return ExitCode.FINDINGS if settings.fail_on_errors and result.failed else ExitCode.DONE


def _conclude(
    source: str,
    scans: Path,
    plan: ColorizePlan,
    task: ColorizeTask,
    settings: ColorizeSettings,
    started: datetime,
    hinted: Path | None,
    left_out: LeftOut,
    stopped: str | None = None,
) -> Tally:
    """Say what has come of the selected scans."""
    result = tally(scans, task.output, task.run, plan.path.parent, settings.select, task.storage, hinted)
    summary.write(source, plan, result, task, started, left_out, stopped)
    summary.show(result, task.output)
    return result


def _task(output: str, settings: ColorizeSettings, storage: Storage) -> ColorizeTask:
    model = bundles.normalize(settings.model)
    bundle = bundles.load(model, storage)
    if settings.hints is not None:
        bundle.require_hints()
    task = ColorizeTask(
        output=output,
        model=model,
        bundle_digest=bundle.digest,
        render=replace(settings.render, size=settings.render.size or bundle.image_size),
        credentials=settings.credentials,
        device="cuda" if settings.gpu_share else "cpu",
        precision=settings.precision,
        storage=storage,
    )
    if task.credentials is not None:
        task.credentials.check()
    return task


def _hinted(
    hints: list[Row] | None, scans: Path, folder: Path, task: ColorizeTask, settings: ColorizeSettings
) -> Path | None:
    """Find the scans that the hints are for; None without a table of hints."""
    if hints is None or settings.hints is None:
        return None
    place = folder / "hints.parquet"
    write_hints(hints, settings.hints, scans, place, task.render, folder)
    return place


def _plan(
    scans: Path, folder: Path, task: ColorizeTask, settings: ColorizeSettings, hinted: Path | None
) -> ColorizePlan:
    return make_plan(
        scans,
        task.output,
        task.run,
        folder,
        settings.select,
        settings.retry_failed,
        task.storage,
        hinted,
        amiss(task) if settings.repair else (),
        task.render.extension,
    )


main = Job(settings=ColorizeSettings, run=colorize, description=__doc__, program="python -m jobs.colorize")

if __name__ == "__main__":
    main()
