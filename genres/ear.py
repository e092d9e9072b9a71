"""The pretrained network of sound (musicnn, a music tagger), and a small head on it that tells genres.

MSD_musicnn (Pons and Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging", 2019)
learned the tags that listeners of last.fm gave to about 200,000 songs of the Million Song Dataset, never a label of
GTZAN. Its 0.8 million weights stay as they are; what is trained here is one linear layer.

    sound -> 16 kHz -> log-mel patches of 3 s -> 753 channels over time -> mean and maximum (pools) -> 50 tags
                                                                            `-> head -> genres
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import pandas as pd
import torch
from scipy.spatial.distance import cdist
from sklearn.covariance import shrunk_covariance
from sklearn.decomposition import PCA
from torch import Tensor, nn

from genres.audio import load_audio
from genres.common import GENRES, ROOT, SAMPLE_RATE, InputError, in_parallel, replacing
from genres.song_files import SOUND_SUFFIXES, find_songs
from genres.spectrogram import QUIET_DB, middle_clip

WEIGHTS_PATH = ROOT / "data" / "musicnn" / "msd_musicnn.npz"
TAGS = (
    *("rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock"),
    *("jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow"),
    *("electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock", "ambient"),
    *("acoustic", "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country", "easy listening"),
    *("sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb", "indie pop", "sad"),
    *("House", "happy"),
)

# The network's own recipe, which differs from that of the pictures.
EAR_RATE = 16_000  # Hz
EAR_WINDOW_SAMPLES, EAR_HOP_SAMPLES = 512, 256  # 32 ms and 16 ms
EAR_MEL_BINS = 96
PATCH_SAMPLES = 187 * EAR_HOP_SAMPLES  # 187 frames, at 16 kHz
PATCH_SECONDS = PATCH_SAMPLES / EAR_RATE  # 2.99 s
MOST_PATCHES = 24  # of one song, 72 s of it: on two cores they take less than a second
RATE_IN, RATE_OUT = 441, 320  # samples that last equally long at the two rates: a block of 20 ms
MARGIN_BLOCKS = 10  # on both sides of a patch, so that the resampler's filter finds what it reaches for

# Channels, and kernels of frames x mel bins: timbre, then rhythm.
FRONT = ((204, (7, 38)), (204, (7, 67)), (51, (128, 1)), (51, (64, 1)), (51, (32, 1)))
MIDDLE = (561, 64, 64, 64)  # channels of the front, and of the three layers behind it
CHANNELS = sum(MIDDLE)  # 753
NORM_EPSILON = 1e-3  # TensorFlow's default

# The head. All of it was chosen by artist-grouped cross-validation on training and validation tracks of the
# fault-filtered split; experiments.csv has a row for each candidate.
SHRINKAGE = 0.4  # of the covariance within genres towards a multiple of the identity
CLIP = 2.0  # standard deviations from the mean; what lies further out counts as so far, also in songs from elsewhere
SMALLEST_DEVIATION = 0.01  # features that vary less are constant: standardised, they would drown the others elsewhere
LOGIT_SCALE = 1 / 7  # Gaussian log-odds are far too sure, because the features are no Gaussians

# Familiarity. Chosen on speech (espeak-ng), noise and tones, all of which but brown noise are told from music.
NEAREST = 3  # rank of the neighbour that says how far away the training clips are
COMPONENTS = 30  # principal components in which neighbours are looked for
FAMILIAR_CLIP = 5.0  # standard deviations, wider than the head's: what lies far out is what counts here


class EarNetwork(nn.Module):
    """MSD_musicnn: from log-mel patches to pools, and from pools to tags. Trained weights: see `read_network`."""

    def __init__(self) -> None:
        super().__init__()
        norm, norm_2d = (functools.partial(kind, eps=NORM_EPSILON) for kind in (nn.BatchNorm1d, nn.BatchNorm2d))
        self.input_norm = norm_2d(1)
        self.front, self.middle = nn.ModuleList(), nn.ModuleList()
        for channels, kernel in FRONT:
            padding = nn.ZeroPad2d((0, 0, (kernel[0] - 1) // 2, kernel[0] // 2))
            self.front.append(nn.Sequential(padding, nn.Conv2d(1, channels, kernel), nn.ReLU(), norm_2d(channels)))
        for before, after in itertools.pairwise(MIDDLE):
            self.middle.append(nn.Sequential(nn.Conv1d(before, after, 7, padding=3), nn.ReLU(), norm(after)))
        layers = norm(2 * CHANNELS), nn.Linear(2 * CHANNELS, 200), nn.ReLU(), norm(200), nn.Linear(200, len(TAGS))
        self.dense = nn.Sequential(*layers, nn.Sigmoid())

    def pools(self, patches: Tensor) -> Tensor:
        """Return (n, 1506), the mean over time of 753 channels and then their maximum, for patches (n, 187, 96)."""
        image = self.input_norm(patches[:, None])
        layers = [torch.cat([branch(image).amax(dim=3) for branch in self.front], dim=1)]
        for number, layer in enumerate(self.middle):
            maps = layer(layers[-1])
            layers.append(maps + layers[-1] if number else maps)  # the first changes the number of channels
        channels = torch.cat(layers, dim=1)
        return torch.cat([channels.mean(dim=2), channels.amax(dim=2)], dim=1)

    def tags(self, pools: Tensor) -> Tensor:
        """Return the probabilities of the tags, (n, 50), for pools (n, 1506)."""
        mean, maximum = pools.split(CHANNELS, dim=1)
        return self.dense(torch.stack([maximum, mean], dim=2).flatten(1))

    def load_published(self, stored: dict[str, np.ndarray]) -> None:
        """Copy the published weights by TensorFlow's names; KeyError or RuntimeError where some do not fit."""
        of_norm = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
        of_layer = {"kernel": "weight", "bias": "bias"}
        for kind, types, names in (
            ("batch_normalization", (nn.BatchNorm1d, nn.BatchNorm2d), of_norm),
            ("conv2d", (nn.Conv1d, nn.Conv2d), of_layer),
            ("dense", nn.Linear, of_layer),
        ):
            for number, layer in enumerate(module for module in self.modules() if isinstance(module, types)):
                prefix = f"{kind}_{number}" if number else kind
                tensors = {ours: torch.from_numpy(stored[f"{prefix}.{name}"]) for name, ours in names.items()}
                if "kernel" in names:  # from (time, mel, in, out) or (in, out) to (out, in, time, mel) or (out, in)
                    tensors["weight"] = tensors["weight"].movedim((-1, -2), (0, 1))
                if isinstance(layer, nn.Conv1d):  # published with its channels on the mel axis of an image of one
                    tensors["weight"] = tensors["weight"][:, 0].transpose(1, 2)
                layer.load_state_dict(tensors, strict=False)  # not strict: the count of batches was not published


