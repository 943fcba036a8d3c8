"""jobs.ledger: what an operator asks a ledger. In this process, but for the exit codes of the command line."""

import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from colornet.archive import ledger
from colornet.archive.summary import summarize
from colornet.errors import ExitCode, SettingsError
from colornet.hints import Hint, people, to_json
from colornet.storage import Storage
from jobs.ledger import LedgerSettings, report

storage = Storage()

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def ledger_row(number: int, status: str = "done", *, digest: str = "b" * 64, **more) -> dict:
    outcome = {"pixels": 10_000_000 + number, "output_size": 7, "seconds": 1.0 + number} if status == "done" else {}
    return {
        "source_uri": f"/in/{number}.tif",
        "source_version": "1",
        "source_size": 5,
        "status": status,
        "reason": None if status == "done" else f"/in/{number}.tif: [bold]damaged[/bold]",
        "finished_at": NOON + timedelta(minutes=number),
        "host": f"node-{number % 3}",
        "format": "tiff" if status == "done" else None,
        "fetch_seconds": 0.5,
        "bundle_digest": digest,
        "settings_digest": "s" * 64,
        **outcome,
        **more,
    }


@pytest.fixture
def output(tmp_path) -> str:
    """A ledger of two runs; of the later one ten sources are done, three failed, two are skipped."""
    place = str(tmp_path / "out")
    ledger.append(place, [ledger_row(n, digest="a" * 64, finished_at=NOON - timedelta(days=9)) for n in range(4)])
    ledger.append(place, [ledger_row(n, "failed", finished_at=NOON - timedelta(hours=1)) for n in range(5)])
    rows = [ledger_row(n) for n in range(10)]
    rows += [ledger_row(n, "failed") for n in (10, 11)] + [ledger_row(n, "skipped") for n in (13, 14)]
    ledger.append(place, rows)
    ledger.append(
        place, [*rows[:2], ledger_row(12, "failed") | {"reason": "out of reach\x1b[2J"}]
    )  # two rows are doubles
    return place


def asked(output: str, **options) -> LedgerSettings:
    return LedgerSettings(output=output, **options)


