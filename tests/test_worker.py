"""The worker of the archive job without Ray: a batch in, ledger rows and finished pictures out."""

import hashlib
import json
import logging
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import skimage.data
import tifffile
import torch

from colornet import __version__
from colornet.archive import inventory, ledger
from colornet.archive import plan as plan_module
from colornet.archive.audit import audit
from colornet.archive.hints import read_hints, write_hints
from colornet.archive.plan import make_plan
from colornet.archive.task import ColorizeTask
from colornet.archive.version import code_version
from colornet.archive.worker import BUDGET, UNRECORDED, ColorizeWorker, give_up, load_predictor
from colornet.codecs import open_source
from colornet.errors import BundleError
from colornet.hints import Hint, from_json
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.inference.letterbox import Letterbox
from colornet.inference.page import prepare
from colornet.inference.predictor import Prediction
from colornet.networks import build_generator
from colornet.rendering.render import Rendered, Rendering, RenderSettings
from colornet.storage import Storage, StoredObject
from tests import hinted, pictures


@pytest.fixture
def archive(tmp_path) -> Path:
    """Five sound scans and four that are not."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "landscape.jpg").write_bytes(pictures.encoded(pictures.gray(60, 90, 1), "JPEG"))
    (folder / "portrait.png").write_bytes(pictures.encoded(pictures.gray(90, 60, 2), "PNG"))
    (folder / "sub" / "square.tif").write_bytes(pictures.encoded(pictures.gray(64, 64, 3), "TIFF"))
    (folder / "sub" / "colour mode.jpg").write_bytes(pictures.encoded(pictures.colour(40, 70, 4), "JPEG"))
    (folder / "tiny.png").write_bytes(pictures.encoded(pictures.gray(1, 1), "PNG"))
    (folder / "cut.jpg").write_bytes(pictures.encoded(pictures.gray(60, 90, 1), "JPEG")[:-300])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "large.png").write_bytes(pictures.encoded(pictures.gray(200, 200), "PNG"))
    (folder / "notes.txt").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def task(tmp_path) -> ColorizeTask:
    return task_with(tmp_path, "unet", {"width": 2})


def task_with(tmp_path: Path, network: str, settings: dict) -> ColorizeTask:
    torch.manual_seed(0)
    generator = build_generator(network, settings)
    bundle = Bundle(generator=generator, network=network, settings=settings, image_size=32)
    digest = bundles.save(bundle, str(tmp_path / "bundle"))
    return ColorizeTask(
        output=str(tmp_path / "out"),
        model=str(tmp_path / "bundle"),
        bundle_digest=digest,
        render=RenderSettings(size=32, in_colour="recolor", max_pixels=30_000),
    )


def colorize(task: ColorizeTask, batch: pa.Table) -> pa.Table:
    return ColorizeWorker(task)(batch)


def outputs(task: ColorizeTask) -> dict[str, bytes]:
    root = Path(task.output)
    return {
        str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and "_colornet" not in str(p)
    }


def test_every_scan_gets_a_row_and_sound_ones_an_output(archive, task):
    rows = colorize(task, inventory.read_inventory(str(archive)))
    assert rows.schema.equals(ledger.SCHEMA)
    assert ledger.read(task.output).sort_by("source_uri").equals(rows.sort_by("source_uri"))
    by_name = {Path(row["source_uri"]).name: row for row in rows.to_pylist()}
    sound = {"landscape.jpg", "portrait.png", "square.tif", "colour mode.jpg", "tiny.png"}
    assert {name for name, row in by_name.items() if row["status"] == "done"} == sound
    reasons = {name: row["reason"] for name, row in by_name.items() if row["status"] == "failed"}
    assert "damaged JPEG" in reasons["cut.jpg"]
    assert "empty" in reasons["empty.jpg"]
    assert "too large: 200×200" in reasons["large.png"]
    assert (by_name["notes.txt"]["status"], by_name["notes.txt"]["reason"]) == ("skipped", "not a picture")
    written = outputs(task)
    assert set(written) == {"landscape.jpg", "portrait.png", "sub/square.tif", "sub/colour mode.jpg", "tiny.png"}
    for row in by_name.values():
        if row["status"] == "done":
            data = Path(row["output_uri"]).read_bytes()
            assert row["output_sha256"] == hashlib.sha256(data).hexdigest() and row["output_size"] == len(data)
            assert row["pixels"] == row["width"] * row["height"] == pictures.decoded(data)[..., 0].size


def test_what_the_ledger_says_of_a_scan(archive, task):
    before = datetime.now(UTC)
    rows = colorize(replace(task, attempt=2), inventory.read_inventory(str(archive))).to_pylist()
    for row in rows:
        source = Path(row["source_uri"]).read_bytes()
        assert row["source_sha256"] == hashlib.sha256(source).hexdigest() and row["source_size"] == len(source)
        assert row["attempts"] == 2 and row["code_version"] == code_version()
        assert before <= row["finished_at"] <= datetime.now(UTC)
        done = row["status"] == "done"
        seconds_of = {step: row[f"{step}_seconds"] for step in ledger.STEPS}
        reached = set(ledger.STEPS) if done else {"fetch", "render"}
        assert {step for step, seconds in seconds_of.items() if seconds is not None} == reached
        assert all(seconds_of[step] > 0 for step in reached)
        assert sum(seconds_of[step] for step in reached) <= row["seconds"] + 1e-4
        refused = "ScanError" if row["status"] == "failed" else "NotAPictureError"
        assert row["error"] == (None if done else refused)
        assert (row["mean_chroma"] is None) == (not done)


def test_earlier_tries_count(archive, task):
    scans = inventory.read_inventory(str(archive / "tiny.png"))
    for before, attempts in ((None, 1), (4, 5)):
        batch = scans.append_column("attempts", pa.array([before], pa.int32()))
        assert colorize(task, batch)["attempts"].to_pylist() == [attempts]


def test_mean_chroma_is_that_of_the_picture_and_not_of_its_padding(archive, task):
    pages = [pictures.gray(32, 64, 1), pictures.gray(64, 64, 2)]
    tifffile.imwrite(archive / "two.tif", pages[0], photometric="minisblack")
    tifffile.imwrite(archive / "two.tif", pages[1], photometric="minisblack", append=True)

    def predictor(lightness: np.ndarray, letterboxes: list[Letterbox], hints: list) -> "Future[list[Prediction]]":
        """Colour of chroma 5 in the picture's half as wide as high, of 13 elsewhere."""
        ab = np.empty((2, 32, 32), np.float16)
        ab[0], ab[1] = 5, 12
        ab[0, 8:24], ab[1, 8:24] = 3, 4
        answer: Future[list[Prediction]] = Future()
        answer.set_result([Prediction(ab, None)])
        return answer

    def mean_chroma(name: str) -> float:
        rows = ColorizeWorker(task, predictor)(inventory.read_inventory(str(archive / name)))
        return rows["mean_chroma"].to_pylist()[0]

    wide, square = 5, (5 + 13) / 2
    assert mean_chroma("sub/square.tif") == pytest.approx(square)
    assert mean_chroma("two.tif") == pytest.approx((wide * 32 + square * 64) / 96)


