"""The networks: the reference project's, and ours. Each class can be read alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from genres.common import GENRES
from genres.spectrogram import BIN_OF_ROW, COLUMNS, INNER_COLUMNS, INNER_ROWS, MAGMA, MEL_BINS, matrix_to_picture
from genres.training import mask_bands

LEVEL_SCALE = 40.0  # levels, 6.3 dB: about the spread of what goes into a network
HEAD_GAIN = 8.0  # thousands of features move a logit together; scaled down, no step of the optimiser overshoots


class ReferenceNetwork(nn.Module):
    """The reference project's network, which looks at the whole picture, margin and frame included.

    Three convolutions, two poolings, two dense layers. channels (64, 128, 64) is its first solution, (16, 32, 16)
    its final one. Takes levels of 0 to 255, float (n, 128, 334), draws them as 3 x 288 x 432 and returns logits (n,
    10).
    """

    def __init__(self, channels: tuple[int, int, int] = (64, 128, 64)) -> None:
        super().__init__()
        first, second, third = channels
        self.layers = nn.Sequential(
            nn.Conv2d(3, first, 7, stride=6),
            nn.ReLU(),
            nn.Conv2d(first, second, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(second, third, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(third * 10 * 16, 1024),
            nn.ReLU(),
            nn.Linear(1024, len(GENRES)),
        )
        blank = np.array(matrix_to_picture(np.zeros((MEL_BINS, COLUMNS), np.uint8)))[..., :3]
        self.register_buffer("blank", torch.from_numpy(blank) / 255, persistent=False)
        self.register_buffer("palette", torch.from_numpy(MAGMA) / 255, persistent=False)
        self.register_buffer("bin_of_row", torch.from_numpy(BIN_OF_ROW), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Compute logits (n, 10) for levels (n, 128, 334)."""
        kind = levels.device.type
        # The layers would turn float32 into this type anyway; drawing in it halves the memory that is moved.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else levels.dtype
        rows = levels.round().int()[:, self.bin_of_row]
        pictures = self.blank.to(dtype).repeat(len(levels), 1, 1, 1)
        pictures[:, INNER_ROWS, INNER_COLUMNS] = nn.functional.embedding(rows, self.palette.to(dtype))
        return self.layers(pictures.permute(0, 3, 1, 2))


class GenreNetwork(nn.Module):
    """Our network: convolutions with pooling between them, averages in zones of pitch, and one dense layer.

    Takes levels of 0 to 255, float (n, 128, columns), and returns logits (n, 10). widths: channels of the convolutions.
    zones: parts of the pitch axis that are averaged apart: 1, 2, 4 or 8.
    """

    def __init__(self, widths: Sequence[int] = (64, 96, 128, 160), zones: int = 8, dropout: float = 0.4) -> None:
        super().__init__()
        self.zones = zones
        self.stages = nn.ModuleList()
        for k, (before, after) in enumerate(itertools.pairwise([1, *widths])):
            kernel, stride = (3, 1) if k else (5, 2)
            convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
            halved = nn.MaxPool2d(2) if k else nn.Identity()
            self.stages.append(nn.Sequential(halved, convolution, nn.BatchNorm2d(after), nn.ReLU()))
        self.norm, self.dropout = nn.BatchNorm1d(2 * zones * sum(widths)), nn.Dropout(dropout)
        self.head = nn.Linear(2 * zones * sum(widths), len(GENRES))

    def forward(self, levels: Tensor) -> Tensor:
        """Compute logits (n, 10) for levels (n, 128, columns)."""
        rows = self.subtract_means(levels)
        return self.classify(self.feature_maps(mask_bands(rows) if self.training else rows))

    def subtract_means(self, levels: Tensor) -> Tensor:
        """Compute levels less the mean of their row over time, about -2 to 4: float (n, 1, 128, columns)."""
        return (levels - levels.mean(2, keepdim=True))[:, None] / LEVEL_SCALE

    def feature_maps(self, rows: Tensor) -> list[Tensor]:
        """Compute the maps after each convolution: (n, 64, 64, columns / 2), then (n, 96, 32, columns / 4), and on."""
        maps = [rows.contiguous(memory_format=torch.channels_last)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def classify(self, maps: list[Tensor]) -> Tensor:
        """Compute mean and root mean square of all maps over time, in each zone of pitch, and logits (n, 10)."""
        means = torch.cat([self.zone_means(each) for each in maps], dim=1)
        squares = torch.cat([self.zone_means(each.square()) for each in maps], dim=1)
        features = self.norm(torch.cat([means, (squares + 1e-4).sqrt()], dim=1))
        return self.head(self.dropout(features * HEAD_GAIN / features.shape[1] ** 0.5))

    def zone_means(self, maps: Tensor) -> Tensor:
        """Average maps, (n, width, rows, columns), over time and each zone of pitch: (n, zones * width)."""
        cells = maps.permute(0, 2, 3, 1).reshape(len(maps), self.zones, -1, maps.shape[1])
        return cells.mean(2).float().flatten(1)


def untrained_convolutions(**settings: object) -> GenreNetwork:
    """Return a network whose convolutions keep their random weights: only the dense layer learns. A control."""
    network = GenreNetwork(**settings)
    network.stages.requires_grad_(False)
    return network


CONTROLS = {  # by view: what is trained beside the network, to see what each part brings
    "cnn_untrained": untrained_convolutions,
    "cnn_1": partial(GenreNetwork, widths=(64,)),
    "cnn_2": partial(GenreNetwork, widths=(64, 96)),
    "cnn_3": partial(GenreNetwork, widths=(64, 96, 128)),
    "cnn_one_zone": partial(GenreNetwork, zones=1),
}
