"""Inventory and ledger: what is to be done, and what has been."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colornet.archive import inventory, ledger
from colornet.errors import SettingsError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ledger_row(name: str, status: str = "done", *, minute: int = 0, version: str = "1", digest: str = "b") -> dict:
    return {
        "source_uri": f"/in/{name}",
        "source_version": version,
        "status": status,
        "finished_at": NOON + timedelta(minutes=minute),
        "bundle_digest": digest,
        "settings_digest": "s",
    }


def inventory_of(*names: str, version: str | None = "1") -> pa.Table:
    rows = [{"source_uri": f"/in/{name}", "source_version": version, "key": name} for name in names]
    return pa.Table.from_pylist(rows, inventory.SCHEMA)


def pending(rows: list[dict], scans: pa.Table) -> list[str]:
    now = ledger.current(pa.Table.from_pylist(rows, ledger.SCHEMA), "b", "s")
    return ledger.pending(scans, now)["key"].to_pylist()


def test_only_finished_rows_of_this_run_and_version_count():
    rows = [
        ledger_row("done"),
        ledger_row("skipped", "skipped"),
        ledger_row("failed", "failed"),
        ledger_row("other-bundle", digest="x"),
        ledger_row("changed", version="0"),
    ]
    names = ["changed", "done", "failed", "new", "other-bundle", "skipped"]
    assert pending(rows, inventory_of(*names)) == ["changed", "failed", "new", "other-bundle"]


def test_without_a_version_any_version_is_finished():
    assert pending([ledger_row("a", version="7")], inventory_of("a", "b", version=None)) == ["b"]


def test_the_latest_row_is_current_wherever_it_stands():
    rows = [ledger_row("a", "done", minute=2), ledger_row("a", "failed", minute=5), ledger_row("a", "done", minute=1)]
    for order in (rows, rows[::-1]):
        now = ledger.current(pa.Table.from_pylist(order, ledger.SCHEMA), "b", "s")
        assert now["status"].to_pylist() == ["failed"]


def test_ledger_parts_add_up(tmp_path):
    assert ledger.read(str(tmp_path)).num_rows == 0
    ledger.append(str(tmp_path), [ledger_row("a"), ledger_row("b")])
    ledger.append(str(tmp_path), [ledger_row("c")])
    assert sorted(ledger.read(str(tmp_path))["source_uri"].to_pylist()) == ["/in/a", "/in/b", "/in/c"]
    assert len(list(Path(ledger.place(str(tmp_path))).glob("*.parquet"))) == 2


def test_inventory_of_a_folder(tmp_path):
    for name in ("b.jpg", "a/ä b.tif", ".hidden", "a/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    scans = inventory.read_inventory(str(tmp_path))
    assert scans["key"].to_pylist() == ["a/ä b.tif", "b.jpg"]
    assert scans["source_size"].to_pylist() == [5, 5]


def test_inventory_from_parquet(tmp_path):
    place = tmp_path / "list.parquet"
    rows = [{"uri": "s3://bucket/x/1.tif", "key": None}, {"uri": "/scans/2.jpg", "key": "two.jpg"}]
    pq.write_table(pa.Table.from_pylist(rows), place)
    scans = inventory.read_inventory(str(place))
    assert scans["source_uri"].to_pylist() == ["s3://bucket/x/1.tif", "/scans/2.jpg"]
    assert scans["key"].to_pylist() == ["bucket/x/1.tif", "two.jpg"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pa.table({"name": ["x"]}), "no column source_uri"),
        (pa.table({"uri": ["/a.jpg"], "key": ["../../etc/passwd"]}), "no place below the output"),
        (pa.table({"uri": ["/a.jpg"], "key": ["/etc/passwd"]}), "no place below the output"),
        (pa.table({"uri": pa.array([], pa.string())}), "empty"),
        (b"not parquet", "not a Parquet file"),
        (None, "no inventory at"),
    ],
)
def test_what_is_no_inventory_is_refused(tmp_path, content, reason):
    place = tmp_path / "list.parquet"
    if isinstance(content, pa.Table):
        pq.write_table(content, place)
    elif content is not None:
        place.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        inventory.read_inventory(str(place))


def test_nothing_at_the_input_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no archive at"):
        inventory.read_inventory(str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="no files in"):
        inventory.read_inventory(str(tmp_path))
