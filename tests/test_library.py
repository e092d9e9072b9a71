"""Own songs, four or thousands: the table that goes on where it stopped, the playlists, and the page without code."""

import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import filelock
import joblib
import numpy as np
import pandas as pd
import pytest
import soundfile
from conftest import ROOT, refused
from sound_files import tune
from test_songs import MATCH, PRINTS, SAMPLE, answered

from genres import library, song_page
from genres.common import GENRES, printable
from genres.song_files import Song, find_songs
from genres.songs import Answer, song_row

ASKED = []  # that a model was loaded, and of how many windows each song asked it


def constant_model(path: Path) -> SimpleNamespace:
    """Stands in for a model: says rock for everything."""
    ASKED.append("loaded")
    rock = np.where(np.arange(10) == GENRES.index("rock"), 0.55, 0.05)[None]

    def answer(matrices, ear_features=None) -> Answer:
        ASKED.append(len(matrices))
        probabilities = rock.repeat(len(matrices), 0)
        return Answer(probabilities, {"cnn": np.log(probabilities)}, 0.3)

    return SimpleNamespace(answer=answer, web=None, ear=None, neighbours=None)


@pytest.fixture
def models(tmp_path) -> library.Models:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.pt").write_bytes(b"weights")
    return library.Models(constant_model, tmp_path / "models" / "model.pt")


