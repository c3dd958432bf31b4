"""Make the book: all lessons, as last executed, as pages that need no server and no network."""

import ast
import base64
import importlib
import inspect
import pathlib
import pkgutil
import re
import shutil
import tempfile
import textwrap

import minilib

ROOT = pathlib.Path(minilib.__file__).parents[1]
COPIED = ("README.md", "CONTRIBUTING.md", "CITATION.cff", "requirements.txt", "data/README.md")

# the number of the first lesson of each part
PARTS = {
    0: "1 · Predict the next symbol",
    8: "2 · Tokens",
    13: "3 · Attention",
    18: "4 · The U-Net analog",
    23: "5 · State spaces",
    27: "6 · Patches of bytes",
    31: "7 · Everything is tokens",
    37: "8 · Decode faster",
}


def arguments(parser):
    parser.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("build/book"),
        help="folder for index.html and minilib.epub; a book that is there is replaced",
    )
    parser.add_argument(
        "--repository", metavar="URL", help="where the course lies in public: pages link there"
    )


def run(options):
    try:
        from sphinx.cmd.build import main as sphinx
    except ImportError:
        raise RuntimeError(
            "the book needs Sphinx and more: python -m pip install -r requirements.txt"
        ) from None
    if not (ROOT / "book" / "conf.py").is_file():
        raise RuntimeError("the lessons are not in an installed package: run this in a checkout")
    out = options.out
    older = (out / "index.html").is_file() and (out / "minilib.epub").is_file()
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not older):
        raise ValueError(f"--out must be an empty folder or an older book, got {out}")
    with tempfile.TemporaryDirectory() as work:
        source, made = pathlib.Path(work, "source"), pathlib.Path(work, "book")
        lay_out(source, options.repository)
        common = ["-q", "-W", "--keep-going", "-d", f"{work}/parsed"]
        epub = ["-D", "html_math_renderer=mathml", "-D", "html_static_path=_static"]
        failed = sphinx(["-b", "html", *common, str(source), str(made)])
        failed = failed or sphinx(["-b", "epub", *common, *epub, str(source), f"{work}/epub"])
        if failed:
            return failed
        shutil.copy(f"{work}/epub/minilib.epub", made)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(made, out)
    print(f"open {out / 'index.html'}; for readers: {out / 'minilib.epub'}")


def lay_out(source, repository=None):
    """Write the sources to a new folder: the repository's own files, where they lie in it."""
    from minilib.lab import fetch

    shutil.copytree(ROOT / "book", source)
    for name in (*COPIED, *(f"data/weights/{p.name}" for p in _files("data/weights", "*.json"))):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    shutil.copy(ROOT / "data" / "requirements.txt", source / "data")
    shutil.copytree(ROOT / "lessons" / "solutions", source / "lessons" / "solutions")
    for path in _files("lessons", "*.png"):
        shutil.copy(path, source / "lessons")
    teaching = (ROOT / "lessons" / "teaching.md").read_text(encoding="utf-8")
    (source / "lessons" / "teaching.md").write_text(to_front(teaching), encoding="utf-8")
    index = (source / "index.md").read_text(encoding="utf-8")
    (source / "index.md").write_text(index.replace("PARTS", contents()), encoding="utf-8")
    wheel = fetch.fetch("django-static-mathjax", requirements=ROOT / "book" / "requirements.txt")
    mathjax = wheel / "mathjax" / "static" / "mathjax" / "es5"
    fonts = "output/chtml/fonts/woff-v2"
    shutil.copytree(mathjax / fonts, source / "_mathjax" / "mathjax" / fonts)
    shutil.copy(mathjax / "tex-chtml.js", source / "_mathjax" / "mathjax")
    (source / "_static").mkdir()
    (source / "book.css").rename(source / "_static" / "book.css")
    names = library(source / "library")
    for path in _files("lessons", "[0-9]*.ipynb"):
        lesson(path, source / "lessons" / path.name, names, repository)


def to_front(text):
    """The README's place is taken by the front page."""
    return text.replace("](../README.md)", "](../index.md)")


def contents():
    """Tables of contents, one for each part that has lessons."""
    lessons = {part: [] for part in PARTS}
    for path in _files("lessons", "[0-9]*.ipynb"):
        lessons[max(first for first in PARTS if first <= int(path.stem[:2]))].append(path.stem)
    return "\n\n".join(
        "\n".join(("```{toctree}", ":hidden:", f":caption: {PARTS[part]}", ""))
        + "".join(f"\nlessons/{stem}" for stem in stems)
        + "\n```"
        for part, stems in lessons.items()
        if stems
    )


def _files(folder, pattern):
    return sorted((ROOT / folder).glob(pattern))


# -- lessons ---------------------------------------------------------------------------------------


