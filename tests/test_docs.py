"""README and docs: links lead somewhere, commands and keys exist, and what is made from the code is up to date."""

import re
import runpy
import shlex
from pathlib import Path

import click
import pytest
from click.shell_completion import get_completion_class

from lucid_mlx import InputError
from lucid_mlx.cli.main import main
from lucid_mlx.training import read_config
from lucid_mlx.weights.catalog import all_checkpoints

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), *ROOT.glob(".github/*.md")]
)
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


def anchors(text):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), target


def commands():
    """Every call of `lucid-mlx` in a shell block or in backticks, with its page."""
    for page, text in TEXTS.items():
        lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        lines += re.findall(r"`([^`\n]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in lines:
            for part in line.split("&&"):
                words = shlex.split(part, comments=True) if "lucid-mlx " in part else []
                places = [place for place, word in enumerate(words) if word.rsplit("/", 1)[-1] == "lucid-mlx"]
                if places and words[places[0] + 1 :]:
                    yield page, words[places[0] + 1 :]


def test_the_count_of_published_checkpoints_is_right():
    assert f"shows {len(all_checkpoints())} published checkpoints" in TEXTS["README.md"]


def test_shells_are_told_the_variable_that_completes():
    shells = re.findall(r"(\w+)=(\w+)_source lucid-mlx", TEXTS["docs/commands.md"])
    assert {shell for _, shell in shells} == {"zsh", "bash", "fish"}
    for variable, shell in shells:
        completion = get_completion_class(shell)(main, {}, "lucid-mlx", variable)
        assert f"{variable}={shell}_complete" in completion.source_template % completion.source_vars()
        assert [x.value for x in completion.get_completions([], "wei")] == ["weights"]
        assert "panoptic" in [x.value for x in completion.get_completions(["segment", "--task"], "pan")]


COMMANDS = list(commands())


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page}: {' '.join(words)}" for page, words in COMMANDS])
def test_commands_have_verbs_and_options_that_exist(page, words):
    command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command, words = command.commands[words[0]], words[1:]
    options = {name for parameter in command.params for name in parameter.opts} | {"--help", "--version"}
    for word in words:
        if word.startswith("-") and word != "-":
            assert word.split("=")[0] in options, f"{command.name} has no {word}"


def test_scripts_and_tests_that_are_named_exist():
    for page, text in TEXTS.items():
        for name in re.findall(r"(?:python|pytest) ([\w/.-]+/[\w.-]+)", text):
            assert (ROOT / name).exists(), f"{page}: {name}"


TOMLS = [(page, toml) for page, text in TEXTS.items() for toml in re.findall(r"```toml\n(.*?)```", text, re.DOTALL)]


@pytest.mark.parametrize(("page", "toml"), TOMLS, ids=[page for page, _ in TOMLS])
def test_training_files_are_read(page, toml, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(toml)
    assert read_config(path).steps == 2000


def test_the_reference_of_the_training_file_is_what_the_script_prints(capsys):
    runpy.run_path(str(ROOT / "docs" / "training_reference.py"), run_name="__main__")
    assert TEXTS["docs/training-reference.md"] == capsys.readouterr().out, (
        "run: python docs/training_reference.py > docs/training-reference.md"
    )


def test_every_key_of_the_reference_has_a_description():
    rows = re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", TEXTS["docs/training-reference.md"], re.M)
    assert len(rows) > 50
    assert not [name for name, text in rows if not text.strip()]


def test_the_key_that_chooses_an_augmentation_is_the_one_of_the_reference(tmp_path):
    titles = re.findall(r'^### `\[augmentation\]` with `(\w+) = "(\w+)"`', TEXTS["docs/training-reference.md"], re.M)
    start = 'steps = 1\n[train]\nimages = "a"\nannotations = "b"\n'
    path = tmp_path / "my.toml"
    made = []
    for key, value in titles:
        path.write_text(f'{start}[augmentation]\n{key} = "{value}"\n')
        made.append(type(read_config(path).augmentation))
    path.write_text(start)
    assert type(read_config(path).augmentation) is made[0]
    assert len(set(made)) == len(made) > 1
    path.write_text(f'{start}[augmentation]\n{titles[0][0]} = "none"\n')
    with pytest.raises(InputError, match=titles[1][1]):
        read_config(path)


@pytest.mark.parametrize("page", ["docs/how-it-works.md", "CONTRIBUTING.md"])
def test_functions_and_classes_that_are_named_are_in_the_code(page):
    folders = ("lucid_mlx", "convert", "tests", "docs", "benchmarks")
    code = "\n".join(
        path.read_text(encoding="utf-8") for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))
    )
    text = re.sub(r"```.*?```", "", TEXTS[page], flags=re.DOTALL)
    names = re.findall(r"`@?(?:[a-z_]+\.)*(\w*[A-Z_]\w*)`", text)
    assert names
    assert not [name for name in names if not re.search(rf"\b{name}\b", code)]
