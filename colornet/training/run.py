"""A training run as every process sees it: its recipe, its data and its places; and what it leaves."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from colornet.datasets.collection import Collection
from colornet.datasets.dealing import Position
from colornet.datasets.plan import GROUP, Plan, shares_drawn
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.storage import Storage, uris
from colornet.training import same_run
from colornet.training.gan import build_inference_generator
from colornet.training.recipe import Recipe
from colornet.training.start import Start


@dataclass(frozen=True, kw_only=True)
class TrainingRun(ABC):
    """A run and its places. Can be pickled."""

    recipe: Recipe
    data: Collection
    data_uri: str
    output: str
    """Folder or s3:// prefix of the bundle, the report and the checkpoints."""
    name: str
    most_workers: int = 1
    """How many processes train at most."""
    storage: Storage = Storage()
    """With what every process reaches data and output."""
    start: Start | None = None
    """The bundle that the generator's first weights are from; new weights, unless given."""

    @property
    @abstractmethod
    def uri(self) -> str:
        """Where the run's checkpoints are."""

    def plan(self, number: int) -> Plan:
        """Return the order in which a stage, numbered from 0, reads its photographs."""
        return Plan(self.data.train, self.recipe.seed + number)

    def describe(self, position: Position) -> dict[str, Any]:
        """Return what the report says of the run beside its numbers, when the workers stand at `position`."""
        started = {} if self.start is None else {"started_from": self.start.describe()}
        about = {"name": self.name, "recipe": self.recipe.to_dict(), "data": self.describe_data(position)}
        return about | started

    def describe_data(self, position: Position) -> dict[str, object]:
        """Return where the photographs are from, how many, and their licences, for the bundle and the report.

        Where they are drawn by weights, the shares that were really drawn until the workers stood at `position` are
        there, too. Of a local path only the last folder: elsewhere the rest says nothing, and it may name people.
        """
        where = self.data_uri if uris.is_s3(self.data_uri) else Path(self.data_uri).name
        drawn = shares_drawn(self.data.train, self._read(position)) if self.recipe.sampling.columns else {}
        return {"uri": where, **self.data.summary()} | ({"shares_drawn": drawn} if drawn else {})

    def report_uri(self, *names: str) -> str:
        """Where a file of the report lies."""
        return uris.join(self.output, "report", *names)

    def note_recipe(self) -> None:
        """Keep the recipe, and where the run starts, beside the checkpoints; see `same_run.note`."""
        same_run.note(self.recipe, self.start, self.uri, self.storage)

    def save_bundle(self, state: dict[str, Any], *, half: bool) -> str:
        """Save the bundle, and return its digest.

        Args:
            state: of a checkpoint: `trainer`, what `Trainer.state_dict` has returned, and `position`, the fields of the
                workers' `Position`.
            half: store the weights as float16.

        Raises:
            StorageError: if the output cannot be written to.
        """
        gan, history = state["trainer"]["gan"], state["trainer"]["history"]
        made = Bundle(
            generator=build_inference_generator(self.recipe, gan),
            network=self.recipe.generator.network,
            settings=self.recipe.generator.settings,
            image_size=self.recipe.image_size,
            recipe=self.recipe.to_dict(),
            data=self.describe_data(Position(**state["position"])),
            metrics=history[-1] if history else {},
            started_from={} if self.start is None else self.start.describe(),
        )
        return bundles.save(made, self.output, self.storage, dtype=torch.float16 if half else torch.float32)

    def _read(self, position: Position) -> Iterator[tuple[Plan, int]]:
        for number, stage in enumerate(self.recipe.stages[: position.stage]):
            yield self.plan(number), stage.steps * stage.photographs_per_step(self.most_workers)
        yield self.plan(position.stage), position.group * GROUP + position.row
