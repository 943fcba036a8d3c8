"""Files of settings: what --config takes, what flags override, and what is wrong with a file."""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import tyro

from colornet.cli.command import Command, is_quiet
from colornet.errors import ColornetError, ExitCode, SettingsError
from colornet.settings import Field, read_file, settings
from jobs.colorize import main as colorize
from jobs.progress import JobProgress
from jobs.train import main as train


@settings
class Inner:
    """A group of settings."""

    grain: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Grain."""
    sizes: tuple[int, ...] = (1, 2)
    """Sizes."""


@dataclass(frozen=True, kw_only=True)
class Outer:
    """Settings with what must be given, by the file or by flags."""

    source: tyro.conf.Positional[str]
    """Source."""
    held_out: float = 0.1
    """Held out."""
    plan: bool = False
    """Plan."""
    inner: Inner = field(default_factory=Inner)
    """Inner."""


def parse(*arguments: str) -> Outer:
    command = Command(settings=Outer, run=lambda _: ExitCode.DONE, description="", program="outer")
    return command.parse(list(arguments), "outer").settings


def write(folder: Path, text: str, name: str = "settings.toml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_gives_what_flags_do_not(tmp_path):
    file = write(tmp_path, 'source = "a"\nheld-out = 0.25\nplan = true\n[inner]\nsizes = [4, 5]\n')
    assert parse("--config", file) == Outer(source="a", held_out=0.25, plan=True, inner=Inner(sizes=(4, 5)))
    flags = ("--no-plan", "--held-out", "0.5", "--sizes", "7", "--grain", "0.125")
    assert parse(*flags, f"--config={file}", "b") == Outer(
        source="b", held_out=0.5, inner=Inner(sizes=(7,), grain=0.125)
    )


def test_json_says_the_same_as_toml(tmp_path):
    text = 'source = "a"\n[inner]\nsizes = [4, 5]\n'
    as_json = write(tmp_path, json.dumps(tomllib.loads(text)), "settings.json")
    assert parse("--config", as_json) == parse("--config", write(tmp_path, text))


def test_without_a_file_what_is_required_must_be_given(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--config", write(tmp_path, "plan = true\n"))
    assert ended.value.code == 2 and "STR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("held-in = 1\n", "there is no setting held_in; there are held_out, inner, plan, source"),
        ("[inner]\ngrian = 1\n", "there is no setting inner.grian; there are grain, sizes"),
        ("[inner]\ngrain = 2.0\n", "grain should be less than or equal to 1"),
        ('[inner]\ngrain = "much"\n', "inner.grain should be a valid number"),
        ("[inner]\nsizes = [1, 2.5]\n", "inner.sizes.1 should be a valid integer"),
        ('held-out = "much"\n', "held_out should be a valid number"),
        ("held-out = 2026-01-01\n", "held_out must not be datetime.date"),
        ("held-out = \n", "settings.toml: Invalid value"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_by_its_name(tmp_path, text, words):
    with pytest.raises(SettingsError, match=r"settings\.toml: ") as error:
        parse("a", "--config", write(tmp_path, text))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("settings.yaml", b"a: 1", "is .toml or .json, not .yaml"),
        ("settings.json", b"[1, 2]", "not a table of settings"),
        ("settings.json", b"{", "Expecting property name"),
        ("settings.toml", b"\xff", "not text in UTF-8"),
    ],
)
def test_files_that_cannot_be_understood(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=words):
        read_file(str(tmp_path / name))
    with pytest.raises(SettingsError, match="No such file"):
        read_file(str(tmp_path / "nowhere.toml"))


def test_a_job_takes_all_its_settings_from_a_file(tmp_path):
    text = 'input = "scans"\noutput = "colour"\nmin-workers = 2\n[render]\nquality = 80\n[s3]\npath-style = true\n'
    line = colorize.parse(["--config", write(tmp_path, text), "--quality", "70"], "colornet colorize")
    assert (line.settings.input, line.settings.output, line.settings.min_workers) == ("scans", "colour", 2)
    assert line.settings.render.quality == 70 and line.settings.s3.path_style


def test_a_training_takes_a_recipe_by_name_and_changes_it(tmp_path):
    text = 'data = "shards"\noutput = "bundle"\nrecipe = "laptop"\n[workers]\nnum-workers = 2\n'
    plain = train.parse(["--data", "shards", "--output", "bundle", "--recipe", "laptop"], "colornet train")
    line = train.parse(["--config", write(tmp_path, text), "--generator.width", "8"], "colornet train")
    assert (line.settings.workers.num_workers, line.settings.recipe.name) == (2, "laptop")
    assert line.settings.recipe.stages == plain.settings.recipe.stages
    assert line.settings.recipe.generator.width == 8 != plain.settings.recipe.generator.width


def test_quiet_prints_nothing_but_what_goes_wrong(capsys):
    def work(_: Outer) -> ExitCode:
        print("done")
        assert is_quiet()
        raise ColornetError("what was wrong")

    command = Command(settings=Outer, run=work, description="", program="outer")
    with pytest.raises(SystemExit) as ended:
        command(["a", "--quiet"])
    assert ended.value.code == ExitCode.FAILED and not is_quiet()
    assert capsys.readouterr() == ("", "error: what was wrong\n")


def test_quiet_shows_no_progress(capsys):
    def work(_: Outer) -> ExitCode:
        with JobProgress(2, "scans") as progress:
            progress.advance(2)
        return ExitCode.DONE

    command = Command(settings=Outer, run=work, description="", program="outer")
    for flags, said in (([], "2/2 scans"), (["--quiet"], "")):
        with pytest.raises(SystemExit) as ended:
            command(["a", *flags])
        assert ended.value.code == ExitCode.DONE
        found = capsys.readouterr().err
        assert said in found and bool(found) == bool(said)


def test_verbose_says_where_an_error_comes_from(capsys):
    def work(_: Outer) -> ExitCode:
        raise ColornetError("what was wrong")

    command = Command(settings=Outer, run=work, description="", program="outer")
    with pytest.raises(SystemExit):
        command(["a", "--verbose"])
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and __file__ in said and said.endswith("error: what was wrong\n")
