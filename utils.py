"""The data set and the model: what the notebooks share, on top of the package `genres`.

1 Pictures      3 Networks      5 Runs of the protocol
2 Splits        4 Training      6 The model: views together, saved, loaded and asked
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax
from sklearn.model_selection import StratifiedGroupKFold, train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from genres import ear, songs, texture, web_pictures
from genres.audio import load_audio
from genres.common import GENRES, ROOT, InputError, digest, files_key, in_parallel, kept, replacing
from genres.datasets import (
    DataSet,
    artist_numbers,
    clips_with_audio,
    find_dataset,
    genre_folders,
    read_tracks,
    twin_groups,
)
from genres.device import autocast, load_weights, pick_device
from genres.metrics import accuracy
from genres.recipes import OURS, REFERENCE_FINAL, REFERENCE_FIRST, Recipe, augment, blank_bands, filtered_copies
from genres.runs import Fit, Run, Split, blend, blend_runs, keep_run, restrict_run
from genres.spectrogram import (
    BIN_OF_ROW,
    COLUMNS,
    INNER_COLUMNS,
    INNER_ROWS,
    MAGMA,
    MEL_BINS,
    audio_to_matrix,
    matrix_to_picture,
    picture_to_matrix,
)

MODEL_PATH = ROOT / "data" / "gtzan" / "model.pt"  # the model that is shipped, for own songs
PATTERN_SHARE = 0.7  # of the variance that the solved dense layer sees; chosen by artist-grouped cross-validation
WEIGHTS = {"cnn": 0.3, "texture": 0.7}  # of the views of a picture; chosen by artist-grouped cross-validation
SOUND_WEIGHTS = {"cnn": 0.1, "texture": 0.1, "ear": 0.8}  # of the views of a sound, chosen likewise
PUPIL = "_teacher"  # ends the name of a view that learned from the ear
ANSWER_ACCURACY = 0.8  # what answers shall reach on held-out tracks; what is less sure is called unsure


# ---------------------------------------------------------------------------------------------------------
# 1 Pictures
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pictures:
    """All readable pictures of a set.

    dataset: the set. table: one row per picture, columns image (file name; "genre/name" where names repeat) and genre.
    matrices: uint8 (n, 128, 334), in the order of the table. rejected: one sentence for each file that was left out.
    """

    dataset: DataSet
    table: pd.DataFrame
    matrices: np.ndarray
    rejected: tuple[str, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Genres as numbers, int64 (n,): places in GENRES."""
        return self.table["genre"].map(GENRES.index).to_numpy()

    @functools.cached_property
    def tracks(self) -> pd.DataFrame | None:
        """Facts per picture that the project carries for GTZAN (artist, title, published split), or None."""
        return read_tracks(self.dataset, self.table["image"])

    @functools.cached_property
    def artists(self) -> np.ndarray | None:
        """A number for each picture's artist, or group of artists, int (n,); None where the set names none."""
        return None if self.tracks is None else artist_numbers(self.tracks)

    @functools.cached_property
    def filtered(self) -> np.ndarray:
        """A copy of each matrix as if another studio had made the record: uint8 (n, 128, 334)."""
        return filtered_copies(self.matrices)

    @functools.cached_property
    def descriptors(self) -> np.ndarray:
        """Texture descriptors of the matrices, float32 (n, 48 000), from a cache beside the results."""
        return self._described("texture", self.matrices)

    @functools.cached_property
    def filtered_descriptors(self) -> np.ndarray:
        """Texture descriptors of the filtered copies, likewise."""
        return self._described("texture_filtered", self.filtered)

    def _described(self, name: str, matrices: np.ndarray) -> np.ndarray:
        make = lambda: {"texture": texture.describe(matrices, progress=True)}  # noqa: E731
        return kept(self.dataset.cache / f"{name}.npz", digest(matrices), make)["texture"]

    @functools.cached_property
    def heard(self) -> np.ndarray | None:
        """What the ear heard in each picture's clip, float32 (n, 803), NaN where that is not known; None without any.

        From the clips' sound, cached, where most of it is at hand; else from the table that the project carries for
        GTZAN; else from those clips that have sound.
        """
        pairs = {image.name: clip for clip, image in clips_with_audio(self.dataset)}
        known = ear.read_ear_features(ROOT / "data" / self.dataset.name / "ear.npz")
        if not known or len(pairs) >= 0.95 * len(self.table):
            paths, names = list(pairs.values()), np.array(list(pairs), str)
            make = lambda: {"image": names, "features": ear.read_clip_features(paths)}  # noqa: E731
            if not pairs:
                return None
            stored = kept(self.dataset.cache / "ear.npz", digest(files_key(paths), ear.PATCH_FRAMES), make)
            known = dict(zip(stored["image"].tolist(), stored["features"], strict=True))
        missing = np.full(len(next(iter(known.values()))), np.nan, np.float32)
        return np.stack([known.get(Path(image).name, missing) for image in self.table["image"]])


