"""The process in which hostile inputs meet the package: one input after the other, until one of them kills it."""

import contextlib
import faulthandler
import hashlib
import importlib
import os
import random
import resource
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

TARGETS = {
    "pickles": "fuzz.pickles:Pickles",
    "safetensors": "fuzz.safetensors_files:Safetensors",
    "configs": "fuzz.configs:Configs",
    "yaml": "fuzz.yaml_files:Yaml",
    "toml": "fuzz.toml_files:Toml",
    "panoptic": "fuzz.labels:Panoptic",
    "coco": "fuzz.labels:Coco",
    "pictures": "fuzz.pictures:Pictures",
    "api": "fuzz.api:Api",
}
MAX_SECONDS, MAX_BYTES = 2.0, 500 * 10**6  # of an input that is refused
ADDRESS_SPACE = 6 << 30  # beyond what the process has at the start
LONGEST_MESSAGE = 40_000  # three lists of a hundred names


class Wrong(Exception):
    """What the package did is wrong, though nothing was raised."""


class Worker:
    """Runs cases of one target.

    Args:
        name: of the target.
        folder: to write in; `case` in it has the input of the last case.
    """

    def __init__(self, name: str, folder: Path):
        module, _, kind = TARGETS[name].partition(":")
        self.name, self.case = name, folder / "case"
        good = folder / f"good-{name}"
        good.mkdir()
        self.target = getattr(importlib.import_module(module), kind)(good)
        self._good = self.target.good()
        self._good = self.target.good()  # what happens once has happened
        self._state = _process_state()

    def run(self, seed: int, index: int) -> dict[str, Any]:
        """Make a case, give it to the package, and say what happened."""
        rng = random.Random(f"{self.name} {seed} {index}")
        shutil.rmtree(self.case, ignore_errors=True)
        self.case.mkdir(parents=True)
        call = self.target.make(rng, self.case)
        outcome = self._try(call)
        if outcome["result"] == "refused" and outcome["seconds"] > MAX_SECONDS:
            outcome |= {"result": "fault", "kind": f"slow {outcome['where']}"}
        if outcome["result"] == "refused" and outcome["bytes"] > MAX_BYTES:
            outcome |= {"result": "fault", "kind": f"memory {outcome['where']}"}
        if outcome["result"] != "fault" and (left := self._left_behind(index)):
            outcome |= {"result": "fault", "kind": left}
        return outcome

    def _try(self, call: Callable[[], object]) -> dict[str, Any]:
        from lucid_mlx import InputError

        before, start, start_of_work = _reset_peak(), time.perf_counter(), time.process_time()
        outcome: dict[str, Any] = {"result": "accepted", "where": ""}
        error: BaseException | None = None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
        except BaseException as caught:
            error = caught
        # Others may have had the cores meanwhile.
        outcome["seconds"] = min(time.perf_counter() - start, time.process_time() - start_of_work)
        outcome["bytes"] = max(_peak() - before, 0)
        if isinstance(error, InputError):
            outcome |= {"result": "refused", "where": _innermost(error)}
            if problem := _message_problem(error):
                outcome |= {"result": "fault", "kind": f"message {problem} {outcome['where']}"}
        elif error is not None and not self.target.is_python_misuse(error):
            name = f"{error}" if isinstance(error, Wrong) else type(error).__name__
            outcome |= {"result": "fault", "kind": f"{name} {_innermost(error)}", "text": _describe(error)}
        return outcome

    def _left_behind(self, index: int) -> str:
        if (state := _process_state()) != self._state:
            self._state = state
            return "state left behind: of the process"
        if index % self.target.checked_every:
            return ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                same = self.target.good() == self._good
        except BaseException as error:
            return f"state left behind: {type(error).__name__} {_innermost(error)}"
        return "" if same else "state left behind: a good input reads differently"


class Target:
    """What every target has; `make` writes the input below a folder and returns what gives it to the package.

    Attributes:
        checked_every: a good input is read after each so many cases.
    """

    checked_every = 1

    def is_python_misuse(self, error: BaseException) -> bool:
        """Whether the failure is Python's own answer to a call without the right arguments."""
        return False


def digest(*values: Any) -> str:
    """A fingerprint of arrays, or of anything that writes itself."""
    found = hashlib.sha256()
    for value in values:
        plain = hasattr(value, "tobytes") and value.dtype != object
        found.update(value.tobytes() if plain else repr(value).encode("utf-8", "backslashreplace"))
    return found.hexdigest()


