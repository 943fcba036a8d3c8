"""What each choice in a recipe is worth: one short training for each, with that choice changed, and what comes of it.

    python -m benchmarks.choices --data shards/
    python -m benchmarks.choices --data shards/ --only "as it is" "no degradation" --photographs 25600

All start from the recipe `laptop` and see the same photographs in the same order, on one core, without Ray. OUTPUT
keeps the bundles: those that are there already are not trained again. They are measured on the held-out photographs, as
jobs.evaluate does it.
"""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import tyro
from rich.console import Console
from rich.table import Table
from torch import Tensor

from colornet.datasets import collection, photographs
from colornet.datasets.collection import Collection
from colornet.datasets.plan import Plan
from colornet.errors import ColornetError, SettingsError
from colornet.evaluation import photographs as evaluated
from colornet.evaluation.measure import EvaluationTask, Measure, find_models
from colornet.evaluation.reference import reference_of
from colornet.evaluation.summary import summarize
from colornet.inference import bundle as bundles
from colornet.inference.bundle import Bundle
from colornet.storage import Storage, uris
from colornet.training import presets
from colornet.training.build import build_trainer
from colornet.training.degradation import DEGRADATIONS
from colornet.training.recipe import BOTH, Recipe


@dataclass(frozen=True, kw_only=True)
class BenchmarkSettings:
    """The settings of benchmarks.choices."""

    data: str
    """Folder of shards, as jobs.prepare writes them."""
    output: str = ".choices"
    """Folder for the bundles."""
    photographs: int = 6400
    """How many photographs each is trained on."""
    only: tuple[str, ...] = ()
    """Train these variants only; all, unless given. What is in OUTPUT is measured anyway."""


def _with_stage(recipe: Recipe, **stage: Any) -> Recipe:
    return replace(recipe, stages=(replace(recipe.stages[0], **stage),))


def _with_generator(recipe: Recipe, **generator: Any) -> Recipe:
    return replace(recipe, generator=replace(recipe.generator, **generator))


def _with_adversary(recipe: Recipe) -> Recipe:
    """Let the last fifth of the steps be the adversarial stage of the recipe `standard`, after its pre-training."""
    (colour,) = recipe.stages
    steps = colour.steps_per_epoch // 5
    after = [
        replace(stage, epochs=1, steps_per_epoch=steps, image_size=colour.image_size, batch_size=colour.batch_size)
        for stage in presets.preset("standard").stages[1:]
    ]
    return replace(recipe, stages=(replace(colour, steps_per_epoch=colour.steps_per_epoch - steps), *after))


VARIANTS: Mapping[str, Callable[[Recipe], Recipe]] = {
    "as it is": lambda recipe: recipe,
    "saturated pixels weigh up to four times": lambda recipe: _with_stage(recipe, vividness=3.0),
    "all pixels weigh the same": lambda recipe: _with_stage(recipe, vividness=0.0),
    "lines beyond 10 units": lambda recipe: _with_stage(recipe, reconstruction_beta=10.0, reconstruction_weight=2.4),
    "regression alone": lambda recipe: _with_generator(_with_stage(recipe, distribution_weight=0.0), head="ab"),
    "rebalanced cross-entropy alone": lambda recipe: _with_stage(
        replace(recipe, rebalancing=0.5), distribution_weight=1.0, reconstruction_weight=0.0
    ),
    "photographs drawn as archives hold them": lambda recipe: replace(
        recipe, sampling=presets.preset("shipped").sampling
    ),
    "no nearly gray crops": lambda recipe: replace(recipe, nearly_gray_kept=0.0),
    "crops of at least three quarters": lambda recipe: _with_stage(recipe, min_crop_scale=0.75),
    "no context": lambda recipe: _with_generator(recipe, context=False),
    "no hints": lambda recipe: _with_generator(recipe, hints=False),
    "width 48": lambda recipe: _with_generator(recipe, width=48),
    "no pretrained encoder": lambda recipe: _with_generator(
        _with_stage(recipe, encoder_lr_scale=1.0), encoder_weights="none"
    ),
    "encoder at the full step": lambda recipe: _with_stage(recipe, encoder_lr_scale=1.0),
    "encoder at a tenth of it": lambda recipe: _with_stage(recipe, encoder_lr_scale=0.1),
    "a gentle adversary for the last fifth": _with_adversary,
    "an adversary from the start": lambda recipe: _with_stage(
        recipe, trains=BOTH, adversarial="hinge", adversarial_weight=0.05, discriminator_learning_rate=4e-4
    ),
    "no degradation": lambda recipe: replace(recipe, degradation=DEGRADATIONS["none"]),
    "degradation of a mixed archive": lambda recipe: replace(recipe, degradation=DEGRADATIONS["archive"]),
}
"""What is changed in the recipe, by a name."""


