"""Which songs there are: files and folders, the titles, artists and genres they are said to have.

Whether a song is in the training set by name is answered here too; by sound, the fingerprints answer it.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import av
import pandas as pd

from genres.audio import refuse_address
from genres.common import GENRES, InputError, absolute

# Kinds that are songs by their name. A file with another ending is opened to see whether there is sound in it.
SOUND_KINDS = (
    "3gp aac ac3 aif aifc aiff amr ape au avi caf dff dsf dts eac3 f4a flac flv m2ts m4a m4b m4r m4v mka mkv mov mp2 "
    "mp3 mp4 mpc mpeg mpg mpga mts oga ogg ogv ogx opus ra rm snd spx tak tta voc w64 wav wave weba webm wma wmv wv"
)
SOUND_SUFFIXES = {f".{kind}" for kind in SOUND_KINDS.split()}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg"}
UNUSABLE_KINDS = {  # what lies among songs and cannot be one
    "m4p aax aaxc": "is copy-protected and cannot be converted: take a copy without protection",
    "mid midi kar": "holds notes, not sound: play it into a sound file first",
    "zip rar 7z": "is an archive: unpack it first",
    "part crdownload download icloud": "is only a part of a download: download it again",
}
REFUSALS = {f".{kind}": reason for kinds, reason in UNUSABLE_KINDS.items() for kind in kinds.split()}
COVER = re.compile(
    r"(folder|cover|front|back|albumart.*|album|artwork|thumb(nail)?|booklet|inlay|cd|disc)[\W_\d]*", re.IGNORECASE
)
SUBGENRES = {
    "classical": "classics orchestral opera",
    "country": "bluegrass",
    "hiphop": "rap trap",
    "jazz": "bebop",
    "pop": "britpop synthpop",
    "reggae": "dub",
}
GENRE_WORDS = {word: genre for genre in GENRES for word in (genre, *SUBGENRES.get(genre, "").split())}
VERSION = re.compile(r" - [^-]*\b(remaster|original|version|edit|mix|remix|live|mono|stereo)\w*\b.*$", re.IGNORECASE)
LEAST_WORDS, LEAST_LETTERS = 2, 8  # of a title that is found without an artist; shorter ones many songs share
NO_ARTIST = {"", "unknown", "unknown artist", "various", "various artists", "va"}


@dataclass(frozen=True)
class Song:
    """One song: its file, a title, one of the ten genres or None, what a reader must know of it, and the artist or "".

    listed: whether songs.csv gives the title, so that the file's tag does not replace it. usable: False for a file that
    is no song; `note` says why. label_from: where the genre was read, "songs.csv", "file name" or "folder", or "".
    """

    path: Path
    title: str
    genre: str | None = None
    note: str = ""
    artist: str = ""
    listed: bool = False
    usable: bool = True
    label_from: str = ""

    def with_tags(self, title: str, artist: str) -> Song:
        """The song with title and artist of its tag, where there is one and songs.csv gives none."""
        if self.listed or not title:
            return replace(self, artist=self.artist or artist)
        named_artist, named_title = split_title(title)
        # "Blondie - Heart of Glass" by Blondie holds the artist twice; "Symphony No. 5 - Finale" by Beethoven does not.
        if named_artist and (not artist or _same_artist(named_artist, artist)):
            return replace(self, title=named_title, artist=artist or named_artist)
        return replace(self, title=title, artist=artist or self.artist)


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


def split_folders(text: str) -> list[Path]:
    """The files and folders of a text that separates them as PATH does, by ":" or on Windows ";".

    What exists as named is taken before the name is split, so a folder may be called "AC:DC". Raises InputError for a
    web address.
    """
    refuse_address(text)
    pieces, found = text.split(os.pathsep), []
    while pieces:
        # The longest run of pieces that exists; else one piece, of which the caller says that there is no such folder.
        lengths = (n for n in range(len(pieces), 1, -1) if absolute(os.pathsep.join(pieces[:n])).exists())
        length = next(lengths, 1)
        if name := os.pathsep.join(pieces[:length]).strip():
            found.append(absolute(name))
        pieces = pieces[length:]
    return found


def find_songs(*places: str | Path) -> list[Song]:
    """List the songs among files and folders with their sub-folders, linked ones too, each file once.

    Genre, title and artist come from songs.csv (columns file, title, artist, genre), else from a file name such as
    "Artist - Title (genre)"; the genre else from the sub-folder. One that is none of the ten is None, and `note` quotes
    it. What lies there and cannot be used (protected, archives) is listed with the reason as `note`; texts, tables and
    album covers are left out.

    Raises InputError where a place does not exist, a folder holds no songs, or songs.csv has no column `file`.
    """
    songs: dict[Path, Song] = {}
    for name in places:
        refuse_address(name)
        place = absolute(name)
        if not place.exists():
            raise InputError(f"The songs folder '{place}' does not exist: name the folder that holds the songs.")
        if place.is_dir():
            found = _songs_in(place)
        else:
            row = _read_songs_csv(place.parent).get(_listed_name(place.name), {})
            found = [_named(place, place.parent, row)]
        if not found:
            raise InputError(f"No songs in '{place}': put sound files (mp3, m4a, wav, flac, ogg) into it.")
        for song in found:
            songs.setdefault(song.path.resolve(), song)
    return list(songs.values())


def _songs_in(folder: Path) -> list[Song]:
    table = _read_songs_csv(folder)
    songs = []
    for path in sorted(path for path in paths_below(folder) if not path.is_dir()):
        row = table.pop(_listed_name(path.relative_to(folder).as_posix()), None)
        if row or _is_song(path):  # what songs.csv names is meant to be a song, whatever it is called
            songs.append(_named(path, folder, row or {}))
    for row in table.values():  # what lies elsewhere, or nowhere
        song = _named(folder / row["file"], folder, row)
        if not song.path.is_file():
            title = row.get("title") or row["file"]
            song = replace(song, title=title, genre=None, note="there is no such file", usable=False)
        songs.append(song)
    return songs


def paths_below(folder: Path) -> Iterator[Path]:
    """Give the files and folders below a folder, the nearest first, also through links; each folder is read once.

    Hidden ones are left out, and so are the leavings of macOS and what lies in a folder that cannot be read.
    """
    folders, met = [folder], set()
    for place in folders:  # grows on the way
        if place.resolve() not in met:
            met.add(place.resolve())
            with suppress(OSError):
                inside = sorted(p for p in place.iterdir() if p.name != "__MACOSX" and p.name[0] != ".")
                folders += [p for p in inside if p.is_dir()]
                yield from inside


def _is_song(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return not COVER.fullmatch(path.stem)
    return suffix in SOUND_SUFFIXES or suffix in REFUSALS or _holds_sound(path)


def _holds_sound(path: Path) -> bool:
    """Whether FFmpeg can decode sound from a file whose name does not say so."""
    try:
        with path.open("rb") as file, av.open(file, options={"protocol_whitelist": "none"}) as container:
            return next(container.decode(audio=0)).samples > 0
    except (av.error.FFmpegError, OSError, ValueError, IndexError, StopIteration, AttributeError):
        return False


def _named(path: Path, folder: Path, row: dict[str, str]) -> Song:
    """The song of a file, with what its row of songs.csv, the file name and the sub-folder say of it."""
    stem = path.stem if re.fullmatch(r"\.\w{1,11}", path.suffix) else path.name  # "Mr. Brown" has no suffix
    bracket = re.search(r"^(.*?)[\s_]*[\[(]([^()\[\]]+)[\])]$", stem)
    in_folder = map_genre(path.parent.name) if path.parent != folder else None
    # "Song (Live).mp3" in a folder of rock is rock: a bracket counts only where it names a genre.
    named = row.get("genre") or (bracket[2] if bracket and (map_genre(bracket[2]) or not in_folder) else "")
    genre = map_genre(named) if named else in_folder
    artist, title = split_title(bracket[1] if bracket and map_genre(bracket[2]) else stem)
    note = f"'{named}' is none of the ten genres" if named and genre is None else ""
    refusal = REFUSALS.get(path.suffix.lower())
    if refusal:
        note = f"'{path.name}' {refusal}."
    title, artist = row.get("title") or title, row.get("artist") or ("" if row.get("title") else artist)
    place = "" if genre is None else "songs.csv" if row.get("genre") else "file name" if named else "folder"
    return Song(path, title, genre, note, artist, bool(row.get("title")), not refusal, place)


def _read_songs_csv(folder: Path) -> dict[str, dict[str, str]]:
    """Rows of a folder's songs.csv by file name; empty where there is none."""
    path = folder / "songs.csv"
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
    rows = [{name: text.strip() for name, text in row.items()} for row in table.to_dict("records")]
    for row in rows:  # Windows separates folders by backslashes; elsewhere a name may hold one
        row["file"] = row["file"] if (folder / row["file"]).exists() else row["file"].replace("\\", "/")
    return {_listed_name(row["file"]): row for row in rows if row["file"]}


