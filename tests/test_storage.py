"""Storage on a local folder and on a real S3 server, which must behave alike."""

import errno
import itertools
import json
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colornet import storage as storage_module
from colornet.errors import AccessError, ExistsError, NotFoundError, SettingsError, StorageError
from colornet.storage import ObjectInfo, S3Options, Storage, StoredObject, local, s3_client, uris
from colornet.storage.s3_client import client_of

storage = Storage()

KEYS = [
    "2001/b c.jpg",
    "2001/ü/ö.jpg",
    "2001-a.jpg",
    "50% + 1 #2?.jpg",
    "a&b='c'.jpg",
    "literal%20.jpg",
    "日本/写真.jpg",
]
SEGMENTS = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Co", "Cn"), exclude_characters="/"), max_size=20
).filter(lambda each: each not in ("", ".", ".."))
VISIBLE = SEGMENTS.filter(lambda each: not each.startswith("."))


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place that exists: a folder or a bucket."""
    return str(tmp_path) if request.param == "local" else request.getfixturevalue("s3")


def keys(uri: str) -> list[str]:
    return [found.key for found in storage.listing(uri)]


# --- places ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "normal"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("S3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket/a//b", "s3://bucket/a//b"),
        ("s3://bucket/a/../b?c#d%20", "s3://bucket/a/../b?c#d%20"),
        ("/x/y/", "/x/y"),
        ("/x/./y/../z", "/x/z"),
        ("/x/http://y", "/x/http:/y"),
        ("/", "/"),
        ("file:///x/a%20b", "/x/a b"),
        ("a#b", str(Path.cwd() / "a#b")),
        ("a:b", str(Path.cwd() / "a:b")),
        ("~/x", str(Path.home() / "x")),
    ],
)
def test_normalize_gives_one_spelling(uri, normal):
    assert uris.normalize(uri) == normal
    assert uris.normalize(normal) == normal
    assert uris.is_s3(uri) == normal.startswith("s3://")


@pytest.mark.parametrize("uri", ["gs://bucket/a", "https://host/a", "s3://", "s3:///a", "file://host/a", "", "a\0b"])
def test_normalize_refuses_what_it_does_not_know(uri):
    with pytest.raises(SettingsError) as refusal:
        uris.normalize(uri)
    assert (uri.partition("://")[0] in str(refusal.value)) or "\0" in uri


@given(
    st.sampled_from(["s3://bucket", "s3://bucket/prefix/", "/folder", "/"]), st.lists(SEGMENTS, min_size=1, max_size=4)
)
def test_join_stays_below_its_root(root, segments):
    whole = uris.join(root, "/".join(segments))
    assert whole == uris.join(root, *segments)
    assert whole.startswith(uris.normalize(root).rstrip("/") + "/")
    assert whole.endswith("/".join(segments))
    if not uris.is_s3(root):
        assert uris.contains(root, whole)


@given(st.lists(SEGMENTS, max_size=3), st.sampled_from(["..", ".", "", "a\0b", "/etc/passwd", "x/", "x//y"]), st.data())
def test_join_refuses_every_way_out(segments, bad, data):
    parts = list(segments)
    parts.insert(data.draw(st.integers(0, len(segments))), bad)
    for uri in ("s3://bucket/prefix", "/folder"):
        with pytest.raises(StorageError):
            uris.join(uri, *parts)
        with pytest.raises(StorageError):
            uris.join(uri, "/".join(parts))


def test_contains_compares_whole_segments():
    assert uris.contains("s3://bucket", "s3://bucket/a")
    assert uris.contains("s3://bucket/a/", "s3://bucket/a")
    assert not uris.contains("s3://bucket/a", "s3://bucket/ab")
    assert not uris.contains("s3://bucket/a", "s3://bucket")
    assert not uris.contains("/", "s3://bucket")
    assert uris.contains("/", "/x")
    assert not uris.contains("/x", "/xy")


def test_contains_sees_through_links(tmp_path):
    (tmp_path / "scans" / "2001").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "scans")
    assert uris.contains(str(tmp_path / "scans"), str(tmp_path / "link" / "2001" / "out"))
    assert not uris.contains(str(tmp_path / "link" / "2001"), str(tmp_path / "scans"))


# --- objects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\0\r\n\xff", bytes(range(256)) * 4096], ids=["empty", "control", "1 MiB"])
def test_what_is_written_is_read(root, data):
    uri = uris.join(root, "folder/scan.jpg")
    version = storage.write(uri, data)
    assert storage.read(uri) == StoredObject(data, version)
    assert storage.stat(uri) == ObjectInfo(uri, "scan.jpg", len(data), version)
    assert storage.exists(uri)


def test_overwriting_changes_content_and_version(root):
    uri = uris.join(root, "scan.jpg")
    versions = {storage.write(uri, data) for data in (b"first", b"other", b"shorter")}
    assert len(versions) == 3
    assert storage.read(uri).data == b"shorter"
    assert keys(root) == ["scan.jpg"]


def test_create_leaves_what_is_there(root):
    uri = uris.join(root, "folder/lock")
    version = storage.create(uri, b"first")
    for data in (b"other", b"first"):  # what somebody else wrote is theirs, even if it is the same
        with pytest.raises(ExistsError, match="folder/lock"):
            storage.create(uri, data)
    assert storage.read(uri) == StoredObject(b"first", version)
    if not uris.is_s3(root):
        assert os.listdir(Path(uri).parent) == ["lock"]  # noqa: PTH208  (hidden names too)


def test_one_of_many_creates_a_file(tmp_path, files):
    uri, texts = str(tmp_path / "lock"), [b"%d" % index * 9999 for index in range(16)]

    def create(text: bytes) -> bool:
        try:
            storage.create(uri, text)
        except ExistsError:
            return False
        return True

    with ThreadPoolExecutor(16) as threads:
        created = list(threads.map(create, texts))
    assert created.count(True) == 1
    assert storage.read(uri).data == texts[created.index(True)]
    assert list(tmp_path.iterdir()) == [tmp_path / "lock"]


def test_replace_takes_the_place_of_one_version_only(root):
    uri = uris.join(root, "lease")
    with pytest.raises(NotFoundError):
        storage.replace(uri, b"new", "any")
    first = storage.write(uri, b"first")
    second = storage.replace(uri, b"second", first)
    assert storage.read(uri) == StoredObject(b"second", second)
    with pytest.raises(ExistsError, match="lease"):
        storage.replace(uri, b"third", first)
    assert storage.read(uri).data == b"second"


def test_missing_objects_are_not_found(root):
    storage.write(uris.join(root, "folder/scan.jpg"), b"scan")
    for missing in ("scan.jpg", "folder", "folder/scan.jpg/below"):
        uri = uris.join(root, missing)
        assert not storage.exists(uri)
        for action in (storage.read, storage.stat):
            with pytest.raises(NotFoundError, match=missing) as refusal:
                action(uri)
            assert "\n" not in str(refusal.value)
    assert not storage.exists(root)


def test_delete_may_be_repeated(root):
    uri = uris.join(root, "scan.jpg")
    storage.write(uri, b"scan")
    storage.delete(uri)
    assert not storage.exists(uri)
    storage.delete(uri)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.tuples(VISIBLE, VISIBLE).map("/".join), st.binary(max_size=9), min_size=1, max_size=4))
def test_any_tree_is_listed_as_it_was_written(root, tree):
    folder = uris.join(root, uuid.uuid4().hex)
    versions = {key: storage.write(uris.join(folder, key), data) for key, data in tree.items()}
    found = list(storage.listing(folder))
    assert [(each.key, each.size) for each in found] == [(key, len(tree[key])) for key in sorted(tree)]
    for each in found:
        assert each.version == versions[each.key]
        assert storage.read(each.uri).data == tree[each.key]


def test_local_write_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch, files):
    uri = str(tmp_path / "scan.jpg")
    storage.write(uri, b"old")
    for name in ("replace", "fsync"):
        with monkeypatch.context() as broken:
            broken.setattr(os, name, raising(OSError(errno.ENOSPC, "No space left on device")))
            with pytest.raises(StorageError, match=r"scan\.jpg: No space left on device"):
                storage.write(uri, b"new")
        assert storage.read(uri).data == b"old"
        assert list(tmp_path.iterdir()) == [tmp_path / "scan.jpg"]  # iterdir shows hidden names too


_WRITE_WHERE_THERE_IS_NO_ROOM = """
import subprocess, sys
from colornet.errors import StorageError
from colornet.storage import Storage
storage = Storage()
folder = sys.argv[1]
def mount(*options):
    subprocess.run(["mount", *options, folder], check=True)
