"""What is left of a module in its stub."""

import ast
from pathlib import Path
from textwrap import dedent

import pytest

import crystallize
from crystallize._stubs.class_outline import names_in, outline

PACKAGE = Path(crystallize.__file__).parent


def stub_of(source: str) -> str:
    """Return the stub of some source as text."""
    return ast.unparse(outline(dedent(source)))


def plain(source: str) -> str:
    """Return code in the layout of `ast.unparse`, so that only its content is compared."""
    return ast.unparse(ast.parse(source))


@pytest.mark.parametrize(
    ("source", "left"),
    [
        (
            "def f(a: int = 3, b: str = 'x' * 3) -> None:\n    return None",
            "def f(a: int = 3, b: str = ...) -> None: ...",
        ),
        (
            "def f(a: int = -1, b: tuple[int, ...] = ()) -> None: ...",
            "def f(a: int = -1, b: tuple[int, ...] = ()) -> None: ...",
        ),
        ("def f(*, a, b=g()): ...", "def f(*, a, b=...): ..."),
        ("def f(a: 'list[\"A\"]') -> 'A': ...", "def f(a: list[A]) -> A: ..."),
        ("def f(a: Literal['A', \"b\"]) -> None: ...", 'def f(a: Literal["A", "b"]) -> None: ...'),
        ("def f(a: Annotated[int, 'a b']) -> None: ...", 'def f(a: Annotated[int, "a b"]) -> None: ...'),
        ("@cache\ndef f() -> int: ...", "def f() -> int: ..."),
        ("@functools.wraps(g)\ndef f() -> int: ...", "@functools.wraps(g)\ndef f() -> int: ..."),
        ("A: TypeAlias = 'list[int]'", "A: TypeAlias = list[int]"),
        ("T = TypeVar('T', bound='A')", 'T = TypeVar("T", bound="A")'),
        ("SIZE = 16 * 1024", "SIZE: int"),
        ("NAME: Final = 'a'", "NAME: str"),
        ("SIZES: Final = (1, 2)", "SIZES: tuple[int, ...]"),
        ("OTHER: Final = SIZE", "OTHER = SIZE"),
        ("FOLDER = pathlib.Path('runs')", "FOLDER: pathlib.Path"),
        ("MOST = -3.5", "MOST: float"),
        ("ODD = 1 + 'a'", 'ODD = 1 + "a"'),
        ("FILES: dict[str, int] = {}", "FILES: dict[str, int]"),
        ("__all__ = [*('b', 'a'), 'c']", '__all__ = ["b", "a", "c"]'),
    ],
)
def test_statements(source: str, left: str) -> None:
    """Of a statement there are left its names and its types."""
    assert plain(left) == stub_of(source)


@pytest.mark.parametrize(
    "source",
    [
        *("_x = 3", "def _f() -> None: ...", "class _A: ...", "import os", "from os import path", "x.y = 3", "x += 3"),
        *(
            "FOUND = look_for(3)",
            "FOUND: Final = look_for(3)",
            "LATER: Final",
            "A = B = C = f()",
            "f()",
            "MIXED = (1, 'a')",
        ),
    ],
)
def test_nothing_is_left(source: str) -> None:
    """What is private, worked out or done is not in a stub, nor is an import that nothing needs."""
    assert "" == stub_of(source)


@pytest.mark.parametrize(
    "source",
    [
        "import os\nx: os.PathLike[str]",
        "def f(a: int, /, b: int = 3, *rest: str, c: bool = False, **more: float) -> None: ...",
        "def f(*, a: int) -> None: ...",
        "def f(a, b=3): ...",
        "async def f() -> int: ...",
        "class A(dict[str, int], metaclass=type): ...",
        "class A: ...",
        "class A:\n    x: int\n    def f(self) -> None: ...",
        "class A:\n    @property\n    def f(self) -> int: ...",
        "def f() -> None: ...\ndef g() -> None: ...",
        "class A: ...\nclass B: ...",
        'from typing import Literal\nx: Literal["a", \'say "no"\']',
    ],
)
def test_outlines_stay_as_they_are(source: str) -> None:
    """The outline of code that is an outline is the code itself."""
    assert plain(source) == stub_of(source)


def test_docstrings() -> None:
    """Docstrings keep their lines, and no character of theirs ends them."""
    source = dedent(
        r'''
        """Of the module."""

        class A:
            """Of the class.

            More of it, with a \\ in it.
            """

            x: int
            """Of the attribute.

            More of it.
            """

            def f(self) -> None:
                'Of the method, which says "so"'

            def g(self) -> None:
                'Contains """ and ends in \\'
        '''
    )

    texts = [part.value for part in ast.walk(ast.parse(stub_of(source))) if isinstance(part, ast.Constant)]
    assert [part.value for part in ast.walk(ast.parse(source)) if isinstance(part, ast.Constant)] == texts
    assert 7 == len(texts)  # two are the `None` that methods return


def test_what_is_needed_stays() -> None:
    """Private names and imports stay where something public needs them, over any number of steps."""
    text = stub_of(
        """
        import os.path
        import re as _re
        from a import _T, B, c
        from d import e
        _Inner = dict[str, _T]
        _Unused = list[B]
        class _Base(_Inner): ...
        class A(_Base):
            file: os.PathLike[str]
        __all__ = ["A", "e"]
        """
    )

    assert "import os.path\nfrom a import _T\nfrom d import e\n" in text
    assert "_Unused" not in text
    assert "class _Base(_Inner):\n    ..." in text


