"""Plots label what they show."""

import matplotlib
import nbformat
import pytest
import torch
from nbclient import NotebookClient

from minilib import lab
from minilib.lab import plot

matplotlib.use("agg")


def test_plots_label_their_axes():
    two = {"a": ([1, 2], [3, 4]), "b": ([1, 2], [3, 5])}
    names = {"x": "x (s)", "y": "y (m)", "title": "t"}
    ticks = {"x_ticks": "abc", "y_ticks": "abc"}
    for axes in (
        plot.curves(two, **names, log="xy", markers=True),
        plot.heatmap(torch.eye(3), **names, value="v", centred=True, **ticks),
        plot.bars({"a": 1.0, "b": 2.0}, x="y (m)", y="x (s)", title="t"),
    ):
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("x (s)", "y (m)", "t")


def test_tokens_are_shown_escaped_and_with_borders():
    shown = lab.plot.tokens([b"<b>", b" a", b"\n", b"\xe5\xad"], title="x < y")
    assert shown._repr_html_() == shown and shown.count("border:1px") == 4 == shown.count("</span>")
    for part in ("&lt;b&gt;", "<b>x &lt; y</b>", "␣a", "↵</span><br>", "E5 AD"):
        assert part in shown


def test_boxes_arrows_and_their_labels_are_drawn():
    boxes = {"x_t": (0, 0), "×": (1, 0, 1), "×|out": (2, 1)}
    axes = plot.diagram(boxes, [("x_t", "×"), ("×", "×|out", "keeps", 0.3)], title="A cell")
    shown = [text.get_text() for text in axes.texts]
    assert axes.get_title() == "A cell" and shown == ["x_t", "×", "×", "", "", "keeps"]
    with pytest.raises(KeyError):
        plot.diagram(boxes, [("x_t", "y")], title="an arrow to nowhere")


def test_text_is_shaded_by_value():
    shown = plot.shaded("a <\n", [0.0, -1.0, 0.5, 1.0], title="t", low="off", high="on")
    for part in ("<b>t</b>", "&lt;", "↵<br>", "0,114,178,0.80", "213,94,0,0.40", "off", "on"):
        assert part in shown
    with pytest.raises(ValueError, match=r"one number a character \(2\), got \(3,\)"):
        plot.shaded("ab", [1, 2, 3])


CELL = """
from minilib.lab import plot
plot.bars({"a": 1.0}, y="y", title="t")
plot.show("A bar\\n  of height 1.")
"""


def test_a_picture_is_shown_with_words():
    """In a notebook they stand beside the picture."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook).execute()
    (output,) = notebook.cells[0].outputs
    assert "image/png" in output.data
    assert output.metadata["image/png"]["alt"] == "A bar of height 1."
    with pytest.raises(ValueError, match="alt must say what the picture shows"):
        plot.show(" ")
