"""Own songs, four or thousands: a table that grows row by row and goes on where a former run stopped, and playlists."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import zip_longest
from pathlib import Path

import filelock
import joblib
import pandas as pd
import torch
from joblib.externals.loky.process_executor import BrokenProcessPool
from tqdm import tqdm
from tqdm.utils import disp_len, disp_trim

from genres.common import GENRES, InputError, digest, locked, printable, relative_path, replacing
from genres.fingerprints import FINGERPRINT_PATH, Fingerprints, read_fingerprints
from genres.metrics import percent
from genres.song_files import Song
from genres.song_page import full_title, song_panel, write_page
from genres.songs import (
    KINDS,
    Model,
    SongResult,
    classify_songs,
    guesses,
    is_picture,
    score_rows,
    score_sentence,
    song_row,
)

COLUMNS = (
    "file", "title", "artist", "label", "answer", "sure", "confidence", "second guess", "right", "own CNN", "top three",
    "views", "windows", "note", "kind", "model", "key",
)  # fmt: skip
PLAYLISTS = (*GENRES, "unsure")
THREADS_BELOW = 20  # songs; for fewer, processes take longer to start than they save
Asked = tuple[Song, str, Path | None]  # a song, the key of its row, and the file of its panel
MOST_LINES = 100  # of songs in the printed table
WIDTHS = {"song": 30, "label": 9, "answer": 37, "own CNN": 13}  # of the printed table, 100 letters with its gaps


@dataclass(frozen=True)
class Models:
    """The model that answers, as files, so that each process reads it once.

    load: reads a model from a path, `utils.load_model`. path: the model.pt; the fingerprints beside it go with it.
    cnn_path: the model whose CNN stands beside the answers, or None for the same.
    """

    load: Callable[[Path], Model]
    path: Path
    cnn_path: Path | None = None

    @property
    def prints_path(self) -> Path:
        """The fingerprints of the clips that the model was trained on; the shipped ones where it has none."""
        beside = self.path.with_name("fingerprints.npz")
        return beside if beside.is_file() else FINGERPRINT_PATH

    @property
    def sentence(self) -> str:
        """What answers, in words."""
        shipped = self.path.parent == FINGERPRINT_PATH.parent
        name = "the shipped model" if shipped else f"'{relative_path(self.path)}'"
        cnn = f"that of '{relative_path(self.cnn_path)}'" if self.cnn_path else "the network inside that model"
        return f"Answered by {name}; own CNN is {cnn}."

    @cached_property
    def digest(self) -> str:
        """Digest of all files that an answer depends on."""
        return digest(*(path and path.read_bytes() for path in (self.path, self.cnn_path, self.prints_path)))


@cache
def _loaded(models: Models) -> tuple[Model, Model | None, Fingerprints]:
    torch.set_num_threads(1)  # one song per core
    cnn = models.load(models.cnn_path) if models.cnn_path else None
    return models.load(models.path), cnn, read_fingerprints(models.prints_path)


def write_rows(results: Sequence[SongResult], path: Path) -> None:
    """Write songs.csv for results that are all there.

    Raises InputError where a table of the user's own is in the way.
    """
    read_rows(path)
    _write_table(pd.DataFrame(map(song_row, results), columns=COLUMNS), path)


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:  # Excel takes a file for UTF-8 only by the mark that utf-8-sig puts in front
        table.to_csv(temporary, index=False, encoding="utf-8-sig", lineterminator="\n")


def read_rows(path: Path) -> pd.DataFrame:
    """Read songs.csv, text in every cell; a last line that a killed run left unfinished is left out.

    A table of an older version counts as empty. Raises InputError where the file is another table.
    """
    whole = path.read_bytes() if path.is_file() else b""
    text = whole[: whole.rfind(b"\n") + 1].decode("utf-8-sig", "replace")
    if not whole:
        return pd.DataFrame(columns=COLUMNS, dtype=str)
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        if not {"file", "answer", "top three"} <= {*table.columns}:
            raise ValueError("other columns")
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"'{path}' is not a table of this project: name another folder with --output.") from error
    return table if tuple(table.columns) == COLUMNS else table[:0].reindex(columns=COLUMNS)


def _check_folder(folder: Path) -> None:
    """Say where another run in a folder has to end first; raise InputError where files of the user's are in the way."""
    try:
        with filelock.FileLock(folder / ".lock", timeout=0):
            pass
    except filelock.Timeout:
        print(f"Waiting for another run in '{folder}' to end.", flush=True)
    except OSError:  # `locked` says it
        return
    names = ["songs.html", *(f"{name}.m3u8" for name in PLAYLISTS)]
    taken = [name for name in names if (folder / name).exists() and not (folder / "songs.csv").exists()]
    if taken:
        raise InputError(f"'{folder / taken[0]}' would be overwritten: name another folder with --output.")


