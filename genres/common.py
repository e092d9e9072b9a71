"""What every module stands on: the ten genres, the project's folder, its error, and files never half-written."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock
import joblib
import numpy as np
from tqdm.auto import tqdm

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
ROOT = Path(__file__).resolve().parents[1]  # the project's folder
LEFTOVER_SECONDS = 3600  # age at which a temporary file counts as left by a run that was killed


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message names it and says what to do."""


def absolute(folder: str | Path) -> Path:
    """Give a folder as an absolute path: `~` is the home folder, a relative one is meant from the working folder."""
    return Path(os.path.abspath(os.path.expanduser(folder)))  # noqa: PTH100, PTH111 (not following links; "~x" may stay)


def relative_path(path: str | Path, folder: str | Path = ".") -> str:
    """Return a path as seen from a folder; on another drive of Windows, which has no such path, the absolute one."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return str(path)


def printable(text: str) -> str:
    """Return a text that any file or page can hold: what was no UTF-8 in a file's name becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def from_environment(name: str) -> str:
    """Give the folders that an environment variable names, absolute from where the user typed it; "" without one.

    A kernel works in the folder of its notebook, but the shell's own folder stays in PWD.
    """
    named = os.environ.get(name, "")
    typed_in = os.environ.get("PWD", "")
    return os.path.join(typed_in, Path(named).expanduser()) if named and typed_in else named  # noqa: PTH118


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, and rename it to `path` when the block has succeeded.

    A reader therefore sees the old file or the new one, never half of one, and two runs do not mix. What a killed run
    left under a temporary name is removed when it is an hour old; a younger one may still be written to.

    Raises InputError where the folder is read-only or the disk is full.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(f".*-{path.name}"):
            with suppress(OSError):  # another run may be quicker
                if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
                    leftover.unlink()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"'{path}' cannot be written ({reason}): free space, or choose another folder.") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder while a file in it is read, changed and written; it ends with its process.

    Raises InputError where the folder is read-only.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = filelock.FileLock(folder / ".lock").acquire()
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written ({error.strerror}): choose another folder.") from error
    with held:
        yield


def digest(*parts: object) -> str:
    """Give 16 hexadecimal digits that change whenever an array, or the text of anything else, changes."""
    total = hashlib.sha256()
    for part in parts:
        total.update(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else f"{part}\n".encode())
    return total.hexdigest()[:16]


def kept(path: Path, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Give the arrays by name that `make` gives, from an npz file if it was written for the same key.

    The key is a digest of all that the arrays depend on. A missing, damaged or older file is made again.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            if stored["key"] == key:
                return {name: stored[name] for name in stored.files if name != "key"}
    except Exception:  # a damaged file can fail in many ways, and all mean: make it again
        pass
    arrays = make()
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, key=key, **arrays)
    return arrays


def in_parallel(function: Callable, items: Sequence, what: str, chunk: int = 50, **bar: object) -> list:
    """Give function(item) for each item, in order, on all cores, under a progress bar that says what is done.

    joblib runs the work in threads; `with joblib.parallel_config(...)` around the call picks another backend.
    """
    done = []
    with joblib.Parallel(n_jobs=-1 if len(items) > 1 else 1, prefer="threads") as parallel:
        for start in tqdm(range(0, len(items), chunk), desc=what, unit_scale=chunk, **bar):
            done += parallel(joblib.delayed(function)(item) for item in items[start : start + chunk])
    return done


def files_key(paths: list[Path]) -> str:
    """Digest of files by name, size and time of change, for `kept`."""
    return digest(*(f"{path.parent.name}/{path.name} {(s := path.stat()).st_size} {s.st_mtime_ns}" for path in paths))