def test_confidence_is_that_of_the_least_certain_page(archive, task):
    pages = np.stack([pictures.gray(64, 64, seed) for seed in range(3)])
    tifffile.imwrite(archive / "three.tif", pages, photometric="minisblack")
    (archive / "failed.tif").write_bytes((archive / "three.tif").read_bytes())
    told = iter([0.75, 0.25, 0.5, 0.125, RuntimeError("out of memory"), None])

    def predictor(lightness: np.ndarray, letterboxes: list[Letterbox], hints: list) -> "Future[list[Prediction]]":
        assert letterboxes == [Letterbox(0, 0, 32, 32)]
        answer: Future[list[Prediction]] = Future()
        confidence = next(told)
        if isinstance(confidence, RuntimeError):
            raise confidence
        answer.set_result([Prediction(np.zeros((2, 32, 32), np.float16), confidence)])
        return answer

    worker = ColorizeWorker(task, predictor)
    for name in ("three.tif", "failed.tif", "sub/square.tif"):
        worker(inventory.read_inventory(str(archive / name)))
    rows = {Path(row["source_uri"]).name: row for row in ledger.read(task.output).to_pylist()}
    assert {name: row["confidence"] for name, row in rows.items()} == {
        "three.tif": 0.25,
        "failed.tif": None,
        "square.tif": None,
    }
    assert rows["failed.tif"]["status"] == "failed"


