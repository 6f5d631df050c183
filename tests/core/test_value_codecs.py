"""Values of every built-in kind come back from a file as they were, or are named with a reason and with advice."""

import enum
import sys
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta, tzinfo
from io import BytesIO
from itertools import combinations
from struct import pack
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies
from PIL import Image
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PlainSerializer, PrivateAttr

from crystallize import register
from crystallize._core import array_codecs, arrow_codecs
from crystallize._core.codec import Stored, any_key, decode, decode_untyped, encode, key_of
from crystallize._core.equality import same
from crystallize._core.live_types import LIVE, LiveKind
from crystallize._core.registered_codecs import CODECS
from crystallize._core.value_codecs import NotRegistered, RegisteredFailed, ValueCodec
from crystallize._core.value_parts import Blob, PartInMemory, content_of

from .value_kinds import KINDS, sparse


def reread(stored: Stored) -> Stored:
    """Return a stored value as a file gives it back: its parts are bytes."""
    return stored._replace(parts=tuple(bytes(content_of(part)) for part in stored.parts))


def from_file(value: Any) -> Any:
    """Return a value as it comes back from a file without a schema."""
    stored = encode(any_key(), value)
    assert "none" != stored.how, stored.why
    return decode_untyped(reread(stored))


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@pytest.mark.parametrize("value", KINDS.values(), ids=KINDS)
def test_every_kind_comes_back(value: Any) -> None:
    """A value of each kind comes back equal and of its type, alone and within lists, dicts and tuples."""
    for whole in (value, {"a": [(value, 1)], "b": None}):
        found = from_file(whole)
        assert type(whole) is type(found)
        assert same(whole, found)


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@pytest.mark.parametrize("value", KINDS.values(), ids=KINDS)
def test_every_kind_comes_back_within_a_model(value: Any) -> None:
    """A value of each kind comes back within a list within a dict of a model."""

    class Model(BaseModel, arbitrary_types_allowed=True):
        parts: dict[str, list[Any]]
        at: datetime

    key = key_of(Model)
    model = Model(parts={"a": [value]}, at=datetime(2026, 3, 28, tzinfo=ZoneInfo("Europe/Berlin")))
    stored = encode(key, model)
    found = decode(reread(stored), key)

    assert "python" == stored.how
    assert same(model, found)


@given(
    numpy_strategies.arrays(
        st.one_of(
            numpy_strategies.scalar_dtypes(),
            numpy_strategies.array_dtypes(min_size=1, max_size=3),
        ),
        numpy_strategies.array_shapes(min_dims=0, min_side=0),
    ),
    st.sampled_from([lambda array: array, lambda array: array.T, lambda array: array[..., ::2], np.asfortranarray]),
)
def test_every_array_comes_back(array: Any, change: Callable[[Any], Any]) -> None:
    """An array without objects comes back whatever its type, shape and order, so that is not checked at each write."""
    changed = change(array) if array.ndim else array
    found = from_file(changed)

    assert (changed.dtype, changed.shape, changed.tobytes()) == (found.dtype, found.shape, found.tobytes())


def test_a_large_array_is_not_copied() -> None:
    """The part of a large array is a header and the memory of the array itself."""
    array = np.zeros(1 << 18)
    (part,) = encode(any_key(), {"a": array}).parts

    assert isinstance(part, PartInMemory)
    assert np.shares_memory(array, np.frombuffer(part.chunks[1], np.uint8))
    assert len(bytes(part.content())) == part.size


def test_large_columns_with_nan_come_back() -> None:
    """A table, a batch, an array and chunks of more than 1 MiB come back, although their NaN equals no NaN."""
    column = pa.array(np.full(1 << 18, np.nan))
    for value in (
        pa.table({"a": column}),
        pa.RecordBatch.from_pydict({"a": column}),
        column,
        pa.chunked_array([column]),
    ):
        assert same(value, from_file(value))


