"""The functions, classes and globals that functions refer to, followed through, with a digest of each."""

import builtins
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial, singledispatch
from importlib.util import resolve_name
from types import FunctionType, ModuleType
from typing import Any, Final

from .class_parts import parts_of_class
from .code_names import CodeFacts, Import, code_facts
from .digest import as_main, digest
from .module_sources import digest_of_sources
from .name_watch import ABSENT, NameWatch, content_of
from .step_options import OPTIONS, options_of
from .user_modules import NotImported, is_foreign, user_module
from .value_forms import CACHED_FUNCTION, FOLLOWED, NoDigest, ValueForms, joined

CLOSURE: Final = "closure value"
_DISPATCHER: Final = getattr(singledispatch(len), "__code__", None)
"""The code of all functions that `functools.singledispatch` returns."""
_CLASS_NAMESPACE: Final = "__classdict__"
"""The variable by which annotations refer to names in their class; that class is followed anyway."""


class CodeGraph:
    """The code that can be reached from functions and classes.

    Attributes:
        digests: The digest of each function, class and global, by its key: its qualified name, with a number if
            several have that name.
        keys: The keys of functions and classes by their identities; a foreign one has its name as key, and no digest.
        unknown: Why parts have no digest.
        is_stable: Whether all this stays the same as long as each name refers to the same object.
    """

    def __init__(self, roots: list[Any], *, task: Any = None) -> None:
        """Follow all code from these roots. Defaults and closure of `task`, which is one of them, are left out."""
        self.digests: dict[str, str] = {}
        self.keys: dict[int, str] = {}
        self.unknown: list[str] = []
        self.is_stable = True
        self.watch = NameWatch()
        self.task = task
        self._pending: deque[Any] = deque()
        self._held: list[Any] = []
        self._keys_of_globals: dict[tuple[int, str], str] = {}
        for root in roots:
            self.key(root)
        while self._pending:
            followed = self._pending.popleft()
            node = _Node(self, self.keys[id(followed)])
            node.add_followed(followed)
            self.digests[node.key] = node.digest()

    def is_current(self) -> bool:
        """Return whether following the code again would give the same."""
        return self.watch.is_current()

    def key(self, followed: Any) -> str:
        """Return the key of a function or a class, which is followed later."""
        key = self.keys.get(id(followed))
        if key is None:
            key = _name_of(followed)
            if not _is_opaque(followed):
                key = self._new_key(key)
                self._pending.append(followed)
            self.keys[id(followed)] = key
            self._held.append(followed)
        return key

    def key_of_global(self, mapping: Mapping[str, Any], name: str, value: Any) -> str:
        """Return the key of a global that is no function, class or module."""
        known = self._keys_of_globals.get((id(mapping), name))
        if known is None:
            known = self._new_key(as_main(f"{mapping.get('__name__')}.{name}"))
            self._keys_of_globals[id(mapping), name] = known
            node = _Node(self, known)
            # By the convention of Python, a name in capitals denotes a constant. Others are often logs and caches.
            node.add_named("", mapping, name, value, is_constant=name.isupper())
            self.digests[known] = node.digest()
        return known

    def _new_key(self, name: str) -> str:
        key, number = name, 1
        while key in self.digests:
            number += 1
            key = f"{name}#{number}"
        self.digests[key] = ""  # its place, before all that it refers to
        return key


