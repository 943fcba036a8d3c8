"""How often photographs are drawn: weights by columns, and plans that keep to them."""

import collections
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from colornet.datasets import collection
from colornet.datasets.collection import Shard
from colornet.datasets.plan import GROUP, Plan, shares_drawn
from colornet.datasets.sampling import Sampling
from colornet.errors import SettingsError
from colornet.settings import from_dict, to_dict

TABLE = pa.table({"kind": ["scene", "food", None], "source": ["a", "b", "b"], "decade": ["1920s", "1930s", "1920s"]})


def test_weights_of_several_columns_are_multiplied():
    sampling = Sampling(kind={"scene": 3.0}, source={"b": 0.5}, other={"decade:1920s": 2.0})
    assert sampling.weigh(TABLE) == [6.0, 0.5, 1.0]
    assert sampling.weigh(TABLE.select(["source"])) == [1.0, 0.5, 0.5]
    assert Sampling().weigh(TABLE) == [1.0, 1.0, 1.0]


def test_weights_are_flags_and_plain_data():
    made = tyro.cli(Sampling, args=["--kind", "scene=3", "people=2.5", "--other", "decade:a=b=0"])
    assert made == Sampling(kind={"scene": 3.0, "people": 2.5}, other={"decade:a=b": 0.0})
    assert from_dict(Sampling, json.loads(json.dumps(to_dict(made)))) == made
    assert hash(from_dict(Sampling, to_dict(made))) == hash(made)


@pytest.mark.parametrize("wrong", [{"kind": {"a": -1.0}}, {"kind": {"a": float("inf")}}, {"other": {"decade": 2.0}}])
def test_wrong_weights_are_named(wrong):
    with pytest.raises(SettingsError, match=rf"^{next(iter(wrong))}"):
        Sampling(**wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["scene"], "each must be VALUE=WEIGHT, not 'scene'"),
        (["=3"], "each must be VALUE=WEIGHT, not '=3'"),
        (["scene="], "each must be VALUE=WEIGHT, not 'scene='"),
        (["scene=much"], "'scene=much': could not convert"),
        (["scene=3", "scene=5"], "'scene' is given twice, as 3.0 and 5.0"),
    ],
)
def test_flags_that_give_no_weight_are_refused(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        tyro.cli(Sampling, args=["--kind", *words])
    told = " ".join(word for line in capsys.readouterr().err.splitlines() for word in line.strip("│ ").split())
    assert ended.value.code == 2 and said in told


weights = st.lists(st.sampled_from([0.0, 0.1, 1 / 3, 1.0, 2.5]), min_size=1, max_size=400).filter(any)


def drawn(plan: Plan, groups: int) -> collections.Counter:
    return collections.Counter(row for number in range(groups) for piece in plan.group(number) for row in piece.rows)


@given(weights, st.integers(0, 2**40))
def test_rows_are_drawn_as_often_as_they_weigh(chosen, seed):
    plan = Plan((Shard("a", (len(chosen),), weights=tuple(chosen)),), seed)
    photographs = 4 * GROUP
    found = drawn(plan, 4)
    assert sum(found.values()) == photographs
    passes = photographs / (sum(chosen) / max(chosen))
    for row, weight in enumerate(chosen):
        # Whole passes are exact to one draw; one more may be under way.
        assert abs(found[row] - passes * weight / max(chosen)) <= 2 + weight / max(chosen)


@given(weights, st.integers(0, 2**40), st.integers(1, 6))
def test_counts_are_those_of_the_groups(chosen, seed, groups):
    halves = len(chosen) // 2, len(chosen) - len(chosen) // 2
    plan = Plan((Shard("a", halves, weights=tuple(chosen)),), seed)
    found: collections.Counter = collections.Counter()
    for number in range(groups):
        for piece in plan.group(number):
            found.update(row + piece.row_group * halves[0] for row in piece.rows)
    counts = plan.counts(groups * GROUP)
    most = max(halves)  # of the slice that is under way
    missing = [found[row] - counts[row] for row in range(len(chosen))]
    assert all(0 <= each <= 1 for each in missing) and sum(missing) <= most


def test_equal_weights_are_none():
    shards = (Shard("a", (100, 700)), Shard("b", (64,)))
    weighed = (Shard("a", (100, 700), weights=(2.0,) * 800), Shard("b", (64,), weights=(2.0,) * 64))
    for number in range(20):
        assert Plan(shards, 3).group(number) == Plan(weighed, 3).group(number)


def test_find_weighs_and_labels_training_photographs_only(tmp_path):
    for name, kinds in {"train-0": ["scene", None], "val": ["scene"]}.items():
        table = pa.table(
            {"image": [b""] * len(kinds), "kind": pa.array(kinds, pa.string()), "source": ["x"] * len(kinds)}
        )
        pq.write_table(table, tmp_path / f"{name}.parquet")
    found = collection.find(str(tmp_path), sampling=Sampling(kind={"scene": 3.0}))
    assert found.train[0].weights == (3.0, 1.0) and found.train[0].labels == ("scene", "x")
    assert found.held_out[0].weights == ()
    assert found.summary()["kinds"] == {"scene": 1}


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Sampling(kind={"scene": 0.0}), "all photographs have a weight of 0"),
        (Sampling(other={"decade:1920s": 2.0}), "no shard has a column 'decade'"),
    ],
)
def test_samplings_that_cannot_be_are_refused(tmp_path, sampling, said):
    table = pa.table({"image": [b""], "kind": ["scene"]})
    for name in ("train", "val"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with pytest.raises(SettingsError, match=said):
        collection.find(str(tmp_path), sampling=sampling)


def test_shares_drawn_are_those_of_the_photographs_that_were_read():
    shard = Shard("a", (300,), weights=(3.0,) * 100 + (1.0,) * 200, labels=("scene",) * 100 + ("food",) * 200)
    plans = [(Plan((shard,), seed), 8 * GROUP) for seed in (0, 1)]
    read = collections.Counter(
        shard.labels[row]
        for plan, photographs in plans
        for number in range(photographs // GROUP)
        for piece in plan.group(number)
        for row in piece.rows
    )
    found = shares_drawn((shard,), plans)
    assert list(found) == ["scene", "food"] and sum(found.values()) == pytest.approx(1)
    # Of a slice that is under way nothing is counted.
    assert found["scene"] == pytest.approx(read["scene"] / read.total(), abs=0.02) and found["scene"] > 0.55
    assert shares_drawn((Shard("a", (300,)),), [(Plan((Shard("a", (300,)),), 0), GROUP)]) == {}


def test_group_of_a_late_pass_needs_none_before():
    rates = tuple(np.linspace(0.01, 1, 500).tolist())
    plan = Plan((Shard("a", (500,), weights=rates),), 5)
    assert Plan((Shard("a", (500,), weights=rates),), 5).group(10_000) == plan.group(10_000)
    assert sum(len(piece.rows) for piece in plan.group(10_000)) == GROUP
