"""The circuit breaker stops a job whose storage fails for everything, and no other."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colornet.archive import ledger
from colornet.errors import StoppedError
from jobs.colorizing.circuit_breaker import CircuitBreaker


def rows(*outcomes: tuple[str | None, str]) -> pa.Table:
    """Ledger rows, each with its own source, of (error, reason); {uri} in a reason is the source's."""
    made = [
        {
            "source_uri": f"s3://in/{index}: a.jpg",
            "error": error,
            "reason": reason.format(uri=f"s3://in/{index}: a.jpg"),
        }
        for index, (error, reason) in enumerate(outcomes)
    ]
    return pa.table({name: [row[name] for row in made] for name in ("source_uri", "error", "reason")})


DENIED = ("AccessError", "{uri}: AccessDenied: not allowed")
FULL = ("StorageError", "/out/1.jpg: No space left on device")
GONE = ("NotFoundError", "{uri}: this does not exist")
BROKEN = ("ScanError", "damaged JPEG")
DONE = (None, "")


@pytest.mark.parametrize("trouble", [DENIED, FULL])
def test_it_trips_at_the_limit_whatever_the_places(trouble):
    circuit_breaker = CircuitBreaker(limit=5)
    circuit_breaker.observe(rows(*[trouble] * 4))
    with pytest.raises(StoppedError, match=r"last 5 scans: (AccessError|StorageError): (AccessDenied|No space)"):
        circuit_breaker.observe(rows(trouble))


@given(
    st.lists(st.lists(st.sampled_from([DENIED, FULL, GONE, BROKEN, DONE]), max_size=12), max_size=8), st.integers(2, 6)
)
def test_it_trips_exactly_when_so_many_in_a_row_have_the_same_storage_error(blocks, limit):
    circuit_breaker, tripped = CircuitBreaker(limit), False
    try:
        for block in blocks:
            circuit_breaker.observe(rows(*block))
    except StoppedError:
        tripped = True
    seen = [outcome for block in blocks for outcome in block]
    runs = (seen[start : start + limit] for start in range(len(seen) - limit + 1))
    assert tripped == any(run == [run[0]] * limit and run[0] in (DENIED, FULL) for run in runs)


def test_if_nothing_but_storage_failed_it_trips_at_the_end():
    circuit_breaker = CircuitBreaker(limit=50)
    circuit_breaker.observe(rows(DENIED, DENIED))
    with pytest.raises(StoppedError):
        circuit_breaker.finish()


@pytest.mark.parametrize("others", [[DONE, DENIED], [DENIED, BROKEN], [BROKEN], [GONE], [], [DENIED, DONE]])
def test_if_something_else_was_seen_it_does_not_trip_at_the_end(others):
    circuit_breaker = CircuitBreaker(limit=50)
    circuit_breaker.observe(rows(*others))
    circuit_breaker.finish()


def test_rows_of_the_ledger_have_what_it_looks_at():
    assert set(rows().column_names) <= set(ledger.SCHEMA.names)
