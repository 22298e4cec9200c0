import mlx.core as mx
import pytest
from host_kernels import CudaOnCPU, MetalOnCPU

from lucid_mlx.backends.gpu import add_layer_norm, deformable_kernel, group_norm, max_pool


@pytest.fixture(params=["metal", "cuda"])
def backend(request, monkeypatch):
    """Has the kernels of a backend run on the CPU, with all of the package's code around them."""
    monkeypatch.setattr(mx.fast, "cuda_kernel", CudaOnCPU, raising=False)
    for module in (add_layer_norm, deformable_kernel, group_norm, max_pool):
        built = module.kernels.__wrapped__(request.param)  # not from its cache: texts may have been changed
        if request.param == "metal":
            built = tuple(MetalOnCPU(kernel) for kernel in built)
        monkeypatch.setattr(module, "kernels", lambda backend, built=built: built)
    return request.param
