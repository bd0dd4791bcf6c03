"""REFER's pickles, read without running anything: lists, tuples, dictionaries, texts, bytes, numbers, booleans, None.

A pickle is a program for a small stack machine, and `pickle.load` runs it, including any function that it names:

    EMPTY_LIST        stack: []
    BINUNICODE "a"    stack: [] "a"
    APPEND            stack: ["a"]            plain values are built like this
    GLOBAL os system  stack: ["a"] <function> refused here: reading ends before an instruction that is not allowed

So a reader that allows only instructions for plain values can run any file safely. Registers no data set.

Format: https://docs.python.org/3/library/pickletools.html
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from harness.structures import UserError

_PLAIN = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET "
    "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 LIST EMPTY_LIST APPEND APPENDS "
    "TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT"
)
"""The instructions that Python's own unpickler may carry out. Those for sets are left out: REFER's files have none, and
hashing their elements may do harm."""


class _Instructions(dict[int, Callable[[Any], None]]):
    """Code of an instruction -> the function that carries it out; any other code is refused by its name."""

    def __missing__(self, code: int) -> Callable[[Any], None]:
        names = [known.name for known in pickletools.opcodes if known.code == chr(code)]
        named = f"the instruction {names[0]}" if names else f"the byte {code:#04x} for an instruction"
        raise pickle.UnpicklingError(f"found {named}, which makes no plain value and was not carried out")


def _checked(keys: Sequence[Any]) -> None:
    # A dictionary hashes its keys, and hashing a cleverly nested tuple can take for ever, or all of the stack.
    for key in keys:
        if type(key) is not str:
            raise pickle.UnpicklingError(f"found a dictionary's key of type {type(key).__name__}; wanted a text")


def _dict(unpickler: Any) -> None:
    # Everything that was pushed since the last MARK, keys and values by turns: key, value, key, value, ...
    items = unpickler.pop_mark()
    _checked(items[::2])
    unpickler.append(dict(zip(items[::2], items[1::2], strict=True)))


def _set_items(unpickler: Any) -> None:
    items = unpickler.pop_mark()
    _checked(items[::2])
    unpickler.stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _set_item(unpickler: Any) -> None:
    value, key = unpickler.stack.pop(), unpickler.stack.pop()
    _checked([key])
    unpickler.stack[-1].update({key: value})


class _PlainUnpickler(pickle._Unpickler):
    """Python's unpickler in its Python form, whose instructions can be taken away one by one.

    The other form, in C, sizes its memory by numbers that the file claims, and can only refuse names.
    """

    dispatch = _Instructions(
        {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _PLAIN.split()}
        | {pickle.DICT[0]: _dict, pickle.SETITEMS[0]: _set_items, pickle.SETITEM[0]: _set_item}
    )


def load_plain(path: Path) -> Any:
    """The value in a pickle of protocol 0 to 5, written by Python 2 or 3.

    Python 2's byte strings become texts by UTF-8. The published files hold ASCII there (their Python 3 readers
    decode so, LAVT's for one), which UTF-8 contains; other bytes are refused rather than turned into wrong letters.

    Raises:
        OSError: It cannot be read.
        UserError: It is damaged, or holds anything but plain values.
    """
    content = path.read_bytes()
    try:
        return _PlainUnpickler(io.BytesIO(content), encoding="utf-8").load()
    except Exception as error:  # a damaged pickle may raise anything, as Python's documentation warns
        reason = str(error)[:200] or type(error).__name__
        raise UserError(
            f"datasets/refcoco/plain_pickle.py: {path} ({len(content)} bytes) is not a pickle of "
            f"plain values: {reason}; "
            "wanted lists, dictionaries by texts, texts and numbers, as REFER's refs are. Download it again, from its "
            "authors."
        ) from error
