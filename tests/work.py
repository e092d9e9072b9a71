"""A small run of everything that writes: the tests kill it, start it again, and let two of them meet.

`python tests/work.py folder name` imports, says so, and waits for a line; then it says which stage begins, and prints
what came out, as JSON. Any folder and name give the same.
"""

import json
import os
import sys
import types
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["MPLBACKEND"] = "agg"

import joblib
import numpy as np
import torch

import utils
from genres import datasets, demo_songs, runs
from genres.common import digest

RECORDS = 8


def announce(stage: str) -> None:
    print("stage", stage, flush=True)


def unpack_slowly(source: Path):
    """Stand in for kagglehub: put the files of `source` into output_dir one by one, as unpacking does."""

    def dataset_download(handle: str, output_dir: str, force_download: bool) -> str:
        assert force_download, "else kagglehub refuses a folder that is not empty"
        for path in sorted(source.rglob("*.png")):
            target = Path(output_dir) / "Data" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            digest(np.zeros(2_000_000))  # busy for a while
        return output_dir

    return types.SimpleNamespace(dataset_download=dataset_download)


def main(folder: Path, name: str) -> dict:
    """Do the stages in `folder`, or what is left of them, and give what came out."""
    torch.set_num_threads(1)
    demo_songs.NOTE_SECONDS, demo_songs.CLIP_SECONDS = 0.3, 3  # quicker to record
    announce("demo songs")
    with joblib.parallel_config(backend="threading"):
        demo_songs.make_demo_set(folder / "set", 1, 0, song_seconds=(3, 4), songs_per_genre=1, progress=False)

    announce("download")
    datasets.ROOT = folder
    sys.modules["kagglehub"] = unpack_slowly(folder / "set" / "Data")
    downloaded = datasets.download_gtzan()

    announce("decoding")
    results = folder / "results"
    pictures = utils.read_pictures(utils.find_dataset(folder / "set", results))
    again = utils.read_pictures(utils.find_dataset(downloaded, folder / "again"))
    assert np.array_equal(again.matrices, pictures.matrices)

    announce("training")
    rows = np.arange(len(pictures.table))
    recipe = replace(utils.OURS, epochs=3, batch_size=4, evaluate_every=2)
    run = utils.run_protocol(pictures, utils.Split("some", rows, rows[::2]), 0, recipe)["picture"]

    announce("records")
    for number in range(RECORDS):
        text = 'a, long; "setting" of the run' * 9
        runs.record_experiment(results / "experiments.csv", name, "some", number, text, {}, 0.1)
        runs.update_metrics(results / "metrics.json", **{name: number})
    return {
        "files": {path.name: digest(path.read_bytes()) for path in sorted(downloaded.rglob("*.png"))},
        "songs": [digest(utils.load_audio(path)) for path in sorted((folder / "set" / "songs").glob("*.[!c]*"))],
        "curve": run.curve.to_dict("records"),
        "logits": digest(run.logits["validation"]),
    }


if __name__ == "__main__":
    announce("ready")
    sys.stdin.readline()
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