def test_a_generator_that_predicts_distributions_tells_the_ledger_how_sure_it_is(archive, task, tmp_path):
    settings = {"encoder": "mobilenetv3_small_050", "width": 2, "head": "bins"}
    bundle = Bundle(
        generator=build_generator("backbone", settings), network="backbone", settings=settings, image_size=32
    )
    digest = bundles.save(bundle, str(tmp_path / "sure"))
    rows = colorize(
        replace(task, model=str(tmp_path / "sure"), bundle_digest=digest),
        inventory.read_inventory(str(archive / "landscape.jpg")),
    )
    assert 0 < rows["confidence"][0].as_py() < 1
    assert colorize(task, inventory.read_inventory(str(archive / "tiny.png")))["confidence"].to_pylist() == [None]


@pytest.mark.parametrize(("choice", "status"), [("skip", "skipped"), ("copy", "done"), ("recolor", "done")])
def test_scans_in_colour_are_skipped_copied_or_recolored(archive, task, choice, status):
    data = pictures.encoded(skimage.data.astronaut(), "JPEG", quality=90)
    (archive / "astronaut.jpg").write_bytes(data)
    task = replace(task, render=replace(task.render, in_colour=choice, max_pixels=10**6))
    (row,) = colorize(task, inventory.read_inventory(str(archive / "astronaut.jpg"))).to_pylist()
    assert row["status"] == status
    written = outputs(task)
    assert (row["mean_chroma"] is None) == (choice != "recolor")
    if choice == "skip":
        assert "already in colour" in row["reason"] and row["error"] == "InColourError" and not written
    else:
        assert (written["astronaut.jpg"] == data) == (choice == "copy")


def test_a_source_that_changed_is_a_failed_row(archive, task):
    scans = inventory.read_inventory(str(archive / "landscape.jpg"))
    (archive / "landscape.jpg").write_bytes(pictures.encoded(pictures.gray(10, 10), "JPEG"))
    (row,) = colorize(task, scans).to_pylist()
    assert row["status"] == "failed" and "changed since it was listed" in row["reason"]


def test_a_source_is_never_overwritten(archive, task):
    """A Parquet inventory may name scans that lie where the outputs go."""
    before = (archive / "landscape.jpg").read_bytes()
    scans = inventory.read_inventory(str(archive / "landscape.jpg"))
    (row,) = colorize(replace(task, output=str(archive)), scans).to_pylist()
    assert row["status"] == "failed" and "own place" in row["reason"]
    assert (archive / "landscape.jpg").read_bytes() == before


def test_a_source_is_not_overwritten_through_a_link_in_the_output(archive, task):
    before = {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()}
    Path(task.output).mkdir()
    (Path(task.output) / "sub").symlink_to(archive / "sub")
    (Path(task.output) / "landscape.jpg").symlink_to(archive / "landscape.jpg")
    rows = colorize(task, inventory.read_inventory(str(archive))).to_pylist()
    refused = {row["key"] for row in rows if "symbolic link" in (row["reason"] or "")}
    assert refused == {"landscape.jpg", "sub/square.tif", "sub/colour mode.jpg"}
    assert {row["status"] for row in rows if row["key"] in refused} == {"failed"}
    assert {path: path.read_bytes() for path in archive.rglob("*") if path.is_file()} == before


def test_an_output_folder_that_is_a_link_itself_is_a_place_like_any_other(archive, task, tmp_path):
    (tmp_path / "disk").mkdir()
    Path(task.output).symlink_to(tmp_path / "disk")
    (row,) = colorize(task, inventory.read_inventory(str(archive / "landscape.jpg"))).to_pylist()
    assert row["status"] == "done" and (tmp_path / "disk" / "landscape.jpg").is_file()


