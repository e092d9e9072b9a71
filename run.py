"""The project's commands: python run.py pipeline | songs | data | report | bench, the same on every system.

`python run.py pipeline --help` and so on tell the options. The Makefile only calls these.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # which PYTHONSAFEPATH leaves out

# Set before a library starts a thread or a kernel. glibc gives each large tensor back to the system and asks for it
# again in the next step; to keep the memory takes a third off a network's training time. NumPy's products are small
# here: a second thread of its BLAS waits more than it works.
os.environ.setdefault("MALLOC_MMAP_MAX_", "0")
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "4000000000")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # the kernel's debugger is not used, and would warn

try:
    from genres.common import ROOT, InputError, absolute, digest, locked, relative_path, replacing
    from genres.notebooks import NOTEBOOKS, Lanes, without_parameters
except ModuleNotFoundError as error:
    made = Path(".venv", *(("Scripts", "python") if os.name == "nt" else ("bin", "python")))
    raise SystemExit(
        f"This Python has no '{error.name}': install requirements.txt as README says, and call {made} run.py."
    ) from None

SHOWN_SONGS = 100  # so many have a panel on the page

# Parameters of the notebooks by kind of run. The report trains all seeds and folds; a run on a set of one's own, on
# GTZAN too, one network of each kind, with fewer epochs; on the demo songs and in a test they are fewer still.
SETTINGS: dict[str, dict[str, dict]] = {
    "report": {"03": {"full_report": True}, "05": {"full_report": True}, "06": {"full_report": True}},
    "set": {
        "03": {"epochs": 30, "reference_epochs": 10, "lesson_epochs": 12, "control_epochs": 5},
        "05": {"epochs": 30},
        "06": {"epochs": 30},
    },
    "demo": {
        "00": {"excerpt_seconds": 5},
        "03": {"epochs": 8, "reference_epochs": 6, "lesson_clips": 120, "lesson_epochs": 10, "control_epochs": 3},
        "04": {"explained_songs": 2},
        "05": {"epochs": 8},
        "06": {"epochs": 8, "most_songs": 3},
    },
    "test": {
        "00": {"clips_per_genre": 4, "songs_per_genre": 1, "song_seconds": [32, 40], "excerpt_seconds": 4},
        "03": {"epochs": 2, "reference_epochs": 2, "lesson_epochs": 2, "lesson_clips": 16, "control_epochs": 1},
        "04": {"explained_songs": 1},
        "05": {"epochs": 2},
        "06": {"epochs": 2, "most_songs": 3},
    },
}


def named_songs(names: Sequence[str]) -> tuple[list[str], list]:
    """Return folders and files of songs as absolute paths, and the songs in them.

    A name that does not exist may be several, separated as in PATH. Raises InputError where there are no songs.
    """
    from genres.song_files import find_songs, split_folders

    paths = [str(path) for name in names for path in split_folders(name)]
    return paths, find_songs(*paths)


def pipeline(data: str, songs: Sequence[str], settings: str = "", output: str = "") -> None:
    """Run all notebooks on a data set, two or three at a time, and say what was made."""
    import joblib

    import utils
    from genres.fingerprints import read_lengths

    given = {"data_folder": str(absolute(data)) if data else "", "songs_folder": named_songs(songs)[0]}
    if sys.platform == "linux" and not data:
        joblib.parallel_config("multiprocessing")  # forked: the makers of demo songs need not import torch again
    dataset = utils.find_dataset(data, output)
    lengths = dataset.images.parent / "features_30_sec.csv"
    if lengths.is_file():
        read_lengths(lengths)
    with locked(dataset.results):  # that it can be written is known before the training
        given["output_folder"] = str(dataset.results) if output else ""
    kind = settings or ("demo" if dataset.name == "demo" else "set")
    set_kernel_environment(dataset.results / "executed")
    lanes = Lanes(dataset.results / "executed", lambda number: given | SETTINGS[kind].get(number, {}))
    looking = lanes.start([*(["00"] if dataset.name == "demo" else []), "01"], 0)
    training = lanes.start(["02", "03"], 1)
    lanes.finish(training)
    lanes.finish(looking, lanes.start(["06", "04"], 2), lanes.start(["05"], 1))
    draw_results(dataset)
    print(f"\nMade from {dataset.label}, in {relative_path(dataset.results)}:")
    print("  executed/             the notebooks with their outputs: read 01, 03 and 04 first")
    print("  metrics.json          the results;  experiments.csv: a row for each training run;  model.pt: the model")
    print(f"  {relative_path(dataset.figures)}   the figures: results, confusion_random and answers first")


def set_kernel_environment(page: Path) -> None:
    """Set what the kernels of a run need: where players point from, matplotlib's own settings, threads that yield."""
    os.environ["GENRES_PAGE"] = str(page)
    os.environ["MATPLOTLIBRC"] = str(Path(find_spec("matplotlib").origin).parent / "mpl-data" / "matplotlibrc")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # side by side, waiting threads leave their core to others


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

    given = {"data_folder": data and str(absolute(data)), "songs_folder": named_songs(songs)[0]}
    dataset = utils.find_dataset(data)
    output, executed = ROOT / "data" / dataset.name, dataset.cache / "executed"
    given["output_folder"] = str(output)
    more = {"04": {"measured_songs": measured and str(absolute(measured))}}
    set_kernel_environment(executed)
    lanes = Lanes(executed, lambda number: given | SETTINGS["report"].get(number, {}) | more.get(number, {}))
    for number in only or ["01", "02", "03", "05", "06", "04"]:  # 06 adds the pretrained network that 04 asks
        lanes.finish(lanes.start([number]))
        with replacing(NOTEBOOKS[number]) as temporary:
            nbformat.write(without_parameters(nbformat.read(executed / NOTEBOOKS[number].name, 4)), temporary)
    draw_results(utils.find_dataset(data, output))
    if dataset.name == "gtzan":
        from genres import ear
        from genres.readme import write_readme

        pictures = utils.read_pictures(utils.find_dataset(data, output))
        if not isinstance(pictures.ear_source, dict):  # the sound of nearly all clips is at hand
            ear.write_ear_features(output / "ear.npz", pictures.table["image"].to_numpy(str), pictures.ear_features)
        write_readme(output / "metrics.json", ROOT / "README.md")


