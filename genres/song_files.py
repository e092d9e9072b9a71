"""Which songs are there."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from genres.common import GENRES, InputError, absolute

SOUND_SUFFIXES = {".wav", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".aif", ".aiff", ".wma"}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}


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
    """One song of a folder: its file, a title, one of the ten genres or None, and why None where one was named.

    label_from: where the genre was read, "songs.csv", "file name" or "folder", or "".
    """

    path: Path
    title: str
    genre: str | None = None
    note: str = ""
    artist: str = ""
    label_from: str = ""


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


def find_songs(*folders: str | Path) -> list[Song]:
    """List the sound files and pictures of folders and their sub-folders, with the genre each is said to be.

    A genre comes from songs.csv (columns file, title, genre), else from a `(genre)` at the end of the file name, else
    from the sub-folder. A song without one, or with one that is none of the ten, has None, and `note` quotes it.

    Raises InputError where there is no folder, it holds no songs, or songs.csv has no column `file`.
    """
    return [song for folder in folders for song in _songs_in(absolute(folder))]


def _songs_in(folder: Path) -> list[Song]:
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
        place = "songs.csv" if row.get("genre") else "file name" if named else "folder"
        title = row.get("title") or stem.replace("_", " ").strip()
        songs.append(Song(path, title, genre, note, row.get("artist", ""), place if genre else ""))
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


def file_name(title: str) -> str:
    """A title as a plain file name: lower case letters, digits and underscores."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:60] or "untitled"


def file_names(titles: Sequence[str]) -> list[str]:
    """Titles as plain file names, no two the same; a title that comes again gets a number."""
    met: Counter[str] = Counter()
    names = []
    for plain in map(file_name, titles):
        met[plain] += 1
        names.append(plain if met[plain] == 1 else f"{plain}_{met[plain]}")
    return names


def split_folders(named: str) -> list[Path]:
    return [absolute(folder) for folder in named.split(os.pathsep)]


def known_title(title, artist, tracks):
    return None
