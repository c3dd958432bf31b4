"""What lessons use around models: data, training, evaluation, generation, plots."""

from minilib.lab import data, plot
from minilib.lab.evaluate import bits_per_byte
from minilib.lab.generate import generate
from minilib.lab.train import fit
from minilib.lab.weights import load

__all__ = ["bits_per_byte", "data", "fit", "generate", "load", "plot"]
