"""Films as they come: clocks, joined and damaged streams, interlaced frames, changing sizes, parts of films."""

import warnings
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from video_files import CONSTANT_RATE, GREEN, MILLISECONDS, copy, make, square

from lucid_mlx import InputError
from lucid_mlx.video.reader import VideoReader


def read(path, **part):
    """Return the times in ms of the frames, their pictures, and the times in ms of the packets of sound."""
    with VideoReader(path, **part) as reader:
        images = list(reader.frames())
        times = [round(1000 * time * reader.time_base) for time, _ in reader.timestamps]
        sound = [round(1000 * packet.pts * packet.time_base) for packet in reader.audio_packets]
    return times, images, sound


def place(image):
    """Return the number of a frame of `make`: where its bright square is."""
    return round((np.argwhere(image.min(axis=2) > 200)[:, 1].mean() - 7.5) / 2)


def test_a_clock_that_begins_late_begins_at_zero_and_sound_stays_in_time(tmp_path):
    plain = make(tmp_path / "in.mp4", audio="aac")
    late = copy(plain, tmp_path / "late.ts", shift=30_000, interleave=True)
    with av.open(str(late)) as container:
        assert container.start_time > 29_000_000_000
    times, images, sound = read(late)
    plain_times, _, plain_sound = read(plain)
    assert 0 <= min(times[0], sound[0]) <= 1
    assert [place(image) for image in images] == list(range(12))
    shift = times[0] - plain_times[0]
    assert times == [time + shift for time in plain_times]
    np.testing.assert_allclose(np.array(sound), np.array(plain_sound) + shift, atol=1)


def test_joined_streams_go_on_where_the_clock_jumps(tmp_path):
    plain = make(tmp_path / "in.mp4", audio="aac")
    part = copy(plain, tmp_path / "part.ts", interleave=True).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part[: 40 * 188] + part + part)  # the first ends inside of packets
    with pytest.warns(UserWarning, match=r"joined.ts has \d damaged packets?: frames or sound are missing there"):
        times, images, sound = read(tmp_path / "joined.ts")
    assert len(images) >= 24
    assert [place(image) for image in images][-12:] == list(range(12))
    assert (np.diff(times) > 0).all()
    assert 1000 <= times[-1] <= 1900  # up to three times 480 ms, and no jump of the clock
    assert (np.diff(sound) > 0).all()
    assert abs(sound[-1] - times[-1]) < 200


def test_a_broken_packet_in_the_middle_loses_no_more_than_itself(tmp_path):
    plain = make(tmp_path / "in.mp4", [40 * number for number in range(24)], key_frames=1)
    data = bytearray(copy(plain, tmp_path / "in.ts").read_bytes())
    with av.open(str(tmp_path / "in.ts")) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.size][15]
    data[position : position + 188] = bytes(188)  # the first cell of a frame
    (tmp_path / "in.ts").write_bytes(data)
    with pytest.warns(UserWarning, match=r"in.ts has \d damaged packets?"):
        times, images, _ = read(tmp_path / "in.ts")
    assert {place(image) for image in images} >= set(range(24)) - {14, 15}  # the broken cell may end the one before
    assert times[-1] - times[0] == 23 * 40


def test_noise_in_the_frames_of_a_file_is_counted(tmp_path):
    """Such as a disk leaves: the container is whole, and what is in it is not."""
    path = make(tmp_path / "in.mp4", [40 * number for number in range(24)], key_frames=1)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][15]
        position, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[position : position + size] = np.random.default_rng(0).bytes(size)
    path.write_bytes(data)
    with pytest.warns(UserWarning, match="in.mp4 has 1 damaged packet: frames or sound are missing there, or wrong"):
        _, images, _ = read(path)
    assert len(images) in (23, 24)
    assert {place(image) for image in images} >= set(range(24)) - {15}


