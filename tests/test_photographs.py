"""The stream of photographs: what is found, in what order it comes, and that bad ones do no harm."""

import collections
import io
import logging
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from colornet.datasets import collection, photographs
from colornet.datasets.collection import Shard
from colornet.datasets.plan import GROUP, Plan
from colornet.errors import SettingsError, StorageError

SIZE = 32


def encode(rgb: np.ndarray, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format=format, quality=95)
    return buffer.getvalue()


def numbered(number: int, width: int = SIZE, height: int = SIZE) -> bytes:
    """Encode a picture of one colour that tells which it is."""
    return encode(np.full((height, width, 3), (number % 250, number // 250, 77), np.uint8))


def write_shard(path, images, row_group_size=8, **columns):
    table = pa.table({"image": pa.array(images, pa.binary()), **columns})
    pq.write_table(table, path, row_group_size=row_group_size)


@pytest.fixture
def shards(tmp_path):
    """Two shards of 20 and 12 photographs, 3 held out."""
    write_shard(tmp_path / "train-0.parquet", [numbered(n) for n in range(20)], source=["a"] * 20, license=["CC0"] * 20)
    write_shard(tmp_path / "train-1.parquet", [numbered(n) for n in range(20, 32)], source=["a"] * 5 + ["b"] * 7)
    write_shard(tmp_path / "val.parquet", [numbered(n) for n in range(900, 903)])
    return tmp_path


def test_find_sorts_train_from_held_out_and_tallies(shards):
    found = collection.find(str(shards))
    assert [shard.row_groups for shard in found.train] == [(8, 8, 4), (8, 4)]
    assert [shard.uri for shard in found.held_out] == [str(shards / "val.parquet")]
    assert found.summary() == {
        "photographs": 32,
        "held_out": 3,
        "sources": {"a": 25, "b": 7},
        "licenses": {"CC0": 20},
        "kinds": {},
    }


def test_only_shards_are_taken_where_they_are_named(shards):
    (shards / "_colornet").mkdir()
    for name in ("rejected.parquet", "_colornet/train-part.parquet", "_colornet/val-part.parquet"):
        pq.write_table(pa.table({"uri": ["a"]}), shards / name)
    found = collection.find(str(shards))
    assert [shard.uri.rpartition("/")[2] for shard in found.train] == ["train-0.parquet", "train-1.parquet"]
    assert len(found.held_out) == 1


def test_validation_may_lie_elsewhere(shards, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    write_shard(other / "some.parquet", [numbered(1)])
    assert [shard.uri for shard in collection.find(str(shards), str(other)).held_out] == [str(other / "some.parquet")]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no training photographs"),
        ({"val.parquet": "image"}, "no training photographs"),
        ({"a.parquet": "image"}, r"no held-out photographs .*jobs.prepare.*--validation"),
        ({"a.parquet": "picture", "val.parquet": "image"}, r"a.parquet: no column `image`.*picture"),
    ],
)
def test_places_that_cannot_be_trained_on(tmp_path, files, message):
    for name, column in files.items():
        pq.write_table(pa.table({column: [numbered(0)]}), tmp_path / name)
    with pytest.raises(SettingsError, match=message):
        collection.find(str(tmp_path))


def test_places_that_do_not_exist(tmp_path):
    with pytest.raises(SettingsError, match="nowhere"):
        collection.find(str(tmp_path / "nowhere"))


def test_files_that_are_not_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(StorageError, match=r"a.parquet: not a Parquet file"):
        collection.find(str(tmp_path))


row_groups = st.lists(st.integers(0, 700), min_size=1, max_size=8).filter(any)


@given(st.lists(row_groups, min_size=1, max_size=3), st.integers(0, 2**40))
def test_each_pass_of_a_plan_takes_every_row_once(shapes, seed):
    shards = tuple(Shard(f"{number}", tuple(groups)) for number, groups in enumerate(shapes))
    plan = Plan(shards, seed)
    rows_by_pass: dict[int, collections.Counter] = collections.defaultdict(collections.Counter)
    number = 0
    while not rows_by_pass[2]:  # two passes are over when the third begins
        for piece in plan.group(number):
            rows = [(piece.uri, piece.row_group, row) for row in piece.rows]
            rows_by_pass[piece.pass_number].update(rows)
        number += 1
    everything = {
        (shard.uri, group, row) for shard in shards for group, n in enumerate(shard.row_groups) for row in range(n)
    }
    for pass_number in (0, 1):
        assert set(rows_by_pass[pass_number]) == everything
        assert set(rows_by_pass[pass_number].values()) == {1}


@given(row_groups, st.integers(0, 2**40), st.integers(0, 50))
def test_a_plan_depends_on_its_arguments_alone(groups, seed, number):
    shards = (Shard("a", tuple(groups)),)
    plan = Plan(shards, seed)
    there = pickle.loads(pickle.dumps(plan))
    assert plan.group(number) == there.group(number) == Plan(shards, seed).group(number)


@given(row_groups, st.integers(0, 500))
def test_all_groups_have_one_size(groups, number):
    pieces = Plan((Shard("a", tuple(groups)),), 0).group(number)
    assert sum(len(piece.rows) for piece in pieces) == GROUP
    assert all(piece.rows[0] >= 0 and piece.rows[-1] < groups[piece.row_group] for piece in pieces)


def test_passes_have_orders_of_their_own():
    plan = Plan((Shard("a", (64,) * 40),), 0)  # ten groups of four slices a pass
    orders = [[piece.row_group for number in range(10) for piece in plan.group(start + number)] for start in (0, 10)]
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(40))


def test_a_group_is_the_same_at_every_reading_and_shuffled(shards):
    plan = Plan(collection.find(str(shards)).train, seed=3)
    rows = photographs.read_group(plan, 0, SIZE)
    assert rows.dtype == np.uint8 and rows.shape == (GROUP, SIZE, SIZE, 3)
    np.testing.assert_array_equal(rows, photographs.read_group(plan, 0, SIZE))
    numbers = rows[:, 0, 0, 0].tolist()
    assert collections.Counter(numbers[: 32 * (len(rows) // 32)]).keys() == set(range(32))
    assert numbers != sorted(numbers)


def test_the_reader_yields_group_by_group(shards):
    plan = Plan(collection.find(str(shards)).train, seed=3)
    batches = list(photographs.Reader(plan, SIZE)({"item": np.array([4, 0])}))
    for batch, number in zip(batches, (4, 0), strict=True):
        np.testing.assert_array_equal(batch["image"], photographs.read_group(plan, number, SIZE))


def test_reading_does_without_pytorch():
    """Ray Data's processes load what this module loads: seconds each, if PyTorch were among it."""
    command = "import sys, colornet.datasets.photographs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


def test_crops_take_the_short_side_and_differ_between_passes(tmp_path):
    wide = np.zeros((40, 100, 3), np.uint8)
    wide[:, :, 0] = np.arange(100) * 2  # each column tells where it is
    write_shard(tmp_path / "a.parquet", [encode(wide)] * 4)
    write_shard(tmp_path / "val.parquet", [encode(wide)])
    found = collection.find(str(tmp_path))
    rows = photographs.read_group(Plan(found.train, seed=0), 0, 40)
    span = rows[:, :, :, 0].astype(int)
    assert (np.abs(span[:, 0, -1] - span[:, 0, 0]) == 78).all()  # 40 columns, not stretched
    assert len({(row[0, 0, 0], row[0, -1, 0]) for row in rows}) > 8  # at random places, flipped or not
    assert {bool(row[0, 0, 0] < row[0, -1, 0]) for row in rows} == {True, False}
    centre = photographs.read_held_out(found.held_out, 40, limit=5)
    assert centre.shape == (1, 40, 40, 3) and centre[0, 0, 0, 0] == 60 and centre[0, 0, -1, 0] == 138


def test_crops_may_be_smaller_than_the_short_side(tmp_path):
    slope = np.zeros((100, 100, 3), np.uint8)
    slope[:, :, 0] = np.arange(100) * 2  # each column tells where it is, and two of them how much is shown
    write_shard(tmp_path / "a.parquet", [encode(slope)])
    write_shard(tmp_path / "val.parquet", [encode(slope)])
    plan = Plan(collection.find(str(tmp_path)).train, seed=0)
    rows = next(photographs.Reader(plan, 50, min_crop_scale=0.5)({"item": np.array([0])}))["image"].astype(int)
    shown = np.abs(rows[:, 25, 45, 0] - rows[:, 25, 5, 0]) / 80  # columns in a pixel
    assert rows.shape[1:] == (50, 50, 3)
    assert 0.97 < shown.min() < 1.15 and 1.85 < shown.max() < 2.03


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_other_sizes_and_modes_become_rgb(tmp_path, format):
    gray = io.BytesIO()
    Image.new("L", (300, 200), 120).save(gray, format=format)
    small = encode(np.full((9, 7, 3), 120, np.uint8), format)
    write_shard(tmp_path / "val.parquet", [gray.getvalue(), small])
    write_shard(tmp_path / "a.parquet", [small])
    rows = photographs.read_held_out(collection.find(str(tmp_path)).held_out, SIZE, limit=9)
    assert rows.shape == (2, SIZE, SIZE, 3) and np.abs(rows.astype(int) - 120).max() <= 1


def test_bad_rows_are_left_out_and_logged(tmp_path, caplog):
    good = [numbered(n) for n in range(5)]
    bad = [b"", b"not a picture", None, numbered(7)[:40], encode(np.zeros((50, 50, 3), np.uint8), "JPEG")[:200]]
    mixed = [row for pair in zip(good, bad, strict=True) for row in pair]
    write_shard(tmp_path / "a.parquet", mixed, row_group_size=10)
    write_shard(tmp_path / "val.parquet", [*bad, *good])
    found = collection.find(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        rows = photographs.read_group(Plan(found.train, seed=0), 0, SIZE)
    assert len(rows) == GROUP and set(rows[:, 0, 0, 0].tolist()) == set(range(5))
    assert f"{tmp_path}/a.parquet: 5 photographs are left out, the first: empty" in caplog.messages
    assert photographs.read_held_out(found.held_out, SIZE, limit=3)[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_a_group_without_any_good_photograph(tmp_path):
    write_shard(tmp_path / "a.parquet", [b"bad"] * 3)
    write_shard(tmp_path / "val.parquet", [numbered(0)])
    with pytest.raises(StorageError, match=r"a.parquet: none of 256 photographs"):
        photographs.read_group(Plan(collection.find(str(tmp_path)).train, seed=0), 0, SIZE)


def test_held_out_photographs_that_are_all_bad(tmp_path):
    write_shard(tmp_path / "a.parquet", [numbered(0)])
    write_shard(tmp_path / "val.parquet", [b"bad"])
    with pytest.raises(StorageError, match=r"val.parquet: none of the held-out photographs"):
        photographs.read_held_out(collection.find(str(tmp_path)).held_out, SIZE, limit=3)


def test_large_row_groups_are_read_in_slices(tmp_path):
    write_shard(tmp_path / "a.parquet", [numbered(n) for n in range(600)], row_group_size=600)
    write_shard(tmp_path / "val.parquet", [numbered(0)])
    plan = Plan(collection.find(str(tmp_path)).train, seed=0)
    pieces = [piece for number in range(3) for piece in plan.group(number)]
    bounds = {(0, 150), (150, 300), (300, 450), (450, 600)}
    assert (pieces[0].rows[0], pieces[0].rows[-1] + 1) in bounds  # the others may be parts of those
    assert all(any(low <= piece.rows[0] and piece.rows[-1] < high for low, high in bounds) for piece in pieces)
    first = photographs.read_group(plan, 0, SIZE)
    expected = {n for piece in plan.group(0) for n in piece.rows}
    assert {int(row[0, 0, 0]) + 250 * int(row[0, 0, 1]) for row in first} == expected
