"""The project's commands: python run.py pipeline | songs | data | report | protocol | bench, the same on every system.

`python run.py pipeline --help` and so on tell the options. The Makefile only calls these.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path

# Set before a library starts a thread or a kernel. glibc gives each large tensor back to the system and asks for it
# again in the next step; to keep the memory takes a third off a network's training time. NumPy's products are small
# here: a second thread of its BLAS waits more than it works.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "4000000000")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # the kernel's debugger is not used, and would warn

from genres.common import ROOT, InputError, absolute, replacing  # now: NumPy reads the settings above

TYPED_IN = Path.cwd()  # running notebooks changes the working folder
MANY_SONGS = 100  # more than a notebook can show
NOTEBOOKS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}

# Parameters of the notebooks by kind of run. The report trains all seeds and folds; a run on a set of one's own, on
# GTZAN too, one network of each kind, for half as long; on the demo songs and in a test they are shorter still.
SETTINGS: dict[str, dict[str, dict]] = {
    "report": {"03": {"full_report": True}, "05": {"full_report": True}, "06": {"full_report": True}},
    "set": {"03": {"epochs": 30, "reference_epochs": 10}, "05": {"epochs": 30}, "06": {"epochs": 30}},
    "demo": {
        "00": {"excerpt_seconds": 5},
        "03": {"epochs": 6, "reference_epochs": 2, "lesson_epochs": 4},
        "04": {"explained_songs": 2},
        "05": {"epochs": 6, "most_songs": 3},
        "06": {"epochs": 6, "most_songs": 3},
    },
    "test": {
        "00": {"clips_per_genre": 4, "songs_per_genre": 1, "song_seconds": [32, 40], "excerpt_seconds": 4},
        "03": {"epochs": 2, "reference_epochs": 2, "lesson_epochs": 2},
        "04": {"explained_songs": 1},
        "05": {"epochs": 2},
        "06": {"epochs": 2, "most_songs": 3},
    },
}


def execute(number: str, target: Path, parameters: dict, place: int = 0) -> None:
    """Run a notebook by its number with papermill, under a line of progress.

    The executed copy goes to `target`, also when the notebook stops. Raises InputError with the notebook, the cell and
    the sentence of what stopped it.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    name = NOTEBOOKS[number].stem
    started = time.monotonic()
    form = "{desc:<26} {n_fmt:>3} of {total_fmt} cells, {elapsed}"
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            NOTEBOOKS[number], target, parameters, cwd=NOTEBOOKS[number].parent,
            progress_bar={"desc": name, "bar_format": form, "position": place, "disable": None},
            extra_arguments=["--log-level=CRITICAL"],  # not: no encryption on 127.0.0.1; a kernel was told to end
        )  # fmt: skip
    except PapermillExecutionError as error:
        said = error.evalue if error.ename == "InputError" else f"{error.ename}: {error.evalue}"
        raise InputError(f"Notebook {name} stopped in cell {error.cell_index + 1}: {said}") from error
    print(f"{name:<26} done in {time.monotonic() - started:.0f} s: {shown(target)}", flush=True)


def shown(path: Path) -> str:
    """A path as short as it can be said from where the user stands."""
    try:
        return os.path.relpath(path, TYPED_IN)
    except ValueError:  # another drive, on Windows
        return str(path)


def as_typed(folders: Sequence[str]) -> list[str]:
    """Give folders and files as absolute paths; a text that is none may name several, separated as in PATH."""
    from genres.song_files import split_folders

    return [str(path) for named in folders for path in split_folders(named)]