class _Node:
    """A function, a class or a global of a graph, whose parts are added."""

    def __init__(self, graph: CodeGraph, key: str) -> None:
        self.key = key
        self._graph = graph
        self._strict = ValueForms()
        self._fixed = ValueForms()
        self._loose = ValueForms(is_loose=True)
        self._forms: list[bytes] = []
        self._modules: set[int] = set()

    def digest(self) -> str:
        """Return the digest of all that was added."""
        self._graph.is_stable &= self._strict.is_stable
        referred = (*self._strict.referred, None, *self._fixed.referred, None, *self._loose.referred)
        keys = [b"" if followed is None else self._graph.key(followed).encode() for followed in referred]
        return digest(joined("node", [*self._forms, *keys]))

    def add_followed(self, followed: Any) -> None:
        """Add the parts of a function or a class."""
        if isinstance(followed, FunctionType):
            self._add_function(followed)
        elif isinstance(followed, CACHED_FUNCTION):
            cached: Any = followed
            self.add_loose("wrapped by", cached.__wrapped__)
            self.add_loose("parameters of", tuple(cached.cache_parameters().items()))
        elif isinstance(followed, type):
            self._add_class(followed)
        elif isinstance(followed, ModuleType):
            self._add_module(followed)
        else:
            self.add_loose("", followed)

    def add_loose(self, label: str, value: Any, *, is_constant: bool = True) -> None:
        """Add a value that counts by its content as far as that is known, and else by its type."""
        self._forms += (label.encode(), self._loose.global_form(value, is_constant=is_constant))
        if self._loose.holds_context:
            self._loose.holds_context = False
            self._graph.unknown.append(
                f"{self.key.rpartition('.')[2]} holds a context, whose reads by the step are not on record"
            )

    def add_named(
        self, label: str, mapping: Mapping[Any, Any], name: Any, value: Any, *, is_constant: bool = True
    ) -> None:
        """Add a value of a namespace, and watch it."""
        self._loose.is_stable = True
        self.add_loose(label, value, is_constant=is_constant)
        if self._loose.is_stable:
            self._graph.watch.add_name(mapping, name, value)
        else:  # it may change without an assignment; and it is not kept alive
            self._graph.watch.add_form(partial(_content_of_name, mapping, name, is_constant=is_constant))

    def _add_strict(self, label: str, value: Any, *, is_fixed: bool = False) -> None:
        """Add a value that counts by its content; `is_fixed`: nobody changes it, though its type allows that."""
        values = self._fixed if is_fixed else self._strict
        try:
            self._forms += (label.encode(), values.form(value))
        except NoDigest as error:
            self._graph.unknown.append(f"the {label} {self.key} {error}")

    def _add_class(self, cls: type) -> None:
        watch = self._graph.watch
        watch.add_class(cls)
        own = vars(cls)
        for name, value, is_strict in parts_of_class(cls):
            if is_strict:
                self._add_strict(name, value, is_fixed=True)
            elif name in own:
                self.add_named(name, own, name, value)
            else:
                self.add_loose(name, value)
        if "__pydantic_validator__" in own:  # which `model_rebuild` makes again
            watch.add_name(own, "__pydantic_validator__", own["__pydantic_validator__"])

    def _add_function(self, function: FunctionType) -> None:
        self._graph.watch.add_function(function)
        if function.__code__ is _DISPATCHER:
            self._add_implementations(vars(function)["registry"])
            return
        facts = code_facts(function.__code__)
        self._add_version(function)
        self._graph.watch.add_size(attributes := vars(function))
        self._graph.watch.add_name(attributes, OPTIONS, attributes.get(OPTIONS, ABSENT))
        for name in sorted(attributes.keys() - {OPTIONS, "__wrapped__"}):
            self.add_named(f"attribute {name}", attributes, name, attributes[name])
        if is_foreign_function(function):
            self.add_loose("wrapped by", getattr(function, "__wrapped__", None))
        else:
            self._forms.append(facts.form)
            self._add_names(function, facts)
        if function is not self._graph.task:
            for label, name, value in settings_of(function):
                add = self.add_loose if is_foreign_function(function) else self._add_strict
                add(f"{label} {name} of", value)
            for cell in function.__closure__ or ():
                self._graph.watch.add_cell(cell)

    def _add_version(self, function: FunctionType) -> None:
        """Add the version that `@step` has set, and that it forbids reuse; those of the task itself are known apart."""
        options = options_of(function)
        if function is not self._graph.task and (options.version is not None or not options.reuse):
            self._forms.append(repr((options.version, options.reuse)).encode())

    def _add_implementations(self, registry: Mapping[Any, Any]) -> None:
        """Add the functions by type of `functools.singledispatch`."""
        self._graph.watch.add_size(registry)
        for cls, function in sorted(registry.items(), key=lambda item: _name_of(item[0])):
            self._graph.watch.add_name(registry, cls, function)
            self.add_loose("implementation of", (cls, function))

    def _add_names(self, function: FunctionType, facts: CodeFacts) -> None:
        """Add all that the names in a function refer to."""
        for path in facts.globals:
            self._add_path(function.__globals__, path)
        closure = dict(closure_of(function))
        for path in facts.free:
            module = closure.get(path[0])
            if isinstance(module, ModuleType) and not is_foreign(module.__name__):
                self._add_from_module(module, path[1:2])
        for entry in facts.imports:
            self._add_import(function, entry, facts.names)

    def _add_path(self, mapping: Mapping[str, Any], path: tuple[str, ...]) -> None:
        """Add the value of a global name, or of an attribute of a module."""
        name, *rest = path
        value: Any = mapping.get(name, ABSENT)
        self._forms.append(name.encode())
        if isinstance(value, FOLLOWED):
            self._graph.watch.add_name(mapping, name, value)
            self._forms.append(self._loose.refer(value))
        elif value is ABSENT:
            self._graph.watch.add_name(mapping, name, value)
            self._forms.append(b"builtin" if hasattr(builtins, name) else b"absent")
        elif isinstance(value, ModuleType):
            self._graph.watch.add_name(mapping, name, value)
            if is_foreign(value.__name__):
                self._forms.append(value.__name__.encode())
            else:
                self._add_from_module(value, rest)
        else:
            self._forms.append(self._graph.key_of_global(mapping, name, value).encode())

    def _add_from_module(self, module: ModuleType, path: Iterable[str]) -> None:
        """Add an attribute of a module of the user; the whole module if no attribute is named."""
        if rest := tuple(path):
            self._add_path(vars(module), rest)
        else:
            self._forms.append(self._loose.refer(module))

    def _add_module(self, module: ModuleType) -> None:
        """Add all names of a module but for those of other modules."""
        self._graph.watch.add_size(own := vars(module))
        for name in sorted(name for name, value in own.items() if not isinstance(value, ModuleType)):
            if not (name.startswith("__") and name.endswith("__")) or name == "__getattr__":
                self._add_path(own, (name,))

    def _add_import(self, function: FunctionType, entry: Import, names: frozenset[str]) -> None:
        """Add all that a function uses of a module that it imports while it runs; it is not imported for that."""
        name = entry.module
        try:
            if entry.level:
                name = resolve_name("." * entry.level + name, str(function.__globals__.get("__package__") or ""))
            module = user_module(name)
        except NotImported:
            if not self._add_sources(name, entry.names):
                self._graph.unknown.append(f"the module {name}, which {self.key} imports, has no file")
            return
        except ImportError as error:
            shown = "." * entry.level + entry.module
            self._graph.unknown.append(f"the module {shown}, which {self.key} imports, cannot be found ({error})")
            return
        if module is not None:
            self._graph.watch.add_name(sys.modules, name, module)
            for part in entry.names if hasattr(module, "__path__") else ():
                if not hasattr(module, part):
                    self._add_sources(f"{name}.{part}", ())
            self._add_imported(module, frozenset(entry.names), names)

    def _add_sources(self, module: str, names: tuple[str, ...]) -> bool:
        """Add a module that is not imported by its file; return whether it has one."""
        self._graph.watch.add_name(sys.modules, module, sys.modules.get(module, ABSENT))
        found = digest_of_sources(module, names)
        self._forms.append(found or b"")
        return found is not None

    def _add_imported(self, module: ModuleType, imported: frozenset[str], names: frozenset[str]) -> None:
        """Add the attributes of a module that bear a name which the code uses, as any of them may be used."""
        if id(module) in self._modules:
            return
        self._modules.add(id(module))
        for name in sorted(imported | (names & vars(module).keys())):
            value = vars(module).get(name, ABSENT)
            if isinstance(value, ModuleType) and not is_foreign(value.__name__):
                self._graph.watch.add_name(vars(module), name, value)
                self._add_imported(value, frozenset(), names)
            else:
                self._add_path(vars(module), (name,))


