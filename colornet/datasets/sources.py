"""Where training pictures come from: folders, s3:// prefixes, single files, and the shapes data set.

`shapes://2000?size=64&seed=7` names 2,000 generated shapes. Each is a row of the listing, like a file, so that shapes
are processed as photographs are, and may be mixed with them.
"""

import io
import itertools
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from PIL import Image

from colornet.datasets import shapes
from colornet.datasets.screening import Photograph
from colornet.errors import SettingsError
from colornet.storage import LeftOut, Storage, uris

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64()),  # position in the listing
        pa.field("uri", pa.string()),
        pa.field("size", pa.int64()),  # bytes; 0 for shapes
        pa.field("version", pa.string()),  # changes with the content
        pa.field("name", pa.string()),  # place relative to the input
        pa.field("source", pa.string()),  # the input
    ]
)

_SHAPES = "shapes://"
_CHUNK = 10_000


@dataclass(frozen=True)
class ShapesSource:
    """The parts of a shapes:// uri."""

    count: int
    """How many shapes."""
    size: int
    """Side of the pictures in pixels."""
    seed: int
    """Of the data set."""


def normalize(uri: str) -> str:
    """Return the one spelling of an input; raises SettingsError if it is none."""
    if uri.startswith(_SHAPES):
        source = parse_shapes(uri)
        return f"{_SHAPES}{source.count}?size={source.size}&seed={source.seed}"
    return uris.normalize(uri)


def is_shapes(uri: str) -> bool:
    """Whether the uri names shapes, an input or one of its pictures."""
    return uri.startswith(_SHAPES)


def parse_shapes(uri: str) -> ShapesSource:
    """Parse `shapes://COUNT?size=PIXELS&seed=NUMBER`; size is 64 and seed 0 if not given.

    Raises:
        SettingsError: if it is written differently or a number is out of range; the message names the uri.
    """
    parts = urllib.parse.urlsplit(uri)
    try:
        given = urllib.parse.parse_qsl(parts.query, strict_parsing=True) if parts.query else []
        numbers = {"size": 64, "seed": 0, **{name: int(value) for name, value in given}}
        source = ShapesSource(count=int(parts.netloc), **numbers)
        shapes.generate(source.count, size=source.size, seed=source.seed)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{uri}: write shapes://COUNT?size=PIXELS&seed=NUMBER ({error})") from error
    return source


def listing(
    inputs: Sequence[str],
    *,
    source: str = "",
    limit: int | None = None,
    storage: Storage = Storage(),
    left_out: LeftOut | None = None,
) -> pa.Table:
    """List everything in the inputs, in their order, each sorted by key: a table of `SCHEMA`.

    Args:
        inputs: normalized uris.
        source: what to write in the column `source` instead of the input's uri.
        limit: at most so many rows.
        storage: with what the inputs are reached.
        left_out: where what cannot be listed is noted; without it, that is an error.

    Raises:
        StorageError: if a place cannot be listed; NotFoundError if it is not there.
    """
    items = (_items(each, source or each, storage, left_out) for each in inputs)
    rows = itertools.islice(itertools.chain.from_iterable(items), limit)
    numbered = ({"row": row, **item} for row, item in enumerate(rows))
    tables = []
    while chunk := list(itertools.islice(numbered, _CHUNK)):
        tables.append(pa.Table.from_pylist(chunk, SCHEMA))
    return pa.concat_tables(tables).combine_chunks() if tables else SCHEMA.empty_table()


def draw(uri: str) -> tuple[Photograph, str]:
    """Draw the shape that a uri of the listing names; returns the picture, a PNG, and the shape's kind."""
    place, _, index = uri.partition("#")
    source = parse_shapes(place)
    shape = next(shapes.generate(1, size=source.size, seed=source.seed, start=int(index)))
    target = io.BytesIO()
    Image.fromarray(shape.rgb).save(target, "PNG")
    return Photograph(target.getvalue(), source.size, source.size), shape.kind


def _items(uri: str, source: str, storage: Storage, left_out: LeftOut | None) -> Iterator[dict[str, Any]]:
    if is_shapes(uri):
        for index in range(parse_shapes(uri).count):
            yield {"uri": f"{uri}#{index}", "size": 0, "version": "", "name": f"{index:06d}.png", "source": source}
        return
    for found in storage.listing(uri, left_out):
        place = {"uri": found.uri, "size": found.size, "version": found.version}
        yield {**place, "name": found.key, "source": source}
