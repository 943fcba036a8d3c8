"""Inventories: listings, lists in Parquet and CSV, reports of S3 Inventory."""

import csv
import errno
import gzip
import hashlib
import io
import json
import os
import random
import urllib.parse
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet.archive import inventory
from colornet.archive.ledger import RunKey
from colornet.archive.plan import make_plan
from colornet.archive.selection import Selection
from colornet.errors import AccessError, ColornetError, SettingsError
from colornet.storage import LeftOut, Storage, uris
from colornet.storage.left_out import NOT_UTF8

storage = Storage()

ODD_KEYS = ["a b.tif", "a+b.tif", "a%20b.tif", "100%.tif", "ü/Ω.tif", 'quo"te, comma.tif', "x//y.tif", "sub/c.tif"]


def rows_of(place: Path) -> list[dict]:
    return sorted(pq.read_table(place).to_pylist(), key=lambda row: row["source_uri"])


def written(source: str | Path, folder: Path) -> list[dict]:
    place = folder / "scans.parquet"
    count = inventory.write_inventory(str(source), place)
    rows = rows_of(place)
    assert count == len(rows) and pq.read_schema(place).equals(inventory.SCHEMA)
    place.unlink()
    return rows


def store(rows: list[dict], place: str) -> str:
    """Write a list in the format that its name says, local or on S3."""
    if place.endswith(".parquet"):
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        data = buffer.getvalue()
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
    storage.write(place, gzip.compress(data) if place.endswith(".gz") else data)
    return place


# --- listings --------------------------------------------------------------------------------------------------------


