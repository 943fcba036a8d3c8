"""The audit: a sound archive has no findings, and each way to break one has its own."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colornet.archive import inventory, ledger
from colornet.archive.audit import KINDS, Finding, audit
from colornet.storage import Storage

storage = Storage()

RUN = ledger.RunKey("b", "s")
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Archive:
    """An output with three done scans, one failed, one skipped, and their ledger in several parts."""

    def __init__(self, output: str, folder: Path) -> None:
        self.output = output
        self.scans = folder / "scans.parquet"
        self.rows = {name: self.done(name) for name in ("a.tif", "sub/b.jpg", "ü.png")}
        self.rows["damaged.tif"] = self.row("damaged.tif", "failed") | {"reason": "damaged TIFF"}
        self.rows["colour.tif"] = self.row("colour.tif", "skipped") | {"reason": "already in colour"}
        earlier = self.row("a.tif", "failed", minute=-5) | {"reason": "the network"}
        replaced = self.done("a.tif") | {"bundle_digest": "an older one", "output_sha256": "of other bytes"}
        replaced["finished_at"] -= timedelta(hours=1)
        gone = self.row("gone.tif", "failed") | {"reason": "this source is in no inventory any more"}
        self.append(earlier, replaced, gone)
        self.append(*self.rows.values())
        storage.write(f"{output}/_colornet/summary.json", b"{}")
        keys = [{"source_uri": f"/in/{name}", "key": name} for name in self.rows]
        pq.write_table(pa.Table.from_pylist(keys, inventory.SCHEMA), self.scans)

    def row(self, name: str, status: str, minute: int = 0) -> dict:
        return {
            "source_uri": f"/in/{name}",
            "status": status,
            "finished_at": NOON + timedelta(minutes=minute),
            "bundle_digest": "b",
            "settings_digest": "s",
        }

    def done(self, name: str, data: bytes = b"picture") -> dict:
        storage.write(f"{self.output}/{name}", data)
        outcome = {"output_uri": f"{self.output}/{name}", "output_size": len(data)}
        return self.row(name, "done") | outcome | {"output_sha256": hashlib.sha256(data).hexdigest()}

    def append(self, *rows: dict) -> None:
        ledger.append(self.output, rows)

    def later(self, name: str, **changes: object) -> None:
        """Make a changed row the current one."""
        self.append(self.rows[name] | {"finished_at": NOON + timedelta(minutes=1)} | changes)

    def found(self, **options: bool) -> list[tuple[str, str]]:
        findings = audit(self.output, RUN, self.scans, **options)
        assert all(finding.kind in KINDS and finding.words for finding in findings)
        return [(finding.kind, finding.uri.removeprefix(self.output + "/")) for finding in findings]


@pytest.fixture
def archive(tmp_path) -> Archive:
    return Archive(str(tmp_path / "out"), tmp_path)


def test_a_sound_archive_has_no_findings(archive):
    assert archive.found() == []
    ledger.compact(archive.output)
    assert archive.found() == [] and audit(archive.output, scans=archive.scans) == []


def test_a_sound_archive_in_a_bucket_has_no_findings(s3, tmp_path):
    archive = Archive(f"{s3}/out", tmp_path)
    assert archive.found() == []
    storage.write(f"{s3}/out/a.tif", b"changed")
    storage.delete(f"{s3}/out/sub/b.jpg")
    storage.write(f"{s3}/out/stray.tif", b"stray")
    assert archive.found() == [("contents", "a.tif"), ("gone", "sub/b.jpg"), ("stray", "stray.tif")]


def test_the_same_row_in_two_parts_is_no_tie(archive):
    archive.append(*archive.rows.values())  # as after a compaction that was killed
    assert archive.found() == []


def test_nothing_at_all(tmp_path):
    assert audit(str(tmp_path / "nowhere"), RUN) == [] and audit(str(tmp_path / "nowhere")) == []


def missing(archive: Archive) -> None:
    keys = [{"source_uri": "/in/new.tif", "key": "new.tif"}, {"source_uri": "/in/a.tif", "key": "a.tif"}]
    pq.write_table(pa.Table.from_pylist(keys, inventory.SCHEMA), archive.scans)


def tie(archive: Archive) -> None:
    archive.append(archive.rows["a.tif"] | {"host": "another"})


def write(name: str, data: bytes) -> Callable[[Archive], None]:
    return lambda archive: (Path(archive.output) / name).write_bytes(data) and None


def later(name: str, **changes: object) -> Callable[[Archive], None]:
    return lambda archive: archive.later(name, **changes)


def shared(archive: Archive) -> None:
    archive.later("ü.png", output_uri=f"{archive.output}/a.tif")


def elsewhere(archive: Archive) -> None:
    archive.later("ü.png", output_uri=f"{archive.output}x/ü.png")


@pytest.mark.parametrize(
    ("breaking", "kind", "uri"),
    [
        (missing, "missing", "/in/new.tif"),
        (tie, "tie", "/in/a.tif"),
        (later("a.tif", status="finished"), "status", "/in/a.tif"),
        (later("a.tif", output_uri=None), "incomplete", "/in/a.tif"),
        (later("a.tif", output_size=None), "incomplete", "/in/a.tif"),
        (later("a.tif", output_sha256=None), "incomplete", "/in/a.tif"),
        (elsewhere, "elsewhere", "{output}x/ü.png"),
        (shared, "shared", "a.tif"),
        (lambda archive: (Path(archive.output) / "a.tif").unlink(), "gone", "a.tif"),
        (write("a.tif", b"shorter"[:3]), "size", "a.tif"),
        (write("a.tif", b"PICTURE"), "contents", "a.tif"),
        (later("a.tif", output_sha256="0" * 64), "contents", "a.tif"),
        (later("damaged.tif", reason=None), "reason", "/in/damaged.tif"),
        (later("colour.tif", reason=""), "reason", "/in/colour.tif"),
        (later("damaged.tif", output_uri="/out/x.tif"), "output", "/in/damaged.tif"),
        (later("colour.tif", output_sha256="0" * 64), "output", "/in/colour.tif"),
        (write("stray.tif", b"1"), "stray", "stray.tif"),
        (write("sub/.hidden", b"1"), "stray", "sub/.hidden"),
        (write(f".{'0a' * 16}.tmp", b"1"), "temporary", f".{'0a' * 16}.tmp"),
        (write(f"_colornet/ledger/.{'0a' * 16}.tmp", b"1"), "temporary", f"_colornet/ledger/.{'0a' * 16}.tmp"),
        (write("_colornet/ledger/torn.parquet", b"PAR1"), "part", "_colornet/ledger/torn.parquet"),
    ],
)
def test_what_is_broken_is_found_and_nothing_else(archive, breaking, kind, uri):
    breaking(archive)
    assert archive.found() == [(kind, uri.format(output=archive.output))]


def test_contents_are_read_only_if_asked_for(archive):
    write("a.tif", b"PICTURE")(archive)
    write("sub/b.jpg", b"short")(archive)
    assert archive.found(contents=False) == [("size", "sub/b.jpg")]


def test_a_link_is_what_it_leads_to(archive, tmp_path):
    picture, moved = Path(archive.output) / "a.tif", tmp_path / "moved.tif"
    picture.rename(moved)
    picture.symlink_to(moved)
    assert archive.found() == []
    moved.unlink()
    assert archive.found() == [("gone", "a.tif")]


@pytest.mark.parametrize("cut", [4, 100, 2000])
def test_a_torn_part_is_found_wherever_it_is_torn(archive, cut):
    part = Path(ledger.parts(archive.output)[-1].uri)
    part.write_bytes(part.read_bytes()[:-cut])
    findings = archive.found()
    assert ("part", f"_colornet/ledger/{part.name}") in findings
    assert ("missing", "/in/colour.tif") in findings  # its rows are gone with it
    as_it_is = audit(archive.output, scans=archive.scans)  # what can be read is then an older run's row of a.tif
    assert ("part", str(part)) in {(found.kind, found.uri) for found in as_it_is}
    assert [found.source for found in as_it_is if found.kind == "contents"] == ["/in/a.tif"]


def test_a_part_with_damaged_pages_is_found(archive):
    """Its end, where Parquet keeps its table of contents, is whole."""
    part = Path(ledger.parts(archive.output)[-1].uri)
    data = bytearray(part.read_bytes())
    data[4:1000] = bytes(996)
    part.write_bytes(data)
    assert ("part", f"_colornet/ledger/{part.name}") in archive.found()


def replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns(["status"]), "no column status"),
        (lambda table: replaced(table, "output_sha256", pa.array([5], pa.int64())), "output_sha256 is int64"),
        (lambda table: replaced(table, "status", pa.array([None], pa.string())), "rows without status"),
    ],
)
def test_a_part_that_is_not_of_the_schema_is_found(archive, change, words):
    rows = pa.Table.from_pylist(
        [archive.rows["a.tif"]], pa.schema([field.with_nullable(True) for field in ledger.SCHEMA])
    )
    pq.write_table(change(rows), Path(ledger.place(archive.output)) / "other.parquet")
    (finding,) = audit(archive.output, RUN, archive.scans)
    assert finding.kind == "part" and finding.uri.endswith("other.parquet") and words in finding.words


def test_an_old_part_with_fewer_columns_is_sound(archive):
    rows = pa.Table.from_pylist([archive.rows["a.tif"]], ledger.SCHEMA).drop_columns(["attempts", "error"])
    pq.write_table(rows, Path(ledger.place(archive.output)) / "old.parquet")
    assert archive.found() == []


def test_what_another_run_has_done_is_no_stray(archive):
    storage.write(f"{archive.output}/theirs.tif", b"1")
    archive.append(archive.done("theirs.tif") | {"bundle_digest": "theirs"})
    assert archive.found() == []


def test_several_findings_are_all_told(archive):
    write("stray.tif", b"1")(archive)
    write("a.tif", b"PICTURE")(archive)
    tie_row = archive.rows["ü.png"] | {"host": "another"}
    archive.append(tie_row)
    assert archive.found() == [("contents", "a.tif"), ("stray", "stray.tif"), ("tie", "/in/ü.png")]
    assert isinstance(audit(archive.output, RUN)[0], Finding)


# --- several runs in one output --------------------------------------------------------------------------------------

THEIRS = ledger.RunKey("theirs", "s")


def painted_over(archive: Archive, name: str, minute: int = 5) -> None:
    """Let another run paint over a picture of the run."""
    row = archive.done(name, b"another picture")
    archive.append(row | {"bundle_digest": "theirs", "finished_at": NOON + timedelta(minutes=minute)})


def test_every_picture_is_compared_with_the_row_that_made_it(archive):
    painted_over(archive, "a.tif")
    assert audit(archive.output, scans=archive.scans) == []
    assert audit(archive.output, THEIRS) == []
    assert [(found.kind, found.source) for found in audit(archive.output, RUN)] == [("size", "/in/a.tif")]
    write("sub/b.jpg", b"changed")(archive)  # of the run that is not the latest
    (found,) = audit(archive.output, scans=archive.scans)
    assert (found.kind, found.source) == ("contents", "/in/sub/b.jpg")
    write("a.tif", b"PICTURE")(archive)
    assert [found.kind for found in audit(archive.output)] == ["contents", "size"]


def test_a_source_is_missing_if_no_run_has_a_row_of_it(archive):
    painted_over(archive, "a.tif")
    assert audit(archive.output, scans=archive.scans) == []
    assert {found.source for found in audit(archive.output, THEIRS, archive.scans)} == {
        f"/in/{name}" for name in archive.rows if name != "a.tif"
    }
