"""Write pickles opcode by opcode, and the files of torch around them: also what Python and torch would not write."""

import io
import pickle
import struct
import zipfile
from dataclasses import dataclass
from typing import Any

from fuzz.nasty import DEEP

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class Raw:
    """Opcodes that leave one object on the stack."""

    code: bytes


@dataclass(frozen=True)
class Named:
    """A class or a function."""

    module: str
    name: str


@dataclass(frozen=True)
class Called:
    """A call, or with another opcode an instance (NEWOBJ)."""

    function: Any
    arguments: Any
    opcode: bytes = b"R"


@dataclass(frozen=True)
class Built:
    """An object with a state."""

    value: Any
    state: Any


@dataclass(frozen=True)
class Persistent:
    """A reference to data outside of the pickle."""

    value: Any


def opcodes(value: Any) -> bytes:
    """Write a value without its end; the classes above stand for what Python would not pickle."""
    if isinstance(value, Raw):
        return value.code
    if isinstance(value, Named):
        if value.name.isascii() and value.module.isascii() and "\n" not in value.name + value.module:
            return f"c{value.module}\n{value.name}\n".encode()
        return opcodes(value.module) + opcodes(value.name) + b"\x93"
    if isinstance(value, Called):
        return opcodes(value.function) + opcodes(value.arguments) + value.opcode
    if isinstance(value, Built):
        return opcodes(value.value) + opcodes(value.state) + b"b"
    if isinstance(value, Persistent):
        return opcodes(value.value) + b"Q"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(opcodes, value)) + b"t"
    if isinstance(value, list):
        return b"](" + b"".join(map(opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}" + b"".join(opcodes(key) + opcodes(item) + b"s" for key, item in value.items())
    if isinstance(value, str):
        text = value.encode("utf-8", "surrogatepass")
        return b"X" + struct.pack("<I", len(text)) + text
    code = pickle.dumps(value, 4)
    assert code.endswith(b".")
    return code[2:-1] if code[2] != 0x95 else code[11:-1]


def program(value: Any) -> bytes:
    """Write a whole pickle."""
    return b"\x80\x04" + opcodes(value) + b"."


def storage(kind: Any = "FloatStorage", key: Any = "0", size: Any = 6) -> Persistent:
    """Refer to a storage of torch."""
    return Persistent(("storage", Named("torch", kind) if isinstance(kind, str) else kind, key, "cpu", size))


def tensor(data: Any = None, offset: Any = 0, size: Any = (2, 3), stride: Any = (3, 1)) -> Called:
    """Write a tensor of torch."""
    hooks = Called(Named("collections", "OrderedDict"), ())
    data = storage() if data is None else data
    return Called(Named("torch._utils", "_rebuild_tensor_v2"), (data, offset, size, stride, False, hooks))


def dtype(code: Any = "f4", state: Any = None) -> Any:
    """Write NumPy's description of an element."""
    made = Called(Named("numpy", "dtype"), (code, False, True))
    return Built(made, (3, "<", None, None, None, -1, -1, 0) if state is None else state)


def array(shape: Any = (2, 2), kind: Any = None, data: Any = bytes(16), fortran: Any = False) -> Built:
    """Write an array of NumPy as protocols below 5 do."""
    made = Called(Named("numpy.core.multiarray", "_reconstruct"), (Named("numpy", "ndarray"), (0,), b"b"))
    return Built(made, (1, shape, dtype() if kind is None else kind, fortran, data))


def torch_zip(
    tree: Any, storages: dict[str, bytes], byteorder: bytes | None = b"little", root: str = "archive"
) -> bytes:
    """Write torch's zip format."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{root}/data.pkl", tree.code if isinstance(tree, Raw) else program(tree))
        if byteorder is not None:
            archive.writestr(f"{root}/byteorder", byteorder)
        for key, data in storages.items():
            archive.writestr(f"{root}/data/{key}", data)
    return file.getvalue()


def torch_legacy(tree: Any, keys: Any, storages: list[tuple[int, bytes]], system: Any = None) -> bytes:
    """Write torch's older format: pickles, and then each storage after its size."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}} if system is None else system
    parts = [pickle.dumps(LEGACY_MAGIC, 2), pickle.dumps(1001, 2), program(system), program(tree), program(keys)]
    return b"".join(parts) + b"".join(struct.pack("<Q", size % 2**64) + data for size, data in storages)


def deep_tuple(levels: int = DEEP) -> Raw:
    """A tuple in a tuple in a tuple."""
    return Raw(b")" + b"\x85" * levels)


def wide_tuple(levels: int = 40) -> Raw:
    """A tuple that holds another twice, which does so too: small, but it takes for ever to walk."""
    return Raw(b")" + b"2\x86" * levels)