def test_a_key_that_is_no_place_is_refused_before_work_with_one_reason_for_all(archive, task, monkeypatch):
    monkeypatch.setattr("colornet.archive.worker.fetch", lambda *_: pytest.fail("a scan was fetched"))
    scans = inventory.read_inventory(str(archive / "landscape.jpg")).to_pylist()
    keys = ["a//b.jpg", "/a.jpg", "a/", "../a.jpg", "a/./b.jpg", "_colornet/ledger/a.parquet", "a\0.jpg"]
    rows = colorize(task, pa.Table.from_pylist([scans[0] | {"key": key} for key in keys], inventory.SCHEMA)).to_pylist()
    assert {row["status"] for row in rows} == {"failed"} and len({row["reason"] for row in rows}) == 1
    assert "no place below the output" in rows[0]["reason"]


def test_keys_of_s3_are_kept_as_they_are_from_s3_to_s3(archive, task, s3):
    keys = ["in//a//b.jpg", "in//c.jpg", "in/d.jpg"]
    for key in keys:
        Storage().write(f"{s3}/{key}", (archive / "landscape.jpg").read_bytes())
    task = replace(task, output=f"{s3}/out")
    rows = colorize(task, inventory.read_inventory(f"{s3}/in")).to_pylist()
    assert [row["status"] for row in rows] == ["done"] * 3
    assert {row["output_uri"] for row in rows} == {f"{s3}/out/{key.removeprefix('in/')}" for key in keys}
    assert {found.uri for found in Storage().listing(f"{s3}/out") if "_colornet" not in found.uri} == {
        row["output_uri"] for row in rows
    }
    assert audit(f"{s3}/out") == []


def test_what_could_not_be_listed_is_a_failed_row(archive, task):
    scans = inventory.read_inventory(str(archive / "landscape.jpg")).to_pylist()
    scans += [{"source_uri": "/in/lost+found", "key": "lost+found/", "problem": "this folder cannot be read: why"}]
    rows = colorize(task, pa.Table.from_pylist(scans, inventory.SCHEMA)).to_pylist()
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("done", None),
        ("failed", "this folder cannot be read: why"),
    ]


def test_an_output_that_cannot_be_written_is_a_failed_row(archive, task):
    scans = inventory.read_inventory(str(archive / "landscape.jpg"))
    (Path(task.output) / "landscape.jpg").mkdir(parents=True)
    (row,) = colorize(task, scans).to_pylist()
    assert row["status"] == "failed" and "landscape.jpg" in row["reason"]


def test_an_unforeseen_error_is_a_failed_row(archive, task, monkeypatch):
    def surprise(*_args, **_options):
        raise KeyError("surprise")

    monkeypatch.setattr("colornet.archive.worker.Rendering", surprise)
    (row,) = colorize(task, inventory.read_inventory(str(archive / "landscape.jpg"))).to_pylist()
    assert row["status"] == "failed" and row["reason"] == "unexpected KeyError: 'surprise'"


def test_a_bundle_exchanged_while_the_job_runs_is_refused(task):
    description = Path(task.model) / bundles.DESCRIPTION
    edited = {**json.loads(description.read_text()), "image_size": 64}
    description.write_text(json.dumps(edited))
    with pytest.raises(BundleError, match="exchanged"):
        ColorizeWorker(task)


# --- two batches at once, and a generator elsewhere ------------------------------------------------------------------


def work_apart(task: ColorizeTask, name: str) -> ColorizeTask:
    return replace(task, output=f"{task.output} {name}")


def lasting(rows: pa.Table) -> list[dict]:
    """What does not differ from run to run."""
    differ = [name for name in rows.column_names if name.endswith(("seconds", "finished_at", "output_uri"))]
    return rows.drop_columns(differ).sort_by("source_uri").to_pylist()


def test_two_batches_at_once_give_what_they_give_one_by_one(archive, task):
    scans = inventory.read_inventory(str(archive))
    batches = [scans.slice(0, 5), scans.slice(5)]
    single, double = work_apart(task, "single"), work_apart(task, "double")
    ColorizeWorker(single)(scans)
    worker = ColorizeWorker(double)
    with ThreadPoolExecutor(2) as callers:
        rows = list(callers.map(worker, batches))
    assert [part["source_uri"].to_pylist() for part in rows] == [part["source_uri"].to_pylist() for part in batches]
    assert lasting(ledger.read(double.output)) == lasting(ledger.read(single.output))
    assert outputs(double) == outputs(single) != {}


