"""Make training shards: folders or s3:// prefixes of colour photographs in, Parquet files out.

    python -m jobs.prepare --input photos/ --output shards/
    python -m jobs.prepare --input s3://museum/colour s3://press/slides --output s3://training/shards --license CC0-1.0
    python -m jobs.prepare --input photos/ --output shards/ --kind-from folder --keep-gray 0.05
    python -m jobs.prepare --input "shapes://2000?size=64&seed=7" --output shapes/

OUTPUT gets train-00000.parquet … for jobs.train, val-00000.parquet … with the photographs that are held out,
rejected.parquet with the uri and the reason of every file that was not taken, and prepare.json with the counts. The
same input and settings give the same files, byte for byte; started again, the job goes on where it stopped. Any other
train-*.parquet and val-*.parquet at OUTPUT are removed if they are of an earlier run of this job.

Every worker must be able to read the inputs and write the output: on a cluster, use s3:// or a shared folder.
"""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from colornet import distribution
from colornet.datasets import shards, sources
from colornet.datasets.parts import MANIFEST, NOT_FETCHED, Screen, Work, lost
from colornet.datasets.screening import UNREADABLE, Screening
from colornet.datasets.shards import HELD_OUT, TRAIN, ShardPlan
from colornet.errors import ColornetError, ExitCode, NotFoundError, SettingsError, StorageError
from colornet.storage import LeftOut, ObjectInfo, S3Options, Storage, uris

from .command import Job
from .progress import JobProgress
from .ray_data import ask_until_answered, map_blocks
from .session import start_ray

ATTEMPTS = 3
"""How often a file may take its worker process down before it is given up."""
FORMAT = 1
"""Counts up whenever the same input and settings would give other shards."""
DESCRIPTION = "prepare.json"
REJECTED = "rejected.parquet"


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """The settings of jobs.prepare."""

    input: tuple[str, ...]
    """Folders, s3:// prefixes or single files, searched to any depth; or shapes://COUNT?size=PIXELS&seed=NUMBER for the
    built-in synthetic data set."""
    output: str
    """Folder or s3:// prefix for the shards. Must not be an input's place, nor inside it, nor around it."""
    screening: Screening = field(default_factory=Screening)
    """What photographs are taken, and how large they are kept. Does not concern shapes."""
    held_out: float = 0.05
    """Share of photographs to hold out. Which ones follows from their content, so that a photograph stays on its side
    when others are added."""
    license: str = ""
    """What to write in the column `license` of every photograph: under what licence they are."""
    source: str = ""
    """What to write in the column `source` of every photograph: where they are from. If empty, the input's uri."""
    kind: str = ""
    """What to write in the column `kind` of every photograph: what it shows, such as scene or people."""
    kind_from: Literal["flag", "folder"] = "flag"
    """Where `kind` is from: --kind, or the name of the folder of the input that a photograph lies in, at any depth
    (photos/people/1970/a.jpg of photos/ is of kind people); --kind where it lies in none."""
    keep_gray: float = 0.0
    """Keep nearly gray photographs, too, up to this share of all that are kept; which ones follows from their content.
    Black-and-white ones are never kept."""
    limit: int | None = None
    """Take only the first so many files of the listing: for a trial."""
    s3: S3Options = field(default_factory=S3Options)
    """How S3 is spoken to. Does not change what the shards hold."""

    def __post_init__(self) -> None:
        """Check the values; raises `SettingsError` naming the field."""
        if not self.input:
            raise SettingsError("input must name at least one place")
        if not 0 <= self.held_out < 1:
            raise SettingsError(f"held-out must be at least 0 and less than 1, not {self.held_out}")
        if not 0 <= self.keep_gray < 1:
            raise SettingsError(f"keep-gray must be at least 0 and less than 1, not {self.keep_gray}")
        if self.limit is not None and self.limit < 1:
            raise SettingsError(f"limit must be at least 1, not {self.limit}")


