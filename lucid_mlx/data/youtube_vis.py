"""Annotation files of YouTube-VIS, and of what has its format, such as OVIS: videos with the masks of objects."""

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from lucid_mlx.data.coco_categories import read_categories
from lucid_mlx.data.coco_images import path_in
from lucid_mlx.data.coco_masks import NO_PIXEL, Segmentation, Size, read_segmentation
from lucid_mlx.data.coco_values import Id, area, flag, identifier, whole
from lucid_mlx.data.notices import Notices
from lucid_mlx.data.validate import Problems
from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import is_file, local_path, read_json, read_json_list
from lucid_mlx.utils.text import shown
from lucid_mlx.utils.validation import check_image_size

EXPECTED = "annotations of videos as YouTube-VIS has them"


class VideoObject(NamedTuple):
    """An object of a video, or one that was found in it.

    Attributes:
        class_id: the index of its class.
        masks: polygons or RLE in each frame; None where it is not seen.
        area: mean number of its pixels, of the frames in which it is seen, as the file has it; None if it has none.
        crowd: whether it covers several objects that were not separated (`iscrowd`).
        score: of what was found; 1 of annotations.
    """

    class_id: int
    masks: tuple[Segmentation | None, ...]
    area: float | None = None
    crowd: bool = False
    score: float = 1.0


@dataclass(frozen=True)
class Video:
    """A labeled video.

    Attributes:
        id: its id in the file.
        size: (height, width) of its frames.
        frames: its frames, as image files; they need not be there if only results are measured.
        objects: what is in it.
    """

    id: int
    size: Size
    frames: tuple[Path, ...]
    objects: tuple[VideoObject, ...]

    @property
    def name(self) -> str:
        """The folder of its frames."""
        return self.frames[0].parent.name


@dataclass(frozen=True)
class VideoDataset:
    """Labeled videos.

    Attributes:
        class_names: the name of each class, by its index.
        class_ids: the class of each category id of the file.
        videos: the videos, in the order of their ids.
    """

    class_names: tuple[str, ...]
    class_ids: Mapping[Id, int]
    videos: Sequence[Video]


def is_youtube_vis(path: Path) -> bool:
    """Return whether a file has the word "videos" in quotes, as annotations of videos have; it is not parsed."""
    if not is_file(path) or path.stat().st_size == 0:
        return False
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(b'"videos"') >= 0


def youtube_vis_dataset(annotations: str | PathLike[str], images: str | PathLike[str] | None = None) -> VideoDataset:
    """Open the annotations of videos in the format of YouTube-VIS.

    What is damaged is left out, and told in one warning for each kind.

    Args:
        annotations: the JSON file, with the lists `videos`, `categories` and `annotations`.
        images: the folder with the folders of frames, often called JPEGImages; None if only results are measured.

    Returns:
        The dataset. Its classes are the categories of the file, in the order of their ids.

    Raises:
        InputError: if the file cannot be read or contradicts itself, has no annotations, or frames are missing; it
            lists the problems.
    """
    file = local_path(annotations, "annotations")
    folder = None if images is None else local_path(images, "images")
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder} is no folder; expected the one that holds the folders of frames (JPEGImages)")
    raw = read_json(file, EXPECTED, max_bytes=None)
    if isinstance(raw.get("videos"), list) and not raw.get("annotations"):
        raise InputError(
            f"{file} lists videos without annotations, as YouTube-VIS publishes its validation set, whose annotations "
            "its server keeps; write results for it with video --format youtubevis"
        )
    for key in ("videos", "annotations", "categories"):
        if not isinstance(raw.get(key), list):
            raise InputError(f"{file} has no list of {key}; expected {EXPECTED}")
    problems, notices = Problems(str(file)), Notices(str(file))
    used = {identifier(entry.get("category_id")) for entry in raw["annotations"] if isinstance(entry, dict)}
    classes = read_categories(raw["categories"], used, problems, notices)
    videos = _read_videos(raw["videos"], folder, problems)
    objects = _read_objects(raw["annotations"], videos, classes.class_ids, problems, notices)
    problems.raise_if_any()
    if not videos or not classes.names:
        raise InputError(f"{file} lists no {'categories' if videos else 'videos'}; expected {EXPECTED}")
    notices.warn()
    found = [replace(videos[id_], objects=tuple(objects[id_])) for id_ in sorted(videos)]
    return VideoDataset(classes.names, classes.class_ids, found)


