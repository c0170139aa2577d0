"""Pickles, read without being run.

A pickle is a program: its opcodes may name any function of any module and call it. Python's unpickler does
what it says. This reader does not unpickle. It walks the opcodes (:mod:`pickletools` only lists them) and
builds a description: plain values are themselves; a name is accepted if it is on a short list of what tensors,
containers and torch modules are made of, and stays a name; a call of such a name stays a record of the call.
No function is looked up or called, no class is instantiated, no module imported. A name that is not on the
list ends the reading with an error that says which it was.

Then :func:`decoded` turns the records that describe data (tensors, numbers, dictionaries) into data, and
leaves objects as :class:`Thing`, a class name with its attributes.
"""

from __future__ import annotations

import io
import pickletools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from KLIPCore.errors import PriorError
from KLIPCore.priors.convert.pickled_tensors import strided_tensor, tensor_of_bytes

ACCEPTED = (
    r"collections OrderedDict",
    r"(builtins|__builtin__) (set|frozenset|dict|list|tuple|bytes|bytearray)",
    r"_codecs encode",
    r"torch (Size|float32|float64|float16|bfloat16|int64|int32|int16|int8|uint8|bool"
    r"|FloatStorage|DoubleStorage|HalfStorage|LongStorage|IntStorage)",
    r"torch\._utils (_rebuild_tensor_v2|_rebuild_parameter)",
    r"torch\.storage _load_from_bytes",
    r"torch\.nn\.modules\.[a-z_.]+ [A-Z][A-Za-z0-9]*",
    r"(torch_utils|edm\.torch_utils)\.persistence _reconstruct_persistent_obj",
    r"dnnlib\.util EasyDict",
    r"numpy\.(core|_core)\.multiarray (scalar|_reconstruct)",
    r"numpy (dtype|ndarray)",
    r"(numpy\.)?(core|_core)\.numeric _frombuffer",
)
"""Patterns of ``module name`` that may occur: tensors, numbers, containers, torch's modules, and EDM's
wrapper of its own.
"""


@dataclass(frozen=True)
class Name:
    """A function or class that the pickle mentions; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """A call that the pickle would make; never made."""

    what: Any
    args: Any
    state: Any = None
    items: list[Any] = field(default_factory=list)
    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass
class Thing:
    """An object as its class name and attributes."""

    kind: str
    state: dict[str, Any]


_MARK = object()


def read_pickle(path: Path) -> Any:
    """Return what a pickle file describes.

    Raises
    ------
    PriorError : the file is no pickle, or mentions anything but tensors and known containers.
    """
    data = path.read_bytes()
    try:
        return decoded(_Reader().read(data))
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise PriorError(
            f"{path.name} is not a pickle that can be read ({type(error).__name__}: {error}).",
            "Give an EDM or PaDIS network snapshot.",
        ) from error


class _Reader:
    """The opcodes' stack machine, without the opcodes that act."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            name = opcode.name
            if name == "STOP":
                return self.stack.pop()
            handler = getattr(self, f"on_{name.lower()}", None)
            if handler is not None:
                handler(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _LITERALS:
                self.stack.append(argument)
            elif name not in ("PROTO", "FRAME"):
                raise PriorError(
                    f"The pickle uses the instruction {name}, which no network snapshot needs.",
                    "Do not load this file with anything else either.",
                )
        raise ValueError("it ends early")

    def _to_mark(self) -> list[Any]:
        at = (
            len(self.stack)
            - 1
            - next((i for i, item in enumerate(reversed(self.stack)) if item is _MARK), len(self.stack))
        )
        if at < 0:
            raise ValueError("a mark is missing")
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _name(self, module: str, name: str) -> None:
        if not any(re.fullmatch(pattern, f"{module} {name}") for pattern in ACCEPTED):
            raise PriorError(
                f"The pickle mentions {module}.{name}, which is neither a tensor nor a known container: it was not "
                "run.",
                "Do not load this file with anything else unless you trust whoever made it.",
            )
        self.stack.append(Name(module, name))

    def on_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def on_pop(self, _: Any) -> None:
        self.stack.pop()

    def on_pop_mark(self, _: Any) -> None:
        self._to_mark()

    def on_dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def on_global(self, argument: str) -> None:
        self._name(*argument.split(" ", 1))

    def on_stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._name(str(module), str(name))

    def on_reduce(self, _: Any) -> None:
        args, what = self.stack.pop(), self.stack.pop()
        self.stack.append(Call(what, args))

    on_newobj = on_reduce

    def on_newobj_ex(self, _: Any) -> None:
        options, args, what = self.stack.pop(), self.stack.pop(), self.stack.pop()
        if options:
            raise ValueError("a constructor with options")
        self.stack.append(Call(what, args))

    def on_build(self, _: Any) -> None:
        state = self.stack.pop()
        self.stack[-1].state = state

    def on_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def on_put(self, argument: int) -> None:
        self.memo[int(argument)] = self.stack[-1]

    on_binput = on_long_binput = on_put

    def on_get(self, argument: int) -> None:
        self.stack.append(self.memo[int(argument)])

    on_binget = on_long_binget = on_get

    def on_empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def on_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._to_mark()))

    def on_tuple1(self, _: Any) -> None:
        self.stack[-1:] = [tuple(self.stack[-1:])]

    def on_tuple2(self, _: Any) -> None:
        self.stack[-2:] = [tuple(self.stack[-2:])]

    def on_tuple3(self, _: Any) -> None:
        self.stack[-3:] = [tuple(self.stack[-3:])]

    def on_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def on_list(self, _: Any) -> None:
        self.stack.append(self._to_mark())

    def on_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def on_dict(self, _: Any) -> None:
        items = self._to_mark()
        self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def on_empty_set(self, _: Any) -> None:
        self.stack.append(set())

    def on_frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(self._to_mark()))

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Call):
            target.items += items
        elif isinstance(target, set):
            target.update(items)
        else:
            target.extend(items)

    def on_append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def on_appends(self, _: Any) -> None:
        self._extend(self._to_mark())

    on_additems = on_appends

    def _set(self, items: list[Any]) -> None:
        target, pairs = self.stack[-1], list(zip(items[::2], items[1::2], strict=True))
        if isinstance(target, Call):
            target.pairs += pairs
        else:
            target.update(pairs)

    def on_setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def on_setitems(self, _: Any) -> None:
        self._set(self._to_mark())


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}