def test_inventory_of_a_folder(tmp_path):
    for name in ("b.jpg", "a/ä b.tif", ".hidden", "a/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    scans = inventory.read_inventory(str(tmp_path))
    assert scans["key"].to_pylist() == ["a/ä b.tif", "b.jpg"]
    assert scans["source_size"].to_pylist() == [5, 5]
    assert scans["source_version"].to_pylist() == [storage.stat(uri).version for uri in scans["source_uri"].to_pylist()]


def test_one_file_is_an_inventory(tmp_path):
    (tmp_path / "a.tif").write_bytes(b"1")
    assert inventory.read_inventory(str(tmp_path / "a.tif"))["key"].to_pylist() == ["a.tif"]


def test_an_earlier_jobs_own_files_are_no_scans(tmp_path):
    for name in (
        "a.jpg",
        "old/_colornet/ledger/x.parquet",
        "_colornet/summary.json",
        "my_colornet/b.jpg",
        "_colornet.jpg",
    ):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(b"1")
    assert [row["key"] for row in written(tmp_path / "in", tmp_path)] == ["_colornet.jpg", "a.jpg", "my_colornet/b.jpg"]
    with pytest.raises(SettingsError, match="no files in"):
        inventory.write_inventory(str(tmp_path / "in" / "old"), tmp_path / "scans.parquet")


def test_inventory_of_a_bucket(s3, tmp_path):
    for key in ("in/b.tif", "in/a/1.tif", "in/_colornet/lock", "other.tif"):
        storage.write(f"{s3}/{key}", key.encode())
    rows = written(f"{s3}/in", tmp_path)
    assert [row["key"] for row in rows] == ["a/1.tif", "b.tif"]
    assert [row["source_uri"] for row in rows] == [f"{s3}/in/a/1.tif", f"{s3}/in/b.tif"]
    assert rows[1]["source_version"] == storage.read(f"{s3}/in/b.tif").version and rows[1]["source_size"] == 8


def test_nothing_at_the_input_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no archive at"):
        inventory.read_inventory(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SettingsError, match="no files in"):
        inventory.write_inventory(str(tmp_path / "empty"), tmp_path / "scans.parquet")
    assert not (tmp_path / "scans.parquet").exists()


def odd_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scan and with what stands in the way of one; `lost+found` may not be read, also by root."""
    (folder / "lost+found").mkdir(parents=True)
    (folder / "box").mkdir()
    (folder / "box" / "a.tif").write_bytes(b"1")
    (folder / "again").symlink_to("box")
    (folder / "box" / "up").symlink_to("..")
    (folder / "broken.tif").symlink_to("nothing")
    (folder / ".hidden").write_bytes(b"1")
    os.mkfifo(folder / "pipe.tif")
    (folder / "_colornet").mkdir()
    (folder / "_colornet" / "lock").write_bytes(b"1")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.tif")).write_bytes(b"1")
    scandir = os.scandir

    def guarded(place: str) -> Any:
        if str(place).endswith("lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(os, "scandir", guarded)
    return folder


def test_what_cannot_be_listed_is_a_row_with_its_reason_and_all_else_is_counted(tmp_path, monkeypatch):
    folder, left_out = odd_folder(tmp_path / "in", monkeypatch), LeftOut()
    place = tmp_path / "scans.parquet"
    assert inventory.write_inventory(str(folder), place, left_out=left_out) == 4
    assert {row["key"]: row["problem"] for row in rows_of(place)} == {
        "box/a.tif": None,
        "again/a.tif": None,
        "caf\\xe9.tif": "its name is not UTF-8: rename it",
        "lost+found/": "this folder cannot be read: Permission denied",
    }
    assert {kind.partition(",")[0]: count for kind, count in left_out.counts.items()} == {
        "hidden files and folders": 1,
        "pipes, sockets and devices".partition(",")[0]: 1,
        "links that lead nowhere": 1,
        "links to a folder above": 2,
        "links to folders": 1,
        "files of earlier jobs (below _colornet/)": 1,
    }
    assert len(left_out.lines()) == 7 and left_out.lines()[-1] == "2 that cannot be listed"


@pytest.mark.parametrize(
    ("exclude", "left"),
    [((), 4), (("lost+found",), 3), (("lost+found/*",), 3), (("*caf*",), 3), (("lost+found", "caf*"), 2)],
)
def test_what_cannot_be_listed_can_be_left_out(tmp_path, monkeypatch, exclude, left):
    place = tmp_path / "scans.parquet"
    inventory.write_inventory(str(odd_folder(tmp_path / "in", monkeypatch)), place)
    plan = make_plan(place, str(tmp_path / "out"), RunKey("b", "s"), tmp_path, Selection(exclude=exclude))
    assert plan.pending == left
    (batch,) = plan.batches(10)
    assert sum(batch["problem"].is_valid().to_pylist()) == left - 2


def test_a_folder_that_may_not_be_read_at_all_is_an_error(tmp_path, monkeypatch):
    folder = odd_folder(tmp_path / "in", monkeypatch)
    with pytest.raises(AccessError, match=r"lost\+found: Permission denied"):
        inventory.read_inventory(str(folder / "lost+found"))


# --- lists -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["list.parquet", "list.csv", "list.csv.gz"])
def test_a_list_of_scans(tmp_path, name):
    rows = [
        {"uri": "s3://bucket/x/1.tif", "key": None, "size": 7, "etag": '"e1"'},
        {"uri": "/scans//./2.jpg", "key": "two.jpg", "size": None, "etag": None},
        {"uri": "file:///scans/a%20b.jpg", "key": None, "size": 9, "etag": "e3"},
        {"uri": "S3://bucket/Zeile\n2.tif", "key": "q'.tif", "size": 0, "etag": ""},
    ]
    found = written(store(rows, str(tmp_path / name)), tmp_path)
    assert [tuple(row.values())[:4] for row in found] == [
        ("/scans/2.jpg", None, None, "two.jpg"),
        ("/scans/a b.jpg", 9, "e3", "scans/a b.jpg"),
        ("s3://bucket/Zeile\n2.tif", 0, None, "q'.tif"),
        ("s3://bucket/x/1.tif", 7, "e1", "bucket/x/1.tif"),
    ]


@pytest.mark.parametrize("name", ["list.parquet", "list.csv.gz"])
def test_a_list_in_a_bucket(s3, tmp_path, name):
    rows = [{"source_uri": f"s3://b/{n}.tif", "source_size": n, "source_version": f"v{n}"} for n in range(3)]
    found = written(store(rows, f"{s3}/lists/{name}"), tmp_path)
    assert found == [row | {"key": f"b/{n}.tif", "problem": None} for n, row in enumerate(rows)]
    with pytest.raises(SettingsError, match=f"no inventory at .*none-{name}"):
        inventory.read_inventory(f"{s3}/lists/none-{name}")


def test_a_list_of_many_rows_is_written_in_row_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(inventory, "ROW_GROUP", 100)
    rows = [{"uri": f"s3://b/{n:04d}.tif"} for n in range(1050)]
    place = tmp_path / "scans.parquet"
    assert inventory.write_inventory(store(rows, str(tmp_path / "list.parquet")), place) == 1050
    metadata = pq.read_metadata(place)
    assert max(metadata.row_group(each).num_rows for each in range(metadata.num_row_groups)) == 100
    assert [row["source_uri"] for row in rows_of(place)] == [row["uri"] for row in rows]
    rows[1040]["uri"] = "ftp://host/a.tif"
    assert inventory.write_inventory(store(rows, str(tmp_path / "list.parquet")), place) == 1050
    (odd,) = [row for row in rows_of(place) if row["problem"]]
    assert odd["source_uri"] == "ftp://host/a.tif" and "unknown scheme ftp://" in odd["problem"]


@pytest.mark.parametrize("name", ["list{0}.parquet", "list.csv"])
@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"name": "x"}], "no column source_uri"),
        ([{"uri": "/a.jpg", "key": "a"}, {"uri": None, "key": "b"}], "row 2 has no source_uri"),
        ([{"uri": "/a.jpg", "size": "many"}], "no inventory: .*many"),
        ([{"uri": "/a.jpg"}, {"uri": "/b.jpg"}, {"uri": "/x/../a.jpg"}], "same source twice: /a.jpg"),
        ([{"uri": "/x/a.jpg", "key": "k"}, {"uri": "/y/a.jpg", "key": "k"}], "key 'k': /x/a.jpg and /y/a.jpg"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, name, rows, words):
    with pytest.raises(SettingsError, match=words) as raised:
        inventory.write_inventory(store(rows, str(tmp_path / name)), tmp_path / "scans.parquet")
    assert name in str(raised.value) and "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("list.parquet", b"not parquet", "not a Parquet file"),
        ("list.parquet", pa.table({"uri": pa.array([], pa.string())}), "is empty"),
        ("list.parquet", pa.table({"uri": [1, 2]}), "int64, not text"),
        ("list.csv", b"", "Empty CSV"),
        ("list.csv", b"uri,size\n", "is empty"),
        ("list.csv", b"uri,size\n/a.jpg\n", "Expected 2 columns"),
        ("list.csv.gz", b"uri\n/a.jpg\n", "list.csv.gz"),
        ("list.parquet", None, "no inventory at"),
        ("list.csv", None, "no inventory at"),
    ],
)
def test_damaged_lists_are_refused(tmp_path, name, content, words):
    if isinstance(content, pa.Table):
        pq.write_table(content, tmp_path / name)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ColornetError, match=words) as raised:
        inventory.read_inventory(str(tmp_path / name))
    assert name in str(raised.value)


def test_a_row_that_is_not_utf8_is_a_row_with_a_problem(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"uri,key,note\n/caf\xe9.jpg,a.jpg,\n/b.jpg,b.jpg,\xe9\n/c.jpg,\xe9.jpg,\n")
    found = {row["source_uri"]: (row["key"], row["problem"]) for row in written(tmp_path / "list.csv", tmp_path)}
    assert found["/b.jpg"] == ("b.jpg", None) and found["/caf\\xe9.jpg"][0] == "a.jpg"
    assert found["/c.jpg"][0] == "\\xe9.jpg" and {problem for _, problem in found.values() if problem} == {NOT_UTF8}
    assert sum(problem is not None for _, problem in found.values()) == 2


def test_an_object_that_is_called_like_a_folder_and_is_none_is_a_row_with_a_problem(s3, tmp_path):
    client, bucket = boto3.client("s3"), s3.removeprefix("s3://")
    for key, data in {"in/a.tif": b"1", "in/marker/": b"", "in/scan/": b"a scan"}.items():
        client.put_object(Bucket=bucket, Key=key, Body=data)
    found = {row["key"]: row["problem"] for row in written(f"{s3}/in", tmp_path)}
    assert found == {"a.tif": None, "scan/": "its key ends in '/', as that of a folder"}


segments = st.text(st.sampled_from("ab./~% \n\0é"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["", "/", "s3://b/", "S3://", "file:///", "x://"]), segments, segments), min_size=1
    )
)
def test_lists_are_normalized_as_storage_does(rows):
    """What is done to columns at once agrees with what storage does to one uri or key."""
    table = pa.table({"uri": [head + tail for head, tail, _ in rows], "key": [key or None for *_, key in rows]})
    try:
        found = inventory._complete(table, "list", 1)
    except SettingsError:
        assert any(not head + tail for head, tail, _ in rows)  # a row without a uri
        return
    places, problems = zip(*(normalized(head + tail) for head, tail, _ in rows), strict=True)
    keys = [key or uri.removeprefix("s3://").lstrip("/") for uri, (*_, key) in zip(places, rows, strict=True)]
    assert found["source_uri"].to_pylist() == list(places) and found["problem"].to_pylist() == list(problems)
    assert found["key"].to_pylist() == keys


def normalized(uri: str) -> tuple[str, str | None]:
    try:
        return uris.normalize(uri), None
    except SettingsError as error:
        return uri, str(error)


# --- S3 Inventory ----------------------------------------------------------------------------------------------------

FIELDS = [
    "Bucket",
    "Key",
    "VersionId",
    "IsLatest",
    "IsDeleteMarker",
    "Size",
    "LastModifiedDate",
    "ETag",
    "StorageClass",
]
PARQUET_NAMES = dict(
    zip(
        FIELDS,
        [
            "bucket",
            "key",
            "version_id",
            "is_latest",
            "is_delete_marker",
            "size",
            "last_modified_date",
            "e_tag",
            "storage_class",
        ],
        strict=True,
    )
)


def report_row(bucket: str, key: str, size: int | None = 1, etag: str | None = "e", latest=True, marker=False) -> dict:
    return dict(zip(FIELDS, [bucket, key, "v", latest, marker, size, None, etag, "STANDARD"], strict=True))


def part(rows: list[dict], kind: str, fields: list[str]) -> bytes:
    """Write one part of a report as the manual of S3 describes it."""
    buffer = io.BytesIO()
    if kind == "Parquet":
        columns = {PARQUET_NAMES[name]: [row[name] for row in rows] for name in fields}
        pq.write_table(pa.table(columns), buffer)
        return buffer.getvalue()
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    for row in rows:
        texts = {name: "" if value is None else str(value).lower() for name, value in row.items() if name != "Key"}
        writer.writerow(
            [urllib.parse.quote_plus(row["Key"], safe="/") if name == "Key" else texts[name] for name in fields]
        )
    return gzip.compress(text.getvalue().encode())


def report(parts: list[list[dict]], kind: str, place: str, bucket: str, fields: list[str] = FIELDS) -> str:
    """Write a report whose manifest and data lie below `place` as S3 lays them out; returns the manifest's uri."""
    suffix = "csv.gz" if kind == "CSV" else "parquet"
    files = []
    for number, rows in enumerate(parts):
        data = part(rows, kind, fields)
        key = f"config/data/{number}.{suffix}"
        storage.write(f"{place}/{key}", data)
        files.append({"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()})
    manifest = {
        "sourceBucket": bucket,
        "destinationBucket": f"arn:aws:s3:::{place.removeprefix('s3://')}"
        if uris.is_s3(place)
        else "arn:aws:s3:::else",
        "version": "2016-11-30",
        "fileFormat": kind,
        "fileSchema": ", ".join(fields) if kind == "CSV" else "message s3.inventory { required binary bucket (UTF8); }",
        "files": files,
    }
    storage.write(f"{place}/config/2026-01-01T00-00Z/manifest.json", json.dumps(manifest).encode())
    return f"{place}/config/2026-01-01T00-00Z/manifest.json"


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_a_report_says_what_a_listing_says(s3, tmp_path, kind):
    bucket = s3.removeprefix("s3://")
    for key in ODD_KEYS:
        storage.write(f"{s3}/{key}", key.encode())
    listed = written(s3, tmp_path)
    rows = [report_row(bucket, row["key"], row["source_size"], row["source_version"]) for row in listed]
    random.Random(0).shuffle(rows)
    assert written(report([rows[:3], rows[3:]], kind, s3, bucket), tmp_path) == listed
    assert sorted(row["key"] for row in listed) == sorted(ODD_KEYS)


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_a_report_on_local_disk_without_what_is_no_scan(tmp_path, kind):
    rows = [
        report_row("b", "kept.tif", 5, '"abc"'),
        report_row("b", "old.tif", latest=False),
        report_row("b", "deleted.tif", None, None, marker=True),
        report_row("b", "folder/", 0),
        report_row("b", "colour/_colornet/ledger/1.parquet"),
        report_row("b", "no etag.tif", None, None),
    ]
    found = written(report([rows, []], kind, str(tmp_path / "reports"), "b"), tmp_path)
    assert [tuple(row.values())[:4] for row in found] == [
        ("s3://b/kept.tif", 5, "abc", "kept.tif"),
        ("s3://b/no etag.tif", None, None, "no etag.tif"),
    ]


@pytest.mark.parametrize("kind", ["CSV", "Parquet"])
def test_a_report_of_current_versions_has_few_fields(tmp_path, kind):
    manifest = report([[report_row("b", "a.tif")]], kind, str(tmp_path / "r"), "b", ["Bucket", "Key"])
    assert written(manifest, tmp_path) == [
        {"source_uri": "s3://b/a.tif", "source_size": None, "source_version": None, "key": "a.tif", "problem": None}
    ]


def edited(manifest: str, **changes: object) -> str:
    found = json.loads(Path(manifest).read_text())
    Path(manifest).write_text(json.dumps({**found, **changes}))
    return manifest


def test_what_is_no_report_is_refused(tmp_path):
    def made(name: str, kind: str = "CSV", fields: list[str] = FIELDS) -> str:
        return report([[report_row("b", "a.tif")]], kind, str(tmp_path / name), "b", fields)

    without_sum = [{"key": "config/data/0.csv.gz"}]
    torn = made("torn")
    (tmp_path / "torn/config/data/0.csv.gz").write_bytes(b"other bytes")
    garbage = made("garbage")
    (tmp_path / "garbage/config/data/0.csv.gz").write_bytes(gzip.compress(b'"one","two"\n'))
    no_gzip = edited(made("no gzip"), files=without_sum)
    (tmp_path / "no gzip/config/data/0.csv.gz").write_bytes(b"no gzip")
    not_json = tmp_path / "x" / "manifest.json"
    not_json.parent.mkdir()
    not_json.write_bytes(b"{")
    cases = {
        torn: "its MD5 is",
        edited(garbage, files=without_sum): "0.csv.gz is no part",
        no_gzip: "0.csv.gz is no part",
        edited(made("orc"), fileFormat="ORC"): "format ORC",
        edited(made("climbing"), files=[{"key": "../../x.csv.gz"}]): "names a part that is none",
        edited(made("nowhere"), destinationBucket="arn:aws:s3:::a/b"): "names no bucket",
        edited(made("no files"), files=None): "no manifest of an S3 Inventory",
        made("no key", "Parquet", ["Bucket", "Size"]): "no column key",
        str(not_json): "no manifest of an S3 Inventory",
        str(tmp_path / "none" / "manifest.json"): "no manifest at",
        report([[]], "Parquet", str(tmp_path / "empty"), "b", []): "no column bucket",
        report(
            [[report_row("b", "a"), report_row("b", "a")]], "CSV", str(tmp_path / "twice"), "b"
        ): "same source twice",
        report([[report_row("b", "folder/")]], "CSV", str(tmp_path / "only folders"), "b"): "is empty",
    }
    for manifest, words in cases.items():
        with pytest.raises(SettingsError, match=words):
            inventory.write_inventory(manifest, tmp_path / "scans.parquet")
        assert not (tmp_path / "scans.parquet").exists()


def test_a_part_that_is_gone_is_named(s3, tmp_path):
    manifest = report([[report_row("b", "a.tif")]], "CSV", s3, "b")
    storage.delete(f"{s3}/config/data/0.csv.gz")
    with pytest.raises(ColornetError, match=r"config/data/0\.csv\.gz"):
        inventory.write_inventory(manifest, tmp_path / "scans.parquet")