def read_results(path: str | PathLike[str], dataset: VideoDataset) -> dict[int, list[VideoObject]]:
    """Read results in the format of YouTube-VIS: what was found in its videos.

    Args:
        path: a JSON list with `video_id`, `category_id`, `score` and `segmentations`, RLE or null for each frame.
        dataset: the videos.

    Returns:
        What was found in each video, by the id of the video.

    Raises:
        InputError: if the file cannot be read, or has results that do not fit the videos; it lists the problems.
    """
    file = local_path(path, "results")
    problems, notices = Problems(str(file)), Notices(str(file))
    videos = {video.id: video for video in dataset.videos}
    found: dict[int, list[VideoObject]] = {id_: [] for id_ in videos}
    for index, entry in enumerate(read_json_list(file, "a list of results, as YouTube-VIS has them", max_bytes=None)):
        name = f"result {index}"
        if not isinstance(entry, dict):
            problems.add(f"{name} is {shown(entry)}; expected an object with video_id, category_id and segmentations")
            continue
        score = entry.get("score")
        if not isinstance(score, int | float) or isinstance(score, bool) or not abs(score) < float("inf"):
            problems.add(f"{name} has the score {shown(score)}; expected a number")
            continue
        video_id, category_id = whole(entry.get("video_id")), identifier(entry.get("category_id"))
        if video_id is None or video_id not in videos:
            problems.add(f"{name} is of video {shown(entry.get('video_id'))}, which the annotations do not list")
            continue
        masks = _masks(entry.get("segmentations"), videos[video_id], name, problems, notices)
        if category_id is None or category_id not in dataset.class_ids:
            notices.add("result", "left out: of a category that the annotations do not list", name)
        elif masks is not None:
            found[video_id].append(VideoObject(dataset.class_ids[category_id], masks, score=float(score)))
    problems.raise_if_any()
    notices.warn()
    return found


def _read_videos(entries: Sequence[Any], folder: Path | None, problems: Problems) -> dict[int, Video]:
    videos: dict[int, Video] = {}
    for index, entry in enumerate(entries):
        id_ = whole(entry.get("id")) if isinstance(entry, dict) else None
        if id_ is None:
            problems.add(f"video {index} of the list has no whole number as id")
            continue
        height, width = whole(entry.get("height")), whole(entry.get("width"))
        names = entry.get("file_names")
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            problems.add(f"video {id_} has no list of file_names, one for each frame")
        elif height is None or width is None or height < 1 or width < 1:
            problems.add(f"video {id_} has no height and width in pixels")
        elif id_ in videos:
            problems.add(f"video {id_} is listed twice")
        else:
            check_image_size(width, height, f"a frame of video {id_}")
            paths = [path_in(folder or Path(), name) for name in names]
            if outside := [name for name, path in zip(names, paths, strict=True) if path is None]:
                problems.add(f"video {id_} has the file name {shown(outside[0], 200)}; expected a path in the folder")
            missing = [path for path in paths if path is not None and folder is not None and not is_file(path)]
            if missing:
                problems.add(f"{missing[0]} does not exist: {len(missing)} of the {len(paths)} frames of video {id_}")
            videos[id_] = Video(id_, (height, width), tuple(path for path in paths if path is not None), ())
    return videos


def _read_objects(
    entries: Sequence[Any],
    videos: Mapping[int, Video],
    class_ids: Mapping[Id, int],
    problems: Problems,
    notices: Notices,
) -> dict[int, list[VideoObject]]:
    found: dict[int, list[VideoObject]] = {id_: [] for id_ in videos}
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            problems.add(f"annotation {index} of the list is {shown(entry)}; expected an object with segmentations")
            continue
        name = f"annotation {shown(entry.get('id', index))}"
        video_id, category_id = whole(entry.get("video_id")), identifier(entry.get("category_id"))
        crowd = flag(entry.get("iscrowd"))
        if video_id is None or video_id not in videos:
            notices.add("annotation", "left out: of a video that the file does not list", name)
        elif category_id is None or category_id not in class_ids:
            notices.add("annotation", "left out: of a category that the file does not list", name)
        elif crowd is None:
            problems.add(f"{name} has iscrowd={shown(entry['iscrowd'])}; expected 0 or 1")
        elif (masks := _masks(entry.get("segmentations"), videos[video_id], name, problems, notices)) is not None:
            # As the public evaluation has it: of the areas those that are not 0, whatever the masks are like.
            areas = entry["areas"] if isinstance(entry.get("areas"), list) else []
            sizes = [size for size in map(area, areas) if size is not None]
            mean = sum(sizes) / len(sizes) if sizes else None
            found[video_id].append(VideoObject(class_ids[category_id], masks, mean, crowd))
    return found


def _masks(
    segmentations: Any, video: Video, name: str, problems: Problems, notices: Notices
) -> tuple[Segmentation | None, ...] | None:
    """Return the masks of an object; None, and a problem, if there is not one for each frame."""
    if not isinstance(segmentations, list) or len(segmentations) != len(video.frames):
        count = f"{len(segmentations)} segmentations" if isinstance(segmentations, list) else "no segmentations"
        problems.add(
            f"{name} has {count}; expected one, or null, for each of the {len(video.frames)} frames of its video"
        )
        return None
    masks: list[Segmentation | None] = []
    for segmentation in segmentations:
        mask, problem = read_segmentation(segmentation, video.size) if segmentation else (None, None)
        if problem and problem != NO_PIXEL:
            problems.add(f"{name} has a mask {problem}")
            return None
        masks.append(mask)
    return tuple(masks)