@functools.cache
def read_network(path: Path = WEIGHTS_PATH) -> EarNetwork:
    """Read the network with its published weights, once. Raises InputError for a missing, damaged or foreign file."""
    if not path.is_file():
        raise InputError(f"'{path.name}' is missing in '{path.parent}': clone the project again.")
    network = EarNetwork()
    try:
        with np.load(path, allow_pickle=False) as stored:
            network.load_published(dict(stored))
    except Exception as error:  # a damaged archive can fail in many ways, and all mean the same
        raise InputError(f"'{path.name}' is damaged or holds other weights: clone the project again.") from error
    return network.eval()


@dataclass(frozen=True)
class Patches:
    """What the pretrained network computes of the patches of a sound, 3 s each.

    starts: second at which each patch begins, float (n,). tags: probabilities, float32 (n, 50), in the order of TAGS.
    pools: float32 (n, 1506), the mean over time of 753 channels, then their maximum. n is at least 1.
    """

    starts: np.ndarray
    tags: np.ndarray
    pools: np.ndarray

    @property
    def features(self) -> np.ndarray:
        """What a head sees of the whole sound, float32 (803,)."""
        return head_features(self.tags.mean(axis=0), self.pools.mean(axis=0))


@torch.inference_mode()
def listen(samples: np.ndarray) -> Patches:
    """Compute tags and pools of a sound, float32 mono at 22 050 Hz, in patches of 3 s without overlap.

    A sound shorter than one patch is repeated until it fills one. Silence, fade-outs and a rest shorter than a patch
    are left out, and of the others at most MOST_PATCHES are resampled and computed, evenly spaced.
    """
    network = read_network()
    length = -(-PATCH_SAMPLES * RATE_IN // RATE_OUT)  # of a patch, in samples as they come in
    if len(samples) < length:
        samples = np.resize(samples, length)
    chosen = _sounding_patches(samples)
    # Two at a time: their maps fit into the processor's cache, which doubles the speed.
    pairs = np.split(chosen, range(2, len(chosen), 2))
    images = (torch.from_numpy(np.stack([log_mel(samples, patch) for patch in pair])) for pair in pairs)
    pools = torch.cat([network.pools(image) for image in images])
    return Patches(chosen * PATCH_SAMPLES / EAR_RATE, network.tags(pools).numpy(), pools.numpy())


@torch.inference_mode()
def tags_of_pools(pools: np.ndarray) -> np.ndarray:
    """Compute the tags, float32 (n, 50), that belong to pools, float32 (n, 1506), of patches."""
    return read_network().tags(torch.from_numpy(pools)).numpy()


def _sounding_patches(samples: np.ndarray) -> np.ndarray:
    """Return the numbers, int (n,), of the patches to compute: none far below the loud part."""
    count = len(samples) * RATE_OUT // RATE_IN // PATCH_SAMPLES
    starts = np.arange(count) * PATCH_SAMPLES * RATE_IN // RATE_OUT
    pieces = np.split(samples, starts[1:])
    power = np.array([np.dot(piece, piece) / len(piece) for piece in pieces])  # a square of hours is not held
    sounding = np.flatnonzero(power >= np.quantile(power, 0.95) * 10 ** (-QUIET_DB / 10))
    return sounding[np.linspace(0, len(sounding) - 1, min(MOST_PATCHES, len(sounding))).round().astype(int)]


def log_mel(samples: np.ndarray, patch: int) -> np.ndarray:
    """Compute the log-mel picture of a patch of the samples, float32 (187, 96), by the network's own recipe.

    It is what the whole sound, resampled at once, would give at this place; beyond the ends is silence. The rounding to
    float16 is part of the recipe.
    """
    half = EAR_WINDOW_SAMPLES // 2
    first = patch * PATCH_SAMPLES - half  # at 16 kHz
    blocks = max(first // RATE_OUT - MARGIN_BLOCKS, 0)  # whole ones, so that the resampler meets the same phases
    stop = (first + PATCH_SAMPLES + half) // RATE_OUT + 1 + MARGIN_BLOCKS
    piece = samples[blocks * RATE_IN : stop * RATE_IN]
    sound = librosa.resample(piece, orig_sr=SAMPLE_RATE, target_sr=EAR_RATE, res_type="soxr_hq")
    skipped, wanted = first - blocks * RATE_OUT, PATCH_SAMPLES + half
    sound = np.pad(sound, (max(-skipped, 0), half))[max(skipped, 0) :][:wanted]
    mel = librosa.feature.melspectrogram(
        y=sound, sr=EAR_RATE, n_fft=EAR_WINDOW_SAMPLES, hop_length=EAR_HOP_SAMPLES, n_mels=EAR_MEL_BINS, center=False
    )
    return np.log10(10_000 * mel.T.astype(np.float16).astype(np.float32) + 1)


def window_features(patches: Patches, starts: np.ndarray, seconds: float) -> np.ndarray:
    """Compute what the head sees of each window of a song, float32 (k, 803): the means over the patches in it.

    starts: second at which each window, of so many seconds, begins, float (k,). If none lies in it, the nearest counts.
    """
    centres = patches.starts + PATCH_SECONDS / 2
    rows = []
    for start in starts:
        inside = np.flatnonzero((centres >= start) & (centres < start + seconds))
        chosen = inside if len(inside) else [np.abs(centres - start - seconds / 2).argmin()]
        rows.append(head_features(patches.tags[chosen].mean(axis=0), patches.pools[chosen].mean(axis=0)))
    return np.stack(rows)


def read_clip_features(paths: Sequence[Path | None]) -> np.ndarray:
    """Compute what the head sees of sound files on all cores, with a progress bar: float32 (n, 803).

    Of a long file it is the middle 30 s, which its picture shows. None, or a file that cannot be read, has NaN.
    """

    def clip_features(path: Path | None) -> np.ndarray:
        try:
            samples = None if path is None else middle_clip(load_audio(path))
        except InputError:
            samples = None
        unknown = np.full(len(TAGS) + CHANNELS, np.nan, np.float32)
        return unknown if samples is None else listen(samples).features

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # each core has a clip of its own
    try:
        return np.stack(in_parallel(clip_features, paths, "tagging clips", 10))
    finally:
        torch.set_num_threads(threads)


def write_ear_features(path: Path, images: np.ndarray, features: np.ndarray) -> None:
    """Write clips' features, float (n, 803), with their pictures' file names, str (n,), to an npz file."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, image=images, features=features.astype(np.float16))


def read_ear_features(path: Path) -> dict[str, np.ndarray]:
    """Read the features of clips, float32 (803,) by the file name of their picture; none where there is no such file.

    path: an npz file of image, str (n,), and features, float16 (n, 803). Raises InputError for a damaged one.
    """
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(zip(stored["image"].tolist(), stored["features"].astype(np.float32), strict=True))
    except Exception as error:  # a damaged archive can fail in many ways, and all mean the same
        raise InputError(f"'{path.name}' is damaged: clone the project again.") from error


def head_features(tags: np.ndarray, pools: np.ndarray) -> np.ndarray:
    """Return what the head sees, float32 (..., 803): square roots of tags (..., 50), and pools (..., 1506) in pairs.

    Both are means over the patches of a sound. The pools of GTZAN's clips are published in such pairs.
    """
    pairs = pools.reshape(*pools.shape[:-1], -1, 2).mean(axis=-1)
    return np.concatenate([np.sqrt(tags), pairs], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class EarHead:
    """A linear layer on standardised features: float32 arrays mean, scale (d,), layer (d, genres), bias (genres,)."""

    mean: np.ndarray
    scale: np.ndarray
    layer: np.ndarray
    bias: np.ndarray

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return log-probabilities up to a constant, float32 (n, genres), for rows of `head_features`."""
        return self.standardised(features) @ self.layer + self.bias

    def standardised(self, features: np.ndarray) -> np.ndarray:
        """Return rows of `head_features` in standard deviations from the mean of the training clips, at most CLIP."""
        return np.clip((features - self.mean) / self.scale, -CLIP, CLIP)


def fit_head(features: np.ndarray, labels: np.ndarray, genres: int = len(GENRES)) -> EarHead:
    """Fit a head by linear discriminant analysis on rows of `head_features`, with genres as numbers, int (n,).

    With one track per genre there is no covariance within genres, and the nearest track answers.

    Source of the shrinkage: Ledoit and Wolf, "Honey, I shrunk the sample covariance matrix", 2004.
    """
    mean, scale, varying = _deviations(features)
    rows = np.clip((features - mean) / scale, -CLIP, CLIP)[:, varying]
    present, genre, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.stack([rows[genre == number].mean(axis=0) for number in range(len(present))])
    centred = (rows - means[genre]) / np.sqrt(counts[genre] * len(present))[:, None]  # each genre counts the same
    within = centred.T @ centred
    within = shrunk_covariance(within, SHRINKAGE) if within.any() else np.eye(len(within))
    coefficients = np.linalg.solve(within, means.T)
    intercept = -(means.T * coefficients).sum(axis=0) / 2
    layer, bias = np.zeros((len(varying), genres)), np.full(genres, -np.inf)
    layer[np.ix_(varying, present)], bias[present] = LOGIT_SCALE * coefficients, LOGIT_SCALE * intercept
    return EarHead(*(part.astype(np.float32) for part in (mean, scale, layer, bias)))


def songs_by_genre(folder: Path) -> dict[str, list[Path]]:
    """Find the sound files below a folder by genre: its sub-folder's name, whatever it is, else as songs.csv says.

    Raises InputError where there are not two genres with two songs each.
    """
    folder, found = Path(folder), {}
    for song in find_songs(folder):
        inside = song.path.relative_to(folder).parts if song.path.is_relative_to(folder) else ()
        genre = inside[0] if len(inside) > 1 else song.genre
        if genre and song.usable and song.path.suffix.lower() in SOUND_SUFFIXES:
            found.setdefault(genre, []).append(song.path)
    found = {genre: paths for genre, paths in sorted(found.items()) if len(paths) > 1}
    if len(found) < 2:
        raise InputError(f"'{folder.name}' needs two genres with two songs each: one sub-folder of songs per genre.")
    return found


def leave_one_out(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Compute logits, float32 (n, genres), for each track by a head that was fitted on all the others."""
    rows, genres = np.arange(len(labels)), labels.max() + 1
    heads = (fit_head(features[rows != row], labels[rows != row], genres) for row in rows)
    return np.stack([head.logits(features[row]) for row, head in zip(rows, heads, strict=True)])


@dataclass(frozen=True)
class Neighbours:
    """The training clips by their features: which of them a song is most like, and whether it is like any.

    images, genres: of the clips, lists of str. mean, scale (d,) standardise features, whitening (d, 30) brings them to
    principal components of equal spread, points (n, 30) are the clips there, limit () is the distance to the third
    nearest from which on a sound is out-of-distribution; float32.
    """

    images: list[str]
    genres: list[str]
    mean: np.ndarray
    scale: np.ndarray
    whitening: np.ndarray
    points: np.ndarray
    limit: np.ndarray

    def distances(self, features: np.ndarray) -> np.ndarray:
        """Compute the distance of each row of `head_features`, (k, 803), to each clip: float (k, n)."""
        rows = np.clip((features - self.mean) / self.scale, -FAMILIAR_CLIP, FAMILIAR_CLIP)
        return cdist(rows @ self.whitening, self.points)

    def is_unfamiliar(self, features: np.ndarray) -> bool:
        """Return whether more than half of a song's windows, (k, 803), are out-of-distribution."""
        nearest = np.sort(self.distances(features), axis=1)[:, min(NEAREST, len(self.points)) - 1]
        return float(np.median(nearest)) > self.limit


def fit_neighbours(features: np.ndarray, table: pd.DataFrame, artists: np.ndarray) -> Neighbours:
    """Fit what is familiar on rows of `head_features`, (n, 803), of training clips and their artists, (n,).

    table: columns image and genre of the clips. The limit is the distance to clips of other artists that 1 % exceed.
    """
    mean, scale, varying = _deviations(features)
    rows = np.clip((features - mean) / scale, -FAMILIAR_CLIP, FAMILIAR_CLIP) * varying
    pca = PCA(min(COMPONENTS, *rows.shape), random_state=0).fit(rows)
    strong = pca.singular_values_ > 1e-6 * pca.singular_values_[0]
    whitening = (pca.components_[strong] / np.sqrt(pca.explained_variance_[strong, None])).T
    points = rows @ whitening
    distances = cdist(points, points)
    distances[artists[:, None] == artists] = np.inf
    nearest = np.sort(distances, axis=1)[:, min(NEAREST, len(points)) - 1]
    limit = np.quantile(nearest[np.isfinite(nearest)], 0.99)
    numbers = (np.asarray(part, np.float32) for part in (mean, scale, whitening, points, limit))
    return Neighbours(table["image"].tolist(), table["genre"].tolist(), *numbers)


def _deviations(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and deviation of each feature, 1 for one that is constant, and whether it varies, bool: (d,) each."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    varying = scale > SMALLEST_DEVIATION
    return mean, np.where(varying, scale, 1), varying
