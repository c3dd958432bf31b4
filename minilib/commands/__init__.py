"""The command line: each module is a command, named like it.

The first line of its docstring is its help; arguments(parser) adds what it takes, run(options)
does it and returns the exit status, None for 0.
"""
