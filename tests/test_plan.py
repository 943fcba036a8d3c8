"""Plans and selections: what of an inventory is left to be done, against a model in plain Python."""

import hashlib
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colornet.archive import inventory, ledger, plan
from colornet.archive.plan import make_plan, tally
from colornet.archive.selection import Selection
from colornet.errors import SettingsError, StorageError
from colornet.storage import Storage
from tests.ledgers import current_rows

RUN = ledger.RunKey("b", "s")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ledger_row(
    name: str, status: str = "done", *, minute: int = 0, version: str | None = "1", digest: str = "b"
) -> dict:
    return {
        "key": name,
        "source_uri": f"/in/{name}",
        "source_version": version,
        "status": status,
        "reason": None if status == "done" else f"/in/{name}: why",
        "finished_at": NOON + timedelta(minutes=minute),
        "bundle_digest": digest,
        "settings_digest": "s",
    }


def scan(name: str, version: str | None = "1", size: int | None = 10) -> dict:
    return {"source_uri": f"/in/{name}", "source_size": size, "source_version": version, "key": name}


def scans_of(folder: Path, *rows: dict) -> Path:
    place = folder / "scans.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows), inventory.SCHEMA), place)
    return place


def planned(scans: Path, output: str | Path, **options) -> list[str]:
    result = make_plan(scans, str(output), RUN, scans.parent, **options)
    return [key for batch in result.batches(3) for key in batch["key"].to_pylist()]


# --- the anti-join ---------------------------------------------------------------------------------------------------


def test_only_finished_rows_of_this_run_and_version_count(tmp_path):
    rows = [
        ledger_row("done"),
        ledger_row("skipped", "skipped"),
        ledger_row("failed", "failed"),
        ledger_row("other-bundle", digest="x"),
        ledger_row("changed", version="0"),
    ]
    ledger.append(str(tmp_path), rows)
    names = ["skipped", "changed", "done", "failed", "new", "other-bundle"]
    scans = scans_of(tmp_path, *map(scan, names))
    assert planned(scans, tmp_path) == ["changed", "failed", "new", "other-bundle"]
    assert planned(scans, tmp_path, retry_failed=False) == ["changed", "new", "other-bundle"]


def test_without_a_version_any_version_is_finished(tmp_path):
    ledger.append(str(tmp_path), [ledger_row("a", version="7")])
    assert planned(scans_of(tmp_path, scan("a", None), scan("b", None)), tmp_path) == ["b"]


def test_a_plan_without_a_ledger_takes_all(tmp_path):
    scans = scans_of(tmp_path, scan("b", size=None), scan("a", size=7))
    result = make_plan(scans, str(tmp_path / "nothing" / "here"), RUN, tmp_path)
    assert result == plan.ColorizePlan(tmp_path / "plan.parquet", 2, 7, 2, 7, 0, 0, 0)
    (batch,) = result.batches(10)
    assert batch.schema.equals(plan.SCHEMA)
    beside = {
        "problem": None,
        "attempts": 0,
        "hints": None,
        "hints_by": None,
        "strength": None,
        "settings_digest": None,
    }
    assert batch.to_pylist() == [scan("a", size=7) | beside, scan("b", size=None) | beside]


def test_of_two_rows_of_one_moment_the_finished_one_counts(tmp_path):
    for name, statuses in {"a": ["done", "failed"], "b": ["failed", "done"]}.items():
        for status in statuses:
            ledger.append(str(tmp_path), [ledger_row(name, status)])
    assert planned(scans_of(tmp_path, scan("a"), scan("b"), scan("c")), tmp_path) == ["c"]
    now = current_rows(str(tmp_path), RUN)
    assert now["status"].to_pylist() == ["done", "done"]


def test_attempts_are_those_of_the_current_row(tmp_path):
    for minute, attempts in enumerate([1, 9, 2]):
        ledger.append(str(tmp_path), [ledger_row("a", "failed", minute=minute) | {"attempts": attempts}])
    ledger.append(str(tmp_path), [ledger_row("a", "failed", minute=7, digest="x") | {"attempts": 5}])
    (batch,) = make_plan(scans_of(tmp_path, scan("a")), str(tmp_path), RUN, tmp_path).batches(10)
    assert batch["attempts"].to_pylist() == [2]


def test_a_damaged_inventory_is_one_clear_error(tmp_path):
    scans = scans_of(tmp_path, scan("a"))
    scans.write_bytes(scans.read_bytes()[:-5])
    with pytest.raises(StorageError, match=r"scans\.parquet") as raised:
        planned(scans, tmp_path)
    assert "\n" not in str(raised.value)


