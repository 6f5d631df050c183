"""Digests of the code and the arguments of a call: equal for the same code, different for each change that counts."""

import copyreg
import functools
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from crystallize import FrozenContext, step
from crystallize._core import code_digest
from crystallize._core.code_digest import CallDigest, digest_call
from tests.core.made_programs import KINDS, Program, Unit

SEEDS = st.integers(0, 2**32)
ROOT = Path(__file__).parents[2]


def loaded(source: str, name: str = "made") -> Any:
    """Execute source as a module that is the user's."""
    module = ModuleType(name)
    exec(source, vars(module))
    return module


def digest_of(program: Program) -> CallDigest:
    with program.loaded() as task:
        return digest_call(task, (), {})


def digest_from(source: str, *args: Any, **kwargs: Any) -> CallDigest:
    """Return the digest of a call of the function `task` in source."""
    return digest_call(loaded(source).task, args, kwargs)


class TestLaws:
    @given(SEEDS)
    def test_the_same_code_has_the_same_digest(self, seed: int) -> None:
        """A program that is loaded again has the same digests, also if its lines have moved."""
        program = Program.drawn(Random(seed))
        first = digest_of(program)

        assert () == first.unknown
        assert first == digest_of(program) == digest_of(replace(program, comment_lines=7))
        assert [*first.code] == [*digest_of(program).code]

    @given(SEEDS)
    def test_a_change_that_the_task_reaches_changes_the_digest(self, seed: int) -> None:
        random = Random(seed)
        program = Program.drawn(random)
        first = digest_of(program)

        assert first != digest_of(program.changed(random, program.reached()))

    @given(SEEDS)
    def test_other_changes_do_not(self, seed: int) -> None:
        random = Random(seed)
        program = Program.drawn(random)
        others = {unit.name for unit in program.units} - program.reached()
        if others:
            assert digest_of(program) == digest_of(program.changed(random, others))


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_code_is_followed(kind: str) -> None:
    """A change of either constant of a function, class or global in another module changes the digest of the task."""

    def found(*constants: int) -> CallDigest:
        used = Unit("u1", kind, "lib", (constants[0], constants[1]))
        return digest_of(Program((Unit("u0", "function", "main", (1, 2), ("u1",)), used)))

    assert found(5, 6) == found(5, 6) != found(7, 6)
    assert kind == "constant" or found(5, 6) != found(5, 7)