def pipeline(data: str, songs: Sequence[str], settings: str = "", output: str = "") -> None:
    """Run all notebooks on a data set, two or three at a time, and say what was made."""
    import joblib

    import utils

    if sys.platform == "linux" and not data:
        joblib.parallel_config("multiprocessing")  # forked: the makers of demo songs need not import torch again
    dataset = utils.find_dataset(data, output)
    kind = settings or ("demo" if dataset.name == "demo" else "set")
    given = {
        "data_folder": str(absolute(data)) if data else "",
        "songs_folder": as_typed(songs),
        "output_folder": str(dataset.results) if output else "",
    }
    os.environ["GENRES_PAGE"] = str(dataset.results / "executed")  # players point from there
    if kind == "demo":
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # notebooks side by side: waiting threads leave their core

    def lane(numbers: Sequence[str], place: int) -> None:
        for number in numbers:
            target = dataset.results / "executed" / NOTEBOOKS[number].name
            execute(number, target, given | SETTINGS[kind].get(number, {}), place)

    with ThreadPoolExecutor() as pool:
        looking = pool.submit(lane, [*(["00"] if dataset.name == "demo" else []), "01"], 0)
        lane(["02", "03"], 1)
        lanes = [looking, pool.submit(lane, ["06", "04"], 2), pool.submit(lane, ["05"], 1)]
        for future in lanes:
            future.result()
    draw_results(dataset)
    print(f"\nMade from {dataset.label}, in {shown(dataset.results)}:")
    print("  executed/             the notebooks with their outputs: read 01, 03 and 04 first")
    print("  metrics.json          the results;  experiments.csv: a row for each training run;  model.pt: the model")
    for figure, what in (("results", "all views beside each other"), ("confusion_random", "what is taken for what"),
                         ("answers", "the songs, right and wrong")):  # fmt: skip
        print(f"  {shown(dataset.figures / f'{figure}.png')}   {what}")


def draw_results(dataset) -> None:
    """Draw all views beside each other once more: notebook 03 did so before 05 and 06 had run."""
    from genres import plots, runs

    results = runs.read_metrics(dataset.results / "metrics.json")["results"]
    if results:
        figure = plots.plot_results(results, ["fault_filtered", "folds", "random"], f"{dataset.label}: all views")
        plots.save_figure(figure, dataset.figures, "results")


def report(data: str, songs: Sequence[str], only: Sequence[str], measured: str = "") -> None:
    """Run the notebooks for the report: all seeds and folds, results in data/ and figures/, outputs kept in notebooks/.

    This is the only command that changes files that git tracks.
    """
    import nbformat

    import utils
    from genres import runs

    dataset = utils.find_dataset(data)
    output = ROOT / "data" / dataset.name
    given = {"data_folder": data and str(absolute(data)), "songs_folder": as_typed(songs), "output_folder": str(output)}
    for number in only or ["01", "02", "03", "05", "06", "04"]:  # 06 adds the ear to the model that 04 asks
        target = dataset.cache / "executed" / NOTEBOOKS[number].name
        more = {"measured_songs": measured and str(absolute(measured))} if number == "04" else {}
        execute(number, target, given | SETTINGS["report"].get(number, {}) | more)
        with replacing(NOTEBOOKS[number]) as temporary:
            nbformat.write(without_parameters(nbformat.read(target, 4)), temporary)
    draw_results(utils.find_dataset(data, output))
    if dataset.name == "gtzan":
        runs.write_readme(output / "metrics.json", ROOT / "README.md")


