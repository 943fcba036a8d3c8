"""jobs.ray_data: blocks and their bounds, what is lost is known, and no worker outlives its blocks."""

import os
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import ray.data
from hypothesis import given
from hypothesis import strategies as st

from colornet.errors import StorageError
from jobs.ray_data import ask_until_answered, map_blocks
from tests.without_ray_apis.sitecustomize import without

BLOCKS = [pa.table({"row": [number, number + 1]}) for number in range(0, 10, 2)]


def rows_of(tables: Iterator[pa.Table]) -> list[int]:
    return sorted(row for table in tables for row in table["row"].to_pylist())


class Work:
    """Notes in a folder which block it begins; dies of one, and raises of another, if told so."""

    def __init__(self, notes: Path, deadly: int | None = None, wrong: int | None = None) -> None:
        self.notes, self.deadly, self.wrong = notes, deadly, wrong

    def __call__(self, block: pa.Table) -> pa.Table:
        rows = block["row"].to_pylist()
        (self.notes / f"{rows[0]} {time.monotonic_ns()}").touch()
        if self.deadly in rows:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.wrong in rows:
            raise ValueError("of two\nlines")
        return block


def task(block: pa.Table, *args: object) -> pa.Table:
    return Work(*args)(block)  # type: ignore[arg-type]


def wait_for_all_cores() -> None:
    """Sooner or later no worker is left; Ray counts anew only now and then."""
    until = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 4:
        assert time.monotonic() < until, "workers were left"
        time.sleep(0.1)


@pytest.mark.parametrize(
    "gone",
    [
        ("ray_remote_args", "ray_remote_args_fn"),
        *(pytest.param(one, marks=pytest.mark.faults) for one in ((), ("ray_remote_args",), ("ray_remote_args_fn",))),
    ],
)
def test_a_deadly_block_is_tried_as_often_as_asked_and_is_missing_then(ray_local, tmp_path, monkeypatch, gone):
    """Also with a Ray that takes neither bounds nor names."""
    if gone:
        monkeypatch.setattr(ray.data.Dataset, "map_batches", without(ray.data.Dataset.map_batches, *gone))
    pool = ray.data.ActorPoolStrategy(min_size=1, max_size=2, max_tasks_in_flight_per_actor=1)
    for name, work, options in (("actors", Work, {"pool": pool}), ("tasks", task, {})):
        notes = tmp_path / name
        notes.mkdir()
        done = rows_of(map_blocks(BLOCKS, work, notes, 5, retries=1, **options))
        assert done == [0, 1, 2, 3, 6, 7, 8, 9]
        assert len(list(notes.glob("4 *"))) == 2
    wait_for_all_cores()


@pytest.mark.parametrize("pool", [None, ray.data.ActorPoolStrategy(size=1)])
def test_what_work_raises_ends_all_if_it_is_to_and_else_its_block_is_missing(ray_local, tmp_path, capfd, pool):
    work = task if pool is None else Work
    assert rows_of(map_blocks(BLOCKS, work, tmp_path, None, 2, pool=pool)) == [0, 1, 4, 5, 6, 7, 8, 9]
    with pytest.raises(StorageError, match=r"^unexpected ValueError: of two lines$"):
        list(map_blocks(BLOCKS, work, tmp_path, None, 2, pool=pool, error=StorageError))
    assert "schema" not in capfd.readouterr().err  # as Ray might say of the row that tells it


def test_a_worker_that_cannot_begin_ends_all_if_it_is_to(ray_local):
    def begin() -> None:
        raise StorageError("no weights")

    with pytest.raises(StorageError, match=r"^no weights$"):
        list(map_blocks(BLOCKS, begin, pool=ray.data.ActorPoolStrategy(size=1), error=StorageError))


def test_workers_end_with_whoever_wants_no_more(ray_local, tmp_path):
    pool = ray.data.ActorPoolStrategy(size=2)
    results = map_blocks(BLOCKS, Work, tmp_path, pool=pool)
    next(results)
    results.close()
    wait_for_all_cores()


def test_blocks_stay_whole_on_gpus_too(ray_local):
    """Ray insists there that batches have a size, and puts blocks together up to it."""
    blocks = [*BLOCKS, pa.table({"row": [10]})]
    pool = ray.data.ActorPoolStrategy(size=1)
    done = list(map_blocks(blocks, lambda: lambda block: block, pool=pool, num_gpus=0.5))
    assert sorted(table["row"].to_pylist() for table in done) == [block["row"].to_pylist() for block in blocks]


def priority_of_this_process() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


def test_workers_have_the_priority_of_the_job(ray_local):
    """Or whatever else a machine does would go before."""
    assert ray.get(ray.remote(priority_of_this_process).remote()) == priority_of_this_process()


def test_who_is_asked_is_closed_before_an_error_leaves():
    """Whoever keeps the error keeps its frames, and what they hold would be closed by anyone, at any time."""
    closed = []

    def ask(rows: pa.Table, attempt: int) -> Generator[pa.Table]:
        try:
            yield pa.table({"not what was asked for": [attempt]})
        finally:
            closed.append(attempt)

    with pytest.raises(KeyError) as kept:
        ask_until_answered(pa.table({"uri": ["a"]}), "uri", ask, 2, "files")
    assert closed == [1] and kept.tb


@given(st.dictionaries(st.text(), st.integers(0, 5)), st.integers(1, 4))
def test_rows_are_asked_for_until_they_are_answered_or_given_up(lost, attempts):
    """Each row is lost so often."""
    asked: dict[str, int] = dict.fromkeys(lost, 0)

    def ask(rows: pa.Table, attempt: int) -> Generator[pa.Table]:
        for uri in rows["uri"].to_pylist():
            asked[uri] += 1
            assert asked[uri] == attempt
            if lost[uri] < attempt:
                yield pa.table({"answer": [attempt], "uri": [uri]})

    rows = pa.table({"uri": pa.array(lost, pa.string()), "size": pa.array(lost.values(), pa.int64())})
    given_up = ask_until_answered(rows, "uri", ask, attempts, "files")
    assert given_up.to_pylist() == [row for row in rows.to_pylist() if row["size"] >= attempts]
    assert asked == {uri: min(attempts, times + 1) for uri, times in lost.items()}
