"""Small films for tests, made with PyAV, what is in a film, and a network that finds nothing in it."""

import time
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np

from lucid_mlx.results import Segmentation
from lucid_mlx.video import VideoSegmenter

MILLISECONDS = Fraction(1, 1000)
CONSTANT_RATE = [40 * number for number in range(12)]
GREEN = (30, 160, 60)


def square(number, size=(64, 48)):
    """Return a green picture with a bright square, which is two pixels further right in each picture."""
    pixels = np.full((size[1], size[0], 3), GREEN, np.uint8)
    pixels[10:26, 2 * number : 2 * number + 16] = 250
    return pixels


def make(path, times=CONSTANT_RATE, size=(64, 48), audio=None, rotation=0, last=40, key_frames=250):
    """Write a video of a bright square that moves right by two pixels a frame; the last frame lasts `last` ms."""
    with av.open(str(path), "w") as container:
        options = {"crf": "1", "bf": "0", "g": str(key_frames)}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        stream.codec_context.time_base = MILLISECONDS
        if rotation:
            stream.set_display_rotation(rotation)
        audio_stream = container.add_stream(audio, rate=16000, layout="mono") if audio else None
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(square(number, size), format="rgb24")
            frame.pts, frame.time_base = time, MILLISECONDS
            container.mux(stream.encode(frame))
        for packet in stream.encode():
            if packet.pts * packet.time_base == times[-1] * MILLISECONDS:
                packet.duration = int(last * MILLISECONDS / packet.time_base)
            container.mux(packet)
        if audio_stream is not None:
            wave = 0.3 * np.sin(np.arange(16 * times[-1]) * 440 * 2 * np.pi / 16000)
            sample_format = audio_stream.codec_context.format.name
            samples = wave.astype(np.float32) if sample_format == "fltp" else (wave * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(samples[None], format=sample_format, layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16000, 0, Fraction(1, 16000)
            container.mux(audio_stream.encode(frame))
            container.mux(audio_stream.encode())
    return path


def copy(source, target, shift=0, interleave=False, **options):
    """Copy the packets of a film to another container, `shift` seconds later; by time if `interleave`."""
    with av.open(str(source)) as container, av.open(str(target), "w", **options) as written:
        streams = {stream.index: written.add_stream_from_template(stream) for stream in container.streams}
        packets = [packet for packet in container.demux() if packet.size]
        if interleave:
            packets.sort(key=lambda packet: packet.dts * packet.time_base)
        for packet in packets:
            packet.stream = streams[packet.stream_index]
            packet.pts += int(shift / packet.time_base)
            packet.dts += int(shift / packet.time_base)
            written.mux(packet)
    return target


def frames(path):
    """Return the time in seconds and the pixels of each frame."""
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def packets(path):
    """Return the time in seconds and the bytes of each packet of sound."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(audio=0) if packet.size]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in found]


class Still(VideoSegmenter):
    """A network that finds nothing, after some seconds."""

    def __init__(self, seconds=0.0):
        self.segmenter = SimpleNamespace(labels={0: "square"}, task="panoptic")
        self.seconds = seconds

    def stream(self, video, **options):
        yield from map(self.segmented, video)

    def segmented(self, image):
        time.sleep(self.seconds)
        return Segmentation("panoptic", image, np.zeros(image.shape[:2], np.int32), (), self.segmenter.labels)