def test_what_is_for_checkers() -> None:
    """What stands under TYPE_CHECKING stands in a stub, and what is there in place of it at run time does not."""
    text = stub_of(
        """
        if TYPE_CHECKING:
            from a import A
        if sys.platform == "win32":
            import b
        class C:
            if TYPE_CHECKING:
                x: A
            else:
                y: int
        """
    )

    assert plain("from a import A\nclass C:\n    x: A") == text


def test_overloads() -> None:
    """Of an overloaded function the overloads are left, the first with its text; methods of one name stay apart."""
    text = stub_of(
        '''
        @overload
        def f(a: int) -> int: ...
        @overload
        def f(a: str) -> str: ...
        def f(a):
            """Return it."""
        class A:
            @property
            def f(self) -> int: ...
            @f.setter
            def f(self, value: int) -> None: ...
        '''
    )

    expected = '''\
@overload
def f(a: int) -> int:
    """Return it."""

@overload
def f(a: str) -> str: ...

class A:
    @property
    def f(self) -> int: ...
    @f.setter
    def f(self, value: int) -> None: ...
'''
    assert plain(expected) == text


def test_attributes() -> None:
    """What methods set on `self` is declared in the class, where its type is plain and it is not declared yet."""
    text = stub_of(
        '''
        class A:
            __slots__ = (*("a", "b"), "c")
            known: int
            def __init__(self, a: "int", /, b: str, *, c: float | None, d=3):
                self.known = a
                self.a = a
                self.b: list[str] = [b]
                """What b is."""
                self.c = c
                self.d = d
                self.lock = threading.RLock()
                self._hidden = a
                self.count = 0
                self.worked_out = sum(a)
                other.e = a
                self.nothing = None
            def g(self, a: str) -> None:
                self.a = a
                self.late = a
                if a:
                    self.not_seen = a
            h = g
        '''
    )

    expected = '''\
class A:
    a: int
    b: list[str]
    """What b is."""

    c: float | None
    lock: threading.RLock
    count: int
    late: str
    __slots__ = ("a", "b", "c")
    known: int

    def __init__(self, a: int, /, b: str, *, c: float | None, d=3): ...
    def g(self, a: str) -> None: ...

    h = g
'''
    assert plain(expected) == text


def test_slots_with_texts() -> None:
    """Slots that say what is in them stay as they are."""
    source = "class A:\n    __slots__ = {'a': 'What it is.'}"
    assert source == stub_of(source)


def test_fields() -> None:
    """In an enum, a named tuple or a dataclass private attributes count too, and so does that there is a default."""
    text = stub_of(
        '''
        class Color(Enum):
            RED = 1
            BLUE = auto()
            _SECRET = 3
        class P(NamedTuple, Generic[T]):
            x: int
            _y: "A" = A()
        @dataclass(slots=True)
        class D:
            __slots__ = ("x",)
            x: dict[str, int] = field(default_factory=dict)
            y: int = 3
            """What y is."""
            _z: list[int] = []
            """Hidden."""
            def f(self) -> None: ...
            def _g(self) -> None: ...
        '''
    )

    expected = '''\
class Color(Enum):
    RED = 1
    BLUE = ...
    _SECRET = 3

class P(NamedTuple, Generic[T]):
    x: int
    _y: A = ...

@dataclass(slots=True)
class D:
    __slots__ = ("x",)
    x: dict[str, int] = field(default_factory=dict)
    y: int = 3
    """What y is."""

    _z: list[int] = ...

    def f(self) -> None: ...
'''
    assert plain(expected) == text


def test_texts_of_what_is_private() -> None:
    """What is private has no text in a stub, nor has a text that stands alone a place."""
    text = stub_of('class A(_B): ...\n"""Alone."""\nclass _B:\n    """Hidden."""\n    def __len__(self) -> int: ...')

    assert plain("class A(_B): ...\nclass _B:\n    def __len__(self) -> int: ...") == text


def test_names_in() -> None:
    """Names are looked for in any number of nodes."""
    assert {"a", "b"} == names_in([ast.parse("a.x"), ast.parse("b")])


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_says_every_attribute(path: Path) -> None:
    """Of every public attribute of the package's own classes the stub knows the type."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left = ast.walk(outline(path.read_text(encoding="utf-8")))
    targets = [part.target for part in left if isinstance(part, ast.AnnAssign)]
    told = {target.id for target in targets if isinstance(target, ast.Name)}
    methods = {part.name for part in ast.walk(tree) if isinstance(part, ast.FunctionDef)}
    classes = [part for part in tree.body if isinstance(part, ast.ClassDef) and not part.name.startswith("_")]
    made = {name for cls in classes for name in _made_in(cls) if not name.startswith("_")}

    # `args` is that of every exception, `obj` that of every AttributeError.
    assert set() == made - told - methods - {"args", "obj"}


def _made_in(cls: ast.ClassDef) -> set[str]:
    stored = (part for part in ast.walk(cls) if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store))
    return {part.attr for part in stored if isinstance(part.value, ast.Name) and part.value.id == "self"}
