"""Reports of S3 Inventory, in which S3 itself lists a bucket: the input for buckets that take hours to list.

A report is a `manifest.json` and the parts that it names, in Parquet or in CSV (compressed with gzip, without a header;
its keys are encoded as in a URL, with + for a space). The parts are looked for where the manifest says, in the bucket
that the report was delivered to; for a manifest on local disk first beside it, in `data/` beside it, and in `../data/`,
where a copy of the report's folder has them. Each is compared with its MD5 in the manifest.
"""

import contextlib
import hashlib
import json
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from colornet.errors import NotFoundError, SettingsError, StorageError, one_line
from colornet.storage import Storage, uris

_ROWS = 65_536
_CHUNK = 8 << 20
# A column's name in Parquet, and in the manifest's fileSchema of a report in CSV.
_COLUMNS = {
    "bucket": "Bucket",
    "key": "Key",
    "size": "Size",
    "e_tag": "ETag",
    "is_latest": "IsLatest",
    "is_delete_marker": "IsDeleteMarker",
}
_NEEDED = ("bucket", "key")


def is_manifest(source: str) -> bool:
    """Whether the uri is that of a report's manifest."""
    return source.rpartition("/")[2] == "manifest.json"


def objects(source: str, folder: Path, storage: Storage = Storage()) -> Iterator[pa.Table]:
    """Yield a bucket's objects in tables of `source_uri`, `source_size`, `source_version` and `key`.

    Older versions, delete markers and the markers of folders are left out. Size and version are null if the report has
    no such fields.

    Args:
        source: uri of the manifest.
        folder: where parts are put while they are read, one after the other.
        storage: with what manifest and parts are reached.

    Raises:
        SettingsError: if there is no such manifest, it is none, its format is ORC, or a part is not what it says.
        StorageError: if a part cannot be read.
    """
    manifest = _read_manifest(source, storage)
    for part in manifest.parts:
        with _fetched(part, folder, storage) as path:
            try:
                yield from (_objects_of(table) for table in _read_part(path, manifest))
            except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
                raise SettingsError(f"{part.uri} is no part of an S3 Inventory: {one_line(error)}") from error


@dataclass(frozen=True)
class _Part:
    uri: str
    md5: str | None


@dataclass(frozen=True)
class _Manifest:
    columns: list[str] | None
    """Names of the columns of a part in CSV; None for Parquet."""
    parts: list[_Part]


