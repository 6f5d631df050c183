"""The tables of a run's database, and the migrations from older versions of them."""

from typing import Final

MIGRATIONS: Final = (
    """
    CREATE TABLE run (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        identity BLOB NOT NULL CHECK (length(identity) = 16),
        name TEXT NOT NULL,
        number INTEGER NOT NULL CHECK (number > 0),
        drained INTEGER NOT NULL CHECK (drained >= 0),
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE sessions (
        session INTEGER PRIMARY KEY,
        started TEXT NOT NULL,
        origin TEXT NOT NULL,
        fingerprints TEXT,
        joined INTEGER UNIQUE,
        ended TEXT,
        outcome TEXT CHECK (outcome IN ('finished', 'failed')),
        error TEXT,
        finished INTEGER UNIQUE,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE steps (
        session INTEGER NOT NULL REFERENCES sessions,
        name TEXT NOT NULL,
        sequence INTEGER NOT NULL UNIQUE,
        started TEXT NOT NULL,
        finished INTEGER UNIQUE,
        record TEXT,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (session, name)
    ) STRICT;
    CREATE TABLE entries (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        step TEXT,
        key TEXT NOT NULL,
        is_input INTEGER NOT NULL CHECK (is_input IN (0, 1)),
        how TEXT NOT NULL CHECK (how IN ('json', 'schema', 'python', 'secret', 'none')),
        type TEXT NOT NULL,
        json TEXT NOT NULL,
        digest TEXT,
        "check" INTEGER NOT NULL,
        FOREIGN KEY (session, step) REFERENCES steps (session, name)
    ) STRICT;
    CREATE TABLE arrays (
        sequence INTEGER NOT NULL REFERENCES entries,
        place INTEGER NOT NULL,
        npy BLOB NOT NULL,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (sequence, place)
    ) STRICT;
    CREATE TABLE points (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        count INTEGER NOT NULL CHECK (count > 0),
        content BLOB NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE contents (
        sha256 TEXT PRIMARY KEY,
        data BLOB NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE artifacts (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        step TEXT,
        name TEXT NOT NULL,
        sha256 TEXT NOT NULL REFERENCES contents,
        "check" INTEGER NOT NULL,
        FOREIGN KEY (session, step) REFERENCES steps (session, name)
    ) STRICT;
    CREATE TABLE forks (
        branch TEXT NOT NULL,
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        "check" INTEGER NOT NULL,
        UNIQUE (session, branch)
    ) STRICT;
    CREATE TABLE merges (
        session INTEGER NOT NULL,
        branch TEXT NOT NULL,
        sequence INTEGER NOT NULL UNIQUE,
        digest TEXT NOT NULL,
        item TEXT,
        how TEXT NOT NULL CHECK (how IN ('json', 'schema', 'python', 'secret', 'none')),
        result BLOB NOT NULL,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (session, branch),
        FOREIGN KEY (session, branch) REFERENCES steps (session, name)
    ) STRICT;
    """,
    """
    CREATE TABLE failures (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        branch TEXT NOT NULL,
        record TEXT NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE value_objects (
        sequence INTEGER NOT NULL REFERENCES entries,
        place INTEGER NOT NULL,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (sequence, place)
    ) STRICT;
    CREATE TABLE reasons (
        sequence INTEGER PRIMARY KEY REFERENCES entries,
        reason TEXT NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE files (
        sequence INTEGER PRIMARY KEY,
        session INTEGER NOT NULL REFERENCES sessions,
        step TEXT,
        name TEXT NOT NULL,
        digest TEXT NOT NULL,
        size INTEGER NOT NULL,
        "check" INTEGER NOT NULL,
        FOREIGN KEY (session, step) REFERENCES steps (session, name)
    ) STRICT;
    """,
    """
    CREATE TABLE fork_groups (
        sequence INTEGER PRIMARY KEY REFERENCES forks,
        start INTEGER NOT NULL REFERENCES forks CHECK (start <= sequence),
        "check" INTEGER NOT NULL
    ) STRICT;
    """,
    """
    CREATE TABLE tasks (
        session INTEGER NOT NULL,
        step TEXT NOT NULL,
        sequence INTEGER NOT NULL UNIQUE,
        arguments TEXT NOT NULL,
        inputs TEXT NOT NULL,
        reason TEXT,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (session, step),
        FOREIGN KEY (session, step) REFERENCES steps (session, name)
    ) STRICT;
    CREATE TABLE returns (
        session INTEGER NOT NULL,
        step TEXT NOT NULL,
        sequence INTEGER NOT NULL UNIQUE,
        how TEXT NOT NULL CHECK (how IN ('json', 'schema', 'python', 'secret', 'none')),
        result BLOB NOT NULL,
        "check" INTEGER NOT NULL,
        PRIMARY KEY (session, step),
        FOREIGN KEY (session, step) REFERENCES tasks (session, step)
    ) STRICT;
    CREATE TABLE parents (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        path TEXT NOT NULL,
        has_older INTEGER NOT NULL CHECK (has_older IN (0, 1)),
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE items (
        sequence INTEGER PRIMARY KEY REFERENCES forks,
        item TEXT NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE seals (
        session INTEGER PRIMARY KEY REFERENCES sessions,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE notes (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        note TEXT NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE tags (
        tag TEXT NOT NULL PRIMARY KEY,
        "check" INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE tracebacks (
        session INTEGER PRIMARY KEY REFERENCES sessions,
        traceback TEXT NOT NULL,
        "check" INTEGER NOT NULL
    ) STRICT;
    """,
)
"""The statements that make the tables, and those that bring each older version to the next; `user_version` counts them.

Points are packed, up to a thousand in a row, whose first point is at position `sequence`: zlib over a JSON array of
[metric, value, tags, step] each. A fifth item is added if JSON alone does not restore value and tags. It
describes how to restore each of them: its type and, as `.npy` in base64, its arrays.

The work of a branch is in the rows of its steps, whose names begin with the branch's own; the last fact of a merge
makes its row in `merges`. A branch that failed makes a row in `failures`, each time, and none in `steps`, since it may
run again and be merged.

The parts of a value that are no JSON are rows in `arrays`, in the order in which its JSON counts them. A part of more
than 1 MiB is a row in `value_objects` in place of that, and its content an object in the folder `objects` beside the
file. `reasons` has the reasons why values cannot be restored.

`fork_groups` has the branches that a `fan_out` forked, each with the position at which it forked the first one. Their
work belongs to that position, in the order in which they were forked.

`items` has the scalars of the items of a `fan_out`, as a JSON object, each at the position of the fork of its branch.

An artifact of at most 1 MiB is a row in `artifacts`, with its content in `contents`. A larger one is a row in `files`,
and its content an object, too.

A step that `ctx.run` runs has a row in `tasks`, at the position of its start. The row contains the digests of its code
and its arguments as JSON, and the reason why it was not taken over from an earlier run. Its return value is a row in
`returns`, at the position of its end. The earlier run is a row in `parents`, with `has_older` if steps may also come
from the older runs of the same name. A step that was taken over has the work of a branch with its name.

`tracebacks` has the traceback of the exception that ended a process.

A process that died has a row in `seals` once the facts in its spool are in the database, and the spool is deleted.
`notes` and `tags` are the words of users about the run.
"""