def prepare(settings: PrepareSettings) -> ExitCode:
    """Run the job; returns its exit code. Raises ColornetError for what is wrong before it starts."""
    storage = Storage(settings.s3)
    inputs, output = _places(settings)
    left_out = LeftOut()
    files = sources.listing(inputs, source=settings.source, limit=settings.limit, storage=storage, left_out=left_out)
    for line in left_out.lines():
        print(f"besides, {line}")
    if not files.num_rows:
        raise SettingsError(f"there are no files in {', '.join(inputs)}")
    _check_output(output, storage)
    digest = _digest(files, settings)
    before = _description(output, storage)
    if (
        before.get("digest") == digest
        and before["complete"]
        and set(before["shards"]) <= set(_shards_at(output, storage))
    ):
        print(f"nothing to do: {output} was made of the same {files.num_rows} files with the same settings")
        _print_table(before)
        return ExitCode.DONE

    start_ray()
    parts = uris.own(output, "parts")
    place = uris.join(parts, digest[:16])
    work = Work(
        parts=place,
        screening=settings.screening,
        license=settings.license,
        kind=settings.kind,
        kind_from_folder=settings.kind_from == "folder",
        storage=storage,
    )
    manifest = pa.concat_tables([_screen(files, work), _unlisted(files.num_rows, left_out)])
    plan = shards.plan(manifest, settings.held_out, keep_gray=settings.keep_gray)
    description = _describe(settings, inputs, manifest.num_rows, plan, digest)
    storage.write(uris.join(output, REJECTED), shards.rejected_file(plan.rejected), "application/vnd.apache.parquet")
    if not plan.shards:
        _print_table(description)
        raise ColornetError(f"none of the {files.num_rows} files can be used; {uris.join(output, REJECTED)} says why")
    _write_shards(output, plan, storage)
    storage.write(uris.join(output, DESCRIPTION), _json(description), "application/json")
    _print_table(description)
    print(f"{len(plan.shards)} shards in {output}")
    return _finish(parts, description, storage)


# --- before Ray starts ------------------------------------------------------------------------------------------------


def _places(settings: PrepareSettings) -> tuple[list[str], str]:
    inputs, output = [sources.normalize(uri) for uri in settings.input], uris.normalize(settings.output)
    for place in inputs:
        if not sources.is_shapes(place) and (uris.contains(place, output) or uris.contains(output, place)):
            raise SettingsError(f"the output {output} and the input {place} must lie apart: sources are never touched")
    return inputs, output


def _check_output(output: str, storage: Storage) -> None:
    """Make sure that the output can be written, and that what this job replaces there is its own."""
    storage.check_writable(output)
    ours = _description(output, storage) or _any(uris.own(output), storage)
    if _shards_at(output, storage) and not ours:
        raise SettingsError(f"{output} has shards that this job did not write; choose another output")


def _any(uri: str, storage: Storage) -> bool:
    return next(_listing(uri, storage), None) is not None


def _shards_at(output: str, storage: Storage) -> list[str]:
    """Return the keys of the shards at the output."""
    names = (f"{TRAIN}-", f"{HELD_OUT}-")
    keys = [found.key for found in _listing(output, storage)]
    return [key for key in keys if key.startswith(names) and key.endswith(".parquet")]


def _listing(uri: str, storage: Storage) -> Iterator[ObjectInfo]:
    """List a place that may not be there yet."""
    with contextlib.suppress(NotFoundError):
        yield from storage.listing(uri)


def _description(output: str, storage: Storage) -> dict[str, Any]:
    try:
        return json.loads(storage.read(uris.join(output, DESCRIPTION)).data)
    except NotFoundError:
        return {}
    except ValueError as error:
        raise SettingsError(f"{uris.join(output, DESCRIPTION)} is damaged: {error}") from error


def _digest(files: pa.Table, settings: PrepareSettings) -> str:
    """SHA-256 of all that decides what the shards look like."""
    decisive = {
        "format": FORMAT,
        "version": distribution.version(),
        "screening": dataclasses.asdict(settings.screening),
        "held_out": settings.held_out,
        "license": settings.license,
        "kind": [settings.kind, settings.kind_from],
        "keep_gray": settings.keep_gray,
    }
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for batch in files.to_batches(max_chunksize=10_000):
        digest.update(json.dumps(batch.to_pydict()).encode())
    return digest.hexdigest()


# --- step 1: screening ------------------------------------------------------------------------------------------------


def _screen(files: pa.Table, work: Work) -> pa.Table:
    """Screen all files, alone where worker processes died, and give up what kills them; returns the whole manifest."""
    manifest: list[pa.Table] = []
    first_rows = _block_rows(files.num_rows)
    with JobProgress(files.num_rows, "files") as progress:

        def screen(files: pa.Table, attempt: int) -> Generator[pa.Table]:
            """Yield manifests as their parts become durable."""
            rows = first_rows if attempt == 1 else 1
            blocks = [files.slice(start, rows) for start in range(0, files.num_rows, rows)]
            with contextlib.closing(map_blocks(blocks, _screen_block, work, error=StorageError)) as results:
                for screened in results:
                    failed = (pc.starts_with(screened["reason"], reason) for reason in (UNREADABLE, NOT_FETCHED))
                    progress.advance(screened.num_rows, pc.sum(pc.or_(*failed)).as_py() or 0)
                    manifest.append(screened)
                    yield screened

        gone = ask_until_answered(files, "row", screen, ATTEMPTS, "files")
        if gone.num_rows:
            progress.advance(gone.num_rows, gone.num_rows)
            reason = f"deadly: its worker process died, {ATTEMPTS} times out of {ATTEMPTS}"
            manifest.append(lost(gone, reason))
    return pa.concat_tables(manifest)