def attempt(size):
    try:
        storage.write(f"{folder}/scan.jpg", b"x" * size)
    except StorageError as error:
        print(type(error).__name__, error)
mount("-t", "tmpfs", "-o", "size=64k", "tmpfs")
attempt(9)
attempt(100_000)
print(storage.read(f"{folder}/scan.jpg").data.decode(), len(subprocess.check_output(["ls", "-A", folder]).split()))
mount("-o", "remount,ro")
attempt(9)
"""


def test_disk_that_is_full_or_read_only(tmp_path):
    """A real file system of 64 KiB, in a name space of its own."""
    if not shutil.which("unshare") or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount file systems")
    command = ["unshare", "-rm", sys.executable, "-c", _WRITE_WHERE_THERE_IS_NO_ROOM, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines() == [
        f"StorageError {tmp_path}/scan.jpg: No space left on device",
        "x" * 9 + " 1",
        f"AccessError {tmp_path}/scan.jpg: Read-only file system",
    ]


@pytest.fixture(params=["nameless", "no such files here", "macOS", "no /proc"])
def files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Systems and file systems with and without files that have no name."""
    if request.param == "no such files here":
        monkeypatch.setattr(os, "open", refusing_nameless_files(os.open))
    if request.param == "macOS":
        monkeypatch.delattr(os, "O_TMPFILE")
    if request.param in ("macOS", "no /proc"):
        monkeypatch.setattr(local, "_NAMELESS", Path("/proc/nothing"))
    return request.param


