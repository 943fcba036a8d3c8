"""Measure how good a colorizer is, on photographs whose true colour is known.

    python -m jobs.evaluate --model bundle/ --data shards/ --output evaluation/
    python -m jobs.evaluate --model new/ --compare old/ s3://models/other --data photographs/ --output evaluation/

DATA is a place with shards of jobs.prepare, of which val*.parquet is measured, or a folder of colour photographs, or
several of them, which are measured together. Gray and the mean colour of the training set are measured too: who does
not beat them has learned nothing. All numbers are of all photographs, with 95 % confidence intervals. LPIPS and FID are
measured where files of weights are given; nothing is downloaded. FID has no interval, and is too large below a few
thousand photographs.

Calibration is measured too: whether colour is as strong as it is right (gain), without a cast (bias), and more where
the truth has more; and the PSNR over gray of each kind of photographs and each quarter by true chroma. With
--equal-kinds each kind counts the same, however many photographs it has.

OUTPUT gets evaluation.json with the results, evaluation.parquet with a row for each photograph and colorizer,
comparison.html with pictures, and worst.jpg with those of which the first bundle errs most. Bundles that have a
confidence also get confidence.png: every photograph's confidence and error, and the risk-coverage curve. hints.png
shows what --hint-counts measures.
Photographs that cannot be read are named in evaluation.json.

Exit codes: 0 measured; 1 the job failed; 2 the command line, a path or a setting is wrong.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import field
from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc
import ray
import ray.data
import torch
from pydantic import BeforeValidator
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from colornet.errors import ColornetError, ExitCode, SettingsError
from colornet.evaluation import photographs
from colornet.evaluation.fid import FeatureSets
from colornet.evaluation.kinds import KindsBySource
from colornet.evaluation.measure import BATCH, EvaluationTask, Measure, find_models
from colornet.evaluation.perceptual_networks import PerceptualNetworks, load_perceptual_networks
from colornet.evaluation.reference import reference_of
from colornet.evaluation.report import Evaluation
from colornet.inference import bundle as bundles
from colornet.settings import Field, settings
from colornet.storage import S3Options, Storage, uris

from .command import Job
from .progress import JobProgress
from .ray_data import map_blocks
from .session import on_cluster, start_ray

BLOCK_ROWS = 32
"""Photographs a worker takes at once, at most."""
BLOCKS_PER_WORKER = 4
"""Blocks that a worker gets, at least, where there are enough photographs: so all end at about the same time."""
LOG_WIDTH = 200
"""Characters that the table may take where it is not printed in a terminal."""
ATTEMPTS = 3
"""How often photographs may take their worker process down before the job fails."""


def _tuple(given: object) -> object:
    """Take one place for a tuple of it, as Python and files of settings may give it."""
    return (given,) if isinstance(given, str) else given


@settings
class EvaluateSettings:
    """The settings of jobs.evaluate."""

    model: str = bundles.SHIPPED
    """The model bundle: a folder or s3:// prefix, as jobs.train writes it; the default comes with Colornet. Pictures
    are measured at its size."""
    data: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_tuple)]
    """Folders or s3:// prefixes of training shards with held-out photographs, or of colour photographs."""
    output: str
    """Folder or s3:// prefix for the results. Must not be inside a place of the data."""
    compare: tuple[str, ...] = ()
    """Further bundles, which are measured too and compared with the first."""
    sample: Annotated[int, Field(ge=1)] | None = None
    """Measure only so many photographs, chosen blindly, always the same."""
    kind: KindsBySource = field(default_factory=dict)
    """What photographs show, by their column `source`: flickr=scene faces=people. The column `kind` goes before it;
    what has neither is of the kind "other"."""
    equal_kinds: bool = False
    """Weigh photographs so that each kind counts the same, in all means, shares, quarters and correlations; not in
    FID."""
    hint_counts: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """Measure PSNR and CIEDE2000 against these numbers of hints a photograph too, which tell the true colour at random
    places: 0 1 2 5 10 20 50. The model must take hints; those that it is compared with may. Takes minutes."""
    lpips_weights: str | None = None
    """Measure LPIPS too, with the AlexNet or VGG16 of torchvision in this local file (.safetensors or .pth)."""
    fid_weights: str | None = None
    """Measure FID too, with the Inception v3 of torch-fidelity in this local file; needs the extra fid. It has no
    interval, and is biased with fewer than a few thousand photographs."""
    gpu_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """GPU that each worker takes: 1 a whole one, 0.5 half of one. With 0, networks compute on CPUs."""
    s3: S3Options = S3Options()
    """How S3 is spoken to."""