def songs(paths: Sequence[str], model: str, output: str) -> None:
    """Classify songs with the shipped model, or another: a table, playlists and a page; a second call goes on."""
    from genres.song_files import file_names

    if not paths:
        raise InputError("No songs were named: give a folder or files, as in 'python run.py songs my_songs'.")
    typed, found = named_songs(paths)
    if model and not absolute(model).is_file():
        raise InputError(f"The model '{model}' does not exist: name a model.pt, or none for the shipped one.")
    import utils
    from genres import library

    name = f"{file_names([Path(typed[0]).name])[0]}-{digest(repr(typed))[:4]}"  # other songs, another place
    folder = absolute(output) if output else ROOT / "data" / "songs_run" / name
    path, own = absolute(model) if model else utils.MODEL_PATH, ROOT / "data" / "gtzan" / "run" / "model.pt"
    models = library.Models(utils.load_model, path, own if own.is_file() and not model else None)
    rows = library.classify_library(found, folder / "songs.csv", models, SHOWN_SONGS)
    print(f"\n{library.summary(rows)}\n")
    print(f"The page:     {relative_path(folder / 'songs.html')}")
    print(f"The table:    {relative_path(folder / 'songs.csv')}, with a playlist for each genre beside it")
    if sys.stdout.isatty() and has_browser():
        import webbrowser

        webbrowser.open((folder / "songs.html").as_uri())


def has_browser() -> bool:
    """Whether a page that is opened here is seen by the person at the terminal."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform in ("win32", "darwin")
    away = os.environ.get("CI") or (sys.platform == "darwin" and os.environ.get("SSH_CONNECTION"))
    return bool(screen and not away)


def bench(data: str) -> None:
    """Measure how long things take, beside another way of doing them."""
    sys.path.insert(0, str(ROOT / "tests"))
    import bench as measurements

    measurements.main(data)


def arguments() -> argparse.ArgumentParser:
    """Return the parser of all commands. The defaults in GENRES_... are how make hands over a name as it is."""
    about = "The project's commands, the same on every system."
    parser = argparse.ArgumentParser(prog="run.py", description=about)
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
    added = command("songs", "the genres of your songs: a table, playlists and a page; a second call goes on")
    added.add_argument("paths", nargs="*", default=named, help="folders or files")
    added.add_argument("--model", default=model, help="a model.pt of your own; else the one that the project ships")
    added.add_argument("--output", default="", help="folder for results; else one in data/songs_run")
    command("data", "download the Kaggle pictures and audio (1.3 GB) into data/gtzan")
    added = command("report", "run the notebooks in place with all seeds and folds, and put the results into README")
    measured = "folder of songs to measure with that lie ready as windows (see songs.read_real_songs)"
    added.add_argument("--measured", default="", help=measured)
    two_digits = {"type": lambda number: number.zfill(2), "choices": list(NOTEBOOKS)}
    added.add_argument("--only", default=[], nargs="+", help="numbers of notebooks, as in 03", **two_digits)
    command("bench", "measure how long things take")
    return parser


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the words name; bad input ends it with one sentence."""
    warnings.filterwarnings("ignore", category=UserWarning)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console of another encoding still shows the rest of a name
    given = vars(arguments().parse_args(words))
    name = given.pop("command")
    try:
        if name == "data":
            from genres.datasets import download_gtzan

            print(f"The pictures and clips lie in {relative_path(download_gtzan())}")
        else:
            {f.__name__: f for f in (pipeline, songs, report, bench)}[name](**given)
    except InputError as error:
        raise SystemExit(str(error)) from None
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise SystemExit(f"'{error.filename}' cannot be used: {error.strerror}.") from None
    except MemoryError:
        raise SystemExit("There was not enough memory: free some, and call again.") from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped.") from None


if __name__ == "__main__":
    main()
