"""Notebooks without a browser: run side by side, stopped together, and cleaned for the repository."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import nbformat
from tqdm import tqdm

from genres.common import ROOT, InputError, relative_path, replacing

NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}


class Lanes:
    """Notebooks side by side, one after the other in each lane; what stops one, or Ctrl-C, stops all in seconds."""

    def __init__(self, folder: Path, parameters: Callable[[str], dict]) -> None:
        self.folder, self.parameters = folder, parameters
        self.pool, self.lanes, self.clients, self.stopped = ThreadPoolExecutor(), [], [], False

    def start(self, numbers: Sequence[str], position: int = 0) -> Future:
        """Begin to run notebooks by their numbers; position: of the line of progress."""

        def lane() -> None:
            for number in numbers:
                target = self.folder / NOTEBOOKS[number].name
                execute(number, target, self.parameters(number), position, self._check)

        self.lanes.append(self.pool.submit(lane))
        return self.lanes[-1]

    def finish(self, *lanes: Future) -> None:
        """Wait for lanes, and raise what one of them, or another one meanwhile, raises."""
        try:
            while lanes:  # short waits, or on Windows Ctrl-C would not be heard
                _, lanes = wait(lanes, 0.5, FIRST_COMPLETED)
                for lane in filter(Future.done, self.lanes):
                    lane.result()
        except BaseException:
            self.stopped = True
            for client in self.clients:
                end_kernel(client)
            raise

    def _check(self, client) -> None:
        """Note the client of a kernel; before each cell it is asked whether to go on."""
        if self.stopped:
            raise InputError("Stopped.")
        if client not in self.clients:
            self.clients.append(client)


def end_kernel(client) -> None:
    """End the kernel of an nbclient with all that it has started."""
    pid = getattr(getattr(client.km, "provisioner", None), "pid", None)
    with suppress(OSError):
        if pid and hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        elif pid:
            os.kill(pid, signal.SIGTERM)


def execute(
    number: str, target: Path, parameters: dict, position: int = 0, check: Callable = lambda client: None
) -> None:
    """Run a notebook by its number under a line of progress, with papermill's parameters and nbclient's kernels.

    The executed copy goes to `target`, also when the notebook stops. `check` is called with the client before each
    cell. Raises InputError with the notebook, the cell and the sentence of what stopped it.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    name, started, at = NOTEBOOKS[number].stem, time.monotonic(), 0
    notebook = parameterize_notebook(load_notebook_node(str(NOTEBOOKS[number])), parameters)
    form = "{desc:<26} {n_fmt:>3} of {total_fmt} cells, {elapsed}"
    bar = tqdm(total=len(notebook.cells), desc=name, bar_format=form, position=position, disable=None)

    def begin(cell_index: int, **_: object) -> None:
        nonlocal at
        at = cell_index + 1
        check(client)
        bar.update(1)

    # The kernel's log would say: no encryption on 127.0.0.1; a kernel was told to end.
    client = NotebookClient(
        notebook, timeout=None, record_timing=False, on_cell_start=begin, extra_arguments=["--log-level=CRITICAL"],
        resources={"metadata": {"path": str(NOTEBOOKS[number].parent)}},
    )  # fmt: skip
    try:
        client.execute()
    except CellExecutionError as error:
        what = error.evalue if error.ename == "InputError" else f"{error.ename}: {error.evalue}"
        raise InputError(f"Notebook {name} stopped in cell {at}: {what}") from error
    except DeadKernelError as error:
        why = "its kernel was ended by the system, probably for want of memory: free some, and call again."
        raise InputError(f"Notebook {name} stopped in cell {at}: {why}") from error
    finally:
        bar.close()
        with replacing(target) as temporary:
            nbformat.write(notebook, temporary)
    print(f"{name:<26} done in {time.monotonic() - started:.0f} s: {relative_path(target, Path.cwd())}", flush=True)


def without_parameters(notebook):
    """Take the cell of a run's own parameters out of an executed notebook, and what papermill noted about the run."""
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    return notebook