def read_pictures(dataset: DataSet) -> Pictures:
    """Decode all pictures of a set, or load them from the cache if no file has changed.

    A bad file among many is left out and named in `rejected`.

    Raises InputError where a genre is left without a single readable picture.
    """
    folders = genre_folders(dataset.images)
    files = {genre: sorted(path for path in folders[genre].iterdir() if path.is_file()) for genre in GENRES}
    paths = [path for genre in GENRES for path in files[genre] if not path.name.startswith(".")]

    def decode() -> dict[str, np.ndarray]:
        decoded = in_parallel(_matrix_or_error, paths, "decoding pictures")
        good = [(path, item) for path, item in zip(paths, decoded, strict=True) if isinstance(item, np.ndarray)]
        names = [path.name for path, _ in good]
        unique = len(set(names)) == len(names)
        genres = [path.parent.name.lower() for path, _ in good]
        for genre in GENRES:
            if genre not in genres:
                reasons = [item for path, item in zip(paths, decoded, strict=True) if path.parent == folders[genre]]
                reason = reasons[0] if reasons else "It holds only hidden files."
                raise InputError(f"No picture of genre {genre} can be read in '{folders[genre]}'. {reason}")
        return {
            "image": np.array(names if unique else [f"{g}/{n}" for g, n in zip(genres, names, strict=True)]),
            "genre": np.array(genres),
            "matrices": np.stack([matrix for _, matrix in good]),
            "rejected": np.array([f"{item}" for item in decoded if isinstance(item, InputError)], str),
        }

    stored = kept(dataset.cache / "pictures.npz", files_key(paths), decode)
    table = pd.DataFrame({name: stored[name].astype(object) for name in ("image", "genre")})
    return Pictures(dataset, table, stored["matrices"], tuple(stored["rejected"].tolist()))


def _matrix_or_error(path: Path) -> np.ndarray | InputError:
    try:
        return picture_to_matrix(path)
    except InputError as error:
        return error


# ---------------------------------------------------------------------------------------------------------
# 2 Splits
# ---------------------------------------------------------------------------------------------------------


def random_split(pictures: Pictures, seed: int, validation_share: float = 0.3) -> Split:
    """Draw the course's random split: stratified by genre, seeded, identical pictures on the same side.

    scikit-learn draws among the distinct pictures; a twin then follows its double.

    Raises InputError for a seed or a share that cannot be used, or that leaves a part without one picture per genre.
    """
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise InputError(f"The seed is {seed!r}: give a whole number from 0 on, such as 0.")
    if not isinstance(validation_share, Real) or not 0 < validation_share < 1:
        raise InputError(f"The validation share is {validation_share!r}: give a number between 0 and 1, such as 0.3.")
    groups = twin_groups(pictures.matrices)
    distinct, first = np.unique(groups, return_index=True)
    try:
        train, validation = train_test_split(
            distinct, test_size=validation_share, stratify=pictures.labels[first], random_state=seed
        )
    except ValueError as error:  # too few pictures for the share
        raise InputError(f"A validation share of {validation_share} leaves a genre out: choose another.") from error
    return Split(f"random-{seed}", np.flatnonzero(np.isin(groups, train)), np.flatnonzero(np.isin(groups, validation)))


def fault_filtered_split(pictures: Pictures) -> Split:
    """Give the published split 443/197/290 without faults and with disjoint artists.

    Source: Kereliuk, Sturm and Larsen, "Deep learning and music adversaries", 2015. One training track has no
    picture, so 442 remain.
    """
    part = pictures.tracks["fault_filtered_split"]
    return Split("fault_filtered", *(np.flatnonzero(part == name) for name in ("train", "valid", "test")))


def artist_fold_split(pictures: Pictures, fold: int) -> Split:
    """Give one of three artist-disjoint folds, 1 to 3, as the test part and the other two for training."""
    folds = pictures.tracks["artist_fold"]
    return Split(
        f"fold-{fold}", np.flatnonzero((folds != "") & (folds != str(fold))), test=np.flatnonzero(folds == str(fold))
    )


def grouped_splits(pictures: Pictures, split: Split) -> list[Split]:
    """Cut the training and validation tracks of a split into three parts with disjoint artists, each held out once.

    Here choices are made (cross-validation), so that the test part is left for the end.
    """
    rows = np.sort(np.concatenate([split.train, split.validation]))
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=0).split(
        rows, pictures.labels[rows], pictures.artists[rows]
    )
    return [Split(f"grouped-{k}", rows[train], rows[held]) for k, (train, held) in enumerate(folds, 1)]


