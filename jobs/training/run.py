"""A training run: its recipe, its data, its places, and how far it has come."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.fs
import ray.train
import torch

from colornet.datasets.collection import Collection
from colornet.datasets.plan import GROUP, Plan, shares_drawn
from colornet.errors import ColornetError, NotFoundError, SettingsError, TrainingError, one_line
from colornet.storage import Storage, storage_errors, uris
from colornet.training.recipe import Recipe

from ..ray_private import UNREADABLE_CHECKPOINTS, checkpoint_place

CHECKPOINT = "training.pt"
"""The file of a checkpoint that holds the trainer's state; `random-RANK.pt` beside it hold those of the workers."""


@dataclass(frozen=True)
class Position:
    """Where the workers stand in the stream of a stage.

    Groups of photographs are dealt out to the workers in turn. All workers have used up equally many photographs, so
    one number says it for all.
    """

    stage: int = 0
    """Number of the stage, from 0."""
    group: int = 0
    """The group that the first worker goes on with; the next ones go to the workers after it."""
    row: int = 0
    """How many photographs of its group each worker has used up."""

    def after(self, photographs: int, workers: int) -> "Position":
        """Return the position after each of so many workers has used up so many more photographs."""
        rounds, row = divmod(self.row + photographs, GROUP)
        return Position(self.stage, self.group + rounds * workers, row)


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run and its places. Can be pickled."""

    recipe: Recipe
    data: Collection
    data_uri: str
    output: str
    """Folder or s3:// prefix of the bundle, the report and the checkpoints."""
    name: str
    most_workers: int
    """How many processes train at most."""
    storage: Storage = Storage()
    """With what every process reaches data and output."""

    @property
    def uri(self) -> str:
        """Where Ray Train keeps the run's checkpoints."""
        return uris.join(self.output, "_training", self.name)

    def plan(self, number: int) -> Plan:
        """Return the order in which a stage, numbered from 0, reads its photographs."""
        return Plan(self.data.train, self.recipe.seed + number)

    def describe_data(self, position: Position) -> dict[str, object]:
        """Return where the photographs are from, how many, and their licences, for the bundle and the report.

        Where they are drawn by weights, the shares that were really drawn until the workers stood at `position` are
        there, too. Of a local path only the last folder: elsewhere the rest says nothing, and it may name people.
        """
        where = self.data_uri if uris.is_s3(self.data_uri) else Path(self.data_uri).name
        drawn = shares_drawn(self.data.train, self._read(position)) if self.recipe.sampling.columns else {}
        return {"uri": where, **self.data.summary()} | ({"shares_drawn": drawn} if drawn else {})

    def _read(self, position: Position) -> Iterator[tuple[Plan, int]]:
        for number, stage in enumerate(self.recipe.stages[: position.stage]):
            yield self.plan(number), stage.steps * stage.photographs_per_step(self.most_workers)
        yield self.plan(position.stage), position.group * GROUP + position.row

    def report_uri(self, *names: str) -> str:
        """Where a file of the report lies."""
        return uris.join(self.output, "report", *names)

    def note_recipe(self) -> None:
        """Keep the recipe beside the checkpoints; `SettingsError` if the run was begun with another one."""
        place, now = uris.join(self.uri, "recipe.json"), self.recipe.to_dict()
        before = _read_json(place, self.storage)
        if before is None:
            self.storage.write(place, (json.dumps(now, indent=2) + "\n").encode(), "application/json")
        elif before != now:
            changed = ", ".join(f"{key} was {value!r}" for key, value in _changes(before, now))
            raise SettingsError(
                f"the run {self.name!r} in {self.output} has another recipe ({changed}): "
                "give another --name or --output"
            )

    def check_place(self) -> None:
        """On a worker: raise `TrainingError` if this machine does not see the driver's place for checkpoints."""
        if not self.storage.exists(uris.join(self.uri, "recipe.json")):
            raise TrainingError(f"{self.uri} is not the same on all machines: use s3:// or a shared folder as --output")

    def upload_checkpoint(self, checkpoint: ray.train.Checkpoint, name: str) -> ray.train.Checkpoint:
        """Upload a worker's files of a checkpoint, for `ray.train.report`; `StorageError` if that fails.

        Ray's own way goes through Arrow, which sends no checksums, and knows nothing of what a bucket's owner wants.
        """
        for file in Path(checkpoint.path).iterdir():
            self.storage.write(uris.join(self.uri, name, file.name), file.read_bytes())
        filesystem, path = self.place()
        return checkpoint_place(filesystem, f"{path}/{self.name}", name)

    def read_checkpoint(self, checkpoint: ray.train.Checkpoint, file: str) -> bytes:
        """Read a file of a checkpoint; `StorageError`, `NotFoundError` if there is no such file."""
        return self.storage.read(uris.join(self.uri, PurePosixPath(checkpoint.path).name, file)).data

    def best_checkpoint(self, measure: str | None) -> ray.train.Checkpoint:
        """Return the kept checkpoint with the best psnr or held_out_error, or the last one. Needs no Ray."""
        result = self._result()
        if measure is None:
            return result.checkpoint
        best = max if measure == "psnr" else min
        checkpoint, _ = best(result.best_checkpoints, key=lambda kept: kept[1][measure])
        return checkpoint

    def place(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Return the file system and the folder in it where Ray Train keeps all runs of this output."""
        filesystem, path = self.storage.arrow_filesystem(uris.join(self.output, "_training"))
        return filesystem if uris.is_s3(self.output) else WholeFiles(), path

    def last_checkpoint(self) -> tuple[ray.train.Checkpoint | None, dict[str, Any]]:
        """Return the last checkpoint and what was measured at it, or None and nothing. Needs no Ray."""
        try:
            result = self._result()
        except RuntimeError:  # there is no run yet, or nothing that has been reported
            return None, {}
        return result.checkpoint, result.metrics or {}

    def _result(self) -> Any:
        filesystem, path = self.storage.arrow_filesystem(self.uri)
        try:
            with storage_errors(self.uri):
                return ray.train.Result.from_path(path, storage_filesystem=filesystem)
        except (ColornetError, RuntimeError):
            raise
        except UNREADABLE_CHECKPOINTS as error:
            reason = one_line(error)
            raise TrainingError(f"{self.uri}: its checkpoints cannot be read: {reason}") from error

    def position(self) -> Position:
        """Where the workers stood at the last checkpoint."""
        _, metrics = self.last_checkpoint()
        return Position(**metrics["position"]) if metrics else Position()


class WholeFiles(pyarrow.fs.LocalFileSystem):
    """Arrow's file system of this machine, whose new files take the place of old ones when they are whole.

    Ray Train writes its list of checkpoints anew after each. As it is, one that was killed meanwhile would leave half a
    list, and the run could not go on.
    """

    def open_output_stream(self, path: str, *_arguments: Any, **_options: Any) -> io.BytesIO:
        """Return what writes the file when it is closed; it must fit into memory."""
        return _WholeFile(path)

    def __reduce__(self) -> Any:
        """Arrow's own would restore one of Arrow's."""
        return WholeFiles, ()


class _WholeFile(io.BytesIO):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def close(self) -> None:
        if not self.closed:
            Storage().write(self._path, self.getvalue())
        super().close()


def load(data: bytes, device: torch.device) -> Any:
    """Load what `torch.save` has written; plain data and tensors only."""
    return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


def _read_json(uri: str, storage: Storage) -> Any:
    try:
        return json.loads(storage.read(uri).data)
    except NotFoundError:
        return None
    except ValueError as error:
        raise SettingsError(f"{uri} cannot be understood: {error}") from error


def _changes(before: Any, now: Any, place: str = "") -> list[tuple[str, Any]]:
    """List the innermost fields of plain data that have another value now, and the value before."""
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(f"{place}.{key}".lstrip("."), before.get(key), now.get(key)) for key in {**now, **before}]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{place}.{number}", *each) for number, each in enumerate(zip(before, now, strict=True))]
    else:
        return [] if before == now else [(place, before)]
    return [change for name, old, new in pairs for change in _changes(old, new, name)]
