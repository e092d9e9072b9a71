"""How long things take, each beside another way of doing it: `python run.py bench`, `make bench DATA=folder`.

What is compared runs in turns, several times, and the medians are compared: cores are shared and noisy, so seconds
change from day to day, and ratios far less. The table is also written to bench.csv beside the set's other results.
"""

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
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

SONG_SECONDS, SONG_RATE = 240, 44_100  # of the song that is classified, an MP3 in stereo
ROUNDS = 5


def compared(what: str, ours: Callable, other: str, theirs: Callable) -> dict:
    """Call both ways once to warm up, then in turns; gives a row of the table, with medians."""
    seconds = {ours: [], theirs: []}
    for number in range(ROUNDS + 1):
        for way, times in seconds.items():
            started = time.perf_counter()
            way()
            times += [time.perf_counter() - started] if number else []
    mine, others = (statistics.median(times) for times in seconds.values())
    row = {"what": what, "seconds": mine, "compared with": other, "its seconds": others}
    return row | {"times faster": others / mine}


def drawing() -> dict:
    """Sound to picture, beside the way the Kaggle set was drawn."""
    samples = demo_songs.song("rock", 0)

    def theirs() -> None:
        mel = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE, pad_mode="reflect")
        axes = Figure(figsize=(6, 4), dpi=72).subplots()
        librosa.display.specshow(librosa.amplitude_to_db(mel, ref=np.max, top_db=80), ax=axes, cmap="magma")
        axes.figure.savefig(io.BytesIO())

    ours = lambda: utils.matrix_to_picture(utils.audio_to_matrix(samples)).save(io.BytesIO(), "PNG")  # noqa: E731
    return compared("a 30 s clip, from sound to a PNG file", ours, "librosa and matplotlib", theirs)


def training(data: str) -> list[dict]:
    """One epoch of the reference's first network its way and ours, and one of our network."""
    pictures = utils.read_pictures(utils.find_dataset(data))
    split = replace(utils.random_split(pictures, 0), validation=np.array([], int))
    folders, table = utils.genre_folders(pictures.dataset.images), pictures.table.iloc[split.train]
    paths = [folders[genre] / Path(image).name for image, genre in zip(table["image"], table["genre"], strict=True)]
    labels, device = torch.from_numpy(pictures.labels[split.train]), utils.pick_device()
    network = utils.ReferenceNetwork().to(device)
    optimiser = torch.optim.Adam(network.parameters())

    def theirs() -> None:
        for rows in torch.randperm(len(paths)).split(utils.REFERENCE_FIRST.batch_size):
            images = np.stack([np.asarray(Image.open(paths[row]).convert("RGB"), np.float32) / 255 for row in rows])
            logits = network.layers(torch.from_numpy(images).permute(0, 3, 1, 2).to(device))
            optimiser.zero_grad()
            nn.functional.cross_entropy(logits, labels[rows].to(device)).backward()
            optimiser.step()

    def epoch(kind: Callable, recipe: utils.Recipe) -> Callable:
        return lambda: utils.train_network(kind(), pictures, split, replace(recipe, epochs=1), 0)

    same, ours = epoch(utils.ReferenceNetwork, utils.REFERENCE_FIRST), epoch(utils.GenreNetwork, utils.OURS)
    what, other = f", {len(paths)} pictures", "the reference's own way, which opens each picture"
    return [
        compared(f"epoch of the reference network{what}", same, other, theirs),
        compared(f"epoch of our network{what}", ours, other, theirs),
    ]


def listening() -> dict:
    """A song of four minutes, from file to genre, beside only reading it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.mp3"
        song = demo_songs.song("rock", demo_songs.SONG_SEEDS, SONG_SECONDS)
        song = librosa.resample(song, orig_sr=SAMPLE_RATE, target_sr=SONG_RATE)
        soundfile.write(path, np.stack([song, song], axis=1), SONG_RATE)
        what = f"a song of {SONG_SECONDS // 60} minutes, MP3, to its genre"
        return compared(what, lambda: utils.classify_song(path), "reading it", lambda: utils.load_audio(path))


def main(data: str) -> None:
    """Do all parts, print the table and write it."""
    dataset = utils.find_dataset(data)
    table = pd.DataFrame([drawing(), *training(data), listening()]).round(4).round({"times faster": 1})
    print(f"{dataset.label}, on {utils.pick_device()}, {torch.get_num_threads()} threads")
    print(table.to_string(index=False))
    with replacing(dataset.results / "bench.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