def test_batches_have_the_rows_that_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(inventory, "ROW_GROUP", 2048)  # the least that DuckDB writes
    names = [f"{n:05d}" for n in range(5000)]
    result = make_plan(scans_of(tmp_path, *map(scan, names)), str(tmp_path), RUN, tmp_path)
    for rows in (1999, 2500, 5000, 6000):
        batches = list(result.batches(rows))
        assert [len(batch) for batch in batches][:-1] == [rows] * (len(batches) - 1) and len(batches[-1]) <= rows
        assert [key for batch in batches for key in batch["key"].to_pylist()] == names


NAMES = ["a", "b", "ü", "it's"]
STATUSES = ["done", "failed", "skipped"]
VERSIONS = [None, "1", "2"]

ledger_rows = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["b", "b", "x"]),
        st.sampled_from(STATUSES),
        st.sampled_from(VERSIONS),
        st.one_of(st.none(), st.integers(1, 9)),
        st.booleans(),  # a double: the row stands in another part too, as after a compaction that was killed
    ),
    max_size=14,
)
inventories = st.dictionaries(st.sampled_from([*NAMES, "never tried"]), st.sampled_from(VERSIONS), min_size=1)


def latest_of(rows: list[dict]) -> dict[str, dict]:
    latest: dict[str, dict] = {}
    for row in sorted(rows, key=lambda row: row["finished_at"]):
        if (row["bundle_digest"], row["settings_digest"]) == ("b", "s"):
            latest[row["source_uri"]] = dict.fromkeys(ledger.SCHEMA.names) | row
    return latest


def model(rows: list[dict], scans: dict[str, str | None], retry_failed: bool) -> tuple[dict[str, int], Counter]:
    """What is pending, with the earlier attempts, and the counts of the present version's states."""
    latest = latest_of(rows)
    pending, counts = {}, Counter()
    for name, version in scans.items():
        row = latest.get(f"/in/{name}", {})
        state = row.get("status") if version is None or row.get("source_version") == version else None
        counts[state] += 1
        if state is None or (state == "failed" and retry_failed):
            pending[name] = row.get("attempts") or 0
    return pending, counts


drawn_cases = given(ledger_rows, inventories, st.randoms(), st.booleans())


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@drawn_cases
def test_a_plan_agrees_with_a_plain_model(tmp_path_factory, drawn, scans, random, retry_failed):
    agrees(tmp_path_factory, drawn, scans, random, retry_failed)


@pytest.mark.long
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@drawn_cases
def test_a_plan_agrees_with_a_plain_model_at_length(tmp_path_factory, drawn, scans, random, retry_failed):
    agrees(tmp_path_factory, drawn, scans, random, retry_failed)


def agrees(tmp_path_factory, drawn, scans, random, retry_failed) -> None:
    folder = tmp_path_factory.mktemp("plan")
    minutes = random.sample(range(100), len(drawn))
    rows = []
    for (name, digest, status, version, attempts, _), minute in zip(drawn, minutes, strict=True):
        rows.append(ledger_row(name, status, minute=minute, version=version, digest=digest) | {"attempts": attempts})
    parts = [[row] for row in rows] + [[row] for row, each in zip(rows, drawn, strict=True) if each[-1]]
    for part in parts:
        ledger.append(str(folder), part)
        if random.random() < 0.2:
            ledger.compact(str(folder), target_rows=random.choice([1, 3, 100]))
    place = scans_of(folder, *(scan(name, version) for name, version in scans.items()))
    pending, counts = model(rows, scans, retry_failed)
    result = make_plan(place, str(folder), RUN, folder, retry_failed=retry_failed)
    table = pa.concat_tables([plan.SCHEMA.empty_table(), *result.batches(2)])
    assert dict(zip(table["key"].to_pylist(), table["attempts"].to_pylist(), strict=True)) == pending
    assert table["source_uri"].to_pylist() == sorted(table["source_uri"].to_pylist())
    assert (result.scans, result.pending) == (len(scans), len(pending))
    assert (result.bytes, result.pending_bytes) == (10 * len(scans), 10 * len(pending))
    assert (result.done, result.failed, result.skipped) == tuple(counts[status] for status in STATUSES)
    now = current_rows(str(folder), RUN).to_pylist()
    assert {row["source_uri"]: row for row in now} == latest_of(rows) and len(now) == len(latest_of(rows))
    end = tally(place, str(folder), RUN, folder)
    assert (end.scans, end.done, end.failed, end.skipped) == (len(scans), *(counts[status] for status in STATUSES))
    assert end.failures == ((("…: why", counts["failed"]),) if counts["failed"] else ())


