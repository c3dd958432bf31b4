"""The book as a reader meets it: whole, built without a warning, asking nothing of a network."""

import html.parser
import json
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.parse
import zipfile

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
LESSONS = sorted((ROOT / "lessons").glob("[0-9]*.ipynb"))


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "book"
    command = [sys.executable, "-m", "minilib", "book", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def pages(book):
    return {path: Page(path) for path in sorted(book.rglob("*.html"))}


class Page(html.parser.HTMLParser):
    """What a page loads, where it links to, what can be linked in it, and its pictures."""

    LOADS = ("script", "img", "iframe", "audio", "video", "source", "embed", "object")

    def __init__(self, path):
        super().__init__()
        self.loads, self.links, self.places, self.pictures = [], [], set(), []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.places.add(found.get("id"))
        source = found.get("src") or found.get("data") or found.get("href")
        if tag == "img":
            self.pictures.append(found)
        if tag == "a" and source:
            self.links.append(source)
        elif source and (tag in self.LOADS or found.get("rel") in ("stylesheet", "icon")):
            self.loads.append(source)


def file_of(page, address):
    return (page.parent / urllib.parse.unquote(urllib.parse.urlsplit(address).path)).resolve()


# -- whole -----------------------------------------------------------------------------------------


def test_every_lesson_is_a_page_that_leads_to_the_next(book, pages):
    names = [path.stem for path in LESSONS]
    for name, following in zip(names, [*names[1:], "glossary"], strict=True):
        page = pages[book / "lessons" / f"{name}.html"]
        assert 'rel="next" title=' in page.text and f'href="{following}.html"' in page.text
        assert f"lessons/{name}.html" in pages[book / "index.html"].links


def test_links_lead_to_places_that_exist(book, pages):
    for path, page in pages.items():
        for address in page.links:
            if urllib.parse.urlsplit(address).scheme:
                assert address.startswith(("https://", "http://"))
                continue
            target = file_of(path, address) if not address.startswith("#") else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), (path.name, address)
            place = urllib.parse.unquote(urllib.parse.urlsplit(address).fragment)
            if place and target.suffix == ".html":
                assert place in pages[target].places, (path.name, address)


def test_every_picture_says_what_is_to_be_seen(book, pages):
    for path, page in pages.items():
        for picture in page.pictures:
            assert len(picture.get("alt", "")) > 12, (path.name, picture.get("src"))
    for path in LESSONS:
        texts = [
            output.metadata["image/png"]["alt"]
            for cell in nbformat.read(path, as_version=4).cells
            for output in cell.get("outputs", ())
            if "image/png" in output.get("data", {})
        ]
        shown = [p["alt"] for p in pages[book / "lessons" / f"{path.stem}.html"].pictures]
        assert [text for text in shown if text in texts] == texts


def test_the_library_shows_a_definition_beside_its_twin(book, pages):
    text = re.sub(r"<[^>]*>", "", pages[book / "library" / "lstm.html"].text)
    assert "def lstm_lm(" in text and "class LSTM(LanguageModel):" in text
    for path in LESSONS:
        links = pages[book / "lessons" / f"{path.stem}.html"].links
        assert f"../library/{path.stem[3:]}.html" in links
    wanted = re.compile(r"\.\./library/hourglass\.html#.+")
    assert any(map(wanted.fullmatch, pages[book / "lessons" / "19_hourglass.html"].links))


def test_the_glossary_and_the_search_know_rotary(book, pages):
    index = (book / "searchindex.js").read_text(encoding="utf-8")
    found = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    where = found["terms"]["rotari"]
    where = [where] if isinstance(where, int) else where
    assert "lessons/13_attention" in [found["docnames"][n] for n in where]
    assert "Glossary" in pages[book / "lessons" / "glossary.html"].text


def test_no_formula_is_left_in_dollars(book, pages):
    for path in LESSONS:
        text = pages[book / "lessons" / f"{path.stem}.html"].text
        text = re.sub(r"<(pre|code|script|style).*?</\1>|<[^>]*>", "", text, flags=re.DOTALL)
        assert "$" not in text, (path.stem, text[text.index("$") - 60 :][:120])


