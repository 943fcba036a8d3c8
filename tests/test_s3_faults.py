"""Storage before a server and a network that make mistakes, and what of the options reaches the server."""

import hashlib
import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
import tenacity

from colornet.errors import AccessError, ExistsError, NotFoundError, SettingsError, StorageError
from colornet.storage import S3Options, Storage, StoredObject, s3_client
from colornet.storage.errors import failure
from colornet.storage.rate import prefix_of
from colornet.storage.s3 import BODY_ATTEMPTS, S3Objects, _is_md5, _version_in_parts
from colornet.storage.s3_client import client_of
from colornet.storage.server_errors import BrokenBodyError
from tests.faulty_s3 import FAULTS, FaultyProxy, running_proxy
from tests.s3 import S3Server

storage = Storage(S3Options(read_timeout=1))

SCAN = os.urandom(100_000)
MIB = 1 << 20


@pytest.fixture
def proxy(s3: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """What lies between storage and the server; it lets everything through until it is told otherwise."""
    for retried in (S3Objects.get, S3Objects._put_whole, S3Objects._put_part):
        monkeypatch.setattr(retried.retry, "wait", tenacity.wait_none())
    with running_proxy(s3_server.endpoint, stall_seconds=60) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


def straight(s3_server: S3Server):
    """A client that goes round the proxy."""
    return boto3.client("s3", endpoint_url=s3_server.endpoint)


def stored(s3_server: S3Server, s3: str) -> dict[str, bytes]:
    """All objects of a bucket, as the server has them."""
    client, bucket = straight(s3_server), s3.removeprefix("s3://")
    found = client.list_objects_v2(Bucket=bucket).get("Contents", ())
    return {each["Key"]: client.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in found}


# --- one fault -------------------------------------------------------------------------------------------------------


def test_every_fault_is_outlasted(s3, s3_server, proxy):
    expected = {}
    for fault in FAULTS:
        proxy.injected.clear()
        uri, data = f"{s3}/{fault}/scan.jpg", os.urandom(100_000)
        expected[f"{fault}/scan.jpg"] = data
        proxy.script.append(fault)
        version = storage.write(uri, data)
        assert version == hashlib.md5(data).hexdigest(), fault
        proxy.script.append(fault)
        assert storage.read(uri) == StoredObject(data, version), fault
        assert proxy.injected == {fault: 2}
        if fault in ("error", "reset", "truncate"):
            proxy.script.append(fault)
            assert [(found.key, found.version) for found in storage.listing(f"{s3}/{fault}")] == [("scan.jpg", version)]
            assert proxy.injected == {fault: 3}
    assert stored(s3_server, s3) == expected


def test_bodies_that_are_always_broken_are_given_up(s3, s3_server, proxy):
    storage.write(f"{s3}/scan.jpg", SCAN)
    proxy.rate = 1.0
    for fault, words in (("truncate", "the body broke off"), ("corrupt", "the body did not fit its MD5")):
        proxy.faults = [fault]
        with pytest.raises(StorageError, match=rf"scan\.jpg: {words}") as refusal:
            storage.read(f"{s3}/scan.jpg")
        assert proxy.injected[fault] == BODY_ATTEMPTS
        assert "\n" not in str(refusal.value)
    proxy.injected.clear()
    with pytest.raises(StorageError, match=r"other\.jpg: "):
        storage.write(f"{s3}/other.jpg", SCAN)
    assert proxy.injected == {"corrupt": BODY_ATTEMPTS}
    assert stored(s3_server, s3) == {"scan.jpg": SCAN}


def test_version_is_taken_for_an_md5_only_where_it_is_one():
    md5 = hashlib.md5(SCAN).hexdigest()
    assert _is_md5("bucket", md5, {"ServerSideEncryption": "AES256"})
    assert not _is_md5("bucket", f"{md5}-2", {})
    assert not _is_md5("bucket", md5, {"ServerSideEncryption": "aws:kms"})
    assert not _is_md5("bucket", md5, {"ServerSideEncryption": "aws:kms:dsse"})
    assert not _is_md5("bucket", md5, {"SSECustomerAlgorithm": "AES256"})
    assert not _is_md5("bucket--euc1-az1--x-s3", md5, {})


def test_server_refuses_what_does_not_fit_its_md5(s3, s3_server, monkeypatch):
    """Over HTTPS the signature does not cover the body: then Content-MD5 is all that tells."""
    wrong = S3Objects(S3Options())._checksum(b"something else")
    assert wrong.keys() == {"ContentMD5"}
    monkeypatch.setattr(S3Objects, "_checksum", lambda *_: wrong)
    monkeypatch.setattr(S3Objects._put_whole.retry, "wait", tenacity.wait_none())
    with pytest.raises(StorageError, match="BadDigest"):
        storage.write(f"{s3}/scan.jpg", SCAN)
    assert stored(s3_server, s3) == {}


def test_amazon_gets_the_checksum_that_boto3_adds(monkeypatch):
    """Nothing is sent: there is no Amazon here, so the request is looked at before it leaves."""
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    sent = {}

    def stop(request, **_):
        sent.update({name.lower(): value for name, value in request.headers.items()})
        raise BrokenBodyError("not sent")

    client_of(storage.s3).meta.events.register("before-send.s3", stop)
    with pytest.raises(StorageError):
        storage.write("s3://bucket/scan.jpg", SCAN)
    assert b"x-amz-checksum-crc32" in (sent.get("x-amz-trailer"), *(name.encode() for name in sent))
    assert "content-md5" not in sent


def test_silent_server_costs_its_read_timeout(s3, proxy):
    storage.write(f"{s3}/scan.jpg", SCAN)
    proxy.script.append("stall")
    began = time.monotonic()
    assert storage.read(f"{s3}/scan.jpg").data == SCAN
    assert 1 <= time.monotonic() - began < proxy.stall_seconds / 2


# --- many faults -----------------------------------------------------------------------------------------------------


def test_all_gets_through_where_one_request_in_ten_fails(s3, s3_server, proxy):
    proxy.rate, proxy.stall_seconds = 0.1, 1.5
    proxy.generator.seed(15)  # faults of five kinds; fewer broken bodies than one object may have
    scans = {f"box {index % 3}/{index}.jpg": os.urandom(5000) for index in range(15)}

    def there_and_back(key: str) -> bytes:
        version = storage.write(f"{s3}/{key}", scans[key])
        found = storage.read(f"{s3}/{key}")
        assert found.version == version == storage.stat(f"{s3}/{key}").version
        return found.data

    with ThreadPoolExecutor(6) as threads:
        assert list(threads.map(there_and_back, scans)) == list(scans.values())
    assert proxy.injected.total() >= 3
    proxy.rate = 0
    assert stored(s3_server, s3) == scans


def test_right_or_an_error_where_half_of_the_requests_fail(s3, s3_server, proxy):
    scans = {f"{index}.jpg": os.urandom(5000) for index in range(16)}
    old = dict.fromkeys(list(scans)[:4], b"an earlier version")
    for key, data in old.items():
        storage.write(f"{s3}/{key}", data)
    proxy.rate = 0.5
    proxy.faults = [fault for fault in FAULTS if fault not in ("busy", "stall")]  # after which botocore waits for long
    impatient = Storage(S3Options(read_timeout=1, request_retries=1))
    with ThreadPoolExecutor(8) as threads:
        writes = list(threads.map(lambda key: outcome(impatient.write, f"{s3}/{key}", scans[key]), scans))
        reads = list(threads.map(lambda key: outcome(impatient.read, f"{s3}/{key}"), scans))
    proxy.rate = 0
    present = stored(s3_server, s3)
    for key, written, read in zip(scans, writes, reads, strict=True):
        may_be = {scans[key], old.get(key)} if isinstance(written, StorageError) else {scans[key]}
        assert present.get(key) in may_be
        if isinstance(read, StoredObject):
            assert read.data == present[key]
        else:
            assert isinstance(read, StorageError)
            assert f"{s3}/{key}" in str(read)
    failed = [each for each in writes + reads if isinstance(each, StorageError)]
    assert 0 < len(failed) < len(writes + reads)


def outcome(action: Callable, *arguments: object) -> object:
    try:
        return action(*arguments)
    except StorageError as error:
        return error


# --- errors that concern every object --------------------------------------------------------------------------------

ACTIONS = {
    "read": storage.read,
    "write": lambda uri: storage.write(uri, SCAN),
    "create": lambda uri: storage.create(uri, SCAN),
    "stat": storage.stat,
    "delete": storage.delete,
    "listing": lambda uri: list(storage.listing(uri)),
    "listing_pages": lambda uri: list(storage.listing_pages(uri, threads=2)),
}


@pytest.mark.parametrize(("mode", "word"), [("deny", "AccessDenied"), ("expired", "ExpiredToken")])
def test_refusals_are_access_errors_at_once(s3, proxy, mode, word):
    proxy.mode = mode
    for name, action in ACTIONS.items():
        proxy.requests.clear()
        with pytest.raises(AccessError, match=rf"^{s3}/scan\.jpg: ") as refusal:
            action(f"{s3}/scan.jpg")
        assert len(proxy.requests) <= 3, name  # a HEAD's refusal has no reason: that takes two more
        if (name, mode) != ("stat", "deny"):  # a 403 to HEAD comes without a body
            assert word in str(refusal.value)


def test_one_fault_has_one_text(s3, proxy):
    """A job that counts equal failures sees that they are equal, though objects and sizes differ."""
    places = [f"{s3}/a.jpg", f"{s3}/b/longer.jpg"]
    for uri, size in zip(places, (1000, 54321), strict=True):
        storage.write(uri, b"x" * size)
    impatient = Storage(S3Options(read_timeout=1, request_retries=0))
    proxy.rate = 1.0
    for fault in ("error", "busy", "reset", "reset-body", "stall", "truncate", "deny", "cold"):
        proxy.faults = [fault]
        errors = [outcome(impatient.read, uri) for uri in places]
        texts = {str(error).replace(uri, "PLACE") for error, uri in zip(errors, places, strict=True)}
        assert len(texts) == 1
        assert {f"PLACE: {error.cause}" for error in errors} == texts
        assert not set("\n{<") & set(errors[0].cause)
        again = pickle.loads(pickle.dumps(errors[0]))
        assert (type(again), str(again), again.cause) == (type(errors[0]), str(errors[0]), errors[0].cause)
    assert proxy.injected.keys() >= {"stall", "cold"}


def test_amazons_own_name_of_an_object_is_its_uri():
    reason = 'AccessDenied: no policy allows s3:GetObject on "arn:aws:s3:::bucket/a.jpg"'
    error = failure(AccessError, "s3://bucket/a.jpg", reason)
    assert error.cause == 'AccessDenied: no policy allows s3:GetObject on "it"'
    assert str(error).count("s3://bucket/a.jpg") == 2


def test_modes_of_servers_that_are_not_about_credentials(s3, proxy):
    storage.write(f"{s3}/scan.jpg", SCAN)
    for mode, action, words in (
        ("cold", storage.read, "InvalidObjectState"),
        ("full", ACTIONS["write"], "InsufficientStorage: There is no space left"),
    ):
        proxy.mode = mode
        with pytest.raises(StorageError, match=rf"scan\.jpg: {words}") as refusal:
            action(f"{s3}/scan.jpg")
        assert not isinstance(refusal.value, AccessError)


# --- conditional writes ----------------------------------------------------------------------------------------------


def test_one_of_many_creates_an_object(s3, s3_server, proxy):
    texts = [b"%d" % index for index in range(12)]
    with ThreadPoolExecutor(12) as threads:
        outcomes = list(threads.map(lambda text: outcome(storage.create, f"{s3}/lock", text), texts))
    winners = [text for text, found in zip(texts, outcomes, strict=True) if isinstance(found, str)]
    assert len(winners) == 1
    assert [type(found) for found in outcomes].count(ExistsError) == 11
    assert stored(s3_server, s3) == {"lock": winners[0]}


def test_create_whose_answer_was_lost_has_succeeded(s3, s3_server, proxy):
    proxy.script.append("lost")
    version = storage.create(f"{s3}/lock", b"ours")
    assert proxy.injected == {"lost": 1}
    assert storage.read(f"{s3}/lock") == StoredObject(b"ours", version)
    proxy.script.append("error")
    with pytest.raises(ExistsError):
        storage.create(f"{s3}/lock", b"another's")
    assert stored(s3_server, s3) == {"lock": b"ours"}


# --- uploads in parts ------------------------------------------------------------------------------------------------

LARGE = os.urandom(17 * MIB)


def uploads(s3_server: S3Server, s3: str) -> list:
    return straight(s3_server).list_multipart_uploads(Bucket=s3.removeprefix("s3://")).get("Uploads", [])


def test_large_object_is_uploaded_in_parts(s3, s3_server, proxy):
    in_parts = Storage(S3Options(multipart_mb=5, acl="private"))
    version = in_parts.write(f"{s3}/_colornet/large.tif", LARGE, metadata={"origin": "a test"})
    parts = [request for request in proxy.requests if "partNumber=" in request.path]
    assert sorted(int(part.headers["content-length"]) for part in parts) == [MIB, 8 * MIB, 8 * MIB]
    assert all("content-md5" in part.headers for part in parts)
    assert storage.read(f"{s3}/_colornet/large.tif") == StoredObject(LARGE, version)
    assert storage.stat(f"{s3}/_colornet/large.tif").version == version == _version_in_parts(LARGE)
    head = straight(s3_server).head_object(Bucket=s3.removeprefix("s3://"), Key="_colornet/large.tif")
    assert (head["ContentType"], head["Metadata"]) == ("image/tiff", {"origin": "a test"})
    assert uploads(s3_server, s3) == []


def test_uploads_in_parts_outlast_faults(s3, s3_server, proxy):
    in_parts = Storage(S3Options(multipart_mb=5))
    data = LARGE[: 9 * MIB]
    # A part is changed; the answer to the completion is lost, and servers may then say that they know no such upload.
    for method, faults in {"PUT": ["", "corrupt"], "POST": ["", "lost", "gone"]}.items():
        proxy.methods = (method,)
        proxy.script.extend(faults)
        version = in_parts.write(f"{s3}/{method}.tif", data)
        assert storage.read(f"{s3}/{method}.tif") == StoredObject(data, version)
    assert proxy.injected == {"corrupt": 1, "lost": 1, "gone": 1}
    assert uploads(s3_server, s3) == []
    proxy.script.extend(["", "gone"])  # and nothing was completed before
    with pytest.raises(NotFoundError, match=r"POST-2\.tif: "):
        in_parts.write(f"{s3}/POST-2.tif", data)


def test_upload_in_parts_that_fails_leaves_nothing(s3, s3_server, proxy):
    impatient = Storage(S3Options(multipart_mb=5, request_retries=0))
    for method in ("PUT", "POST"):  # the second part fails, or the completion
        proxy.methods = (method,)
        proxy.script = deque(["", *["error"] * 9])
        with pytest.raises(StorageError, match=r"large\.tif: InternalError"):
            impatient.write(f"{s3}/large.tif", LARGE[: 9 * MIB])
    assert proxy.injected["error"] >= 2
    assert any(request.method == "DELETE" for request in proxy.requests)
    assert uploads(s3_server, s3) == []
    assert stored(s3_server, s3) == {}


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"storage_class": "cold storage"},
        {"sse": "DES"},
        {"kms_key": "key"},
        {"kms_key": "a\nb", "sse": "aws:kms"},
        {"acl": "x\r\ny"},
        {"requests_per_second": -1},
        {"requests_per_second": float("nan")},
        {"connections": 0},
        {"read_timeout": 0},
        {"request_retries": -1},
        {"multipart_mb": 4},
        {"multipart_mb": 6000},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        S3Options(**wrong)


