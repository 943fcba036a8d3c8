"""In which arithmetic a network runs: one rule for training and inference."""

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
"""`auto` is bfloat16 where the processor computes in it, and float32 elsewhere."""


def resolve(precision: Precision, device: torch.device) -> torch.dtype:
    """Return the type that a precision means on a device: `torch.float32` or `torch.bfloat16`."""
    if precision == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16: one that only emulates it is slower with it than without."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # oneDNN calls all processors with AVX-512 capable of it, and emulates it on those without AVX512-BF16.
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
