"""Files of runs that something has damaged: whoever opens one gets what was written, or an error of ours."""

import pickle
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from crystallize import (
    CrystallizeError,
    DamagedRunError,
    FrozenContext,
    Journal,
    JournalError,
    RunNotFoundError,
    fan_out,
    fork,
    load_run,
    merge,
)
from crystallize._core.equality import same
from crystallize._journal import drainer, frame_writer, run_files
from crystallize._journal.database import check_of, insert, salt_of, update
from crystallize._journal.event_bytes import MERGED, joined
from crystallize.runs import Run, find_run, list_runs, verify_run

from .journal_runs import SMALL, RunMetrics, copied, files_of, no_environment

PAGE = 4096
FRAME = PAGE + 24


class Inner(BaseModel):
    names: list[str]


class Shape(TypedDict, total=False):
    seed: int
    pair: tuple[int, str]
    inner: Inner
    raw: bytes
    free: Any
    text: str
    more: list[float]
    first: list[int]
    second: str
    third: int


@pytest.fixture(autouse=True)
def _small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "current_environment", no_environment)
    monkeypatch.setattr(frame_writer, "CAPACITY", SMALL)


@dataclass(frozen=True)
class Case:
    """A run, and what is to be found in it."""

    path: Path
    content: Any
    """What it holds."""
    resumed: Any
    """What it holds after `go_on`."""


def write_on(ctx: FrozenContext[Any], flush: Callable[[], None], at: int) -> None:
    """Write something of each kind, in a way that some tables have several pages."""
    for part in range(40):
        for point in range(3):
            ctx.record("loss", at + part, {"session": point, "text": "abc" * (part % 5)})
        if part % 2:
            ctx.artifacts.add(f"a{at}.{part}", b"%d" % part * 70 * (part % 4))
        with ctx.step(f"s{at}.{part}") as step:
            step.get("text")
            step.record("loss", part, {"session": at, "text": "in a step"})
        flush()


def values_of(at: int) -> dict[str, Any]:
    return {
        "pair": (at, "b"),
        "inner": Inner(names=["x"] * at),
        "raw": bytes(range(60)),
        "free": np.arange(700 + at),
        "text": "text" * at,
    }


def work(ctx: FrozenContext[Any], key: str, value: Any) -> dict[str, Any]:
    """Do something of each kind in a branch."""
    ctx.record("loss", 1, {"session": 1, "text": key})
    ctx.artifacts.add(f"of {key}", key.encode())
    with ctx.step("inner") as inner:
        inner.get("seed")
        inner.record("loss", 2, {"session": 1, "text": "inner"})
        inner[key] = value
    return {"key": key, "found": np.arange(3)}


def third(ctx: FrozenContext[Any], item: int) -> dict[str, Any]:
    return work(ctx, "third", item)


def branch_out(ctx: FrozenContext[Any], seed: int) -> None:
    """Have a branch that is merged after the next one, and one that never is."""
    children = [fork(ctx, name).open() for name in ("left", "right", "unmerged")]
    for child, key, value in zip(children, ("first", "second"), ([seed, 2], "text"), strict=False):
        work(child, key, value)
    for child in (children[1], children[0]):
        merge(ctx, child.delta())


def make_run(folder: Path, seed: int) -> dict[str, Path]:
    """Make a run, and keep it as it was at several moments."""
    made = Journal.start(folder / "made", "run")
    kept = {}
    ctx = made.context(FrozenContext[Shape], {"seed": seed}, metrics=RunMetrics)
    for key, value in values_of(seed).items():
        ctx.add(key, value)
    with ThreadPoolExecutor(1) as executor:
        fan_out(ctx, third, [seed], executor=executor)
    write_on(ctx, made.flush, seed)
    # Nothing is drained, so that the spool has what the database has not.
    vars(made)["flush"] = lambda: None
    ctx.add("more", [seed / 3, float("nan")])
    for at in range(30):
        ctx.record("loss", at, {"session": 1, "text": "in the spool"})
    ctx.artifacts.add("last", b"last" * 100)
    branch_out(ctx, seed)
    kept["died"] = copied(made, folder / "died")
    del vars(made)["flush"]
    made.flush()
    kept["drained"] = copied(made, folder / "drained")
    with ctx.step("unfinished") as step:
        step.record("loss", 5, {"session": 1, "text": "dead"})
        unfinished = copied(made, folder / "unfinished")
    made.close()
    kept["finished"] = made.path
    resumed = Journal.resume(unfinished)
    again = resumed.context(FrozenContext[Shape], metrics=RunMetrics)
    write_on(again, resumed.flush, seed + 1000)
    kept["resumed"] = copied(resumed, folder / "resumed")
    resumed.close()
    return kept


