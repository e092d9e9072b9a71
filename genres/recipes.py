"""How networks are trained: recipes, and what is done to a batch: crops, pitch shifts, filters, mixup and masks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from genres.common import GENRES
from genres.device import torchvision_transforms
from genres.spectrogram import DB_PER_LEVEL

FILTER_DB = 4.0  # root mean square of a random filter over the bands; chosen by artist-grouped cross-validation
FILTER_WAVES = (1, 2, 3, 4, 6)  # half periods of the cosines over the 128 bands that a filter is made of
DYNAMICS = (0.75, 1.15)  # how far a level lies below the loudest, against before


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    crop_columns 0 takes whole matrices. pitch_bins is the widest random change of pitch. filtered is the share of a
    batch that goes through a random filter (see `random_filter`). mixup is the parameter of the
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
    filtered: float = 0.0
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
OURS = Recipe(epochs=60, filtered=0.5, teacher=128, head_rate=0.1, ridge=3e-4, evaluate_every=20)


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


def random_filter(levels: Tensor) -> Tensor:
    """Give matrices, levels (n, 128, columns), as if another studio had made each record: whole levels, 0 to 255.

    A smooth random filter makes some bands louder and others softer, and the dynamics become wider or narrower. The
    loudest cell stays as loud. Source: Nam, Kim and Park, "FilterAugment: an acoustic environmental data augmentation
    method", 2022.
    """
    n, bins, _ = levels.shape
    waves = torch.tensor(FILTER_WAVES, device=levels.device)
    shapes = torch.cos(torch.linspace(0, torch.pi, bins, device=levels.device)[:, None] * waves) / waves.sqrt()
    shapes = shapes - shapes.mean(dim=0)
    shapes = shapes / shapes.square().mean(dim=0).sum().sqrt() * FILTER_DB / DB_PER_LEVEL
    loudest = levels.amax(dim=(1, 2), keepdim=True)
    filtered = levels + (torch.randn(n, len(waves), device=levels.device) @ shapes.T)[:, :, None]
    below = filtered.amax(dim=(1, 2), keepdim=True) - filtered
    dynamics = torch.empty(n, 1, 1, device=levels.device).uniform_(*DYNAMICS)
    return (loudest - below * dynamics).clamp(0, 255).round()


def filtered_copies(matrices: np.ndarray) -> np.ndarray:
    """Give one copy of each matrix, uint8 (n, 128, columns), by `random_filter`; always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return np.concatenate([random_filter(part.float()).byte() for part in torch.from_numpy(matrices).split(100)])


def augment(levels: Tensor, targets: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Give a batch as a network trains on it: random crops, some filtered, mixed in pairs, with the targets.

    levels (n, 128, columns) give (n, 128, crop_columns). targets are labels (n,), or shares of the genres and behind
    them what a teacher asks for, float (n, 10 or more); with mixup they become such.
    """
    if recipe.crop_columns:
        levels = random_crops(levels, recipe.crop_columns, recipe.pitch_bins)
    if recipe.filtered:
        chosen = torch.rand(len(levels), 1, 1, device=levels.device) < recipe.filtered
        levels = torch.where(chosen, random_filter(levels), levels)
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
