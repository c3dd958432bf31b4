"""What the definition of the causal convolution and its twin are tried on."""


def causal_conv(rng):
    """One sample; kernels shorter than, as long as and longer than the signal; odd lengths."""
    for B, H, L, taps in [(1, 1, 1, 1), (2, 3, 7, 7), (1, 2, 9, 4), (3, 1, 5, 8), (1, 1, 1, 3)]:
        yield rng.normal(size=(H, taps)), rng.normal(size=(B, H, L))
