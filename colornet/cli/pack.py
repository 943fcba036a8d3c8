"""Make shards small: for a training on a machine that takes few bytes, or has a slow line.

    colornet pack --data shards/ --output packed/ --short-side 192 --bytes 60e6

--data takes Parquet files, too. The columns of the shards stay, `kind`, `source` and `license` among them.
"""

from dataclasses import dataclass, field

from colornet.cli.command import Command
from colornet.datasets import packing
from colornet.datasets.packing import Packing
from colornet.errors import ExitCode, SettingsError
from colornet.storage import S3Options, Storage, uris


@dataclass(frozen=True, kw_only=True)
class PackSettings:
    """The settings of colornet pack."""

    data: tuple[str, ...]
    """Folders or s3:// prefixes with Parquet shards, as jobs.prepare writes them, or such files; val*.parquet are held
    out."""
    output: str
    """Folder or s3:// prefix for the small shards: train-00000.parquet and val-00000.parquet."""
    packing: Packing = field(default_factory=Packing)
    """How photographs are packed."""
    s3: S3Options = field(default_factory=S3Options)
    """How S3 is accessed."""


def pack(settings: PackSettings) -> ExitCode:
    """Pack, and say what came of it. Raises `ColornetError`."""
    storage = Storage(settings.s3)
    places, output = [uris.normalize(place) for place in settings.data], uris.normalize(settings.output)
    if any(uris.contains(output, place) or uris.contains(place, output) for place in places):
        raise SettingsError(f"the output {output} and the data must lie apart")
    storage.check_writable(output)
    packed = packing.pack(packing.read_rows(places, storage), settings.packing)
    for name, data in packed.shards.items():
        storage.write(uris.join(output, name), data, "application/vnd.apache.parquet")
    print(
        f"{packed.photographs} photographs and {packed.held_out} held-out ones in {output}: {packed.size:,} bytes, "
        f"{settings.packing.format} of quality {packed.quality}"
    )
    if packed.left_out:
        print(f"{packed.left_out} could not be decoded and were left out")
    return ExitCode.DONE


main = Command(settings=PackSettings, run=pack, description=__doc__, program="colornet pack")

if __name__ == "__main__":
    main()
