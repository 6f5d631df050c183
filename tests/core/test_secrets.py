import copy
import json
import logging
import pickle
import re
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    Secret,
    SecretBytes,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from crystallize import (
    CrystallizeError,
    FrozenContext,
    InvalidInitialError,
    InvalidSnapshotError,
    InvalidValueError,
    LoggingContext,
    Shared,
    SinkError,
    UncopyableValueError,
    fork,
    merge,
)
from crystallize._base.masking import without
from crystallize._base.text import MASK
from crystallize._core.context import state_of
from crystallize._core.secrets import masked, secrets_in
from crystallize.sinks.memory import MemorySink

CLEAR = "hunter2-Zq81"
"""The cleartext of every secret here."""
PIN = 918273645
"""The cleartext of every secret number here."""


def shows(text: str) -> bool:
    return CLEAR in text or str(PIN) in text


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and whatever comes along as its cause or context."""
    rest, met = [error], set()
    while rest:
        link = rest.pop()
        if link is None or id(link) in met:
            continue
        met.add(id(link))
        yield link
        rest += [link.__cause__, link.__context__]
        rest += link.exceptions if isinstance(link, BaseExceptionGroup) else []


def leaks(error: BaseException) -> list[str]:
    """Every text of an error, of its causes and of its contexts, in which the cleartext shows."""
    texts = "".join(traceback.format_exception_only(error))
    found = [
        texts,
        *(part for link in chain(error) for part in (str(link), repr(link), repr(vars(link)), repr(link.args))),
    ]
    return [text for text in found if shows(text)]


def bearer(value: Any) -> Any:
    raise ValueError(f"no bearer token: {value}")


def failing(value: Any) -> Any:
    assert value == "right", f"not right: {value}"
    return value


def by_table(value: Any) -> Any:
    return {"a": 1}[value]


def custom(value: Any) -> Any:
    raise PydanticCustomError("token_type", "of no known type: {token}", {"token": value})


def custom_missing(value: Any) -> Any:
    raise PydanticCustomError("missing", "missing in the vault: {token}", {"token": value})


class Login(BaseModel):
    user: str
    password: SecretStr
    tries: PositiveInt = 1


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    token: SecretStr = Field(min_length=100)


class Keyed(TypedDict):
    inner: dict[SecretStr, int]


class Tree(BaseModel):
    token: SecretStr
    children: "list[Tree]" = []


class Vault(BaseModel):
    text: SecretStr
    data: SecretBytes
    number: Secret[int]
    login: Login
    strict: Strict
    logins: list[Login]
    table: dict[str, SecretStr]
    keyed: dict[SecretStr, PositiveInt]
    pins: dict[Secret[int], PositiveInt]
    typed: Keyed
    either: SecretStr | int
    tree: Tree
    before: Annotated[SecretStr, BeforeValidator(bearer)]
    asserted: Annotated[SecretStr, BeforeValidator(failing)]
    looked_up: Annotated[SecretStr, BeforeValidator(by_table)]
    custom: Annotated[SecretStr, BeforeValidator(custom)]
    custom_missing: Annotated[SecretStr, BeforeValidator(custom_missing)]
    after: Annotated[SecretStr, AfterValidator(lambda secret: bearer(secret.get_secret_value()))]
    wrapped: Annotated[Secret[str], BeforeValidator(bearer)]


INVALID: list[tuple[str, Any]] = [
    ("text", [CLEAR]),
    ("text", {"token": CLEAR}),
    ("text", PIN),
    ("data", [CLEAR.encode()]),
    ("number", CLEAR),
    ("number", [PIN]),
    ("login", CLEAR),
    ("login", {"user": "me", "pasword": CLEAR}),
    ("login", {"user": "me", "password": CLEAR, "tries": -PIN}),
    ("login", {"user": [CLEAR], "password": CLEAR}),
    ("login", [("user", "me"), ("password", CLEAR)]),
    ("strict", {"token": CLEAR}),
    ("strict", {"token": CLEAR, "tokn": CLEAR}),
    ("strict", {CLEAR: "token"}),
    ("logins", [{"user": "me", "password": CLEAR}, {"user": "me", "pass": CLEAR}]),
    ("logins", {CLEAR: CLEAR}),
    ("table", {"a": [CLEAR]}),
    ("table", {CLEAR: [CLEAR]}),
    ("table", CLEAR),
    ("keyed", {CLEAR: -1}),
    ("keyed", {CLEAR: CLEAR}),
    ("pins", {PIN: -1}),
    ("typed", {"inner": {CLEAR: "x"}}),
    ("typed", {"iner": {CLEAR: 1}}),
    ("either", [CLEAR]),
    ("tree", {"token": "a", "children": [{"token": [CLEAR]}]}),
    ("tree", {"token": "a", "children": [{"tokn": CLEAR}]}),
    ("before", CLEAR),
    ("asserted", CLEAR),
    ("looked_up", CLEAR),
    ("custom", CLEAR),
    ("custom_missing", CLEAR),
    ("after", CLEAR),
    ("wrapped", CLEAR),
]


def fails(ctx: FrozenContext[Any], key: str, value: Any) -> BaseException:
    try:
        ctx[key] = value
    except Exception as error:  # whatever comes of it is to be looked at
        return error
    raise AssertionError(f"{key} was written")


@pytest.mark.parametrize(("key", "value"), INVALID)
def test_no_error_shows_what_a_secret_was_given(caplog: pytest.LogCaptureFixture, key: str, value: Any) -> None:
    """A secret that fails its validation is in no text, cause or context of the error, and is told to nobody."""
    caplog.set_level(logging.DEBUG)
    sink = MemorySink()
    ctx = FrozenContext[Vault]({}, sinks=[sink])
    error = fails(ctx, key, value)
    assert [] == leaks(error)
    with pytest.raises(type(error)), ctx.step("fit") as step:
        step[key] = value
    assert not shows(repr((ctx.provenance.steps, sink.events, ctx, caplog.messages)))
    assert key not in ctx


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, value in INVALID if key != "looked_up"])
def test_an_error_about_a_secret_is_ours(key: str, value: Any) -> None:
    """A secret that fails its validation is an error that names its key and what was wrong, and pickles."""
    error = fails(FrozenContext[Vault]({}), key, value)
    assert isinstance(error, CrystallizeError)
    assert f"cannot write {key!r}: " in str(error)
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


def test_no_error_of_a_bad_start_shows_a_secret() -> None:
    """Several invalid initial values at once are told in one error, none with a secret."""
    initial: dict[Any, Any] = {**dict(reversed(INVALID)), "txt": CLEAR, "tokn": CLEAR, 5: CLEAR}
    with pytest.raises(InvalidInitialError) as caught:
        FrozenContext[Vault](initial)
    assert [] == leaks(caught.value)
    assert "did you mean 'text'" in str(caught.value)
    assert len(caught.value.problems) > 10


@pytest.mark.parametrize(
    "initial",
    [
        CLEAR,
        [("text", CLEAR)],
        {("text", CLEAR)},
        Login(user=CLEAR, password=SecretStr(CLEAR)),
    ],
)
def test_what_is_no_mapping_is_not_shown(initial: Any) -> None:
    """Initial values of the wrong kind are not shown where the schema has a secret."""
    with pytest.raises(InvalidInitialError) as caught:
        FrozenContext[Vault](initial)
    assert [] == leaks(caught.value)


class Paired(BaseModel):
    user: str
    token: SecretStr

    @model_validator(mode="after")
    def check(self) -> "Paired":
        raise ValueError(f"{self.user} may not use {self.token.get_secret_value()}")


def test_no_error_of_a_snapshot_shows_a_secret() -> None:
    """A model-level validator that tells a secret does not tell it through the snapshot's error."""
    ctx = FrozenContext[Paired]({"user": "me", "token": CLEAR})
    with pytest.raises(InvalidSnapshotError) as caught:
        ctx.snapshot()
    assert [] == leaks(caught.value)
    with pytest.raises(InvalidSnapshotError), ctx.step("fit") as step:
        step.snapshot()
    assert not shows(repr(ctx.provenance.steps))


