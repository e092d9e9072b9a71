"""Any file with sound in it, as samples.

Levels and offsets at which the picture recipe would fail are put right here. A clip of GTZAN has none of them and comes
out exactly as `librosa.load` reads it.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import librosa
import numpy as np

from genres.common import InputError
from genres.decoding import LONGEST_SECONDS, MISSING_SHARE, Decoded, decode_with_ffmpeg, decode_with_soundfile

SAMPLE_RATE = 22_050  # Hz
SHORTEST_SECONDS = 2.5  # of a song: 3 s, less what encoders cut off at the ends
LOWEST_RATE = 4_000  # Hz; below a telephone's 8 000 there is no music, only a damaged header that claims hours
SILENCE = 1e-4  # amplitude, of 1; what stays below everywhere holds no music
QUIET_LEVEL = 5e-3  # RMS of the loud seconds; below it the recipe's absolute floor would act. GTZAN: 0.04 and more
NORMAL_LEVEL = 0.1  # RMS that a quiet recording is raised to
LARGEST_OFFSET = 0.5  # mean over spread, from which on the lowest mel band would drown the music. GTZAN: 0.13 and less


@dataclass(frozen=True)
class Sound:
    """The sound of a file.

    samples: float32 (n,), mono, 22 050 Hz. remark: what of the file could not be heard, or "". title, artist: its tags.
    """

    samples: np.ndarray
    remark: str = ""
    title: str = ""
    artist: str = ""


def load_audio(path: str | Path) -> np.ndarray:
    """Read any sound file as `librosa.load(path)` would: float32 samples, mono, 22 050 Hz. See `read_sound`."""
    return read_sound(path).samples


def read_sound(path: str | Path) -> Sound:
    """Read the sound and the tags of any file: wav, mp3, flac, ogg, m4a, films and whatever else FFmpeg decodes.

    Any rate and number of channels, also such as change on the way; 3 seconds to 2 hours. What can be decoded before,
    between and after faults is kept, and a remark says when more than 5 % of the file's seconds are missing.

    Raises InputError for a missing, protected, empty, silent, too short, too long or unreadable file.
    """
    refuse_address(path)
    path = Path(path).expanduser()
    _refuse_no_file(path)
    decoded = decode_with_ffmpeg(path)
    if decoded.seconds < SHORTEST_SECONDS:
        decoded = max(decoded, decode_with_soundfile(path), key=lambda decoded: decoded.seconds)
    if not decoded.parts:
        raise InputError(f"'{path.name}' cannot be read as sound: convert it to wav, mp3, flac, ogg or m4a.")
    rate = max(decoded.parts, key=lambda part: len(part[1]))[0]
    if rate < LOWEST_RATE:
        raise InputError(f"'{path.name}' has only {rate} samples a second: export it again with 22 050 or more.")
    if decoded.seconds < SHORTEST_SECONDS:
        raise InputError(f"'{path.name}' has only {decoded.seconds:.1f} s of sound: give at least 3 seconds.")
    # NaN spreads through the resampler, so it is looked for before.
    if not all(np.isfinite(samples).all() for _, samples in decoded.parts):
        raise InputError(f"'{path.name}' holds samples that are not finite numbers: export it again.")
    if max(np.ptp(samples) for _, samples in decoded.parts) < 2 * SILENCE:
        raise InputError(f"'{path.name}' is silent from start to end: choose a file with sound in it.")
    title, artist, album_artist = (
        html.unescape(decoded.tags.get(name, "")).strip() for name in ("title", "artist", "album_artist")
    )
    samples = _at_normal_level(_without_offset(_resample(decoded.parts)))
    return Sound(samples, _remark(decoded), title, artist or album_artist)


def refuse_address(path: str | Path) -> None:
    """Raise InputError for a web address where a file is wanted; a Path of one has lost a slash."""
    if re.match(r"\s*[a-z]{2,}:/", str(path), re.IGNORECASE):
        raise InputError(f"'{path}' is a web address: download it first, then give the name of the file.")


def _remark(decoded: Decoded) -> str:
    """A sentence where seconds are missing that the file plausibly says it has."""
    if decoded.claimed > LONGEST_SECONDS or decoded.seconds >= (1 - MISSING_SHARE) * decoded.claimed:
        return ""
    return f"only {decoded.seconds:.0f} of {decoded.claimed:.0f} s could be read: the file is damaged or cut off"


def _refuse_no_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"'{path.name}' is a folder, not a sound file: give the file inside it.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError as error:
        raise InputError(f"'{path.name}' does not exist: check the name and the folder.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or "no such name"
        raise InputError(f"'{path.name}' cannot be opened ({reason}): check that you may read it.") from error
    if empty:
        raise InputError(f"'{path.name}' is empty (0 bytes): copy or download it again.")


def _resample(parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Join neighbours of one rate, and bring all to 22 050 Hz; what a fault made of a frame is left out."""
    joined = [
        librosa.resample(np.concatenate([part for _, part in group]), orig_sr=rate, target_sr=SAMPLE_RATE)
        for rate, group in groupby(parts, key=lambda part: part[0])
        if rate >= LOWEST_RATE
    ]
    return np.concatenate(joined)


def _without_offset(samples: np.ndarray) -> np.ndarray:
    """Take a large constant away: its line at 0 Hz would be the loudest of all."""
    offset = samples.mean(dtype=np.float64)
    return samples - np.float32(offset) if abs(offset) > LARGEST_OFFSET * samples.std() else samples


def _at_normal_level(samples: np.ndarray) -> np.ndarray:
    """Raise a very quiet recording; its level is that of its sixth loudest second, so that a click does not count."""
    whole = len(samples) // SAMPLE_RATE * SAMPLE_RATE
    levels = np.sort(np.sqrt(np.square(samples[:whole]).reshape(-1, SAMPLE_RATE).mean(axis=1)))
    level = levels[-1 - min(5, len(levels) // 4)]
    return samples * np.float32(NORMAL_LEVEL / level) if 0 < level < QUIET_LEVEL else samples
