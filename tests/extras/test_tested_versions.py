"""What docs/interoperability.md says was tested is no newer than what is tested here."""

import sys
from importlib.metadata import PackageNotFoundError, version

import pytest
from tools_table import package_versions


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the newest versions are of newer Pythons")
@pytest.mark.parametrize(("package", "tested"), package_versions())
def test_the_version_in_the_table_is_at_most_the_installed_one(package, tested):
    try:
        installed = version(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is in another environment of CI")
    assert [int(part) for part in tested.split(".")] <= [int(part) for part in installed.split("+")[0].split(".")]
