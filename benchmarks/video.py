"""What a film takes beside the network, which a sleep replaces: reading, tracking, drawing and encoding.

    python benchmarks/video.py [--frames 100] [--sleep 0.2] [--size 1920x1080] [--hdr]

Makes a film, segments it with a network that sleeps and then finds twenty objects that move, and prints how many times
the sleeps it took, and what each part takes alone.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np

from lucid_mlx import Segmenter, VideoSegmenter
from lucid_mlx.results import Segmentation
from lucid_mlx.results.segment import Segment
from lucid_mlx.video import segment_video
from lucid_mlx.video.draw_video import Drawing
from lucid_mlx.video.reader import VideoReader
from lucid_mlx.video.writer import VideoWriter
from lucid_mlx.visualization.overlay import bounding_boxes

OBJECTS = 20
HLG, BT2020 = 18, 9


def make_film(path: Path, count: int, width: int, height: int, hdr: bool) -> None:
    """Write a film that pans over a picture with details: smooth noise at several scales."""
    random = np.random.default_rng(0)
    picture = np.zeros((height + 2 * count, width + 4 * count, 3))
    for scale in (8, 32, 128):
        noise = random.random((picture.shape[0] // scale + 2, picture.shape[1] // scale + 2, 3)) * scale**0.5
        picture += np.repeat(np.repeat(noise, scale, 0), scale, 1)[: picture.shape[0], : picture.shape[1]]
    pixels = (255 * picture / picture.max()).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265" if hdr else "libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p10le" if hdr else "yuv420p"
        if hdr:
            context = stream.codec_context
            context.colorspace, context.color_primaries, context.color_trc = BT2020, BT2020, HLG
        for number in range(count):
            image = np.ascontiguousarray(pixels[2 * number :, 4 * number :][:height, :width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


class Sleeper(Segmenter):
    """Sleeps for each frame, and finds disks that move to the right."""

    def __init__(self, seconds: float):
        self.labels = {number: f"class {number}" for number in range(133)}
        self.task, self.seconds = "panoptic", seconds

    def stream(self, images: Iterable[Any], **options: Any) -> Iterator[Segmentation]:
        """Segment frames."""
        for number, image in enumerate(images):
            result = self.find(image, number)
            time.sleep(self.seconds)
            yield result

    def find(self, image: np.ndarray, number: int) -> Segmentation:
        """Return the disks of a frame, all at hand at once: the network's work is not measured here."""
        height, width = image.shape[:2]
        ids = np.zeros((height, width), np.int32)
        radius = height // 7
        rows, columns = np.mgrid[-radius:radius, -radius:radius]
        disk = rows**2 + columns**2 < radius**2
        for index in range(1, OBJECTS + 1):
            left = (index * 5 * radius // 2 + 4 * number) % (width - 2 * radius)
            top = (index * 3 * radius // 2) % (height - 2 * radius)
            ids[top : top + 2 * radius, left : left + 2 * radius][disk] = index
        boxes, areas = bounding_boxes(ids), np.bincount(ids.ravel())
        segments = tuple(
            Segment(index, index % 5, self.labels[index % 5], 0.9, int(areas[index]), box)
            for index, box in boxes.items()
        )
        return Segmentation("panoptic", image, ids, segments, self.labels)


def seconds_each(items: Iterable[Any], count: int) -> float:
    """Return the seconds that each of the first items takes."""
    start = time.perf_counter()
    taken = sum(1 for _ in islice(items, count))
    return (time.perf_counter() - start) / taken


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--sleep", type=float, default=0.2)
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--hdr", action="store_true", help="a film of 10 bits in HLG")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    count = arguments.frames
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "in.mp4", Path(name) / "out.mp4"
        make_film(source, count, width, height, arguments.hdr)

        few = min(count, 20)
        network = Sleeper(0.0)
        with VideoReader(source) as reader, VideoWriter(target, reader) as writer:
            images = list(islice(reader.frames(), few))
            found = list(map(network.find, images, range(few)))
            tracked = list(VideoSegmenter(network).stream(images))
            draw = Drawing(network.labels, {"opacity": 0.5})
            pictures = list(map(draw, tracked))
            parts = {
                "draw": seconds_each(map(draw, tracked), few),
                "encode": seconds_each(map(writer.write, pictures), few),
            }
        with VideoReader(source) as reader:
            parts["read"] = seconds_each(reader.frames(), few)
        finding = seconds_each(map(network.find, images, range(few)), few)
        parts["track"] = seconds_each(VideoSegmenter(network).stream(images), few) - finding
        for part, seconds in parts.items():
            print(f"{part:7} {1000 * seconds:4.0f} ms a frame alone")
        del images, found, tracked, pictures

        segmenter = VideoSegmenter(Sleeper(arguments.sleep))
        start = time.perf_counter()
        segment_video(segmenter, source, target)
        took, slept = time.perf_counter() - start, count * arguments.sleep
    print(f"{count} frames of {width}x{height} took {took:.1f} s, {took / slept:.3f} times the sleeps ({slept:.1f} s)")


if __name__ == "__main__":
    main()