def decoded(node: Any) -> Any:
    """Return data for every record that describes data, and :class:`Thing` for every object.

    Raises
    ------
    PriorError : a call is none of those that make data or modules.
    """
    return _Decoder().of(node)


class _Decoder:
    """Keeps what was decoded: shared tensors stay shared, and are decoded once."""

    def __init__(self) -> None:
        self.done: dict[int, Any] = {}

    def of(self, node: Any) -> Any:
        if isinstance(node, dict):
            return {self.of(k): self.of(v) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return type(node)(self.of(v) for v in node)
        if not isinstance(node, Call):
            return node
        if id(node) not in self.done:
            self.done[id(node)] = self._call(node)
        return self.done[id(node)]

    def _call(self, call: Call) -> Any:
        name = str(call.what)
        last = name.rsplit(".", 1)[-1]
        if last in ("OrderedDict", "EasyDict", "dict"):
            first = call.args[0] if call.args else {}
            start = dict(self.of(first)) if isinstance(first, dict) else dict(self.of(p) for p in first)
            state = self.of(call.state) if isinstance(call.state, dict) else {}
            return {**start, **{self.of(k): self.of(v) for k, v in call.pairs}, **state}
        if last in ("set", "frozenset", "list", "tuple"):
            return [self.of(v) for v in (*(call.args[0] if call.args else ()), *call.items)]
        if (
            last == "_reconstruct_persistent_obj"
        ):  # EDM's wrapper: a class as source text, which is not read, and its attributes
            meta = self.of(call.args[0])
            return Thing(str(meta["class_name"]), dict(meta["state"] or {}))
        if name.startswith("torch.nn.modules."):
            return Thing(last, dict(self.of(call.state) or {}))
        if last in ("bytes", "bytearray"):
            held = self.of(call.args[0]) if call.args else b""
            if not isinstance(held, bytes):
                raise ValueError("bytes made of something else")
            return held
        if last == "_load_from_bytes":
            return tensor_of_bytes(self.of(call.args[0]))
        if last == "_rebuild_tensor_v2":
            return strided_tensor(*(self.of(a) for a in call.args[:4]))
        if last == "_rebuild_parameter":
            return self.of(call.args[0])
        if last == "Size":
            return tuple(self.of(call.args[0]))
        if last == "encode":  # how old protocols write bytes
            return str(call.args[0]).encode("latin1")
        return self._numpy_call(call, name, last)

    def _numpy_call(self, call: Call, name: str, last: str) -> Any:
        """A type, number or array of numpy's; anything else is refused."""
        if name == "numpy.dtype":
            kind = np.dtype(str(call.args[0]))
            return kind.newbyteorder(">") if call.state and call.state[1] == ">" else kind
        if last == "scalar" and name.startswith("numpy"):
            kind, raw = self.of(call.args[0]), self.of(call.args[1])
            if kind.hasobject:
                raise ValueError("a number that is an object")
            return np.frombuffer(raw, kind)[0].item()
        if last == "_reconstruct" and name.startswith("numpy"):
            _, shape, kind, fortran, raw = (self.of(v) for v in call.state)
            if kind.hasobject:
                raise ValueError("an array of objects")
            return np.frombuffer(raw, kind).reshape(shape, order="F" if fortran else "C").copy()
        raise PriorError(
            f"The pickle calls {name}, which makes no tensor and no container: it was not run.",
            "Do not load this file with anything else.",
        )


def tensors_of(thing: Thing, prefix: str = "") -> dict[str, torch.Tensor]:
    """Return the weights and buffers of a module and those below it, under the names a state dictionary gives them."""
    out = {}
    for kind in ("_parameters", "_buffers"):
        for name, value in (thing.state.get(kind) or {}).items():
            if isinstance(value, torch.Tensor):
                out[prefix + name] = value
    for name, below in (thing.state.get("_modules") or {}).items():
        if isinstance(below, Thing):
            out.update(tensors_of(below, f"{prefix}{name}."))
    return out
