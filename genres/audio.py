"""Any sound file as samples."""

from __future__ import annotations

from pathlib import Path

import av
import librosa
import numpy as np
import soundfile

from genres.common import InputError

SAMPLE_RATE = 22_050  # Hz
SHORTEST_SECONDS = 2.5  # of a song: 3 s, less what encoders cut off at the ends
LONGEST_SECONDS = 2 * 3600
LOWEST_RATE = 4_000  # Hz; below a telephone's 8 000 there is no music, only a damaged header that claims hours
SILENCE = 1e-4  # amplitude, of 1; what stays below everywhere holds no music


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
