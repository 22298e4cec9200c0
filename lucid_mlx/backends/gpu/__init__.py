"""Kernels for Metal and CUDA."""
