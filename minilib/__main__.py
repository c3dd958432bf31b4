"""python -m minilib list, check, grade, bench, data, train, contest, tokenizer, book (--help)."""

import argparse
import importlib
import sys

import minilib

# modules of minilib/commands
COMMANDS = ("list", "check", "grade", "bench", "data", "train", "contest", "tokenizer", "book")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status.

    Status 2: a ValueError, RuntimeError or OSError, which becomes one line. 130: Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # no report dies for a letter that a console lacks
            stream.reconfigure(errors="backslashreplace")
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
    except (ValueError, RuntimeError, OSError) as error:
        print("minilib:", " ".join(map(str.strip, str(error).splitlines())), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("minilib: stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
