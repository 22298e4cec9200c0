"""The table of tools names calls, formats, versions and tests that exist."""

import re
import sys
from pathlib import Path

from tools_table import ROWS, package_versions

from lucid_mlx import Segmentation
from lucid_mlx.cli.formats import CUTOUTS, FORMATS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
EXPORT = re.compile(r"(to_\w+|cutout|matte|blur_background|replace_background|save|load)\b")


def release(version):
    return tuple(map(int, version.split(".")))


def test_every_row_has_a_test_that_ci_runs():
    assert len(ROWS) > 20
    ci = (ROOT / ".ci" / "run").read_text()
    for row in ROWS:
        assert (ROOT / row.test).is_file(), row.test
        assert str(Path(row.test).parent) in ("tests", "tests/extras", "tests/parity")
    assert all(re.search(rf"pytest (-n auto )?{folder}\n", ci) for folder in ("tests/extras", "tests/parity"))


def test_calls_and_formats_exist():
    for row in ROWS:
        for name in re.findall(r"`(?:Segmentation\.)?(\w+)", row.call) if row.formats else []:
            assert callable(getattr(Segmentation, name)), name
        for name in re.findall(r"`([\w-]+)", row.formats):
            assert name in FORMATS or name == "-", name
    listed = {name for row in ROWS for name in re.findall(r"`([\w-]+)", row.formats)}
    assert listed >= set(FORMATS) - {"overlay", "mask", "json", *CUTOUTS}
    every = {name for name in dir(Segmentation) if name.startswith("to_")} - {"to_json", "to_mask"}
    assert every <= {name for row in ROWS for name in re.findall(r"`(\w+)", row.call)}


def test_every_format_has_a_row_on_the_page_of_commands():
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert all(f"\n| `{name}` | " in commands for name in FORMATS)


def test_the_versions_are_of_packages_that_are_installed_for_the_tests_and_not_below_the_lower_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    bounds = {match[1]: match[2] for one in wanted if (match := re.match(r"([\w-]+)[>=]=([\d.]+)", one))}
    ci = (ROOT / ".ci" / "run").read_text()
    brought = {"opencv-python": "trackeval"}  # by what
    for package, version in package_versions():
        if package in bounds:
            assert release(version) >= release(bounds[package]), package
        else:
            assert re.search(rf"^.*install .*\b{brought.get(package, package)}\b", ci, re.M), package
