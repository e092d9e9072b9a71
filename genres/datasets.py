"""Where a set of genre pictures lies: the Kaggle download, the demo songs, or a set of the user's own."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from genres.audio import load_audio
from genres.common import GENRES, ROOT, InputError, absolute, digest, from_environment, in_parallel, locked, replacing
from genres.runs import Split
from genres.song_files import SOUND_SUFFIXES, file_names, paths_below
from genres.spectrogram import CLIP_SAMPLES, audio_to_matrix, matrix_to_picture, picture_to_matrix

KAGGLE_SET = "andradaolteanu/gtzan-dataset-music-genre-classification"
GTZAN_SAMPLES = ROOT / "data_samples"  # pictures of GTZAN, by which it is known; file names alone do not tell


@dataclass(frozen=True)
class DataSet:
    """Where one set of genre pictures lies, and where its results go.

    name: "gtzan", "demo", or the name of a set of the user's own. label: how titles and tables call it.
    images: folder with one sub-folder of pictures per genre. audio: the same with clips, or None.
    songs: folder of songs that come with the set, or None.
    results: folder for tables, weights, metrics and figures. cache: folder for what can be made again.
    """

    name: str
    label: str
    images: Path
    audio: Path | None
    songs: Path | None
    results: Path
    cache: Path

    @property
    def figures(self) -> Path:
        """Folder for saved figures: figures/<set> for the report, and beside the other results for any other run."""
        report = self.results == ROOT / "data" / self.name
        return ROOT / "figures" / self.name if report else self.results / "figures"


def find_dataset(folder: str | Path = "", output: str | Path = "") -> DataSet:
    """Find the pictures below `folder`; with no folder named, take data/gtzan, and else the demo songs.

    `folder` may be a Kaggle download, its `Data` folder, the `images_original` folder itself, or a set of one's own:
    ten folders, named after the ten genres, of pictures in the Kaggle style or of sound files, which are drawn first.
    The environment variable GTZAN names a folder once for all notebooks. Without any of these the demo songs are made
    (once) and used, and a line says so. Results go to `output`, or to data/<set>/run, which git ignores.

    Raises InputError where a named folder is missing or does not hold the ten genres.
    """
    folder = folder or from_environment("GTZAN")
    if not folder and _pictures_below(ROOT / "data" / "gtzan") is None:
        from genres import demo_songs  # here, because only this case needs the synthesiser

        print("No GTZAN pictures found in data/gtzan: using the demo songs that this project plays itself.")
        folder = ROOT / "data" / "demo"
        demo_songs.make_demo_set(folder)
    folder = absolute(folder or ROOT / "data" / "gtzan")
    if folder.suffix.lower() in {".zip", ".tar", ".gz", ".7z", ".rar"}:
        raise InputError(f"'{folder.name}' is an archive: unpack it first, and name the folder.")
    if not folder.is_dir():
        raise InputError(f"The data folder '{folder}' does not exist: name the folder of the Kaggle download.")
    images = _pictures_below(folder) or folder
    audio = images.parent / "genres_original"
    demo = next((p for p in (folder, *images.parents[:3]) if (p / "demo.json").is_file()), None)
    name = _set_name(folder, images, demo is not None)
    results = absolute(output) if output else ROOT / "data" / name / "run"
    cache = results / "cache" if output else ROOT / "data" / name / "cache"
    if not any(path.suffix.lower() == ".png" for path in images.glob("*/*")):
        if jpeg := next((path for path in images.glob("*/*") if path.suffix.lower() in {".jpg", ".jpeg"}), None):
            raise InputError(f"'{jpeg.name}' is JPEG, which loses the levels of a spectrogram: take the PNG pictures.")
        audio, images = images, _draw_set(images, cache / "images_original")
    genre_folders(images)
    label = {"gtzan": "GTZAN", "demo": "demo songs"}.get(name, f"own set '{name}'")
    songs = demo / "songs" if demo else None
    return DataSet(name, label, images, audio if audio.is_dir() else None, songs, results, cache)


def genre_folders(images: Path) -> dict[str, Path]:
    """Give the folder of each of the ten genres, whatever its capitals.

    Raises InputError where one is missing or empty, or there are others.
    """
    found = {path.name.lower(): path for path in sorted(images.iterdir()) if path.is_dir() and any(path.iterdir())}
    found = {name: path for name, path in found.items() if not name.startswith((".", "__"))}
    missing, other = [g for g in GENRES if g not in found], [name for name in found if name not in GENRES]
    if len(missing) == len(GENRES):
        raise InputError(f"No folders of genres in '{images}': name the folder of the Kaggle download.")
    if missing or other:
        there = f"there are also {', '.join(other)}" if other else f"{', '.join(missing)} are missing or empty"
        raise InputError(f"'{images}' must hold one folder for each of {', '.join(GENRES)}: {there}.")
    return {genre: found[genre] for genre in GENRES}


def _pictures_below(folder: Path) -> Path | None:
    """Give the nearest folder images_original at or below `folder`, or None; hidden ones are not finished."""
    places = chain([folder], paths_below(folder)) if folder.is_dir() else []
    return next((path for path in places if path.name == "images_original" and path.is_dir()), None)


def _set_name(folder: Path, images: Path, demo: bool) -> str:
    """Give "demo", "gtzan" where the pictures are GTZAN's, else a name made from the folder's own."""
    if demo:
        return "demo"
    for sample in GTZAN_SAMPLES.glob("*.png"):
        for path in images.glob(f"*/{sample.name}"):
            with suppress(InputError):
                if np.array_equal(picture_to_matrix(path), picture_to_matrix(sample)):
                    return "gtzan"
    named = next(path.name for path in (folder, *folder.parents) if path.name not in ("Data", "images_original"))
    plain = file_names([named])[0]
    return f"own_{plain}" if plain in {"gtzan", "demo", "songs", "musicnn"} else plain


def _draw_set(sounds: Path, target: Path) -> Path:
    """Draw the middle 30 s of each sound file in ten genre folders as a Kaggle-style picture, and give their folder.

    What cannot be read is printed and left out. Raises InputError where a genre is left without a picture.
    """

    def draw(job: tuple[Path, Path]) -> str:
        sound, picture = job
        if picture.is_file() and picture.stat().st_mtime >= sound.stat().st_mtime:
            return ""
        try:
            samples = load_audio(sound)
        except InputError as error:
            return str(error)
        first = max(0, (len(samples) - CLIP_SAMPLES) // 2)
        with replacing(picture) as temporary:
            matrix_to_picture(audio_to_matrix(samples[first : first + CLIP_SAMPLES])).save(temporary, format="PNG")
        return ""

    jobs = [
        (path, target / genre / f"{path.stem}.png")
        for genre, folder in genre_folders(sounds).items()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".")
    ]
    refused = [sentence for sentence in in_parallel(draw, jobs, "drawing sound files", 10) if sentence]
    for picture in set(target.glob("*/*.png")) - {picture for _, picture in jobs}:
        picture.unlink()  # its sound file is gone
    for genre in GENRES:
        if not any((target / genre).glob("*.png")):
            raise InputError(
                f"No picture and no sound of genre {genre} can be read in '{sounds}'. {' '.join(refused[:1])}"
            )
    print(*refused, sep="\n", end="\n" if refused else "")
    return target


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
                kagglehub.dataset_download(KAGGLE_SET, output_dir=str(unfinished), force_download=True)
                unfinished.rename(target)
    except Exception as error:  # kagglehub raises many types, and all mean the same to the user
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"The download of '{KAGGLE_SET}' from Kaggle failed ({reason}): download it in a browser and unpack it "
            "into data/gtzan."
        ) from error
    return target


def clips_with_audio(dataset: DataSet, per_genre: int | None = None) -> list[tuple[Path, Path]]:
    """Pair clips with the pictures they became: (audio, picture), at most per_genre of each genre.

    Kaggle's `blues.00000.wav` became `blues00000.png`. A clip without a picture is paired with the name it would have.
    """
    pairs = []
    sounds = {path.name.lower(): path for path in dataset.audio.iterdir()} if dataset.audio else {}
    for genre, images in genre_folders(dataset.images).items():
        clips = [p for p in sounds.get(genre, images).glob("*") if p.suffix.lower() in SOUND_SUFFIXES]
        kaggle = {clip: images / f"{clip.stem.replace('.', '')}.png" for clip in sorted(clips)[:per_genre]}
        pairs += [(clip, image if image.is_file() else images / f"{clip.stem}.png") for clip, image in kaggle.items()]
    return pairs


def read_tracks(dataset: DataSet, images: pd.Series) -> pd.DataFrame | None:
    """Give the facts that the project carries for GTZAN (artist, title, published split), a row per image, or None."""
    path = ROOT / "data" / dataset.name / "tracks.csv"
    if not path.is_file():
        return None
    facts = pd.read_csv(path, dtype=str, keep_default_na=False)
    return images.to_frame("image").merge(facts, on="image", how="left").fillna("")


def artist_numbers(tracks: pd.DataFrame) -> np.ndarray:
    """Number the artists of tracks, int (n,): two have one number if they share an artist's name or a published group.

    The published groups (column artist_group) join artists that play together, but also split some artists into
    several. A track whose artist is not known has a number of its own.
    """
    names = tracks[["artist", "artist_group"]].replace("", np.nan)
    belongs = csr_array(pd.get_dummies(names).to_numpy(float))  # tracks x names
    return pd.factorize(connected_components(belongs @ belongs.T, directed=False)[1])[0]


def twin_groups(matrices: np.ndarray) -> np.ndarray:
    """Number the pictures, int (n,), so that two have the same number if and only if they are identical."""
    return np.unique([digest(matrix) for matrix in matrices], return_inverse=True)[1]


def twin_table(table: pd.DataFrame, matrices: np.ndarray) -> pd.DataFrame:
    """List the pairs of identical pictures: columns first, second (file names) and same_genre."""
    table = table.assign(group=twin_groups(matrices))
    pairs = table.merge(table, on="group", suffixes=("_first", "_second"))
    pairs = pairs[pairs["image_first"] < pairs["image_second"]].reset_index(drop=True)
    same_genre = pairs["genre_first"] == pairs["genre_second"]
    return pd.DataFrame({"first": pairs["image_first"], "second": pairs["image_second"], "same_genre": same_genre})


def write_split(table: pd.DataFrame, split: Split, folder: Path) -> None:
    """Write names.csv, train_data.csv and validate_data.csv, each with the columns image and genre."""
    parts = {"names": slice(None), "train_data": split.train, "validate_data": split.validation}
    for name, rows in parts.items():
        with replacing(folder / f"{name}.csv") as temporary:
            table.iloc[rows].to_csv(temporary, index=False, lineterminator="\n")


def read_split(table: pd.DataFrame, folder: Path) -> Split:
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
        if not images.isin(table["image"]).all():
            raise InputError(f"'{path.name}' names pictures that are not in this set: run notebook 02 again.")
        rows[name] = np.flatnonzero(table["image"].isin(images))
    return Split("random", rows["train_data"], rows["validate_data"])
