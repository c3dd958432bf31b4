"""Kernels in Triton, where torch has no fast formulation; the twin calls them on CUDA."""
