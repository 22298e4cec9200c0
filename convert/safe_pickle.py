"""Read a pickle as data, without running it.

A pickle is a program for a stack machine, which can import any name and call it. The machine here imports nothing and
calls nothing: it builds containers, numbers and text, and descriptions of tensors and arrays. Every other object, such
as what a trainer saves beside the weights, becomes an `Unknown`. Time and memory grow with the size of the file, not
with what it describes.
"""

import pickletools
from collections.abc import Callable
from typing import IO, Any

from lucid_mlx.convert.pickled_objects import Name, Storage, Unknown, construct, dictionary, find_name, set_state
from lucid_mlx.errors import InputError

MAX_OPCODES = 500_000  # a Mask2Former with the state of its optimizer needs 100,000


def read_pickle(file: IO[bytes], size: int, storage: Callable[[Any], Storage | Name] | None = None) -> Any:
    """Read one pickle.

    Args:
        file: at the start of the pickle; it is read to the pickle's end.
        size: of the file in bytes.
        storage: parses a persistent id; None if the pickle must not refer to storages.

    Returns:
        None, bool, int, float, str, bytes, lists, tuples and dictionaries, with `TensorEntry`, `PickledArray`, `Name`
        and `Unknown` in them. Do not compare, hash or print it as a whole: it may be nested to any depth.

    Raises:
        InputError: if it names something dangerous, is too long, or is not a pickle of a checkpoint.
    """
    machine = _Machine(storage)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(_BoundedFile(file, size))):  # type: ignore[arg-type]
        if count == MAX_OPCODES:
            raise InputError(f"the pickle has more than {MAX_OPCODES} operations; expected a checkpoint")
        if opcode.name == "STOP":
            break
        machine.run(opcode.name, argument)
    return machine.stack.pop()


class _BoundedFile:
    """Refuses to read more than there is: Python would make room for it first. Without `tell`, which takes time."""

    def __init__(self, file: IO[bytes], size: int):
        self._file, self._left = file, size - file.tell()

    def read(self, count: int) -> bytes:
        if count > self._left:
            raise InputError("the pickle is cut off")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        self._left -= len(line)
        return line


class _Machine:
    """The stack machine of pickle; the standard library's `pickletools` describes its operations."""

    def __init__(self, storage: Callable[[Any], Storage | Name] | None):
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._storage = storage

    def run(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self._memo[argument])
            case "MARK":
                self._marks.append(len(stack))
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode == "NEWTRUE")
            case "EMPTY_TUPLE":
                stack.append(())
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_SET":
                stack.append(Unknown("set"))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._pop(int(opcode[-1]))))
            case "TUPLE":
                stack.append(tuple(self._pop_to_mark()))
            case "LIST":
                stack.append(self._pop_to_mark())
            case "DICT":
                stack.append(dictionary(self._pop_to_mark()))
            case "FROZENSET":
                self._pop_to_mark()
                stack.append(Unknown("frozenset"))
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS" | "ADDITEMS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._update(self._pop(2))
            case "SETITEMS":
                self._update(self._pop_to_mark())
            case "POP":
                # After a mark without objects this removes the mark.
                self._pop_to_mark() if self._marks and self._marks[-1] == len(stack) else stack.pop()
            case "POP_MARK":
                self._pop_to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "GLOBAL":
                stack.append(find_name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(find_name(*self._pop(2)))
            case "REDUCE" | "NEWOBJ":
                stack.append(construct(*self._pop(2)))
            case "NEWOBJ_EX":
                function, arguments, _ = self._pop(3)
                stack.append(construct(function, arguments))
            case "INST":
                stack.append(construct(find_name(*argument.split(" ", 1)), tuple(self._pop_to_mark())))
            case "OBJ":
                function, *arguments = self._pop_to_mark()
                stack.append(construct(function, tuple(arguments)))
            case "BUILD":
                state = stack.pop()
                set_state(stack[-1], state)
            case "PERSID" | "BINPERSID":
                if self._storage is None:
                    raise InputError("the pickle refers to data that this kind of file cannot hold")
                stack.append(self._storage(argument if opcode == "PERSID" else stack.pop()))
            case "EXT1" | "EXT2" | "EXT4" | "NEXT_BUFFER" | "READONLY_BUFFER":
                raise InputError("the pickle refers to something outside of the file")
            case _:  # a number, text or bytes
                stack.append(bytes(argument) if isinstance(argument, bytearray) else argument)

    def _pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise InputError("the pickle takes more from its stack than there is")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def _pop_to_mark(self) -> list[Any]:
        start = self._marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def _extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1] += values
        elif isinstance(self.stack[-1], Unknown):  # a set
            self._update([value for member in values for value in (member, None)])

    def _update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict | Unknown):
            (target if isinstance(target, dict) else target.items).update(dictionary(values))
