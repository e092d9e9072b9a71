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

from genres.audio import REFUSALS, refuse_address
from genres.common import FILE_URL, GENRES, InputError, absolute, printable, why_unreadable

# Kinds that are songs by their name. A file with another ending is opened to see whether there is sound in it.
SOUND_KINDS = (
    "3gp aac ac3 aif aifc aiff amr ape au avi caf dff dsf dts eac3 f4a flac flv m2ts m4a m4b m4r m4v mka mkv mov mp2 "
    "mp3 mp4 mpc mpeg mpg mpga mts oga ogg ogv ogx opus ra rm snd spx tak tta voc w64 wav wave weba webm wma wmv wv"
)
SOUND_SUFFIXES = {f".{kind}" for kind in SOUND_KINDS.split()}
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
SYSTEM_FOLDERS = {"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir", "#recycle"}
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
QUALIFIERS = (  # may stand before a genre in a label; other words make a name of it, as in "Iggy Pop"
    "acid acoustic alternative black classic contemporary cool country death delta electric electro folk free fusion "
    "hard heavy indie j k latin modern new old progressive psychedelic punk roots school smooth soft southern swing "
    "synth thrash traditional vocal"
)
OPENED, CLOSED = "[\\[({\uff08\uff3b\uff5b\u3010]", "[\\])}\uff09\uff3d\uff5d\u3011]"  # those of East Asia, too
BRACKET = re.compile(rf"{OPENED}([^()\[\]{{}}\uff08\uff09\uff3b\uff3d\uff5b\uff5d\u3010\u3011]*){CLOSED}$")
COPY = re.compile(  # what a system adds to the name of a copy, and a downloader (the id of a video) to that of a song
    r"(\s*[-_]?\s*\b(copy|kopie|copie|copia)(\s*\(?\d{1,2}\)?)?|\s*\(\d{1,2}\)|(?<=[\])}])-[\w-]{11}"
    r"|\s*\[(?=[^\]]*(\d|(?-i:[a-z][A-Z])))[\w-]{11}\])$",
    re.IGNORECASE,
)
COLUMN_NAMES = {  # of songs.csv, as people write them
    "file": "filename path datei fichier",
    "title": "titel titre song titolo",
    "artist": "interpret artiste artista band",
    "genre": "label class genres genero",
}
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

    def __post_init__(self):
        for name in ("title", "note", "artist"):  # also what tags and names of files bring
            object.__setattr__(self, name, printable(getattr(self, name)))

    def with_tags(self, title: str, artist: str) -> Song:
        """Return the song with title and artist of its tag, where there is one and songs.csv gives none."""
        if self.listed or not title:
            return replace(self, artist=self.artist or artist)
        named_artist, named_title = split_title(title)
        # "Blondie - Heart of Glass" by Blondie holds the artist twice; "Symphony No. 5 - Finale" by Beethoven does not.
        if named_artist and (not artist or _same_artist(named_artist, artist)):
            return replace(self, title=named_title, artist=artist or named_artist)
        return replace(self, title=title, artist=artist or self.artist)


def map_genre(name: str, alone: bool = False) -> str | None:
    """Return one of the ten for a genre as a shop or player names it, or None where that is not plain.

    The last word decides ("Smooth Jazz" is jazz, "Country Gospel" is None) and all parts must agree ("Hip-Hop/Rap" is
    hiphop, "Pop/Rock" and "R&B/Soul" are None). alone: "Iggy Pop" and "no jazz" are None, too.
    """
    text = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower().replace("_", " ")
    text = re.sub(r"\brock\s*(&|and|'?n'?)\s*roll\b", "rock", text)
    text = re.sub(r"\bhip[\s-]*hop\b", "hiphop", text)
    found = set()
    for part in re.split(r"[/;,&+|]|\band\b", text):
        words = [word for word in re.findall(r"[a-z]+", part) if word != "music"]
        named = {GENRE_WORDS[word] for word in words if word in GENRE_WORDS}
        strange = alone and not set(words) <= {*QUALIFIERS.split(), *GENRE_WORDS}
        found |= named if words and words[-1] in GENRE_WORDS and not strange else {None}
    return found.pop() if len(found) == 1 else None


def split_folders(text: str) -> list[Path]:
    """Return the files and folders of a text that separates them as PATH does, by ":" or on Windows ";".

    A folder that exists may be called "AC:DC". Raises InputError for a web address.
    """
    refuse_address(text)
    if FILE_URL.match(text):
        return [absolute(text)]
    pieces, found = text.split(os.pathsep), []
    while pieces:
        # The longest run of pieces that exists; else one piece, of which the caller says that there is no such folder.
        lengths = (n for n in range(len(pieces), 1, -1) if os.path.exists(absolute(os.pathsep.join(pieces[:n]))))
        length = next(lengths, 1)
        if name := os.pathsep.join(pieces[:length]).strip():
            found.append(absolute(name))
        pieces = pieces[length:]
    return found


