"""Songs: what the model says of each, whether the training set has it, and how many are right."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from scipy.special import softmax
from tqdm.auto import tqdm

from genres.audio import read_sound, refuse_address
from genres.common import GENRES, ROOT, SAMPLE_RATE, InputError, absolute, printable
from genres.ear import PATCH_SECONDS, EarHead, Neighbours, Patches, listen, tags_of_pools, window_features
from genres.fingerprints import Fingerprints, Match, find_clips, read_fingerprints
from genres.metrics import percent, wilson_interval
from genres.song_files import PICTURE_SUFFIXES, Song, find_songs, split_folders, split_title
from genres.spectrogram import CLIP_SECONDS, mel_power, mel_to_matrix, song_windows
from genres.web_pictures import WEB_WINDOW, WebClassifier, read_song_picture, web_windows

ALIGNED_SONGS = 8  # so many web pictures together are taken to be of many genres
KINDS = {"sound": "sound", "kaggle": "Kaggle-style pictures", "web": "web pictures"}
MARKS = {True: "✓", False: "✗", None: ""}  # of right and wrong answers


@dataclass(frozen=True)
class Answer:
    """What a model says of the windows of a song.

    probabilities: float (k, 10). views: what each view says by itself, logits, float (k, 10), the CNN first.
    unsure_below: the confidence from which on the answer is sure. unfamiliar: whether it is out-of-distribution.
    """

    probabilities: np.ndarray
    views: dict[str, np.ndarray]
    unsure_below: float = 0.0
    unfamiliar: bool = False


class Model(Protocol):
    """What a song is asked of: `utils.GenreModel`, which stands on this module."""

    ear: EarHead | None
    web: WebClassifier | None
    neighbours: Neighbours | None

    def answer(self, matrices: np.ndarray, ear_features: np.ndarray | None = None) -> Answer:
        """Answer for windows, uint8 (k, 128, 334), and the pretrained network's features of them, float32 (k, 803)."""


@dataclass(frozen=True)
class SongResult:
    """What the model says of one song.

    kind: "sound", "kaggle" or "web" (a web tool's picture). starts: second at which each window begins, float (k,).
    answer: what the model says of the windows. matrices: the windows themselves, uint8 (k, 128, 334), overview: the
    whole song as one, and seconds its length; none for web pictures. ear_features: of the pretrained network for each
    window, float32 (k, 803); none for pictures. match: the training clip that was found in it, or None. A song that
    could not be read has no windows, and `song.note` says why.
    """

    song: Song
    kind: str = "sound"
    starts: np.ndarray = field(default_factory=lambda: np.empty(0))
    answer: Answer = field(default_factory=lambda: Answer(np.empty((0, len(GENRES))), {}))
    matrices: np.ndarray | None = None
    ear_features: np.ndarray | None = None
    overview: np.ndarray | None = None
    seconds: float | None = None
    match: Match | None = None

    @property
    def windows(self) -> np.ndarray:
        """Probabilities of each window, float (k, 10)."""
        return self.answer.probabilities

    @property
    def views(self) -> dict[str, np.ndarray]:
        """What each view says of each window by itself, logits, float (k, 10), the CNN first."""
        return self.answer.views

    @property
    def unsure_below(self) -> float:
        """The confidence from which on the answer is sure."""
        return self.answer.unsure_below

    @property
    def probabilities(self) -> np.ndarray:
        """Mean over the windows, float (10,); zeros for a song that could not be read."""
        return self.windows.sum(axis=0) / max(len(self.windows), 1)

    def of_view(self, view: str) -> np.ndarray:
        """Compute a view's own probabilities, mean over the windows, float (10,)."""
        return softmax(self.views[view], axis=1).mean(axis=0)

    def guess(self, view: str) -> str | None:
        """Return the genre that a view by itself finds most probable, or None where it says nothing."""
        return GENRES[self.of_view(view).argmax()] if view in self.views else None

    @property
    def answered_by(self) -> str:
        """What gave the answer, as tables call it; empty for a song without one."""
        if self.genre is None:
            return ""
        by_sound = "pretrained network" if "ear" in self.views else "picture classifier"
        return "web-picture classifier" if self.kind == "web" else by_sound

    @property
    def ranking(self) -> list[str]:
        """The genres from most to least probable; empty for a song that could not be read."""
        return [GENRES[k] for k in np.argsort(-self.probabilities)] if len(self.windows) else []

    @property
    def genre(self) -> str | None:
        """The most probable genre, or None for a song that could not be read."""
        return next(iter(self.ranking), None)

    @property
    def confidence(self) -> float:
        """Probability of the most probable genre; 0 for a song that could not be read."""
        return float(self.probabilities.max())

    @property
    def sure(self) -> bool:
        """Whether the answer is probable enough to be given; that to a web picture, which is coarse, never is."""
        doubtful = self.answer.unfamiliar or self.confidence < self.unsure_below
        return self.genre is not None and self.kind != "web" and not doubtful

    @property
    def right(self) -> bool | None:
        """Whether the most probable genre is the label; None without one of them, and for songs of the training set."""
        return self.genre == self.song.genre if self.genre and self.song.genre and not self.match else None

    @property
    def top_three(self) -> str:
        """The three most probable genres with their probabilities, as text."""
        return ", ".join(f"{genre} {percent(self.probabilities[GENRES.index(genre)])}" for genre in self.ranking[:3])

    @property
    def remarks(self) -> str:
        """What a reader must know besides the answer, as text; empty where there is nothing."""
        remarks = [self.song.note] if self.song.note else []
        if self.match:
            remarks.append(f"in the training set: {self.match}")
        if self.answer.unfamiliar:
            remarks.append("unsure: unlike the training data (speech, noise, another kind of picture?)")
        elif self.kind == "web":
            remarks.append("unsure: a coarse picture, whose sound cannot be searched for: give the sound")
        elif self.genre and not self.sure:
            remarks.append(f"unsure: below {percent(self.unsure_below)}")
        return "; ".join(remarks)

    def __repr__(self) -> str:
        if self.genre is None:
            return f"{self.song.title}: no answer. {self.remarks}"
        doubt = "" if self.sure else "unsure, perhaps "
        views = f"; views: {', '.join(self.views)}" if self.views else ""
        line = f"{self.song.title}: {doubt}{self.genre} ({self.top_three}; {len(self.windows)} windows{views})"
        return "\n".join(filter(None, [line, self.remarks]))