def test_hints_fold_and_marks_for_the_tests_are_hidden(book, pages):
    for path in LESSONS:
        page = pages[book / "lessons" / f"{path.stem}.html"].text
        assert page.count("<details>") == path.read_text(encoding="utf-8").count("<details>")
        assert "nbval" not in page


# -- small, and for itself -------------------------------------------------------------------------


def test_no_page_asks_for_anything_outside_the_book(book, pages):
    for path, page in pages.items():
        for address in page.loads:
            assert address.startswith("data:") or file_of(path, address).is_file(), address
    for path in book.rglob("*.css"):
        for address in re.findall(r"url\(['\"]?([^)'\"]+)", path.read_text(encoding="utf-8")):
            assert address.startswith("data:") or file_of(path, address).is_file(), address
        assert "@import" not in path.read_text(encoding="utf-8")


def test_a_page_with_all_it_loads_is_light(book, pages):
    formulas = "".join(path.read_text(encoding="utf-8") for path in LESSONS)
    assert not re.search(r"\\\\(mathfrak|mathsf|mathscr|mathtt|texttt)\b", formulas)
    seldom = ("Fraktur", "SansSerif", "Script", "Typewriter")  # their fonts are never loaded
    fonts = [path for path in book.rglob("*.woff") if not any(n in path.name for n in seldom)]
    for path, page in pages.items():
        loaded = {file_of(path, a) for a in page.loads if not a.startswith("data:")}
        size = sum(file.stat().st_size for file in (path, *fonts, *loaded))
        assert size <= 2_500_000, (path.name, size)


def test_the_book_for_readers_has_all_lessons_and_formulas_without_scripts(book):
    with zipfile.ZipFile(book / "minilib.epub") as epub:
        names = epub.namelist()
        assert names[0] == "mimetype"
        assert not any(name.endswith(".woff") or "mathjax" in name.lower() for name in names)
        for path in LESSONS:
            text = epub.read(f"lessons/{path.stem}.xhtml").decode()
            assert ("<math" in text) == ("$" in path.read_text(encoding="utf-8")) or "<math" in text
        assert r"\frac" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)


# -- the command -----------------------------------------------------------------------------------


def test_a_folder_of_somebody_else_is_not_replaced(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    command = [sys.executable, "-m", "minilib", "book", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "--out must be an empty folder" in done.stderr
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_notebook_for_a_host_installs_what_is_not_there():
    from minilib.commands import book

    notebook = nbformat.read(LESSONS[4], as_version=4)
    made = book.hosted(notebook, "https://example.org/course")
    nbformat.validate(made)
    assert "git+https://example.org/course" in made.cells[0].source
    assert made.cells[1:] == notebook.cells


# -- in a browser, where there is one --------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("no Chromium")
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as made:
        yield made.chromium.launch(executable_path=program, args=quiet)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1400])
def test_pages_fit_and_their_formulas_are_set(book, browser, width, theme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    context.set_default_timeout(120_000)
    for name in ("index", "lessons/05_handwriting", "lessons/13_attention"):
        page, asked = context.new_page(), []
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto((book / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == width
        if name != "index":
            page.evaluate("MathJax.startup.promise")
            shown, plain = (page.locator(f"{kind}").count() for kind in ("mjx-container", ".math"))
            assert shown == plain > 0
        assert all(address.startswith(("file:", "data:")) for address in asked)
        page.close()
    context.close()


def test_every_formula_is_one_that_mathjax_can_set(book, browser):
    page, failed = browser.new_page(), []
    page.set_default_timeout(120_000)
    page.on("requestfailed", lambda request: failed.append(request.url))
    for path in LESSONS:
        page.goto((book / "lessons" / f"{path.stem}.html").as_uri())
        page.evaluate("window.MathJax && MathJax.startup.promise")
        assert page.locator("mjx-merror, mjx-container [style*='red']").count() == 0, path.stem
    assert not failed


def test_the_search_finds_rotary(book, browser):
    page = browser.new_page()
    page.set_default_timeout(120_000)
    page.goto((book / "search.html").as_uri() + "?q=rotary")
    page.wait_for_selector("#search-results a[href*='13_attention']")