def test_local_write_is_hidden_until_it_is_whole(tmp_path, monkeypatch, files):
    file, seen = tmp_path / "scan.jpg", []

    def looking(call):
        def look_and_call(*names, **options):
            there = [each.read_bytes() for each in tmp_path.iterdir() if each != file]
            seen.append((file.exists() and file.read_bytes(), there))
            call(*names, **options)

        return look_and_call

    for name in ("link", "replace"):
        monkeypatch.setattr(os, name, looking(getattr(os, name)))
    for data in (b"old", b"new"):
        storage.write(str(file), data)
        assert list(tmp_path.iterdir()) == [file]
    if files == "nameless":  # a new name at once; one that is taken, by way of another
        assert seen == [(False, []), (b"old", []), (b"old", []), (b"old", [b"new"])]
    else:
        assert seen == [(False, [b"old"]), (b"old", [b"new"])]
    assert file.read_bytes() == b"new"


def refusing_nameless_files(call):
    def refuse(path, flags, *mode, **options):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return call(path, flags, *mode, **options)

    return refuse


def test_local_write_where_folders_cannot_be_synced(tmp_path, monkeypatch):
    fsync = os.fsync

    def files_only(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", files_only)
    storage.write(str(tmp_path / "scan.jpg"), b"scan")
    assert storage.read(str(tmp_path / "scan.jpg")).data == b"scan"


def test_local_files_can_be_read_by_others(tmp_path):
    storage.write(str(tmp_path / "scan.jpg"), b"scan")
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "scan.jpg").stat().st_mode & 0o777 == 0o666 & ~umask


def test_local_refusal_is_an_access_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(AccessError, match="Permission denied"):
        storage.write(str(tmp_path / "scan.jpg"), b"scan")


def test_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotFoundError):
        storage.read(str(tmp_path / "pipe"))
    assert keys(str(tmp_path)) == []


def test_content_type_follows_the_name_or_the_caller(s3):
    storage.write(f"{s3}/a.jpg", b"")
    storage.write(f"{s3}/a", b"")
    storage.write(f"{s3}/b", b"", content_type="text/html; charset=utf-8")
    heads = [boto3.client("s3").head_object(Bucket=s3.removeprefix("s3://"), Key=key) for key in ("a.jpg", "a", "b")]
    assert [head["ContentType"] for head in heads] == [
        "image/jpeg",
        "application/octet-stream",
        "text/html; charset=utf-8",
    ]


