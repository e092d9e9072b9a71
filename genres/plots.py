"""Every figure of the notebooks: functions that take arrays and tables, and return a matplotlib figure.

Colours are those of seaborn's colour-blind palette and of maps whose brightness rises throughout.
"""

from __future__ import annotations

import base64
import html
import io
import os
import textwrap
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import soundfile
from IPython import display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font
from pandas.io.formats.style import Styler
from PIL import Image
from sklearn.metrics import confusion_matrix

from genres.common import GENRES, SAMPLE_RATE, digest, relative_path, replacing
from genres.metrics import percent, reliability_table, wilson_interval
from genres.named_features import NAMED_FEATURES
from genres.runs import PRETRAINED, PROTOCOLS, VIEWS
from genres.songs import KINDS, SongResult, answer_rows
from genres.spectrogram import CLIP_SECONDS, DB_PER_LEVEL, MEL_BINS, MEL_CENTRES, TOP_DB

GENRE_MARKS = {  # instruments, rhythm (beats a minute), and what of it shows in a spectrogram
    "blues": (
        "guitar, piano, harmonica, voice",
        "12-bar form, shuffle, 60-130",
        "bent notes as sloping lines, few highs",
    ),
    "classical": ("strings, woodwinds, piano", "free tempo, long phrases", "long level lines, much black"),
    "country": (
        "acoustic and steel guitar, fiddle",
        "two-beat bass, 80-140",
        "dense plucked onsets, a voice in the middle",
    ),
    "disco": (
        "strings, bass, brass, drums",
        "four on the floor, 110-130",
        "even bright columns at 2 Hz, hi-hat on top",
    ),
    "hiphop": ("drum machine, rapped voice", "breakbeats, 80-105", "strong lowest rows, sharp snare columns"),
    "jazz": ("horn, keyboard, bass, brushes", "swing, 60-250", "clear overtones of horns, soft highs"),
    "metal": ("distorted guitars, double bass drum", "fast and steady, 90-220", "filled from bottom to top"),
    "pop": ("voice, synthesiser, drums", "verse and chorus, 90-130", "clear voice lines, tidy beat"),
    "reggae": ("bass, off-beat guitar, organ", "one drop, off-beat, 60-90", "heavy lowest rows, short chords, gaps"),
    "rock": ("electric guitars, bass, drums", "backbeat, 100-140", "wide band of guitars, snare columns"),
}
DECIBELS = "dB below the loudest point"
HIGHEST_LOSS = 3  # of the axis: guessing is 2.3, and a first epoch can be far above
OCTAVES = ["< 200", "200-400", "400-800", "800-1600", "1600-3200", "3200-6400", "> 6400"]  # Hz, of the contrast
COLOURS = sns.color_palette("colorblind")


def _subplots(
    title: str, size: tuple[float, float], *shape: int, **settings: object
) -> tuple[Figure, Axes | np.ndarray]:
    """Return a figure under its title, size in inches, with one axes or, of a shape (rows, columns), a grid of them."""
    with plt.rc_context(sns.axes_style("ticks") | {"axes.prop_cycle": plt.cycler(color=COLOURS)}):
        figure, axes = plt.subplots(*shape, figsize=size, layout="constrained", squeeze=not shape, **settings)
    set_title = figure.suptitle if shape else axes.set_title
    set_title(drawable(title), parse_math=False)
    return figure, axes


def _panels(
    title: str, count: int, columns: int, width: float, height: float, **settings: object
) -> tuple[Figure, np.ndarray]:
    """Return a figure, and `count` axes in rows of so many columns; the height in inches is that of a row."""
    rows = -(-count // columns)
    figure, grid = _subplots(title, (width, height * rows + 0.6), rows, columns, **settings)
    for axes in grid.flat[count:]:
        axes.set_visible(False)
    return figure, grid.ravel()[:count]


def save_figure(figure: Figure, folder: Path, name: str) -> display.Image:
    """Save the figure as <name>.png in a folder, close it, and return the saved picture for the notebook to show.

    256 colours are enough for these figures and make them a third as large.
    """
    path, drawn = folder / f"{name}.png", io.BytesIO()
    sns.despine(figure)
    figure.savefig(drawn, dpi=90, bbox_inches="tight", pad_inches=0.1)
    with replacing(path) as temporary, Image.open(drawn) as picture:
        colours = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE)
        colours.save(temporary, format="PNG", optimize=True)
    plt.close(figure)
    return display.Image(path.read_bytes())


def drawable(title: str) -> str:
    """Return a title in letters that matplotlib's own font has: as it is, else in latin letters as far as they go."""
    font = get_font(plt.matplotlib.get_data_path() + "/fonts/ttf/DejaVuSans.ttf")
    known = {ord("\n"), *font.get_charmap()}
    if all(ord(letter) in known for letter in title):
        return title
    spelled = []
    for letter in unicodedata.normalize("NFKC", title):
        latin = unicodedata.name(letter, "").partition(" LETTER ")[2].split(" ")[-1].lower()
        spelled.append(letter if ord(letter) in known else latin)
    return "".join(spelled).strip() or "title in letters that cannot be drawn"


