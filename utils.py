"""Music genres from spectrogram pictures: the code that the notebooks share.

The module follows the data, from the picture on disk to the genre of a song. Its rooms, in order:

    1 Names, errors, device         5 Networks
    2 Finding the data set          6 Training
    3 Pictures, audio, matrices     7 Metrics
    4 Tables and splits             8 Figures
                                    9 Songs

One representation serves everything: a **matrix** is a uint8 array of 128 x 334, mel bins (row 0 is the
lowest) by columns in time. A Kaggle picture holds exactly this matrix, and `audio_to_matrix` computes the
same one from sound, so a network that learned from pictures can listen to songs.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
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
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest, norm
from scipy.stats import t as student_t
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split
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
ROOT = Path(__file__).resolve().parent
MODEL_PATH = ROOT / "data" / "gtzan" / "model.pt"  # the network that is shipped, for own songs
CNN_SHARE = 0.3  # of the answer; the rest is the texture classifier's. Both numbers were chosen by artist-grouped
TEXTURE_SHARPNESS = 5.0  # cross-validation; this one turns the texture classifier's -1 to 1 into logits

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
        rows = levels.round().int()[:, self.bin_of_row]
        pictures = self.blank.repeat(len(levels), 1, 1, 1)
        pictures[:, INNER_ROWS, INNER_COLUMNS] = nn.functional.embedding(rows, self.palette)
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
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]


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
    plain_every=2,
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
    epochs and after the last, train_plain and validation, the accuracies on whole unchanged pictures. The network ends
    with its last weights: no epoch is picked.

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
        if (epoch + 1) % recipe.plain_every == 0 or epoch + 1 == recipe.epochs:
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


@dataclass
class GenreModel:
    """The network and the texture classifier together: two looks at a matrix, one answer.

    cnn_share weighs the two log-probabilities, temperature makes the result an honest probability. facts says how it
    was trained.
    """

    network: GenreNetwork
    texture: features.TextureClassifier
    cnn_share: float = CNN_SHARE
    temperature: float = 1.0
    facts: dict = field(default_factory=dict)

    def logits(self, matrices: np.ndarray) -> np.ndarray:
        """Give the logits, float32 (n, 10), for whole matrices, uint8 (n, 128, 334)."""
        looks = predict(self.network, matrices), self.texture.logits(features.describe(matrices))
        return blend(*looks, self.cnn_share) / self.temperature

    def probabilities(self, matrices: np.ndarray) -> np.ndarray:
        """Give calibrated probabilities, float32 (n, 10), for whole matrices, uint8 (n, 128, 334)."""
        return softmax(self.logits(matrices), axis=1)


def blend(cnn_logits: np.ndarray, texture_logits: np.ndarray, cnn_share: float = CNN_SHARE) -> np.ndarray:
    """Weigh the log-probabilities of network and texture classifier; gives logits, float32 (n, 10)."""
    texture = log_softmax(TEXTURE_SHARPNESS * texture_logits, axis=1)
    return cnn_share * log_softmax(cnn_logits, axis=1) + (1 - cnn_share) * texture


def save_model(path: Path, model: GenreModel) -> None:
    """Write a model as plain tensors, with its genres and facts."""
    stored = {
        "genres": list(GENRES),
        "network": model.network.cpu().state_dict(),
        "texture": {name: torch.from_numpy(array) for name, array in vars(model.texture).items()},
        "cnn_share": model.cnn_share,
        "temperature": model.temperature,
        "facts": model.facts,
    }
    with replacing(path) as temporary:
        torch.save(stored, temporary)


def load_model(path: str | Path = MODEL_PATH) -> GenreModel:
    """Read what `save_model` wrote; without a path the model that the project ships.

    Raises InputError for a missing, damaged or foreign file.
    """
    stored = load_weights(path)
    parts = {"network", "texture", "cnn_share", "temperature", "facts"}
    if stored.get("genres") != list(GENRES) or not parts <= set(stored):
        raise InputError(f"'{Path(path).name}' is no model of this project: run notebook 03 or clone again.")
    network = GenreNetwork()
    try:
        network.load_state_dict(stored["network"])
        texture = features.TextureClassifier(**{name: tensor.numpy() for name, tensor in stored["texture"].items()})
        model = GenreModel(network.eval(), texture, stored["cnn_share"], stored["temperature"], stored["facts"])
        # One question shows whether sizes fit and numbers are numbers.
        answers = model.probabilities(np.zeros((1, MEL_BINS, COLUMNS), np.uint8))
        if answers.shape != (1, len(GENRES)) or not np.isfinite(answers).all():
            raise ValueError("no probabilities")
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
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


def train_final(dataset: DataSet, pictures: Pictures, calibration: Run, seed: int, recipe: Recipe) -> GenreModel:
    """Train on all pictures, for own songs; its temperature is fitted on the validation part of another run."""
    everything = Split("all", np.arange(len(pictures.table)), np.array([], int))
    model, _ = train_model(dataset, pictures, everything, seed, recipe)
    rows = calibration.split.validation
    model.temperature = fit_temperature(calibration.logits("validation"), pictures.labels[rows])
    model.facts = {
        "trained on": f"all {len(pictures.table)} pictures, {dataset.label}",
        "epochs": recipe.epochs,
        "seed": seed,
        "calibrated on": f"{calibration.split.name}, validation, {len(rows)} tracks",
    }
    return model


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


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over bins that hold equally many predictions."""
    table = reliability_table(probabilities, labels, bins)
    return float(((table["confidence"] - table["accuracy"]).abs() * table["count"]).sum() / table["count"].sum())


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