ORDERS: Final[dict[str, str]] = {
    "run": "id",
    "sessions": "session",
    "steps": "sequence",
    "entries": "sequence",
    "arrays": "sequence, place",
    "points": "sequence",
    "contents": "sha256",
    "artifacts": "sequence",
    "forks": "sequence",
    "merges": "sequence",
    "failures": "sequence",
    "value_objects": "sequence, place",
    "reasons": "sequence",
    "files": "sequence",
    "fork_groups": "sequence",
    "tasks": "sequence",
    "returns": "sequence",
    "parents": "id",
    "tracebacks": "session",
    "seals": "session",
    "notes": "id",
    "tags": "tag",
    "items": "sequence",
}
"""The tables, and the columns that order their rows."""

LATER: Final[dict[str, int]] = {
    "failures": 2,
    "value_objects": 3,
    "reasons": 3,
    "files": 4,
    "fork_groups": 5,
    "tasks": 6,
    "returns": 6,
    "parents": 6,
    "tracebacks": 6,
    "seals": 6,
    "notes": 6,
    "tags": 6,
    "items": 6,
}
"""The tables that files of older versions do not have, each with the version that added it."""

NEWER: Final[dict[str, str]] = {
    "run": "TRUE",
    "parents": "TRUE",
    "sessions": "TRUE",
    "tracebacks": "TRUE",
    "seals": "TRUE",
    "notes": "TRUE",
    "tags": "TRUE",
    "forks": "TRUE",
    "fork_groups": "TRUE",
    "items": "TRUE",
    # Two searches, where an OR would make it look at every step.
    "steps": """sequence IN (
        SELECT sequence FROM steps WHERE sequence > :since UNION SELECT sequence FROM steps WHERE finished > :since
    )""",
    "contents": "sha256 IN (SELECT sha256 FROM artifacts WHERE sequence > :since)",
}
"""The condition for the rows of a table that are new since a position, where `sequence > :since` is not enough."""