def test_dates_keep_their_zone() -> None:
    """A day after a date with a zone has the same hour, also after it came back."""
    noon = datetime(2026, 3, 28, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    key = key_of(datetime)
    found = decode(encode(key, noon), key)

    assert ZoneInfo("Europe/Berlin") is found.tzinfo
    assert noon + timedelta(days=1) == found + timedelta(days=1)


Table = Annotated[
    pl.DataFrame,
    PlainSerializer(lambda frame: frame.to_dicts()),
    BeforeValidator(lambda given: given if isinstance(given, pl.DataFrame) else pl.DataFrame(given)),
]


def test_the_annotation_of_a_type_is_used() -> None:
    """A frame whose annotation says how it becomes JSON and a frame again is stored in that way."""

    class Model(BaseModel, arbitrary_types_allowed=True):
        table: Table

    key = key_of(Model)
    model = Model(table=pl.DataFrame({"a": [1, 2]}))
    stored = encode(key, model)

    assert (b'{"table":[{"a":1},{"a":2}]}', ()) == (stored.json, stored.parts)
    assert same(model, decode(stored, key))


class Odd:
    """An object that no codec stores."""


class OddZone(tzinfo):
    """A time zone that only this program knows."""

    def utcoffset(self, at: datetime | None, /) -> timedelta:
        return timedelta(0)

    dst = utcoffset

    def tzname(self, at: datetime | None, /) -> str:
        return "odd"


class OddFrame(pd.DataFrame):
    """A frame of a class of its own."""


class OddArray(np.ndarray[Any, Any]):
    """An array of a class of its own."""


class OddSeries(pd.Series):
    """A series of a class of its own."""


class Color(enum.Enum):
    RED = "red"


@dataclass
class Span:
    start: int
    end: int


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - untyped, as users have them


class Node(BaseModel):
    at: Any


class Hidden(BaseModel):
    a: Any = Field(1, exclude=True)
    at: Any = None


_NOTED = pd.DataFrame({"a": [1]})
_NOTED.attrs["odd"] = Odd()

_OWN: list[Any] = [1, (2,)]
_OWN.append({"a": [_OWN]})
_DEEP: list[Any] = []
for _ in range(5000):
    _DEEP = [_DEEP, _DEEP]

REFUSED = {
    "object": (Odd(), f'no codec stores a {__name__}.Odd; call register("{__name__}.Odd", dump=..., load=...)'),
    "within": ({"a": [Odd()]}, f"no codec stores a {__name__}.Odd"),
    "plain object": (object(), "no codec stores a object; write it as another type"),
    "array of objects": (np.array([Odd()]), "an array of dtype object has any objects in it; write a list"),
    "scalar with objects": (np.array([(1,)], dtype="O,")[0], "it has objects in it"),
    "array of noted numbers": (
        np.zeros(1, np.dtype("f8", metadata={"unit": "m"})),
        "its dtype has metadata, which is lost in a file; write it with a dtype without metadata",
    ),
    "array of records in records": (
        np.zeros(1, [("a", np.dtype((np.record, [("b", "f8")])), (2,))]),
        "a field of its dtype is a numpy.record; write it with a dtype without numpy.record",
    ),
    "array of a class": (np.zeros(1).view(OddArray), "a OddArray is a subclass of numpy.ndarray"),
    "frame of a class": (OddFrame(), "a OddFrame is no plain pandas.DataFrame; write pandas.DataFrame(...) of it"),
    "series of a class": (OddSeries([1]), "a OddSeries is no plain pandas.Series"),
    "frame with an object": (
        pd.DataFrame({"a": [1], "q": [Odd()]}),
        f"its column 'q' cannot be stored: no codec stores a {__name__}.Odd; call register(",
    ),
    "frame with an enum": (
        pd.DataFrame({"q": [Color.RED, None]}),
        f"a pandas.DataFrame does not come back equal: its column 'q' of objects (NoneType, {__name__}.Color); convert",
    ),
    "frame with a sparse column": (
        pd.DataFrame({"a": [1], 5: pd.arrays.SparseArray([0])}),
        "its column 5 of dtype Sparse[int64, 0] is sparse; convert it with .sparse.to_dense()",
    ),
    "frame with swapped bytes": (
        pd.DataFrame({"a": [1], "b": np.zeros(1, ">i4")}),
        "its column 'b' of dtype >i4 cannot be stored (Byte-swapped arrays not supported); convert it to a plain",
    ),
    "frame with categories of objects": (
        pd.DataFrame({"a": pd.Categorical(pd.Index([1, 2], dtype=object))}),
        "a pandas.DataFrame does not come back equal: its column 'a' of dtype category; convert it",
    ),
    "frame with an index of such categories": (
        pd.DataFrame({"a": [1]}, index=pd.CategoricalIndex(pd.Index([1], dtype=object))),
        "a pandas.DataFrame does not come back equal: its index, its columns or its attrs; convert it",
    ),
    "frame with an odd attribute": (_NOTED, f"its attrs cannot be stored: no codec stores a {__name__}.Odd"),
    "series of an enum": (pd.Series([Color.RED]), f"does not come back equal: its data of objects ({__name__}.Color)"),
    "series with an index of such categories": (
        pd.Series([1], index=pd.CategoricalIndex(pd.Index([1], dtype=object))),
        "a pandas.Series does not come back equal: its index, its name or its attrs; convert it",
    ),
    "index of sparse numbers": (
        pd.Index(pd.arrays.SparseArray([0])),
        "its labels of dtype Sparse[int64, 0] is sparse",
    ),
    "lazy frame": (pl.LazyFrame(), "a polars.LazyFrame is a query without a result; write frame.collect()"),
    "sparse lists": (
        sparse.lil_array((2, 2)),
        "format lil has objects in it; write matrix.tocsr()",
    ),
    "image": (Image.new("I;16B", (2, 2)), "an image of mode I;16B cannot be stored"),
    "zone": (datetime(2026, 1, 1, tzinfo=OddZone()), "its time zone is a OddZone; use one of zoneinfo"),
    "long int": (10**5000, "it does not come back equal; write it as another type"),
    "dataclass": (Span(1, 2), f"only a schema restores a {__name__}.Span; declare this type in the schema"),
    "enum": (Color.RED, f"only a schema restores a {__name__}.Color"),
    "named tuple": (Pair(1, 2), f"only a schema restores a {__name__}.Pair"),
    "excluded field": (Hidden(a=1), "its field 'a' has exclude=True; leave exclude=True out"),
}


NESTED_TOO_DEEPLY = {
    "itself": (_OWN, "it contains itself; leave out the reference to itself"),
    "itself in a model": (Node(at=_OWN), "it contains itself"),
    "itself in a frame": (pd.DataFrame({"q": [_OWN]}), "its column 'q' cannot be stored: it contains itself"),
    "many levels": (_DEEP, "it has too many levels of values within values; write it with fewer levels"),
}


@pytest.mark.parametrize(("value", "why"), NESTED_TOO_DEEPLY.values(), ids=NESTED_TOO_DEEPLY)
def test_why_a_value_of_too_many_levels_is_not_restorable(value: Any, why: str) -> None:
    """A value that contains itself, or that has more levels than Python can follow, says so."""
    assert why in encode(any_key(), value).why


@pytest.mark.parametrize(("value", "why"), REFUSED.values(), ids=REFUSED)
def test_why_a_value_is_not_restorable(value: Any, why: str) -> None:
    """A value that does not come back says why, and what would help."""
    stored = encode(any_key(), value)

    assert "none" == stored.how
    assert why in stored.why
    assert None is stored.digest


@dataclass
class Counter:
    start: int
    seen: int = field(init=False, default=0)


class Model(BaseModel):
    size: int
    _name: str = PrivateAttr(default="")
    _epoch: int = PrivateAttr(default=0)


@dataclass
class Scaled:
    scale: InitVar[int]
    size: int = 0

    def __post_init__(self, scale: int) -> None:
        self.size = scale * 2


class Grown(BaseModel):
    size: Annotated[int, AfterValidator(lambda size: size + 1)]
    whole: int = 0


class Outer(BaseModel):
    inner: list[Model]
    beside: tuple[int, ...] = ()


class Raising(BaseModel):
    size: Annotated[int, BeforeValidator(lambda size: int(size, base=10))]


class Loose(BaseModel):
    size: Any


def changed(value: Any, name: str, item: Any) -> Any:
    setattr(value, name, item)
    return value


RAISING = Raising.model_validate({"size": "1"})
INVERSE = "let the schema declare its type in full, with a validator and a serializer that are inverse"
DECLARED: dict[str, tuple[Any, Any, str]] = {
    "init=False": (
        Counter,
        changed(Counter(1), "seen", 5),
        f"the field 'seen' of a {__name__}.Counter does not come back equal, because it has init=False; leave init=",
    ),
    "private": (
        Model,
        changed(Model(size=1), "_epoch", 5),
        f"the private attribute '_epoch' of a {__name__}.Model does not come back equal; make it a field, or",
    ),
    "deep": (
        dict[str, tuple[Outer, ...]],
        {"a": (Outer(inner=[Model(size=1)]), Outer(inner=[changed(Model(size=1), "_epoch", 5)]))},
        f"the private attribute '_epoch' of a {__name__}.Model does not come back equal",
    ),
    "InitVar": (list[Scaled], [Scaled(1)], f"a {__name__}.Scaled does not keep its InitVar 'scale'; make it a field"),
    "validator": (Grown, Grown(size=1), f"the field 'size' of a {__name__}.Grown does not come back equal; {INVERSE}"),
    "any type": (Loose, Loose(size=Span(1, 2)), f"the field 'size' of a {__name__}.Loose does not come back equal"),
    "not declared": (list[Any], [Model(size=1)], f"only a schema restores a {__name__}.Model; declare this type"),
    "nothing that can be read": (
        Raising,
        RAISING,
        f"only a schema restores a {__name__}.Raising; declare",
    ),
}


@pytest.mark.parametrize(("kind", "value", "why"), DECLARED.values(), ids=DECLARED)
def test_why_a_declared_type_is_not_restorable(kind: Any, value: Any, why: str) -> None:
    """If the schema declares a type, the reason names the field or attribute that does not come back."""
    stored = encode(key_of(kind), value)
    assert ("none", True) == (stored.how, why in stored.why), stored.why


class Point:
    """A type whose functions a user registers."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and self.x == other.x

    __hash__ = None  # type: ignore[assignment]  # as of a class with an equality of its own


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what a test registers."""
    monkeypatch.setattr(CODECS, "_by_name", {})
    monkeypatch.setattr(CODECS, "_by_type", {})


def dump_point(point: Point) -> bytes:
    return str(point.x).encode()


def load_point(content: bytes) -> Point:
    return Point(int(content))


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("kind", [Point, f"{__name__}.Point"])
def test_a_registered_type_comes_back(kind: Any) -> None:
    """A type with registered functions comes back, at any depth, and a subclass of it if it comes back as itself."""
    register(kind, dump=dump_point, load=load_point)

    assert {"a": [Point(5)]} == from_file({"a": [Point(5)]})
    assert f'{{"crystallize.value":["registered:{__name__}.Point",{{"crystallize.part":0}}]}}'.encode() == (
        encode(any_key(), Point(5)).json
    )


@pytest.mark.usefixtures("registered")
def test_registered_functions_that_are_not_inverse() -> None:
    """A registered type that does not come back equal, or not as bytes, says so when it is written."""
    name = f"{__name__}.Point"

    def why() -> str:
        return encode(any_key(), {"point": Point(5)}).why

    register(Point, dump=dump_point, load=lambda content: Point(0))
    assert f"a {name} does not come back equal; define __eq__, or give equal= to register" == why()
    register(Point, dump=dump_point, load=load_point, equal=lambda left, right: False)
    assert f"a {name} does not come back equal; so says the registered equal; see to it" in why()
    register(Point, dump=dump_point, load=str)  # type: ignore[arg-type]  # on purpose
    assert f"a {name} comes back as a str; let load return a {name}" == why()
    register(Point, dump=dump_point, load=lambda content: Point(0), equal=lambda left, right: True)
    assert "" == encode(any_key(), Point(5)).why
    register(Point, dump=str, load=load_point)  # type: ignore[arg-type]  # which is the fault
    assert f"the registered dump of {name} returned a str, not bytes" == why()


def fail(*arguments: Any) -> Any:
    raise ZeroDivisionError("by zero")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["dump", "load", "equal"])
