"""Listing an object store in parallel: the keys are cut into ranges, which are listed at once.

A store lists keys in their order and a page at a time, from any key on, so one range is a chain of requests. Where the
keys are dense nobody knows before. So there is one range at first, and as long as listers are idle, a range that turns
out to have more than one page is cut between its last listed key and its end, and the pieces are given away. A piece
that lies beyond the last key costs one request, and brings the next cuts closer to where the keys are.
"""

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from operator import itemgetter

Item = tuple[str, int, str]
"""Key, size in bytes, version."""
Page = tuple[list[Item], bool]
"""Objects in the order of their keys (that of their UTF-8, or code points), and whether more come after them."""
Range = tuple[str, str | None]
"""Keys after the first one, up to and with the second one; None is the end of all keys."""


def list_in_parallel(pages_after: Callable[[str], Iterator[Page]], threads: int) -> Iterator[list[Item]]:
    """Yield every object once, page by page, in no particular order of pages.

    Args:
        pages_after: yields the pages of all objects whose key comes after the given one, lazily; after '' is all.
        threads: how many pages are asked for at once; twice as many are held at most.

    Raises:
        Exception: what `pages_after` raised first.
    """
    listing = _Listing(pages_after, threads)
    with ThreadPoolExecutor(threads, thread_name_prefix="listing") as pool:
        listers = [pool.submit(listing.work) for _ in range(threads)]
        try:
            yield from listing.pages()
        finally:
            listing.stop()
    for lister in listers:
        lister.result()


class _Listing:
    """What is found, and the ranges that wait for a lister."""

    def __init__(self, pages_after: Callable[[str], Iterator[Page]], threads: int) -> None:
        self.pages_after = pages_after
        self.threads = threads
        self.found: queue.SimpleQueue[list[Item] | None] = queue.SimpleQueue()
        self.room = threading.Semaphore(2 * threads)
        self.changed = threading.Condition()
        self.waiting: deque[Range] = deque([("", None)])
        self.idle = 0
        self.over = False

    def pages(self) -> Iterator[list[Item]]:
        """Yield what listers find until all of them have ended."""
        at_work = self.threads
        while at_work:
            page = self.found.get()
            if page is None:
                at_work -= 1
            else:
                self.room.release()
                yield page

    def stop(self) -> None:
        """Let every lister end after its request."""
        with self.changed:
            self.over = True
            self.changed.notify_all()
        self.room.release(self.threads)

    def work(self) -> None:
        """List range after range, until none is left or to come."""
        try:
            while (keys := self._take()) is not None:
                self._list(*keys)
        except BaseException:
            self.stop()
            raise
        finally:
            self.found.put(None)

    def _take(self) -> Range | None:
        with self.changed:
            self.idle += 1
            if self.idle == self.threads and not self.waiting:  # nobody is left who could give something away
                self.over = True
                self.changed.notify_all()
            self.changed.wait_for(lambda: self.waiting or self.over)
            if self.over:
                return None
            self.idle -= 1
            return self.waiting.popleft()

    def _list(self, after: str, end: str | None) -> None:
        for page, more in self.pages_after(after):
            within = [item for item in page if end is None or item[0] <= end]
            self.room.acquire()
            self.found.put(within)
            if self.over or not more or len(within) < len(page):
                return
            if page:
                end = self._share(page[-1][0], end, _alike(page[0][0], page[-1][0]))

    def _share(self, after: str, end: str | None, alike: int) -> str | None:
        """Give the upper parts of a range to those who are idle; returns where the lowest part ends."""
        with self.changed:
            pieces = cut(after, end, 1 + self.idle - len(self.waiting), alike)
            self.waiting.extend(pieces[1:])
            self.changed.notify(len(pieces) - 1)
        return pieces[0][1]


def cut(after: str, end: str | None, count: int, alike: int = 0) -> list[Range]:
    """Cut a range into at most `count` ranges, in their order.

    Half of the cuts are made where something that keys begin with ends, for halving alone would go through the
    beginning of a long path one character after the other. The other half of them halve.

    Args:
        after: the last key that was listed.
        end: where the range ends.
        count: of ranges, at least 1.
        alike: with how many characters of `after` the keys that were listed last began.
    """
    inside = _alike(after, end or "")
    depths = range(alike, inside, -1) if alike > inside + 1 else range(0)
    step = max(1, math.ceil(len(depths) / max(1, (count - 1) // 2)))
    bounds = [after[:depth] + chr(_ABOVE) for depth in depths[::step]] if count > 2 else []
    bounds = [after, *(bound for bound in bounds if bound > after)]
    pieces: deque[Range] = deque(reversed(list(zip(bounds, [*bounds[1:], end], strict=True))))
    whole: list[Range] = []
    while pieces and len(pieces) + len(whole) < count:
        low, high = pieces.popleft()  # upper ones first, which are the largest
        middle = midpoint(low, high)
        if middle is None:
            whole.append((low, high))
        else:
            pieces += (middle, high), (low, middle)
    return sorted([*pieces, *whole], key=itemgetter(0))


def _alike(one: str, other: str) -> int:
    """With how many same characters two keys begin."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def midpoint(after: str, end: str | None) -> str | None:
    """Return a key between two keys, or None if there is none to be found easily.

    It goes half way between the first characters that differ, as if keys were printable ASCII; where those are
    neighbours, on to the next character after the lower one.
    """
    for position in range(len(after) + 1):
        low = ord(after[position]) if position < len(after) else _BELOW
        high = _end_at(end, position, low)
        if high == low:
            continue
        middle = _between(low, high)
        if middle is not None:
            return after[:position] + middle
        end = None  # whatever comes after this character of `after`, it stays below the end
    return None


_BELOW, _ABOVE = 0x1F, 0x7F
"""The neighbours of printable ASCII."""
_SURROGATES = range(0xD800, 0xE000)


def _end_at(end: str | None, position: int, low: int) -> int:
    """Return the character at which keys end; where nothing ends them, the one after all that are likely."""
    if end is None:
        return _ABOVE if low < _ABOVE - 1 else 0x110000
    return ord(end[position]) if position < len(end) else low


def _between(low: int, high: int) -> str | None:
    middle = (low + high) // 2
    if middle in _SURROGATES:  # no characters
        middle = _SURROGATES.stop if high > _SURROGATES.stop else _SURROGATES.start - 1
    return chr(middle) if low < middle < high else None