def find_songs(*places: str | Path) -> list[Song]:
    """List the songs among files and folders with their sub-folders, linked ones too, each file once.

    Genre, title and artist come from songs.csv (columns file, title, artist, genre), else from a file name such as
    "Artist - Title (genre)"; the genre else from the nearest folder of that name. `note` quotes a genre that is none of
    the ten, or says why a file cannot be used (protected, an archive, a pipe, not there).

    Raises InputError for a place that cannot be read or holds no songs, and for a songs.csv without a column `file`.
    """
    songs: dict[str, Song] = {}
    for name in places:
        refuse_address(name)
        place = absolute(name)
        folder, reason = os.path.isdir(place), why_unreadable(place)
        if reason and (folder or not os.path.lexists(place)):
            raise InputError(f"'{place}' {reason}")
        found = _songs_in(place) if folder else [_named(place, place.parent, _rows_by_file(place.parent, [place]))]
        if not found:
            raise InputError(f"No songs in '{place}': put sound files (mp3, m4a, wav, flac, ogg) into it.")
        for song in found:
            songs.setdefault(os.path.realpath(song.path), song)
    return list(songs.values())


def _songs_in(folder: Path) -> list[Song]:
    paths = sorted(paths_below(folder))
    rows = _rows_by_file(folder, paths)
    # What songs.csv names is meant to be a song, whatever it is called, and also what lies elsewhere, or nowhere.
    songs = [_named(path, folder, rows) for path in paths if _meant(path) in rows or _is_song(path)]
    return songs + [_named(Path(row["path"]), folder, rows) for row in list(rows.values())]


def paths_below(folder: Path) -> Iterator[Path]:
    """Return the files and folders below a folder, the nearest first, also through links; each folder is read once.

    Left out are hidden ones (but what iCloud has not loaded), folders of systems, and what may not be read.
    """
    folders, met = [folder], set()
    for place in folders:  # grows on the way
        if (real := os.path.realpath(place)) not in met:
            met.add(real)
            with suppress(OSError):
                seen = (path for path in place.iterdir() if path.name[0] != "." or path.suffix == ".icloud")
                inside = sorted(path for path in seen if path.name not in SYSTEM_FOLDERS)
                folders += [path for path in inside if os.path.isdir(path)]
                yield from inside


def _is_song(path: Path) -> bool:
    """Whether a path is to be listed as a song, or with the reason why it cannot be read."""
    suffix = path.suffix.lower()
    if os.path.isdir(path):
        return bool(why_unreadable(path))
    if suffix in PICTURE_SUFFIXES:
        return not COVER.fullmatch(path.stem)
    if suffix in SOUND_SUFFIXES or suffix in REFUSALS:
        return True
    if not os.path.isfile(path):  # a pipe would have to be opened to see what it holds
        return os.path.exists(path)
    try:
        with path.open("rb") as file, av.open(file, options={"protocol_whitelist": "none"}) as container:
            return next(container.decode(audio=0)).samples > 0
    except (av.error.FFmpegError, OSError, ValueError, IndexError, StopIteration, AttributeError):
        return False


def _named(path: Path, folder: Path, rows: dict[str, dict[str, str]]) -> Song:
    """Return the song of a file, with what its row of songs.csv, the file name and the folders say; takes the row."""
    row = dict.fromkeys(COLUMN_NAMES, "") | rows.pop(_meant(path), {})
    name = path.name.strip(".").removesuffix(".icloud") if path.suffix == ".icloud" else path.name
    text, label, other = _label_in_name(re.sub(r"\.\w{1,11}$", "", name))  # "Mr. Brown" has no suffix
    artist, title = split_title(text)
    title, artist = row["title"] or title, row["artist"] or ("" if row["title"] else artist)
    refusal = REFUSALS.get(path.suffix.lower())
    if reason := why_unreadable(path) or (refusal and f"{refusal}."):
        return Song(path, title, None, f"'{path.name}' {reason}", artist, usable=False)
    above = path.parts[len(folder.parts) : -1][::-1] if path.is_relative_to(folder) else path.parts[-2:-1]
    in_folder = next(filter(None, (map_genre(name, alone=True) for name in above)), None)
    # "Song (Live).mp3" in a folder of rock is rock: a bracket counts only where it names a genre.
    named = row["genre"] or label or ("" if in_folder else other)
    genre = map_genre(named) if row["genre"] or label else in_folder
    note = f"'{named}' is none of the ten genres" if named and genre is None else ""
    source = "" if genre is None else "songs.csv" if row["genre"] else "file name" if named else "folder"
    return Song(path, title, genre, note, artist, bool(row["title"]), label_from=source)


