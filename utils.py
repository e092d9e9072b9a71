"""Music genres from spectrogram pictures: the code that the notebooks share.

The module follows the data, from the picture on disk to the genre of a song. Its rooms, in order:

    1 Names, errors, device         5 Networks
    2 Finding the data set          6 Training
    3 Pictures, audio, matrices     7 Metrics
    4 Tables and splits             8 Figures
    9 Songs                        10 Fingerprints
                                   11 The feature route

One representation serves everything: a **matrix** is a uint8 array of 128 x 334, mel bins (row 0 is the
lowest) by columns in time. A Kaggle picture holds exactly this matrix, and `audio_to_matrix` computes the
same one from sound, so a network that learned from pictures can listen to songs.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import io
import json
import os
import re
import textwrap
import time
import unicodedata
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import av
import filelock
import joblib
import librosa
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import soundfile
import torch
from IPython import display
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import maximum_filter1d, uniform_filter1d
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest, norm
from scipy.stats import t as student_t
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from sklearn.pipeline import Pipeline
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

import features


@functools.cache
def torchvision_transforms():
    """Import torchvision's transforms, also beside a CPU-only torch, and only when a network is trained.

    torchvision's Linux wheel is built against CUDA. Beside a CPU-only torch its compiled operators do not load,
    and the import stops at "operator torchvision::nms does not exist". Nothing here calls those operators, so
    declaring their two schemas is enough to let the import pass.
    """
    try:
        from torchvision.transforms import v2
    except RuntimeError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torchvision_transforms.keep_alive = library
        from torchvision.transforms import v2
    return v2


# ---------------------------------------------------------------------------------------------------------
# 1 Names, errors, device
# ---------------------------------------------------------------------------------------------------------

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
GENRE_MARKS = {  # instruments, rhythm, and what of it shows in a spectrogram: the table of notebook 01
    "blues": (
        "guitar, piano, harmonica, voice",
        "12-bar form, shuffle, 60-120",
        "bent notes as sloping lines, sparse highs",
    ),
    "classical": ("strings, woodwinds, piano", "free tempo, long phrases", "long level lines, a large black floor"),
    "country": (
        "acoustic and steel guitar, fiddle",
        "two-beat bass, 80-140",
        "dense plucked onsets, voice in the middle",
    ),
    "disco": (
        "strings, bass, brass, drums",
        "four on the floor, 110-130",
        "even bright columns at 2 Hz, hi-hat on top",
    ),
    "hiphop": ("drum machine, rapped voice", "breakbeats, 80-105", "strong lowest rows, sharp snare columns"),
    "jazz": ("horn, keyboard, bass, brushes", "swing, 60-250", "clear harmonics of horns, soft highs"),
    "metal": ("distorted guitars, double bass drum", "fast and steady, 100-220", "filled from bottom to top"),
    "pop": ("voice, synthesiser, drums", "verse and chorus, 90-130", "clear voice lines, tidy beat"),
    "reggae": ("bass, off-beat guitar, organ", "one drop, off-beat, 60-90", "heavy lowest rows, short chords, gaps"),
    "rock": ("electric guitars, bass, drums", "backbeat, 100-140", "wide band of guitars, snare columns"),
}
ROOT = Path(__file__).resolve().parent
MODEL_PATH = ROOT / "data" / "gtzan" / "model.pt"  # the network that is shipped, for own songs
CNN_SHARE = 0.3  # of the answer; the rest is the texture classifier's. Both numbers were chosen by artist-grouped
TEXTURE_SHARPNESS = 5.0  # cross-validation; this one turns the texture classifier's -1 to 1 into logits
CALIBRATION_PENALTY = 3e-4  # on genres that differ in scale or offset; chosen on the fault-filtered validation part
ANSWER_ACCURACY = 0.8  # what answers shall reach on held-out tracks; what is less sure is called unsure

# The picture recipe: librosa 0.8's defaults of the day, found by redrawing 459 tracks pixel by pixel.
SAMPLE_RATE = 22_050  # Hz
WINDOW_SAMPLES = 2_048  # length of the FFT window, 92.9 ms
HOP_SAMPLES = 512  # step from frame to frame, 23.2 ms
MEL_BINS = 128
COLUMNS = 334  # columns of a matrix, 89.7 ms each in a 30 s clip
TOP_DB = 80.0  # range of the colours, on the scale of 20 log10(power): 40 dB of power
CLIP_SAMPLES = 661_794  # samples of a GTZAN clip, 30.01 s
CLIP_SECONDS = CLIP_SAMPLES / SAMPLE_RATE
SHORTEST_SECONDS = 2.5  # of a song: 3 s, less what encoders cut off at the ends
LONGEST_SECONDS = 2 * 3600
LOWEST_RATE = 4_000  # Hz; below a telephone's 8 000 there is no music, only a damaged header that claims hours
SILENCE = 1e-4  # amplitude, of 1; what stays below everywhere holds no music
DB_PER_LEVEL = TOP_DB / 256 / 2  # dB of power from one matrix level to the next
LEFTOVER_SECONDS = 3600  # age at which a temporary file counts as left by a run that was killed

# The drawn picture, in pixels from its top left corner: matplotlib's default axes in a 432 x 288 figure.
PICTURE_WIDTH, PICTURE_HEIGHT = 432, 288
INNER_ROWS, INNER_COLUMNS = slice(36, 252), slice(55, 389)
AXES_LEFT, AXES_WIDTH = 54.0, 334.8
AXES_BOTTOM, AXES_HEIGHT = 36.0, 217.44  # from the bottom edge
FRAME_TOP, FRAME_BOTTOM, FRAME_LEFT, FRAME_RIGHT = 35, 252, 54, 389
FRAME_COVER = 0.8  # the black frame line is 0.8 pixels wide, so a fifth of what lies under it shines through
CORNER_GREY = 19  # where two lines end on the white margin
MAGMA = np.round(255 * np.array(plt.colormaps["magma"].colors)).astype(np.uint8)  # (256, 3)


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message names it and says what to do."""


def from_root(folder: str | Path) -> Path:
    """Give a folder as named; a relative one that is not here is meant from the project's own folder.

    So `make pipeline DATA=../music` and a notebook, which works one folder deeper, mean the same.
    """
    folder = Path(folder).expanduser()
    return folder if folder.exists() else ROOT / folder


def pick_device() -> torch.device:
    """Give the fastest device there is: CUDA, then Apple's MPS, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def call_from_make(function: Callable, *arguments: object) -> object:
    """Call a function, and end the program with its one sentence instead of a traceback where the input is bad."""
    try:
        return function(*arguments)
    except InputError as error:
        raise SystemExit(str(error)) from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, and rename it to `path` when the block has succeeded.

    A reader therefore sees the old file or the new one, never half of one, and two runs do not mix. What a killed run
    left under a temporary name is removed when it is an hour old; a younger one may still be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in path.parent.glob(f".*-{path.name}"):
        with suppress(OSError):  # another run may be quicker
            if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                leftover.unlink()
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def locked(folder: Path) -> filelock.BaseFileLock:
    """Give the lock of a folder, to hold while a file in it is read, changed and written; it ends with its process."""
    folder.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(folder / ".lock")


def read_cache(path: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    """Give the arrays of an npz file that was written for this fingerprint; None where there is no such file."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored) if stored["fingerprint"] == fingerprint else None
    except Exception:  # a damaged cache can fail in many ways, and all mean: make it again
        return None


# ---------------------------------------------------------------------------------------------------------
# 2 Finding the data set
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DataSet:
    """Where one set of genre pictures lies, and where its results go.

    name: "gtzan" or "demo", the folder of its results below data/ and figures/.
    label: how titles and tables call it.
    images: folder with one sub-folder of pictures per genre.
    audio: folder with one sub-folder of clips per genre, or None.
    songs: folder of songs that come with the set, or None.
    output: folder whose data/<set> and figures/<set> take the results; this project's own unless a test says else.
    """

    name: str
    label: str
    images: Path
    audio: Path | None
    songs: Path | None = None
    output: Path = ROOT

    @property
    def results(self) -> Path:
        """Folder for tables, weights and metrics."""
        return self.output / "data" / self.name

    @property
    def figures(self) -> Path:
        """Folder for saved figures."""
        return self.output / "figures" / self.name


def find_dataset(folder: str | Path = "", output: str | Path = "") -> DataSet:
    """Find the pictures below `folder`; with no folder named, take data/gtzan, and else the demo songs.

    `folder` may be a Kaggle download, its `Data` folder or the `images_original` folder itself. The environment
    variable GTZAN names a folder once for all notebooks. Without any of these the demo songs are made (once) and
    used, and a line says so. `output` takes the results instead of this project's own folder.

    Raises InputError where a named folder is missing or holds no pictures, or a genre folder is missing or empty.
    """
    folder = folder or os.environ.get("GTZAN", "")
    if not folder and not _images_below(ROOT / "data" / "gtzan"):
        import demo_songs  # here, because only this case needs the synthesiser

        print("No GTZAN pictures found in data/gtzan: using the demo songs that this project plays itself.")
        folder = ROOT / "data" / "demo"
        demo_songs.make_demo_set(folder)
    folder = from_root(folder or "data/gtzan")
    if not folder.is_dir():
        raise InputError(f"The data folder '{folder}' does not exist: name the folder of the Kaggle download.")
    images = _images_below(folder)
    if images is None:
        raise InputError(f"No folder 'images_original' below '{folder}': name the folder of the Kaggle download.")
    for genre in GENRES:
        if not any((images / genre).glob("*.png")):
            raise InputError(f"The genre folder '{images / genre}' is missing or empty: unpack the download again.")
    audio = images.parent / "genres_original"
    demo = next((p for p in (folder, *images.parents[:3]) if (p / "demo.json").is_file()), None)
    return DataSet(
        name="demo" if demo else "gtzan",
        label="demo songs" if demo else "GTZAN",
        images=images,
        audio=audio if audio.is_dir() else None,
        songs=demo / "songs" if demo else None,
        output=Path(output or ROOT).resolve(),
    )


def _images_below(folder: Path) -> Path | None:
    """Give the folder of genre folders at or below `folder`, or None; hidden folders hold what is not finished."""
    if (folder / GENRES[0]).is_dir() and any((folder / GENRES[0]).glob("*.png")):
        return folder
    found = [path.relative_to(folder) for path in folder.glob("**/images_original")]
    found = [path for path in found if not any(part.startswith(".") for part in path.parts)]
    return folder / min(found, key=lambda path: len(path.parts)) if found else None


def download_gtzan() -> Path:
    """Download the Kaggle set (1.3 GB) with kagglehub and give the folder it was unpacked to, data/gtzan/kaggle.

    It is unpacked in a hidden folder, which gets its name when all is there; a download that was stopped starts again.
    Raises InputError with the steps to do by hand where the download fails.
    """
    target = ROOT / "data" / "gtzan" / "kaggle"
    unfinished = target.with_name(".kaggle")
    try:
        import kagglehub

        with locked(target.parent):
            if not target.is_dir():
                kagglehub.dataset_download(
                    "andradaolteanu/gtzan-dataset-music-genre-classification",
                    output_dir=str(unfinished),
                    force_download=True,
                )
                unfinished.rename(target)
    except Exception as error:  # kagglehub raises many types, and all mean the same to the user
        raise InputError(
            "The download of 'andradaolteanu/gtzan-dataset-music-genre-classification' from Kaggle failed "
            f"({type(error).__name__}): download it in a browser and unpack it into data/gtzan."
        ) from error
    return target


# ---------------------------------------------------------------------------------------------------------
# 3 Pictures, audio, matrices
# ---------------------------------------------------------------------------------------------------------


def _bin_of_pixel_row() -> np.ndarray:
    """Mel bin that each of the 216 inner pixel rows shows, top row first: aliased drawing, the last cell wins."""
    edges = np.round(256 * (AXES_BOTTOM + np.arange(MEL_BINS) * AXES_HEIGHT / MEL_BINS)) / 256
    rows = np.arange(INNER_ROWS.start, INNER_ROWS.stop)
    return np.searchsorted(edges, PICTURE_HEIGHT - rows, side="left") - 1


def frame_of_column(frames: int) -> np.ndarray:
    """Frame that each of the 334 columns shows, for a spectrogram of so many frames: the last cell wins again."""
    edges = np.round(256 * (AXES_LEFT + np.arange(frames) * AXES_WIDTH / frames)) / 256
    columns = np.arange(INNER_COLUMNS.start, INNER_COLUMNS.stop)
    return np.searchsorted(edges, columns + 1, side="left") - 1


_BIN_OF_ROW = _bin_of_pixel_row()
MEL_CENTRES = librosa.mel_frequencies(MEL_BINS + 2, fmin=0, fmax=SAMPLE_RATE / 2)[1:-1]  # Hz
_ROW_OF_BIN = len(_BIN_OF_ROW) - 1 - np.searchsorted(_BIN_OF_ROW[::-1], np.arange(MEL_BINS))
_LEVEL_OF_COLOUR = np.zeros(1 << 24, np.uint8)  # from a colour as one 24-bit number to its place in the palette
_LEVEL_OF_COLOUR[MAGMA.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)] = np.arange(256)


def matrix_to_picture(matrix: np.ndarray) -> Image.Image:
    """Draw a matrix, uint8 (128, 334), as the full Kaggle-style picture of 432 x 288 RGBA pixels."""
    pixels = np.full((PICTURE_HEIGHT, PICTURE_WIDTH, 4), 255, np.uint8)
    pixels[INNER_ROWS, INNER_COLUMNS, :3] = MAGMA[matrix[_BIN_OF_ROW]]
    pixels[FRAME_TOP, INNER_COLUMNS] = pixels[INNER_ROWS.start, INNER_COLUMNS]
    pixels[INNER_ROWS, FRAME_LEFT] = pixels[INNER_ROWS, INNER_COLUMNS.start]
    rows, columns = slice(FRAME_TOP, FRAME_BOTTOM + 1), slice(FRAME_LEFT, FRAME_RIGHT + 1)
    for line in ((FRAME_TOP, columns), (FRAME_BOTTOM, columns), (rows, FRAME_LEFT), (rows, FRAME_RIGHT)):
        pixels[(*line, slice(3))] = np.round((1 - FRAME_COVER) * pixels[(*line, slice(3))])
    pixels[[FRAME_BOTTOM, FRAME_TOP, FRAME_BOTTOM], [FRAME_LEFT, FRAME_RIGHT, FRAME_RIGHT], :3] = CORNER_GREY
    return Image.fromarray(pixels)


def picture_to_matrix(path: str | Path) -> np.ndarray:
    """Read a Kaggle-style picture back, without loss, as its matrix of uint8 (128, 334).

    Raises InputError for a file that is no picture, is truncated, has another size, or was drawn in another way.
    """
    path = Path(path)
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            if (width, height) != (PICTURE_WIDTH, PICTURE_HEIGHT):  # before a huge one is unpacked
                raise InputError(
                    f"'{path.name}' is {width} x {height} pixels, not 432 x 288: take the Kaggle pictures."
                )
            pixels = np.array(picture.convert("RGBA"))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many types for broken files
        raise InputError(f"'{path.name}' cannot be read as a picture: replace it or remove it.") from error
    colours = pixels.view("<u4")[..., 0]
    matrix = _LEVEL_OF_COLOUR[colours[INNER_ROWS, INNER_COLUMNS][_ROW_OF_BIN] & 0xFFFFFF]
    # Drawing the matrix again and comparing checks the palette, the repeated rows and the margin at once. The two
    # frame lines that lie over the drawing show a trace of a further frame of sound, so they are left out.
    differs = np.array(matrix_to_picture(matrix)).view("<u4")[..., 0] != colours
    differs[FRAME_TOP] = differs[:, FRAME_LEFT] = False
    if differs.any():
        raise InputError(f"'{path.name}' is no Kaggle-style spectrogram (other axes or colours): draw it from audio.")
    return matrix


