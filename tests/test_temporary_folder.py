"""What killed processes leave is removed by the next write to the same place; what is in use stays."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import pytest

from lucid_mlx.utils.files import PREFIX, temporary_folder, write_file
from lucid_mlx.weights.checkpoint import write_checkpoint

IMPORTS = """
import os, signal, sys, time
from pathlib import Path
import mlx.core as mx
from lucid_mlx.utils.files import atomic_write
from lucid_mlx.weights import checkpoint
"""
FILE = IMPORTS + "with atomic_write(Path('a.txt')) as file:\n    file.write_text('half')\n    {then}"
FOLDER = IMPORTS + (
    "def write(folder, *rest):\n    (folder / 'half').write_text('')\n    {then}\n"
    "checkpoint._write_arrays = write\ncheckpoint.write_checkpoint('model', {{}}, {{}}, {{}}, {{}})"
)
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
WAIT = "print(flush=True); time.sleep(60)"


def start(code, then):
    return subprocess.Popen([sys.executable, "-c", code.format(then=then)], stdout=subprocess.PIPE)


def leftovers(folder):
    return sorted(folder.glob(f"{PREFIX}*"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", [FILE, FOLDER], ids=["file", "checkpoint"])
def test_the_next_write_removes_what_a_killed_one_left_and_not_what_a_living_one_uses(code, folder):
    living = start(code, WAIT)
    living.stdout.readline()
    assert len(leftovers(folder)) == 1
    killed = start(code, DIE)
    assert killed.wait(60) == -signal.SIGKILL
    killed.stdout.close()
    assert len(leftovers(folder)) == 2
    if code == FILE:
        write_file(folder / "b.txt", b"whole")
    else:
        write_checkpoint(folder / "other", {}, {"a": mx.zeros(1)}, {}, {})
    assert len(leftovers(folder)) == 1
    assert list(leftovers(folder)[0].iterdir())
    living.kill()
    living.communicate()


def test_a_folder_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(folder, monkeypatch):
    from lucid_mlx.utils import files as module

    made, mkdtemp = [], module.tempfile.mkdtemp

    def make(**options):
        made.append(mkdtemp(**options))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(module.tempfile, "mkdtemp", make)
    with temporary_folder(folder) as kept:
        assert [str(kept)] == made[1:]
        assert kept.is_dir()
    assert not leftovers(folder)


def test_links_and_files_with_such_a_name_are_left_alone(folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "precious").touch()
    (folder / f"{PREFIX}link").symlink_to("mine")
    (folder / f"{PREFIX}file").touch()
    os.mkfifo(folder / f"{PREFIX}pipe")
    write_file(folder / "a.txt", b"x")
    assert (folder / "mine" / "precious").exists()
    assert len(leftovers(folder)) == 3
