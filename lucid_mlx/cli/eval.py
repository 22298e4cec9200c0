"""`lucid-mlx eval`."""

import json
from dataclasses import replace
from pathlib import Path

import click
import mlx.core as mx

from lucid_mlx.data import open_dataset
from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation import Evaluation, evaluate
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.atomic_write import write_file

DTYPES = ("float32", "float16", "bfloat16")


@click.command("eval")
@click.option(
    "--weights", required=True, help="A name that `lucid-mlx weights list` shows, a folder, a file, an address."
)
@click.option("--images", type=click.Path(path_type=Path), required=True, help="The folder with the images.")
@click.option(
    "--annotations", type=click.Path(path_type=Path), required=True,
    help="COCO's JSON, of instances or panoptic, or a folder of label maps with the images' names.",
)  # fmt: skip
@click.option(
    "--panoptic-folder", type=click.Path(path_type=Path),
    help="Pictures of panoptic segments; the folder named as the JSON if left out.",
)  # fmt: skip
@click.option("--names", help="Of label maps' classes: a file with one a line, or a dataset such as ade20k_semantic.")
@click.option("--ignore", type=int, default=255, show_default=True, help="The label of pixels that do not count.")
@click.option("--reduce-labels", is_flag=True, help="Label 0 does not count either, and classes begin at 1 (ADE20K).")
@click.option("--task", type=click.Choice(TASKS), help="What to look for; what the weights are for, if left out.")
@click.option("--size", help="How large the network sees an image: 512, 640x480, or 800/1333 (shorter, longer side).")
@click.option(
    "--dtype", type=click.Choice(DTYPES), help="To compute in; float16 on a GPU, float32 on the CPU if left out."
)
@click.option("--threshold", type=click.FloatRange(0, 1), help="How sure the network must be of a segment.")
@click.option("--batch-size", type=click.IntRange(1), default=1, show_default=True, help="Images that run together.")
@click.option("--limit", type=click.IntRange(1), help="Evaluate the first images alone, this many.")
@click.option("--output", type=click.Path(path_type=Path), help="Write all figures there as JSON.")
@click.option("--compare", type=click.Path(path_type=Path), help="Show another evaluation's JSON beside this one.")
@click.option("--force", is_flag=True, help="Overwrite the output.")
def eval_(
    weights: str, images: Path, annotations: Path, panoptic_folder: Path | None, names: str | None, ignore: int,
    reduce_labels: bool, task: str | None, size: str | None, dtype: str | None, threshold: float | None,
    batch_size: int, limit: int | None, output: Path | None, compare: Path | None, force: bool,
) -> None:  # fmt: skip
    """Measure a network on labeled images: mIoU, mask AP or panoptic quality, in percent.

    The network must know the dataset's classes by name. Panoptic annotations serve for all tasks.

    \b
    Examples:
      lucid-mlx eval --weights facebook/mask2former-swin-tiny-coco-panoptic --images val2017 \\
          --annotations annotations/panoptic_val2017.json --compare other.json
      lucid-mlx eval --weights my-model --images photos --annotations label-maps --names names.txt --limit 100
    """
    if output is not None:
        if not output.parent.is_dir():
            raise InputError(f"the folder {output.parent} does not exist; create it first")
        if output.is_dir():
            raise InputError(f"{output} is a folder; expected the name of a file")
        if output.exists() and not force:
            raise InputError(f"{output} exists already; choose another name or pass --force")
    other = None if compare is None else Evaluation.from_json(compare)
    dataset = open_dataset(
        images, annotations, panoptic_folder=panoptic_folder, names=names, ignore=ignore, reduce=reduce_labels
    )
    if limit is not None:
        dataset = replace(dataset, records=dataset.records[:limit])
    segmenter = Segmenter(weights, task, dtype=getattr(mx, dtype) if dtype else None, size=size)
    if other is not None:
        other.check_task(segmenter.task)
    click.echo(
        f"{segmenter.task} segmentation of {len(dataset.records)} images; {segmenter.image_config_note}", err=True
    )
    thresholds = None if threshold is None else Thresholds(threshold)
    result = evaluate(segmenter, dataset, batch_size=batch_size, thresholds=thresholds, progress=True)
    click.echo(result.table() if other is None else result.compare(other))
    if output is not None:
        write_file(output, (json.dumps(result.to_json(), indent=2) + "\n").encode())
        click.echo(f"{len(dataset.records)} images -> {output}", err=True)