class Elsewhere:
    """Stands in for a generator in another process: answers later, from a thread of its own."""

    def __init__(self, task: ColorizeTask) -> None:
        self.predictor = load_predictor(task)
        self.thread = ThreadPoolExecutor(1)

    def __call__(self, lightness: np.ndarray, letterboxes: list[Letterbox], hints: list) -> "Future[list[Prediction]]":
        return self.thread.submit(self.predictor.predict, lightness, letterboxes, hints)


@pytest.mark.parametrize("budget", [1, BUDGET])
def test_a_generator_elsewhere_gives_the_same_bytes(archive, task, budget):
    pages = np.stack([pictures.gray(50, 70, seed) for seed in range(3)])
    tifffile.imwrite(archive / "three.tif", pages, photometric="minisblack")
    scans = inventory.read_inventory(str(archive))
    here, there = work_apart(task, "here"), work_apart(task, "there")
    ColorizeWorker(here)(scans)
    ColorizeWorker(there, Elsewhere(task), budget=budget)(scans)
    assert lasting(ledger.read(there.output)) == lasting(ledger.read(here.output))
    assert outputs(there) == outputs(here) and len(outputs(there)) == 6


def test_what_is_spread_by_confidence_is_the_same_with_a_generator_elsewhere(archive, tmp_path):
    task = task_with(tmp_path, "backbone", {"encoder": "mobilenetv3_small_050", "width": 2, "head": "bins"})
    scans = inventory.read_inventory(str(archive))
    here, there, faded = (work_apart(task, name) for name in ("here", "there", "faded"))
    ColorizeWorker(here)(scans)
    ColorizeWorker(there, Elsewhere(task))(scans)
    assert lasting(ledger.read(there.output)) == lasting(ledger.read(here.output))
    assert outputs(there) == outputs(here) and len(outputs(there)) == 5
    faded = replace(faded, render=replace(task.render, neutral_below=1.0))
    rows = {row["key"]: row["mean_chroma"] for row in ColorizeWorker(faded)(scans).to_pylist()}
    for row in ledger.read(here.output).to_pylist():
        assert row["mean_chroma"] is None or rows[row["key"]] < row["mean_chroma"]


def test_others_are_computed_while_a_scan_waits_for_its_colour(archive, task):
    elsewhere, together = Elsewhere(task), threading.Barrier(4)

    def predictor(lightness: np.ndarray, letterboxes: list[Letterbox], hints: list) -> "Future[list[Prediction]]":
        """Answers when four have asked."""
        return callers.submit(lambda: (together.wait(20), elsewhere(lightness, letterboxes, hints).result())[1])

    names = ["landscape.jpg", "portrait.png", "sub/square.tif", "tiny.png"]
    scans = pa.concat_tables([inventory.read_inventory(str(archive / name)) for name in names])
    with ThreadPoolExecutor(4) as callers:
        rows = ColorizeWorker(task, predictor)(scans)
    assert rows["status"].to_pylist() == ["done"] * 4


def test_a_generator_that_fails_fails_its_scan_and_no_other(archive, task):
    elsewhere = Elsewhere(task)

    def predictor(lightness: np.ndarray, letterboxes: list[Letterbox], hints: list) -> "Future[list[Prediction]]":
        if asked["times"] == 1:
            raise ConnectionError("no route")
        asked["times"] += 1
        answer: Future[list[Prediction]] = Future()
        answer.set_exception(RuntimeError("out of memory"))
        return elsewhere(lightness, letterboxes, hints) if asked["times"] > 2 else answer

    asked = Counter()
    worker = ColorizeWorker(task, predictor)
    scan = inventory.read_inventory(str(archive / "landscape.jpg"))
    rows = []
    for _ in range(2):
        rows += worker(scan).to_pylist()
    asked["times"] = 2
    rows += worker(scan).to_pylist()
    assert [row["status"] for row in rows] == ["failed", "failed", "done"]
    assert [row["error"] for row in rows] == ["RuntimeError", "ConnectionError", None]