def test_same_options_in_the_same_environment_have_one_client(s3, monkeypatch):
    there = Storage(S3Options(connections=7))
    client = client_of(there.s3)
    assert client.meta.config.max_pool_connections == 7
    assert client_of(pickle.loads(pickle.dumps(there)).s3) is client
    assert client_of(S3Options()) is not client
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert client_of(there.s3).meta.endpoint_url == "http://127.0.0.1:1"


def test_wishes_of_the_owner_go_with_writes_and_payment_with_reads(s3, proxy):
    wishes = S3Options(
        storage_class="STANDARD_IA", sse="aws:kms", kms_key="alias/scans", acl="private", requester_pays=True
    )
    storage.write(f"{s3}/there.jpg", SCAN)
    demanding = Storage(wishes)
    for key in ("scan.jpg", "out/_colornet/ledger/part.parquet"):
        outcome(demanding.write, f"{s3}/{key}", SCAN)  # Swift has neither this class nor keys, and may say so
    demanding.read(f"{s3}/there.jpg")
    demanding.stat(f"{s3}/there.jpg")
    list(demanding.listing_pages(s3))
    sent = {(request.method, request.key): request.headers for request in proxy.requests if request.method != "POST"}
    output, own = sent["PUT", "scan.jpg"], sent["PUT", "out/_colornet/ledger/part.parquet"]
    assert output["x-amz-storage-class"] == "STANDARD_IA"
    assert "x-amz-storage-class" not in own
    for headers in (output, own):
        assert headers["x-amz-server-side-encryption"] == "aws:kms"
        assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "alias/scans"
        assert headers["x-amz-acl"] == "private"
        assert "x-amz-request-payer" not in headers
    for request in (("GET", "there.jpg"), ("HEAD", "there.jpg"), ("GET", "")):
        assert sent[request]["x-amz-request-payer"] == "requester"
        assert "x-amz-storage-class" not in sent[request]