def gtzan_box(set_name: str, text: str) -> display.Markdown:
    """Return a box with what was seen in the report's run on GTZAN, as Markdown; a run on another set shows none."""
    box = f"> **On GTZAN, in the report's run:** {' '.join(text.split())}"
    return display.Markdown(box if set_name == "gtzan" else "")


def counted(number: float, noun: str) -> str:
    """Return a whole number with its noun in singular or plural: "1 track", "0 tracks", "-2 points"."""
    whole = int(np.rint(number))
    return f"{whole:,} {noun}{'s' * (abs(whole) != 1)}"


def label_in_per_cent(axis: Axis) -> None:
    """Write the ticks of an axis of shares in per cent."""
    axis.set_major_locator(plt.MaxNLocator(6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(lambda share, _: percent(share))


def audio_player(samples: np.ndarray, folder: Path, name: str, seconds: float = 10.0) -> display.Audio:
    """Write the first seconds to <name>.ogg in a folder and return a player for it.

    The player points to the file instead of carrying it, so that a saved notebook holds nobody's music.
    """
    path = folder / f"{name}.ogg"
    with replacing(path) as temporary:
        soundfile.write(temporary, samples[: int(seconds * SAMPLE_RATE)], SAMPLE_RATE, format="OGG")
    read_in = os.environ.get("GENRES_PAGE", ".")  # the folder of the executed notebook, if it is not where it runs
    return display.Audio(url=Path(relative_path(path, read_in)).as_posix(), embed=False)


def draw_spectrogram(
    axes: Axes, matrix: np.ndarray, seconds: float = CLIP_SECONDS, title: str = "", limits: tuple = (-TOP_DB / 2, 0)
) -> plt.cm.ScalarMappable:
    """Draw a matrix with axes in seconds and Hz, in dB below its loudest point; return the image for a colour bar."""
    decibels = (matrix.astype(np.float32) - 255) * DB_PER_LEVEL
    image = axes.imshow(
        decibels, origin="lower", aspect="auto", cmap="magma", vmin=limits[0], vmax=limits[1],
        extent=(0, seconds, -0.5, MEL_BINS - 0.5), interpolation="nearest",
    )  # fmt: skip
    set_frequency_ticks(axes)
    axes.set_title(drawable(title), parse_math=False)
    axes.set_xlabel("time in s")
    return image


def set_frequency_ticks(axes: Axes) -> None:
    """Label an axis of mel bins in Hz."""
    ticks = np.array([128, 512, 1024, 2048, 4096, 8192])
    axes.set_yticks(np.interp(ticks, MEL_CENTRES, np.arange(MEL_BINS)), [f"{tick}" for tick in ticks])
    axes.set_ylabel("frequency in Hz (mel scale)", fontsize="small")


def spectrogram_grid(
    matrices: Sequence[np.ndarray], titles: Sequence[str], title: str, columns: int = 5,
    seconds: float | Sequence[float] = CLIP_SECONDS, limits: tuple = (-TOP_DB / 2, 0),
) -> Figure:  # fmt: skip
    """Draw matrices side by side under one title, with a colour bar in dB; `seconds` is their length, or each one's."""
    width = max(12.5, 2.5 * columns) if columns > 2 else 9
    figure, panels = _panels(title, len(matrices), columns, width, 2.3, sharey=True)
    lengths = np.broadcast_to(seconds, len(matrices))
    for axes, matrix, name, length in zip(panels, matrices, titles, lengths, strict=False):
        image = draw_spectrogram(axes, matrix, length, name, limits)
        axes.set(ylabel="", xlabel="time in s" if axes.get_subplotspec().is_last_row() else "")
    figure.supylabel("frequency in Hz (mel scale)", fontsize="medium")
    figure.colorbar(image, ax=figure.axes, label=DECIBELS)
    return figure


def plot_genre_counts(parts: dict[str, Sequence[str]], title: str) -> Figure:
    """Draw how many pictures each genre has, one colour for each named part (name to genres of its pictures)."""
    counts = pd.DataFrame({name: [list(genres).count(g) for g in GENRES] for name, genres in parts.items()}, GENRES)
    figure, axes = _subplots(title, (10, 3.4))
    counts.plot.bar(ax=axes, rot=20, width=0.85, legend=False, color=COLOURS)
    if len(parts) > 1:
        figure.legend(loc="outside right upper")  # beside the bars, which fill the axes
    for bars in axes.containers:
        axes.bar_label(bars, fontsize=8)
    axes.set(xlabel="genre", ylabel="number of pictures")
    return figure


def plot_floor_share(matrices: np.ndarray, genres: Sequence[str], title: str) -> Figure:
    """Draw the share of a picture that is black, 40 dB or more below its loudest point, as a box per genre."""
    share = pd.DataFrame({"genre": list(genres), "share": (matrices == 0).mean(axis=(1, 2))})
    order = share.groupby("genre")["share"].median().sort_values().index
    figure, axes = _subplots(title, (9, 3.4))
    sns.boxplot(share, x="genre", y="share", order=order, ax=axes, color=COLOURS[0], fliersize=3)
    axes.set(xlabel="genre", ylabel="share of the picture at the floor", ylim=(0, 1))
    label_in_per_cent(axes.yaxis)
    return figure


def plot_clip(samples: np.ndarray, matrix: np.ndarray, title: str) -> Figure:
    """Draw a waveform above the spectrogram it becomes, on one time axis."""
    figure, ((above,), (below,)) = _subplots(title, (9, 5), 2, 1, sharex=True, height_ratios=(1, 2.4))
    step = max(1, len(samples) // 20_000)
    above.plot(np.arange(len(samples))[::step] / SAMPLE_RATE, samples[::step], linewidth=0.4)
    above.set_ylabel("amplitude")
    image = draw_spectrogram(below, matrix, len(samples) / SAMPLE_RATE)
    figure.colorbar(image, ax=below, label=DECIBELS)
    return figure


def plot_learning_curves(curves: dict[str, pd.DataFrame], title: str) -> Figure:
    """Draw loss above accuracy over the epochs, one column for each named network."""
    figure, (losses, panels) = _subplots(title, (4.2 * len(curves), 5.2), 2, len(curves), sharey="row", sharex="col")
    for above, axes, (name, curve) in zip(losses, panels, curves.items(), strict=True):
        above.plot(curve["epoch"], curve["loss"])
        above.set(title=name, ylim=(0, HIGHEST_LOSS))
        if curve["loss"].max() > HIGHEST_LOSS:
            outside = curve.loc[curve["loss"].idxmax()]
            text = f"up to {outside['loss']:.1f} in epoch {outside['epoch']:.0f}"
            above.text(outside["epoch"] + 0.04 * len(curve), HIGHEST_LOSS, text, va="top", fontsize="small")
        plain = curve.dropna(subset=["validation"])
        axes.plot(plain["epoch"], plain["train"], ".-", label="training")
        axes.plot(plain["epoch"], plain["validation"], ".--", label="validation")
        axes.set(xlabel="epoch", xlim=(0, curve["epoch"].max() + 1), ylim=(0, 1.02))
        axes.xaxis.set_major_locator(plt.MaxNLocator(5, integer=True))
        label_in_per_cent(axes.yaxis)
    losses[0].set_ylabel("loss")
    panels[0].set_ylabel("accuracy, whole pictures")
    figure.legend(*panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def plot_architecture(layers: pd.DataFrame, title: str) -> Figure:
    """Draw a network as blocks: as high as its map has rows of pitch, and the wider, the more channels it has.

    layers: one row per block in order, columns layer, channels, rows, columns (of the map after it) and weights.
    """
    figure, axes = _subplots(title, (11, 4))
    left = 0.0
    for k, layer in enumerate(layers.itertuples(index=False)):
        width, height = 0.3 + 0.08 * np.sqrt(min(layer.channels, 400)), 0.3 + layer.rows / 128 * 4
        axes.add_patch(plt.Rectangle((left, -height / 2), width, height, facecolor=COLOURS[k % 10], alpha=0.75))
        is_map = layer.rows * layer.columns > 1
        shape = f"{layer.channels}x{layer.rows}x{layer.columns}" if is_map else f"{layer.channels:,}"
        axes.text(left + width / 2, 2.4, textwrap.fill(layer.layer, 12), ha="center", va="bottom")
        weights = f"\n{layer.weights:,}\nweights" if layer.weights else ""
        axes.text(left + width / 2, -2.4, shape + weights, ha="center", va="top")
        left += width + 1.0
        if k < len(layers) - 1:
            axes.annotate("", (left - 0.1, 0), (left - 0.9, 0), arrowprops={"arrowstyle": "->"})
    axes.set(xlim=(-0.6, left - 0.4), ylim=(-4, 3.6))
    axes.set_axis_off()
    return figure


def plot_maps(
    maps: dict[str, np.ndarray], title: str, columns: int, signed: bool = False, seconds: float = 0.0
) -> Figure:
    """Draw named maps, float (rows, columns) each, side by side; each uses the whole range of colours for itself.

    signed: purple is positive, orange negative and white zero, as for the weights of a kernel. seconds: length of maps
    that cover the whole range of pitch; without it they have no scale.
    """
    figure, panels = _panels(title, len(maps), columns, 12.5, 1.9)
    extent = (0, seconds, -0.5, MEL_BINS - 0.5) if seconds else None
    for axes, (name, each) in zip(panels, maps.items(), strict=True):
        limit = float(np.abs(each).max()) if signed else None
        colours = {"cmap": "PuOr", "vmin": -limit, "vmax": limit} if signed else {"cmap": "gray"}
        aspect = "equal" if each.shape[0] == each.shape[1] else "auto"
        axes.imshow(each, origin="lower", aspect=aspect, interpolation="nearest", extent=extent, **colours)
        axes.set_title(name, fontsize="small")
        if seconds:
            set_frequency_ticks(axes)
            axes.set(ylabel="")
            axes.label_outer()
            continue
        axes.set(xticks=[], yticks=[])
        # Not the spines of the axes, of which a saved figure keeps only two.
        frame = {"transform": axes.transAxes, "fill": False, "edgecolor": "0.15", "clip_on": False}
        axes.add_patch(plt.Rectangle((0, 0), 1, 1, **frame))
    figure.supxlabel("time in s" if seconds else "time", fontsize="medium")
    figure.supylabel("frequency in Hz (mel scale)" if seconds else "pitch, low to high", fontsize="medium")
    if signed:
        figure.get_layout_engine().set(wspace=0.08, hspace=0.08)
        colours = [plt.Rectangle((0, 0), 1, 1, color=plt.get_cmap("PuOr")(place)) for place in (0.95, 0.05)]
        figure.legend(colours, ["positive weight", "negative weight"], loc="outside lower right", ncols=2)
    return figure


def plot_controls(rows: pd.DataFrame, title: str) -> Figure:
    """Draw bars of the mean accuracy of each view on held-out tracks, its runs as dots; columns view and accuracy."""
    order = rows.groupby("view")["accuracy"].mean().sort_values(ascending=False).index
    figure, axes = _subplots(title, (9, 0.42 * len(order) + 1.4))
    sns.barplot(rows, y="view", x="accuracy", order=order, errorbar=None, color=COLOURS[0], alpha=0.6, ax=axes)
    sns.stripplot(rows, y="view", x="accuracy", order=order, color="0.2", size=4, jitter=False, ax=axes)
    axes.axvline(1 / len(GENRES), color="grey", linestyle=":")
    axes.set(xlabel="accuracy of held-out tracks (dotted: by chance)", ylabel="classifier", xlim=(0, 1))
    label_in_per_cent(axes.xaxis)
    axes.grid(axis="x", alpha=0.4)
    return figure


def plot_staircase(steps: Sequence[tuple[str, float, float, float]], title: str) -> Figure:
    """Draw one accuracy after the other, each on harder tracks: (name, accuracy, low, high of its 95 % interval)."""
    figure, axes = _subplots(title, (8, 3.6))
    names, accuracies, low, high = zip(*steps, strict=True)
    errors = [np.subtract(accuracies, low), np.subtract(high, accuracies)]
    axes.bar(range(len(steps)), accuracies, yerr=errors, capsize=4, color=COLOURS[0], alpha=0.7, width=0.65)
    for step, (value, top) in enumerate(zip(accuracies, high, strict=True)):
        axes.text(step, top + 0.02, percent(value), ha="center")
    axes.axhline(1 / len(GENRES), color="grey", linestyle=":", label="by chance")
    axes.set_xticks(range(len(steps)), [textwrap.fill(name, 20) for name in names])
    axes.set(xlabel="tracks that the network is asked about", ylabel="accuracy, 95 % interval", ylim=(0, 1.12))
    label_in_per_cent(axes.yaxis)
    axes.legend(loc="upper right")
    return figure


def plot_confusion(scores: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw the confusion matrix with counts; the colour is the share of the true genre."""
    counts = confusion_matrix(labels, scores.argmax(1), labels=range(len(GENRES)))
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure, axes = _subplots(title, (7, 5.6))
    sns.heatmap(
        shares, vmin=0, vmax=1, cmap="Blues", ax=axes, square=True, linewidths=0.5, linecolor="0.9",
        annot=np.where(counts, counts.astype(str), ""), fmt="",
        xticklabels=GENRES, yticklabels=GENRES, cbar_kws={"label": "share of the true genre"},
    )  # fmt: skip
    axes.set(xlabel="predicted genre", ylabel="true genre")
    axes.tick_params(axis="x", rotation=45)
    return figure


def plot_genre_report(reports: dict[str, pd.DataFrame], title: str) -> Figure:
    """Draw the recall of each genre (share of its tracks that is recognised) for each named report, with intervals."""
    figure, axes = _subplots(title, (10, 3.6))
    width = 0.7 / len(reports)
    for k, (marker, (name, report)) in enumerate(zip("osD^v", reports.items(), strict=False)):
        errors = np.abs(report[["low", "high"]].to_numpy().T - report["recall"].to_numpy())
        centres = np.arange(len(report)) + (k - (len(reports) - 1) / 2) * width
        axes.errorbar(centres, report["recall"], errors, fmt=marker, label=name, capsize=2, markersize=5)
    axes.set_xticks(range(len(GENRES)), GENRES, rotation=20)
    axes.set(xlabel="genre", ylabel="recall, with 95 % interval", ylim=(0, 1.02))
    label_in_per_cent(axes.yaxis)
    axes.grid(axis="y", alpha=0.4)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def plot_reliability(
    probabilities: np.ndarray, labels: np.ndarray, title: str, groups: np.ndarray | None = None
) -> Figure:
    """Draw accuracy over confidence in ten equally filled bins, beside the diagonal of a perfectly calibrated model."""
    table = reliability_table(probabilities, labels, groups)
    figure, axes = _subplots(title, (5.2, 4.4))
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="confidence = accuracy")
    errors = np.abs(table[["low", "high"]].to_numpy().T - table["accuracy"].to_numpy())
    axes.errorbar(table["confidence"], table["accuracy"], errors, fmt="o-", capsize=3, label="a tenth of the answers")
    axes.set(xlabel="mean confidence", ylabel="accuracy, with 95 % interval", xlim=(0, 1.03), ylim=(0, 1.03))
    label_in_per_cent(axes.xaxis)
    label_in_per_cent(axes.yaxis)
    axes.legend(loc="upper left")
    return figure


def plot_results(results: Sequence[dict], protocols: Sequence[str], title: str) -> Figure:
    """Draw accuracy and 95 % interval of every view, a panel per protocol; rows of metrics.json, best first.

    Circles are views that know only GTZAN, diamonds those with a pretrained network.
    """
    shown = [name for name in protocols if any(row["protocol"] == name for row in results)]
    # By the first panel that has the view.
    places = [(shown.index(r["protocol"]), -r["accuracy"], r["view"]) for r in results if r["protocol"] in shown]
    views = list(dict.fromkeys(view for _, _, view in sorted(places)))  # those without a first panel come last
    size = (3.2 + 3.4 * len(shown), 0.38 * len(views) + 1.6)
    figure, ((*panels,),) = _subplots(title, size, 1, len(shown), sharey=True, sharex=True)
    table = pd.DataFrame(results)
    for axes, protocol in zip(panels, shown, strict=True):
        for pretrained, (marker, label) in enumerate((("o", "from scratch"), ("D", "with a pretrained network"))):
            rows = table[(table["protocol"] == protocol) & (table["view"].isin(PRETRAINED) == bool(pretrained))]
            places, colour = rows["view"].map(views.index), COLOURS[pretrained]
            errors = [rows["accuracy"] - rows["low"], rows["high"] - rows["accuracy"]]
            axes.errorbar(rows["accuracy"], places, xerr=errors, fmt=marker, capsize=3, color=colour, label=label)
        axes.set(title=textwrap.fill(PROTOCOLS[protocol], 30), xlabel="accuracy of whole tracks")
        label_in_per_cent(axes.xaxis)
        axes.grid(axis="x", alpha=0.4)
    panels[0].set_yticks(range(len(views)), [VIEWS[view] for view in views])
    panels[0].set_ylim(len(views) - 0.5, -0.5)
    if {*views} & {*PRETRAINED}:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def plot_song(result: SongResult, near: pd.DataFrame, title: str) -> Figure:
    """Show why a song got its genre: its spectrogram, the genres' course under it, and on the right what decides.

    The lower left has the four likeliest genres window by window, and the threshold below which an answer is unsure;
    the right has what each view says, and how far the nearest training clips are (see `songs.nearest_clips`).
    """
    figure, ((song, views), (course, clips)) = _subplots(title, (12.5, 5.6), 2, 2, width_ratios=(1.7, 1))
    image = draw_spectrogram(song, result.overview, result.seconds, "the whole song")
    figure.colorbar(image, ax=song, label="dB below the loudest")
    centres = result.starts + CLIP_SECONDS / 2
    for genre, style in zip(result.ranking[:4], ("o-", "s--", "D:", "^-."), strict=True):
        course.plot(centres, result.windows[:, GENRES.index(genre)], style, markersize=4, label=genre)
    course.axhline(result.unsure_below, color="grey", linestyle=":", label="unsure below")
    course.set(title="the answer for each window, four likeliest genres", xlabel="time in s", ylabel="probability",
               xlim=(0, result.seconds), ylim=(0, 1.3), yticks=np.linspace(0, 1, 6))  # fmt: skip
    course.legend(loc="upper right", ncols=5, fontsize="small")
    _draw_views_of_song(views, result)
    _draw_nearest(clips, near)
    return figure


def _draw_views_of_song(axes: Axes, result: SongResult) -> None:
    """Draw what each view says of a song, a row each, and last the answer; the frame marks the label."""
    rows = [result.of_view(view) for view in result.views] + [result.probabilities]
    axes.imshow(rows, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (row, genre), share in np.ndenumerate(rows):
        if share >= 0.05:
            colour = "white" if share > 0.5 else "black"
            axes.text(genre, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)
    if result.song.genre:
        corner = (GENRES.index(result.song.genre) - 0.5, -0.5)
        axes.add_patch(plt.Rectangle(corner, 1, len(rows), fill=False, edgecolor=COLOURS[1], linewidth=1.8))
    axes.set_xticks(range(len(GENRES)), GENRES, rotation=60)
    axes.set_yticks(range(len(rows)), [*(textwrap.fill(VIEWS[view], 12) for view in result.views), "ANSWER"])
    axes.set_title("what each view says, in %" + (" (frame: label)" if result.song.genre else ""))


def _draw_nearest(axes: Axes, near: pd.DataFrame) -> None:
    """Draw bars of the distance of training clips, columns image, genre, artist, title and distance."""
    if near.empty:
        axes.set_title("no clips to compare (needs sound)")
        axes.set_axis_off()
        return
    axes.set(title="nearest training clips", xlabel="distance between features", yticks=[])
    for place, clip in enumerate(near.itertuples()):
        named = f"{clip.artist}, {clip.title}" if clip.title else Path(clip.image).stem
        axes.barh(place, clip.distance, color=COLOURS[0], alpha=0.35)
        text = textwrap.shorten(drawable(f"{clip.genre}: {named}"), 48)
        axes.text(0.02 * near["distance"].max(), place, text, va="center", parse_math=False, fontsize="small")
    axes.invert_yaxis()


def plot_interval_width(correct: int, total: int, title: str) -> Figure:
    """Draw how wide a 95 % interval (Wilson's) is after so many songs, and mark the own score and the reference's."""
    counts = np.arange(10, 1001, 10)
    scores = {"reference project": (6, 20)} | ({"these songs": (correct, total)} if total else {})
    figure, axes = _subplots(title, (8, 4))
    for share, style in ((0.5, "-"), (0.8, "--")):
        widths = [100 * np.ptp(wilson_interval(share * count, count)) for count in counts]
        axes.plot(counts, widths, style, color="0.4", label=f"if {percent(share)} are right")
    for (name, score), mark in zip(scores.items(), "D*", strict=False):
        low, high = wilson_interval(*score)
        text = f"{name}: {score[0]} of {score[1]}, {percent(low)} to {percent(high)}"
        axes.plot(score[1], 100 * (high - low), mark, markersize=12 if mark == "*" else 8, label=text)
    axes.axhline(10, color="grey", linestyle=":", label="ten points wide")
    axes.set(xscale="log", xlabel="number of songs", ylabel="width of the interval, in points", ylim=(0, 100))
    axes.set_xticks([5, 10, 20, 50, 100, 200, 500, 1000], [5, 10, 20, 50, 100, 200, 500, 1000])
    axes.minorticks_off()
    axes.grid(alpha=0.4)
    axes.legend(loc="upper right")
    return figure


def plot_grad_cam(matrix: np.ndarray, heats: dict[str, np.ndarray], title: str) -> Figure:
    """Draw one matrix, uint8 (128, 334), once for each named question, with its Grad-CAM, float (128, 334).

    Contours are where it is at a half (dashed) and at four fifths.
    """
    figure, (panels,) = _subplots(title, (12, 3.4), 1, len(heats), sharey=True)
    lines = {"levels": [0.5, 0.8], "colors": ["white", "cyan"], "linestyles": ["dashed", "solid"], "linewidths": 1.2}
    seconds = (np.arange(matrix.shape[1]) + 0.5) * CLIP_SECONDS / matrix.shape[1]
    for axes, (name, heat) in zip(panels, heats.items(), strict=True):
        image = draw_spectrogram(axes, matrix, title=name)
        axes.contour(seconds, np.arange(MEL_BINS), heat, **lines)
        axes.label_outer()
    figure.colorbar(image, ax=panels, label=DECIBELS)
    return figure


def plot_activation_courses(courses: dict[str, tuple[np.ndarray, np.ndarray]], title: str) -> Figure:
    """Draw activation and level over pitch, float (128,) each, for each named genre; each is a share of its maximum."""
    figure, panels = _panels(title, len(courses), -(-len(courses) // 2), 12.5, 2.5, sharex=True, sharey=True)
    for axes, (name, (activation, level)) in zip(panels, courses.items(), strict=True):
        for values, style, label in ((activation, "-", "mean activation"), (level, "--", "mean level")):
            axes.plot(values / max(values.max(), 1e-9), np.arange(MEL_BINS), style, label=label)
        set_frequency_ticks(axes)
        axes.set(title=name, xlabel="share of the maximum")
        axes.label_outer()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def plot_answers(results: Sequence[SongResult], title: str) -> Figure:
    """Draw the confidence in each song's answer, right and wrong in colours; sound and pictures stand apart.

    Other classifiers answer pictures, with another threshold; web pictures are always unsure. Songs without an answer
    are left out.
    """
    kinds = {kind: [r for r in results if r.kind == kind and r.genre] for kind in KINDS}
    kinds = {kind: answered for kind, answered in kinds.items() if answered}
    heights = [len(answered) + 1.5 for answered in kinds.values()] or [1]
    figure, panels = _subplots(title, (9, 0.32 * sum(heights) + 1.2), len(heights), 1, height_ratios=heights)
    marks = {True: (COLOURS[2], "✓ "), False: (COLOURS[3], "✗ "), None: ("0.6", "")}
    for axes, (kind, answered) in zip(panels[:, 0], kinds.items(), strict=False):
        threshold = 0 if kind == "web" else answered[0].unsure_below
        for place, r in enumerate(answered):
            right = None if r.match else r.right
            colour, mark = marks[right]
            axes.barh(place, r.confidence, color=colour, hatch="" if r.sure else "//", edgecolor="white")
            wanted = " (in the training set)" if r.match else f" (label {r.song.genre})" if right is False else ""
            clear = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            at = min(max(r.confidence, threshold), 0.7) + 0.01  # behind the dotted line, which would cross the words
            axes.text(at, place, f"{mark}{r.genre}{wanted}", va="center", fontsize="small", bbox=clear)
        if threshold:
            axes.axvline(threshold, color="grey", linestyle=":")
        labels = [textwrap.shorten(drawable(r.song.title), 40) for r in answered]
        axes.set_yticks(range(len(answered)), labels, parse_math=False, fontsize="small")
        axes.set(title=KINDS[kind], xlim=(0, 1), ylim=(len(answered) - 0.5, -0.5))
        axes.set_xlabel("confidence; hatched: unsure" + ("; dotted: threshold" if threshold else ""))
        label_in_per_cent(axes.xaxis)
    return figure


def answer_table(results: Sequence[SongResult]) -> Styler:
    """Return a table of what is said of songs, sure answers first, with marks for right and wrong."""
    table = answer_rows(results)
    marks = [name for name in table if name.startswith("✓")]
    colours = {mark: f"color: {COLOURS.as_hex()[k]}; font-weight: bold" for mark, k in (("✓", 2), ("✗", 3))}
    style = Styler(table, uuid=digest(table.to_csv())).hide(axis="index").format(escape="html")
    style.map(lambda mark: colours.get(mark, ""), subset=marks)
    style.set_properties(**{"text-align": "left"}).set_table_styles([{"selector": "th", "props": "text-align: left"}])
    return style.set_table_attributes('class="tex2jax_ignore mathjax_ignore"')  # a title may hold two dollar signs


def page(*parts: object) -> display.HTML:
    """Join texts, tables, pictures and players to one output, which a later one can replace as a whole."""

    def as_html(part: object) -> str:
        if isinstance(part, display.Image):
            return f'<img src="data:image/png;base64,{base64.b64encode(part.data).decode()}">'
        if hasattr(part, "_repr_html_"):
            return part._repr_html_()
        return f'<p class="tex2jax_ignore mathjax_ignore">{html.escape(str(part))}</p>'

    return display.HTML("\n".join(map(as_html, parts)))


def plot_feature_frames(clips: dict[str, dict[str, np.ndarray]], names: Sequence[str], title: str) -> Figure:
    """Draw named features over time: a row of panels per feature, a column per clip (title to frames).

    One number per frame is a line, several are an image, number 1 at the bottom (chroma: C to B). A panel says what a
    picture does not carry.
    """
    heights = [1.4 if NAMED_FEATURES[name].size > 1 else 1 for name in names]
    size = (10, 0.6 + 1.7 * sum(heights))
    figure, grid = _subplots(title, size, len(names), len(clips), sharex=True, sharey="row", height_ratios=heights)
    for row, name in zip(grid, names, strict=True):
        feature, label = NAMED_FEATURES[name], name.replace("_", " ")
        for axes, (clip, frames) in zip(row, clips.items(), strict=True):
            axes.set(title=f"{clip}: {label}", xlabel="time in s", xlim=(0, CLIP_SECONDS))
            if name not in frames:
                axes.text(CLIP_SECONDS / 2, 0.5, "not in a picture", ha="center", va="center")
            elif feature.size == 1:
                axes.plot(np.linspace(0, CLIP_SECONDS, frames[name].shape[1]), frames[name][0], linewidth=0.7)
        if feature.size == 1:
            row[0].set_ylabel(f"{label}\n({feature.unit})")
        else:
            image = _draw_images(row, name, [frames[name] for frames in clips.values()])
            figure.colorbar(image, ax=row, label=feature.unit, extend="both")
    for axes in grid.flat:
        axes.label_outer()
    return figure


def _draw_images(row: np.ndarray, name: str, clips: Sequence[np.ndarray]) -> plt.cm.ScalarMappable:
    """Draw a feature of several numbers in a row of axes, (numbers, frames) each; return an image for a colour bar."""
    # The first cepstral coefficient is so much larger that it would flatten all others.
    low, high = np.quantile(np.concatenate([values.ravel() for values in clips]), [0.05, 0.95])
    signed = name in ("tonnetz", "mfcc")  # zero in the middle of the colours
    if signed:
        high = max(-low, high)
        low = -high
    for axes, values in zip(row, clips, strict=True):
        image = axes.imshow(
            values, origin="lower", aspect="auto", cmap="PuOr" if signed else "cividis", vmin=low, vmax=high,
            extent=(0, CLIP_SECONDS, 0.5, len(values) + 0.5), interpolation="nearest",
        )  # fmt: skip
    row[0].set_ylabel({"chroma": "note", "contrast": "octave (Hz)", "mfcc": "coefficient"}.get(name, "harmony"))
    if name == "chroma":
        row[0].set_yticks([1, 3, 5, 6, 8, 10, 12], list("CDEFGAB"))
    if name == "tonnetz":  # two axes each
        row[0].set_yticks([1.5, 3.5, 5.5], ["fifths", "minor\nthirds", "major\nthirds"])
    if name == "contrast":
        row[0].set_yticks(range(1, 8), OCTAVES, fontsize="x-small")
    return image


def plot_importance(losses: dict[str, pd.DataFrame], title: str) -> Figure:
    """Draw the accuracy that shuffling a feature costs, a colour per named classifier, with one deviation."""
    mean = pd.DataFrame({name: table.mean() for name, table in losses.items()}) * 100
    spread = pd.DataFrame({name: table.std() for name, table in losses.items()}) * 100
    order = mean.mean(axis=1).sort_values().index
    figure, axes = _subplots(title, (8, 0.5 * len(mean) + 1.6))
    mean.loc[order].plot.barh(ax=axes, xerr=spread.loc[order], width=0.8, error_kw={"elinewidth": 1}, color=COLOURS)
    axes.set(ylabel="feature", xlabel="accuracy lost when shuffled, in points (line: one standard deviation)")
    axes.set_yticks(range(len(order)), [name.replace("_", " ") for name in order])
    axes.axvline(0, color="grey", linewidth=0.8)
    return figure


def plot_tags(tags: dict[str, np.ndarray], names: Sequence[str], title: str) -> Figure:
    """Draw the six strongest tags of each named clip; tags are probabilities, float (len(names),)."""
    figure, panels = _panels(title, len(tags), min(5, len(tags)), 12.5, 2.3, sharex=True)
    for axes, (clip, shares) in zip(panels, tags.items(), strict=True):
        strongest = np.argsort(-shares)[:6]
        axes.barh([names[k] for k in strongest], shares[strongest], color=COLOURS[0])
        axes.invert_yaxis()
        axes.tick_params(axis="y", labelsize="small")
        axes.set_title(clip, parse_math=False)
        axes.set_xlim(0, 1.05 * np.max(list(tags.values())))
        axes.set_xlabel("probability of the tag" if axes.get_subplotspec().is_last_row() else "")
    return figure


def plot_map(points: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw clips as points, float (n, 2), with a colour and a mark for each genre; the axes have no unit."""
    figure, axes = _subplots(title, (8.5, 5.6))
    for k, (genre, mark) in enumerate(zip(GENRES, "os^vD<>PX*", strict=True)):
        x, y = points[labels == k].T
        axes.scatter(x, y, 60 if mark == "*" else 28, [COLOURS[k]], mark, linewidths=0.4, edgecolors="0.3", label=genre)
    axes.set(xticks=[], yticks=[], xlabel="t-SNE, first axis (near: similar features)", ylabel="t-SNE, second axis")
    figure.legend(loc="outside right upper")
    return figure


def plot_tracks_needed(curve: pd.DataFrame, title: str) -> Figure:
    """Draw accuracy over training tracks per genre, a line per view: the mean of the draws, from lowest to highest.

    curve: columns view (name in VIEWS), tracks (per genre) and accuracy, one row per draw.
    """
    figure, axes = _subplots(title, (8, 4.4))
    for marker, (view, rows) in zip("os^D", curve.groupby("view", sort=False), strict=False):
        drawn = rows.groupby("tracks")["accuracy"].agg(["mean", "min", "max"])
        errors = [drawn["mean"] - drawn["min"], drawn["max"] - drawn["mean"]]
        axes.errorbar(drawn.index, drawn["mean"], errors, fmt=f"{marker}-", capsize=3, mfc="none", label=VIEWS[view])
    ticks = sorted(curve["tracks"].unique())
    axes.set_xscale("log")
    axes.set_xticks(ticks, [*(f"{tick:g}" for tick in ticks[:-1]), f"all ({ticks[-1]:.0f})"])
    axes.minorticks_off()
    axes.set(xlabel="training tracks per genre", ylabel="accuracy (line: range of draws)", ylim=(0, 1))
    label_in_per_cent(axes.yaxis)
    axes.grid(axis="y", alpha=0.4)
    figure.legend(loc="outside right upper")
    return figure


def plot_tag_weights(weights: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Draw which tags speak for which genre, float (10, tags): the three strongest of each, in standard deviations."""
    order = list(dict.fromkeys(np.argsort(-weights)[:, :3].ravel()))
    figure, axes = _subplots(title, (11, 4.6))
    limit = np.abs(weights[:, order]).max()
    sns.heatmap(
        weights[:, order], vmin=-limit, vmax=limit, cmap="PuOr", ax=axes, linewidths=0.5, linecolor="0.9",
        xticklabels=[names[k] for k in order], yticklabels=GENRES,
        cbar_kws={"label": "above the mean of the genres,\nin standard deviations"},
    )  # fmt: skip
    plt.setp(axes.get_xticklabels(), rotation=45, ha="right", rotation_mode="anchor")
    axes.set(xlabel="tag", ylabel="genre")
    return figure
