"""Shards made small: what fits, what is kept, and that a training reads them."""

import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from colornet.cli import pack as command
from colornet.datasets import collection, packing
from colornet.datasets.packing import Packing
from colornet.datasets.photographs import read_group
from colornet.datasets.plan import Plan
from colornet.errors import SettingsError
from tests import pictures


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    images = [pictures.encoded(pictures.colour(240, 320, seed), "JPEG") for seed in range(12)]
    table = {
        "image": [*images[:9], b"broken"],
        "kind": ["scene"] * 10,
        "source": ["us"] * 10,
        "name": list("abcdefghij"),
    }
    pq.write_table(pa.table(table), folder / "extra-0.parquet")
    pq.write_table(pa.table({"image": images[9:], "license": ["CC0"] * 3}), folder / "val-extra.parquet")
    pq.write_table(pa.table({"uri": ["x"], "reason": ["gray"]}), folder / "rejected.parquet")
    return folder


@pytest.mark.parametrize("format", ["webp", "avif"])
def test_photographs_are_small_and_keep_what_is_known_of_them(shards, format):
    packed = packing.pack(packing.read_rows([str(shards)]), Packing(short_side=96, bytes=22_000, format=format))
    assert (packed.photographs, packed.held_out, packed.left_out) == (9, 3, 1)
    assert 15_000 < packed.size <= 22_000
    rows = pq.read_table(io.BytesIO(packed.shards["train-00000.parquet"])).to_pylist()
    assert [row["name"] for row in rows] == list("abcdefghi")
    assert {(row["kind"], row["source"], row["license"], row["width"], row["height"]) for row in rows} == {
        ("scene", "us", None, 128, 96)
    }
    with Image.open(io.BytesIO(rows[0]["image"])) as picture:
        assert (picture.format, picture.size) == (format.upper(), (128, 96))
    [held_out] = {row["license"] for row in pq.read_table(io.BytesIO(packed.shards["val-00000.parquet"])).to_pylist()}
    assert held_out == "CC0"


def test_the_best_quality_that_fits_is_taken(shards):
    rows = packing.read_rows([str(shards / "extra-0.parquet"), str(shards / "val-extra.parquet")])
    small, large = (packing.pack(rows, Packing(short_side=96, bytes=most)) for most in (22_000, 1e6))
    assert small.quality < large.quality == packing.QUALITIES[1]
    assert packing.pack(rows, Packing(short_side=96, bytes=22_000)) == small
    with pytest.raises(
        SettingsError, match=r"bytes: 13 photographs take .* more than 3,000: give a smaller --short-side"
    ):
        packing.pack(rows, Packing(short_side=96, bytes=3_000))


def test_small_photographs_are_not_enlarged(shards):
    packed = packing.pack(packing.read_rows([str(shards)]), Packing(short_side=500, bytes=1e7))
    rows = pq.read_table(io.BytesIO(packed.shards["train-00000.parquet"])).to_pylist()
    assert {(row["width"], row["height"]) for row in rows} == {(320, 240)}


def test_the_command_makes_shards_that_a_training_reads(shards, tmp_path, monkeypatch, capsys):
    flags = ["--data", shards, "--output", tmp_path / "packed", "--short-side", "64", "--bytes", "40e3"]
    monkeypatch.setattr(sys, "argv", ["pack", *map(str, flags)])
    with pytest.raises(SystemExit) as ended:
        command.main()
    told = capsys.readouterr().out
    assert ended.value.code == 0
    assert "9 photographs and 3 held-out ones" in told and "1 could not be decoded" in told
    found = collection.find(str(tmp_path / "packed"))
    assert sum(shard.rows for shard in found.held_out) == 3
    assert read_group(Plan(found.train, 0), 0, 32).shape == (256, 32, 32, 3)


def test_the_output_is_not_among_the_data(shards, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["pack", "--data", str(shards), "--output", str(shards / "packed")])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2 and "must lie apart" in capsys.readouterr().err