def test_metadata_is_kept_as_ascii(s3, s3_server):
    storage.write(f"{s3}/scan.jpg", SCAN, "image/jpeg", metadata={"Title": "Fähre 50% + 日\n本", "note": "plain, text"})
    head = straight(s3_server).head_object(Bucket=s3.removeprefix("s3://"), Key="scan.jpg")
    assert head["ContentType"] == "image/jpeg"
    assert head["Metadata"] == {"title": "F%C3%A4hre 50%25 + %E6%97%A5%0A%E6%9C%AC", "note": "plain, text"}


@pytest.mark.parametrize("path_style", [False, True])
def test_buckets_are_addressed_as_asked(s3, proxy, monkeypatch, tmp_path, path_style):
    resolve = socket.getaddrinfo
    local = lambda host: "127.0.0.1" if str(host).endswith(".localhost") else host  # noqa: E731  (not every resolver)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: resolve(local(host), *rest, **more))
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint.replace("127.0.0.1", "localhost"))
    (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    there = Storage(S3Options(path_style=path_style))
    there.write(f"{s3}/scan.jpg", SCAN)
    assert there.read(f"{s3}/scan.jpg").data == SCAN
    bucket = s3.removeprefix("s3://")
    for request in proxy.requests:
        assert request.headers["host"].startswith("localhost" if path_style else f"{bucket}.localhost")
        assert request.path.startswith(f"/{bucket}/scan.jpg" if path_style else "/scan.jpg")


def test_arrow_takes_the_path_style_for_amazon_too(monkeypatch):
    """Its address is looked at and not asked: there is no Amazon here."""
    for name, value in {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    made = []
    monkeypatch.setattr(s3_client.pyarrow.fs, "S3FileSystem", lambda **options: made.append(options))
    for path_style in (False, True):
        Storage(S3Options(path_style=path_style)).arrow_filesystem("s3://bucket/key")
    assert [options.get("endpoint_override") for options in made] == [None, "s3.eu-west-1.amazonaws.com"]


def test_requests_are_bound(s3, proxy):
    storage.write(f"{s3}/scans/2001/a.jpg", SCAN)
    bound = Storage(S3Options(requests_per_second=50))
    client_of(bound.s3)  # which takes a moment to be made
    began = time.monotonic()
    with ThreadPoolExecutor(10) as threads:
        proxy.script.extend(["reset"] * 5)
        list(threads.map(lambda _: bound.stat(f"{s3}/scans/2001/a.jpg"), range(20)))
    assert time.monotonic() - began > 0.38  # 5 at once, a tenth of a second's worth; 15 and 5 retries at 50 a second


def test_requests_count_for_their_prefix():
    assert prefix_of("b", "scans/2001/box/a.jpg") == prefix_of("b", "scans/2001/") == "b/scans/2001"
    assert prefix_of("b", "a.jpg") == prefix_of("b", "") == "b"
    assert prefix_of("b", "scans/a.jpg") == "b/scans"
