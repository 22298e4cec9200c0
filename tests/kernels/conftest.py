import mlx.core as mx
import pytest
from host_kernels import CudaOnCPU, MetalOnCPU

from lucid_mlx.backends.gpu import deformable_kernel


@pytest.fixture(params=["metal", "cuda"])
def backend(request, monkeypatch):
    """Has the kernels of a backend run on the CPU, with all of the package's code around them."""
    monkeypatch.setattr(mx.fast, "cuda_kernel", CudaOnCPU)
    pair = deformable_kernel.kernels.__wrapped__(request.param)  # not from its cache: texts may have been changed
    if request.param == "metal":
        pair = tuple(MetalOnCPU(kernel) for kernel in pair)
    monkeypatch.setattr(deformable_kernel, "kernels", lambda backend: pair)
    return request.param
