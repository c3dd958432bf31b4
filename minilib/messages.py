"""Nested Python data with arrays over two binary files, as JSON: nothing is ever unpickled."""

import base64
import json
import struct

import numpy as np

from minilib.compare import as_numpy

LARGEST = 1 << 28  # bytes of one message; an answer cannot fill the judge's memory


class Messages:
    """Length-prefixed JSON over two binary files; functions are sent by number and called back."""

    def __init__(self, reader, writer, functions=None):
        self.reader, self.writer, self.functions = reader, writer, functions

    def send(self, message):
        data = json.dumps(self.encode(message)).encode()
        self.writer.write(struct.pack(">Q", len(data)) + data)
        self.writer.flush()

    def receive(self):
        head = self.reader.read(8)
        if len(head) < 8:
            raise EOFError
        (size,) = struct.unpack(">Q", head)
        if size > LARGEST:
            raise ValueError(f"a message of {size} bytes")
        data = self.reader.read(size)
        if len(data) < size:
            raise EOFError
        return self.decode(json.loads(data))

    def encode(self, x):
        if x is None or isinstance(x, (bool, str)):
            return x
        if isinstance(x, int):
            return {"int": str(int(x))}
        if isinstance(x, float):
            return {"float": repr(float(x))}
        if isinstance(x, complex):
            return {"complex": [repr(x.real), repr(x.imag)]}
        if isinstance(x, bytes):
            return {"bytes": base64.b64encode(x).decode()}
        if isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind in "biufc":
            data = base64.b64encode(np.ascontiguousarray(x).tobytes()).decode()
            return {"array": data, "dtype": x.dtype.str, "shape": list(np.shape(x))}
        if hasattr(x, "detach"):
            return {"tensor": self.encode(as_numpy(x)), "grad": x.requires_grad}
        if isinstance(x, dict):
            return {"dict": [[self.encode(k), self.encode(v)] for k, v in x.items()]}
        for kind, name in ((tuple, "tuple"), (list, "list"), (set, "set")):
            if isinstance(x, kind):
                return {name: [self.encode(item) for item in x]}
        if hasattr(x, "__next__"):
            return {"iterator": [self.encode(item) for item in x]}
        if callable(x) and self.functions is not None:  # the judge's only
            self.functions.append(x)
            return {"function": len(self.functions) - 1}
        return {"other": type(x).__name__}

    def decode(self, x):
        if not isinstance(x, dict):
            return x
        name, value = next(iter(x.items()))
        if name in ("int", "float"):
            return {"int": int, "float": float}[name](value)
        if name == "complex":
            return complex(*map(float, value))
        if name == "bytes":
            return base64.b64decode(value)
        if name == "array":
            flat = np.frombuffer(base64.b64decode(value), dtype=np.dtype(x["dtype"]))
            array = flat.reshape(x["shape"]).copy()
            return array if x["shape"] else array[()]
        if name == "tensor":
            import torch

            return torch.tensor(self.decode(value)).requires_grad_(x["grad"])
        if name == "dict":
            return {self.decode(k): self.decode(v) for k, v in value}
        if name in ("tuple", "list", "set"):
            kind = {"tuple": tuple, "list": list, "set": set}[name]
            return kind(self.decode(item) for item in value)
        if name == "iterator":
            return iter([self.decode(item) for item in value])
        if name == "function":
            return lambda *arguments, **keywords: self.call_back(value, arguments, keywords)
        return Other(value)

    def call_back(self, number, arguments, keywords):
        self.send({"callback": number, "arguments": arguments, "keywords": keywords})
        return self.receive()["result"]


class Other:
    """A result of a kind that no exercise asks for."""

    def __init__(self, kind):
        self.kind = kind

    def __repr__(self):
        return f"a {self.kind}"