_SCRIPT = """
import sys, json
from random import Random
from crystallize._core.code_digest import digest_call
from tests.core.made_programs import KINDS, Program, Unit
found = []
for seed in range(int(sys.argv[1])):
    with Program.drawn(Random(seed)).loaded() as task:
        made = digest_call(task, ({"b", "a", 3}, frozenset("xyz")), {})
        found.append([dict(made.code), dict(made.arguments), made.unknown])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_processes_with_other_hash_seeds_give_the_same_digests() -> None:
    """The order of sets, which differs between processes, is in no digest."""

    def run(seed: str) -> Any:
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", _SCRIPT, "40"]
        return json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, cwd=ROOT).stdout)

    assert run("1") == run("2")


COUNTS = {
    "a constant": ("def task(ctx): return {}", "1", "2"),
    "the type of a constant": ("def task(ctx): return {}", "1", "True"),
    "the sign of zero": ("def task(ctx): return {}", "0.0", "-0.0"),
    "an operator": ("def task(ctx, x=1): return x {} 2", "+", "-"),
    "a comparison": ("def task(ctx, x=1): return x {} 2", "<", "<="),
    "an attribute": ("def task(ctx): return ctx.{}", "a", "b"),
    "the name of a keyword argument": ("def task(ctx): return ctx({}=1)", "a", "b"),
    "a docstring": ("def task(ctx):\n    '{}'", "a", "b"),
    "a default": ("def task(ctx, x={}): return x", "1", "2"),
    "a keyword default": ("def task(ctx, *, x={}): return x", "[1]", "[2]"),
    "an inner class": ("def task(ctx):\n    class A:\n        x = {}\n    return A", "1", "2"),
    "a global tuple": ("X = (1, ({}, 'b'))\ndef task(ctx): return X", "'a'", "'c'"),
    "the type of a list": ("X = {}\ndef task(ctx): return X", "[1]", "(1,)"),
    "a global that is missing": ("{}\ndef task(ctx): return X", "X = 1", ""),
    "a builtin that is hidden": ("{}\ndef task(ctx): return len(ctx)", "", "def len(x): return 1"),
    "two helpers that were swapped": (
        "def a(): return 1\ndef b(): return 2\n{}\ndef task(ctx): return a(), b()",
        "",
        "a, b = b, a",
    ),
    "one of three names for two helpers": (
        "def a(): return 1\ndef b(): return 2\nx, y, z = {}\ndef task(ctx): return x(), y(), z()",
        "a, a, b",
        "a, b, b",
    ),
    "the code of a lambda": ("f = lambda x: x + {}\ndef task(ctx): return f(1)", "1", "2"),
    "a method in a global": ("class A:\n    def m(self): return {}\nf = A().m\ndef task(ctx): return f()", "1", "2"),
    "the class of a global": ("class A:\n    def m(self): return {}\na = A()\ndef task(ctx): return a.m()", "1", "2"),
    "a function in a class": ("def f(): return {}\nclass A:\n    g = f\ndef task(ctx): return A", "1", "2"),
    "a metaclass": ("class M(type):\n    x = {}\nclass A(metaclass=M): pass\ndef task(ctx): return A", "1", "2"),
    "an annotation of a class": ("class A:\n    x: {}\ndef task(ctx): return A", "int", "str"),
    "a field of a model": (
        "from pydantic import BaseModel, Field\nclass A(BaseModel):\n    x: list[str] = Field([{}], pattern='a')\n"
        "def task(ctx): return A",
        "1",
        "2",
    ),
    "a private field of a model": (
        "from pydantic import BaseModel\nclass A(BaseModel):\n    _x: int = {}\ndef task(ctx): return A",
        "1",
        "2",
    ),
    "the configuration of a model": (
        "from pydantic import BaseModel\nclass A(BaseModel, extra={}):\n    x: int\ndef task(ctx): return A",
        "'forbid'",
        "'allow'",
    ),
    "a validator in an annotation": (
        "from typing import Annotated\nfrom pydantic import AfterValidator, BaseModel\ndef f(x): return x + {}\n"
        "class A(BaseModel):\n    x: Annotated[int, AfterValidator(f)]\ndef task(ctx): return A",
        "1",
        "2",
    ),
    "annotations that are not evaluated": (
        "class A:\n    def __annotate_func__(kind): return {}\ndef task(ctx): return A",
        "{'x': int}",
        "{'x': str}",
    ),
    "a constant that can be changed": ("X = [1, {{'lr': {}}}]\ndef task(ctx): return X", "1", "2"),
    "a dict in a tuple": ("grid = ({{'lr': {}}},)\ndef task(ctx): return grid", "1", "2"),
    "a view of a dict": (
        "from types import MappingProxyType\nX = MappingProxyType({{'lr': {}}})\ndef task(ctx): return X",
        "1",
        "2",
    ),
    "a list of a class": ("class A:\n    x = [{}]\ndef task(ctx): return A.x", "1", "2"),
    "a function in a list": ("def f(): return {}\nsteps = [f]\ndef task(ctx): return steps[0]()", "1", "2"),
    "a decorator that is a class": (
        "class timed:\n    def __init__(self, f): self.f = f\n@timed\ndef f(): return {}\ndef task(ctx): return f",
        "1",
        "2",
    ),
    "a function of NumPy": (
        "import numpy as np\n@np.vectorize\ndef f(x): return {}\ndef task(ctx): return f(1)",
        "1",
        "2",
    ),
    "a descriptor": (
        "class lazy:\n    def __init__(self, f): self.f = f\n"
        "class A:\n    @lazy\n    def x(self): return {}\ndef task(ctx): return A",
        "1",
        "2",
    ),
    "the type of an adapter": (
        "from pydantic import BaseModel, TypeAdapter\nclass A(BaseModel):\n    x: int = {}\n"
        "rows = TypeAdapter(list[A])\ndef task(ctx): return rows",
        "1",
        "2",
    ),
    "a method for a type": (
        "from functools import singledispatchmethod\nclass A:\n    @singledispatchmethod\n"
        "    def f(self, x): return 0\n    @f.register\n    def _(self, x: int): return {}\n"
        "    @f.register\n    def _(self, x: str): return 7\n"
        "def task(ctx): return A",
        "1",
        "2",
    ),
    "an annotation with a bound": (
        "from typing import Annotated\nfrom pydantic import Field\nage = Annotated[int, Field(gt={})]\n"
        "def task(ctx): return age",
        "1",
        "2",
    ),
    "the metadata of a field": (
        "from dataclasses import dataclass, field\n@dataclass\nclass A:\n"
        "    x: int = field(default=1, metadata={{'k': {}}})\ndef task(ctx): return A",
        "1",
        "2",
    ),
    "an option of a dataclass": (
        "from dataclasses import dataclass\n@dataclass(repr={})\nclass A:\n    x: int = 1\ndef task(ctx): return A",
        "True",
        "False",
    ),
    "an attribute of a function": ("def f(): return f.rate\nf.rate = {}\ndef task(ctx): return f()", "1", "2"),
    "a helper that checks its arguments": (
        "from pydantic import validate_call\n@validate_call\ndef f(x: int): return {}\ndef task(ctx): return f(1)",
        "1",
        "2",
    ),
    "the last of many names": (f"def task(ctx): return [{', '.join(f'x{n}' for n in range(300))}, {{}}]", "x", "y"),
    "a named tuple's default": (
        "from typing import NamedTuple\nclass A(NamedTuple):\n    x: int = {}\ndef task(ctx): return A()",
        "1",
        "2",
    ),
}


@pytest.mark.parametrize("case", COUNTS)
def test_counts(case: str) -> None:
    """Each of these changes changes the digest."""
    source, before, after = COUNTS[case]
    first = digest_from(source.format(before))

    assert () == first.unknown
    assert first == digest_from(source.format(before))
    assert first != digest_from(source.format(after))


DOES_NOT_COUNT = {
    "a comment": ("def task(ctx):\n    return 1{}", "", "  # one"),
    "a line": ("{}\nclass A:\n    def f(self): self.x = 1\ndef task(ctx): return A", "", "\n\n\n"),
    "an inner class that moved": ("{}\ndef task(ctx):\n    class A:\n        x = 1\n    return A", "", "\n" * 300),
    "the line of an inner class": (
        "def task(ctx):\n    class A:\n        __firstlineno__ = {}\n    return A",
        "1",
        "1000",
    ),
    "an annotation of a function": ("def task(ctx, x: {} = 1): return x", "int", "float"),
    "the content of a list": ("x = [{}]\ndef task(ctx): return x", "1", "2"),
    "a very large constant": ("X = [{}] * 20_000\ndef task(ctx): return X", "1", "2"),
    "a function that is not named": ("def f(): return {}\ndef task(ctx): return 1", "1", "2"),
    "the order of methods": (
        "class A:\n    {}\ndef task(ctx): return A",
        "def f(self): return 1\n    def g(self): return 2",
        "def g(self): return 2\n    def f(self): return 1",
    ),
}


@pytest.mark.parametrize("case", DOES_NOT_COUNT)
def test_does_not_count(case: str) -> None:
    """None of these changes changes the digest."""
    source, before, after = DOES_NOT_COUNT[case]

    assert digest_from(source.format(before)) == digest_from(source.format(after))


class TestNames:
    def test_the_task_comes_first(self) -> None:
        """Each function, class and global that is followed has an entry."""
        source = "X = 1\ndef f(): return X\nclass A:\n    def m(self): return f()\ndef task(ctx): return A"

        assert ["made.task", "made.A", "made.A.m", "made.f", "made.X"] == [*digest_from(source).code]

    def test_functions_of_one_name_are_told_apart(self) -> None:
        source = "def make(k): return lambda: k\na, b = make(1), make(2)\ndef task(ctx): return a, b"

        names = ["made.task", "made.make.<locals>.<lambda>", "made.make.<locals>.<lambda>#2"]
        assert names == [*digest_from(source).code]

    def test_the_main_module_has_one_name(self) -> None:
        """Processes that multiprocessing starts have another name for it."""
        source = "def task(ctx): return 1"
        found = [digest_call(loaded(source, name).task, (), {}) for name in ("__main__", "__mp_main__")]

        assert found[0] == found[1]
        assert ["__main__.task"] == [*found[0].code]


class TestArguments:
    def test_by_position_by_name_and_by_default_are_the_same(self) -> None:
        task = loaded("def task(ctx, a, b=2): return a").task
        found = [
            digest_call(task, (1, 2), {}),
            digest_call(task, (1,), {"b": 2}),
            digest_call(task, (), {"b": 2, "a": 1}),
            digest_call(task, (1,), {}),
            digest_call(functools.partial(task, b=2), (1,), {}),
            digest_call(functools.partial(functools.partial(task, a=7), a=1), (), {}),
        ]

        assert [found[0]] * 6 == found
        assert {"a", "b"} == set(found[0].arguments)

    def test_the_context_has_no_digest(self) -> None:
        """It is not an argument, also if a partial has arguments before it."""
        task = loaded("def task(first, ctx, last): return 1").task

        assert ["first", "last"] == [*digest_call(functools.partial(task, 1), (2,), {}).arguments]

    def test_more_arguments(self) -> None:
        task = loaded("def task(ctx, a, /, *rest, **more): return 1").task
        found = digest_call(task, (1, 2, 3), {"a": 4, "b": 5})

        assert {"a", "**a", "rest", "b"} == set(found.arguments)
        assert found != digest_call(task, (1, 2, 4), {"a": 4, "b": 5})
        assert found != digest_call(task, (1, 2, 3), {"a": 5, "b": 5})

    def test_a_method_counts_with_its_object(self) -> None:
        source = "class A:\n    def __init__(self, x): self.x = x\n    def task(self, ctx): return self.help()\n"
        source += "    def help(self): return {}\n    def __call__(self, ctx): return self.x"
        made = [loaded(source.format(number)) for number in (1, 2)]

        for name in ("task", "__call__"):
            one, same, other, changed = (
                digest_call(getattr(module.A(x), name), (), {})
                for module, x in [(made[0], 1), (made[0], 1), (made[0], 2), (made[1], 1)]
            )
            assert one == same
            assert one.code == other.code
            assert one.arguments != other.arguments
            assert one.code != changed.code
        assert digest_call(made[0].A(1), (), {}) == digest_call(made[0].A(1).__call__, (), {})

    def test_a_class_and_a_cached_function_as_tasks(self) -> None:
        made = loaded(
            "import functools\nclass A:\n    def __init__(self, ctx, x): pass\n"
            "@functools.lru_cache\ndef task(ctx, x): return 1"
        )

        assert {"made.A", "made.A.__init__"} == set(digest_call(made.A, (1,), {}).code)
        assert ["args"] == [*digest_call(made.A, (1,), {}).arguments]
        assert ["x"] == [*digest_call(made.task, (1,), {}).arguments]
        assert ["builtins.print"] == [*digest_call(print, (), {}).code]

    def test_a_function_counts_by_its_code(self) -> None:
        task = loaded("def task(ctx, f, g=None): return f()").task
        f, same, g = (loaded(f"def f(): return {number}").f for number in (1, 1, 2))

        assert digest_call(task, (f,), {}) == digest_call(task, (same,), {})
        assert digest_call(task, (f,), {}) != digest_call(task, (g,), {})
        assert digest_call(task, (f, g), {}) != digest_call(task, (g, f), {})
        assert digest_call(task, ([f, f],), {}) != digest_call(task, ([f, g],), {})
        assert digest_call(task, (f,), {}).code["made.f"] != digest_call(task, (g,), {}).code["made.f"]

    def test_functions_of_one_name_are_told_apart(self) -> None:
        """Also if each call has the same functions among its arguments."""
        made = loaded("def make(k): return lambda: k\na, b = make(1), make(2)\ndef task(ctx, x, y, z): return x, y, z")

        assert digest_call(made.task, (made.a, made.a, made.b), {}) != digest_call(
            made.task, (made.a, made.b, made.b), {}
        )

    def test_a_closure_counts_by_value(self) -> None:
        source = "def make(x):\n    def task(ctx): return x\n    return task\ntask = make({})"
        found = digest_from(source.format("[1, 2]"))

        assert ["closure.x"] == [*found.arguments]
        assert found == digest_from(source.format("[1, 2]"))
        assert found != digest_from(source.format("[1, 3]"))

    def test_the_namespace_of_a_class_is_left_out(self) -> None:
        """Annotations in Python 3.14 have it in their closure; the class is followed anyway."""
        assert (
            {} == digest_from("def make(__classdict__): return lambda ctx: __classdict__\ntask = make([1])").arguments
        )

    def test_a_variable_without_a_value(self) -> None:
        """A closure may be digested before its variable has one."""
        source = (
            "def make():\n    def task(ctx): return x\n    def f(): return task\n    yield f\n    yield task\n    x = 1"
        )

        for task in loaded(source).make():
            assert () == digest_call(task, (), {}).unknown


class Settings(BaseModel):
    token: SecretStr = SecretStr("a")


class TestUnknown:
    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (iter(()), "is a tuple_iterator, which has no digest"),
            ([iter(())], "contains a tuple_iterator, which has no digest"),
            (SecretStr("a"), "is a secret, and secrets have no digest"),
            (Settings(), "contains a secret, and secrets have no digest"),
            (FrozenContext(), "is a context, whose reads by the step are not on record"),
            (loaded("", "made"), "is a module, which has no digest"),
        ],
    )
    def test_an_argument(self, value: Any, reason: str) -> None:
        """The reason names the argument and its type."""
        found = digest_from("def task(ctx, model): return model", value)

        assert (f"the argument model {reason}",) == found.unknown
        assert {} == found.arguments

    def test_defaults_and_closures(self) -> None:
        source = """
