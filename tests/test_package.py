import subprocess
import sys

import pytest

import lucid_mlx


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, lucid_mlx; print(*sorted({'numpy', 'PIL', 'tqdm', 'scipy', 'mlx.nn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize("name", lucid_mlx.__all__)
def test_what_is_public_is_there_when_it_is_used(name):
    code = f"import lucid_mlx; assert getattr(lucid_mlx, {name!r}) is lucid_mlx.{name}"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert name in dir(lucid_mlx)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'segmenter_'"):
        _ = lucid_mlx.segmenter_
