"""Notebooks without a browser: run side by side, stopped together, and cleaned for the repository."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

from genres.common import ROOT, InputError, relative_path

NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}


class Lanes:
    """Notebooks side by side, one after the other in each lane; what stops one, or Ctrl-C, stops all in seconds."""

    def __init__(self, folder: Path, parameters: Callable[[str], dict]) -> None:
        self.folder, self.parameters = folder, parameters
        self.pool, self.lanes, self.kernels, self.stopped = ThreadPoolExecutor(), [], [], False

    def start(self, numbers: Sequence[str], position: int = 0) -> Future:
        """Begin to run notebooks by their numbers; position: of the line of progress."""
        self.lanes.append(self.pool.submit(self._run, numbers, position))
        return self.lanes[-1]

    def _run(self, numbers: Sequence[str], position: int) -> None:
        for number in numbers:
            execute(number, self.folder / NOTEBOOKS[number].name, self.parameters(number), position, self._check)

    def finish(self, *lanes: Future) -> None:
        """Wait for lanes, and raise what one of them, or another one meanwhile, raises."""
        try:
            while lanes:  # short waits, or on Windows Ctrl-C would not be heard
                _, lanes = wait(lanes, 0.5, FIRST_COMPLETED)
                for lane in filter(Future.done, self.lanes):
                    lane.result()
        except BaseException:
            self.stopped = True
            for kernel in self.kernels:
                end_kernel(kernel)
            raise

    def _check(self, kernel) -> None:
        """Note a kernel; before each cell it is asked whether to go on."""
        if self.stopped:
            raise InputError("Stopped.")
        if kernel not in self.kernels:
            self.kernels.append(kernel)


def end_kernel(kernel) -> None:
    """End a kernel, by its manager, with all that it has started."""
    pid = getattr(kernel.provisioner, "pid", None)
    with suppress(OSError):
        if pid and hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        elif pid:
            os.kill(pid, signal.SIGTERM)


def execute(
    number: str, target: Path, parameters: dict, position: int = 0, check: Callable = lambda kernel: None
) -> None:
    """Run a notebook by its number with papermill, under a line of progress.

    The executed copy goes to `target`, also when the notebook stops. `check` is called with the kernel's manager before
    each cell. Raises InputError with the notebook, the cell and the sentence of what stopped it.
    """
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    name, started = NOTEBOOKS[number].stem, time.monotonic()
    form = "{desc:<26} {n_fmt:>3} of {total_fmt} cells, {elapsed}"
    kernel, at = AsyncKernelManager(kernel_name="python3"), 0

    def begin(cell_index: int, **_: object) -> None:
        nonlocal at
        at = cell_index + 1
        check(kernel)

    target.parent.mkdir(parents=True, exist_ok=True)
    source, copy = (str(path).replace("{", "{{").replace("}", "}}") for path in (NOTEBOOKS[number], target))
    try:
        # Not `cwd`, by which papermill changes the folder of the whole process, with all notebooks side by side. The
        # kernel's log would say: no encryption on 127.0.0.1; a kernel was told to end.
        papermill.execute_notebook(
            source, copy, parameters, km=kernel, on_cell_start=begin, extra_arguments=["--log-level=CRITICAL"],
            progress_bar={"desc": name, "bar_format": form, "position": position, "disable": None},
            resources={"metadata": {"path": str(NOTEBOOKS[number].parent)}},
        )  # fmt: skip
    except PapermillExecutionError as error:
        what = error.evalue if error.ename == "InputError" else f"{error.ename}: {error.evalue}"
        raise InputError(f"Notebook {name} stopped in cell {error.cell_index + 1}: {what}") from error
    except DeadKernelError as error:
        why = "its kernel was ended by the system, probably for want of memory: free some, and call again."
        raise InputError(f"Notebook {name} stopped in cell {at}: {why}") from error
    finally:
        end_kernel(kernel)
    print(f"{name:<26} done in {time.monotonic() - started:.0f} s: {relative_path(target, Path.cwd())}", flush=True)


def without_parameters(notebook):
    """Take the cell of a run's own parameters out of an executed notebook, and what papermill noted about the run."""
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    for noted in (notebook, *notebook.cells):
        for name in ("papermill", "execution"):
            noted.metadata.pop(name, None)
    for count, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), 1):
        for numbered in (cell, *(output for output in cell.outputs if "execution_count" in output)):
            numbered.execution_count = count
    return notebook
