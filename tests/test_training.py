"""Networks, training, the model file, and results: their metrics, metrics.json and the tables made of it."""

import copy
import doctest
import functools
import json
import re
from dataclasses import replace

import bench
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, refused
from scipy.special import softmax

import utils
from genres import metrics, networks, runs
from genres.readme import write_readme
from genres.spectrogram import INNER_COLUMNS, INNER_ROWS, matrix_to_picture

torch.set_num_threads(1)
METRICS = ROOT / "data" / "gtzan" / "metrics.json"
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICK = replace(utils.CNN_RECIPE, epochs=3, evaluate_every=1)


class Doubtful(utils.GenreNetwork):
    def classify(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return super().classify(maps) / 2


SMALL = functools.partial(utils.GenreNetwork, widths=(8, 8))  # our network, small enough for a test
WIDER = functools.partial(utils.GenreNetwork, widths=(8, 12))
DOUBTFUL = functools.partial(Doubtful, widths=(8, 8))


def _network(seed: int = 0) -> utils.GenreNetwork:
    torch.manual_seed(seed)
    return SMALL()


def test_the_reference_sees_the_very_picture(pictures):
    network, seen = utils.ReferenceNetwork((4, 4, 4)), []
    network.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float()))
    network(torch.from_numpy(pictures.matrices[:1]).float())
    drawn = np.array(matrix_to_picture(pictures.matrices[0]))[INNER_ROWS, INNER_COLUMNS, :3]
    pixels = (seen[0][0, :, INNER_ROWS, INNER_COLUMNS].permute(1, 2, 0) * 255).round().numpy()
    assert np.array_equal(pixels, drawn)


def test_mixup_gives_each_picture_shares_of_genres_and_without_it_labels_stay_as_they_are():
    levels, labels = torch.rand(8, 128, 334) * 255, torch.arange(8)
    mixed, targets = utils.augment(levels, labels, utils.CNN_RECIPE)
    assert mixed.shape == (8, 128, utils.CNN_RECIPE.crop_columns)
    assert torch.allclose(targets.sum(dim=1), torch.ones(8))
    assert torch.equal(utils.augment(levels, labels, replace(utils.CNN_RECIPE, mixup=0))[1], labels)


def test_a_recording_that_is_louder_or_brighter_looks_the_same_to_the_network():
    torch.manual_seed(0)
    levels = torch.rand(1, 128, 60) * torch.linspace(100, 1, 128)[:, None] + 20
    filtered = levels + torch.linspace(-10, 50, 128)[:, None]  # another gain in each row
    network = _network().eval()
    assert torch.allclose(network(levels), network(filtered), atol=1e-3)
    assert not torch.allclose(network(levels), network(levels.flip(1)), atol=1e-2)


def test_every_column_of_a_picture_counts_alike_in_a_zone():
    maps = torch.rand(2, 5, 64, 167)  # a whole picture's, which no block of columns divides
    means = _network().zone_means(maps).view(2, 8, 5)
    assert torch.allclose(means[:, 3], maps[:, :, 24:32].mean((2, 3)), atol=1e-5)


def test_a_trained_network_normalises_by_whole_pictures_unmasked(pictures):
    network, split = _network(), utils.random_split(pictures, 0)
    utils.train_network(network, pictures, split, QUICK, seed=0)
    seen, rows = [], split.train
    network.norm.register_forward_hook(lambda norm, inputs, output: seen.append(inputs[0]))
    utils.predict(network, pictures.matrices[rows], batch_size=len(rows))
    assert torch.allclose(network.norm.running_mean, seen[0].mean(0), rtol=0.1, atol=0.02)