def classify_song(song: Song | str | Path, model: Model, prints: Fingerprints | None = None) -> SongResult:
    """Classify a sound file or a picture; without fingerprints, those that the project ships are searched.

    A picture may be Kaggle's, or a web tool's of a whole song. Raises InputError for a file that cannot be used.
    """
    if not isinstance(song, Song):
        refuse_address(song)
        path = absolute(song)
        artist, title = split_title(path.stem)
        song = Song(path, title, artist=artist)
    if not song.usable:
        raise InputError(song.note)
    prints = prints or read_fingerprints()
    if is_picture(song):
        return _classify_picture(song, model, prints)
    sound = read_sound(song.path)
    note = "; ".join(filter(None, [song.note, sound.remark]))
    song = replace(song.with_tags(sound.title, sound.artist), note=note)
    mel = mel_power(sound.samples)
    starts, matrices = song_windows(mel)
    features = window_features(listen(sound.samples), starts, CLIP_SECONDS) if model.ear else None
    seconds = len(sound.samples) / SAMPLE_RATE
    del sound  # the samples of hours need not be held while the song is searched
    match = next(iter(find_clips(mel, prints)), None) or prints.by_title(song.title, song.artist)
    answer = model.answer(matrices, features)
    return SongResult(song, "sound", starts, answer, matrices, features, mel_to_matrix(mel), seconds, match)


def is_picture(song: Song) -> bool:
    """Return whether a song comes as a picture, by its file's name."""
    return song.path.suffix.lower() in PICTURE_SUFFIXES


def _classify_picture(song: Song, model: Model, prints: Fingerprints) -> SongResult:
    picture, match = read_song_picture(song.path), prints.by_title(song.title, song.artist)
    if picture.kind == "kaggle":
        answer, matrices = model.answer(picture.matrix[None]), picture.matrix[None]
        return SongResult(song, "kaggle", np.zeros(1), answer, matrices, None, picture.matrix, CLIP_SECONDS, match)
    if model.web is None:
        raise InputError(f"'{song.path.name}' is a web tool's picture, which this model does not know: give the song.")
    windows = web_windows(picture.matrix)
    starts = np.arange(len(windows)) * WEB_WINDOW / 2
    answer = Answer(model.web.probabilities(windows), {}, model.web.unsure_below)
    return SongResult(song, "web", starts, answer, match=match)


def classify_songs(
    songs: Sequence[Song], model: Model, prints: Fingerprints | None = None, progress: bool = True
) -> list[SongResult]:
    """Classify each song; one that cannot be used gets a result without windows, whose note says why.

    Eight or more web pictures together are classified with features centred on their own mean (see
    `WebClassifier.aligned`).
    """
    prints, model, results = prints or read_fingerprints(), _aligned(model, songs), []
    for song in tqdm(songs, desc="listening", disable=not progress):
        try:
            results.append(classify_song(song, model, prints))
        except InputError as error:
            results.append(SongResult(replace(song, note=str(error))))
    return results


