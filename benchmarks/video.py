"""What a film takes beside the network, which a sleep replaces: all other work runs at the same time.

    python benchmarks/video.py [--frames 100] [--sleep 0.2] [--size 1920x1080] [--hdr] [--post-process]

Makes a film, segments it with a network that sleeps and then finds twenty objects that move, and prints how many times
the sleeps that took, and what each part takes alone. The sleep stands for the network and for what makes results of its
logits; with --post-process for the network alone.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_mlx import Segmenter, VideoSegmenter, tune_for_cpu
from lucid_mlx.call_options import CallOptions
from lucid_mlx.compiled import LOGITS, STATES
from lucid_mlx.results import Segmentation
from lucid_mlx.video import Tracker, segment_video
from lucid_mlx.video.draw_video import Drawing
from lucid_mlx.video.reader import VideoReader
from lucid_mlx.video.writer import VideoWriter

SCENES = Path(__file__).parents[1] / "tests" / "data" / "scenes_network"
OBJECTS, QUERIES = 20, 100
PHASES = 12  # different answers of the network
HLG, BT2020 = 18, 9


def make_film(path: Path, count: int, width: int, height: int, hdr: bool) -> None:
    """Write a film that pans over a picture with details: smooth noise at several scales."""
    import av

    random = np.random.default_rng(0)
    picture = np.zeros((height + 2 * count, width + 4 * count, 3))
    for scale in (1, 8, 32, 128):
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


class Sleeper:
    """Takes the place of a network's computation: sleeps, and says that there are disks that move to the right.

    Args:
        segmenter: whose network it replaces.
        seconds: to sleep for each frame.

    Attributes:
        seconds: to sleep for each frame.
    """

    def __init__(self, segmenter: Segmenter, seconds: float):
        self.seconds, self._number = seconds, 0
        self._classes = len(segmenter.labels)
        self._said: list[dict[str, Any]] = []
        segmenter.inference.compute = self.compute  # type: ignore[method-assign]

    def prepare(self, height: int, width: int) -> None:
        """Make what it says of the first frames, over and over again: of a network's input of this size."""
        random = np.random.default_rng(0)
        height, width = height // 4, width // 4
        classes = np.full((1, QUERIES, self._classes + 1), -4.0, np.float32)
        classes[:, :, -1] = 4.0
        classes[0, range(OBJECTS), random.integers(0, self._classes, OBJECTS)] = 12.0
        states = mx.array(random.standard_normal((QUERIES, 1, 256)).astype(np.float32))
        rows, columns = np.mgrid[:height, :width]
        radius = height / 7
        for number in range(PHASES):
            masks = np.full((1, QUERIES, height, width), -16.0, np.float32)
            for index in range(OBJECTS):
                column = (index * 1.25 * radius + number) % width
                row = (index * 1.5 * radius) % height
                distance = np.hypot(rows - row, columns - column)
                masks[0, index] = (radius - distance) / 2
            self._said.append({LOGITS[0]: mx.array(classes), LOGITS[1]: mx.array(masks), STATES: [states]})
        mx.eval(self._said)

    def compute(self, pixels: mx.array) -> tuple[dict[str, Any], bool]:
        """Sleep, and return logits as `lucid_mlx.inference.Inference.compute` does."""
        time.sleep(self.seconds)
        self._number += 1
        return self._said[self._number % PHASES], False


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
    parser.add_argument("--post-process", action="store_true", help="sleep for the network alone")
    arguments = parser.parse_args()
    tune_for_cpu()
    width, height = map(int, arguments.size.split("x"))
    count = arguments.frames
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "in.mp4", Path(name) / "out.mp4"
        make_film(source, count, width, height, arguments.hdr)
        segmenter = Segmenter(SCENES, size="800/1333")
        sleeper = Sleeper(segmenter, 0.0)
        sleeper.prepare(*segmenter.image_config.input_size(height, width))
        video = VideoSegmenter(segmenter)

        few = min(count, 12)
        with VideoReader(source) as reader, VideoWriter(target, reader) as writer:
            images = list(islice(reader.frames(), few))
            found = list(segmenter.stream(images, for_tracking=True))
            tracked = list(video.stream(images))
            draw = Drawing(segmenter.labels, {"opacity": 0.5})
            pictures = list(map(draw, tracked))
            parts = {
                "draw": seconds_each(map(draw, tracked), few),
                "encode": seconds_each(map(writer.write, pictures), few),
            }
        with VideoReader(source) as reader:
            parts["read"] = seconds_each(reader.frames(), few)
        parts["pre- and post-process"] = seconds_each(segmenter.stream(iter(images), for_tracking=True), few)
        tracker = Tracker(segmenter.thing_ids)
        parts["track"] = seconds_each(map(tracker.update, found), few)
        for part, seconds in parts.items():
            print(f"{part:22} {1000 * seconds:4.0f} ms a frame alone")
        if arguments.post_process:
            sleeper.seconds = arguments.sleep
        else:
            results = [replace(result, image=images[0]) for result in found]

            def stream(frames: Iterable[Any], options: CallOptions) -> Iterator[Segmentation]:
                for number, image in enumerate(frames):
                    time.sleep(arguments.sleep)
                    yield replace(results[number % few], image=image)

            segmenter.stream_with = stream  # type: ignore[method-assign]
        del images, found, tracked, pictures
        start, cpu = time.perf_counter(), time.process_time()
        segment_video(video, source, target)
        took, worked, slept = time.perf_counter() - start, time.process_time() - cpu, count * arguments.sleep
    print(
        f"{count} frames of {width}x{height} took {took:.1f} s, {took / slept:.3f} times the sleeps ({slept:.1f} s); "
        f"{1000 * worked / count:.0f} ms of CPU a frame"
    )


if __name__ == "__main__":
    main()
