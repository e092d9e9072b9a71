"""README's tables and sentences with numbers, written from metrics.json, so that they cannot disagree with it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd

from genres.common import InputError, replacing
from genres.metrics import percent
from genres.networks import CONTROLS, GenreNetwork
from genres.runs import PRETRAINED, VIEWS, read_metrics, result_table


def write_readme(metrics: Path, readme: Path) -> None:
    """Put the results of metrics.json, as tables and sentences, between README's pairs of marks `<!-- name -->`.

    Raises InputError where metrics.json has no results yet, or README lost marks.
    """
    measured = read_metrics(metrics)
    results = measured["results"]
    if not results:
        raise InputError(f"'{metrics.name}' has no results: run the notebooks first.")
    scratch = [view for view in VIEWS if view not in (*PRETRAINED, *CONTROLS)]
    protocols = ["fault_filtered", "folds", "random"]
    parts = readme_sentences(measured) | {
        "from scratch": markdown(result_table(results, scratch, protocols)),
        "controls": markdown(result_table(results, ["cnn", *CONTROLS, "texture"], ["grouped"])),
        "pretrained": markdown(result_table(results, PRETRAINED, protocols)),
        "songs": markdown(result_table(results, list(VIEWS), ["real_songs_A", "real_songs"])),
    }
    text = readme.read_text(encoding="utf-8")
    for name, part in parts.items():
        before, mark, rest = text.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->")
        if not mark or not end:
            raise InputError(f"'{readme.name}' has lost its marks around '{name}': put them back.")
        text = before + mark + part + "\n" + end + after
    with replacing(readme) as temporary:
        temporary.write_text(text, encoding="utf-8")


def readme_sentences(measured: dict) -> dict[str, str]:
    """Return README's sentences with numbers, by their marks, from all of metrics.json.

    A sentence that needs a result which is not there says so instead.
    """
    share = {(row["view"], row["protocol"]): 100 * row["accuracy"] for row in measured["results"]}
    tracks = {(row["view"], row["protocol"]): row["n"] for row in measured["results"]}
    view, sentences = measured.get("answers_pictures", "picture"), {}
    for name, sentence in {
        "headline": lambda: _headline(share, tracks),
        "pretrained counts": lambda: (
            "This row counts the tracks for which the network's features are known (some computed from sound, most "
            f"[published](data/musicnn/README.md)): {tracks['ear', 'folds']} of the {tracks['cnn', 'folds']} of the "
            f"folds, {tracks['ear', 'random']} of the {tracks['cnn', 'random']} that the random splits hold out."
        ),
        "what answers": lambda: _answer_sentence(share, view),
        "own songs": lambda: _own_songs_sentence(measured["own_songs"]),
        "network": lambda: _network_sentence(measured["training"]),
        "what the controls say": lambda: _controls_sentence(share),
        "confusion": lambda: f"This is the {VIEWS[view]}, which answers for pictures. What is blues taken for?",
        "features and CNN": lambda: _features_sentence(measured["results"]),
        "texture and CNN": lambda: "\n".join(
            f"- {what}: CNN {share['cnn', protocol]:.1f} %, texture {share['texture', protocol]:.1f} %, both "
            f"{share['picture', protocol]:.1f} %"
            for what, protocol in (("new artists", "fault_filtered"), ("real songs", "real_songs"))
        ),
        "what is lost": lambda: "\n".join(
            f"- {what}: {share[name, 'random']:.1f} % on the random split, {share[name, 'fault_filtered']:.1f} % for "
            f"new artists, {share[name, 'real_songs']:.1f} % of the real songs"
            for name, what in (("cnn", "CNN"), (view, VIEWS[view]), ("ear", VIEWS["ear"]))
        ),
    }.items():
        try:
            sentences[name] = "\n".join(textwrap.fill(line, 118) for line in sentence().splitlines())
        except KeyError:
            sentences[name] = "(Not measured yet: `make report` fills this in.)"
    return sentences


def _headline(share: dict, tracks: dict) -> str:
    """README's first sentences with numbers; share: per cent by view and protocol, tracks: how many."""
    views = ("cnn", "texture", "ear")
    new, songs = ({view: share[view, name] for view in views} for name in ("fault_filtered", "real_songs"))
    return (
        f"The CNN names the right genre for **{new['cnn']:.0f} %** of GTZAN's test tracks by new artists, and for "
        f"**{songs['cnn']:.0f} %** of {tracks['cnn', 'real_songs']} real songs; a random split, in which artists "
        f"overlap, would have claimed {share['cnn', 'random']:.0f} %. A linear layer on hand-made counts of small "
        f"patterns (texture) reaches {new['texture']:.0f} % and {songs['texture']:.0f} %, and a pretrained network "
        f"that gets the sound **{new['ear']:.0f} %** and **{songs['ear']:.0f} %**."
    )


