"""The restricted unpickler: what plain pickles of any age hold, and everything else refused before it runs."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import pickletools
import struct
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.datasets.refcoco import plain_pickle as refer_pickle
from harness.datasets.refcoco.plain_pickle import load_plain
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import UserError

PLAIN = {
    "a": [1, -1, 0, 255, 256, 65536, 2**31, -(2**40), 2**70],
    "floats": [0.5, -1e300, float("inf")],
    "texts": ["", "giraffe", "the café on the left", "\n'quoted' \\ \"", "𝒳"],
    "others": (True, False, None, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}),
    "long": "x" * 300,
}

PYTHON_2 = {
    # By hand, as cPickle of Python 2.7 writes [{'sent': 'left dog', 'raw': u'caf\xe9', 'ref_id': 7L, 'ok': True}].
    0: b"(lp1\n(dp2\nS'sent'\np3\nS'left dog'\np4\nsS'raw'\np5\nVcaf\\u00e9\np6\nsS'ref_id'\np7\nL7L\nsS'ok'\n"
    b"p8\nI01\nsa.",
    1: b"]q\x01}q\x02(U\x04sentq\x03U\x08left dogq\x04U\x03rawq\x05X\x05\x00\x00\x00caf\xc3\xa9q\x06"
    b"U\x06ref_idq\x07L7L\nU\x02okq\x08I01\nua.",
    2: b"\x80\x02]q\x01}q\x02(U\x04sentq\x03U\x08left dogq\x04U\x03rawq\x05X\x05\x00\x00\x00caf\xc3\xa9q\x06"
    b"U\x06ref_idq\x07\x8a\x01\x07U\x02okq\x08\x88ua.",
}


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def load_bytes(content: bytes) -> Any:
        path = tmp_path / "refs(unc).p"
        path.write_bytes(content)
        return load_plain(path)

    return load_bytes


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that the hostile pickles would make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "the pickle was run"


# What loads


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_load_from_every_protocol(load: Any, protocol: int) -> None:
    assert repr(load(pickle.dumps(PLAIN, protocol))) == repr(PLAIN)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_load_where_pickles_have_them(load: Any, protocol: int) -> None:
    assert load(pickle.dumps([b"", b"\xff" * 300], protocol)) == [b"", b"\xff" * 300]


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_python_2s_byte_strings_are_texts(load: Any, protocol: int) -> None:
    assert load(PYTHON_2[protocol]) == [{"sent": "left dog", "raw": "café", "ref_id": 7, "ok": True}]


def test_python_2s_byte_strings_are_utf_8(load: Any) -> None:
    assert load(b"\x80\x02U\x05caf\xc3\xa9.") == "café"
    assert load(b"S'caf\\xc3\\xa9'\n.") == "café"
    with pytest.raises(UserError, match=r"'utf-8' codec can't decode byte 0xe9"):
        load(b"\x80\x02U\x04caf\xe9.")


@pytest.mark.slow
@settings(max_examples=50, derandomize=True)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    ),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_agrees_with_pickle_on_plain_values(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    path = tmp_path_factory.mktemp("plain") / "refs.p"
    path.write_bytes(pickle.dumps(value, protocol))
    assert repr(load_plain(path)) == repr(pickle.loads(path.read_bytes())) == repr(value)


def test_shared_and_circular_values_keep_their_shape(load: Any) -> None:
    shared: list[Any] = [1]
    circle: list[Any] = [shared, shared]
    circle.append(circle)
    found = load(pickle.dumps(circle, 2))
    assert found[0] is found[1] and found[2] is found


# What is refused


class Reduced:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


class Plain:
    """A class instance with a state."""

    def __init__(self) -> None:
        self.ref_id = 1


def _hostile(canary: str) -> dict[str, bytes]:
    shell = f"touch {canary}"
    call = f"open({canary!r}, 'w')"
    text = canary.encode()
    made = {
        f"{name}, protocol {protocol}": pickle.dumps([{"ref_id": 1}, hostile], protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
        for name, hostile in {
            "os.system": Reduced(os.system, shell),
            "eval": Reduced(eval, call),
            "exec": Reduced(exec, call),
            "open": Reduced(open, canary, "w"),
            "instance": Plain(),
            "class": Plain,
            "function": os.system,
            "OrderedDict": OrderedDict(a=1),
            "set": {1, 2},
            "frozenset": frozenset({1}),
            "complex": 1j,
            "bytearray": bytearray(b"a"),
        }.items()
    }
    size = struct.pack("<I", len(text))
    return made | {
        "global": b"cos\nsystem\n.",
        "reduce": b"cos\nsystem\n(S'" + shell.encode() + b"'\ntR.",
        "reduce, text mode line ends": b"cos\r\nsystem\r\n(S'" + shell.encode() + b"'\r\ntR.",
        "inst": b"(S'" + shell.encode() + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + shell.encode() + b"'\no.",
        "stack global": b"\x80\x04\x8c\x05posix\x8c\x06system\x93(X" + size + text + b"tR.",
        "stack global, memo": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x9400h\x00h\x01\x93X" + size + text + b"\x85R.",
        "newobj": b"\x80\x02cbuiltins\nopen\nX" + size + text + b"\x85\x81.",
        "newobj ex": b"\x80\x04\x8c\x08builtins\x8c\x04open\x93X" + size + text + b"\x85}\x92.",
        "build": b"}}U\x08__class_U\x01as}b.",
        "build alone": b"}}b.",
        "reduce alone": b"]]R.",
        "dotted": b"\x80\x04\x8c\x08builtins\x8c\x0deval.__call__\x93.",
        "copyreg": b"ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.",
        "python 2 builtins": b"c__builtin__\neval\n(S'" + call.encode() + b"'\ntR.",
        "persistent id": b"Pid\n.",
        "binary persistent id": b"U\x02idQ.",
        "extension 1": b"\x80\x02\x82\xf0.",
        "extension 2": b"\x80\x02\x83\xf0\x00.",
        "extension 4": b"\x80\x02\x84\xf0\x00\x00\x00.",
        "out of band buffer": b"\x80\x05\x97.",
        "read only buffer": b"\x80\x05C\x01a\x98.",
        "after a plain value": b"\x80\x02]0cos\nsystem\nX" + size + text + b"\x85R.",
    }


NAMES = list(_hostile("canary"))


@pytest.fixture
def extension() -> Iterator[None]:
    """A registered extension, 240: what EXT1 with that code would call."""
    copyreg.add_extension("os", "system", 240)
    yield
    copyreg.remove_extension("os", "system", 240)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_else_is_run(load: Any, canary: Path, extension: None, name: str) -> None:
    with pytest.raises(
        UserError, match=r"refs\(unc\)\.p \(\d+ bytes\) is not a pickle of plain values: found the inst"
    ):
        load(_hostile(str(canary))[name])


@pytest.mark.parametrize("name", ["os.system, protocol 0", "eval, protocol 4", "inst", "obj"])
def test_the_hostile_pickles_would_run(tmp_path: Path, name: str) -> None:
    canary = tmp_path / "canary"
    hostile = _hostile(str(canary))
    pickle.loads(hostile[name])
    assert canary.exists()


def test_only_the_listed_instructions_are_known() -> None:
    known = {opcode.name for opcode in pickletools.opcodes if ord(opcode.code) in refer_pickle._PlainUnpickler.dispatch}
    calls = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"}
    others = {"PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "BYTEARRAY8"}
    sets = {"EMPTY_SET", "ADDITEMS", "FROZENSET"}
    assert {opcode.name for opcode in pickletools.opcodes} - known == calls | others | sets


def test_an_unknown_instruction_says_its_byte(load: Any) -> None:
    with pytest.raises(UserError, match=r"the byte 0xff for an instruction"):
        load(b"\xff.")


# Damage, and numbers that a file only claims


def _nested_tuple(depth: int) -> bytes:
    return b"\x80\x02" + b")" + b"\x85" * depth


DAMAGED = {
    "empty": b"",
    "html": b"<html>404</html>",
    "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "no stop": b"]",
    "cut text": pickle.dumps(["a" * 100], 2)[:40],
    "cut number": b"J\x01\x02",
    "cut frame": b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00]",
    "claims a huge frame": b"\x80\x04\x95" + b"\xff" * 8 + b"].",
    "claims a huge text": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.",
    "claims a large text": b"X\xff\xff\xff\x7fa.",
    "claims huge bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"a.",
    "claims a negative string": b"T\xff\xff\xff\xffa.",
    "claims a huge number": b"\x80\x02\x8b\xff\xff\xff\x7f\x01.",
    "claims a negative number": b"\x80\x02\x8b\xff\xff\xff\xff\x01.",
    "endless digits": b"L" + b"9" * 5000 + b"L\n.",
    "endless digits of an int": b"I" + b"9" * 5000 + b"\n.",
    "no number": b"Ione\n.",
    "protocol 6": b"\x80\x06].",
    "nothing on the stack": b".",
    "stack underflow": b"]a.",
    "unmarked": b"]u.",
    "no such memo": b"h\x05.",
    "no such memo by text": b"g5\n.",
    "negative memo": b"p-1\n.",
    "memo of nothing": b"q\x01.",
    "append to a text": b"U\x01aU\x01ba.",
    "item of a list": b"]U\x01aU\x01bs.",
    "items of a list": b"](U\x01aU\x01bu.",
    "a key without a value": b"}(U\x01au.",
    "a key without a value, from the stack": b"(U\x01ad.",
    "string without quotes": b"Sabc\n.",
    "bad utf-8": b"X\x01\x00\x00\x00\xff.",
    "number as a key": b"}K\x01K\x02s.",
    "list as a key": b"}]K\x02s.",
    "deep tuple as a key": b"\x80\x02}" + _nested_tuple(300_000)[2:] + b"K\x01s.",
    "deep tuple as a key, marked": b"\x80\x02}(" + _nested_tuple(300_000)[2:] + b"K\x01u.",
    "deep tuple as a key, from the stack": b"\x80\x02(" + _nested_tuple(300_000)[2:] + b"K\x01d.",
    "doubling tuple as a key": b"\x80\x02})" + b"2\x86" * 200 + b"K\x01s.",
}


@pytest.mark.slow
@pytest.mark.parametrize("content", DAMAGED.values(), ids=list(DAMAGED))
def test_damaged(load: Any, content: bytes) -> None:
    with pytest.raises(UserError, match=r"is not a pickle of plain values: \S.*Download it again"):
        load(content)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_cut_anywhere(load: Any, protocol: int) -> None:
    whole = pickle.dumps([{"ref_id": 1, "sentences": [{"sent": "left dog", "sent_id": 300}]}], protocol)
    for length in range(len(whole)):
        with pytest.raises(UserError):
            load(whole[:length])


def test_a_message_stays_short(load: Any) -> None:
    with pytest.raises(UserError) as refused:
        load(b"F" + b"x" * 100_000 + b"\n.")
    assert len(str(refused.value)) < 1_000


def test_a_huge_memo_number_takes_no_memory(load: Any) -> None:
    assert load(b"\x80\x02]r\xff\xff\xff\x7f.") == []
    assert load(b"]p99999999999999999999\n.") == []


@pytest.mark.slow
def test_depth_and_sharing_alone_do_no_harm(load: Any) -> None:
    found = load(b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".")
    assert type(found) is list and len(found) == 1
    assert type(load(b"\x80\x02)" + b"2\x86" * 200 + b".")) is tuple


@pytest.mark.slow
@settings(max_examples=50, derandomize=True)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\x80\x02", b"\x80\x04"]))
def test_any_bytes_load_plain_values_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes
) -> None:
    path = tmp_path_factory.mktemp("any") / "refs.p"
    path.write_bytes(start + content)
    try:
        load_plain(path)
    except UserError:
        return


@pytest.mark.slow
def test_a_changed_byte_never_makes_another_kind_of_value(load: Any) -> None:
    whole = pickle.dumps([{"ref_id": 1, "split": "val", "sentences": [{"sent": "left dog", "sent_id": 300}]}], 2)
    for position in range(len(whole)):
        for byte in (*b"cRibo\x81\x82\x93PQ", 0, 255):
            try:
                value = load(whole[:position] + bytes([byte]) + whole[position + 1 :])
            except UserError:
                continue
            assert _plain(value)


def _plain(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_plain, value))
    if type(value) is dict:
        return all(type(key) is str and _plain(item) for key, item in value.items())
    return type(value) in (str, bytes, int, float, bool, type(None))


def test_a_file_that_cannot_be_read_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_plain(tmp_path / "none.p")


def test_what_follows_the_value_is_not_read(load: Any) -> None:
    file = io.BytesIO()
    pickle.dump([1], file)
    assert load(file.getvalue() + b"cos\nsystem\n") == [1]
