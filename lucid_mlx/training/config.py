"""The configuration of a training run: a TOML file, whose tables are the dataclasses here."""

from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, Literal

from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.open_dataset import open_dataset
from lucid_mlx.errors import InputError
from lucid_mlx.training.augment import LargeScaleJitter, ResizeAndCrop
from lucid_mlx.training.optimizer import OptimizerConfig
from lucid_mlx.training.presets import fill_in
from lucid_mlx.training.settings import Settings
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import MAX_BATCH_SIZE, MAX_COUNT, FieldError, Range, check_fields, value_problem

AUGMENTATIONS = {"jitter": LargeScaleJitter, "crop": ResizeAndCrop}

# What a field of a configuration here may be at least and at most.
RANGES: dict[str, Range] = {
    "ignore_index": (-1, 65535),
    "limit": (1, MAX_COUNT),
    "log": (1, MAX_COUNT),
    "save": (1, MAX_COUNT),
    "pictures": (0, MAX_COUNT),
    "images": (1, 1000),
    "evaluate": (0, MAX_COUNT),
    "patience": (0, MAX_COUNT),
    "steps": (1, MAX_COUNT),
    "batch_size": (1, MAX_BATCH_SIZE),
    "gradient_accumulation_steps": (1, MAX_BATCH_SIZE),
    "repeat_threshold": (0, 1),
    "workers": (0, 256),
    "seed": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class DatasetConfig:
    """Labeled images on disk. Relative paths start at the current folder, "~" is the home folder.

    Attributes:
        images: the folder with the images; or a dataset of Hugging Face, `hf://user/name:split` or a saved folder, and
            `annotations` is its column of label maps.
        annotations: COCO's JSON file, of instances or panoptic; the folder with the label maps, which may be that of
            the images; the folder with the JSON files of labelme or Supervisely; or Label Studio's JSON.
        panoptic_folder: the folder with the PNGs of a panoptic JSON; None for the folder that is called as the file
            without `.json`.
        names: for label maps, the names of the classes by label: a text file with one name in each line, a JSON file
            such as `{"0": "sky", "1": "sea"}`, or a dataset such as "ade20k_semantic"; for label maps in colors, their
            table: CVAT's `labelmap.txt`, CamVid's `class_dict.csv`, or a file of lines such as `sky,128,128,128`.
            For labelme, Label Studio and Supervisely the classes to use, in their order; None for all.
        merge: for label maps, a JSON file with new classes, each with the names of those that it is made of, such as
            `{"bag": ["bag", "purse"]}`; classes in none are ignored.
        ignore_index: for label maps, the label of pixels that are ignored. None for 255, or for 65535 if 255 is a
            class; but masks of 0 and 255 alone, with two names, have 255 for the second class.
        reduce_zero_label: for label maps, also ignore label 0, and subtract 1 from the other labels, as for ADE20K.
        endings: for label maps, how the names of images and of label maps end, such as `[".jpg", "_mask.png"]`; None to
            find that out.
        split: a text file with the images to use, one in each line, with or without its folder and ending; None for
            all.
        skip_unlabeled: leave out images without labels.
        crowd_as_objects: for COCO's JSON, take annotations with `iscrowd = 1` as objects, as some tools write them.
        stuff: for labels of objects, the classes that have no countable objects, such as `["sky", "road"]`. With them
            the labels are panoptic, or semantic if all classes are stuff.
        orientation: which pixels the labels of photos are for that EXIF rotates: "stored", "upright", or "auto" to
            compare sizes.
        limit: use only so many images, the first ones; None for all.

    Raises:
        FieldError: if a value is out of range.
    """

    images: str
    annotations: str
    panoptic_folder: str | None = None
    names: str | None = None
    merge: str | None = None
    ignore_index: int | None = None
    reduce_zero_label: bool = False
    endings: tuple[str, ...] | None = None
    split: str | None = None
    skip_unlabeled: bool = False
    crowd_as_objects: bool = False
    stuff: tuple[str, ...] = ()
    orientation: Literal["auto", "stored", "upright"] = "auto"
    limit: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        if self.endings is not None and len(self.endings) != 2:
            raise FieldError(f"endings must be two, of images and of label maps, got {len(self.endings)}", "endings")

    def open(self) -> Dataset:
        """Open the dataset.

        Returns:
            The dataset, with the first `limit` images.

        Raises:
            InputError: as `open_dataset`.
        """
        dataset = open_dataset(
            self.images,
            self.annotations,
            panoptic_folder=self.panoptic_folder,
            class_names=self.names,
            merge=self.merge,
            ignore_index=self.ignore_index,
            reduce_zero_label=self.reduce_zero_label,
            endings=self.endings,
            split=self.split,
            skip_unlabeled=self.skip_unlabeled,
            crowd_as_objects=self.crowd_as_objects,
            stuff=self.stuff,
            orientation=self.orientation,
        )
        return dataset if self.limit is None else replace(dataset, records=dataset.records[: self.limit])


@dataclass(frozen=True)
class NetworkConfig:
    """The network to train.

    Attributes:
        weights: what to start from: anything that `lucid_mlx.load` takes; None for random weights.
        backbone_weights: a pretrained image classifier or backbone to start from, if there are no `weights`: a file or
            folder of torchvision, timm, Hugging Face, detectron2 or the original Swin, or a name on the Hugging Face
            hub. The backbone has its shape, and the rest of the network random weights.
        freeze_backbone: keep the backbone's parameters as they are.
        gradient_checkpointing: compute layers again in the backward pass: less memory, more time.
        size: the size at which the trained model sees images, as `lucid-mlx segment --size`; None for the size of the
            training samples.
        fields: fields of `Mask2FormerConfig` that replace those of the weights.

    Raises:
        FieldError: if a value has a wrong type.
    """

    weights: str | None = None
    backbone_weights: str | None = None
    freeze_backbone: bool = False
    gradient_checkpointing: bool = False
    size: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        if self.weights is not None and self.backbone_weights is not None:
            raise FieldError(
                "weights are of a whole network, with its backbone: leave out backbone_weights or weights",
                "backbone_weights",
                "weights",
            )


@dataclass(frozen=True)
class ReportsConfig:
    """What a run logs, saves and evaluates, and every how many steps.

    Attributes:
        log: steps between two lines of metrics.
        save: steps between two checkpoints of the weights and the training state.
        pictures: steps between two sets of pictures of the predictions for validation images; 0 for none.
        images: validation images of such a set.
        evaluate: steps between two evaluations on all validation images; 0 for none.
        keep_best: keep the weights with the best evaluation so far, by mIoU, AP or PQ, in the folder `best`.
        patience: stop after so many evaluations in a row that are no better than an earlier one; 0 for never.
        tensorboard: also write the metrics for TensorBoard, to `training/tensorboard`. It takes another library:
            `pip install 'lucid-mlx[tensorboard]'`.

    Raises:
        FieldError: if a value is out of range.
    """

    log: int = 20
    save: int = 1000
    pictures: int = 1000
    images: int = 4
    evaluate: int = 0
    keep_best: bool = True
    patience: int = 0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        if self.patience and not self.evaluate:
            raise FieldError("patience counts evaluations: set evaluate, the steps between two of them", "patience")


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Attributes:
        dataset_name: the name of the dataset in the model's metadata.
        steps: updates of the parameters in the whole run.
        train: the labeled images to train on.
        augmentation: makes training samples of the images. `kind` is "jitter" or "crop"; the
            other keys are those of the augmentation.
        preset: the recipe that `read_config` takes every value from that the file does not have, such as
            "coco-panoptic" or "coco-panoptic/swin-tiny": see the guide. What it sets may be left out, `steps` too.
        validation: the labeled images for pictures of predictions and for evaluation; None for neither.
        network: see `NetworkConfig`: the network to train.
        optimizer: see `OptimizerConfig`: how its parameters are updated.
        reports: see `ReportsConfig`: what is logged, saved and evaluated.
        batch_size: images in a batch, over all processes of a distributed run.
        gradient_accumulation_steps: batches whose gradients are averaged for one step.
        workers: processes that load and augment images; 0 to do it in the training process.
        seed: the seed of all random numbers.
        dtype: the type to compute in. "bfloat16" is mixed precision: copies of the parameters and what is computed with
            them are bfloat16; the parameters, their gradients, the optimizer's state and the losses stay float32.
        check: read and check all images and labels before the first step.
        filter_empty: for instances, leave out images without an object to learn, as the original project does.
        repeat_threshold: the share of images below which a class is rare: images with rare classes come more often, by
            a factor of sqrt(threshold / share) in the mean (LVIS, repeat factor sampling). 0 for all images once.
        class_weights: weights of classes in the classification loss, by name, beside `no_object_weight`; those that are
            not named weigh 1. "balanced" for scikit-learn's: the number of all segments, divided by the number of
            classes and by that of the class's segments. None if all weigh the same.

    Raises:
        FieldError: if a value is out of range.
    """

    dataset_name: str
    steps: int
    train: DatasetConfig
    augmentation: LargeScaleJitter | ResizeAndCrop
    preset: str | None = None
    validation: DatasetConfig | None = None
    network: NetworkConfig = field(default_factory=NetworkConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    reports: ReportsConfig = field(default_factory=ReportsConfig)
    batch_size: int = 16
    gradient_accumulation_steps: int = 1
    workers: int = 2
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    check: bool = True
    filter_empty: bool = True
    repeat_threshold: float = 0.0
    class_weights: dict[str, Any] | str | None = None

    def __post_init__(self) -> None:
        check_fields(self, RANGES)
        if isinstance(self.class_weights, str) and self.class_weights != "balanced":
            raise FieldError(
                f'class_weights must be "balanced", or a table of names and numbers, got {shown(self.class_weights)}',
                "class_weights",
            )
        for name, weight in self.class_weights.items() if isinstance(self.class_weights, dict) else ():
            if problem := value_problem(f"the weight of {shown(name)}", weight, float, 0, MAX_COUNT):
                raise FieldError(problem, f"class_weights.{name}")
        if self.validation is None and self.reports.evaluate:
            raise FieldError("evaluate needs labeled images: add a table [validation]", "reports.evaluate")

    @property
    def sample_size(self) -> str:
        """The size of training samples in pixels, "WIDTHxHEIGHT", as `lucid-mlx segment --size` takes it."""
        augmentation = self.augmentation
        height, width = augmentation.crop_size if isinstance(augmentation, ResizeAndCrop) else (augmentation.size,) * 2
        return f"{width}x{height}"


def read_config(path: str | PathLike[str]) -> TrainingConfig:
    """Read the TOML file of a training run.

    Args:
        path: the file.

    Returns:
        The configuration. Its `dataset_name` is the name of the file if the file does not set it.

    Raises:
        InputError: if the file cannot be read, or has an unknown key or preset, lacks a key, or has a value that does
            not fit. The message names the line.
    """
    path = local_path(path)
    settings = Settings(path)
    table = dict(settings.table)
    if "preset" in table and path.suffix != ".json":  # a run keeps all values
        try:
            table = fill_in(table, table["preset"])
        except InputError as error:
            raise InputError(f"{settings.location('preset')}: {error}") from error
    augmentation = table.get("augmentation", {})
    if not isinstance(augmentation, dict):
        raise InputError(f"{settings.location('augmentation')}: augmentation must be a table: write [augmentation]")
    augmentation = dict(augmentation)
    name = augmentation.pop("kind", next(iter(AUGMENTATIONS)))
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        expected = ", ".join(AUGMENTATIONS)
        raise InputError(f"{settings.location('augmentation.kind')}: kind must be one of {expected}, got {shown(name)}")
    table["augmentation"] = settings.build(AUGMENTATIONS[name], augmentation, "augmentation")
    return settings.build(TrainingConfig, {"dataset_name": path.stem, **table})
