"""JupyterLab in a real browser: each notebook is opened, Run All is clicked, and the page is looked at."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from genres.common import GENRES
from run import NOTEBOOKS, SETTINGS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
SECONDS_TO_RUN = 600
FLAGS = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # which Chromium refuses to root
FLAGS += ["--disable-gpu", "--no-first-run", "--disable-sync", "--disable-background-networking"]
PLAYABLE = "player => new Promise(done => { player.oncanplay = done; player.load() })"
COUNTS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type == "code").map(cell => cell.model.executionCount)"""  # of hidden cells, too
ERRORS = '.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]'

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="skipped: no Chromium")]


@pytest.fixture(scope="module")
def project(small_set, tmp_path_factory) -> Path:
    """A copy of the project in which the notebooks have no outputs, and parameters for a quick run."""
    copy = tmp_path_factory.mktemp("copy") / "project"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "build", "run", "cache", "images_original", "genres_original")
    shutil.copytree(ROOT, copy, ignore=ignored)
    for number, path in NOTEBOOKS.items():
        notebook = load_notebook_node(str(path))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        parameters = {"data_folder": str(small_set)} | SETTINGS["test"].get(number, {})
        nbformat.write(parameterize_notebook(notebook, parameters), copy / "notebooks" / path.name)
    return copy


@pytest.fixture(scope="module")
def lab(project, tmp_path_factory):
    """Address of a JupyterLab server on a free port of this machine, with none of the user's settings: {} is a path."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home, token = tmp_path_factory.mktemp("jupyter"), secrets.token_hex(16)
    # All cells are on the page at once, not only those in sight.
    setting = home / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    setting.parent.mkdir(parents=True)
    setting.write_text('{"windowingMode": "none"}')
    environment = dict(os.environ)
    for name in ("JUPYTER_CONFIG", "JUPYTER_DATA", "JUPYTER_RUNTIME", "JUPYTERLAB_WORKSPACES", "JUPYTERLAB_SETTINGS"):
        environment[f"{name}_DIR"] = str(home / f"{name}_DIR")
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--expose-app-in-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=project, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}/{{}}?token={token}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(address.format("api/status"), timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "lab.log").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def page(tmp_path):
    """A page of a browser that was never used before."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        settings = {"executable_path": CHROMIUM, "headless": True, "viewport": {"width": 1400, "height": 1000}}
        context = playwright.chromium.launch_persistent_context(tmp_path / "chromium", args=FLAGS, **settings)
        yield context.pages[0]
        context.close()


def _run_all(page, address: str, notebook: Path) -> None:
    """Open a notebook, click Run All Cells, and wait until every code cell has its number and no error.

    On a busy machine a click can come before the page is connected to its kernel; when nothing has begun after half a
    minute, it is clicked again, as a student would.
    """
    cells = sum(cell.cell_type == "code" for cell in nbformat.read(notebook, 4).cells)
    # A workspace of its own, or the tabs of the notebook before would open again.
    page.goto(address.format(f"lab/workspaces/{time.monotonic_ns()}/tree/notebooks/{notebook.name}"))
    page.locator(".jp-Notebook .jp-CodeCell").nth(cells - 1).wait_for(state="attached", timeout=60_000)
    page.get_by_title("Kernel status: Idle").or_(page.locator("[data-status=idle]")).first.wait_for(timeout=120_000)
    opened, clicked, counts = time.monotonic(), -30.0, []
    while counts != list(range(1, cells + 1)):
        assert time.monotonic() < opened + SECONDS_TO_RUN, f"still running: {counts}"
        assert not page.locator(ERRORS).all_inner_texts()
        if not any(counts) and time.monotonic() - clicked > 30:
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            clicked = time.monotonic()
        page.wait_for_timeout(500)
        counts = page.evaluate(COUNTS)


@pytest.mark.parametrize("number", NOTEBOOKS)
def test_run_all_in_jupyterlab_ends_without_an_error(number, project, lab, page):
    try:
        _run_all(page, lab, project / "notebooks" / NOTEBOOKS[number].name)
        page.wait_for_timeout(1000)  # the last picture is still being laid out
    finally:
        page.screenshot(path=ROOT / "build" / "browser" / f"{number}_end.png")
    assert not page.locator(ERRORS).all_inner_texts()
    pictures = page.locator(".jp-OutputArea-output img").all()
    assert pictures
    assert all(picture.evaluate("image => image.complete && image.naturalWidth > 100") for picture in pictures)
    pictures[0].scroll_into_view_if_needed()
    assert pictures[0].is_visible()
    with urllib.request.urlopen(lab.format("api/kernels")) as answer:
        for kernel in json.load(answer):
            urllib.request.urlopen(urllib.request.Request(lab.format(f"api/kernels/{kernel['id']}"), method="DELETE"))


def test_notebook_04_answers_an_uploaded_song_and_counts_a_click_of_the_quiz(project, lab, page, small_set, tmp_path):
    song = tmp_path / "for $1 or $2.mp3"  # between two dollar signs a page may see a formula
    shutil.copy(next((small_set / "songs").glob("*.mp3")), song)
    _run_all(page, lab, project / "notebooks" / NOTEBOOKS["04"].name)
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a song").click()
    chooser.value.set_files(song)
    answer = page.locator(".jp-OutputArea-output").filter(has=page.get_by_role("cell", name="for $1 or $2"))
    answer.wait_for(timeout=120_000)
    assert any(genre in answer.locator("table").inner_text() for genre in GENRES)
    assert answer.locator("img").count() == 1
    answer.locator("audio").first.evaluate(PLAYABLE)
    quiz = page.get_by_text("Clip 1 of 10: which genre is it?")
    quiz.wait_for()
    assert [page.get_by_role("button", name=genre, exact=True).count() for genre in GENRES] == [1] * len(GENRES)
    page.get_by_role("button", name="rock", exact=True).click()
    page.get_by_text("Clip 2 of 10: which genre is it?").wait_for(timeout=60_000)
    assert not quiz.count()


@pytest.mark.parametrize("width", [390, 1200], ids=["phone", "desktop"])
def test_the_page_of_own_songs_fits_the_screen_and_plays(width, page, small_set, tmp_path):
    songs = tmp_path / "songs"
    songs.mkdir()
    titles = ["<script>document.title = 'bad'</script> for $1 or $2 (rock)", "long " * 30, "祭り 🎵"]
    for source, title in zip(sorted((small_set / "songs").glob("*.mp3")), titles, strict=False):
        shutil.copy(source, songs / f"{title.replace('/', '')}.mp3")
    command = [sys.executable, str(ROOT / "run.py"), "songs", str(songs), "--output", str(tmp_path / "out")]
    subprocess.run(command, check=True)
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto((tmp_path / "out" / "songs.html").as_uri())
    page.screenshot(path=ROOT / "build" / "browser" / f"songs_{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.title() == "The genres of your songs" and not complaints
    assert "for $1 or $2" in page.locator("table").first.inner_text()
    assert page.locator("section.panel").count() == page.locator("audio").count() == 3
    page.locator("audio").first.evaluate(PLAYABLE)
