"""The house: what may import what, and how large a module may be."""

import ast
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT

MODULES = {path.stem: path for path in [ROOT / "run.py", ROOT / "utils.py", *(ROOT / "genres").glob("[a-z]*.py")]}


def _imported(path) -> set[str]:
    """Modules of the project that a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.removeprefix("genres.") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names} if node.module == "genres" else set()
            names.add((node.module or "").removeprefix("genres."))
    return names & set(MODULES)


def test_nothing_in_the_package_imports_what_stands_on_it():
    upwards = {name: _imported(path) & {"utils", "run"} for name, path in MODULES.items() if name != "run"}
    assert not any(upwards.values()), upwards


def test_the_imports_have_no_circle():
    order = list(TopologicalSorter({name: _imported(path) for name, path in MODULES.items()}).static_order())
    assert order.index("common") < order.index("utils") < order.index("run")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_can_be_read_in_one_sitting(name):
    assert len(MODULES[name].read_text(encoding="utf-8").splitlines()) <= 900