def command_line(*arguments: object) -> None:
    """Run the command line; bad input must be exit code 2, with one error and no traceback."""
    from click.testing import CliRunner

    from lucid_mlx import InputError
    from lucid_mlx.cli.main import main

    shown = warnings.showwarning
    try:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    finally:
        warnings.showwarning = shown
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code not in (0, 2) or "Traceback" in result.output:
        raise Wrong(f"exit code {result.exit_code}")
    if result.exit_code == 2:
        if sum(line.startswith("Error: ") for line in result.output.splitlines()) != 1:
            raise Wrong("exit code 2 without one error")
        cause: BaseException | None = result.exception
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__cause__ or cause.__context__
        raise cause or InputError("the command line refused it")  # as the package raised it, to see where


def serve(connection: Any, folder: str) -> None:
    """Answer requests until the other side closes: a target's name opens it, (seed, number) runs one of its cases.

    Args:
        connection: to the process that asks.
        folder: to write in; `traceback.txt` in it has what a crash or a hang was doing.
    """
    home = Path(folder, "home")
    home.mkdir()
    os.environ |= {"HF_HUB_OFFLINE": "1", "LUCID_WEIGHTS_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    os.environ |= {"HF_HOME": f"{folder}/hub", "LUCID_HOME": f"{folder}/lucid", "HOME": str(home)}
    os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    os.chdir(home)
    with Path(folder, "traceback.txt").open("w") as file, open(os.devnull, "r+") as null:  # noqa: PTH123
        faulthandler.enable(file)
        faulthandler.register(signal.SIGUSR1, file)
        for stream in (0, 1, 2):
            os.dup2(null.fileno(), stream)
        sys.stdout = sys.stderr = null
        socket.socket.connect = _no_network  # type: ignore[method-assign]
        socket.getaddrinfo = _no_network
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            _answer(connection, Path(folder))
        except EOFError:
            pass
        except BaseException:
            connection.send({"result": "broken", "text": traceback.format_exc()})
        connection.close()
        os._exit(0)  # without the destructors of what hostile inputs made


def _answer(connection: Any, folder: Path) -> None:
    from tqdm import tqdm

    import lucid_mlx

    tqdm.set_lock(threading.RLock())  # its own is of several processes, and is left behind when this one dies
    worker: Worker | None = None
    while True:
        request = connection.recv()
        if isinstance(request, str):
            _limit_address_space(None)
            worker = Worker(request, folder)
            _limit_address_space(ADDRESS_SPACE)
            connection.send({"result": "ready", "package": lucid_mlx.__file__})
        else:
            assert worker is not None
            connection.send(worker.run(*request))


def _no_network(*args: Any, **kwargs: Any) -> Any:
    raise OSError("there is no network here")


def _limit_address_space(room: int | None) -> None:
    """Let the process have so much more memory than now; None for any."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if room is None:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        return
    with contextlib.suppress(OSError, ValueError):  # not on macOS
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room, hard))


def _reset_peak() -> int:
    """Forget the most memory that was resident so far, where the system can; return what is resident now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123
            file.write("5")
    except OSError:
        pass
    return _peak()


def _peak() -> int:
    try:
        text = Path("/proc/self/status").read_text()
        return int(text.partition("VmHWM:")[2].split()[0]) << 10
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _process_state() -> tuple[Any, ...]:
    import numpy as np
    from PIL import Image, ImageFile

    return (
        str(Path.cwd()), sys.getrecursionlimit(), sys.get_int_max_str_digits(), len(warnings.filters),
        tuple(np.geterr().items()), Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES,
        tuple(sorted(set(os.environ) - {"_"})),
    )  # fmt: skip


def _message_problem(error: BaseException) -> str:
    """What is wrong with a message, "" if nothing is."""
    text = str(error)
    try:
        text.encode()
    except UnicodeEncodeError:
        return "cannot be written"
    if len(text) > LONGEST_MESSAGE:
        return "too long"
    return "with control characters" if any(ord(x) < 32 and x != "\n" for x in text) else ""


def in_package(path: str) -> bool:
    """Whether a source file is the package's."""
    return "/lucid_mlx/" in path or "/convert/" in path


def _innermost(error: BaseException) -> str:
    """The innermost line of the package in a traceback."""
    where = "outside of the package"
    trace = error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if in_package(path):
            where = f"{'/'.join(Path(path).parts[-2:])}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where


def _describe(error: BaseException) -> str:
    try:
        return " ".join(f"{type(error).__name__}: {error!s:.200}".split()).encode("ascii", "backslashreplace").decode()
    except Exception:
        return type(error).__name__