def test_an_old_part_without_a_column_is_read(tmp_path):
    rows = pa.Table.from_pylist([ledger_row("a"), ledger_row("b", "failed")], ledger.SCHEMA)
    old = rows.drop_columns(["attempts", "source_sha256", "error", "code_version", "mean_chroma"])
    place = Path(ledger.place(str(tmp_path)))
    place.mkdir(parents=True)
    pq.write_table(old, place / "old.parquet")
    ledger.append(str(tmp_path), [ledger_row("c", "failed") | {"attempts": 4}])
    result = make_plan(scans_of(tmp_path, *map(scan, "abc")), str(tmp_path), RUN, tmp_path)
    (batch,) = result.batches(10)
    assert dict(zip(batch["key"].to_pylist(), batch["attempts"].to_pylist(), strict=True)) == {"b": 0, "c": 4}
    assert len(ledger.read(str(tmp_path))) == 3


def test_a_plan_of_a_ledger_in_a_bucket(s3, tmp_path):
    ledger.append(f"{s3}/out", [ledger_row("a"), ledger_row("b", "failed")])
    ledger.append(f"{s3}/out", [ledger_row("c", "skipped")])
    scans = scans_of(tmp_path, *map(scan, "abcd"))
    assert planned(scans, f"{s3}/out") == ["b", "d"]
    ledger.compact(f"{s3}/out")
    assert planned(scans, f"{s3}/out") == ["b", "d"]
    assert tally(scans, f"{s3}/out", RUN, tmp_path).failures == (("…: why", 1),)


def test_places_with_the_letters_of_patterns(tmp_path):
    """DuckDB and Arrow both give some letters of a path a meaning of their own."""
    folder = tmp_path / "run=1 [a-z]* it's"
    folder.mkdir()
    ledger.append(str(folder), [ledger_row("a")])
    assert planned(scans_of(folder, scan("a"), scan("b")), folder) == ["b"]


def test_parts_that_go_away_while_they_are_read_are_listed_again(tmp_path, monkeypatch):
    """A compaction takes the listed parts away before they are read: here it is run just then."""
    for name in "abc":
        ledger.append(str(tmp_path), [ledger_row(name)])
    real, listed = ledger.parts, []

    def parts(output: str, storage: Storage):
        listed.append(real(output, storage))
        if len(listed) == 1:
            monkeypatch.setattr(ledger, "parts", real)
            ledger.compact(output, storage)
            monkeypatch.setattr(ledger, "parts", parts)
        return listed[-1]

    monkeypatch.setattr(ledger, "parts", parts)
    assert planned(scans_of(tmp_path, *map(scan, "abcd")), tmp_path) == ["d"]
    assert [len(each) for each in listed] == [3, 1, 1]


def test_a_damaged_part_is_named(tmp_path):
    ledger.append(str(tmp_path), [ledger_row("a")])
    ledger.append(str(tmp_path), [ledger_row("b")])
    part = Path(ledger.parts(str(tmp_path))[1].uri)
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(StorageError, match=f"{part.name}: this part of the ledger cannot be read"):
        planned(scans_of(tmp_path, scan("a")), tmp_path)


# --- the tally -------------------------------------------------------------------------------------------------------


def test_a_tally_adds_up_what_is_current(tmp_path):
    big = {"pixels": 1000, "source_size": 5, "output_size": 7}
    ledger.append(
        str(tmp_path),
        [
            ledger_row("a") | big,
            ledger_row("a", minute=1) | big,
            ledger_row("b") | big,
            ledger_row("b", "failed", minute=1),
            ledger_row("c", version="0") | big,
            ledger_row("d", "skipped") | {"source_size": 5},
            ledger_row("not in the inventory") | big,
            ledger_row("e", digest="x") | big,
        ],
    )
    scans = scans_of(tmp_path, *map(scan, "abcde"))
    result = tally(scans, str(tmp_path), RUN, tmp_path)
    assert (result.scans, result.done, result.failed, result.skipped) == (5, 1, 1, 1)
    assert (result.pixels, result.source_bytes, result.output_bytes) == (1000, 5, 7)