def without_parameters(notebook):
    """Take the cell of a run's own parameters out of an executed notebook, and what papermill noted about the run."""
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    notebook.metadata.pop("papermill", None)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for count, cell in enumerate(code, 1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    for cell in notebook.cells:
        for noted in ("papermill", "execution"):
            cell.metadata.pop(noted, None)
    return notebook


def songs(paths: Sequence[str], model: str, output: str, table_only: bool) -> None:
    """Classify songs with the shipped model, or another: a table, and for up to 100 of them notebook 04."""
    import papermill  # noqa: F401 (before the thread below, so that no two load the same)

    from genres.song_files import find_songs

    if not paths:
        raise InputError("No songs were named: give a folder or files, as in 'python run.py songs my_songs'.")
    folder = absolute(output) if output else ROOT / "data" / "songs_run"
    found = find_songs(*as_typed(paths))
    if table_only or len(found) > MANY_SONGS:
        import utils
        from genres import library

        load = partial(utils.load_model, absolute(model)) if model else utils.load_model
        library.classify_library(found, folder / "songs.csv", load)
        print(f"The table: {shown(folder / 'songs.csv')}")
        return
    given = {"songs_folder": as_typed(paths), "output_folder": str(folder), "songs_only": True}
    target = folder / "executed" / NOTEBOOKS["04"].name
    os.environ["GENRES_PAGE"] = str(target.parent)  # players point from there
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(import_module, "genres.library")  # takes seconds, in which the notebook works
        execute("04", target, given | {"model_path": str(absolute(model)) if model else ""})
    print(loading.result().summary(folder / "songs.csv"))
    print(f"\nThe notebook: {shown(target)}\nThe table:    {shown(folder / 'songs.csv')}")
    print(f"Figures:      {shown(folder / 'figures')}")


def protocol(data: str, split: str, seed: int) -> None:
    """Train one row of the protocol (or read it, if it was trained before) and print its accuracies."""
    import utils
    from genres.runs import run_table

    pictures = utils.read_pictures(utils.find_dataset(data))
    runs = utils.run_protocol(pictures, utils.protocol_split(pictures, split, seed), seed, utils.OURS)
    print(run_table(list(runs.values()), pictures.labels).to_string(index=False))


def bench(data: str) -> None:
    """Measure how long things take, beside another way of doing them."""
    sys.path.insert(0, str(ROOT / "tests"))
    import bench as measurements

    measurements.main(data)


def arguments() -> argparse.ArgumentParser:
    """Give the parser of all commands. The defaults in GENRES_... are how make hands over a name as it is."""
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    data, model = os.environ.get("GENRES_DATA", ""), os.environ.get("GENRES_MODEL", "")
    named = list(filter(None, [os.environ.get("GENRES_SONGS", "")]))  # one text, perhaps of several folders

    def command(name: str, what: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=what, description=what)
        if name not in ("data", "songs"):
            added.add_argument("--data", default=data, help="folder of the Kaggle download, or of a set of one's own")
        if name in ("pipeline", "report"):
            added.add_argument("--songs", default=named, nargs="+", help="folders of your songs")
        return added

    added = command("pipeline", "run all notebooks on a data set, and say what was made")
    added.add_argument("--output", default="", help="folder for results; else data/<set>/run")
    added.add_argument("--settings", default="", choices=["", *SETTINGS], help=argparse.SUPPRESS)
    added = command("songs", f"the genres of your songs: a table, and for up to {MANY_SONGS} of them notebook 04")
    added.add_argument("paths", nargs="*", default=named, help="folders or files")
    added.add_argument("--model", default=model, help="a model.pt of your own; else the one that the project ships")
    added.add_argument("--output", default="", help="folder for results; else data/songs_run")
    table_help = "no notebook; a second call goes on where the first stopped"
    added.add_argument("--table-only", action="store_true", help=table_help)
    command("data", "download the Kaggle pictures and audio (1.3 GB) into data/gtzan")
    added = command("report", "run the notebooks in place with all seeds and folds, and put the results into README")
    measured = "folder of songs to measure with that lie ready as windows (see songs.read_real_songs)"
    added.add_argument("--measured", default="", help=measured)
    added.add_argument("--only", default=[], nargs="+", help="numbers of notebooks, as in 03")
    added = command("protocol", "train one row of the results, and print it")
    added.add_argument("--split", default="random", help="random, fault_filtered, fold-1, fold-2 or fold-3")
    added.add_argument("--seed", default=0, type=int)
    command("bench", "measure how long things take")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the words name; bad input ends it with one sentence."""
    warnings.filterwarnings("ignore", category=UserWarning)
    given = vars(arguments().parse_args(words))
    name = given.pop("command")
    try:
        if name == "data":
            from genres.datasets import download_gtzan

            print(f"The pictures and clips lie in {shown(download_gtzan())}")
        else:
            {f.__name__: f for f in (pipeline, songs, report, protocol, bench)}[name](**given)
    except InputError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped.") from None


if __name__ == "__main__":
    main()
