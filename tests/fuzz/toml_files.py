"""The TOML files of training; what they describe is built, but never trained."""

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from fuzz.nasty import DEEP, STRINGS, damaged, scalar
from fuzz.worker import Target, command_line, digest
from helpers import SIZES, SWIN

from lucid_mlx.data import Dataset
from lucid_mlx.training import read_config
from lucid_mlx.training.start import initial_model

FIELDS = {**{name: value for name, value in SIZES.items() if name != "num_labels"}, "decoder_layers": 2}
SETTINGS: dict[str, Any] = {
    "dataset_name": "maps", "steps": 4, "batch_size": 2, "gradient_accumulation_steps": 1, "workers": 0, "seed": 3,
    "dtype": "float32", "check": False,
    "train": {"images": "photos", "annotations": "a.json", "panoptic_folder": "a", "names": "n.txt",
        "ignore_index": 255,
              "reduce_zero_label": False, "limit": 3},
    "validation": {"images": "photos", "annotations": "a.json"},
    "augmentation": {"kind": "jitter", "size": 32, "min_scale": 0.8, "max_scale": 1.2, "flip": True,
        "color_jitter": False},
    "network": {"freeze_backbone": False, "gradient_checkpointing": False, "size": "64",
                "fields": {**FIELDS, "backbone_config": SWIN}},
    "optimizer": {"learning_rate": 1e-4, "backbone_multiplier": 0.1, "weight_decay": 0.05, "max_grad_norm": 0.01,
                  "schedule": "step", "milestones": [0.9, 0.96], "gamma": 0.1, "power": 0.9, "warmup_steps": 0,
                  "ema_decay": 0.0},
    "reports": {"log": 1, "save": 2, "pictures": 4, "images": 1, "evaluate": 2},
}  # fmt: skip
CROP = {"kind": "crop", "shortest_edge": [32, 48], "longest_edge": 64, "crop_size": [32, 32],
    "single_category_max_area": 0.75,
        "color_jitter": True}  # fmt: skip
RAW = (
    "[" * DEEP + "]" * DEEP, "[" * 900 + "]" * 900, "{a=" * DEEP + "1" + "}" * DEEP, "{a=" * 300 + "1" + "}" * 300,
    "9" * 5000,
    "1979-05-27T07:32:00Z", "07:32:00", "1979-05-27", "9999-99-99", "inf", "nan", "-inf", "+nan", "0x" + "f" * 5000,
    "0b101", "1_000",
    "1e400", "'''a\nb'''", '"\\ud800"', '"\\U00110000"', '"\\u0000"', '"\\u001b[31m"', "[1, 'a', [2]]", "{}", "[{}]",
        "[[], [[]]]", "",
    "true false", "{a=1, a=2}", "[" + "1," * 100_000 + "]", '"' + "a" * 10**6 + '"', "a.b.c" , "-0", "00", "1.", ".5",
)  # fmt: skip
LINES = (
    "[a.b.c]", "[[train]]", "[train.images]", "[network.fields.backbone_config.x]", "[optimizer]", "[validation.x]",
    "steps.x = 1", "a" * 3000 + " = 1",
    ".".join("a" * 5000) + " = 1", "[" + ".".join("a" * 5000) + "]", '"\\ud800" = 1', '"" = 1', '"a\\nb" = 1',
    "'\\x1b' = 1", "x", "=", "[", "[]", "\0", "\x1b[31m = 1",
    '"\\u001b[31m" = 1', "[[augmentation]]", "[augmentation.kind]", "kind = 1", "[reports.log]", "augmentation = 5",
        "train = []", "network = 'a'",
    "\ufeff", "# \ud800", "a = 1\r", "\r\r\r",
)  # fmt: skip


class Toml(Target):
    """What `lucid-mlx train` reads."""

    def __init__(self, folder: Path):
        self._file = folder / "good.toml"
        self._file.write_text(_write(SETTINGS))
        self._dataset = Dataset("semantic", ("sky", "sea", "boat"), frozenset(), [_Nothing()])

    def good(self) -> object:
        """Read a good file."""
        return digest(read_config(self._file))

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Write a wrong file; some that are accepted are built."""
        path = folder / "case.toml"
        path.write_bytes(self._wrong(rng).encode("utf-8", "surrogatepass"))
        kind = rng.random()
        if kind < 0.03:
            return lambda: command_line("train", path, "--output", folder / "out", "--steps", 1)
        if kind < 0.15:
            return lambda: initial_model(read_config(path), self._dataset)
        return lambda: read_config(path)

    def _wrong(self, rng: Random) -> str:
        settings = dict(SETTINGS)
        if rng.random() < 0.3:
            settings["augmentation"] = CROP
        if rng.random() < 0.03:
            return rng.choice((*RAW, *LINES, *(f"a = {value}" for value in RAW)))
        text = _write(settings)
        if rng.random() < 0.1:
            return (
                damaged(rng, text.encode())
                .decode("utf-8", "surrogateescape")
                .encode("utf-8", "surrogatepass")
                .decode("utf-8", "replace")
            )
        lines = text.splitlines()
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            at, kind = rng.randrange(len(lines)), rng.randrange(10)
            key = lines[at].partition(" = ")[0]
            if kind == 0:
                del lines[at]
            elif kind == 1:
                lines.insert(at, rng.choice(LINES))
            elif kind == 2:
                lines.insert(at, rng.choice(lines))
            elif kind == 3 and " = " in lines[at]:
                lines[at] = lines[at].replace(
                    key, rng.choice((key + "x", key[:-1], key.upper(), f'"{key}"', f"{key}.x", "x." + key)), 1
                )
            elif kind == 4:
                places = [place for place, line in enumerate(lines) if line.startswith("[network")]
                weights = rng.choice(
                    (*STRINGS, "demo", "/dev/zero", "https://127.0.0.1:1/x", "a/b", "swin_tiny:IMAGENET1K")
                )
                lines.insert((places or [at])[0] + 1, f"weights = {_text(weights)}")
            elif " = " in lines[at]:
                value = (
                    rng.choice(RAW)
                    if rng.random() < 0.4
                    else _value(rng.choice((scalar(rng), scalar(rng), [scalar(rng)], [scalar(rng)] * 2)))
                )
                lines[at] = f"{key} = {value}"
        return "\n".join(lines) + "\n"


class _Nothing:
    """A record that is never read."""

    name = "nothing"


def _write(table: dict[str, Any], section: str = "") -> str:
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, dict)]
    for key, value in table.items():
        if isinstance(value, dict):
            name = f"{section}.{key}" if section else key
            lines += [f"[{name}]", _write(value, name)]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, int) and abs(value) > 10**300:
        return "1" + "0" * 400
    return str(value).lower()


def _text(value: str) -> str:
    """Write a string; half characters, which TOML forbids, are left as they are."""
    return json.dumps(value, ensure_ascii=False)
