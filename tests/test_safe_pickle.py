"""Pickles that attack: nothing runs, no memory of this process leaks, nothing stays, time and memory are bounded."""

import collections
import io
import pickle
import resource
import struct
import time

import numpy as np
import pytest
from test_sources import Call, torch_tensor, torch_zip

from lucid_mlx import InputError
from lucid_mlx.convert import convert
from lucid_mlx.convert.pickled_objects import Unknown
from lucid_mlx.convert.safe_pickle import read_pickle
from lucid_mlx.convert.source import read_source


def read(data):
    return read_pickle(io.BytesIO(data), len(data))


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def short(text):
    return bytes([0x8C, len(text)]) + text.encode()


def array_pickle(shape, state, data=b"\x00" * 16, code="f4"):
    """A dictionary with one array, whose type has the state that is given: the pickle that NumPy writes, or not."""
    ints = b"".join(b"J" + struct.pack("<i", n) for n in shape)
    return (
        b"\x80\x04}" + short("w") + b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01("
        + ints + b"tcnumpy\ndtype\n(" + short(code) + b"\x89\x88tR" + state + b"\x89B" + struct.pack("<I", len(data))
        + data + b"tbs."
    )  # fmt: skip


PLAIN = b"(K\x03" + short("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
SUBARRAY = (
    b"(K\x03" + short("|") + b"cnumpy\ndtype\n" + short("f4") + b"\x85R\x4a\xa0\x86\x01\x00\x85\x86NNK\x04K\x01K\x00tb"
)


def test_an_array_is_read_as_numpy_reads_it(tmp_path):
    for array in (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.arange(4, dtype=">f4"),
        np.zeros((0, 5), np.float32),
        np.array(2.0, np.float16),
    ):
        for protocol in range(2, 6):
            path = tmp_path / "x.pkl"
            path.write_bytes(pickle.dumps({"w": array}, protocol))
            assert np.array_equal(np.array(read_source(path).arrays["w"]), array)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array_pickle((4,), SUBARRAY), "elements of several numbers"),
        (array_pickle((5,), PLAIN), "another number of elements"),
        (array_pickle((-4,), PLAIN), "not a number from 0"),
        (array_pickle((2**31 - 1,) * 8, PLAIN), "another number of elements"),
        (array_pickle((1,) * 40, PLAIN), "0 to 32 dimensions"),
        (array_pickle((4,), PLAIN, code="V400000"), "not hold a dictionary of named tensors"),
        (array_pickle((4,), PLAIN, code="O"), "not hold a dictionary of named tensors"),
    ],
)
def test_an_array_never_reaches_beyond_its_own_bytes(tmp_path, data, message):
    (tmp_path / "x.pkl").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_source(tmp_path / "x.pkl")