def _unlisted(first: int, left_out: LeftOut) -> pa.Table:
    """Return the manifest of what could not be listed; its rows come after those that could."""
    rows = [
        {"row": row, "uri": each.uri, "reason": f"{UNREADABLE}: {each.reason}", "bytes": 0}
        for row, each in enumerate(left_out.unlisted, first)
    ]
    return pa.Table.from_pylist(rows, MANIFEST)


def _screen_block(block: pa.Table, work: Work) -> pa.Table:
    return Screen(work)(block).cast(MANIFEST)


def _block_rows(count: int) -> int:
    """Files of one task: it must not depend on the cluster, or a job that is started again would find no parts."""
    return max(1, min(128, count // 64))


# --- step 2: shards ---------------------------------------------------------------------------------------------------


def _write_shards(output: str, plan: ShardPlan, storage: Storage) -> None:
    """Write all shards, and remove those of an earlier run that these do not replace."""
    # Without it, nobody takes the output for complete while old shards and new ones lie side by side.
    storage.delete(uris.join(output, DESCRIPTION))
    _delete((uris.join(output, key) for key in _shards_at(output, storage) if key not in plan.shards), storage)
    blocks = [
        rows.append_column("shard", pa.array([uris.join(output, name)] * rows.num_rows))
        for name, rows in plan.shards.items()
    ]
    written = 0
    results = map_blocks(blocks, _write_shard, storage, retries=ATTEMPTS, error=StorageError)
    with contextlib.closing(results), JobProgress(len(blocks), "shards") as progress:
        for batch in results:
            written += batch.num_rows
            progress.advance(batch.num_rows)
    if written != len(blocks):
        raise StorageError(f"{len(blocks) - written} of {len(blocks)} shards were lost with their worker")


def _write_shard(rows: pa.Table, storage: Storage) -> pa.Table:
    uri = rows["shard"][0].as_py()
    shards.write_shard(uri, rows.select(MANIFEST.names), storage)
    return pa.table({"shard": [uri]})


# --- the end ----------------------------------------------------------------------------------------------------------


def _describe(settings: PrepareSettings, inputs: list[str], found: int, plan: ShardPlan, digest: str) -> dict[str, Any]:
    reasons = plan.reasons()
    described = {**dataclasses.asdict(settings), "input": inputs, "output": uris.normalize(settings.output)}
    del described["s3"]  # how it was done, not what
    return {
        "format": FORMAT,
        "version": distribution.version(),
        "digest": digest,
        "complete": NOT_FETCHED not in reasons,
        "settings": described,
        "found": found,
        "kept": plan.count(TRAIN),
        "held_out": plan.count(HELD_OUT),
        "kinds": plan.kinds(),
        "rejected": reasons,
        "shards": {name: rows.num_rows for name, rows in plan.shards.items()},
    }


def _json(description: dict[str, Any]) -> bytes:
    return (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode()


def _print_table(description: dict[str, Any]) -> None:
    reasons = description["rejected"]
    lines = [
        ("files", description["found"]),
        ("kept for training", description["kept"]),
        *((f"  {kind}", count) for kind, count in description["kinds"].items()),
        ("held out", description["held_out"]),
        ("rejected", sum(reasons.values())),
        *((f"  {reason}", count) for reason, count in reasons.items()),
    ]
    for label, count in lines:
        print(f"{label:<20}{count:>12,}")


def _finish(parts: str, description: dict[str, Any], storage: Storage) -> ExitCode:
    missing = description["rejected"].get(NOT_FETCHED, 0)
    if missing:
        raise StorageError(f"{missing} files could not be fetched; the same command tries them again")
    _delete((found.uri for found in _listing(parts, storage)), storage)
    return ExitCode.DONE


def _delete(places: Iterable[str], storage: Storage) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(storage.delete, places))


main = Job(settings=PrepareSettings, run=prepare, description=__doc__, program="python -m jobs.prepare")

if __name__ == "__main__":
    main()