def test_check_writable_leaves_nothing(root):
    place = uris.join(root, "new/folder")
    storage.check_writable(place)
    if uris.is_s3(place):
        assert keys(root) == []
    else:
        assert list(Path(place).iterdir()) == []


def test_check_writable_below_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for below in ("file", "file/folder"):
        with pytest.raises(StorageError, match="one of its folders is a file"):
            storage.check_writable(str(tmp_path / below))


def test_check_writable_without_a_bucket(s3):
    with pytest.raises(NotFoundError, match="NoSuchBucket"):
        storage.check_writable(f"{s3}-missing/out")


# --- listings --------------------------------------------------------------------------------------------------------


def test_listing_is_recursive_sorted_and_verbatim(root):
    for key in KEYS:
        storage.write(uris.join(root, key), key.encode())
    found = list(storage.listing(root))
    assert [each.key for each in found] == sorted(KEYS)
    assert [storage.read(each.uri).data.decode() for each in found] == sorted(KEYS)
    assert found == [
        ObjectInfo(each.uri, each.key, len(each.key.encode()), storage.stat(each.uri).version) for each in found
    ]
    assert keys(uris.join(root, "2001")) == ["b c.jpg", "ü/ö.jpg"]


def test_listing_in_pages_gives_the_same_objects(root, monkeypatch):
    """Pages of S3 have up to 1000 objects; here 3, so that there are many."""
    monkeypatch.setattr(storage_module, "PAGE_OBJECTS", 3)
    for key in [*KEYS, *(f"box {box}/{number:03}.jpg" for box in range(3) for number in range(5))]:
        storage.write(uris.join(root, "a", key), key.encode())
    if uris.is_s3(root):
        client = client_of(S3Options())
        list_objects = client.list_objects_v2
        client.put_object(Bucket=root.removeprefix("s3://"), Key="a/box 1/", Body=b"")  # the marker of a folder
        monkeypatch.setattr(client, "_make_api_call", small_pages(client._make_api_call))
        assert len(list_objects(Bucket=root.removeprefix("s3://"))["Contents"]) == 3
    for place in (root, uris.join(root, "a"), uris.join(root, "a/box 1")):
        pages = list(storage.listing_pages(place, threads=4))
        assert sorted((found for page in pages for found in page), key=lambda found: found.key) == list(
            storage.listing(place)
        )
        assert len(pages) > 1
        assert max(map(len, pages)) <= 3
    one = uris.join(root, "a", KEYS[0])
    assert list(storage.listing_pages(one)) == [[storage.stat(one)]]
    with pytest.raises(NotFoundError, match="nothing"):
        list(storage.listing_pages(uris.join(root, "nothing")))


def test_listing_in_pages_of_an_empty_place_or_none(root):
    assert list(storage.listing_pages(root)) == []
    with pytest.raises(NotFoundError):
        list(storage.listing_pages(root + "-missing"))


def test_listing_an_object_gives_itself(root):
    uri = uris.join(root, "folder/scan 1.jpg")
    version = storage.write(uri, b"scan")
    assert list(storage.listing(uri)) == [ObjectInfo(uri, "scan 1.jpg", 4, version)]


def test_listing_takes_whole_segments(root):
    storage.write(uris.join(root, "scans-2/a.jpg"), b"")
    with pytest.raises(NotFoundError, match="scans"):
        keys(uris.join(root, "scans"))


def test_listing_of_an_empty_place_is_empty(root):
    assert keys(root) == []


def test_listing_a_missing_bucket(s3):
    with pytest.raises(NotFoundError, match="NoSuchBucket"):
        keys(f"{s3}-missing")


def test_listing_goes_on_to_further_pages(s3, monkeypatch):
    client = client_of(S3Options())
    monkeypatch.setattr(client, "_make_api_call", small_pages(client._make_api_call))
    names = [f"{number} ü+.jpg" for number in range(5)]
    for name in names:
        storage.write(uris.join(s3, name), b"")
    assert keys(s3) == names


