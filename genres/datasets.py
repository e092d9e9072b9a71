"""Where a set of genre pictures lies: the Kaggle download, the demo songs, or a set of the user's own."""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from genres.audio import load_audio, refuse_address
from genres.common import GENRES, ROOT, InputError, absolute, digest, file_stamps, in_parallel, locked, replacing
from genres.runs import Split
from genres.song_files import PICTURE_SUFFIXES, SOUND_SUFFIXES, file_names, paths_below
from genres.spectrogram import audio_to_matrix, matrix_to_picture, middle_clip, picture_to_matrix

KAGGLE_SET = "andradaolteanu/gtzan-dataset-music-genre-classification"
GTZAN_SAMPLES = ROOT / "data_samples"  # pictures of GTZAN, by which it is known; file names alone do not tell
ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar"}
SYSTEM_FOLDERS = (".", "__", "$", "@", "system volume information", "lost+found", "recycler")  # what they begin with


@dataclass(frozen=True)
class DataSet:
    """Where one set of genre pictures lies, and where its results go.

    name: "gtzan", "demo", or the name of a set of the user's own. label: how titles and tables call it. images: folder
    with one sub-folder of pictures per genre. audio: the same with clips, or None. songs: folder of songs that come
    with the set, or None. results, cache: folders for what is made, and for what can be made again. tracks: table of
    the artists, or None; see `read_tracks`.
    """

    name: str
    label: str
    images: Path
    audio: Path | None
    songs: Path | None
    results: Path
    cache: Path
    tracks: Path | None = None

    @property
    def figures(self) -> Path:
        """Folder for saved figures: figures/<set> for the report, and beside the other results for any other run."""
        report = self.results == ROOT / "data" / self.name
        return ROOT / "figures" / self.name if report else self.results / "figures"


def find_dataset(folder: str | Path = "", output: str | Path = "") -> DataSet:
    """Find the pictures below `folder`; with no folder named, take data/gtzan, and else the demo songs.

    `folder` may be a Kaggle download, its `Data` folder, the `images_original` folder itself, or a set of one's own:
    ten folders, named after the ten genres, of pictures in the Kaggle style or of sound files, which are drawn first.
    The demo songs are made once, and a line says so.

    Raises InputError where a named folder is missing or does not hold the ten genres.

    Parameters
    ----------
    folder: where the pictures lie, or "" for the usual place.
    output: folder for results, or "" for data/<set>/run, which git ignores.

    Returns
    -------
    A DataSet with the folders of pictures, sound, songs, results and cache.

    Example
    -------
    >>> dataset = find_dataset(folder)
    >>> dataset.name, dataset.label
    ('demo', 'demo songs')
    """
    gtzan = ROOT / "data" / "gtzan"
    if not folder and _pictures_below(gtzan) is None:
        from genres import demo_songs  # here, because only this case needs the synthesiser

        _refuse_archives(gtzan)
        print("No GTZAN pictures found in data/gtzan: using the demo songs that this project plays itself.")
        folder = ROOT / "data" / "demo"
        demo_songs.make_demo_set(folder)
    refuse_address(folder)
    folder = absolute(folder or gtzan)
    if folder.is_file():
        raise InputError(f"'{folder.name}' is a file: unpack it first if it is an archive, and name the folder.")
    if not folder.is_dir():
        raise InputError(f"The data folder '{folder}' does not exist: name the folder of the Kaggle download.")
    images = _pictures_below(folder) or folder
    top = next(path for path in (images, *images.parents) if path.name not in ("Data", "images_original"))
    beside = {path.name: path for home in (images, top, folder) for path in home.glob("*") if path.is_file()}
    stamp = beside.get("demo.json")
    name = "demo" if stamp else _set_name(folder, images)
    results = absolute(output) if output else ROOT / "data" / name / "run"
    cache = results / "cache" if output else ROOT / "data" / name / "cache"
    audio = images.parent / "genres_original"
    if _holds_sound(images):
        audio, images = images, _draw_set(images, cache / "images_original")
    audio, songs = audio if audio.is_dir() else None, stamp.with_name("songs") if stamp else None
    label = {"gtzan": "GTZAN", "demo": "demo songs"}.get(name, f"own set '{name}'")
    tracks = gtzan / "tracks.csv" if name == "gtzan" else beside.get("tracks.csv")
    return DataSet(name, label, images, audio, songs, results, cache, tracks)


def genre_folders(images: Path) -> dict[str, Path]:
    """Return the folder of each of the ten genres, whatever its capitals; folders of the system do not count.

    Raises InputError where a genre is missing or empty, or there are others.
    """
    below = {path.name.lower(): path for path in sorted(images.iterdir()) if path.is_dir()}
    folders = {name: p for name, p in below.items() if not name.startswith(SYSTEM_FOLDERS) and any(p.iterdir())}
    missing, other = [g for g in GENRES if g not in folders], [name for name in folders if name not in GENRES]
    if len(missing) == len(GENRES):
        _refuse_archives(images)
        raise InputError(f"No folders of genres in '{images}': name the folder of the Kaggle download.")
    if missing or other:
        reason = f"there are also {', '.join(other)}" if other else f"{', '.join(missing)} are missing or empty"
        raise InputError(f"'{images}' must hold one folder for each of {', '.join(GENRES)}: {reason}.")
    return {genre: folders[genre] for genre in GENRES}


