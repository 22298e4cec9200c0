"""What the package index and other Pythons get: metadata, lower bounds, and what a release fills in."""

import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = sorted(
    (x.rsplit(" ", 1)[1] for x in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", x)),
    key=lambda version: int(version.split(".")[1]),
)


def matrix(workflow, job):
    return yaml.safe_load((ROOT / ".github/workflows" / workflow).read_text())["jobs"][job]["strategy"]["matrix"]


def test_every_python_that_is_promised_is_run_by_the_workflow():
    runs = matrix("ci.yml", "check")["include"]
    assert {run["python"] for run in runs} == set(VERSIONS)
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"
    assert {run["python"] for run in matrix("full.yml", "full")["include"]} == {
        VERSIONS[0]
    }  # which has the oldest wheels


@pytest.mark.parametrize("extra", ["", *sorted(PROJECT["optional-dependencies"].keys() - {"dev", "docs"})])
def test_every_dependency_of_users_has_a_lower_bound(extra):
    wanted = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    for requirement in wanted:
        assert requirement.startswith("lucid-mlx[") or re.search(r"[>=]=\d", requirement), requirement


def test_every_folder_with_code_or_data_is_packaged():
    text = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = set(text["tool"]["setuptools"]["packages"])
    folders = {path.parent for path in (ROOT / "lucid_mlx").rglob("*.*") if "__pycache__" not in path.parts}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert packages == found | {"lucid_mlx.convert"}


def test_a_release_gets_addresses_and_links_that_work_without_the_files(tmp_path, monkeypatch):
    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    script = tmp_path / ".ci" / "release_metadata.py"
    script.parent.mkdir()
    script.write_bytes((ROOT / ".ci" / "release_metadata.py").read_bytes())

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        runpy.run_path(str(script), run_name="__main__")

    with pytest.raises(SystemExit, match="nowhere is no repository"):
        run("nowhere", "v1.2.3")
    run("https://github.com/o/n/", "v1.2.3")
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project.pop("urls")["Changelog"] == "https://github.com/o/n/blob/v1.2.3/CHANGELOG.md"
    assert project == PROJECT
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", readme)
    assert all(link.startswith(("https://", "#")) for _, link in links)
    for image, link in links:
        if link.startswith("https://github.com/o/n/"):
            kind, _, path = link.removeprefix("https://github.com/o/n/").split("/", 2)
            assert kind == ("raw" if image else "blob")
            assert (ROOT / path.split("#")[0]).exists(), path
    assert "https://github.com/o/n/raw/v1.2.3/" in readme
    with pytest.raises(SystemExit, match="has addresses already"):
        run("https://github.com/o/n", "v1.2.3")
