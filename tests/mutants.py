"""How good are the cases? Change each definition at one place, and see its own cases refuse it.

    python tests/mutants.py [TOPIC ...] [--sample N] [--seed S]

A mutant differs in one operator, comparison, constant, sign, order of arguments, branch or dropped
statement, in the definition or in a helper of its module. Checks of bad input are left alone, as
cases are legal. Mutants that compute the same stand in tests/equivalent, with the reason. Of
all others at least 98 of 100 must be refused.
"""

import argparse
import ast
import contextlib
import copy
import importlib
import inspect
import pathlib
import random
import signal
import sys
import types
import warnings

import numpy as np

from minilib import twins
from minilib.examine import Case

ROOT = pathlib.Path(__file__).parents[1]
LIMIT = 5  # seconds for a mutant: one that does not end is refused


def equivalent():
    """Mutants that compute the same: tests/equivalent/<topic>.txt, lines 'mutant  # why'."""
    files = sorted((ROOT / "tests" / "equivalent").glob("*.txt"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return {line.rpartition("  # ")[0] for line in lines}


OPERATORS = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div], ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult], ast.Mod: [ast.FloorDiv], ast.Pow: [ast.Mult], ast.MatMult: [],
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.Gt], ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.In: [ast.NotIn],
    ast.NotIn: [ast.In], ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.And: [ast.Or],
    ast.Or: [ast.And], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd],
}  # fmt: skip


