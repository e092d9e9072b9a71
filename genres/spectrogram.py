"""The picture recipe: from samples to the matrix of a Kaggle picture, and between matrix and picture without loss.

A **matrix** is a uint8 array of 128 x 334, mel bins (row 0 is the lowest) by columns in time. A Kaggle picture holds
exactly this, and `audio_to_matrix` computes the same from sound.
"""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import librosa
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from genres.common import SAMPLE_RATE, InputError

# The recipe: librosa 0.8's defaults of the day, found by redrawing 459 tracks pixel by pixel.
FFT_SAMPLES = 2_048  # length of the FFT window, 92.9 ms
HOP_SAMPLES = 512  # step from frame to frame, 23.2 ms
MEL_BINS = 128
COLUMNS = 334  # columns of a matrix, 89.7 ms each in a 30 s clip
TOP_DB = 80.0  # range of the colours, on the scale of 20 log10(power): 40 dB of power
CLIP_SAMPLES = 661_794  # samples of a GTZAN clip, 30.01 s
CLIP_SECONDS = CLIP_SAMPLES / SAMPLE_RATE
CLIP_FRAMES = 1 + CLIP_SAMPLES // HOP_SAMPLES  # 1293
CLIP_STEP = CLIP_FRAMES // 2  # frames from one window of a song to the next, 15 s
LOUD_SECONDS = 10.0  # of a song, at most, are its loud part
SILENT_DB = 60.0  # this far below its loudest second a song is silent
QUIET_DB = 30.0  # this far below a song's loud part a second counts as silence or fade-out
DB_PER_LEVEL = TOP_DB / 256 / 2  # dB of power from one matrix level to the next
LARGEST_PICTURE = 20_000_000  # pixels

# The drawn picture, in pixels from its top left corner: matplotlib's default axes in a 432 x 288 figure.
PICTURE_WIDTH, PICTURE_HEIGHT = 432, 288
INNER_ROWS, INNER_COLUMNS = slice(36, 252), slice(55, 389)
AXES_LEFT, AXES_WIDTH = 54.0, 334.8
AXES_BOTTOM, AXES_HEIGHT = 36.0, 217.44  # from the bottom edge
FRAME_TOP, FRAME_BOTTOM, FRAME_LEFT, FRAME_RIGHT = 35, 252, 54, 389
FRAME_COVER = 0.8  # the black frame line is 0.8 pixels wide, so a fifth of what lies under it shines through
CORNER_GREY = 19  # where two lines end on the white margin
MAGMA = np.round(255 * np.array(plt.colormaps["magma"].colors)).astype(np.uint8)  # (256, 3)


def frame_of_column(frames: int) -> np.ndarray:
    """Frame that each of the 334 columns shows, for a spectrogram of so many frames: the last cell wins again."""
    edges = np.round(256 * (AXES_LEFT + np.arange(frames) * AXES_WIDTH / frames)) / 256
    columns = np.arange(INNER_COLUMNS.start, INNER_COLUMNS.stop)
    return np.searchsorted(edges, columns + 1) - 1


# Mel bin that each of the 216 inner pixel rows shows, top row first: aliased drawing, the last cell wins.
_EDGES = np.round(256 * (AXES_BOTTOM + np.arange(MEL_BINS) * AXES_HEIGHT / MEL_BINS)) / 256
BIN_OF_ROW = np.searchsorted(_EDGES, PICTURE_HEIGHT - np.arange(INNER_ROWS.start, INNER_ROWS.stop)) - 1
MEL_CENTRES = librosa.mel_frequencies(MEL_BINS + 2, fmin=0, fmax=SAMPLE_RATE / 2)[1:-1]  # Hz
_ROW_OF_BIN = len(BIN_OF_ROW) - 1 - np.searchsorted(BIN_OF_ROW[::-1], np.arange(MEL_BINS))
_LEVEL_OF_COLOUR = np.zeros(1 << 24, np.uint8)  # from a colour as one 24-bit number to its place in the palette
_LEVEL_OF_COLOUR[MAGMA.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)] = np.arange(256)


