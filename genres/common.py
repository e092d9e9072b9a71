"""What every module stands on: the ten genres, the project's folder, its error, and files never half-written."""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import re
import stat
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import CodeType, FunctionType
from urllib.request import url2pathname

import filelock
import joblib
import numpy as np
from tqdm.auto import tqdm

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
SAMPLE_RATE = 22_050  # Hz; that of GTZAN's clips, and what librosa.load resamples to
ROOT = Path(__file__).resolve().parents[1]  # the project's folder
CONSTANTS = (bool, int, float, str, bytes, tuple, frozenset, list, dict, np.ndarray)  # what code may depend on by name
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


def relative_path(path: str | Path, folder: str | Path = ".") -> str:
    """Return a path as seen from a folder; on another drive of Windows, which has no such path, the absolute one."""
    try:
        return os.path.relpath(path, folder)
    except ValueError:
        return str(path)


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
    """Return 16 hexadecimal digits that change whenever a part changes.

    Arrays count by type, shape and values, functions and classes by their code (see `code_parts`), containers and
    dataclasses by what they hold, anything else by its text.
    """
    total = hashlib.sha256()
    for piece in _pieces(parts):
        total.update(piece if isinstance(piece, np.ndarray) else f"{piece}\n".encode("utf-8", "surrogatepass"))
    return total.hexdigest()[:16]


def _pieces(part: object) -> Iterator[object]:
    if isinstance(part, np.ndarray) and part.dtype != object:
        yield from (part.dtype, part.shape, np.ascontiguousarray(part).reshape(-1).view(np.uint8))
    elif is_dataclass(part) and not isinstance(part, type):
        yield from _pieces([type(part).__qualname__, *(getattr(part, item.name) for item in fields(part))])
    elif isinstance(part, functools.partial):
        yield from _pieces([part.func, part.args, part.keywords])
    elif isinstance(part, dict):
        yield from _pieces(list(part.items()))
    elif isinstance(part, frozenset):  # in an order that is the same in each process
        yield from sorted(map(repr, part))
    elif isinstance(part, (list, tuple, np.ndarray)):
        yield len(part)
        for item in part:
            yield from _pieces(item)
    elif isinstance(part, type) or inspect.isroutine(part):
        yield from (piece for code in code_parts(part) for piece in _pieces(code))
    else:
        yield part


def code_parts(function: Callable) -> Iterator[object]:
    """Yield the code of a function or class, and of every function, class and constant of this project that it uses.

    It is bytecode without comments, docstrings and line numbers: only what can change an answer counts.
    """
    waiting, met = [function], {}
    for item in waiting:  # grows on the way
        item = inspect.unwrap(getattr(item, "__func__", item))
        if id(item) in met or not _is_of_project(item):
            continue
        met[id(item)] = item  # held, so that no other object gets its id
        if isinstance(item, type):
            yield item.__qualname__
            waiting += item.__mro__[1:]
            for name, member in vars(item).items():
                member = getattr(member, "func", getattr(member, "fget", member))  # a cached or plain property
                if inspect.isroutine(member):
                    waiting.append(member)
                elif isinstance(member, CONSTANTS) and not name.startswith("__"):
                    yield name, member
        else:
            yield item.__defaults__, item.__kwdefaults__
            cells = [cell.cell_contents for cell in item.__closure__ or ()]
            waiting += [cell for cell in cells if inspect.isroutine(cell) or isinstance(cell, type)]
            for code in _codes(item):
                yield code.co_code.hex()
                yield [part for part in code.co_consts if not inspect.iscode(part) and part != item.__doc__]
                for name, value in _globals_of(code, item.__globals__):
                    yield from [(name, value)] if isinstance(value, CONSTANTS) or is_dataclass(value) else []
                    waiting += [value] if inspect.isroutine(value) or isinstance(value, type) else []


def _codes(function: FunctionType) -> list[CodeType]:
    codes = [function.__code__]
    for code in codes:  # grows by the functions and comprehensions inside
        codes += filter(inspect.iscode, code.co_consts)
    return codes


def _globals_of(code: CodeType, named: dict[str, object]) -> Iterator[tuple[str, object]]:
    """What a piece of code uses of its module, and of the project's modules that it names."""
    for name in code.co_names:
        value = named.get(name)
        if inspect.ismodule(value) and _is_of_project(value):
            yield from ((attribute, getattr(value, attribute, None)) for attribute in code.co_names)
        elif name in named:
            yield name, value


def _is_of_project(item: object) -> bool:
    module = item if inspect.ismodule(item) else sys.modules.get(getattr(item, "__module__", None) or "")
    if module is None or not (inspect.ismodule(item) or isinstance(item, (type, FunctionType))):
        return False
    path = Path(getattr(module, "__file__", None) or "/")
    return module.__name__ == "__main__" or (path.is_relative_to(ROOT) and "site-packages" not in path.parts)


def kept(path: Path, make: Callable[[], dict[str, np.ndarray]], *inputs: object) -> dict[str, np.ndarray]:
    """Return the arrays by name that `make` computes, from an npz file if it was written for the same inputs and code.

    inputs: all that the arrays depend on, such as data, labels and settings (see `digest`). The code of `make` counts
    by itself, with all of this project that it calls. A missing, damaged or older file is made again.
    """
    key = digest(make, *inputs)
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


def file_stamps(paths: Sequence[Path]) -> list[str]:
    """Return folder, name, size and time of change of each file, as inputs for `kept`."""
    return [f"{path.parent.name}/{path.name} {(s := path.stat()).st_size} {s.st_mtime_ns}" for path in paths]
