"""The files of the page: of each session those of its last answer, and no others."""

import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UPLOAD_SECONDS = 600.0  # an upload may wait so long for its answer
STALL_SECONDS = 60.0  # an upload may pause so long
NEW_SECONDS = 1.0  # what is newer may be an upload that gradio has not noted yet


class AnswerFiles:
    """Removes files from the folder into which gradio puts what is uploaded and what it shows.

    Gradio never removes any. Answers are made one after the other, so that what is new in the folder and no upload
    belongs to the last one.

    Args:
        folder: gradio's folder for temporary files.
        uploads: gradio's set of uploaded files, which grows.
    """

    def __init__(self, folder: Path, uploads: Collection[str]):
        self._folder, self._uploads = folder, uploads
        self._of: dict[str, set[Path]] = {}  # entries of the folder by session
        self._running: set[Path] = set()  # of the answer that is being made
        self._last = ""  # session that was answered last
        self._lock = threading.Lock()

    @contextmanager
    def answer(self, session: str, *uploaded: str) -> Iterator[Path]:
        """Make a folder for an answer. The session's last answer and its files go with the end of the block.

        Args:
            session: whose answer it is.
            *uploaded: the files. They stay for further answers about them, unless the block raises.

        Yields:
            The folder.
        """
        with self._lock:
            self._tidy()
            place = Path(tempfile.mkdtemp(dir=self._folder))
            kept = self._running = {place, *self._entries(uploaded)}
        try:
            yield place
        except BaseException:
            with self._lock:
                self._running = set()
                self._remove(kept)
            raise
        with self._lock:
            self._running = set()
            old, self._of[session], self._last = self._of.get(session, set()), kept, session
            self._remove(old)

    def forget(self, session: str) -> None:
        """Remove the files of a session that has ended or has no photo any more."""
        with self._lock:
            self._tidy()
            self._remove(self._of.pop(session, set()))

    def _tidy(self) -> None:
        """Note the files that gradio has made for the last answer, and remove uploads that nobody waits for."""
        noted, uploads = self._running.union(*self._of.values()), self._entries(list(self._uploads))
        for entry in self._folder.iterdir():
            with suppress(FileNotFoundError):
                age = time.time() - entry.stat().st_mtime
                if entry in noted:
                    continue
                if entry in uploads or entry.is_file():  # a file is an upload that has not ended
                    if age > (UPLOAD_SECONDS if entry in uploads else STALL_SECONDS):
                        self._remove({entry})
                elif age > NEW_SECONDS:
                    self._of.get(self._last, set()).add(entry)
                    self._remove({entry})  # if the session has ended

    def _remove(self, entries: set[Path]) -> None:
        """Remove entries of the folder, but for those of other answers."""
        for entry in entries - self._running.union(*self._of.values()):
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)

    def _entries(self, files: Iterable[str]) -> set[Path]:
        """Return the entries of the folder that hold files."""
        inside = (Path(file) for file in files if Path(file).is_relative_to(self._folder))
        return {self._folder / file.relative_to(self._folder).parts[0] for file in inside if file != self._folder}