def classify_library(songs: Sequence[Song], path: Path, models: Models, shown: int = 0) -> pd.DataFrame:
    """Classify songs, on all cores, write a row of songs.csv for each as it comes, and return their rows in order.

    A row that the table has already is kept if it is of the same file, label and title, and of the same model; rows of
    another model go. A song that cannot be used gets a row that says why. joblib runs the work: `with
    joblib.parallel_config(...)` around the call picks another backend. The playlists beside songs.csv are written at
    the end, and for the first `shown` songs the panels of songs.html.

    Raises InputError where the folder cannot be written, files of the user's own are in the way, or the system ended a
    worker.
    """
    folder = path.parent
    _check_folder(folder)
    with locked(folder):
        keys, table = _keys(songs, models), read_rows(path)
        files = [printable(str(song.path)) for song in songs]
        table = table[(table["model"] == models.digest) & (table["key"].isin(keys) | ~table["file"].isin(files))]
        _write_table(table, path)
        panels = [folder / "panels" / f"{key}.html" for key in keys[:shown]]
        asked, known = zip_longest(songs, keys, panels), set(table["key"])
        left = [(song, key, panel) for song, key, panel in asked if key not in known or (panel and not panel.is_file())]
        print(f"{len(songs)} songs, {len(songs) - len(left)} of them in the table already", flush=True)
        if left:
            _loaded(models)  # what is wrong with the model is said before a worker starts
            _append(path, _answers(left, models), len(left))
        table = read_rows(path).drop_duplicates("key", keep="last").sort_values("file")
        _write_table(table, path)
        write_playlists(table, folder)
        for panel in set((folder / "panels").glob("*.html")) - set(panels):
            panel.unlink()
        table = table.set_index("key", drop=False).loc[keys].reset_index(drop=True)
        if shown:
            write_page(folder / "songs.html", table, [*score_sentences(table), models.sentence], panels)
        return table


