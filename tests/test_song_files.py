"""Which songs lie in a folder, what they are called, and whether a title is in the training set."""

import os
import unicodedata
from unittest.mock import Mock

import pandas as pd
import pytest
from conftest import refused
from sound_files import encode, tune

from genres.common import ROOT, InputError, digest
from genres.song_files import Song, file_names, find_songs, known_title, map_genre, split_folders, split_title

TRACKS = pd.read_csv(ROOT / "data" / "gtzan" / "tracks.csv", dtype=str, keep_default_na=False)


def _touch(folder, *names: str, data: bytes = b"x"):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_genres_of_shops_are_mapped_only_where_that_is_plain():
    plain = {"Hip-Hop/Rap": "hiphop", "Rock & Roll": "rock", "Smooth Jazz": "jazz", "Heavy Metal": "metal"}
    others = ["Musik: Klassik", "Rhythm & Blues", "R&B/Soul", "Pop/Rock", "Country Gospel", ""]
    assert {name: map_genre(name) for name in [*plain, *others]} == plain | dict.fromkeys(others)


def test_labels_come_from_table_name_or_folder(tmp_path):
    genres = {"a.mp3": "hiphop", "b (disco).mp3": "disco", "jazz/c.mp3": "jazz", "rock/d (Live).mp3": "rock"}
    genres |= {"e (Soul).mp3": None, "f.mp3": None, "x.txt": "pop", "Kid Rock/g.mp3": None}
    genres |= {"jazz/Miles/1959/h.mp3": "jazz", "rock/Iggy Pop/i.mp3": "rock"}
    _touch(tmp_path, *genres)
    (tmp_path / "songs.csv").write_text(
        "file,title,artist,genre\na.mp3,First,Nina,Hip-Hop/Rap\ngone.mp3,Gone,,pop\nx.txt,A text,,pop\n"
    )
    songs = {song.path.relative_to(tmp_path).as_posix(): song for song in find_songs(tmp_path)}
    assert {name: song.genre for name, song in songs.items()} == genres | {"gone.mp3": None}
    assert (songs["a.mp3"].title, songs["a.mp3"].artist) == ("First", "Nina")
    assert "Soul" in songs["e (Soul).mp3"].note
    assert "'gone.mp3' does not exist" in songs["gone.mp3"].note
    assert [song.path.name for song in songs.values() if not song.usable] == ["gone.mp3"]


# Ends of names by their label; None is a bracket that is quoted as none, "" is no bracket with words.
LABELS = {
    "blues": ["(blues) (1)", "(blues) - Copy", "(blues) copy 2", "(blues) - Kopie (2)", "(blues) [dQw4w9WgXcQ]"],
    "jazz": ["\uff08jazz\uff09", "{jazz}", "\u3010jazz\u3011", "(jazz) ", "(Smooth Jazz)", "(jazz) (Live)", "[ JAZZ ]"],
    "hiphop": ["(Hip-Hop)", "[hip-hop-rap]", "(Rap)"],
    "rock": ["(Rock & Roll)", "(Iggy Pop) (rock)", "(Hard Rock)"],
    None: ["(Iggy Pop)", "(feat. Kid Rock)", "(The Moody Blues)", "(Paris Opera)", "(no jazz)", "(Jazz & Blues)"],
    "": ["", "(1)", " - Copy", "(1999)", "[dQw4w9WgXcQ]"],
}


def test_a_bracket_is_a_label_only_if_it_is_a_genre_alone_and_copies_do_not_count(tmp_path):
    ends = {f"At Last {end}.mp3": genre for genre, these in LABELS.items() for end in these}
    _touch(tmp_path, *ends)
    songs = {song.path.name: song for song in find_songs(tmp_path)}
    assert {name: song.genre for name, song in songs.items()} == {name: ends[name] or None for name in ends}
    assert all(("none of the ten" in songs[name].note) == (genre is None) for name, genre in ends.items())
    assert {song.title.split(" (")[0] for song in songs.values()} == {"At Last"}


def test_rows_of_the_table_count_for_the_file_they_mean(tmp_path, capsys):
    _touch(tmp_path, "sub/a.mp3", "b.mp3", "c.mp3", "d.mp3", "sub/e.mp3", "sub/f.mp3")
    rows = ["sub/../b.mp3;B;pop", f"{tmp_path}/c.mp3;C;rock", f"{(tmp_path / 'sub').as_uri()}/a.mp3;A;jazz"]
    rows += ["d.mp3;D;pop", "./D.mp3;;rock", "sub\\e.mp3;E;pop", ".\\sub\\F.MP3;F;pop"]
    rows += [f"{'n' * 300}.mp3;N;pop", "~nobody.mp3;T;pop"]
    (tmp_path / "songs.csv").write_text("\n".join(["file;Titel;Label", *rows]))
    songs = {song.title: song for song in find_songs(tmp_path)}
    genres = {"A": "jazz", "B": "pop", "C": "rock", "D": None, "E": "pop", "F": "pop", "N": None, "T": None}
    assert {title: song.genre for title, song in songs.items()} == genres
    assert "'pop, rock' is none" in songs["D"].note
    assert [song.title for song in songs.values() if not song.usable] == ["N", "T"]
    (tmp_path / "songs.csv").write_text("file,style\nb.mp3,pop\n")
    find_songs(tmp_path)
    assert "style" in capsys.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="no such files there")
