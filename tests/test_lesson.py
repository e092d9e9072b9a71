"""What notebook 03 takes from the modules to open the network: augmentation, the epoch, and its own figures."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

import utils
from genres import plots


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(8, 128, 334) * 255, torch.arange(8)


def test_mixup_gives_each_picture_shares_of_genres_that_sum_to_one():
    levels, targets = utils.augment(*batch(), utils.OURS)
    assert levels.shape == (8, 128, utils.OURS.crop_columns)
    assert torch.allclose(targets.sum(dim=1), torch.ones(8))


def test_without_mixup_the_labels_stay_as_they_are():
    levels, labels = batch()
    _, targets = utils.augment(levels, labels, replace(utils.OURS, mixup=0))
    assert torch.equal(targets, labels)


def test_an_epoch_lowers_the_loss_on_a_batch_that_is_shown_again_and_again():
    levels, labels = batch()
    loader = DataLoader(
        utils.SpectrogramDataset(levels.numpy().astype(np.uint8), labels.numpy()), 8, collate_fn=lambda rows: rows
    )
    network, recipe = utils.GenreNetwork(dropout=0, masks=0), replace(utils.OURS, mixup=0, crop_columns=0)
    optimiser = torch.optim.AdamW(network.parameters(), 3e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
    parts = (network, loader, torch.nn.CrossEntropyLoss(), optimiser, schedule, recipe)
    losses = [utils.train_epoch(*parts)["loss"] for _ in range(12)]
    assert losses[-1] < losses[0]


def test_feature_maps_show_the_channels_with_the_largest_spread_and_no_empty_panel():
    maps = {"in": np.zeros((2, 8, 8)), "conv": np.random.default_rng(0).random((9, 4, 4))}
    maps["conv"][7] *= 10
    figure = plots.plot_feature_maps(maps, "maps", channels=3)
    titles = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert len(titles) == 5 and "channel 8 of 9" in titles


def test_ablations_stand_in_the_order_of_their_mean():
    rows = pd.DataFrame({"variant": ["a", "b", "b"], "validation": [0.5, 0.7, 0.6]})
    axes = plots.plot_ablation(rows, "ablation").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
