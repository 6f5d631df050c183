"""Values that are restored from bytes which somebody else wrote."""

from struct import error as StructError

import numpy as np
import pytest

from crystallize._core.codec import Stored, any_key, decode_untyped, encode

JSON = b'{"crystallize.npy":0}'
ARRAYS = {
    "numbers": np.arange(5),
    "none": np.zeros((0, 10**9)),
    "matrix": np.ones((3, 2), order="F"),
    "records": np.array([(1, 2.5)], dtype="i,f"),
    "names in other scripts": np.array([(1,)], dtype=[("\u8a9e", "i4")]),
    "many fields": np.zeros(1, dtype=[(f"field{at}", "i4") for at in range(400)]),
    "texts": np.array(["a", "bc"]),
}


@pytest.mark.filterwarnings("ignore:Stored array in format:UserWarning")
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_arrays_are_restored(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> None:
    """An array is restored with its type and its shape."""
    stored = encode(any_key(), array)
    restored = decode_untyped(stored)

    assert "json" == stored.how
    assert (array.dtype, array.shape, array.tobytes("F")) == (restored.dtype, restored.shape, restored.tobytes("F"))


def npy(header: bytes, version: int = 1) -> bytes:
    size = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header


def header(shape: str, descr: str = "'<i8'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


@pytest.mark.parametrize(
    "content",
    [
        *(npy(header("(999999999999,)")), npy(header("(9,) * 9")), npy(header("(999999999999,)", "'|V0'"))),
        *(npy(header("(99,)", "('<f8', (1000000000,))")), npy(header("(1,)", "'|O'")), npy(header("(-1,)"))),
        *(npy(b"(" * 500), npy(b"-" * 9000 + b"1"), npy(b"{}"), npy(b"5"), npy(b" " * 20_000, version=2)),
        *(b"", b"\x93NUMPY\x01\x00", b"none of it at all"),
    ],
)
def test_an_array_that_is_none(content: bytes) -> None:
    """A header of a few bytes that claims a large array, or that is none, is refused before anything is made of it."""
    with pytest.raises((ValueError, LookupError, TypeError, ArithmeticError, StructError)):
        decode_untyped(Stored("json", "numpy.ndarray", JSON, (content,)))
