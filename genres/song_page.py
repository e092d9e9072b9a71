"""The page of own songs, songs.html: one file without code, with the answers, what to expect, and a panel per song."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from genres.audio import SAMPLE_RATE, load_audio
from genres.common import GENRES, ROOT, InputError, printable, replacing
from genres.fingerprints import Fingerprints
from genres.metrics import percent
from genres.runs import VIEWS
from genres.songs import Model, SongResult, guesses, nearest_clips, song_row
from genres.spectrogram import CLIP_SECONDS

EXPECTED_PATH = ROOT / "data" / "gtzan" / "real_songs.csv"  # columns genre, right, total: real songs by genre
EXCERPT_SECONDS = 10
MOST_LETTERS = 120  # of a title or a note
MOST_ROWS = 2000  # of the page's table; a browser is slow with more
COLOURS = ("#0173b2", "#de8f05", "#029e73", "#cc78bc")  # seaborn's colour-blind palette
DASHES = ("", "6 3", "2 3", "8 3 2 3")  # so that lines can be told apart without colours
WIDTH, HEIGHT, TOP, LEFT, BOTTOM = 640, 220, 16, 60, 36  # of the figure and its margins, in pixels
STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2rem; } h3 { margin: 0 0 .2rem; font-size: 1.1rem; }
a { color: inherit; } h1, h2, h3, td, p, li { overflow-wrap: anywhere; }
table { border-collapse: collapse; } .answers { width: 100%; } th { text-align: left; font-weight: 600; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.score { font-size: 1.15rem; padding: .6rem .9rem; background: var(--soft); border-radius: .4rem; }
.answers td:nth-child(4), .answers td:nth-child(5), .key { white-space: nowrap; }
.right { color: #029e73; } .wrong { color: #d55e00; } .unsure { font-style: italic; }
.panel { border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem; margin: 1rem 0; }
.two { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 0 1.5rem; }
ul { padding-left: 1.2rem; } .small, .answers td:nth-child(6) { font-size: .87rem; opacity: .85; }
.key { display: inline-block; margin-right: .8rem; } .key svg { width: 30px; }
svg { width: 100%; height: auto; max-width: 44rem; } svg text { font-size: 12px; fill: currentColor; }
path, polyline { fill: none; stroke-width: 2.5; } .grid { stroke: currentColor; stroke-width: 1; opacity: .2; }
.threshold { stroke: currentColor; stroke-width: 1.5; stroke-dasharray: 1 4; }
audio { width: 100%; max-width: 24rem; }
@media (max-width: 40rem) {
  body { padding: .6rem; } th, td { padding: .25rem .3rem; } svg text { font-size: 19px; } .two { display: block; }
  .answers tr > :nth-child(4), .answers tr > :nth-child(6) { display: none; }
}
"""


def full_title(row: dict) -> str:
    """Return artist and title of a row of songs.csv, as "Artist - Title"."""
    return f"{row['artist']} - {row['title']}" if row["artist"] else row["title"]


def song_panel(result: SongResult, model: Model, prints: Fingerprints, cnn: np.ndarray | None = None) -> str:
    """Return the panel of one song as HTML: its course, what each view says, the nearest training clips, an excerpt.

    cnn: what a CNN of another model answers, the student's own, mean over the windows, float (10,), or None.
    """
    row = song_row(result)
    parts = [f"<h3>{_text(full_title(row))}</h3>"]
    if not row["answer"]:
        return _section([*parts, f"<p>No answer: {_text(row['note'])}</p>"])
    label = f" The label is {row['label']}." if row["label"] else ""
    parts.append(f"<p>{'' if result.sure else 'Unsure. '}{row['top three']}.{label}</p>")
    if note := _note(row):
        parts.append(f'<p class="small">{_text(note)}</p>')
    near = nearest_clips(result, model, prints).to_dict("records")
    clips = "".join(f"<li>{clip['genre']}: {_text(_clip_name(clip))}</li>" for clip in near)
    nearest = f"Nearest training clips:<ul>{clips}</ul>" if near else ""
    left, right = _course(result) + _player(result), _views(result, cnn) + nearest
    return _section([*parts, f'<div class="two"><div>{left}</div><div>{right}</div></div>'])


def _section(parts: Sequence[str]) -> str:
    return '<section class="panel">\n' + "\n".join(parts) + "\n</section>\n"


def _text(text: object) -> str:
    text = printable(str(text))
    return escape(text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]}…")


def _clip_name(clip: dict) -> str:
    return f"{clip['artist']}, {clip['title']}" if clip["title"] else Path(clip["image"]).stem


