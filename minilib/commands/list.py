"""Name all that can be graded, one line each."""

import minilib


def arguments(parser):
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help="default: all")


def run(options):
    for name, what in minilib.pairs(*options.topics).items():
        print(f"{name:<34} {what}")
