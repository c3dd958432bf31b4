"""Declare a definition and its twin, list the pairs, and compare them all.

    @twin(naive.attention)        # tried on minilib/cases/attention.py: attention(rng)
    def attention(q, k, v): ...

The cases of a definition are a generator function of a NumPy Generator, in the module of
minilib/cases named like the definition's, under the definition's name. They yield tuples of
arguments. Float arrays in them are differentiable; whatever must not be differentiated (a learning
rate, a temperature) is a Python number. For modules see minilib/examine.py.
"""

import dataclasses
import importlib
import pathlib
import time

import numpy as np

from minilib.examine import Case, examine
from minilib.naive import _nearest

PAIRS = {}  # (module, name) -> Pair, in the order of declaration


@dataclasses.dataclass(frozen=True)
class Pair:
    definition: object
    fast: object
    cases: object
    float32: float = 1e-5
    differentiable: bool = True

    @property
    def topic(self):
        return self.fast.__module__.rpartition(".")[2]

    @property
    def name(self):
        return f"{self.topic}.{self.fast.__qualname__}"


def twin(definition, *, float32=1e-5, differentiable=True):
    """Decorator: declare a torch function or nn.Module class as the twin of a NumPy definition.

    definition  the NumPy function that says what is right, in a module of minilib.naive
    float32     relative tolerance in float32; the default allows a few hundred roundings of 6e-8.
                A looser one needs its reason beside it.
    differentiable  False for what only returns a value, such as the score of a training run
    Raises TypeError if minilib/cases has no cases of that name.
    """
    cases = cases_of(definition)

    def declare(fast):
        pair = Pair(definition, fast, cases, float32, differentiable)
        PAIRS[fast.__module__, fast.__qualname__] = pair
        return fast

    return declare


def cases_of(definition):
    """The case generator of a definition, from the room of cases."""
    room = definition.__module__.replace("minilib.naive.", "minilib.cases.")
    try:
        return getattr(importlib.import_module(room), definition.__name__)
    except (ModuleNotFoundError, AttributeError) as error:
        if room == definition.__module__ or getattr(error, "name", None) not in (
            room,
            definition.__name__,
        ):
            raise
        path = f"{room.replace('.', '/')}.py"
        raise TypeError(
            f"{path} must define {definition.__name__}(rng), the cases of its definition"
        ) from None


# -- what there is ---------------------------------------------------------------------------------


def topics(room="naive"):
    """The names of all topics that have this room, sorted."""
    here = pathlib.Path(__file__).parent / room
    return sorted(path.stem for path in here.glob("[!_]*.py"))


def known(names, room="naive"):
    """These topics, or all of the room. Raises ValueError for another, with the nearest."""
    there = topics(room)
    for name in names:
        if name not in there:
            what = "topic with a bench" if room == "bench" else "topic"
            raise ValueError(f"{name!r} is no {what}; {_nearest(name, there)}")
    return list(names) or there


def pairs(*names: str) -> dict[str, str]:
    """All that can be graded, as {"topic.name": what it computes, in one line}; needs no torch.

    names  topics; none means all. Raises ValueError for a name that is no topic.
    """
    found = {}
    for topic in known(names):
        definitions = importlib.import_module(f"minilib.naive.{topic}")
        cases = importlib.import_module(f"minilib.cases.{topic}")
        for name, generator in vars(cases).items():
            own = getattr(generator, "__module__", None) == cases.__name__
            if own and not name.startswith("_") and hasattr(definitions, name):
                doc = getattr(definitions, name).__doc__ or ""
                found[f"{topic}.{name}"] = doc.strip().split("\n")[0]
    return found


def load(names=()):
    """Import these topics (all if none), so that their pairs are declared. Returns the pairs."""
    names = known(names)
    for name in names:
        importlib.import_module(f"minilib.{name}")
    return [
        pair
        for pair in PAIRS.values()
        if pair.fast.__module__.startswith("minilib.") and pair.topic in names
    ]


# -- the table -------------------------------------------------------------------------------------


def table(names=(), device="cpu"):
    """Compare every pair, print a line for each as it is done; returns how many disagree."""
    loaded = load(names)
    print(f"{'twin':<36}{'cases':>6}{'value':>10}{'gradient':>10}{'float32':>10}{'speed-up':>10}")
    wrong = 0
    for pair in loaded:
        value = gradient = single = count = 0
        slowest, problem = (0.0, 0.0), None
        for number, case in enumerate(pair.cases(np.random.default_rng(0)), 1):
            count += 1
            v, g, bad = examine(pair, number=number, case=case, device=device)
            s, _, bad32 = examine(pair, number=number, case=case, device=device, dtype="float32")
            value, gradient, single = max(value, v), max(gradient, g), max(single, s)
            problem = problem or bad or bad32
            slowest = max(slowest, _time(pair, number, case, device))
        speed_up = slowest[0] / slowest[1]
        print(f"{pair.name:<36}{count:>6}{value:>10.0e}{gradient:>10.0e}{single:>10.0e}", end="")
        print(f"{speed_up:>9.1f}x", flush=True)
        if problem:
            wrong += 1
            print(f"    {problem}")
    print("every pair agrees" if not wrong else f"{wrong} of the pairs disagree")
    return wrong


def _time(pair, number, case, device):
    """(seconds of the definition, seconds of the twin) on one case."""
    import torch

    one = Case(pair, number, case, "float64")
    naive = fast = np.inf
    for _ in range(3):
        start = time.perf_counter()
        one.want()
        naive = min(naive, time.perf_counter() - start)
        if naive > 0.05:  # long enough to be measured once
            break
    tensors = one.tensors(device, grad=False)
    with torch.no_grad():
        for _ in range(3):
            start = time.perf_counter()
            one.call_torch(pair.fast, *tensors, device)
            if torch.device(device).type == "cuda":
                torch.cuda.synchronize()
            fast = min(fast, time.perf_counter() - start)
    return naive, fast
