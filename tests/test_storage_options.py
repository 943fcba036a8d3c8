"""A job's options of S3 go with every request, in whatever process: for scans, bundle, ledger, lock and the rest."""

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from colornet.archive import inventory, ledger
from colornet.archive.audit import audit
from colornet.archive.plan import Tally
from colornet.archive.summary import least_certain, summarize
from colornet.archive.task import ColorizeTask
from colornet.archive.worker import ColorizeWorker, load_predictor
from colornet.datasets import collection, parts, photographs, shards, sources
from colornet.datasets.photographs import Reader
from colornet.datasets.plan import Plan
from colornet.datasets.screening import Screening
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from colornet.rendering.render import RenderSettings
from colornet.storage import S3Options, Storage, uris
from colornet.storage.left_out import LeftOut
from colornet.storage.lock import OutputLock
from colornet.training.recipe import Recipe
from jobs.colorizing import summary
from jobs.prepare import _screen_block, _write_shard
from jobs.training.run import Run
from tests import pictures
from tests.faulty_s3 import FaultyProxy, running_proxy
from tests.s3 import S3Server

ASKED = Storage(S3Options(requester_pays=True, acl="private"))


@pytest.fixture
def proxy(s3: str, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Sees every request."""
    with running_proxy(s3_server.endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


def keys_of_obedient_requests(proxy: FaultyProxy) -> set[str]:
    """Demand the options of every request that can have them; return the keys that were written, and forget all."""
    written = set()
    for request in proxy.requests:
        if "boto3" not in request.headers["user-agent"].lower():
            continue  # Arrow reads Parquet files, and knows no such options
        if request.method in ("GET", "HEAD"):
            assert request.headers.get("x-amz-request-payer") == "requester", request
        if request.method == "PUT" or (request.method == "POST" and "uploads" in request.path):
            assert request.headers.get("x-amz-acl") == "private", request
            written.add(request.key)
    assert written
    proxy.requests.clear()
    return written


def save_bundle(uri: str, storage: Storage) -> str:
    torch.manual_seed(0)
    generator = build_generator("unet", {"width": 2})
    return bundles.save(Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=32), uri, storage)


def travelled(value):
    """As it comes out in another process."""
    return pickle.loads(pickle.dumps(value))


def test_worker_of_the_archive_job(s3, proxy, tmp_path):
    output = f"{s3}/out"
    for name in ("a", "b"):
        ASKED.write(f"{s3}/in/{name}.png", pictures.encoded(pictures.gray(40, 30), "PNG"))
    task = ColorizeTask(
        output=output,
        model=f"{s3}/bundle",
        bundle_digest=save_bundle(f"{s3}/bundle", ASKED),
        render=RenderSettings(size=32),
        storage=ASKED,
    )
    with OutputLock(output, "a test", ASKED, beat_seconds=0.2) as lock:
        scans = inventory.read_inventory(f"{s3}/in", ASKED)
        worker = ColorizeWorker(travelled(task))
        for row in range(2):
            assert worker(scans.slice(row, 1))["status"].to_pylist() == ["done"]
        lock.check()
    load_predictor(travelled(task))
    assert ledger.compact(output, ASKED).merged == 2
    (row, _) = ledger.read(output, ASKED).to_pylist()
    assert (row["bundle_digest"], row["settings_digest"]) == tuple(task.run)
    assert audit(output, storage=ASKED) == []
    assert summarize(output, tmp_path, ASKED).run.done == 2
    assert least_certain(output, 5, tmp_path, ASKED) == []
    tally = Tally(2, 2, 0, 0, 0, 0, 0, (), None)
    summary.write(f"{s3}/in", SimpleNamespace(pending=0), tally, travelled(task), row["finished_at"], LeftOut(), None)
    written = keys_of_obedient_requests(proxy)
    assert written >= {"bundle/bundle.json", "out/a.png", "out/_colornet/lock", "out/_colornet/summary.json"}
    assert sum(key.startswith("out/_colornet/ledger/") for key in written) == 3


def test_whole_archive_job(s3, proxy):
    """The same on a real Ray, with a predictor in a process of its own."""
    for index in range(3):
        ASKED.write(f"{s3}/in/{index}.png", pictures.encoded(pictures.gray(40, 30, index), "PNG"))
    save_bundle(f"{s3}/bundle", ASKED)
    places = ["--input", f"{s3}/in", "--output", f"{s3}/out", "--model", f"{s3}/bundle"]
    options = ["--max-workers", "1", "--predictors", "1", "--requester-pays", "--acl", "private"]
    command = [sys.executable, "-m", "jobs.colorize", *places, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "3 done, 0 failed" in done.stdout
    read = {request.key for request in proxy.requests if request.method == "GET"}
    assert read >= {"in/0.png", "bundle/bundle.json", "bundle/generator.safetensors"}
    written = keys_of_obedient_requests(proxy)
    assert written >= {"out/0.png", "out/1.png", "out/2.png", "out/_colornet/lock", "out/_colornet/summary.json"}
    assert any(key.startswith("out/_colornet/ledger/") for key in written)


def test_tasks_of_prepare_and_readers_of_training(s3, proxy):
    for seed in range(4):
        ASKED.write(f"{s3}/in/{seed}.jpg", pictures.encoded(pictures.colour(80, 90, seed), "JPEG"))
    files = sources.listing([f"{s3}/in"], storage=ASKED)
    work = parts.Work(parts=f"{s3}/out/parts", screening=Screening(min_side=16), license="", storage=ASKED)
    screened = travelled(partial(_screen_block, work=work))(files)
    plan = shards.plan(screened, 0.3)
    for name, rows in plan.shards.items():
        place = pa.array([uris.join(f"{s3}/out", name)] * rows.num_rows)
        told = travelled(partial(_write_shard, storage=ASKED))(rows.append_column("shard", place))
        assert told["shard"].to_pylist() == [place[0].as_py()]
    found = collection.find(f"{s3}/out", storage=ASKED)
    read = travelled(Reader(Plan(found.train, seed=0), 16, storage=ASKED))
    assert next(read({"item": np.array([0])}))["image"].shape[1:] == (16, 16, 3)
    assert photographs.read_held_out(found.held_out, 16, 1, ASKED).shape == (1, 16, 16, 3)
    assert {"out/train-00000.parquet", "out/val-00000.parquet"} <= keys_of_obedient_requests(proxy)


def test_run_of_training(s3, proxy, tmp_path):
    shard = io.BytesIO()
    pq.write_table(pa.table({"image": [pictures.encoded(pictures.colour(20, 20), "PNG")]}), shard)
    for name in ("train-0.parquet", "val-0.parquet"):
        ASKED.write(f"{s3}/data/{name}", shard.getvalue())
    run = travelled(
        Run(
            recipe=Recipe(),
            data=collection.find(f"{s3}/data", storage=ASKED),
            data_uri=f"{s3}/data",
            output=f"{s3}/out",
            name="a-run",
            most_workers=1,
            storage=ASKED,
        )
    )
    for _ in range(2):  # noted, and compared
        run.note_recipe()
    run.check_place()
    assert "stages" in json.loads(ASKED.read(f"{run.uri}/recipe.json").data)
    assert "out/_training/a-run/recipe.json" in keys_of_obedient_requests(proxy)
