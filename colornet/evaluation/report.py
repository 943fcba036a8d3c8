"""What is kept of an evaluation: the results, the rows, and a page with pictures."""

import io
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from colornet import distribution
from colornet.errors import ColornetError
from colornet.evaluation import breakdown, calibration, comparison, confidence, hint_curve, summary
from colornet.evaluation.bootstrap import LEVEL, RESAMPLES
from colornet.evaluation.breakdown import Part, by_chroma, by_kind
from colornet.evaluation.comparison import Table
from colornet.evaluation.confidence import CORRELATED, ERROR, SelectiveRisk
from colornet.evaluation.confidence_plot import plot
from colornet.evaluation.fid import FEW
from colornet.evaluation.gallery import Gallery
from colornet.evaluation.hint_curve import Curves
from colornet.evaluation.kinds import equal_weights
from colornet.evaluation.measure import GRAY, MEAN_COLOUR, EvaluationTask
from colornet.evaluation.metrics import METRICS
from colornet.evaluation.summary import Results, column
from colornet.storage import uris

FORMAT = 4
_PLOTS = {"confidence.png": "confidence against error", "hints.png": "quality against the number of hints"}
"""What plots show, by the names of their files."""


@dataclass(frozen=True)
class Evaluation:
    """All that was measured."""

    data: str
    """Where the photographs are."""
    task: EvaluationTask
    rows: pa.Table
    """Of `measure.ROWS`, less the features."""
    fid: Mapping[str, float] = field(default_factory=dict)
    """Of each colorizer, by name, if it was measured."""
    lpips: str = ""
    """The network whose LPIPS it is, if it was measured."""
    equal_kinds: bool = False
    """Whether photographs are weighed so that each kind counts the same, in all but FID."""

    @property
    def names(self) -> list[str]:
        """The models' names."""
        return [model.name for model in self.task.models]

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

    @property
    def colorizers(self) -> list[str]:
        """The names of all that was measured, the trivial ones last."""
        return [*self.names, GRAY, MEAN_COLOUR]

    @cached_property
    def kinds(self) -> list[str]:
        """What each photograph shows."""
        return self.measured.filter(pc.equal(self.measured["colorizer"], GRAY))["kind"].to_pylist()

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """How much each photograph counts: (N,), with mean 1."""
        return equal_weights(self.kinds) if self.equal_kinds else np.ones(self.photographs)

    @cached_property
    def results(self) -> tuple[Results, Results]:
        """The results of all colorizers, and the differences between models."""
        return summary.summarize(self.measured, self.colorizers, self.names, self.weights)

    @cached_property
    def calibration(self) -> tuple[Results, Results]:
        """`calibration.MEASURES` of all colorizers, and their differences between models."""
        return calibration.calibrate(self.measured, self.colorizers, self.names, (GRAY, MEAN_COLOUR), self.weights)

    @cached_property
    def parts(self) -> tuple[list[Part], list[Part]]:
        """What all but gray gain over it: of each kind, and of each quarter by true chroma."""
        chroma = column(self.measured, GRAY, "true_chroma")
        gained = {name: self._over_gray(name) for name in self.colorizers if name != GRAY}
        return list(by_kind(self.kinds, chroma, gained)), list(by_chroma(chroma, gained, self.weights))

    @cached_property
    def hint_curves(self) -> Curves:
        """PSNR and CIEDE2000 against hints, of the models that take them, if that was measured."""
        return hint_curve.curves(self.measured, self.names, self.task.hint_counts, self.weights)

    @cached_property
    def selective_risk(self) -> dict[str, SelectiveRisk]:
        """Of those models that have a confidence, by name."""
        found = {
            name: confidence.selective_risk(
                column(self.measured, name, "confidence"),
                {metric: column(self.measured, name, metric) for metric in CORRELATED},
                self._over_gray(name),
                self.weights,
            )
            for name in self.names
        }
        return {name: each for name, each in found.items() if each is not None}

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
        reference = self.task.reference
        notes = [
            f"{self.photographs} photographs of {self.data}, at {self.task.size} pixels; means with 95 % intervals.",
            f"The mean colour, a* {reference.mean_a:.1f} and b* {reference.mean_b:.1f}, and the weights of the "
            f"balanced AuC are those of {reference.photographs} {reference.of}.",
        ]
        if self.equal_kinds:
            counts = ", ".join(f"{name} {count}" for name, count in sorted(Counter(self.kinds).items()))
            notes.append(f"Photographs are weighed so that each kind counts the same: {counts}.")
        if self.lpips:
            notes.append(f"LPIPS is that of {self.lpips}.")
        if self.fid:
            notes.append("FID is one number of all photographs together: it has no interval.")
            if self.photographs < FEW:
                notes.append(f"With fewer than {FEW} photographs FID is biased: too large, and not for all by as much.")
        notes += [confidence.sentence(name, found) for name, found in self.selective_risk.items()]
        unhinted = [model.name for model in self.task.models if not model.takes_hints]
        if self.hint_curves and unhinted:
            notes.append(f"These take no hints: {', '.join(unhinted)}.")
        if self.unreadable:
            first = self.unreadable[0]
            count = len(self.unreadable)
            notes.append(f"Could not be read: {count}, the first {first['photograph']}: {first['reason']}")
        return notes

    def tables(self) -> list[Table]:
        """Write the results for people."""
        results, differences = self.results
        head, lines = summary.table({**results, **differences})
        if self.fid:
            first, *others = self.names
            values = [self.fid[name] for name in results] + [self.fid[name] - self.fid[first] for name in others]
            lines.append(["FID ↓", *("–" if math.isnan(value) else f"{value:.2f}" for value in values)])
        if self.selective_risk:
            lines += confidence.table(self.selective_risk, head[1:])
        calibrated, changes = self.calibration
        kinds, quarters = self.parts
        tables = [
            Table("", head, lines),
            Table("Calibration", *summary.table({**calibrated, **changes}, calibration.MEASURES)),
            Table("PSNR over gray, dB", *breakdown.table([*(kinds if len(kinds) > 1 else ()), *quarters])),
        ]
        if self.hint_curves:
            tables.append(Table("Hints", *hint_curve.table(self.hint_curves)))
        return tables

    def write(self, output: str) -> None:
        """Store evaluation.parquet, evaluation.json, comparison.html and pictures at a folder or prefix.

        The pictures are worst.jpg, with the photographs of which the first model errs most, confidence.png, if a
        model has a confidence, and hints.png, if hints were measured.

        Raises:
            StorageError: if that cannot be written.
        """
        parquet = io.BytesIO()
        pq.write_table(self.measured, parquet)
        text = json.dumps(self._description(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        plots, gallery = self._plots(), Gallery(self.task, self.measured)
        shown = {_PLOTS[file]: drawn for file, drawn in plots.items()}
        page = comparison.page("Colorizers compared", self.notes(), self.tables(), list(gallery.examples()), shown)
        self.task.storage.write(
            uris.join(output, "evaluation.parquet"), parquet.getvalue(), "application/vnd.apache.parquet"
        )
        self.task.storage.write(uris.join(output, "comparison.html"), page, "text/html; charset=utf-8")
        self.task.storage.write(uris.join(output, "worst.jpg"), gallery.worst(), "image/jpeg")
        for file, drawn in plots.items():
            self.task.storage.write(uris.join(output, file), drawn, "image/png")
        self.task.storage.write(uris.join(output, "evaluation.json"), text.encode(), "application/json")

    def _over_gray(self, colorizer: str) -> NDArray[np.float64]:
        return calibration.over_gray(self.measured, colorizer, GRAY)

    def _plots(self) -> dict[str, bytes]:
        """Draw what there is to draw: PNGs, by the names of their files."""
        drawn = {}
        if self.selective_risk:
            columns = (
                [column(self.measured, name, title) for name in self.selective_risk] for title in ("confidence", ERROR)
            )
            drawn["confidence.png"] = plot(self.selective_risk, *columns)
        if self.hint_curves:
            drawn["hints.png"] = hint_curve.plot(self.hint_curves)
        return drawn

    def _description(self) -> dict[str, Any]:
        results, differences = self.results
        calibrated, changes = self.calibration
        kinds, quarters = self.parts
        reference = asdict(self.task.reference)
        del reference["weights"]
        return {
            "format": FORMAT,
            "version": distribution.version(),
            "data": self.data,
            "size": self.task.size,
            "models": [asdict(model) for model in self.task.models],
            "photographs": self.photographs,
            "unreadable": self.unreadable,
            "reference": reference,
            "confidence_level": LEVEL,
            "resamples": RESAMPLES,
            "metrics": {name: asdict(metric) for name, metric in METRICS.items()},
            "results": summary.to_json(results),
            "differences": summary.to_json(differences),
            "equal_kinds": self.equal_kinds,
            "measures": {name: asdict(measure) for name, measure in calibration.MEASURES.items()},
            "calibration": summary.to_json(calibrated),
            "calibration_differences": summary.to_json(changes),
            "kinds": [breakdown.to_json(part) for part in kinds],
            "quarters": [breakdown.to_json(part) for part in quarters],
            "confidence": {name: asdict(found) for name, found in self.selective_risk.items()},
            "hints": hint_curve.to_json(self.hint_curves),
            "lpips_network": self.lpips or None,
            "fid": {name: value if math.isfinite(value) else None for name, value in self.fid.items()},
        }
