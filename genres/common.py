"""Names and small tools that every module needs."""

from __future__ import annotations

from pathlib import Path

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
ROOT = Path(__file__).resolve().parents[1]


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message names it and says what to do."""
