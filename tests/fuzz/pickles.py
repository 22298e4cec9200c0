"""Checkpoints of torch and detectron2: zips, the older format, and plain pickles, written opcode by opcode."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz.nasty import DEEP, INTS, STRINGS, damaged, scalar
from fuzz.pickle_program import (
    LEGACY_MAGIC,
    Built,
    Called,
    Named,
    Persistent,
    Raw,
    array,
    deep_tuple,
    dtype,
    opcodes,
    program,
    storage,
    tensor,
    torch_legacy,
    torch_zip,
    wide_tuple,
)  # fmt: skip
from fuzz.torch_files import legacies, zips
from fuzz.worker import Target, Wrong, command_line, digest
from helpers import huggingface_arrays

import lucid_mlx
from lucid_mlx.convert.torch_file import read_torch_file

TORCH_NAMES = ("FloatStorage", "HalfStorage", "BFloat16Storage", "LongStorage", "ByteStorage", "BoolStorage",
               "DoubleStorage", "Size", "device", "ComplexFloatStorage")  # fmt: skip
NAMES = (
    *(("torch", name) for name in TORCH_NAMES),
    ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor"), ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"), ("torch.serialization", "_get_layout"), ("numpy", "dtype"),
    ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"), ("_codecs", "encode"), ("mmengine.logging.history_buffer", "HistoryBuffer"),
    ("os", "system"), ("builtins", "eval"), ("builtins", "getattr"), ("builtins", "object"), ("posix", "system"),
    ("subprocess", "Popen"), ("numpy", "load"), ("torch", "load"), ("collections", "Counter"), ("functools", "partial"),
    ("", ""), ("torch", "FloatStorage.dtype"), ("numpy", "dtype.__class__"), ("lucid_mlx.errors", "InputError"),
    ("\ud800", "a"), ("a" * 3000, "\x1b[31m"),
)  # fmt: skip


class Pickles(Target):
    """Files that `lucid_mlx.load` and `convert` take for checkpoints of torch."""

    def __init__(self, folder: Path):
        self._arrays = huggingface_arrays()
        floats = np.arange(6, dtype=np.float32)
        tree = {"a.weight": tensor(), "b": tensor(size=(3,), stride=(2,))}
        self._zip = torch_zip(tree, {"0": floats.tobytes()})
        legacy = {"a.weight": tensor(Persistent(("storage", Named("torch", "FloatStorage"), "0", "cpu", 6, None)))}
        self._legacy = torch_legacy(legacy, ["0"], [(6, floats.tobytes())])
        self._plain = program({"model": {"w": array(data=np.ones(4, np.float32).tobytes()), "n": 3}, "epoch": 1})
        plain = {"w": floats.reshape(2, 3), "h": floats.astype(">f2"), "i": np.arange(4), "names": ["a", "b"]}
        self._dumped = [pickle.dumps({"model": plain, "x": None}, protocol) for protocol in range(6)]
        good = {"zip.pth": self._zip, "legacy.pt": self._legacy, "plain.pkl": self._plain}
        self._good = [folder / name for name in good]
        for path, data in zip(self._good, good.values(), strict=True):
            path.write_bytes(data)
        self._makers = [
            self._opcodes, self._opcodes, self._calls, self._build, self._dtypes, self._dtypes, self._arrays_of_numpy,
            self._tensors, self._tensors, self._storages, self._keys, self._memory, self._loops, self._nests,
            zips, zips, legacies, self._flips, self._flips, self._random_program,
        ]  # fmt: skip

    def good(self) -> object:
        """Read a file of each format."""
        return [_read(path) for path in self._good]

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Write a file, mostly small; sometimes one wrong array among those of a network."""
        data = rng.choice(self._makers)(rng)
        path = folder / f"case.{rng.choice(('pkl', 'pth', 'bin'))}"
        path.write_bytes(data)
        if rng.random() < 0.85:
            return lambda: _read(path, check=True)
        if rng.random() < 0.5:
            return lambda: lucid_mlx.load(path)
        return lambda: command_line("convert", path, "-o", folder / "out", "--dry-run")

    def _wrap(self, rng: Random, value: Any) -> bytes:
        """Put a value where a reader meets it: alone, among entries, as a key, in a zip, among a network's arrays."""
        kind = rng.randrange(10)
        if kind == 0:
            return program(value)
        if kind == 1:
            return program({"state_dict": {"a": array(), "x": value}})
        if kind in (2, 3):
            return torch_zip({"a": tensor(), "x": value}, {"0": bytes(24)})
        if kind == 4:
            return torch_legacy({"a": tensor(), "x": value}, ["0"], [(6, bytes(24))])
        if kind == 5:
            return program({"meta": {"dataset_meta": {"classes": value}}, "state_dict": {"a": array()}})
        if kind == 6:
            arrays: dict[str, Any] = {key: array(item.shape, data=item.tobytes()) for key, item in self._arrays.items()}
            arrays[rng.choice(list(arrays))] = value
            return program(arrays)
        return program({"w": value})

    def _opcodes(self, rng: Random) -> bytes:
        attacks = [
            b"\x8e" + struct.pack("<Q", rng.choice((2**60, 2**63, 2**64 - 1, 10**9, 5))) + b"abc",
            b"\x8d" + struct.pack("<Q", rng.choice((2**60, 2**40, 2**33, 5))) + b"abc",
            b"\x96" + struct.pack("<Q", rng.choice((2**60, 2**40, 10**9, 5))) + b"abc",
            b"\x95" + struct.pack("<Q", rng.choice((2**60, 10**9, 5))) + b"K\x01",
            b"B" + struct.pack("<I", rng.choice((2**32 - 1, 2**30))) + b"abc",
            b"X" + struct.pack("<I", rng.choice((2**32 - 1, 2**30))) + b"abc",
            b"\x8b" + struct.pack("<i", rng.choice((2**31 - 1, -1, 10**6))) + b"\x01",
            b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6,
            b"\x8a\xff" + b"\xff" * 255,
            b"I" + b"9" * rng.choice((10, 5000, 10**5)) + b"\n",
            b"L" + b"9" * rng.choice((10, 5000, 10**5)) + b"L\n",
            b"F" + rng.choice((b"nan", b"1e999", b"x", b"9" * 10**5)) + b"\n",
            b"V" + rng.choice((b"\\ud800", b"\\uzzzz", b"a")) + b"\n",
            b"S" + rng.choice((b"'a", b"'\\x'", b"a", b"'\\xff'")) + b"\n",
            b"\x82" + bytes([rng.randrange(256)]), b"\x84\xff\xff\xff\x7f", b"\x84\xff\xff\xff\xff",
            b"j" + struct.pack("<I", 2**32 - 1), b"g99999\n", b"gx\n", b"p-1\nK\x01", b"h\xff", b"\x97", b"K\x01\x98",
            b"Px\n", b"0", b"1", b"2", b"a", b"s", b"u", b"e", b"t", b"R", b"b", b"\x81", b"\x92", b"\x93", b"i", b"o",
            b"ios\nsystem\n", b"(ios\nsystem\n", b"(cos\nsystem\no", b"K\x01K\x02\x93", b"]]s", b"}K\x01s", b"K\x01a",
            b"\x80\xff", b"(" * 10**6, b"\x8f(K\x01]\x90", b"\x8f]\x90", b"(]\x91", b"((K\x01\x91K\x02d",
        ]  # fmt: skip
        return (
            self._wrap(rng, Raw(rng.choice(attacks)))
            if rng.random() < 0.6
            else b"\x80\x04" + rng.choice(attacks) + b"."
        )

    def _calls(self, rng: Random) -> bytes:
        function = Named(*rng.choice(NAMES))
        arguments = tuple(_value(rng) for _ in range(rng.randrange(7)))
        value = rng.choice((
            function,
            Called(function, rng.choice((arguments, arguments, _value(rng)))),
            Called(function, arguments, b"\x81"),
            Raw(opcodes(function) + opcodes(arguments) + opcodes({"a": _value(rng)}) + b"\x92"),
            Built(Called(function, arguments), _value(rng)),
        ))  # fmt: skip
        return self._wrap(rng, value)

    def _build(self, rng: Random) -> bytes:
        """Set the state of what the unpickler itself holds."""
        names = ("dtype", "key", "shape", "size", "__class__", "__dict__", "__setstate__", "__init__", "__defaults__",
                 "__code__", "__name__", "numpy", "data", "__reduce__", "__call__", "__hash__")  # fmt: skip
        values = ("float16", "int8", "float64", 5, None, (1,), {}, Named("torch", "FloatStorage"), "x" * 100)
        state: Any = {rng.choice(names[:1] if rng.random() < 0.4 else names): rng.choice(values)}
        state = state if rng.random() < 0.7 else (rng.choice((None, {}, state)), state)
        target: Any = Named(*rng.choice(NAMES[:22] if rng.random() < 0.4 else NAMES[:7]))
        target = target if rng.random() < 0.8 else rng.choice((tensor(), array(), dtype(), storage()))
        built = Built(target, state)
        return self._wrap(rng, built) if rng.random() < 0.6 else program({"w": array(), "x": built})

    def _dtypes(self, rng: Random) -> bytes:
        """Elements that are arrays, structures, huge, negative, or of a wrong size."""
        side = rng.choice((1, 2, 3, 1000, 100_000, 10**6, 2**31 - 1, 2**31, 2**40, 2**62, -1, 0))
        if rng.random() < 0.4:  # the elements of a subarray are not counted as bytes
            many = rng.choice((2, 4, 100, 1000, 100_000))
            kind = dtype("f4", (3, "<", (dtype(), (many,)), None, None, 4, 4, 0))
            return self._wrap(rng, array(rng.choice(((4, many), (4 * many,), (4,))), kind))
        base = rng.choice((dtype(), dtype("f8"), dtype("i1"), dtype("f2"), dtype("V4"), "f4", None, 4))
        shape = rng.choice(((side,), (side, side), side, (2, side), (), "x"))
        size = rng.choice((4, 4, 4, -1, 0, 1, 8, 2**31 - 1, 2**31, -4, 1000, "x", 2**63))
        subarray = (base, shape)
        order = rng.choice(("<", ">", "|", "=", "", "x", "<<", None, 5))
        fields: Any = rng.choice(
            (None, None, {"a": (dtype(), 0)}, {"a": (dtype(), 10**6)}, {"a": (dtype(), -8)}, {}, 5)
        )
        names: Any = rng.choice((None, None, ("a",), ("a", "a"), (), (5,)))
        version = rng.choice((3, 3, 3, 0, 1, 2, 4, 5, -1, 2**31, "x"))
        state: Any = (
            version,
            order,
            rng.choice((subarray, subarray, None)),
            names,
            fields,
            size,
            size,
            rng.choice((0, 8, 63)),
        )
        if rng.random() < 0.2:
            state = state[: rng.randrange(9)] if rng.random() < 0.5 else _value(rng)
        code = rng.choice(("f4", "f4", "f8", "i8", "V4", "O", "O8", "U5", "S5", "M8", "m8[s]", "c8", "f2", "b1", "?",
            "f16",
                           "V0", "S0", "U1000000000", "f4,f4", "(3,2)f4", "(100000,)f4", f"({side},)f4", "x", "", 5,
                           None,
                           [("a", "f4")], {"names": ["a"], "formats": ["f4"]}, ("f4", (1000,))))  # fmt: skip
        shape_ = rng.choice(((4, side), (2, 2), (4, 100_000), (side,), (1,)))
        data = rng.choice((b"A" * 16, b"A" * 4, b"", b"A" * 1600))
        kind = dtype(code, state) if rng.random() < 0.8 else Called(Named("numpy", "dtype"), (code, False, True))
        value: Any = array(shape_, kind, data, rng.choice((False, True, 5)))
        if rng.random() < 0.2:
            value = Called(Named("numpy._core.numeric", "_frombuffer"), (data, kind, shape_, rng.choice(("C", "F", 5))))
        return self._wrap(rng, value) if rng.random() < 0.5 else program({"w": value})

    def _arrays_of_numpy(self, rng: Random) -> bytes:
        shapes = ((2, 2), (-1,), (-1, -1), (4,), (2**62, 4), (2**63,), (0, 2**62), (), (1,) * 70, [2, 2], "ab", 4, None,
                  (2.5,), ("4",), (True, 4), (4, None), deep_tuple(), (10**30, 0))  # fmt: skip
        datas = (bytes(16), b"", bytes(15), "a" * 16, "é" * 16, "\ud800" * 4, None, 5, [1, 2, 3, 4], bytearray(16),
                 Called(Named("_codecs", "encode"), ("\x00" * 16, "latin1")), ("a",), tensor(),
                 Called(Named("_codecs", "encode"), ("\u1234" * 16, "latin1")))  # fmt: skip
        version = rng.choice((1, 0, 2, -1, "x"))
        state: Any = (version, rng.choice(shapes), rng.choice((dtype(), dtype("O"), "f4", None, 5)), rng.choice((False,
            True, 7)),
                      rng.choice(datas))  # fmt: skip
        made = Called(Named("numpy.core.multiarray", "_reconstruct"), (Named("numpy", "ndarray"), (0,), b"b"))
        if rng.random() < 0.2:
            state = rng.choice((state[:3], (*state, 1), None, {}, 5))
        return self._wrap(rng, Built(made, state))

    def _tensors(self, rng: Random) -> bytes:
        huge = (
            0,
            1,
            2,
            5,
            6,
            7,
            10**5,
            2**31,
            2**40,
            2**62,
            2**63 - 1,
            2**63,
            2**64,
            10**400,
            -1,
            -6,
            True,
            1.5,
            "3",
            None,
        )
        sizes = ((2, 3), (6,), (7,), (rng.choice(huge),), (rng.choice(huge), rng.choice(huge)), (), (0,), (0, 2**62),
            (1,) * 40,
                 (2,) * 40, 6, "23", None, deep_tuple(), wide_tuple())  # fmt: skip
        strides = (
            (3, 1),
            (1, 3),
            (1,),
            (0,),
            (0, 0),
            (rng.choice(huge),),
            (rng.choice(huge), 1),
            (-1,),
            (),
            None,
            (0,) * 40,
        )
        offset = rng.choice((0, 0, 0, *huge))
        value = tensor(storage(size=rng.choice((6, 6, 6, *huge))), offset, rng.choice(sizes), rng.choice(strides))
        tree = {"a": value, "state": 1}
        if rng.random() < 0.7:
            return torch_zip(tree, {"0": bytes(rng.choice((24, 24, 23, 0, 4000)))})
        return torch_legacy(tree, ["0"], [(rng.choice((6, 6, *INTS[:12])), bytes(24))])

    def _storages(self, rng: Random) -> bytes:
        kind = rng.choice((*TORCH_NAMES, "NoStorage", Named("numpy", "ndarray"), None, 5, "x"))
        key = rng.choice(
            ("0", "1", "", "../0", "a" * 10**5, 0, None, ("0",), deep_tuple(), wide_tuple(30), "\ud800", b"0")
        )
        pid: Any = (
            "storage",
            Named("torch", kind) if kind in TORCH_NAMES else kind,
            key,
            "cpu",
            rng.choice((6, *INTS)),
        )
        pid = rng.choice(
            (pid, pid, pid, (*pid, ("view", 0, 3)), pid[:4], (), "0", None, 5, list(pid), ("x", *pid[1:]), _value(rng))
        )
        value = tensor(Persistent(pid))
        data = rng.choice((bytes(24), bytes(96), b""))
        if rng.random() < 0.6:
            return torch_zip({"a": value}, {"0": data, "1": data})
        return torch_legacy({"a": value}, ["0"], [(6, data)]) if rng.random() < 0.6 else program({"a": value})

    def _keys(self, rng: Random) -> bytes:
        """Keys of dictionaries, which Python hashes."""
        keys = (deep_tuple(), deep_tuple(rng.choice((900, 5000, 10**6))), wide_tuple(), wide_tuple(rng.choice((20, 30,
            60))),
                tensor(), array(), storage(), dtype(), Named("torch", "FloatStorage"), 5, None, 1.5, b"a", "a" * 10**6,
                "\ud800",
                ("a",), Called(Named("torch", "device"), ("cpu",)), Raw(b"]"), "", "\0", "a\nb",
                "\x1b[31m")  # fmt: skip
        key = rng.choice(keys)
        value = rng.choice((array(), tensor(), 1, None, {}))
        code = b"}" + opcodes(key) + opcodes(value) + b"s"
        if rng.random() < 0.3:
            code = b"}(" + opcodes(key) + opcodes(value) + b"u"
        if rng.random() < 0.2:
            code = opcodes(Called(Named("collections", "OrderedDict"), ())) + opcodes(key) + opcodes(value) + b"s"
        if rng.random() < 0.1:
            code = b"(" + opcodes(key) + opcodes(value) + b"d"
        return (
            torch_zip(Raw(b"\x80\x02" + code + b"."), {"0": bytes(24)})
            if rng.random() < 0.4
            else self._wrap(rng, Raw(code))
        )

    def _memory(self, rng: Random) -> bytes:
        """Few bytes that ask for much memory."""
        index = rng.choice((10**8, 10**8, 2 * 10**8, 5 * 10**7, 2**31, 2**32 - 1))
        code = rng.choice((
            b"K\x01r" + struct.pack("<I", index),
            b"K\x01r" + struct.pack("<I", index),
            b"K\x01p" + str(rng.choice((index, 2**62, 10**30))).encode() + b"\n",
            b"C\x40" + b"a" * 64 + b"(" + b"2" * 10**6 + b"t",
            b"](" + b"}" * 10**6 + b"e",
            b"]" * 10**6 + b"0" * (10**6 - 1),
        ))  # fmt: skip
        if rng.random() < 0.5:
            return b"\x80\x04" + code + b"."
        return program({"w": array(), "x": Raw(code)})

    def _loops(self, rng: Random) -> bytes:
        """Containers that hold themselves, or the same thing very often."""
        code = rng.choice((
            b"]q\x00h\x00a", b"}q\x00X\x01\x00\x00\x00ah\x00s", b"]" + b"2a" * rng.choice((1, 100)),
            b"}q\x00X\x05\x00\x00\x00modelh\x00s", b"}q\x00X\x0a\x00\x00\x00state_dicth\x00s",
            b"]" + b"q\x00]h\x00ah\x00a" * 60, wide_tuple().code, wide_tuple(25).code,
            b"(lq\x00" + b"(h\x00h\x00lq\x00" * 40,
        ))  # fmt: skip
        return b"\x80\x04" + code + b"." if rng.random() < 0.5 else self._wrap(rng, Raw(code))

    def _nests(self, rng: Random) -> bytes:
        levels = rng.choice((900, 5000, DEEP, 10**6))
        code = rng.choice((
            deep_tuple(levels).code,
            b"]" * levels + b"a" * (levels - 1),
            b"(" * levels + b"l" * levels,
            (b"}X\x05\x00\x00\x00model" * (levels // 10)) + b"}" + b"s" * (levels // 10),
            opcodes(Named("torch._utils",
                "_rebuild_parameter")) + b"q\x00" + b"0h\x00" * 3 + b")" + b"\x85" * levels + b"R",
            opcodes(array()) + b"\x85" * levels,
        ))  # fmt: skip
        return b"\x80\x04" + code + b"." if rng.random() < 0.4 else self._wrap(rng, Raw(code))

    def _flips(self, rng: Random) -> bytes:
        return damaged(rng, rng.choice((self._zip, self._legacy, self._plain, *self._dumped)))

    def _random_program(self, rng: Random) -> bytes:
        code = bytearray(b"\x80\x04")
        whole = [opcodes(x) for x in (1, "a", b"b", (), [], {}, None, True, 1.5, array(), tensor(), dtype(), storage())]
        whole += [opcodes(Named(*name)) for name in NAMES[:20]]
        single = [bytes([x]) for x in b"(0123taesudlRbQo)]}NI\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98"]
        for _ in range(rng.randrange(1, 40)):
            code += rng.choice(whole) if rng.random() < 0.6 else rng.choice(single)
        return bytes(code + b".")


def _value(rng: Random) -> Any:
    found = rng.choice(
        (scalar(rng), rng.choice(STRINGS), Named(*rng.choice(NAMES)), (), (1, 2), [], {}, None, b"abc", {"a": 1})
    )
    return rng.choice(
        (found, found, found, tensor(), array(), dtype(), storage(), deep_tuple(), wide_tuple(30), (found,))
    )


def _read(path: Path, check: bool = False) -> str:
    """Read all arrays; those of a plain pickle cannot hold more bytes than the file."""
    state = read_torch_file(path)
    arrays = {key: np.array(state[key].view(_bits(state[key]))) for key in state}
    plain = not path.read_bytes().startswith((b"PK", pickle.dumps(LEGACY_MAGIC, 2)[:14]))
    if check and plain and sum(x.nbytes for x in arrays.values()) > path.stat().st_size:
        raise Wrong("the arrays have more bytes than the file")
    return digest(list(arrays), *arrays.values(), state.labels)


def _bits(array: Any) -> Any:
    import mlx.core as mx

    return mx.uint16 if array.dtype == mx.bfloat16 else array.dtype