# What is held


class Held(BaseModel):
    model_config = ConfigDict(extra="allow")
    text: SecretStr
    data: SecretBytes
    number: Secret[int]
    many: Secret[list[str]]
    login: Login
    logins: list[Login]
    table: dict[str, list[SecretStr]]
    keyed: dict[SecretStr, int]
    either: SecretStr | int | None
    tree: Tree


HELD: dict[str, Any] = {
    "text": CLEAR,
    "data": CLEAR.encode(),
    "number": PIN,
    "many": [CLEAR],
    "login": {"user": "me", "password": CLEAR},
    "logins": [{"user": "me", "password": CLEAR}],
    "table": {"a": [CLEAR]},
    "keyed": {CLEAR: 1},
    "either": CLEAR,
    "tree": {"token": CLEAR, "children": [{"token": CLEAR}]},
}

FREE: dict[str, Any] = {
    "text": SecretStr(CLEAR),
    "data": SecretBytes(CLEAR.encode()),
    "number": Secret[int](PIN),
    "many": Secret([CLEAR]),
    "login": Login(user="me", password=SecretStr(CLEAR)),
    "deep": {"a": [(SecretStr(CLEAR), {"b": SecretBytes(CLEAR.encode())})]},
    "keyed": {SecretStr(CLEAR): 1},
    "set": {SecretStr(CLEAR)},
    "deque": deque([SecretStr(CLEAR)]),
}