def protocol_split(pictures: Pictures, name: str, seed: int) -> Split:
    """Give a protocol's split by its name: "random" (drawn with the seed), "fault_filtered", "fold-1" to "fold-3".

    Raises InputError for another name, or where a split by artist is asked for and there are no artists.
    """
    if name == "random":
        return random_split(pictures, seed)
    if pictures.tracks is None:
        raise InputError(f"The split '{name}' needs the artists of the tracks: {pictures.dataset.label} has none.")
    if name == "fault_filtered":
        return fault_filtered_split(pictures)
    if name in ("fold-1", "fold-2", "fold-3"):
        return artist_fold_split(pictures, int(name[-1]))
    raise InputError(f"There is no split '{name}': take random, fault_filtered, fold-1, fold-2 or fold-3.")


def artists_met(pictures: Pictures, train: np.ndarray, other: np.ndarray) -> pd.Series:
    """Count how many of the `other` tracks, and of their artists, are by an artist that training has: a small row.

    Tracks whose artist is not known count for neither.
    """
    artists = pictures.tracks["artist"]
    known = artists.iloc[other][artists.iloc[other] != ""]
    met = known.isin(artists.iloc[train])
    return pd.Series(
        {
            "tracks with a known artist": len(known),
            "tracks by an artist met in training": int(met.sum()),
            "share": round(float(met.mean()), 3),
            "artists": known.nunique(),
            "artists met in training": known[met].nunique(),
        },
        dtype=object,
    )


# ---------------------------------------------------------------------------------------------------------
# 3 Networks
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
        self.register_buffer("bin_of_row", torch.from_numpy(BIN_OF_ROW), persistent=False)

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
    """Our network: four convolutions on two views of the matrix, patterns beside them, and one dense layer.

    The views are the level, and the level of each band against its own course in time, which a record's filter hardly
    changes. The mean and the root mean square of each map, over pitch and time, go to the dense layer. While training,
    random bands of pitch and time are blanked (Park et al., "SpecAugment", 2019). When the dense layer is solved at the
    end (see `solve_head`), it also sees how often each local pattern occurs in each of eight zones of pitch.

    Takes levels of 0 to 255, float (n, 128, columns), and gives logits (n, 10), and behind them, while it is taught,
    `taught` numbers that a teacher asks for. widths are the channels of the convolutions.
    """

    def __init__(
        self, widths: Sequence[int] = (32, 64, 96, 128), dropout: float = 0.4, masks: int = 2, taught: int = 0
    ) -> None:
        super().__init__()
        self.masks = masks
        layers = _convolution(2, widths[0])
        for (inside, outside), pool in zip(pairwise(widths), (2, (1, 2), (1, 2)), strict=False):
            layers += [nn.MaxPool2d(pool), *_convolution(inside, outside)]
        self.features = nn.Sequential(*layers)
        self.norm, self.dropout = nn.BatchNorm1d(2 * widths[-1]), nn.Dropout(dropout)
        self.head = nn.Linear(2 * widths[-1], len(GENRES) + taught)

    def forward(self, levels: Tensor) -> Tensor:
        """Give logits (n, 10), and what the teacher is told, for levels (n, 128, columns)."""
        views = self.views(levels)
        if self.training:
            views = blank_bands(views, self.masks)
        maps = self.features(views.contiguous(memory_format=torch.channels_last))
        return self.head(self.dropout(self.describe(maps.float(), levels)))

    def describe(self, maps: Tensor, levels: Tensor) -> Tensor:
        """Give what the dense layer sees of maps (n, channels, 32, columns / 16), and of patterns once it is solved."""
        statistics = torch.cat([maps.mean((2, 3)), (maps.square().mean((2, 3)) + 1e-4).sqrt()], dim=1)
        described = self.norm(statistics)
        solved = self.head.in_features > self.norm.num_features
        return torch.cat([described, self.patterns(levels)], dim=1) if solved else described

    @staticmethod
    def patterns(levels: Tensor) -> Tensor:
        """Give how often local patterns occur, float (n, 2773): what a fixed convolution and a mean would give."""
        matrices = levels.round().cpu().numpy().astype(np.int16)
        return torch.from_numpy(texture.uniform_patterns(matrices)).to(levels.device)

    def views(self, levels: Tensor) -> Tensor:
        """The level, and the level of each band against its course in time: (n, 2, 64, columns / 2), about -1 to 2."""
        mean, spread = levels.mean(dim=2, keepdim=True), levels.std(dim=2, keepdim=True)
        views = torch.stack([(levels - 100) / 80, (levels - mean) / (spread + 8)], dim=1)
        return nn.functional.avg_pool2d(views, 2)


def _convolution(inside: int, outside: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]


# ---------------------------------------------------------------------------------------------------------
# 4 Training
# ---------------------------------------------------------------------------------------------------------