def changes(node):
    """Functions that change a node in place, one for each way to mutate it."""

    def put(field, value):
        return lambda node: setattr(node, field, value)

    if isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp):
        yield from (put("op", other()) for other in OPERATORS.get(type(node.op), []))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div | ast.MatMult):

            def swap(node):
                node.left, node.right = node.right, node.left

            yield swap
    if isinstance(node, ast.Compare):
        for other in OPERATORS.get(type(node.ops[0]), []):
            yield put("ops", [other(), *node.ops[1:]])
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield put("value", node.value + 1)
        if type(node.value) is float:
            yield put("value", node.value * 0.5)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield put("value", not node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield put("op", ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not())
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield put("test", ast.Constant(False))
        if not isinstance(node, ast.While):
            yield put("test", ast.Constant(True))
    if isinstance(node, ast.Call) and len(node.args) == 2 and not node.keywords:
        yield lambda node: node.args.reverse()


def sites(function):
    """(path to a node, its number of changes, or 'drop') of everything in a function to mutate."""

    def walk(node, path):
        if isinstance(node, ast.Raise | ast.Assert):
            return
        if isinstance(node, ast.If) and isinstance(node.body[0], ast.Raise):
            for field, value in (("orelse", node.orelse),):
                for i, child in enumerate(value):
                    yield from walk(child, [*path, (field, i)])
            return
        for number, _ in enumerate(changes(node)):
            yield path, number
        for field, value in ast.iter_fields(node):
            if field in ("decorator_list", "args", "ctx", "annotation", "returns") and not (
                field == "args" and isinstance(node, ast.Call)
            ):
                continue
            if isinstance(value, list):
                for i, child in enumerate(value):
                    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                        continue  # a docstring
                    if isinstance(child, ast.Assign | ast.AugAssign | ast.Expr):
                        yield [*path, (field, i)], "drop"
                    if isinstance(child, ast.AST):
                        yield from walk(child, [*path, (field, i)])
            elif isinstance(value, ast.AST):
                yield from walk(value, [*path, (field, None)])

    yield from walk(function, [])


def mutate(function, path, number):
    """(a changed copy of a function's tree, the line as it was, the line as it became)."""
    changed = copy.deepcopy(function)
    node, parent = changed, None
    for field, i in path:
        parent = (node, field, i)
        node = getattr(node, field) if i is None else getattr(node, field)[i]
    before = ast.unparse(node)
    if number == "drop":
        getattr(parent[0], parent[1])[parent[2]] = ast.Pass()
        ast.fix_missing_locations(changed)
        return changed, before, "(dropped)"
    list(changes(node))[number](node)
    ast.fix_missing_locations(changed)
    return changed, before, ast.unparse(node)


def reachable(name, functions):
    """The functions of a module that one of them calls, itself first."""
    found, todo = [], [name]
    while todo:
        name = todo.pop()
        if name in functions and name not in found:
            found.append(name)
            inner = ast.walk(functions[name])
            todo += [node.id for node in inner if isinstance(node, ast.Name)]
    return found


def mutants_of(pair):
    """(label, function) of every mutant of a pair's definition."""
    module = importlib.import_module(pair.definition.__module__)
    source = pathlib.Path(module.__file__).read_text()
    tree = ast.parse(source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name in reachable(pair.definition.__name__, functions):
        for path, number in sites(functions[name]):
            changed, before, after = mutate(functions[name], path, number)
            if before == after:
                continue
            label = f"{pair.topic}.{name}: {' '.join(before.split())} -> {' '.join(after.split())}"
            body = [changed if node is functions[name] else node for node in tree.body]

            def build(body=body):
                other = types.ModuleType(module.__name__)
                other.__file__ = module.__file__
                exec(compile(ast.Module(body, []), module.__file__, "exec"), vars(other))
                return getattr(other, pair.definition.__name__)

            yield label, build


def edited(definition, **answers):
    """Mutants by hand: the definition under other names, its module's text changed in places.

    answers  name=(old, new) or name=(old, new, old, new, ...)
    """
    made = []
    for name, changes in answers.items():
        text = inspect.getsource(inspect.getmodule(definition))
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert text.count(old) == 1, f"{name}: {old!r} stands {text.count(old)} times"
            text = text.replace(old, new)
        exec(text, module := {"__name__": name})
        made.append(module[definition.__name__])
        made[-1].__name__ = name
    return made


@contextlib.contextmanager
def limited(seconds):
    """Raise TimeoutError after so many seconds, where the system has an alarm."""

    def stop(*_):
        raise TimeoutError

    if not hasattr(signal, "SIGALRM"):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refused(cases, build):
    """Does some case tell the mutant from the definition?"""
    try:
        with limited(LIMIT), np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mutant = build()
            return any(case.judge(mutant, "numpy").problem for case in cases)
    except Exception:
        return True


def run(topics=(), sample=None, seed=0):
    """{topic: (mutants, refused, [labels of survivors])}, equivalent ones left out."""
    found, draw, same = {}, random.Random(seed), equivalent()
    for pair in twins.load(topics):
        many = list(mutants_of(pair))
        if sample is not None:
            many = draw.sample(many, min(sample, len(many)))
        cases = []
        for number, case in enumerate(pair.cases(np.random.default_rng(0)), 1):
            one = Case(pair, number, case, "float64")
            want = one.want()
            one.want = lambda want=want: want
            cases.append(one)
        tried, good, survivors = found.get(pair.topic, (0, 0, []))
        for label, build in many:
            by = f"{pair.definition.__name__} by {label}"
            if label in same or by in same:
                continue
            tried += 1
            if refused(cases, build):
                good += 1
            else:
                survivors.append(by)
        found[pair.topic] = tried, good, survivors
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("topics", nargs="*", metavar="TOPIC")
    parser.add_argument("--sample", type=int, help="mutants of each definition (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    total = [0, 0]
    for topic in twins.known(options.topics):
        for tried, good, survivors in run([topic], options.sample, options.seed).values():
            total = [total[0] + tried, total[1] + good]
            share = 100 * good / max(tried, 1)
            print(f"{topic:<16}{good:>6} of {tried:>5} refused, {share:6.2f} %", flush=True)
            for survivor in survivors:
                print(f"    {survivor}")
    print(f"{'all':<16}{total[1]:>6} of {total[0]:>5} refused, {100 * total[1] / total[0]:6.2f} %")
    return 0 if total[1] >= 0.98 * total[0] else 1


if __name__ == "__main__":
    sys.exit(main())
