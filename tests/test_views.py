"""The views of a ledger: which row is current, and why scans failed, as plan, summary and audit are told alike."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colornet.archive import inventory, ledger, views
from colornet.archive.database import database
from colornet.archive.plan import tally
from colornet.archive.summary import summarize
from tests.ledgers import current_rows

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUN = ledger.RunKey("b" * 64, "s" * 64)


def row(source: str, status: str = "done", *, minute: int = 0, run: ledger.RunKey = RUN, **more: object) -> dict:
    finished_at = NOON + timedelta(minutes=minute)
    return (
        {"key": source[1:], "source_uri": source, "status": status, "finished_at": finished_at} | run._asdict() | more
    )


def inventory_of(rows: list[dict], folder: Path) -> Path:
    place = folder / "scans.parquet"
    scans = {each["source_uri"]: {name: each.get(name) for name in inventory.SCHEMA.names} for each in rows}
    pq.write_table(pa.Table.from_pylist(list(scans.values()), inventory.SCHEMA), place)
    return place


@pytest.mark.parametrize(
    ("reasons", "causes"),
    [
        ([f"/in/{n}.tif: damaged TIFF" for n in range(3)], {"…: damaged TIFF": 3}),
        ([f"{{output}}/in/{n}.tif: no space left" for n in range(3)], {"…: no space left": 3}),
        ([f"{{output}}/in/{n}.tif: not moved from /in/{n}.tif" for n in range(2)], {"…: not moved from …": 2}),
        (["its worker process died"] * 2 + ["out of memory"], {"its worker process died": 2, "out of memory": 1}),
        ([None, None], {"no reason given": 2}),
        ([f"/in/{n}.tif: [%_] it's odd" for n in range(2)], {"…: [%_] it's odd": 2}),
    ],
)
def test_the_plan_and_the_summary_name_the_same_causes(tmp_path, reasons, causes):
    output = str(tmp_path / "it's out")
    rows = [
        row(f"/in/{n}.tif", "failed", reason=reason and reason.format(output=output))
        for n, reason in enumerate(reasons)
    ]
    rows += [row("/in/done.tif", reason="a note")]
    ledger.append(output, rows)
    ledger.append(output, rows[:1])  # a double
    found = tally(inventory_of(rows, tmp_path), output, RUN, tmp_path).failures
    assert found == summarize(output, tmp_path).failures
    assert dict(found) == causes


def test_causes_are_those_of_current_rows_the_most_frequent_first(tmp_path, monkeypatch):
    output = str(tmp_path)
    rows = [row(f"/in/{n}", "failed", reason="seldom" if n == 3 else "often") for n in range(4)]
    rows += [row("/in/healed", "failed", reason="a while ago"), row("/in/healed", minute=1)]
    rows += [row("/in/1", "failed", reason="elsewhere", minute=5, run=ledger.RunKey("x", "s" * 64))]
    ledger.append(output, rows)
    place = inventory_of(rows, tmp_path)
    assert tally(place, output, RUN, tmp_path).failures == (("often", 3), ("seldom", 1))
    monkeypatch.setattr(views, "MOST_CAUSES", 1)
    assert tally(place, output, RUN, tmp_path).failures == (("often", 3),)


def test_of_every_run_each_has_its_own_current_rows(tmp_path):
    other = ledger.RunKey("a", "s" * 64)
    rows = [row("/in/1", "failed", run=other), row("/in/1", minute=1), row("/in/1", minute=2, run=other), row("/in/2")]
    ledger.append(str(tmp_path), rows)
    with database(tmp_path) as connection:
        ask = "SELECT bundle_digest, source_uri, status FROM current ORDER BY ALL"

        def find(found) -> list[tuple]:
            views.create(connection, found, str(tmp_path))
            return connection.execute(ask).fetchall()

        assert ledger.ask(str(tmp_path), find) == [
            ("a", "/in/1", "done"),
            ("b" * 64, "/in/1", "done"),
            ("b" * 64, "/in/2", "done"),
        ]
        latest = ledger.ask(str(tmp_path), lambda found: views.create_for_one_run(connection, found, str(tmp_path)))
    assert latest == other
    assert current_rows(str(tmp_path), other)["finished_at"].to_pylist() == [NOON + timedelta(minutes=2)]