def make(lock):
    def task(ctx, x=iter(())): return lock, f
    def f(y=iter(())): return lock
    return task
task = make(iter([]))
"""
        assert (
            "the default x is a tuple_iterator, which has no digest",
            "the closure value lock is a list_iterator, which has no digest",
            "the default y of made.make.<locals>.f is a tuple_iterator, which has no digest",
            "the closure value lock of made.make.<locals>.f is a list_iterator, which has no digest",
        ) == digest_from(source).unknown

    def test_values_that_are_nested_too_deeply(self) -> None:
        value: list[Any] = []
        for _ in range(5000):
            value = [value]

        (reason,) = digest_from("def task(ctx, x): return x", value).unknown
        assert "the argument x is nested too deeply for a digest" == reason


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Write the modules of a package `made_package`, which can be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(**sources: str) -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "made_package"]:
            del sys.modules[name]
        folder = tmp_path / "made_package"
        folder.mkdir(exist_ok=True)
        for name, source in {"__init__": "", **sources}.items():
            (folder / f"{name}.py").write_text(source)
        # Files that are written within one second may have the same times.
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        importlib.invalidate_caches()

    yield write
    write()


class TestImports:
    @pytest.mark.parametrize(
        "imported",
        [
            "from made_package.lib import f",
            "from made_package import lib; f = lib.f",
            "import made_package.lib as lib; f = lib.f",
            "import made_package.lib; f = made_package.lib.f",
        ],
    )
    @pytest.mark.parametrize("place", ["module", "function"])
    def test_are_followed(self, package: Callable[..., None], imported: str, place: str) -> None:
        """Modules of the user count, wherever they are imported; one that is not imported yet by its file."""
        top, inner = (imported, "pass") if place == "module" else ("", imported)
        if place == "module":
            top = top.partition(";")[0]
            inner = imported.partition("; ")[2] or "pass"
        source = f"{top}\ndef task(ctx):\n    {inner}\n    return f()"
        found = []
        for number in (1, 1, 2):
            package(lib=f"def f(): return g()\ndef g(): return {number}\ndef h(): return {number}")
            found.append(digest_from(source))

        assert found[0] == found[1] != found[2]
        assert ("made_package.lib.g" in found[0].code) == (place == "module")

    def test_are_followed_within_a_package(self, package: Callable[..., None]) -> None:
        """A relative import in a function is resolved as Python does."""
        found = []
        for number in (1, 2):
            package(lib=f"def f(): return {number}", main="def task(ctx):\n    from .lib import f\n    return f()")
            found.append(digest_call(importlib.import_module("made_package.main").task, (), {}))

        assert found[0] != found[1]

    def test_of_a_closure_and_of_a_whole_module(self, package: Callable[..., None]) -> None:
        """If a module is passed on as a whole, all its functions and classes count."""
        for use in ("lib.f()", "getattr(lib, 'f')()"):
            found = []
            for number in (1, 2):
                package(lib=f"X = 1\ndef f(): return {number}\ndef g(): return lib")
                source = f"def make():\n    import made_package.lib as lib\n    return lambda ctx: {use}\ntask = make()"
                found.append(digest_from(source))
                source = f"import made_package.lib as lib\ndef task(ctx): return {use}"
                found.append(digest_from(source))
            assert found[0] != found[2]
            assert found[1] != found[3]
            assert () == found[0].unknown

    def test_that_fail(self, package: Callable[..., None]) -> None:
        """No module is imported; one that cannot be found makes the call unknown, unless nobody has it."""
        package(lib="1 / 0")
        source = (
            "def task(ctx):\n    import made_package.lib\n    import no_such_module, json, xmlrpc, numpy, tomllib.x\n"
        )
        source += "    import made_package.nothing\n    from . import y"
        first, unknown = digest_from(source).unknown

        assert "the module made_package.nothing, which made.task imports, has no file" == first
        assert unknown.startswith("the module ., which made.task imports, cannot be found (")
        assert "made_package.lib" not in sys.modules

    def test_of_modules_that_import_themselves(self, package: Callable[..., None]) -> None:
        """A module is followed once, and a name that it lacks is no fault."""
        package(lib="import made_package.lib as lib\ndef f(): return 1", other="")
        source = "def task(ctx):\n    from made_package import lib, other, nothing\n    return lib.f, lib.lib"
        importlib.import_module("made_package.lib")
        found = digest_from(source)

        assert () == found.unknown
        assert {"made.task", "made_package.lib.f"} == set(found.code)

    def test_of_other_packages_are_not_followed(self) -> None:
        source = "import json, numpy as np\nfrom pydantic import BaseModel\nfrom crystallize import FrozenContext\n"
        source += "def task(ctx): return json.dumps(np.mean([BaseModel, FrozenContext, np.float64]))"

        assert ["made.task"] == [*digest_from(source).code]


class TestChanges:
    """A call digest is kept for the next call, unless anything has changed."""

    def test_of_a_name(self) -> None:
        """Each name may refer to something else in the next call, as in a notebook."""
        made = loaded("X = 1\ny = [1]\ndef f(): return X, y\ndef task(ctx): return f()")
        found = [digest_call(made.task, (), {})]
        for source in ("X = 2", "y = {}", "def f(): return 2", "del f"):
            exec(source, vars(made))
            assert found[-1] != digest_call(made.task, (), {})
            found.append(digest_call(made.task, (), {}))
        exec("X = 1\ny = [2]\ndef f(): return X, y", vars(made))

        assert found[0] == digest_call(made.task, (), {})

    def test_of_what_is_in_a_constant(self) -> None:
        """A constant may change without an assignment to its name, and the options of a helper by a decorator."""
        made = loaded("X = {'lr': 1}\nclass A:\n    x = [1]\ndef f(): return X, A\ndef task(ctx): return f()")
        found = [digest_call(made.task, (), {})]
        for source in ("X['lr'] = 2", "A.x.append(2)", "f.rate = 1", "f.rate = 2", "step(version=2)(f)"):
            exec(source, vars(made) | {"step": step})
            assert found[-1] != digest_call(made.task, (), {})
            found.append(digest_call(made.task, (), {}))

    def test_of_a_function(self) -> None:
        made = loaded("def f(x=1, *, y=1): return x\ndef g(): return 2\ndef task(ctx): return f()")
        found = [digest_call(made.task, (), {})]

        def changes() -> Iterator[None]:
            made.f.__defaults__ = (2,)
            yield
            made.f.__kwdefaults__["y"] = 2
            yield
            made.f.__code__ = made.g.__code__
            yield

        for _ in changes():
            assert found[-1] != digest_call(made.task, (), {})
            found.append(digest_call(made.task, (), {}))

    def test_of_a_class(self) -> None:
        made = loaded("class B: pass\nclass C: x = 1\nclass A(B):\n    x = 1\n    z = []\ndef task(ctx): return A()")
        found = [digest_call(made.task, (), {})]
        for source in ("A.x = 2", "A.y = 1", "A.__bases__ = (C,)", "C.x = 3", "A.z = {}"):
            exec(source, vars(made))
            assert found[-1] != digest_call(made.task, (), {})
            found.append(digest_call(made.task, (), {}))

    def test_of_a_closure(self) -> None:
        made = loaded("""