def is_foreign_function(function: FunctionType) -> bool:
    """Return whether the code of a function is not the user's, whatever module a decorator says."""
    name = function.__globals__.get("__name__")
    return name is not None and is_foreign(name)


def settings_of(function: FunctionType) -> Iterator[tuple[str, str, Any]]:
    """Yield the defaults and the closure of a function, each after its kind and its name."""
    code = function.__code__
    defaults = function.__defaults__ or ()
    # From the last one on, as the code of a function may be replaced by some with fewer parameters.
    names = reversed(code.co_varnames[: code.co_argcount])
    yield from (("default", name, value) for name, value in zip(names, reversed(defaults), strict=False))
    yield from (("default", name, value) for name, value in sorted((function.__kwdefaults__ or {}).items()))
    for name, value in closure_of(function):
        # The attributes of a module that are used are followed.
        yield CLOSURE, name, value.__name__ if isinstance(value, ModuleType) else value


def closure_of(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Yield the variables of enclosing functions that a function uses."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if name != _CLASS_NAMESPACE:
            value = content_of(cell)
            yield name, None if value is ABSENT else value


def _is_opaque(followed: Any) -> bool:
    """Return whether a function or class counts by its name alone."""
    if isinstance(followed, type):
        return is_foreign(followed.__module__)
    if not isinstance(followed, FunctionType):
        return False
    return is_foreign_function(followed) and followed.__closure__ is None and not hasattr(followed, "__wrapped__")


def _content_of_name(mapping: Mapping[Any, Any], name: Any, *, is_constant: bool) -> tuple[bytes, tuple[int, ...]]:
    """Return the form of a value of a namespace, and the identities of the functions and classes in it."""
    forms = ValueForms(is_loose=True)
    form = forms.global_form(mapping.get(name, ABSENT), is_constant=is_constant)
    return form, tuple(map(id, forms.referred))


def _name_of(followed: Any) -> str:
    """Return the qualified name of a function, by its code, or of a class."""
    if isinstance(followed, ModuleType):
        return as_main(followed.__name__)
    if isinstance(followed, FunctionType):
        return as_main(f"{followed.__globals__.get('__name__')}.{followed.__code__.co_qualname}")
    return as_main(f"{getattr(followed, '__module__', None)}.{getattr(followed, '__qualname__', None)}")