def test_what_is_in_hand_is_bounded_in_bytes(archive, task, monkeypatch):
    """Storage that is slow on both sides: what was read ahead, and what waits to be stored, stays within the budget."""
    task = replace(task, render=replace(task.render, max_pixels=10**6))
    for index in range(12):
        (archive / f"{index}.png").write_bytes(pictures.encoded(pictures.gray(90, 100 + 25 * index, index), "PNG"))
    names = [f"{index}.png" for index in range(12)]
    scans = pa.concat_tables([inventory.read_inventory(str(archive / name)) for name in names])
    largest, budget = max(scans["source_size"].to_pylist()), 60_000
    lock, held, most = threading.Lock(), Counter(), Counter()

    def count(side: str, amount: int) -> None:
        with lock:
            held[side] += amount
            most[side] = max(most[side], held[side])

    read, write, finish = Storage.read, Storage.write, Rendering.finish

    def slow_read(self: Storage, uri: str) -> StoredObject:
        count("read", Path(uri).stat().st_size)
        time.sleep(0.01)
        return read(self, uri)

    def counting_finish(rendering: Rendering, *rest) -> Rendered:
        rendered = finish(rendering, *rest)
        count("read", -len(rendering.source.data))
        return rendered

    def slow_write(self: Storage, uri: str, data: bytes, *rest, **options) -> str:
        if "_colornet" in uri:
            return write(self, uri, data, *rest, **options)
        count("write", len(data))
        time.sleep(0.05)
        count("write", -len(data))
        return write(self, uri, data, *rest, **options)

    worker = ColorizeWorker(task, budget=budget)
    monkeypatch.setattr(Storage, "read", slow_read)
    monkeypatch.setattr(Storage, "write", slow_write)
    monkeypatch.setattr(Rendering, "finish", counting_finish)
    rows = worker(scans)
    assert set(rows["status"].to_pylist()) == {"done"}
    assert max(rows["output_size"].to_pylist()) < budget
    assert largest < most["read"] <= budget  # more than one at a time
    assert 0 < most["write"] <= budget


# --- storage that fails, and what nobody foresaw ---------------------------------------------------------------------


def test_rows_that_cannot_be_recorded_come_back_as_such(archive, task):
    scans = inventory.read_inventory(str(archive))
    (Path(task.output) / "_colornet").mkdir(parents=True)
    Path(ledger.place(task.output)).write_bytes(b"in the way")
    rows = colorize(task, scans)
    assert rows.schema.equals(ledger.SCHEMA)
    assert rows["source_uri"].to_pylist() == scans["source_uri"].to_pylist()
    assert set(rows["status"].to_pylist()) == {UNRECORDED}
    assert set(rows["error"].to_pylist()) == {"StorageError"}
    assert all("ledger" in reason for reason in rows["reason"].to_pylist())


def test_s3_keeps_with_an_output_what_it_was_made_of(archive, task, s3):
    task = replace(task, output=f"{s3}/out")
    (row,) = colorize(task, inventory.read_inventory(str(archive / "tiny.png"))).to_pylist()
    bucket, _, key = row["output_uri"].removeprefix("s3://").partition("/")
    assert boto3.client("s3").head_object(Bucket=bucket, Key=key)["Metadata"] == {
        "colornet": __version__,
        "bundle-digest": task.bundle_digest,
        "settings-digest": task.run.settings_digest,
        "source-sha256": hashlib.sha256((archive / "tiny.png").read_bytes()).hexdigest(),
        "source-version": row["source_version"],
    }
    assert ledger.read(task.output)["status"].to_pylist() == ["done"]


def test_rows_that_cannot_be_recorded_on_s3(archive, task, s3):
    scans = inventory.read_inventory(str(archive / "tiny.png"))
    (row,) = colorize(replace(task, output=f"{s3}-that-is-not-there/out"), scans).to_pylist()
    assert (row["status"], row["error"]) == (UNRECORDED, "NotFoundError")