def _aligned(model: Model, songs: Sequence[Song]) -> Model:
    """Return the model for these songs: its web classifier is centred on their web pictures, if they are enough."""
    pictures = [song.path for song in songs if is_picture(song) and song.usable]
    windows = []
    for path in pictures if model.web and len(pictures) >= ALIGNED_SONGS else []:
        with suppress(InputError):  # classify_song says it
            picture = read_song_picture(path)
            windows += [web_windows(picture.matrix)] if picture.kind == "web" else []
    return replace(model, web=model.web.aligned(windows)) if len(windows) >= ALIGNED_SONGS else model


def choose_songs(folders: str | Sequence[str] = "", of_set: Path | None = None) -> tuple[list[Song], str]:
    """Find the songs to classify, and return how titles call them: "own songs" or "demo songs".

    They are those of the named folders (several are separated as in PATH, by ":" or on Windows ";"), else of
    data/songs, else those that come with the set, else the demo band's, made if need be.
    """
    if folders:
        paths = split_folders(folders) if isinstance(folders, str) else folders
        return find_songs(*paths), "own songs"
    if (ROOT / "data" / "songs").is_dir():
        return find_songs(ROOT / "data" / "songs"), "own songs"
    if of_set is None or not of_set.is_dir():
        from genres import demo_songs  # here, because only this case needs the synthesiser

        print("No songs named and none in data/songs: using the songs that the demo band plays.")
        demo_songs.make_demo_set(ROOT / "data" / "demo")
        of_set = ROOT / "data" / "demo" / "songs"
    return find_songs(of_set), "demo songs"


def song_row(result: SongResult) -> dict[str, str]:
    """Return what songs.csv says of a song, by column; a song of the training set is neither right nor wrong."""
    row = {
        "file": result.song.path,
        "title": result.song.title,
        "artist": result.song.artist,
        "label": result.song.genre or "",
        "answer": result.genre or "",
        "sure": ("yes" if result.sure else "no") if result.genre else "",
        "confidence": round(result.confidence, 3),
        "second guess": result.ranking[1] if result.genre else "",
        "right": MARKS[result.right],
        "top three": result.top_three,
        "views": " + ".join(result.views),
        "windows": len(result.windows),
        "note": result.remarks,
        "kind": result.kind,
    }
    return {name: printable(str(cell)) for name, cell in row.items()}


def guesses(row: dict[str, str]) -> str:
    """Return a row's answer in words: one genre if it is sure, else two with their probabilities, or why none."""
    if not row["answer"]:
        return f"no answer: {row['note']}"
    first, second, _ = row["top three"].split(", ")
    if row["sure"] == "yes":
        return first
    return f"unsure: {first}" if second.endswith(" 0 %") else f"unsure: {first} or {second}"


def answer_rows(results: Sequence[SongResult]) -> pd.DataFrame:
    """Tabulate what the CNN and the whole model say of each song: sure answers first, then by confidence.

    An unsure answer names two genres. A song of the training set is neither right nor wrong.
    """
    rows = []
    for r in sorted(results, key=lambda result: (not result.sure, -result.confidence)):
        row, guess = song_row(r), r.guess("cnn")
        rows.append(
            {
                "song": r.song.title,
                "label": row["label"],
                "✓ CNN": MARKS[guess == r.song.genre if guess and row["right"] else None],
                "CNN": f"{guess} {percent(r.of_view('cnn').max())}" if guess else "",
                "✓ answer": row["right"],
                "answer": guesses(row) if r.genre else "no answer",
                "answered by": r.answered_by,
                "remarks": r.remarks,
            }
        )
    return pd.DataFrame(rows)


