"""Tests that the notebooks run from top to bottom, and are stored without outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(path for path in (ROOT / "notebooks").glob("*.ipynb") if ".executed" not in path.name)


def read(notebook: Path) -> nbformat.NotebookNode:
    return nbformat.read(notebook, as_version=4)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests" / "data" / "demo", tmp_path / "tests" / "data" / "demo")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(read(notebook), timeout=300, kernel_name="python3", resources=resources).execute()


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(notebook: Path) -> None:
    book = read(notebook)
    nbformat.validate(book)
    for cell in book.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