def make(x):
    def f(): return x
    def put(y):
        nonlocal x
        x = y
    return f, put
f, put = make(1)
def task(ctx): return f()
""")
        first = digest_call(made.task, (), {})
        made.put(2)
        second = digest_call(made.task, (), {})
        held = [1]
        made.put(held)
        third = digest_call(made.task, (), {})
        held.append(2)

        assert 4 == len({str(found) for found in (first, second, third, digest_call(made.task, (), {}))})

    def test_of_an_implementation(self) -> None:
        source = "import functools\n@functools.singledispatch\ndef f(x): return 1\ndef task(ctx): return f()"
        made = loaded(source)
        first = digest_call(made.task, (), {})
        made.f.register(int, lambda x: 2)

        assert first != digest_call(made.task, (), {})

    def test_few_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of calls with new functions, only the last ones are kept, and none whose closure is large."""
        kept: dict[Any, Any] = {}
        monkeypatch.setattr(code_digest, "_graphs", kept)
        monkeypatch.setattr(code_digest, "_MOST_GRAPHS", 3)
        for _ in range(10):
            digest_from("def task(ctx): return 1")
            assert len(kept) <= 3
        kept.clear()
        digest_from("def make(x): return lambda ctx: x\ntask = make([1])")

        assert {} == kept

    def test_nothing_is_followed_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = loaded("def f(): return 1\nclass A: pass\ndef task(ctx, x, y): return f(), A")
        first = digest_call(made.task, (1, made.A()), {})
        monkeypatch.setattr(code_digest, "CodeGraph", None)

        assert first == digest_call(made.task, (1, made.A()), {})
        assert first.code == digest_call(made.task, (2, made.A()), {}).code


def test_a_class_of_which_copy_has_kept_the_slots() -> None:
    """`copy` and `pickle` set `__slotnames__` of a class when they first meet an instance."""

    class Point:
        __slots__ = ("x",)

    def fit(ctx: object) -> type:
        return Point

    before = digest_call(fit, (), {})
    copyreg._slotnames(Point)  # type: ignore[attr-defined]  # it is not in the stubs
    assert "__slotnames__" in vars(Point)
    assert before == digest_call(fit, (), {})
