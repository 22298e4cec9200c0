"""Safetensors files and the indices of their shards."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz.nasty import DEEP, INTS, STRINGS, damaged, mutated, to_json, tree
from fuzz.worker import Target, command_line, digest
from helpers import write_huggingface

import lucid_mlx
from lucid_mlx.convert import convert
from lucid_mlx.weights.checkpoint import INDEX_FILE, WEIGHTS_FILE, read_safetensors

DTYPES = ("F32", "F16", "BF16", "F64", "I8", "U8", "I64", "U64", "U16", "BOOL", "F8_E4M3", "F8_E5M2", "C64", "F4",
    "f32", "X",
          "", "F" * 10**5, 5, None, [], "\x1b[31m")  # fmt: skip


class Safetensors(Target):
    """A small file by itself, and the weights of a converted or Hugging Face folder."""

    def __init__(self, folder: Path):
        self._huggingface = write_huggingface(folder / "huggingface")
        self._converted = convert(self._huggingface, folder / "converted")
        self._header: dict[str, Any] = {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "I64", "shape": [2], "data_offsets": [24, 40]},
            "c": {"dtype": "BF16", "shape": [], "data_offsets": [40, 42]},
        }
        self._data = bytes(range(42))
        self._small = folder / "small.safetensors"
        self._small.write_bytes(_file(to_json(self._header), self._data))

    def good(self) -> object:
        """Read the small file and a folder."""
        found = lucid_mlx.load(self._converted)
        return _read(self._small), digest(np.array(found.transformer_decoder.class_head.weight))

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Write a small file, or a folder with wrong weights or a wrong index."""
        if rng.random() < 0.75:
            path = folder / "case.safetensors"
            path.write_bytes(self._damaged(rng, self._header, self._data))
            if rng.random() < 0.85:
                return lambda: _read(path)
            return lambda: command_line("convert", path, "-o", folder / "out", "--dry-run")
        source = rng.choice((self._huggingface, self._converted))
        case = folder / "case"
        case.mkdir()
        for file in source.iterdir():
            (case / file.name).write_bytes(file.read_bytes())
        if rng.random() < 0.5:
            whole = (source / WEIGHTS_FILE).read_bytes()
            (size,) = struct.unpack("<Q", whole[:8])
            data = self._damaged(rng, json.loads(whole[8 : 8 + size]), whole[8 + size :])
            (case / WEIGHTS_FILE).write_bytes(data)
        else:
            self._write_index(rng, case)
        if rng.random() < 0.6:
            return lambda: lucid_mlx.load(case)
        return lambda: command_line("convert", case, "-o", folder / "out", "--dry-run")

    def _write_index(self, rng: Random, case: Path) -> None:
        (case / WEIGHTS_FILE).rename(case / "shard.safetensors")
        whole = (case / "shard.safetensors").read_bytes()
        keys = [key for key in json.loads(whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]]) if key != "__metadata__"]
        index: Any = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(keys, "shard.safetensors")}
        names = (
            *STRINGS,
            "../shard.safetensors",
            "/dev/zero",
            "shard.bin",
            INDEX_FILE,
            "config.json",
            "missing.safetensors",
        )
        kind = rng.randrange(6)
        if kind == 0:
            index["weight_map"][rng.choice(keys)] = rng.choice(names)
        elif kind == 1:
            index["weight_map"] = tree(rng)
        elif kind == 2:
            index["weight_map"][rng.choice(STRINGS)] = "shard.safetensors"
        elif kind == 3:
            index["weight_map"] = dict.fromkeys(map(str, range(20_000)), "missing.safetensors")
        else:
            index = mutated(rng, index, rng.randrange(1, 4))
        text = (
            rng.choice(("[" * DEEP, '{"a":' * DEEP, "", "null", "[]", '"a"', "NaN", "\ufeff{}"))
            if rng.random() < 0.1
            else to_json(index)
        )
        (case / INDEX_FILE).write_bytes(text.encode("utf-8", "surrogatepass"))

    def _damaged(self, rng: Random, header: dict[str, Any], data: bytes) -> bytes:
        kind = rng.randrange(12)
        good = to_json(header)
        if kind == 0:
            sizes = (
                0,
                1,
                8,
                len(good) - 1,
                len(good) + 1,
                len(good) + 8,
                2**31,
                2**32,
                2**40,
                2**62,
                2**63 - 1,
                2**63,
                2**64 - 1,
            )
            return _file(good, data, rng.choice(sizes))
        if kind == 1:
            return _file(
                rng.choice(
                    ("[" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "", "null", "[]", "{", "5", " " * 1000, "{}")
                ),
                data,
            )
        if kind == 2:
            return damaged(rng, _file(good, data))
        if kind == 3:
            return _file(good, data)[: rng.randrange(len(data) + len(good))]
        if kind == 4:
            return _file(good[:-1] + "," + good[1:], data)  # every key twice
        header = json.loads(good)
        name = rng.choice([key for key in header if key != "__metadata__"])
        entry = header[name]
        if kind == 5:
            entry["dtype"] = rng.choice(DTYPES)
        elif kind == 6:
            numbers = (*INTS, 24, 23, 25, 1.5, "0", None)
            entry["data_offsets"] = [rng.choice(numbers) for _ in range(rng.choice((2, 2, 2, 0, 1, 3)))]
        elif kind == 7:
            entry["shape"] = [rng.choice((*INTS, 2, 3)) for _ in range(rng.choice((0, 1, 2, 3, 100)))]
        elif kind == 8:
            metadata = ({"format": "mlx"}, {"format": 5}, {"format": "mlx", "things": "1 x"}, {"format": "mlx",
                "things": "9" * 5000},
                        {"format": "mlx", "things": "-1 99999999999999999999"}, {"format": "mlx",
                            "dataset": "coco_panoptic"},
                        {"format": "mlx", "task": "x\x1b[31m", "dataset": "\ud800"}, {"format": "\x1b[31m" * 1000}, [],
                            5, None,
                        {"format": "mlx", "source": "https://[x"}, {"format": "mlx", "task": "panoptic"})  # fmt: skip
            header["__metadata__"] = rng.choice(metadata)
        elif kind == 9:
            header[rng.choice(STRINGS)] = header.pop(name)
        elif kind == 10:
            other = rng.choice(list(header))
            header[other] = dict(entry)
        else:
            header = mutated(rng, header, rng.randrange(1, 4))
        return _file(to_json(header), data)


def _file(header: str, data: bytes, size: int | None = None) -> bytes:
    text = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def _read(path: Path) -> str:
    import mlx.core as mx

    arrays, metadata = read_safetensors(path)
    values = [np.array(x.view(mx.uint16) if x.dtype == mx.bfloat16 else x) for x in arrays.values()]
    return digest(
        sorted(arrays), sorted(metadata.items()), *(values[list(arrays).index(key)] for key in sorted(arrays))
    )
