"""The stages of the archive job without Ray: a batch in, ledger rows and finished pictures out."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import skimage.data
import torch

from colornet import bundle as bundles
from colornet.archive import inventory, ledger, stages
from colornet.bundle import Bundle
from colornet.errors import BundleError
from colornet.networks import build_generator
from colornet.render import RenderSettings
from tests import pictures


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
def work(tmp_path) -> stages.Work:
    torch.manual_seed(0)
    generator = build_generator("unet", {"width": 2})
    bundle = Bundle(generator=generator, network="unet", settings={"width": 2}, image_size=32)
    digest = bundles.save(bundle, str(tmp_path / "bundle"))
    return stages.Work(
        output=str(tmp_path / "out"),
        model=str(tmp_path / "bundle"),
        bundle_digest=digest,
        render=RenderSettings(size=32, in_colour="recolor", max_pixels=30_000),
    )


def split(work: stages.Work, batch: pa.Table) -> pa.Table:
    return stages.Render(work)(stages.Predict(work)(stages.Prepare(work)(batch)))


def fused(work: stages.Work, batch: pa.Table) -> pa.Table:
    return stages.Colorize(work)(batch)


def outputs(work: stages.Work) -> dict[str, bytes]:
    root = Path(work.output)
    return {
        str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file() and "_colornet" not in str(p)
    }


@pytest.mark.parametrize("layout", [fused, split])
def test_every_scan_gets_a_row_and_sound_ones_an_output(archive, work, layout):
    rows = layout(work, inventory.read_inventory(str(archive)))
    assert rows.schema.equals(ledger.SCHEMA)
    assert ledger.read(work.output).sort_by("source_uri").equals(rows.sort_by("source_uri"))
    by_name = {Path(row["source_uri"]).name: row for row in rows.to_pylist()}
    sound = {"landscape.jpg", "portrait.png", "square.tif", "colour mode.jpg", "tiny.png"}
    assert {name for name, row in by_name.items() if row["status"] == "done"} == sound
    reasons = {name: row["reason"] for name, row in by_name.items() if row["status"] == "failed"}
    assert "damaged JPEG" in reasons["cut.jpg"]
    assert "empty" in reasons["empty.jpg"]
    assert "too large: 200×200" in reasons["large.png"]
    assert "not a file of a known format" in reasons["notes.txt"]
    written = outputs(work)
    assert set(written) == {"landscape.jpg", "portrait.png", "sub/square.tif", "sub/colour mode.jpg", "tiny.png"}
    for row in by_name.values():
        if row["status"] == "done":
            data = Path(row["output_uri"]).read_bytes()
            assert row["output_sha256"] == hashlib.sha256(data).hexdigest() and row["output_size"] == len(data)
            assert row["pixels"] == row["width"] * row["height"] == pictures.decoded(data)[..., 0].size


def test_both_layouts_give_the_same_bytes(archive, work, tmp_path):
    scans = inventory.read_inventory(str(archive))
    fused(work, scans)
    first = outputs(work)
    Path(work.output).rename(tmp_path / "first")
    split(work, scans)
    assert outputs(work) == first


@pytest.mark.parametrize("layout", [fused, split])
@pytest.mark.parametrize(("choice", "status"), [("skip", "skipped"), ("copy", "done"), ("recolor", "done")])
def test_scans_in_colour_are_skipped_copied_or_recolored(archive, work, layout, choice, status):
    data = pictures.encoded(skimage.data.astronaut(), "JPEG", quality=90)
    (archive / "astronaut.jpg").write_bytes(data)
    work = replace(work, render=replace(work.render, in_colour=choice, max_pixels=10**6))
    (row,) = layout(work, inventory.read_inventory(str(archive / "astronaut.jpg"))).to_pylist()
    assert row["status"] == status
    written = outputs(work)
    if choice == "skip":
        assert "already in colour" in row["reason"] and not written
    else:
        assert (written["astronaut.jpg"] == data) == (choice == "copy")


def test_a_source_that_changed_is_a_failed_row(archive, work):
    scans = inventory.read_inventory(str(archive / "landscape.jpg"))
    (archive / "landscape.jpg").write_bytes(pictures.encoded(pictures.gray(10, 10), "JPEG"))
    (row,) = fused(work, scans).to_pylist()
    assert row["status"] == "failed" and "changed since it was listed" in row["reason"]


def test_a_source_is_never_overwritten(archive, work):
    """A Parquet inventory may name scans that lie where the outputs go."""
    before = (archive / "landscape.jpg").read_bytes()
    scans = inventory.read_inventory(str(archive / "landscape.jpg"))
    (row,) = fused(replace(work, output=str(archive)), scans).to_pylist()
    assert row["status"] == "failed" and "own place" in row["reason"]
    assert (archive / "landscape.jpg").read_bytes() == before


def test_an_output_that_cannot_be_written_is_a_failed_row(archive, work):
    scans = inventory.read_inventory(str(archive / "landscape.jpg"))
    (Path(work.output) / "landscape.jpg").mkdir(parents=True)
    (row,) = fused(work, scans).to_pylist()
    assert row["status"] == "failed" and "landscape.jpg" in row["reason"]


def test_an_unforeseen_error_is_a_failed_row(archive, work, monkeypatch):
    def surprise(*_args, **_options):
        raise KeyError("surprise")

    monkeypatch.setattr(stages, "render", surprise)
    (row,) = fused(work, inventory.read_inventory(str(archive / "landscape.jpg"))).to_pylist()
    assert row["status"] == "failed" and row["reason"] == "unexpected KeyError: 'surprise'"


def test_a_bundle_exchanged_while_the_job_runs_is_refused(work):
    description = Path(work.model) / bundles.DESCRIPTION
    edited = {**json.loads(description.read_text()), "image_size": 64}
    description.write_text(json.dumps(edited))
    with pytest.raises(BundleError, match="exchanged"):
        stages.Colorize(work)


def test_settings_that_show_change_the_digest(work):
    def digest(**options) -> str:
        return RenderSettings(**options).digest

    assert digest() == digest(max_pixels=5)
    several = {digest(), digest(quality=90), digest(size=64), digest(in_colour="copy"), digest(upsampling="plain")}
    assert len(several) == 5
