"""The data set and the model: what the notebooks share, on top of the package `genres`.

1 Pictures      3 The Dataset   5 Runs of the protocol
2 Splits        4 Training      6 The model: views together, saved, loaded and asked
"""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
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
from genres.common import GENRES, ROOT, InputError, digest, file_stamps, in_parallel, kept, replacing
from genres.datasets import DataSet, artist_numbers, clip_of_rows, find_dataset, genre_folders, read_tracks, twin_groups
from genres.metrics import accuracy, percent
from genres.networks import GenreNetwork, ReferenceNetwork
from genres.runs import Blend, Run, Split, blend_runs, keep_run
from genres.spectrogram import (
    BIN_OF_ROW,
    COLUMNS,
    INNER_COLUMNS,
    INNER_ROWS,
    MAGMA,
    MEL_BINS,
    matrix_to_picture,
    picture_to_matrix,
)
from genres.training import (
    CNN_RECIPE,
    REFERENCE_FINAL,
    REFERENCE_FIRST,
    Recipe,
    augment,
    autocast,
    load_weights,
    pick_device,
    resume,
    save_checkpoint,
    update_average,
    update_statistics,
)

MODEL_PATH = ROOT / "data" / "gtzan" / "model.pt"  # the model that is shipped, for own songs
WEIGHTS = {"cnn": 0.4, "texture": 0.6}  # of the views of a picture; chosen by artist-grouped cross-validation
ANSWER_ACCURACY = 0.8  # what sure answers shall reach; what is less sure is called unsure
MODEL_VERSION = 2  # of the parts of model.pt
FOLDS = 3  # of artists
TRAIN_SAMPLE = 200  # training pictures, about, that are looked at whole: their accuracy is in the learning curve


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
    def clips(self) -> list[Path | None]:
        """The file of sound that each picture was drawn from, or None where it is not at hand."""
        return clip_of_rows(self.dataset, self.table["image"])

    @functools.cached_property
    def descriptors(self) -> np.ndarray:
        """Texture features of the matrices, float32 (n, 32512), from a cache beside the results."""
        make = lambda: {"texture": texture.describe_texture(self.matrices, progress=True)}  # noqa: E731
        return kept(self.dataset.cache / "texture.npz", make, self.matrices)["texture"]

    @functools.cached_property
    def ear_source(self) -> dict[str, np.ndarray] | list[str]:
        """Where `ear_features` come from: a table that the project carries, by picture, or the stamps of the clips."""
        sounds = [clip for clip in self.clips if clip is not None]
        carried = ear.read_ear_features(ROOT / "data" / self.dataset.name / "ear.npz")
        return carried if carried and len(sounds) < 0.95 * len(self.clips) else file_stamps(sounds)

    @functools.cached_property
    def ear_features(self) -> np.ndarray | None:
        """The pretrained network's features of each picture's clip, float32 (n, 803), NaN without sound, or None."""
        if isinstance(self.ear_source, dict):
            missing = np.full(len(next(iter(self.ear_source.values()))), np.nan, np.float32)
            return np.stack([self.ear_source.get(Path(image).name, missing) for image in self.table["image"]])
        if not self.ear_source:
            return None
        make = lambda: {"features": ear.read_clip_features(self.clips)}  # noqa: E731
        return kept(self.dataset.cache / "ear.npz", make, self.ear_source, self.table["image"].tolist())["features"]


