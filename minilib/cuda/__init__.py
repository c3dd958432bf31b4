"""Kernels that torch has no fast formulation for, written in Triton: one file for each topic that needs one. A twin calls them on CUDA."""