def _note(row: dict[str, str]) -> str:
    """The note of a row, unless it only says that the answer is unsure, which the answer itself says."""
    return "" if row["note"].startswith("unsure: below") else row["note"]


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _table(names: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table of cells that are HTML; "" without rows."""
    lines = ["".join(f"<th>{name}</th>" for name in names)]
    lines += ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    return f'<table class="{kind}">\n<tr>' + "</tr>\n<tr>".join(lines) + "</tr>\n</table>" if rows else ""


def _course(result: SongResult) -> str:
    """A figure, SVG, of the probabilities of the four likeliest genres from window to window, with the threshold."""
    if result.kind != "sound" or len(result.windows) == 1:
        return ""
    end = float(result.starts[-1] + CLIP_SECONDS)

    def across(seconds: np.ndarray) -> np.ndarray:
        return LEFT + seconds / end * (WIDTH - LEFT - 8)

    def height(share: np.ndarray) -> np.ndarray:
        return TOP + (1 - share) * (HEIGHT - BOTTOM - TOP)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="probability of genres over time">']
    for level in (0, 0.5, 1):
        y = height(level)
        parts.append(f'<path class="grid" d="M{LEFT} {y}H{WIDTH}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{percent(level)}</text>')
    parts.append(f'<path class="threshold" d="M{LEFT} {height(result.unsure_below):.1f}H{WIDTH}"/>')
    for second in np.arange(0, end, max(30, 30 * round(end / 180))):
        parts.append(f'<text x="{across(second):.1f}" y="{HEIGHT - BOTTOM + 18}">{_clock(second)}</text>')
    keys, centres = [], across(result.starts + CLIP_SECONDS / 2)
    for genre, colour, dash in zip(result.ranking, COLOURS, DASHES, strict=False):
        heights = height(result.windows[:, GENRES.index(genre)])
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(centres, heights, strict=True))
        look = f'stroke="{colour}" stroke-dasharray="{dash}"'
        parts.append(f'<polyline points="{points}" {look}/>')
        keys.append(f'<span class="key"><svg viewBox="0 0 30 10"><path d="M0 5H30" {look}/></svg> {genre}</span>')
    keys.append(f'<span class="key">dotted: unsure below {percent(result.unsure_below)}</span>')
    return "".join(parts) + f'</svg><p class="small">Probability over the song\'s time. {"".join(keys)}</p>'


def _views(result: SongResult, cnn: np.ndarray | None) -> str:
    """A table of the two likeliest genres of each view."""
    means = {VIEWS.get(view, view): result.of_view(view) for view in result.views}
    means |= {} if cnn is None else {"your own CNN": cnn}
    rows = []
    for name, mean in means.items():
        rows.append((_text(name), ", ".join(f"{GENRES[k]} {percent(mean[k])}" for k in np.argsort(-mean)[:2])))
    return _table(["view", "says"], rows)


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
    text = f"{EXCERPT_SECONDS} s from {_clock(start)}, where {result.genre} is most probable:"
    return f'<p class="small">{text}</p><audio controls preload="none" src="data:audio/mpeg;base64,{data}"></audio>'


def write_page(path: Path, table: pd.DataFrame, head: Sequence[str], panels: Sequence[Path]) -> None:
    """Write songs.html.

    table: rows of songs.csv. head: sentences, the score and what answered. panels: files that hold what `song_panel`
    gave, in the order of the rows, for all or for the first of them.
    """
    ranked = table.sort_values(["sure", "confidence"], ascending=False)  # "yes" before "no" before ""
    place = {key: number for number, key in enumerate(table["key"])}
    shown = [(key, panels[place[key]]) for key in ranked["key"] if place[key] < len(panels)]
    parts = [f'<p class="score">{"<br>".join(map(escape, head[:-1]))}</p>', f"<p>{_text(head[-1])}</p>"]
    parts += [_answer_table(ranked[:MOST_ROWS], dict(shown))]
    if len(ranked) > MOST_ROWS:
        parts.append(f"<p>{len(ranked) - MOST_ROWS} more songs are in songs.csv.</p>")
    parts.append(_expectation({*table["answer"]}))
    parts.append("<h2>Song by song" + (f", the first {len(shown)}" if len(shown) < len(table) else "") + "</h2>")
    parts += [f'<div id="{key}">{panel.read_text(encoding="utf-8")}</div>' for key, panel in shown]
    with replacing(path) as temporary:
        temporary.write_text(_whole_page(parts), encoding="utf-8")


def _whole_page(parts: Sequence[str]) -> str:
    allowed = "default-src 'none'; style-src 'unsafe-inline'; media-src data:"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>The genres of your songs</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{allowed}">\n<style>{STYLE}</style>\n</head>\n'
        "<body>\n<h1>The genres of your songs</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _answer_table(table: pd.DataFrame, panels: Collection[str]) -> str:
    """A table of the answers; a song with a panel is a link to it."""
    rows = []
    marks = {"✓": '<span class="right">✓</span>', "✗": '<span class="wrong">✗</span>', "": ""}
    for row in table.to_dict("records"):
        title, answer = _text(full_title(row)), _text(guesses(row))
        title = f'<a href="#{row["key"]}">{title}</a>' if row["key"] in panels else title
        answer = answer if row["sure"] == "yes" else f'<span class="unsure">{answer}</span>'
        note = _note(row) if row["answer"] else ""
        rows.append((marks[row["right"]], title, answer, *map(_text, (row["own CNN"], row["label"], note))))
    return _table(["", "song", "answer", "own CNN", "label", "note"], rows, "answers")


def _expectation(answers: Collection[str]) -> str:
    """A table of how many real songs of each genre were recognised; "" where that was not measured."""
    try:
        table = pd.read_csv(EXPECTED_PATH, usecols=["genre", "right", "total"])
    except (OSError, ValueError):
        return ""
    rows = []
    for row in table[table["genre"].isin(answers)].itertuples():
        weak = "weak: " if row.right <= 0.5 * row.total else ""
        rows.append((_text(row.genre), f"{weak}{row.right} of {row.total}"))
    shares = _table(["genre", "recognised, of the real songs of this genre"], rows)
    return f"<h2>What to expect</h2>\n{shares}" if rows else ""
