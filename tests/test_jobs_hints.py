"""jobs.colorize with a table of hints: what is done again, what goes on record, and what is refused before any work."""

import json
from pathlib import Path

import numpy as np
import pytest

from colornet.archive import ledger
from colornet.errors import ColornetError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.networks import build_generator
from colornet.rendering.render import RenderSettings
from colornet.storage import Storage, uris
from jobs.colorize import colorize
from jobs.colorizing.settings import ColorizeSettings, PlanSettings
from tests import exiftool, hinted, pictures

storage = Storage()
HEADER = "source,x,y,color,strength,by,note\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    place = str(tmp_path_factory.mktemp("bundle"))
    hinted.save(place)
    return place


def write_scans(folder: str, count: int) -> None:
    """Gray halves: what a hint in the upper one says does not reach the lower one."""
    for number in range(count):
        picture = np.full((64, 48), 60, np.uint8)
        picture[:32] = 180 + number
        storage.write(uris.join(folder, f"box/{number}.png"), pictures.encoded(picture, "PNG"))


def write_hints(folder: Path, lines: str) -> str:
    place = folder / "hints.csv"
    place.write_text(HEADER + lines)
    return str(place)


def done(output: str) -> list[str]:
    """The keys of all rows so far, in the order in which they were finished."""
    rows = ledger.read(output).sort_by("finished_at").to_pylist()
    assert {row["status"] for row in rows} <= {"done"}
    return [row["key"] for row in rows]


@exiftool.needed
def test_scans_are_done_again_when_their_hints_change_and_all_of_it_goes_on_record(ray_local, tmp_path, model, capsys):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 4)
    places = {"input": source, "output": output, "model": model, "max_workers": 1}
    settings = ColorizeSettings(**places)
    assert colorize(settings) == 0
    assert sorted(done(output)) == [f"box/{number}.png" for number in range(4)]

    red = f'box/1.png,20,10,#c02020,0,"M. Rossi <m@x>","=cmd()"\n{source}/box/1.png,30,50,"ab(0, -40)",,B,\n'
    steered = ColorizeSettings(**places, hints=write_hints(tmp_path, red), predictors=1)
    capsys.readouterr()
    assert colorize(ColorizeSettings(**places, hints=steered.hints, reckoning=PlanSettings(plan=True))) == 0
    assert "with hints: 1 scans, 1 of them to do" in capsys.readouterr().out
    assert colorize(steered) == 0
    assert "1 of them with colours that people chose" in capsys.readouterr().out
    assert done(output)[4:] == ["box/1.png"]

    data = storage.read(uris.join(output, "box/1.png")).data
    pixels = pictures.decoded(data).astype(int)
    assert pixels[10, 20, 0] > pixels[10, 20, 2] + 60 and pixels[50, 30, 2] > pixels[50, 30, 0] + 20
    found = exiftool.read(data, tmp_path / "read.png")
    first, second = found["XMP-colornet:Hints"]
    assert first == {"By": "M. Rossi <m@x>", "Color": "#c02020", "Note": "=cmd()", "X": 20, "Y": 10}
    assert second == {"By": "B", "Color": "ab(0, -40)", "X": 30, "Y": 50}
    assert found["XMP-colornet:Strength"] == 0
    (event,) = found["XMP-xmpMM:History"]
    assert event["Parameters"].endswith("; colours at 2 places chosen by B; M. Rossi <m@x>")
    row = ledger.read(output).sort_by("finished_at").to_pylist()[-1]
    assert (row["hints_by"], row["strength"]) == ("B; M. Rossi <m@x>", 0)
    assert json.loads(row["hints"])[0]["note"] == "=cmd()"
    assert row["settings_digest"] != row["run_digest"] == RenderSettings(size=32).digest
    assert f"settings {row['settings_digest']}" in event["Parameters"]
    summary = json.loads((Path(output) / "_colornet" / "summary.json").read_text())
    assert (summary["done"], summary["hinted"], summary["tried"]) == (4, 1, 1)

    colorize(steered)  # the same command again
    colorize(settings)  # and without the table: what people chose stays
    assert len(done(output)) == 5
    more = write_hints(tmp_path, red + "box/3.png,1,1,#000000,,,\n")
    colorize(ColorizeSettings(**places, hints=more))
    assert done(output)[5:] == ["box/3.png"]
    colorize(ColorizeSettings(**places, hints=write_hints(tmp_path, "box/3.png,1,1,#000000,,,\n")))
    assert done(output)[6:] == ["box/1.png"]
    assert b"colornet:Hints" not in storage.read(uris.join(output, "box/1.png")).data


@pytest.mark.parametrize(
    ("lines", "options", "words"),
    [
        ("box/9.png,1,1,#000000,,,\n", {}, "hints.csv: row 1: unknown source: the input has no scan 'box/9.png'"),
        ("box/0.png,1,1,black,,,\n", {}, r"hints.csv: row 1: hint: the hint at \(1, 1\): color must be .* not 'black'"),
        ("box/0.png,1,1,#000000,3,,\n", {}, "hints.csv: row 1: strength: strength should be less than or equal to 2"),
        ("", {"hints": "{tmp}/none.csv"}, "there are no hints at .*none.csv"),
        ("", {"model": "{tmp}/plain"}, "the bundle .*plain takes no hints"),
    ],
)
def test_what_is_wrong_with_hints_is_named_before_any_work(tmp_path, model, lines, options, words):
    source, output = str(tmp_path / "in"), str(tmp_path / "out")
    write_scans(source, 1)
    plain = Bundle(
        generator=build_generator("unet", {"width": 2}), network="unet", settings={"width": 2}, image_size=32
    )
    bundles.save(plain, str(tmp_path / "plain"))
    places = {"input": source, "output": output, "model": model, "hints": write_hints(tmp_path, lines)}
    places |= {name: value.format(tmp=tmp_path) for name, value in options.items()}
    with pytest.raises(ColornetError, match=words) as caught:
        colorize(ColorizeSettings(**places))
    assert caught.value.exit_code == 2
    assert not list(tmp_path.rglob("*.parquet"))
