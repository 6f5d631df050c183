"""Codecs for the tensors of PyTorch: all tensors of a value are one part, a file of safetensors."""

from math import prod
from typing import Any, Final

from pydantic_core import from_json, to_json

from .._base.text import short
from .._base.type_registry import TypeRegistry
from .value_codecs import CannotStore, ValueCodec, library
from .value_parts import Blob, PartContent

_TYPES: Final = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
}
"""The types of PyTorch by their names in safetensors."""
_NAMES: Final = {f"torch.{dtype}": name for name, dtype in _TYPES.items()}
_ALIGNED: Final = 8


def _dump_tensor(tensor: Any) -> list[Any]:
    torch = library("torch")
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter):
        raise CannotStore(f"a {type(tensor).__name__} is a subclass of torch.Tensor", "write its data as a tensor")
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise CannotStore("only a dense tensor with data can be stored", "write tensor.to_dense()")
    if str(tensor.dtype) not in _NAMES:
        raise CannotStore(f"a tensor of dtype {tensor.dtype} cannot be stored", "convert it to another dtype")
    return [type(tensor) is torch.nn.Parameter, bool(tensor.requires_grad and tensor.is_leaf)]


def _gather(tensors: list[Any]) -> Blob:
    """Return tensors as a file of safetensors, in which their names are their indices."""
    header: dict[str, Any] = {}
    chunks: list[memoryview] = []
    at = 0
    # By falling alignment, as the library demands it.
    for index in sorted(range(len(tensors)), key=lambda index: -tensors[index].element_size()):
        tensor = tensors[index]
        data = memoryview(_bytes_of(tensor).numpy())
        place = [at, at + data.nbytes]
        header[str(index)] = {"dtype": _NAMES[str(tensor.dtype)], "shape": [*tensor.shape], "data_offsets": place}
        chunks.append(data)
        at += data.nbytes
    text = to_json(header)
    text += b" " * (-len(text) % _ALIGNED)
    return Blob(len(text).to_bytes(8, "little") + text, *chunks)


def _load_tensor(dumped: Any) -> Any:
    torch = library("torch")
    content, index, (is_parameter, requires_grad) = dumped
    if content.parsed is None:
        content.parsed = _header_of(content)
    start, header = content.parsed
    entry = header[str(index)]
    dtype = getattr(torch, _TYPES[entry["dtype"]])
    begin, end = entry["data_offsets"]
    shape = entry["shape"]
    size = prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or not 0 <= begin <= end <= len(content.buffer) - start or end - begin != size:
        raise ValueError(f"a tensor claims the shape {short(shape)}, and has {end - begin:,} bytes")
    if size == 0:
        tensor = torch.empty(shape, dtype=dtype)
    else:
        # A copy, as the bytes cannot be written.
        flat = torch.frombuffer(bytearray(content.buffer[start + begin : start + end]), dtype=dtype)
        tensor = flat.reshape(shape)
    if is_parameter:
        return torch.nn.Parameter(tensor, requires_grad=bool(requires_grad))
    return tensor.requires_grad_(bool(requires_grad))


def _header_of(content: PartContent) -> tuple[int, Any]:
    """Return where the tensors begin, and the header before them."""
    size = int.from_bytes(content.buffer[:8], "little")
    if size > len(content.buffer) - 8:
        raise ValueError("the header of its tensors is longer than the part")
    return 8 + size, from_json(bytes(content.buffer[8 : 8 + size]))


def _same_tensor(left: Any, right: Any) -> bool:
    torch = library("torch")
    if type(left) is not type(right) or left.dtype != right.dtype or left.shape != right.shape:
        return False
    # By their bytes, in which NaN is NaN, and which also compare types that have no arithmetic.
    return bool(torch.equal(_bytes_of(left), _bytes_of(right)))


def _bytes_of(tensor: Any) -> Any:
    """Return the bytes of a tensor as a flat one, which shares the memory of the tensor if that is possible."""
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return flat.view(library("torch").uint8)


def _load_size(found: Any) -> Any:
    torch = library("torch")
    return torch.Size(found)


def _load_dtype(found: Any) -> Any:
    torch = library("torch")
    if found not in _NAMES:
        raise ValueError(f"PyTorch has no type {short(found)}")
    return getattr(torch, found.removeprefix("torch."))


def _equal(left: Any, right: Any) -> bool:
    return bool(left == right)


VALUE_CODECS: Final = TypeRegistry(
    {
        codec.name: codec
        for codec in (
            ValueCodec("torch.Tensor", _dump_tensor, _load_tensor, _same_tensor, is_exact=True, gather=_gather),
            ValueCodec("torch.Size", list, _load_size, _equal),
            ValueCodec("torch.dtype", str, _load_dtype, _equal),
        )
    }
)
