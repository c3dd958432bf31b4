"""Run a stranger's functions in a process of their own, under limits; nothing but data comes back.

The judge stays in the parent: the child gets inputs and sends outputs and gradients, so that what
an answer does to its own process (patching minilib, exiting) cannot touch the verdict. Messages
both ways are JSON with arrays as base64; nothing is unpickled. Limits: the clock, and on Linux
memory. Files and the network are not shut off: for that, grade in a container.
"""

import contextlib
import importlib
import linecache
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import types

import numpy as np

from minilib.compare import as_numpy, leaves_of, map_leaves
from minilib.messages import Messages

FORGED = "writes into the channel of its answers"


class Raised(Exception):
    """What an answer raised in its own process, in words; None for a stub."""

    def __init__(self, words):
        super().__init__(words)
        self.words = words


class Ended(Raised):
    """The answer's process is gone: it ran out of time, or ended itself."""


# -- the judge's side ------------------------------------------------------------------------------


class Sandbox:
    """The functions of these names from a file of answers, as functions that run in a child.

    source     Python text
    names      the functions wanted
    forbidden  {name: [(module, name)]}: what an answer may not simply call in its place
    timeout    seconds until `restart_clock` is called again
    memory     megabytes beyond what the libraries take
    `functions` holds a function for each name that the source has; `problem` is what went wrong
    while it was read, in words, or None.
    """

    def __init__(self, source, names, forbidden, timeout=60.0, memory=2048):
        self.timeout = timeout
        self.restart_clock()
        self.child = subprocess.Popen(
            [sys.executable, "-m", "minilib.sandbox", str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=os.name == "posix",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.messages = Messages(self.child.stdout, self.child.stdin, functions=[])
        self.inbox = queue.Queue()
        self.listener = threading.Thread(target=self._listen, daemon=True)
        self.listener.start()
        self.functions, self.problem, self.ended = {}, None, None
        self.delegated = {}  # name -> for each call: was it passed on to what is forbidden?
        try:
            load = {"source": source, "names": list(names), "forbidden": forbidden}
            reply = self._ask(load, {"functions", "problem"})
            self.problem = reply["problem"]
            for name, about in reply["functions"].items():
                self.functions[name] = self._function(name, about)
        except Raised as error:
            self.problem = str(error)
        except (AttributeError, KeyError, TypeError):
            self.functions, self.problem = {}, FORGED

    def restart_clock(self):
        self.deadline = time.monotonic() + self.timeout

    def close(self):
        """End the child and whatever it started."""
        if os.name == "posix":
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
        self.child.kill()
        self.child.wait()
        self.listener.join(timeout=1)
        if not self.listener.is_alive():  # else something that the child started holds the pipe
            with contextlib.suppress(OSError):
                self.child.stdin.close()
            self.child.stdout.close()

    def _listen(self):
        try:
            while True:
                self.inbox.put(self.messages.receive())
        except Exception as error:  # the end, or bytes that an answer wrote into the channel
            self.inbox.put(error)

    def _ask(self, message, expected):
        """The child's reply. Raises Raised for what the answer raised, Ended without a child."""
        try:
            if not self.ended:
                self.messages.send(message)
            while not self.ended:
                reply = self.inbox.get(timeout=max(self.deadline - time.monotonic(), 0.01))
                if isinstance(reply, Exception):
                    self.ended = "ends its process: by os._exit, or for want of memory"
                elif not isinstance(reply, dict):
                    self.ended = FORGED
                elif "callback" in reply:
                    self._answer_callback(reply)
                elif "raised" in reply or expected <= set(reply):
                    break
                else:
                    self.ended = FORGED
        except queue.Empty:
            self.ended = f"does not end within {self.timeout:g} seconds"
        except OSError:
            self.ended = "ends its process"
        if self.ended:
            self.close()
            raise Ended(self.ended)
        if "raised" in reply:
            raise Raised(None if reply["raised"] is None else str(reply["raised"])[:400])
        return reply

    def _answer_callback(self, reply):
        """Call one of the judge's functions for the child."""
        try:
            function = self.messages.functions[reply["callback"]]
            result = function(*reply["arguments"], **reply["keywords"])
        except Exception as error:
            self.ended = f"calls a function that it was given wrongly: {type(error).__name__}"
        else:
            self.messages.send({"result": result})

    def _function(self, name, about):
        def answer(*arguments, **keywords):
            tensors = any(hasattr(leaf, "detach") for _, leaf in leaves_of(arguments))
            call = {"call": name, "arguments": arguments, "keywords": keywords}
            reply = self._ask(call, {"result", "arguments", "number", "delegated"})
            self.delegated.setdefault(name, []).append(reply["delegated"])
            for (_, mine), (_, its) in zip(
                leaves_of(arguments), leaves_of(reply["arguments"] or ()), strict=False
            ):
                if isinstance(mine, np.ndarray):
                    mine[...] = its  # it wrote into its arguments, and check shall see it
                elif hasattr(mine, "detach"):
                    mine.data.copy_(its.data)
            return self._joined(arguments, reply) if tensors else reply["result"]

        answer.__name__ = answer.__qualname__ = name
        answer.speaks_torch = about["torch"]
        return answer

    def _joined(self, arguments, reply):
        """The child's tensors, with a backward that asks the child."""
        import torch

        ask, number = self._ask, reply["number"]
        inputs = [x for _, x in leaves_of(arguments) if getattr(x, "requires_grad", False)]
        outputs = [x for _, x in leaves_of(reply["result"]) if getattr(x, "requires_grad", False)]
        if not inputs or not outputs:
            return reply["result"]

        class Remote(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *_):
                return tuple(x.detach().clone() for x in outputs)

            @staticmethod
            def backward(ctx, *gradients):
                reply = ask({"backward": number, "gradients": gradients}, {"result"})
                return tuple(reply["result"])

        made = dict(zip(map(id, outputs), Remote.apply(*inputs), strict=True))
        return map_leaves(lambda leaf: made.get(id(leaf), leaf), reply["result"])


# -- the child's side ------------------------------------------------------------------------------


def main(memory):
    """Serve calls until the parent closes the channel. The answer finds stdin and stdout closed."""
    channel = Messages(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    load = channel.receive()
    if "minilib" in load["source"]:  # else there is no way to the library, and no need to load it
        _forbid(list({place for places in load["forbidden"].values() for place in places}))
    _limit(memory)
    namespace, problem = {"__name__": "answer"}, None
    from minilib.grade import speaks_torch, stub_or_words

    try:
        lines = load["source"].splitlines(keepends=True)
        linecache.cache["answer"] = len(load["source"]), None, lines, "answer"
        code = compile(load["source"], "answer", "exec")
        exec(code, namespace)
    except BaseException as error:
        problem = stub_or_words(error, None)[1]
    found = {name: namespace[name] for name in load["names"] if callable(namespace.get(name))}
    about = {name: {"torch": speaks_torch(function)} for name, function in found.items()}
    channel.send({"functions": about, "problem": problem})
    graphs = []
    while True:
        try:
            request = channel.receive()
        except EOFError:
            return
        try:
            if "backward" in request:
                reply = _backward(graphs[request["backward"]], request["gradients"])
            else:
                places = load["forbidden"].get(request["call"], [])
                reply = _call(found[request["call"]], request, graphs, places)
        except BaseException as error:
            stub, words = stub_or_words(error, found.get(request.get("call")))
            reply = {"raised": None if stub else words}
        try:
            channel.send(reply)
        except Exception as error:
            channel.send({"raised": f"returns what cannot be read ({type(error).__name__})"})


def _call(function, request, graphs, places):
    arguments, keywords = request["arguments"], request["keywords"]
    before = _arrays(arguments)
    PASSED.clear()
    result = function(*arguments, **keywords)
    delegated = any(at in places and _equal(before, passed) for at, passed in PASSED)
    graphs.append((arguments, result))
    changed = None if _equal(before, _arrays(arguments)) else arguments
    number = len(graphs) - 1
    return {"result": result, "arguments": changed, "number": number, "delegated": delegated}


def _arrays(tree):
    """Copies of all leaves that are arrays or tensors."""
    leaves = [as_numpy(leaf) for _, leaf in leaves_of(tree)]
    return [np.array(leaf) for leaf in leaves if isinstance(leaf, np.ndarray)]


def _equal(these, those):
    if len(these) != len(those):
        return False
    pairs = zip(these, those, strict=True)
    return all(np.array_equal(x, y, equal_nan=x.dtype.kind in "fc") for x, y in pairs)


def _backward(graph, gradients):
    import torch

    inputs, outputs = (
        [x for _, x in leaves_of(side) if getattr(x, "requires_grad", False)] for side in graph
    )
    found = torch.autograd.grad(outputs, inputs, gradients, retain_graph=True, allow_unused=True)
    return {"result": list(found)}


PASSED = []  # (place, arrays in the arguments) of each call of a definition or its twin


def _forbid(places):
    """Let calls of the definition and its twin be seen; they do what they did."""
    modules = [_module(module) for module, _ in places]  # all, before the first is changed
    for module, place in zip(modules, places, strict=True):
        name = place[1]
        function = getattr(module, name, None)

        def watched(*arguments, function=function, place=place, **keywords):
            PASSED.append((place, _arrays((*arguments, *keywords.values()))))
            return function(*arguments, **keywords)

        if callable(function) and not isinstance(function, type):
            setattr(module, name, watched)


def _module(name):
    try:
        return importlib.import_module(name)
    except ImportError:  # a twin, where there is no torch
        return types.ModuleType(name)


def _limit(megabytes):
    try:
        import resource

        with open("/proc/self/statm") as file:
            used = int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):
        return
    most = used + (megabytes << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


if __name__ == "__main__":
    main(int(sys.argv[1]))