def lesson(path, target, names, repository):
    """A notebook, with alternative texts where myst-nb looks for them and links to the library."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    topic = path.stem[3:]
    own = {n.removeprefix(f"{topic}."): names[n] for n in names if n.startswith(f"{topic}.")}
    fetched = target.parent / "notebooks" / path.name
    fetched.parent.mkdir(exist_ok=True)
    nbformat.write(hosted(notebook, repository) if repository else notebook, fetched)
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)  # they are for the tests
        if cell.cell_type == "markdown":
            cell.source = linked(to_front(cell.source), names | own)
            if cell.source.startswith("## Glossary\n"):
                glossary = target.parent / "glossary.md"
                glossary.write_text(cell.source[1:] + "\n", encoding="utf-8")
        for output in cell.get("outputs", ()):
            if image := output.get("metadata", {}).get("image/png"):
                cell.metadata["mystnb"] = {"image": {"alt": image["alt"]}}
            if path.stem.startswith("00") and "A table of dots" in str(image):
                drawn = base64.b64decode(output.data["image/png"])
                (target.parents[1] / "map.png").write_bytes(drawn)
    links = [f"[its definitions and twins](../library/{topic}.md)"]
    links += [
        f"{{download}}`the notebook, to run it in a copy of the course <notebooks/{path.name}>`"
    ]
    if repository:
        links += [f"[in the repository]({repository}/blob/main/lessons/{path.name})"]
    notebook.cells[0].source += f"\n\n**This lesson:** {', '.join(links)}."
    nbformat.write(notebook, target)


def hosted(notebook, repository):
    """The notebook with a first cell that installs the library, where it is not there yet."""
    import nbformat
    from nbformat.v4 import new_code_cell

    install = f"""# on a hosted notebook; does nothing where minilib is installed
import importlib.util

if importlib.util.find_spec("minilib") is None:
    %pip install -q "minilib-course @ git+{repository}"
"""
    cells = [new_code_cell(install.strip(), id="install"), *notebook.cells]
    return nbformat.from_dict(notebook | {"cells": cells})


def linked(text, names):
    """`naive.lstm` in a text becomes a link to its place in the pages of the library."""

    def link(match):
        name = match[1].removeprefix("minilib.").removeprefix("naive.").removesuffix("()")
        return f"[{match[0]}](#{names[name]})" if name in names else match[0]

    pieces = re.split(
        r"(```.*?```|^#.*?$|\[[^\]]*\]\([^)]*\))", text, flags=re.DOTALL | re.MULTILINE
    )
    pieces[::2] = [re.sub(r"`([\w.]+(?:\(\))?)`", link, piece) for piece in pieces[::2]]
    return "".join(pieces)


# -- the library -----------------------------------------------------------------------------------


def library(folder):
    """Write a page for each module; returns {name: label} of all that can be linked."""
    pairs = {pair.fast: pair for pair in minilib.twins.load()}
    names = {}
    for module in modules():
        parts = []
        for name, thing in public(module):
            pair = pairs.get(thing)
            code = (
                [inspect.getsource(pair.definition), inspect.getsource(thing)]
                if pair
                else [outline(thing)]
            )
            label = f"{module}-{len(parts)}".replace("_", "-").replace(".", "-")
            names |= {f"{module}.{name}": label}
            if pair:
                names[f"{module}.{pair.definition.__name__}"] = label
            blocks = [f"<div>\n\n````python\n{text.rstrip()}\n````\n\n</div>" for text in code]
            parts.append(
                f'({label})=\n## {name}\n\n<div class="pair">\n\n'
                + "\n\n".join(blocks)
                + "\n\n</div>"
            )
        about = inspect.getdoc(module_of(module))
        if parts:
            text = f"# {module}\n\n````text\n{about}\n````\n\n" + "\n\n".join(parts) + "\n"
            (folder / f"{module}.md").write_text(text, encoding="utf-8")
    return names


def modules():
    """The modules that others import, by their names in minilib: "lstm", "lab.data"."""
    from minilib import lab

    rooms = {"naive", "cases", "bench", "commands", "cuda", "lab"}
    top = {m.name for m in pkgutil.iter_modules(minilib.__path__)} - rooms
    inside = {f"lab.{m.name}" for m in pkgutil.iter_modules(lab.__path__)}
    return sorted(name for name in top | inside if not name.startswith("_"))


def module_of(name):
    return importlib.import_module(f"minilib.{name}")


def public(name):
    """(name, function or class) that a module defines for others, in the order of its text."""
    module = module_of(name)
    return [
        (key, thing)
        for key, thing in vars(module).items()
        if not key.startswith("_") and (inspect.isfunction(thing) or inspect.isclass(thing))
        if thing.__module__ == module.__name__ and thing.__doc__
    ]


def outline(thing):
    """What a function or class takes and says, without what it does."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    for node in [tree, *tree.body]:
        if isinstance(node, ast.FunctionDef):
            node.body = node.body[:1] if ast.get_docstring(node) else [ast.Expr(ast.Constant(...))]
    if isinstance(tree, ast.ClassDef):
        keep = lambda n: (
            not isinstance(n, ast.FunctionDef) or n.name == "__init__" or n.name[0] != "_"
        )
        tree.body = [node for node in tree.body if keep(node)]
    return ast.unparse(tree)