def train_epoch(
    network: nn.Module,
    loader: DataLoader,
    loss_function: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    recipe: Recipe,
) -> dict[str, float]:
    """Show a network each batch of the loader once; gives the loss and the accuracy (train) as met while training.

    The loss is that of the genres, plus the mean squared error of what the teacher asked for.
    """
    device, genres = next(network.parameters()).device, len(GENRES)
    network.train()
    loss_sum, hits, seen = 0.0, 0.0, 0
    for matrices, wanted in loader:
        wanted = wanted if wanted.ndim == 2 else nn.functional.one_hot(wanted, genres).float()
        levels, targets = augment(matrices.to(device).float(), wanted.to(device), recipe)
        with autocast(device):
            outputs = network(levels)
        outputs = outputs.float()
        loss = loss_function(outputs[:, :genres], targets[:, :genres])
        if outputs.shape[1] > genres:
            loss = loss + nn.functional.mse_loss(outputs[:, genres:], targets[:, genres:])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        hits += (outputs[:, :genres].argmax(1).cpu() == wanted[:, :genres].argmax(1)).sum().item()
        loss_sum, seen = loss_sum + loss.item() * len(wanted), seen + len(wanted)
    return {"loss": loss_sum / seen, "train": hits / seen}


def train_network(
    network: nn.Module,
    pictures: Pictures,
    split: Split,
    recipe: Recipe,
    seed: int,
    checkpoint: Path | None = None,
    describe: str = "training",
    taught: np.ndarray | None = None,
    told: np.ndarray | None = None,
) -> pd.DataFrame:
    """Train in place on split.train, and give the learning curve.

    taught: what a teacher asks for beside the genre, float32 (tracks of split.train, as many as the network has more
    outputs than genres). After training these outputs are taken away. told: see `solve_head`.

    The curve has one row per epoch: epoch, loss and train (both as met while training), and, every evaluate_every
    epochs, train_plain and validation, the accuracies on whole unchanged pictures; a split that holds nothing out has
    neither. `keep_run` adds those after the last. The network ends with its last weights: no epoch is picked.

    Each epoch is seeded by itself, so that a run that was stopped goes on from `checkpoint` at the last finished epoch
    exactly as if it had never stopped. A checkpoint of other settings is not used.
    """
    device = pick_device()
    network.to(device, memory_format=torch.channels_last)
    targets = np.eye(len(GENRES), dtype=np.float32)[pictures.labels[split.train]]
    targets = targets if taught is None else np.concatenate([targets, taught], axis=1)
    loader = DataLoader(
        SpectrogramDataset(pictures.matrices[split.train], targets),
        batch_size=min(recipe.batch_size, len(split.train)),
        shuffle=True,
        drop_last=recipe.one_cycle,
        collate_fn=lambda batch: batch,
    )
    optimiser, schedule = _optimiser(network, recipe, len(loader))
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)

    parts = {"network": network, "optimiser": optimiser, "schedule": schedule}
    learned = pictures.matrices[split.train], pictures.filtered[split.train], targets
    settings = json.dumps([asdict(recipe), seed, digest(*learned)])
    curve = _resume(checkpoint, settings, parts, device)
    epochs = range(len(curve), recipe.epochs)
    for epoch in tqdm(epochs, describe, recipe.epochs, initial=len(curve), disable=not epochs):
        torch.manual_seed(1_000 * seed + epoch)
        row = {"epoch": epoch + 1} | train_epoch(network, loader, loss_function, optimiser, schedule, recipe)
        if (epoch + 1) % recipe.evaluate_every == 0 and epoch + 1 < recipe.epochs:
            row |= _whole_accuracies(network, pictures, split)
        curve.append(row)
        _save_checkpoint(checkpoint, settings, parts, curve)
    if recipe.ridge or taught is not None:
        solve_head(network, pictures, split.train, recipe.ridge, told)
    return pd.DataFrame(curve)


def _optimiser(
    network: nn.Module, recipe: Recipe, batches: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The recipe's optimiser, in which the dense layer may go slower, and its schedule for so many batches an epoch."""
    head = [*network.head.parameters()] if recipe.head_rate != 1 else []
    body = [weight for weight in network.parameters() if not any(weight is other for other in head)]
    rates = [recipe.learning_rate, recipe.learning_rate * recipe.head_rate]
    groups = [{"params": weights, "lr": rate} for weights, rate in zip((body, head), rates, strict=True)]
    optimiser = getattr(torch.optim, recipe.optimiser)(groups, weight_decay=recipe.weight_decay)
    if not recipe.one_cycle:
        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
    steps = max(5, recipe.epochs * batches)  # with exactly four, torch would divide by zero
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps, pct_start=0.25)
    return optimiser, schedule