def _answer_sentence(share: dict, view: str) -> str:
    """What answers for pictures, by the rule of notebook 03; share: per cent by view and protocol."""
    both, texture = share["picture", "grouped"], share["texture", "grouped"]
    reason = f"In the cross-validation both together reach {both:.1f} %, texture alone {texture:.1f} %. "
    reason += "The rule was: both together only if they are better than the better one beyond chance. "
    return f"{reason}So pictures are answered by: {VIEWS[view]}. Sound is answered by the pretrained network."


def _own_songs_sentence(scores: dict) -> str:
    """How many of the user's songs are right; scores: by kind, see `songs.score_rows`."""
    verb, sentences = {1: "is"}, []
    for kind, name in (("web", "As web pictures of whole songs"), ("sound", "As sound")):
        right, total, more = (scores[kind][count] for count in ("correct", "total", "in_training"))
        left_out = f"; {more} more {verb.get(more, 'are')} in GTZAN and not scored" if more else ""
        sentences.append(f"{name}, {right} of {total} {verb.get(right, 'are')} right{left_out}.")
    return " ".join(sentences)


def _features_sentence(results: list[dict]) -> str:
    """Whether the CNN is ahead of the perceptron on features for new artists, by their intervals."""
    rows = {row["view"]: row for row in results if row["protocol"] == "fault_filtered"}
    both = [rows["mlp"], rows["cnn"]]
    common = min(row["high"] for row in both) - max(row["low"] for row in both)
    widely = common > min(row["high"] - row["low"] for row in both) / 2
    verdict = "do not overlap" if common < 0 else "overlap widely" if widely else "overlap"
    features, cnn = (percent(row["accuracy"], 1) for row in both)
    return f"New artists: perceptron {features}, CNN {cnn}; the intervals {verdict}."


def _network_sentence(training: dict) -> str:
    weights = sum(weights.numel() for weights in GenreNetwork().parameters())
    return (
        f"The network has {weights:,} weights. It trains in {training['minutes_per_network']:.1f} minutes "
        f"({training['device']}), and then answers {percent(training['cnn_train_accuracy'], 1)} of its training tracks "
        "right."
    )


def _controls_sentence(share: dict) -> str:
    whole, untrained = share["cnn", "grouped"], share["cnn_untrained", "grouped"]
    less = {VIEWS[view].removeprefix("CNN, "): share[view, "grouped"] - whole for view in CONTROLS}
    listed = ", ".join(f"{name} {points:+.1f}" for name, points in sorted(less.items(), key=lambda item: item[1]))
    return (
        f"With convolutions that were never trained, {untrained:.1f} % are right, with trained ones {whole:.1f} %. So "
        f"random convolutions and the dense layer bring {percent((untrained - 10) / (whole - 10))} of what the network "
        f"has above guessing (10 %). Points that each control differs from the whole network by: {listed}. The texture "
        f"classifier differs by {share['texture', 'grouped'] - whole:+.1f}."
    )


def markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown, its index as the first column."""
    table = table.reset_index()
    lines = ["| " + " | ".join(map(str, table.columns)) + " |", "|---" * len(table.columns) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False))])