def test_folder_markers_are_not_objects(s3):
    client = boto3.client("s3")
    for key in ("scans/", "scans/2001/"):
        client.put_object(Bucket=s3.removeprefix("s3://"), Key=key, Body=b"")
    assert keys(f"{s3}/scans") == []
    assert keys(s3) == []


def test_local_listing_follows_links_but_not_in_circles(tmp_path):
    scans = tmp_path / "scans"
    (scans / "2001").mkdir(parents=True)
    (scans / "2001" / "a.jpg").write_bytes(b"abc")
    (scans / "b.jpg").symlink_to("2001/a.jpg")
    (scans / "linked").symlink_to("2001")
    (scans / "2001" / "up").symlink_to("..")
    (scans / "self").symlink_to("self")
    (scans / "dangling").symlink_to("nothing")
    (scans / ".hidden").write_bytes(b"")
    (scans / ".folder").mkdir()
    (scans / ".folder" / "c.jpg").write_bytes(b"")
    assert keys(str(scans)) == ["2001/a.jpg", "b.jpg", "linked/a.jpg"]
    assert {each.size for each in storage.listing(str(scans))} == {3}


# --- servers and networks that misbehave -----------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "none"])
def test_wrong_credentials_are_refused(s3, monkeypatch, wrong):
    storage.write(f"{s3}/scan.jpg", b"scan")
    if wrong == "none":
        without_keys(monkeypatch)
    else:
        monkeypatch.setenv(wrong, "wrong-secret")
    for action in (storage.read, storage.stat, storage.delete, keys, storage.check_writable, storage.exists):
        with pytest.raises(AccessError) as refusal:
            action(f"{s3}/scan.jpg")
        assert "\n" not in str(refusal.value)
        assert f"{s3}/scan.jpg" in str(refusal.value)
        assert ("wrong-secret" in str(refusal.value)) == (wrong == "AWS_PROFILE")  # a profile's name is no secret


def test_region_may_come_from_either_variable(s3, monkeypatch):
    for unset in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        with monkeypatch.context() as environment:
            environment.delenv(unset)
            storage.check_writable(s3)
            assert storage.arrow_filesystem(s3)[0].region == "eu-central-1"


@pytest.mark.parametrize("choice", [None, "when_supported"])
def test_checksums_that_others_refuse_are_sent_only_if_asked_for(s3, monkeypatch, choice):
    if choice:
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", choice)
    sent = {}
    client_of(S3Options()).meta.events.register("before-send.s3", lambda request, **_: sent.update(request.headers))
    storage.write(f"{s3}/scan.jpg", b"scan")
    assert any(name.lower().startswith("x-amz-checksum") for name in sent) == bool(choice)
    assert storage.read(f"{s3}/scan.jpg").data == b"scan"


