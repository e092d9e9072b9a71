"""The networks: the reference project's, and ours. Each class can be read alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from genres.common import GENRES
from genres.spectrogram import BIN_OF_ROW, COLUMNS, INNER_COLUMNS, INNER_ROWS, MAGMA, MEL_BINS, matrix_to_picture
from genres.training import mask_bands

DISTANCES = ((1, 1), (1, 2), (2, 1), (1, 4), (4, 1), (2, 4))  # of compared neighbours, (mel bins, columns)
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # to the right, up, and the two diagonals
MARGIN = 4  # the largest of these distances
HEAD_GAIN = 8.0  # thousands of features move a logit together; scaled down, no step of the optimiser overshoots
CLEAR_DIFFERENCE = 8.0  # levels, 1.2 dB: larger differences count no more


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
    """Our network: fixed comparisons of neighbours, convolutions, averages in zones of pitch, and one dense layer.

    Takes levels of 0 to 255, float (n, 128, columns), and returns logits (n, 10). widths: channels of the convolutions.
    zones: parts of the pitch axis that are averaged apart, at most 8. Without differences the level alone goes in.
    """

    def __init__(self, widths: Sequence[int] = (64, 96, 128), zones: int = 8, differences: bool = True,
                 dropout: float = 0.4) -> None:  # fmt: skip
        super().__init__()
        self.zones = zones
        self.register_buffer("kernels", difference_kernels() if differences else None, persistent=False)
        inputs = [2 + (len(self.kernels) if differences else 0), *widths]
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.MaxPool2d((1, 2)) if k else nn.Identity(),  # half the columns
                nn.Conv2d(before, after, 3, stride=1 if k else 2, padding=1, bias=False),
                nn.BatchNorm2d(after), nn.ReLU(),
            ) for k, (before, after) in enumerate(itertools.pairwise(inputs))
        )  # fmt: skip
        self.norm, self.dropout = nn.BatchNorm1d(2 * zones * sum(widths)), nn.Dropout(dropout)
        self.head = nn.Linear(2 * zones * sum(widths), len(GENRES))

    def forward(self, levels: Tensor) -> Tensor:
        """Compute logits (n, 10) for levels (n, 128, columns)."""
        channels = self.input_channels(levels)
        return self.classify(self.feature_maps(mask_bands(channels) if self.training else channels))

    def input_channels(self, levels: Tensor) -> Tensor:
        """Compute what the convolutions see, about -1 to 2: float (n, 20, 128, columns)."""
        against_mean = (levels - levels.mean(2, keepdim=True)) / (levels.std(2, keepdim=True) + 8)
        channels = torch.stack([(levels - 100) / 80, against_mean], dim=1)
        if self.kernels is None:
            return channels
        padded = nn.functional.pad(levels[:, None], (MARGIN,) * 4, mode="replicate")
        differences = nn.functional.conv2d(padded, self.kernels) / CLEAR_DIFFERENCE
        return torch.cat([channels.to(differences.dtype), differences.clamp(-1, 1)], dim=1)

    def feature_maps(self, channels: Tensor) -> list[Tensor]:
        """Compute the maps after each convolution: (n, 64, 64, columns / 2), then (n, 96, 64, columns / 4), and on."""
        maps = [channels.contiguous(memory_format=torch.channels_last)]
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
        """Average maps, (n, width, 64, time), over time and each zone of pitch: (n, width * zones)."""
        blocks = nn.functional.avg_pool2d(maps, 8)  # by far the faster way; less than 8 columns at the end are left out
        return nn.functional.adaptive_avg_pool2d(blocks, (self.zones, 1)).float().flatten(1)


def difference_kernels() -> Tensor:
    """Return the weights of a fixed convolution, float (18, 1, 9, 9): 1 at a neighbour and -1 in the middle.

    Four directions at each of the six DISTANCES; to the right and upwards some are the same. It says how much louder or
    softer neighbours are, which local binary patterns count (Ojala et al., "Multiresolution gray-scale and rotation
    invariant texture classification", 2002).
    """
    pairs = itertools.product(DISTANCES, DIRECTIONS)
    neighbours = dict.fromkeys((up * bins, right * columns) for (bins, columns), (up, right) in pairs)
    kernels = torch.zeros(len(neighbours), 1, 2 * MARGIN + 1, 2 * MARGIN + 1)
    kernels[:, 0, MARGIN, MARGIN] = -1
    for kernel, (up, right) in zip(kernels, neighbours, strict=True):
        kernel[0, MARGIN + up, MARGIN + right] = 1
    return kernels
