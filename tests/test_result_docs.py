"""The page on results runs as it stands, on a photo in the package, and names what there is."""

import re
import shutil
from pathlib import Path

import pytest
from helpers import run_cli

from lucid_mlx.weights.address import DEMO_FOLDER

ROOT = Path(__file__).parents[1]
PHOTO = DEMO_FOLDER / "shoes.jpg"
PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
EXPORTS, _, THRESHOLD = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)  # the second is in tests/extras


@pytest.fixture(autouse=True)
def photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, "photo.jpg")


def test_a_photo_goes_everywhere(capsys):
    exec(EXPORTS, names := {})
    assert names["same"].segments == names["result"].segments
    assert "shoes" in capsys.readouterr().out
    written = {path.name for path in Path().iterdir()}
    assert written == {
        "photo.jpg", "picture.png", "shoes.png", "blurred.png", "white.png", "photo.geojson", "photo.txt", "photo.csv",
        "photo.result.json",
    }  # fmt: skip


def test_a_threshold_changes(capsys):
    exec(THRESHOLD, {})
    assert len(set(capsys.readouterr().out.splitlines())) > 1


def test_commands_run():
    for line in re.findall(r"^lucid-mlx segment photo.jpg (.*)$", PAGE, re.M):
        run_cli("segment", "photo.jpg", *line.replace("'", "").split())
    assert Path("photo-segmented-cutout.png").exists()
    assert Path("photo-segmented-replace-background.png").exists()
