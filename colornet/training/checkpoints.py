"""What a checkpoint holds beside the trainer's state, and how it is read: plain data and tensors, never pickle."""

import io
from typing import Any

import torch
from torch import Tensor

RandomState = dict[str, Tensor]
"""Of PyTorch's generators, by the kind of device."""


def dump(state: Any) -> bytes:
    """Return a state as `load` reads it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def load(data: bytes, device: torch.device) -> Any:
    """Load what `torch.save` has written; plain data and tensors only."""
    return torch.load(io.BytesIO(data), map_location=device, weights_only=True)


def random_state() -> RandomState:
    """Return the state of this process's random numbers."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_state(state: RandomState) -> None:
    """Go on with the random numbers of a state, which must be on the CPU."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