def calibrated(run: Run, pictures: Pictures, part: str = "test") -> np.ndarray:
    """Probabilities for a part, float (n, 10), with the temperature fitted on the run's validation part."""
    temperature = fit_temperature(run.logits("validation"), pictures.labels[run.split.validation])
    return softmax(run.logits(part) / temperature, axis=1)


def protocol_metrics(
    pictures: Pictures, random_runs: Sequence[Run], fair_runs: Sequence[Run], fold_runs: Sequence[Run]
) -> dict:
    """Put the runs into the sections of metrics.json: random_split, fault_filtered, artist_folds.

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
        ece = [expected_calibration_error(calibrated(run, pictures), labels) for run in fair_runs]
        metrics["fault_filtered"] = {
            "seeds": [run.seed for run in fair_runs],
            "validation": column(fair_runs, "validation"),
            "test": test,
            "test_mean": round(float(np.mean(test)), 4),
            "interval95": interval(test, len(labels)),
            "ensemble_test": round(accuracy(ensemble(fair_runs, "test"), labels), 4),
            "ece": round(float(np.mean(ece)), 4),
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
        ("Calibration error, new artists", "-", f"{fair['ece']:.3f}" if fair else "-"),
        ("Reference's first network, again", "59.67", percent(first["validation"], first["interval95"])),
        ("Reference's final network, again", "62.67", percent(final["validation"], final["interval95"])),
        ("Own songs right, windows", "6 of 20", f"{songs['correct']} of {songs['total']}" if songs else "-"),
        ("Minutes to train one network, median, one busy core", "37", f"{metrics['minutes_per_network']:.1f}"),
    ]
    lines = ["| what | reference / best public | here (95 % interval) |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {before} | {now} |" for what, before, now in rows)])


def write_report(dataset: DataSet, readme: Path = ROOT / "README.md") -> None:
    """Put the table of results from metrics.json between README's two marks.

    Raises InputError where there is no metrics.json yet, or README lost its marks.
    """
    path = dataset.results / "metrics.json"
    if not path.is_file():
        raise InputError(f"'{path.name}' is missing: run the notebooks first.")
    before, mark, rest = readme.read_text().partition("<!-- results -->\n")
    _, end, after = rest.partition("\n<!-- end of results -->")
    if not mark or not end:
        raise InputError(f"'{readme.name}' has lost its marks around the results: put them back.")
    with replacing(readme) as temporary:
        temporary.write_text(before + mark + report_table(json.loads(path.read_text())) + end + after)


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

MEL_FREQUENCIES = librosa.mel_frequencies(MEL_BINS + 2, fmin=0, fmax=SAMPLE_RATE / 2)[1:-1]  # Hz, bin centres
sns.set_theme(style="ticks", palette="colorblind")


def save_figure(figure: Figure, dataset: DataSet, name: str) -> display.Image:
    """Save the figure as figures/<set>/<name>.png, close it, and give the saved picture for the notebook to show."""
    path = dataset.figures / f"{name}.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90, bbox_inches="tight", pad_inches=0.1, pil_kwargs={"optimize": True})
    plt.close(figure)
    return display.Image(path.read_bytes())


def draw_spectrogram(axes: plt.Axes, matrix: np.ndarray, seconds: float = CLIP_SECONDS, title: str = ""):
    """Draw a matrix with axes in seconds and Hz, in dB below its loudest point; gives the image for a colour bar."""
    decibels = (matrix.astype(np.float32) - 255) * DB_PER_LEVEL
    image = axes.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=-TOP_DB / 2, vmax=0,
        extent=(0, seconds, -0.5, MEL_BINS - 0.5), interpolation="nearest",
    )  # fmt: skip
    ticks = np.array([128, 512, 1024, 2048, 4096, 8192])
    axes.set_yticks(np.interp(ticks, MEL_FREQUENCIES, np.arange(MEL_BINS)), [f"{tick}" for tick in ticks])
    axes.set(title=title, xlabel="time in s", ylabel="frequency in Hz (mel scale)")
    return image


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


# ---------------------------------------------------------------------------------------------------------
# 9 Songs
# ---------------------------------------------------------------------------------------------------------

SOUND_SUFFIXES = {".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".aif", ".aiff", ".wma"}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}
WINDOW_FRAMES = 1 + CLIP_SAMPLES // HOP_SAMPLES  # of a GTZAN clip: 1293
WINDOW_STEP = WINDOW_FRAMES // 2  # frames from one window of a song to the next, 15 s
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
    of the whole song squeezed into one picture, the reference project's way, or None. A song that could not be read
    has no windows, and `song.note` says why.
    """

    song: Song
    starts: np.ndarray
    windows: np.ndarray
    whole: np.ndarray | None = None

    @property
    def probabilities(self) -> np.ndarray:
        """Mean over the windows, float (10,)."""
        return self.windows.mean(axis=0)

    @property
    def genre(self) -> str | None:
        """The most probable genre, or None for a song that could not be read."""
        return GENRES[self.probabilities.argmax()] if len(self.windows) else None

    @property
    def top_three(self) -> str:
        """The three most probable genres with their probabilities, as text."""
        if not len(self.windows):
            return ""
        return ", ".join(f"{GENRES[k]} {self.probabilities[k]:.0%}" for k in np.argsort(-self.probabilities)[:3])

    def __repr__(self) -> str:
        if self.genre is None:
            return f"{self.song.title}: no answer. {self.song.note}"
        return f"{self.song.title}: {self.genre} ({self.top_three}; {len(self.windows)} windows)"


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