def test_what_took_its_worker_down_is_given_up(archive, task):
    scans = inventory.read_inventory(str(archive / "tiny.png"))
    rows = give_up(replace(task, attempt=3), scans, "its worker process died")
    assert rows.equals(ledger.read(task.output))
    (row,) = rows.to_pylist()
    assert (row["status"], row["reason"], row["attempts"]) == ("failed", "its worker process died", 3)


def test_an_inventory_without_sizes(archive, task):
    scans = inventory.read_inventory(str(archive))
    names = inventory.SCHEMA.names
    sizes = pa.nulls(scans.num_rows, pa.int64())
    rows = colorize(task, scans.set_column(names.index("source_size"), "source_size", sizes))
    assert rows["source_size"].to_pylist() == scans["source_size"].to_pylist()


def test_every_line_about_a_scan_names_it(archive, task, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "colornet")
    rows = colorize(task, inventory.read_inventory(str(archive))).to_pylist()
    failed = {row["source_uri"] for row in rows if row["status"] != "done"}
    assert {record.source_uri for record in caplog.records} == failed
    assert all(record.source_uri in record.getMessage() for record in caplog.records)
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    caplog.clear()
    monkeypatch.setattr("colornet.archive.worker.Rendering", lambda *_: 1 / 0)
    colorize(task, inventory.read_inventory(str(archive / "tiny.png")))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and record.exc_info and record.source_uri.endswith("tiny.png")


# --- colours that people chose ---------------------------------------------------------------------------------------


@pytest.fixture
def steered(tmp_path) -> ColorizeTask:
    """A run with a bundle that takes hints."""
    digest = hinted.save(str(tmp_path / "steered"))
    render = RenderSettings(size=32, in_colour="recolor", damaged="fail")
    return ColorizeTask(
        output=str(tmp_path / "out"), model=str(tmp_path / "steered"), bundle_digest=digest, render=render
    )


def planned(archive: Path, task: ColorizeTask, hints: str = "") -> pa.Table:
    """What is left to be done, with this table of hints."""
    folder = archive.parent
    inventory.write_inventory(str(archive), folder / "scans.parquet")
    (folder / "hints.csv").write_text(f"source,x,y,color,page,strength,by,note\n{hints}")
    rows = read_hints(str(folder / "hints.csv"))
    place = folder / "hints.parquet"
    write_hints(rows, "hints.csv", folder / "scans.parquet", place, task.render, folder)
    plan = make_plan(folder / "scans.parquet", task.output, task.run, folder, hinted=place)
    return pa.concat_tables([*plan.batches(100), plan_module.SCHEMA.empty_table()])


@pytest.fixture
def sound(archive) -> Path:
    for name in ("cut.jpg", "empty.jpg", "large.png", "notes.txt"):
        (archive / name).unlink()
    return archive


def test_hints_are_on_record_and_only_what_they_change_is_done_again(sound, steered):
    scans = planned(sound, steered)
    before = {row["key"]: row for row in colorize(steered, scans).to_pylist()}
    assert {(row["hints"], row["run_digest"], row["strength"]) for row in before.values()} == {(None, None, 1)}
    written = outputs(steered)
    told = 'portrait.png,20,30,#c02020,,0.5,"A ""<b>"" B",=1+1\nsub/square.tif,60,3,"ab(5, -40)",,,C,\n'
    todo = planned(sound, steered, told)
    assert todo["key"].to_pylist() == ["portrait.png", "sub/square.tif"]
    first, second = colorize(steered, todo).to_pylist()
    assert (first["status"], first["hints_by"], first["strength"]) == ("done", 'A "<b>" B', 0.5)
    assert from_json(first["hints"]) == (Hint(20, 30, "#c02020", by='A "<b>" B', note="=1+1"),)
    assert (second["hints_by"], second["strength"]) == ("C", 1)
    assert first["run_digest"] == second["run_digest"] == steered.run.settings_digest
    assert len({first["settings_digest"], second["settings_digest"], steered.run.settings_digest}) == 3
    assert first["settings_digest"].encode() in outputs(steered)["portrait.png"]
    changed = {key for key, data in outputs(steered).items() if data != written[key]}
    assert changed == {"portrait.png", "sub/square.tif"}
    assert planned(sound, steered, told).num_rows == 0
    assert ledger.read(steered.output).num_rows == 7


