"""Files of torch, as archives and in its older format, that are not what they say."""

import io
import warnings
import zipfile
from random import Random
from typing import Any

from fuzz.nasty import INTS, damaged
from fuzz.pickle_program import deep_tuple, program, storage, tensor, torch_legacy, torch_zip, wide_tuple


def zips(rng: Random) -> bytes:
    """Write an archive that lies."""
    file = io.BytesIO()
    tree = {"a": tensor()}
    kind = rng.randrange(14)
    if kind == 0:  # a bomb
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("archive/data.pkl", program(tree) + bytes(5 * 10**7))
            archive.writestr("archive/data/0", bytes(24))
        return file.getvalue()
    if kind == 1:
        return torch_zip(tree, {"0": bytes(24)}, rng.choice((b"big", b"", b"little\n", b"x" * 10**6)))
    if kind == 2:
        names = ["archive/data.pkl", "data.pkl", "b/data.pkl", "archive/data/0", "archive/data/0", "../data.pkl",
                 "/data.pkl", "archive/x.data.pkl", "archive/data/../0", "a" * 60000,
                 "\udc80"[:0] + "é/data.pkl"]  # fmt: skip
        with zipfile.ZipFile(file, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(rng.randrange(6)):
                archive.writestr(rng.choice(names), rng.choice((program(tree), bytes(24))))
        return file.getvalue()
    if kind == 3:
        return torch_zip(tree, {})
    if kind == 4:
        return torch_zip({"a": tensor(storage(size=rng.choice(INTS)))}, {"0": bytes(rng.choice((0, 3, 24)))})
    if kind == 5:
        return torch_zip({f"k{number}": tensor(size=(3,), stride=(0,)) for number in range(20)}, {"0": bytes(24)})
    data = bytearray(torch_zip(tree, {"0": bytes(24)}))
    at = data.find(b"PK\x01\x02", data.find(b"PK\x01\x02") + rng.choice((0, 0, 1, 60)))
    if kind in (6, 7, 8) and at >= 0:  # the central directory
        where, size = rng.choice(((8, 2), (10, 2), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4), (42, 4)))
        value = rng.choice((0, 1, 8, 12, 14, 99, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 30, 90))
        data[at + where : at + where + size] = (value % 256**size).to_bytes(size, "little")
    elif kind in (9, 10):  # a local header
        at = data.find(b"PK\x03\x04", rng.choice((0, 10, 200)))
        where, size = rng.choice(((0, 4), (6, 2), (8, 2), (18, 4), (22, 4), (26, 2), (28, 2), (28, 2)))
        data[at + where : at + where + size] = rng.choice((0, 1, 8, 40, 2**16 - 1)).to_bytes(size, "little")
    elif kind == 11:  # the end
        at = data.find(b"PK\x05\x06")
        where, size = rng.choice(((4, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)))
        data[at + where : at + where + size] = rng.choice((0, 1, 5, 2**16 - 1)).to_bytes(size, "little")
    elif kind == 12:
        return rng.randbytes(rng.randrange(100)) + bytes(data) + rng.randbytes(rng.randrange(100))
    return damaged(rng, bytes(data))


def legacies(rng: Random) -> bytes:
    """Write a file of the older format whose parts do not fit each other."""
    value = tensor(storage(key=rng.choice(("0", "1", 0, None))))
    keys: Any = rng.choice((["0"], [], ["1"], ["0", "0"], ["0"] * 1000, None, 5, "0", {"0": 1}, [None], [["0"]],
        [deep_tuple()],
                            (wide_tuple(),), ["0", "missing"]))  # fmt: skip
    sizes = (6, 7, 0, 1, 2**31, 2**40, 2**60, 2**62, 2**63, 2**64 - 1)
    system = rng.choice(
        (
            None,
            None,
            {"little_endian": False},
            {},
            [],
            5,
            "x",
            {"little_endian": 0},
            {"little_endian": deep_tuple()},
        )
    )
    data = torch_legacy({"a": value}, keys, [(rng.choice(sizes), bytes(24))], system)
    return damaged(rng, data) if rng.random() < 0.3 else data
