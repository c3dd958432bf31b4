"""How Sphinx makes the book. `python -m minilib book` lays out the sources and calls it."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

import minilib

project = html_title = "Sequence models from first principles"
author = "the minilib authors"
copyright = f"{author}, MIT licence"
version = minilib.__version__
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx_copybutton"]
exclude_patterns = ["README.md", "lessons/notebooks"]  # parts of other pages; files to fetch

nb_execution_mode = "off"
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_dmath_double_inline = True  # a display equation in a list
myst_heading_anchors = 3

html_theme = "furo"
html_static_path = ["_static", "_mathjax"]
html_css_files = ["book.css"]
html_copy_source = False
html_show_sphinx = False
html_math_renderer = "mathjax"
mathjax_path = "mathjax/tex-chtml.js"  # a file of the book: nothing is asked of a network
mathjax3_config = {"options": {"enableMenu": False}}

epub_basename = "minilib"
epub_show_urls = "no"


def mathml(display):
    """A renderer for readers of EPUB, which run no scripts."""

    def write(writer, node):
        text = node.astext().replace(r"\{", r"\lbrace ").replace(r"\}", r"\rbrace ")
        writer.body.append(convert(text.strip(), display=display))
        raise SkipNode

    return write, None


def setup(app):
    app.add_html_math_renderer("mathml", mathml("inline"), mathml("block"))