def load_audio(path: str | Path) -> np.ndarray:
    """Read any sound file as `librosa.load(path)` would: float32 samples, mono, 22 050 Hz.

    wav, flac, ogg and mp3 are read by libsndfile; m4a, mp4, aac and whatever else it does not know by the FFmpeg
    that PyAV carries. Any rate and number of channels (their mean), 3 seconds to 2 hours. A file that breaks off is
    read up to there.

    Raises InputError for a missing, empty, silent, too short, too long or unreadable file.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"'{path.name}' does not exist: check the name and the folder.")
    if path.is_dir():
        raise InputError(f"'{path.name}' is a folder, not a sound file: give the file inside it.")
    if path.stat().st_size == 0:
        raise InputError(f"'{path.name}' is empty (0 bytes): copy or download it again.")
    try:
        samples, rate = _read_with_soundfile(path)
    except (soundfile.LibsndfileError, RuntimeError):
        samples, rate = _read_with_pyav(path)
    if rate < LOWEST_RATE:
        raise InputError(f"'{path.name}' has only {rate} samples a second: export it again with 22 050 or more.")
    # NaN spreads through the resampler, so it is looked for before.
    if not np.isfinite(samples).all():
        raise InputError(f"'{path.name}' holds samples that are not finite numbers: export it again.")
    if len(samples) < SHORTEST_SECONDS * rate:
        raise InputError(f"'{path.name}' has only {len(samples) / rate:.1f} s of sound: give at least 3 seconds.")
    if np.abs(samples).max() < SILENCE:
        raise InputError(f"'{path.name}' is silent from start to end: choose a file with sound in it.")
    return librosa.resample(samples, orig_sr=rate, target_sr=SAMPLE_RATE)


def _mono(block: np.ndarray) -> np.ndarray:
    """Mean over the channels of (channels, n); rows are made contiguous because that is five times faster."""
    return np.mean(np.ascontiguousarray(block, dtype=np.float32), axis=0)


def _read_with_soundfile(path: Path) -> tuple[np.ndarray, int]:
    """Samples (n,) and their rate by libsndfile, minute by minute: an hour in 5.1 would fill the memory."""
    # Opened here, so that no file name, however odd, has to pass through the C library.
    with path.open("rb") as file, soundfile.SoundFile(file) as sound:
        _refuse_too_long(path, sound.frames / sound.samplerate)
        parts = []
        while len(block := sound.read(60 * sound.samplerate, dtype="float32", always_2d=True)):
            parts.append(_mono(block.T))
        if not parts:
            raise RuntimeError("no samples")
        return np.concatenate(parts), sound.samplerate


def _read_with_pyav(path: Path) -> tuple[np.ndarray, int]:
    """Samples (n,) and their rate by PyAV; what comes before a fault is kept."""
    parts, rate = [], 0
    try:
        with path.open("rb") as file, av.open(file, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise InputError(f"'{path.name}' holds no sound track: choose a file with sound in it.")
            stream = container.streams.audio[0]
            if stream.codec_context is None:
                raise ValueError("a kind of sound that FFmpeg does not know")
            rate = stream.rate
            _refuse_too_long(path, float((stream.duration or 0) * (stream.time_base or 0)))
            to_float = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                parts += [_mono(piece.to_ndarray()) for piece in to_float.resample(frame)]
    except InputError:
        raise
    except (av.error.FFmpegError, OSError, ValueError):
        pass  # what was decoded before the fault is still good; with nothing decoded the next line speaks
    if not parts:
        raise InputError(f"'{path.name}' cannot be read as sound: convert it to wav, mp3, flac, ogg or m4a.")
    return np.concatenate(parts), rate


def _refuse_too_long(path: Path, seconds: float) -> None:
    if seconds > LONGEST_SECONDS:
        raise InputError(f"'{path.name}' lasts {seconds / 3600:.1f} hours: cut it into songs of at most two hours.")


def audio_to_matrix(samples: np.ndarray) -> np.ndarray:
    """Render the whole of the samples, float32 at 22 050 Hz, as one matrix of uint8 (128, 334).

    This is the Kaggle recipe without the drawing: mel power, 80 dB below the maximum, 256 levels, and the frames
    that land on a pixel column. `amplitude_to_db` on a power spectrogram is a slip of the set's makers that every
    picture carries, so it stays. Silence gives zeros.

    Raises InputError for fewer samples than half an FFT window, or samples that are not finite.
    """
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or len(samples) <= WINDOW_SAMPLES // 2 or not np.isfinite(samples).all():
        raise InputError(f"Samples of shape {samples.shape} are no sound: give one channel, finite, of 0.1 s or more.")
    return mel_to_matrix(mel_power(samples))


def compile_librosa() -> None:
    """Have numba compile librosa's functions and cache them now, in one process.

    librosa loads its parts, and compiles them, when they are first used. Two processes that do so at once can spoil the
    cache for good, and each later one crashes.
    """
    for part in ("librosa.core.pitch", "librosa.feature.spectral"):
        importlib.import_module(part)


def mel_power(samples: np.ndarray) -> np.ndarray:
    """Power in 128 mel bands up to 11 025 Hz, float32 (128, 1 + n // 512), of samples float32 (n,) at 22 050 Hz.

    Equal to librosa's melspectrogram with pad_mode="reflect", but taken in pieces, so that an hour fits in memory.
    The pad mode must be said: librosa's default changed in 0.9, and the pictures are older.
    """
    padded = np.pad(samples, WINDOW_SAMPLES // 2, mode="reflect")
    frames = 1 + (len(padded) - WINDOW_SAMPLES) // HOP_SAMPLES
    pieces = [
        librosa.feature.melspectrogram(
            y=padded[first * HOP_SAMPLES : (min(first + 4096, frames) - 1) * HOP_SAMPLES + WINDOW_SAMPLES],
            sr=SAMPLE_RATE,
            n_fft=WINDOW_SAMPLES,
            hop_length=HOP_SAMPLES,
            n_mels=MEL_BINS,
            power=2.0,
            center=False,
        )
        for first in range(0, frames, 4096)
    ]
    return np.concatenate(pieces, axis=1)


def clips_with_audio(dataset: DataSet, per_genre: int | None = None) -> list[tuple[Path, Path]]:
    """Pair clips with the pictures they became: (audio, picture), at most per_genre of each genre.

    `blues.00000.wav` became `blues00000.png`. A clip without a picture is paired with the name it would have.
    """
    pairs = []
    for genre in GENRES if dataset.audio else ():
        clips = sorted((dataset.audio / genre).glob("*.wav"))[:per_genre]
        pairs += [(clip, dataset.images / genre / f"{clip.stem.replace('.', '')}.png") for clip in clips]
    return pairs


def compare_doors(audio: Path, picture: Path) -> float | str:
    """Share of the matrix that sound and picture of one clip agree in, or the sentence that says what is wrong."""
    try:
        return float((audio_to_matrix(load_audio(audio)) == picture_to_matrix(picture)).mean())
    except InputError as error:
        return str(error)


def mel_to_matrix(mel: np.ndarray) -> np.ndarray:
    """Turn mel power, float (128, frames), into the matrix of uint8 (128, 334) that its drawing would show."""
    levels = librosa.amplitude_to_db(mel, ref=np.max, top_db=TOP_DB)
    levels = levels - levels.min()
    scaled = np.floor(levels / max(levels.max(), 1e-6) * 256).clip(0, 255).astype(np.uint8)
    return scaled[:, frame_of_column(mel.shape[1])]


# A web tool's picture: FFmpeg's showspectrumpic with scale=lin and color=intensity. All ten of the user's pictures lie
# within 3 of 255 steps of this palette, and of the tool's four level scales only the linear one is so dark above.
WEB_ROWS, WEB_COLUMNS = 288, 432  # a whole song, 0 to 22 050 Hz: 76.6 Hz a row, half a second a column
LARGEST_PICTURE = 20_000_000  # pixels
WEB_WINDOW = 54  # columns: 30 s of a song of 4 minutes; a picture does not say how long its song is
WEB_DRAWS = 3  # simulated pictures of each clip
WEB_RIDGE = 0.1 / 3000  # chosen on simulated windows by artist folds, as were the groups of descriptors
INTENSITY = np.array(  # level, Y, U, V at the palette's corners, straight between (libavfilter/avf_showspectrum.c)
    [
        (0.00, 0.0000, 0.0000, 0.0000), (0.13, 0.0359, 0.1573, -0.0255), (0.30, 0.1857, 0.1772, 0.1748),
        (0.60, 0.2818, -0.1593, 0.4713), (0.73, 0.6583, -0.3716, 0.2435), (0.78, 0.7632, -0.4308, 0.1687),
        (0.91, 0.9534, -0.2045, 0.0331), (1.00, 1.0000, 0.0000, 0.0000),
    ]
)  # fmt: skip
WEB_FLOOR, WEB_ROUNDING = 0.008, 0.03  # of the level: below there is only the tool's rounding to 8 bits
# Loudest mel power of a GTZAN clip, 31 dB, less 13.5 dB to FFmpeg's magnitude (measured on 41 clips), and 6 dB more on
# records of today, which is where the user's ten pictures lie (seen without their labels).
WEB_GAIN_DB, WEB_GAIN_SPREAD_DB = 23.5, 5.0
WEB_FILTER_DB = 4.0  # spread of a record's filter, at six points from low to high


def picture_kind(path: str | Path) -> str:
    """Say how a spectrogram picture was drawn: "kaggle", or "web tool" for FFmpeg's showspectrumpic.

    Raises InputError for a file that is no picture, and for a picture of any other kind.
    """
    path = Path(path)
    colours = _read_colours(path)
    inside = (slice(FRAME_TOP, FRAME_BOTTOM + 1), slice(FRAME_LEFT, FRAME_RIGHT + 1))
    if colours.shape == (PICTURE_HEIGHT, PICTURE_WIDTH, 3):
        margin = colours.copy()
        margin[inside] = 255
        if (margin == 255).all() and (colours[inside] < 255).any():
            return "kaggle"
    small = np.asarray(Image.fromarray(colours).resize((WEB_COLUMNS, WEB_ROWS)), float)
    levels = _colour_levels(small)
    # Only dim pixels lie on the palette: bright ones were mixed when the picture was made smaller.
    dim = (small.max(axis=-1) > 15) & (levels < 0.2)
    off = np.abs(small - _intensity_colours(levels)).max(axis=-1)
    if dim.mean() < 0.02 or np.median(off[dim]) > 12:
        raise InputError(f"'{path.name}' is no spectrogram of a kind known here: give the song itself, as mp3.")
    low, high = levels[-WEB_ROWS // 10 :].mean(), levels[: WEB_ROWS // 2].mean()
    if high > 0.05 or low < 2 * high:
        raise InputError(
            f"'{path.name}' has another level or frequency scale than the web pictures known here: give the song."
        )
    return "web tool"


def _read_colours(path: Path) -> np.ndarray:
    """Colours of a picture, uint8 (height, width, 3), transparent parts on white."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:  # before a huge one is unpacked
                raise InputError(f"'{path.name}' is {picture.width} x {picture.height} pixels: make it smaller.")
            picture = picture.convert("RGBA")
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many types for broken files
        raise InputError(f"'{path.name}' cannot be read as a picture: replace it or remove it.") from error
    return np.asarray(Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB"))


def _intensity_colours(levels: np.ndarray) -> np.ndarray:
    """The tool's colours, float (..., 3) of 0 to 255, of levels 0 to 1."""
    luma, blue, red = (np.interp(levels, INTENSITY[:, 0], INTENSITY[:, k]) for k in (1, 2, 3))
    green = luma - 0.344136 * blue - 0.714136 * red
    return 255 * np.clip(np.stack([luma + 1.402 * red, green, luma + 1.772 * blue], axis=-1), 0, 1)


def _colour_levels(colours: np.ndarray) -> np.ndarray:
    """Levels 0 to 1 of colours (..., 3), by their luminance, which rises all along the palette."""
    return np.interp(colours @ np.array([0.299, 0.587, 0.114]) / 255, INTENSITY[:, 1], INTENSITY[:, 0])


def web_picture_to_matrix(path: str | Path) -> np.ndarray:
    """Read a web tool's picture as a coarse matrix, uint8 (128, columns): mel bins by half seconds of the whole song.

    Silent columns at both ends are left out. Raises InputError for another picture, or one with hardly any sound.
    """
    path = Path(path)
    if picture_kind(path) != "web tool":
        raise InputError(f"'{path.name}' is a Kaggle picture, not one of a web tool: use picture_to_matrix.")
    picture = Image.fromarray(_read_colours(path)).resize((WEB_COLUMNS, WEB_ROWS))
    levels = _colour_levels(np.asarray(picture, float))[::-1][: WEB_ROWS // 2]
    loudness = levels[: WEB_ROWS // 8].mean(axis=0)
    sounding = np.flatnonzero(loudness > 0.1 * np.quantile(loudness, 0.9))
    levels = levels[:, sounding[0] : sounding[-1] + 1]
    if levels.shape[1] < WEB_WINDOW:
        raise InputError(f"'{path.name}' shows too little sound to judge: give the song itself.")
    return _coarse_matrix(levels)


def _coarse_matrix(levels: np.ndarray) -> np.ndarray:
    """Linear rows of levels (144, columns), 0 to 11 025 Hz, as uint8 (128, columns) on mel bins and a log scale."""
    place = np.clip(MEL_CENTRES / (SAMPLE_RATE / 2) * len(levels) - 0.5, 0, len(levels) - 1)
    low = np.minimum(place.astype(int), len(levels) - 2)
    part = (place - low)[:, None]
    mel = levels[low] * (1 - part) + levels[low + 1] * part
    scale = np.log10(np.maximum(mel, WEB_FLOOR) + WEB_ROUNDING)
    dark, bright = np.log10(WEB_FLOOR + WEB_ROUNDING), np.log10(1 + WEB_ROUNDING)
    return np.round(255 * np.clip((scale - dark) / (bright - dark), 0, 1)).astype(np.uint8)


def draw_as_web_tool(matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Simulate the coarse matrix, uint8 (128, columns), that a web picture would show of a clip, uint8 (128, 334).

    What a web picture does not tell is drawn by chance: how long the song is (30 s take 40 to 85 of its 432 columns),
    how large it was drawn before it was made smaller, its level, and the filter and compressor of its mastering.
    Against 41 clips drawn by FFmpeg itself the bands' mean levels agree within .04 in log10, .08 in the lowest.
    """
    power = 10 ** ((matrix.astype(np.float32) - 255) * DB_PER_LEVEL / 10)
    power[matrix == 0] = 10**-6.5  # far below the floor, where the tool draws black
    rows = WEB_ROWS // 2
    magnitude = _linear_rows(np.sqrt(power), rows)
    filter_db = np.interp(np.linspace(0, 1, rows), np.linspace(0, 1, 6) ** 2, rng.normal(0, WEB_FILTER_DB, 6))
    gain_db = WEB_GAIN_DB + WEB_GAIN_SPREAD_DB * rng.normal() + filter_db
    magnitude *= 10 ** (gain_db[:, None] / 20)
    if rng.random() < 0.5:
        loudness = np.sqrt((magnitude**2).sum(axis=0)) + 1e-4
        magnitude *= (loudness / np.quantile(loudness, 0.8)) ** rng.uniform(-0.6, 0)
    scatter = rng.uniform(0, 0.35)  # one row of one FFT scatters, a mel band does not
    magnitude *= 1 - scatter + scatter * rng.rayleigh(0.8, magnitude.shape)
    columns = int(rng.integers(40, 86))
    drawn = _column_means(magnitude, int(columns * rng.uniform(1.0, 1.8)))
    luma = np.interp(np.clip(drawn, 0, 1), INTENSITY[:, 0], INTENSITY[:, 1])
    method = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BOX
    small = Image.fromarray(luma.astype(np.float32)).resize((columns, rows), method)
    return _coarse_matrix(np.interp(np.clip(small, 0, 1), INTENSITY[:, 1], INTENSITY[:, 0]))


def _linear_rows(mel: np.ndarray, rows: int) -> np.ndarray:
    """(128, n) on mel bins as (rows, n) on a linear axis up to 11 025 Hz."""
    place = np.interp((np.arange(rows) + 0.5) * SAMPLE_RATE / 2 / rows, MEL_CENTRES, np.arange(MEL_BINS))
    low = np.minimum(place.astype(int), MEL_BINS - 2)
    part = (place - low)[:, None].astype(np.float32)
    return mel[low] * (1 - part) + mel[low + 1] * part


def _column_means(values: np.ndarray, columns: int) -> np.ndarray:
    """(rows, n) as (rows, columns): each the mean over its share of the time."""
    edges = np.linspace(0, values.shape[1], columns + 1)
    first = np.floor(edges[:-1]).astype(int)
    last = np.maximum(np.ceil(edges[1:]).astype(int), first + 1)
    total = np.pad(values.cumsum(axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    return (total[:, last] - total[:, first]) / (last - first)


@dataclass(frozen=True)
class Pictures:
    """All readable pictures of a set.

    table: one row per picture, columns image (file name) and genre.
    matrices: uint8 (n, 128, 334), in the order of the table.
    rejected: one sentence for each file that was left out.
    """

    table: pd.DataFrame
    matrices: np.ndarray
    rejected: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Genres as numbers, int64 (n,): places in GENRES."""
        return self.table["genre"].map(GENRES.index).to_numpy()


def read_pictures(dataset: DataSet) -> Pictures:
    """Decode all pictures of a set, or load them from the cache beside its results if no file has changed.

    The cache is data/<set>/pictures.npz. A bad file among many is left out and named in `rejected`. joblib runs the
    work on all cores; `with joblib.parallel_config(...)` around the call picks another backend.

    Raises InputError where a genre is left without a single readable picture.
    """
    paths = [path for genre in GENRES for path in sorted((dataset.images / genre).glob("*.png"))]
    seen = [f"{path.parent.name}/{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    fingerprint = hashlib.sha256("\n".join(seen).encode()).hexdigest()
    cache = dataset.results / "pictures.npz"
    if stored := read_cache(cache, fingerprint):
        table = pd.DataFrame({"image": stored["image"].astype(object), "genre": stored["genre"].astype(object)})
        return Pictures(table, stored["matrices"], tuple(stored["rejected"].tolist()))
    decoded = []
    with joblib.Parallel(n_jobs=-1, prefer="threads") as parallel:
        for start in tqdm(range(0, len(paths), 50), desc="decoding pictures", unit_scale=50):
            decoded += parallel(joblib.delayed(_matrix_or_error)(path) for path in paths[start : start + 50])
    rejected = tuple(f"{item}" for item in decoded if isinstance(item, InputError))
    good = [(path, item) for path, item in zip(paths, decoded, strict=True) if isinstance(item, np.ndarray)]
    table = pd.DataFrame({"image": [path.name for path, _ in good], "genre": [path.parent.name for path, _ in good]})
    for genre in GENRES:
        if genre not in set(table["genre"]):
            raise InputError(f"No picture of genre {genre} can be read in '{dataset.images / genre}': unpack it again.")
    matrices = np.stack([matrix for _, matrix in good])
    with replacing(cache) as temporary:
        np.savez(
            temporary,
            fingerprint=fingerprint,
            image=table["image"].to_numpy(str),
            genre=table["genre"].to_numpy(str),
            matrices=matrices,
            rejected=np.array(rejected, str),
        )
    return Pictures(table, matrices, rejected)


def _matrix_or_error(path: Path) -> np.ndarray | InputError:
    try:
        return picture_to_matrix(path)
    except InputError as error:
        return error


# ---------------------------------------------------------------------------------------------------------
# 4 Tables and splits
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Row numbers, int arrays, of the pictures in each part; a part that a protocol does not have is empty."""

    name: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray = field(default_factory=lambda: np.array([], int))


def read_tracks(dataset: DataSet) -> pd.DataFrame | None:
    """Give the facts per track that the project carries for a set (artist, title, published split), or None."""
    path = ROOT / "data" / dataset.name / "tracks.csv"
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.is_file() else None


def twin_groups(matrices: np.ndarray) -> np.ndarray:
    """Number the pictures, int (n,), so that two have the same number if and only if they are identical."""
    _, groups = np.unique([hashlib.sha256(matrix.tobytes()).digest() for matrix in matrices], return_inverse=True)
    return groups


def twin_table(pictures: Pictures) -> pd.DataFrame:
    """List the pairs of identical pictures: columns first, second (file names) and same_genre."""
    table = pictures.table.assign(group=twin_groups(pictures.matrices))
    pairs = table.merge(table, on="group", suffixes=("_first", "_second"))
    pairs = pairs[pairs["image_first"] < pairs["image_second"]]
    return pd.DataFrame(
        {
            "first": pairs["image_first"],
            "second": pairs["image_second"],
            "same_genre": pairs["genre_first"] == pairs["genre_second"],
        }
    ).reset_index(drop=True)


def random_split(pictures: Pictures, seed: int, validation_share: float = 0.3) -> Split:
    """Draw the course's random split: stratified by genre, seeded, identical pictures on the same side.

    scikit-learn draws among the distinct pictures; a twin then follows its double.
    """
    groups = twin_groups(pictures.matrices)
    distinct, first = np.unique(groups, return_index=True)
    train, validation = train_test_split(
        distinct, test_size=validation_share, stratify=pictures.labels[first], random_state=seed
    )
    return Split(f"random-{seed}", np.flatnonzero(np.isin(groups, train)), np.flatnonzero(np.isin(groups, validation)))


def fault_filtered_split(pictures: Pictures, tracks: pd.DataFrame) -> Split:
    """Give the published split 443/197/290 without faults and with disjoint artists.

    Source: Kereliuk, Sturm and Larsen, "Deep learning and music adversaries", 2015. One training track has no
    picture, so 442 remain.
    """
    part = pictures.table[["image"]].merge(tracks, on="image", how="left")["fault_filtered_split"]
    return Split("fault_filtered", *(np.flatnonzero(part == name) for name in ("train", "valid", "test")))


def artist_groups(pictures: Pictures, tracks: pd.DataFrame | None) -> np.ndarray:
    """Name the group of artists that each picture belongs to, str (n,); where none is known it is its own group."""
    own = pictures.table["image"]
    if tracks is None:
        return own.to_numpy(str)
    merged = pictures.table[["image"]].merge(tracks, on="image", how="left")
    groups = merged["artist_group"].fillna("")
    groups = groups.where(groups != "", merged["artist"].fillna(""))
    return groups.where(groups != "", own).to_numpy(str)


def calibration_splits(pictures: Pictures, tracks: pd.DataFrame, split: Split) -> list[Split]:
    """Cut the training and validation tracks of a split into three parts with disjoint artists, each held out once.

    What needs many answers, such as a scale for each genre, is fitted on these 639 tracks.
    """
    rows = np.sort(np.concatenate([split.train, split.validation]))
    groups = artist_groups(pictures, tracks)[rows]
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0).split(rows, pictures.labels[rows], groups)
    return [Split(f"calibration-{k}", rows[train], rows[held]) for k, (train, held) in enumerate(folds, 1)]


def artist_fold_split(pictures: Pictures, tracks: pd.DataFrame, fold: int) -> Split:
    """Give one of three artist-disjoint folds, 1 to 3, as the test part and the other two for training."""
    artist_fold = pictures.table[["image"]].merge(tracks, on="image", how="left")["artist_fold"].fillna("")
    test = artist_fold == str(fold)
    return Split(f"fold-{fold}", np.flatnonzero((artist_fold != "") & ~test), np.array([], int), np.flatnonzero(test))


def artists_met(pictures: Pictures, tracks: pd.DataFrame, train: np.ndarray, other: np.ndarray) -> pd.Series:
    """Count how many of the `other` tracks, and of their artists, are by an artist that training has: a small row.

    Tracks whose artist is not known count for neither.
    """
    artists = pictures.table[["image"]].merge(tracks, on="image", how="left")["artist"].fillna("")
    known = artists.iloc[other][artists.iloc[other] != ""]
    met = known.isin(artists.iloc[train])
    return pd.Series(
        {
            "tracks": len(known),
            "tracks by an artist met in training": int(met.sum()),
            "share": round(float(met.mean()), 3),
            "artists": known.nunique(),
            "artists met in training": known[met].nunique(),
        },
        dtype=object,
    )


def write_split(pictures: Pictures, split: Split, folder: Path) -> None:
    """Write names.csv, train_data.csv and validate_data.csv, each with the columns image and genre."""
    parts = {"names": slice(None), "train_data": split.train, "validate_data": split.validation}
    for name, rows in parts.items():
        with replacing(folder / f"{name}.csv") as temporary:
            pictures.table.iloc[rows].to_csv(temporary, index=False, lineterminator="\n")


def read_split(pictures: Pictures, folder: Path) -> Split:
    """Read back the split that `write_split` wrote.

    Raises InputError where a table is missing, is no table, or names a picture that the set does not have.
    """
    rows = {}
    for name in ("train_data", "validate_data"):
        path = folder / f"{name}.csv"
        if not path.is_file():
            raise InputError(f"'{path.name}' is missing: run notebook 02 first.")
        try:
            images = pd.read_csv(path, dtype=str)["image"]
        except (KeyError, ValueError) as error:  # ValueError is what pandas' own errors are, too
            raise InputError(f"'{path.name}' is no table with a column 'image': run notebook 02 again.") from error
        if not images.isin(pictures.table["image"]).all():
            raise InputError(f"'{path.name}' names pictures that are not in this set: run notebook 02 again.")
        rows[name] = np.flatnonzero(pictures.table["image"].isin(images))
    return Split("random", rows["train_data"], rows["validate_data"])


# ---------------------------------------------------------------------------------------------------------
# 5 Networks
# ---------------------------------------------------------------------------------------------------------


class SpectrogramDataset(Dataset):
    """Matrices and labels for a DataLoader, a whole batch at a time.

    An item is (uint8 (batch, 128, 334), int64 (batch,)). Everything lies in memory, so no worker processes are
    needed, and the same loader works on Windows.
    """

    def __init__(self, matrices: np.ndarray, labels: np.ndarray) -> None:
        self.matrices = torch.from_numpy(matrices)
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows) -> tuple[Tensor, Tensor]:
        return self.matrices[rows], self.labels[rows]

    __getitems__ = __getitem__  # the loader's name for "all rows of a batch at once"


class ReferenceNetwork(nn.Module):
    """The reference project's network, which looks at the whole picture, margin and frame included.

    Three convolutions, two poolings, two dense layers. channels (64, 128, 64) is its first solution, (16, 32, 16)
    its final one. Takes levels of 0 to 255, float (n, 128, 334), draws them as 3 x 288 x 432 and gives logits (n, 10).
    """

    def __init__(self, channels: tuple[int, int, int] = (64, 128, 64)) -> None:
        super().__init__()
        first, second, third = channels
        self.layers = nn.Sequential(
            nn.Conv2d(3, first, 7, stride=6),
            nn.ReLU(),
            nn.Conv2d(first, second, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(second, third, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(third * 10 * 16, 1024),
            nn.ReLU(),
            nn.Linear(1024, len(GENRES)),
        )
        blank = np.array(matrix_to_picture(np.zeros((MEL_BINS, COLUMNS), np.uint8)))[..., :3]
        self.register_buffer("blank", torch.from_numpy(blank) / 255, persistent=False)
        self.register_buffer("palette", torch.from_numpy(MAGMA) / 255, persistent=False)
        self.register_buffer("bin_of_row", torch.from_numpy(_BIN_OF_ROW), persistent=False)

    def forward(self, levels: Tensor) -> Tensor:
        """Give logits (n, 10) for levels (n, 128, 334)."""
        kind = levels.device.type
        # The layers would turn float32 into this type anyway; drawing in it halves the memory that is moved.
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else levels.dtype
        rows = levels.round().int()[:, self.bin_of_row]
        pictures = self.blank.to(dtype).repeat(len(levels), 1, 1, 1)
        pictures[:, INNER_ROWS, INNER_COLUMNS] = nn.functional.embedding(rows, self.palette.to(dtype))
        return self.layers(pictures.permute(0, 3, 1, 2))


class GenreNetwork(nn.Module):
    """Our network: nine convolutions on two views of the matrix, mean and maximum over time, one dense layer.

    The views are the level itself and the level of each band against its own course in time, which forgets how a
    record was filtered. Pieces of 128 columns, 11.5 s, go in; time is pooled away at the end. While training, random
    bands of pitch and time are blanked (Park et al., "SpecAugment", 2019). Takes levels of 0 to 255, float
    (n, 128, columns), and gives logits (n, 10). widths are the channels of the first convolution and of the blocks.
    """

    piece_columns = 128

    def __init__(self, widths: Sequence[int] = (24, 24, 48, 96, 96), dropout: float = 0.4, masks: int = 2) -> None:
        super().__init__()
        self.masks = masks
        layers = _convolution(2, widths[0], 5, stride=2)
        for inside, outside in pairwise(widths):
            layers += [*_convolution(inside, outside), *_convolution(outside, outside), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * widths[-1], len(GENRES)))

    def forward(self, levels: Tensor) -> Tensor:
        """Give logits (n, 10) for levels (n, 128, columns)."""
        views = self.views(levels)
        if self.training:
            views = blank_bands(views, self.masks)
        maps = self.features(views.contiguous(memory_format=torch.channels_last)).float().mean(dim=2)
        return self.head(torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1))

    @staticmethod
    def views(levels: Tensor) -> Tensor:
        """Level and band-normalised level, float (n, 2, 128, columns), both about -1 to 2."""
        mean, spread = levels.mean(dim=2, keepdim=True), levels.std(dim=2, keepdim=True)
        return torch.stack([(levels - 100) / 80, (levels - mean) / (spread + 8)], dim=1)


def _convolution(inside: int, outside: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inside, outside, size, stride, padding=size // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]


def blank_bands(views: Tensor, masks: int, bins: int = 17, columns: int = 17) -> Tensor:
    """Set up to `masks` random bands of at most so many bins, and of so many columns, to zero in each picture."""
    n, _, height, width = views.shape
    keep = torch.ones(n, 1, height, width, device=views.device)
    for _ in range(masks):
        for size, largest, shape in ((height, bins, (1, 1, -1, 1)), (width, columns, (1, 1, 1, -1))):
            length = torch.rand(n, 1, 1, 1, device=views.device) * largest
            start = torch.rand(n, 1, 1, 1, device=views.device) * (size - length)
            place = torch.arange(size, device=views.device).view(shape)
            keep = keep * ((place < start) | (place >= start + length))
    return views * keep


# ---------------------------------------------------------------------------------------------------------
# 6 Training
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    crop_columns 0 takes whole matrices. tempo and pitch_bins are the widest random changes of speed (as a share) and
    of pitch. mixup is the parameter of the Beta distribution, 0 for none (Zhang et al., "mixup", 2018). plain_every
    says after how many epochs the accuracy on whole, unchanged pictures is taken.
    """

    epochs: int
    batch_size: int = 32
    optimiser: str = "AdamW"
    learning_rate: float = 3e-3
    one_cycle: bool = True
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    crop_columns: int = GenreNetwork.piece_columns
    tempo: float = 0.0
    pitch_bins: int = 3
    mixup: float = 0.3
    plain_every: int = 10

    def lasting(self, epochs: int) -> Recipe:
        """Give the same recipe for so many epochs; a short run is measured at least twice."""
        return replace(self, epochs=epochs, plain_every=max(1, min(self.plain_every, epochs // 2)))


REFERENCE_FIRST = Recipe(
    epochs=50,
    batch_size=80,
    optimiser="Adam",
    learning_rate=1e-3,
    one_cycle=False,
    weight_decay=0.0,
    label_smoothing=0.0,
    crop_columns=0,
    mixup=0.0,
    plain_every=5,
)
REFERENCE_FINAL = replace(REFERENCE_FIRST, optimiser="Adagrad", learning_rate=1e-2)
OURS = Recipe(epochs=60)


def _autocast(device: torch.device):
    """bfloat16 autocast where the processor computes in it; elsewhere it would only be slower."""
    fast = device.type == "cuda" or (device.type == "cpu" and torch.cpu.get_capabilities().get("avx512_bf16", False))
    return torch.autocast(device.type, torch.bfloat16, enabled=fast)


def random_crops(levels: Tensor, recipe: Recipe) -> Tensor:
    """Cut a random piece of crop_columns out of each matrix, played a little faster or slower, higher or lower.

    Both changes leave a genre as it is. levels (n, 128, columns) give (n, 128, crop_columns), interpolated.
    """
    n, bins, columns = levels.shape
    draw = functools.partial(torch.rand, n, 1, device=levels.device)
    speed = torch.exp((2 * draw() - 1) * recipe.tempo)
    length = (recipe.crop_columns - 1) * speed
    time = draw() * (columns - 1 - length) + torch.linspace(0, 1, recipe.crop_columns, device=levels.device) * length
    shift = torch.round((2 * draw() - 1) * recipe.pitch_bins)
    pitch = torch.arange(bins, device=levels.device) + shift
    x = (2 * time / (columns - 1) - 1)[:, None, :].expand(n, bins, -1)
    y = (2 * pitch / (bins - 1) - 1)[:, :, None].expand_as(x)
    return nn.functional.grid_sample(levels[:, None], torch.stack([x, y], dim=-1), align_corners=True)[:, 0]


def train_network(
    network: nn.Module,
    pictures: Pictures,
    split: Split,
    recipe: Recipe,
    seed: int,
    checkpoint: Path | None = None,
    describe: str = "training",
) -> pd.DataFrame:
    """Train in place on split.train, and give the learning curve.

    The curve has one row per epoch: epoch, loss and train (both as met while training), and, every plain_every
    epochs and after the last, train_plain and validation, the accuracies on whole unchanged pictures; a split that
    holds nothing out has neither. The network ends with its last weights: no epoch is picked.

    Each epoch is seeded by itself, so that a run that was stopped goes on from `checkpoint` at the last finished epoch
    exactly as if it had never stopped. A checkpoint of other settings is not used.
    """
    device = pick_device()
    network.to(device, memory_format=torch.channels_last)
    optimiser = getattr(torch.optim, recipe.optimiser)(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    loader = DataLoader(
        SpectrogramDataset(pictures.matrices[split.train], pictures.labels[split.train]),
        batch_size=min(recipe.batch_size, len(split.train)),
        shuffle=True,
        drop_last=recipe.one_cycle,
        collate_fn=lambda batch: batch,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
    if recipe.one_cycle:
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.learning_rate, total_steps=recipe.epochs * len(loader), pct_start=0.25
        )
    mix = lambda levels, labels: (levels, labels)  # noqa: E731
    if recipe.mixup:
        mix = torchvision_transforms().MixUp(alpha=recipe.mixup, num_classes=len(GENRES))
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    settings = json.dumps([asdict(recipe), seed, _digest(pictures.matrices[split.train])])
    curve = _resume(checkpoint, settings, parts, device)
    for epoch in tqdm(range(len(curve), recipe.epochs), initial=len(curve), total=recipe.epochs, desc=describe):
        torch.manual_seed(1_000 * seed + epoch)
        network.train()
        loss_sum, hits, seen = 0.0, 0.0, 0
        for matrices, labels in loader:
            levels = matrices.to(device).float()
            if recipe.crop_columns:
                levels = random_crops(levels, recipe)
            levels, targets = mix(levels[:, None], labels.to(device))  # pictures with one channel
            with _autocast(device):
                logits = network(levels[:, 0])
            loss = loss_function(logits.float(), targets)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            hits += (logits.argmax(1).cpu() == labels).sum().item()
            loss_sum, seen = loss_sum + loss.item() * len(labels), seen + len(labels)
        row = {"epoch": epoch + 1, "loss": loss_sum / seen, "train": hits / seen}
        measured = (epoch + 1) % recipe.plain_every == 0 or epoch + 1 == recipe.epochs
        if measured and len(split.validation):
            for name, rows in (("train_plain", split.train), ("validation", split.validation)):
                row[name] = accuracy(predict(network, pictures.matrices[rows]), pictures.labels[rows])
        curve.append(row)
        _save_checkpoint(checkpoint, settings, parts, curve)
    return pd.DataFrame(curve)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()[:16]


def _save_checkpoint(path: Path | None, settings: str, parts: dict, curve: list[dict]) -> None:
    if path is not None:
        with replacing(path) as temporary:
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({"settings": settings, "curve": curve, "states": states}, temporary)


def _resume(path: Path | None, settings: str, parts: dict, device: torch.device) -> list[dict]:
    """Load the parts from a checkpoint of the same settings and give its curve; else an empty curve."""
    stored = None if path is None else _load_if_good(path, device)
    if stored is None or stored.get("settings") != settings:
        return []
    for name, part in parts.items():
        part.load_state_dict(stored["states"][name])
    return stored["curve"]


def load_weights(path: str | Path, device: torch.device | str = "cpu") -> dict:
    """Load a file of weights as plain data; nothing in it can run.

    Raises InputError for a missing, damaged or foreign file.
    """
    try:
        stored = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # a damaged file can fail in the zip, pickle or torch layer
        raise InputError(f"'{Path(path).name}' holds no weights that can be loaded: train again.") from error
    if not isinstance(stored, dict):
        raise InputError(f"'{Path(path).name}' was not written by this project: train again.")
    return stored


def _load_if_good(path: Path, device: torch.device | str = "cpu") -> dict | None:
    """Load weights that a new run can make again; None where they are missing or damaged."""
    try:
        return load_weights(path, device)
    except InputError:
        return None


@torch.inference_mode()
def predict(network: nn.Module, matrices: np.ndarray, pieces: int = 5, batch_size: int = 32) -> np.ndarray:
    """Give logits, float32 (n, 10), for whole matrices, uint8 (n, 128, 334).

    A network with `piece_columns` sees so many overlapping pieces from begin to end, and the logits are the log of
    its mean probability; another sees the whole.
    """
    device = pick_device()
    network.to(device).eval()
    columns = getattr(network, "piece_columns", COLUMNS)
    starts = np.unique(np.linspace(0, COLUMNS - columns, pieces).round().astype(int))
    logits = [torch.empty(0, len(GENRES))]
    for begin in range(0, len(matrices), batch_size):
        levels = torch.from_numpy(matrices[begin : begin + batch_size]).to(device).float()
        with _autocast(device):
            heard = [network(levels[..., start : start + columns]).float() for start in starts]
        logits.append(torch.stack(heard).log_softmax(-1).logsumexp(0).cpu() - np.log(len(starts)))
    return torch.cat(logits).numpy()


def grad_cam(network: GenreNetwork, matrices: np.ndarray, genre: str) -> np.ndarray:
    """Show what in matrices, uint8 (n, 128, 334), speaks for a genre: float32 (n, 128, 334), 0 to 1, smooth.

    Source: Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", 2017;
    taken before the last pooling, where a cell stands for 16 mel bins and 1.4 s.
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.no_grad(), _autocast(device):
        maps = network.features[:-1](network.views(torch.from_numpy(matrices).to(device).float())).float()
    maps.requires_grad_(True)
    pooled = network.features[-1](maps).mean(dim=2)
    logits = network.head(torch.cat([pooled.mean(dim=2), pooled.amax(dim=2)], dim=1))
    (gradient,) = torch.autograd.grad(logits[:, GENRES.index(genre)].sum(), maps)
    heat = (gradient.mean(dim=(2, 3), keepdim=True) * maps.detach()).sum(dim=1, keepdim=True).relu()
    heat = nn.functional.interpolate(heat, matrices.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return (heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)).cpu().numpy()


@dataclass(frozen=True)
class Calibration:
    """What makes the logits of both looks honest: a scale and an offset for each genre, float32 (10,).

    The scale acts on how far a logit lies from the mean of its row: a constant added to a row means nothing. An answer
    less sure than unsure_below is called unsure.
    """

    scale: np.ndarray = field(default_factory=lambda: np.ones(len(GENRES), np.float32))
    offset: np.ndarray = field(default_factory=lambda: np.zeros(len(GENRES), np.float32))
    unsure_below: float = 0.0

    def logits(self, logits: np.ndarray) -> np.ndarray:
        """Give calibrated logits, float32 (n, 10), for those of `blend`."""
        return (logits - logits.mean(axis=1, keepdims=True)) * self.scale + self.offset


@dataclass
class GenreModel:
    """The network and the texture classifier together: two looks at a matrix, one answer.

    cnn_share weighs the two log-probabilities, calibration makes the result an honest probability. familiarity knows
    what the training data looks like, web answers for pictures of a web tool; a model may do without both. facts says
    how it was trained.
    """

    network: GenreNetwork
    texture: features.TextureClassifier
    cnn_share: float = CNN_SHARE
    calibration: Calibration = field(default_factory=Calibration)
    familiarity: features.Familiarity | None = None
    web: WebClassifier | None = None
    facts: dict = field(default_factory=dict)

    def logits(self, matrices: np.ndarray) -> np.ndarray:
        """Give the logits, float32 (n, 10), for whole matrices, uint8 (n, 128, 334)."""
        looks = predict(self.network, matrices), self.texture.logits(features.describe(matrices))
        return self.calibration.logits(blend(*looks, self.cnn_share))

    def probabilities(self, matrices: np.ndarray) -> np.ndarray:
        """Give calibrated probabilities, float32 (n, 10), for whole matrices, uint8 (n, 128, 334)."""
        return softmax(self.logits(matrices), axis=1)

    def strange(self, matrices: np.ndarray) -> bool:
        """Whether more than half of a song's matrices are unlike all training data."""
        return self.familiarity is not None and float(np.median(self.familiarity.strangeness(matrices))) > 1


@dataclass(frozen=True)
class WebClassifier:
    """A texture classifier for coarse matrices, with a temperature and a threshold of its own."""

    texture: features.TextureClassifier
    temperature: float
    unsure_below: float

    def probabilities(self, matrices: np.ndarray) -> np.ndarray:
        """Give calibrated probabilities, float32 (n, 10), for coarse matrices, uint8 (n, 128, columns)."""
        logits = self.texture.logits(features.describe_coarse(matrices))
        return softmax(TEXTURE_SHARPNESS * logits / self.temperature, axis=1)

    def aligned(self, songs: Sequence[np.ndarray]) -> WebClassifier:
        """The same, with the descriptors centred on these songs' own mean, each song, uint8 (k, 128, columns), alike.

        Training pictures are simulated, and what is simulated wrongly shifts all songs in the same way; centring takes
        the shift back. It needs songs of many genres, or it takes their genre back too.
        """
        mean = np.mean([features.describe_coarse(windows).mean(axis=0) for windows in songs], axis=0)
        return replace(self, texture=replace(self.texture, mean=mean))


def blend(cnn_logits: np.ndarray, texture_logits: np.ndarray, cnn_share: float = CNN_SHARE) -> np.ndarray:
    """Weigh the log-probabilities of network and texture classifier; gives logits, float32 (n, 10)."""
    texture = log_softmax(TEXTURE_SHARPNESS * texture_logits, axis=1)
    return cnn_share * log_softmax(cnn_logits, axis=1) + (1 - cnn_share) * texture


def save_model(path: Path, model: GenreModel) -> None:
    """Write a model as plain tensors, with its genres and facts."""
    stored = {
        "genres": list(GENRES),
        "network": model.network.cpu().state_dict(),
        "texture": _as_tensors(model.texture),
        "cnn_share": model.cnn_share,
        "calibration": vars(model.calibration) | _as_tensors(model.calibration, "scale", "offset"),
        "facts": model.facts,
    }
    if model.familiarity:
        stored["familiarity"] = _as_tensors(model.familiarity)
    if model.web:
        stored["web"] = vars(model.web) | {"texture": _as_tensors(model.web.texture)}
    with replacing(path) as temporary:
        torch.save(stored, temporary)


def _as_tensors(arrays: object, *names: str) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.asarray(getattr(arrays, name))) for name in names or vars(arrays)}


def _from_tensors(kind: type, tensors: dict[str, Tensor]) -> object:
    return kind(**{name: tensor.numpy() for name, tensor in tensors.items()})


def load_model(path: str | Path = MODEL_PATH) -> GenreModel:
    """Read what `save_model` wrote; without a path the model that the project ships.

    Raises InputError for a missing, damaged or foreign file.
    """
    stored = load_weights(path)
    parts = {"network", "texture", "cnn_share", "calibration", "facts"}
    if stored.get("genres") != list(GENRES) or not parts <= set(stored):
        raise InputError(f"'{Path(path).name}' is no model of this project: run notebook 03 or clone again.")
    model = GenreModel(GenreNetwork().eval(), None)
    try:
        model.network.load_state_dict(stored["network"])
        model.texture = _from_tensors(features.TextureClassifier, stored["texture"])
        if "familiarity" in stored:
            model.familiarity = _from_tensors(features.Familiarity, stored["familiarity"])
        if "web" in stored:
            texture = _from_tensors(features.TextureClassifier, stored["web"]["texture"])
            model.web = WebClassifier(**stored["web"] | {"texture": texture})
        model.cnn_share, model.facts = stored["cnn_share"], stored["facts"]
        scale, offset = (stored["calibration"][name].numpy() for name in ("scale", "offset"))
        model.calibration = Calibration(scale, offset, float(stored["calibration"]["unsure_below"]))
        # One question shows whether sizes fit and numbers are numbers.
        blank = np.zeros((1, MEL_BINS, COLUMNS), np.uint8)
        answers = [model.probabilities(blank), *([model.web.probabilities(blank)] if model.web else [])]
        if any(answer.shape != (1, len(GENRES)) or not np.isfinite(answer).all() for answer in answers):
            raise ValueError("no probabilities")
        model.strange(blank)
    except (RuntimeError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise InputError(f"'{Path(path).name}' was made by another version: run notebook 03 or clone again.") from error
    return model


def read_texture(dataset: DataSet, pictures: Pictures) -> np.ndarray:
    """Give the texture descriptors of all pictures, float32 (n, features), from a cache beside the results."""
    cache = dataset.results / "texture.npz"
    fingerprint = _digest(pictures.matrices)
    if stored := read_cache(cache, fingerprint):
        return stored["texture"]
    texture = features.describe(pictures.matrices, progress=True)
    with replacing(cache) as temporary:
        np.savez(temporary, fingerprint=fingerprint, texture=texture)
    return texture


@dataclass(frozen=True)
class Run:
    """One network and one texture classifier, trained on a split: what they say of each part, and how long it took.

    cnn and texture hold logits, float32 (n, 10), by the part's name; curve is the network's learning curve.
    """

    split: Split
    seed: int
    curve: pd.DataFrame
    cnn: dict[str, np.ndarray]
    texture: dict[str, np.ndarray]
    minutes: float

    def logits(self, part: str) -> np.ndarray:
        """Logits of both looks together for a part of the split."""
        return blend(self.cnn[part], self.texture[part])


def train_model(
    dataset: DataSet, pictures: Pictures, split: Split, seed: int, recipe: Recipe
) -> tuple[GenreModel, pd.DataFrame]:
    """Train network and texture classifier on split.train; gives the model and the network's learning curve.

    A stopped run goes on at its last finished epoch, from a checkpoint in data/<set>/runs.
    """
    torch.manual_seed(seed)
    network = GenreNetwork()
    checkpoint = _checkpoint_path(dataset, split, seed)
    curve = train_network(network, pictures, split, recipe, seed, checkpoint, f"{split.name}, seed {seed}")
    descriptors = read_texture(dataset, pictures)
    texture = features.fit_texture_classifier(descriptors[split.train], pictures.labels[split.train])
    return GenreModel(network, texture), curve


def train_reference(
    dataset: DataSet,
    pictures: Pictures,
    split: Split,
    recipe: Recipe,
    seed: int,
    network: ReferenceNetwork,
    name: str,
) -> pd.DataFrame:
    """Train one of the reference's networks from fresh weights, or read its finished run; gives the learning curve."""
    torch.manual_seed(seed)
    network.apply(lambda layer: getattr(layer, "reset_parameters", lambda: None)())
    checkpoint = dataset.results / "runs" / f"{name.replace(', ', '-')}.pt"
    started, before = time.monotonic(), checkpoint.stat().st_mtime_ns if checkpoint.is_file() else None
    curve = train_network(network, pictures, split, recipe, seed, checkpoint, name)
    if checkpoint.stat().st_mtime_ns != before:  # it trained now, be it only to the end of a stopped run
        last = curve.iloc[-1]
        reached = {"train": last["train_plain"], "validation": last["validation"]}
        minutes = (time.monotonic() - started) / 60
        record_experiment(dataset, name, split.name, seed, json.dumps(asdict(recipe)), reached, minutes)
    return curve


def train_final(
    dataset: DataSet, pictures: Pictures, calibration: Calibration, seed: int, recipe: Recipe
) -> GenreModel:
    """Train on all pictures, for own songs.

    calibration must come from other runs, which held tracks out. The web classifier is trained only on GTZAN: it is
    for the user's own pictures, and demo songs have none.
    """
    everything = Split("all", np.arange(len(pictures.table)), np.array([], int))
    model, _ = train_model(dataset, pictures, everything, seed, recipe)
    model.calibration = calibration
    artists = artist_groups(pictures, read_tracks(dataset))
    model.familiarity = features.fit_familiarity(pictures.matrices, artists)
    if dataset.name == "gtzan":
        model.web = train_web_classifier(dataset, pictures, artists)
    model.facts = {
        "trained on": f"all {len(pictures.table)} pictures, {dataset.label}",
        "epochs": recipe.epochs,
        "seed": seed,
    }
    return model


def train_web_classifier(dataset: DataSet, pictures: Pictures, artists: np.ndarray, seed: int = 0) -> WebClassifier:
    """Train on what a web tool's pictures of all clips would look like, WEB_DRAWS times each.

    Temperature and threshold come from three folds of artists. A row of their accuracy goes to experiments.csv.
    """

    def described(row: int) -> np.ndarray:
        rng = np.random.default_rng([seed, row])
        drawn = [draw_as_web_tool(pictures.matrices[row], rng) for _ in range(WEB_DRAWS)]
        return np.concatenate([features.describe_coarse(matrix[None]) for matrix in drawn])

    started, descriptors = time.monotonic(), []
    with joblib.Parallel(n_jobs=-1, prefer="threads") as parallel:
        for start in tqdm(range(0, len(pictures.table), 50), desc="drawing web pictures", unit_scale=50):
            rows = range(start, min(start + 50, len(pictures.table)))
            descriptors += parallel(joblib.delayed(described)(row) for row in rows)
    descriptors = np.stack(descriptors)
    labels, logits = pictures.labels, np.zeros((len(pictures.table), len(GENRES)), np.float32)

    def fitted(rows: np.ndarray) -> features.TextureClassifier:
        return features.fit_texture_classifier(
            np.concatenate(descriptors[rows]),
            np.repeat(labels[rows], WEB_DRAWS),
            WEB_RIDGE,
            features.describe_coarse_groups,
        )

    for train, test in StratifiedGroupKFold(3, shuffle=True, random_state=seed).split(labels, labels, artists):
        logits[test] = TEXTURE_SHARPNESS * fitted(train).logits(descriptors[test, 0])
    reached = {"validation": accuracy(logits, labels)}
    settings = f"{WEB_DRAWS} draws, ridge {WEB_RIDGE}"
    minutes = (time.monotonic() - started) / 60
    record_experiment(
        dataset, "web pictures, simulated windows", "three folds of artists", seed, settings, reached, minutes
    )
    temperature = fit_temperature(logits, labels)
    threshold = fit_threshold(softmax(logits / temperature, axis=1), labels)
    return WebClassifier(fitted(np.arange(len(labels))), temperature, threshold)


def _checkpoint_path(dataset: DataSet, split: Split, seed: int) -> Path:
    return dataset.results / "runs" / f"{split.name}-seed{seed}-checkpoint.pt"


def run_protocol(dataset: DataSet, pictures: Pictures, split: Split, seed: int, recipe: Recipe) -> Run:
    """Train on a split and keep what comes out in data/<set>/runs, so that a second call only reads it.

    Three rows go to data/<set>/experiments.csv: network, texture classifier, and both.
    """
    digest = _digest(np.array([json.dumps(asdict(recipe)), _digest(split.train), _digest(pictures.matrices)]))
    stored = dataset.results / "runs" / f"{split.name}-seed{seed}-{digest}.pt"
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    if kept := _load_if_good(stored):
        looks = {look: {part: kept[look][part].numpy() for part in parts} for look in ("cnn", "texture")}
        return Run(split, seed, pd.DataFrame(kept["curve"]), **looks, minutes=kept["minutes"])
    started = time.monotonic()
    model, curve = train_model(dataset, pictures, split, seed, recipe)
    minutes = (time.monotonic() - started) / 60
    descriptors = read_texture(dataset, pictures)
    cnn = {part: predict(model.network, pictures.matrices[rows]) for part, rows in parts.items()}
    texture = {part: model.texture.logits(descriptors[rows]) for part, rows in parts.items()}
    run = Run(split, seed, curve, cnn, texture, minutes)
    with replacing(stored) as temporary:
        looks = {"cnn": cnn, "texture": texture}
        tensors = {look: {part: torch.from_numpy(v) for part, v in logits.items()} for look, logits in looks.items()}
        torch.save({**tensors, "curve": curve.to_dict("records"), "minutes": minutes}, temporary)
    _checkpoint_path(dataset, split, seed).unlink(missing_ok=True)
    both = {part: run.logits(part) for part in parts}
    network, ridge = json.dumps(asdict(recipe)), f"ridge {features.RIDGE}"
    for what, logits, settings in (
        ("cnn", cnn, network),
        ("texture", texture, ridge),
        ("cnn + texture", both, f"{network}, {ridge}, cnn share {CNN_SHARE}"),
    ):
        reached = {part: accuracy(logits[part], pictures.labels[rows]) for part, rows in parts.items()}
        record_experiment(dataset, what, split.name, seed, settings, reached, minutes)
    return run


def protocol_split(pictures: Pictures, tracks: pd.DataFrame | None, name: str, seed: int) -> Split:
    """Give a protocol's split by its name: "random" (drawn with the seed), "fault_filtered", "fold-1" to "fold-3".

    Raises InputError for another name, or where a split by artist is asked for and there are no artists.
    """
    if name == "random":
        return random_split(pictures, seed)
    if tracks is None:
        raise InputError(f"The split '{name}' needs data/<set>/tracks.csv: this set has only the random split.")
    if name == "fault_filtered":
        return fault_filtered_split(pictures, tracks)
    if name in ("fold-1", "fold-2", "fold-3"):
        return artist_fold_split(pictures, tracks, int(name[-1]))
    raise InputError(f"There is no split '{name}': take random, fault_filtered, fold-1, fold-2 or fold-3.")


def print_protocol_row(data_folder: str, name: str, seed: int) -> None:
    """Train one row of the protocol (or read it, if it was trained before) and print its accuracies."""
    dataset = find_dataset(data_folder)
    pictures = read_pictures(dataset)
    split = protocol_split(pictures, read_tracks(dataset), name, seed)
    run = run_protocol(dataset, pictures, split, seed, OURS)
    print(run_table([run], pictures).to_string(index=False))


def record_experiment(
    dataset: DataSet, what: str, split: str, seed: int, settings: str, reached: dict, minutes: float, remark: str = ""
) -> None:
    """Append a row to data/<set>/experiments.csv; `reached` holds the accuracies of train, validation and test."""
    path = dataset.results / "experiments.csv"
    row = {
        "date": time.strftime("%Y-%m-%d"),
        "what": what,
        "split": split,
        "seed": seed,
        "settings": settings,
        "train_plain": reached.get("train"),
        "validation": reached.get("validation"),
        "test": reached.get("test"),
        "minutes": round(minutes, 2),
        "remark": remark,
    }
    with locked(path.parent):
        before = path.read_bytes() if path.is_file() else b""
        line = pd.DataFrame([row]).to_csv(header=not before, index=False, float_format="%.4f", lineterminator="\n")
        with replacing(path) as temporary:
            temporary.write_bytes(before + line.encode())


# ---------------------------------------------------------------------------------------------------------
# 7 Metrics
# ---------------------------------------------------------------------------------------------------------


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows of `scores` (n, 10) whose largest entry is at the label; NaN for no rows."""
    return float((scores.argmax(axis=1) == labels).mean()) if len(labels) else float("nan")


def wilson_interval(correct: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a share, as two fractions.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = norm.ppf((1 + confidence) / 2)
    share = correct / total
    centre = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z / (1 + z**2 / total) * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    return float(centre - half), float(centre + half)


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval for the mean of runs with different seeds, as two fractions."""
    values = np.asarray(values, float)
    half = student_t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Give the temperature that minimises the cross-entropy of logits / temperature.

    Source: Guo et al., "On calibration of modern neural networks", 2017.
    """

    def cross_entropy(log_temperature: float) -> float:
        log_probabilities = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -log_probabilities[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-3, 3), method="bounded").x))


def fit_calibration(many: tuple[np.ndarray, np.ndarray], near: tuple[np.ndarray, np.ndarray]) -> Calibration:
    """Fit a scale and an offset for each genre on many held-out answers, then one temperature for all on near ones.

    Both are logits, float (n, 10), and labels, int (n,), as `held_out` gives them. Twenty numbers want many answers;
    how sure a model may be depends on how far away the new artists are, and that is what the near answers tell. The
    threshold for "unsure" comes from them too.

    Source: Guo et al., "On calibration of modern neural networks", 2017, there called vector scaling. Here genres are
    drawn to one scale and no offset by CALIBRATION_PENALTY.
    """
    (logits, labels), genres = many, len(GENRES)

    def loss(numbers: np.ndarray) -> float:
        log_scale, offset = numbers[:genres], numbers[genres:]
        log_probabilities = log_softmax(Calibration(np.exp(log_scale), offset).logits(logits), axis=1)
        spread = np.sum((log_scale - log_scale.mean()) ** 2) + np.sum(offset**2)
        return -log_probabilities[np.arange(len(labels)), labels].mean() + CALIBRATION_PENALTY * spread

    numbers = minimize(loss, np.zeros(2 * genres)).x
    by_genre = Calibration(np.exp(numbers[:genres]), numbers[genres:])
    near_logits, near_labels = by_genre.logits(near[0]), near[1]
    temperature = fit_temperature(near_logits, near_labels)
    threshold = fit_threshold(softmax(near_logits / temperature, axis=1), near_labels)
    scale, offset = (np.float32(part / temperature) for part in (by_genre.scale, by_genre.offset))
    return Calibration(scale, offset, threshold)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over bins that hold equally many predictions."""
    table = reliability_table(probabilities, labels, bins)
    return float(((table["confidence"] - table["accuracy"]).abs() * table["count"]).sum() / table["count"].sum())


def honest_calibration_error(probabilities: np.ndarray, bins: int = 10, draws: int = 1000) -> tuple[float, float]:
    """Give the range that holds 95 % of the calibration errors of a perfectly honest model with these confidences.

    With few predictions in a bin even such a model errs by chance; its labels are drawn from its own probabilities.
    """
    rng, cumulative = np.random.default_rng(0), probabilities.cumsum(axis=1)
    errors = []
    for _ in range(draws):
        labels = (cumulative > rng.random(len(probabilities))[:, None] * cumulative[:, -1:]).argmax(axis=1)
        errors.append(expected_calibration_error(probabilities, labels, bins))
    return float(np.quantile(errors, 0.025)), float(np.quantile(errors, 0.975))


def reliability_table(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Mean confidence, accuracy and count in equally filled bins of rising confidence."""
    confidence = probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == labels
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    rows = [(confidence[part].mean(), hits[part].mean(), len(part)) for part in parts]
    return pd.DataFrame(rows, columns=["confidence", "accuracy", "count"])


def genre_report(scores: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Precision, recall, F1 and number of tracks per genre, one row each."""
    report = precision_recall_fscore_support(labels, scores.argmax(1), labels=range(len(GENRES)), zero_division=0)
    return pd.DataFrame(np.transpose(report), index=GENRES, columns=["precision", "recall", "F1", "tracks"]).astype(
        {"tracks": int}
    )


def confused_pairs(scores: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Pairs of genres that are taken for each other, most often first: columns true, predicted, tracks."""
    counts = confusion_matrix(labels, scores.argmax(1), labels=range(len(GENRES)))
    rows = [(GENRES[i], GENRES[j], counts[i, j]) for i, j in np.argwhere(counts) if i != j]
    pairs = pd.DataFrame(rows, columns=["true", "predicted", "tracks"])
    return pairs.sort_values("tracks", ascending=False, kind="stable", ignore_index=True)


def run_table(runs: Sequence[Run], pictures: Pictures) -> pd.DataFrame:
    """Accuracy of network, texture classifier and both on each part of each run, one row per run and look."""
    rows = []
    for run in runs:
        parts = {"train": run.split.train, "validation": run.split.validation, "test": run.split.test}
        looks = {"cnn": run.cnn, "texture": run.texture, "both": {part: run.logits(part) for part in parts}}
        for look, logits in looks.items():
            reached = {part: accuracy(logits[part], pictures.labels[rows_]) for part, rows_ in parts.items()}
            rows.append({"split": run.split.name, "seed": run.seed, "look": look, **reached, "minutes": run.minutes})
    return pd.DataFrame(rows)


def ensemble(runs: Sequence[Run], part: str, look: str = "both") -> np.ndarray:
    """Mean of the runs' probabilities for a part of their common split, float (n, 10); look as in `run_table`."""
    logits = {
        "cnn": lambda run: run.cnn[part],
        "texture": lambda run: TEXTURE_SHARPNESS * run.texture[part],
        "both": lambda run: run.logits(part),
    }[look]
    return np.mean([softmax(logits(run), axis=1) for run in runs], axis=0)


def mcnemar(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> dict:
    """Compare two sets of scores (n, 10) on the same tracks: which only one gets right, and the exact p-value.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.
    """
    right, other = first.argmax(axis=1) == labels, second.argmax(axis=1) == labels
    only_first, only_second = int((right & ~other).sum()), int((other & ~right).sum())
    p = binomtest(only_first, only_first + only_second).pvalue if only_first + only_second else 1.0
    return {"only first right": only_first, "only second right": only_second, "p": round(float(p), 4)}


def held_out(runs: Sequence[Run], pictures: Pictures) -> tuple[np.ndarray, np.ndarray]:
    """Logits, float (n, 10), and labels, int (n,), of the validation parts of all runs, one after the other."""
    rows = np.concatenate([run.split.validation for run in runs])
    return np.concatenate([run.logits("validation") for run in runs]), pictures.labels[rows]


def fit_threshold(probabilities: np.ndarray, labels: np.ndarray, wanted: float = ANSWER_ACCURACY) -> float:
    """Give the lowest confidence from which on the answers reach the wanted accuracy.

    Where not even the surest tenth of the answers does, the threshold leaves that tenth.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence)
    right = (probabilities.argmax(axis=1) == labels)[order]
    running = np.cumsum(right) / np.arange(1, len(right) + 1)
    fewest = max(1, len(right) // 10)
    enough = np.flatnonzero(running[fewest - 1 :] >= wanted)
    return float(confidence[order[fewest - 1 + (enough[-1] if len(enough) else 0)]])


def protocol_metrics(
    pictures: Pictures,
    random_runs: Sequence[Run],
    fair_runs: Sequence[Run],
    fold_runs: Sequence[Run],
    calibration: Calibration,
) -> dict:
    """Put the runs into the sections of metrics.json: random_split, fault_filtered, artist_folds.

    calibration, which must come from held-out tracks, is for the calibration error, and for the accuracy that the
    calibrated answers would have.

    Accuracies are fractions of whole tracks, rounded to four digits. One run has no interval over seeds, so it gets
    Wilson's.
    """

    def column(runs: Sequence[Run], part: str) -> list[float]:
        rows = [(run.logits(part), pictures.labels[getattr(run.split, part)]) for run in runs]
        return [round(accuracy(*row), 4) for row in rows]

    def interval(values: list[float], total: int) -> list[float]:
        both = mean_interval(values) if len(values) > 1 else wilson_interval(round(values[0] * total), total)
        return [round(bound, 4) for bound in both]

    validation = column(random_runs, "validation")
    metrics = {
        "random_split": {
            "seeds": [run.seed for run in random_runs],
            "validation": validation,
            "train_plain": column(random_runs, "train"),
            "mean": round(float(np.mean(validation)), 4),
            "interval95": interval(validation, len(random_runs[0].split.validation)),
        },
        "minutes_per_network": round(float(np.median([run.minutes for run in [*random_runs, *fair_runs]])), 2),
    }
    if fair_runs:
        test, labels = column(fair_runs, "test"), pictures.labels[fair_runs[0].split.test]
        honest = [softmax(calibration.logits(run.logits("test")), axis=1) for run in fair_runs]
        ece = [expected_calibration_error(probabilities, labels) for probabilities in honest]
        metrics["fault_filtered"] = {
            "seeds": [run.seed for run in fair_runs],
            "validation": column(fair_runs, "validation"),
            "test": test,
            "test_mean": round(float(np.mean(test)), 4),
            "interval95": interval(test, len(labels)),
            "ensemble_test": round(accuracy(ensemble(fair_runs, "test"), labels), 4),
            "calibrated_test": [round(accuracy(probabilities, labels), 4) for probabilities in honest],
            "ece": round(float(np.mean(ece)), 4),
            "ece_if_honest95": [round(bound, 4) for bound in honest_calibration_error(honest[0])],
        }
    if fold_runs:
        test = column(fold_runs, "test")
        metrics["artist_folds"] = {"test": test, "mean": round(float(np.mean(test)), 4)}
    return metrics


def reference_summary(curve: pd.DataFrame, total: int) -> dict:
    """Last and best validation accuracy of a learning curve, the interval of the last, and training accuracy."""
    measured = curve.dropna(subset=["validation"])
    last = measured.iloc[-1]
    low, high = wilson_interval(round(last["validation"] * total), total)
    return {
        "train_plain": round(float(last["train_plain"]), 4),
        "validation": round(float(last["validation"]), 4),
        "interval95": [round(low, 4), round(high, 4)],
        "best_epoch_validation": round(float(measured["validation"].max()), 4),
    }


def report_table(metrics: dict) -> str:
    """Write metrics.json as README's table of results, in Markdown."""

    def percent(value: float | None, interval: Sequence[float] | None = None) -> str:
        if value is None:
            return "-"
        return f"{value:.1%}" + (f" ({interval[0]:.1%} to {interval[1]:.1%})" if interval else "")

    drawn, fair, folds = (metrics.get(name, {}) for name in ("random_split", "fault_filtered", "artist_folds"))
    first, final = (metrics["reference"][name] for name in ("first", "final"))
    songs = metrics.get("own_songs", {})
    rows = [
        ("Random 70/30, mean of seeds", "62.7 / 70.5", percent(drawn["mean"], drawn["interval95"])),
        (
            "Training minus validation, random split",
            "25 points",
            percent(np.mean(drawn["train_plain"]) - drawn["mean"]),
        ),
        (
            "New artists (fault-filtered test), mean of seeds",
            "- / 57.6",
            percent(fair.get("test_mean"), fair.get("interval95")),
        ),
        ("The same, networks averaged", "-", percent(fair.get("ensemble_test"))),
        ("Three artist folds, mean", "-", percent(folds.get("mean"))),
        (
            "Calibration error, new artists (an honest model of this size)",
            "-",
            "{:.3f} ({:.3f} to {:.3f})".format(fair["ece"], *fair["ece_if_honest95"]) if fair else "-",
        ),
        ("Reference's first network, again", "59.67", percent(first["validation"], first["interval95"])),
        ("Reference's final network, again", "62.67", percent(final["validation"], final["interval95"])),
        *(
            (f"Own songs right, {kind}", before, f"{songs[key]['correct']} of {songs[key]['total']}")
            for kind, key, before in (("web pictures", "web_pictures", "6 of 20"), ("sound files", "sound", "-"))
            if key in songs
        ),
        ("Minutes to train one network, median, one busy core", "37", f"{metrics['minutes_per_network']:.1f}"),
    ]
    lines = ["| what | reference / best public | here (95 % interval) |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {before} | {now} |" for what, before, now in rows)])


def write_report(dataset: DataSet, readme: Path = ROOT / "README.md") -> None:
    """Put the tables from metrics.json between README's pairs of marks: results, and the feature route.

    Raises InputError where there is no metrics.json yet, a notebook's section is missing in it, or README lost marks.
    """
    path = dataset.results / "metrics.json"
    if not path.is_file():
        raise InputError(f"'{path.name}' is missing: run the notebooks first.")
    metrics = json.loads(path.read_text())
    if "features" not in metrics:
        raise InputError(f"'{path.name}' has no section 'features': run notebook 05 first.")
    text = readme.read_text()
    for name, table in (("results", report_table(metrics)), ("features", route_report(metrics["features"]))):
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"\n<!-- end of {name} -->")
        if not mark or not end:
            raise InputError(f"'{readme.name}' has lost its marks around the {name}: put them back.")
        text = before + mark + table + end + after
    with replacing(readme) as temporary:
        temporary.write_text(text)


def update_metrics(dataset: DataSet, **sections: object) -> dict:
    """Put sections into data/<set>/metrics.json, keep the others, and give the whole.

    Raises InputError where the file is there and is no JSON.
    """
    path = dataset.results / "metrics.json"
    with locked(path.parent):
        try:
            metrics = json.loads(path.read_text()) if path.is_file() else {}
            metrics = {"dataset": dataset.name, **metrics, **sections}
        except (TypeError, ValueError) as error:
            raise InputError(f"'{path.name}' is damaged: remove it and run the notebooks again.") from error
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


# ---------------------------------------------------------------------------------------------------------
# 8 Figures
# ---------------------------------------------------------------------------------------------------------

sns.set_theme(style="ticks", palette="colorblind")


def save_figure(figure: Figure, dataset: DataSet, name: str) -> display.Image:
    """Save the figure as figures/<set>/<name>.png, close it, and give the saved picture for the notebook to show.

    256 colours are enough for these figures and make them a third as large.
    """
    path = dataset.figures / f"{name}.png"
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90, bbox_inches="tight", pad_inches=0.1)
    with replacing(path) as temporary, Image.open(drawn) as picture:
        colours = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        colours.save(temporary, format="PNG", optimize=True)
    plt.close(figure)
    return display.Image(path.read_bytes())


def draw_spectrogram(axes: plt.Axes, matrix: np.ndarray, seconds: float = CLIP_SECONDS, title: str = ""):
    """Draw a matrix with axes in seconds and Hz, in dB below its loudest point; gives the image for a colour bar."""
    decibels = (matrix.astype(np.float32) - 255) * DB_PER_LEVEL
    image = axes.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=-TOP_DB / 2, vmax=0,
        extent=(0, seconds, -0.5, MEL_BINS - 0.5), interpolation="nearest",
    )  # fmt: skip
    set_frequency_ticks(axes)
    axes.set(title=title, xlabel="time in s")
    return image


def set_frequency_ticks(axes: plt.Axes) -> None:
    """Label an axis of mel bins in Hz."""
    ticks = np.array([128, 512, 1024, 2048, 4096, 8192])
    axes.set_yticks(np.interp(ticks, MEL_CENTRES, np.arange(MEL_BINS)), [f"{tick}" for tick in ticks])
    axes.set_ylabel("frequency in Hz (mel)", fontsize="small")


def spectrogram_grid(
    matrices: Sequence[np.ndarray],
    titles: Sequence[str],
    title: str,
    columns: int = 5,
    seconds: float | Sequence[float] = CLIP_SECONDS,
) -> Figure:
    """Draw matrices side by side under one title, with a colour bar in dB; `seconds` is their length, or each one's."""
    rows = -(-len(matrices) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(max(12.5, 2.5 * columns) if columns > 2 else 9, 2.3 * rows + 0.6), sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    lengths = np.broadcast_to(seconds, len(matrices))
    for axes, matrix, name, length in zip(grid.flat, matrices, titles, lengths, strict=False):
        image = draw_spectrogram(axes, matrix, length, name)
    for axes in grid.flat[len(matrices) :]:
        axes.set_visible(False)
    for axes in grid.flat:
        axes.set_ylabel("")
        if not axes.get_subplotspec().is_last_row():
            axes.set_xlabel("")
    figure.supylabel("frequency in Hz (mel scale)", fontsize="medium")
    figure.colorbar(image, ax=grid, label="dB below the loudest point")
    figure.suptitle(title)
    return figure


def plot_genre_counts(parts: dict[str, Sequence[str]], title: str) -> Figure:
    """Bars of how many pictures each genre has, one colour for each named part (name to genres of its pictures)."""
    counts = pd.DataFrame({name: pd.Series(list(genres)).value_counts() for name, genres in parts.items()})
    counts = counts.reindex(GENRES).fillna(0).astype(int)
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    counts.plot.bar(ax=axes, rot=0, width=0.85, legend=False)
    if len(parts) > 1:
        figure.legend(loc="outside right upper")  # beside the bars, which fill the axes
    for bars in axes.containers:
        axes.bar_label(bars, fontsize=8)
    axes.set(title=title, xlabel="genre", ylabel="number of pictures")
    sns.despine(figure)
    return figure


def plot_floor_share(pictures: Pictures, title: str) -> Figure:
    """Box per genre of the share of a picture that lies at the black floor, 40 dB or more below its loudest point."""
    share = pd.DataFrame({"genre": pictures.table["genre"], "share": (pictures.matrices == 0).mean(axis=(1, 2))})
    order = share.groupby("genre")["share"].median().sort_values().index
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    sns.boxplot(share, x="genre", y="share", order=order, ax=axes, color=sns.color_palette()[0], fliersize=3)
    axes.set(title=title, xlabel="genre", ylabel="share of the picture at the floor", ylim=(0, 1))
    sns.despine(figure)
    return figure


def plot_clip(samples: np.ndarray, matrix: np.ndarray, title: str) -> Figure:
    """Waveform above the spectrogram it becomes, on one time axis."""
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9, 5), sharex=True, height_ratios=(1, 2.4), layout="constrained"
    )
    librosa.display.waveshow(samples, sr=SAMPLE_RATE, ax=above)
    above.set(title=title, xlabel="", ylabel="amplitude")
    image = draw_spectrogram(below, matrix, len(samples) / SAMPLE_RATE)
    figure.colorbar(image, ax=below, label="dB below the loudest point")
    return figure


def audio_player(samples: np.ndarray, dataset: DataSet, name: str, seconds: float = 10.0) -> display.Audio:
    """Write the first seconds to data/<set>/audio/<name>.ogg and give a player for it.

    The player points to the file instead of carrying it, so that a saved notebook holds nobody's music.
    """
    path = dataset.results / "audio" / f"{name}.ogg"
    with replacing(path) as temporary:
        soundfile.write(temporary, samples[: int(seconds * SAMPLE_RATE)], SAMPLE_RATE, format="OGG")
    return display.Audio(url=Path(os.path.relpath(path)).as_posix(), embed=False)


def plot_learning_curves(curves: dict[str, pd.DataFrame], title: str) -> Figure:
    """Training and validation accuracy over the epochs, one panel for each named network."""
    figure, panels = plt.subplots(
        1, len(curves), figsize=(4.2 * len(curves), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, (name, curve) in zip(panels[0], curves.items(), strict=True):
        plain = curve.dropna(subset=["validation"])
        axes.plot(plain["epoch"], plain["train_plain"], ".-", label="training")
        axes.plot(plain["epoch"], plain["validation"], ".--", label="validation")
        axes.set(title=name, xlabel="epoch", xlim=(0, curve["epoch"].max() + 1), ylim=(0, 1.02))
    panels[0][0].set_ylabel("accuracy on whole pictures")
    panels[0][-1].legend(loc="lower right")
    figure.suptitle(title)
    sns.despine(figure)
    return figure


def plot_confusion(scores: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Confusion matrix with counts; the colour is the share of the true genre."""
    counts = confusion_matrix(labels, scores.argmax(1), labels=range(len(GENRES)))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axes = plt.subplots(figsize=(7, 5.6), layout="constrained")
    sns.heatmap(
        shares, annot=np.where(counts, counts, ""), fmt="", vmin=0, vmax=1, cmap="cividis", ax=axes, square=True,
        xticklabels=GENRES, yticklabels=GENRES, cbar_kws={"label": "share of the true genre"},
    )  # fmt: skip
    axes.set(title=title, xlabel="predicted genre", ylabel="true genre")
    axes.tick_params(axis="x", rotation=45)
    return figure


def plot_genre_report(reports: dict[str, pd.DataFrame], title: str) -> Figure:
    """F1 per genre for each named report, as dots on one axis."""
    figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
    for marker, (name, report) in zip("osD^v", reports.items(), strict=False):
        axes.plot(report.index, report["F1"], marker, label=name)
    axes.set(title=title, xlabel="genre", ylabel="F1", ylim=(0, 1.02))
    axes.grid(axis="y", alpha=0.4)
    axes.legend()
    sns.despine(figure)
    return figure


def plot_reliability(probabilities: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Accuracy over confidence in ten equally filled bins, beside the diagonal of a perfectly honest network."""
    table = reliability_table(probabilities, labels)
    figure, axes = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="confidence = accuracy")
    axes.plot(table["confidence"], table["accuracy"], "o-", label="ten equally filled bins")
    axes.set(title=title, xlabel="mean confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")
    return figure


def plot_song_course(result: SongResult, network: GenreNetwork, title: str) -> Figure:
    """Show why a song got its genre: its spectrogram, the genres' course under it, and where the network looked.

    The lower left shows the four most probable genres window by window. On the right is the window that spoke most for
    the answer, with contours where the network's class activation (`grad_cam`) for it is at a half and at four fifths.
    """
    figure, grid = plt.subplots(
        2, 2, figsize=(12.5, 5.2), layout="constrained", width_ratios=(1.7, 1), height_ratios=(1, 1)
    )
    (song, window), (course, profile) = grid
    image = draw_spectrogram(song, result.overview, result.seconds, "the whole song")
    centres = result.starts + CLIP_SECONDS / 2
    for k, style in zip(np.argsort(-result.probabilities)[:4], ("o-", "s--", "D:", "^-."), strict=True):
        course.plot(centres, result.windows[:, k], style, markersize=4, label=GENRES[k])
    course.set(
        title="probability of the four likeliest genres", xlabel="time in s", ylabel="probability",
        xlim=(0, result.seconds), ylim=(0, 1.25), yticks=np.linspace(0, 1, 6),  # above 1 is room for the legend
    )  # fmt: skip
    course.legend(loc="upper right", ncols=4, fontsize="small")
    decided = int(result.windows[:, GENRES.index(result.genre)].argmax())
    matrix = result.matrices[decided]
    heat = grad_cam(network, matrix[None], result.genre)[0]
    draw_activation(window, matrix, heat, f"what spoke for {result.genre}, from {result.starts[decided]:.0f} s")
    profile.plot(heat.mean(axis=1), np.arange(MEL_BINS))
    set_frequency_ticks(profile)
    profile.set(
        title="mean activation over the window", xlabel="activation, of its maximum", ylim=(-0.5, MEL_BINS - 0.5)
    )
    figure.colorbar(image, ax=grid[0, 1], label="dB below the loudest")
    figure.suptitle(title)
    return figure


def draw_activation(axes: plt.Axes, matrix: np.ndarray, heat: np.ndarray, title: str):
    """Draw a matrix with contours of an activation, float (128, 334), where it is at a half and at four fifths."""
    image = draw_spectrogram(axes, matrix, title=title)
    seconds = (np.arange(matrix.shape[1]) + 0.5) * CLIP_SECONDS / matrix.shape[1]
    axes.contour(seconds, np.arange(MEL_BINS), heat, levels=[0.5, 0.8], colors=["white", "cyan"], linewidths=1.2)
    return image


def plot_genre_page(genre: str, matrices: np.ndarray, network: GenreNetwork, dataset: DataSet) -> Figure:
    """Draw one genre's page: where the network looks in its pictures, beside what a listener goes by.

    matrices, uint8 (n, 128, 334), are pictures of the genre; the first is shown, the activations of all are averaged.
    """
    heats = grad_cam(network, matrices, genre)
    figure, (picture, profile, pace) = plt.subplots(
        1, 3, figsize=(12.5, 3.2), layout="constrained", width_ratios=(2, 1, 1)
    )
    draw_activation(picture, matrices[0], heats[0], "one picture and its activation")
    level = matrices.mean(axis=(0, 2)) / 255
    profile.plot(heats.mean(axis=(0, 2)), np.arange(MEL_BINS), label="activation")
    profile.plot(level, np.arange(MEL_BINS), "--", label="level of the pictures")
    set_frequency_ticks(profile)
    profile.set(title=f"mean of {len(matrices)} pictures", xlabel="share of the maximum", xlim=(0, 1))
    profile.legend(loc="best", fontsize="small")
    lines = [
        f"{name}: {text}"
        for name, text in zip(("instruments", "rhythm", "to be seen"), GENRE_MARKS[genre], strict=True)
    ]
    wrapped = "\n\n".join(textwrap.fill(line, 34) for line in lines)
    pace.text(0, 1, wrapped, va="top", fontsize="medium", transform=pace.transAxes)
    pace.set_axis_off()
    pace.set_title("what a listener goes by", loc="left")
    figure.suptitle(f"{dataset.label}: {genre}")
    return figure


def plot_feature_frames(clips: dict[str, dict[str, np.ndarray]], names: Sequence[str], title: str) -> Figure:
    """Course of named features over a clip: a row of panels per feature, a column per clip (title to frames).

    One number per frame is a line, several are an image, number 1 at the bottom (chroma: C to B). What a clip's source
    does not carry, such as a picture's zero-crossing rate, is said in the panel.
    """
    heights = [1.4 if features.NAMED_FEATURES[name].size > 1 else 1 for name in names]
    figure, grid = plt.subplots(
        len(names), len(clips), figsize=(10, 0.6 + 1.7 * sum(heights)), sharex=True, sharey="row", squeeze=False,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for row, name in zip(grid, names, strict=True):
        held = [frames[name].ravel() for frames in clips.values() if name in frames]
        # The first cepstral coefficient is so much larger that it would flatten all others.
        limits = np.quantile(np.concatenate(held), [0.05, 0.95]) if held else (0, 1)
        for axes, (clip, frames) in zip(row, clips.items(), strict=True):
            if name in frames:
                drawn = _draw_feature(axes, name, frames[name], *limits)
            else:
                axes.text(CLIP_SECONDS / 2, 0.5, "not in a picture", ha="center", va="center")
            axes.set(title=f"{clip}: {name.replace('_', ' ')}", xlim=(0, CLIP_SECONDS))
        if held and features.NAMED_FEATURES[name].size > 1:
            figure.colorbar(drawn, ax=row, label=features.NAMED_FEATURES[name].unit, extend="both")
    for axes in grid[-1]:
        axes.set_xlabel("time in s")
    for axes in grid[:, 1:].flat:
        axes.set_ylabel("")
    figure.suptitle(title)
    return figure


def _draw_feature(axes: plt.Axes, name: str, values: np.ndarray, low: float, high: float):
    """Draw (numbers, frames) as a line, or as an image whose colours span two values; gives what a colour bar needs."""
    size, unit = features.NAMED_FEATURES[name].size, features.NAMED_FEATURES[name].unit
    if size == 1:
        axes.plot(np.linspace(0, CLIP_SECONDS, values.shape[1]), values[0], linewidth=0.7)
        axes.set_ylabel(f"{name.replace('_', ' ')}\n({unit})")
        return None
    extent = (0, CLIP_SECONDS, 0.5, size + 0.5)
    image = axes.imshow(
        values, origin="lower", aspect="auto", cmap="cividis", vmin=low, vmax=high, extent=extent,
        interpolation="nearest",
    )  # fmt: skip
    axes.set_ylabel({"chroma": "note", "contrast": "octave", "mfcc": "coefficient"}.get(name, "dimension"))
    if name == "chroma":
        axes.set_yticks([1, 3, 5, 6, 8, 10, 12], list("CDEFGAB"))
    return image


def plot_routes(section: dict, title: str) -> Figure:
    """Accuracy of each route with its 95 % interval, a panel per protocol of metrics.json's section `features`."""
    names = {"random_split": "random 70/30", "fault_filtered": "new artists", "artist_folds": "three artist folds"}
    shown = [name for name in names if all(name in entry for entry in section.values())]
    figure, panels = plt.subplots(
        1, len(shown), figsize=(2.4 + 3.4 * len(shown), 0.32 * len(section) + 1.4), sharey=True, sharex=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, name in zip(panels[0], shown, strict=True):
        mean = np.array([entry[name]["mean"] for entry in section.values()])
        low, high = np.transpose([entry[name]["interval95"] for entry in section.values()])
        axes.errorbar(mean, range(len(mean)), xerr=(mean - low, high - mean), fmt="o", capsize=3)
        axes.set(title=names[name], xlabel="accuracy of whole tracks")
        axes.grid(axis="x", alpha=0.4)
    panels[0][0].set_yticks(range(len(section)), list(section))
    panels[0][0].invert_yaxis()
    panels[0][0].set_ylabel("route")
    figure.suptitle(title)
    sns.despine(figure)
    return figure


def plot_importance(losses: dict[str, pd.DataFrame], title: str) -> Figure:
    """Bars of the accuracy that shuffling a feature costs, a colour per named classifier, with one deviation."""
    mean = pd.DataFrame({name: table.mean() for name, table in losses.items()}) * 100
    spread = pd.DataFrame({name: table.std() for name, table in losses.items()}).loc[mean.index] * 100
    order = mean.mean(axis=1).sort_values().index
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(mean) + 1.4), layout="constrained")
    mean.loc[order].plot.barh(ax=axes, xerr=spread.loc[order], width=0.8, error_kw={"elinewidth": 1})
    axes.set(title=title, xlabel="accuracy lost when shuffled, in points", ylabel="feature")
    axes.set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    axes.axvline(0, color="grey", linewidth=0.8)
    sns.despine(figure)
    return figure


# ---------------------------------------------------------------------------------------------------------
# 9 Songs
# ---------------------------------------------------------------------------------------------------------

SOUND_SUFFIXES = {".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".aif", ".aiff", ".wma"}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}
WINDOW_FRAMES = 1 + CLIP_SAMPLES // HOP_SAMPLES  # of a GTZAN clip: 1293
WINDOW_STEP = WINDOW_FRAMES // 2  # frames from one window of a song to the next, 15 s
WEB_ALIGNED_SONGS = 8  # so many web pictures together are taken to be of many genres
QUIET_DB = 30.0  # this far below a song's loud part a second counts as silence or fade-out
GENRE_WORDS = {genre: genre for genre in GENRES} | {
    "rap": "hiphop",
    "trap": "hiphop",
    "britpop": "pop",
    "synthpop": "pop",
    "dub": "reggae",
    "classics": "classical",
    "orchestral": "classical",
    "opera": "classical",
    "bebop": "jazz",
    "bluegrass": "country",
}


@dataclass(frozen=True)
class Song:
    """One song of a folder: its file, a title, one of the ten genres or None, and why None where one was named."""

    path: Path
    title: str
    genre: str | None = None
    note: str = ""


@dataclass(frozen=True)
class SongResult:
    """What the model says of one song.

    starts: second at which each window begins, float (k,). windows: probabilities, float (k, 10). whole: probabilities
    of the whole song squeezed into one picture, the reference project's way, or None. matrices: the windows themselves,
    uint8 (k, 128, 334), overview: the whole song as one, and seconds its length; none for web pictures. strange: if
    it is unlike all training data. match: the training clip that was found in it, or None. A song that could not be
    read has no windows, and `song.note` says why.
    """

    song: Song
    starts: np.ndarray
    windows: np.ndarray
    whole: np.ndarray | None = None
    matrices: np.ndarray | None = None
    overview: np.ndarray | None = None
    seconds: float | None = None
    unsure_below: float = 0.0
    strange: bool = False
    match: Match | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Mean over the windows, float (10,)."""
        return self.windows.mean(axis=0)

    @property
    def genre(self) -> str | None:
        """The most probable genre, or None for a song that could not be read."""
        return GENRES[self.probabilities.argmax()] if len(self.windows) else None

    @property
    def sure(self) -> bool:
        """Whether the answer is probable enough to be given."""
        return self.genre is not None and bool(self.probabilities.max() >= self.unsure_below)

    @property
    def top_three(self) -> str:
        """The three most probable genres with their probabilities, as text."""
        if not len(self.windows):
            return ""
        return ", ".join(f"{GENRES[k]} {self.probabilities[k]:.0%}" for k in np.argsort(-self.probabilities)[:3])

    @property
    def remarks(self) -> str:
        """What a reader must know besides the answer, as text; empty where there is nothing."""
        remarks = [self.song.note] if self.song.note else []
        if self.strange:
            remarks.append("unlike the training data (speech, noise, another kind of picture?)")
        if self.match:
            remarks.append(f"in the training set: {track_title(self.match.image)}, from {self.match.start:.0f} s")
        return "; ".join(remarks)

    def __repr__(self) -> str:
        if self.genre is None:
            return f"{self.song.title}: no answer. {self.remarks}"
        doubt = "" if self.sure else "unsure, perhaps "
        lines = [f"{self.song.title}: {doubt}{self.genre} ({self.top_three}; {len(self.windows)} windows)"]
        return "\n".join([*lines, *([self.remarks] if self.remarks else [])])


def map_genre(name: str) -> str | None:
    """One of the ten for a genre as a shop or player names it, or None where that is not plain.

    The last word decides ("Smooth Jazz" is jazz, "Country Gospel" is not country) and all parts must agree
    ("Hip-Hop/Rap" is hiphop; "Pop/Rock" is two, so None; so are "Rhythm & Blues" and "R&B/Soul").
    """
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower().replace("_", " ")
    text = re.sub(r"\brock\s*(&|and|'?n'?)\s*roll\b", "rock", text)
    text = re.sub(r"\bhip[\s-]*hop\b", "hiphop", text)
    found = set()
    for part in re.split(r"[/;,&+|]|\band\b", text):
        words = [word for word in re.findall(r"[a-z]+", part) if word != "music"]
        named = {GENRE_WORDS[word] for word in words if word in GENRE_WORDS}
        found |= named if words and words[-1] in GENRE_WORDS else {None}
    return found.pop() if len(found) == 1 else None


def find_songs(*folders: str | Path) -> list[Song]:
    """List the sound files and pictures of folders and their sub-folders, with the genre each is said to be.

    A genre comes from songs.csv (columns file, title, genre), else from a `(genre)` at the end of the file name, else
    from the sub-folder. A song without one, or with one that is none of the ten, has None, and `note` quotes it.

    Raises InputError where there is no folder, it holds no songs, or songs.csv has no column `file`.
    """
    return [song for folder in folders for song in _songs_in(from_root(folder))]


def _songs_in(folder: Path) -> list[Song]:
    if not folder.is_dir():
        raise InputError(f"The songs folder '{folder}' does not exist: name the folder that holds the songs.")
    table = _read_songs_csv(folder / "songs.csv")
    suffixes = SOUND_SUFFIXES | PICTURE_SUFFIXES
    paths = [p for p in folder.rglob("*") if p.suffix.lower() in suffixes and not p.name.startswith(".")]
    songs = []
    for path in sorted(paths):
        row = table.pop(unicodedata.normalize("NFC", path.relative_to(folder).as_posix()), {})
        bracket = re.search(r"^(.*?)\s*[\[(]([^()\[\]]+)[\])]$", path.stem)
        in_folder = map_genre(path.parent.name) if path.parent != folder else None
        # "Song (Live).mp3" in a folder of rock is rock: a bracket counts only where it names a genre.
        named = row.get("genre") or (bracket[2] if bracket and (map_genre(bracket[2]) or not in_folder) else "")
        genre = map_genre(named) if named else in_folder
        note = f"'{named}' is none of the ten genres" if named and genre is None else ""
        stem = bracket[1] if bracket and map_genre(bracket[2]) else path.stem
        songs.append(Song(path, row.get("title") or stem.replace("_", " ").strip(), genre, note))
    songs += [
        Song(folder / name, row.get("title") or name, None, "there is no such file") for name, row in table.items()
    ]
    if not songs:
        raise InputError(f"No songs in '{folder}': put sound files (mp3, m4a, wav, flac, ogg) into it.")
    return songs


def _read_songs_csv(path: Path) -> dict[str, dict[str, str]]:
    """Rows of songs.csv by file name; empty where there is none."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            table = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, index_col=False).fillna("")
    except ValueError as error:  # also what pandas' own errors and a wrong encoding are
        raise InputError(f"'{path.name}' cannot be read as a table: save it as CSV in UTF-8.") from error
    table.columns = table.columns.str.strip().str.lower()
    if "file" not in table:
        raise InputError(f"'{path.name}' has no column 'file': its first line must be file,title,genre.")
    # macOS writes accents apart from their letters, a typed table does not.
    return {unicodedata.normalize("NFC", row["file"].strip()): row for row in table.to_dict("records") if row["file"]}


def song_windows(mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a song into half-overlapping 30 s windows, without silence and fade-outs.

    Takes mel power, float32 (128, frames), of the whole song (see `mel_power`). Gives the second each window begins at,
    float (k,), and the matrices, uint8 (k, 128, 334), k >= 1. Up to 33 s give one window of everything, as
    `audio_to_matrix` draws it. Each window is a slice of one pass over the song, with its own loudest value as
    reference; only its two first and last frames (93 ms) differ from a window that was cut out before.
    """
    frames = mel.shape[1]
    if frames <= 1.1 * WINDOW_FRAMES:
        return np.zeros(1), mel_to_matrix(mel)[None]
    quiet = _quiet_frames(mel)
    sounding = np.flatnonzero(~quiet)
    first, last = sounding[0], sounding[-1] + 1
    # A song with less than 30 s of sound keeps one window around it.
    first = max(0, min(first, last - WINDOW_FRAMES))
    last = min(frames, max(last, first + WINDOW_FRAMES))
    starts = np.arange(first, last - WINDOW_FRAMES + 1, WINDOW_STEP)
    # The end of the song counts too, unless all but a few seconds of it are covered.
    if last - WINDOW_FRAMES - starts[-1] > WINDOW_STEP // 4:
        starts = np.append(starts, last - WINDOW_FRAMES)
    share = np.array([quiet[start : start + WINDOW_FRAMES].mean() for start in starts])
    starts = starts[(share <= 0.5) | (share == share.min())]
    matrices = np.stack([mel_to_matrix(mel[:, start : start + WINDOW_FRAMES]) for start in starts])
    return starts * HOP_SAMPLES / SAMPLE_RATE, matrices


def _quiet_frames(mel: np.ndarray) -> np.ndarray:
    """Where the level over one second stays QUIET_DB below the song's loud part (95th percentile), bool (frames,)."""
    second = np.ones(SAMPLE_RATE // HOP_SAMPLES) / (SAMPLE_RATE // HOP_SAMPLES)
    level = np.convolve(mel.sum(axis=0), second, mode="same")
    return level < np.quantile(level, 0.95) * 10 ** (-QUIET_DB / 10)


@functools.cache
def _shipped() -> tuple[GenreModel, Fingerprints]:
    """The model and the fingerprints that are part of the project, read once."""
    return load_model(), read_fingerprints()


def classify_song(
    path: str | Path, model: GenreModel | None = None, prints: Fingerprints | None = None, whole: bool = False
) -> SongResult:
    """Say what genre a sound file or a picture is; without a model and fingerprints, by those that the project ships.

    A picture may be Kaggle's, or a web tool's of a whole song. `whole` also classifies the whole song squeezed into one
    picture. Raises InputError for a file that cannot be used.
    """
    path = Path(path)
    model, song = model or _shipped()[0], Song(path, path.stem)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _classify_picture(song, model, whole)
    samples = load_audio(path)
    mel = mel_power(samples)
    starts, matrices = song_windows(mel)
    overview = mel_to_matrix(mel)
    probabilities = model.probabilities(np.concatenate([matrices, overview[None]] if whole else [matrices]))
    matches = find_clips(mel, prints or _shipped()[1])
    return SongResult(
        song,
        starts,
        probabilities[: len(starts)],
        probabilities[-1] if whole else None,
        matrices,
        overview,
        len(samples) / SAMPLE_RATE,
        model.calibration.unsure_below,
        model.strange(matrices),
        matches[0] if matches else None,
    )


def _classify_picture(song: Song, model: GenreModel, whole: bool) -> SongResult:
    if picture_kind(song.path) == "kaggle":
        matrix = picture_to_matrix(song.path)[None]
        return SongResult(
            song,
            np.zeros(1),
            model.probabilities(matrix),
            matrices=matrix,
            overview=matrix[0],
            seconds=CLIP_SECONDS,
            unsure_below=model.calibration.unsure_below,
            strange=model.strange(matrix),
        )
    web = model.web or _shipped()[0].web  # a model of demo songs has none
    coarse = web_picture_to_matrix(song.path)
    windows = web_windows(coarse)
    squeezed = None
    if whole:
        brightness = Image.open(song.path).convert("L").resize((COLUMNS, MEL_BINS))
        squeezed = model.probabilities(np.array(brightness)[::-1][None].copy())[0]
    starts = np.arange(len(windows)) * WEB_WINDOW / 2
    return SongResult(song, starts, web.probabilities(windows), squeezed, unsure_below=web.unsure_below)


def web_windows(coarse: np.ndarray) -> np.ndarray:
    """Half-overlapping windows, uint8 (k, 128, 54), of a whole song's coarse matrix, uint8 (128, columns)."""
    starts = range(0, coarse.shape[1] - WEB_WINDOW + 1, WEB_WINDOW // 2)
    return np.stack([coarse[:, start : start + WEB_WINDOW] for start in starts])


def classify_songs(
    songs: Sequence[Song], model: GenreModel, prints: Fingerprints | None = None, whole: bool = False
) -> list[SongResult]:
    """Classify each song; one that cannot be used gets a result without windows, whose note says why.

    Eight or more web pictures together are classified with descriptors centred on their own mean (see
    `WebClassifier.aligned`).
    """
    results = []
    drawn = [song for song in songs if song.path.suffix.lower() in PICTURE_SUFFIXES]
    if len(drawn) >= WEB_ALIGNED_SONGS:
        model = replace(model, web=_aligned_web(drawn, model.web or _shipped()[0].web))
    for song in tqdm(songs, desc="listening"):
        try:
            results.append(replace(classify_song(song.path, model, prints, whole), song=song))
        except InputError as error:
            results.append(SongResult(replace(song, note=str(error)), np.empty(0), np.empty((0, len(GENRES)))))
    return results


def _aligned_web(songs: Sequence[Song], web: WebClassifier) -> WebClassifier:
    """Align the classifier to those of the songs that are web pictures, if there are enough."""
    drawn = []
    for song in songs:
        with suppress(InputError):
            drawn.append(web_windows(web_picture_to_matrix(song.path)))
    return web.aligned(drawn) if len(drawn) >= WEB_ALIGNED_SONGS else web


@functools.cache
def _known_titles() -> dict[str, str]:
    tracks = pd.read_csv(ROOT / "data" / "gtzan" / "tracks.csv", dtype=str, keep_default_na=False)
    named = tracks[tracks["artist"] != ""]
    return dict(zip(named["image"], named["artist"] + ", " + named["title"], strict=True))


def track_title(image: str) -> str:
    """Artist and title of a training clip by its picture's file name, or that name where they are not known."""
    return _known_titles().get(image, image.removesuffix(".png"))


def song_table(results: Sequence[SongResult]) -> pd.DataFrame:
    """One row per song: song, label, prediction, right, top three, windows and note."""
    rows = [
        {
            "song": result.song.title,
            "label": result.song.genre or "",
            "prediction": (result.genre or "") if result.sure or not result.genre else f"unsure ({result.genre})",
            "right": {True: "yes", False: "no", None: ""}[is_right(result)],
            "top three": result.top_three,
            "windows": len(result.windows),
            "note": result.remarks,
        }
        for result in results
    ]
    return pd.DataFrame(rows)


def is_right(result: SongResult) -> bool | None:
    """Whether the prediction is the label; None where one of them is missing."""
    return None if result.genre is None or result.song.genre is None else result.genre == result.song.genre


def choose_songs(dataset: DataSet, folders: str = "") -> tuple[list[Path], str]:
    """Give the folders of songs, and how titles call them: "own songs" or "demo songs".

    The folders are the named ones (several are separated as in PATH, by ":" or on Windows ";"), else those in $SONGS,
    else data/songs, else the demo band's, made if need be.
    """
    if named := folders or os.environ.get("SONGS", ""):
        return [from_root(folder) for folder in named.split(os.pathsep)], "own songs"
    if (ROOT / "data" / "songs").is_dir():
        return [ROOT / "data" / "songs"], "own songs"
    if dataset.songs is not None and dataset.songs.is_dir():
        return [dataset.songs], "demo songs"
    import demo_songs  # here, because only this case needs the synthesiser

    print("No songs named and none in data/songs: using the songs that the demo band plays.")
    demo_songs.make_demo_set(ROOT / "data" / "demo")
    return [ROOT / "data" / "demo" / "songs"], "demo songs"


def score_songs(results: Sequence[SongResult]) -> dict:
    """Count the songs with a genre and an answer, apart from those that the training set has.

    total and correct count every answer, answered and answered_correct those that are sure enough,
    whole_picture_correct the answers to the whole song in one picture, in_training the songs left out.
    """
    scored = [result for result in results if is_right(result) is not None]
    new = [result for result in scored if result.match is None]
    whole = [result.whole is not None and GENRES[result.whole.argmax()] == result.song.genre for result in new]
    return {
        "total": len(new),
        "correct": sum(map(is_right, new)),
        "top_three": sum(result.song.genre in _first_genres(result, 3) for result in new),
        "answered": sum(result.sure for result in new),
        "answered_correct": sum(result.sure and is_right(result) for result in new),
        "whole_picture_correct": sum(whole),
        "in_training": len(scored) - len(new),
    }


def file_name(title: str) -> str:
    """A title as a plain file name: lower case letters, digits and underscores."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60] or "untitled"


def _first_genres(result: SongResult, count: int) -> list[str]:
    return [GENRES[k] for k in np.argsort(-result.probabilities)[:count]]


def score_sentence(score: dict) -> str:
    """Say a score with its Wilson interval."""
    if not score["total"]:
        return "No song could be scored: none has both a genre and an answer."
    low, high = wilson_interval(score["correct"], score["total"])
    parts = [
        f"{score['correct']} of {score['total']} songs right, {score['correct'] / score['total']:.0%} "
        f"(95 % interval {low:.0%} to {high:.0%})",
        f"{score['top_three']} among the first three",
        f"sure of {score['answered']}, {score['answered_correct']} of these right",
        f"{score['whole_picture_correct']} right with the whole song in one picture",
    ]
    if score["in_training"]:
        parts.append(f"{score['in_training']} more are in the training set and do not count")
    return "; ".join(parts)


# ---------------------------------------------------------------------------------------------------------
# 10 Fingerprints: is a song already in the training set?
# ---------------------------------------------------------------------------------------------------------

FINGERPRINT_PATH = ROOT / "data" / "gtzan" / "fingerprints.npz"  # of the 999 clips, part of the project
CODE_BANDS = 32  # groups of four mel bins
CODE_DEADBAND = 6.0  # levels, 0.9 dB: what changes less says nothing
CODE_COLUMNS = 17  # columns, 1.5 s: the neighbourhood a cell is compared with
MATCH_SCORE = 0.5  # cosine; clips found again reach .77 and more, foreign ones at most .37
SEARCH_COLUMNS = slice(77, 257, 3)  # the middle 16 s of a clip in 60 columns: enough to find where to look closely
SEARCH_STEP = 2  # frames, 46 ms
SEARCH_CANDIDATES = 10


@dataclass(frozen=True)
class Fingerprints:
    """What clips sound like, whatever their loudness, filter or encoder.

    images: their pictures' file names, str (n,). codes: int8 (n, 32, 334). frames: length of each, int (n,): 54 GTZAN
    clips are a little longer than the others, and their columns lie elsewhere.
    """

    images: np.ndarray
    codes: np.ndarray
    frames: np.ndarray


@dataclass(frozen=True)
class Match:
    """A training clip found in a song: its picture, the second of the song it starts at, and the score, up to 1."""

    image: str
    start: float
    score: float


def fingerprint_codes(matrices: np.ndarray) -> np.ndarray:
    """Say where bands are louder (1) or softer (-1) than in the 1.5 s around, int8 (n, 32, 334); 0 where they are flat.

    After Haitsma and Kalker, "A highly robust audio fingerprinting system", 2002, in three values instead of two.
    """
    bands = matrices.reshape(len(matrices), CODE_BANDS, -1, matrices.shape[-1]).mean(axis=2, dtype=np.float32)
    return _louder_or_softer(bands, CODE_COLUMNS)


def _louder_or_softer(bands: np.ndarray, width: int) -> np.ndarray:
    change = bands - uniform_filter1d(bands, width, axis=-1, mode="nearest")
    return (np.sign(change) * (np.abs(change) > CODE_DEADBAND)).astype(np.int8)


def write_fingerprints(dataset: DataSet, pictures: Pictures) -> Fingerprints:
    """Write the fingerprints of a set to data/<set>/fingerprints.npz, and give them.

    How long each clip is stands in the Kaggle set's features_30_sec.csv; without it all count as 30 s.
    """
    frames = np.full(len(pictures.table), WINDOW_FRAMES)
    table = dataset.images.parent / "features_30_sec.csv"
    if table.is_file():
        lengths = pd.read_csv(table, usecols=["filename", "length"])
        lengths.index = lengths["filename"].str.replace(".wav", "").str.replace(".", "") + ".png"
        known = lengths["length"].reindex(pictures.table["image"]).to_numpy()
        frames = np.where(np.isnan(known), WINDOW_FRAMES, 1 + np.nan_to_num(known) // HOP_SAMPLES).astype(int)
    prints = Fingerprints(pictures.table["image"].to_numpy(str), fingerprint_codes(pictures.matrices), frames)
    with replacing(dataset.results / "fingerprints.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **vars(prints))
    return prints


def read_fingerprints(path: str | Path = FINGERPRINT_PATH) -> Fingerprints:
    """Read what `write_fingerprints` wrote; without a path those of the 999 GTZAN clips.

    Raises InputError where the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Fingerprints(**{name: stored[name] for name in ("images", "codes", "frames")})
    except Exception as error:  # a damaged file can fail in the zip, zlib or numpy layer
        raise InputError(f"'{Path(path).name}' holds no fingerprints: run notebook 03 or clone again.") from error


def find_clips(mel: np.ndarray, prints: Fingerprints) -> list[Match]:
    """Find the training clips that a song contains, at any offset and from two thirds of a clip on; best match first.

    mel: power, float32 (128, frames), as `mel_power` gives it.
    """
    # Half a clip of silence at both ends lets a clip stick out of the song.
    margin = WINDOW_FRAMES // 2
    mel = np.pad(mel, ((0, 0), (margin, margin)))
    starts, scores = _search_clips(mel, prints)
    matches = []
    for row in np.argsort(-scores)[:SEARCH_CANDIDATES]:
        frames = prints.frames[row]
        start = starts[row] + (WINDOW_FRAMES - frames) // 2
        if _code_cosine(mel, prints.codes[row], start, frames) < MATCH_SCORE / 2:
            continue
        near = range(start - 3, start + 4)
        best, start = max((_code_cosine(mel, prints.codes[row], at, frames), at) for at in near)
        if best >= MATCH_SCORE:
            seconds = float((start - margin) * HOP_SAMPLES / SAMPLE_RATE)
            matches.append(Match(str(prints.images[row]), seconds, best))
    return sorted(matches, key=lambda match: -match.score)


def _search_clips(mel: np.ndarray, prints: Fingerprints) -> tuple[np.ndarray, np.ndarray]:
    """For each clip the frame at which its middle 16 s fit best, int (n,), and how well, float (n,)."""
    # A matrix is relative to the loudest value of its own 30 s; here those around each frame stand for it.
    loudest = maximum_filter1d(mel.max(axis=0), WINDOW_FRAMES, mode="nearest")
    below = 10 * np.log10(np.maximum(mel, 1e-30) / np.maximum(loudest, 1e-30))
    levels = np.maximum(255 + below / DB_PER_LEVEL, 0)
    bands = levels.reshape(CODE_BANDS, -1, levels.shape[-1]).mean(axis=1, dtype=np.float32)
    columns = frame_of_column(WINDOW_FRAMES)
    song = _search_rows(_louder_or_softer(bands, round(CODE_COLUMNS * WINDOW_FRAMES / COLUMNS)))
    columns = columns[SEARCH_COLUMNS]
    clips = _search_rows(prints.codes)[:, SEARCH_COLUMNS].reshape(len(prints.codes), -1)
    clips /= np.linalg.norm(clips, axis=1, keepdims=True) + 1
    scores, starts = np.full(len(clips), -1, np.float32), np.zeros(len(clips), int)
    positions = np.arange(0, max(1, len(song) - columns[-1]), SEARCH_STEP)
    for block in np.array_split(positions, 1 + len(positions) // 2048):
        pieces = song[np.minimum(block[:, None] + columns, len(song) - 1)].reshape(len(block), -1)
        pieces /= np.linalg.norm(pieces, axis=1, keepdims=True) + 1
        fit = clips @ pieces.T
        top = fit.argmax(axis=1)
        score = fit[np.arange(len(clips)), top]
        better = score > scores
        scores[better], starts[better] = score[better], block[top[better]]
    return starts, scores


def _search_rows(codes: np.ndarray) -> np.ndarray:
    """Codes (..., 32, columns) in half as many bands, time first, so that what is compared lies side by side."""
    pairs = codes[..., 0::2, :].astype(np.float32) + codes[..., 1::2, :]
    return np.ascontiguousarray(np.swapaxes(pairs, -1, -2))


def _code_cosine(mel: np.ndarray, code: np.ndarray, start: int, frames: int) -> float:
    """Cosine of a clip's code and that of the song from this frame on, where both have sound."""
    first, last = max(start, 0), min(start + frames, mel.shape[1])
    window = np.zeros((len(mel), frames), np.float32)
    window[:, first - start : last - start] = mel[:, first:last]
    sounding = window.any(axis=0)[frame_of_column(frames)]
    if sounding.mean() < 0.5:
        return 0.0
    song = fingerprint_codes(mel_to_matrix(window)[None])[0][:, sounding].astype(np.float32)
    clip = code[:, sounding].astype(np.float32)
    return float((song * clip).sum() / (np.linalg.norm(song) * np.linalg.norm(clip) + 1e-9))


def bury(clip: np.ndarray, around: np.ndarray, second: float, gain_db: float) -> np.ndarray:
    """Put a clip, louder or softer, into other sound from this second on, to test the search: samples, float32 (n,).

    The seam fades over 0.2 s, as in a mix.
    """
    start, fade = int(second * SAMPLE_RATE), int(0.2 * SAMPLE_RATE)
    ramp = np.minimum(1, np.minimum(np.arange(len(clip)), np.arange(len(clip))[::-1]) / fade).astype(np.float32)
    buried = around.astype(np.float32)
    place = slice(start, start + len(clip))
    buried[place] = (1 - ramp) * buried[place] + ramp * clip * 10 ** (gain_db / 20)
    return buried


def through_mp3(samples: np.ndarray) -> np.ndarray:
    """Encode samples, float32 at 22 050 Hz, as MP3 with 64 kbit/s, and decode them again."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, np.clip(samples, -1, 1), SAMPLE_RATE, format="MP3", compression_level=0.6, bitrate_mode="CONSTANT"
    )  # 0.6 of libsndfile's scale is 64 kbit/s at this sample rate
    buffer.seek(0)
    return soundfile.read(buffer, dtype="float32")[0]


def measure_search(dataset: DataSet, prints: Fingerprints, count: int, seed: int) -> pd.DataFrame:
    """Bury clips of a set in other sound, and look for them among all of the set's fingerprints.

    Each clip lies at a random second between two others, up to 12 dB louder or softer, and all goes through MP3 at
    64 kbit/s. One row per clip, at most `count`: image, found, error (s, of where it starts), score, and foreign, the
    number of clips that were found but are by no artist who is in the sound.
    """
    rng, tracks = np.random.default_rng(seed), read_tracks(dataset)
    artists = {} if tracks is None else dict(zip(tracks["image"], tracks["artist"], strict=True))
    pairs = [pair for pair in clips_with_audio(dataset) if pair[1].is_file()]
    pairs = [pairs[k] for k in rng.permutation(len(pairs))[: max(count, 3)]]
    sounds = [load_audio(audio) for audio, _ in pairs]
    rows = []
    for k in tqdm(range(min(count, len(pairs))), desc="burying clips"):
        others = [(k + 1) % len(pairs), (k + 2) % len(pairs)]
        around = np.concatenate([sounds[other] for other in others])
        second = rng.uniform(1, (len(around) - len(sounds[k])) / SAMPLE_RATE - 1)
        heard = through_mp3(bury(sounds[k], around, second, rng.uniform(-12, 12)))
        matches = find_clips(mel_power(heard), prints)
        inside = {pairs[place][1].name for place in (k, *others)}
        by = {artists.get(image) or image for image in inside}
        found = next((match for match in matches if match.image == pairs[k][1].name), None)
        rows.append(
            {
                "image": pairs[k][1].name,
                "found": found is not None,
                "error": abs(found.start - second) if found else np.nan,
                "score": found.score if found else np.nan,
                "foreign": sum((artists.get(match.image) or match.image) not in by for match in matches),
            }
        )
    return pd.DataFrame(rows)


# ---------------------------------------------------------------------------------------------------------
# 11 The feature route
# ---------------------------------------------------------------------------------------------------------

KAGGLE_TABLE = "features_30_sec.csv"


def read_sound_features(dataset: DataSet) -> pd.DataFrame:
    """Describe every clip that has sound by its named features: one row per clip, the index is its picture's name.

    The work runs on all cores. The rows are kept in data/<set>/sound_features.npz until a sound file changes. A clip
    that cannot be read is left out. A set without sound gives a table without rows.
    """
    pairs = clips_with_audio(dataset)
    seen = [f"{audio.name} {audio.stat().st_size} {audio.stat().st_mtime_ns}" for audio, _ in pairs]
    recipe = f"{features.NAMED_FEATURES} {features.STATISTICS}"
    fingerprint = hashlib.sha256("\n".join([recipe, *seen]).encode()).hexdigest()
    cache = dataset.results / "sound_features.npz"
    if stored := read_cache(cache, fingerprint):
        return pd.DataFrame(stored["values"], stored["image"].astype(object), stored["columns"].astype(object))
    rows = []
    with joblib.Parallel(n_jobs=-1, prefer="threads") as parallel:
        for start in tqdm(range(0, len(pairs), 10), desc="listening for features", unit_scale=10):
            rows += parallel(joblib.delayed(_sound_row)(audio) for audio, _ in pairs[start : start + 10])
    named = {picture.name: row for (_, picture), row in zip(pairs, rows, strict=True) if row is not None}
    table = pd.DataFrame(named).T
    with replacing(cache) as temporary:
        np.savez(
            temporary,
            fingerprint=fingerprint,
            image=table.index.to_numpy(str),
            columns=table.columns.to_numpy(str),
            values=table.to_numpy(float),
        )
    return table


def _sound_row(path: Path) -> pd.Series | None:
    try:
        return features.describe_sound(load_audio(path), SAMPLE_RATE)
    except InputError:
        return None


def picture_features(matrices: np.ndarray) -> pd.DataFrame:
    """Describe matrices, uint8 (n, 128, 334), by what they carry of the named features, one row each."""
    return features.describe_matrices(matrices, DB_PER_LEVEL, SAMPLE_RATE)


def read_kaggle_features(dataset: DataSet) -> pd.DataFrame | None:
    """Read features_30_sec.csv beside the pictures, or give None where there is none; index: the picture's name.

    Its variances become standard deviations, so that they have the feature's unit, and names become those of
    `features.NAMED_FEATURES`. Its own columns `harmony`, `perceptr` and `tempo` are kept, `length` and `label` are not;
    its chroma is one number for all twelve notes.

    Raises InputError for a file without its columns.
    """
    path = dataset.images.parent / KAGGLE_TABLE
    if not path.is_file():
        return None
    try:
        table = pd.read_csv(path)
        names = table["filename"].str.replace(r"^([a-z]+)\.(\d+)\.wav$", r"\1\2.png", regex=True)
        values = table.drop(columns=["filename", "length", "label"]).astype(float)
    except (ValueError, KeyError, AttributeError) as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"'{path.name}' is not Kaggle's table of features: unpack the download again.") from error
    spread = values.columns.str.endswith("_var")
    values.loc[:, spread] = np.sqrt(values.loc[:, spread])
    short = values.columns.str.replace("_var", "_std").str.removeprefix("spectral_")
    values.columns = short.str.replace(r"^mfcc(\d+)", lambda found: f"mfcc_{int(found[1]):02d}", regex=True)
    return values.set_index(names.to_numpy())


def feature_tables(dataset: DataSet, pictures: Pictures) -> dict[str, pd.DataFrame]:
    """Give the tables of named features that have a row for every picture, in the pictures' order.

    "pictures" is always there, "sound" where every picture's clip is at hand, "Kaggle" where its table is.
    """
    order = pictures.table["image"].to_numpy()
    found = {"sound": read_sound_features(dataset), "Kaggle": read_kaggle_features(dataset)}
    tables = {"pictures": picture_features(pictures.matrices).set_index(order)}
    for name, table in found.items():
        if table is not None and np.isin(order, table.index).all():
            tables[name] = table.loc[order]
    return tables


def read_feature_search(
    dataset: DataSet, pictures: Pictures, tracks: pd.DataFrame, table: pd.DataFrame
) -> pd.DataFrame:
    """Compare the classifiers' settings by cross-validation over artists; gives `features.search_settings`' table.

    Only training and validation tracks of the fault-filtered split take part. The result is kept in
    data/<set>/feature_search.csv until the pictures or the candidates change.
    """
    split = fault_filtered_split(pictures, tracks)
    rows = np.sort(np.concatenate([split.train, split.validation]))
    artists = artist_groups(pictures, tracks)[rows]
    what = json.dumps([features.CANDIDATES, list(table.columns), _digest(pictures.matrices[rows])])
    digest = hashlib.sha256(what.encode()).hexdigest()[:16]
    path = dataset.results / "feature_search.csv"
    if path.is_file():
        kept = pd.read_csv(path)
        if (kept["of"] == digest).all():
            return kept.drop(columns="of")
    found = features.search_settings(table.iloc[rows].to_numpy(), pictures.labels[rows], artists)
    with replacing(path) as temporary:
        found.assign(of=digest).to_csv(temporary, index=False, float_format="%.4f", lineterminator="\n")
    return found


def genre_frames(dataset: DataSet, genre: str, clip: int = 0) -> tuple[str, dict[str, np.ndarray]]:
    """Give a title and the named features of each frame, float (numbers, frames), of a genre's so-manyth clip.

    From its sound where that is at hand, else from its picture, which carries fewer; the title says which.
    """
    sounds = sorted((dataset.audio / genre).glob("*.wav")) if dataset.audio else []
    try:
        path = sounds[clip]
        return f"{path.stem}, sound", features.frames_of_sound(load_audio(path), SAMPLE_RATE)
    except (IndexError, InputError):
        pictures = sorted((dataset.images / genre).glob("*.png"))
        path = pictures[min(clip, len(pictures) - 1)]
        frames = features.frames_of_matrices(picture_to_matrix(path)[None], DB_PER_LEVEL, SAMPLE_RATE)
        return f"{path.stem}, picture", {name: values[0] for name, values in frames.items()}


def table_agreement(table: pd.DataFrame, other: pd.DataFrame) -> pd.Series:
    """Correlation over the clips that both tables have, mean over the columns of each feature that both have."""
    rows, columns = table.index.intersection(other.index), table.columns.intersection(other.columns)
    correlation = table.loc[rows, columns].corrwith(other.loc[rows, columns])
    return correlation.groupby(features.feature_group, sort=False).mean()


@dataclass(frozen=True)
class FeatureRun:
    """A classifier on named features, trained on a split.

    scores: float (n, 10) by the part's name, the largest at the answer; log-probabilities but for the SVM.
    importance: what `features.group_importance` says of the validation part, or of the test part without one.
    """

    table: str
    classifier: str
    split: Split
    seed: int
    scores: dict[str, np.ndarray]
    importance: pd.DataFrame
    minutes: float


def run_features(
    dataset: DataSet,
    pictures: Pictures,
    table_name: str,
    table: pd.DataFrame,
    split: Split,
    seed: int,
    classifier: str,
) -> FeatureRun:
    """Train a classifier, "MLP", "SVM" or "boosting", on named features and keep what it says in data/<set>/runs.

    A second call only reads it. A row goes to data/<set>/experiments.csv. The table has a row for each picture.
    """
    rows, labels = table.to_numpy(), pictures.labels
    settings = json.dumps(features.SETTINGS[classifier])
    digest = _digest(np.array([settings, *table.columns, _digest(split.train), _digest(rows)]))
    stored = dataset.results / "runs" / f"features-{table_name}-{classifier}-{split.name}-seed{seed}-{digest}.npz"
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    if kept := read_cache(stored, digest):
        importance = pd.DataFrame(kept["importance"], columns=kept["groups"].astype(object))
        scores = {part: kept[part] for part in parts}
        return FeatureRun(table_name, classifier, split, seed, scores, importance, float(kept["minutes"]))
    started = time.monotonic()
    trained = features.make_classifier(classifier, seed).fit(rows[split.train], labels[split.train])
    empty = np.empty((0, len(GENRES)))
    scores = {part: features.scores(trained, rows[at]) if len(at) else empty for part, at in parts.items()}
    minutes = (time.monotonic() - started) / 60
    held_out = split.validation if len(split.validation) else split.test
    importance = features.group_importance(trained, rows[held_out], labels[held_out], list(table.columns))
    with replacing(stored) as temporary:
        np.savez(
            temporary,
            **scores,
            fingerprint=digest,
            importance=importance.to_numpy(),
            groups=importance.columns.to_numpy(str),
            minutes=minutes,
        )
    reached = {part: accuracy(scores[part], labels[at]) for part, at in parts.items()}
    record_experiment(dataset, f"{classifier}, {table_name} features", split.name, seed, settings, reached, minutes)
    return FeatureRun(table_name, classifier, split, seed, scores, importance, minutes)


def run_routes(
    dataset: DataSet, pictures: Pictures, tables: dict[str, pd.DataFrame], runs: Sequence[Run]
) -> list[FeatureRun]:
    """Train every classifier on every table, on the splits and with the seeds of the networks' runs."""
    jobs = [(name, kind, run) for name in tables for kind in features.SETTINGS for run in runs]
    return [
        run_features(dataset, pictures, name, tables[name], run.split, run.seed, kind)
        for name, kind, run in tqdm(jobs, desc="feature route")
    ]


def route_probabilities(runs: Sequence[Run], feature_runs: Sequence[FeatureRun], part: str) -> dict[str, list]:
    """Give what each route says of a part in each of the runs: lists of float (n, 10) by the route's name.

    "CNN" is the network alone, "CNN + texture" the whole model. "MLP, pictures" and so on are a classifier and the
    table it learned from. "MLP + CNN" and "MLP + whole model" are plain means of two probabilities, nothing weighed
    or fitted. The SVM's entries are decision values: good for answers, not for averages.
    """
    said = {(run.table, run.classifier, run.split.name, run.seed): run.scores[part] for run in feature_runs}
    cnn = [softmax(run.cnn[part], axis=1) for run in runs]
    whole = [softmax(run.logits(part), axis=1) for run in runs]
    routes = {"CNN": cnn, "CNN + texture": whole}
    for table, kind in dict.fromkeys((run.table, run.classifier) for run in feature_runs):
        scores = [said[table, kind, run.split.name, run.seed] for run in runs]
        routes[f"{kind}, {table}"] = scores if kind == "SVM" else [softmax(row, axis=1) for row in scores]
    mlp = routes["MLP, pictures"]
    routes["MLP + CNN"] = [(one + other) / 2 for one, other in zip(mlp, cnn, strict=True)]
    routes["MLP + CNN + texture"] = [(one + other) / 2 for one, other in zip(mlp, whole, strict=True)]
    return routes


def route_metrics(
    pictures: Pictures,
    random_runs: Sequence[Run],
    fair_runs: Sequence[Run],
    fold_runs: Sequence[Run],
    feature_runs: Sequence[FeatureRun],
) -> dict:
    """Put the accuracies of every route, fractions of whole tracks, into the section `features` of metrics.json.

    Over random splits the interval is Student's, over seeds of one split it is Wilson's for the mean: seeds do not
    say how far 290 tracks may be off.
    """
    metrics = {}
    for name, runs, part in (
        ("random_split", random_runs, "validation"),
        ("fault_filtered", fair_runs, "test"),
        ("artist_folds", fold_runs, "test"),
    ):
        for route, said in route_probabilities(runs, feature_runs, part).items() if runs else ():
            rows = [getattr(run.split, part) for run in runs]
            reached = [accuracy(scores, pictures.labels[at]) for scores, at in zip(said, rows, strict=True)]
            mean, tracks = float(np.mean(reached)), len(rows[0]) if name != "artist_folds" else sum(map(len, rows))
            over_splits = name == "random_split" and len(runs) > 1
            both = mean_interval(reached) if over_splits else wilson_interval(round(mean * tracks), tracks)
            metrics.setdefault(route, {})[name] = {
                "runs": [round(value, 4) for value in reached],
                "mean": round(mean, 4),
                "interval95": [round(bound, 4) for bound in both],
            }
    return metrics


def route_table(section: dict) -> pd.DataFrame:
    """Write the section `features` of metrics.json as a table: routes, and accuracy with interval per protocol."""
    heads = {
        "random_split": "random 70/30",
        "fault_filtered": "new artists (fault-filtered)",
        "artist_folds": "three artist folds",
    }

    def cell(entry: dict | None) -> str:
        return f"{entry['mean']:.1%} ({entry['interval95'][0]:.1%} to {entry['interval95'][1]:.1%})" if entry else "-"

    rows = {route: {head: cell(entry.get(name)) for name, head in heads.items()} for route, entry in section.items()}
    return pd.DataFrame(rows).T.rename_axis("route")


def route_report(section: dict) -> str:
    """Write the section `features` of metrics.json as README's table of routes, in Markdown."""
    table = route_table(section).reset_index()
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in table.itertuples(index=False))])


@dataclass(frozen=True)
class FeatureModel:
    """A classifier on named features that answers like a GenreModel: `classify_songs` takes either.

    classifier: what `features.make_classifier` gives, trained; the MLP or boosting, because an SVM has no
    probabilities.
    """

    classifier: Pipeline

    def probabilities(self, matrices: np.ndarray) -> np.ndarray:
        """Give probabilities, float (n, 10), for whole matrices, uint8 (n, 128, 334)."""
        return softmax(features.scores(self.classifier, picture_features(matrices).to_numpy()), axis=1)


def train_feature_model(table: pd.DataFrame, labels: np.ndarray, seed: int, classifier: str = "MLP") -> FeatureModel:
    """Train on what `picture_features` says of all pictures, for songs: their windows look like pictures."""
    return FeatureModel(features.make_classifier(classifier, seed).fit(table.to_numpy(), labels))


def classify_songs_by_routes(
    songs: Sequence[Song], routes: dict[str, Callable[[np.ndarray], np.ndarray]]
) -> dict[str, list[SongResult]]:
    """Ask several routes about songs and pictures, reading each only once: results by the route's name.

    A route turns matrices, uint8 (k, 128, 334), into probabilities, float (k, 10). A song is heard in windows of
    30 s, and one that cannot be used gets a result without windows, as in `classify_songs`.
    """
    results = {name: [] for name in routes}
    for song in tqdm(songs, desc="listening"):
        starts, matrices = np.empty(0), None
        try:
            if song.path.suffix.lower() in PICTURE_SUFFIXES:
                starts, matrices = np.zeros(1), picture_to_matrix(song.path)[None]
            else:
                starts, matrices = song_windows(mel_power(load_audio(song.path)))
        except InputError as error:
            song = replace(song, note=str(error))
        for name, route in routes.items():
            said = np.empty((0, len(GENRES))) if matrices is None else route(matrices)
            results[name].append(SongResult(song, starts, said))
    return results
