"""AP of tracks, as YouTube-VIS measures it: COCO's evaluator, whose masks are those of all frames side by side."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from os import PathLike
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm.auto import tqdm

from lucid_mlx.data.coco_masks import Segmentation, Size, encode, run_lengths
from lucid_mlx.data.youtube_vis import Video, VideoDataset, VideoObject, read_results
from lucid_mlx.errors import InputError
from lucid_mlx.evaluation.evaluate import match_classes
from lucid_mlx.evaluation.instance import as_coco, class_metrics
from lucid_mlx.evaluation.report import Evaluation, Metrics
from lucid_mlx.postprocessing.inputs import Thresholds
from lucid_mlx.utils.text import hide_bar
from lucid_mlx.utils.validation import check_value
from lucid_mlx.video.video_segmenter import VideoSegmenter

# Of the evaluator's `stats`, by their places there.
METRICS = {"AP": 0, "AP50": 1, "AP75": 2, "APs": 3, "APm": 4, "APl": 5, "AR1": 6, "AR10": 7}
# YouTube-VIS's small, medium and large objects, by the mean number of pixels in the frames in which they are seen.
MAX_PIXELS = 2**32 - 1  # of a video: COCO's run lengths have 32 bits
AREAS = [[0, 1e10], [0, 128**2], [128**2, 256**2], [256**2, 1e10]]


def evaluate_videos(
    segmenter: VideoSegmenter,
    dataset: VideoDataset,
    *,
    batch_size: int = 1,
    thresholds: Thresholds | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a network on labeled videos. One video is in memory at a time, its masks as run lengths.

    Args:
        segmenter: the network, and how it tracks; its task is instance segmentation.
        dataset: the videos, with their frames. The network must know all of its classes by name.
        batch_size: frames that run together.
        thresholds: what counts as found. None for the segmenter's own; of clips and with MinVIS's association the ten
            best results of a video, whatever their score, as in the original projects.
        progress: show a progress bar, if standard error is a terminal or this a notebook.

    Returns:
        As `evaluate_video_results`.

    Raises:
        InputError: if the task is another one, the network lacks classes, or a frame cannot be read.
    """
    check_value("segmenter", segmenter, VideoSegmenter)
    check_value("dataset", dataset, VideoDataset)
    check_task(segmenter.segmenter.task)
    class_ids = match_classes(segmenter.segmenter.labels, dict(enumerate(dataset.class_names)))
    metrics = VideoMetrics(dataset)
    if thresholds is None and (segmenter.mode == "clip" or segmenter.association == "minvis"):
        thresholds = Thresholds(threshold=0.0)
    for video in tqdm(dataset.videos, "eval", unit="video", disable=hide_bar(progress)):
        result = segmenter(video.frames, batch_size=batch_size, thresholds=thresholds)
        if (result.height, result.width) != video.size:
            raise InputError(
                f"the frames of {video.name} are {result.width}x{result.height} pixels, its labels are for "
                f"{video.size[1]}x{video.size[0]}"
            )
        found = [
            VideoObject(
                class_ids[track.label_id],
                tuple(result.rle(frame, track.id) for frame in range(len(result.frames))),
                score=1.0 if track.score is None else track.score,
            )
            for track in result.tracks
            if track.label_id in class_ids
        ]
        metrics.update(video, found)
    return Evaluation("video", len(dataset.videos), *metrics.compute())


def check_task(task: str) -> None:
    """Check that the results of a task can be measured on videos.

    Args:
        task: of the network.

    Raises:
        InputError: if it is not instance segmentation.
    """
    if task != "instance":
        raise InputError(
            f"labels of videos have objects alone, and cannot evaluate {task} segmentation; expected the task instance "
            "(`--task instance`)"
        )


def evaluate_video_results(dataset: VideoDataset, results: str | PathLike[str]) -> Evaluation:
    """Measure results for labeled videos that are in a file.

    Args:
        dataset: the videos.
        results: a JSON file in YouTube-VIS's format, as `video --format youtubevis` writes it.

    Returns:
        AP, AP50, AP75, that of small, medium and large objects, AR1 and AR10, of tracks; and AP and AP50 of each class.

    Raises:
        InputError: if the file cannot be read, or does not fit the videos.
    """
    check_value("dataset", dataset, VideoDataset)
    metrics = VideoMetrics(dataset)
    found = read_results(results, dataset)
    for video in dataset.videos:
        metrics.update(video, found[video.id])
    return Evaluation("video", len(dataset.videos), *metrics.compute())


