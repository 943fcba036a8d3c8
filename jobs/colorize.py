"""Colorize an archive: scans in, the same scans in colour out, under the same keys.

    python -m jobs.colorize --input scans/ --output colour/ --model bundle/
    python -m jobs.colorize --input s3://archive/scans --output s3://archive/colour --model s3://models/bundle

The job's own files lie under OUTPUT/_colornet/: `ledger/*.parquet` has one row a scan, `summary.json` the totals. The
same command started again goes on where it stopped, and tries the failed scans again.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data

from colornet import bundle as bundles
from colornet import storage
from colornet.archive import inventory, ledger, stages
from colornet.archive.stages import Work
from colornet.content_credentials import Credentials
from colornet.errors import SettingsError
from colornet.predict import Precision
from colornet.render import RenderSettings
from jobs.command import run_job
from jobs.progress import JobProgress
from jobs.session import start_ray

log = logging.getLogger(__name__)

ATTEMPTS = 3
"""How often a scan may take its worker process down before it is given up."""
BLOCK_ROWS = 16
"""Scans a worker takes at once: fewer cost Ray time, more are lost when a worker dies."""


@dataclass(frozen=True, kw_only=True)
class ColorizeSettings:
    """The settings of jobs.colorize."""

    input: str
    """The archive: a folder, an s3:// prefix, or a Parquet inventory with a column `source_uri`."""
    output: str
    """Folder or s3:// prefix for the colour archive. Must not be the input's place, nor inside it, nor around it."""
    model: str
    """The model bundle: a folder or s3:// prefix, as jobs.train writes it."""
    render: RenderSettings = field(default_factory=RenderSettings)
    """What outputs look like."""
    min_workers: int = 1
    """Generator workers to keep, at least."""
    max_workers: int = 0
    """Generator workers to grow to; 0 takes one a core, or one a GPU share."""
    worker_cpus: int = 1
    """CPU threads of each generator worker."""
    gpu_share: float = 0.0
    """GPU that each generator worker takes: 1 a whole one, 0.5 half of one, 0 none."""
    layout: Literal["auto", "fused", "split"] = "auto"
    """Fused does all steps in one worker a core; split predicts in workers of its own. Auto splits where GPUs are."""
    precision: Precision = "auto"
    """Arithmetic of the generator; auto takes bfloat16 where the processor has it."""
    predict_batch: int = 16
    """Pictures predicted at once in the split layout."""
    certificates: str | None = None
    """PEM file with the certificate chain that C2PA manifests are signed with; needs --key too."""
    key: str | None = None
    """PEM file with the certificate's private key. Both must be at these paths on every node."""
    fail_on_errors: bool = False
    """End with exit code 1 if any scan failed."""

    def __post_init__(self) -> None:
        """Check the values; raises ValueError naming the field."""
        if self.min_workers < 1:
            raise ValueError(f"min-workers must be at least 1, not {self.min_workers}")
        if self.max_workers and self.max_workers < self.min_workers:
            raise ValueError(f"max-workers must be at least min-workers ({self.min_workers}), not {self.max_workers}")
        if self.worker_cpus < 1:
            raise ValueError(f"worker-cpus must be at least 1, not {self.worker_cpus}")
        if not 0 <= self.gpu_share <= 1:
            raise ValueError(f"gpu-share must be from 0 to 1, not {self.gpu_share}")
        if self.predict_batch < 1:
            raise ValueError(f"predict-batch must be at least 1, not {self.predict_batch}")
        if (self.certificates is None) != (self.key is None):
            raise ValueError("certificates and key belong together: give both or none")
        if self.gpu_share and self.layout == "fused":
            raise ValueError("layout fused runs on CPUs: leave gpu-share at 0, or take layout split")

    @property
    def credentials(self) -> Credentials | None:
        """What C2PA manifests are signed with, if anything."""
        if self.certificates is None or self.key is None:
            return None
        return Credentials(certificates=self.certificates, key=self.key)

    @property
    def split(self) -> bool:
        """Whether the split layout is asked for."""
        return self.layout == "split" or (self.layout == "auto" and self.gpu_share > 0)


