"""Codecs for NumPy's arrays and scalars, those of ml_dtypes, and the sparse arrays of SciPy.

An array is `.npy`: a short header, and the buffer of the array itself, which is not copied.
"""

import re
from ast import literal_eval
from io import BytesIO
from math import prod
from struct import Struct
from sys import maxunicode
from typing import Any, Final

from .._base.text import short
from .._base.type_registry import TypeRegistry
from .value_codecs import CannotStore, ValueCodec, library
from .value_parts import Blob, PartContent


def _dump_array(array: Any) -> Any:
    np = library("numpy")
    if type(array) is not np.ndarray:
        raise CannotStore(f"a {type(array).__name__} is a subclass of numpy.ndarray", "write np.asarray(...) of it")
    dtype = array.dtype
    if dtype.hasobject:
        raise CannotStore("an array of dtype object has any objects in it", "write a list, or give the array a dtype")
    if dtype.type.__module__ == "ml_dtypes":
        return [dtype.name, _npy(array.view(f"u{dtype.itemsize}"))]
    if dtype.metadata or dtype.names:
        _check_fields(dtype)
    if dtype.type is np.record:
        return [_RECORD, _npy(array.view(np.dtype((np.void, dtype))))]
    return _npy(array)


_RECORD: Final = "record"


def _check_fields(dtype: Any) -> None:
    """Raise CannotStore if a dtype has more to it than an `.npy` says, at any depth."""
    if dtype.metadata:
        raise CannotStore("its dtype has metadata, which is lost in a file", "write it with a dtype without metadata")
    for field, *_ in (dtype.fields or {}).values():
        if field.base.type.__name__ == _RECORD:
            raise CannotStore("a field of its dtype is a numpy.record", "write it with a dtype without numpy.record")
        _check_fields(field.base)


def _npy(array: Any) -> Blob:
    np = library("numpy")
    lib = np.lib.format
    header = BytesIO()
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        array = array.copy()
    facts = lib.header_data_from_array_1_0(array)
    try:
        lib.write_array_header_1_0(header, facts)
    except ValueError:  # of records, whose names may be long, or in other scripts
        lib.write_array(header, array, version=(3, 0), allow_pickle=False)
        return Blob(header.getvalue())
    if array.nbytes == 0:
        return Blob(header.getvalue())
    flat = (array if array.flags.c_contiguous else array.T).reshape(-1)
    return Blob(header.getvalue(), memoryview(flat.view(np.uint8)))


def _load_array(dumped: Any) -> Any:
    if isinstance(dumped, PartContent):
        return _array(dumped)
    name, content = dumped
    found = _array(content)
    if name == _RECORD:
        np = library("numpy")
        return found.view(np.dtype((np.record, found.dtype)))
    return found.view(_small_dtype(name))


_SMALL_DTYPE: Final = re.compile(r"(b?float|u?int|complex)\w+")


def _small_dtype(name: str) -> Any:
    """Return a dtype of ml_dtypes by its name."""
    ml_dtypes = library("ml_dtypes")
    np = library("numpy")
    if not _SMALL_DTYPE.fullmatch(name):
        raise ValueError(f"ml_dtypes has no type {short(name)}")
    return np.dtype(getattr(ml_dtypes, name))


def _array(part: PartContent) -> Any:
    np = library("numpy")
    content = part.buffer
    # The header of a few bytes may claim any size, and items of no bytes any number.
    start, header = _npy_header(content)
    dtype = np.lib.format.descr_to_dtype(header["descr"])
    shape, is_fortran = header["shape"], header["fortran_order"]
    if dtype.hasobject:
        raise ValueError("an array of objects would have to be unpickled")
    size = prod(shape) * max(dtype.itemsize, 1)
    if size > len(content) or min(shape, default=0) < 0:
        raise ValueError(f"an array claims the shape {short(shape)}, and has {len(content):,} bytes")
    order = "F" if is_fortran else "C"
    if dtype.itemsize == 0 or prod(shape) == 0:
        return np.zeros(shape, dtype, order)
    flat = np.frombuffer(content, dtype, prod(shape), start)
    if not part.is_mapped:
        flat = flat.copy()
    if dtype.kind == "U" and flat.view(dtype.str[0] + "u4").max() > maxunicode:
        raise ValueError("an array has a text with a character that no text has")
    return flat.reshape(shape, order=order)


