"""Execute lessons as they are committed: `python tests/execute.py 04 13` (default: all).

From a fresh kernel, with one stream of output a cell, and without metadata that would change with
the clock or on opening. A lesson that ends in an error stays as it was.
"""

import os
import pathlib
import sys
import time

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

LESSONS = pathlib.Path(__file__).parents[1] / "lessons"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def execute(path):
    """Run a notebook and write it back."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=600, record_timing=False, resources=resources).execute()
    write(CoalesceStreamsPreprocessor().preprocess(notebook, {})[0], path)


def write(notebook, path):
    """Of a cell's metadata only the tags stay."""
    notebook.metadata.kernelspec = nbformat.from_dict(KERNEL)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    for number in sys.argv[1:] or ["[0-9][0-9]"]:
        for path in sorted(LESSONS.glob(f"{number}_*.ipynb")):
            start = time.perf_counter()
            execute(path)
            print(f"{path.stem}: {time.perf_counter() - start:.0f} s", flush=True)
