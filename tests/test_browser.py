"""JupyterLab in a real browser: each notebook is opened, Run All is clicked, and the page is looked at."""

import base64
import json
import os
import re
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
from conftest import QUICK

import utils

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
SCREENSHOTS = utils.ROOT / "build" / "browser"
NOTEBOOKS = sorted(path.name for path in (utils.ROOT / "notebooks").glob("0*.ipynb"))
CARRIED = ("data/gtzan/model.pt", "data/gtzan/tracks.csv", "data/gtzan/fingerprints.npz")
CONFUSION = {"03": "confusion_random", "04": "confusion_songs"}
SECONDS_TO_RUN = 600
# Chromium refuses its sandbox to root; the others keep it from talking to anything but the page.
FLAGS = [
    *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="skipped: no Chromium"),
]


@pytest.fixture(scope="module")
def project(small_set, tmp_path_factory) -> Path:
    """A copy of the project in which the notebooks have no outputs, and parameters for a quick run."""
    copy = tmp_path_factory.mktemp("copy") / "project"
    for name in ("utils.py", "features.py", "demo_songs.py", *CARRIED):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(utils.ROOT / name, copy / name)
    (copy / "notebooks").mkdir()
    for name in NOTEBOOKS:
        notebook = nbformat.read(utils.ROOT / "notebooks" / name, 4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        (place,) = [n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
        parameters = {"data_folder": str(small_set)} | QUICK.get(name[:2], {})
        source = "\n".join(f"{parameter} = {value!r}" for parameter, value in parameters.items())
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(source))
        nbformat.write(notebook, copy / "notebooks" / name)
    return copy


@pytest.fixture(scope="module")
def lab(project, tmp_path_factory):
    """Address of a JupyterLab server on a free port of this machine, with none of the user's settings: {} is a path."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("jupyter")
    # All cells are on the page at once, not only those in sight; and no question about news.
    for plugin, values in (
        ("notebook-extension/tracker", {"windowingMode": "none"}),
        ("apputils-extension/notification", {"fetchNews": "false", "checkForUpdates": False}),
    ):
        path = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    token = secrets.token_hex(16)
    environment = {name: value for name, value in os.environ.items() if name not in ("GTZAN", "SONGS")} | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    command = [
        *(sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={project}"),
    ]
    with (home / "lab.log").open("w") as log:
        server = subprocess.Popen(command, env=environment, cwd=project, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (home / "lab.log").read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/{{}}?token={token}"
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def page(tmp_path):
    """A page of a browser that was never used before."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            tmp_path / "chromium",
            executable_path=CHROMIUM,
            headless=True,
            args=FLAGS,
            viewport={"width": 1400, "height": 1000},
        )
        yield context.pages[0]
        context.close()


def _click_run_all(page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def _run_all(page, cells: int) -> list[str]:
    """Click Run All Cells, wait until every code cell has its number, and give the numbers.

    On a busy machine a click can come before the page is connected to its kernel; when nothing has begun after half a
    minute, it is clicked again, as a student would.
    """
    page.locator(".jp-Notebook .jp-CodeCell").nth(cells - 1).wait_for(state="attached", timeout=60_000)
    page.get_by_title("Kernel status: Idle").or_(page.locator("[data-status=idle]")).first.wait_for(timeout=120_000)
    _click_run_all(page)
    clicked = time.monotonic()
    prompts = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt")
    deadline = time.monotonic() + SECONDS_TO_RUN
    while time.monotonic() < deadline:
        numbers = prompts.all_inner_texts()
        failed = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').count()
        if failed or all(re.fullmatch(r"\[\d+\]:", number.strip()) for number in numbers):
            return [number.strip() for number in numbers]
        if not any(re.search(r"\d", number) for number in numbers) and time.monotonic() - clicked > 30:
            _click_run_all(page)
            clicked = time.monotonic()
        page.wait_for_timeout(500)
    raise AssertionError(f"still running after {SECONDS_TO_RUN} s: {numbers}")


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all_in_jupyterlab_ends_without_an_error(name, project, lab, page):
    notebook = nbformat.read(project / "notebooks" / name, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    # A workspace of its own, or the tabs of the notebook before would open again.
    page.goto(lab.format(f"lab/workspaces/{name[:2]}/tree/notebooks/{name}"))
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    try:
        numbers = _run_all(page, len(code))
        page.wait_for_timeout(1000)  # the last picture is still being laid out
    finally:
        page.screenshot(path=SCREENSHOTS / f"{name[:2]}_end.png")
    errors = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()
    assert not errors, errors
    assert numbers == [f"[{n}]:" for n in range(1, len(code) + 1)]
    pictures = page.locator(".jp-OutputArea-output img")
    assert pictures.count() >= 1
    assert all(
        pictures.nth(n).evaluate("image => image.complete && image.naturalWidth > 100") for n in range(pictures.count())
    )
    if figure := CONFUSION.get(name[:2]):
        # The very picture that the run has saved, in sight of the reader.
        saved = base64.b64encode((project / "figures" / "demo" / f"{figure}.png").read_bytes()).decode()
        shown = [pictures.nth(n) for n in range(pictures.count())]
        (picture,) = [one for one in shown if one.get_attribute("src").partition("base64,")[2].strip() == saved]
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        assert picture.is_visible() and box["width"] > 300 and box["height"] > 200
        page.screenshot(path=SCREENSHOTS / f"{name[:2]}_{figure}.png")
    with urllib.request.urlopen(lab.format("api/kernels")) as answer:
        for kernel in json.load(answer):
            urllib.request.urlopen(urllib.request.Request(lab.format(f"api/kernels/{kernel['id']}"), method="DELETE"))


def test_a_song_that_is_uploaded_gets_its_answer_on_the_page(project, lab, page, small_set, tmp_path):
    name = "04_test_personal_songs.ipynb"
    song = tmp_path / "for $1 or $2.mp3"  # between two dollar signs a page may see a formula
    shutil.copy(next((small_set / "songs").glob("*.mp3")), song)
    code = [cell for cell in nbformat.read(project / "notebooks" / name, 4).cells if cell.cell_type == "code"]
    page.goto(lab.format(f"lab/workspaces/upload/tree/notebooks/{name}"))
    _run_all(page, len(code))
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a song").click()
    chooser.value.set_files(song)
    answer = page.locator(".jp-OutputArea-output").filter(has=page.get_by_role("cell", name="for $1 or $2"))
    answer.wait_for(timeout=120_000)
    assert any(genre in answer.locator("table").inner_text() for genre in utils.GENRES)
    assert "training clips most like it" in answer.inner_text()
    assert answer.locator("img").count() == 2
    answer.locator("audio").first.evaluate("player => new Promise(done => { player.oncanplay = done; player.load() })")
    answer.scroll_into_view_if_needed()
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "04_upload.png")