def read_pictures(dataset: DataSet) -> Pictures:
    """Decode all pictures of a set, or load them from the cache if no file has changed.

    A bad file among many is left out and named in `rejected`.

    Raises InputError where a genre is left without a single readable picture.

    Parameters
    ----------
    dataset: a set, see `find_dataset`.

    Returns
    -------
    Pictures with a table, matrices, labels, artists and more, a row each.

    Example
    -------
    >>> pictures = read_pictures(find_dataset(folder, results))
    >>> pictures.matrices.dtype, pictures.matrices.shape[1:]
    (dtype('uint8'), (128, 334))
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

    stored = kept(dataset.cache / "pictures.npz", decode, file_stamps(paths))
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

    Parameters
    ----------
    pictures: the whole set.
    seed: of the draw; the same seed draws the same split.
    validation_share: of the distinct pictures.

    Returns
    -------
    A Split with the row numbers of `train` and `validation`.

    Example
    -------
    >>> split = random_split(read_pictures(find_dataset(folder, results)), seed=0)
    >>> set(split.train) & set(split.validation)
    set()
    """
    if not isinstance(seed, Integral) or not 0 <= seed < 2**32:
        raise InputError(f"The seed is {seed!r}: give a whole number from 0 on, such as 0.")
    if not isinstance(validation_share, Real) or not 0 < validation_share < 1:
        raise InputError(f"The validation share is {validation_share!r}: give a number between 0 and 1, such as 0.3.")
    groups = twin_groups(pictures.matrices)
    distinct, first = np.unique(groups, return_index=True)
    counts = pictures.table.iloc[first].groupby("genre").size()
    if counts.min() < 2:
        raise InputError(
            f"There are too few pictures: genre {counts.idxmin()} has {counts.min()}, and needs 2 or more."
        )
    try:
        train, validation = train_test_split(
            distinct, test_size=validation_share, stratify=pictures.labels[first], random_state=seed
        )
    except ValueError as error:  # too few pictures for the share
        raise InputError(f"A validation share of {validation_share} leaves a genre out: choose another.") from error
    return Split(f"random-{seed}", np.flatnonzero(np.isin(groups, train)), np.flatnonzero(np.isin(groups, validation)))


def fault_filtered_split(pictures: Pictures) -> Split:
    """Return the published split 443/197/290 without faults and with disjoint artists.

    Source: Kereliuk, Sturm and Larsen, "Deep learning and music adversaries", 2015. One training track has no
    picture, so 442 remain.
    """
    part = pictures.tracks["fault_filtered_split"]
    return Split("fault_filtered", *(np.flatnonzero(part == name) for name in ("train", "valid", "test")))


def artist_fold_split(pictures: Pictures, fold: int) -> Split:
    """Return one of three folds with other artists, 1 to 3, as the test part, and the other two for training.

    GTZAN's are published (Sturm, "The state of the art ten years after a state of the art", 2014; they leave out what
    is faulty or repeated); for another set they are drawn.
    """
    if "artist_fold" not in pictures.tracks:
        split = Split("all", np.arange(len(pictures.table)))
        drawn = grouped_splits(pictures, split)[fold - 1]
        return Split(f"fold-{fold}", drawn.train, test=drawn.validation)
    folds = pictures.tracks["artist_fold"]
    return Split(
        f"fold-{fold}", np.flatnonzero((folds != "") & (folds != str(fold))), test=np.flatnonzero(folds == str(fold))
    )


def grouped_splits(pictures: Pictures, split: Split) -> list[Split]:
    """Cut the training and validation tracks of a split into three parts with disjoint artists, each held out once.

    Here choices are made (cross-validation), so that the test part is left for the end.
    """
    rows = np.sort(np.concatenate([split.train, split.validation]))
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(
        rows, pictures.labels[rows], pictures.artists[rows]
    )
    return [Split(f"grouped-{k}", rows[train], rows[held]) for k, (train, held) in enumerate(folds, 1)]


def protocol_splits(pictures: Pictures, protocol: str, seeds: int = 5) -> list[tuple[Split, int]]:
    """Return the splits of a protocol, each with the seed of the network that is trained on it.

    "random": drawn with each seed. "fault_filtered": one split, all seeds (GTZAN only). "folds": three, seed 0.
    "grouped": the three parts of the cross-validation that choices are made by. Without artists only "random" is not
    empty.
    """
    if protocol == "random":
        return [(random_split(pictures, seed), seed) for seed in range(seeds)]
    if pictures.artists is None or (protocol == "fault_filtered" and pictures.dataset.name != "gtzan"):
        return []
    if protocol == "fault_filtered":
        return [(fault_filtered_split(pictures), seed) for seed in range(seeds)]
    if protocol == "folds":
        return [(artist_fold_split(pictures, fold), 0) for fold in range(1, FOLDS + 1)]
    gtzan = pictures.dataset.name == "gtzan"
    whole = fault_filtered_split(pictures) if gtzan else Split("all", np.arange(len(pictures.table)))
    return [(split, 0) for split in grouped_splits(pictures, whole)]


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
# 3 The Dataset
# ---------------------------------------------------------------------------------------------------------