def test_a_tally_has_quartiles_of_the_confidence_of_what_is_done(tmp_path):
    rows = [ledger_row(f"{n}.tif") | {"confidence": n / 8} for n in range(1, 8)]
    rows += [ledger_row("none.tif"), ledger_row("bad.tif", "failed") | {"confidence": 0.0}]
    old = [ledger_row("none.tif", minute=-1) | {"confidence": 0.0}]
    ledger.append(str(tmp_path), rows)
    ledger.append(str(tmp_path), old)
    scans = scans_of(tmp_path, *(scan(row["source_uri"].removeprefix("/in/")) for row in rows))
    found = tally(scans, str(tmp_path), RUN, tmp_path).confidence
    assert found is not None and (found.lower, found.median, found.upper) == pytest.approx((0.28, 0.5, 0.72), abs=0.04)
    scans = scans_of(tmp_path, scan("none.tif"))
    assert tally(scans, str(tmp_path), RUN, tmp_path).confidence is None


# --- selections ------------------------------------------------------------------------------------------------------


def selected(folder: Path, **fields) -> set[str]:
    names = {"a/1.tif": 5, "a/b/2.TIF": 50, "a/b/3.jpg": None, "c/4.jpg": 500, "c/it's [5].jpg": 5000}
    scans = scans_of(folder, *(scan(name, size=size) for name, size in names.items()))
    return set(planned(scans, folder / "out", selection=Selection(**fields)))


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"include": ("*.tif",)}, {"a/1.tif", "a/b/2.TIF"}),
        ({"include": ("*.TIF", "c/*")}, {"a/1.tif", "a/b/2.TIF", "c/4.jpg", "c/it's [5].jpg"}),
        ({"include": ("a/*",), "exclude": ("*/b/*",)}, {"a/1.tif"}),
        ({"include": ("?/[1-4].*",)}, {"a/1.tif", "c/4.jpg"}),
        ({"include": ("c/it's [[]5].jpg",)}, {"c/it's [5].jpg"}),
        ({"include": ("*[[]*",)}, {"c/it's [5].jpg"}),
        ({"min_bytes": 50}, {"a/b/2.TIF", "c/4.jpg", "c/it's [5].jpg"}),
        ({"max_bytes": 50}, {"a/1.tif", "a/b/2.TIF"}),
        ({"limit": 2}, {"a/1.tif", "a/b/2.TIF"}),
        ({"limit": 1, "include": ("*.jpg",)}, {"a/b/3.jpg"}),
        ({"limit": 99}, {"a/1.tif", "a/b/2.TIF", "a/b/3.jpg", "c/4.jpg", "c/it's [5].jpg"}),
    ],
)
def test_a_selection_takes_a_part(tmp_path, fields, keys):
    assert selected(tmp_path, **fields) == keys


def test_a_selection_that_takes_nothing_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="none of the 5 scans"):
        selected(tmp_path, include=("*.png",))


def test_a_sample_is_the_same_whenever_it_is_asked_for(tmp_path):
    names = [f"{n:04d}" for n in range(2000)]
    scans = scans_of(tmp_path, *map(scan, names))
    few, more = (planned(scans, tmp_path, selection=Selection(sample=n, seed=1)) for n in (100, 300))
    other = planned(scans, tmp_path, selection=Selection(sample=100, seed=2))
    turned_round = scans_of(tmp_path, *map(scan, names[::-1]))
    assert planned(turned_round, tmp_path, selection=Selection(sample=100, seed=1)) == few
    assert len(few) == 100 and set(few) < set(more) and set(few) != set(other)
    by_hash = sorted(names, key=lambda name: _md5(f"1 /in/{name}"))
    assert set(few) == set(by_hash[:100])
    quarters = Counter(int(name) // 500 for name in more)
    assert min(quarters.values()) > 45  # of 75 expected: not the first ones, but some from everywhere


def _md5(text: str) -> int:
    return int.from_bytes(hashlib.md5(text.encode()).digest(), "little")


def test_a_sampled_run_goes_on_with_its_sample(tmp_path):
    scans = scans_of(tmp_path, *(scan(f"{n}") for n in range(50)))
    sample = Selection(sample=20)
    first = planned(scans, tmp_path, selection=sample)
    ledger.append(str(tmp_path), [ledger_row(name) for name in first[:15]])
    assert planned(scans, tmp_path, selection=sample) == first[15:]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"include": ("",)}, "include"),
        ({"exclude": ("*.tif", "[ab")}, "exclude.1"),
        ({"exclude": ("a[]b",)}, "exclude"),
        ({"include": ("a\0",)}, "include"),
        ({"min_bytes": -1}, "min_bytes"),
        ({"max_bytes": -1}, "max_bytes"),
        ({"min_bytes": 5, "max_bytes": 4}, "max_bytes"),
        ({"limit": -1}, "limit"),
        ({"sample": -1}, "sample"),
        ({"sample": 1, "limit": 1}, "limit and sample"),
    ],
)
def test_selections_that_make_no_sense_are_refused(fields, words):
    with pytest.raises(SettingsError, match=words):
        Selection(**fields)


