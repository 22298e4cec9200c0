"""Give hostile inputs to the package and count faults.

    python tests/fuzz/run.py pickles coco --seconds 60 --seed 0
    python tests/fuzz/run.py all --count 100 --keep faults

A fault is a failure that is no InputError (of the command line: anything but exit code 2 and one error), a crash, a
hang, an input that is refused only after 2 s or with more than 500 MB, a message that cannot be shown, and anything
that a good input shows to be left behind. A case follows from the target, the seed and its number alone. The exit
code is 1 if there are faults.
"""

import argparse
import itertools
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.worker import TARGETS, in_package, serve

HANG_SECONDS = 10.0  # of the processor; six times as long by the clock
START_SECONDS = 120.0
MEMORY = Path("/dev/shm")  # where Linux keeps files in memory: thousands of folders are made and removed


@dataclass
class Report:
    """What became of the cases of a target.

    Attributes:
        target: its name.
        counts: cases by result: "accepted", "refused", "fault".
        kinds: how many faults there are of each kind.
        examples: the folder with the first input of each kind.
        slowest: seconds of the slowest case that was answered.
        most_bytes: the most memory that a case took.
        package: the file of the package.
    """

    target: str
    counts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[Path, str]] = field(default_factory=dict)
    slowest: float = 0.0
    most_bytes: int = 0
    package: str = ""

    def add(self, outcome: dict[str, Any], case: Path, index: int, keep: Path) -> None:
        """Count a case; keep the input if it is the first fault of its kind."""
        self.counts[outcome["result"]] += 1
        self.slowest = max(self.slowest, outcome.get("seconds", 0.0))
        self.most_bytes = max(self.most_bytes, outcome.get("bytes", 0))
        if outcome["result"] != "fault":
            return
        kind = outcome["kind"].strip()
        self.kinds[kind] += 1
        if kind not in self.examples:
            name = re.sub(r"[^\w.]+", "-", kind)[:80]
            folder = keep / self.target / f"{name}-{index}"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(case, folder, symlinks=True, ignore=_special_files)
            self.examples[kind] = (folder, outcome.get("text", ""))

    def lines(self) -> list[str]:
        """The line of the target, and one for each kind of fault."""
        faults = self.counts["fault"]
        first = (
            f"{self.target}: {self.counts.total()} cases, {self.counts['refused']} refused, "
            f"{self.counts['accepted']} accepted, {faults} faults, slowest {self.slowest:.2f} s, "
            f"most memory {self.most_bytes / 1e6:.0f} MB"
        )
        rest = []
        for kind, count in self.kinds.most_common():
            path, text = self.examples[kind]
            rest.append(f"  {count} x {kind}{f' ({text})' if text else ''}: {path}")
        return [first, *rest]


class Process:
    """A worker process that is started again when an input killed it."""

    def __init__(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None))
        self._target, self.package = "", ""
        self._start()

    @property
    def case(self) -> Path:
        """The folder with the input of the last case."""
        return self._folder / "case"

    def _start(self) -> None:
        self._folder = Path(tempfile.mkdtemp(dir=self._scratch))
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, str(self._folder)), daemon=True)
        self._process.start()
        theirs.close()

    def open(self, target: str) -> None:
        """Make ready for the cases of a target."""
        self._target = target
        self._connection.send(target)
        answer = self._checked(self._receive()) if self._connection.poll(START_SECONDS) else {}
        if answer.get("result") != "ready":
            raise RuntimeError(f"{target}: the worker does not start: {answer}")
        self.package = answer["package"]

    def run(self, seed: int, index: int) -> dict[str, Any]:
        """Run a case; a crash and a hang are outcomes too."""
        if not self._process.is_alive():
            self._start()
            self.open(self._target)
        self._connection.send((seed, index))
        outcome = self._receive() if self._answers() else self._hang()
        if outcome.get("kind", "").startswith("state left behind"):
            self._end()
        return self._checked(outcome)

    def close(self) -> None:
        """End the process and remove its files."""
        self._end()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _end(self) -> None:
        self._process.kill()
        self._process.join()

    def _answers(self) -> bool:
        """Wait for an answer; longer if others have the processor."""
        start = self._processor_seconds()
        for _ in range(6):
            if self._connection.poll(HANG_SECONDS):
                return True
            if self._processor_seconds() - start > HANG_SECONDS - 1:
                return False
        return False

    def _processor_seconds(self) -> float:
        try:
            numbers = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
        except OSError:  # not on macOS
            return time.monotonic()

    def _receive(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = self._connection.recv()
            return answer
        except (EOFError, OSError):
            self._process.join(HANG_SECONDS)
            code = self._process.exitcode or 0
            name = signal.Signals(-code).name if code < 0 else f"exit {code}"
            return {"result": "fault", "kind": f"{name} {self._dumped()}"}

    def _hang(self) -> dict[str, Any]:
        assert self._process.pid is not None
        os.kill(self._process.pid, signal.SIGUSR1)
        time.sleep(0.3)
        where = self._dumped()
        self._end()
        return {"result": "fault", "kind": f"hang {where}", "seconds": HANG_SECONDS}

    def _dumped(self) -> str:
        for path, line in re.findall(
            r'File "([^"]+)", line (\d+)', (self._folder / "traceback.txt").read_text(errors="replace")
        ):
            if in_package(path):
                return f"{'/'.join(Path(path).parts[-2:])}:{line}"
        return "outside of the package"

    @staticmethod
    def _checked(outcome: dict[str, Any]) -> dict[str, Any]:
        if outcome["result"] == "broken":
            raise RuntimeError(f"the harness is broken:\n{outcome['text']}")
        return outcome


def fuzz(
    target: str, processes: list[Process], seed: int = 0, *, count: int | None = None, seconds: float = 60.0, keep: Path
) -> Report:
    """Run cases of a target.

    Args:
        target: its name.
        processes: that share the cases.
        seed: of all cases.
        count: how many; None for as many as the seconds allow.
        seconds: how long, if there is no count.
        keep: the folder for the inputs of faults.

    Returns:
        What became of them.
    """
    report, lock, end = Report(target), threading.Lock(), time.monotonic() + seconds
    numbers = itertools.count() if count is None else iter(range(count))

    def work(process: Process) -> None:
        process.open(target)
        report.package = process.package
        while count is not None or time.monotonic() < end:
            with lock:
                index = next(numbers, None)
            if index is None:
                return
            outcome = process.run(seed, index)
            with lock:
                report.add(outcome, process.case, index, keep)

    with ThreadPoolExecutor(len(processes)) as pool:
        list(pool.map(work, processes))
    return report


def _special_files(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (Path(folder) / name).is_file() and not (Path(folder) / name).is_dir()]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="+", choices=["all", *TARGETS], metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target, without --count")
    parser.add_argument("--count", type=int, help="cases of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="folder for the inputs of faults; default: a new one")
    options = parser.parse_args()
    keep = options.keep or Path(tempfile.mkdtemp(prefix="fuzz-faults-"))
    processes = [Process() for _ in range(options.jobs)]
    faults = 0
    try:
        for target in TARGETS if "all" in options.targets else options.targets:
            report = fuzz(
                target, processes, options.seed, count=options.count, seconds=options.seconds, keep=keep.resolve()
            )
            print("\n".join(report.lines()), flush=True)
            faults += report.counts["fault"]
    finally:
        for process in processes:
            process.close()
    print(f"package: {report.package}", flush=True)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