class SpectrogramDataset(Dataset):
    """Matrices and labels for a DataLoader: an item is (uint8 (128, 334), int64 ()).

    Everything lies in memory, so no worker processes are needed, and the same loader works on Windows.
    """

    def __init__(self, matrices: np.ndarray, labels: np.ndarray) -> None:
        self.matrices = torch.from_numpy(matrices)
        self.labels = torch.from_numpy(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.matrices[row], self.labels[row]


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
    after_step: Callable[[], None] = lambda: None,
) -> float:
    """Train a network on each batch of the loader once, and return the mean loss; after_step is called after each."""
    device = next(network.parameters()).device
    network.train()
    loss_sum, seen = 0.0, 0
    for matrices, labels in loader:
        levels, targets = augment(matrices.to(device).float(), labels.to(device), recipe)
        with autocast(device):
            logits = network(levels)
        loss = loss_function(logits.float(), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        after_step()
        loss_sum, seen = loss_sum + loss.item() * len(labels), seen + len(labels)
    return loss_sum / seen


def train_network(
    network: nn.Module,
    pictures: Pictures,
    split: Split,
    recipe: Recipe,
    seed: int,
    checkpoint: Path | None = None,
    progress_label: str = "training",
) -> pd.DataFrame:
    """Train a network in place on split.train, and return the learning curve.

    The curve has one row per epoch: epoch, loss (cross-entropy as met while training), and, every evaluate_every epochs
    and at the end, train and validation, the accuracies on whole unchanged pictures; a split that holds nothing out has
    neither. The network ends with its averaged weights of the last epoch: no epoch is picked. Batch normalisation then
    has the statistics of whole pictures.

    Each epoch is seeded by itself, so that a run that was stopped goes on from `checkpoint` at the last finished epoch
    exactly as if it had never stopped. A checkpoint of another network, other data or other settings is not used.

    Parameters
    ----------
    network: any nn.Module that takes levels, float (n, 128, columns), and returns logits (n, 10).
    pictures, split: what it is trained on (split.train) and evaluated on (split.validation).
    recipe: how it is trained, see `genres.training.Recipe`.
    seed: of the order of the pictures and of all augmentation.
    checkpoint: file for the state after each epoch, or None.
    progress_label: the text of the progress bar.

    Returns
    -------
    pandas.DataFrame with the columns epoch, loss, train and validation.

    Example
    -------
    >>> pictures = read_pictures(find_dataset(folder, results))
    >>> network = GenreNetwork(widths=(8, 8))
    >>> curve = train_network(network, pictures, random_split(pictures, 0), CNN_RECIPE.with_epochs(2), seed=0)
    >>> curve.columns.tolist(), len(curve)
    (['epoch', 'loss', 'train', 'validation'], 2)
    """
    device = pick_device()
    network.to(device, memory_format=torch.channels_last)
    rows = split.train
    loader = DataLoader(
        SpectrogramDataset(pictures.matrices[rows], pictures.labels[rows]),
        batch_size=min(recipe.batch_size, len(rows)),
        shuffle=True,
        drop_last=recipe.one_cycle,
    )
    optimiser, schedule = _optimiser(network, recipe, len(loader))
    loss_function = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    average = copy.deepcopy(network)
    states = {"network": network, "average": average, "optimiser": optimiser, "schedule": schedule}
    trained = [name for name, weight in network.named_parameters() if weight.requires_grad]
    inputs = [type(network), repr(network), trained, recipe, seed, pictures.matrices[rows], pictures.labels[rows]]
    key = digest(train_network, *inputs)
    curve = resume(checkpoint, key, states, device)
    epochs = range(len(curve), recipe.epochs)
    for epoch in tqdm(epochs, progress_label, recipe.epochs, initial=len(curve), disable=not epochs):
        torch.manual_seed(1_000 * seed + epoch)
        steps = itertools.count(epoch * len(loader))
        move = lambda: update_average(average, network, next(steps), recipe.averaging)  # noqa: B023, E731
        row = {
            "epoch": epoch + 1,
            "loss": train_epoch(network, loader, loss_function, optimiser, schedule, recipe, move),
        }
        if (epoch + 1) % recipe.evaluate_every == 0 or epoch + 1 == recipe.epochs:
            update_statistics(average, pictures.matrices[rows[:: max(1, len(rows) // TRAIN_SAMPLE)]])
            row |= _whole_accuracies(average, pictures, split)
        curve.append(row)
        save_checkpoint(checkpoint, key, states, curve)
    network.load_state_dict(average.state_dict())
    return pd.DataFrame(curve)


def _optimiser(
    network: nn.Module, recipe: Recipe, batches: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The recipe's optimiser, and its schedule for so many batches an epoch."""
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = getattr(torch.optim, recipe.optimiser)(weights, recipe.learning_rate, weight_decay=recipe.weight_decay)
    if not recipe.one_cycle:
        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
    steps = max(5, recipe.epochs * batches)  # with exactly four, torch would divide by zero
    rate = recipe.learning_rate
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.25)


def _whole_accuracies(network: nn.Module, pictures: Pictures, split: Split) -> dict[str, float]:
    """Accuracies on whole unchanged pictures, train (a sample) and validation; none where nothing is held out."""
    sample = split.train[:: max(1, len(split.train) // TRAIN_SAMPLE)]
    parts = {"train": sample, "validation": split.validation} if len(split.validation) else {}
    return {
        name: accuracy(predict(network, pictures.matrices[rows]), pictures.labels[rows]) for name, rows in parts.items()
    }


@torch.inference_mode()
def predict(network: nn.Module, matrices: np.ndarray, batch_size: int = 16) -> np.ndarray:
    """Compute logits, float32 (n, 10), for whole matrices, uint8 (n, 128, 334).

    Parameters
    ----------
    network: any nn.Module that takes levels, float (n, 128, columns), and returns logits.
    matrices: of n pictures, see `Pictures.matrices`.
    batch_size: pictures that are answered at once.

    Returns
    -------
    Logits, a row for each picture and a column for each of GENRES.

    Example
    -------
    >>> matrix = picture_to_matrix(ROOT / "data_samples" / "metal00002.png")
    >>> predict(load_model().cnn, matrix[None]).shape
    (1, 10)
    """
    device = pick_device()
    network.to(device).eval()
    logits = [torch.empty(0, len(GENRES))]
    for begin in range(0, len(matrices), batch_size):
        with autocast(device):
            outputs = network(torch.from_numpy(matrices[begin : begin + batch_size]).to(device).float())
        logits.append(outputs.float().cpu())
    return torch.cat(logits).numpy()


def grad_cam(network: GenreNetwork, matrices: np.ndarray, genre: str) -> np.ndarray:
    """Compute what in matrices, uint8 (n, 128, 334), speaks for a genre: float32 (n, 128, 334), 0 to 1, smooth.

    The maps after all convolutions count, each by its gradient. Source: Selvaraju et al., "Grad-CAM: visual
    explanations from deep networks via gradient-based localization", 2017.

    Parameters
    ----------
    network: a trained GenreNetwork.
    matrices: of n pictures.
    genre: one of GENRES.

    Returns
    -------
    A map for each picture, as large as its matrix, 1 where most speaks for the genre.

    Example
    -------
    >>> matrix = picture_to_matrix(ROOT / "data_samples" / "metal00002.png")
    >>> grad_cam(load_model().cnn, matrix[None], "metal").shape
    (1, 128, 334)
    """
    device = next(network.parameters()).device
    network.eval()
    with torch.no_grad(), autocast(device):
        levels = torch.from_numpy(matrices).to(device).float()
        maps = [each.float() for each in network.feature_maps(network.subtract_means(levels))]
    for each in maps:
        each.requires_grad_(True)
    logits = network.classify(maps)
    gradients = torch.autograd.grad(logits[:, GENRES.index(genre)].sum(), maps)
    heat = sum(
        nn.functional.interpolate((gradient * each).sum(1, keepdim=True).detach(), matrices.shape[1:], mode="bilinear")
        * each[0, 0].numel()  # a gradient is that of a mean over so many cells
        for gradient, each in zip(gradients, maps, strict=True)
    )
    heat = nn.functional.avg_pool2d(heat.relu(), 9, 1, 4)[:, 0]
    return (heat / heat.amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)).cpu().numpy()


# ---------------------------------------------------------------------------------------------------------
# 5 Runs of the protocol
# ---------------------------------------------------------------------------------------------------------


def run_network(
    pictures: Pictures,
    split: Split,
    seed: int,
    recipe: Recipe = CNN_RECIPE,
    view: str = "cnn",
    network: Callable[[], nn.Module] = GenreNetwork,
) -> Run:
    """Train a network on split.train, or read what was kept of it; `network` makes it, with fresh weights.

    A stopped run goes on at its last finished epoch, from a checkpoint in the set's cache. A network whose code or
    settings have changed is trained anew.
    """
    checkpoint = pictures.dataset.cache / "runs" / f"{view}-{split.name}-seed{seed}.pt"

    def fit() -> tuple[Callable, pd.DataFrame]:
        torch.manual_seed(seed)
        fresh = network()
        label = f"{view}, {split.name}, seed {seed}"
        curve = train_network(fresh, pictures, split, recipe, seed, checkpoint, label)
        return lambda rows: predict(fresh, pictures.matrices[rows]), curve

    torch.manual_seed(seed)
    run = _keep(pictures, view, split, seed, asdict(recipe), fit, network, repr(network()), pictures.matrices)
    checkpoint.unlink(missing_ok=True)
    return run


def _keep(
    pictures: Pictures, view: str, split: Split, seed: int, settings: dict, fit: Callable, *inputs: object
) -> Run:
    dataset = pictures.dataset
    log = dataset.results / "experiments.csv"
    return keep_run(dataset.cache / "runs", log, view, split, seed, settings, pictures.labels, fit, *inputs)


def run_texture(pictures: Pictures, split: Split) -> Run:
    """Train the texture classifier on split.train, or read what was kept of it; it draws no random numbers."""

    def fit() -> tuple[Callable, None]:
        rows = split.train
        classifier = texture.fit_texture_classifier(pictures.descriptors[rows], pictures.labels[rows])
        return lambda rows: classifier.logits(pictures.descriptors[rows]), None

    inputs = texture.describe_texture, pictures.matrices
    return _keep(pictures, "texture", split, 0, {"ridge": texture.RIDGE}, fit, *inputs)


def run_ear(pictures: Pictures, split: Split) -> Run:
    """Train the pretrained network's head on split.train, on the tracks with features, or read what was kept of it."""
    features = pictures.ear_features
    split = split.among(~np.isnan(features[:, 0]))

    def fit() -> tuple[Callable, None]:
        head = ear.fit_head(features[split.train], pictures.labels[split.train])
        return lambda rows: head.logits(features[rows]), None

    settings = {"head": "linear discriminant analysis", "shrinkage": ear.SHRINKAGE}
    return _keep(pictures, "ear", split, 0, settings, fit, ear.read_clip_features, pictures.ear_source)


def run_protocol(pictures: Pictures, split: Split, seed: int, recipe: Recipe = CNN_RECIPE) -> dict[str, Run]:
    """Return the runs of the picture's views on a split, by name: cnn, texture, and both together as picture."""
    runs = {"cnn": run_network(pictures, split, seed, recipe), "texture": run_texture(pictures, split)}
    return runs | {"picture": blend_runs("picture", list(runs.values()), list(WEIGHTS.values()))}


# ---------------------------------------------------------------------------------------------------------
# 6 The model
# ---------------------------------------------------------------------------------------------------------


@dataclass
class GenreModel:
    """What was trained together, and how it becomes one answer.

    Pictures are answered by the CNN and the texture classifier, blended as `picture` says. Sound is answered by the
    pretrained network's head (`ear`), calibrated as `sound` says; a set without sound has neither. neighbours are its
    features of the training clips, which tell what is out-of-distribution. web answers for a web tool's
    pictures of whole songs; it is trained only on GTZAN. facts says how all was trained.
    """

    cnn: GenreNetwork
    texture: texture.TextureClassifier
    picture: Blend = field(default_factory=lambda: Blend(WEIGHTS))
    ear: ear.EarHead | None = None
    sound: Blend = field(default_factory=lambda: Blend({"ear": 1.0}))
    neighbours: ear.Neighbours | None = None
    web: web_pictures.WebClassifier | None = None
    facts: dict = field(default_factory=dict)

    def answer(self, matrices: np.ndarray, ear_features: np.ndarray | None = None) -> songs.Answer:
        """Answer for the windows of a song, or for a picture: the one door to the model.

        matrices: uint8 (k, 128, 334), a window each. ear_features: of the pretrained network for these windows,
        float32 (k, 803), see `ear.window_features`; without them the answer is that for pictures. Every view says
        something, the CNN first, whichever of them make the answer.
        """
        views = {"cnn": predict(self.cnn, matrices), "texture": self.texture.logits(texture.describe_texture(matrices))}
        if ear_features is None or self.ear is None:
            return songs.Answer(self.picture.probabilities(views), views, self.picture.unsure_below)
        views["ear"] = self.ear.logits(ear_features)
        unfamiliar = self.neighbours is not None and self.neighbours.is_unfamiliar(ear_features)
        return songs.Answer(self.sound.probabilities(views), views, self.sound.unsure_below, unfamiliar)


def train_final(pictures: Pictures, recipe: Recipe, seed: int, picture: Blend) -> GenreModel:
    """Train on all pictures, for own songs; notebook 06 adds the pretrained network (see `add_ear`).

    picture must come from other runs, which held tracks out. The web classifier is trained only on GTZAN: it is for the
    user's own pictures, and demo songs have none.
    """
    everything = Split("all", np.arange(len(pictures.table)))
    checkpoint = pictures.dataset.cache / "runs" / f"all-seed{seed}.pt"

    def fit() -> dict[str, np.ndarray]:
        torch.manual_seed(seed)
        fresh = GenreNetwork()
        train_network(fresh, pictures, everything, recipe, seed, checkpoint, "final network")
        return {name: weights.cpu().numpy() for name, weights in fresh.state_dict().items()}

    stored = kept(checkpoint.with_suffix(".npz"), fit, recipe, seed, pictures.matrices, pictures.labels)
    checkpoint.unlink(missing_ok=True)
    network = GenreNetwork()
    network.load_state_dict({name: torch.from_numpy(weights) for name, weights in stored.items()})
    facts = {
        "trained on": f"all {len(pictures.table)} pictures, {pictures.dataset.label}",
        "epochs": recipe.epochs,
        "seed": seed,
    }
    classifier = texture.fit_texture_classifier(pictures.descriptors, pictures.labels)
    model = GenreModel(network, classifier, picture, facts=facts)
    if pictures.dataset.name == "gtzan":
        model.web, reached = web_pictures.train_web_classifier(
            pictures.matrices, pictures.labels, pictures.artists, ANSWER_ACCURACY
        )
        model.facts["web pictures"] = f"simulated windows of new artists: {percent(reached, 1)} right"
    return model


def add_ear(model: GenreModel, pictures: Pictures, sound: Blend) -> None:
    """Add the pretrained network's head, trained on all clips with sound, and what tells what is out-of-distribution.

    sound must come from runs which held tracks out.
    """
    rows = np.flatnonzero(~np.isnan(pictures.ear_features[:, 0]))
    features, artists = pictures.ear_features[rows], pictures.artists
    model.ear, model.sound = ear.fit_head(features, pictures.labels[rows]), sound
    artists = rows if artists is None else artists[rows]
    model.neighbours = ear.fit_neighbours(features, pictures.table.iloc[rows], artists)


def save_model(path: Path, model: GenreModel) -> None:
    """Write a model as plain tensors and texts, with its genres and facts."""
    parts = {name: _as_tensors(part) for name, part in vars(model).items() if name != "facts"}
    with replacing(path) as temporary:
        torch.save({"version": MODEL_VERSION, "genres": list(GENRES), "facts": model.facts, **parts}, temporary)


def _as_tensors(part: object) -> object:
    if isinstance(part, nn.Module):
        return part.cpu().state_dict()
    if is_dataclass(part):
        return {item.name: _as_tensors(getattr(part, item.name)) for item in fields(part)}
    numbers = isinstance(part, np.ndarray) and part.dtype.kind in "fiub"
    return torch.from_numpy(part) if numbers else part.tolist() if isinstance(part, np.ndarray) else part


def _from_tensors(kind: type, stored: dict | None) -> object:
    if stored is None:
        return None
    if issubclass(kind, nn.Module):
        network = kind().eval()
        network.load_state_dict(stored)
        return network
    plain = {name: part.numpy() if isinstance(part, Tensor) else part for name, part in stored.items()}
    if kind is web_pictures.WebClassifier:
        plain["texture"] = _from_tensors(texture.TextureClassifier, stored["texture"])
    return kind(**plain)


def load_model(path: str | Path = MODEL_PATH) -> GenreModel:
    """Read what `save_model` wrote; without a path the model that the project ships.

    Raises InputError for a missing, damaged or foreign file, and for a model of an older version.

    Parameters
    ----------
    path: a model.pt.

    Returns
    -------
    A GenreModel, which is asked by its method `answer`.

    Example
    -------
    >>> matrix = picture_to_matrix(ROOT / "data_samples" / "metal00002.png")
    >>> answer = load_model().answer(matrix[None])
    >>> answer.probabilities.shape, list(answer.views)
    ((1, 10), ['cnn', 'texture'])
    """
    stored, name = load_weights(path), Path(path).name
    if stored.get("genres") != list(GENRES):
        raise InputError(f"'{name}' is no model of this project: run notebook 03 or clone again.")
    kinds = {
        "cnn": GenreNetwork, "texture": texture.TextureClassifier, "picture": Blend, "ear": ear.EarHead, "sound": Blend,
        "neighbours": ear.Neighbours, "web": web_pictures.WebClassifier,
    }  # fmt: skip
    try:
        if stored["version"] != MODEL_VERSION:
            raise KeyError("version")
        parts = {part: _from_tensors(kind, stored[part]) for part, kind in kinds.items()}
        model = GenreModel(**parts, facts=stored["facts"])
        # One question to each door shows whether sizes fit and numbers are numbers.
        blank = np.zeros((1, MEL_BINS, COLUMNS), np.uint8)
        answers = [model.answer(blank)]
        answers += [model.answer(blank, np.zeros((1, len(model.ear.mean)), np.float32))] if model.ear else []
        numbers = [(answer.probabilities, answer.unsure_below) for answer in answers]
        numbers += [(logits, 0.0) for answer in answers for logits in answer.views.values()]
        numbers += [(model.web.probabilities(blank), model.web.unsure_below)] if model.web else []
        for probabilities, unsure_below in numbers:
            if probabilities.shape != (1, len(GENRES)) or not np.isfinite([*probabilities[0], unsure_below]).all():
                raise ValueError("no probabilities")
    except (RuntimeError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise InputError(f"'{name}' was made by another version: run notebook 03 or clone again.") from error
    return model


@functools.cache
def shipped_model() -> GenreModel:
    """Return the model that is part of the project, read once."""
    return load_model()


def classify_song(path: str | Path, model: GenreModel | None = None) -> songs.SongResult:
    """Classify a sound file or a picture; without a model, by the one that the project ships.

    Raises InputError for a file that cannot be used.

    Parameters
    ----------
    path: any file of sound that FFmpeg decodes, or a spectrogram picture.
    model: a model of your own, see `load_model`.

    Returns
    -------
    A result with `.genre`, `.probabilities` (in the order of GENRES), `.sure`, `.views` and `.match`, the training clip
    that was found in the song, or None.

    Example
    -------
    >>> classify_song(ROOT / "data_samples" / "metal00002.png").genre
    'metal'
    """
    return songs.classify_song(path, model or shipped_model())
