"""Networks, training, the model file, and results: their metrics, metrics.json and the tables made of it."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, refused
from scipy.special import softmax

import utils
from genres import metrics, runs
from genres.spectrogram import INNER_COLUMNS, INNER_ROWS, matrix_to_picture

torch.set_num_threads(1)
METRICS = ROOT / "data" / "gtzan" / "metrics.json"
QUICK = replace(utils.OURS, epochs=3, evaluate_every=1)


def _network(seed: int = 0) -> utils.GenreNetwork:
    torch.manual_seed(seed)
    return utils.GenreNetwork(widths=(8, 8, 8, 16), masks=1)


def test_the_reference_sees_the_very_picture(pictures):
    network, seen = utils.ReferenceNetwork((4, 4, 4)), []
    network.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float()))
    network(torch.from_numpy(pictures.matrices[:1]).float())
    drawn = np.array(matrix_to_picture(pictures.matrices[0]))[INNER_ROWS, INNER_COLUMNS, :3]
    pixels = (seen[0][0, :, INNER_ROWS, INNER_COLUMNS].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(pixels, drawn)


def test_mixup_gives_each_picture_shares_of_genres_and_without_it_labels_stay_as_they_are():
    levels, labels = torch.rand(8, 128, 334) * 255, torch.arange(8)
    mixed, targets = utils.augment(levels, labels, utils.OURS)
    assert mixed.shape == (8, 128, utils.OURS.crop_columns)
    assert torch.allclose(targets.sum(dim=1), torch.ones(8))
    assert torch.equal(utils.augment(levels, labels, replace(utils.OURS, mixup=0))[1], labels)


def test_copies_keep_the_loudest_cell_and_help_with_filtered_pictures(pictures, dataset):
    pictures, labels = replace(pictures, dataset=dataset), pictures.labels
    assert np.array_equal(pictures.filtered.max(axis=(1, 2)), pictures.matrices.max(axis=(1, 2)))
    train = np.flatnonzero(np.arange(len(labels)) % 3)
    alone = utils.texture.fit_texture_classifier(pictures.descriptors[train], labels[train])
    fitted = alone, utils.fit_texture(pictures, train)
    before, after = (metrics.accuracy(view.logits(pictures.filtered_descriptors[::3]), labels[::3]) for view in fitted)
    assert after > before + 0.1, (before, after)


def test_training_learns_and_the_same_seed_gives_the_same_curve(pictures):
    split = utils.random_split(pictures, 0)
    recipe = replace(QUICK, epochs=4, batch_size=8, evaluate_every=4, mixup=0, filtered=0)
    first, again, other = (utils.train_network(_network(), pictures, split, recipe, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert first["loss"].iloc[-1] < first["loss"].iloc[0]
    everything = replace(split, validation=np.array([], int))
    assert "validation" not in utils.train_network(_network(), pictures, everything, replace(QUICK, epochs=2), 1)


def test_a_view_that_is_told_the_ears_answers_learns_them_too(pictures, dataset):
    taught, labels, rows = replace(pictures, dataset=dataset), pictures.labels, np.arange(len(pictures.labels))
    heard = np.eye(10)[(labels + (rows % 3 == 0)) % 10].repeat(81, axis=1)[:, :803]
    heard += np.random.default_rng(0).normal(0, 0.1, heard.shape)  # to the ear a third sounds like the next genre
    heard[::7] = np.nan
    vars(taught)["heard"] = heard  # in place of listening to the clips
    model = utils.GenreModel({"cnn": _network(), "texture": utils.fit_texture(taught, rows)})
    utils.add_pupils(model, taught, utils.Ensemble({"cnn_teacher": 0.5, "texture_teacher": 0.5}))
    confused = rows[(rows % 3 == 0) & (rows % 7 > 0)]
    pupils = model.views(taught.matrices)
    assert list(pupils) == ["cnn_teacher", "texture_teacher"], "pictures are answered by the pupils"
    for view, logits in pupils.items():
        answers = softmax(logits, axis=1)
        assert metrics.accuracy(answers, labels) > 0.9, view
        assert answers[confused, (labels[confused] + 1) % 10].mean() > 1.5 * answers[rows, (labels + 5) % 10].mean()


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped_but_not_with_other_settings(pictures, tmp_path, monkeypatch):
    split, checkpoint = utils.random_split(pictures, 0), tmp_path / "run.pt"
    straight, resumed = _network(), _network(seed=9)
    expected = utils.train_network(straight, pictures, split, QUICK, 1)
    calls, train_epoch = [], utils.train_epoch

    def stop_once(*parts):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train_epoch(*parts)

    monkeypatch.setattr(utils, "train_epoch", stop_once)
    with pytest.raises(KeyboardInterrupt):
        utils.train_network(_network(), pictures, split, QUICK, 1, checkpoint)
    pd.testing.assert_frame_equal(utils.train_network(resumed, pictures, split, QUICK, 1, checkpoint), expected)
    assert len(calls) == 4, "two epochs, the stopped one, and again only that one"
    assert all(map(torch.equal, straight.parameters(), resumed.parameters()))
    other = utils.train_network(_network(), pictures, split, replace(QUICK, epochs=1), 2, checkpoint)
    assert other["epoch"].tolist() == [1]


def test_a_run_is_kept_and_read_again(pictures, dataset, monkeypatch):
    pictures = replace(pictures, dataset=dataset)
    split = utils.random_split(pictures, 0)
    first = utils.run_protocol(pictures, split, 0, QUICK)
    monkeypatch.setattr(utils, "train_epoch", None)
    again = utils.run_protocol(pictures, split, 0, QUICK)
    pupils = utils.run_protocol(pictures, split, 0, QUICK, np.zeros((len(split.train), 10)))  # a teacher without a word
    assert np.allclose(pupils["picture_teacher"].logits["validation"], first["picture"].logits["validation"], atol=1e-3)
    assert [*first, *pupils] == [view + end for end in ("", utils.PUPIL) for view in ("cnn", "texture", "picture")]
    assert first["cnn"].logits["validation"].shape == (len(split.validation), 10), "what the teacher asked for is gone"
    assert all(np.array_equal(first[v].logits["validation"], again[v].logits["validation"]) for v in first)
    rows = pd.read_csv(dataset.results / "experiments.csv")
    assert rows["what"].tolist() == ["cnn", "texture", "cnn_teacher", "texture_teacher"]
    row = runs.result_row("random", [first["texture"]], pictures.labels)
    reached = [first["cnn"].curve["validation"].iloc[-1], row["accuracy"]]
    assert reached == pytest.approx(rows["validation"].tolist()[:2], abs=1e-4)


def test_a_saved_model_answers_the_same(pictures, dataset, tmp_path):
    path, ensemble = tmp_path / "model.pt", utils.Ensemble(utils.WEIGHTS, 0.8, 0.4)
    trained = utils.train_final(replace(pictures, dataset=dataset), replace(QUICK, epochs=1), 0, ensemble)
    assert trained.web is None, "demo songs have no web pictures"
    assert "demo songs" in trained.facts["trained on"]
    few, heard = pictures.matrices[::7], np.random.default_rng(0).random((6, 803), np.float32)
    for model in (trained, utils.load_model()):
        utils.save_model(path, model)
        loaded = utils.load_model(path)
        for asked in ((few,), (few, heard)):
            for view, logits in model.views(*asked).items():
                assert loaded.views(*asked)[view] == pytest.approx(logits, abs=0.1)
        assert (loaded.ensembles, loaded.facts) == (model.ensembles, model.facts)
        assert (loaded.web is None) == (model.web is None)
        assert path.stat().st_size < 10e6


def test_seeds_do_not_narrow_an_interval_and_artists_widen_it():
    assert metrics.wilson_interval(179, 300) == pytest.approx((0.540, 0.651), abs=0.001)  # as published
    right = np.random.default_rng(0).random(60) < 0.7
    once, thrice = (metrics.accuracy_interval(np.tile(right, n), np.tile(np.arange(60), n)) for n in (1, 3))
    assert thrice == pytest.approx(once, abs=0.02)
    assert np.ptp(metrics.accuracy_interval(np.sort(right).astype(float), np.arange(60) // 6)) > 1.5 * np.ptp(once)


def test_an_honest_model_lies_in_the_range_of_honest_models_and_a_boaster_does_not():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (300, 10))
    labels = np.array([generator.choice(10, p=row) for row in softmax(logits, axis=1)])
    for factor, honest in ((1, True), (5, False)):
        probabilities = softmax(factor * logits, axis=1)
        low, high = metrics.honest_calibration_error(probabilities)
        assert (low <= metrics.expected_calibration_error(probabilities, labels) <= high) == honest


def test_the_threshold_is_the_lowest_that_keeps_answers_right():
    confidence = np.linspace(0.95, 0.5, 10)
    probabilities = np.stack([confidence, 1 - confidence, *[np.zeros(10)] * 8], axis=1)
    labels = np.array([0, 0, 0, 0, 1, 0, 1, 1, 1, 1])  # the surest four right, then five of six, then ever fewer
    assert metrics.fit_threshold(probabilities, labels, wanted=0.8) == pytest.approx(confidence[5])
    assert metrics.fit_threshold(probabilities, np.ones(10, int), wanted=0.8) == pytest.approx(confidence[0])


def test_a_row_pools_the_seeds_and_stands_once_in_metrics_json(tmp_path):
    path, split = tmp_path / "metrics.json", runs.Split("random", np.arange(10), np.arange(10, 40))
    answers = {"validation": np.eye(10)[np.arange(30) % 2]}
    trained = [runs.Run("cnn", split, seed, answers, None, 0.1) for seed in range(3)]
    row = runs.result_row("random", trained, np.zeros(40, int))
    low, high = metrics.accuracy_interval(np.tile([1.0, 0.0], 45), np.tile(np.arange(30), 3))
    assert row == runs.answer_row("cnn", "random", 0.5, low, high, 30, 3)
    runs.update_metrics(path, [row], dataset="demo", first={"a": 1})
    other = runs.answer_row("texture", "folds", 0.5, 0.4, 0.6, 30)
    stored = runs.update_metrics(path, [row | {"accuracy": 0.9}, other], second=2)
    assert stored == json.loads(path.read_text())
    assert stored["results"] == [other, row | {"accuracy": 0.9}]
    assert (stored["dataset"], stored["first"], stored["second"]) == ("demo", {"a": 1}, 2)


def test_readme_gets_its_tables_from_metrics_json_alone(tmp_path):
    of_cnn, of_ear = ("cnn", "random", 0.7, 0.6, 0.8, 300), ("ear", "real_songs", 0.8, 0.7, 0.9, 107)
    runs.update_metrics(tmp_path / "metrics.json", [runs.answer_row(*of_cnn), runs.answer_row(*of_ear)])
    names = ("from scratch", "pretrained", "songs")
    before = "\n".join(f"words\n<!-- {name} -->\n<!-- end of {name} -->" for name in names)
    (tmp_path / "README.md").write_text(before)
    for _ in range(2):
        runs.write_readme(tmp_path / "metrics.json", tmp_path / "README.md")
        text = (tmp_path / "README.md").read_text()
        assert text.count("| CNN | 70.0% (60.0 to 80.0) |") == text.count("| ear | 80.0% (70.0 to 90.0) |") == 1
        assert text.count("words") == 3
    (tmp_path / "README.md").write_text(text.replace("<!-- end of songs -->", ""))
    with refused("lost its marks around the table 'songs'"):
        runs.write_readme(tmp_path / "metrics.json", tmp_path / "README.md")


def test_the_committed_readme_says_what_the_committed_metrics_say(tmp_path):
    committed = (ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(committed, encoding="utf-8")
    runs.write_readme(METRICS, tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == committed, "run make report"


def test_the_committed_results_are_known_views_and_protocols_with_one_rule_for_intervals():
    results = runs.read_metrics(METRICS)["results"]
    assert len({(row["view"], row["protocol"]) for row in results}) == len(results)
    for row in results:
        assert row["view"] in runs.VIEWS
        assert row["protocol"] in runs.PROTOCOLS
        assert row["low"] <= row["accuracy"] <= row["high"]
        if "songs" in row["protocol"] or row["protocol"] == "web_pictures":  # no artists known: Wilson's
            expected = metrics.wilson_interval(row["accuracy"] * row["n"], row["n"])
            assert (row["low"], row["high"]) == pytest.approx(expected, abs=1e-4), row