@pytest.fixture
def folder(tmp_path) -> Path:
    """Ten short songs, one with a name that is not UTF-8 where a system allows it; three that are none; a picture."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for number in range(10):
        soundfile.write(songs / f"{number} Ёлка 祭り (rock).wav", tune(3 + number / 10), 22_050)
    if sys.platform == "linux":
        (songs / "1 Ёлка 祭り (rock).wav").rename(songs / b"1 Caf\xe9 (rock).wav".decode("utf-8", "surrogateescape"))
    (songs / "bad (pop).mp3").write_bytes(b"no sound at all")
    (songs / "empty.mp3").touch()
    (songs / "broken.png").write_bytes(b"\x89PNG\r\n")
    shutil.copy(SAMPLE, songs / "sample (metal).png")
    library._loaded.cache_clear()
    ASKED.clear()
    with joblib.parallel_config(backend="threading", n_jobs=2):  # so that the test sees what was asked
        yield songs


def test_every_song_has_a_row_and_a_bad_one_says_why(folder, models):
    path = folder / "results" / "songs.csv"
    shown = library.classify_library(find_songs(folder), path, models)
    rows = pd.read_csv(path, dtype=str).set_index("title")
    assert len(rows) == len(shown) == 14
    for title, name in (("bad", "bad (pop).mp3"), ("empty", "empty.mp3"), ("broken", "broken.png")):
        assert name in rows.loc[title, "note"]
    columns = ["kind", "label", "answer", "sure", "right", "windows"]
    assert rows.loc["3 Ёлка 祭り", columns].tolist() == ["sound", "rock", "rock", "yes", "✓", "1"]
    assert rows.loc["sample", columns[:3]].tolist() == ["kaggle", "metal", "rock"]
    assert ASKED.count("loaded") == 1
    assert path.read_bytes().startswith(b"\xef\xbb\xbffile,title,artist,label,answer,"), "Excel needs the mark"
    printed = library.summary(shown)
    assert "14 songs: rock 11, no answer 3" in printed
    assert "1 Caf\ufffd" in printed or sys.platform != "linux"
    assert "10 of 10 songs right" in printed and "0 of 1 song right" in printed, "sound and pictures apart"


def test_a_killed_run_goes_on_and_what_did_not_change_is_not_read_again(folder, models):
    path, listed = folder / "results" / "songs.csv", find_songs(folder)
    library.classify_library(listed[:6], path, models)
    path.write_bytes(path.read_bytes()[:-20])  # killed in the middle of a line
    library.classify_library(listed, path, models)
    assert sorted(pd.read_csv(path)["file"]) == sorted(printable(str(song.path)) for song in listed)
    before = path.read_bytes()
    ASKED.clear()
    assert len(library.classify_library(listed[:2], path, models)) == 2
    assert ASKED == []
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "asked"), [("file", 1), ("label", 1), ("title", 1), ("model", 2), ("CNN", 4), ("model's path", 0)]
)
def test_a_row_is_made_again_when_what_it_depends_on_has_changed(changed, asked, folder, models):
    path, listed = folder / "results" / "songs.csv", find_songs(folder)[:2]
    library.classify_library(listed, path, models)
    ASKED.clear()
    other = models.path.with_name("other.pt")
    other.write_bytes(b"weights")
    if changed == "file":
        soundfile.write(listed[0].path, tune(5), 22_050)
    elif changed == "model":
        models.path.write_bytes(b"other weights")
    fields = {"label": {"genre": "pop"}, "title": {"title": "x", "listed": True}}.get(changed, {})
    listed[0] = replace(listed[0], **fields)
    files = {"CNN": [models.path, other], "model's path": [other]}.get(changed, [models.path])
    library.classify_library(listed, path, library.Models(constant_model, *files))
    assert len(ASKED) - ASKED.count("loaded") == asked
    rows = pd.read_csv(path, keep_default_na=False)
    assert rows[["title", "label"]].to_numpy().tolist() == [[song.title, song.genre] for song in listed]


def test_a_table_of_the_user_s_own_is_never_written_over(folder, models):
    own = "file,title,genre\n0 Ёлка 祭り (rock).wav,T,pop\n"
    (folder / "songs.csv").write_text(own, encoding="utf-8")
    with refused("not a table of this project", "--output"):
        library.classify_library(find_songs(folder)[:1], folder / "songs.csv", models)
    with refused("not a table of this project"):
        library.write_rows([answered()], folder / "songs.csv")
    assert (folder / "songs.csv").read_text(encoding="utf-8") == own
    (folder / "old.csv").write_text("file,song,answer,top three\na,a,rock,\n")
    assert library.read_rows(folder / "old.csv").empty, "a table of an older version begins anew"


def test_a_run_that_waits_for_another_says_so(folder, models, capsys):
    path = folder / "results" / "songs.csv"
    path.parent.mkdir()
    begun = threading.Event()

    def other_run() -> None:
        with filelock.FileLock(path.parent / ".lock"):
            begun.set()
            time.sleep(0.5)

    threading.Thread(target=other_run).start()
    begun.wait()
    library.classify_library(find_songs(folder)[:1], path, models)
    assert "Waiting for another run" in capsys.readouterr().out


def test_a_tag_tears_neither_the_table_nor_the_terminal(tmp_path):
    torn = answered("x").song
    strange = [
        replace(answered(confidence=0.3), song=replace(torn, title="a\rb\nc\u2028d", artist="\x1b[31m")),
        replace(answered(), song=replace(torn, title="long " * 1000)),
        replace(answered(match=MATCH), song=replace(torn, title="祭り" * 60)),
        replace(answered(), answer=Answer(np.empty((0, 10)), {}), song=replace(torn, note="cannot be read " * 20)),
    ]
    library.write_rows(strange, tmp_path / "songs.csv")
    rows = library.read_rows(tmp_path / "songs.csv")
    assert rows["title"][0] == "a b c d"
    printed = library.summary(rows).splitlines()
    width = max(sum(1 + (ord(sign) > 0x3000) for sign in line) for line in printed[: 1 + len(strange)])
    assert len(printed) == 1 + len(strange) + 3 and width <= 100
    assert "unsure: rock 30 % or" in printed[1]
    assert "no answer: cannot be read" in printed[4]


def test_playlists_name_the_songs_from_where_they_lie(tmp_path):
    for name in ("#1 祭り.wav", "b.wav", "c.wav"):
        (tmp_path / name).touch()
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "jazz.m3u8").write_text("of a former run")
    results = [
        replace(answered(**more), song=Song(tmp_path / name, "T", artist="A"))
        for name, more in (
            ("#1 祭り.wav", {}), ("b.wav", {"confidence": 0.3}), ("gone.wav", {}), ("c.wav", {"kind": "web"})
        )
    ]  # fmt: skip
    library.write_playlists(pd.DataFrame(map(song_row, results)), lists)
    assert {path.name for path in lists.iterdir()} == {"rock.m3u8", "unsure.m3u8"}
    text = (lists / "rock.m3u8").read_text(encoding="utf-8")
    assert text == "#EXTM3U\n#PLAYLIST:rock\n#EXTINF:-1,A - T\n../#1 祭り.wav\n"


STRANGE = "<script>alert('1')</script> $1 & $2 \"🎵\" 祭り"


def test_the_page_shows_titles_as_they_are_sure_answers_first_and_what_to_expect(folder, models, monkeypatch):
    (folder.parent / "real.csv").write_text("genre,right,total\nrock,3,6\nblues,1,2\n")
    monkeypatch.setattr(song_page, "EXPECTED_PATH", folder.parent / "real.csv")
    listed = find_songs(folder)
    listed[0] = replace(listed[0], title=STRANGE, artist="<b>", listed=True)
    path = folder / "results" / "songs.csv"
    library.classify_library(listed, path, models, shown=5)
    page = path.with_name("songs.html").read_text(encoding="utf-8")
    assert "<script" not in page and "<b>" not in page
    assert "&lt;b&gt; - &lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt; $1 &amp; $2 &quot;🎵&quot; 祭り" in page
    assert page.count("of these right") == 2, "no score is cut"
    assert page.index("10 of 10 songs right") < page.index("<table") < page.index("no answer:")
    assert "weak: 3 of 6" in page and "1 of 2" not in page
    assert "1 Caf\ufffd" in page or sys.platform != "linux"
    assert page.count('<section class="panel">') == len(list(path.parent.glob("panels/*"))) == 5
    assert not re.search(r"(src|href)=\"(?!#|data:)", page), "one file: nothing is fetched"
    monkeypatch.setattr(song_page, "EXPECTED_PATH", folder / "missing.csv")
    library.classify_library(listed[:1], path, models, shown=5)
    assert "What to expect" not in path.with_name("songs.html").read_text(encoding="utf-8")


def test_a_panel_shows_the_course_the_views_and_an_excerpt(tmp_path):
    soundfile.write(tmp_path / "a.wav", tune(45), 22_050)
    result = answered(confidence=0.3, label="rock")
    result = replace(result, song=replace(result.song, path=tmp_path / "a.wav"), matrices=None)
    panel = song_page.song_panel(result, SimpleNamespace(neighbours=None), PRINTS, np.eye(10)[0])
    assert panel.count("<polyline") == 4
    assert "your own CNN</td><td>blues 100 %" in panel
    assert "Unsure. rock 30 %" in panel and "The label is rock." in panel
    assert 20_000 < len(panel) < 100_000, "twenty songs stay far below 10 MB"


def test_a_worker_that_the_system_ends_is_said_in_a_sentence(models, tmp_path):
    script = """
import os, pathlib, sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests"]
from genres import library
from genres.song_files import Song
library.THREADS_BELOW = 0
library._loaded = lambda models: None
library._rows = lambda job, models: os._exit(1)
asked = [(Song(pathlib.Path(f"{n}.mp3"), "x"), n, None) for n in range(4)]
try:
    list(library._answers(asked, 1))
except library.InputError as error:
    print(error)
"""
    words = [sys.executable, "-c", script, str(ROOT)]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "want of memory" in ended.stdout, ended.stderr[-2000:]