def test_a_hint_reaches_the_network_and_holds_at_any_strength(sound, steered):
    """Also with a generator elsewhere, which gives the same bytes."""
    flat = np.full((64, 64), 128, np.uint8)
    flat[20:40, 10:50] = 200
    (sound / "flat.png").write_bytes(pictures.encoded(flat, "PNG"))
    todo = planned(sound, steered, "flat.png,30,30,#c02020,,0,,\n")
    here, there = work_apart(steered, "here"), work_apart(steered, "there")
    colorize(here, todo)
    ColorizeWorker(there, Elsewhere(there))(todo)
    assert outputs(here) == outputs(there)
    pixels = pictures.decoded(outputs(here)["flat.png"]).astype(int)
    assert pixels[30, 30, 0] > pixels[30, 30, 2] + 60
    assert np.ptp(pixels[:10], axis=-1).max() < 4  # strength 0
    page = prepare(open_source((sound / "flat.png").read_bytes()).page(0), 32, [Hint(30, 30, "#c02020")])
    asked = [[None], [page.hints]]
    predictor = load_predictor(steered)
    without, with_hint = (predictor.predict(page.seen[None], [page.letterbox], each)[0] for each in asked)
    assert not np.array_equal(without.ab, with_hint.ab)


def test_pictures_with_and_without_hints_in_one_batch_are_as_alone(steered):
    predictor = load_predictor(steered)
    lightness = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32)).astype(np.float16)
    letterboxes = [Letterbox(0, 0, 32, 32)] * 3
    hints = [None, np.array([[5, 5, 60, 20]], np.float32), None]
    together = predictor.predict(lightness, letterboxes, hints)
    for number, each in enumerate(hints):
        beside = [each] if each is not None else None
        alone = predictor.predict(lightness[number : number + 1], letterboxes[:1], beside)[0]
        assert np.array_equal(together[number].ab, alone.ab)
    filled, _ = predictor._predict(torch.from_numpy(lightness).unsqueeze(1), 5, torch.zeros(3, 3, 32, 32))
    none, _ = predictor._predict(torch.from_numpy(lightness).unsqueeze(1), 5)
    assert np.array_equal(filled, none)


def test_a_hint_outside_of_its_scan_is_a_failed_row_that_names_it(sound, steered):
    todo = planned(sound, steered, "tiny.png,1,0,#c02020,,,,\nportrait.png,1,0,#c02020,2,,,\n")
    rows = {row["key"]: row for row in colorize(steered, todo).to_pylist() if row["hints"]}
    assert {row["status"] for row in rows.values()} == {"failed"}
    assert rows["tiny.png"]["reason"] == "the hint at (1, 0) lies outside of the picture, which has 1×1 pixels"
    assert "the hint at (1, 0) of page 2: there is no such page" in rows["portrait.png"]["reason"]
    assert planned(sound, steered, "tiny.png,0,0,#c02020,,,,\n")["key"].to_pylist() == ["portrait.png", "tiny.png"]


def test_what_took_its_worker_down_keeps_its_hints(sound, steered):
    todo = planned(sound, steered, "tiny.png,0,0,#c02020,,,A,\n").filter(pc.field("key") == "tiny.png")
    (row,) = give_up(steered, todo, "its worker process died").to_pylist()
    assert (row["hints_by"], row["run_digest"]) == ("A", steered.run.settings_digest)


def test_of_a_scan_that_is_copied_nobody_chose_the_colours(sound, steered):
    task = replace(steered, render=replace(steered.render, in_colour="copy"))
    told = "sub/colour mode.jpg,1,1,#c02020,,,A,\n"
    rows = {row["key"]: row for row in colorize(task, planned(sound, task, told)).to_pylist()}
    row = rows["sub/colour mode.jpg"]
    assert (row["status"], row["reason"]) == ("done", "already in colour: copied")
    assert (row["hints"], row["hints_by"], row["strength"]) == (None, None, None)
    assert planned(sound, task, told).num_rows == 0