MAKES: dict[str, Callable[[list[Any]], FrozenContext[Any]]] = {
    "typed": lambda sinks: FrozenContext[Held]({**HELD, "extra": SecretStr(CLEAR)}, sinks=sinks),
    "untyped": lambda sinks: FrozenContext(FREE, sinks=sinks),
    "dict of secrets": lambda sinks: FrozenContext[dict[str, SecretStr]]({"a": CLEAR}, sinks=sinks),
    "instance": lambda sinks: FrozenContext[Login](Login(user="me", password=SecretStr(CLEAR)), sinks=sinks),
}


@pytest.mark.parametrize("make", MAKES)
def test_no_text_of_what_is_held_shows_a_secret(caplog: pytest.LogCaptureFixture, make: str) -> None:
    """No log line, repr, record, digest or event of a context with secrets shows one."""
    caplog.set_level(logging.DEBUG)
    sink = MemorySink()
    ctx = MAKES[make]([sink])
    log = LoggingContext(ctx)
    with log.step("fit") as step:
        for key in list(step):
            step[key]
            log[key]
    values = dict(log)
    log.snapshot()
    assert len(caplog.records) >= 3 * len(values)
    assert not any(
        shows(line + repr(record.args)) for line, record in zip(caplog.messages, caplog.records, strict=True)
    )
    for shown in (ctx, log, step, ctx.fields, log.reads, ctx.provenance, ctx.provenance.steps, ctx.provenance.lineage):
        assert not shows(repr(shown))
        assert not shows(str(shown))
    assert not shows(repr(sink.events))


@pytest.mark.parametrize("make", MAKES)
def test_no_event_holds_a_secret(make: str) -> None:
    """What a sink is told holds no secret at all, not even one that hides itself."""
    sink = MemorySink()
    MAKES[make]([sink])
    holding = [event for event in sink.events if shows(pickle.dumps(event).decode("latin1") + plain_text(event))]
    assert [] == holding


def plain_text(value: Any) -> str:
    """All that can be got out of a value, secrets in clear."""
    if isinstance(value, SecretStr | SecretBytes | Secret):
        return str(value.get_secret_value())
    if isinstance(value, dict):
        return "".join(plain_text(key) + plain_text(item) for key, item in value.items())
    if isinstance(value, list | tuple | set | frozenset | deque):
        return "".join(map(plain_text, value))
    return json.dumps(value, default=repr)


@pytest.mark.parametrize("make", MAKES)
def test_nothing_with_a_secret_has_a_digest(make: str) -> None:
    """A value with a secret in it has no digest, whether its type says so or not."""
    ctx = MAKES[make]([])
    secret = [key for key in ctx if key not in ("user", "tries", "deque")]
    assert [None] * len(secret) == [ctx.provenance.digest(key) for key in secret]