class VideoMetrics:
    """AP and AR of tracks over IoU thresholds from 0.5 to 0.95, equal to those of YouTube-VIS's own evaluation.

    The IoU of two tracks is that of their masks in all frames together. There are up to 100 tracks a video and class.

    Args:
        dataset: the labeled videos.
    """

    def __init__(self, dataset: VideoDataset):
        self._categories = [{"id": index, "name": name} for index, name in enumerate(dataset.class_names)]
        self._videos: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []

    def update(self, video: Video, found: Sequence[VideoObject]) -> None:
        """Add a video.

        Args:
            video: with its objects.
            found: the tracks that were found in it.
        """
        height, width = video.size
        if height * width * len(video.frames) > MAX_PIXELS:
            raise InputError(
                f"video {video.id} has {len(video.frames)} frames of {width}x{height} pixels; the evaluation takes "
                f"{MAX_PIXELS} pixels in all"
            )
        shape = {"id": video.id, "height": height, "width": width * len(video.frames)}
        self._videos.append(shape)
        for objects, annotations in ((video.objects, self._truth), (found, self._found)):
            for one in objects:
                area, segmentation = side_by_side(one.masks, video.size)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": video.id,
                        "category_id": one.class_id,
                        "segmentation": segmentation,
                        "area": area if one.area is None else one.area,
                        "iscrowd": int(one.crowd),
                        "score": one.score,
                    }
                )

    def compute(self) -> tuple[Metrics, dict[str, Metrics]]:
        """Return the metrics over all classes, and AP and AP50 of each class by its name; all in percent."""
        with redirect_stdout(StringIO()):  # the evaluator prints its progress
            evaluator = _TrackEvaluator(self._coco(self._truth), self._coco(self._found), "segm")
            evaluator.params.areaRng = AREAS
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        stats = {name: float(evaluator.stats[place]) for name, place in METRICS.items()}
        overall = {name: None if value < 0 else 100 * value for name, value in stats.items()}
        return overall, class_metrics(evaluator, self._categories)

    def _coco(self, annotations: list[dict[str, Any]]) -> COCO:
        return as_coco({"images": self._videos, "annotations": annotations, "categories": self._categories})


class _TrackEvaluator(COCOeval):
    def computeIoU(self, imgId: int, catId: int) -> Any:
        """Return the IoU of each track found with each true one; of crowds too it is the intersection over the union.

        In photos COCO divides the intersection with a crowd by the area of what was found.
        """
        truth, found = self._gts[imgId, catId], self._dts[imgId, catId]
        found = sorted(found, key=lambda one: -one["score"])[: self.params.maxDets[-1]]
        masks = ([one["segmentation"] for one in objects] for objects in (found, truth))
        return coco_mask.iou(*masks, [0] * len(truth))


def side_by_side(masks: Sequence[Segmentation | None], size: Size) -> tuple[float, dict[str, Any]]:
    """Put the masks of an object in all frames side by side, so that they are one mask.

    Run lengths go down the columns: those of a wider picture are those of its parts, one after the other.

    Args:
        masks: polygons or RLE in each frame; None where the object is not seen.
        size: (height, width) of a frame.

    Returns:
        The mean number of pixels, of the frames in which there are any; and the RLE, of `size` [height, T * width].
    """
    height, width = size
    edges: list[np.ndarray] = []  # where the object begins and ends, in pixels of the wide picture
    areas: list[int] = []
    for frame, mask in enumerate(masks):
        if mask is not None:
            lengths = run_lengths(encode(mask, size), size)
            areas.append(int(lengths[1::2].sum()))
            ends = np.cumsum(lengths)
            edges.append(frame * height * width + ends[: len(ends) // 2 * 2])
    # Where one run ends and the next begins there is no edge.
    places, counts = np.unique(np.concatenate([np.zeros(0, np.int64), *edges]), return_counts=True)
    lengths = np.diff(places[counts % 2 == 1], prepend=0, append=height * width * len(masks))
    lengths = lengths if lengths[-1] else lengths[:-1]
    wide = {"size": [height, width * len(masks)], "counts": lengths.tolist()}
    seen = [area for area in areas if area]
    return sum(seen) / len(seen) if seen else 0.0, coco_mask.frPyObjects(wide, *wide["size"])
