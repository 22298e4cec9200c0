"""`lucid-mlx eval`."""

import json
from dataclasses import replace
from pathlib import Path

import click

from lucid_mlx.cli.inputs import dataset_files, weights_files
from lucid_mlx.cli.options import (
    batch_size_option,
    class_names_option,
    dtype_option,
    force_option,
    output_option,
    size_option,
    task_option,
    threshold_option,
    weights_option,
)
from lucid_mlx.data import open_dataset
from lucid_mlx.evaluation import Evaluation, evaluate
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import check_not_input, check_output_files, write_file
from lucid_mlx.utils.text import echo
from lucid_mlx.utils.validation import MAX_COUNT


@click.command("eval")
@weights_option(required=True)
@click.option("--images", type=click.Path(path_type=Path), required=True, help="The folder with the images.")
@click.option(
    "--annotations", type=click.Path(path_type=Path), required=True,
    help="COCO's JSON, of instances or panoptic, or a folder of label maps with the images' names.",
)  # fmt: skip
@click.option(
    "--panoptic-folder", type=click.Path(path_type=Path),
    help="COCO's panoptic PNGs. Default: the folder named as the JSON.",
)  # fmt: skip
@class_names_option("Names of the classes of label maps: a file with one a line, or a dataset such as ade20k_semantic.")
@click.option("--ignore-index", type=int, default=255, show_default=True, help="The label of pixels that do not count.")
@click.option("--reduce-labels", is_flag=True, help="Label 0 does not count either, and classes begin at 1 (ADE20K).")
@task_option
@size_option
@dtype_option
@threshold_option
@batch_size_option
@click.option("--limit", type=click.IntRange(1, MAX_COUNT), help="Evaluate the first images only, this many.")
@output_option("Write all metrics to this JSON file.")
@click.option("--compare", type=click.Path(path_type=Path), help="Show another evaluation's JSON beside this one.")
@force_option
def eval_(
    weights: str, images: Path, annotations: Path, panoptic_folder: Path | None, class_names: str | None,
    ignore_index: int, reduce_labels: bool, task: str | None, size: str | None, dtype: str | None,
    threshold: float | None, batch_size: int, limit: int | None, output: Path | None, compare: Path | None, force: bool,
) -> None:  # fmt: skip
    """Measure a network on labeled images: mIoU, mask AP or panoptic quality, in percent.

    The network must know the dataset's classes by name. Panoptic annotations serve for all tasks.

    \b
    Examples:
      lucid-mlx eval --weights facebook/mask2former-swin-tiny-coco-panoptic --images val2017 \\
          --annotations annotations/panoptic_val2017.json --compare other.json
      lucid-mlx eval --weights my-model --images photos --annotations label-maps --class-names names.txt --limit 100
    """
    if output is not None:
        read = [annotations, *(Path(name) for name in (class_names, compare) if name), *weights_files(weights)]
        check_output_files([output], read, force)
    other = None if compare is None else Evaluation.from_json(compare)
    dataset = open_dataset(
        images,
        annotations,
        panoptic_folder=panoptic_folder,
        class_names=class_names,
        ignore_index=ignore_index,
        reduce_zero_label=reduce_labels,
    )
    if output is not None:
        check_not_input([output], dataset_files(dataset))
    if limit is not None:
        dataset = replace(dataset, records=dataset.records[:limit])
    segmenter = Segmenter(weights, task, dtype=dtype, size=size)
    if other is not None:
        other.check_task(segmenter.task)
    echo(f"{segmenter.task} segmentation of {len(dataset.records)} images; {segmenter.image_config_note}", err=True)
    thresholds = None if threshold is None else Thresholds(threshold)
    result = evaluate(segmenter, dataset, batch_size=batch_size, thresholds=thresholds, progress=True)
    table = result.table() if other is None else result.compare(other)
    for line in table.split("\n"):
        echo(line)
    if output is not None:
        write_file(output, (json.dumps(result.to_json(), indent=2) + "\n").encode())
        echo(f"{len(dataset.records)} images -> {output}", err=True)