def test_what_the_system_does_not_read_has_a_line_and_the_others_are_found(tmp_path, monkeypatch):
    _touch(tmp_path, "good (pop).mp3")
    os.mkfifo(tmp_path / "pipe.mp3")
    os.mkfifo(tmp_path / "pipe")
    for name, target in {"loop.mp3": "loop.mp3", "zero.wav": "/dev/zero", "gone.mp3": "nowhere", "way": "way"}.items():
        (tmp_path / name).symlink_to(target)
    songs = {song.path.name: song for song in find_songs(*tmp_path.iterdir())}
    assert songs == {song.path.name: song for song in find_songs(tmp_path)} | {"way": songs["way"]}
    assert [name for name, song in songs.items() if song.usable] == ["good (pop).mp3"]
    assert all(name in songs[name].note for name in ("pipe", "pipe.mp3", "loop.mp3", "zero.wav", "gone.mp3"))
    for name in ("n" * 300, str(tmp_path / "n" / "a"), "~nobody.mp3"):
        with refused("'.*' (does not exist|cannot be read)"):
            find_songs(name)
    monkeypatch.setattr(os, "scandir", Mock(side_effect=PermissionError(13, "Permission denied")))
    with refused("cannot be read .Permission denied"):
        find_songs(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_names_that_are_not_utf_8_and_control_signs_can_be_written(tmp_path):
    for name in (b"Caf\xe9 (jazz).mp3", b"two\r\nlines (pop).mp3"):
        (tmp_path / os.fsdecode(name)).touch()
    songs = find_songs(tmp_path)
    assert [(song.title, song.genre) for song in songs] == [("Caf\ufffd", "jazz"), ("two lines", "pop")]
    assert songs[0].with_tags("A\rB\x00 \udcff", "").title == "A B  \ufffd"
    assert len({digest(song.path) for song in songs}) == 2
    assert str(InputError(f"'{songs[0].path.name}' is bad")).encode()
    assert split_folders((tmp_path / "a b").as_uri()) == [tmp_path / "a b"]
    assert split_folders("rock:/x") == split_folders("rock") + split_folders("/x")


def test_every_kind_is_taken_and_what_cannot_be_used_is_listed_with_the_reason(tmp_path):
    kinds = "mp3 MP3 wav flac ogg oga opus m4a m4b mp4 mov webm mkv au snd wma aif aiff aac caf wv ape mp2 png webp bmp"
    taken = {f"{number}.{kind}" for number, kind in enumerate(kinds.split())}
    without = {"no suffix", "Mr. Brown", "Vol. 2 (rock)", "new.kind"}
    _touch(tmp_path, *without, data=encode(tmp_path / "s.mp3", tune(), codec="libmp3lame"))
    useless = [".At Last (blues).mp3.icloud", "a.tgz", "album.zip", "book.aax", "half.mp3.part", "list.m3u"]
    useless += ["song.m4p", "tune.mid"]
    left_out = "Folder.jpg cover.jpg AlbumArt_{1F2}_Large.jpg AlbumArtSmall.jpg front.png a.txt a.csv a.pdf LICENSE"
    _touch(tmp_path, *left_out.split(), ".hidden.mp3", "._a.mp3", "__MACOSX/a.mp3", "$RECYCLE.BIN/b.mp3", "Thumbs.db")
    _touch(tmp_path, *taken, *useless)
    songs = {song.path.name: song for song in find_songs(tmp_path)}
    notes = {name: song.note for name, song in songs.items() if not song.usable}
    assert sorted(notes) == useless
    assert all(name in note for name, note in notes.items())
    assert "copy-protected and cannot be converted" in notes["song.m4p"]
    assert set(songs) - set(notes) == taken | without | {"s.mp3"}
    assert songs["Mr. Brown"].title == "Mr. Brown"
    assert (songs["Vol. 2 (rock)"].title, songs["Vol. 2 (rock)"].genre) == ("Vol. 2", "rock")


def test_linked_folders_are_followed_and_no_song_is_counted_twice(tmp_path):
    _touch(tmp_path, "songs/a.mp3", "elsewhere/rock/b.mp3")
    songs = tmp_path / "songs"
    rock = tmp_path / "elsewhere" / "rock"
    links = {songs / "rock": rock, songs / "again": songs, rock / "up": tmp_path, songs / "same.mp3": songs / "a.mp3"}
    for place, target in links.items():
        place.symlink_to(target, target_is_directory=target.is_dir())
    found = find_songs(songs, songs / "a.mp3", tmp_path)
    assert [(song.path.name, song.genre) for song in found] == [("a.mp3", None), ("b.mp3", "rock")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_names_in_any_script_and_excels_tables_are_read(encoding, tmp_path):
    names = ["Café.mp3", "🎸 solo.mp3", "さくら.mp3", "-dash.mp3", "n" * 240 + ".mp3"]
    _touch(tmp_path, *(unicodedata.normalize("NFD", name) for name in names))
    table = "file;title;genre\r\n" + "".join(f"{name};title;jazz\r\n" for name in names)
    (tmp_path / "songs.csv").write_bytes(table.encode(encoding))
    assert [(song.title, song.genre, song.usable) for song in find_songs(tmp_path)] == [("title", "jazz", True)] * 5


def test_a_file_and_what_lies_at_home_can_be_named(home):
    _touch(home, "Nina - One (pop).mp3", "two.mp3")
    (home / "songs.csv").write_text("file,title,genre\ntwo.mp3,Two,rock\n")
    songs = find_songs("~/two.mp3", home / "Nina - One (pop).mp3")
    assert [(song.artist, song.title, song.genre) for song in songs] == [("", "Two", "rock"), ("Nina", "One", "pop")]


@pytest.mark.skipif(os.name == "nt", reason="no ':' in names there")
def test_a_folder_that_exists_as_named_is_taken_before_the_name_is_split(tmp_path):
    for name in ("AC:DC", "1999", "it's a place"):
        _touch(tmp_path, f"{name}/a.mp3")
    wanted = [tmp_path / name for name in ("1999", "AC:DC", "it's a place")]
    assert split_folders(":".join(map(str, wanted))) == wanted
    assert split_folders(str(tmp_path / "AC:DC")) == [tmp_path / "AC:DC"]
    assert len(split_folders("no/where:no/where else")) == 2


def test_missing_empty_and_foreign_places_are_named(tmp_path):
    with refused("does not exist"):
        find_songs(tmp_path / "nowhere")
    with refused("No songs"):
        find_songs(tmp_path)
    for ask in (find_songs, split_folders):
        with refused("web address"):
            ask("https://example.org/song.mp3")


def test_artist_and_title_are_told_apart_in_names():
    told_apart = {
        "A$AP Rocky & Ty Dolla $ign - 100%": ("A$AP Rocky & Ty Dolla $ign", "100%"),
        "01 - Blondie - Heart of Glass": ("Blondie", "Heart of Glass"),
        "01_heart_of_glass": ("", "heart of glass"),
        "26-2": ("", "26-2"),
        "50 Cent - In da Club": ("50 Cent", "In da Club"),
        "Confession_-_Quesabe": ("Confession", "Quesabe"),
    }
    assert {name: split_title(name) for name in told_apart} == told_apart


def test_a_tag_gives_title_and_artist_unless_the_table_does(tmp_path):
    song, listed = Song(tmp_path / "track01.mp3", "track01"), Song(tmp_path / "a.mp3", "Mine", listed=True)
    tagged = [
        song.with_tags("Yuanan - Miedo", "Yuanan"), song.with_tags("No. 5 - Finale", "Beethoven"),
        song.with_tags("", ""), listed.with_tags("Other", "Someone"),
    ]  # fmt: skip
    words = [("Miedo", "Yuanan"), ("No. 5 - Finale", "Beethoven"), ("track01", ""), ("Mine", "Someone")]
    assert [(one.title, one.artist) for one in tagged] == words


# The title and artist of a song, and the beginning of the training picture that it is known as.
KNOWN = {
    ("Heart of Glass", ""): "disco00092.png",
    ("07 Blondie - HEART OF GLASS (Remastered 2001) [HD]", ""): "disco00092.png",
    ("Heart Of Glass - 2001 Remaster", "Blondie feat. Someone"): "disco00092.png",
    ("Heart of Glass", "Various Artists"): "disco00092.png",
    ("Heart of Glass", "Nouvelle Vague"): None,
    ("Highway to Hell", "AC-DC"): "metal",
    ("Crazy", "Gnarls Barkley"): None,
    ("Let's Stay Together", "Run-D.M.C."): "hiphop",
    ("So What", ""): None,
    ("さくら", ""): None,
}


@pytest.mark.parametrize(("title", "artist"), KNOWN)
def test_a_title_of_the_training_set_is_known_however_it_is_spelled(title, artist):
    row, image = known_title(title, artist, TRACKS), KNOWN[title, artist]
    assert row is None if image is None else row["image"].startswith(image)


def test_each_title_gets_a_file_name_of_its_own():
    titles = ["Intro", "Intro", "intro", "Intro 2", "さくら", "はな", "Café", "Cafe", "Ba$$in", "", "/", "x" * 99]
    names = file_names(titles)
    assert len(set(names)) == len(titles)
    assert names[:4] == ["intro", "intro_2", "intro_3", "intro_2_2"]
    assert all(name.isascii() and name.replace("_", "").isalnum() and len(name) < 80 for name in names)
