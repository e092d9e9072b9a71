"""The page of own songs, songs.html: one file without code, with the answers, what to expect, and a panel per song."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from scipy.special import softmax

from genres.audio import SAMPLE_RATE, load_audio
from genres.common import GENRES, ROOT, InputError, printable, replacing
from genres.fingerprints import Fingerprints
from genres.runs import VIEWS
from genres.songs import Model, SongResult, nearest_clips
from genres.spectrogram import CLIP_SECONDS

EXPECTED_PATH = ROOT / "data" / "gtzan" / "real_songs.csv"  # columns genre, right, total: answers to real songs
EXCERPT_SECONDS = 10
MOST_LETTERS = 120  # of a title or a note
MOST_ROWS = 2000  # of the page's table; a browser is slow with more
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#cc78bc")  # seaborn's colour-blind palette
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # so that lines can be told apart without colours
WIDTH, HEIGHT, LEFT, BOTTOM = 640, 220, 60, 36  # of the figure, in pixels
STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2rem; } h3 { margin: 0 0 .2rem; font-size: 1.1rem; }
a { color: inherit; } h1, h2, h3, td, p, li { overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.score { font-size: 1.15rem; padding: .6rem .9rem; background: var(--soft); border-radius: .4rem; }
.unsure td:nth-child(3) { font-style: italic; }
.label, .key { white-space: nowrap; } .right { color: #029e73; } .wrong { color: #d55e00; }
.panel { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem; margin: 1rem 0; }
.two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0 1.5rem; }
ul { padding-left: 1.2rem; }
.key { display: inline-block; margin-right: .8rem; }
.small { font-size: .87rem; opacity: .85; } .narrow { width: auto; }
svg { width: 100%; height: auto; max-width: 44rem; } svg text { font-size: 12px; fill: currentColor; }
audio { width: 100%; max-width: 24rem; }
@media (max-width: 40rem) {
  body { padding: .6rem; } th, td { padding: .25rem .3rem; } .wide { display: none; } svg text { font-size: 19px; }
  .two { display: block; }
}
"""


def full_title(row: dict) -> str:
    """Return artist and title of a row of songs.csv, as "Artist - Title"."""
    return f"{row['artist']} - {row['title']}" if row["artist"] else row["title"]


def guesses(row: dict) -> str:
    """Return a row's answer in words: one genre if it is sure, else two with their probabilities, or why none."""
    first, _, rest = row["top three"].partition(", ")
    if not row["answer"]:
        return f"no answer: {row['note']}"
    return first if row["sure"] == "yes" else f"unsure: {first} or {rest.partition(', ')[0]}"


def song_panel(result: SongResult, model: Model, prints: Fingerprints, cnn: np.ndarray | None = None) -> str:
    """Return the panel of one song as HTML: its course, what each view says, the nearest training clips, an excerpt.

    cnn: what a CNN of another model answers, the student's own, mean over the windows, float (10,), or None.
    """
    song = result.song
    parts = [f"<h3>{_text(full_title({'artist': song.artist, 'title': song.title}))}</h3>"]
    if result.genre is None:
        return _section([*parts, f"<p>No answer: {_text(result.remarks)}</p>"])
    doubt = "" if result.sure else "Unsure. "
    label = f" The label is {_text(song.genre)}." if song.genre else ""
    parts.append(f"<p>{doubt}{_text(result.top_three)}.{label}</p>")
    if result.remarks and result.remarks != f"unsure: below {result.unsure_below:.0%}":
        parts.append(f'<p class="small">{_text(result.remarks)}</p>')
    course = _course(result) if result.kind == "sound" and len(result.windows) > 1 else ""
    near = nearest_clips(result, model, prints, 3).to_dict("records")
    clips = "".join(f"<li>{row['genre']}: {_text(_clip_name(row))}</li>" for row in near)
    nearest = f"Nearest training clips:<ul>{clips}</ul>" if near else ""
    parts.append(
        f'<div class="two"><div>{course}{_player(result)}</div><div>{_views(result, cnn)}{nearest}</div></div>'
    )
    return _section(parts)


