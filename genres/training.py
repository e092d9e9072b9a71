"""How networks are trained: the recipe, augmentation of a batch, averaged weights, checkpoints and the device."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from genres.common import GENRES, InputError, replacing


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    crop_columns: width of the random crops, 0 for whole matrices. pitch_bins: the widest random shift of pitch.
    mixup: parameter of the Beta distribution, 0 for none (Zhang et al., "mixup: beyond empirical risk minimization",
    2018). averaging: the weights that answer are a running average, to which each step adds 1 - averaging; 0 takes the
    last weights (Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018).
    evaluate_every: after so many epochs the accuracies on whole unchanged pictures are measured.
    """

    epochs: int
    batch_size: int = 32
    optimiser: str = "AdamW"
    learning_rate: float = 3e-3
    one_cycle: bool = True
    weight_decay: float = 0.2
    label_smoothing: float = 0.05
    crop_columns: int = 128  # 11.5 s
    pitch_bins: int = 3
    mixup: float = 1.0
    averaging: float = 0.99
    evaluate_every: int = 5

    def with_epochs(self, epochs: int) -> Recipe:
        """Return the same recipe for so many epochs; a run of six or more is evaluated at least twice."""
        every = epochs // 2 if epochs >= 6 else epochs
        return replace(self, epochs=epochs, evaluate_every=min(self.evaluate_every, every))


CNN_RECIPE = Recipe(epochs=45)
REFERENCE_FIRST = Recipe(
    epochs=50,
    batch_size=80,
    optimiser="Adam",
    learning_rate=1e-3,
    one_cycle=False,
    weight_decay=0.0,
    label_smoothing=0.0,
    crop_columns=0,
    pitch_bins=0,
    mixup=0.0,
    averaging=0.0,
)
REFERENCE_FINAL = replace(REFERENCE_FIRST, optimiser="Adagrad", learning_rate=1e-2)


def random_crops(levels: Tensor, columns: int, pitch_bins: int) -> Tensor:
    """Cut a random piece of so many columns out of each matrix, up to pitch_bins higher or lower, black outside.

    A genre stays what it is a little higher or lower. levels (n, 128, all columns) become (n, 128, columns).
    """
    n, bins, whole = levels.shape
    first = torch.randint(0, whole - columns + 1, (n, 1, 1), device=levels.device)
    shift = torch.randint(-pitch_bins, pitch_bins + 1, (n, 1, 1), device=levels.device)
    padded = nn.functional.pad(levels, (0, 0, pitch_bins, pitch_bins))
    rows = torch.arange(bins, device=levels.device)[:, None] + shift + pitch_bins
    columns_of_crop = torch.arange(columns, device=levels.device) + first
    return padded[torch.arange(n, device=levels.device)[:, None, None], rows, columns_of_crop]


def augment(levels: Tensor, labels: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Turn a batch into what a network trains on: random crops, mixed in pairs, and the shares of the genres.

    levels: float (n, 128, columns). labels: places in GENRES, int64 (n,). Returns levels (n, 128, crop_columns), and
    labels as they are, or with mixup the shares of the genres, float (n, 10).
    """
    if recipe.crop_columns:
        levels = random_crops(levels, recipe.crop_columns, recipe.pitch_bins)
    if not recipe.mixup:
        return levels, labels
    mix = torchvision_transforms().MixUp(alpha=recipe.mixup, num_classes=len(GENRES))
    levels, labels = mix(levels[:, None], labels)  # pictures with one channel
    return levels[:, 0], labels


def mask_bands(maps: Tensor, masks: int = 2, bins: int = 16, columns: int = 16) -> Tensor:
    """Set random bands to zero in maps, (n, c, height, width): of at most so many bins, and of so many columns.

    Source: Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", 2019.
    """
    n, _, height, width = maps.shape
    keep = torch.ones(n, 1, height, width, device=maps.device)
    for _ in range(masks):
        for size, largest, shape in ((height, bins, (1, 1, -1, 1)), (width, columns, (1, 1, 1, -1))):
            length = torch.rand(n, 1, 1, 1, device=maps.device) * largest
            start = torch.rand(n, 1, 1, 1, device=maps.device) * (size - length)
            position = torch.arange(size, device=maps.device).view(shape)
            keep = keep * ((position < start) | (position >= start + length))
    return maps * keep.to(maps.dtype)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, step: int, averaging: float) -> None:
    """Move the weights of `average` towards those of the network, by 1 - averaging; in the first steps by more."""
    share = max(1 - averaging, 9 / (10 + step))
    for mean, current in zip(average.parameters(), network.parameters(), strict=True):
        mean.lerp_(current, share)


@torch.no_grad()
def update_statistics(network: nn.Module, matrices: np.ndarray, batch_size: int = 32) -> None:
    """Set means and variances of batch normalisation to those of whole pictures, matrices uint8 (n, 128, 334).

    While training they were those of crops, mixed and masked, and of weights from before the averaging. Source:
    Izmailov et al., "Averaging weights leads to wider optima and better generalization", 2018.
    """
    device = next(network.parameters()).device
    norms = [layer for layer in network.eval().modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # all batches count alike
        norm.train()
    order = np.random.default_rng(0).permutation(len(matrices))  # each batch with many genres
    for rows in np.array_split(order, -(-len(order) // batch_size)) if norms else []:
        with autocast(device):
            network(torch.from_numpy(matrices[rows]).to(device).float())


def save_checkpoint(path: Path | None, key: str, states: dict, curve: list[dict]) -> None:
    """Write the states of network, average, optimiser and schedule, and the curve, under a key, if there is a path."""
    if path is not None:
        with replacing(path) as temporary:
            parts = {name: part.state_dict() for name, part in states.items()}
            torch.save({"key": key, "curve": curve, "states": parts}, temporary)


def resume(path: Path | None, key: str, states: dict, device: torch.device) -> list[dict]:
    """Load the states from a checkpoint of the same key and return its curve; else an empty curve."""
    try:
        stored = {} if path is None else load_weights(path, device)
    except InputError:  # missing or damaged: a new run makes it again
        return []
    if stored.get("key") != key:
        return []
    for name, part in states.items():
        part.load_state_dict(stored["states"][name])
    return stored["curve"]


def load_weights(path: str | Path, device: torch.device | str = "cpu") -> dict:
    """Read a file of weights as plain data; nothing in it can run.

    Raises InputError for a missing, damaged or foreign file.
    """
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"'{path}' does not exist: name a model.pt, or run notebook 03 to train one.") from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in the zip, pickle or torch layer
        raise InputError(f"'{Path(path).name}' holds no weights that can be loaded: train again.") from error
    if not isinstance(stored, dict):
        raise InputError(f"'{Path(path).name}' was not written by this project: train again.")
    return stored


def pick_device() -> torch.device:
    """Return the fastest device there is: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(device: torch.device) -> torch.autocast:
    """Return a context of bfloat16 autocast where the processor computes in it; elsewhere it would only be slower."""
    fast = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": lambda: torch.cpu.get_capabilities().get("avx512_bf16", False),
    }.get(device.type, lambda: False)
    return torch.autocast(device.type, torch.bfloat16, enabled=fast())


def torchvision_transforms():
    """Return torchvision's transforms (v2), also beside a CPU-only torch; imported only when a network is trained.

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
