"""What is installed, or lies in a checkout that nobody installed: version, commands, extras.

A checkout speaks for itself, also where an older one is installed: `ray job submit --working-dir .` sends one to nodes
that know only the dependencies. Nothing here imports what takes long.
"""

import contextlib
import functools
import importlib.metadata
import importlib.util
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from colornet.errors import SettingsError

NAME = "colornet-archive"
"""Of the distribution; the package `colornet` of PyPI is another project."""
UNKNOWN = "0+unknown"
COMMANDS = "colornet.commands"
"""Group of the entry points that are commands; each is a `colornet.cli.command.Command`."""
_ROOT = Path(__file__).parents[1]
_EXTRAS = {
    "boto3": ["s3"],
    "botocore": ["s3"],
    "c2pa": ["c2pa"],
    "duckdb": ["ray"],
    "filelock": ["ray"],
    "jinja2": ["train", "evaluate"],
    "matplotlib": ["train", "evaluate"],
    "pyarrow": ["ray", "s3"],
    "pyrate_limiter": ["s3"],
    "ray": ["ray"],
    "tenacity": ["s3"],
    "tensorboardX": ["train"],
    "torch_fidelity": ["fid"],
    "torchmetrics": ["train", "evaluate"],
}
"""Which extras bring a package that not every command needs."""


@functools.cache
def version() -> str:
    """Return the version of the checkout, or of what is installed; UNKNOWN where only the package's folder is."""
    if project := _checkout():
        return str(project["version"])
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        return UNKNOWN


def commands() -> dict[str, str]:
    """Return all commands: the name of each and where it is, as "package.module:attribute"."""
    project = _checkout()
    if project:
        return {name: _in_checkout(place) for name, place in project["entry-points"][COMMANDS].items()}
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=COMMANDS)}


@contextlib.contextmanager
def needed(what: str) -> Iterator[None]:
    """Import in the block what an extra installs, or raise the SettingsError that says which one `what` needs."""
    try:
        yield
    except ImportError as error:
        raise missing(error, what) from error


def missing(error: ImportError, what: str) -> SettingsError:
    """Return what to tell somebody who did not install what `what` needs, or raise the error if it is a fault."""
    package = (error.name or "").partition(".")[0]
    extras = _EXTRAS.get(package)
    if not extras:
        raise error
    extra = next((extra for extra in extras if extra in what), extras[0])
    return SettingsError(f"{what} needs {package}, which the extra {extra} installs: {how(extra)}")


def how(extra: str) -> str:
    """Return the command line that installs an extra."""
    return f"pip install '.[{extra}]' in Colornet's checkout"


@functools.cache
def _checkout() -> dict[str, Any]:
    """Return the table `project` of the checkout that this file lies in; an empty one if it is installed."""
    try:
        project: dict[str, Any] = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return {}
    return project if project.get("name") == NAME else {}


def _in_checkout(place: str) -> str:
    """Return where a command is in a checkout, in which the package `colornet_jobs` is the folder jobs/."""
    spec = importlib.util.find_spec("jobs")
    if spec and spec.origin and Path(spec.origin).parent == _ROOT / "jobs":
        return place.replace("colornet_jobs.", "jobs.", 1)
    return place  # the script of an editable install does not look for modules in the checkout
