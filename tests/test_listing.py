"""Parallel listing: complete, without duplicates, and in fewer rounds than a plain one."""

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from colornet.storage.listing import Page, cut, list_in_parallel, midpoint

ANY_KEYS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
ALIKE_KEYS = st.text("/01ab~é日", max_size=8)
KEYS = ANY_KEYS | ALIKE_KEYS
PAGE = 3


class Store:
    """A fake store with small pages, that counts its requests. Real stores have pages of 1000."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = sorted(keys)
        assert self.keys == sorted(keys, key=str.encode)  # the order of stores, which is that of the bytes
        self.lock = threading.Lock()
        self.requests = 0

    def pages_after(self, after: str) -> Iterator[Page]:
        position = bisect_right(self.keys, after) if after else 0
        while True:
            with self.lock:
                self.requests += 1
            page = [(key, len(key), key) for key in self.keys[position : position + PAGE]]
            position += PAGE
            yield page, position < len(self.keys)
            if position >= len(self.keys):
                return


def listed(store: Store, threads: int) -> list[str]:
    return sorted(key for page in list_in_parallel(store.pages_after, threads) for key, _, _ in page)


@given(KEYS, KEYS)
def test_midpoint_lies_between(one, other):
    low, high = sorted((one, other))
    if low != high:
        middle = midpoint(low, high)
        assert middle is None or (low < middle < high and low.encode() < middle.encode() < high.encode())
    beyond = midpoint(low, None)
    assert beyond is not None
    assert beyond > low
    beyond.encode()


@given(ALIKE_KEYS, st.none() | ALIKE_KEYS, st.integers(1, 20), st.integers(0, 8))
def test_cut_covers_the_range_once(after, end, count, length):
    if end is not None and end <= after:
        return
    pieces = cut(after, end, count, min(length, len(after)))
    assert 1 <= len(pieces) <= count
    assert (pieces[0][0], pieces[-1][1]) == (after, end)
    for (low, high), (following, _) in pairwise(pieces):
        assert low < high == following
    assert len({low for low, _ in pieces}) == len(pieces)


@settings(max_examples=60, deadline=None)
@given(st.sets(KEYS, max_size=60), st.sampled_from([1, 2, 5]))
def test_every_key_comes_once(keys, threads):
    store = Store(list(keys))
    assert listed(store, threads) == store.keys


@pytest.mark.parametrize(
    "keys",
    [
        [f"img_{number:08}.jpg" for number in range(900)],
        [f"{year}/box {box:03}/{number:05}.tif" for year in (1901, 1999) for box in range(15) for number in range(30)],
        [f"{'very/deep/' * 8}{number:04}" for number in range(900)],
        [
            f"写真/{number}/{name}"
            for number in range(30)
            for name in "日本京都東大阪神戸奈良北海道沖縄九州四国長野山川空海風雨"
        ],
    ],
    ids=["flat", "boxes", "deep", "beyond ASCII"],
)
def test_ranges_are_shared_without_many_empty_requests(keys):
    """Every lister gets work, whatever the layout, and cutting costs few requests beside those that list."""
    store, shares = Store(keys), Counter()
    pages_after = store.pages_after

    def slowly(after: str) -> Iterator[Page]:
        for page in pages_after(after):
            time.sleep(0.001)  # as a request would; the others go on meanwhile
            shares[threading.get_ident()] += len(page[0])
            yield page

    store.pages_after = slowly
    assert listed(store, 8) == store.keys
    assert store.requests < 2.5 * len(keys) / PAGE
    assert max(shares.values()) < len(keys) / 2
    assert len(shares) == 8


def test_failure_of_one_lister_ends_the_listing():
    store = Store([f"{number:04}" for number in range(900)])
    pages_after = store.pages_after

    def broken(after: str) -> Iterator[Page]:
        for page in pages_after(after):
            if store.requests > 50:
                raise ValueError("no more")
            yield page

    with pytest.raises(ValueError, match="no more"):
        list(list_in_parallel(broken, 4))


def test_listing_that_nobody_takes_is_not_held_in_memory():
    store = Store([f"{number:04}" for number in range(900)])
    pages = list_in_parallel(store.pages_after, 4)
    next(pages)
    time.sleep(0.1)
    assert store.requests <= 1 + 3 * 4  # one taken, two held for each lister, and one in its hands
    pages.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("listing")]
