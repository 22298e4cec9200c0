"""The Quick Action for Finder: what Linux can tell of it. It was not tried on a Mac."""

import os
import plistlib
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import PHOTO
from PIL import Image

CONTENTS = Path(__file__).parents[1] / "examples" / "Segment Photo.workflow" / "Contents"


@pytest.fixture
def finder(tmp_path):
    """A folder with a photo, and a way to run the action's script on files of it; what it notifies comes back."""
    tools = tmp_path / ".local" / "bin"
    tools.mkdir(parents=True)
    (tools / "lucid-mlx").write_text(f'#!/bin/bash\nexec "{sys.executable}" -m lucid_mlx "$@"\n')
    (tools / "osascript").write_text('#!/bin/bash\nprintf "%s\\n" "${@: -1}" >> "$HOME/notified"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    with Image.open(PHOTO) as photo:
        photo.resize((96, 64)).save(tmp_path / "my photo.v2.jpg")
    action = plistlib.loads((CONTENTS / "document.wflow").read_bytes())["actions"][0]["action"]["ActionParameters"]
    script = action["COMMAND_STRING"].replace('"facebook/mask2former-swin-tiny-coco-panoptic"', "demo")
    assert "weights=demo\n" in script

    def run(*names):
        environment = {**os.environ, "HOME": str(tmp_path)}
        files = [str(tmp_path / name) for name in names]
        subprocess.run([action["shell"], "-c", script, "-", *files], env=environment, check=True)
        return (tmp_path / "notified").read_text().splitlines()

    return run


def test_finder_offers_it_for_pictures():
    (service,) = plistlib.loads((CONTENTS / "Info.plist").read_bytes())["NSServices"]
    assert service["NSMessage"] == "runWorkflowAsService"
    assert service["NSSendFileTypes"] == ["public.image"]
    assert service["NSMenuItem"]["default"] == CONTENTS.parent.stem
    document = plistlib.loads((CONTENTS / "document.wflow").read_bytes())
    described = document["workflowMetaData"]
    assert described["workflowTypeIdentifier"] == "com.apple.Automator.servicesMenu"
    assert described["serviceInputTypeIdentifier"] == "com.apple.Automator.fileSystemObject.image"
    (action,) = document["actions"]
    assert action["action"]["BundleIdentifier"] == "com.apple.RunShellScript"
    assert action["action"]["ActionParameters"]["inputMethod"] == 1  # files as arguments, not on standard input


def test_its_script_writes_a_picture_beside_each_photo_and_says_what_went_wrong(finder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    done, broken = finder("my photo.v2.jpg", "broken.jpg")
    assert done == "my photo.v2.jpg is segmented"
    assert broken.startswith("Error: ")
    assert "broken.jpg" in broken
    with Image.open(tmp_path / "my photo.v2-segmented.png") as picture:
        assert picture.width >= 96
