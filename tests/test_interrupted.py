"""Runs that are killed, and runs that meet: nothing half-written is read, and nothing is lost."""

import json
import os
import random
import re
import subprocess
import sys
import time
import types
from dataclasses import replace
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import refused

import utils
from genres import datasets, demo_songs, runs
from genres.audio import load_audio
from genres.common import InputError, digest, kept, locked, replacing

STAGES = ["demo songs", "download", "decoding", "training"]
RECORDS = 8
announce = partial(print, "stage", flush=True)


def unpack_slowly(source: Path, output_dir: str, force_download: bool) -> None:
    """Stand in for kagglehub: put the files of `source` into output_dir one by one, as unpacking does."""
    assert force_download, "else kagglehub refuses a folder that is not empty"
    for path in sorted(source.rglob("*.png")):
        target = Path(output_dir) / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        digest(np.zeros(2_000_000))  # busy for a while


def main(folder: Path, name: str) -> dict:
    """A small run of all that writes: do the stages in `folder`, or what is left of them, and give what came out."""
    torch.set_num_threads(1)
    demo_songs.NOTE_SECONDS, demo_songs.CLIP_SECONDS = 0.3, 3  # quicker to record
    announce("demo songs")
    with joblib.parallel_config(backend="threading"):
        demo_songs.make_demo_set(folder / "set", 1, 0, song_seconds=(3, 4), songs_per_genre=1, progress=False)

    announce("download")
    datasets.ROOT = folder
    download = lambda _, **options: unpack_slowly(folder / "set", **options)  # noqa: E731
    sys.modules["kagglehub"] = types.SimpleNamespace(dataset_download=download)
    downloaded = datasets.download_gtzan()

    announce("decoding")
    results = folder / "results"
    pictures = utils.read_pictures(utils.find_dataset(folder / "set", results))
    again = utils.read_pictures(utils.find_dataset(downloaded, folder / "again"))
    assert np.array_equal(again.matrices, pictures.matrices)

    announce("training")
    split = utils.Split("some", np.arange(10), np.arange(0, 10, 2))
    recipe = replace(utils.CNN_RECIPE, epochs=3, batch_size=4, evaluate_every=2)
    run = utils.run_protocol(pictures, split, 0, recipe)["picture"]

    announce("records")
    for number in range(RECORDS):
        runs.record_experiment(results / "experiments.csv", name, "some", number, 'a, "setting"' * 20, {}, 0.1)
        runs.update_metrics(results / "metrics.json", **{name: number})
    return {
        "files": {path.name: digest(path.read_bytes()) for path in sorted(downloaded.rglob("*.png"))},
        "songs": [digest(load_audio(path)) for path in sorted((folder / "set" / "songs").glob("*.[!c]*"))],
        "curve": run.curve.to_dict("records"),
        "logits": digest(run.logits["validation"]),
    }


def _started(folder: Path, name: str) -> subprocess.Popen:
    """Start a run that has imported everything, and waits for a line."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, __file__, str(folder), name]
    process = subprocess.Popen(command, bufsize=1, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "stage ready\n"
    return process


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, list[dict]]:
    """Two runs in one folder at once: the folder, and what each of them gave."""
    folder = tmp_path_factory.mktemp("both")
    processes = [_started(folder, name) for name in ("first", "second")]
    processes[0].stdin.write("go\n")
    printed = [process.communicate("go\n", timeout=600)[0] for process in reversed(processes)]
    return folder, [json.loads(text.splitlines()[-1]) for text in printed]


def test_two_runs_at_once_do_not_harm_each_other(both):
    folder, (first, second) = both
    assert first == second
    metrics = json.loads((folder / "results" / "metrics.json").read_text())
    assert metrics == {"results": [], "first": RECORDS - 1, "second": RECORDS - 1}
    assert (folder / "results" / "experiments.csv").read_text().count("date,what") == 1
    rows = pd.read_csv(folder / "results" / "experiments.csv")
    seeds = rows.groupby("what")["seed"].agg(list)
    assert seeds["first"] == seeds["second"] == list(range(RECORDS))
    assert rows[["date", "what", "split", "settings", "minutes"]].notna().all(axis=None)
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"], "temporary files are left"


def test_a_run_killed_in_each_stage_ends_as_if_it_had_not_been(both, tmp_path):
    folder = tmp_path / "killed"
    for stage in STAGES:
        process = _started(folder, "first")
        process.stdin.write("go\n")
        while process.stdout.readline() != f"stage {stage}\n":
            assert process.poll() is None
        time.sleep(random.uniform(0, 1))
        process.kill()
        process.wait()
    printed, _ = _started(folder, "first").communicate("go\n", timeout=600)
    assert json.loads(printed.splitlines()[-1]) == both[1][0]
    rows = pd.read_csv(folder / "results" / "experiments.csv")
    assert set(rows["what"]) == {"cnn", "texture", "first"}
    assert not list(folder.rglob(".making-*")), "half a demo set is left"
    assert rows["seed"].tolist()[-RECORDS:] == list(range(RECORDS))


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failed_write_keeps_the_old_file_and_what_is_left_of_one_is_removed_when_it_is_old(tmp_path, stopped_by):
    path, old, young = (tmp_path / f"{before}names.csv" for before in ("", ".0123abcd-", ".89abcdef-"))
    for file in (path, old, young):
        file.write_text("old")
    os.utime(old, (0, 0))
    with pytest.raises((KeyboardInterrupt, InputError)) as raised, replacing(path) as temporary:
        temporary.write_text("ne")
        raise stopped_by
    assert raised.type is KeyboardInterrupt or "names.csv' cannot be written (No space left" in str(raised.value)
    assert sorted(tmp_path.iterdir()) == [young, path]
    assert path.read_text() == "old"


def test_a_folder_that_cannot_be_written_is_named_in_one_sentence(tmp_path):
    (tmp_path / "place").touch()  # a folder below a file cannot be made, not even by root
    folder = tmp_path / "place" / "results"
    ways = [lambda: kept(folder / "some.npz", dict, "key"), locked(folder).__enter__]
    for way in [*ways, replacing(folder / "some.txt").__enter__]:
        with refused(rf"'{re.escape(str(folder))}.*' cannot be written \([\w ]+\): .*choose another folder\.$"):
            way()


@pytest.mark.parametrize("damage", [b"PK\x03\x04 half", None], ids=["half", "bytes changed"])
def test_a_damaged_cache_or_checkpoint_is_made_again(damage, dataset):
    pictures = utils.read_pictures(dataset)
    cache, checkpoint = dataset.cache / "pictures.npz", dataset.cache / "run.pt"
    split = utils.Split("few", pictures.table.index[::2].to_numpy(), pictures.table.index[1::4].to_numpy())
    run = (pictures, split, replace(utils.CNN_RECIPE, epochs=1), 0, checkpoint)
    utils.train_network(utils.GenreNetwork(widths=(8, 8)), *run)
    for path in (cache, checkpoint):
        data = path.read_bytes()
        middle = len(data) // 2
        path.write_bytes(damage or data[:middle] + b"\xff\x00\xaa" * 3 + data[middle + 9 :])
    assert (utils.read_pictures(dataset).matrices == pictures.matrices).all()
    assert len(utils.train_network(utils.GenreNetwork(widths=(8, 8)), *run)) == 1
    assert utils.load_weights(checkpoint)["curve"]


if __name__ == "__main__":  # python tests/test_interrupted.py folder name
    announce("ready")
    sys.stdin.readline()
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
