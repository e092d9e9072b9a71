"""How long things take, each beside another way of doing it: `make bench`, `make bench DATA=folder`.

What is compared runs in turns, several times, and the medians are compared: cores are shared and noisy, so seconds
change from day to day, and ratios far less. Each part has a process of its own, so that its peak memory is its own.
The table is also written to data/<set>/bench.csv.
"""

import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["TQDM_DISABLE"] = "1"  # only the table is printed

import demo_songs
import librosa
import librosa.display
import matplotlib.style
import numpy as np
import pandas as pd
import soundfile
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import nn

import utils

SONG_SECONDS, SONG_RATE = 240, 44_100  # of the song that is classified, an MP3 in stereo
Row = dict[str, object]


def in_turns(ways: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Call each way once to warm up, then all in turns; gives the median seconds of each."""
    for way in ways.values():
        way()
    seconds = defaultdict(list)
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


def compared(what: str, ours: float, other: str, others: float) -> Row:
    return {"what": what, "seconds": ours, "compared with": other, "its seconds": others, "times faster": others / ours}


def drawn_by_matplotlib(mel: np.ndarray, save: bool) -> bytes | np.ndarray:
    """A picture from mel power as the Kaggle set's was drawn, by librosa's display: PNG, or pixels (288, 432, 4)."""
    figure = Figure(figsize=(6, 4), dpi=72)
    axes = figure.subplots(gridspec_kw={"bottom": 0.125})
    edges = {"x_coords": np.arange(mel.shape[1] + 1), "y_coords": np.arange(len(mel) + 1)}
    librosa.display.specshow(librosa.amplitude_to_db(mel, ref=np.max, top_db=80), ax=axes, cmap="magma", **edges)
    if save:
        return as_png(figure.savefig)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def drawn_by_us(mel: np.ndarray, save: bool) -> bytes | np.ndarray:
    """The same from its matrix."""
    picture = utils.matrix_to_picture(utils.mel_to_matrix(mel))
    return as_png(picture.save) if save else np.asarray(picture)


def their_mel(samples: np.ndarray) -> np.ndarray:
    return librosa.feature.melspectrogram(y=samples, sr=utils.SAMPLE_RATE, pad_mode="reflect")


def as_png(save: Callable) -> bytes:
    file = io.BytesIO()
    save(file, format="png")
    return file.getvalue()


def drawing(data: str) -> list[Row]:
    """Sound to picture."""
    samples = utils.load_audio(utils.clips_with_audio(utils.find_dataset(data), 1)[0][0])
    mel = utils.mel_power(samples)
    matplotlib.style.use("default")  # the notebooks' style has thicker lines
    # Today's matplotlib shows the frame in the middle of a pixel, the set's the last one: alike, not the same.
    shown = [draw(mel, False)[utils.INNER_ROWS, utils.INNER_COLUMNS, 0] for draw in (drawn_by_us, drawn_by_matplotlib)]
    assert np.corrcoef(shown[0].ravel(), shown[1].ravel())[0, 1] > 0.7, "the two pictures must show the same clip"
    seconds = in_turns(
        {
            "drawn": lambda: drawn_by_us(mel, False),
            "drawn there": lambda: drawn_by_matplotlib(mel, False),
            "file": lambda: drawn_by_us(utils.mel_power(samples), True),
            "file there": lambda: drawn_by_matplotlib(their_mel(samples), True),
            "matrix": lambda: utils.audio_to_matrix(samples),
        },
        9,
    )
    other = "librosa and matplotlib"
    return [
        compared("drawing a 30 s clip, from mel power to pixels", seconds["drawn"], other, seconds["drawn there"]),
        compared("from its sound to a PNG file", seconds["file"], other, seconds["file there"]),
        compared(
            "from its sound to the matrix that we need", seconds["matrix"], f"{other}, PNG", seconds["file there"]
        ),
    ]


def decoding(data: str) -> list[Row]:
    """Pictures to matrices, and the same again from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = utils.find_dataset(data, folder)
        cache = dataset.results / "pictures.npz"
        count = len(utils.read_pictures(dataset).table)

        def decode():
            cache.unlink()
            utils.read_pictures(dataset)

        seconds = in_turns({"decoded": decode, "cached": lambda: utils.read_pictures(dataset)}, 3)
    each = f"{1000 * seconds['decoded'] / count:.1f} ms each"
    return [
        {"what": f"decoding {count} pictures, {each}", "seconds": seconds["decoded"]},
        compared(f"{count} pictures from the cache", seconds["cached"], "decoding them", seconds["decoded"]),
    ]


class OpenedEachTime(torch.utils.data.Dataset):
    """The reference project's way: each item opens its picture, float32 (3, 288, 432)."""

    def __init__(self, paths: list[Path], labels: np.ndarray) -> None:
        self.paths, self.labels = paths, labels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        pixels = np.array(Image.open(self.paths[row]).convert("RGB"), np.float32) / 255
        return torch.from_numpy(pixels.transpose(2, 0, 1)), int(self.labels[row])


def training(data: str) -> list[Row]:
    """One epoch of the reference's first network its way and ours, and one of our network."""
    dataset = utils.find_dataset(data, tempfile.mkdtemp())
    pictures = utils.read_pictures(dataset)
    split = replace(utils.random_split(pictures, 0), validation=np.array([], int))
    paths = [dataset.images / genre / image for image, genre in pictures.table[["image", "genre"]].to_numpy()]
    device = utils.pick_device()

    network = utils.ReferenceNetwork().to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    items = OpenedEachTime([paths[row] for row in split.train], pictures.labels[split.train])
    loader = torch.utils.data.DataLoader(items, utils.REFERENCE_FIRST.batch_size, shuffle=True)

    def their_epoch():
        network.layers.train()
        for images, labels in loader:
            loss = nn.functional.cross_entropy(network.layers(images.to(device)), labels.to(device))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def epochs(ours: torch.nn.Module, recipe: utils.Recipe, count: int) -> float:
        started = time.perf_counter()
        utils.train_network(ours, pictures, split, recipe.lasting(count), 0)
        return time.perf_counter() - started

    seconds = defaultdict(list)
    their_epoch()
    for _ in range(3):
        started = time.perf_counter()
        their_epoch()
        seconds["theirs"].append(time.perf_counter() - started)
        # A run costs something before its first epoch; two epochs less one leave one.
        for name, kind, recipe in (
            ("same", utils.ReferenceNetwork, utils.REFERENCE_FIRST),
            ("ours", utils.GenreNetwork, utils.OURS),
        ):
            seconds[name].append(epochs(kind(), recipe, 2) - epochs(kind(), recipe, 1))
    median = {name: statistics.median(times) for name, times in seconds.items()}
    other, count = "opening each picture, float32", len(split.train)
    return [
        compared(f"epoch of the reference network, {count} pictures", median["same"], other, median["theirs"]),
        compared(f"epoch of our network, {count} pictures", median["ours"], "the reference's epoch", median["theirs"]),
    ]


@contextmanager
def timed(times: dict[str, float], places: dict[str, tuple[object, str]]):
    """Add up the seconds spent in functions, while the block runs: name to (module, function)."""
    kept = {name: getattr(*place) for name, place in places.items()}

    def wrap(name: str) -> Callable:
        def call(*arguments, **options):
            started = time.perf_counter()
            try:
                return kept[name](*arguments, **options)
            finally:
                times[name] += time.perf_counter() - started

        return call

    for name, (module, function) in places.items():
        setattr(module, function, wrap(name))
    try:
        yield
    finally:
        for name, (module, function) in places.items():
            setattr(module, function, kept[name])


def listening(data: str) -> list[Row]:
    """A song of four minutes, from file to genre, and where the time goes."""
    model = utils.load_model()
    places = {
        "reading": (utils, "load_audio"),
        "resampling": (utils.librosa, "resample"),
        "mel": (utils, "mel_power"),
        "texture": (utils.features, "describe"),
        "network": (utils, "predict"),
        "fingerprints": (utils, "find_clips"),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "song.mp3"
        song = librosa.resample(
            demo_songs.song("rock", demo_songs.SONG_SEEDS, SONG_SECONDS), orig_sr=utils.SAMPLE_RATE, target_sr=SONG_RATE
        )
        soundfile.write(path, np.stack([song, song], axis=1), SONG_RATE)
        utils.classify_song(path, model)
        totals, parts = [], defaultdict(list)
        for _ in range(5):
            times, started = defaultdict(float), time.perf_counter()
            with timed(times, places):
                result = utils.classify_song(path, model)
            totals.append(time.perf_counter() - started)
            times["decoding"] = times.pop("reading") - times["resampling"]
            times["the rest"] = totals[-1] - sum(times.values())
            for name, seconds in times.items():
                parts[name].append(seconds)
    rows = [
        {"what": f"- {name}", "seconds": statistics.median(parts[name])}
        for name in ("decoding", "resampling", "mel", "texture", "network", "fingerprints", "the rest")
    ]
    what = f"a song of {SONG_SECONDS // 60} minutes, MP3, {len(result.windows)} windows, to its genre; in it"
    return [{"what": what, "seconds": statistics.median(totals)}, *rows]


def peak_memory() -> float:
    """Largest memory of this process so far, in MB; NaN where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(part: Callable, data: str) -> list[Row]:
    """Do one part, and put the peak memory of its process into its first row."""
    rows = part(data)
    rows[0]["peak MB"] = peak_memory()
    return rows


def main(data: str) -> None:
    """Do all parts, print the table and write it."""
    dataset = utils.call_from_make(utils.find_dataset, data)
    rows = []
    for part in (drawing, decoding, training, listening):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            rows += process.submit(measure, part, data).result()
    table = pd.DataFrame(rows).round({"seconds": 4, "its seconds": 4, "times faster": 1, "peak MB": 0})
    print(f"{dataset.label}, on {utils.pick_device()}, {torch.get_num_threads()} threads")
    print(table.to_string(index=False, na_rep=""))
    with utils.replacing(dataset.results / "bench.csv") as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