def test_a_plan_is_made_without_pytorch():
    """It is half a gigabyte, and a plan of millions of scans has other uses for it."""
    check = "import sys, colornet.archive.plan; sys.exit(bool({'torch', 'numba'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], timeout=60).returncode == 0


# --- what lies in the output -----------------------------------------------------------------------------------------


def painted(name: str, output: Path, **options) -> dict:
    return ledger_row(name, **options) | {"output_uri": f"{output}/{name}"}


def test_what_another_run_has_painted_over_is_to_do_and_both_are_told_of(tmp_path):
    scans, out = scans_of(tmp_path, scan("a"), scan("b"), scan("c")), tmp_path / "out"
    ledger.append(str(out), [painted("a", out), painted("b", out), painted("c", out)])
    result = make_plan(scans, str(out), RUN, tmp_path)
    assert (result.pending, result.occupants) == (0, ())
    ledger.append(str(out), [painted("b", out, minute=5, digest="theirs"), painted("d", out, digest="theirs")])
    result = make_plan(scans, str(out), RUN, tmp_path)
    assert (result.pending, result.done) == (1, 2) and planned(scans, out) == ["b"]
    (other,) = result.occupants
    assert (other.bundle_digest, other.settings_digest, other.pictures) == ("theirs", "s", 2)
    assert other.last == NOON + timedelta(minutes=5)
    assert tally(scans, str(out), RUN, tmp_path).done == 2
    theirs = make_plan(scans, str(out), ledger.RunKey("theirs", "s"), tmp_path)
    assert (theirs.pending, theirs.done) == (2, 1) and [each.pictures for each in theirs.occupants] == [2]
    ledger.append(str(out), [painted("b", out, minute=9), painted("d", out, minute=9)])
    assert make_plan(scans, str(out), RUN, tmp_path).occupants == () and planned(scans, out) == []


def test_failures_of_another_run_and_hints_of_this_one_take_no_place(tmp_path):
    scans, out = scans_of(tmp_path, scan("a"), scan("b")), tmp_path / "out"
    hinted = painted("b", out) | {"settings_digest": "of its hints", "run_digest": "s"}
    ledger.append(str(out), [painted("a", out), hinted, ledger_row("a", "failed", minute=3, digest="theirs")])
    result = make_plan(scans, str(out), RUN, tmp_path)
    assert (result.pending, result.occupants) == (0, ())


def test_what_is_to_be_done_again_is(tmp_path):
    scans, out = scans_of(tmp_path, scan("a"), scan("b")), tmp_path / "out"
    ledger.append(str(out), [painted("a", out), painted("b", out)])
    assert planned(scans, out, again=["/in/b", "/in/gone"]) == ["b"]


def test_two_sources_with_one_output_are_refused_by_name(tmp_path):
    scans = scans_of(tmp_path, scan("x/a.tif"), scan("x/a.tif.jpg"), scan("b.jpg"))
    assert len(planned(scans, tmp_path / "out")) == 3
    assert len(planned(scans, tmp_path / "out", extension=".png")) == 3
    with pytest.raises(SettingsError, match=r"/in/x/a\.tif and /in/x/a\.tif\.jpg .* same output, .*out/x/a\.tif\.jpg"):
        planned(scans, tmp_path / "out", extension=".jpg")
    assert len(planned(scans, tmp_path / "out", extension=".jpg", selection=Selection(exclude=("*.tif",)))) == 2


def test_an_output_in_the_place_of_another_source_is_refused_by_name(tmp_path):
    odd = scan("a.tif") | {"key": "b.tif"}
    scans = scans_of(tmp_path, odd, scan("b.tif") | {"source_uri": f"{tmp_path}/out/b.tif", "key": "c.tif"})
    with pytest.raises(SettingsError, match=r"/in/a\.tif would take the place of the source .*/out/b\.tif"):
        planned(scans, tmp_path / "out")
