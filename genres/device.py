"""What torch runs on, and how it is asked to: the device, bfloat16, torchvision, and files of weights."""

from __future__ import annotations

from pathlib import Path

import torch

from genres.common import InputError


def torchvision_transforms():
    """Import torchvision's transforms, also beside a CPU-only torch, and only when a network is trained.

    torchvision's Linux wheel is built against CUDA. Beside a CPU-only torch its compiled operators do not load,
    and the import stops at "operator torchvision::nms does not exist". Nothing here calls those operators, so
    declaring their two schemas is enough to let the import pass.
    """
    try:
        from torchvision.transforms import v2
    except RuntimeError:
        for operator in ("nms", "qnms"):
            schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            torch.library.define(f"torchvision::{operator}", schema)
        from torchvision.transforms import v2
    return v2


def pick_device() -> torch.device:
    """Give the fastest device there is: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(device: torch.device) -> torch.autocast:
    """Give a context of bfloat16 autocast where the processor computes in it; elsewhere it would only be slower."""
    fast = device.type == "cuda" or (device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False))
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def load_weights(path: str | Path, device: torch.device | str = "cpu") -> dict:
    """Load a file of weights as plain data; nothing in it can run.

    Raises InputError for a missing, damaged or foreign file.
    """
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file can fail in the zip, pickle or torch layer
        raise InputError(f"'{Path(path).name}' holds no weights that can be loaded: train again.") from error
    if not isinstance(stored, dict):
        raise InputError(f"'{Path(path).name}' was not written by this project: train again.")
    return stored
