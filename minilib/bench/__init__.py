"""Each twin beside its definition and peers: `bench(device)` yields (what, {name: seconds or bytes}); ours first."""
