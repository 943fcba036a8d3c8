"""Where a fine-tuning starts: the generator's first weights are those of a model bundle."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn

from colornet.errors import SettingsError
from colornet.inference import bundle as bundles
from colornet.inference.bundle import SHIPPED, Bundle
from colornet.networks.backbone import HINT_CHANNELS
from colornet.settings import from_dict
from colornet.storage import Storage, uris
from colornet.training.recipe import GeneratorRecipe

_MAY_BE_ADDED = ("hints", "context")
"""Fields of a generator that a bundle's may be without: what is new changes nothing at first."""
_LAST_OF_CONTEXT = "context.3."


@dataclass(frozen=True)
class Start:
    """A bundle that a run starts from."""

    uri: str
    digest: str

    def describe(self) -> dict[str, str]:
        """Return what is noted of it: where it is, of a local path only the last folder, and its digest."""
        local = self.uri != SHIPPED and not uris.is_s3(self.uri)
        return {"uri": Path(self.uri).name if local else self.uri, "digest": self.digest}

    def load_into(self, generator: nn.Module, storage: Storage = Storage()) -> None:
        """Give a new generator the bundle's weights, in place.

        What the bundle's has not changes nothing at first: the weights of hints are 0, and so is what is common to the
        whole picture.

        Raises:
            SettingsError: if there is another bundle than when the run was prepared, or its weights do not fit.
            BundleError: if there is none.
            StorageError: if it cannot be read.
        """
        bundle = bundles.load(self.uri, storage)
        if bundle.digest != self.digest:
            raise SettingsError(f"{self.uri} is another bundle than at the start of the run")
        state = bundle.generator.state_dict()
        wanted = generator.state_dict()
        fitted = {name: _fitted(name, state.get(name), value) for name, value in wanted.items()}
        if unfit := [name for name, value in fitted.items() if value is None or value.shape != wanted[name].shape]:
            raise SettingsError(f"the weights of {self.uri} do not fit the generator: {unfit[0]}")
        generator.load_state_dict(fitted)


def find_start(uri: str, generator: GeneratorRecipe, storage: Storage = Storage()) -> Start:
    """Find the bundle that a run starts from.

    Args:
        uri: of the bundle: a folder, an s3:// prefix or `shipped://default`.
        generator: what the run trains; it must be the bundle's.
        storage: with what it is reached.

    Raises:
        SettingsError: if the run trains another generator; the message names the fields.
        BundleError: if there is no bundle.
        StorageError: if it cannot be read.
    """
    bundle = bundles.load(uri, storage)
    of_bundle = generator_of(bundle)
    for name in (field.name for field in fields(GeneratorRecipe)):
        ours, theirs = getattr(generator, name), getattr(of_bundle, name)
        if ours != theirs and not (name in _MAY_BE_ADDED and ours):
            raise SettingsError(f"generator.{name} is {ours!r}, and that of {uri}, to start from, is {theirs!r}")
    return Start(bundle.uri, bundle.digest)


def generator_of(bundle: Bundle) -> GeneratorRecipe:
    """Return what builds a bundle's generator, without weights of its encoder."""
    made: GeneratorRecipe = from_dict(GeneratorRecipe, {"network": bundle.network, **bundle.settings})
    return made


def _fitted(name: str, found: Tensor | None, wanted: Tensor) -> Tensor | None:
    """Return a tensor for a generator that may see more than the one that it is from."""
    if found is None and name.startswith("context."):
        return torch.zeros_like(wanted) if name.startswith(_LAST_OF_CONTEXT) else wanted
    if found is None:
        return None
    missing = wanted.shape[1] - found.shape[1] if wanted.dim() == found.dim() == 4 else 0
    if missing == HINT_CHANNELS:  # they come last
        return torch.cat([found, found.new_zeros(len(found), missing, *found.shape[2:])], dim=1)
    return found