def _keys(songs: Sequence[Song], models: Models) -> list[str]:
    """Digest of all that each song's row depends on; the answers to pictures depend on the pictures beside them."""
    own = [digest(repr(song), _stamp(song.path), models.digest) for song in songs]
    pictures = digest([key for song, key in zip(songs, own, strict=True) if is_picture(song)])
    return [digest(key, pictures) if is_picture(song) else key for song, key in zip(songs, own, strict=True)]


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of change of a file; zeros where there is none."""
    with suppress(OSError):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return 0, 0


def _answers(asked: Sequence[Asked], models: Models) -> Iterator[dict[str, str]]:
    """Rows of songs as they are ready; sound song by song, pictures together."""
    pictures = [one for one in asked if is_picture(one[0])]
    jobs = [[one] for one in asked if not is_picture(one[0])] + ([pictures] if pictures else [])
    prefer = "threads" if len(jobs) < THREADS_BELOW else "processes"
    try:
        with joblib.Parallel(n_jobs=-1, prefer=prefer, return_as="generator_unordered") as parallel:
            for rows in parallel(joblib.delayed(_rows)(job, models) for job in jobs):
                yield from rows
    except BrokenProcessPool as error:
        raise InputError(
            "A worker was ended by the system, probably for want of memory: free some, and call again to go on."
        ) from error


def _rows(job: Sequence[Asked], models: Models) -> list[dict[str, str]]:
    """Classify songs in one worker: rows of songs.csv, and the panels of songs.html where a path is given."""
    model, cnn, prints = _loaded(models)
    results = classify_songs([song for song, _, _ in job], model, prints, progress=False)
    rows = []
    for result, (_, key, panel) in zip(results, job, strict=True):
        own = replace(result, answer=cnn.answer(result.matrices)) if cnn and result.matrices is not None else result
        said = own.of_view("cnn") if "cnn" in own.views else None
        own_cnn = "" if said is None else f"{own.guess('cnn')} {percent(said.max())}"
        rows.append(song_row(result) | {"own CNN": own_cnn, "model": models.digest, "key": key})
        if panel:
            with replacing(panel) as temporary:
                html = song_panel(result, model, prints, said if cnn else None)
                temporary.write_text(html, encoding="utf-8")
    return rows


def _append(path: Path, rows: Iterator[dict[str, str]], count: int) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            for row in tqdm(rows, "listening", count, unit="song"):
                writer.writerow(row)
                file.flush()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be written ({error.strerror}): free space, and call again to go on."
        ) from error


def write_playlists(table: pd.DataFrame, folder: Path) -> None:
    """Write a playlist <genre>.m3u8 of the sure answers of each genre, and unsure.m3u8 of the others.

    Paths are relative to the folder where they can be. What is no sound, or has gone, is left out; a playlist without
    songs is removed.
    """
    sound = table[(table["kind"] == "sound") & (table["answer"] != "")]
    names = sound["answer"].where(sound["sure"] == "yes", "unsure")
    for name in PLAYLISTS:
        lines = ["#EXTM3U", f"#PLAYLIST:{name}"]
        for row in sound[names == name].to_dict("records"):
            if os.path.isfile(row["file"]):  # noqa: PTH113 (False for a name that is too long or was not UTF-8)
                place = Path(relative_path(row["file"], folder)).as_posix()
                lines += [f"#EXTINF:-1,{full_title(row)}", f"./{place}" if place.startswith("#") else place]
        path = folder / f"{name}.m3u8"
        if len(lines) > 2:
            with replacing(path) as temporary:
                temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        else:
            path.unlink(missing_ok=True)


def score_sentences(table: pd.DataFrame) -> list[str]:
    """Return the score of each kind of input with its interval, in words: other classifiers answer pictures."""
    scores = {kind: score_rows(table[table["kind"] == kind].to_dict("records")) for kind in KINDS}
    counted = {kind: score for kind, score in scores.items() if score["total"]} or {"sound": scores["sound"]}
    return [f"{KINDS[kind]}: " * (len(counted) > 1) + score_sentence(score) for kind, score in counted.items()]


def summary(table: pd.DataFrame) -> str:
    """Return what a terminal shows of rows of songs.csv, below 100 letters wide: a line per song, counts, the score."""
    rows = [("", *WIDTHS)]
    for row in table[:MOST_LINES].to_dict("records"):
        in_training = " (in the training set)" if "in the training set" in row["note"] else ""
        rows.append((row["right"], full_title(row), row["label"], guesses(row) + in_training, row["own CNN"]))
    lines = ["  ".join(map(_fit, row, (2, *WIDTHS.values()))).rstrip() for row in rows]
    if len(table) > MOST_LINES:
        lines.append(f"... and {len(table) - MOST_LINES} more in songs.csv")
    counts = table["answer"].where(table["sure"] == "yes", "unsure").where(table["answer"] != "", "no answer")
    named = [f"{name} {count}" for name, count in counts.value_counts().items()]
    return "\n".join([*lines, "", f"{len(table)} songs: {', '.join(named)}", *score_sentences(table)])


def _fit(text: str, width: int) -> str:
    """Text cut or filled to a width in a terminal, where a Chinese letter is two wide."""
    text = unicodedata.normalize("NFC", text)
    if disp_len(text) > width:
        text = f"{disp_trim(text[:width], width - 1)}…"
    return text + " " * (width - disp_len(text))
