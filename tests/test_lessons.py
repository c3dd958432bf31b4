"""Every lesson: committed as executed, asserting, with solutions that pass its own checks."""

import ast
import json
import pathlib
import re

import execute
import pytest

import minilib

ROOT = pathlib.Path(minilib.__file__).parents[1]
LESSONS = sorted((ROOT / "lessons").glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((ROOT / "lessons" / "solutions").glob("*.py"))
NUMBERS = {path.stem[:2]: path.name for path in LESSONS}
every_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


def cells(path, kind="code"):
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


@every_lesson
def test_committed_as_executed_from_a_fresh_kernel(path):
    code = cells(path)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not any(
        output["output_type"] == "error" or output.get("name") == "stderr" for output in outputs
    )
    assert not re.search(r"/(home|root|tmp|Users|work)/", path.read_text())
    assert path.stat().st_size <= 1_000_000
    assert max(source(cell).count("\n") + 1 for cell in code) <= 25


def printed(cell):
    """What the cell prints or shows as text."""
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            yield "".join(output["text"])
        elif set(output.get("data", ())) == {"text/plain"}:
            yield "".join(output["data"]["text/plain"])


@every_lesson
def test_no_line_of_code_or_print_is_wider_than_a_laptop_shows(path):
    for number, cell in enumerate(cells(path), 1):
        for text in (source(cell), *printed(cell)):
            for line in text.splitlines():
                assert len(line.rstrip()) <= 88, f"cell {number}: {line}"


def tags(cell):
    return cell["metadata"].get("tags", [])


@every_lesson
def test_noise_is_followed_by_an_assert_and_nothing_else_is_ignored(path):
    """nbval's marks are tags, out of the reader's sight."""
    code = cells(path)
    for i, cell in enumerate(code):
        assert "NBVAL" not in source(cell)
        assert set(tags(cell)) <= {"nbval-ignore-output"}
        if tags(cell) and "plt.show()" not in source(cell):
            near = "".join(source(cell) for cell in code[i : i + 4])
            assert "assert" in near or ".claim(" in near, (
                f"cell {i + 1} ignores its output and nothing asserts what it shows"
            )


@every_lesson
def test_metadata_is_what_tests_execute_writes(path):
    """No times, and nothing that opening the lesson would change."""
    notebook = json.loads(path.read_text())
    assert all(set(cell["metadata"]) <= {"tags"} for cell in notebook["cells"])
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"] == execute.KERNEL


@every_lesson
def test_the_parts_of_a_lesson(path):
    text = "\n".join(source(cell) for cell in cells(path, "markdown"))
    assert text.startswith(f"# {path.stem[:2]} · ")
    for part in ("**Goal", "**Prerequisites", "**Time", "Exercises", "Summary", "References"):
        assert part in text, part


def checks(path):
    """The checks of the exercises: last lines of cells with a stub that says "your turn"."""
    found = []
    for cell in cells(path):
        if "raise NotImplementedError  # your turn" in source(cell):
            body = ast.parse(source(cell)).body
            found.append(
                (
                    body[-1],
                    [
                        node.name
                        for node in body
                        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
                    ],
                    cell,
                )
            )
    return found


@every_lesson
def test_solutions_pass_the_notebooks_checks(path):
    exercises = checks(path)
    assert exercises
    solution = ROOT / "lessons" / "solutions" / f"{path.stem}.py"
    namespace = {"__name__": solution.stem}
    exec(compile(solution.read_text(), str(solution), "exec"), namespace)
    for expression, names, cell in exercises:
        assert isinstance(expression, ast.Expr), f"the exercise {names} must end with its check"
        said = "".join(
            "".join(output.get("data", {}).get("text/plain", output.get("text", "")))
            for output in cell["outputs"]
        )
        assert "not attempted yet" in said
        assert set(names) <= set(namespace), f"{solution.name} lacks {names}"
        report = eval(compile(ast.Expression(expression.value), path.name, "eval"), namespace)
        assert report, f"{names}: {report}"


def prose(path):
    return "\n\n".join(source(cell) for cell in cells(path, "markdown"))


@every_lesson
def test_every_picture_is_described_in_words(path):
    for number, cell in enumerate(cells(path), 1):
        assert "plt.show" not in source(cell), f"cell {number}: lab.plot.show says what is seen"
        for output in cell["outputs"]:
            if "image/png" in output.get("data", {}):
                alt = output["metadata"]["image/png"]["alt"]
                assert len(alt) > 40, f"cell {number}: {alt}"


@every_lesson
def test_papers_and_lessons_are_links(path):
    """Every paper, every other lesson that exists; and what is linked to is there."""
    text = prose(path)
    linked = re.sub(r"\[[^\]]*\]\([^)]*\)", "", text)
    assert not re.search(r"arXiv:\s*\d|https?://|doi:", linked), "a reference that is no link"
    for number in re.findall(r"\b[Ll]essons? (\d\d)", linked):
        assert number == path.stem[:2] or number not in NUMBERS, f"lesson {number} is no link"
    for name in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", text):
        assert (path.parent / name).exists(), name
    for identifier, address in re.findall(r"\[arXiv:([\d.]+)\]\(([^)]*)\)", text):
        assert address == f"https://arxiv.org/abs/{identifier}"


CARD = re.compile(
    r"### Exercise (\d) · \S.*\n\n\*(\d+) minutes · (●○○|●●○|●●●) · "
    r"\[solution\]\(solutions/(\w+)\.py\)\*\n\n(?:.+\n)+"
)


@every_lesson
def test_exercises_are_cards(path):
    """What, minutes, difficulty, a hint that unfolds, the solution; numbered, three to five."""
    text = prose(path) + "\n"
    cards = CARD.findall(text)
    assert [int(card[0]) for card in cards] == list(range(1, len(cards) + 1))
    assert 3 <= len(cards) <= 5 and len(cards) == len(re.findall(r"### Exercise", text))
    assert {card[3] for card in cards} == {path.stem}
    hints = re.findall(r"<details><summary>Hint</summary>\n\n.+?\n\n</details>", text, re.S)
    assert len(hints) == len(cards)


@every_lesson
def test_a_lesson_answers_one_question(path):
    """Some thirty to fifty cells, with a drawing of the mechanism."""
    both = cells(path) + cells(path, "markdown")
    assert 25 <= len(both) <= 55
    if path.stem[:2] != "00":
        assert any("plot.diagram(" in source(cell) or "# drawing" in source(cell) for cell in both)


def test_every_solution_belongs_to_a_lesson():
    assert [path.stem for path in SOLUTIONS] == [path.stem for path in LESSONS]


# -- lesson 00 knows the others --------------------------------------------------------------------


def assigned(path, name):
    """The literal that a lesson's code gives to a name."""
    for cell in cells(path):
        for node in ast.parse(source(cell)).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
                return ast.literal_eval(node.value)
    raise AssertionError(f"{path.name} has no {name}")


def test_the_map_is_what_the_readme_and_the_lessons_say():
    needs, table = assigned(LESSONS[0], "needs"), prose(LESSONS[0])
    readme = (ROOT / "README.md").read_text()
    assert list(needs) == [path.stem.replace("_", " ", 1) for path in LESSONS]
    for path, (name, numbers) in zip(LESSONS, needs.items(), strict=True):
        number, text = name[:2], prose(path)
        needed = re.findall(r"\d\d", numbers)
        assert all(other in NUMBERS and other < number for other in needed), name
        row = re.search(rf"^\| {number} \|.*", readme, re.M)
        assert row, f"the README has no row for {name}"
        needed_there = row.group().split(" | ")[4]
        assert needed_there.replace(",", "").strip("–") == numbers, f"README, {name}"
        said = re.search(r"\*\*Prerequisites.*?\*\*(.*?)\*\*Time", text, re.S).group(1)
        assert sorted(set(re.findall(r"\b\d\d\b", said))) == sorted(needed), name
        question = re.match(r"# \d\d · (.*)", text).group(1)
        assert f"\n| [{number} · {name[3:]}]({path.name}) | {question} |\n" in table, name


def test_the_glossary_links_each_term_to_the_lesson_that_builds_it():
    table = re.search(r"## Glossary\n.*?\n\n(\|.*?)\n\n", prose(LESSONS[0]) + "\n\n", re.S).group(1)
    rows = [
        re.fullmatch(r"\| (.+) \| (.+\.) \| \[(\d\d)\]\((.+)\) \|", line)
        for line in table.split("\n")[2:]
    ]
    assert all(rows) and len(rows) >= 30
    terms = [row[1].casefold() for row in rows]
    assert terms == sorted(set(terms))
    for row in rows:
        assert NUMBERS.get(row[3]) == row[4], row[0]
        text = "\n".join(
            source(cell)
            for kind in ("code", "markdown")
            for cell in cells(LESSONS[0].with_name(row[4]), kind)
        )
        elsewhere = text.replace(table, "").casefold()
        assert row[1].casefold() in elsewhere, f"lesson {row[3]} does not say {row[1]}"
