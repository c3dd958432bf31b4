"""Twins beside their peers: `bench(device)` yields (what, {name: seconds or bytes}), ours first."""
