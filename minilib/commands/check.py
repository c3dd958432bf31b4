"""Compare every twin with its definition, in value and gradient."""

import minilib
from minilib import twins


def arguments(parser):
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="default: all")
    parser.add_argument("--device", help="cpu (default), cuda, cuda:1")


def run(options):
    import torch

    torch.set_num_threads(1)  # the cases are small: more threads only wait for each other
    torch.backends.cudnn.allow_tf32 = False  # it would keep ten bits of a product of float32
    return 1 if twins.table(options.topics, minilib.device(options.device or "cpu")) else 0