@pytest.mark.parametrize("make", ["typed", "untyped"])
def test_a_secret_can_be_read(make: str) -> None:
    """Whoever reads a secret gets it, also from a copy."""
    ctx = MAKES[make]([])
    for context in (ctx, pickle.loads(pickle.dumps(ctx))):
        assert CLEAR == context["text"].get_secret_value()
        assert CLEAR == context["login"].password.get_secret_value()


@pytest.mark.parametrize("make", ["typed", "untyped"])
@pytest.mark.parametrize(
    "tell",
    [
        lambda ctx: ValueError(f"bad token {CLEAR}"),
        lambda ctx: KeyError(CLEAR),
        lambda ctx: RuntimeError(CLEAR.encode()),
        lambda ctx: RuntimeError(ctx["number"].get_secret_value()),
        lambda ctx: RuntimeError(ctx["login"].password.get_secret_value()),
        lambda ctx: RuntimeError(ctx["many"].get_secret_value()),
        lambda ctx: type("Own", (Exception,), {"__str__": lambda self: f"token\n{CLEAR}!"})(),
    ],
)
def test_what_ended_a_step_is_told_without_secrets(make: str, tell: Callable[[Any], Exception]) -> None:
    """The record and the event of a step that raised have its error's text with the secrets masked."""
    sink = MemorySink()
    ctx = MAKES[make]([sink])
    raised = tell(ctx)
    with pytest.raises(type(raised)), ctx.step("fit"):
        raise raised
    (record,) = ctx.provenance.steps
    assert "**********" in str(record.error)
    assert not shows(repr((record, sink.events)))


@pytest.mark.parametrize(
    "secret", ["line\nbreak", 'with "quotes"', "it's", "back\\slash", "ümlaut", b"\xff\xfe\x00raw", b"it's"]
)
def test_a_secret_is_masked_as_its_repr_too(secret: str | bytes) -> None:
    """What ended a step is told without secrets also where its text has them as a repr."""
    held = SecretStr(secret) if isinstance(secret, str) else SecretBytes(secret)
    ctx = FrozenContext({"secret": held})
    error = KeyError(secret)
    with pytest.raises(KeyError), ctx.step("fit"):
        raise error
    (record,) = ctx.provenance.steps
    assert "KeyError: **********" == str(record.error).replace("'", "").replace('"', "").replace("b*", "*")


def test_a_secret_that_is_empty_hides_nothing() -> None:
    """An empty secret does not change what is told of an error."""
    ctx = FrozenContext({"a": SecretStr(""), "b": SecretBytes(b"")})
    with pytest.raises(ValueError, match="wrong"), ctx.step("fit"):
        raise ValueError("wrong")
    assert "ValueError: wrong" == ctx.provenance.steps[0].error


class TellingSink(MemorySink):
    def handle(self, event: Any, /) -> None:
        raise OSError(f"cannot take {event!r} {plain_text(tuple(event))}")


@pytest.mark.parametrize("make", ["typed", "untyped"])
def test_no_error_of_a_sink_shows_a_secret(make: str) -> None:
    """A sink that tells all it knows in an error does not know a secret."""
    with pytest.raises(SinkError) as caught:
        MAKES[make]([TellingSink()])
    assert [] == leaks(caught.value)


def test_no_second_write_shows_a_secret() -> None:
    """Writing, deleting and assigning a secret again are errors that show neither it nor the new one."""
    ctx = FrozenContext[Held]({"text": CLEAR})

    def delete() -> None:
        del ctx["text"]

    acts: list[Callable[[], object]] = [
        lambda: ctx.add("text", CLEAR),
        lambda: setattr(ctx.fields, "text", CLEAR),
        lambda: setattr(ctx, "text", CLEAR),
        delete,
        lambda: ctx.snapshot(),
        lambda: ctx["login"],
        lambda: FrozenContext[Strict]({}).add("tokn", CLEAR),
    ]
    for act in acts:
        with pytest.raises(CrystallizeError) as caught:
            act()
        assert [] == leaks(caught.value)