def _refuse_archives(folder: Path) -> None:
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in ARCHIVES and path.is_file():
            raise InputError(f"'{path.name}' in '{folder}' is not unpacked: unpack it there, or move it away.")


def _pictures_below(folder: Path) -> Path | None:
    """Return the nearest folder images_original at or below `folder`, or None; hidden ones are not finished."""
    folders = chain([folder], paths_below(folder)) if folder.is_dir() else []
    return next((path for path in folders if path.name == "images_original" and path.is_dir()), None)


def _set_name(folder: Path, images: Path) -> str:
    """Return "gtzan" where the pictures are GTZAN's, else a name made from the folder's own."""
    for sample in GTZAN_SAMPLES.glob("*.png"):
        for path in images.glob(f"*/{sample.name}"):
            with suppress(InputError):
                if np.array_equal(picture_to_matrix(path), picture_to_matrix(sample)):
                    return "gtzan"
    own = next(path.name for path in (folder, *folder.parents) if path.name not in ("Data", "images_original"))
    plain = file_names([own])[0]
    return f"own_{plain}" if plain in {"gtzan", "demo", "songs", "musicnn"} else plain


def _holds_sound(images: Path) -> bool:
    """Whether the genre folders hold sound, perhaps with covers, and not pictures; JPEG alone raises InputError."""
    kinds = Counter(p.suffix.lower() for folder in genre_folders(images).values() for p in paths_below(folder))
    sounds = sum(kinds[suffix] for suffix in SOUND_SUFFIXES)
    if kinds[".jpg"] + kinds[".jpeg"] and not kinds[".png"] and not sounds:
        raise InputError(f"What '{images}' holds is JPEG, which loses the levels of a spectrogram: take PNG pictures.")
    return sounds > kinds[".png"] or not kinds[".png"]


def _picture_names(folder: Path) -> dict[Path, str]:
    """Return the files below a genre folder of sound, each with the name of its picture.

    That is the name of the file without its suffix; where two have the same, the suffix or the sub-folders are in it.
    """
    paths = sorted(p for p in paths_below(folder) if p.is_file() and p.suffix.lower() not in PICTURE_SUFFIXES)
    names = {path: [path.stem, path.name, " - ".join(path.relative_to(folder).parts)] for path in paths}
    counts = Counter(name.casefold() for spellings in names.values() for name in set(spellings))
    unique = {path: [n for n in spellings if counts[n.casefold()] == 1] for path, spellings in names.items()}
    return {path: f"{(unique[path] or names[path][-1:])[0]}.png" for path in paths}


def _draw_clip(job: tuple[Path, Path]) -> str:
    """Draw a sound file unless that is done, and return what is wrong with it; its picture notes the file's stamp."""
    sound, picture = job
    stamp, note = digest(*file_stamps([sound])), PngInfo()
    note.add_text("sound", stamp)
    with suppress(OSError), Image.open(picture) as image:
        if image.info.get("sound") == stamp:
            return ""
    try:
        drawing = matrix_to_picture(audio_to_matrix(middle_clip(load_audio(sound))))
    except InputError as error:
        picture.unlink(missing_ok=True)
        return str(error)
    with replacing(picture) as temporary:
        drawing.save(temporary, format="PNG", pnginfo=note)
    return ""


def _draw_set(sounds: Path, target: Path) -> Path:
    """Draw each sound file in ten genre folders as a Kaggle-style picture, and return their folder.

    What cannot be read is printed and left out. Raises InputError where a genre is left without a picture.
    """
    folders = genre_folders(sounds).items()
    jobs = [(path, target / genre / name) for genre, folder in folders for path, name in _picture_names(folder).items()]
    refusals = [sentence for sentence in in_parallel(_draw_clip, jobs, "drawing sound files", 10) if sentence]
    for picture in set(target.glob("*/*.png")) - {picture for _, picture in jobs}:
        picture.unlink()  # its sound file is gone
    for genre in GENRES:
        if not any((target / genre).glob("*.png")):
            reason = " ".join(refusals[:1])
            raise InputError(f"No picture and no sound of genre {genre} can be read in '{sounds}'. {reason}")
    print(*refusals, sep="\n", end="\n" if refusals else "")
    return target


def download_gtzan() -> Path:
    """Download the Kaggle set (1.3 GB) with kagglehub and return the folder it was unpacked to, data/gtzan/kaggle.

    The folder gets this name when all is there. Raises InputError, with what to do by hand, where the download fails.
    """
    target = ROOT / "data" / "gtzan" / "kaggle"
    partial = target.with_name(".kaggle")
    try:
        import kagglehub

        with locked(target.parent):
            if not target.is_dir():
                kagglehub.dataset_download(KAGGLE_SET, output_dir=str(partial), force_download=True)
                partial.rename(target)
    except Exception as error:  # kagglehub raises many types, and all mean the same to the user
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"The download of '{KAGGLE_SET}' from Kaggle failed ({reason}): download it in a browser and unpack it "
            "into data/gtzan."
        ) from error
    return target


