"""An ETL whose steps pass Polars frames. Killed and started again, it does no finished step again."""

import os
from signal import SIGKILL

import polars as pl
from pydantic import BaseModel, NonNegativeInt

from crystallize import FrozenContext, Journal, LoggingContext, RunNotFoundError
from crystallize.runs import find_run


class Sales(BaseModel, arbitrary_types_allowed=True):
    source: str
    orders: pl.DataFrame
    clean: pl.DataFrame
    totals: pl.DataFrame
    dropped: NonNegativeInt


def extract(ctx: LoggingContext[Sales]) -> None:
    print("extract", flush=True)
    ctx.fields.orders = pl.read_csv(ctx.fields.source, try_parse_dates=True)


def transform(ctx: LoggingContext[Sales]) -> None:
    print("transform", flush=True)
    orders = ctx.fields.orders
    clean = orders.filter(pl.col("amount") > 0).with_columns(pl.col("shop").cast(pl.Categorical))
    ctx.fields.clean = clean
    ctx.fields.dropped = orders.height - clean.height


def load(ctx: LoggingContext[Sales]) -> None:
    print("load", flush=True)
    totals = ctx.fields.clean.group_by("shop").agg(pl.col("amount").sum()).sort("amount", descending=True)
    ctx.fields.totals = totals
    ctx.artifacts.add("totals.csv", totals.write_csv().encode())


def open_journal() -> Journal:
    """Go on with the newest run, or start the first one."""
    try:
        path = find_run("runs", "sales")
    except RunNotFoundError:
        return Journal.start("runs", "sales")
    return Journal.resume(path)


def main() -> None:
    with open_journal() as journal:
        ctx = journal.context(FrozenContext[Sales], {"source": "orders.csv"})
        for task in (extract, transform, load):
            ctx.run(task)
            if os.environ.get("DIE_AFTER") == task.__name__:
                os.kill(os.getpid(), SIGKILL)
        print(ctx.fields.totals.rows())


if __name__ == "__main__":
    main()
