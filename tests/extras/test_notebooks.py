"""The notebooks of examples/ run as they stand there, without a network."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples" / "notebooks").glob("*.ipynb"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to run in, where `lucid-mlx` and `python` are those of this environment, and no hub answers."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("LUCID_WEIGHTS_OFFLINE", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "jupyter"))
    return tmp_path


def test_there_is_one_for_each_reader():
    assert [path.stem for path in NOTEBOOKS] == ["convert", "photo", "script", "track", "train", "video"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_top_to_bottom(path, folder):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)  # stripped: diffs stay readable
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in code for output in cell.outputs]
    shown = {kind for output in outputs for kind in output.get("data", ())}
    assert path.stem == "script" or not shown.isdisjoint({"text/html", "image/png"})
    text = "".join(output.get("text", "") for output in outputs)
    assert "Traceback" not in text
    assert "rror:" not in text
    if path.stem == "train":
        learned = next(line for line in text.splitlines() if line.startswith("the right class on"))
        assert float(learned.split()[4].rstrip("%")) > 90
    if path.stem == "track":  # two discs and a square, each of which is one track
        assert text.count(" frames 0 to 39") == 3
        assert text.count(" frames ") == 3