def _read_manifest(source: str, storage: Storage) -> _Manifest:
    try:
        found = json.loads(storage.read(source).data)
        kind, bucket = found["fileFormat"], found["destinationBucket"].rpartition(":")[2]
        parts = [_Part(_locate(source, bucket, each["key"]), each.get("MD5checksum")) for each in found["files"]]
        columns = [name.strip() for name in found["fileSchema"].split(",")] if kind == "CSV" else None
    except NotFoundError as error:
        raise SettingsError(f"there is no manifest at {source}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SettingsError(f"{source} is no manifest of an S3 Inventory: {type(error).__name__}: {error}") from error
    if kind not in ("CSV", "Parquet"):
        raise SettingsError(f"{source}: reports in the format {kind} are not read; choose Parquet or CSV")
    return _Manifest(columns, parts)


def _locate(source: str, bucket: str, key: str) -> str:
    """Say where a part is. What the manifest says may lead nowhere else than below its bucket, or beside itself."""
    try:
        if not bucket or "/" in bucket:
            raise SettingsError(f"{source} names no bucket that it was delivered to: {bucket!r}")
        delivered = uris.join(f"{uris.S3}{bucket}", key)
        if uris.is_s3(source):
            return delivered
        beside = Path(uris.normalize(source)).parent
        for folder in (beside, beside / "data", beside.parent / "data"):
            local = uris.join(str(folder), key.rpartition("/")[2])
            if Path(local).is_file():
                return local
    except StorageError as error:
        raise SettingsError(f"{source} names a part that is none: {error}") from error
    return delivered


@contextlib.contextmanager
def _fetched(part: _Part, folder: Path, storage: Storage) -> Iterator[Path]:
    """Have a part as a local file, and make sure that it is the one the manifest speaks of."""
    storage.stat(part.uri)
    filesystem, path = storage.arrow_filesystem(part.uri)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        local = Path(path)
        digest = hashlib.md5(usedforsecurity=False)
        try:
            with filesystem.open_input_stream(path, compression=None) as data, contextlib.ExitStack() as copying:
                copy = None
                if uris.is_s3(part.uri):
                    local = Path(temporary) / local.name
                    copy = copying.enter_context(local.open("wb"))
                while chunk := data.read(_CHUNK):
                    digest.update(chunk)
                    if copy:
                        copy.write(chunk)
        except OSError as error:
            raise StorageError(f"{part.uri}: {one_line(error)}") from error
        if part.md5 is not None and digest.hexdigest() != part.md5.lower():
            raise SettingsError(
                f"{part.uri} is not what the manifest says: its MD5 is {digest.hexdigest()}, not {part.md5}"
            )
        yield local


def _read_part(path: Path, manifest: _Manifest) -> Iterator[pa.Table]:
    """Yield a part's rows with the columns of `_COLUMNS` that it has, under their names in Parquet."""
    if manifest.columns is None:
        with pq.ParquetFile(path) as file:
            columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
            _check(path, columns)
            for batch in file.iter_batches(_ROWS, columns=columns):
                yield pa.Table.from_batches([batch])
        return
    names = {title: name for name, title in _COLUMNS.items() if title in manifest.columns}
    _check(path, list(names.values()))
    with pa.input_stream(str(path), compression="detect") as data:
        if not data.read(1):  # an empty part is fine for S3, and not for a reader of CSV
            return
    with pa.input_stream(str(path), compression="detect") as data:
        for batch in pyarrow.csv.open_csv(
            data,
            read_options=pyarrow.csv.ReadOptions(column_names=manifest.columns, block_size=_CHUNK),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), include_columns=list(names), strings_can_be_null=False
            ),
        ):
            table = pa.Table.from_batches([batch]).rename_columns(names)
            yield table.set_column(table.column_names.index("key"), "key", _decoded(table["key"]))


def _check(path: Path, columns: list[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise pa.ArrowInvalid(f"{path.name} has no column {missing[0]}")


def _decoded(keys: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take off the encoding of a URL; only a few of an archive's keys have any."""
    encoded = pc.match_substring_regex(keys, "[%+]")
    if not pc.any(encoded).as_py():
        return keys
    decoded = [urllib.parse.unquote_plus(key, errors="strict") for key in keys.filter(encoded).to_pylist()]
    flat = pa.concat_arrays(keys.chunks)
    return pa.chunked_array(
        [pc.replace_with_mask(flat, pa.concat_arrays(encoded.chunks), pa.array(decoded, pa.string()))]
    )


def _objects_of(table: pa.Table) -> pa.Table:
    keys = table["key"].cast(pa.string())
    keep = pc.invert(pc.ends_with(keys, "/"))
    if "is_latest" in table.column_names:
        keep = pc.and_(keep, pc.invert(_says(table["is_latest"], "false")))
    if "is_delete_marker" in table.column_names:
        keep = pc.and_(keep, pc.invert(_says(table["is_delete_marker"], "true")))
    columns: dict[str, Any] = {
        "source_uri": pc.binary_join_element_wise(uris.S3, table["bucket"].cast(pa.string()), "/", keys, ""),
        "source_size": _optional(table, "size").cast(pa.int64()),
        "source_version": pc.utf8_trim(_optional(table, "e_tag"), '"'),
        "key": keys,
    }
    return pa.table(columns).filter(keep)


def _says(column: pa.ChunkedArray, word: str) -> pa.ChunkedArray:
    return pc.fill_null(pc.equal(pc.utf8_lower(column.cast(pa.string())), word), False)


def _optional(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column as text, null where it is empty or not in the report."""
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(len(table), pa.string())])
    texts = table[name].cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), None, texts)
