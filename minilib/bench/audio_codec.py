"""How much faster than the sound itself is a codec that streams? And offline, in one piece?"""

import torch

from minilib.audio_codec import AudioCodec
from minilib.lab import sounds
from minilib.lab.measure import seconds_in_turn

SECONDS = 2


def bench(device):
    """Two seconds there and back; "the sound itself" is its length: below it is real time."""
    torch.manual_seed(0)
    net = AudioCodec().to(device).eval()
    wave = torch.tensor(sounds.notes("test", 2 * SECONDS).waves).flatten()[None].to(device)

    def streamed(samples):
        state = after = None
        for piece in wave.split(samples, 1):
            codes, state = net.extend_codes(piece, state)
            _, after = net.extend_wave(codes, after)

    ways = {"streamed, 50 frames a call": lambda: streamed(1600)}
    ways["streamed, 1 frame a call"] = lambda: streamed(32)
    ways["offline"] = lambda: net.decode(net.encode(wave))
    times = seconds_in_turn(ways, 3, device)
    yield "8 codebooks, 250 frames a second", times | {"the sound itself": float(SECONDS)}
