"""`config.json` and `preprocessor_config.json` beside good weights, of a converted and of a Hugging Face folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz.nasty import DEEP, RAW_JSON, STRINGS, mutated, to_json, tree
from fuzz.worker import Target, command_line, digest
from helpers import write_huggingface

import lucid_mlx
from lucid_mlx.convert import convert
from lucid_mlx.weights.checkpoint import CONFIG_FILE, PREPROCESSOR_FILE

HUGE = (10**5, 10**6, 10**9, 2**31, 2**63, 10**400)
LARGE_FIELDS = (
    "num_labels", "num_queries", "encoder_layers", "decoder_layers", "dim_feedforward", "hidden_dim", "feature_size",
    "mask_feature_size", "encoder_feedforward_dim", "num_attention_heads", "num_channels", "train_num_points",
)  # fmt: skip
LARGE_BACKBONE_FIELDS = ("embed_dim", "window_size", "patch_size", "num_channels", "mlp_ratio", "image_size")
QUANTIZATIONS: tuple[Any, ...] = (
    {"bits": 8, "group_size": 64}, {"bits": 4, "group_size": 32}, {"bits": 3, "group_size": 7}, {"bits": "8"}, [], 5,
    {},
    {"bits": 2**63, "group_size": -1}, {"group_size": 10**400, "bits": 8}, {"bits": None, "group_size": None},
    {"bits": 8, "group_size": 64, "layers": ["x", None, 5]}, {"bits": 8, "group_size": 0}, {"bits": True,
        "group_size": 64},
)  # fmt: skip
PREPROCESSORS: tuple[Any, ...] = (
    {"size": 10**9}, {"size": {"height": 10**6, "width": 10**6}}, {"size": {"shortest_edge": 2**31,
        "longest_edge": 2**63}},
    {"size": {"height": 0, "width": -1}}, {"size": []}, {"size": {"shortest_edge": 1, "longest_edge": 1}},
    {"size": "64"},
    {"size_divisor": 10**9}, {"size_divisor": 0}, {"size_divisor": -32}, {"size_divisor": 2**63},
    {"size_divisor": 10**400},
    {"pad_size_divisor": 10**6}, {"pad_size": {"height": 10**6, "width": 10**6}}, {"pad_size": {"height": 1,
        "width": 1}},
    {"image_mean": [0.5]}, {"image_std": [0, 0, 0]}, {"image_mean": [1e308] * 3}, {"image_std": [1e-308] * 3},
    {"image_mean": None},
    {"rescale_factor": 1e308}, {"rescale_factor": 0}, {"rescale_factor": -1}, {"resample": 99}, {"resample": -1},
    {"resample": True},
    {"do_resize": "no"}, {"do_resize": None}, {"do_rescale": []}, {"do_normalize": 5}, {"do_resize": False,
        "size_divisor": 10**6},
)  # fmt: skip


class Configs(Target):
    """A folder whose weights are good and whose settings are not."""

    def __init__(self, folder: Path):
        self._huggingface = write_huggingface(folder / "huggingface")
        self._converted = convert(self._huggingface, folder / "converted")
        self._photo = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)

    def good(self) -> object:
        """Segment with the good folder."""
        segmenter = lucid_mlx.Segmenter(self._converted)
        return segmenter.labels, str(segmenter.image_config), digest(segmenter(self._photo).map)

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Write wrong settings beside links to the good weights."""
        converted = rng.random() < 0.6
        source = self._converted if converted else self._huggingface
        case = folder / "case"
        case.mkdir()
        for file in source.iterdir():
            if file.suffix == ".safetensors":
                (case / file.name).symlink_to(file)
            else:
                shutil.copy(file, case / file.name)
        wrong = case / (CONFIG_FILE if rng.random() < 0.65 else PREPROCESSOR_FILE)
        wrong.write_bytes(self._settings(rng, wrong, converted).encode("utf-8", "surrogatepass"))
        if rng.random() < 0.12:
            return lambda: command_line("convert", case, "-o", folder / "out", *_to(converted))
        if converted or rng.random() < 0.3:
            return lambda: lucid_mlx.Segmenter(case)(self._photo)
        return lambda: convert(case, folder / "out")

    def _settings(self, rng: Random, file: Path, converted: bool) -> str:
        good = json.loads(file.read_text())
        kind = rng.randrange(8)
        if kind == 0:
            return rng.choice(
                (*RAW_JSON, "{" * DEEP, "null", "[]", "5", '"a"', "{", "\ufeff{}", "{}", "\0", "[" * DEEP)
            )
        if kind == 1:
            place = rng.choice([key for key, value in good.items() if isinstance(value, dict)] or [""])
            (good[place] if place else good)[rng.choice(STRINGS)] = tree(rng)
        elif kind <= 4 and file.name == CONFIG_FILE:
            self._enlarge(rng, good)
        elif kind <= 4:
            good |= rng.choice(PREPROCESSORS)
        elif kind == 5 and converted and file.name == CONFIG_FILE:
            good["quantization"] = rng.choice((*QUANTIZATIONS, tree(rng)))
        else:
            good = mutated(rng, good, rng.choice((1, 1, 2, 4)))
        text = to_json(good)
        return text[: rng.randrange(len(text))] if rng.random() < 0.02 else text

    def _enlarge(self, rng: Random, good: dict[str, Any]) -> None:
        value = rng.choice(HUGE)
        kind = rng.randrange(6)
        if kind < 3:
            good[rng.choice(LARGE_FIELDS)] = value
        elif kind == 3:
            good["backbone_config"][rng.choice(LARGE_BACKBONE_FIELDS)] = value
        elif kind == 4:
            name = rng.choice(("depths", "num_heads", "hidden_sizes"))
            good["backbone_config"][name] = rng.choice(([value] * 4, [1, 1, 1, value], [value], [1] * 10**5, []))
        elif rng.random() < 0.5:
            good["id2label"] = {str(number): "x" for number in range(rng.choice((0, 2, 4, 10**5)))}
        else:
            good["id2label"] = rng.choice(({"0": "a", "00": "b", "1": "c"}, {"0": None, "1": 5, "2": []}, ["a", "b",
                "c"],
                                           {"-1": "a", "1": "b", "2": "c"}, {"9" * 5000: "a"}, {"x": "y"},
                                           {"0": "\ud800", "1": "\x1b[31m",
                                           "2": "a\nb"}, {"0": "a" * 10**6, "1": "b", "2": "c"}, {"0": "a", "1": "a",
                                           "2": "a"}))  # fmt: skip


def _to(converted: bool) -> tuple[str, ...]:
    return ("--to", "huggingface") if converted else ()
