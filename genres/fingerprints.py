"""Is a song already in the training set? Fingerprints of the training clips, and the search for them in a song."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from genres.common import ROOT, SAMPLE_RATE, InputError, replacing
from genres.song_files import known_title
from genres.spectrogram import CLIP_FRAMES, COLUMNS, DB_PER_LEVEL, HOP_SAMPLES, frame_of_column, mel_to_matrix

FINGERPRINT_PATH = ROOT / "data" / "gtzan" / "fingerprints.npz"  # of the 999 clips, part of the project
CODE_BANDS = 32  # groups of four mel bins
CODE_DEADBAND = 6.0  # levels, 0.9 dB: what changes less says nothing
CODE_COLUMNS = 17  # columns, 1.5 s: the neighbourhood a cell is compared with
MATCH_SCORE = 0.5  # cosine; clips found again reach .77 and more, foreign ones at most .37
SEARCH_COLUMNS = slice(77, 257, 3)  # the middle 16 s of a clip in 60 columns: enough to find where to look closely
SEARCH_STEP = 2  # frames, 46 ms
SEARCH_CANDIDATES = 10
STORED = ("images", "codes", "frames", "genres")  # arrays of the file


@dataclass(frozen=True)
class Fingerprints:
    """What clips sound like, whatever their loudness, filter or encoder.

    images: their pictures' file names, str (n,); "genre/name" where names repeat. codes: int8 (n, 32, 334). frames:
    length of each, int (n,): 54 GTZAN clips are a little longer than the others, and their columns lie elsewhere.
    genres: the genre of each, str (n,). tracks: table with columns image, artist and title, or None.
    """

    images: np.ndarray
    codes: np.ndarray
    frames: np.ndarray
    genres: np.ndarray
    tracks: pd.DataFrame | None = None

    def by_title(self, title: str, artist: str = "") -> Match | None:
        """Find a song by its name among the training tracks; None where no title is like it."""
        track = None if self.tracks is None else known_title(title, artist, self.tracks)
        return None if track is None else Match(track["image"], track["artist"], track["title"])

    @cached_property
    def names(self) -> dict[str, tuple[str, str]]:
        """Return artist and title by picture, as far as they are known."""
        rows = [] if self.tracks is None else self.tracks[["image", "artist", "title"]].itertuples(index=False)
        return {image: (artist, title) for image, artist, title in rows if title}


@dataclass(frozen=True)
class Match:
    """A training clip that a song has: its picture, artist and title, as far as they are known.

    Found by its sound: the second of the song it starts at, and the score, up to 1. Found by title: neither.
    """

    image: str
    artist: str = ""
    title: str = ""
    start: float | None = None
    score: float | None = None

    def __str__(self) -> str:
        named = f"{self.artist}, {self.title}" if self.title else self.image.removesuffix(".png")
        return f"{named}, by its title" if self.start is None else f"{named}, from {self.start:.0f} s"


def fingerprint_codes(matrices: np.ndarray, width: int = CODE_COLUMNS) -> np.ndarray:
    """Compute where bands are louder (1), softer (-1) or as loud (0) as in the columns around: int8 (n, 32, columns).

    matrices: levels, (n, 128, columns). After Haitsma and Kalker, "A highly robust audio fingerprinting system", 2002,
    in three values instead of two.
    """
    bands = matrices.reshape(len(matrices), CODE_BANDS, -1, matrices.shape[-1]).mean(axis=2, dtype=np.float32)
    change = bands - uniform_filter1d(bands, width, axis=-1, mode="nearest")
    return (np.sign(change) * (np.abs(change) > CODE_DEADBAND)).astype(np.int8)


def make_fingerprints(matrices: np.ndarray, table: pd.DataFrame, lengths: Path | None = None) -> Fingerprints:
    """Compute the fingerprints of clips from their matrices, uint8 (n, 128, 334).

    table: columns image (file name) and genre. lengths: see `read_lengths`; without it all count as 30 s.
    """
    frames, images = np.full(len(table), CLIP_FRAMES), table["image"].to_numpy(str)
    if lengths is not None and lengths.is_file():
        known = read_lengths(lengths).reindex(images).to_numpy()
        frames = np.where(np.isnan(known), CLIP_FRAMES, 1 + np.nan_to_num(known) // HOP_SAMPLES).astype(int)
    return Fingerprints(images, fingerprint_codes(matrices), frames, table["genre"].to_numpy(str))


def read_lengths(path: Path) -> pd.Series:
    """Read the length of each clip in seconds, by its picture's name, from the Kaggle set's features_30_sec.csv.

    Raises InputError where the file is no such table.
    """
    try:
        known = pd.read_csv(path, usecols=["filename", "length"], dtype={"length": float})
    except ValueError as error:  # other columns, or numbers as a spreadsheet writes them
        raise InputError(f"'{path.name}' is not as it was downloaded: put the original back, or remove it.") from error
    return known.set_index(known["filename"].str.replace(".wav", "").str.replace(".", "") + ".png")["length"]


def write_fingerprints(path: Path, prints: Fingerprints) -> None:
    """Write fingerprints to an npz file."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: getattr(prints, name) for name in STORED})


