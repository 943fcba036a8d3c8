"""What is kept of an evaluation: the results, the rows, and a page with pictures."""

import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from colornet import __version__, storage
from colornet.errors import ColornetError
from colornet.evaluation import comparison, summary
from colornet.evaluation.bootstrap import CONFIDENCE, RESAMPLES
from colornet.evaluation.comparison import Example
from colornet.evaluation.fid import FEW
from colornet.evaluation.measure import GRAY, MEAN_COLOUR, Truth, Work, load_colorizers
from colornet.evaluation.metrics import METRICS
from colornet.evaluation.photographs import ITEMS, read
from colornet.evaluation.summary import Results

FORMAT = 1


@dataclass(frozen=True)
class Evaluation:
    """All that was measured."""

    data: str
    """Where the photographs are."""
    work: Work
    rows: pa.Table
    """Of `measure.ROWS`, less the features."""
    fid: Mapping[str, float] = field(default_factory=dict)
    """Of each colorizer, by name, if it was measured."""
    lpips: str = ""
    """The network whose LPIPS it is, if it was measured."""

    @property
    def names(self) -> list[str]:
        """The models' names."""
        return [model.name for model in self.work.models]

    @cached_property
    def measured(self) -> pa.Table:
        """The rows with metrics."""
        return self.rows.filter(pc.is_null(self.rows["reason"])).drop_columns("reason").sort_by("row")

    @cached_property
    def unreadable(self) -> list[dict[str, str]]:
        """The photographs that cannot be read, with the reasons."""
        rows = self.rows.filter(pc.is_valid(self.rows["reason"])).sort_by("row")
        return rows.select(["photograph", "uri", "reason"]).to_pylist()

    @cached_property
    def photographs(self) -> int:
        """How many were measured."""
        return pc.count_distinct(self.measured["row"]).as_py()

    @cached_property
    def results(self) -> tuple[Results, Results]:
        """The results of all colorizers, and the differences between models."""
        return summary.summarize(self.measured, [*self.names, GRAY, MEAN_COLOUR], self.names)

    def check(self) -> None:
        """Raise ColornetError if nothing was measured."""
        if not self.photographs:
            first = self.unreadable[0]
            raise ColornetError(
                f"none of the {len(self.unreadable)} photographs in {self.data} can be read; "
                f"{first['photograph']}: {first['reason']}"
            )

    def notes(self) -> list[str]:
        """Say in sentences what the numbers are about."""
        reference = self.work.reference
        notes = [
            f"{self.photographs} photographs of {self.data}, at {self.work.size} pixels; means with 95 % intervals.",
            f"The mean colour, a* {reference.mean_a:.1f} and b* {reference.mean_b:.1f}, and the weights of the "
            f"balanced AuC are those of {reference.photographs} {reference.of}.",
        ]
        if self.lpips:
            notes.append(f"LPIPS is that of {self.lpips}.")
        if self.fid:
            notes.append("FID is one number of all photographs together: it has no interval.")
            if self.photographs < FEW:
                notes.append(f"With fewer than {FEW} photographs FID is biased: too large, and not for all by as much.")
        if self.unreadable:
            first = self.unreadable[0]
            count = len(self.unreadable)
            notes.append(f"Could not be read: {count}, the first {first['photograph']}: {first['reason']}")
        return notes

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Write the results for people: the head, and a line for each metric."""
        results, differences = self.results
        head, lines = summary.table({**results, **differences})
        if self.fid:
            first, *others = self.names
            values = [self.fid[name] for name in results] + [self.fid[name] - self.fid[first] for name in others]
            lines.append(["FID ↓", *("–" if math.isnan(value) else f"{value:.2f}" for value in values)])
        return head, lines

    def write(self, output: str) -> None:
        """Store evaluation.parquet, evaluation.json and comparison.html at a folder or prefix.

        Raises:
            StorageError: if that cannot be written.
        """
        parquet = io.BytesIO()
        pq.write_table(self.measured, parquet)
        text = json.dumps(self._description(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        page = comparison.page("Colorizers compared", self.notes(), *self.table(), list(self.examples()))
        storage.write(storage.join(output, "evaluation.parquet"), parquet.getvalue(), "application/vnd.apache.parquet")
        storage.write(storage.join(output, "comparison.html"), page, "text/html; charset=utf-8")
        storage.write(storage.join(output, "evaluation.json"), text.encode(), "application/json")

    def examples(self) -> Iterator[Example]:
        """Colorize again the photographs that are shown: they are few."""
        colorizers = load_colorizers(replace(self.work, device="cpu"))  # workers may have GPUs where this has none
        shown = [GRAY, *self.names]
        errors = {name: self._column(name, "ciede2000") for name in shown}
        first, *others = (errors[name] for name in self.names)
        differences = np.max([np.abs(other - first) for other in others], axis=0) if others else first
        why = "largest difference" if others else "largest error"
        items = self.measured.filter(pc.equal(self.measured["colorizer"], GRAY)).select(ITEMS.names)
        blind, largest = comparison.choose(differences.tolist())
        for position, reason in [(each, "chosen blindly") for each in blind] + [(each, why) for each in largest]:
            item, photograph = next(read(items.slice(position, 1), self.work.size))
            if isinstance(photograph, str):
                continue  # it could be read before
            truth = Truth(np.stack([photograph]), torch.tensor(self.work.reference.weights))
            pictures = {
                f"{name}: {errors[name][position]:.1f}": truth.render(colorizers[name](truth.lightness))[0]
                for name in shown
            }
            title = f"{item['photograph']} ({reason}; below each picture its mean CIEDE2000)"
            yield Example(title, {"photograph": photograph, **pictures})

    def _column(self, colorizer: str, metric: str) -> NDArray[np.float64]:
        return self.measured.filter(pc.equal(self.measured["colorizer"], colorizer))[metric].to_numpy()

    def _description(self) -> dict[str, Any]:
        results, differences = self.results
        reference = asdict(self.work.reference)
        del reference["weights"]
        return {
            "format": FORMAT,
            "version": __version__,
            "data": self.data,
            "size": self.work.size,
            "models": [asdict(model) for model in self.work.models],
            "photographs": self.photographs,
            "unreadable": self.unreadable,
            "reference": reference,
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "metrics": {name: asdict(metric) for name, metric in METRICS.items()},
            "results": summary.to_json(results),
            "differences": summary.to_json(differences),
            "lpips_network": self.lpips or None,
            "fid": {name: value if math.isfinite(value) else None for name, value in self.fid.items()},
        }
