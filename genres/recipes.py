"""How networks are trained: recipes, and what is done to a batch: crops, shifts of pitch, mixup and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from genres.common import GENRES
from genres.device import torchvision_transforms


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    crop_columns 0 takes whole matrices. pitch_bins is the widest random change of pitch. mixup is the parameter of the
    Beta distribution, 0 for none (Zhang et al., "mixup", 2018). teacher is how many numbers a teacher asks for beside
    the genre, 0 for no teacher. head_rate is the learning rate of the dense layer, as a share of the others': its many
    standardised inputs move an answer together, so at the full rate its first steps overshoot. ridge, if it is not 0,
    solves the dense layer anew at the end, as the texture classifier's (see `solve_head`). evaluate_every says after
    how many epochs the accuracy on whole, unchanged pictures is taken.
    """

    epochs: int
    batch_size: int = 32
    optimiser: str = "AdamW"
    learning_rate: float = 3e-3
    one_cycle: bool = True
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    crop_columns: int = 128  # 11.5 s
    pitch_bins: int = 3
    mixup: float = 0.3
    teacher: int = 0
    head_rate: float = 1.0
    ridge: float = 0.0
    evaluate_every: int = 10

    def lasting(self, epochs: int) -> Recipe:
        """Give the same recipe for so many epochs; a short run is measured at least twice."""
        return replace(self, epochs=epochs, evaluate_every=max(1, min(self.evaluate_every, epochs // 2)))


REFERENCE_FIRST = Recipe(
    epochs=50,
    batch_size=80,
    optimiser="Adam",
    learning_rate=1e-3,
    one_cycle=False,
    weight_decay=0.0,
    label_smoothing=0.0,
    crop_columns=0,
    mixup=0.0,
    evaluate_every=5,
)
REFERENCE_FINAL = replace(REFERENCE_FIRST, optimiser="Adagrad", learning_rate=1e-2)
OURS = Recipe(epochs=60, teacher=128, head_rate=0.1, ridge=3e-4, evaluate_every=20)


def random_crops(levels: Tensor, columns: int, pitch_bins: int) -> Tensor:
    """Cut a random piece of so many columns out of each matrix, up to pitch_bins higher or lower, black outside.

    A genre stays what it is a little higher or lower. levels (n, 128, all columns) give (n, 128, columns).
    """
    n, bins, whole = levels.shape
    first = torch.randint(0, whole - columns + 1, (n, 1, 1), device=levels.device)
    shift = torch.randint(-pitch_bins, pitch_bins + 1, (n, 1, 1), device=levels.device)
    padded = nn.functional.pad(levels, (0, 0, pitch_bins, pitch_bins))
    rows = torch.arange(bins, device=levels.device)[:, None] + shift + pitch_bins
    places = torch.arange(columns, device=levels.device) + first
    return padded[torch.arange(n, device=levels.device)[:, None, None], rows, places]


def augment(levels: Tensor, targets: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Give a batch as a network trains on it: random crops, mixed in pairs, and the targets mixed the same way.

    levels (n, 128, columns) give (n, 128, crop_columns). targets are labels (n,), or shares of the genres and behind
    them what a teacher asks for, float (n, 10 or more); with mixup they become such.
    """
    if recipe.crop_columns:
        levels = random_crops(levels, recipe.crop_columns, recipe.pitch_bins)
    if not recipe.mixup:
        return levels, targets
    mix = torchvision_transforms().MixUp(alpha=recipe.mixup, num_classes=len(GENRES) if targets.ndim == 1 else None)
    levels, targets = mix(levels[:, None], targets)  # pictures with one channel
    return levels[:, 0], targets


def blank_bands(views: Tensor, masks: int, bins: int = 8, columns: int = 8) -> Tensor:
    """Set up to `masks` random bands of at most so many bins, and of so many columns, to zero in each picture."""
    n, _, height, width = views.shape
    keep = torch.ones(n, 1, height, width, device=views.device)
    for _ in range(masks):
        for size, largest, shape in ((height, bins, (1, 1, -1, 1)), (width, columns, (1, 1, 1, -1))):
            length = torch.rand(n, 1, 1, 1, device=views.device) * largest
            start = torch.rand(n, 1, 1, 1, device=views.device) * (size - length)
            place = torch.arange(size, device=views.device).view(shape)
            keep = keep * ((place < start) | (place >= start + length))
    return views * keep
