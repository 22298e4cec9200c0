"""The clock of a video file: times that begin at zero and go on where the file's own times jump."""

from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av

MICROSECONDS = 10**6  # a second in FFmpeg's AV_TIME_BASE, the unit of a container's times
TIMES_MAY_JUMP = 0x0200  # FFmpeg's AVFMT_TS_DISCONT: transport and program streams, which are cut and joined as bytes
MAX_STEP = 10  # seconds between packets of a stream above which its clock has jumped, as in the ffmpeg tool


class Clock:
    """Shifts the times of packets, by the same amount for video and audio, so that they stay together.

    Args:
        container: the file.
        start: seconds after its beginning that become time zero.

    Attributes:
        shift: seconds that are subtracted from the file's own times, before any jump.
        end: the latest end of a packet so far, in seconds.
    """

    def __init__(self, container: "av.container.InputContainer", start: Fraction):
        # A time below zero belongs to samples that come before the first that is heard.
        begin = Fraction(max(0, container.start_time or 0), MICROSECONDS)
        self.shift = begin + start
        self._may_jump = bool(container.format.flags & TIMES_MAY_JUMP)
        self._shifts = [self.shift]  # one for each part of a joined stream
        self._parts: dict[int, int] = {}  # the part that each stream is in
        self._last: dict[int, Fraction] = {}  # the file's own time of each stream's last packet, in seconds
        self.end = Fraction(0)

    def correct(self, packet: "av.Packet[Any]") -> None:
        """Shift the times of the file's next packet.

        Args:
            packet: changed in place.
        """
        time = packet.pts if packet.dts is None else packet.dts
        if time is None:
            return
        unit, stream = Fraction(packet.time_base), packet.stream_index
        seconds = time * unit
        if self._may_jump and stream in self._last and not 0 <= seconds - self._last[stream] <= MAX_STEP:
            self._next_part(stream, seconds)
        self._last[stream] = seconds
        shift = round(self._shifts[self._parts.get(stream, 0)] / unit)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        latest = time - shift if packet.pts is None else packet.pts
        self.end = max(self.end, (latest + (packet.duration or 0)) * unit)

    def _next_part(self, stream: int, seconds: Fraction) -> None:
        """Let a stream go on in the next part; the stream that comes there first says where that begins."""
        self._parts[stream] = self._parts.get(stream, 0) + 1
        if self._parts[stream] == len(self._shifts):
            self._shifts.append(seconds - self.end)