def evaluate(settings: EvaluateSettings) -> ExitCode:
    """Run the job; returns its exit code. Raises ColornetError for what is wrong before it starts."""
    storage = Storage(settings.s3)
    data, output = [uris.normalize(place) for place in settings.data], uris.normalize(settings.output)
    for place in data:
        if uris.contains(place, output):
            raise SettingsError(f"the output {output} must lie outside of the data {place}")
    if settings.gpu_share and not on_cluster() and not torch.cuda.is_available():
        raise SettingsError("gpu-share needs a GPU that PyTorch can use, and this machine has none")
    models, size = find_models([bundles.normalize(uri) for uri in (settings.model, *settings.compare)], storage)
    if settings.hint_counts and not models[0].takes_hints:
        raise SettingsError(f"hint-counts: the bundle {models[0].uri} takes no hints: it was trained without them")
    perceptual_networks = load_perceptual_networks(settings.lpips_weights, settings.fid_weights, size)
    found = photographs.find_all(data, storage)
    items = found.items(settings.kind)
    if settings.sample is not None:
        items = photographs.sample(items, settings.sample)
    storage.check_writable(output)
    task = EvaluationTask(
        models=models,
        reference=reference_of(found, items, size, storage),
        size=size,
        device="cuda" if settings.gpu_share else "cpu",
        storage=storage,
        hint_counts=tuple(sorted(set(settings.hint_counts))),
    )

    start_ray()
    features = FeatureSets()
    rows = pa.concat_tables(map(features.take, _measure(items, task, perceptual_networks, settings.gpu_share)))
    evaluation = Evaluation(
        ", ".join(data),
        task,
        rows,
        features.distances(),
        perceptual_networks.lpips.name if perceptual_networks.lpips else "",
        settings.equal_kinds,
    )
    evaluation.check()
    evaluation.write(output)
    _print(evaluation)
    print(f"results in {output}")
    return ExitCode.DONE


def _measure(
    items: pa.Table, task: EvaluationTask, perceptual_networks: PerceptualNetworks, gpu_share: float
) -> Iterator[pa.Table]:
    """Yield the rows of `Measure`, block by block as they come; raises ColornetError if some do not."""
    workers = _room(gpu_share)
    rows = max(BATCH, min(BLOCK_ROWS, items.num_rows // (BLOCKS_PER_WORKER * workers)))
    blocks = [items.slice(start, rows) for start in range(0, items.num_rows, rows)]
    results = map_blocks(
        blocks,
        _worker,
        task,
        ray.put(perceptual_networks),  # once for all: FID's network has 95 MB
        pool=ray.data.ActorPoolStrategy(size=min(len(blocks), workers)),
        num_gpus=gpu_share,
        retries=ATTEMPTS - 1,
        error=ColornetError,
    )
    with contextlib.closing(results), JobProgress(items.num_rows, "photographs") as progress:
        for measured in results:
            progress.advance(pc.count_distinct(measured["row"]).as_py(), len(measured["reason"].drop_null()))
            yield measured
    if progress.done < items.num_rows:
        raise ColornetError(f"{items.num_rows - progress.done} photographs were lost with their worker processes")


def _room(gpu_share: float) -> int:
    """How many workers there is room for."""
    resources = ray.cluster_resources()
    cores = int(resources.get("CPU", 1))
    return max(1, min(cores, int(resources.get("GPU", 0) / gpu_share)) if gpu_share else cores)


def _worker(task: EvaluationTask, perceptual_networks: "ray.ObjectRef[PerceptualNetworks]") -> Measure:
    return Measure(task, ray.get(perceptual_networks))


def _print(evaluation: Evaluation) -> None:
    console = Console(width=None if sys.stdout.isatty() else LOG_WIDTH)
    for each in evaluation.tables():
        table = Table(*map(escape, each.head), title=escape(each.title) or None, title_justify="left")
        for line in each.lines:
            table.add_row(*map(escape, line))
        console.print(table)
    print(*evaluation.notes(), sep="\n")


main = Job(settings=EvaluateSettings, run=evaluate, description=__doc__, program="python -m jobs.evaluate")

if __name__ == "__main__":
    main()
