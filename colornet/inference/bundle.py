"""A trained model on disk: a folder or s3:// prefix with `generator.safetensors` and `bundle.json`, never pickle.

One comes with Colornet, in the package itself. Its uri, `SHIPPED`, names no path, so that it means the same on every
node of a cluster.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from colornet import distribution, networks
from colornet.errors import BundleError, NotFoundError, SettingsError, one_line
from colornet.storage import Storage, uris

WEIGHTS = "generator.safetensors"
DESCRIPTION = "bundle.json"
FORMAT = 1
SCALING = {"lightness": "L* / 50 - 1", "ab": "(ab + 128) / 255 * 2 - 1", "white": "D65"}

SHIPPED = "shipped://default"
"""The bundle that comes with Colornet."""
_SCHEME = "shipped://"
_FOLDERS = {SHIPPED: Path(__file__).parents[1] / "shipped"}


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A trained generator and everything that should be known about it."""

    generator: nn.Module
    """Scaled L* (B, 1, H, W) to scaled a*b* (B, 2, H, W); in eval mode, float32."""
    network: str
    """The generator's name in `colornet.networks`."""
    settings: Mapping[str, Any]
    """The keyword arguments that build it."""
    image_size: int
    """Side, in pixels, of the square that the generator was trained on: the size at which it predicts best."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The training recipe, as plain data."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on: places, counts, licences."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What was measured at the end of the training."""
    started_from: Mapping[str, str] = field(default_factory=dict)
    """The `uri` and `digest` of the bundle that its training started from; empty if it started anew."""
    digest: str = ""
    """SHA-256, hexadecimal, over the weights and all that decides how they are used; empty until saved."""
    uri: str = ""
    """Where it was loaded from; empty if it was not."""

    @property
    def takes_hints(self) -> bool:
        """Whether people can steer the generator's colours by hints."""
        return bool(getattr(self.generator, "takes_hints", False))

    def require_hints(self) -> None:
        """Raise BundleError, with the bundle's name, if its generator takes no hints."""
        if not self.takes_hints:
            raise BundleError(f"the bundle {self.uri or self.digest[:12]} takes no hints: it was trained without them")


def normalize(uri: str) -> str:
    """Return the one spelling of a bundle's place: `SHIPPED`, or what `uris.normalize` returns.

    Raises:
        SettingsError: if it is no place, or names a bundle that does not come with Colornet.
    """
    if not _is_shipped(uri):
        return uris.normalize(uri)
    found = _SCHEME + uri[len(_SCHEME) :].rstrip("/")
    if found not in _FOLDERS:
        raise SettingsError(f"no bundle called {uri} comes with Colornet; there are: {', '.join(_FOLDERS)}")
    return found


def save(bundle: Bundle, uri: str, storage: Storage = Storage(), *, dtype: torch.dtype = torch.float32) -> str:
    """Write a bundle to a folder or s3:// prefix, weights first, and return its digest.

    Args:
        bundle: what to write; its `digest` is ignored and computed anew.
        uri: the folder or prefix; an older bundle there is replaced.
        storage: with what it is reached.
        dtype: of the weights as stored; `torch.float16` halves the file.

    Raises:
        SettingsError: if the place is Colornet's own.
        StorageError: if the place cannot be written to.
    """
    if _is_shipped(uri):
        raise SettingsError(f"{uri}: what comes with Colornet cannot be written; give a folder or an s3:// prefix")
    state = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in bundle.generator.state_dict().items()
    }
    weights = safetensors.torch.save(state)
    description = {
        "format": FORMAT,
        "network": {"name": bundle.network, "settings": dict(bundle.settings)},
        "scaling": SCALING,
        "image_size": bundle.image_size,
        "weights": {"file": WEIGHTS, "bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()},
        "recipe": dict(bundle.recipe),
        "data": dict(bundle.data),
        "metrics": dict(bundle.metrics),
        "versions": {
            "colornet": distribution.version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    if bundle.started_from:
        description["started_from"] = dict(bundle.started_from)
    storage.write(uris.join(uri, WEIGHTS), weights, "application/octet-stream")
    text = json.dumps(description, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    storage.write(uris.join(uri, DESCRIPTION), text.encode(), "application/json")
    return _digest(description)


def load(uri: str, storage: Storage = Storage()) -> Bundle:
    """Read a bundle from a folder or s3:// prefix, or the one that comes with Colornet, and check it.

    Raises:
        SettingsError: if the uri names no place, or a bundle that does not come with Colornet.
        BundleError: if there is none, if the weights are not those that `bundle.json` speaks of, or if they do not fit
            the network; the message names the place.
        StorageError: if the place cannot be read.
    """
    place = normalize(uri)
    folder = str(_FOLDERS.get(place, place))
    try:
        text = storage.read(uris.join(folder, DESCRIPTION)).data
        weights = storage.read(uris.join(folder, WEIGHTS)).data
    except NotFoundError as error:
        raise BundleError(f"{uri} is not a model bundle: {error}") from error
    description = _parse(text, uri)
    found = hashlib.sha256(weights).hexdigest()
    expected = description["weights"]["sha256"]
    if found != expected:
        raise BundleError(f"the weights of {uri} are damaged or exchanged: SHA-256 {found}, expected {expected}")
    network, settings = description["network"]["name"], description["network"]["settings"]
    return Bundle(
        generator=_restore(network, settings, weights, uri),
        network=network,
        settings=settings,
        image_size=description["image_size"],
        recipe=description.get("recipe", {}),
        data=description.get("data", {}),
        metrics=description.get("metrics", {}),
        started_from=description.get("started_from", {}),
        digest=_digest(description),
        uri=place,
    )


def _is_shipped(uri: str) -> bool:
    return uri[: len(_SCHEME)].lower() == _SCHEME


def _parse(text: bytes, uri: str) -> dict[str, Any]:
    try:
        description = json.loads(text)
        format = description["format"]
        complete = (
            isinstance(description["weights"]["sha256"], str)
            and isinstance(description["network"]["name"], str)
            and isinstance(description["network"]["settings"], dict)
            and isinstance(description["image_size"], int)
        )
        scaling = description["scaling"]
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{DESCRIPTION} of {uri} cannot be understood: {error!r}") from error
    if format != FORMAT or scaling != SCALING or not complete:
        raise BundleError(
            f"{DESCRIPTION} of {uri} is of format {format!r} with scaling {scaling!r}, not of this version"
        )
    return description


def _restore(network: str, settings: Mapping[str, Any], weights: bytes, uri: str) -> nn.Module:
    try:
        generator = networks.build_generator(network, settings)
        generator.load_state_dict(safetensors.torch.load(weights))
    except (ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"the weights of {uri} do not fit its network: {one_line(error)}") from error
    return generator.float().eval()


def _digest(description: Mapping[str, Any]) -> str:
    decisive = {key: description[key] for key in ("network", "scaling", "image_size")}
    decisive["weights"] = description["weights"]["sha256"]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
