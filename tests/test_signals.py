"""SIGTERM and SIGHUP end the command line as an exception does."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lucid_mlx.cli.main import _orderly_end
from lucid_mlx.training.interrupt import deferred_interrupt
from lucid_mlx.utils.files import PREFIX


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_line_in_an_orderly_way(number, folder):
    code = (
        "import click, time\nfrom pathlib import Path\nfrom lucid_mlx.cli.main import main\n"
        "from lucid_mlx.utils.files import atomic_write\n"
        "@main.command()\ndef slow():\n"
        "    with atomic_write(Path('a.txt')) as file:\n"
        "        file.write_text('half')\n        print(flush=True)\n        time.sleep(60)\n"
        "main(['slow'])"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    assert len(list(folder.glob(f"{PREFIX}*"))) == 1
    begin = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert told == b""
    assert list(folder.iterdir()) == []
    assert time.monotonic() - begin < 10


def test_a_signal_that_is_ignored_stays_ignored(folder):
    code = (
        "import os, signal\nfrom lucid_mlx.cli.main import main\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "@main.command()\ndef hang_up():\n    os.kill(os.getpid(), signal.SIGHUP)\n    print('still here')\n"
        "main(['hang-up'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"still here\n"


def test_training_keeps_its_own_way_to_stop():
    before = signal.getsignal(signal.SIGTERM)
    with _orderly_end():
        with deferred_interrupt() as interrupted:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupted()
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