def test_without_a_frame_that_can_be_decoded_it_says_so(tmp_path):
    path = make(tmp_path / "in.mp4", key_frames=1)
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for position, size in packets:
        data[position : position + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(InputError, match="in.mp4 is damaged: none of its frames can be decoded: Invalid data"):
        read(path)


def interlaced(path):
    """Write a film of a square that moves by 8 pixels from field to field: two moments in each frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25, options={"qscale": "2", "flags": "+ildct+ilme+qscale"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for number in range(6):
            fields = [np.full((96, 160, 3), GREEN, np.uint8) for _ in range(2)]
            for field, pixels in enumerate(fields):
                pixels[32:64, 8 * (2 * number + field) : 8 * (2 * number + field) + 32] = 250
            fields[0][1::2] = fields[1][1::2]
            frame = av.VideoFrame.from_ndarray(fields[0], format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def comb(image):
    """Return how much neighboring lines differ more than lines that are two apart, mean over the square's lines."""
    lines = image[36:60].astype(int).sum(axis=2)
    return np.abs(lines[1:-1] - lines[2:]).mean() - np.abs(lines[:-2] - lines[2:]).mean()


def test_interlaced_frames_are_deinterlaced(tmp_path):
    path = interlaced(tmp_path / "in.mpg")
    with av.open(str(path)) as container:
        raw = list(container.decode(video=0))
    assert all(frame.interlaced_frame for frame in raw)
    times, images, _ = read(path)
    assert len(images) == 6
    assert np.diff(times).tolist() == [40] * 5
    before, after = comb(raw[3].to_ndarray(format="rgb24")), comb(images[3])
    assert before > 20
    assert after < 0.1 * before


def test_frames_that_are_not_interlaced_pass_as_they_are(tmp_path):
    path = make(tmp_path / "in.mp4", CONSTANT_RATE[:3])
    with av.open(str(path)) as container:
        raw = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    _, images, _ = read(path)
    np.testing.assert_array_equal(images, raw)


def test_a_size_that_changes_is_fitted_into_the_first_and_told(tmp_path):
    one = make(tmp_path / "one.mp4", CONSTANT_RATE[:3])
    two = make(tmp_path / "two.mp4", CONSTANT_RATE[:2], size=(48, 64))
    streams = [copy(part, part.with_suffix(".h264")).read_bytes() for part in (one, two)]
    path = tmp_path / "in.h264"
    path.write_bytes(b"".join(streams))
    with pytest.warns(UserWarning, match="in.h264 changes its size: 2 frames fitted into the 64x48 of the first"):
        _, images, _ = read(path)
    assert [image.shape for image in images] == [(48, 64, 3)] * 5
    last = images[-1]
    assert (last[:, :10] < 10).all()  # black beside what is 36 pixels wide
    assert (last[:, -10:] < 10).all()
    np.testing.assert_allclose(last[40, 20:44], np.broadcast_to(GREEN, (24, 3)), atol=12)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A film of 60 frames at 25 a second with a key frame every 10, and sound."""
    times = [40 * number for number in range(24)]
    return make(tmp_path_factory.mktemp("film") / "in.mp4", times, audio="aac", key_frames=7)


@settings(max_examples=25, deadline=None)
@given(
    first=st.integers(0, 23), count=st.integers(1, 24), every=st.integers(1, 5),
    limit=st.one_of(st.none(), st.integers(1, 24)),
)  # fmt: skip
def test_a_part_is_exact(film, first, count, every, limit):
    last = min(24, first + count)
    expected = list(range(first, last, every))[:limit]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fewer frames than asked for
        times, images, sound = read(film, start=first * 0.04, end=last * 0.04, every=every, max_frames=limit)
    assert [place(image) for image in images] == expected
    assert times == [40 * (number - first) for number in expected]
    assert not sound or ((sound[0] >= 0 or first == 0) and sound[-1] < 40 * (last - first))


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.mov", "in.ts"])
def test_a_part_begins_at_its_frame_in_any_container(tmp_path, film, name):
    path = film if name == "in.mp4" else copy(film, tmp_path / name, interleave=True)
    with VideoReader(path) as reader:
        whole = [place(image) for image in reader.frames()]
        begin = reader.timestamps[0][0] * reader.time_base  # later than the sound in some
    assert whole == list(range(24))
    _, images, _ = read(path, start=float(begin) + 0.04 * 17)
    assert [place(image) for image in images] == list(range(17, 24))


def test_sound_of_a_part_is_that_of_its_frames(film):
    _, _, whole = read(film)
    _, _, sound = read(film, start=0.24, end=0.6)
    expected = [time - 240 for time in whole if 240 <= time < 600]
    np.testing.assert_allclose(sound, expected, atol=1)


def test_frames_last_until_the_next_that_is_taken(film):
    with VideoReader(film, every=4) as reader:
        list(reader.frames())
        assert {duration * reader.time_base for _, duration in reader.timestamps} == {Fraction(4, 25)}
        assert reader.frame_rate == Fraction(25, 4)


def test_more_frames_than_there_are_is_told(film):
    with pytest.warns(UserWarning, match="in.mp4 has 24 frames there, not the 10000 asked for"):
        _, images, _ = read(film, max_frames=10_000)
    assert len(images) == 24


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"start": 5.0}, "in.mp4 ends after 0.9 s, before the start"),
        ({"start": 2.0, "end": 1.0}, "end must be after start, got 1 s and 2 s"),
        ({"start": -1.0}, "start must be"),
        ({"every": 0}, "every must be"),
        ({"max_frames": 0}, "max_frames must be"),
    ],
)
def test_a_part_that_is_none_is_refused(film, part, message):
    with pytest.raises(InputError, match=message):
        read(film, **part)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({}, 24),
        ({"every": 5}, 5),
        ({"start": 0.48}, 12),
        ({"start": 0.2, "end": 0.4}, 5),
        ({"max_frames": 7}, 7),
        ({"max_frames": 100}, 24),
        ({"start": 0.48, "every": 2, "max_frames": 100}, 6),
    ],
)
def test_how_many_frames_to_expect(film, part, expected):
    with VideoReader(film, **part) as reader:
        assert reader.frame_count == expected


def test_a_slide_show_in_an_mp4_keeps_its_long_pauses(tmp_path):
    times, images, _ = read(make(tmp_path / "in.mp4", [0, 40, 60_000, 60_040]))
    assert times == [0, 40, 60_000, 60_040]
    assert [place(image) for image in images] == [0, 1, 2, 3]


def test_frames_without_times_follow_each_other(tmp_path):
    with av.open(str(tmp_path / "in.h264"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for number in range(5):
            frame = av.VideoFrame.from_ndarray(square(number), format="rgb24")
            frame.pts, frame.time_base = 40 * number, MILLISECONDS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    times, images, _ = read(tmp_path / "in.h264")
    assert [place(image) for image in images] == list(range(5))
    assert np.diff(times).tolist() == [40] * 4
