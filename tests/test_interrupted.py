"""Runs that are killed, and runs that meet: nothing half-written is read, and nothing is lost."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
import work

import utils
from genres.common import InputError, kept, locked, replacing

STAGES = ["demo songs", "download", "decoding", "training"]


def _start(folder: Path, name: str, *kill: str) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with (folder.parent / f"{folder.name}-{name}.log").open("a") as log:
        command = [sys.executable, work.__file__, str(folder), name, *kill]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        process = subprocess.Popen(command, text=True, env=environment, **pipes)
    assert process.stdout.readline().startswith("stage ready")
    return process


def _go(process: subprocess.Popen) -> list[str]:
    """Let it run to its end, and give the lines that it printed."""
    return process.communicate("go\n", timeout=600)[0].splitlines()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, list[dict], dict]:
    """Two runs in one folder at once: the folder, what each gave, and the seconds that a stage took the first."""
    folder = tmp_path_factory.mktemp("both")
    processes = [_start(folder, name) for name in ("first", "second")]
    processes[0].stdin.write("go\n")
    processes[0].stdin.flush()
    second, first = (_go(process) for process in reversed(processes))
    begins = [float(line.split()[-1]) for line in first if line.startswith("stage ")]
    seconds = [end - begin for begin, end in pairwise(begins)]
    return folder, [json.loads(first[-1]), json.loads(second[-1])], dict(zip(STAGES, seconds[-4:], strict=True))


def test_two_runs_at_once_do_not_harm_each_other(both):
    folder, (first, second), _ = both
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
    _, (expected, _), seconds = both
    folder = tmp_path / "killed"
    folder.mkdir()
    for stage in STAGES:
        process = _start(folder, "first", stage, str(random.uniform(0, 0.5 * seconds[stage])))
        lines = _go(process)
        assert process.returncode != 0
        assert lines[-1].startswith(f"stage {stage} ")
    assert json.loads(_go(_start(folder, "first"))[-1]) == expected
    rows = pd.read_csv(folder / "results" / "experiments.csv")
    assert rows["what"].tolist() == ["cnn", "texture", *["first"] * work.RECORDS]


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


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half", None], ids=["empty", "half", "bytes changed"])
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
    assert len(utils.train_network(network, pictures, split, recipe, 0, checkpoint)) == 1
    assert utils.load_weights(checkpoint)["curve"]
