"""Networks, training, texture and the model file."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import features
import utils

QUICK = replace(utils.OURS, epochs=3, plain_every=1)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pictures(small_set, tmp_path_factory):
    return utils.read_pictures(utils.find_dataset(small_set, output=tmp_path_factory.mktemp("results")))


def _network(seed: int = 0) -> utils.GenreNetwork:
    torch.manual_seed(seed)
    return utils.GenreNetwork(widths=(8, 8, 8, 16), masks=1)


def test_the_reference_sees_the_very_picture(pictures):
    network = utils.ReferenceNetwork((4, 4, 4))
    seen = []
    network.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.from_numpy(pictures.matrices[:1]).float())
    drawn = np.array(utils.matrix_to_picture(pictures.matrices[0]))[utils.INNER_ROWS, utils.INNER_COLUMNS, :3]
    pixels = (seen[0][0, :, utils.INNER_ROWS, utils.INNER_COLUMNS].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(pixels, drawn)


def test_the_reference_has_the_described_layers():
    first = utils.ReferenceNetwork((64, 128, 64)).layers
    assert [layer.in_features for layer in first if isinstance(layer, torch.nn.Linear)] == [10240, 1024]
    final = utils.ReferenceNetwork((16, 32, 16)).layers
    assert [layer.in_features for layer in final if isinstance(layer, torch.nn.Linear)] == [2560, 1024]


def test_the_network_takes_any_length_and_forgets_a_filter(pictures):
    network = _network().eval()
    levels = torch.from_numpy(pictures.matrices[:2]).float()
    assert network(levels).shape == network(levels[..., :80]).shape == (2, 10)
    louder = levels + torch.linspace(0, 20, utils.MEL_BINS)[:, None]
    views, filtered = network.views(levels)[:, 1], network.views(louder)[:, 1]
    assert torch.allclose(views, filtered, atol=1e-3)


def test_random_crops_are_pieces_of_the_picture():
    levels = torch.arange(utils.COLUMNS).float().expand(3, utils.MEL_BINS, -1)
    torch.manual_seed(0)
    crops = utils.random_crops(levels, replace(utils.OURS, pitch_bins=0))
    steps = crops[:, 0].diff(dim=1)
    assert crops.shape == (3, utils.MEL_BINS, utils.OURS.crop_columns)
    assert crops.min() >= 0
    assert crops.max() <= utils.COLUMNS - 1
    assert ((steps > 0.87) & (steps < 1.14)).all()
    assert len(set(crops[:, 0, 0].tolist())) == 3


def test_training_learns_and_the_same_seed_gives_the_same_curve(pictures):
    split = utils.random_split(pictures, 0)
    recipe = replace(QUICK, epochs=25, plain_every=25, batch_size=7, mixup=0)
    curves = [utils.train_network(_network(), pictures, split, recipe, seed=1) for _ in range(2)]
    pd.testing.assert_frame_equal(curves[0], curves[1])
    assert curves[0]["loss"].iloc[-1] < curves[0]["loss"].iloc[0]
    assert curves[0]["train_plain"].iloc[-1] > 0.3


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_the_curve_of_a_short_run_has_a_course_where_something_is_held_out(pictures, epochs):
    split = utils.random_split(pictures, 0)
    recipe = replace(utils.OURS.lasting(epochs), batch_size=5)
    curve = utils.train_network(_network(), pictures, split, recipe, seed=1)
    assert curve["validation"].notna().sum() >= min(epochs, 2)
    everything = replace(split, validation=np.array([], int))
    assert "train_plain" not in utils.train_network(_network(), pictures, everything, recipe, seed=1)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(pictures, tmp_path, monkeypatch):
    split = utils.random_split(pictures, 0)
    straight, stopped = _network(), _network()
    expected = utils.train_network(straight, pictures, split, QUICK, seed=1)
    checkpoint = tmp_path / "run.pt"
    save, saves = utils._save_checkpoint, []

    def save_once(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(utils, "_save_checkpoint", save_once)
    with pytest.raises(KeyboardInterrupt):
        utils.train_network(stopped, pictures, split, QUICK, seed=1, checkpoint=checkpoint)
    resumed = _network(seed=9)
    curve = utils.train_network(resumed, pictures, split, QUICK, seed=1, checkpoint=checkpoint)
    assert len(saves) == 3
    pd.testing.assert_frame_equal(curve, expected)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_of_other_settings_is_not_used(pictures, tmp_path):
    split = utils.random_split(pictures, 0)
    checkpoint = tmp_path / "run.pt"
    utils.train_network(_network(), pictures, split, replace(QUICK, epochs=1), seed=1, checkpoint=checkpoint)
    curve = utils.train_network(_network(), pictures, split, replace(QUICK, epochs=1), seed=2, checkpoint=checkpoint)
    assert curve["epoch"].tolist() == [1]


def test_patterns_do_not_feel_level_or_compression(pictures):
    levels = pictures.matrices[:2].astype(np.int16)
    plain = features.binary_pattern(levels, 1, 1)
    bent = features.binary_pattern(np.round(levels**0.5 * 4000).astype(np.int64), 1, 1)
    assert np.array_equal(plain, bent)


def test_every_zone_histogram_is_a_distribution():
    codes = np.random.default_rng(0).integers(0, 9, (2, 126, 50))
    squares = features.zone_histogram(codes, 9) ** 2
    assert squares.reshape(2, 8, 9).sum(axis=2) == pytest.approx(1)


def test_the_texture_classifier_is_ridge_regression():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 8)
    width = sum(part.stop - part.start for part in features.group_columns().values())
    centres = generator.normal(0, 0.4, (10, width)).astype(np.float32)
    rows = centres[labels] + generator.normal(0, 1, (80, width)).astype(np.float32)
    classifier = features.fit_texture_classifier(rows, labels)
    fresh = centres + generator.normal(0, 1, (10, width)).astype(np.float32)
    assert (classifier.logits(fresh).argmax(axis=1) == np.arange(10)).all()
    strong = features.fit_texture_classifier(rows, labels, ridge=1e6)
    assert np.abs(strong.logits(fresh) - strong.bias).max() < 1e-2


def test_a_run_is_kept_and_read_again(pictures, dataset):
    split = utils.random_split(pictures, 0)
    first = utils.run_protocol(dataset, pictures, split, 0, QUICK)
    started = time.monotonic()
    again = utils.run_protocol(dataset, pictures, split, 0, QUICK)
    assert time.monotonic() - started < 2
    assert np.array_equal(first.logits("validation"), again.logits("validation"))
    rows = pd.read_csv(dataset.results / "experiments.csv")
    assert rows["what"].tolist() == ["cnn", "texture", "cnn + texture"]
    assert rows["validation"].between(0, 1).all()
    metrics = utils.protocol_metrics(pictures, [first], [], [], calibration=utils.Calibration())
    assert metrics["random_split"]["mean"] == pytest.approx(rows["validation"].iloc[2], abs=1e-3)


def test_a_saved_model_answers_the_same(pictures, dataset, tmp_path):
    model, _ = utils.train_model(dataset, pictures, utils.random_split(pictures, 0), 0, replace(QUICK, epochs=1))
    utils.save_model(tmp_path / "model.pt", model)
    loaded = utils.load_model(tmp_path / "model.pt")
    few = pictures.matrices[::7]
    assert np.abs(loaded.probabilities(few) - model.probabilities(few)).max() < 0.02
    assert (tmp_path / "model.pt").stat().st_size < 10e6