def test_a_registered_function_that_raises(name: str) -> None:
    """The reason names the function and its exception, and does not advise to register the type, which is done."""
    functions: dict[str, Any] = {"dump": dump_point, "load": load_point, "equal": None} | {name: fail}
    register(Point, **functions)
    raised = f"the registered {name} of {__name__}.Point raised ZeroDivisionError: by zero; see to that function"
    assert raised == encode(any_key(), [Point(5)]).why


def test_a_library_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a library cannot store a value of its own, the reason has its exception."""
    codecs: Any = arrow_codecs.VALUE_CODECS
    monkeypatch.setitem(codecs._by_name, "pyarrow.Table", codecs._by_name["pyarrow.Table"]._replace(dump=fail))
    assert "cannot be stored (ZeroDivisionError: by zero)" in encode(any_key(), pa.table({"a": [1]})).why


@pytest.mark.usefixtures("registered")
def test_a_registered_type_whose_equality_raises() -> None:
    """An `==` that raises is named as the reason."""

    class Odd(Point):
        __eq__ = fail

    register(Odd, dump=dump_point, load=lambda content: Odd(int(content)))
    assert "Odd raised ZeroDivisionError: by zero; see to that function" in encode(any_key(), Odd(5)).why


@pytest.mark.usefixtures("registered")
def test_a_registered_function_that_lacks_a_library() -> None:
    """If a registered function imports a library that is not installed, the advice is to install it."""

    def dump(point: Point) -> bytes:
        raise ModuleNotFoundError("No module named 'skops'", name="skops")

    register(Point, dump=dump, load=load_point)
    assert encode(any_key(), Point(5)).why.endswith("pip install skops")


@pytest.mark.usefixtures("registered")
def test_a_type_that_is_not_registered_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of a registered type in a program that has not registered it is an error that says to register it."""
    register(Point, dump=dump_point, load=load_point)
    stored = reread(encode(any_key(), [Point(5)]))
    monkeypatch.setattr(CODECS, "_by_type", {})
    with pytest.raises(NotRegistered, match=f"no functions are registered for {__name__}.Point") as caught:
        decode_untyped(stored)

    assert f'call register("{__name__}.Point", dump=..., load=...) before' in caught.value.advice