def find_songs(folder: str | Path) -> list[Song]:
    """List the sound files and pictures of a folder and its sub-folders, with the genre each is said to be.

    A genre comes from songs.csv (columns file, title, genre), else from a `(genre)` at the end of the file name, else
    from the sub-folder. A song without one, or with one that is none of the ten, has None, and `note` quotes it.

    Raises InputError where there is no folder, it holds no songs, or songs.csv has no column `file`.
    """
    folder = from_root(folder)
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


def song_windows(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a song into half-overlapping 30 s windows, without silence and fade-outs.

    Takes samples, float32 (n,) at 22 050 Hz. Gives the second each window begins at, float (k,), and the matrices,
    uint8 (k, 128, 334), k >= 1. Up to 33 s give one window of everything, as `audio_to_matrix` draws it. Each window
    is a slice of one pass over the song, with its own loudest value as reference; only its two first and last frames
    (93 ms) differ from a window that was cut out before.
    """
    mel = mel_power(samples)
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


def classify_song(path: str | Path, model: GenreModel | None = None, whole: bool = False) -> SongResult:
    """Say what genre a sound file or a Kaggle-style picture is; without a model, the one that the project ships.

    `whole` also classifies the whole song squeezed into one picture. Raises InputError for a file that cannot be used.
    """
    path = Path(path)
    model = model or load_model()
    song = Song(path, path.stem)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        matrix = picture_to_matrix(path)
        return SongResult(song, np.zeros(1), model.probabilities(matrix[None]))
    samples = load_audio(path)
    starts, matrices = song_windows(samples)
    if whole:
        matrices = np.concatenate([matrices, audio_to_matrix(samples)[None]])
    probabilities = model.probabilities(matrices)
    return SongResult(song, starts, probabilities[: len(starts)], probabilities[-1] if whole else None)


def classify_songs(songs: Sequence[Song], model: GenreModel, whole: bool = False) -> list[SongResult]:
    """Classify each song; one that cannot be used gets a result without windows, whose note says why."""
    results = []
    for song in tqdm(songs, desc="listening"):
        try:
            results.append(replace(classify_song(song.path, model, whole), song=song))
        except InputError as error:
            results.append(SongResult(replace(song, note=str(error)), np.empty(0), np.empty((0, len(GENRES)))))
    return results


def song_table(results: Sequence[SongResult]) -> pd.DataFrame:
    """One row per song: song, label, prediction, right, top three, windows and note."""
    rows = [
        {
            "song": result.song.title,
            "label": result.song.genre or "",
            "prediction": result.genre or "",
            "right": {True: "yes", False: "no", None: ""}[is_right(result)],
            "top three": result.top_three,
            "windows": len(result.windows),
            "note": result.song.note,
        }
        for result in results
    ]
    return pd.DataFrame(rows)


def is_right(result: SongResult) -> bool | None:
    """Whether the prediction is the label; None where one of them is missing."""
    return None if result.genre is None or result.song.genre is None else result.genre == result.song.genre


def find_songs_folder(dataset: DataSet, folder: str | Path = "") -> Path:
    """Give the folder of songs: the named one, else $SONGS, data/songs, or the demo band's, made if need be."""
    if folder := folder or os.environ.get("SONGS", ""):
        return from_root(folder)
    if (ROOT / "data" / "songs").is_dir():
        return ROOT / "data" / "songs"
    if dataset.songs is None or not dataset.songs.is_dir():
        import demo_songs  # here, because only this case needs the synthesiser

        print("No songs named and none in data/songs: using the songs that the demo band plays.")
        demo_songs.make_demo_set(ROOT / "data" / "demo")
        return ROOT / "data" / "demo" / "songs"
    return dataset.songs


def song_label(dataset: DataSet, folder: str | Path = "") -> str:
    """How titles call the songs: "own songs", or "demo songs" where nobody named a folder."""
    named = folder or os.environ.get("SONGS") or (ROOT / "data" / "songs").is_dir()
    return "own songs" if named else "demo songs"


def score_songs(scored: Sequence[SongResult]) -> dict:
    """Count labelled songs, right answers, and right answers of the whole song in one picture."""
    whole = [result.whole is not None and GENRES[result.whole.argmax()] == result.song.genre for result in scored]
    return {
        "total": len(scored),
        "correct": sum(map(is_right, scored)),
        "answered": len(scored),
        "whole_picture_correct": sum(whole),
    }


def score_sentence(score: dict) -> str:
    """Say a score with its Wilson interval."""
    if not score["total"]:
        return "No song could be scored: none has both a genre and an answer."
    low, high = wilson_interval(score["correct"], score["total"])
    return (
        f"{score['correct']} of {score['total']} songs right, {score['correct'] / score['total']:.0%} "
        f"(95 % interval {low:.0%} to {high:.0%}); {score['whole_picture_correct']} with the whole song in one picture"
    )