def colorize(settings: ColorizeSettings) -> int:
    """Run the job; returns its exit code. Raises ColornetError for what is wrong before it starts."""
    source, output = storage.normalize(settings.input), storage.normalize(settings.output)
    if storage.contains(source, output) or storage.contains(output, source):
        raise SettingsError(f"the output {output} and the input {source} must lie apart: sources are never touched")
    bundle = bundles.load(storage.normalize(settings.model))
    work = Work(
        output=output,
        model=storage.normalize(settings.model),
        bundle_digest=bundle.digest,
        render=replace(settings.render, size=settings.render.size or bundle.image_size),
        credentials=settings.credentials,
        device="cuda" if settings.gpu_share else "cpu",
        precision=settings.precision,
    )
    if work.credentials is not None:
        work.credentials.check()
    scans = inventory.read_inventory(source)
    storage.check_writable(storage.join(output, "_colornet"))
    todo = ledger.pending(scans, _current(work))
    print(
        f"{scans.num_rows} scans in {source}, {scans.num_rows - todo.num_rows} finished before, {todo.num_rows} to do"
    )

    if todo.num_rows:
        start_ray()
        _work_off(todo, work, settings)
    return _summarize(scans, todo.num_rows, work, settings)


def _work_off(todo: pa.Table, work: Work, settings: ColorizeSettings) -> None:
    """Colorize what is to do, again in smaller blocks where worker processes died, and give up what kills them."""
    with JobProgress(todo.num_rows, "scans") as progress:
        for attempt in range(1, ATTEMPTS + 1):
            seen = []
            for rows in _stream(todo, work, settings, alone=attempt > 1):
                seen.append(rows.select(["source_uri"]))
                progress.advance(rows.num_rows, pc.sum(pc.equal(rows["status"], "failed")).as_py() or 0)
            if seen:
                todo = todo.join(pa.concat_tables(seen), "source_uri", join_type="left anti").sort_by("source_uri")
            if not todo.num_rows:
                return
            log.warning("%d scans were lost with their worker in attempt %d", todo.num_rows, attempt)
        outcome = stages.failure(f"its worker process died, {ATTEMPTS} times out of {ATTEMPTS}")
        stages.record(work, [stages.complete(work, row, outcome, 0.0) for row in todo.to_pylist()])
        progress.advance(todo.num_rows, todo.num_rows)


def _stream(todo: pa.Table, work: Work, settings: ColorizeSettings, *, alone: bool) -> Iterator[pa.Table]:
    """Yield ledger rows as they become durable. With `alone`, each scan is a block of its own: none drags others down.

    Rows of blocks whose worker process died are missing from what is yielded.
    """
    context = ray.data.DataContext.get_current()
    context.max_errored_blocks = -1
    rows = 1 if alone else _block_rows(todo.num_rows, settings)
    blocks = [todo.slice(start, rows) for start in range(0, todo.num_rows, rows)]
    dataset = ray.data.from_arrow(blocks)
    wired = _split(dataset, work, settings, alone) if settings.split else _fused(dataset, work, settings, alone)
    for batch in wired.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        assert isinstance(batch, pa.Table)  # as batch_format asks
        if batch.num_rows:
            yield batch