def compare_windows(results: Sequence[SongResult]) -> pd.DataFrame:
    """Count how many scored songs of several windows are right by the middle window, and by the mean of all.

    A row for the CNN and one for the answer; columns middle window, all windows and songs. Empty without such songs.
    """
    several = [r for r in scored_songs(results) if r.views and len(r.windows) > 1]
    if not several:
        return pd.DataFrame()
    labels, rows = np.array([[GENRES.index(r.song.genre)] for r in several]), {}
    for name in ("CNN", "answer"):
        windows = [softmax(r.views["cnn"], axis=1) if name == "CNN" else r.windows for r in several]
        answers = [(w[len(w) // 2].argmax(), w.mean(axis=0).argmax()) for w in windows]
        rows[name] = [*(np.array(answers) == labels).sum(axis=0), len(several)]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["middle window", "all windows", "songs"])


def scored_songs(results: Sequence[SongResult]) -> list[SongResult]:
    """Return the songs that count: with a label and an answer, and not in the training set."""
    return [result for result in results if result.right is not None]


def match_table(results: Sequence[SongResult], prints: Fingerprints) -> pd.DataFrame:
    """Tabulate for each song how it was looked for in the training set, and what was found."""
    rows = []
    for result in (result for result in results if result.genre):
        means = ["sound"] * (result.kind == "sound") + ["title"] * (prints.tracks is not None)
        found = f"yes: {result.match}" if result.match else "not found"
        rows.append((result.song.title, result.song.genre or "", " and ".join(means) or "nothing", found))
    return pd.DataFrame(rows, columns=["song", "label", "looked for by", "in the training set"])


def nearest_clips(result: SongResult, model: Model, prints: Fingerprints, count: int = 3) -> pd.DataFrame:
    """Return the training clips that a song is most like, nearest first: columns image, genre, artist, title, distance.

    Features of the pretrained network are compared, see `ear.Neighbours`. Empty for a picture, and for a model without
    that network.
    """
    rows, near = [], model.neighbours
    if result.ear_features is not None and near is not None:
        distances = near.distances(result.ear_features).mean(axis=0)
        for row in np.argsort(distances)[:count]:
            image = near.images[row]
            rows.append((image, near.genres[row], *prints.names.get(image, ("", "")), distances[row]))
    return pd.DataFrame(rows, columns=["image", "genre", "artist", "title", "distance"])


def read_real_songs(folder: Path, model: Model) -> tuple[pd.DataFrame, list[Answer]]:
    """Read songs of which only windows and musicnn's pools are at hand, and ask the model, as `classify_song` does.

    folder: holds songs.csv (columns song, genre, label_strength, seconds, windows_in_song), windows.npz (by song, uint8
    (k, 128, 334): at most twelve of its windows, evenly spaced) and ear_pools.npz (by song: pools of the patches of the
    middle 90 s, float (patches, 1506)). Returns the table, and the answer for each of its songs.

    Raises InputError for a song that the training set has by its title (column artist_title).
    """
    table = pd.read_csv(folder / "songs.csv", dtype={"song": str}, keep_default_na=False)
    for song in table.to_dict("records"):  # their sound is not here, so titles have to do
        artist, title = split_title(song.get("artist_title", ""))
        if match := read_fingerprints().by_title(title, artist):
            raise InputError(f"'{song['song']}' is in the training set ({match}): take it out of songs.csv.")
    answers = []
    with np.load(folder / "windows.npz", allow_pickle=False) as stored, np.load(folder / "ear_pools.npz") as ears:
        for song in table.to_dict("records"):
            matrices, pools = stored[song["song"]], ears[song["song"]].astype(np.float32)
            length = max(float(song["seconds"]), CLIP_SECONDS)
            first = max(0.0, (length - PATCH_SECONDS * len(pools)) / 2)
            patches = Patches(first + PATCH_SECONDS * np.arange(len(pools)), tags_of_pools(pools), pools)
            starts = np.linspace(0, length - CLIP_SECONDS, len(matrices))
            answers.append(model.answer(matrices, window_features(patches, starts, CLIP_SECONDS)))
    return table, answers


def score_songs(results: Sequence[SongResult]) -> dict[str, int]:
    """Count right answers, see `score_rows`."""
    return score_rows([song_row(result) for result in results])


def score_rows(rows: Sequence[dict[str, str]]) -> dict[str, int]:
    """Count among rows of songs.csv those with a label and an answer, apart from songs of the training set.

    total, correct and top_three count every answer, answered and answered_correct those that are sure, in_training the
    songs left out.
    """
    scored = [row for row in rows if row["right"]]
    sure = [row for row in scored if row["sure"] == "yes"]
    return {
        "total": len(scored),
        "correct": sum(row["right"] == "✓" for row in scored),
        "top_three": sum(row["label"] in row["top three"] for row in scored),
        "answered": len(sure),
        "answered_correct": sum(row["right"] == "✓" for row in sure),
        "in_training": sum(bool(row["label"] and row["answer"]) for row in rows) - len(scored),
    }


def score_sentence(score: dict[str, int]) -> str:
    """Return a sentence for a score, with its interval (Wilson's, for so many songs)."""
    if not score["total"]:
        return "No song could be scored: none has both a genre and an answer."
    low, high = map(percent, wilson_interval(score["correct"], score["total"]))
    songs = "song" if score["total"] == 1 else "songs"
    right = f"{score['correct']} of {score['total']} {songs} right, {percent(score['correct'] / score['total'])}"
    parts = [f"{right} (95 % interval {low} to {high})", f"{score['top_three']} among the first three"]
    parts.append(f"sure of {score['answered']}, {score['answered_correct']} of these right")
    if score["in_training"]:
        verbs = ("is", "does") if score["in_training"] == 1 else ("are", "do")
        parts.append("{} more {} in the training set and {} not count".format(score["in_training"], *verbs))
    return "; ".join(parts)
