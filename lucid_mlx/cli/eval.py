"""`lucid-mlx eval`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lucid_mlx.cli.inputs import dataset_files, required_weights, tell_unused, weights_files
from lucid_mlx.cli.options import (
    batch_size_option,
    dtype_option,
    force_option,
    output_option,
    size_option,
    task_option,
    threshold_option,
    weights_option,
)
from lucid_mlx.data import Dataset, VideoDataset, open_dataset, youtube_vis_dataset
from lucid_mlx.data.orientation import ORIENTATIONS
from lucid_mlx.data.youtube_vis import is_youtube_vis
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation import Evaluation, evaluate, evaluate_video_results, evaluate_videos
from lucid_mlx.evaluation.multi_scale import check_augmentation
from lucid_mlx.evaluation.video import check_task
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.files import check_not_input, check_output_files, local_path, write_file
from lucid_mlx.utils.text import echo, shown
from lucid_mlx.utils.validation import MAX_COUNT
from lucid_mlx.video.video_segmenter import VideoSegmenter


@click.command("eval")
@weights_option()
@click.option("--images", help="The folder with the images, or with the folders of a video's frames.")
@click.option(
    "--annotations", required=True,
    help="COCO's JSON, of instances or panoptic; a folder of label maps with the images' names; labelme's or "
    "Supervisely's folder; Label Studio's JSON; or YouTube-VIS's JSON.",
)  # fmt: skip
@click.option("--results", help="Measure this file of results for videos, in YouTube-VIS's format, not a network.")
@click.option("--panoptic-folder", help="COCO's panoptic PNGs. Default: the folder named as the JSON.")
@click.option(
    "--names", "--class-names", "class_names",
    help="Class names of label maps: a file with one a line, a table of colors, or a dataset such as ade20k_semantic.",
)  # fmt: skip
@click.option("--merge", help="New classes of label maps: a JSON file, each with the names of those it is made of.")
@click.option(
    "--ignore-index", type=int,
    help="The label of pixels that do not count. Default: 255, but not in masks of 0 and 255 with two names.",
)  # fmt: skip
@click.option(
    "--reduce-zero-label", "--reduce-labels", "reduce_zero_label", is_flag=True,
    help="Label 0 does not count either, and classes begin at 1 (ADE20K).",
)  # fmt: skip
@click.option(
    "--endings", nargs=2, metavar="IMAGE LABEL",
    help="How the names of images and of label maps end, such as .jpg _mask.png. Default: that is found out.",
)  # fmt: skip
@click.option("--split", help="The images to use: a file with the name of one in each line.")
@click.option("--skip-unlabeled", is_flag=True, help="Leave out images without labels.")
@click.option("--stuff", multiple=True, help="A class of labeled objects that is stuff, such as sky; may be repeated.")
@click.option("--crowd-as-objects", is_flag=True, help="Take COCO annotations with iscrowd 1 as objects.")
@click.option(
    "--orientation", type=click.Choice(ORIENTATIONS), default="auto", show_default=True,
    help="Which pixels the labels of photos are for that EXIF rotates: as stored, or upright.",
)  # fmt: skip
@task_option
@size_option
@dtype_option
@threshold_option
@batch_size_option
@click.option(
    "--scales", default="1", metavar="FACTORS",
    help="Test-time augmentation, for semantic segmentation: average over these factors of the size, separated by "
    "commas. The published ms+flip is 0.5,0.75,1,1.25,1.5,1.75 with --flip.",
)  # fmt: skip
@click.option("--flip", is_flag=True, help="Average over mirror images too, for semantic segmentation.")
@click.option("--limit", type=click.IntRange(1, MAX_COUNT), help="Evaluate the first images only, this many.")
@output_option("Write all metrics to this JSON file.")
@click.option("--compare", help="Show another evaluation's JSON beside this one.")
@force_option
def eval_(
    weights: str | None, images: str | None, annotations: str, results: str | None, class_names: str | None,
    task: str | None, size: str | None, dtype: str | None, threshold: float | None, batch_size: int,
    scales: str, flip: bool, limit: int | None, output: Path | None, compare: str | None, force: bool, **labels: Any,
) -> None:  # fmt: skip
    """Measure a network on labeled images: mIoU, mask AP or panoptic quality, in percent; on labeled videos the AP of
    tracks, as YouTube-VIS measures it.

    The network must know the dataset's classes by name. Panoptic annotations serve for all tasks.

    \b
    Examples:
      lucid-mlx eval --weights facebook/mask2former-swin-tiny-coco-panoptic --images val2017 \\
          --annotations annotations/panoptic_val2017.json --compare other.json
      lucid-mlx eval --weights my-model --images photos --annotations label-maps --names names.txt --limit 100
      lucid-mlx eval --weights my-model --images photos --annotations label-maps --names names.txt \\
          --scales 0.5,0.75,1,1.25,1.5,1.75 --flip
      lucid-mlx eval --weights my-model --images valid/JPEGImages --annotations valid/instances.json
      lucid-mlx eval --results results.json --annotations valid/instances.json
    """
    if output is not None:
        output = local_path(output, "output")
        named = (annotations, class_names, compare, results, labels["merge"], labels["split"])
        read = [*(local_path(name) for name in named if name), *weights_files(weights)]
        check_output_files([output], read, force)
    other = None if compare is None else Evaluation.from_json(compare)
    factors = _factors(scales)
    check_augmentation(task or "semantic", factors, flip)
    if is_youtube_vis(local_path(annotations, "annotations")):
        if other is not None:
            other.check_task("video")
        check_augmentation("video", factors, flip)
        videos = youtube_vis_dataset(annotations, None if results else _images(images))
        tell_unused(None, dict.fromkeys(["class_names", *labels], "for labeled videos"))
        result = _of_videos(videos, results, weights, task, size, dtype, threshold, batch_size, limit, output)
    elif results is not None:
        raise InputError(
            f"--results is for labeled videos; {annotations} does not list any, as YouTube-VIS's JSON does"
        )
    else:
        weights = required_weights(weights)
        dataset = open_dataset(_images(images), annotations, class_names=class_names, **labels)
        result = _of_images(
            dataset, weights, task, size, dtype, threshold, batch_size, factors, flip, limit, output, other
        )
    table = result.table() if other is None else result.compare(other)
    for line in table.split("\n"):
        echo(line)
    if output is not None:
        write_file(output, (json.dumps(result.to_json(), indent=2) + "\n").encode())
        echo(f"{result.num_images} {'videos' if result.task == 'video' else 'images'} -> {output}", err=True)


def _images(images: str | None) -> str:
    if images is None:
        raise click.UsageError("name the folder with the images: --images FOLDER")
    return images


def _factors(scales: str) -> list[float]:
    try:
        return [float(scale) for scale in scales.split(",")]
    except ValueError:
        raise InputError(
            f"--scales must be numbers separated by commas, such as 0.5,1,1.5; got {shown(scales)}"
        ) from None


def _of_images(
    dataset: Dataset, weights: str, task: str | None, size: str | None, dtype: str | None, threshold: float | None,
    batch_size: int, scales: list[float], flip: bool, limit: int | None, output: Path | None, other: Evaluation | None,
) -> Evaluation:  # fmt: skip
    if output is not None:
        check_not_input([output], dataset_files(dataset))
    if limit is not None:
        dataset = replace(dataset, records=dataset.records[:limit])
    segmenter = Segmenter(weights, task, dtype=dtype, size=size)
    tell_unused(segmenter.task)
    if other is not None:
        other.check_task(segmenter.task)
    images = f"{len(dataset.records)} images"
    if check_augmentation(segmenter.task, scales, flip):
        images += f", {len(scales) * (1 + flip)} views of each"
    echo(f"{segmenter.task} segmentation of {images}; {segmenter.image_config_note}", err=True)
    thresholds = None if threshold is None else Thresholds(threshold)
    return evaluate(
        segmenter, dataset, batch_size=batch_size, thresholds=thresholds, progress=True, scales=scales, flip=flip
    )


def _of_videos(
    dataset: VideoDataset, results: str | None, weights: str | None, task: str | None, size: str | None,
    dtype: str | None, threshold: float | None, batch_size: int, limit: int | None, output: Path | None,
) -> Evaluation:  # fmt: skip
    if results is not None:
        others = ("weights", "images", "task", "size", "dtype", "threshold", "batch_size", "limit")
        tell_unused(None, dict.fromkeys(others, "with --results"))
        return evaluate_video_results(dataset, results)
    if output is not None:
        check_not_input([output], [frame for video in dataset.videos for frame in video.frames])
    dataset = replace(dataset, videos=dataset.videos[:limit])
    check_task(task or "instance")
    segmenter = VideoSegmenter(required_weights(weights), "instance", dtype=dtype, size=size)
    echo(f"tracks in {len(dataset.videos)} videos; {segmenter.segmenter.image_config_note}", err=True)
    thresholds = None if threshold is None else Thresholds(threshold)
    return evaluate_videos(segmenter, dataset, batch_size=batch_size, thresholds=thresholds, progress=True)