def _listed_name(name: str) -> str:
    """What a name in songs.csv and that of the file have in common.

    macOS writes accents apart from their letters, a typed table does not; Windows does not tell upper from lower case.
    """
    return unicodedata.normalize("NFC", name).casefold().removeprefix("./")


def split_title(name: str) -> tuple[str, str]:
    """Artist and title of a name such as "01 - Artist - Title", the artist "" where there is none."""
    text = re.sub(r"\s+", " ", name.replace("_", " ")).strip()
    text = re.sub(r"^(\d{1,3}[.)]? ?[-\u2013] |\d{1,3}[.)] |0\d[ .-]|\d\d[-.](?=\D))(?=.)", "", text)
    artist, dash, title = text.partition(" - ")
    return (artist.strip(), title.strip()) if dash and artist.strip() and title.strip() else ("", text)


def known_title(title: str, artist: str, tracks: pd.DataFrame) -> pd.Series | None:
    """The row of tracks.csv (columns image, artist, title) with this title and artist, or None.

    Case, accents, punctuation, brackets, "feat." and leading numbers do not count. One artist may be a part of the
    other ("Bob Marley" and "Bob Marley & The Wailers"). A title without an artist is found if it has two words or more,
    and more than eight letters.
    """
    artist = "" if _plain(artist) in NO_ARTIST else artist
    first, second = split_title(title)
    readings = [(title, artist), (second, artist), *([(second, first), (first, second)] if first else [])]
    for (name, by), (position, known) in itertools.product(readings, enumerate(tracks["title"])):
        same = _title_keys(name) & _title_keys(known)
        if same and by and _same_artist(by, tracks["artist"].iloc[position]):
            return tracks.iloc[position]
        if not by and any(len(key.split()) >= LEAST_WORDS and len(key) > LEAST_LETTERS for key in same):
            return tracks.iloc[position]
    return None


