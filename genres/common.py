"""What every module stands on: the ten genres, the project's folder, its error, and files never half-written."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import url2pathname

import filelock
import joblib
import numpy as np
from tqdm.auto import tqdm

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
SAMPLE_RATE = 22_050  # Hz; that of GTZAN's clips, and what librosa.load resamples to
ROOT = Path(__file__).resolve().parents[1]  # the project's folder
LEFTOVER_SECONDS = 3600  # age at which a temporary file counts as left by a run that was killed
FILE_URL = re.compile(r"\s*file:(?://(?:localhost)?)?(?=/)", re.IGNORECASE)  # a Path of one has lost two slashes
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")  # break or turn lines
SURROGATE = re.compile("[\ud800-\udfff]")  # Python's stand-in for a byte of a file name that is not UTF-8


def printable(text: str) -> str:
    """Return text that every table, page and console line can hold: control signs are blanks, surrogates U+FFFD."""
    return SURROGATE.sub("\ufffd", CONTROL.sub(" ", text))


class InputError(ValueError):
    """A file or folder that the user gave cannot be used; the message names it and says what to do."""

    def __str__(self) -> str:
        return printable(super().__str__())


def absolute(folder: str | Path) -> Path:
    """Return an absolute path: `~` is the home folder, a relative one is meant from the working folder.

    `file:///a%20b` is /a b, as a browser means it. Links are not followed, and nothing needs to be there.
    """
    text = str(folder)
    if url := FILE_URL.match(text):
        text = url2pathname(text[url.end() :].rstrip())
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111 (Path's own fail for "~a.mp3")


def why_unreadable(path: Path) -> str:
    """Return what keeps a file or folder from being read, as the end of a sentence that names it; "" for nothing.

    A pipe or a device may never end. The shell's own `<(command)` lies in a folder `fd`, and ends.
    """
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(f"{path}/.").close()  # it must be entered, too
        elif stat.S_ISREG(mode):
            path.open("rb").close()
        elif path.parent.name != "fd":
            return "is a pipe or a device: give a file."
    except (FileNotFoundError, NotADirectoryError):
        return "does not exist: check the name and the folder."
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or "no such name"
        return f"cannot be read ({reason}): check the name and that you may read it."
    return ""


def from_environment(name: str) -> str:
    """Return the folders that an environment variable names, absolute from where the user typed it; "" without one.

    A kernel works in the folder of its notebook, but the shell's own folder stays in PWD.
    """
    named = os.environ.get(name, "")
    typed_in = os.environ.get("PWD", "")
    return os.path.join(typed_in, os.path.expanduser(named)) if named and typed_in else named  # noqa: PTH111, PTH118


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to, and rename it to `path` when the block has succeeded.

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
    """Return 16 hexadecimal digits that change whenever an array, or the text of anything else, changes."""
    total = hashlib.sha256()
    for part in parts:
        text = f"{part}\n".encode("utf-8", "surrogatepass")
        total.update(np.ascontiguousarray(part) if isinstance(part, np.ndarray) else text)
    return total.hexdigest()[:16]


def kept(path: Path, key: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays by name that `make` gives, from an npz file if it was written for the same key.

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
    """Return function(item) for each item, in order, on all cores, under a progress bar that says what is done.

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
