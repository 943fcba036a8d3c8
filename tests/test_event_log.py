"""A run's events at its output: appended to in a folder, whole objects on S3, a new file when the run goes on."""

from pathlib import Path

import pytest

from colornet.errors import StorageError
from colornet.storage import Storage
from colornet.training.report.events import EventLog
from tests.test_report import flat, read_events, run


def panel_uri(folder: str, epoch: int) -> str:
    return f"{folder}/panel-{epoch}.png"


def train(folder: str, first: int, last: int, psnr: float) -> None:
    """Run epochs, after a checkpoint of the one before the first."""
    log = EventLog(Storage(), f"{folder}/tensorboard")
    for epoch in range(first, last + 1):
        Storage().write(panel_uri(folder, epoch), flat(epoch))
        log.add(run(epoch, psnr=psnr), flat(epoch), panel_uri(folder, epoch - 1))
    log.close()


def fetched(folder: str, place: Path) -> Path:
    place.mkdir()
    for file in Storage().listing(f"{folder}/tensorboard"):
        (place / file.key).write_bytes(Storage().read(file.uri).data)
    return place


@pytest.mark.parametrize("where", ["local", "s3"])
def test_a_run_that_went_on_has_each_epoch_once(where, tmp_path, request):
    folder = request.getfixturevalue("s3") if where == "s3" else str(tmp_path / "report")
    train(folder, 1, 12, psnr=20.0)
    train(folder, 11, 13, psnr=30.0)
    seen = fetched(folder, tmp_path / "seen")
    assert sorted(file.name for file in seen.iterdir()) == [f"events.out.tfevents.0000{n}.colornet" for n in (0, 1)]
    read = read_events(seen).Reload()
    points = [(each.step, each.value) for each in read.Scalars("held_out/psnr")]
    assert points == [(100 * epoch, 20 if epoch < 10 else 30) for epoch in range(1, 14)]
    assert [each.step for each in read.Images("held_out_photographs")] == [100, 1000]


def test_every_epoch_is_at_the_output_before_the_next(s3, tmp_path):
    log = EventLog(Storage(), f"{s3}/tensorboard")
    for epoch in (1, 2):
        log.add(run(epoch), None, panel_uri(s3, epoch - 1))
        read = read_events(fetched(s3, tmp_path / str(epoch))).Reload()
        assert [each.step for each in read.Scalars("held_out/psnr")] == [100, 200][:epoch]
    log.close()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "report").write_bytes(b"a file")
    with pytest.raises(StorageError, match="report/tensorboard"):
        EventLog(Storage(), str(tmp_path / "report" / "tensorboard")).add(run(1), None, "")
