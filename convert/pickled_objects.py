"""What the objects of a pickle become: containers, descriptions of tensors and arrays, and `Unknown` for the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.pickled_array import MAX_DIMENSIONS, PickledArray, PickledDtype
from lucid_mlx.errors import InputError
from lucid_mlx.utils.text import shown

MAX_INT = 2**61 - 2  # larger ones would share their hash with others

# Modules that no checkpoint needs, and that attacks use. Nothing of them would run here: they are refused to warn.
DANGEROUS = {
    "asyncio", "bdb", "cffi", "code", "codeop", "commands", "ctypes", "imp", "importlib", "marshal", "multiprocessing",
    "nt", "os", "pdb", "pickle", "pip", "posix", "profile", "pty", "pydoc", "runpy", "shutil", "signal",
    "socket", "subprocess", "sys", "timeit", "webbrowser",
}  # fmt: skip
BUILTINS = {
    "Ellipsis", "NotImplemented", "abs", "all", "any", "bool", "bytearray", "bytes", "complex", "dict", "enumerate",
    "filter", "float", "frozenset", "getattr", "int", "len", "list", "long", "map", "max", "min", "object", "print",
    "property", "range", "reversed", "round", "set", "slice", "sorted", "str", "sum", "super", "tuple", "type",
    "unicode", "xrange", "zip",
}  # fmt: skip
EXCEPTIONS = ("Error", "Exception", "Warning")  # how the names of the other built-in classes end

STORAGE_DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool_",
}
# Storages of types that no weights here have: their number of bytes for each element.
OTHER_STORAGES = {
    "ComplexFloatStorage": 8, "ComplexDoubleStorage": 16, "QInt8Storage": 1, "QUInt8Storage": 1, "QInt32Storage": 4,
    "QUInt4x2Storage": 1, "QUInt2x4Storage": 1, "UntypedStorage": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Name:
    """A class or function that the pickle names; it is not imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class Unknown:
    """Stands for an object of a class that is not the weights' business.

    Args:
        name: of the class, or what else it is.

    Attributes:
        items: what the pickle puts into it by keys, as into a dictionary of another class.
        states: dictionaries of its attributes; not copied, since a small pickle may give one to very many objects.
    """

    def __init__(self, name: object):
        self.name = name
        self.items: dict[Any, Any] = {}
        self.states: list[dict[Any, Any]] = []

    def get(self, name: str) -> Any:
        """Return an item or an attribute; None without it."""
        return next((holder[name] for holder in (self.items, *self.states) if name in holder), None)


@dataclass(frozen=True)
class Storage:
    """A torch storage in the file, whose data are not read yet.

    Attributes:
        key: its name in the file.
        dtype: MLX's name of the element type, since NumPy has no bfloat16; torch's name of a type that is not read.
        size: number of elements.
    """

    key: str
    dtype: str
    size: int

    @property
    def is_readable(self) -> bool:
        """Whether tensors of its type are read."""
        return self.dtype not in OTHER_STORAGES

    @property
    def item_size(self) -> int:
        """The number of bytes of an element."""
        return OTHER_STORAGES.get(self.dtype) or int(getattr(mx, self.dtype).size)


