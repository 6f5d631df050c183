"""`crystallize diff`."""

from pathlib import Path

from crystallize import FrozenContext, Journal

from .command_runs import branched, document_of, made, printed, words


def test_no_difference(tmp_path: Path) -> None:
    """Runs that differ in times alone do not differ."""
    made(tmp_path)
    made(tmp_path)

    assert "no difference\n" == printed("diff", "1", "2", "--dir", tmp_path)
    assert [] == document_of("diff", "1", "2", "--dir", tmp_path)["differences"]


def test_difference(tmp_path: Path) -> None:
    """What differs is listed with what each run has, and the exit status is 1."""
    made(tmp_path, seed=1)
    with Journal.start(tmp_path, "digits") as journal:
        journal.context(FrozenContext, {"lr": 0.1, "seed": 2})
    table = words(printed("diff", "1", "2", "--dir", tmp_path, status=1))
    found = document_of("diff", "1", "2", "--dir", tmp_path, status=1)

    assert [
        ["what", "name", "digits-0001", "digits-0002"],
        ["input", "seed", "1", "2"],
        ["value", "accuracy", "0.9", "-"],
        ["metric", "loss", "2 points, the last nan", "-"],
        ["step", "fit", "finished", "-"],
    ] == table
    assert ("digits-0001", "digits-0002") == (found["one"], found["other"])
    assert {"what": "value", "name": "accuracy", "one": "0.9", "other": None} == found["differences"][1]


def test_what_is_not_compared(tmp_path: Path) -> None:
    """What the files do not give back is named, as nobody knows whether it differs."""
    for _ in range(2):
        with Journal.start(tmp_path, "digits") as journal:
            journal.context(FrozenContext, {"model": object()}).record("odd", object())
    found = document_of("diff", "1", "2", "--dir", tmp_path)

    assert "no difference\nnot compared, as the files do not give it back: input model, metric odd\n" == printed(
        "diff", "1", "2", "--dir", tmp_path
    )
    assert [{"what": "input", "name": "model"}, {"what": "metric", "name": "odd"}] == found["not_compared"]
    assert ["not", "restorable"] == printed("show", "1", "--dir", tmp_path).split("metrics\n")[1].split()[4:6]


def test_difference_of_runs_of_one_name(tmp_path: Path) -> None:
    """Runs of one name, in two folders, are told apart by their paths."""
    left, right = made(tmp_path / "a", seed=1), made(tmp_path / "b", seed=2)

    assert ["what", "name", str(left), str(right)] == words(printed("diff", left, right, status=1))[0]


def test_diff_of_runs_with_branches(tmp_path: Path) -> None:
    """The order in which branches were merged makes no difference between two runs; a branch more or less does."""
    for name, order in {"one": [0, 1], "other": [1, 0], "less": [1]}.items():
        branched(tmp_path, order, name)

    assert "no difference\n" == printed("diff", "one", "other", "--dir", tmp_path)
    found = document_of("diff", "one", "less", "--dir", tmp_path, status=1)["differences"]
    names = [("value", "score-0"), ("metric", "loss"), ("step", "fold-0"), ("step", "fold-0/fit")]
    assert names == [(difference["what"], difference["name"]) for difference in found]


def test_ignores(tmp_path: Path) -> None:
    """Names, patterns, and names with their kinds can be left out; the status is 0 if nothing else differs."""
    for seed in (1, 2):
        made(tmp_path, "noisy", seed=seed, noise=object(), third=seed / 3)
    rows = words(printed("diff", "--dir", tmp_path, "1", "2", "--ignore", "noi*", status=1))

    assert [["input", "seed", "1", "2"], ["input", "third", "0.333333", "0.666667"]] == rows[1:]
    assert "no difference\n" == printed(
        *("diff", "--dir", tmp_path, "1", "2", "--ignore", "inputs.*", "--ignore", "input.seed")
    )


def test_digits_that_differ(tmp_path: Path) -> None:
    """Floats that differ after the sixth digit are shown in full."""
    for lr in (0.12345678, 0.12345679):
        with Journal.start(tmp_path, "near") as journal:
            journal.context(FrozenContext, {"lr": lr})

    assert ["input", "lr", "0.12345678", "0.12345679"] == words(printed("diff", "--dir", tmp_path, "1", "2", status=1))[
        1
    ]