def test_totals_as_json_agree_with_another_reader(output, capsys):
    assert report(asked(output, json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    rows = pl.read_parquet(f"{output}/_colornet/ledger/*.parquet").unique()
    latest = rows.filter(pl.col("bundle_digest") == "b" * 64).sort("finished_at").group_by("source_uri").last()
    done = latest.filter(pl.col("status") == "done")
    assert [run["bundle_digest"][0] for run in found["runs"]] == ["a", "b"]
    assert [run["done"] for run in found["runs"]] == [4, len(done)]
    assert {status: found["latest"][status] for status in ("done", "failed", "skipped")} == dict(
        latest["status"].value_counts().iter_rows()
    )
    assert found["latest"]["pixels"] == done["pixels"].sum()
    assert (found["latest"]["source_bytes"], found["latest"]["output_bytes"]) == (5 * len(done), 7 * len(done))
    assert found["latest"]["failures"] == {"…: [bold]damaged[/bold]": 2, "out of reach\x1b[2J": 1}
    assert found["latest"]["first"] == (NOON - timedelta(hours=1)).isoformat()
    assert found["latest"]["last"] == (NOON + timedelta(minutes=14)).isoformat()
    hosts = {host["name"]: host["done"] + host["failed"] + host["skipped"] for host in found["latest"]["hosts"]}
    assert hosts == {f"node-{n}": 5 for n in range(3)}
    assert {each["name"]: each["done"] for each in found["latest"]["formats"]} == {"tiff": 10, "unknown": 0}


def test_pace_and_steps(output, tmp_path):
    summary = summarize(output, tmp_path)
    assert sum(period.scans for period in summary.pace) == 15
    assert sum(period.pixels for period in summary.pace) == summary.pixels
    for earlier, later in zip(summary.pace, summary.pace[1:], strict=False):
        assert earlier.start + timedelta(seconds=earlier.seconds) <= later.start
    assert summary.pace[-1].start + timedelta(seconds=summary.pace[-1].seconds) <= summary.run.last
    steps = {step.name: (step.median, step.p95) for step in summary.steps}
    assert set(steps) == {"fetch", "all"} and steps["fetch"] == (0.5, 0.5)
    assert 5 <= steps["all"][0] <= 6 and 9 <= steps["all"][1] <= 10  # of 1, 2, … 10


def test_tables_for_people(output, capsys):
    assert report(asked(output)) == 0
    text = capsys.readouterr().out
    for words in ("10 done, 3 failed, 2 skipped", "100 megapixels", "…: [bold]damaged[/bold]", "node-2", "scans/h"):
        assert words in text
    assert "out of reach\\x1b[2J" in text and "\x1b" not in text


def test_compaction(output, capsys):
    before = len(ledger.read(output))
    assert report(asked(output, compact=True)) == 0
    assert "4 small parts merged into 1, with 24 rows" in capsys.readouterr().out
    assert len(ledger.parts(output)) == 1 and len(ledger.read(output)) == before == 24


def confident(number: int, confidence: float | None, **more) -> dict:
    key = f"box/{number}.tif"
    return ledger_row(number, output_uri=f"{more.pop('output')}/{key}", confidence=confidence, **more)


@pytest.fixture
def reviewed(tmp_path) -> str:
    """Nine pictures with confidences of 0.1 to 0.9, the higher the later; one without; what is superseded or failed."""
    output = str(tmp_path / "out")
    ledger.append(
        output, [confident(2, 0.0, output=output, digest="a" * 64, finished_at=NOON - timedelta(days=9))]
    )  # another run
    ledger.append(output, [confident(1, 0.01, output=output, finished_at=NOON - timedelta(hours=1))])
    older = pa.Table.from_pylist([confident(11, None, output=output)], ledger.SCHEMA).drop_columns(["confidence"])
    pq.write_table(older, Path(ledger.place(output)) / "older.parquet")
    rows = [confident(n, n / 10, output=output) for n in range(1, 10)]
    ledger.append(output, [*rows, confident(10, None, output=output), ledger_row(12, "failed", confidence=0.0)])
    ledger.append(output, rows[:2])  # doubles
    return output


def test_the_least_certain_come_first(reviewed, capsys):
    assert report(asked(reviewed, least_certain=3)) == 0
    assert capsys.readouterr().out.splitlines() == ["0.1000  box/1.tif", "0.2000  box/2.tif", "0.3000  box/3.tif"]
    assert report(asked(reviewed, least_certain=100, json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["key"] for each in found] == [f"box/{n}.tif" for n in range(1, 10)]
    assert [each["confidence"] for each in found] == pytest.approx([n / 10 for n in range(1, 10)])


def test_a_compaction_widens_older_parts(reviewed, capsys):
    before = sorted(ledger.read(reviewed).to_pylist(), key=repr)
    ledger.compact(reviewed)
    assert len(ledger.parts(reviewed)) == 1
    assert sorted(ledger.read(reviewed).to_pylist(), key=repr) == before
    assert report(asked(reviewed, least_certain=1)) == 0
    assert capsys.readouterr().out == "0.1000  box/1.tif\n"


def test_quartiles_of_confidence(reviewed, capsys):
    report(asked(reviewed, json=True))
    found = json.loads(capsys.readouterr().out)["latest"]["confidence"]
    assert found == pytest.approx({"lower": 0.3, "median": 0.5, "upper": 0.7}, abs=0.06)
    report(asked(reviewed))
    assert "confidence: median 0.5" in capsys.readouterr().out


def test_without_confidences_the_list_says_so(output, capsys):
    report(asked(output, json=True))
    assert json.loads(capsys.readouterr().out)["latest"]["confidence"] is None
    assert report(asked(output, least_certain=3)) == 0
    assert "predicts no distribution" in capsys.readouterr().out
    assert report(asked(output, least_certain=3, json=True)) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize("wrong", [{"least_certain": 0}, {"least_certain": 3, "check": True}])
def test_lists_that_cannot_be_are_named(output, wrong):
    with pytest.raises(SettingsError, match="least_certain"):
        asked(output, **wrong)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_failures_for_the_archivist(output, tmp_path, suffix):
    place = tmp_path / f"failures{suffix}"
    place.write_text("of last week")
    assert report(asked(output, failures=place)) == 0
    letterbox = pl.read_csv(place) if suffix == ".csv" else pl.read_parquet(place)
    assert letterbox["source_uri"].to_list() == ["/in/10.tif", "/in/11.tif", "/in/12.tif"]
    assert letterbox["reason"].to_list()[1:] == ["/in/11.tif: [bold]damaged[/bold]", "out of reach\x1b[2J"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [place.name, "out"]


@pytest.mark.parametrize(("name", "words"), [("failures.txt", ".csv or .parquet"), ("no/folder.csv", "folder")])
def test_failures_to_nowhere(output, tmp_path, name, words):
    with pytest.raises(SettingsError, match=words):
        report(asked(output, failures=tmp_path / name))


def test_the_check_finds_what_is_missing_and_survives_odd_names(tmp_path, capsys):
    source, output = tmp_path / "in", str(tmp_path / "out")
    source.mkdir()
    (source / "a.tif").write_bytes(b"1")
    (source / "odd\x1b[31m.tif").write_bytes(b"1")
    row = ledger_row(0, "skipped", source_uri=str(source / "a.tif"), reason="already in colour")
    ledger.append(output, [row])
    assert report(asked(output, check=True)) == 0 and "all is as the ledger says" in capsys.readouterr().out
    assert report(asked(output, check=True, input=str(source))) == ExitCode.FINDINGS
    text = capsys.readouterr().out
    assert "missing: " in text and "odd\\x1b[31m.tif" in text and "\x1b" not in text and "1 findings" in text
    assert report(asked(output, check=True, input=str(source), json=True)) == ExitCode.FINDINGS
    assert [finding["kind"] for finding in json.loads(capsys.readouterr().out)] == ["missing"]


def test_the_check_survives_a_ledger_that_nothing_can_be_read_of(tmp_path, capsys):
    place = tmp_path / "_colornet" / "ledger" / "torn.parquet"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"PAR1")
    assert report(asked(str(tmp_path), check=True)) == ExitCode.FINDINGS
    assert "part: " in capsys.readouterr().out


def test_a_ledger_of_an_older_version(tmp_path, capsys):
    rows = pa.Table.from_pylist([ledger_row(n) for n in range(3)], ledger.SCHEMA)
    kept = ["source_uri", "status", "reason", "finished_at", "bundle_digest", "settings_digest"]
    place = tmp_path / "_colornet" / "ledger" / "old.parquet"
    place.parent.mkdir(parents=True)
    pq.write_table(rows.select(kept), place)
    assert report(asked(str(tmp_path))) == 0
    assert "3 done" in capsys.readouterr().out


def test_a_ledger_in_a_bucket(s3, capsys):
    ledger.append(f"{s3}/out", [ledger_row(n, "failed") for n in range(3)])
    assert report(asked(f"{s3}/out", json=True)) == 0
    assert json.loads(capsys.readouterr().out)["latest"]["failed"] == 3
    assert report(asked(f"{s3}/out", check=True)) == 0


def test_input_goes_with_check_only(output):
    with pytest.raises(SettingsError, match="input"):
        asked(output, input="in/")


def test_the_command_line(output, tmp_path):
    def run(*arguments: str | Path) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "jobs.ledger", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    wrong = run(tmp_path / "nowhere")
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "no ledger in" in wrong.stderr
    storage.write(f"{output}/stray.tif", b"1")
    checked = run(output, "--check")
    assert checked.returncode == ExitCode.FINDINGS and f"stray: {output}/stray.tif" in checked.stdout


def test_another_run_than_the_latest_is_told_of_by_its_digests(output, tmp_path, capsys):
    for wanted in ("a", "aaaa/sss", "a" * 64 + "/" + "s" * 64):
        assert report(asked(output, run=wanted)) == 0
        assert "The run, aaaaaaaaaaaa with ssssssssssss: 4 done, 0 failed" in capsys.readouterr().out
    assert report(asked(output, run="a", json=True)) == 0
    assert json.loads(capsys.readouterr().out)["run"]["done"] == 4
    assert report(asked(output, run="a", failures=tmp_path / "failures.csv")) == 0
    assert "0 failed scans written" in capsys.readouterr().out
    for wanted, words in (("c", "no run is called 'c'"), ("s", "2 runs are called 's'"), ("b/x", "no run is")):
        with pytest.raises(SettingsError, match=words):
            report(asked(output, run=wanted))


def test_a_check_is_of_what_lies_there_or_of_a_run(tmp_path, capsys):
    output = str(tmp_path / "out")

    def done(data: bytes, **more) -> dict:
        storage.write(f"{output}/1.tif", data)
        digest = hashlib.sha256(data).hexdigest()
        return ledger_row(1, output_uri=f"{output}/1.tif", output_sha256=digest, **more) | {"output_size": len(data)}

    ledger.append(output, [done(b"first", digest="a" * 64, finished_at=NOON)])
    ledger.append(output, [done(b"other")])
    assert report(asked(output, check=True)) == report(asked(output, check=True, run="bb")) == ExitCode.DONE
    assert report(asked(output, check=True, run="aa")) == ExitCode.FINDINGS
    assert "contents:" in capsys.readouterr().out
    storage.write(f"{output}/1.tif", b"first")
    assert report(asked(output, check=True)) == ExitCode.FINDINGS


# --- colours that people chose ----------------------------------------------------------------------------------------


@pytest.fixture
def steered(tmp_path) -> str:
    """Four pictures of which two have hints, each with a digest of its own; a third had some, and has none any more."""
    output = str(tmp_path / "out")
    hints = [Hint(3, 4, "#a04020", by="M. [bold]Rossi"), Hint(1, 1, (1, -2), by="B\x1b[2J")]

    def row(number: int, chosen: list[Hint], **more) -> dict:
        told = {"hints": to_json(chosen), "hints_by": people(chosen), "strength": 1.25} if chosen else {"strength": 1.0}
        own = {"settings_digest": f"{number}" * 64, "run_digest": "s" * 64} if chosen else {}
        key = {"key": f"{number}.tif", "output_uri": f"{output}/{number}.tif"}
        return ledger_row(number, **key, **told, **own, **more)

    ledger.append(output, [row(1, hints), row(2, []), row(3, hints[:1]), row(4, hints)])
    ledger.append(output, [row(4, [], finished_at=NOON + timedelta(hours=1))])
    return output


def test_scans_with_hints_are_of_the_run_that_they_were_done_in(steered, tmp_path, capsys):
    summary = summarize(steered, tmp_path)
    (run,) = summary.runs
    assert (run.settings_digest, run.rows, run.done, summary.hinted) == ("s" * 64, 5, 4, 2)
    assert report(asked(steered)) == 0
    assert "people chose colours in 2 of them" in capsys.readouterr().out


def test_who_chose_colours_is_listed(steered, capsys):
    assert report(asked(steered, hinted=True)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "   2  strength 1.25  1.tif  by B\\x1b[2J; M. [bold]Rossi",
        "   1  strength 1.25  3.tif  by M. [bold]Rossi",
    ]
    assert report(asked(steered, hinted=True, json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["key"] for each in found] == ["1.tif", "3.tif"]
    assert found[1] == {
        "key": "3.tif",
        "hints": [{"x": 3, "y": 4, "color": "#a04020", "by": "M. [bold]Rossi"}],
        "by": "M. [bold]Rossi",
        "strength": 1.25,
    }


def test_without_hints_the_list_says_so_and_two_questions_are_one_too_many(output, capsys):
    assert report(asked(output, hinted=True)) == 0
    assert capsys.readouterr().out == "people chose no colours in the latest run\n"
    with pytest.raises(SettingsError, match="hinted and check are two questions"):
        asked(output, hinted=True, check=True)
