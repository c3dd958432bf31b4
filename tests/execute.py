"""Execute lessons as they are committed: `python tests/execute.py 04 13` (default: all).

From a fresh kernel, with one stream of output a cell, and without metadata that would change with
the clock or on opening. A lesson that ends in an error stays as it was. `--path own.txt` runs them
on a text of one's own instead, and writes nothing.
"""

import argparse
import os
import pathlib
import time

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

LESSONS = pathlib.Path(__file__).parents[1] / "lessons"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def execute(path, own=None):
    """Run a notebook and write it back; with a text of one's own, only run it."""
    notebook = nbformat.read(path, as_version=4)
    if own is not None:
        first = notebook.cells[1]
        assert "\npath = None  #" in first.source, f"{path.stem} takes no text of one's own"
        first.source = first.source.replace("\npath = None", f"\npath = {str(own)!r}")
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    if own is None:
        write(notebook, path)
    return notebook


def write(notebook, path):
    """Of a cell's metadata only the tags stay."""
    notebook.metadata.kernelspec = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("numbers", nargs="*", default=["[0-9][0-9]"], metavar="NN")
    parser.add_argument("--path", type=lambda own: pathlib.Path(own).resolve())
    chosen = parser.parse_args()
    for number in chosen.numbers:
        for path in sorted(LESSONS.glob(f"{number}_*.ipynb")):
            start = time.perf_counter()
            execute(path, chosen.path)
            print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
