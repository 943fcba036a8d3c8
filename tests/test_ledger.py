"""The ledger's parts: written, merged, and read by others."""

import math
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colornet.archive import ledger
from colornet.errors import StorageError
from colornet.storage import Storage

storage = Storage()

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ledger_row(name: str, status: str = "done", *, minute: int = 0, digest: str = "b", **more) -> dict:
    return {
        "source_uri": f"/in/{name}",
        "source_version": "1",
        "status": status,
        "finished_at": NOON + timedelta(minutes=minute),
        "bundle_digest": digest,
        "settings_digest": "s",
        **more,
    }


def names_of(output: Path) -> set[str]:
    return {part.key for part in ledger.parts(str(output))}


def distinct(output: Path) -> list[tuple]:
    """All different rows, by a reader that knows nothing of this module."""
    files = [str(output / "_colornet" / "ledger" / name) for name in names_of(output)]
    return sorted(pl.scan_parquet(files).collect().unique().rows(), key=repr)


def test_parts_add_up(tmp_path):
    assert ledger.read(str(tmp_path)).num_rows == 0 and ledger.parts(str(tmp_path)) == []
    ledger.append(str(tmp_path), [ledger_row("a"), ledger_row("b")])
    ledger.append(str(tmp_path), [ledger_row("c")])
    rows = ledger.read(str(tmp_path))
    assert rows.schema.equals(ledger.SCHEMA)
    assert sorted(rows["source_uri"].to_pylist()) == ["/in/a", "/in/b", "/in/c"]
    assert len(list(Path(ledger.place(str(tmp_path))).glob("*.parquet"))) == 2


# --- compaction ------------------------------------------------------------------------------------------------------

values = st.fixed_dictionaries(
    {
        "source_uri": st.sampled_from(["/in/a", "/in/b", "/in/ü\n", "s3://b/it's.tif"]),
        "status": st.sampled_from(["done", "failed", "skipped"]),
        "reason": st.one_of(st.none(), st.just(""), st.text(max_size=5)),
        "attempts": st.one_of(st.none(), st.integers(0, 3)),
        "pixels": st.one_of(st.none(), st.integers(0, 2**62)),
        "seconds": st.one_of(st.none(), st.sampled_from([0.0, -0.0, 0.1, math.inf])),
        "finished_at": st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 2), timezones=st.just(UTC)),
        "bundle_digest": st.sampled_from(["b", "x"]),
        "settings_digest": st.just("s"),
    }
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(values, max_size=4), max_size=4), st.data())
def test_compaction_keeps_every_different_row_once(tmp_path_factory, parts, data):
    output = tmp_path_factory.mktemp("ledger")
    if parts:
        parts.append(data.draw(st.sampled_from(parts)))  # the same rows twice
    for rows in parts:
        ledger.append(str(output), rows)
    before = distinct(output) if parts else []
    done = ledger.compact(str(output), target_rows=data.draw(st.sampled_from([1, 2, 5, 1000])))
    assert (distinct(output) if parts else []) == before
    assert (
        done.written <= done.merged <= len(parts) and len(names_of(output)) == len(parts) - done.merged + done.written
    )
    for part in ledger.parts(str(output)):
        if part.key.startswith("merged-"):
            rows = pq.read_table(part.uri)
            uris = rows["source_uri"].to_pylist()
            assert uris == sorted(uris) and rows.schema.equals(ledger.SCHEMA)
            assert max(Counter(map(repr, rows.to_pylist())).values(), default=1) == 1
    assert ledger.read(str(output)).num_rows == len(before)


def test_many_small_parts_become_few_large_ones(tmp_path):
    for n in range(60):
        ledger.append(str(tmp_path), [ledger_row(f"{n}-{k}") for k in range(4)])
    assert ledger.compact(str(tmp_path), target_rows=100) == ledger.Compaction(merged=60, written=3, rows=240)
    assert [pq.read_metadata(part.uri).num_rows for part in ledger.parts(str(tmp_path))] == [100, 100, 40]


def test_what_is_large_or_alone_stays(tmp_path):
    nothing = ledger.Compaction(0, 0, 0)
    assert ledger.compact(str(tmp_path)) == nothing
    ledger.append(str(tmp_path), [ledger_row("a")])
    before = names_of(tmp_path)
    assert ledger.compact(str(tmp_path)) == nothing and names_of(tmp_path) == before
    ledger.append(str(tmp_path), [ledger_row("b")])
    before = names_of(tmp_path)
    assert ledger.compact(str(tmp_path), small_bytes=100) == nothing and names_of(tmp_path) == before


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("deleted", [0, 1, 3])
def test_a_compaction_that_is_killed_loses_and_doubles_nothing(tmp_path, monkeypatch, deleted):
    """It is killed after the merged part is written and some of the small ones are deleted."""
    for name in "abcd":
        ledger.append(str(tmp_path), [ledger_row(name), ledger_row(name, "failed", minute=-1)])
    before = distinct(tmp_path)
    real, count = Storage.delete, 0

    def delete(self: Storage, uri: str) -> None:
        nonlocal count
        count += 1
        if count > deleted:
            raise Killed
        real(self, uri)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Storage, "delete", delete)
        ledger.compact(str(tmp_path))
    assert len(names_of(tmp_path)) == 5 - deleted and distinct(tmp_path) == before
    assert ledger.read(str(tmp_path)).num_rows == 8
    ledger.compact(str(tmp_path))
    assert len(names_of(tmp_path)) == 1 and distinct(tmp_path) == before
    (part,) = ledger.parts(str(tmp_path))
    assert pq.read_metadata(part.uri).num_rows == 8