def test_convert_writes_nothing_of_a_pickle_that_reaches_beyond_its_bytes(tmp_path):
    (tmp_path / "x.pkl").write_bytes(array_pickle((4,), SUBARRAY))
    with pytest.raises(InputError, match="elements of several numbers"):
        convert(tmp_path / "x.pkl", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.pkl"]


def test_a_rejected_pickle_leaves_nothing_behind(tmp_path):
    good = torch_zip(
        tmp_path / "good.pt", torch_tensor(4, 0, (4,), (1,)), [("0", np.arange(4.0, dtype="f4").tobytes())]
    )
    for name in ("FloatStorage", "HalfStorage", "Size", "device"):
        state = b"}(" + short("dtype") + short("float16") + b"u"
        (tmp_path / "bad.pkl").write_bytes(b"\x80\x04ctorch\n" + name.encode() + b"\n" + state + b"b.")
        with pytest.raises(InputError, match="itself, which no state dict needs"):
            read_source(tmp_path / "bad.pkl")
    assert read_source(good).arrays["weight"].tolist() == [0, 1, 2, 3]


def nested_tuples(depth, wide):
    """A tuple that holds a tuple `wide` times, that holds one `wide` times, and so on: a key of a dictionary."""
    level = b"(" + b"h\x00" * wide + b"tq\x00"
    return b"\x80\x02})q\x00" + level * depth + b"K\x01s."


BOMBS = {
    "tuples whose hash takes exponential time": nested_tuples(60, 8),
    "a key nested a million times": b"\x80\x02})" + b"\x85" * 400_000 + b"K\x01s.",
    "a memo with one number of nine digits": b"\x80\x02Nr" + struct.pack("<I", 10**8) + b".",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".",
    "an integer that is not there": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".",
    "millions of operations": b"\x80\x02" + b"]" * 3_000_000 + b".",
    "a list in itself": b"\x80\x02]q\x00" + b"h\x00a" * 100_000 + b".",
    "text encoded again and again": b"\x80\x02X" + struct.pack("<I", 10**6) + b"x" * 10**6
    + b"q\x00c_codecs\nencode\nq\x01]q\x02" + b"h\x02h\x01h\x00\x85Ra" * 50_000 + b".",
    "a list copied again and again": b"\x80\x02](" + b"K\x01" * 10**5 + b"eq\x00ccollections\nOrderedDict\nq\x01"
    + b"h\x01h\x00\x85R" * 50_000 + b".",
    "attributes copied again and again": b"\x80\x02}("
    + b"".join(b"J" + struct.pack("<i", n) + b"K\x01" for n in range(10**5))
    + b"uq\x00ctrainer\nThing\nq\x01](" + b"h\x01)\x81h\x00b" * 50_000 + b"e.",
    "room for bytes": b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\xff\xff\xff\xff\x7f\x85R.",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_little_time_and_memory(tmp_path, name):
    (tmp_path / "x.pkl").write_bytes(BOMBS[name])
    start, before = time.process_time(), memory()
    with pytest.raises(InputError):
        read_source(tmp_path / "x.pkl")
    assert time.process_time() - start < 15  # some have taken minutes; alone all of them take less than one second
    assert memory() - before < 300_000  # kilobytes on Linux, a thousandth of that on macOS


def test_tensors_that_share_data_do_not_add_up(tmp_path):
    tensor = torch_tensor(4, 0, (2**20, 2**6), (0, 0))
    with pytest.raises(InputError, match="2 times the size of the file"):
        read_source(torch_zip(tmp_path / "x.pt", tensor, [("0", bytes(16))]))


class Trainer:
    """Stands for any class of a trainer."""

    def __init__(self):
        self.rate = 0.1


def test_what_a_trainer_saved_beside_the_weights_does_not_matter(tmp_path):
    beside = {
        "counter": collections.Counter({3: 1}),
        "default": collections.defaultdict(list, {"a": [1]}),
        "trainer": Trainer(),
        "complex": 1 + 2j,
        "set": {1, 2},
        "bytes": bytearray(b"x"),
        "range": range(3),
        "scalar": np.float64(0.3),
        "random": np.random.RandomState(0).get_state(),
        (1, 2): "a tuple as a key",
    }
    for protocol in range(2, 6):
        saved = {**beside, "model": collections.OrderedDict(w=np.ones(2, np.float32))}
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(saved, protocol))
        assert read_source(tmp_path / "x.pkl").arrays["w"].tolist() == [1, 1]


def test_a_whole_object_is_reported_with_the_name_of_its_class(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(Trainer()))
    with pytest.raises(InputError, match=r"holds a .*Trainer.*expected a dictionary of tensors"):
        read_source(tmp_path / "x.pkl")


def test_no_class_is_imported_and_no_function_called():
    value = read(b"\x80\x02cthis_module_is_not_there\nthing\n)R.")
    assert isinstance(value, Unknown)
    for name in (
        "os.system",
        "posix.system",
        "builtins.exec",
        "builtins.__import__",
        "_codecs.lookup",
        "runpy.run_path",
    ):
        module, function = name.split(".")
        with pytest.raises(InputError, match="nothing was run"):
            read(b"\x80\x02c" + f"{module}\n{function}\n".encode() + b"U\x01x\x85R.")
    with pytest.raises(InputError, match="nothing was run"):
        read(pickle.dumps(Call(eval, "1")))