@functools.cache
def _title_keys(title: str) -> frozenset[str]:
    """What two spellings of one title have in common: with brackets and without, and without a leading number."""
    title = re.split(r"\b(?:feat|ft|featuring)\b\.?", title, maxsplit=1, flags=re.IGNORECASE)[0]
    title = VERSION.sub("", title)
    plain = {_plain(title), _plain(re.sub(r"[(\[][^()\[\]]*[)\]]?", " ", title))}
    return frozenset(key for text in plain for key in (text, re.sub(r"^\d+ ", "", text)) if key)


def _plain(text: str) -> str:
    """Words in lower case without accents and punctuation: "Don't Stop 'Til" is "dont stop til"."""
    text = unicodedata.normalize("NFKD", text.casefold().replace("$", "s"))
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = re.sub(r"['\u2019`\u00b4.]", "", text.replace("&", " and ").replace("+", " and "))
    return " ".join(re.findall(r"[^\W_]+", text))


@functools.cache
def _same_artist(one: str, other: str) -> bool:
    """Whether the words of one artist are all among the other's; "the" and "and" do not count."""
    words = [set(_plain(name).split()) - {"the", "and", "feat", "ft", "featuring"} for name in (one, other)]
    joined = [_plain(name).replace(" ", "") for name in (one, other)]
    return bool(words[0] and words[1]) and (joined[0] == joined[1] or words[0] <= words[1] or words[1] <= words[0])


def file_names(titles: Sequence[str]) -> list[str]:
    """Titles as plain file names, no two the same: lower case letters, digits and underscores.

    A title in another script, or one too long, gets a digest of it instead of what is left out; a title that comes
    again gets a number.
    """
    names: list[str] = []
    for title in titles:
        text = unicodedata.normalize("NFKD", title)
        plain = re.sub(r"[^a-z0-9]+", "_", text.encode("ascii", "ignore").decode().lower()).strip("_")
        foreign = any(ord(letter) > 127 and letter.isalnum() for letter in text)
        if foreign or not plain or len(plain) > 60:
            plain = f"{plain[:60] or 'song'}_{hashlib.sha256(title.encode('utf-8', 'surrogatepass')).hexdigest()[:6]}"
        numbered = (f"{plain}_{number}" for number in itertools.count(2))
        names.append(plain if plain not in names else next(name for name in numbered if name not in names))
    return names