def _section(parts: Sequence[str]) -> str:
    return '<section class="panel">\n' + "\n".join(filter(None, parts)) + "\n</section>\n"


def _text(text: object) -> str:
    text = printable(str(text))
    return escape(text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…")


def _clip_name(row: dict) -> str:
    return f"{row['artist']}, {row['title']}" if row["title"] else Path(row["image"]).stem


def _course(result: SongResult) -> str:
    """A figure, SVG, of the probabilities of the four likeliest genres from window to window, with the threshold."""
    centres = result.starts + CLIP_SECONDS / 2
    end = float(centres[-1] + CLIP_SECONDS / 2)
    across = LEFT + centres / end * (WIDTH - LEFT - 8)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="probability of genres over time">']
    for level in (0, 0.5, 1):
        y = _height(level)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity=".2"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{level:.0%}</text>')
    threshold = _height(result.unsure_below)
    parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 8}" y1="{threshold:.1f}" y2="{threshold:.1f}" '
                 'stroke="currentColor" stroke-dasharray="1 4" stroke-width="1.5"/>')  # fmt: skip
    for second in np.arange(0, end, max(30, 30 * round(end / 180))):
        x = LEFT + second / end * (WIDTH - LEFT - 8)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}">{int(second) // 60}:{int(second) % 60:02}</text>')
    for genre, colour, dash in zip(result.ranking, COLOURS, DASHES, strict=False):
        heights = _height(result.windows[:, GENRES.index(genre)])
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, heights, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5" '
                     f'stroke-dasharray="{dash}"/>')  # fmt: skip
    parts.append("</svg>")
    names = zip(result.ranking, COLOURS, DASHES, strict=False)
    keys = [f'<span class="key"><svg viewBox="0 0 30 10" style="width:30px"><line x2="30" y1="5" y2="5" '
            f'stroke="{colour}" stroke-width="3" stroke-dasharray="{dash}"/></svg> {genre}</span>'
            for genre, colour, dash in names]  # fmt: skip
    rule = f'<span class="key">dotted: unsure below {result.unsure_below:.0%}</span>'
    return "".join(parts) + f'<p class="small">Probability over the song\'s time. {"".join(keys)}{rule}</p>'


def _height(share: float | np.ndarray) -> float | np.ndarray:
    return 16 + (1 - share) * (HEIGHT - BOTTOM - 16)


def _views(result: SongResult, cnn: np.ndarray | None) -> str:
    """A table of the two likeliest genres of each view."""
    means = {VIEWS.get(view, view): softmax(logits, axis=1).mean(axis=0) for view, logits in result.views.items()}
    means |= {} if cnn is None else {"your own CNN": cnn}
    rows = []
    for name, mean in means.items():
        top = ", ".join(f"{GENRES[k]} {mean[k]:.0%}" for k in np.argsort(-mean)[:2])
        rows.append(f"<tr><td>{_text(name)}</td><td>{top}</td></tr>")
    return f'<table class="narrow"><tr><th>view</th><th>says</th></tr>{"".join(rows)}</table>' if rows else ""


def _player(result: SongResult) -> str:
    """A player, MP3 inside the page, of ten seconds of the window that spoke most for the answer; none for pictures."""
    if result.kind != "sound":
        return ""
    start = result.starts[result.windows[:, GENRES.index(result.genre)].argmax()]
    try:
        samples = load_audio(result.song.path)[int(start * SAMPLE_RATE) :][: EXCERPT_SECONDS * SAMPLE_RATE]
    except InputError:  # it has gone in the meantime
        return ""
    coded = io.BytesIO()
    soundfile.write(coded, samples, SAMPLE_RATE, format="MP3", compression_level=0.8)
    data = base64.b64encode(coded.getvalue()).decode()
    text = f"{EXCERPT_SECONDS} s from {int(start) // 60}:{int(start) % 60:02}, where {result.genre} is most probable:"
    return f'<p class="small">{text}</p><audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio>'


