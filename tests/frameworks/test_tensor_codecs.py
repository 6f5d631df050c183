"""Tensors of PyTorch in the file of a run."""

import copy
import tempfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from crystallize import FrozenContext, Journal, load_run
from crystallize._core import placed_values
from crystallize._core.codec import Stored, any_key, decode, decode_untyped, encode, key_of
from crystallize._core.context import state_of
from crystallize._core.equality import same
from crystallize._core.stored_value import Deferred
from crystallize._core.value_parts import PartInMemory, content_of
from crystallize.runs import verify_run

torch: Any = pytest.importorskip("torch")

KINDS = {
    **{
        f"{dtype}": torch.ones(3).to(dtype)
        for dtype in (
            *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16),
            *(torch.bfloat16, torch.float32, torch.float64, torch.complex64),
            *(torch.float8_e5m2, torch.float8_e4m3fn, torch.float8_e8m0fnu, torch.uint16, torch.uint32, torch.uint64),
        )
    },
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "NaN": torch.tensor([float("nan"), -0.0]),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "conjugate": torch.tensor([1 + 2j]).conj(),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "frozen parameter": torch.nn.Parameter(torch.ones(2), requires_grad=False),
    "leaf": torch.ones(2, requires_grad=True),
    "size": torch.Size([1, 2]),
    "dtype": torch.float32,
    "nested": {"a": [torch.ones(2), (torch.zeros(1, dtype=torch.int8), 1)], 3: OrderedDict(b=torch.ones(1))},
}


def reread(stored: Stored) -> Stored:
    """Return a stored value as a file gives it back: its parts are bytes."""
    return stored._replace(parts=tuple(bytes(content_of(part)) for part in stored.parts))


def trained() -> tuple[Any, Any]:
    """Return a small model and its optimizer after one step."""
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("value", KINDS.values(), ids=KINDS)
def test_tensors_come_back(value: Any) -> None:
    """A tensor of each type comes back with all its bits, alone and at any depth; all of a value are one part."""
    stored = encode(any_key(), {"a": [value, (value, 1)]})
    found = decode_untyped(reread(stored))

    assert same({"a": [value, (value, 1)]}, found)
    assert len(stored.parts) <= 1
    if isinstance(value, torch.Tensor) and value.is_leaf:
        assert value.requires_grad is found["a"][0].requires_grad


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    """The `state_dict` of a model and of an optimizer come back as they were, and training goes on from them."""
    model, optimizer = trained()
    with Journal.start(tmp_path, "run") as journal:
        ctx = journal.context(FrozenContext)
        with ctx.step("fit") as fit:
            fit["model"], fit["optimizer"] = model.state_dict(), optimizer.state_dict()
    found = load_run(journal.path).values
    other, again = trained()
    versions = vars(found["model"])["_metadata"]
    other.load_state_dict(found["model"])
    again.load_state_dict(found["optimizer"])

    assert OrderedDict is type(found["model"])
    assert model.state_dict()._metadata == versions
    assert same(model.state_dict(), other.state_dict())
    assert same(optimizer.state_dict(), again.state_dict())
    assert () == verify_run(journal.path)


def test_a_model_with_tensors_comes_back() -> None:
    """Tensors in a declared model come back."""

    class Batch(BaseModel, arbitrary_types_allowed=True):
        inputs: torch.Tensor
        more: dict[str, list[Any]]

    key = key_of(Batch)
    batch = Batch(inputs=torch.rand(2, 3), more={"a": [torch.ones(1)]})

    assert same(batch, decode(reread(encode(key, batch)), key))


def test_a_part_is_a_file_of_safetensors() -> None:
    """The part of all tensors can be read with the library of that format."""
    safetensors: Any = pytest.importorskip("safetensors.torch")
    tensors = [torch.rand(3), torch.ones(2, dtype=torch.bfloat16), torch.tensor(True), torch.arange(4)]
    (part,) = encode(any_key(), tensors).parts
    found = safetensors.load(bytes(content_of(part)))

    assert same(tensors, [found[str(index)] for index in range(4)])


class OddTensor(torch.Tensor):  # type: ignore[misc]  # torch has no types here
    """A tensor of a class of its own."""


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (torch.ones(2).to_sparse(), "only a dense tensor with data can be stored; write tensor.to_dense()"),
        (torch.ones(2, device="meta"), "only a dense tensor with data can be stored"),
        (torch.ones(2, dtype=torch.complex128), "a tensor of dtype torch.complex128 cannot be stored"),
        (torch.ones(2).as_subclass(OddTensor), "a OddTensor is a subclass of torch.Tensor"),
        (torch.nn.Linear(1, 1), "no codec stores a torch.nn.modules.linear.Linear; write its state_dict()"),
    ],
)
def test_why_a_tensor_is_not_restorable(value: Any, why: str) -> None:
    """A tensor that no file takes says why, and what would help; so does a model."""
    assert why in encode(any_key(), value).why


def test_tensors_differ() -> None:
    """Tensors are the same if their types, shapes and bits are."""
    one = torch.ones(2)

    assert same(one, torch.ones(2))
    for other in (torch.zeros(2), torch.ones(3), torch.ones(2, dtype=torch.int64), torch.nn.Parameter(one)):
        assert not same(one, other)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"shape":[3]', b'"shape":[9]'),
        (b'"shape":[3]', b'"shape":[-3]'),
        (b'"F32"', b'"F99"'),
        (b"[0,12]", b"[-1,11]"),
        (b"[0,12]", b"[12,24]"),
    ],
)
def test_a_header_that_is_forged(old: bytes, new: bytes) -> None:
    """A header that claims more than the part has is an error."""
    stored = reread(encode(any_key(), torch.ones(3)))
    part = bytes(content_of(stored.parts[0]))
    size = int.from_bytes(part[:8], "little")
    header = part[8 : 8 + size].replace(old, new)
    forged = len(header).to_bytes(8, "little") + header + part[8 + size :]

    assert forged != part
    with pytest.raises((ValueError, LookupError)):
        decode_untyped(stored._replace(parts=(forged,)))