def test_a_library_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame that is stored by another library, which is not installed, says which one to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    stored = encode(any_key(), {"a": pd.DataFrame({"a": [1]})})

    assert "a pandas.DataFrame is stored by pyarrow; pip install pyarrow" == stored.why


FORGED = {
    "no codec": (b'{"crystallize.value":["os.system","ls"]}', ()),
    "codec of no library": (b'{"crystallize.value":["numpy.load","a"]}', ()),
    "no name": (b'{"crystallize.value":[5,"a"]}', ()),
    "no pair": (b'{"crystallize.value":5}', ()),
    "no part": (b'{"crystallize.part":1}', (b"",)),
    "part of no number": (b'{"crystallize.npy":"a"}', (b"",)),
    "zone": (b'{"crystallize.value":["ZoneInfo","../../etc/passwd"]}', ()),
    "unhashable": (b'{"crystallize.value":["set",[[1]]]}', ()),
    "type of ml_dtypes": (b'{"crystallize.value":["numpy.ndarray",["finfo",{"crystallize.part":0}]]}', (b"",)),
    "image": (b'{"crystallize.value":["PIL.Image.Image",["L",[99999,99999],null,{},{"crystallize.part":0}]]}', (b"",)),
    "lazy frame": (b'{"crystallize.value":["polars.LazyFrame",1]}', ()),
    "sparse": (b'{"crystallize.value":["scipy.sparse.lil_array",1]}', ()),
}


