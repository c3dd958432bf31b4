"""python -m minilib list | check | grade | bench | data | train   (each with --help)."""

import argparse
import importlib
import sys

import minilib

COMMANDS = ("list", "check", "grade", "bench", "data", "train")  # modules of minilib/commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status. A ValueError or RuntimeError becomes one line."""
    parser = argparse.ArgumentParser(
        prog="python -m minilib", description=minilib.__doc__.split("\n")[0]
    )
    parser.add_argument("--version", action="version", version=f"minilib {minilib.__version__}")
    commands = parser.add_subparsers(required=True, metavar=" | ".join(COMMANDS))
    for name in COMMANDS:
        module = importlib.import_module(f"minilib.commands.{name}")
        about = module.__doc__.split("\n")[0]
        one = commands.add_parser(name, help=about, description=about)
        module.arguments(one)
        one.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError) as error:
        print(f"minilib: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
