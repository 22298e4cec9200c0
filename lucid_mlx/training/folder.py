"""The output folder of a run: a model that `lucid_mlx.load` reads, and in `training/` what the training needs."""

import fcntl
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.publish import known_license
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.label_values import IGNORE_INDEX
from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.training.state import write_arrays
from lucid_mlx.utils.files import check_file, write_file
from lucid_mlx.utils.text import markdown, printable
from lucid_mlx.weights.checkpoint import MLX_FORMAT, PREPROCESSOR_FILE, WEIGHTS_FILE, ensure_empty, write_checkpoint

TRAINING_FOLDER = "training"
BEST_FOLDER = "best"
STATE_FILE = "state.safetensors"
METRICS_FILE = "metrics.jsonl"


def check_new(path: Path) -> None:
    """Check that a run can begin in a folder.

    Args:
        path: the folder; it must not exist, or be empty.

    Raises:
        InputError: if it has a run already, or something else.
    """
    if (path / TRAINING_FOLDER / STATE_FILE).exists():
        raise InputError(f"{path} has a run already: continue it with --resume, or choose another folder")
    ensure_empty(path)


class RunFolder:
    """The output folder of a run.

    Args:
        path: the folder.
        config: the configuration of the model.
        image_config: how its images are prepared.
        dataset: the training data.
        dataset_name: the name of the training data.
        source: the weights from which the run starts; None for random ones.

    Attributes:
        path: the folder.
    """

    def __init__(
        self,
        path: Path,
        config: Mask2FormerConfig,
        image_config: ImageConfig,
        dataset: Dataset,
        dataset_name: str,
        source: str | None,
    ):
        self.path, self._config, self._image_config = path, config, image_config
        license = known_license({"source": source or ""})
        self._metadata = {
            **({"license": license} if license else {}),
            "source": printable(source or "random weights"),
            "family": "lucid_mlx.training",
            "dataset": printable(f"{dataset_name}_{dataset.task}"),
            "task": dataset.task,
            "things": " ".join(map(str, sorted(dataset.thing_ids))),
        }

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process.

        Yields:
            Nothing; the lock is released at the end of the block.

        Raises:
            InputError: if another process has locked it.
        """
        lock = self.training / "lock"
        for path in (lock, self.metrics):
            if path.exists():
                check_file(path, "a file that an earlier run wrote")
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"another process is training in {self.path}; end it first") from error
            yield

    @property
    def training(self) -> Path:
        """The folder of the state, the metrics and the pictures."""
        return self.path / TRAINING_FOLDER

    @property
    def best(self) -> Path:
        """The folder of the model with the best weights so far."""
        return self.path / BEST_FOLDER

    @property
    def state(self) -> Path:
        """The file of the training state."""
        return self.training / STATE_FILE

    @property
    def metrics(self) -> Path:
        """The file of the metrics."""
        return self.training / METRICS_FILE

    def create(self, arrays: Mapping[str, mx.array]) -> None:
        """Create the folder with the initial weights.

        Args:
            arrays: the weights by name.

        Raises:
            InputError: if the folder is not empty.
        """
        check_new(self.path)
        self._write_model(self.path, arrays)
        self.training.mkdir()

    def write_best(self, arrays: Mapping[str, mx.array]) -> None:
        """Write a model with the best weights so far, and remove the earlier ones.

        Args:
            arrays: the weights by name.

        Raises:
            InputError: if it cannot be written; the earlier one is then unchanged.
        """
        self._write_model(self.best, arrays, force=True)

    def _write_model(self, path: Path, arrays: Mapping[str, mx.array], force: bool = False) -> None:
        config = self._config.to_dict()
        write_checkpoint(path, config, arrays, self._metadata, self._preprocessor(), self._card(), force=force)

    def write_preprocessor(self) -> None:
        """Write how images are prepared again: a run that goes on may have another size.

        Raises:
            InputError: if it cannot be written.
        """
        write_file(self.path / PREPROCESSOR_FILE, (json.dumps(self._preprocessor(), indent=2) + "\n").encode())

    def write_weights(self, arrays: Mapping[str, mx.array]) -> None:
        """Replace the weights.

        Args:
            arrays: the weights by name.

        Raises:
            InputError: if they cannot be written; the earlier weights are then unchanged.
        """
        write_arrays(self.path / WEIGHTS_FILE, arrays, {**self._metadata, "format": MLX_FORMAT})

    def _preprocessor(self) -> dict[str, Any]:
        return {
            **self._image_config.to_dict(),
            "ignore_index": IGNORE_INDEX,
            "image_processor_type": "Mask2FormerImageProcessor",
        }

    def _card(self) -> str:
        labels = ", ".join(map(markdown, self._config.id2label.values()))
        return (
            "# A Mask2Former, trained with lucid-mlx\n\n"
            f"Trained on {markdown(self._metadata['dataset'])}, from {markdown(self._metadata['source'])}. The metrics "
            f"of the training are in {TRAINING_FOLDER}/{METRICS_FILE}.\n\n"
            f"    lucid-mlx segment photo.jpg --weights {shlex.quote(printable(self.path.name))}\n\n"
            f"Classes: {labels}.\n"
        )
