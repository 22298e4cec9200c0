"""What a training run is: a TOML file with a few tables."""

from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.label_maps import IGNORE
from lucid_mlx.data.open_dataset import open_dataset
from lucid_mlx.errors import InputError
from lucid_mlx.training.augment import LargeScaleJitter, ScaleAndCrop
from lucid_mlx.training.optimizer import OptimizerConfig
from lucid_mlx.training.settings import Settings

AUGMENTATIONS = {"jitter": LargeScaleJitter, "crop": ScaleAndCrop}


@dataclass(frozen=True)
class LabelsConfig:
    """Where labeled images are; paths start from where the command runs.

    Attributes:
        images, annotations, panoptic_folder, names, ignore, reduce: as `lucid_mlx.training.open_dataset` takes them.
        limit: take the first images alone, this many.
    """

    images: str
    annotations: str
    panoptic_folder: str | None = None
    names: str | None = None
    ignore: int = IGNORE
    reduce: bool = False
    limit: int | None = None

    def open(self) -> Dataset:
        """Open them.

        Raises:
            InputError: as `open_dataset`.
        """
        dataset = open_dataset(
            self.images,
            self.annotations,
            panoptic_folder=self.panoptic_folder,
            names=self.names,
            ignore=self.ignore,
            reduce=self.reduce,
        )
        return dataset if self.limit is None else replace(dataset, records=dataset.records[: self.limit])


@dataclass(frozen=True)
class NetworkConfig:
    """Which network is trained.

    Attributes:
        weights: to start from: anything that `lucid_mlx.load` takes; random ones if None.
        freeze_backbone: leave the backbone as it is.
        gradient_checkpointing: take a third more time and less memory.
        size: how large the network sees images when the training is over, as `lucid-mlx segment --size` has it; the
            size of the samples if None.
        fields: of `Mask2FormerConfig`, where they differ from those of the weights.
    """

    weights: str | None = None
    freeze_backbone: bool = False
    gradient_checkpointing: bool = False
    size: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportsConfig:
    """What is told of a run, and how often, in steps.

    Attributes:
        log: a line of the metrics.
        save: the state and the weights.
        pictures: pictures of what the network finds in validation images; 0 for none.
        images: how many of these.
        evaluate: figures on all validation images; 0 for none.
    """

    log: int = 20
    save: int = 1000
    pictures: int = 1000
    images: int = 4
    evaluate: int = 0

    def __post_init__(self) -> None:
        for name, least in (("log", 1), ("save", 1), ("pictures", 0), ("images", 1), ("evaluate", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Attributes:
        name: of the dataset, written beside the weights; the file's if it is left out.
        steps: updates of the parameters.
        train: labeled images to learn from.
        augmentation: makes samples of them: a table with `kind`, "jitter" or "crop", and the fields of
            `LargeScaleJitter` or `ScaleAndCrop`.
        validation: labeled images to show and to measure the network on.
        network, optimizer, reports: see there.
        batch_size: images whose gradients are computed together; of a distributed run all processes' together.
        accumulate: batches whose gradients are averaged for a step.
        workers: processes that prepare images.
        seed: of all that is random.
        dtype: to compute in; parameters and losses stay float32.
        check: read all images and labels before the first step.

    Raises:
        InputError: for numbers out of range.
    """

    name: str
    steps: int
    train: LabelsConfig
    augmentation: LargeScaleJitter | ScaleAndCrop
    validation: LabelsConfig | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    reports: ReportsConfig = field(default_factory=ReportsConfig)
    batch_size: int = 16
    accumulate: int = 1
    workers: int = 2
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    check: bool = True

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1), ("accumulate", 1), ("workers", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.validation is None and self.reports.evaluate:
            raise InputError("evaluate needs labeled images: add a table [validation]")

    @property
    def sample_size(self) -> str:
        """The size of samples, as `--size` has it."""
        augmentation = self.augmentation
        height, width = augmentation.crop if isinstance(augmentation, ScaleAndCrop) else (augmentation.size,) * 2
        return f"{width}x{height}"


def read_config(path: str | PathLike[str]) -> TrainingConfig:
    """Read the TOML file of a run.

    Raises:
        InputError: if it cannot be read; for an unknown key, with the nearest known one; for a missing key or a value
            that does not fit. It tells the line.
    """
    settings = Settings(Path(path).expanduser())
    table = dict(settings.table)
    about = table.get("augmentation", {"kind": "jitter"})
    if not isinstance(about, dict):
        raise InputError(f"{settings.where('augmentation', '')}: augmentation must be a table: write [augmentation]")
    about = dict(about)
    kind = about.pop("kind", "jitter")
    if kind not in AUGMENTATIONS:
        raise InputError(
            f"{settings.where('kind', 'augmentation')}: kind must be one of {', '.join(AUGMENTATIONS)}, got {kind!r}"
        )
    table["augmentation"] = settings.make(AUGMENTATIONS[kind], about, "augmentation")
    return settings.make(TrainingConfig, {"name": Path(path).stem, **table})
