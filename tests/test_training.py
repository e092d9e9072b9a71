"""Networks, training, texture and the model file."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import utils
from genres import runs, texture
from genres.spectrogram import INNER_COLUMNS, INNER_ROWS, MEL_BINS, matrix_to_picture

QUICK = replace(utils.OURS, epochs=3, evaluate_every=1)


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def _network(seed: int = 0) -> utils.GenreNetwork:
    torch.manual_seed(seed)
    return utils.GenreNetwork(widths=(8, 8, 8, 16), masks=1)


def test_the_reference_sees_the_very_picture_and_has_the_described_layers(pictures):
    network, seen = utils.ReferenceNetwork((4, 4, 4)), []
    network.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float()))
    network(torch.from_numpy(pictures.matrices[:1]).float())
    drawn = np.array(matrix_to_picture(pictures.matrices[0]))[INNER_ROWS, INNER_COLUMNS, :3]
    pixels = (seen[0][0, :, INNER_ROWS, INNER_COLUMNS].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(pixels, drawn)
    for channels, dense in (((64, 128, 64), [10240, 1024]), ((16, 32, 16), [2560, 1024])):
        layers = utils.ReferenceNetwork(channels).layers
        assert [layer.in_features for layer in layers if isinstance(layer, torch.nn.Linear)] == dense


def test_the_network_takes_any_length_and_forgets_a_filter(pictures):
    network = _network().eval()
    levels = torch.from_numpy(pictures.matrices[:2]).float()
    assert network(levels).shape == network(levels[..., :80]).shape == (2, 10)
    louder = levels + torch.linspace(0, 20, MEL_BINS)[:, None]
    assert torch.allclose(network.views(levels)[:, 1], network.views(louder)[:, 1], atol=1e-3)


def test_training_learns_and_the_same_seed_gives_the_same_curve(pictures):
    split = utils.random_split(pictures, 0)
    recipe = replace(QUICK, epochs=4, batch_size=8, evaluate_every=4)
    first, again, other = (utils.train_network(_network(), pictures, split, recipe, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert first["loss"].iloc[-1] < first["loss"].iloc[0]
    everything = replace(split, validation=np.array([], int))
    assert "validation" not in utils.train_network(_network(), pictures, everything, replace(recipe, epochs=1), 1)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped_but_not_with_other_settings(pictures, tmp_path, monkeypatch):
    split, checkpoint = utils.random_split(pictures, 0), tmp_path / "run.pt"
    straight, resumed = _network(), _network(seed=9)
    expected = utils.train_network(straight, pictures, split, QUICK, seed=1)
    save, saves = utils._save_checkpoint, []

    def save_and_stop_once(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(utils, "_save_checkpoint", save_and_stop_once)
    with pytest.raises(KeyboardInterrupt):
        utils.train_network(_network(), pictures, split, QUICK, seed=1, checkpoint=checkpoint)
    curve = utils.train_network(resumed, pictures, split, QUICK, seed=1, checkpoint=checkpoint)
    assert len(saves) == 3
    pd.testing.assert_frame_equal(curve, expected)
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)
    other = utils.train_network(_network(), pictures, split, replace(QUICK, epochs=1), 2, checkpoint)
    assert other["epoch"].tolist() == [1]


def test_the_texture_classifier_is_ridge_regression():
    generator, labels = np.random.default_rng(0), np.repeat(np.arange(10), 8)
    width = sum(part.stop - part.start for part in texture.group_columns().values())
    centres = generator.normal(0, 0.4, (10, width)).astype(np.float32)
    rows = centres[labels] + generator.normal(0, 1, (80, width)).astype(np.float32)
    classifier = texture.fit_texture_classifier(rows, labels)
    fresh = centres + generator.normal(0, 1, (10, width)).astype(np.float32)
    assert (classifier.logits(fresh).argmax(axis=1) == np.arange(10)).all()
    strong = texture.fit_texture_classifier(rows, labels, ridge=1e6)
    assert np.abs(strong.logits(fresh) / texture.SHARPNESS - strong.bias).max() < 1e-2


def test_a_run_is_kept_and_read_again(pictures, dataset):
    pictures = replace(pictures, dataset=dataset)
    split = utils.random_split(pictures, 0)
    first = utils.run_protocol(pictures, split, 0, QUICK)
    started = time.monotonic()
    again = utils.run_protocol(pictures, split, 0, QUICK)
    assert time.monotonic() - started < 2
    assert list(first) == ["cnn", "texture", "picture"]
    assert all(np.array_equal(first[v].logits["validation"], again[v].logits["validation"]) for v in first)
    rows = pd.read_csv(dataset.results / "experiments.csv")
    assert rows["what"].tolist() == ["cnn", "texture"]
    row = runs.result_row("random", [first["texture"]], pictures.labels)
    assert row["accuracy"] == pytest.approx(rows["validation"].iloc[1], abs=1e-4)
    assert not list(dataset.cache.rglob("*.pt")), "a finished run leaves no checkpoint"


def test_a_saved_model_answers_the_same(pictures, dataset, tmp_path):
    pictures = replace(pictures, dataset=dataset)
    ensemble = utils.Ensemble(utils.WEIGHTS, 0.8, 0.4)
    model = utils.train_final(pictures, replace(QUICK, epochs=1), 0, ensemble)
    utils.save_model(tmp_path / "model.pt", model)
    loaded = utils.load_model(tmp_path / "model.pt")
    few = pictures.matrices[::7]
    assert np.abs(loaded.probabilities(few) - model.probabilities(few)).max() < 0.02
    assert loaded.picture == ensemble
    assert loaded.web is None, "demo songs have no web pictures"
    assert "demo songs" in loaded.facts["trained on"]
    assert (tmp_path / "model.pt").stat().st_size < 10e6
