"""Inventory, ledger and stages: the archive job without Ray."""

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import skimage.data
import torch

from colornet import bundle as bundles
from colornet.archive import inventory, ledger, stages
from colornet.bundle import Bundle
from colornet.errors import BundleError, SettingsError
from colornet.networks import build_generator
from colornet.render import RenderSettings
from tests import pictures

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ledger_row(name: str, status: str = "done", *, minute: int = 0, version: str = "1", digest: str = "b") -> dict:
    return {
        "source_uri": f"/in/{name}",
        "source_version": version,
        "status": status,
        "finished_at": NOON + timedelta(minutes=minute),
        "bundle_digest": digest,
        "settings_digest": "s",
    }


def inventory_of(*names: str, version: str | None = "1") -> pa.Table:
    rows = [{"source_uri": f"/in/{name}", "source_version": version, "key": name} for name in names]
    return pa.Table.from_pylist(rows, inventory.SCHEMA)


def pending(rows: list[dict], scans: pa.Table) -> list[str]:
    now = ledger.current(pa.Table.from_pylist(rows, ledger.SCHEMA), "b", "s")
    return ledger.pending(scans, now)["key"].to_pylist()


def test_only_finished_rows_of_this_run_and_version_count():
    rows = [
        ledger_row("done"),
        ledger_row("skipped", "skipped"),
        ledger_row("failed", "failed"),
        ledger_row("other-bundle", digest="x"),
        ledger_row("changed", version="0"),
    ]
    names = ["changed", "done", "failed", "new", "other-bundle", "skipped"]
    assert pending(rows, inventory_of(*names)) == ["changed", "failed", "new", "other-bundle"]


def test_without_a_version_any_version_is_finished():
    assert pending([ledger_row("a", version="7")], inventory_of("a", "b", version=None)) == ["b"]


def test_the_latest_row_is_current_wherever_it_stands():
    rows = [ledger_row("a", "done", minute=2), ledger_row("a", "failed", minute=5), ledger_row("a", "done", minute=1)]
    for order in (rows, rows[::-1]):
        now = ledger.current(pa.Table.from_pylist(order, ledger.SCHEMA), "b", "s")
        assert now["status"].to_pylist() == ["failed"]


def test_ledger_parts_add_up(tmp_path):
    assert ledger.read(str(tmp_path)).num_rows == 0
    ledger.append(str(tmp_path), [ledger_row("a"), ledger_row("b")])
    ledger.append(str(tmp_path), [ledger_row("c")])
    assert sorted(ledger.read(str(tmp_path))["source_uri"].to_pylist()) == ["/in/a", "/in/b", "/in/c"]
    assert len(list(Path(ledger.place(str(tmp_path))).glob("*.parquet"))) == 2


def test_inventory_of_a_folder(tmp_path):
    for name in ("b.jpg", "a/ä b.tif", ".hidden", "a/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    scans = inventory.read_inventory(str(tmp_path))
    assert scans["key"].to_pylist() == ["a/ä b.tif", "b.jpg"]
    assert scans["source_size"].to_pylist() == [5, 5]


def test_inventory_from_parquet(tmp_path):
    place = tmp_path / "list.parquet"
    rows = [{"uri": "s3://bucket/x/1.tif", "key": None}, {"uri": "/scans/2.jpg", "key": "two.jpg"}]
    pq.write_table(pa.Table.from_pylist(rows), place)
    scans = inventory.read_inventory(str(place))
    assert scans["source_uri"].to_pylist() == ["s3://bucket/x/1.tif", "/scans/2.jpg"]
    assert scans["key"].to_pylist() == ["bucket/x/1.tif", "two.jpg"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (pa.table({"name": ["x"]}), "no column source_uri"),
        (pa.table({"uri": ["/a.jpg"], "key": ["../../etc/passwd"]}), "no place below the output"),
        (pa.table({"uri": ["/a.jpg"], "key": ["/etc/passwd"]}), "no place below the output"),
        (pa.table({"uri": pa.array([], pa.string())}), "empty"),
        (b"not parquet", "not a Parquet file"),
        (None, "no inventory at"),
    ],
)
def test_what_is_no_inventory_is_refused(tmp_path, content, reason):
    place = tmp_path / "list.parquet"
    if isinstance(content, pa.Table):
        pq.write_table(content, place)
    elif content is not None:
        place.write_bytes(content)
    with pytest.raises(SettingsError, match=reason):
        inventory.read_inventory(str(place))


def test_nothing_at_the_input_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="no archive at"):
        inventory.read_inventory(str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="no files in"):
        inventory.read_inventory(str(tmp_path))


# --- stages ----------------------------------------------------------------------------------------------------------


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