@pytest.mark.parametrize(
    "act",
    [
        lambda ctx: ctx.record("loss", SecretStr(CLEAR)),
        lambda ctx: ctx.record("loss", [Secret(CLEAR)]),
        lambda ctx: ctx.record("loss", 1.0, {"token": SecretStr(CLEAR)}),
        lambda ctx: ctx.record("loss", 1.0, SecretStr(CLEAR)),
        lambda ctx: ctx.record(SecretStr(CLEAR), 1.0),
        lambda ctx: ctx.artifacts.add("x", SecretStr(CLEAR)),
        lambda ctx: ctx.artifacts.add(SecretStr(CLEAR), b""),
        lambda ctx: ctx.step(SecretStr(CLEAR)).__enter__(),
        lambda ctx: ctx.add(SecretStr(CLEAR), 1),
        lambda ctx: ctx[SecretStr(CLEAR)],
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(act: Callable[[FrozenContext], object]) -> None:
    """A secret where no secret can be is an error that does not show it; nothing is kept."""
    sink = MemorySink()
    ctx = FrozenContext({}, sinks=[sink])
    with pytest.raises(CrystallizeError) as caught:
        act(ctx)
    assert [] == leaks(caught.value)
    assert ([], {}, 0) == (sink.events, ctx.metrics.as_dict(), len(ctx.artifacts))


def test_a_validator_that_breaks_on_a_secret_tells_nothing() -> None:
    """What a validator of a secret raises is told by its type alone, as its text may hold the secret."""

    def broken(value: object) -> object:
        raise RuntimeError(f"cannot look up {value}")

    class Odd(BaseModel):
        password: Annotated[SecretStr, BeforeValidator(broken)]

    ctx = FrozenContext[Odd]()
    with pytest.raises(InvalidValueError, match="is not allowed: a validator raised RuntimeError") as caught:
        ctx["password"] = CLEAR

    assert CLEAR not in str(caught.value)
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


def test_another_key_tells_no_secret() -> None:
    """A validator that looks at a secret under another key and tells it does so in vain."""

    class Tells(BaseModel):
        token: SecretStr
        plain: str

        @field_validator("plain")
        @classmethod
        def tell(cls, value: str, info: ValidationInfo) -> str:
            raise ValueError("the token is " + info.data["token"].get_secret_value())

    ctx = FrozenContext[Tells]({"token": CLEAR})
    with pytest.raises(InvalidValueError, match=r"the token is \*+, got 'x'") as caught:
        ctx["plain"] = "x"
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


def test_what_cannot_be_copied_tells_no_secret() -> None:
    """The reason why a value cannot be copied is told without the secret that it holds."""

    class Refuses:
        def __init__(self) -> None:
            self.password = SecretStr(CLEAR)

        def __deepcopy__(self, memo: object) -> "Refuses":
            raise ValueError(f"not with {CLEAR}")

    with pytest.raises(UncopyableValueError, match=r"not with \*+") as caught:
        FrozenContext()["x"] = Refuses()
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


class Door(BaseModel):
    code: SecretStr = Field(alias="pass")
    steps: int = 0


@dataclass
class House:
    rooms: int
    door: Door


class Street(TypedDict):
    name: str
    houses: dict[str, House]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"name": 3, "houses": {}}, "'street.name' should be a valid string, got int"),
        ({"houses": {}}, "'street.name' is missing"),
        ({"name": "a", "houses": 3}, "'street.houses' should be a valid dictionary, got int"),
        ({"name": "a", "houses": {CLEAR: {}}}, "'street.houses': something within it is missing"),
        (
            {"name": "a", "houses": {CLEAR: {"rooms": "many", "door": {"pass": CLEAR}}}},
            "'street.houses': something within it should be a valid integer, unable to parse",
        ),
    ],
)
def test_an_error_names_the_fields_around_a_secret(value: Any, expected: str) -> None:
    """What is wrong is named as far as the names are the schema's, and no further: a key of a dict may be a secret."""
    with pytest.raises(InvalidInitialError) as caught:
        FrozenContext[dict[str, Street]]({"street": value})
    assert expected in str(caught.value)
    assert not shows(str(caught.value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"rooms": 1, "door": {}}, "'house.door.pass' is missing"),
        ({"rooms": 1, "door": {"pass": CLEAR, "steps": CLEAR}}, "'house.door.steps' should be a valid integer"),
        ({"door": {"pass": CLEAR}}, "'house.rooms' is missing"),
    ],
)
def test_an_error_names_the_fields_of_a_dataclass_and_of_an_alias(value: Any, expected: str) -> None:
    """As above, within a dataclass, and where a field goes by another name in the input."""
    with pytest.raises(InvalidInitialError) as caught:
        FrozenContext[dict[str, House]]({"house": value})
    assert expected in str(caught.value)
    assert not shows(str(caught.value))


