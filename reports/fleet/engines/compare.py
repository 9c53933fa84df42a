"""Asks engines the shipped questions about a store and compares their answers cell by cell.

    compare.py PROGRAM STORE QUESTIONS [spark] [clickhouse]

DuckDB and the program itself (DataFusion) are always asked; `pairs` is also computed in plain Python, by the definitions of
luo-trace's reports. Exit 0: every cell is the same. Seconds are of the query alone.
"""

import csv
import datetime
import io
import json
import math
import pathlib
import re
import subprocess
import sys
import time

PERCENTILE = re.compile(r"percentile_disc\(([0-9.]+)\) WITHIN GROUP \(ORDER BY (\w+)\)")


def output(program, *arguments):
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def duckdb(program, store):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 2")
    connection.execute(output(program, "views", store, "--for", "duckdb"))
    return lambda sql: connection.execute(sql).fetchall()


def datafusion(program, store):
    def ask(sql):
        answer = output(program, "query", "--format", "csv", store, "--", sql)
        return [tuple(map(plain, row)) for row in csv.reader(io.StringIO(answer))][1:]

    # CSV has texts only: times and truth as the other engines have them.
    def plain(cell):
        if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", cell):
            return text(datetime.datetime.fromisoformat(cell))
        return {"true": "1", "false": "0"}.get(cell, cell)

    return ask


def spark(program, store):
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local-cluster[2,1,2048]").appName("luo-trace-fleet")
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "8")
    session = builder.config("spark.driver.memory", "2g").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    for table, files in json.loads(output(program, "views", store, "--for", "spark")).items():
        session.read.parquet(*files).createOrReplaceTempView(table)
    return lambda sql: [tuple(row) for row in session.sql(sql).collect()]


def clickhouse(program, store):
    from chdb import session

    connection = session.Session()
    for statement in output(program, "views", store, "--for", "clickhouse").splitlines():
        connection.query(statement)

    def ask(sql):
        # The documented switch: ClickHouse has no WITHIN GROUP, and its exact quantiles are
        # those of other ranks: sorted values have the nearest one.
        sql = PERCENTILE.sub(r"arraySort(groupArray(\2))[toUInt64(greatest(1, ceil(\1 * count(\2))))]", sql)
        median = r"intDiv(arraySort(groupArray(\1))[intDiv(count(\1) + 1, 2)] + arraySort(groupArray(\1))[intDiv(count(\1), 2) + 1], 2)"
        sql = re.sub(r"CAST\(floor\(median\((\w+)\)\) AS BIGINT\)", median, sql)
        settings = " SETTINGS join_use_nulls = 1, prefer_column_name_to_alias = 1"
        answer = str(connection.query(sql.rstrip() + settings, "JSONCompactEachRow"))
        return [tuple(json.loads(line)) for line in answer.splitlines()]

    return ask


def reference(ask):
    """The answer to `pairs`: median as the middle of two, p99 as the nearest rank."""
    lengths, attempts = {}, {}
    columns = "pair, mode, workload, kind, phase, derived, duration_ns"
    for *cell, derived, length in ask(f"SELECT {columns} FROM phases WHERE outcome IN ('done', 'unknown')"):
        lengths.setdefault(tuple(cell), {True: [], False: []})[derived].append(length)
    for *group, result in ask("SELECT pair, mode, workload, result FROM outcomes"):
        aborted, failed = attempts.get(tuple(group), (0, 0))
        failure = result in ("refused", "partial", "unfinished", "no-op")
        attempts[tuple(group)] = (aborted + (result == "aborted"), failed + failure)

    def figures(values):
        values.sort()
        n = len(values)
        p50 = (values[(n - 1) // 2] + values[n // 2]) // 2 if n >= 5 else None
        p99 = values[max(1, math.ceil(0.99 * n)) - 1] if n >= 299 else None
        return n, p50, p99

    return [
        (*cell, *figures(parts[False]), *figures(parts[True]), *attempts[cell[:3]])
        for cell, parts in lengths.items()
    ]


def text(cell):
    if cell is None:
        return ""
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(sep=" ", timespec="microseconds")
    if isinstance(cell, str):
        # ClickHouse gives JSON: its times are texts, of as many digits.
        return cell
    return str(int(cell))


def compare(name, question, theirs, ours):
    """Rows are compared as sets in order: ties of ORDER BY are each engine's own."""
    theirs, ours = (sorted([text(cell) for cell in row] for row in rows) for rows in (theirs, ours))
    pairs = [(a, b) for a, b in zip(theirs, ours) if a != b]
    if not pairs and len(theirs) == len(ours):
        return True
    print(f"{question}: {name} has {len(theirs)} rows, DuckDB {len(ours)}; {len(pairs)} differ")
    for a, b in pairs[:2]:
        print(f"  {name}: {a}\n  DuckDB: {b}")
    return False


def main():
    program, store, directory, *names = sys.argv[1:]
    engines = {"DuckDB": duckdb(program, store), "DataFusion": datafusion(program, store)}
    engines |= {name: {"spark": spark, "clickhouse": clickhouse}[name](program, store) for name in names}
    same = True
    for path in sorted(pathlib.Path(directory).glob("*.sql")):
        answers, took = {}, {}
        for name, ask in engines.items():
            started = time.monotonic()
            answers[name] = ask(path.read_text())
            took[name] = f"{name} {time.monotonic() - started:.2f} s"
        ours = answers.pop("DuckDB")
        if path.stem == "pairs":
            answers["plain Python"] = reference(engines["DuckDB"])
        verdicts = [compare(name, path.stem, theirs, ours) for name, theirs in answers.items()]
        same &= all(verdicts)
        cells = sum(len(row) for row in ours)
        print(f"{path.stem:10} {len(ours):7} rows {cells:8} cells  {'same' if all(verdicts) else 'DIFFERENT'}  {', '.join(took.values())}", flush=True)
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main()
