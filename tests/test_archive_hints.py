"""A table of hints for an archive: what is wrong with it, what it says of each scan, and what is done again for it."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colornet.archive import hints, inventory, ledger
from colornet.archive.hints import HintsError, read_hints, write_hints
from colornet.archive.plan import make_plan, tally
from colornet.archive.selection import Selection
from colornet.errors import SettingsError
from colornet.hints import Hint, to_json
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage

HEADER = "source,x,y,color"
ALL = "source,x,y,color,page,strength,by,note"
RUN = ledger.RunKey("b" * 64, RenderSettings().digest)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def table(folder: Path, *lines: str, name: str = "hints.csv") -> str:
    place = folder / name
    place.write_text("\n".join(lines) + "\n", "utf-8")
    return str(place)


def scans_of(folder: Path, *keys: str, root: str = "/in") -> Path:
    place = folder / "scans.parquet"
    rows = [{"source_uri": f"{root}/{key}", "key": key, "source_version": "1", "source_size": 7} for key in keys]
    pq.write_table(pa.Table.from_pylist(rows, inventory.SCHEMA), place)
    return place


def laid_out(folder: Path, scans: Path, *lines: str) -> list[dict]:
    place = table(folder, *lines)
    write_hints(read_hints(place), place, scans, folder / "laid_out.parquet", RenderSettings(), folder)
    return pq.read_table(folder / "laid_out.parquet").to_pylist()


# --- what it says ----------------------------------------------------------------------------------------------------


def test_scans_are_named_by_key_or_uri_and_their_hints_are_gathered(tmp_path):
    scans = scans_of(tmp_path, "box 1/a.tif", "b.jpg", "c.jpg")
    lines = ["box 1/a.tif,7.9,3,#FF0000,,1.2,A,", '/in//box 1/a.tif,1,2,"ab(3, -4)",1,,B,"says ""so"", twice"']
    second, first = laid_out(tmp_path, scans, ALL, *lines, "b.jpg,0,0,#000000,0,,,")
    said = [Hint(7, 3, "#ff0000", by="A"), Hint(1, 2, (3, -4), page=1, by="B", note='says "so", twice')]
    digest = RenderSettings(strength=1.2).digest_with(said)
    assert first == {
        "source_uri": "/in/box 1/a.tif",
        "hints": to_json(said),
        "hints_by": "A; B",
        "strength": 1.2,
        "settings_digest": digest,
    }
    assert second["hints"] == '[{"x":0,"y":0,"color":"#000000"}]' and second["hints_by"] == ""
    assert second["strength"] == 1 and second["settings_digest"] not in (digest, RUN.settings_digest)


def test_every_kind_of_table_says_the_same(tmp_path, s3):
    rows = [
        {"source": "a", "x": 1, "y": 2, "color": "#010203", "page": 1, "strength": 0.5, "by": "é", "note": None},
        {"source": "b", "x": 3, "y": 4, "color": "#0000ff", "page": None, "strength": None, "by": None, "note": "="},
    ]
    text = f"{ALL}\na,1,2,#010203,1,0.5,é,\nb,3,4.0,#0000ff,,,,=\n"
    (tmp_path / "a.csv").write_text(text, "utf-8-sig")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text.encode()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    Storage().write(f"{s3}/d.csv", text.encode())
    places = [*(str(tmp_path / name) for name in ("a.csv", "b.csv.gz", "c.parquet")), f"{s3}/d.csv"]
    first, *others = [read_hints(place) for place in places]
    assert [row.hint for row in first] == [Hint(1, 2, (1, 2, 3), 1, "é"), Hint(3, 4, (0, 0, 255), note="=")]
    assert [row.strength for row in first] == [0.5, None]
    assert others == [first] * 3


@pytest.mark.parametrize(
    "text",
    ["<b>&amp;</b>", "=HYPERLINK(A1)", "two\nlines", "\x1b[2J", "]]>", "'; DROP TABLE scans; --", "\u202e", "{}", "\0"],
)
def test_whatever_people_write_is_text(tmp_path, text):
    rows = [{"source": "a", "x": 1, "y": 2, "color": "#010203", "by": text, "note": text}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hints.parquet")
    read = read_hints(str(tmp_path / "hints.parquet"))
    write_hints(read, "", scans_of(tmp_path, "a"), tmp_path / "out.parquet", RenderSettings(), tmp_path)
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert row["hints_by"] == text and json.loads(row["hints"])[0]["note"] == text


# --- what is wrong with it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["source,x,y,colour", "a,1,2,#000000"], "no column 'colour' in hints; there are source, x, y, color"),
        (["source;x;y;color", "a;1;2;#000000"], "no column 'source;x;y;color'"),
        (["source,x,color", "a,1,#000000"], "it has no column y"),
        (["source,x,y,color,x", "a,1,2,#000000,1"], "it has the column x twice"),
        (["source,x,y,color", "a,1"], "no table of hints: .*4 columns, got 2"),
    ],
)
def test_columns_that_are_wrong_are_named(tmp_path, lines, words):
    with pytest.raises(SettingsError, match=f"hints.csv.*{words}"):
        read_hints(table(tmp_path, *lines))


@pytest.mark.parametrize(
    ("line", "kind", "words"),
    [
        (",1,2,#000000,,,,", "missing", "it has no source"),
        ("a,,2,#000000,,,,", "missing", "it has no x"),
        ("a,1,2,,,,,", "missing", "it has no color"),
        ("a,one,2,#000000,,,,", "number", "x is 'one'"),
        ("a,1,nan,#000000,,,,", "number", "y is 'nan'"),
        ("a,1,1_0,#000000,,,,", "number", "y is '1_0'"),
        ("a,1e999,2,#000000,,,,", "number", "x is '1e999'"),
        ("a,1,2,#000000,0.5,,,", "number", "page is '0.5'"),
        ("a,1,2,#000000,,loud,,", "number", "strength is 'loud'"),
        ("a,1,2,red,,,,", "hint", r"the hint at \(1, 2\): color must be .*, not 'red'"),
        ("a,1,2,#000000,-1,,,", "hint", ".*page must be a whole number from 0, not -1"),
        ("a,1,2,#000000,,," + 201 * "x" + ",", "hint", ".*by has 201 characters"),
    ],
)
def test_rows_that_are_wrong_are_told_by_their_numbers(tmp_path, line, kind, words):
    with pytest.raises(HintsError, match=f"hints.csv: row 2: {kind}: {words}") as caught:
        read_hints(table(tmp_path, ALL, "a,1,2,#000000,,,,", line))
    assert [(each.row, each.kind) for each in caught.value.problems] == [(2, kind)]


@pytest.mark.parametrize(
    ("lines", "row", "kind", "words"),
    [
        (["x.tif,1,2,#000000,,,,"], 2, "unknown source", "the input has no scan 'x.tif'"),
        (["a,1,2,#000000,,9,,"], 2, "strength", "strength should be less than or equal to 2, not 9.0"),
        (["a,3,3,#000000,,1.5,,", "/in/a,4,4,#000000,,1,,"], 3, "strength", "/in/a has 1 and 1.5"),
        (["/in/a,1,2,#ffffff,,,,"], 2, "scan", r"\(1, 2\): it is given two colours, #000000 and #ffffff"),
        (["/in/b,1,2,#ffffff,,,,"], 2, "two sources", "'/in/b' may be /in//in/b or /in/b"),
    ],
)
def test_rows_that_are_wrong_for_this_archive(tmp_path, lines, row, kind, words):
    scans = scans_of(tmp_path, "a", "b", "/in/b")
    with pytest.raises(HintsError, match=f"hints.csv: row {row}: {kind}: .*{words}") as caught:
        laid_out(tmp_path, scans, ALL, "a,1,2,#000000,,,,", *lines)
    assert {each.kind for each in caught.value.problems} == {kind}
    assert not (tmp_path / "laid_out.parquet").exists()


def test_of_very_many_problems_the_first_are_told(tmp_path):
    lines = [f"{number}.tif,1,2,#000000" for number in range(40)]
    with pytest.raises(HintsError, match=r"row 10: unknown source: .*; and 30 more$") as caught:
        laid_out(tmp_path, scans_of(tmp_path, "a"), HEADER, *lines)
    assert len(caught.value.problems) == 40
    assert {each.kind for each in caught.value.problems} <= set(hints.PROBLEMS)


@pytest.mark.parametrize(("name", "words"), [("no.csv", "no hints at"), ("hints.xlsx", ".csv, .csv.gz or .parquet")])
def test_files_that_are_no_table(tmp_path, name, words):
    with pytest.raises(SettingsError, match=words):
        read_hints(str(tmp_path / name))
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(SettingsError, match="no table of hints"):
        read_hints(str(tmp_path / "bad.parquet"))


# --- what is done again ----------------------------------------------------------------------------------------------


def plan(folder: Path, scans: Path, *lines: str):
    laid_out(folder, scans, HEADER, *lines)
    return make_plan(scans, str(folder), RUN, folder, hinted=folder / "laid_out.parquet")


def rows_of(plan) -> dict[str, dict]:
    return {row["key"]: row for batch in plan.batches(10) for row in batch.to_pylist()}


def finish(folder: Path, rows: dict[str, dict], minute: int, **more) -> None:
    """Write into the ledger what the worker would."""
    finished = [
        {name: row[name] for name in ("source_uri", "source_version", "key", "hints", "strength")}
        | {"settings_digest": row["settings_digest"] or RUN.settings_digest}
        | {"run_digest": RUN.settings_digest if row["settings_digest"] else None, "bundle_digest": RUN.bundle_digest}
        | {"status": "done", "finished_at": NOON + timedelta(minutes=minute), "output_size": 1, **more}
        for row in rows.values()
    ]
    ledger.append(str(folder), finished)


def test_only_scans_of_which_something_new_is_said_are_done_again(tmp_path):
    scans = scans_of(tmp_path, "a", "b", "c")
    everything = make_plan(scans, str(tmp_path), RUN, tmp_path)
    assert (everything.pending, everything.hinted) == (3, 0)
    assert {row["settings_digest"] for row in rows_of(everything).values()} == {None}
    finish(tmp_path, rows_of(everything), 0)

    red, blue = "a,1,1,#ff0000", "b,1,1,#0000ff"
    first = plan(tmp_path, scans, red)
    assert (first.pending, first.done, first.hinted, first.hinted_pending) == (1, 2, 1, 1)
    assert list(rows_of(first)) == ["a"]
    assert rows_of(first)["a"]["hints"] == '[{"x":1,"y":1,"color":"#ff0000"}]'
    finish(tmp_path, rows_of(first), 1)
    again = plan(tmp_path, scans, red)
    assert (again.pending, again.hinted, again.hinted_pending) == (0, 1, 0)

    for minute, (lines, expected) in enumerate(
        [
            ([blue, red], ["b"]),
            ([red, blue], []),
            (["a,1,1,#fe0000", blue], ["a"]),
            ([red, blue], ["a"]),
            ([red], ["b"]),
        ],
        start=2,
    ):
        todo = rows_of(plan(tmp_path, scans, *lines))
        assert list(todo) == expected
        finish(tmp_path, todo, minute)
    assert rows_of(make_plan(scans, str(tmp_path), RUN, tmp_path)) == {}  # what people chose stays without a table
    assert tally(scans, str(tmp_path), RUN, tmp_path).hinted == 1
    taken_back = rows_of(plan(tmp_path, scans))
    assert list(taken_back) == ["a"] and taken_back["a"]["hints"] is None


def test_what_failed_with_other_hints_is_tried_with_these(tmp_path):
    scans = scans_of(tmp_path, "a", "b")
    finish(tmp_path, rows_of(plan(tmp_path, scans, "a,900,1,#ff0000")), 0, status="failed", reason="outside")
    laid_out(tmp_path, scans, HEADER, "a,9,1,#ff0000")
    again = make_plan(scans, str(tmp_path), RUN, tmp_path, retry_failed=False, hinted=tmp_path / "laid_out.parquet")
    assert list(rows_of(again)) == ["a"]


def test_a_ledger_from_before_there_were_hints_is_gone_on_with(tmp_path):
    """Its parts have none of the columns: its rows are of scans without hints, and of the run that they say."""
    scans = scans_of(tmp_path, "a", "b")
    finish(tmp_path, rows_of(make_plan(scans, str(tmp_path), RUN, tmp_path)), 0)
    (part,) = ledger.parts(str(tmp_path))
    old = pq.read_table(part.uri).drop_columns(["run_digest", "hints", "hints_by", "strength"])
    pq.write_table(old, part.uri)
    assert make_plan(scans, str(tmp_path), RUN, tmp_path).pending == 0
    assert list(rows_of(plan(tmp_path, scans, "b,1,1,#ff0000"))) == ["b"]
    finish(tmp_path, rows_of(plan(tmp_path, scans, "b,1,1,#ff0000")), 1)
    assert ledger.compact(str(tmp_path)).rows == 3
    assert rows_of(plan(tmp_path, scans, "b,1,1,#ff0000")) == {}


def test_hints_for_scans_that_are_not_selected_wait(tmp_path):
    scans = scans_of(tmp_path, "a", "b")
    laid_out(tmp_path, scans, HEADER, "a,1,1,#ff0000")
    hinted = tmp_path / "laid_out.parquet"
    part = make_plan(scans, str(tmp_path), RUN, tmp_path, Selection(include=("b",)), hinted=hinted)
    assert (part.scans, part.hinted, list(rows_of(part))) == (1, 0, ["b"])
