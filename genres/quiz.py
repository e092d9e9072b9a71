"""You against the network: a quiz of clips with ten buttons, one for each genre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import ipywidgets
import numpy as np
from IPython.display import display

from genres import plots
from genres.common import GENRES
from genres.metrics import wilson_interval


@dataclass
class Quiz:
    """Clips to name the genre of: samples, float32 at 22 050 Hz, labels, int (n,), and what a network says of them.

    scores: float (n, 10). folder: for the players' files and the figures. answers: the buttons that were clicked.
    """

    samples: Sequence[np.ndarray]
    labels: np.ndarray
    scores: np.ndarray
    folder: Path
    answers: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Draw the buttons and the first clip; what they show is replaced after each click."""
        buttons = [ipywidgets.Button(description=genre, layout={"width": "7em"}) for genre in GENRES]
        for button in buttons:
            button.on_click(lambda clicked: self.answer(clicked.description))
        display(ipywidgets.HBox(buttons, layout={"flex_flow": "row wrap"}))
        self.screen = display(self.page(), display_id=True)

    def answer(self, genre: str) -> None:
        """Count a click, and show the next clip or the result."""
        if len(self.answers) < len(self.samples):
            self.answers.append(GENRES.index(genre))
            self.screen.update(self.page())

    def page(self) -> object:
        """Return the clip to name, or after the last both scores and confusion matrices."""
        place, total = len(self.answers), len(self.samples)
        if place < total:
            last = f"That was {GENRES[self.labels[place - 1]]}. " if place else ""
            player = plots.audio_player(self.samples[place], self.folder / "audio", f"quiz_{place + 1}")
            return plots.page(f"{last}Clip {place + 1} of {total}: which genre is it?", player)
        parts = []
        for name, scores in (("you", np.eye(len(GENRES))[self.answers]), ("network", self.scores)):
            right = (scores.argmax(axis=1) == self.labels).sum()
            low, high = map(plots.percent, wilson_interval(right, total))
            parts.append(f"{name}: {right} of {total} right (95 % interval {low} to {high})")
            figure = plots.plot_confusion(scores, self.labels, f"{name}: {total} clips")
            parts.append(plots.save_figure(figure, self.folder / "figures", f"quiz_{name}"))
        return plots.page(*parts)