def test_a_header_without_an_end() -> None:
    """A header that is longer than the part is an error."""
    stored = reread(encode(any_key(), torch.ones(3)))
    with pytest.raises(ValueError, match="the header of its tensors is longer than the part"):
        decode_untyped(stored._replace(parts=(b"\xff" * 8,)))


def test_a_type_that_is_none() -> None:
    """The name of a type that PyTorch does not have is an error."""
    with pytest.raises(ValueError, match="PyTorch has no type"):
        decode_untyped(Stored("json", "torch.dtype", b'{"crystallize.value":["torch.dtype","torch.load"]}'))


@given(st.data())
def test_damaged_bytes_are_an_error(data: st.DataObject) -> None:
    """Whatever becomes of the bytes of tensors, they come back as some tensors, or as an error."""
    stored = reread(encode(any_key(), [torch.ones(3), torch.tensor(1, dtype=torch.bfloat16)]))
    part = bytearray(content_of(stored.parts[0]))
    for at in data.draw(st.lists(st.integers(0, len(part) - 1), max_size=4)):
        part[at : at + 1] = data.draw(st.binary(max_size=2))
    with suppress(ArithmeticError, LookupError, TypeError, ValueError):
        decode_untyped(stored._replace(parts=(bytes(part),)))


def test_a_large_tensor_is_not_copied() -> None:
    """The part of large tensors is a header and the memory of each."""
    tensor = torch.zeros(1 << 19)
    (part,) = encode(any_key(), {"a": tensor}).parts

    assert isinstance(part, PartInMemory)
    assert np.shares_memory(tensor.numpy(), np.frombuffer(part.chunks[1], np.float32))


def is_placed(ctx: FrozenContext[Any], key: str) -> bool:
    """Return whether a context keeps the value of a key in a file."""
    return isinstance(state_of(ctx).stored(key).thaw, Deferred)


def test_a_large_checkpoint_stays_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not copied when it is written; readers get copies, and its versions of the modules."""
    monkeypatch.setattr(placed_values, "LARGE", 1_000_000)
    model = torch.nn.Sequential(torch.nn.Linear(600, 600), torch.nn.BatchNorm1d(600))
    checkpoint = {"model": model.state_dict(), "epoch": 3}
    expected = copy.deepcopy(checkpoint)
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        with ctx.step("fit") as fit:
            fit["checkpoint"] = checkpoint
            assert is_placed(ctx, "checkpoint")
            zeroed(checkpoint["model"])
            assert same(expected, fit["checkpoint"])
        zeroed(ctx["checkpoint"]["model"])
        assert same(expected, ctx["checkpoint"])
        assert expected["model"]._metadata == ctx["checkpoint"]["model"]._metadata
        model.load_state_dict(ctx["checkpoint"]["model"])
    assert same(expected, load_run(opened.path).values["checkpoint"])
    assert () == verify_run(opened.path)


def test_tensors_that_share_memory_are_copied_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader gets tensors that share memory again, which a file has not."""
    monkeypatch.setattr(placed_values, "LARGE", 1_000_000)
    weight = torch.ones(600, 600)
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        ctx["tied"] = {"encoder": weight, "decoder": weight.T}
        assert not is_placed(ctx, "tied")
        read = ctx["tied"]
        assert read["encoder"].data_ptr() == read["decoder"].data_ptr()


def test_a_sparse_tensor_beside_large_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no single storage, and is copied as before."""
    monkeypatch.setattr(placed_values, "LARGE", 1_000_000)
    with Journal.start(tmp_path, "run") as opened:
        ctx = opened.context(FrozenContext)
        ctx["mixed"] = {"dense": torch.ones(600, 600), "sparse": torch.eye(3).to_sparse()}
        assert not is_placed(ctx, "mixed")
        assert ctx["mixed"]["sparse"].to_dense().equal(torch.eye(3))


def zeroed(value: Any) -> None:
    """Set all tensors in a value to zero, in place."""
    if isinstance(value, torch.Tensor):
        value.detach().zero_()
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            zeroed(part)


NESTED = st.recursive(
    st.sampled_from(sorted(KINDS)),
    lambda parts: st.lists(parts, max_size=3) | st.dictionaries(st.text(max_size=2), parts, max_size=3),
    max_leaves=5,
)


def built(recipe: Any) -> Any:
    """Return a value in which each name is a tensor of its kind; no two values have memory in common."""
    if isinstance(recipe, str):
        return copy.deepcopy(KINDS[recipe])
    return {key: built(part) for key, part in recipe.items()} if isinstance(recipe, dict) else [*map(built, recipe)]


@settings(deadline=None)
@given(NESTED)
def test_nested_tensors_in_a_run(recipe: Any) -> None:
    """Nobody changes tensors at any depth that were written, and they come back from a loaded and a resumed run."""
    value, expected = built(recipe), built(recipe)
    with tempfile.TemporaryDirectory() as folder:
        with Journal.start(folder, "run") as opened:
            ctx = opened.context(FrozenContext)
            with ctx.step("fit") as fit:
                fit["x"] = value
                zeroed(value)
                zeroed(fit["x"])
            assert same(expected, ctx["x"])
        assert same(expected, load_run(opened.path).values["x"])
        with Journal.resume(opened.path) as journal:
            again = journal.context(FrozenContext)
            zeroed(again["x"])
            assert same(expected, again["x"])
            assert again.provenance.finished("fit")