@pytest.mark.parametrize(("json", "parts"), FORGED.values(), ids=FORGED)
def test_marks_that_nobody_wrote(json: bytes, parts: tuple[bytes, ...]) -> None:
    """A mark that names no codec of ours, or no part, is an error and nothing else."""
    with pytest.raises((TypeError, ValueError)):
        decode_untyped(Stored("json", "str", json, parts))


def test_sparse_indices_are_checked() -> None:
    """A sparse array whose indices point beyond it is refused, since its methods would follow them."""
    array = sparse.csr_array(np.eye(3))
    stored = reread(encode(any_key(), array))
    beyond = encode(any_key(), array.indices + 50).parts[0]
    assert isinstance(beyond, bytes)
    forged = (stored.parts[0], beyond, stored.parts[2])
    with pytest.raises(ValueError, match="indices must be"):
        decode_untyped(stored._replace(parts=forged))


@given(st.sampled_from(sorted(KINDS)), st.data())
def test_damaged_bytes_are_an_error(kind: str, data: st.DataObject) -> None:
    """Whatever becomes of the bytes of a value, it comes back as some value, or as an error."""
    stored = reread(encode(any_key(), KINDS[kind]))
    parts = [bytearray(content_of(part)) for part in stored.parts]
    for part in parts:
        for at in data.draw(st.lists(st.integers(0, max(len(part) - 1, 0)), max_size=3)):
            part[at : at + 1] = data.draw(st.binary(max_size=2))
    with suppress(ArithmeticError, LookupError, TypeError, ValueError):
        decode_untyped(stored._replace(parts=tuple(map(bytes, parts))))