def look(path: Path) -> dict[str, Any]:
    """Return all that is to be seen of a run."""
    runs: list[Run[Any]] = [load_run(path), load_run(path, Shape, metrics=RunMetrics)]
    seen: dict[str, Any] = {}
    for name, run in zip(("untyped", "typed"), runs, strict=True):
        seen[name] = [
            dict(run.values),
            dict(run.inputs),
            {metric: [(*point,) for point in run.metrics.series(metric)] for metric in run.metrics},
            [(*artifact,) for artifact in run.artifacts],
            [(*record._replace(points=dict(record.points)),) for record in run.provenance.steps],
            [(*attempt[:-1], attempt.record and attempt.record.name) for attempt in run.attempts],
            [attempt.step for attempt in run.dead_attempts],
            [(*session,) for session in run.sessions],
            [run.name, run.number, run.status, run.started, run.ended, run.error],
            [run.secrets, dict(run.unrestorable), {key: entry.stored.digest for key, entry in run.entries.items()}],
        ]
    return seen


def go_on(path: Path) -> dict[str, Any]:
    """Resume a run, do a little, end it, and return what is to be seen, except for when that was."""
    with Journal.resume(path) as resumed:
        ctx = resumed.context(FrozenContext[Shape], metrics=RunMetrics)
        held = dict(ctx)
        ctx.record("loss", 77, {"session": 9, "text": "after"})
    seen = look(path)
    for part in seen.values():
        part[7] = [*part[7][:-1], part[7][-1][0], part[7][-1][3:5]]
        part[8] = part[8][:4]
    return {"held": held, **seen}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Case]]:
    """Two runs of the same program with different numbers, each as it was at several moments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_files, "current_environment", no_environment)
        patch.setattr(frame_writer, "CAPACITY", SMALL)
        patch.setattr(drainer, "DELAY", 1000)
        found = []
        for seed in (3, 4):
            folder = tmp_path_factory.mktemp(f"run{seed}")
            cases = {}
            for name, path in make_run(folder, seed).items():
                copies = [fresh(path, folder / f"{name}-{use}") for use in ("look", "go-on")]
                cases[name] = Case(path, look(copies[0]), go_on(copies[1]))
            found.append(cases)
    return found


def fresh(path: Path, folder: Path) -> Path:
    """Copy a run."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for file in files_of(path):
        shutil.copy(file, folder)
    return folder / path.name


Mutation = tuple[str, Callable[[], None]]