def test_a_merged_part_that_cannot_be_written_deletes_nothing(tmp_path, monkeypatch):
    for name in "abc":
        ledger.append(str(tmp_path), [ledger_row(name)])
    before = names_of(tmp_path)

    def refuse(*_args, **_options):
        raise StorageError("disk full")

    monkeypatch.setattr(Storage, "write", refuse)
    with pytest.raises(StorageError, match="disk full"):
        ledger.compact(str(tmp_path))
    assert names_of(tmp_path) == before


def test_a_damaged_part_stops_a_compaction_before_it_deletes(tmp_path):
    for name in "abc":
        ledger.append(str(tmp_path), [ledger_row(name)])
    part = Path(ledger.parts(str(tmp_path))[1].uri)
    part.write_bytes(part.read_bytes()[:-9])
    before = names_of(tmp_path)
    for question in (ledger.compact, ledger.read):
        with pytest.raises(StorageError, match=f"{part.name}: this part of the ledger cannot be read"):
            question(str(tmp_path))
    assert names_of(tmp_path) == before


def test_a_part_without_a_needed_column_stops_a_compaction(tmp_path):
    for name in "abc":
        ledger.append(str(tmp_path), [ledger_row(name)])
    part = Path(ledger.parts(str(tmp_path))[1].uri)
    pq.write_table(pq.read_table(part).drop_columns(["status"]), part)
    before = names_of(tmp_path)
    with pytest.raises(StorageError, match=f"{part.name}: .* without status"):
        ledger.compact(str(tmp_path))
    assert names_of(tmp_path) == before


def test_a_part_with_more_columns_is_left_as_it_is(tmp_path):
    """A newer version may have written it."""
    for name in "ab":
        ledger.append(str(tmp_path), [ledger_row(name)])
    newer = pq.read_table(ledger.parts(str(tmp_path))[0].uri).append_column("mood", pa.array(["good"]))
    pq.write_table(newer, Path(ledger.place(str(tmp_path))) / "newer.parquet")
    assert ledger.compact(str(tmp_path)).merged == 2
    assert "newer.parquet" in names_of(tmp_path)
    assert ledger.read(str(tmp_path)).num_rows == 2  # one of newer's columns is not known; its row is a double


def test_readers_and_writers_beside_compactions_see_every_row(tmp_path):
    """Two compactions run all the while, one writer adds, and no reader ever misses what was there when it began."""
    output, ended, written = str(tmp_path), threading.Event(), [0]

    def compact() -> None:
        while not ended.is_set():
            ledger.compact(output, target_rows=20)

    def write() -> None:
        for n in range(60):
            ledger.append(output, [ledger_row(f"{n}")])
            written[0] = n + 1

    threads = [threading.Thread(target=each) for each in (compact, compact, write)]
    for thread in threads:
        thread.start()
    try:
        while threads[-1].is_alive():
            before = written[0]
            assert ledger.read(output).num_rows >= before
    finally:
        threads[-1].join()
        ended.set()
        for thread in threads[:-1]:
            thread.join()
    assert sorted(map(int, (uri.rpartition("/")[2] for uri in ledger.read(output)["source_uri"].to_pylist()))) == [
        *range(60)
    ]


def test_compaction_in_a_bucket(s3):
    for n in range(6):
        ledger.append(f"{s3}/out", [ledger_row(f"{n}")])
    before = ledger.read(f"{s3}/out").sort_by("source_uri")
    assert ledger.compact(f"{s3}/out") == ledger.Compaction(merged=6, written=1, rows=6)
    assert ledger.read(f"{s3}/out").sort_by("source_uri").equals(before)
    assert len(list(storage.listing(f"{s3}/out/_colornet"))) == 1


# --- other readers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compacted", [False, True])
def test_others_read_the_parts(tmp_path, compacted):
    row = ledger_row("ü", pixels=27_000_000, width=6000, seconds=1.5, pages=2, reason="über", attempts=3)
    ledger.append(str(tmp_path), [row])
    ledger.append(str(tmp_path), [ledger_row("z", "failed")])
    if compacted:
        ledger.compact(str(tmp_path))
    pattern = str(tmp_path / "_colornet" / "ledger" / "*.parquet")
    letterbox = pl.read_parquet(pattern).sort("source_uri", descending=True)
    assert letterbox.columns == ledger.SCHEMA.names
    assert letterbox.schema["finished_at"] == pl.Datetime("us", "UTC") and letterbox.schema["seconds"] == pl.Float32
    found = letterbox.row(0, named=True)
    assert {name: found[name] for name in row} == row
    query = (
        f"SELECT source_uri, pixels, seconds, epoch_us(finished_at), typeof(finished_at) FROM '{pattern}' ORDER BY 1"
    )
    assert duckdb.sql(query).fetchall()[1] == (
        "/in/ü",
        27_000_000,
        1.5,
        int(NOON.timestamp() * 1e6),
        "TIMESTAMP WITH TIME ZONE",
    )


def test_parts_hold_only_types_that_every_engine_has(tmp_path):
    ledger.append(str(tmp_path), [ledger_row("a")])
    (part,) = ledger.parts(str(tmp_path))
    schema = pq.ParquetFile(part.uri).schema
    found = {schema.column(n).name: str(schema.column(n).logical_type) for n in range(len(schema.names))}
    assert set(found) == set(ledger.SCHEMA.names)
    plain = {"String", "None", "Int(bitWidth=32, isSigned=true)", "Int(bitWidth=64, isSigned=true)"}
    assert {text for name, text in found.items() if name != "finished_at"} <= plain
    assert "timeUnit=microseconds" in found["finished_at"] and "isAdjustedToUTC=true" in found["finished_at"]