def _npy_header(content: memoryview) -> tuple[int, Any]:
    """Return where the array begins, and the dictionary before it, which has at most 10,000 characters."""
    if bytes(content[:6]) != b"\x93NUMPY":
        raise ValueError("an array has another beginning than an .npy")
    length = Struct("<H" if content[6] == 1 else "<I")
    (size,) = length.unpack_from(content, 8)
    start = 8 + length.size
    if size > 10_000:
        raise ValueError(f"the header of an array has {size:,} characters")
    encoding = "utf-8" if content[6] == 3 else "latin-1"
    try:
        return start + size, literal_eval(bytes(content[start : start + size]).decode(encoding))
    except (SyntaxError, MemoryError, RecursionError) as error:  # as deep nesting raises, by version of Python
        raise ValueError("the header of an array cannot be parsed") from error


def _dump_scalar(value: Any) -> Any:
    np = library("numpy")
    if value.dtype.hasobject:
        raise CannotStore("it has objects in it")
    return _dump_array(np.asarray(value))


def _load_scalar(dumped: Any) -> Any:
    return _load_array(dumped)[()]


def _same_array(left: Any, right: Any) -> bool:
    return bool((left.dtype, left.shape, left.tobytes()) == (right.dtype, right.shape, right.tobytes()))


def _dump_compressed(matrix: Any) -> list[Any]:
    return [[*matrix.shape], matrix.data, matrix.indices, matrix.indptr]


def _dump_coordinates(matrix: Any) -> list[Any]:
    return [[*matrix.shape], matrix.data, *matrix.coords]


def _dump_diagonals(matrix: Any) -> list[Any]:
    return [[*matrix.shape], matrix.data, matrix.offsets]


def _load_sparse(name: str) -> Any:
    def load(dumped: Any) -> Any:
        sparse = library("scipy.sparse")
        shape, data, *places = dumped
        make = getattr(sparse, name)
        content = (data, tuple(places)) if name.startswith("coo") else (data, *places)
        made = make(content, shape=tuple(shape))
        if hasattr(made, "check_format"):
            made.check_format(full_check=True)  # or its methods would read memory that is not its own
        return made

    return load


def _same_sparse(left: Any, right: Any) -> bool:
    dump = _SPARSE[left.format]
    (shape, *arrays), (other_shape, *others) = dump(left), dump(right)
    return type(left) is type(right) and shape == other_shape and all(map(_same_array, arrays, others))


_SPARSE: Final = {
    **dict.fromkeys(("csr", "csc", "bsr"), _dump_compressed),
    "coo": _dump_coordinates,
    "dia": _dump_diagonals,
}


def _refuse(matrix: Any) -> Any:
    raise CannotStore(f"a sparse array of format {matrix.format} has objects in it", "write matrix.tocsr()")


VALUE_CODECS: Final = TypeRegistry(
    {
        codec.name: codec
        for codec in (
            ValueCodec("numpy.ndarray", _dump_array, _load_array, _same_array, is_exact=True),
            ValueCodec("numpy.generic", _dump_scalar, _load_scalar, _same_array),
            *(
                ValueCodec(f"scipy.sparse.{form}_{kind}", dump, _load_sparse(f"{form}_{kind}"), _same_sparse)
                for form, dump in _SPARSE.items()
                for kind in ("array", "matrix")
            ),
            *(
                ValueCodec(f"scipy.sparse.{form}_{kind}", _refuse, _refuse, _same_sparse)
                for form in ("lil", "dok")
                for kind in ("array", "matrix")
            ),
        )
    }
)
