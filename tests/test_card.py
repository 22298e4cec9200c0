"""Model cards: what comes from outside is text in them, whatever it holds."""

import re
from pathlib import Path

import mlx.core as mx
import pytest
import yaml
from helpers import run_cli, small_config, write_huggingface

from lucid_mlx.convert.card import model_card
from lucid_mlx.convert.source import read_source
from lucid_mlx.data.dataset import Dataset
from lucid_mlx.data.label_maps import LabelMapRecord
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.training.folder import RunFolder

GOOD = ["cup", "table", "spoon", "sofa, couch", "traffic light"]
HOSTILE = ["[x](javascript:1)", "<b onclick=x>", "a\n\n# b\n- c", "`", "\n---\n![x](y) https://x.y \x1b]0;x\x07\u202e"]
NO_UTF8 = "a\udcff"  # as Python has names of files


def structure(card: str) -> list[str]:
    """Marks of the lines, and all marks within them that Markdown would heed."""
    head, body = re.fullmatch(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL).groups()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", card)
    plain = re.sub(r"\\[!-/:-@\[-`{-~]", "", body)  # without what is escaped
    return [*yaml.safe_load(head), *(re.sub(r"[^#\-`<>\[\]*_!|~]|(?<=.)-", "", line) for line in plain.split("\n"))]


def card_of(labels: list[str], **metadata: str) -> str:
    config = small_config(num_labels=len(labels))
    config.id2label = dict(enumerate(labels))
    known = {"family": "huggingface", "converter": "lucid_mlx.convert 1", "sha256": "00"}
    return model_card(config, {**known, **metadata}, None)


@pytest.mark.parametrize("value", [*HOSTILE, NO_UTF8])
def test_a_card_has_the_same_structure_whatever_the_names_are(value):
    good = card_of(GOOD, source="a/b", revision="c", license="mit", dataset="d")
    bad = card_of(HOSTILE, source=value, revision=value, license=value, dataset=value)
    there = structure(bad)
    assert ("base_model" in there) == ("://" not in value)
    assert there == [entry for entry in structure(good) if entry != "base_model" or "://" not in value]


@pytest.mark.parametrize("value", [*HOSTILE, NO_UTF8])
def test_so_has_the_card_of_a_trained_model(value, tmp_path):
    def card(labels: list[str], name: str) -> list[str]:
        config = small_config(num_labels=len(labels))
        config.id2label = dict(enumerate(labels))
        dataset = Dataset("semantic", tuple(labels), frozenset(), [LabelMapRecord(tmp_path, tmp_path, 5, 255, False)])
        run = RunFolder(
            tmp_path / name.replace("/", "").replace("\udcff", "")[:9], config, ImageConfig(), dataset, name, name
        )
        run.create({"x": mx.zeros(1)})
        text = (run.path / "README.md").read_text(encoding="utf-8")
        return structure(f"---\na: 1\n---\n{text.replace(command(text), '')}")

    assert card(HOSTILE, value) == card(GOOD, "good")


def command(text: str) -> str:
    """The line of code, in which nothing is a mark."""
    (line,) = [line for line in text.split("\n") if line.startswith("    ")]
    return line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("\ufeff---\r\ntags: [x]\r\nlicense: 'cc-by-nc-4.0' # as it was\r\n---\r\n# x", "cc-by-nc-4.0"),
        ('---\nlicense: "apache-2.0"\nlicense_name: x\n---', "apache-2.0"),
        ("---\nlicense:\n- mit\n---\n", None),
        ("---\nlicense: [mit, x]\n---\n", "other"),
        ("---\nlicense: !!python/object/apply:os.system [id]\n---\n", "other"),
        ("---\nlicense: [x](javascript:1)\n---\n", "other"),
        ("---\nlicense: <b>\n---\n", "other"),
        (f"---\nlicense: {'x' * 65}\n---\n", "other"),
        ("---\nlicense: \u0661\n---\n", "other"),
        ("---\nlicense_name: mit\n---\n", None),
        ("# x\nlicense: mit\n", None),
        ("---\n" + "a: [" * 100_000, None),
        ("", None),
    ],
)
def test_the_license_is_a_word_of_the_hub_or_other(text, expected, tmp_path):
    folder = write_huggingface(tmp_path / "theirs")
    (folder / "README.md").write_bytes(text.encode())
    assert read_source(folder).license == expected


@pytest.mark.parametrize("content", [b"\xff", b"---\nlicense: mit\n---\n" + b" " * (17 << 20), None])
def test_a_card_that_is_none_does_not_stop_a_conversion(content, tmp_path):
    folder: Path = write_huggingface(tmp_path / "theirs")
    if content is None:
        (folder / "README.md").mkdir()
    else:
        (folder / "README.md").write_bytes(content)
    assert "license: unknown" in run_cli("convert", folder, "--dry-run").stdout