def clip_of_rows(dataset: DataSet, images: pd.Series) -> list[Path | None]:
    """Return the sound file of each picture, or None, in the order of `images`: file names, or "genre/name".

    A bare name that pictures of two genres have is nobody's: the table does not say which of them could be read.
    """
    count = Counter(path.name for path in dataset.images.glob("*/*"))
    clips: dict[str, Path] = {}
    for sound, picture in clips_with_audio(dataset):
        clips.setdefault(f"{picture.parent.name.lower()}/{picture.name}", sound)
        if count[picture.name] == 1 and picture.is_file():
            clips.setdefault(picture.name, sound)
    return [clips.get(image) for image in images]


def clips_with_audio(dataset: DataSet, per_genre: int | None = None) -> list[tuple[Path, Path]]:
    """Pair clips with the pictures they became: (audio, picture), at most per_genre of each genre.

    Kaggle's `blues.00000.wav` became `blues00000.png`. A clip without a picture is paired with the name it would have.
    """
    pairs = []
    folders = {path.name.lower(): path for path in dataset.audio.iterdir()} if dataset.audio else {}
    for genre, images in genre_folders(dataset.images).items():
        pictures = {path.stem: path for path in images.iterdir()}
        sounds = _picture_names(folders.get(genre, images))
        for sound in [path for path in sounds if path.suffix.lower() in SOUND_SUFFIXES][:per_genre]:
            names = (sounds[sound].removesuffix(".png"), sound.name, sound.stem, sound.stem.replace(".", ""))
            pairs.append((sound, next((pictures[n] for n in names if n in pictures), images / f"{names[-1]}.png")))
    return pairs


def read_tracks(dataset: DataSet, images: pd.Series) -> pd.DataFrame | None:
    """Return the facts about the tracks of `images`, a row for each, "" where nothing is known; None without a table.

    The set's tracks.csv has the columns image and artist, and perhaps others; a sound's name may stand for its picture.
    Raises InputError for a file that is no such table, or names a picture twice or one that the set does not have.
    """
    if dataset.tracks is None:
        return None
    text = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        facts = pd.read_csv(dataset.tracks, sep=None, engine="python", **text)  # finds out what separates the columns
    except (OSError, ValueError) as error:  # ValueError is what pandas' own errors and a wrong encoding are, too
        raise InputError(f"'{dataset.tracks}' cannot be read as a table: save it as CSV in UTF-8.") from error
    facts.columns = facts.columns.str.strip().str.lower()
    if not {"image", "artist"} <= set(facts):
        raise InputError(f"'{dataset.tracks}' lacks columns: its first line must be image,artist,title.")
    names = set(images)

    def picture_of(name: str) -> str:
        return next((n for n in (name, f"{name.rpartition('.')[0]}.png", f"{name}.png") if n in names), name)

    facts["image"] = facts["image"].str.strip().str.replace("\\", "/").map(picture_of)
    files = {path.name for folder in (dataset.images, dataset.audio) if folder for path in folder.glob("**/*")}
    strangers = [name for name in facts["image"] if name not in names and Path(name).name not in files]
    twice = facts["image"][facts["image"].duplicated()].tolist()
    if dataset.name != "gtzan" and (strangers or twice):
        reason = f"'{twice[0]}' twice" if twice else f"'{strangers[0]}', which is not in the set"
        raise InputError(f"'{dataset.tracks}' names {reason}: its images must be those of names.csv, each once.")
    return images.to_frame("image").merge(facts, on="image", how="left").fillna("")


def artist_numbers(tracks: pd.DataFrame) -> np.ndarray:
    """Number the artists of tracks, int (n,): two have one number if they share an artist's name or a published group.

    The published groups (column artist_group) join artists that play together, but also split some artists. A track
    whose artist is not known has a number of its own.
    """
    names = tracks[tracks.columns.intersection(["artist", "artist_group"])].replace("", np.nan)
    links = csr_array(pd.get_dummies(names).to_numpy(float))  # tracks x names
    return pd.factorize(connected_components(links @ links.T, directed=False)[1])[0]


def twin_groups(matrices: np.ndarray) -> np.ndarray:
    """Number the pictures, int (n,), so that two have the same number if and only if they are identical."""
    return np.unique([hashlib.sha256(matrix).hexdigest() for matrix in matrices], return_inverse=True)[1]


def twin_table(table: pd.DataFrame, matrices: np.ndarray) -> pd.DataFrame:
    """List the pairs of identical pictures: columns first, second (file names) and same_genre."""
    table = table.rename(columns={"image": "first"}).assign(group=twin_groups(matrices))
    pairs = table.merge(table.rename(columns={"first": "second"}), on="group").query("first < second")
    pairs["same_genre"] = pairs["genre_x"] == pairs["genre_y"]
    return pairs[["first", "second", "same_genre"]].reset_index(drop=True)


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
