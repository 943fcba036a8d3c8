"""Sums and means over all workers of a run; without a process group there is one."""

import math

import torch
import torch.distributed
from torch import Tensor, nn


def count_workers() -> int:
    """Return how many processes train together."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def sum_over_workers(values: Tensor) -> Tensor:
    """Add up a tensor over all workers."""
    if count_workers() > 1:
        values = values.clone()
        torch.distributed.all_reduce(values)
    return values


def mean_over_workers(values: Tensor) -> Tensor:
    """Average a tensor over all workers."""
    return sum_over_workers(values) / count_workers()


def share_buffers(network: nn.Module) -> None:
    """Broadcast the first worker's buffers, such as BatchNorm's running statistics, which differ between workers."""
    if count_workers() > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)


def ratio(part: float, whole: float) -> float:
    """Return part / whole, or NaN of nothing."""
    return part / whole if whole else math.nan