def matrix_to_picture(matrix: np.ndarray) -> Image.Image:
    """Draw a matrix, uint8 (128, 334), as the full Kaggle-style picture of 432 x 288 RGBA pixels."""
    pixels = np.full((PICTURE_HEIGHT, PICTURE_WIDTH, 4), 255, np.uint8)
    pixels[INNER_ROWS, INNER_COLUMNS, :3] = MAGMA[matrix[BIN_OF_ROW]]
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
    return pixels_to_matrix(read_pixels(path), path.name)


def read_pixels(path: Path) -> np.ndarray:
    """Read a picture of any kind that Pillow knows, as uint8 (height, width, 4), RGBA.

    Raises InputError for a file that is no picture, is truncated, or is far larger than any spectrogram.
    """
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:  # before a huge one is unpacked
                raise InputError(f"'{path.name}' is {picture.width} x {picture.height} pixels: make it smaller.")
            return np.array(picture.convert("RGBA"))
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise many types for broken files
        raise InputError(f"'{path.name}' cannot be read as a picture: replace it or remove it.") from error


def pixels_to_matrix(pixels: np.ndarray, name: str) -> np.ndarray:
    """Read the matrix, uint8 (128, 334), out of a Kaggle-style picture's pixels, uint8 (288, 432, 4).

    Raises InputError, with the file's name, for a picture of another size or drawn in another way.
    """
    height, width, _ = pixels.shape
    if (width, height) != (PICTURE_WIDTH, PICTURE_HEIGHT):
        raise InputError(f"'{name}' is {width} x {height} pixels, not 432 x 288: take the Kaggle pictures.")
    if name.lower().endswith((".jpg", ".jpeg")):
        raise InputError(f"'{name}' is JPEG, which loses the levels of a spectrogram: take the PNG pictures.")
    colours = np.ascontiguousarray(pixels).view("<u4")[..., 0]
    matrix = _LEVEL_OF_COLOUR[colours[INNER_ROWS, INNER_COLUMNS][_ROW_OF_BIN] & 0xFFFFFF]
    # Drawing the matrix again and comparing checks the palette, the repeated rows and the margin at once. The two
    # frame lines that lie over the drawing show a trace of a further frame of sound, so they are left out.
    differs = np.array(matrix_to_picture(matrix)).view("<u4")[..., 0] != colours
    differs[FRAME_TOP] = differs[:, FRAME_LEFT] = False
    if differs.any():
        raise InputError(f"'{name}' is no Kaggle-style spectrogram (other axes or colours): draw it from audio.")
    return matrix


def audio_to_matrix(samples: np.ndarray) -> np.ndarray:
    """Render the whole of the samples, float32 at 22 050 Hz, as one matrix of uint8 (128, 334).

    This is the Kaggle recipe without the drawing: mel power, 80 dB below the maximum, 256 levels, and the frames
    that land on a pixel column. `amplitude_to_db` on power is a slip of the set's makers, and stays. Silence is zeros.

    Raises InputError for fewer samples than half an FFT window, samples that are not finite, a file's name, or the pair
    of samples and rate that librosa.load returns.
    """
    if isinstance(samples, str | Path | tuple):
        raise InputError("A file's name or a pair is no sound: give samples, as in audio_to_matrix(load_audio(file)).")
    samples = np.asarray(samples, np.float32)
    if samples.ndim != 1 or len(samples) <= FFT_SAMPLES // 2 or not np.isfinite(samples).all():
        raise InputError(f"Samples of shape {samples.shape} are no sound: give one channel, finite, of 0.1 s or more.")
    return mel_to_matrix(mel_power(samples))