@dataclass(frozen=True)
class TensorEntry:
    """A torch tensor in the file, whose data are not read yet.

    Attributes:
        storage: that holds its data.
        offset: of the first element in the storage, in elements.
        shape: of the tensor.
        strides: of the tensor, in elements.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def parse_storage(pid: Any) -> Storage:
    """Parse the persistent id by which torch refers to a storage.

    Args:
        pid: ("storage", class of the storage, key, location, size[, view]).

    Returns:
        The storage.

    Raises:
        InputError: if it is something else.
    """
    if isinstance(pid, tuple) and len(pid) >= 5 and isinstance(pid[0], str) and pid[0] == "storage":
        _, kind, key, _, size = pid[:5]
        known = isinstance(kind, Name) and kind.module in ("torch", "torch.storage")
        dtype = STORAGE_DTYPES.get(kind.name, kind.name if kind.name in OTHER_STORAGES else None) if known else None
        if dtype is not None and type(key) in (str, int) and type(size) is int and 0 <= size <= MAX_INT:
            return Storage(str(key), dtype, size)
    raise InputError("the pickle refers to something that is not a torch storage")


def dictionary(values: list[Any]) -> dict[Any, Any]:
    """Build a dictionary of a list of keys and values in turn."""
    return dict(zip(map(_key, values[::2]), values[1::2], strict=True))


def _key(value: Any) -> Any:
    """Return a key whose hash takes no time; others, such as nested tuples, are replaced."""
    if type(value) in (str, bool, float, bytes, Unknown, Name) or value is None:
        return value
    return value if type(value) is int and abs(value) <= MAX_INT else Unknown("a key")


def find_name(module: Any, name: Any) -> Name:
    """Return what stands for a class or function.

    Args:
        module: where it is defined.
        name: within the module.

    Returns:
        Its name, which is not imported.

    Raises:
        InputError: if attacks use it.
    """
    if not isinstance(module, str) or not isinstance(name, str):
        raise InputError("the pickle asks for an object whose name is no text")
    package = module.partition(".")[0]
    builtin = package in ("builtins", "__builtin__")
    harmless = name in BUILTINS or name.endswith(EXCEPTIONS)
    if package in DANGEROUS or (builtin and not harmless) or (package == "_codecs" and name != "encode"):
        raise _refused(f"{module}.{name}")
    return Name(module, name)


def _refused(name: str) -> InputError:
    return InputError(
        f"the pickle asks for {shown(name, 100)}, which no state dict needs; it was refused and nothing was run"
    )


def construct(function: Any, arguments: Any) -> Any:
    """Return what stands for the result of a call.

    Args:
        function: the class or function.
        arguments: of the call.

    Returns:
        A container or a description; an `Unknown` for the result of any other class or function.

    Raises:
        InputError: if it is no call, or its arguments do not fit.
    """
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise InputError("the pickle calls something that is not a class or a function")
    build = BUILDERS.get((function.module, function.name))
    try:
        return Unknown(function) if build is None else build(*arguments)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the pickle calls {shown(str(function), 100)} with arguments that do not fit: {shown(str(error))}"
        ) from None


def set_state(target: Any, state: Any) -> None:
    """Give an object its state, which is nothing but data here.

    Args:
        target: the object.
        state: what it should hold.

    Raises:
        InputError: if the object is a class, which must stay as it is.
    """
    if isinstance(target, PickledArray | PickledDtype):
        target.set_state(state)
    elif isinstance(target, Unknown):
        target.states += [state] if isinstance(state, dict) else []
    elif isinstance(target, Name):
        raise InputError(f"the pickle changes {shown(str(target), 100)} itself, which no state dict needs")


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorEntry | Unknown:
    if not isinstance(storage, Storage):
        raise InputError("the pickle builds a tensor from something that is not a storage")
    if not storage.is_readable:
        return Unknown(Name("torch", storage.dtype.replace("Storage", "Tensor")))
    if not isinstance(shape, tuple) or not isinstance(strides, tuple) or len(shape) + len(strides) > 2 * MAX_DIMENSIONS:
        raise InputError(f"the pickle builds a tensor that has not 0 to {MAX_DIMENSIONS} dimensions")
    numbers = [offset, *shape, *strides]
    if not all(type(number) is int and abs(number) <= MAX_INT for number in numbers) or len(shape) != len(strides):
        raise InputError("the pickle builds a tensor whose shape is not a list of numbers")
    return TensorEntry(storage, offset, tuple(shape), tuple(strides))


def _ordered(pairs: Any = None) -> dict[Any, Any]:
    """Build a dictionary of pairs, as Python 2 pickles it; the list is used up, so that it cannot be used often."""
    found = {}
    while isinstance(pairs, list) and pairs:
        key, value = pairs.pop()
        found[_key(key)] = value
    return dict(reversed(found.items()))


def _set(members: Any = None) -> Unknown:
    """Stand for a set by a dictionary with its members as keys; the list is used up, as in `_ordered`."""
    found = Unknown("set")
    while isinstance(members, list) and members:
        found.items[_key(members.pop())] = None
    return found


def _attribute(target: Any = None, name: Any = None) -> Unknown:
    """Stand for a member of a class, by which Python pickles the values of an enumeration and methods."""
    if not isinstance(target, Name | Unknown) or not isinstance(name, str):
        raise _refused("builtins.getattr")
    return Unknown(target.name)


def _sizes(sizes: Any = ()) -> Any:
    return sizes if isinstance(sizes, tuple) else Unknown("torch.Size")


def _bytes(text: Any = b"", *encoding: Any) -> Any:
    """Return bytes as they are, or as text: NumPy's arrays take both, and a copy of each would add up."""
    return text if isinstance(text, str | bytes) else Unknown("bytes")


TENSOR_FUNCTIONS = [Name("torch._utils", name) for name in ("_rebuild_tensor", "_rebuild_tensor_v2")]

BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _ordered,
    ("collections", "defaultdict"): lambda *arguments: {},
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *rest: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *rest: data,
    ("torch._tensor", "_rebuild_from_type_v2"): lambda function, kind, arguments, state: (
        construct(function, arguments) if function in TENSOR_FUNCTIONS else Unknown(kind)
    ),
    # Of modules, and of dictionaries that are copied: an object of a class, of which the state follows.
    **{(module, "_reconstructor"): lambda kind, *rest: Unknown(kind) for module in ("copyreg", "copy_reg")},
    ("torch", "Size"): _sizes,
    ("_codecs", "encode"): _bytes,
    **{(module, name): _bytes for module in ("builtins", "__builtin__") for name in ("bytes", "bytearray")},
    **{(module, "getattr"): _attribute for module in ("builtins", "__builtin__")},
    **{(module, "set"): _set for module in ("builtins", "__builtin__")},
    **{
        (module, name): build
        for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
        for name, build in (("dtype", PickledDtype), ("_reconstruct", lambda *arguments: PickledArray()))
    },
    **{(module, "_frombuffer"): PickledArray.from_buffer for module in ("numpy.core.numeric", "numpy._core.numeric")},
}
