"""Half-second sounds at 8,000 samples a second, all of them synthesised, and players for them.

No microphone was involved: plucked strings (Karplus & Strong 1983), tones of harmonics, and vowels
of a source and two formants. They are far simpler than music or speech.
"""

import base64
import html
import io
import math
import wave
from typing import NamedTuple

import numpy as np

RATE = 8000
PARTS = ("train", "validation", "test")
KINDS = ("string", "tone", "vowel")
# the two lowest resonances of a mouth, in hertz: rough figures for five vowels
VOWELS = {"a": (730, 1090), "e": (530, 1840), "i": (270, 2290), "o": (570, 840), "u": (300, 870)}
LOWEST, HIGHEST = 40, 72  # semitones, as in MIDI: 69 is 440 Hz


class Sounds(NamedTuple):
    """Clips of one part, and what each is."""

    waves: np.ndarray  # (count, samples) float32 in (-1, 1)
    kinds: list[str]  # "string", "tone" or "vowel"
    pitches: np.ndarray  # (count,) semitones


def pitches(part: str) -> list[int]:
    """The semitones of a part: of every six, one is for validation, one for the test."""
    _check_part(part)
    of = {2: "validation", 4: "test"}
    return [n for n in range(LOWEST, HIGHEST) if of.get(n % 6, "train") == part]


def notes(part: str = "train", count: int = 256, samples: int = 4000, seed: int = 0) -> Sounds:
    """Synthesised notes: every third a plucked string, a tone of harmonics, a vowel.

    part     "train", "validation" or "test": their pitches differ, see `pitches`
    count    clips; clip k depends on part, samples, seed and k alone
    samples  of each clip, 8,000 a second
    Raises ValueError for another part, a count below 1 and fewer than 2 samples: the first is 0.
    """
    if count < 1 or samples < 2:
        raise ValueError(f"count must be 1 and samples 2 or more, got {count} and {samples}")
    waves, drawn, choice = np.zeros((count, samples), np.float32), [], pitches(part)
    for k in range(count):
        random = np.random.default_rng([seed, PARTS.index(part), k, 7])
        pitch = random.choice(choice)
        hertz = 440 * 2 ** ((pitch - 69) / 12)
        make = (_string, _tone, _vowel)[k % 3]
        wave_ = make(hertz, samples, random)
        waves[k] = random.uniform(0.4, 0.9) * wave_ / np.abs(wave_).max()
        drawn.append(pitch)
    return Sounds(waves, [KINDS[k % 3] for k in range(count)], np.array(drawn))


def _check_part(part):
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}, got {part!r}")


def _string(hertz, samples, random):
    """Karplus & Strong: noise runs round a loop, and each round is a little smoother."""
    loss, bright = random.uniform(0.985, 0.998), random.uniform(0.5, 0.9)
    period = RATE / hertz - (1 - bright)  # the mean of two neighbours delays a little
    length, part = int(period), period - int(period)
    ring = np.zeros(samples + length + 2)
    noise = random.uniform(-1, 1, length + 2)
    ring[: length + 2] = noise - noise.mean()
    for n in range(length + 2, len(ring)):
        last = (1 - part) * ring[n - length] + part * ring[n - length - 1]
        before = (1 - part) * ring[n - length - 1] + part * ring[n - length - 2]
        ring[n] = loss * (bright * last + (1 - bright) * before)
    return ring[-samples:]


def _tone(hertz, samples, random):
    """Harmonics that fall off, with a soft start, a decay and a slight vibrato."""
    t = np.arange(samples) / RATE
    depth, speed = random.uniform(0, 0.006), random.uniform(4, 7)
    phase = 2 * np.pi * hertz * (t - depth / (2 * np.pi * speed) * np.cos(2 * np.pi * speed * t))
    slope, out = random.uniform(0.8, 2.5), np.zeros(samples)
    for h in range(1, min(12, int(0.45 * RATE / hertz)) + 1):
        out += random.uniform(0.3, 1) * h**-slope * np.sin(h * phase + random.uniform(0, 2 * np.pi))
    rise, fall = random.uniform(0.005, 0.05), random.uniform(0.3, 2.0)
    return out * (1 - np.exp(-t / rise)) * np.exp(-t / fall)


def _vowel(hertz, samples, random):
    """Pulses at the pitch through two resonances: source and filter, as in a voice."""
    hertz = hertz / 2 if hertz > 300 else hertz  # nobody speaks as high as a violin
    t = np.arange(samples) / RATE
    pitch = hertz * 2 ** (random.uniform(-0.1, 0.1) * t)
    turns = np.cumsum(pitch) / RATE
    pulses = np.diff(np.floor(turns), prepend=0) + 0.02 * random.normal(size=samples)
    first, second = VOWELS[random.choice(list(VOWELS))]
    stretch = random.uniform(0.92, 1.12)  # longer and shorter throats
    out = _resonance(_resonance(pulses, first * stretch, 90), second * stretch, 120)
    return out * np.minimum(1, t / 0.02) * np.minimum(1, (samples / RATE - t) / 0.05)


def _resonance(x, hertz, width):
    """A filter with two poles: rings at `hertz`, `width` hertz broad."""
    r = math.exp(-math.pi * width / RATE)
    a, b = 2 * r * math.cos(2 * math.pi * hertz / RATE), -r * r
    y = np.zeros(len(x) + 2)
    for n in range(len(x)):
        y[n + 2] = x[n] + a * y[n + 1] + b * y[n]
    return y[2:]


# -- to be heard -----------------------------------------------------------------------------------


def wav(samples) -> bytes:
    """A WAV file of numbers in [-1, 1], 16 bits each; what is louder is cut off."""
    values = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"samples must be one row of finite numbers, got shape {values.shape}")
    numbers = (values.clip(-1, 1) * 32767).round().astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(numbers.tobytes())
    return file.getvalue()


class Players(str):
    """HTML that a notebook shows; where there is none, how many players there are."""

    _repr_html_ = str.__str__

    def __repr__(self):
        return f"<{self.count('<audio')} players>"


def players(sounds: dict) -> Players:
    """A player for each sound, with its label, for the notebook to show.

    sounds  {label: samples (n,), 8,000 a second}; two bytes a sample are stored in the notebook
    """
    rows = []
    for label, samples in sounds.items():
        data = base64.b64encode(wav(samples)).decode()
        source = f'src="data:audio/wav;base64,{data}" type="audio/wav"'
        name = html.escape(label)
        sound = f'<audio controls preload="none" aria-label="{name}" {source}></audio>'
        rows.append(f"<div>{name}<br>{sound}</div>")  # above: a phone is narrow
    return Players("".join(rows))
