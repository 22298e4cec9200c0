"""A video's segments in the formats of other tools: JSON, YouTube-VIS, DAVIS's PNGs and MOTChallenge."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lucid_mlx.errors import InputError
from lucid_mlx.results.export import category_id
from lucid_mlx.utils.files import check_writable, encode_image, temporary_folder, write_file

if TYPE_CHECKING:
    from lucid_mlx.results.video import VideoSegmentation

FORMATS = ("json", "youtubevis", "masks", "mot")
FRAME_FILE = re.compile(r"\d{5,}\.png")


def write_export(
    result: "VideoSegmentation", path: Path, format: str, video_id: int, category_ids: Mapping[int, int] | None
) -> Path:
    """Write a file, or a folder of masks, completely or not at all.

    Args:
        result: what was found.
        path: where to.
        format: of `FORMATS`.
        video_id: id of the video in the dataset, for youtubevis.
        category_ids: the category of each class, for youtubevis; None for the class id.

    Returns:
        The path.

    Raises:
        InputError: if it cannot be written; what was there is then unchanged.
    """
    if format == "masks":
        return write_masks(result, path)
    if format == "mot":
        return write_file(path, "".join(f"{line}\n" for line in mot_lines(result)).encode())
    value: Any = to_json(result) if format == "json" else youtube_vis_results(result, video_id, category_ids)
    return write_file(path, (json.dumps(value) + "\n").encode())


def to_json(result: "VideoSegmentation") -> dict[str, Any]:
    """Return tracks and frames with boxes, scores and run lengths, ready for JSON."""
    return {
        "video": result.name,
        "task": result.task,
        "width": result.width,
        "height": result.height,
        "tracks": [
            {
                "id": track.id,
                "label_id": track.label_id,
                "label": track.label,
                "score": _rounded(track.score),
                "first_frame": track.first_frame,
                "last_frame": track.last_frame,
                "frame_count": len(track.scores),
            }
            for track in result.tracks
        ],
        "frames": [
            {
                "index": frame.index,
                "time": _rounded(frame.time),
                "segments": [
                    {
                        "track_id": segment.track_id,
                        "label_id": segment.label_id,
                        "score": _rounded(segment.score),
                        "area": segment.area,
                        "box": list(segment.box),
                        "segmentation": result.rle(frame.index, segment.track_id or 0),
                    }
                    for segment in frame.segments
                ],
            }
            for frame in result.frames
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def youtube_vis_results(
    result: "VideoSegmentation", video_id: int, category_ids: Mapping[int, int] | None
) -> list[dict[str, Any]]:
    """Return results in the format that YouTube-VIS's evaluation reads.

    Args:
        result: what was found.
        video_id: id of the video in the dataset.
        category_ids: the category of each class; None for the class id.

    Returns:
        A result for each track, with RLE or None for each frame; where there is no score it is 1.
    """
    return [
        {
            "video_id": video_id,
            "category_id": category_id(track.label_id, category_ids),
            "score": 1.0 if track.score is None else track.score,
            "segmentations": [result.rle(frame, track.id) for frame in range(len(result.frames))],
        }
        for track in result.tracks
    ]


def mot_lines(result: "VideoSegmentation") -> list[str]:
    """Return lines as MOTChallenge has them: frame, track, left, top, width, height, score, -1, -1, -1; from 1 on."""
    lines = []
    for frame in result.frames:
        for segment in frame.segments:
            left, top, right, bottom = segment.box
            score = 1.0 if segment.score is None else segment.score
            box = f"{left + 1},{top + 1},{right - left},{bottom - top}"
            lines.append(f"{frame.index + 1},{segment.track_id},{box},{score:.6g},-1,-1,-1")
    return lines


def mask_image(result: "VideoSegmentation", frame: int) -> Image.Image:
    """Return the track ids of a frame as an image, 0 where nothing is, as DAVIS has them.

    Args:
        result: what was found.
        frame: index of the frame.

    Returns:
        An image of 8 bits with DAVIS's palette; one of 16 bits, in gray, if an id of the video needs them.

    Raises:
        InputError: if an id does not fit into 16 bits.
    """
    highest = max((track.id for track in result.tracks), default=0)
    if highest > np.iinfo(np.uint16).max:
        raise InputError(f"a mask image holds track ids up to 65535, got {highest}")
    if highest > 255:
        return Image.fromarray(result.frame_map(frame).astype(np.uint16))
    image = Image.fromarray(result.frame_map(frame).astype(np.uint8))
    image.putpalette(davis_palette().tobytes())
    return image


def davis_palette() -> np.ndarray:
    """Return the colors of DAVIS and PASCAL VOC, (256, 3) uint8: the bits of an id, dealt out to the three channels."""
    ids = np.arange(256)
    colors = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        colors[:, bit % 3] |= (((ids >> bit) & 1) << (7 - bit // 3)).astype(np.uint8)
    return colors


def check_masks_folder(folder: Path, force: bool) -> None:
    """Check that masks can be written to a folder.

    Args:
        folder: it need not exist.
        force: whether masks that are in it may be replaced.

    Raises:
        InputError: if it is a file, its own folder does not exist, or it is not empty and may not be changed.
    """
    if not folder.exists():
        check_writable(folder)  # its own folder must be there
    elif not folder.is_dir():
        raise InputError(f"{folder} is a file; expected the name of a folder for the masks of all frames")
    elif not force and any(folder.iterdir()):
        raise InputError(f"the folder {folder} is not empty; choose another name or pass --force")


def write_masks(result: "VideoSegmentation", folder: Path) -> Path:
    """Write the track ids of each frame as `00000.png` and so on. Masks that were in the folder are replaced.

    Args:
        result: what was found.
        folder: where to; it is made. Other files in it stay.

    Returns:
        The folder.

    Raises:
        InputError: if they cannot be written; what was in the folder is then unchanged.
    """
    check_masks_folder(folder, force=True)
    try:
        with temporary_folder(folder.resolve().parent) as temporary:
            for frame in range(len(result.frames)):
                (temporary / f"{frame:05}.png").write_bytes(encode_image(mask_image(result, frame), "PNG"))
            folder.mkdir(exist_ok=True)
            for old in [file for file in folder.iterdir() if FRAME_FILE.fullmatch(file.name)]:
                old.unlink()
            for new in sorted(temporary.iterdir()):
                new.replace(folder / new.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}") from error
    return folder
