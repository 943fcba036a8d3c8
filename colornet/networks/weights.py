"""Weights from files that are not trusted: tensors by name, never pickled code."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from colornet.errors import SettingsError

_LITE_STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each stage of EfficientNet-Lite0."""
_LITE_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_LITE_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_LITE_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The first block has no expansion, and timm another class for it."""


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict from a local file: `.safetensors`, or anything else as `torch.save` wrote it.

    A checkpoint may hold the state dict under "state_dict".

    Raises:
        SettingsError: if the file is missing, damaged, or holds anything but tensors by name; the message names it.
    """
    try:
        if Path(path).suffix == ".safetensors":
            state = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise RuntimeError, EOFError, UnpicklingError, SafetensorError and more
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise SettingsError(f"weights cannot be read from {path}: {reason}") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise SettingsError(f"weights cannot be read from {path}: it does not hold tensors by name")
    return dict(state)


def fit_weights(module: nn.Module, state: Mapping[str, Tensor], source: str | Path, network: str) -> None:
    """Load a module's tensors from a state dict that may hold more.

    Args:
        module: changed in place, once all is known to fit.
        state: its tensors by name; the counters of batch normalisation, which old files lack, may be missing.
        source: where the state is from, for the message.
        network: what the module is called, for the message.

    Raises:
        SettingsError: if a tensor is missing or of another shape; the message names the first.
    """
    for name, value in module.state_dict().items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                continue
            raise SettingsError(f"{source} does not fit {network}: it has no {name}")
        if state[name].shape != value.shape:
            shapes = f"{tuple(state[name].shape)}, not {tuple(value.shape)}"
            raise SettingsError(f"{source} does not fit {network}: its {name} has the shape {shapes}")
    module.load_state_dict(dict(state), strict=False)


def is_efficientnet_lite_pytorch(names: Iterable[str]) -> bool:
    """Whether tensors are named as in the package `efficientnet_lite_pytorch`."""
    return "_conv_stem.weight" in set(names)


def rename_efficientnet_lite0(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Name the tensors of `efficientnet_lite_pytorch`'s EfficientNet-Lite0 as timm's `tf_efficientnet_lite0` does.

    Both are the TensorFlow weights of the same network, with batch normalisation's ε of 1e-3. A name that belongs to
    neither stays as it is.
    """
    places = [(stage, block) for stage, blocks in enumerate(_LITE_STAGES) for block in range(blocks)]

    def rename(name: str) -> str:
        match = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
        if match and int(match[1]) < len(places):
            stage, block = places[int(match[1])]
            layers = _LITE_BLOCK if stage else _LITE_FIRST_BLOCK
            return f"blocks.{stage}.{block}.{layers.get(match[2], match[2])}.{match[3]}"
        layer, _, tensor = name.partition(".")
        return f"{_LITE_STEM.get(layer, layer)}.{tensor}"

    return {rename(name): value for name, value in state.items()}
