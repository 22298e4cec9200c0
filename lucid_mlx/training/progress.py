"""How a run goes on, told to people: what it will do, and each step."""

from collections.abc import Mapping

from lucid_mlx.backends import device_name
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.training.config import TrainingConfig


def step_line(step: int, total: int, metrics: Mapping[str, float], time_left: str) -> str:
    """Return a line on a step.

    Args:
        step: its number.
        total: steps of the run.
        metrics: as `metrics.jsonl` has them.
        time_left: as of `Pace.time_left`.

    Returns:
        The line.
    """
    line = (
        f"step {step} of {total}: loss {metrics['loss']:.3f}, learning rate {metrics['learning_rate']:.2g}, "
        f"{metrics['images_per_second']:.1f} images/s, {metrics['memory'] / 1e9:.1f} GB"
    )
    return f"{line}, {time_left} left" if time_left and step < total else line


def plan(config: TrainingConfig, dataset: Dataset, validation: Dataset | None, num_trained: int) -> tuple[str, str]:
    """Return what a run will do, in two lines.

    Args:
        config: of the run.
        dataset: the training data.
        validation: the validation data, if there is any.
        num_trained: parameters that are trained.

    Returns:
        A line on the data, and one on the steps.
    """
    count, images = len(dataset.records), config.batch_size * config.gradient_accumulation_steps
    share = config.steps * images / count
    classes = "1 class" if len(dataset.class_names) == 1 else f"{len(dataset.class_names)} classes"
    others = "" if validation is None else f"; {len(validation.records)} images to validate"
    if validation is not None:
        shared = {record.name for record in dataset.records} & {record.name for record in validation.records}
        others += f", {len(shared)} of them also trained on" if shared else ""
    data = f"{count} images with labels for {dataset.task} segmentation, {classes}{others}"
    return data, (
        f"{config.steps} steps of {images} images of {config.sample_size} pixels, which is "
        f"{share:.{1 if share >= 0.1 else 3}f} times each image; {num_trained / 1e6:.1f} million parameters, "
        f"in {config.dtype} on the {device_name()}"
    )
