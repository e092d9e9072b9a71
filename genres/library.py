"""A whole library of songs: a table that grows row by row, and goes on where a former run stopped."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from genres.common import InputError, locked, printable, replacing, why_unreadable
from genres.song_files import Song
from genres.songs import Model, SongResult, classify_songs, score_sentence, song_row

COLUMNS = (
    "file", "size", "modified", "song", "kind", "label", "answer", "right", "confidence", "top three", "views",
    "windows", "note",
)  # fmt: skip


def library_row(result: SongResult) -> dict:
    """Give a song's row of songs.csv: its file with size and time of change, and what `songs.song_row` says."""
    size, modified = _stamp(result.song.path)
    return {"file": printable(str(result.song.path)), "size": size, "modified": modified, **song_row(result)}


def write_rows(results: Sequence[SongResult], path: Path) -> None:
    """Write songs.csv for results that are all there."""
    with replacing(path) as temporary:
        pd.DataFrame([library_row(result) for result in results], columns=COLUMNS).to_csv(temporary, index=False)


def read_rows(path: Path) -> pd.DataFrame:
    """Read songs.csv, text in every cell; a last line that a killed run left unfinished is left out.

    Raises InputError where the file is another table.
    """
    whole = path.read_bytes() if path.is_file() else b""
    text = whole[: whole.rfind(b"\n") + 1].decode("utf-8", "replace")
    if not text:
        return pd.DataFrame(columns=COLUMNS, dtype=str)
    try:
        table = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
        if tuple(table.columns) != COLUMNS:
            raise ValueError("other columns")
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise InputError(f"'{path}' is not a table of this project: name another folder with --output.") from error
    return table


def classify_library(songs: Sequence[Song], path: Path, load_model: Callable[[], Model]) -> None:
    """Classify songs, on all cores, and write a row of songs.csv for each as it comes.

    What the table has already is not read again, unless its file has changed. A song that cannot be used gets a row
    that says why. joblib runs the work: `with joblib.parallel_config(...)` around the call picks another backend.
    load_model is called once in each process.
    """
    with locked(path.parent):
        table = read_rows(path)
        known = {row["file"]: (row["size"], row["modified"]) for row in table.to_dict("records")}
        stamps = {printable(str(song.path)): _stamp(song.path) for song in songs}
        unchanged = [stamps.get(file, known[file]) == known[file] for file in table["file"]]
        table = table[np.array(unchanged, bool)]
        with replacing(path) as temporary:
            table.to_csv(temporary, index=False)
        names = [printable(str(song.path)) for song in songs]
        left = [song for song, name in zip(songs, names, strict=True) if stamps[name] != known.get(name)]
        print(f"{len(songs)} songs, {len(songs) - len(left)} of them in the table already")
        with joblib.Parallel(n_jobs=-1, return_as="generator_unordered") as parallel:
            rows = parallel(joblib.delayed(_row)(song, load_model) for song in left)
            _append(path, tqdm(rows, total=len(left), unit="song"))


def _append(path: Path, rows: Iterable[dict]) -> None:
    try:
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            for row in rows:
                writer.writerow(row)
                file.flush()
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be written ({error.strerror}): free space, and call again to go on."
        ) from error


def _stamp(path: Path) -> tuple[str, str]:
    """Size and time of change of a file as the table holds them."""
    found = path.stat() if not why_unreadable(path) else None
    return (str(found.st_size), str(found.st_mtime_ns)) if found else ("0", "0")


@cache
def _model(load_model: Callable[[], Model]) -> Model:
    torch.set_num_threads(1)  # one song per core
    return load_model()


def _row(song: Song, load_model: Callable[[], Model]) -> dict:
    return library_row(classify_songs([song], _model(load_model), progress=False)[0])


def summary(path: Path) -> str:
    """Say what a songs.csv holds: a line per song, and the score of those with a label."""
    table = read_rows(path)
    shown = table[["song", "label", "answer", "right", "confidence", "note"]].copy()
    shown[["song", "note"]] = shown[["song", "note"]].apply(lambda texts: texts.str.slice(0, 60))
    right = table["right"].isin(["✓", "✗"])
    score = {"total": int(right.sum()), "correct": int((table["right"] == "✓").sum())}
    text = shown.to_string(index=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # an old console of Windows
        text = text.replace("✓", "yes").replace("✗", "no").encode("ascii", "replace").decode()
    return f"{text}\n\n{score_sentence(score)}"