def benchmark(settings: BenchmarkSettings) -> int:
    """Train, measure, and print a table."""
    unknown = ", ".join(repr(name) for name in settings.only if name not in VARIANTS)
    if unknown:
        raise SettingsError(f"no variant is called {unknown}; there are: {', '.join(VARIANTS)}")
    torch.set_num_threads(1)
    console = Console(width=None if sys.stdout.isatty() else 140)
    storage = Storage()
    data, output = uris.normalize(settings.data), uris.normalize(settings.output)
    places = {name: uris.join(output, name.replace(" ", "-").replace(",", "")) for name in VARIANTS}
    for name in settings.only or VARIANTS:
        if not storage.exists(uris.join(places[name], bundles.DESCRIPTION)):
            console.print(f"training: {name}")
            recipe = VARIANTS[name](short(settings.photographs))
            _train(recipe, collection.find(data, sampling=recipe.sampling), places[name])
    there = {name: place for name, place in places.items() if storage.exists(uris.join(place, bundles.DESCRIPTION))}
    console.print(_measure(data, there))
    return 0


def short(count: int) -> Recipe:
    """Return the recipe `laptop` for so many photographs."""
    recipe = presets.preset("laptop")
    return _with_stage(recipe, epochs=1, steps_per_epoch=count // recipe.stages[0].batch_size)


def _train(recipe: Recipe, data: Collection, place: str) -> None:
    trainer = build_trainer(recipe, _Photographs(recipe, data), data)
    started = time.process_time()
    for _ in recipe.stages:
        measured = trainer.run_epoch()
    bundles.save(
        Bundle(
            generator=trainer.gan.inference_generator,
            network=recipe.generator.network,
            settings=recipe.generator.settings,
            image_size=recipe.image_size,
            recipe=recipe.to_dict(),
            metrics={**measured, "core_minutes": (time.process_time() - started) / 60},
        ),
        place,
    )


@dataclass(frozen=True)
class _Photographs:
    """What a trainer sees: the plan's photographs, read as they are needed."""

    recipe: Recipe
    data: Collection

    def stage(self, number: int) -> Iterator[Tensor]:
        stage, plan = self.recipe.stages[number], Plan(self.data.train, self.recipe.seed + number)
        for group in itertools.count():
            rows = photographs.read_group(plan, group, stage.image_size, stage.min_crop_scale)
            yield from torch.from_numpy(rows).permute(0, 3, 1, 2).split(stage.batch_size)

    def held_out(self, image_size: int) -> Tensor:
        rows = photographs.read_held_out(self.data.held_out, image_size, self.recipe.held_out_photographs)
        return torch.from_numpy(rows).permute(0, 3, 1, 2)


def _measure(data: str, places: Mapping[str, str]) -> Table:
    models, size = find_models(list(places.values()))
    found = evaluated.find(data)
    items = found.items()
    task = EvaluationTask(models=models, reference=reference_of(found, items, size), size=size)
    rows = Measure(task)(items)
    results, _ = summarize(rows, [model.name for model in models], [models[0].name])
    table = Table("variant", "core minutes", "PSNR, dB", "AuC, balanced, %", "colourfulness, % of true", "CIEDE2000")
    for name, model in zip(places, models, strict=True):
        means = {metric: estimate.mean for metric, estimate in results[model.name].items()}
        colour = means["colourfulness"] / (means["colourfulness"] - means["colourfulness_difference"])
        cost = bundles.load(model.uri).metrics["core_minutes"]
        figures = (f"{cost:.1f}", f"{means['psnr']:.2f}", f"{means['auc_balanced']:.1f}", f"{100 * colour:.0f}")
        table.add_row(name, *figures, f"{means['ciede2000']:.2f}")
    return table


if __name__ == "__main__":
    try:
        sys.exit(benchmark(tyro.cli(BenchmarkSettings, description=__doc__)))
    except ColornetError as error:
        sys.exit(f"error: {error}")