class Gathered:
    """A value whose codec puts all values of a type into one part, as that of tensors does."""

    def __init__(self, number: int) -> None:
        self.number = number


Gathered.__module__ = "numpy.gathered"


def test_values_that_share_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """All values of a codec that gathers are one part, which is parsed once."""
    codec = ValueCodec(
        "numpy.gathered.Gathered",
        dump=lambda value: "beside",
        load=lambda dumped: (dumped[0].buffer[dumped[1]], dumped[2]),
        equal=lambda left, right: left is right,
        is_exact=True,
        gather=lambda values: Blob(bytes(value.number for value in values)),
    )
    codecs = array_codecs.VALUE_CODECS
    monkeypatch.setattr(codecs, "_by_name", {**codecs._by_name, codec.name: codec})
    stored = encode(any_key(), [Gathered(5), {"a": Gathered(7)}])

    assert (b"\x05\x07",) == stored.parts
    assert [(5, "beside"), {"a": (7, "beside")}] == decode_untyped(stored)


@pytest.mark.usefixtures("registered")
def test_errors_of_a_library() -> None:
    """An error of a library, while it reads bytes, names the codec; Ctrl-C stays as it is."""

    class PanicException(BaseException):
        """As a library written in Rust raises it."""

    for raised, expected in (
        (RuntimeError("odd"), RegisteredFailed),
        (PanicException("odd"), ValueError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ValueError("odd"), RegisteredFailed),
    ):

        def load(content: bytes, raised: BaseException = raised) -> Point:
            if content == b"6":
                raise raised
            return Point(int(content))

        register(Point, dump=dump_point, load=load)
        stored = reread(encode(any_key(), Point(5)))
        with pytest.raises(expected):
            decode_untyped(stored._replace(parts=(b"6",)))


def test_a_zone_without_a_name() -> None:
    """A time zone that was read from a file, and has no name, cannot be stored."""
    content = b"TZif" + bytes(16) + pack(">6l", 0, 0, 0, 0, 1, 4) + pack(">lbb", 0, 0, 0) + b"UTC\0"
    noon = datetime(2026, 1, 1, 12, tzinfo=ZoneInfo.from_file(BytesIO(content)))

    assert "its time zone has no name; make it as ZoneInfo(name)" == encode(any_key(), noon).why


def test_the_versions_of_a_state_dict() -> None:
    """The attribute in which PyTorch keeps the versions of its modules comes back with an OrderedDict."""
    state: Any = OrderedDict(a=1)
    state._metadata = OrderedDict({"": {"version": 1}})
    found = from_file(state)

    assert state == found
    assert state._metadata == found._metadata


def test_a_live_object_is_told_to_write_its_state() -> None:
    """The advice about a model in training is to write its state."""
    LIVE.add(Odd, LiveKind(state="state_dict()"))
    try:
        assert "write its state_dict()" in encode(any_key(), Odd()).why
    finally:
        LIVE._by_type.pop(Odd)


def test_texts_that_are_not_unicode() -> None:
    """A text that no file can hold, and a serializer that fails, are named as the reason."""
    assert "it has a text that is not Unicode; write it as bytes" == encode(any_key(), {"a": "\ud800"}).why

    class Model(BaseModel, arbitrary_types_allowed=True):
        odd: Annotated[Odd, PlainSerializer(lambda odd: 1 / 0)]

    assert "its serializer failed" in encode(key_of(Model), Model(odd=Odd())).why


def test_frames_whose_types_grow() -> None:
    """A frame with columns that become larger than their bytes is refused."""
    frame = reread(encode(any_key(), pd.DataFrame({"a": ["x"]})))
    table = pa.table({"0": pa.array(["x"], pa.string_view())})
    (forged,) = reread(encode(any_key(), table)).parts
    with pytest.raises(ValueError, match="a frame has a column of type 'string_view'"):
        decode_untyped(frame._replace(parts=(*frame.parts[:-1], forged)))


def test_texts_with_characters_that_no_text_has() -> None:
    """An array whose bytes are no characters is an error when it is read, and not when it is shown."""
    stored = reread(encode(any_key(), np.array(["a"])))
    with pytest.raises(ValueError, match="a text with a character that no text has"):
        decode_untyped(stored._replace(parts=(bytes(content_of(stored.parts[0]))[:-1] + b"\xff",)))