def test_training_learns_and_the_same_seed_gives_the_same_curve(pictures):
    split = utils.random_split(pictures, 0)
    recipe = replace(QUICK, epochs=12, batch_size=8, evaluate_every=5, mixup=0)
    first, again, other = (utils.train_network(_network(), pictures, split, recipe, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first.equals(other)
    assert first["loss"].iloc[-1] < first["loss"].iloc[0]
    assert first.dropna()["epoch"].tolist() == [5, 10, 12], "measured on the way and at the end"
    everything = replace(split, validation=np.array([], int))
    assert "validation" not in utils.train_network(_network(), pictures, everything, replace(QUICK, epochs=2), 1)


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped_but_not_with_other_settings(pictures, tmp_path, monkeypatch):
    split, checkpoint = utils.random_split(pictures, 0), tmp_path / "run.pt"
    straight, resumed = _network(), _network(seed=9)
    expected = utils.train_network(straight, pictures, split, QUICK, 1)
    calls, train_epoch = [], utils.train_epoch

    @functools.wraps(train_epoch)  # the same code to a checkpoint
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


def test_a_run_is_kept_until_anything_that_goes_in_changes(pictures, dataset, monkeypatch):
    split, quick, rows = utils.random_split(pictures, 0), replace(QUICK, epochs=1), [0]
    pictures = replace(pictures, dataset=dataset)
    given = {"pictures": pictures, "split": split, "seed": 0, "recipe": quick, "network": SMALL}

    def trains(**change: object) -> bool:
        """Whether a network is trained, of which a row in the table tells; asked again, it never is."""
        for _ in range(2):
            utils.run_network(**given | change)
            rows.append(len(pd.read_csv(dataset.results / "experiments.csv")))
        assert rows[-1] == rows[-2], "what was kept is read"
        return rows[-1] > rows[-3]

    assert trains()
    assert not trains()
    relabelled = pictures.table.assign(genre=["jazz", *pictures.table["genre"][1:]])
    louder = np.where(np.arange(len(pictures.matrices))[:, None, None] == 3, 255, pictures.matrices)
    other = utils.Split(split.name, split.train[1:], split.validation)
    unmasked = lambda self, levels: self.classify(self.feature_maps(self.subtract_means(levels)))  # noqa: E731
    monkeypatch.setattr(utils.GenreNetwork, "forward", unmasked)
    assert trains(), "the same class with another forward"
    changes = [{"network": WIDER}, {"network": DOUBTFUL}, {"seed": 1}, {"recipe": replace(quick, mixup=0)},
               {"pictures": replace(pictures, table=relabelled)}, {"pictures": replace(pictures, matrices=louder)},
               {"split": other}]  # fmt: skip
    for change in changes:
        assert trains(**change), change
    monkeypatch.setattr(networks, "LEVEL_SCALE", 30.0)
    assert trains(), "a constant that the network's code reads"


@pytest.mark.parametrize("edited", [WIDER, DOUBTFUL, functools.partial(networks.untrained_convolutions, widths=(8, 8))])
def test_a_checkpoint_of_an_edited_network_is_none(pictures, tmp_path, edited):
    split, checkpoint = utils.random_split(pictures, 0), tmp_path / "run.pt"
    utils.train_network(_network(), pictures, split, QUICK, 1, checkpoint)
    assert len(utils.train_network(edited(), pictures, split, replace(QUICK, epochs=2), 1, checkpoint)) == 2


def test_the_bench_measures_every_way(dataset, monkeypatch):
    monkeypatch.setattr(utils, "find_dataset", lambda _: dataset)
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "SONG_SECONDS", 35)
    bench.main("")
    assert (pd.read_csv(dataset.results / "bench.csv")["seconds"] > 0).sum() == 4


def test_the_last_digits_of_features_do_not_train_a_view_again(pictures, dataset):
    pictures = replace(pictures, dataset=dataset)
    split = utils.random_split(pictures, 0)
    first = utils.run_texture(pictures, split)
    vars(pictures)["descriptors"] = pictures.descriptors * np.float32(1 + 1e-6)  # as another processor rounds
    again = utils.run_texture(pictures, split)
    assert np.array_equal(first.logits["validation"], again.logits["validation"])
    assert len(pd.read_csv(dataset.results / "experiments.csv")) == 1


def test_the_untrained_control_learns_its_last_layer_alone(pictures):
    torch.manual_seed(0)
    network = networks.untrained_convolutions(widths=(8, 8))
    before = copy.deepcopy(network.state_dict())
    utils.train_network(network, pictures, utils.random_split(pictures, 0), QUICK, 0)
    for name, weight in network.named_parameters():
        assert torch.equal(before[name], weight) == name.startswith("stages"), name


EXAMPLES = "find_dataset read_pictures random_split train_network predict grad_cam load_model classify_song"


@pytest.mark.parametrize("name", EXAMPLES.split())
def test_the_example_of_a_function_that_students_call_runs(name, small_set, tmp_path):
    names = vars(utils) | {"folder": small_set, "results": tmp_path}
    (found,) = doctest.DocTestFinder().find(getattr(utils, name), name, globs=names)
    assert found.examples
    assert not doctest.DocTestRunner().run(found).failed


def test_a_saved_model_answers_the_same_and_an_older_one_says_so(pictures, dataset, tmp_path, monkeypatch):
    path, blend = tmp_path / "model.pt", utils.Blend(utils.WEIGHTS, 0.8, 0.4)
    pictures = replace(pictures, dataset=dataset)
    trained = utils.train_final(pictures, replace(QUICK, epochs=1), 0, blend)
    assert trained.web is None, "demo songs have no web pictures"
    assert "demo songs" in trained.facts["trained on"]
    utils.add_ear(trained, pictures, utils.Blend({"ear": 1.0}, 2.0, 0.5))
    few, features = pictures.matrices[::7], pictures.ear_features[::7]
    for model in (trained, utils.load_model()):
        utils.save_model(path, model)
        loaded = utils.load_model(path)
        for asked in ((few,), (few, features)):
            answer, expected = loaded.answer(*asked), model.answer(*asked)
            assert answer.probabilities == pytest.approx(expected.probabilities, abs=0.02)
            assert list(answer.views) == ["cnn", "texture", "ear"][: len(asked) + 1], "the student's CNN first"
            assert answer.unsure_below == expected.unsure_below
        assert (loaded.picture, loaded.sound, loaded.facts) == (model.picture, model.sound, model.facts)
        assert (loaded.web is None) == (model.web is None)
        assert path.stat().st_size < 5e6
    monkeypatch.setattr(utils, "MODEL_VERSION", 1)
    utils.save_model(path, trained)
    monkeypatch.undo()
    with refused("model.pt' was made by another version"):
        utils.load_model(path)


def test_seeds_do_not_narrow_an_interval_and_artists_widen_it():
    assert metrics.wilson_interval(179, 300) == pytest.approx((0.540, 0.651), abs=0.001)  # as published
    right = np.random.default_rng(0).random(60) < 0.7
    once, thrice = (metrics.accuracy_interval(np.tile(right, n), np.tile(np.arange(60), n)) for n in (1, 3))
    assert thrice == pytest.approx(once, abs=0.02)
    assert np.ptp(metrics.accuracy_interval(np.sort(right).astype(float), np.arange(60) // 6)) > 1.5 * np.ptp(once)


def test_artists_widen_every_interval_and_decide_what_is_beyond_chance():
    generator = np.random.default_rng(0)
    labels, artists = np.repeat(np.arange(10), 30), np.arange(300) // 10  # three artists in each genre
    fails = np.isin(artists, range(0, 30, 3))  # one artist of each genre is never recognised
    right, wrong = np.eye(10)[labels], np.eye(10)[(labels + 1) % 10]
    scores = np.where(fails[:, None], wrong, right) + 0.1 * generator.random((300, 10))
    alone, grouped = metrics.genre_report(scores, labels), metrics.genre_report(scores, labels, artists)
    assert (grouped["high"] - grouped["low"] > 1.5 * (alone["high"] - alone["low"])).all()
    tables = (metrics.reliability_table(softmax(scores, axis=1), labels, groups) for groups in (None, artists))
    narrow, wide = (np.ptp(table[["low", "high"]], axis=1).mean() for table in tables)
    assert wide >= narrow
    lucky = np.where((artists == 0)[:, None], right, scores)  # better for one artist alone
    assert metrics.compare_accuracies(lucky, scores, labels)["beyond_chance"]
    assert not metrics.compare_accuracies(lucky, scores, labels, artists)["beyond_chance"]
    assert metrics.compare_accuracies(right, scores, labels, artists)["beyond_chance"]


def test_a_calibrated_model_lies_in_the_range_of_chance_and_an_overconfident_one_does_not():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 1.5, (300, 10))
    labels = np.array([generator.choice(10, p=row) for row in softmax(logits, axis=1)])
    for factor, calibrated in ((1, True), (5, False)):
        probabilities = softmax(factor * logits, axis=1)
        low, high = metrics.chance_calibration_error(probabilities)
        assert (low <= metrics.expected_calibration_error(probabilities, labels) <= high) == calibrated


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
    former = row | {"view": "cnn_teacher"}  # of an older version
    path.write_text(json.dumps(stored | {"results": [*stored["results"], former]}))
    assert runs.update_metrics(path, [other])["results"] == stored["results"]


def test_readme_gets_its_tables_and_sentences_from_metrics_json_alone(tmp_path):
    rows = [("cnn", "random", 0.7, 0.6, 0.8, 300), ("ear", "real_songs", 0.8, 0.7, 0.9, 104)]
    rows += [(view, "grouped", 0.5, 0.4, 0.6, 600) for view in ("cnn", "texture", *networks.CONTROLS)]
    rows += [("cnn_untrained", "grouped", 0.4, 0.3, 0.5, 600)]
    runs.update_metrics(tmp_path / "metrics.json", [runs.answer_row(*row) for row in rows])
    readme, marks = tmp_path / "README.md", re.findall("<!-- end of (.*) -->", README)
    readme.write_text("\n".join(f"words\n<!-- {name} -->\n<!-- end of {name} -->" for name in marks))
    for _ in range(2):
        write_readme(tmp_path / "metrics.json", readme)
        text = readme.read_text()
        said = " ".join(text.split())
        assert text.count("| CNN | 70.0 % (60.0 to 80.0) |") == text.count("| CNN | 50.0 % (40.0 to 60.0) |") == 1
        assert text.count("| pretrained network | 80.0 % (70.0 to 90.0) |") == 1
        assert "40.0 % are right, with trained ones 50.0 %" in said and "bring 75 % of" in said
        assert "convolutions untrained -10.0, one convolution +0.0" in said
        assert text.count("words") == len(marks)
        assert "-->\n(Not measured yet" in text.partition("<!-- headline")[2], "its rows are not there"
    rows = [
        (v, p, 0.6, 0.5, 0.7, 104)
        for v in ("cnn", "ear", "texture")
        for p in ("fault_filtered", "random", "real_songs")
    ]
    runs.update_metrics(tmp_path / "metrics.json", [runs.answer_row(*row) for row in rows])
    write_readme(tmp_path / "metrics.json", readme)
    assert "for **60 %** of GTZAN's test tracks by new artists" in " ".join(readme.read_text().split())
    readme.write_text(text.replace("<!-- end of songs -->", ""))
    with refused("lost its marks around 'songs'"):
        write_readme(tmp_path / "metrics.json", readme)


def test_the_committed_readme_says_what_the_committed_metrics_say(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(README, encoding="utf-8")
    write_readme(METRICS, readme)
    assert readme.read_text(encoding="utf-8") == README, "run make report"


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