@cache
def read_fingerprints(path: Path = FINGERPRINT_PATH) -> Fingerprints:
    """Read what `write_fingerprints` wrote, and tracks.csv beside it; without a path GTZAN's 999 clips.

    Raises InputError where the file is missing or damaged.
    """
    try:
        names = path.with_name("tracks.csv")
        tracks = pd.read_csv(names, dtype=str, keep_default_na=False) if names.is_file() else None
        with np.load(path, allow_pickle=False) as stored:
            return Fingerprints(*(stored[name] for name in STORED), tracks)
    except Exception as error:  # a damaged file can fail in the zip, zlib or numpy layer
        raise InputError(f"'{path.name}' holds no fingerprints: run notebook 03 or clone again.") from error


def find_clips(mel: np.ndarray, prints: Fingerprints) -> list[Match]:
    """Find the training clips that a song contains, at any offset and from two thirds of a clip on; best match first.

    mel: power, float32 (128, frames), as `mel_power` gives it.
    """
    # Half a clip of silence at both ends lets a clip stick out of the song.
    margin = CLIP_FRAMES // 2
    mel = np.pad(mel, ((0, 0), (margin, margin)))
    starts, scores = _search_clips(mel, prints)
    matches = []
    for row in np.argsort(-scores)[:SEARCH_CANDIDATES]:
        frames = prints.frames[row]
        start = starts[row] + (CLIP_FRAMES - frames) // 2
        if _code_cosine(mel, prints.codes[row], start, frames) < MATCH_SCORE / 2:
            continue
        near = range(start - 3, start + 4)
        score, start = max((_code_cosine(mel, prints.codes[row], at, frames), at) for at in near)
        if score >= MATCH_SCORE:
            image, second = str(prints.images[row]), float((start - margin) * HOP_SAMPLES / SAMPLE_RATE)
            matches.append(Match(image, *prints.names.get(image, ("", "")), second, score))
    return sorted(matches, key=lambda match: -match.score)


def _search_clips(mel: np.ndarray, prints: Fingerprints) -> tuple[np.ndarray, np.ndarray]:
    """Return for each clip the frame at which its middle 16 s fit best, int (n,), and how well, float (n,)."""
    # A matrix is relative to the loudest value of its own 30 s; here those around each frame stand for it.
    loudest = maximum_filter1d(mel.max(axis=0), CLIP_FRAMES, mode="nearest")
    loudest = np.maximum(loudest, 1e-30)
    columns = frame_of_column(CLIP_FRAMES)[SEARCH_COLUMNS]
    bands = []
    for rows in np.split(mel, CODE_BANDS):  # a few at a time: a song of hours has copies of its bands only
        below = 10 * np.log10(np.maximum(rows, 1e-30) / loudest)
        bands.append(np.maximum(255 + below / DB_PER_LEVEL, 0).mean(axis=0, dtype=np.float32))
    song = _search_rows(fingerprint_codes(np.stack(bands)[None], round(CODE_COLUMNS * CLIP_FRAMES / COLUMNS)))[0]
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
    """Return codes (..., 32, columns) in half as many bands, time first, so that what is compared lies side by side."""
    pairs = codes[..., 0::2, :].astype(np.float32) + codes[..., 1::2, :]
    return np.ascontiguousarray(np.swapaxes(pairs, -1, -2))


def _code_cosine(mel: np.ndarray, code: np.ndarray, start: int, frames: int) -> float:
    """Compute the cosine of a clip's code and that of the song from this frame on, where both have sound."""
    first, last = max(start, 0), min(start + frames, mel.shape[1])
    window = np.zeros((len(mel), frames), np.float32)
    window[:, first - start : last - start] = mel[:, first:last]
    sounding = window.any(axis=0)[frame_of_column(frames)]
    if sounding.mean() < 0.5:
        return 0.0
    song = fingerprint_codes(mel_to_matrix(window)[None])[0][:, sounding].astype(np.float32)
    clip = code[:, sounding].astype(np.float32)
    return float((song * clip).sum() / (np.linalg.norm(song) * np.linalg.norm(clip) + 1e-9))