def test_a_type_of_ml_dtypes_that_is_none() -> None:
    """A name that ml_dtypes has, and that is no type of numbers, is an error."""
    stored = reread(encode(any_key(), np.zeros(1, np.uint8)))
    json = b'{"crystallize.value":["numpy.ndarray",["finfo",{"crystallize.part":0}]]}'
    with pytest.raises(ValueError, match="ml_dtypes has no type 'finfo'"):
        decode_untyped(stored._replace(json=json))


def test_frames_differ() -> None:
    """Frames are the same if their items are, with their types: to pandas None is NaN, and 1 is 1.0."""
    columns: list[list[Any]] = [
        [1],
        [1.0],
        [True],
        [np.int8(1)],
        [None],
        [float("nan")],
        [pd.NA],
        [[1]],
        [[1.0]],
        [[1, 2]],
        [[2]],
        [(1,)],
    ]
    frames = [pd.DataFrame({"a": pd.Series(items, dtype=object)}) for items in columns]
    frames += [frames[0].astype(int), frames[0].rename(columns={"a": "b"}), frames[0].assign(b=5), frames[0].copy()]
    frames[-1].attrs["a"] = (1,)
    frames += [pd.DataFrame({"a": [1]}, index=index) for index in ([5], pd.Index([0], dtype=object), [[0], [1]])]
    values: list[Any] = [
        *frames,
        *(frame["a"] for frame in frames[: len(columns)]),
        *(frame.index for frame in frames[-3:]),
    ]
    for left, right in combinations(values, 2):
        assert not same(left, right)
    for value in values:
        assert same(value, value.copy())


def test_images_differ() -> None:
    """Images are the same if their modes, sizes and pixels are."""
    assert not same(Image.new("L", (1, 1)), Image.new("L", (1, 1), 5))
    assert not same(Image.new("L", (1, 1)), Image.new("RGB", (1, 1)))


def test_a_large_part_of_a_value_that_is_lost() -> None:
    """The large parts of a value that cannot be restored are not stored, as nobody needs them."""
    stored = encode(any_key(), Span(np.zeros(1 << 18), Odd))  # type: ignore[arg-type]  # nothing checks them

    assert ("none", b"null", ()) == (stored.how, stored.json, stored.parts)


@pytest.mark.usefixtures("registered")
def test_a_dump_that_returns_a_piece_of_its_bytes() -> None:
    """A registered function may return a piece of larger bytes, which alone is stored and checked."""
    content = bytes(1 << 21) + b"5"
    seen = []

    def load(given: bytes) -> Odd:
        seen.append(given)
        return Odd()

    piece: Any = memoryview(content)[1:]
    register(Odd, dump=lambda odd: piece, load=load, equal=type_is)
    stored = encode(any_key(), Odd())

    assert [content[1:]] == seen
    assert (content[1:],) == reread(stored).parts


def type_is(left: object, right: object) -> bool:
    return type(left) is type(right)


def test_digests_of_large_parts() -> None:
    """A large part counts in the digest of its value by its own digest."""
    digests = {encode(any_key(), array).digest for array in (np.zeros(1 << 18), np.zeros(1 << 18), np.ones(1 << 18))}

    assert 2 == len(digests)


NESTED = st.recursive(
    # Without the long int, which hypothesis could not print.
    st.sampled_from(
        [
            *KINDS.values(),
            *(value for name, (value, _) in REFUSED.items() if name != "long int"),
            1,
            0.5,
            "a",
            None,
            float("nan"),
        ]
    ),
    lambda parts: st.one_of(
        st.lists(parts, max_size=3),
        st.lists(parts, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(max_size=3), st.integers(0, 3)), parts, max_size=3),
        st.dictionaries(st.sampled_from(["crystallize.npy", "crystallize.value", "a"]), parts, max_size=2),
    ),
    max_leaves=6,
)


@given(NESTED)
def test_nested_values_come_back_or_are_named(value: Any) -> None:
    """A nested value of any kinds comes back equal and of its types, or it is named with a reason and advice."""
    stored = encode(any_key(), value)
    if stored.how == "none":
        assert stored.why
    else:
        assert same(value, decode_untyped(reread(stored)))
