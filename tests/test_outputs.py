"""jobs.colorize without Ray: whose pictures an output holds, and what of an input is none."""

import json
from pathlib import Path

import pytest

from colornet.archive.audit import audit
from colornet.archive.plan import ColorizePlan
from colornet.archive.selection import Selection
from colornet.archive.task import ColorizeTask
from colornet.archive.worker import ColorizeWorker
from colornet.errors import SettingsError
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage, uris
from jobs import colorize as job
from jobs.colorize import colorize
from jobs.colorizing.settings import PlanSettings
from tests import pictures
from tests.test_jobs_colorize import model, pictures_in, rows_of, settings, write_scans

__all__ = ["model"]  # a fixture

storage = Storage()


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the job work in this process."""

    def work_off(plan: ColorizePlan, task: ColorizeTask, *_: object) -> None:
        worker = ColorizeWorker(task)
        for batch in plan.batches(10):
            worker(batch)

    monkeypatch.setattr(job, "start_ray", lambda **_: None)
    monkeypatch.setattr(job, "work_off", work_off)


def test_an_output_holds_the_pictures_of_one_run_unless_told_otherwise(tmp_path, model, capsys):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 6)
    other = {"render": RenderSettings(quality=80), "select": Selection(sample=2)}
    colorize(settings(source, output, model))
    before = pictures_in(output)
    with pytest.raises(SettingsError, match=rf"{output} holds 6 pictures of another run \(bundle .*--replace"):
        colorize(settings(source, output, model, **other))
    capsys.readouterr()
    colorize(settings(source, output, model, reckoning=PlanSettings(plan=True), **other))
    said = capsys.readouterr().out
    assert "holds 6 pictures of another run" in said and "--replace" in said and "part of the input" in said
    assert pictures_in(output) == before
    colorize(settings(source, output, model, **other, replace=True))
    assert "part of the input" in capsys.readouterr().out
    assert audit(output) == []
    with pytest.raises(SettingsError, match="holds 2 pictures of another run"):
        colorize(settings(source, output, model))
    colorize(settings(source, output, model, replace=True))
    assert "4 finished before, 2 to do" in capsys.readouterr().out
    assert pictures_in(output) == before
    colorize(settings(source, output, model))  # all is of one run again
    assert audit(output) == []


def test_what_the_check_finds_is_done_again_and_nothing_else(tmp_path, model, capsys):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 6)
    colorize(settings(source, output, model))
    before = pictures_in(output)
    gone, changed = sorted(before)[:2]
    storage.delete(uris.join(output, gone))
    storage.write(uris.join(output, changed), b"changed")
    storage.write(uris.join(output, "stray.jpg"), b"stray")
    assert [found.kind for found in audit(output)] == ["gone", "size", "stray"]
    capsys.readouterr()
    colorize(settings(source, output, model))
    assert "0 to do" in capsys.readouterr().out
    colorize(settings(source, output, model, repair=True))
    said = capsys.readouterr().out
    assert "2 to do" in said and "1 things that this does not mend" in said
    assert pictures_in(output) == {**before, "stray.jpg": b"stray"}
    assert [found.kind for found in audit(output)] == ["stray"] and rows_of(output).num_rows == 8


def test_what_is_left_out_is_said_and_in_the_summary(tmp_path, model, capsys):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 2)
    (Path(source) / ".hidden").write_bytes(b"1")
    (Path(source) / "twice").symlink_to("box 0")
    for planned in (True, False):
        colorize(settings(source, output, model, reckoning=PlanSettings(plan=planned)))
        said = capsys.readouterr().out
        assert "besides, 1 hidden files and folders" in said and "1 links to folders" in said
    summary = json.loads((Path(output) / "_colornet" / "summary.json").read_text())
    assert sum(summary["left_out"].values()) == 2


def test_two_sources_with_one_output_are_refused_before_work(tmp_path, model):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    for name in ("a.tif", "a.tif.jpg"):
        storage.write(uris.join(source, name), pictures.encoded(pictures.gray(30, 40), "TIFF"))
    with pytest.raises(SettingsError, match=r"a\.tif and .*a\.tif\.jpg may have the same output"):
        colorize(settings(source, output, model, render=RenderSettings(output_format="jpeg")))
    assert rows_of(output).num_rows == 0


def test_what_lies_beside_scans_is_skipped_and_finished(tmp_path, model, capsys):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    picture = pictures.encoded(pictures.gray(30, 40), "JPEG")
    for name in ("Thumbs.db", "notes.txt", "sub/desktop.ini", "a.jpg.xmp", "checksums.md5", "empty.txt"):
        storage.write(uris.join(source, name), b"" if "empty" in name else b"not a picture")
    storage.write(uris.join(source, "a.jpg"), picture)
    storage.write(uris.join(source, "picture.txt"), picture)  # wrongly called
    storage.write(uris.join(source, "damaged.jpg"), b"not a picture")
    assert colorize(settings(source, output, model, fail_on_errors=True)) == 3
    rows = rows_of(output).to_pylist()
    assert {row["key"] for row in rows if row["status"] == "done"} == {"a.jpg", "picture.txt"}
    assert {row["key"] for row in rows if row["status"] == "failed"} == {"damaged.jpg"}
    assert {(row["status"], row["reason"]) for row in rows if row["error"] == "NotAPictureError"} == {
        ("skipped", "not a picture")
    }
    storage.delete(uris.join(source, "damaged.jpg"))
    capsys.readouterr()
    assert colorize(settings(source, output, model, fail_on_errors=True)) == 0
    assert "8 finished before, 0 to do" in capsys.readouterr().out