def test_server_that_is_not_there(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(StorageError, match=r"scan\.jpg: Could not connect") as refusal:
        Storage(S3Options(request_retries=0)).read(f"{s3}/scan.jpg")
    assert not isinstance(refusal.value, AccessError | NotFoundError)


# --- one client per process, options and environment -----------------------------------------------------------------


def test_threads_share_one_client(s3, monkeypatch):
    storage.write(f"{s3}/scan.jpg", b"scan")
    made = []
    session = boto3.Session
    monkeypatch.setattr(boto3, "Session", lambda **options: made.append(1) or session(**options))
    fresh = Storage(S3Options(connections=63))
    with ThreadPoolExecutor(16) as threads:
        assert set(threads.map(lambda _: fresh.read(f"{s3}/scan.jpg").data, range(32))) == {b"scan"}
    assert made == [1]


def test_forked_process_makes_its_own_client(s3):
    storage.write(f"{s3}/scan.jpg", b"scan")
    parents = client_of(S3Options())

    def in_child() -> None:
        assert client_of(S3Options()) is not parents
        assert storage.read(f"{s3}/scan.jpg").data == b"scan"

    with s3_client._making_client:  # as another thread may hold it in the moment of the fork
        child = multiprocessing.get_context("fork").Process(target=in_child, daemon=True)
        child.start()
    child.join(30)
    assert child.exitcode == 0
    assert client_of(S3Options()) is parents


# --- Arrow -----------------------------------------------------------------------------------------------------------


def test_arrow_reads_and_writes_the_same_objects(root):
    table = pa.table({"key": ["a", "b"], "width": [1, 2]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    uri = uris.join(root, "table/part 0.parquet")
    storage.write(uri, sink.getvalue().to_pybytes())

    filesystem, path = storage.arrow_filesystem(uris.join(root, "table"))
    assert pq.read_table(path, filesystem=filesystem).equals(table)
    pq.write_table(table, f"{path}/part 1.parquet", filesystem=filesystem)
    assert keys(root) == ["table/part 0.parquet", "table/part 1.parquet"]


def test_arrow_finds_the_credentials_of_a_program(s3, s3_server, monkeypatch, tmp_path):
    storage.write(f"{s3}/scan.jpg", b"scan")
    answer = {"Version": 1, "AccessKeyId": s3_server.access_key, "SecretAccessKey": s3_server.secret_key}
    (tmp_path / "credentials.json").write_text(json.dumps(answer))
    (tmp_path / "config").write_text(f"[default]\ncredential_process = cat {tmp_path}/credentials.json\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    without_keys(monkeypatch)
    assert storage.read(f"{s3}/scan.jpg").data == read_with_arrow(f"{s3}/scan.jpg") == b"scan"


def test_arrow_is_handed_the_credentials_that_it_cannot_find(s3, s3_server, monkeypatch):
    storage.write(f"{s3}/scan.jpg", b"scan")
    keys_of_a_role = Credentials(s3_server.access_key, s3_server.secret_key, method="assume-role")
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda _session: keys_of_a_role)
    without_keys(monkeypatch)
    assert read_with_arrow(f"{s3}/scan.jpg") == b"scan"


# --- helpers ---------------------------------------------------------------------------------------------------------


def small_pages(call):
    """Make a client ask for pages of 3."""
    return lambda operation, query: call(operation, query | ({"MaxKeys": 3} if operation == "ListObjectsV2" else {}))


def without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def read_with_arrow(uri: str) -> bytes:
    filesystem, path = storage.arrow_filesystem(uri)
    return filesystem.open_input_stream(path).read()


def raising(error: Exception):
    def fail(*_args, **_options):
        raise error

    return fail


def test_a_writer_that_is_killed_leaves_whole_files_and_nothing_else(tmp_path):
    contents = [bytes([value]) * 3_000_000 for value in (1, 2)]

    def write_for_ever(folder: Path) -> None:
        folder.mkdir()
        for number in itertools.count():
            storage.write(str(folder / f"{number}.scan"), contents[number % 2])

    for folder in killed_writers(tmp_path, write_for_ever):
        names = [f"{number}.scan" for number in range(len(list(folder.iterdir())))]
        assert sorted(path.name for path in folder.iterdir()) == sorted(names)  # hidden ones too
        assert all((folder / name).read_bytes() == contents[number % 2] for number, name in enumerate(names))


def test_a_writer_that_is_killed_while_it_replaces_a_file_leaves_a_whole_one(tmp_path, files):
    contents = [bytes([value]) * 3_000_000 for value in (1, 2)]

    def write_for_ever(folder: Path) -> None:
        for data in itertools.cycle(contents):
            storage.write(str(folder / "scan"), data)

    for folder in killed_writers(tmp_path, write_for_ever):
        assert keys(str(folder)) == ["scan"]
        assert (folder / "scan").read_bytes() in contents
        if files == "nameless":  # elsewhere a hidden one may have been cut off
            assert all(path.read_bytes() in contents for path in folder.iterdir())


def killed_writers(tmp_path: Path, write_for_ever) -> Iterator[Path]:
    """Kill processes that write into a folder, each a little later than the one before, and yield their folders."""
    for round_ in range(10):
        folder = tmp_path / str(round_)
        writer = multiprocessing.get_context("fork").Process(target=write_for_ever, args=(folder,))
        writer.start()
        while not folder.exists() or not keys(str(folder)):
            time.sleep(0.001)
        time.sleep(0.007 * round_)
        writer.kill()
        writer.join()
        yield folder