def write_at(file: Path, at: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(content)


def replace(file: Path, by: Path) -> None:
    shutil.copy(by, file)


def cut(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.truncate(at)


def swap(file: Path, first: int, second: int, size: int) -> None:
    content = file.read_bytes()
    write_at(file, first, content[second : second + size])
    write_at(file, second, content[first : first + size])


def mutation(random: Random, path: Path, other: Path) -> Mutation:
    """Draw a mutation of the files of a run; `other` is another one that is whole."""
    file = random.choice(files_of(path))
    content = file.read_bytes()
    # Of a spool most is empty; the rest is worth more.
    used = len(content.rstrip(b"\0")) + 64 if file.suffix == ".spool" else len(content)
    unit, start = (FRAME, 32) if file.name.endswith("-wal") else (PAGE, 0) if file.suffix == ".db" else (256, 40)
    count = max(2, (used - start) // unit)
    page, page_2 = (start + random.randrange(count) * unit for _ in range(2))
    at = random.randrange(used)
    header = random.randrange(100 if file.suffix == ".db" else start or 40)
    size = random.choice((1, 2, 4))
    noise = random.choice((bytes(size), b"\xff" * size, random.randbytes(size)))
    in_head = page + (24 if unit == FRAME else 0) + (100 if page == start and file.suffix == ".db" else 0)
    field, width = random.choice(((0, 1), (1, 2), (3, 2), (5, 2), (7, 1), (8, 4), (8, 2), (10, 2)))
    value = random.choice((bytes(width), random.randbytes(width), random.randrange(8).to_bytes(width, "big")))
    twin = next((candidate for candidate in files_of(other) if candidate.suffix == file.suffix), file)
    flipped = bytes([content[min(at, len(content) - 1)] ^ 1 << random.randrange(8)])
    choices: list[Mutation] = [
        (f"flip a bit of byte {at}", lambda: write_at(file, at, flipped)),
        (f"flip a bit of byte {at}", lambda: write_at(file, at, flipped)),
        (f"write {noise!r} at {at}", lambda: write_at(file, at, noise)),
        (f"cut to {at}", lambda: cut(file, at)),
        (f"zero {unit} at {page}", lambda: write_at(file, page, bytes(min(unit, len(content) - page)))),
        (f"zero 512 at {at // 512 * 512}", lambda: write_at(file, at // 512 * 512, bytes(512))),
        (f"swap {unit} at {page} and {page_2}", lambda: swap(file, page, page_2, unit)),
        (f"copy {unit} from {page} to {page_2}", lambda: write_at(file, page_2, content[page : page + unit])),
        (f"write {noise!r} in the header at {header}", lambda: write_at(file, header, noise)),
        (f"write {value!r} at {field} in the page at {page}", lambda: write_at(file, in_head + field, value)),
        (f"take {unit} at {page} of another run", lambda: write_at(file, page, twin.read_bytes()[page : page + unit])),
        ("take the file of another run", lambda: replace(file, twin)),
        ("append noise", lambda: write_at(file, len(content), random.randbytes(5000))),
    ]
    name, act = random.choice(choices)
    return f"{file.name}: {name}", act


class HangingError(Exception):
    """Something took so long that it is probably not to end."""


@contextmanager
def not_hanging() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise HangingError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(act: Callable[[], Any]) -> Any:
    """Return what something returned, or the error of ours that it raised."""
    with not_hanging():
        try:
            return act()
        except CrystallizeError as error:
            return error


def wrong(runs: list[dict[str, Case]], folder: Path, seed: int) -> str | None:
    """Damage a run in one way; say what is wrong with what those who read it get."""
    random = Random(seed)
    name = random.choice([*runs[0]])
    case, other = (cases[name] for cases in random.sample(runs, 2))
    # Where a file of another run is taken, it may be that run as a whole.
    rights = [case.content, other.content], [case.resumed, other.resumed]
    path = fresh(case.path, folder / "damaged")
    told, mutate = mutation(random, path, other.path)
    mutate()
    twin = fresh(path, folder / "twin")
    told = f"seed {seed}, {name}, {told}: "
    try:
        seen = outcome(lambda: look(path))
        problems = outcome(lambda: verify_run(path))
        assert (path,) == list_runs(path.parent)
        assert path == find_run(path.parent, "run")
        after = outcome(lambda: go_on(twin))
    except Exception as error:
        return f"{told}{type(error).__name__}: {error}"
    if not isinstance(seen, CrystallizeError):
        # A database alone that is taken from another run is that run.
        if not any(same(seen, right) for right in (rights[0] if "of another run" in told else rights[0][:1])):
            return f"{told}other content, and no error; verify: {problems}; {difference(seen, rights[0][0])}"
    elif not problems:
        return f"{told}{seen}, and verify_run finds nothing"
    if not isinstance(after, CrystallizeError) and not any(
        same(after, right) for right in (rights[1] if "of another run" in told else rights[1][:1])
    ):
        return f"{told}other content after resuming, and no error; {difference(after, rights[1][0])}"
    return None


def difference(left: Any, right: Any, where: str = "") -> str:
    """Say where two contents differ first."""
    if isinstance(left, dict) and isinstance(right, dict) and left.keys() == right.keys():
        return next((difference(left[k], right[k], f"{where}/{k}") for k in left if not same(left[k], right[k])), where)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple) and len(left) == len(right):
        pairs = enumerate(zip(left, right, strict=True))
        return next((difference(a, b, f"{where}/{at}") for at, (a, b) in pairs if not same(a, b)), where)
    return f"{where}: {str(left)[:200]} instead of {str(right)[:200]}"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_a_damaged_run_is_right_or_an_error(runs: list[dict[str, Case]], tmp_path: Path, seed: int) -> None:
    """Whatever is done to the files of a run, whoever reads it gets what was written, or an error of ours."""
    assert None is wrong(runs, tmp_path, seed)


@pytest.mark.long
@pytest.mark.parametrize("start", range(10_000, 12_000, 100))
def test_runs_damaged_2000_times(runs: list[dict[str, Case]], tmp_path: Path, start: int) -> None:
    """As above, over as many seeds as take minutes."""
    assert [] == list(filter(None, (wrong(runs, tmp_path, seed) for seed in range(start, start + 100))))


@pytest.fixture
def finished(runs: list[dict[str, Case]], tmp_path: Path) -> Path:
    """A copy of a run that ended."""
    return fresh(runs[0]["finished"].path, tmp_path / "run")


@pytest.fixture
def died(runs: list[dict[str, Case]], tmp_path: Path) -> Path:
    """A copy of a run whose spool has what the database has not."""
    return fresh(runs[0]["died"].path, tmp_path / "run")


def failures(case: Case, folder: Path, damages: Mapping[str, Callable[[Path], None]]) -> list[str]:
    """Return what is wrong with what those get who read a run after each damage."""
    found = []
    for name, damage in damages.items():
        for way, act, right in (("reading", look, case.content), ("resuming", go_on, case.resumed)):
            path = fresh(case.path, folder / "damaged")
            damage(path)
            try:
                seen = outcome(partial(act, path))
                problems = outcome(partial(verify_run, path))
            except Exception as error:
                found.append(f"{name}: {way}: {type(error).__name__}: {error}")
                continue
            if not isinstance(seen, CrystallizeError) and not same(seen, right):
                found.append(f"{name}: {way}: other content, and no error: {difference(seen, right)}")
            if isinstance(seen, CrystallizeError) and way == "reading" and not problems:
                found.append(f"{name}: {seen}, and verify_run finds nothing")
    return found


def pages_of(path: Path) -> list[int]:
    """Return where the pages of tables and indexes begin that are not a tree's inner ones."""
    content = path.read_bytes()
    return [at for at in range(PAGE, len(content), PAGE) if content[at] in (0x0D, 0x0A)]


def empty_page(path: Path, at: int) -> None:
    write_at(path, at + 3, bytes(2))


def replace_beside(path: Path, by: Path) -> None:
    replace(path.parent / by.name, by)


@pytest.mark.slow
def test_each_page_emptied(runs: list[dict[str, Case]], tmp_path: Path) -> None:
    """A page that says that it has no rows is not taken for one."""
    case = runs[0]["finished"]
    damages = {f"page {at // PAGE + 1}": partial(empty_page, at=at) for at in pages_of(case.path)}
    assert [] == failures(case, tmp_path, damages)


@pytest.mark.slow
@pytest.mark.parametrize("step", [pytest.param(1, marks=pytest.mark.long), 23])
def test_each_two_pages_swapped(step: int, runs: list[dict[str, Case]], tmp_path: Path) -> None:
    """Pages that have changed places are not taken for right, not even where they are of one table."""
    case = runs[0]["finished"]
    kinds = case.path.read_bytes()
    pages = [(first, second) for first in pages_of(case.path) for second in pages_of(case.path) if first < second]
    damages = {
        f"pages {first // PAGE + 1} and {second // PAGE + 1}": partial(swap, first=first, second=second, size=PAGE)
        for first, second in [pair for pair in pages if kinds[pair[0]] == kinds[pair[1]]][::step]
    }
    assert [] == failures(case, tmp_path, damages)


def test_each_file_of_another_run(runs: list[dict[str, Case]], tmp_path: Path) -> None:
    """A spool, or SQLite's own log, of another run beside a database is an error."""
    for name in ("died", "drained", "resumed"):
        for file in files_of(runs[1][name].path)[1:]:
            damages = {f"{name}: {file.name}": partial(replace_beside, by=file)}
            assert [] == failures(runs[0][name], tmp_path, damages)


def cut_to_nothing(spooled: Path) -> None:
    cut(spooled, 0)


def cut_in_the_header(spooled: Path) -> None:
    cut(spooled, 39)


def zero_the_first_page(spooled: Path) -> None:
    write_at(spooled, 0, bytes(PAGE))


@pytest.mark.parametrize("damage", [cut_to_nothing, cut_in_the_header, zero_the_first_page])
def test_a_spool_that_lost_its_beginning(died: Path, damage: Callable[[Path], None]) -> None:
    """A spool of a run that died, and that has lost what says what is in it, is not taken for an empty one."""
    damage(died.with_suffix(".spool"))
    with pytest.raises(DamagedRunError):
        load_run(died)
    assert () != verify_run(died)
    with pytest.raises(DamagedRunError):
        Journal.resume(died)


def sql(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


CHANGES = [
    "UPDATE run SET name = 'other'",
    "UPDATE run SET number = 7",
    "DELETE FROM run",
    "DELETE FROM sessions",
    "UPDATE sessions SET started = '2020-01-01T00:00:00+00:00'",
    "DELETE FROM steps WHERE rowid = 3",
    "UPDATE steps SET started = '2020-01-01T00:00:00+00:00' WHERE rowid = 2",
    "UPDATE steps SET name = 'other' WHERE rowid = 2",
    "DELETE FROM arrays",
    "UPDATE arrays SET place = 5",
    "DELETE FROM contents",
    "DELETE FROM points WHERE rowid IN (SELECT max(rowid) FROM points)",
    "UPDATE points SET rowid = rowid + 1000 WHERE rowid IN (SELECT max(rowid) FROM points)",
    "UPDATE points SET session = 7 WHERE rowid IN (SELECT max(rowid) FROM points)",
    "UPDATE artifacts SET name = 'other' WHERE rowid IN (SELECT min(rowid) FROM artifacts)",
    "DELETE FROM forks WHERE rowid IN (SELECT min(rowid) FROM forks)",
    "DELETE FROM forks",
    "UPDATE forks SET branch = 'new' WHERE rowid IN (SELECT max(rowid) FROM forks)",
    "UPDATE forks SET sequence = sequence + 1000 WHERE rowid IN (SELECT max(rowid) FROM forks)",
    "UPDATE forks SET session = 7 WHERE rowid IN (SELECT min(rowid) FROM forks)",
    "INSERT INTO forks VALUES ('new', 100000, 1, 0)",
    "DELETE FROM merges WHERE rowid IN (SELECT max(rowid) FROM merges)",
    "DELETE FROM merges",
    "UPDATE merges SET branch = 'unmerged' WHERE rowid IN (SELECT min(rowid) FROM merges)",
    "UPDATE merges SET digest = 'new' WHERE rowid IN (SELECT min(rowid) FROM merges)",
    "UPDATE merges SET item = 'new' WHERE rowid IN (SELECT min(rowid) FROM merges)",
    "UPDATE merges SET how = 'none' WHERE rowid IN (SELECT min(rowid) FROM merges)",
    "UPDATE merges SET result = x'00' WHERE rowid IN (SELECT min(rowid) FROM merges)",
    "INSERT INTO merges SELECT session, 'unmerged', 100000, digest, item, how, result, 0 FROM merges LIMIT 1",
    "DROP TABLE contents",
    "DROP TABLE forks",
    "DROP TABLE merges",
    "DROP TABLE points",
    "ALTER TABLE run RENAME COLUMN number TO numbers",
    'ALTER TABLE run RENAME COLUMN "check" TO checked',
    "PRAGMA user_version = 0",
    "PRAGMA user_version = -1",
    "PRAGMA user_version = -2147483648",
    "PRAGMA application_id = 5",
]


@pytest.mark.parametrize("name", ["died", "finished"])
@pytest.mark.parametrize("change", CHANGES)
def test_rows_changed_by_hand(runs: list[dict[str, Case]], tmp_path: Path, name: str, change: str) -> None:
    """What somebody changes with SQLite, and without the checks of rows, is met in reading and in resuming."""
    damages = {change: lambda path: sql(path, "PRAGMA foreign_keys = OFF", change)}
    assert [] == failures(runs[0][name], tmp_path, damages)


@pytest.mark.parametrize("change", ["UPDATE arrays SET npy = x'00'", "UPDATE points SET count = 9"])
@pytest.mark.parametrize("name", ["died", "finished"])
def test_resuming_a_damaged_run_changes_nothing(
    runs: list[dict[str, Case]], tmp_path: Path, name: str, change: str
) -> None:
    """A run that cannot be resumed, since it is damaged, is as it was."""
    path = fresh(runs[0][name].path, tmp_path / "run")
    sql(path, change)
    connection = sqlite3.connect(path)
    before = [connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in ("run", "sessions", "steps")]
    with pytest.raises(DamagedRunError):
        Journal.resume(path)
    after = [connection.execute(f'SELECT * FROM "{table}"').fetchall() for table in ("run", "sessions", "steps")]
    connection.close()
    assert before == after


def change_a_result(connection: sqlite3.Connection) -> None:
    result = joined(MERGED, ["int", "0" * 32, None], b"5")
    update(connection, "merges", "branch = 'third-0'", result=result, how="json")


def shorten_a_result(connection: sqlite3.Connection) -> None:
    update(connection, "merges", "branch = 'third-0'", result=b"D[")


def add_a_fork(connection: sqlite3.Connection) -> None:
    insert(connection, "forks", "new", 100_000, 1)


def add_a_fork_in_place_of_another_fact(connection: sqlite3.Connection) -> None:
    insert(connection, "forks", "new", 5, 1)


def give_a_merge_another_branch(connection: sqlite3.Connection) -> None:
    update(connection, "merges", "branch = 'third-0'", branch="nobody's")


def take_a_merge_away(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM merges WHERE branch = 'third-0'")


@pytest.mark.parametrize(
    "change",
    [
        change_a_result,
        shorten_a_result,
        add_a_fork,
        add_a_fork_in_place_of_another_fact,
        give_a_merge_another_branch,
        take_a_merge_away,
    ],
)
def test_branches_changed_with_their_checks_set_right(
    finished: Path, change: Callable[[sqlite3.Connection], None]
) -> None:
    """Also whoever sets the checks of rows right cannot make a branch of another one, or one out of nothing."""
    with closing(sqlite3.connect(finished, isolation_level=None)) as connection:
        change(connection)
    assert () != verify_run(finished)
    for act in (look, Journal.resume):
        with pytest.raises(DamagedRunError):
            act(finished)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("import sys; sys.was_run = True",)


def npy_of(content: object) -> bytes:
    """Return what NumPy would unpickle, if it were let."""
    written = BytesIO()
    np.save(written, np.array([content], dtype=object), allow_pickle=True)
    return written.getvalue()


def test_no_code_is_run(finished: Path) -> None:
    """What pretends to be an array and is a pickle is refused, also by whoever has set all checks right."""
    for npy in (npy_of(Evil()), pickle.dumps(Evil())):
        connection = sqlite3.connect(finished, isolation_level=None)
        (row,) = connection.execute("SELECT sequence, place FROM arrays").fetchall()
        connection.execute(
            'UPDATE arrays SET npy = ?, "check" = ?', (npy, check_of([*row, npy], salt_of(connection, "arrays")))
        )
        connection.close()
        assert () != verify_run(finished)
        for act in (look, go_on):
            with pytest.raises(CrystallizeError):
                act(finished)
    assert not hasattr(sys, "was_run")


def test_a_run_whose_last_transaction_was_cut_short(finished: Path, tmp_path: Path) -> None:
    """A database that died while it was switched to its log or back can be read: SQLite undoes what was begun."""
    before = look(finished)
    connection = sqlite3.connect(finished, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("UPDATE contents SET data = zeroblob(400000)")
    cut_short = tmp_path / "cut"
    cut_short.mkdir()
    for file in finished.parent.iterdir():
        shutil.copy(file, cut_short)
    connection.execute("ROLLBACK")
    connection.close()
    assert (cut_short / "run-0001.db-journal").exists()
    assert () == verify_run(cut_short / "run-0001.db")
    assert same(before, look(cut_short / "run-0001.db"))


def test_resuming_a_run_whose_last_transaction_was_cut_short(runs: list[dict[str, Case]], tmp_path: Path) -> None:
    """Such a run can be resumed, too."""
    path = fresh(runs[0]["finished"].path, tmp_path / "run")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("UPDATE contents SET data = zeroblob(400000)")
    shutil.copytree(path.parent, tmp_path / "cut")
    connection.execute("ROLLBACK")
    connection.close()
    assert same(runs[0]["finished"].resumed, go_on(tmp_path / "cut" / "run-0001.db"))


def nothing_at_all(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("a letter to somebody\n" * 1000)


def foreign(path: Path) -> None:
    sql(path, "CREATE TABLE run (id INTEGER)", "INSERT INTO run VALUES (1)", "PRAGMA user_version = 1")


def folder(path: Path) -> None:
    path.mkdir()


def only_marked(path: Path) -> None:
    sql(path, "PRAGMA application_id = 1668445555", "PRAGMA user_version = 1")


def only_marked_and_old(path: Path) -> None:
    sql(path, "PRAGMA application_id = 1668445555")


@pytest.mark.parametrize("make", [nothing_at_all, empty, text, foreign, folder, only_marked, only_marked_and_old])
def test_what_is_no_run(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """Whatever has the name of a run and is none is refused, and left as it is."""
    path = tmp_path / "run-0001.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for act in (load_run, Journal.resume):
        with pytest.raises(JournalError) as raised:
            act(path)
        assert before is not None or isinstance(raised.value, RunNotFoundError)
    if before is None:
        with pytest.raises(RunNotFoundError):
            verify_run(path)
    else:
        assert () != verify_run(path)
        assert before == path.read_bytes()
    assert [] == [file for file in tmp_path.iterdir() if file != path]
    assert path.exists() == bool(list_runs(tmp_path))


def test_a_file_of_a_future_version(finished: Path) -> None:
    """A run of a later version of the package is refused as such, and left as it is."""
    sql(finished, "PRAGMA user_version = 99")
    before = finished.read_bytes()
    for act in (load_run, Journal.resume):
        with pytest.raises(JournalError, match="later version"):
            act(finished)
    assert "later version" in str(verify_run(finished))
    assert before == finished.read_bytes()


def test_an_old_spool_of_another_run(runs: list[dict[str, Case]], finished: Path) -> None:
    """A spool that some other run has left behind is not taken in, and the error says what to do with it."""
    shutil.copy(runs[1]["died"].path.with_suffix(".spool"), finished.with_suffix(".spool"))
    for act in (load_run, Journal.resume):
        with pytest.raises(DamagedRunError, match="move the spool away"):
            act(finished)
    assert () != verify_run(finished)
    finished.with_suffix(".spool").unlink()
    assert same(runs[0]["finished"].content, look(finished))


def test_a_folder_in_place_of_a_spool(finished: Path) -> None:
    """A folder that has the name of a spool is an error of ours."""
    finished.with_suffix(".spool").mkdir()
    for act in (load_run, Journal.resume):
        with pytest.raises(JournalError):
            act(finished)
    assert () != verify_run(finished)