def _whole_accuracies(network: nn.Module, pictures: Pictures, split: Split) -> dict[str, float]:
    """Accuracies on whole unchanged pictures, train_plain and validation; none where nothing is held out."""
    parts = {"train_plain": split.train, "validation": split.validation} if len(split.validation) else {}
    return {
        name: accuracy(predict(network, pictures.matrices[rows]), pictures.labels[rows]) for name, rows in parts.items()
    }


def solve_head(
    network: GenreNetwork, pictures: Pictures, rows: np.ndarray, ridge: float, told: np.ndarray | None = None
) -> None:
    """Take away the outputs for a teacher, and if ridge is not 0 solve the dense layer in closed form, with patterns.

    As in the texture classifier: for thousands of numbers that describe some hundred tracks, `texture.solve_layer`
    finds the layer with the smallest weights that suits all of them and their filtered copies. Gradient descent does
    not. told: a teacher's answers for these rows, log-probabilities, float (n, 10), which the layer is to suit, too.
    """
    old, device = network.head, network.head.weight.device
    weight, bias = old.weight[: len(GENRES)], old.bias[: len(GENRES)]
    if ridge:
        maps = network.norm.num_features
        width = maps + network.patterns(torch.zeros(1, MEL_BINS, COLUMNS)).shape[1]
        network.head = nn.Linear(width, len(GENRES)).to(device)  # so wide that it asks for patterns
        seen = []
        hook = network.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].float().cpu().numpy()))
        predict(network, np.concatenate([pictures.matrices[rows], pictures.filtered[rows]]))
        hook.remove()
        described = np.concatenate(seen).astype(np.float64)
        share = np.where(np.arange(width) < maps, 1 - PATTERN_SHARE, PATTERN_SHARE)
        count = np.where(np.arange(width) < maps, maps, width - maps)
        scale = (described.std(axis=0) + 1e-6) * np.sqrt(count / share)
        layer, intercept = texture.solve_layer(described / scale, pictures.labels[rows], ridge, told)
        weight, bias = torch.from_numpy(layer.T / scale), torch.from_numpy(intercept)
    else:
        network.head = nn.Linear(old.in_features, len(GENRES)).to(device)
    with torch.no_grad():
        network.head.weight.copy_(weight)
        network.head.bias.copy_(bias)


def _save_checkpoint(path: Path | None, settings: str, parts: dict, curve: list[dict]) -> None:
    if path is not None:
        with replacing(path) as temporary:
            states = {name: part.state_dict() for name, part in parts.items()}
            torch.save({"settings": settings, "curve": curve, "states": states}, temporary)


def _resume(path: Path | None, settings: str, parts: dict, device: torch.device) -> list[dict]:
    """Load the parts from a checkpoint of the same settings and give its curve; else an empty curve."""
    try:
        stored = {} if path is None else load_weights(path, device)
    except InputError:  # missing or damaged: a new run makes it again
        return []
    if stored.get("settings") != settings:
        return []
    for name, part in parts.items():
        part.load_state_dict(stored["states"][name])
    return stored["curve"]


