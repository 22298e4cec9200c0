"""The original project's YAML files, and their base files."""

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import yaml
from fuzz.nasty import DEEP, INTS, STRINGS, damaged, scalar
from fuzz.pickle_program import array, program
from fuzz.worker import Target, command_line
from helpers import DATA

from lucid_mlx.convert.detectron2_yaml import read_detectron2_yaml

FILE = "maskformer2_R50_bs16_50ep.yaml"


class Yaml(Target):
    """What `convert --config` reads."""

    def __init__(self, folder: Path):
        self._folder = shutil.copytree(DATA / "detectron2", folder / "project")
        self._text = (self._folder / FILE).read_text()
        self._base = (self._folder / "Base-COCO-PanopticSegmentation.yaml").read_text()
        self._weights = folder / "weights.pkl"
        names = ("query_feat.weight", "query_embed.weight", "class_embed.weight")
        ones = np.ones((2, 2), np.float32).tobytes()
        self._weights.write_bytes(program({f"sem_seg_head.predictor.{name}": array(data=ones) for name in names}))

    def good(self) -> object:
        """Read a good file."""
        return repr(read_detectron2_yaml(self._folder / FILE))

    def make(self, rng: Random, folder: Path) -> Callable[[], object]:
        """Write a wrong file, or a wrong base file."""
        project = shutil.copytree(self._folder, folder / "project")
        name = FILE if rng.random() < 0.75 else "Base-COCO-PanopticSegmentation.yaml"
        (project / name).write_bytes(self._wrong(rng, name).encode("utf-8", "surrogatepass"))
        if rng.random() < 0.8:
            return lambda: read_detectron2_yaml(project / FILE)
        return lambda: command_line(
            "convert", self._weights, "-o", folder / "out", "--config", project / FILE, "--dry-run"
        )

    def _wrong(self, rng: Random, name: str) -> str:
        good = self._text if name == FILE else self._base
        kind = rng.randrange(10)
        if kind == 0:
            section = rng.choice(
                ("MODEL", "MODEL: {RESNETS", "DATASETS", "_BASE_", "INPUT: {FORMAT", "x", "MODEL: {PIXEL_MEAN")
            )
            return f"{_bomb(rng)}{section}: *last{'}' if '{' in section else ''}\n"
        if kind == 1:
            return f"{_bomb(rng)}MODEL:\n  {rng.choice(('RESNETS', 'SWIN', 'MASK_FORMER', '<<'))}: *last\n" + (
                "  META_ARCHITECTURE: MaskFormer\n" if rng.random() < 0.5 else ""
            )
        if kind == 2:  # merge keys of merge keys
            lines = ["a0: &a0 {x: 1}"] + [
                f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, rng.choice((3, 6, 9, 30)))
            ]
            return "\n".join(lines) + f"\nMODEL: {{<<: *{lines[-1].split(':')[0]}}}\n"
        if kind == 3:
            levels = rng.choice((200, 3000, DEEP))
            return rng.choice(("[" * levels, "{a: " * levels, "- " * levels, "MODEL: " + "[" * levels + "]" * levels,
                "? " * levels,
                               "\n".join(" " * n + "a:" for n in range(min(levels, 2000)))))  # fmt: skip
        if kind == 4:
            tags = ("!!python/object/apply:os.system ['true']", "!!python/name:os.system", "!!python/tuple [1, 2]",
                "!!python/object:x.y {}",
                    "!!binary x", "!!timestamp 9999-99-99", "!!int x", "!!float .nan", "!!set {a}", "!!omap [a: 1]",
                    "!x y", "!!null x",
                    "!!bool x", "2001-13-45", "!!merge <<", "!!pairs [a: b]", "!!str [a]", "!!map [a]", "!!seq {a: b}",
                    "&a *a", "*x")  # fmt: skip
            return f"MODEL:\n  {rng.choice(('PIXEL_MEAN', 'META_ARCHITECTURE', 'RESNETS', 'x'))}: {rng.choice(tags)}\n"
        if kind == 5:
            numbers = (
                *map(str, INTS),
                "9" * 5000,
                "0x" + "f" * 10000,
                "0b" + "1" * 10000,
                "1:" * 3000 + "1",
                ".inf",
                ".nan",
                "1e999",
                "0o9",
                "1_0",
            )
            return _set(rng, good, rng.choice(numbers))
        if kind == 6:
            bases = ("/etc/passwd", "/dev/zero", "/dev/null", "~/x.yaml", "~nobody/x", "https://[x/a.yaml",
                "http://a/b.yaml", "hf://a/b", ".",
                     "..", "/", FILE, f"../project/{FILE}", "swin", "swin/large.yaml", '"\\0"', '"\\ud800"',
                     "x" * 5000, "[a]", "{a: b}", "5",
                     "null", "../../weights.pkl", "!!python/name:os.system", '""', '"a\\nb"', '"\\e[31m"')  # fmt: skip
            return f"_BASE_: {rng.choice(bases)}\n" + (good if rng.random() < 0.3 and "_BASE_" not in good else "")
        if kind == 7:
            return rng.choice(("", "5", "[]", "a", "---\n---\n", "%YAML 9.9\n---\na", "\0", "\ufeff", "a: b: c", "\t",
                "{", "'", '"\\x"', "&a [*a]",
                               "&a {*a : *a}", "? [a]\n: b", "? {a: b}\n: c", "MODEL: &a {RESNETS: *a}",
                               "MODEL: &a [*a]", "#" * 10**6,
                               "a" * 10**6 + ": b", "\ud800"))  # fmt: skip
        if kind == 8:
            return damaged(rng, good.encode()).decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
        literals = ("(1,)" * 1000, "(" * 200 + ")" * 200, "(" * DEEP, "-" * DEEP + "1", "9" * 5000, "1" + "*9" * 100,
            "'\\x'", "{1: {2: 3}}", "1+1j",
                    "__import__('os')", "[1, 2, 3", "b'a'", "'a' 'b'", "{[]}", "1e999", "()", "None",
                        "...")  # fmt: skip
        return _set(
            rng,
            good,
            f"'{rng.choice(literals)}'"
            if rng.random() < 0.6
            else yaml.safe_dump(rng.choice((scalar(rng), rng.choice(STRINGS)))).partition("\n")[0],
        )


def _bomb(rng: Random) -> str:
    """Aliases of aliases: a short text whose value is far larger than memory once it is written out."""
    levels, width = rng.choice(((30, 2), (9, 9), (60, 2), (100, 2), (12, 9))), 0
    count, width = levels
    kind = rng.choice(("list", "map"))
    lines = ["l0: &l0 [lol]"]
    for number in range(1, count):
        items = [f"*l{number - 1}"] * width
        body = (
            "[" + ", ".join(items) + "]"
            if kind == "list"
            else "{" + ", ".join(f"k{at}: {x}" for at, x in enumerate(items)) + "}"
        )
        lines.append(f"l{number}: &l{number} {body}")
    lines[-1] = lines[-1].replace(f"&l{count - 1}", "&last")
    return "\n".join(lines) + "\n"


def _set(rng: Random, good: str, value: str) -> str:
    """Replace the value of one setting."""
    lines = good.splitlines()
    places = [at for at, line in enumerate(lines) if ": " in line and not line.strip().startswith("#")]
    at = rng.choice(places)
    lines[at] = f"{lines[at].partition(':')[0]}: {value}"
    return "\n".join(lines) + "\n"
