"""The folder of a run: a model that `lucid_mlx.load` reads, and beside it in `training/` what the training needs."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.errors import InputError
from lucid_mlx.models import Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.training.state import write_arrays
from lucid_mlx.weights.checkpoint import FORMAT, WEIGHTS, write_checkpoint

TRAINING = "training"
STATE = "state.safetensors"


class RunFolder:
    """The folder of a run.

    Args:
        path: of the folder.
        config: of the network.
        image_config: how its images are prepared.
        dataset: what it is trained on, and `name`, what that is called.
        source: the weights that it started from; None for random ones.
    """

    def __init__(
        self,
        path: Path,
        config: Mask2FormerConfig,
        image_config: ImageConfig,
        dataset: Dataset,
        name: str,
        source: str | None,
    ):
        self.path, self._config, self._image_config = path, config, image_config
        self._metadata = {
            "source": source or "random weights",
            "family": "lucid_mlx.training",
            "dataset": f"{name}_{dataset.task}",
            "task": dataset.task,
            "things": " ".join(map(str, sorted(dataset.things))),
        }

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the folder for this process for a while.

        Raises:
            InputError: if another one has it.
        """
        with (self.training / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"another process is training in {self.path}; end it first") from error
            yield

    @property
    def training(self) -> Path:
        """Where what the training needs is."""
        return self.path / TRAINING

    @property
    def state(self) -> Path:
        """The file with the state."""
        return self.training / STATE

    def start(self, arrays: Mapping[str, mx.array]) -> None:
        """Make the folder, with the first weights.

        Raises:
            InputError: if there is something already.
        """
        if self.state.exists():
            raise InputError(f"{self.path} has a run already: go on with it by --resume, or choose another folder")
        config = self._config.to_dict()
        write_checkpoint(self.path, config, arrays, self._metadata, self._preprocessor(), self._card())
        self.training.mkdir()

    def write(self, arrays: Mapping[str, mx.array]) -> None:
        """Replace the weights.

        Raises:
            InputError: if they cannot be written; those before are then still there.
        """
        write_arrays(self.path / WEIGHTS, arrays, {**self._metadata, "format": FORMAT})

    def _preprocessor(self) -> dict[str, Any]:
        return {
            **self._image_config.to_dict(),
            "ignore_index": 255,
            "image_processor_type": "Mask2FormerImageProcessor",
        }

    def _card(self) -> str:
        labels = ", ".join(self._config.id2label.values())
        return (
            "# A Mask2Former, trained with lucid-mlx\n\n"
            f"Trained on {self._metadata['dataset']}, from {self._metadata['source']}; {TRAINING}/metrics.jsonl tells "
            f"how.\n\n    lucid-mlx segment photo.jpg --weights {self.path.name}\n\nClasses: {labels}.\n"
        )
