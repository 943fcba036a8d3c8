"""Budget, Stopwatch and the code's digest: what the worker of the archive job is made of."""

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet import __version__
from colornet.archive.flow import Budget
from colornet.archive.stopwatch import WAITING, Stopwatch
from colornet.archive.version import code_digest, code_version

MOMENT = 0.05


@given(limit=st.integers(1, 50), amounts=st.lists(st.integers(0, 80), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_never_more_is_held_than_the_limit_but_by_one_alone(limit, amounts):
    budget, lock, held, seen = Budget(limit), threading.Lock(), [], []

    def hold(amount: int) -> None:
        with budget.holding(amount):
            with lock:
                held.append(amount)
                seen.append(list(held))
            time.sleep(0.0005)
            with lock:
                held.remove(amount)

    threads = [threading.Thread(target=hold, args=(amount,)) for amount in amounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == len(amounts)  # all had their turn
    assert all(sum(each) <= limit or len([amount for amount in each if amount]) == 1 for each in seen)
    assert budget.try_take(limit) and not budget.try_take(1)  # and gave all back


def test_a_large_share_is_not_passed_by_small_ones():
    budget, order = Budget(10), []

    def take(amount: int) -> threading.Thread:
        thread = threading.Thread(target=lambda: (budget.take(amount), order.append(amount)))
        thread.start()
        time.sleep(MOMENT)
        return thread

    budget.take(2)
    waiting = [take(100), take(3)]  # there is room for the 3, but it came later
    assert order == []
    budget.give_back(2)
    waiting[0].join(10)
    assert order == [100]
    budget.give_back(100)
    waiting[1].join(10)
    assert order == [100, 3]


def test_a_share_is_given_back_by_a_block_that_fails():
    budget = Budget(10)
    with pytest.raises(KeyError), budget.holding(10):
        raise KeyError
    assert budget.try_take(10)


def test_every_moment_belongs_to_one_stage():
    watch, started = Stopwatch(), time.perf_counter()
    with watch.during("outer"):
        time.sleep(MOMENT)
        with pytest.raises(KeyError), watch.during("inner"):
            time.sleep(2 * MOMENT)
            raise KeyError
    time.sleep(MOMENT)
    seconds = watch.stop()
    assert sum(seconds.values()) <= time.perf_counter() - started
    assert seconds.keys() == {"outer", "inner", WAITING}
    assert seconds["inner"] >= 2 * MOMENT and seconds["outer"] >= MOMENT and seconds[WAITING] >= MOMENT


def test_the_code_is_told_by_what_it_says_and_where(tmp_path):
    def digest(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        for name, content in files.items():
            path = folder / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        (folder / "notes.txt").write_text(folder.name)
        return code_digest(folder)

    assert digest(a="1", b__c="2") == digest(a="1", b__c="2")
    assert len({digest(a="1", b="2"), digest(a="2", b="1"), digest(a="12", b=""), digest(a="1", b__b="2")}) == 4


def test_code_version():
    version, _, digest = code_version().partition("+")
    assert version == __version__
    assert code_digest(Path(__file__).parent.parent / "colornet").startswith(digest) and len(digest) == 12