def write_page(path: Path, table: pd.DataFrame, head: Sequence[str], panels: Sequence[Path]) -> None:
    """Write songs.html.

    table: rows of songs.csv. head: sentences, the score and what answered. panels: files that hold what `song_panel`
    gave, in the order of the rows, for all or for the first of them.
    """
    order = {"yes": 0, "no": 1, "": 2}
    ranked = table.sort_values(["sure", "confidence"], key=lambda column: (
        column.map(order) if column.name == "sure" else -column.astype(float)))  # fmt: skip
    place = {key: number for number, key in enumerate(table["key"])}
    parts = [f'<p class="score">{"<br>".join(map(_text, head[:-1]))}</p>', f"<p>{_text(head[-1])}</p>"]
    parts += [_answer_table(ranked[:MOST_ROWS], {key for key in place if place[key] < len(panels)})]
    if len(ranked) > MOST_ROWS:
        parts.append(f"<p>{len(ranked) - MOST_ROWS} more songs are in songs.csv.</p>")
    parts += [_expectation({*table["answer"]})]
    shown = [(key, panels[place[key]]) for key in ranked["key"] if place[key] < len(panels)]
    title = "Song by song" if len(shown) == len(table) else f"Song by song, the first {len(shown)}"
    parts += [f"<h2>{title}</h2>"]
    parts += [f'<div id="{key}">{panel.read_text(encoding="utf-8")}</div>' for key, panel in shown]
    with replacing(path) as temporary:
        temporary.write_text(_whole_page(parts), encoding="utf-8")


def _whole_page(parts: Sequence[str]) -> str:
    allowed = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>The genres of your songs</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">\n<style>{STYLE}</style>\n</head>\n'
        "<body>\n<h1>The genres of your songs</h1>\n" + "\n".join(filter(None, parts)) + "\n</body>\n</html>\n"
    )


def _answer_table(table: pd.DataFrame, panels: set[str]) -> str:
    """A table of the answers; a song with a panel is a link to it."""
    rows = []
    marks = {"✓": '<span class="right">✓</span>', "✗": '<span class="wrong">✗</span>', "": ""}
    for row in table.to_dict("records"):
        cells = [marks[row["right"]], _text(full_title(row)), _text(guesses(row)), _text(row["own CNN"])]
        cells[1] = f'<a href="#{row["key"]}">{cells[1]}</a>' if row["key"] in panels else cells[1]
        note = row["note"] if row["answer"] and not row["note"].startswith("unsure: below") else ""
        kind = "" if row["sure"] == "yes" else ' class="unsure"'
        rows.append(
            f'<tr{kind}><td>{cells[0]}</td><td>{cells[1]}</td><td>{cells[2]}</td><td class="wide label">{cells[3]}</td>'
            f'<td class="label">{_text(row["label"])}</td><td class="wide small">{_text(note)}</td></tr>'
        )
    names = '<th></th><th>song</th><th>answer</th><th class="wide">own CNN</th><th>label</th><th class="wide">note</th>'
    return f"<table>\n<tr>{names}</tr>\n" + "\n".join(rows) + "\n</table>"


def _expectation(answers: set[str]) -> str:
    """A table of how many answers of each genre were right on real songs; "" where that was not measured."""
    try:
        table = pd.read_csv(EXPECTED_PATH, usecols=["genre", "right", "total"])
    except (OSError, ValueError):
        return ""
    rows = []
    for genre, right, total in table[["genre", "right", "total"]].itertuples(index=False):
        weak = "weak: " if right <= 0.5 * total else ""
        if genre in answers:
            rows.append(f"<tr><td>{_text(genre)}</td><td>{weak}{right} of {total}</td></tr>")
    head = "<tr><th>answer</th><th>right, of real songs that were answered so</th></tr>"
    return f'<h2>What to expect</h2>\n<table class="narrow">{head}{"".join(rows)}</table>' if rows else ""