def test_parts_of_a_structured_secret_are_masked() -> None:
    """The texts and numbers in a secret dict, list or model are secrets themselves; short ones and names are not."""
    login = Secret({"password": "hunter2", "port": 54321, "tries": [b"raw-one", 7, True], "more": SecretStr("deep-er")})
    loop: dict[str, Any] = {"text": "endless"}
    loop["self"] = loop
    secrets = secrets_in([login, Secret(loop), Secret(Login(user="annabel", password=SecretStr("inner-1")))])

    text = "password port tries True 7: hunter2 54321 raw-one deep-er endless annabel inner-1"
    assert f"password port tries True 7:{f' {MASK}' * 7}" == without(text, secrets)


def test_a_secret_that_begins_with_another_is_masked_in_a_record() -> None:
    """The record of a failed step has no part of a secret that begins with another secret."""
    ctx = FrozenContext({"user": SecretStr("hunter2"), "admin": SecretStr("hunter2-Zq7ROOT")})
    with pytest.raises(RuntimeError), ctx.step("login"):
        raise RuntimeError("refused: hunter2-Zq7ROOT")

    assert f"RuntimeError: refused: {MASK}" == ctx.provenance.steps[0].error


class Drawer(TypedDict, total=False):
    first: SecretStr
    second: list[SecretStr]
    box: Annotated[list[Any], Shared]


def error_of(ctx: FrozenContext[Any], text: str) -> str | None:
    with pytest.raises(ValueError, match=re.escape(text)), ctx.step("fail"):
        raise ValueError(text)
    return ctx.provenance.steps[-1].error


def test_secrets_are_masked_whenever_they_were_written() -> None:
    """Each step that fails is told without the secrets that there are by then, also those within a shared value."""
    ctx = FrozenContext[Drawer]({"box": []})
    text = "one, two, three, four"
    assert f"ValueError: {text}" == error_of(ctx, text)
    ctx["first"] = "one"
    assert "ValueError: **********, two, three, four" == error_of(ctx, text)
    child = fork(ctx, "child").open()
    child["second"] = ["two"]
    assert "ValueError: **********, **********, three, four" == error_of(child, text)
    merge(ctx, child.delta())
    ctx["box"].append(SecretStr("three"))
    for _ in range(2):
        assert "ValueError: **********, **********, **********, four" == error_of(ctx, text)
    assert "ValueError: **********, **********, **********, four" == error_of(copy.copy(ctx), text)


def test_a_secret_that_is_just_being_written_is_not_forgotten() -> None:
    """If a step fails while another thread writes a secret, later steps that fail are told without it."""
    ctx = FrozenContext[Drawer]()
    state_of(ctx).unsearched.append("first")  # as the other thread does before it claims the key
    assert "ValueError: one" == error_of(ctx, "one")
    ctx["first"] = "one"
    assert "ValueError: **********" == error_of(ctx, "one")
    assert [] == state_of(ctx).unsearched


@given(st.integers() | st.floats(allow_nan=False))
def test_every_digit_of_a_number(number: float) -> None:
    """A secret number is masked as a whole: neither its first nor its last digit is left."""
    assert masked(f"<{number!r}>", Secret(number)) == f"<{MASK}>"
    assert masked(f"it is {number}, twice: {number}", [Secret(number)]) == f"it is {MASK}, twice: {MASK}"