@torch.inference_mode()
def predict(network: nn.Module, matrices: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Give logits, float32 (n, 10), for whole matrices, uint8 (n, 128, 334)."""
    device = pick_device()
    network.to(device).eval()
    logits = [torch.empty(0, len(GENRES))]
    for begin in range(0, len(matrices), batch_size):
        with autocast(device):
            outputs = network(torch.from_numpy(matrices[begin : begin + batch_size]).to(device).float())
        logits.append(outputs[:, : len(GENRES)].float().cpu())
    return torch.cat(logits).numpy()


def grad_cam(network: GenreNetwork, matrices: np.ndarray, genre: str) -> np.ndarray:
    """Show what in matrices, uint8 (n, 128, 334), speaks for a genre: float32 (n, 128, 334), 0 to 1, smooth.

    It sees what the convolutions see, not the patterns. Source: Selvaraju et al., "Grad-CAM: visual explanations from
    deep networks via gradient-based localization", 2017; a cell stands for 4 mel bins and 1.4 s.
    """
    device = next(network.parameters()).device
    network.eval()
    levels = torch.from_numpy(matrices).to(device).float()
    with torch.no_grad(), autocast(device):
        maps = network.features(network.views(levels)).float()
    maps.requires_grad_(True)
    logits = network.head(network.describe(maps, levels))
    (gradient,) = torch.autograd.grad(logits[:, GENRES.index(genre)].sum(), maps)
    heat = (gradient * maps.detach()).sum(dim=1, keepdim=True).relu()
    heat = nn.functional.interpolate(heat, matrices.shape[1:], mode="bilinear", align_corners=False)[:, 0]
    return (heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)).cpu().numpy()


# ---------------------------------------------------------------------------------------------------------
# 5 Runs of the protocol
# ---------------------------------------------------------------------------------------------------------


def run_network(
    pictures: Pictures,
    split: Split,
    seed: int,
    recipe: Recipe,
    view: str = "cnn",
    network: Callable = GenreNetwork,
    told: np.ndarray | None = None,
) -> Run:
    """Train a network on split.train, or read what was kept of it; `network` makes it, with fresh weights.

    told: a teacher's answers for split.train, see `solve_head`. A stopped run goes on at its last finished epoch, from
    a checkpoint in the set's cache. There a pupil of the ear finds the weights of the network that was not told, too:
    only their last layers differ.
    """
    checkpoint = pictures.dataset.cache / "runs" / f"{view.removesuffix(PUPIL)}-{split.name}-seed{seed}.pt"

    def fit() -> tuple[Callable, pd.DataFrame]:
        torch.manual_seed(seed)
        taught = _taught(pictures, split, recipe)
        fresh = network(taught=recipe.teacher) if recipe.teacher else network()
        name = f"{view}, {split.name}, seed {seed}"
        curve = train_network(fresh, pictures, split, recipe, seed, checkpoint, name, taught, told)
        return lambda rows: predict(fresh, pictures.matrices[rows]), curve

    run = _keep(pictures, view, split, seed, asdict(recipe) | _made_of(pictures, told), fit)
    if not recipe.ridge:  # nothing is solved at the end
        checkpoint.unlink(missing_ok=True)
    return run


def _taught(pictures: Pictures, split: Split, recipe: Recipe) -> np.ndarray | None:
    if not recipe.teacher:
        return None
    return texture.targets(pictures.descriptors[split.train], pictures.labels[split.train], recipe.teacher)


def _made_of(pictures: Pictures, told: np.ndarray | None) -> dict[str, str]:
    """What answers depend on beside the settings."""
    return {"pictures": digest(pictures.matrices, pictures.filtered)} | ({} if told is None else {"told": digest(told)})


def _keep(pictures: Pictures, view: str, split: Split, seed: int, settings: dict, fit: Fit) -> Run:
    dataset = pictures.dataset
    log = dataset.results / "experiments.csv"
    return keep_run(dataset.cache / "runs", log, view, split, seed, settings, pictures.labels, fit)


def fit_texture(pictures: Pictures, rows: np.ndarray, told: np.ndarray | None = None) -> texture.TextureClassifier:
    """Train the texture classifier on rows of pictures and their filtered copies; told: see `texture.solve_layer`."""
    described = np.concatenate([pictures.descriptors[rows], pictures.filtered_descriptors[rows]])
    return texture.fit_texture_classifier(described, pictures.labels[rows], told=told)


def run_texture(
    pictures: Pictures, split: Split, seed: int, view: str = "texture", told: np.ndarray | None = None
) -> Run:
    """Train the texture classifier on split.train, or read what was kept of it; it draws no random numbers.

    told: a teacher's answers for split.train, see `texture.solve_layer`.
    """

    def fit() -> tuple[Callable, None]:
        classifier = fit_texture(pictures, split.train, told)
        return lambda rows: classifier.logits(pictures.descriptors[rows]), None

    return _keep(pictures, view, split, seed, {"ridge": texture.RIDGE} | _made_of(pictures, told), fit)


def run_ear(pictures: Pictures, split: Split) -> Run:
    """Train the ear's head on split.train, or read what was kept of it, on the tracks that the ear has heard."""
    features = pictures.heard
    split = split.among(~np.isnan(features[:, 0]))

    def fit() -> tuple[Callable, None]:
        head = ear.fit_head(features[split.train], pictures.labels[split.train])
        return lambda rows: head.logits(features[rows]), None

    settings = {"head": "linear discriminant analysis", "shrinkage": ear.SHRINKAGE, "features": digest(features)}
    return _keep(pictures, "ear", split, 0, settings, fit)


def run_all(pictures: Pictures, runs: dict[str, Run]) -> Run:
    """Blend the picture's views of `run_protocol` with the ear, on the tracks that the ear has heard."""
    heard = run_ear(pictures, runs["cnn"].split)
    known = ~np.isnan(pictures.heard[:, 0])
    views = [restrict_run(runs[view], known) if view in runs else heard for view in SOUND_WEIGHTS]
    return blend_runs("all", views, list(SOUND_WEIGHTS.values()))


def run_protocol(
    pictures: Pictures, split: Split, seed: int, recipe: Recipe, told: np.ndarray | None = None
) -> dict[str, Run]:
    """Give the runs of the picture's views on a split, by name: cnn, texture, and both together as picture.

    told: a teacher's answers for split.train, see `ear.answers`; with them it is cnn_teacher and so on.
    """
    cnn, textured, both = (view if told is None else view + PUPIL for view in (*WEIGHTS, "picture"))
    runs = {
        cnn: run_network(pictures, split, seed, recipe, cnn, told=told),
        textured: run_texture(pictures, split, seed, textured, told),
    }
    return runs | {both: blend_runs(both, list(runs.values()), list(WEIGHTS.values()))}


# ---------------------------------------------------------------------------------------------------------
# 6 The model
# ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ensemble:
    """How views become one answer: the weight of each view's log-probabilities, and one temperature.

    An answer less sure than `unsure_below` is called unsure.
    """

    weights: dict[str, float]
    temperature: float = 1.0
    unsure_below: float = 0.0

    def probabilities(self, views: dict[str, np.ndarray]) -> np.ndarray:
        """Give calibrated probabilities, float (n, 10), for the views' logits, float (n, 10) each."""
        logits = blend([views[view] for view in self.weights], list(self.weights.values()))
        return softmax(logits / self.temperature, axis=1)


@dataclass
class GenreModel:
    """The views that were trained together, and how they become one answer.

    classifiers: that of each view, by its name. ensembles: how views become one answer, by the name of the view that
    they are together: "picture", "picture_teacher" (pupils of the ear) and, for sound, "all"; a model may do without
    the latter two. familiarity knows what the training data looks like, web answers for pictures of a web tool; a model
    may do without both. facts says how it was trained.
    """

    classifiers: dict[str, GenreNetwork | texture.TextureClassifier | ear.EarHead]
    ensembles: dict[str, Ensemble] = field(default_factory=lambda: {"picture": Ensemble(WEIGHTS)})
    familiarity: texture.Familiarity | None = None
    web: web_pictures.WebClassifier | None = None
    facts: dict = field(default_factory=dict)

    def views(self, matrices: np.ndarray, heard: np.ndarray | None = None, ensemble: str = "") -> dict[str, np.ndarray]:
        """Give what each view of an ensemble says of whole matrices, uint8 (n, 128, 334): logits, float32 (n, 10).

        heard: what the ear heard of the same pieces of sound, float32 (n, 803), as `ear.window_features` gives it.
        Without an ensemble it is "all" for sound, and the pupils of the ear, if there are any, for pictures.
        """
        usual = ["picture_teacher", "picture"] if heard is None else ["all", "picture_teacher", "picture"]
        described, said = texture.describe(matrices), {}
        for view in self.ensembles[ensemble or next(name for name in usual if name in self.ensembles)].weights:
            classifier = self.classifiers[view]
            if isinstance(classifier, GenreNetwork):
                said[view] = predict(classifier, matrices)
            else:
                said[view] = classifier.logits(heard if view == "ear" else described)
        return said

    def ensemble(self, views: Iterable[str]) -> Ensemble:
        """Give what makes one answer of just these views."""
        return next(ensemble for ensemble in self.ensembles.values() if set(ensemble.weights) == set(views))

    def network(self, views: Iterable[str] = ("cnn",)) -> GenreNetwork:
        """Give the network among these views."""
        return next(self.classifiers[view] for view in views if view.startswith("cnn"))

    def probabilities(self, matrices: np.ndarray) -> np.ndarray:
        """Give calibrated probabilities, float (n, 10), for whole matrices, uint8 (n, 128, 334), as pictures."""
        views = self.views(matrices)
        return self.ensemble(views).probabilities(views)

    def is_unfamiliar(self, matrices: np.ndarray) -> bool:
        """Whether more than half of a song's matrices are out-of-distribution: unlike all training data."""
        return self.familiarity is not None and float(np.median(self.familiarity.distance(matrices))) > 1


def train_final(pictures: Pictures, recipe: Recipe, seed: int, picture: Ensemble) -> GenreModel:
    """Train on all pictures, for own songs.

    picture must come from other runs, which held tracks out. The web classifier is trained only on GTZAN: it is for the
    user's own pictures, and demo songs have none.
    """
    everything = Split("all", np.arange(len(pictures.table)))
    torch.manual_seed(seed)
    network = GenreNetwork(taught=recipe.teacher)
    taught = _taught(pictures, everything, recipe)
    checkpoint = pictures.dataset.cache / "runs" / f"all-seed{seed}.pt"
    train_network(network, pictures, everything, recipe, seed, checkpoint, "final network", taught)
    artists = np.arange(len(pictures.table)) if pictures.artists is None else pictures.artists
    model = GenreModel(
        {"cnn": network, "texture": fit_texture(pictures, everything.train)},
        {"picture": picture},
        familiarity=texture.fit_familiarity(pictures.matrices, artists),
        facts={
            "trained on": f"all {len(artists)} pictures, {pictures.dataset.label}",
            "epochs": recipe.epochs,
            "seed": seed,
        },
    )
    if pictures.dataset.name == "gtzan":
        model.web, reached = web_pictures.train_web_classifier(
            pictures.matrices, pictures.labels, artists, ANSWER_ACCURACY
        )
        model.facts["web pictures"] = f"simulated windows of new artists: {reached:.1%} right"
    return model


def add_pupils(model: GenreModel, pictures: Pictures, together: Ensemble) -> None:
    """Add pupils of the ear, whose last layers also suit what it answers for the pictures that the model learned from.

    together: how they answer for pictures from now on; from runs that held tracks out.
    """
    told = ear.answers(pictures.heard, pictures.labels)
    network = copy.deepcopy(model.network())
    everything = np.arange(len(pictures.table))
    solve_head(network, pictures, everything, OURS.ridge, told)
    model.classifiers |= {"cnn_teacher": network, "texture_teacher": fit_texture(pictures, everything, told)}
    model.ensembles["picture_teacher"] = together


def save_model(path: Path, model: GenreModel) -> None:
    """Write a model as plain tensors, with its genres and facts."""
    stored = {"genres": list(GENRES), "facts": model.facts}
    stored["classifiers"] = {view: _as_tensors(part) for view, part in model.classifiers.items()}
    stored["ensembles"] = {name: vars(ensemble) for name, ensemble in model.ensembles.items()}
    if model.familiarity:
        stored["familiarity"] = _as_tensors(model.familiarity)
    if model.web:
        stored["web"] = vars(model.web) | {"texture": _as_tensors(model.web.texture)}
    with replacing(path) as temporary:
        torch.save(stored, temporary)


def _as_tensors(part: object) -> dict[str, Tensor]:
    if isinstance(part, nn.Module):
        return part.cpu().state_dict()
    return {name: torch.from_numpy(np.asarray(array)) for name, array in vars(part).items()}


def _from_tensors(kind: type, tensors: dict[str, Tensor]) -> object:
    return kind(**{name: tensor.numpy() for name, tensor in tensors.items()})


def _read_classifier(view: str, tensors: dict[str, Tensor]) -> GenreNetwork | texture.TextureClassifier | ear.EarHead:
    if not view.startswith("cnn"):
        return _from_tensors(ear.EarHead if view == "ear" else texture.TextureClassifier, tensors)
    network = GenreNetwork().eval()
    network.head = nn.Linear(tensors["head.weight"].shape[1], len(GENRES))
    network.load_state_dict(tensors)
    return network


def load_model(path: str | Path = MODEL_PATH) -> GenreModel:
    """Read what `save_model` wrote; without a path the model that the project ships.

    Raises InputError for a missing, damaged or foreign file.
    """
    stored = load_weights(path)
    if stored.get("genres") != list(GENRES):
        raise InputError(f"'{Path(path).name}' is no model of this project: run notebook 03 or clone again.")
    try:
        model = GenreModel(
            {view: _read_classifier(view, tensors) for view, tensors in stored["classifiers"].items()},
            {name: Ensemble(**settings) for name, settings in stored["ensembles"].items()},
            facts=stored["facts"],
        )
        if "familiarity" in stored:
            model.familiarity = _from_tensors(texture.Familiarity, stored["familiarity"])
        if "web" in stored:
            web = _from_tensors(texture.TextureClassifier, stored["web"]["texture"])
            model.web = web_pictures.WebClassifier(**stored["web"] | {"texture": web})
        # One question to each ensemble shows whether sizes fit and numbers are numbers.
        blank = np.zeros((1, MEL_BINS, COLUMNS), np.uint8)
        heard = np.zeros((1, len(model.classifiers["ear"].mean)), np.float32) if "all" in model.ensembles else None
        answers = [
            ensemble.probabilities(model.views(blank, heard, name)) for name, ensemble in model.ensembles.items()
        ]
        answers += [model.web.probabilities(blank)] if model.web else []
        sizes = {answer.shape for answer in answers}
        limits = [float(part.unsure_below) for part in (*model.ensembles.values(), model.web) if part]
        if sizes != {(1, len(GENRES))} or not np.isfinite(np.concatenate([limits, *map(np.ravel, answers)])).all():
            raise ValueError("no probabilities")
        model.is_unfamiliar(blank)
    except (RuntimeError, TypeError, AttributeError, KeyError, ValueError, StopIteration) as error:
        raise InputError(f"'{Path(path).name}' was made by another version: run notebook 03 or clone again.") from error
    return model


@functools.cache
def shipped_model() -> GenreModel:
    """Give the model that is part of the project, read once."""
    return load_model()


def classify_song(path: str | Path, model: GenreModel | None = None) -> songs.SongResult:
    """Say what genre a sound file or a picture is; without a model, by the one that the project ships.

    The result has `.genre`, `.probabilities` (in the order of GENRES) and `.match`. Raises InputError for a file that
    cannot be used.
    """
    return songs.classify_song(path, model or shipped_model())