def _label_in_name(stem: str) -> tuple[str, str, str]:
    """Split "At Last (blues) (1)" into "At Last" and the label "blues", or "" where none of the last brackets is one.

    The third text is the last bracket with letters, which a reader may have meant as a label.
    """
    end = " _.-"
    title = rest = _without_copy(stem.rstrip(end)) or stem
    other = ""
    while bracket := BRACKET.search(rest):
        inside, before = bracket[1].strip(), rest[: bracket.start()].rstrip(end)
        if map_genre(inside, alone=True):
            return before or stem, inside, ""
        other = other or (inside if re.search(r"[^\W\d_]", inside) else "")
        rest = _without_copy(before)
    return title, "", other


def _without_copy(text: str) -> str:
    """Take numbers of copies and ids away from the end of a name, but no genre of eleven letters."""
    while (end := COPY.search(text)) and not map_genre(end[0].strip(" -[]()"), alone=True):
        text = text[: end.start()].rstrip(" _.-")
    return text


def _read_songs_csv(folder: Path) -> list[dict[str, str]]:
    """Rows of a folder's songs.csv; none where there is none. Columns that nobody reads are printed."""
    path = folder / "songs.csv"
    if not os.path.isfile(path):
        return []
    try:
        with path.open(encoding="utf-8-sig") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            table = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, index_col=False).fillna("")
    except ValueError as error:  # also what pandas' own errors and a wrong encoding are
        raise InputError(f"'{path.name}' cannot be read as a table: save it as CSV in UTF-8.") from error
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}): change its permissions.") from error
    table.columns = table.columns.str.strip().str.lower()
    for name, others in COLUMN_NAMES.items():
        if name not in table:
            table = table.rename(columns={other: name for other in others.split() if other in table})
    if "file" not in table:
        raise InputError(f"'{path.name}' has no column 'file': its first line must be file,title,genre.")
    unused = [name for name in table if name not in COLUMN_NAMES]
    if unused and not {"title", "genre"} <= set(table):
        print(f"'{path}': not used are the columns {', '.join(unused)}; known are {', '.join(COLUMN_NAMES)}.")
    rows = [{name: text.strip() for name, text in row.items()} for row in table.to_dict("records")]
    return [row for row in rows if row["file"]]


def _rows_by_file(folder: Path, paths: Sequence[Path]) -> dict[str, dict[str, str]]:
    """Return the rows of songs.csv by the file that each means (see `_meant`), with its `path`; several make one row.

    Two genres of one file are both in it, so that it has none.
    """
    there = {_meant(path) for path in paths}
    folded = {name.casefold(): name for name in there}  # Windows does not tell upper from lower case
    rows: dict[str, dict[str, str]] = {}
    for row in _read_songs_csv(folder):
        # Windows separates folders by backslashes; elsewhere a name may hold one.
        names = (row["file"], row["file"].replace("\\", "/"))
        paths = [folder / (absolute(name) if name.startswith("~") or FILE_URL.match(name) else name) for name in names]
        path = next(filter(os.path.exists, paths), paths[1])
        meant = _meant(path)
        meant = meant if meant in there else folded.get(meant.casefold(), meant)
        former = rows.get(meant, {})
        genres = {map_genre(one["genre"]) or one["genre"] for one in (row, former) if one.get("genre")}
        rows[meant] = row | {"path": str(path)} | {name: text for name, text in former.items() if text}
        if len(genres) > 1:
            rows[meant]["genre"] = ", ".join(sorted(genres))
    return rows


def _meant(path: Path) -> str:
    """Return what all names of one file have in common: links followed, accents as macOS does not write them."""
    return unicodedata.normalize("NFC", os.path.realpath(path))


def split_title(name: str) -> tuple[str, str]:
    """Return artist and title of a name such as "01 - Artist - Title", the artist "" where there is none."""
    text = re.sub(r"\s+", " ", name.replace("_", " ")).strip()
    text = re.sub(r"^(\d{1,3}[.)]? ?[-\u2013] |\d{1,3}[.)] |0\d[ .-]|\d\d[-.](?=\D))(?=.)", "", text)
    artist, dash, title = text.partition(" - ")
    return (artist.strip(), title.strip()) if dash and artist.strip() and title.strip() else ("", text)


def known_title(title: str, artist: str, tracks: pd.DataFrame) -> pd.Series | None:
    """Return the row of tracks.csv (columns image, artist, title) with this title and artist, or None.

    Case, accents, punctuation, brackets, "feat." and leading numbers do not count, and one artist may be a part of the
    other ("Bob Marley & The Wailers"). A title without an artist is found if it is long enough.
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
    """Return titles as plain file names, no two the same: lower case letters, digits and underscores.

    What is left out of a title (another script, a great length) is replaced by a digest; one that comes again gets a
    number.
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
