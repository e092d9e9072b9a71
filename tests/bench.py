"""How long things take, beside other ways of doing them: `python run.py bench`, `make bench DATA=folder`.

All ways run in turns, several times, and their medians are given: cores are shared and noisy, so seconds change from
day to day, and ratios far less. The table is also written to bench.csv beside the set's other results.
"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from timeit import timeit

import librosa
import numpy as np
import pandas as pd
import soundfile
import torch

import utils
from genres import demo_songs
from genres.audio import load_audio
from genres.common import SAMPLE_RATE, replacing

SONG_SECONDS, SONG_RATE = 240, 44_100  # of the song that is classified, an MP3 in stereo
ROUNDS = 5


def main(data: str) -> None:
    """Call all ways once to warm up, then in turns; print the table of their medians and write it."""
    pictures = utils.read_pictures(utils.find_dataset(data))
    split = replace(utils.random_split(pictures, 0), validation=np.array([], int))
    reference, ours = replace(utils.REFERENCE_FIRST, epochs=1), replace(utils.CNN_RECIPE, epochs=1)
    whole = librosa.resample(demo_songs.song("rock", 1, SONG_SECONDS), orig_sr=SAMPLE_RATE, target_sr=SONG_RATE)
    with tempfile.TemporaryDirectory() as folder:
        song = Path(folder) / "song.mp3"
        soundfile.write(song, np.stack([whole, whole], axis=1), SONG_RATE)
        train = partial(utils.train_network, pictures=pictures, split=split, seed=0)
        ways = {
            "an epoch of our network": lambda: train(utils.GenreNetwork(), recipe=ours),
            "an epoch of the reference project's": lambda: train(utils.ReferenceNetwork(), recipe=reference),
            f"a song of {SONG_SECONDS} s, MP3, to its genre": lambda: utils.classify_song(song),
            "reading it": lambda: load_audio(song),
        }
        seconds = [[timeit(way, number=1) for way in ways.values()] for _ in range(ROUNDS + 1)]
    table = pd.DataFrame({"what": list(ways), "seconds": np.median(seconds[1:], axis=0).round(4)})
    print(f"{pictures.dataset.label}, on {utils.pick_device()}, {torch.get_num_threads()} threads")
    print(table.to_string(index=False))
    with replacing(pictures.dataset.results / "bench.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")
