"""What is done to a batch of matrices while a network trains on it: crops, shifts of pitch, mixup and masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genres.common import GENRES
from genres.device import torchvision_transforms


def random_crops(levels: Tensor, columns: int, pitch_bins: int) -> Tensor:
    """Cut a random piece of so many columns out of each matrix, up to pitch_bins higher or lower, black beyond the edge.

    A genre stays what it is a little higher or lower. levels (n, 128, all columns) give (n, 128, columns).
    """
    n, bins, whole = levels.shape
    first = torch.randint(0, whole - columns + 1, (n, 1, 1), device=levels.device)
    shift = torch.randint(-pitch_bins, pitch_bins + 1, (n, 1, 1), device=levels.device)
    padded = nn.functional.pad(levels, (0, 0, pitch_bins, pitch_bins))
    rows = torch.arange(bins, device=levels.device)[:, None] + shift + pitch_bins
    places = torch.arange(columns, device=levels.device) + first
    return padded[torch.arange(n, device=levels.device)[:, None, None], rows, places]


def augment(levels: Tensor, targets: Tensor, crop_columns: int, pitch_bins: int, mixup: float) -> tuple[Tensor, Tensor]:
    """Give a batch as a network trains on it: random crops, mixed in pairs, and the targets mixed the same way.

    levels (n, 128, columns) give (n, 128, crop_columns). targets are labels (n,), or shares of the genres and behind
    them what a teacher asks for, float (n, 10 or more); with mixup they become such.
    """
    if crop_columns:
        levels = random_crops(levels, crop_columns, pitch_bins)
    if not mixup:
        return levels, targets
    mix = torchvision_transforms().MixUp(alpha=mixup, num_classes=len(GENRES) if targets.ndim == 1 else None)
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
