"""Runs that are killed, and runs that meet: nothing half-written is read, and nothing is lost."""

import json
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import work

import utils
from genres.common import InputError, kept, locked, replacing

STAGES = ["demo songs", "download", "decoding", "training"]


def _start(folder: Path, name: str) -> subprocess.Popen:
    """Start a run that has imported everything, and waits for a line."""
    folder.mkdir(exist_ok=True)
    with (folder.parent / f"{folder.name}-{name}.log").open("a") as log:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        process = subprocess.Popen([sys.executable, work.__file__, str(folder), name], text=True, **pipes)
    assert process.stdout.readline() == "stage ready\n"
    return process


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, list[dict]]:
    """Two runs in one folder at once: the folder, and what each of them gave."""
    folder = tmp_path_factory.mktemp("both")
    processes = [_start(folder, name) for name in ("first", "second")]
    processes[0].stdin.write("go\n")
    processes[0].stdin.flush()
    printed = [process.communicate("go\n", timeout=600)[0] for process in reversed(processes)]
    return folder, [json.loads(text.splitlines()[-1]) for text in printed]


def test_two_runs_at_once_do_not_harm_each_other(both):
    folder, (first, second) = both
    assert first == second
    metrics = json.loads((folder / "results" / "metrics.json").read_text())
    assert metrics == {"results": [], "first": work.RECORDS - 1, "second": work.RECORDS - 1}
    assert (folder / "results" / "experiments.csv").read_text().count("date,what") == 1
    rows = pd.read_csv(folder / "results" / "experiments.csv")
    for name in ("first", "second"):
        assert rows.loc[rows["what"] == name, "seed"].tolist() == list(range(work.RECORDS))
    assert rows[["date", "what", "split", "settings", "minutes"]].notna().all(axis=None)
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"], "temporary files are left"


def test_a_run_killed_in_each_stage_ends_as_if_it_had_not_been(both, tmp_path):
    folder = tmp_path / "killed"
    for stage in STAGES:
        process = _start(folder, "first")
        process.stdin.write("go\n")
        process.stdin.flush()
        while process.stdout.readline() != f"stage {stage}\n":
            assert process.poll() is None
        time.sleep(random.uniform(0, 1))
        process.kill()
        process.wait()
    printed, _ = _start(folder, "first").communicate("go\n", timeout=600)
    assert json.loads(printed.splitlines()[-1]) == both[1][0]
    rows = pd.read_csv(folder / "results" / "experiments.csv")
    assert set(rows["what"]) == {"cnn", "texture", "first"}
    assert rows["seed"].tolist()[-work.RECORDS :] == list(range(work.RECORDS))


def test_what_a_killed_run_left_is_removed_when_it_is_old(tmp_path):
    path = tmp_path / "metrics.json"
    old, young = tmp_path / ".0123abcd-metrics.json", tmp_path / ".89abcdef-metrics.json"
    for leftover in (old, young):
        leftover.write_text("{half")
    os.utime(old, (0, 0))
    with replacing(path) as temporary:
        temporary.write_text("{}")
    assert sorted(tmp_path.iterdir()) == [young, path]
    assert path.read_text() == "{}"


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failed_write_keeps_the_old_file(tmp_path, stopped_by):
    path = tmp_path / "names.csv"
    path.write_text("old")
    with pytest.raises((KeyboardInterrupt, InputError)) as raised, replacing(path) as temporary:
        temporary.write_text("ne")
        raise stopped_by
    assert raised.type is KeyboardInterrupt or "names.csv' cannot be written (No space left" in str(raised.value)
    assert [found.name for found in tmp_path.iterdir()] == ["names.csv"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("write", ["a file", "a lock", "a cache"])
def test_a_folder_that_cannot_be_written_is_named_in_one_sentence(tmp_path, write):
    (tmp_path / "place").touch()  # a folder below a file cannot be made, not even by root
    folder = tmp_path / "place" / "results"
    if write == "a lock":
        folder = tmp_path
        (folder / ".lock").mkdir()
    with pytest.raises(InputError, match=r"cannot be written \([\w ]+\): [^\n]*choose another folder\.$") as refused:
        if write == "a cache":
            kept(folder / "some.npz", "key", dict)
        with replacing(folder / "some.txt") if write == "a file" else locked(folder):
            pass
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize("damage", [b"PK\x03\x04 half", None], ids=["half", "bytes changed"])
def test_a_damaged_cache_or_checkpoint_is_made_again(damage, dataset):
    pictures = utils.read_pictures(dataset)
    cache, checkpoint = dataset.cache / "pictures.npz", dataset.cache / "run.pt"
    split = utils.Split("few", pictures.table.index[::2].to_numpy(), pictures.table.index[1::4].to_numpy())
    recipe, network = replace(utils.OURS, epochs=1), utils.GenreNetwork(widths=(8, 8))
    utils.train_network(network, pictures, split, recipe, 0, checkpoint)
    for path in (cache, checkpoint):
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 9] = b"\xff\x00\xaa" * 3
        path.write_bytes(bytes(data) if damage is None else damage)
    assert (utils.read_pictures(dataset).matrices == pictures.matrices).all()
    again = utils.GenreNetwork(widths=(8, 8))
    assert len(utils.train_network(again, pictures, split, recipe, 0, checkpoint)) == 1
    assert utils.load_weights(checkpoint)["curve"]
