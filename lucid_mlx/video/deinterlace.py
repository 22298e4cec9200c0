"""Interlaced video, whose frames hold every second line of two moments, made whole frames of one moment."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av


class Deinterlacer:
    """Deinterlaces the frames that are marked as interlaced, by FFmpeg's bwdif; others pass as they are."""

    def __init__(self) -> None:
        self._graph: av.filter.Graph | None = None
        self._size: tuple[int, int, str] | None = None

    def filter(self, frame: "av.VideoFrame") -> "Iterator[av.VideoFrame]":
        """Take the next frame.

        Args:
            frame: the next frame in order of time.

        Yields:
            The frames that are ready: once there was an interlaced one, each comes when the next one is there.
        """
        size = (frame.width, frame.height, frame.format.name)
        if self._graph is not None and size != self._size:
            yield from self.flush()
        if self._graph is None:
            if not frame.interlaced_frame:
                yield frame
                return
            self._graph, self._size = _bwdif(frame), size
        self._graph.push(frame)
        yield from self._ready()

    def flush(self) -> "Iterator[av.VideoFrame]":
        """Yield the frames that are left at the end."""
        if self._graph is not None:
            self._graph.push(None)
            yield from self._ready()
            self._graph = None

    def _ready(self) -> "Iterator[av.VideoFrame]":
        import av

        assert self._graph is not None
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(frame, av.VideoFrame)
            yield frame


def _bwdif(frame: "av.VideoFrame") -> "av.filter.Graph":
    import av

    graph = av.filter.Graph()
    source = graph.add(
        "buffer",
        video_size=f"{frame.width}x{frame.height}",
        pix_fmt=frame.format.name,
        time_base=str(frame.time_base),
        colorspace=str(frame.colorspace),
        range=str(frame.color_range),
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame:deint=interlaced"), graph.add("buffersink"))
    graph.configure()
    return graph
