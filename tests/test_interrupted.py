"""Runs that are killed, and runs that meet: nothing half-written is read, and nothing is lost."""

import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import work

import utils

STAGES = ["demo songs", "download", "decoding", "training"]


def _start(folder: Path, name: str, *kill: str) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (folder.parent / f"{folder.name}-{name}.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, work.__file__, str(folder), name, *kill],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
        )
    assert process.stdout.readline().startswith("stage ready")
    return process


def _go(process: subprocess.Popen) -> list[str]:
    """Let it run to its end, and give the lines that it printed."""
    printed, _ = process.communicate("go\n", timeout=900)
    return printed.splitlines()


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory) -> tuple[dict, dict]:
    """What a run gives that nobody stops, and the seconds of processor time that each stage took."""
    process = _start(tmp_path_factory.mktemp("unstopped"), "first")
    *lines, results = _go(process)
    assert process.returncode == 0
    begins = [float(line.split()[-1]) for line in lines if line.startswith("stage ")]
    seconds = [end - begin for begin, end in pairwise(begins)]
    return json.loads(results), dict(zip(STAGES, seconds, strict=True))


def test_a_run_killed_in_each_stage_ends_as_if_it_had_not_been(unstopped, tmp_path):
    expected, seconds = unstopped
    folder = tmp_path / "killed"
    folder.mkdir()
    for stage in STAGES:
        process = _start(folder, "first", stage, str(random.uniform(0, 0.8 * seconds[stage])))
        lines = _go(process)
        assert process.returncode != 0
        assert lines[-1].startswith(f"stage {stage} ")
    process = _start(folder, "first")
    assert json.loads(_go(process)[-1]) == expected
    assert json.loads((folder / "data/demo/metrics.json").read_text())["first"] == work.RECORDS - 1
    rows = pd.read_csv(folder / "data/demo/experiments.csv")
    assert rows["what"].tolist() == ["cnn", "texture", "cnn + texture", *["first"] * work.RECORDS]


def test_two_runs_at_once_do_not_harm_each_other(unstopped, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    processes = [_start(folder, name) for name in ("first", "second")]
    processes[0].stdin.write("go\n")
    processes[0].stdin.flush()
    for process in reversed(processes):
        assert json.loads(_go(process)[-1]) == unstopped[0]
    metrics = json.loads((folder / "data/demo/metrics.json").read_text())
    assert metrics == {"dataset": "demo", "first": work.RECORDS - 1, "second": work.RECORDS - 1}
    text = (folder / "data/demo/experiments.csv").read_text()
    assert text.count("date,what") == 1
    rows = pd.read_csv(folder / "data/demo/experiments.csv")
    for name in ("first", "second"):
        assert rows.loc[rows["what"] == name, "seed"].tolist() == list(range(work.RECORDS))
    assert rows[["date", "what", "split", "settings", "minutes"]].notna().all(axis=None)
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"], "temporary files are left"


def test_what_a_killed_run_left_is_removed_when_it_is_old(tmp_path):
    path = tmp_path / "metrics.json"
    old, young = tmp_path / ".0123abcd-metrics.json", tmp_path / ".89abcdef-metrics.json"
    for leftover in (old, young):
        leftover.write_text("{half")
    os.utime(old, (0, 0))
    with utils.replacing(path) as temporary:
        temporary.write_text("{}")
    assert sorted(tmp_path.iterdir()) == [young, path]
    assert path.read_text() == "{}"


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), utils.replacing(path) as temporary:
        temporary.write_text("ne")
        raise KeyboardInterrupt
    assert [found.name for found in tmp_path.iterdir()] == ["names.csv"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", None], ids=["empty", "half", "bytes changed"])
def test_a_damaged_cache_or_checkpoint_is_made_again(damage, dataset):
    pictures = utils.read_pictures(dataset)
    cache, checkpoint = dataset.results / "pictures.npz", dataset.results / "runs" / "run.pt"
    split = utils.Split("few", pictures.table.index[::2].to_numpy(), pictures.table.index[1::4].to_numpy())
    recipe = utils.replace(utils.OURS, epochs=1)
    network = utils.GenreNetwork(widths=(8, 8))
    curve = utils.train_network(network, pictures, split, recipe, 0, checkpoint)
    for path in (cache, checkpoint):
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 9] = b"\xff\x00\xaa" * 3
        path.write_bytes(bytes(data) if damage is None else damage)
    assert (utils.read_pictures(dataset).matrices == pictures.matrices).all()
    again = utils.train_network(network, pictures, split, recipe, 0, checkpoint)
    assert len(again) == len(curve) == 1
    assert utils.load_weights(checkpoint)["curve"]


def test_a_set_that_is_still_being_made_is_not_read(small_set, tmp_path):
    (tmp_path / ".kaggle").mkdir()
    (tmp_path / ".kaggle" / "Data").symlink_to(small_set / "Data", target_is_directory=True)
    with pytest.raises(utils.InputError, match="images_original"):
        utils.find_dataset(tmp_path)


def test_a_reference_run_that_was_stopped_is_still_recorded(dataset, monkeypatch):
    pictures = utils.read_pictures(dataset)
    rows = pictures.table.index.to_numpy()
    split = utils.Split("few", rows[::4], rows[1::4])
    recipe = utils.replace(utils.REFERENCE_FIRST, epochs=2)
    save, saves = utils._save_checkpoint, []

    def save_once(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(utils, "_save_checkpoint", save_once)
    arguments = (dataset, pictures, split, recipe, 0, utils.ReferenceNetwork((4, 4, 4)), "reference, first")
    with pytest.raises(KeyboardInterrupt):
        utils.train_reference(*arguments)
    for _ in range(2):
        utils.train_reference(*arguments)
    assert len(saves) == 2
    assert pd.read_csv(dataset.results / "experiments.csv")["what"].tolist() == ["reference, first"]