def middle_clip(samples: np.ndarray) -> np.ndarray:
    """Return the middle 30 s of a song's samples, (n,), or all of fewer: what its picture in a set shows."""
    first = max(0, (len(samples) - CLIP_SAMPLES) // 2)
    return samples[first : first + CLIP_SAMPLES]


def compile_librosa() -> None:
    """Have numba compile librosa's functions and cache them now: two processes at once can spoil the cache for good."""
    for part in ("librosa.core.pitch", "librosa.feature.spectral"):
        importlib.import_module(part)


def mel_power(samples: np.ndarray) -> np.ndarray:
    """Power in 128 mel bands up to 11 025 Hz, float32 (128, 1 + n // 512), of samples float32 (n,) at 22 050 Hz.

    Equal to librosa's melspectrogram with pad_mode="reflect", the default before 0.9, but taken in pieces, so that an
    hour fits in memory.
    """
    half, frames = FFT_SAMPLES // 2, 1 + len(samples) // HOP_SAMPLES

    def piece(first: int, stop: int) -> np.ndarray:
        """Samples under frames first to stop, mirrored beyond the ends; the whole sound is not copied."""
        begin, end = first * HOP_SAMPLES - half, (stop - 1) * HOP_SAMPLES + half
        return np.pad(samples[max(begin, 0) : end], (max(-begin, 0), max(end - len(samples), 0)), mode="reflect")

    mel = np.empty((MEL_BINS, frames), np.float32)
    for first, stop in itertools.pairwise([0, *range(4096, frames - 1, 4096), frames]):  # none of a single frame
        mel[:, first:stop] = librosa.feature.melspectrogram(
            y=piece(first, stop),
            sr=SAMPLE_RATE,
            n_fft=FFT_SAMPLES,
            hop_length=HOP_SAMPLES,
            n_mels=MEL_BINS,
            center=False,
        )
    return mel


def mel_to_matrix(mel: np.ndarray) -> np.ndarray:
    """Turn mel power, float (128, frames), into the matrix of uint8 (128, 334) that its drawing would show."""
    ends = np.full((len(mel), 1), mel.min(), mel.dtype)  # frames that are not shown, too, set the range of levels
    ends[0] = mel.max()
    shown = np.hstack([mel[:, frame_of_column(mel.shape[1])], ends])
    levels = librosa.amplitude_to_db(shown, ref=np.max, top_db=TOP_DB)
    levels = levels - levels.min()
    return np.floor(levels / max(levels.max(), 1e-6) * 256).clip(0, 255).astype(np.uint8)[:, :-1]


def song_windows(mel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a song into half-overlapping 30 s windows, without silence and fade-outs.

    mel: power of the whole song, float32 (128, frames), see `mel_power`. Returns the second at which each window
    begins, float (k,), and the matrices, uint8 (k, 128, 334), k >= 1. Up to 33 s are one window, as `audio_to_matrix`
    draws it. Of a longer song's windows the two first and last frames differ from those of a clip that was cut out.
    """
    frames = mel.shape[1]
    if frames <= 1.1 * CLIP_FRAMES:
        return np.zeros(1), mel_to_matrix(mel)[None]
    quiet = _quiet_frames(mel)
    sounding = np.flatnonzero(~quiet)
    first, last = sounding[0], sounding[-1] + 1
    # A song with less than 30 s of sound keeps one window around it.
    first = max(0, min(first, last - CLIP_FRAMES))
    last = min(frames, max(last, first + CLIP_FRAMES))
    starts = np.arange(first, last - CLIP_FRAMES + 1, CLIP_STEP)
    # The end of the song counts too, unless all but a few seconds of it are covered.
    if last - CLIP_FRAMES - starts[-1] > CLIP_STEP // 4:
        starts = np.append(starts, last - CLIP_FRAMES)
    share = np.array([quiet[start : start + CLIP_FRAMES].mean() for start in starts])
    starts = starts[(share <= 0.5) | (share == share.min())]
    matrices = np.stack([mel_to_matrix(mel[:, start : start + CLIP_FRAMES]) for start in starts])
    return starts * HOP_SAMPLES / SAMPLE_RATE, matrices


def _quiet_frames(mel: np.ndarray) -> np.ndarray:
    """Where the level over one second stays QUIET_DB below the song's loud part, bool (frames,).

    The loud part is the loudest twentieth, or the loudest ten seconds if that is less, of what is not silent.
    """
    second = np.ones(SAMPLE_RATE // HOP_SAMPLES) / (SAMPLE_RATE // HOP_SAMPLES)
    level = np.convolve(mel.sum(axis=0), second, mode="same")
    audible = level[level >= level.max() * 10 ** (-SILENT_DB / 10)]
    share = min(0.05, LOUD_SECONDS * SAMPLE_RATE / HOP_SAMPLES / len(audible))
    return level < np.quantile(audible, 1 - share) * 10 ** (-QUIET_DB / 10)
