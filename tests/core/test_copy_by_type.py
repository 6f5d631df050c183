"""How registered types are copied: a tensor that was computed from others, of a stand-in for PyTorch."""

import sys
from types import ModuleType
from typing import Any

import pytest

from crystallize import FrozenContext
from crystallize._core import copy_plans


class Tensor:
    """Stands for one of PyTorch: one that was computed from others refuses to be deep-copied."""

    def __init__(self, items: list[float], *, is_leaf: bool = True) -> None:
        self.items = items
        self.is_leaf = is_leaf

    def detach(self) -> "Tensor":
        return Tensor(self.items)

    def clone(self) -> "Tensor":
        return Tensor([*self.items])

    def __deepcopy__(self, memo: object) -> "Tensor":
        if not self.is_leaf:
            raise RuntimeError("Only Tensors created explicitly by the user support the deepcopy protocol")
        return Tensor([*self.items])


@pytest.fixture(autouse=True)
def _torch(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("torch")
    module.Tensor = Tensor
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setattr(Tensor, "__module__", "torch")
    monkeypatch.setattr(copy_plans, "_copiers", {})


@pytest.mark.parametrize("is_leaf", [True, False])
def test_a_tensor_with_its_graph(is_leaf: bool) -> None:
    """A tensor is kept without its graph, alone and within other values, and each reader gets a copy."""
    given = Tensor([1.0], is_leaf=is_leaf)
    ctx: FrozenContext[Any] = FrozenContext({"alone": given, "within": {"a": [given]}})
    given.items[0] = 2.0
    for _ in range(2):
        for tensor in (ctx["alone"], ctx["within"]["a"][0]):
            assert tensor.items == [1.0]
            assert tensor.is_leaf
            tensor.items[0] = 3.0