def _block_rows(count: int, settings: ColorizeSettings) -> int:
    """As many scans a block as keep every worker busy to the end."""
    return max(1, min(BLOCK_ROWS, count // (4 * _workers(settings))))


def _workers(settings: ColorizeSettings) -> int:
    if settings.max_workers:
        return settings.max_workers
    share, kind = (settings.gpu_share, "GPU") if settings.gpu_share else (settings.worker_cpus, "CPU")
    return max(settings.min_workers, int(ray.cluster_resources().get(kind, 0) / share))


def _pool(settings: ColorizeSettings, alone: bool) -> ray.data.ActorPoolStrategy:
    # One task in flight: a scan that takes its worker down must not take down one that waits behind it.
    return ray.data.ActorPoolStrategy(
        min_size=settings.min_workers,
        max_size=_workers(settings),
        max_tasks_in_flight_per_actor=1 if alone else 2,
    )


# A worker that dies is replaced, but what it was doing is not tried again behind our back: by default Ray would feed a
# scan that kills its worker to one after the other, for ever.
# (Ray 2.60 says that this way of giving them ends with 2.64, and has no other yet: that is for us, not for users.)
warnings.filterwarnings("ignore", message=".*ray_remote_args.*deprecated")
_BOUNDED_ACTORS: dict[str, Any] = {"max_restarts": -1, "max_task_retries": 0}
_BOUNDED_TASKS: dict[str, Any] = {"max_retries": 0}


def _fused(dataset: ray.data.Dataset, work: Work, settings: ColorizeSettings, alone: bool) -> ray.data.Dataset:
    return dataset.map_batches(
        stages.Colorize,
        batch_size=None,
        batch_format="pyarrow",
        compute=_pool(settings, alone),
        fn_constructor_args=(work,),
        num_cpus=settings.worker_cpus,
        **_BOUNDED_ACTORS,
    )


def _split(dataset: ray.data.Dataset, work: Work, settings: ColorizeSettings, alone: bool) -> ray.data.Dataset:
    prepared = dataset.map_batches(
        cast(Any, _prepare), batch_size=None, batch_format="pyarrow", fn_args=(work,), num_cpus=0.5, **_BOUNDED_TASKS
    )
    predicted = prepared.map_batches(
        stages.Predict,
        batch_size=settings.predict_batch,
        batch_format="pyarrow",
        compute=_pool(settings, alone),
        fn_constructor_args=(work,),
        num_cpus=0 if settings.gpu_share else settings.worker_cpus,
        num_gpus=settings.gpu_share,
        **_BOUNDED_ACTORS,
    )
    return predicted.map_batches(
        cast(Any, _render), batch_size=None, batch_format="pyarrow", fn_args=(work,), num_cpus=0.5, **_BOUNDED_TASKS
    )


def _prepare(batch: pa.Table, work: Work) -> pa.Table:
    return stages.Prepare(work)(batch)


def _render(batch: pa.Table, work: Work) -> pa.Table:
    return stages.Render(work)(batch)


def _current(work: Work) -> pa.Table:
    return ledger.current(ledger.read(work.output), work.bundle_digest, work.settings_digest)


def _summarize(scans: pa.Table, tried: int, work: Work, settings: ColorizeSettings) -> int:
    """Print and write what the archive has come to; returns the exit code."""
    now = _current(work).join(scans.select(["source_uri"]), "source_uri", join_type="left semi")
    counts = {status: pc.sum(pc.equal(now["status"], status)).as_py() or 0 for status in ("done", "failed", "skipped")}
    reasons = now.filter(pc.field("status") == "failed").group_by("reason").aggregate([("reason", "count")])
    summary = {
        "input": settings.input,
        "output": work.output,
        "scans": scans.num_rows,
        "tried": tried,
        **counts,
        "failures": {row["reason"]: row["reason_count"] for row in reasons.to_pylist()},
        "model": work.model,
        "bundle_digest": work.bundle_digest,
        "settings_digest": work.settings_digest,
    }
    place = storage.join(work.output, "_colornet", "summary.json")
    storage.write(place, (json.dumps(summary, indent=2) + "\n").encode(), "application/json")
    print(f"{counts['done']} done, {counts['failed']} failed, {counts['skipped']} skipped: {work.output}, {place}")
    for reason, count in sorted(summary["failures"].items(), key=lambda item: -item[1])[:10]:
        print(f"  {count} × {reason}")
    return 1 if settings.fail_on_errors and counts["failed"] else 0


if __name__ == "__main__":
    run_job(ColorizeSettings, colorize, __doc__)
