"""How long things take, each beside another way of doing it: `python run.py bench`, `make bench DATA=folder`.

What is compared runs in turns, several times, and the medians are compared: cores are shared and noisy, so seconds
change from day to day, and ratios far less. Each part has a process of its own, so that its peak memory is its own.
The table is also written to bench.csv beside the set's other results.
"""

import io
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import librosa
import librosa.display
import numpy as np
import pandas as pd
import soundfile
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import utils
from genres import demo_songs
from genres.audio import SAMPLE_RATE
from genres.common import replacing
from genres.datasets import clips_with_audio
from genres.spectrogram import CLIP_SAMPLES

SONG_SECONDS, SONG_RATE = 240, 44_100  # of the song that is classified, an MP3 in stereo
ROUNDS = 5


def in_turns(ways: dict[str, Callable]) -> list[float]:
    """Call each way once to warm up, then all in turns; gives the median seconds of each."""
    seconds = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name] += [time.perf_counter() - started] if number else []
    return [statistics.median(times) for times in seconds.values()]


def compared(what: str, ours: Callable, other: str, theirs: Callable) -> dict:
    """Give a row of the table."""
    mine, others = in_turns({"ours": ours, "theirs": theirs})
    row = {"what": what, "seconds": mine, "compared with": other, "its seconds": others}
    return row | {"times faster": others / mine}


def drawn_by_matplotlib(samples: np.ndarray) -> None:
    """Draw a clip to PNG as the Kaggle set's was drawn, by librosa's display."""
    mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, pad_mode="reflect")
    figure = Figure(figsize=(6, 4), dpi=72)
    librosa.display.specshow(librosa.amplitude_to_db(mel, ref=np.max, top_db=80), ax=figure.subplots(), cmap="magma")
    figure.savefig(io.BytesIO())


def drawing(data: str) -> list[dict]:
    """Sound to picture."""
    clips = clips_with_audio(utils.find_dataset(data), 1)
    samples = utils.load_audio(clips[0][0]) if clips else demo_songs.song("rock", 0)[:CLIP_SAMPLES]
    ours = lambda: utils.matrix_to_picture(utils.audio_to_matrix(samples)).save(io.BytesIO(), "PNG")  # noqa: E731
    other, theirs = "librosa and matplotlib, PNG", lambda: drawn_by_matplotlib(samples)
    return [
        compared("a 30 s clip, from sound to a PNG file", ours, other, theirs),
        compared("from sound to the matrix that we need", lambda: utils.audio_to_matrix(samples), other, theirs),
    ]


def decoding(data: str) -> list[dict]:
    """Pictures to matrices, and the same again from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = utils.find_dataset(data, folder)

        def decode() -> None:
            (dataset.cache / "pictures.npz").unlink(missing_ok=True)
            utils.read_pictures(dataset)

        decode()
        return [compared("all pictures from the cache", lambda: utils.read_pictures(dataset), "decoding them", decode)]


def training(data: str) -> list[dict]:
    """One epoch of the reference's first network its way and ours, and one of our network."""
    pictures = utils.read_pictures(utils.find_dataset(data))
    split = replace(utils.random_split(pictures, 0), validation=np.array([], int))
    folders = utils.genre_folders(pictures.dataset.images)
    table = pictures.table.iloc[split.train]
    paths = [folders[genre] / Path(image).name for image, genre in zip(table["image"], table["genre"], strict=True)]
    labels, device = torch.from_numpy(pictures.labels[split.train]), utils.pick_device()
    network = utils.ReferenceNetwork().to(device)
    optimiser = torch.optim.Adam(network.parameters())

    def their_epoch() -> None:
        """Train as the reference project does: each picture is opened and unpacked when its turn comes."""
        for rows in torch.randperm(len(paths)).split(utils.REFERENCE_FIRST.batch_size):
            images = np.stack([np.asarray(Image.open(paths[row]).convert("RGB"), np.float32) / 255 for row in rows])
            logits = network.layers(torch.from_numpy(images).permute(0, 3, 1, 2).to(device))
            optimiser.zero_grad()
            nn.functional.cross_entropy(logits, labels[rows].to(device)).backward()
            optimiser.step()

    def epoch(kind: Callable, recipe: utils.Recipe) -> Callable:
        return lambda: utils.train_network(kind(), pictures, split, replace(recipe, epochs=1), 0)

    other = "opening each picture, float32"
    same, ours = epoch(utils.ReferenceNetwork, utils.REFERENCE_FIRST), epoch(utils.GenreNetwork, utils.OURS)
    return [
        compared(f"epoch of the reference network, {len(paths)} pictures", same, other, their_epoch),
        compared(f"epoch of our network, {len(paths)} pictures", ours, "the reference's epoch", their_epoch),
    ]


def listening(data: str) -> list[dict]:
    """A song of four minutes, from file to genre, beside only decoding it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.mp3"
        song = demo_songs.song("rock", demo_songs.SONG_SEEDS, SONG_SECONDS)
        song = librosa.resample(song, orig_sr=SAMPLE_RATE, target_sr=SONG_RATE)
        soundfile.write(path, np.stack([song, song], axis=1), SONG_RATE)
        what = f"a song of {SONG_SECONDS // 60} minutes, MP3, to its genre"
        return [compared(what, lambda: utils.classify_song(path), "reading it", lambda: utils.load_audio(path))]


def measure(part: Callable, data: str) -> list[dict]:
    """Do one part, and put the peak memory of its process into its first row; NaN where the system does not say."""
    rows = part(data)
    try:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
        rows[0]["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
    except ImportError:  # Windows
        rows[0]["peak MB"] = float("nan")
    return rows


def main(data: str) -> None:
    """Do all parts, print the table and write it."""
    dataset, rows = utils.find_dataset(data), []
    for part in (drawing, decoding, training, listening):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            rows += process.submit(measure, part, data).result()
    table = pd.DataFrame(rows).round({"seconds": 4, "its seconds": 4, "times faster": 1, "peak MB": 0})
    print(f"{dataset.label}, on {utils.pick_device()}, {torch.get_num_threads()} threads")
    print(table.to_string(index=False, na_rep=""))
    with replacing(dataset.results / "bench.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
