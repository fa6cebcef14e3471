"""Compares what jobs have written with what DuckDB says of the same rows.

Each line of input is a request, a JSON object: {"tables": [statement, ...], "sinks": [sink, ...]}. A sink is {"name", "expected"
(a query), "columns": [{"name", "kind", "how", "part"}], "format", "path", "results", "count_only"}. Each line of output is the
answer: {"differences": [text, ...], "rows": number of rows compared}.

The rule of revisions is told here once more: a record and a revision are there once, the highest revision of a record holds,
unless it is withdrawn.
"""

import csv
import datetime
import decimal
import fractions
import glob
import json
import math
import os
import sqlite3
import sys
from collections import Counter, defaultdict

import duckdb

EPOCH = datetime.datetime(1970, 1, 1)


def listing(path, ending):
    files = glob.glob(os.path.join(path, "**", "*." + ending), recursive=True)
    return sorted(file for file in files if "/_" not in file[len(path):])


def moment(text):
    """Milliseconds of a moment as files of text have it."""
    time = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return round((time - EPOCH.replace(tzinfo=datetime.timezone.utc)) / datetime.timedelta(milliseconds=1))


def of_text(value, kind):
    """A value of a CSV."""
    if value is None:
        return None
    if isinstance(kind, dict):
        raise ValueError("a list in a CSV")
    if kind == "Bool":
        return {"true": True, "false": False}[value]
    if kind == "Time":
        return moment(value)
    if kind in ("Int", "Big"):
        return int(value)
    if kind in ("Float", "Odd"):
        return float(value)
    return decimal.Decimal(value) if kind == "Decimal" else value


def of_json(value, kind):
    """A value of an object whose numbers were left as they are written."""
    if value is None:
        return None
    if isinstance(kind, dict):
        return tuple(of_json(one, kind["List"]) for one in value)
    if kind == "Time":
        return moment(value)
    if kind in ("Int", "Big"):
        return int(value)
    if kind in ("Float", "Odd"):
        return float(value)
    return decimal.Decimal(value) if kind == "Decimal" else value


def of_table(value, kind):
    """A value of a table of SQLite."""
    if value is None:
        return None
    if kind == "Bool":
        return bool(value)
    return decimal.Decimal(value) if kind == "Decimal" else value


def plain(value):
    """A value of DuckDB's."""
    if isinstance(value, list):
        return tuple(plain(one) for one in value)
    if isinstance(value, datetime.datetime):
        return round((value.replace(tzinfo=None) - EPOCH) / datetime.timedelta(milliseconds=1))
    return value


def projected(column):
    name = '"' + column["name"] + '"'
    if column["kind"] == "Time":
        return f"epoch_ms({name})"
    if column["kind"] == {"List": "Time"}:
        return f"list_transform({name}, lambda x: epoch_ms(x))"
    return name


def columns_of(sink):
    meta = [{"name": "record_id", "kind": "Text"}, {"name": "revision", "kind": "Int"}, {"name": "withdrawn", "kind": "Bool"}]
    return (meta if sink["results"] else []) + sink["columns"]


def read_files(connection, sink):
    path, kind = sink["path"], sink["format"]
    files = listing(path, {"json": "jsonl"}.get(kind, kind))
    wanted = columns_of(sink)
    if not files:
        return []
    if kind == "parquet":
        shown = ", ".join(projected(column) for column in wanted) or "1"
        rows = connection.execute(f"select {shown} from read_parquet({files!r}, union_by_name = true)").fetchall()
        return [[plain(value) for value in row] for row in rows]
    if kind == "json":
        rows = []
        for file in files:
            with open(file, encoding="utf-8") as lines:
                for line in lines.read().split("\n")[:-1]:
                    told = json.loads(line, parse_float=str, parse_int=str)
                    rows.append([of_json(told[column["name"]], column["kind"]) for column in wanted])
        return rows
    rows = []
    shown = ", ".join('"' + column["name"] + '"' for column in wanted) or "1"
    for file in files:
        query = (
            f"select {shown} from read_csv('{file}', header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', "
            "nullstr = '', allow_quoted_nulls = false, strict_mode = true, auto_detect = false, columns = {%s})"
        )
        with open(file, encoding="utf-8", newline="") as lines:
            names = next(csv.reader(lines))
        typed = ", ".join(f"'{name}': 'VARCHAR'" for name in names)
        for row in connection.execute(query % typed).fetchall():
            rows.append([of_text(value, column["kind"]) for value, column in zip(row, wanted)])
    return rows


def read_table(sink):
    path, table = sink["path"], sink["name"]
    if not os.path.exists(path):
        return []
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        if not database.execute("select 1 from sqlite_master where name = ?", [table]).fetchall():
            return []
        shown = ", ".join('"' + column["name"] + '"' for column in sink["columns"])
        rows = database.execute(f'select {shown} from "{table}"').fetchall()
    finally:
        database.close()
    return [[of_table(value, column["kind"]) for value, column in zip(row, sink["columns"])] for row in rows]


def what_holds(rows, found):
    """The newest revision of each record that is not withdrawn, without what only revisions have."""
    newest = {}
    seen = set()
    for row in rows:
        record, revision, withdrawn = str(row[0]), row[1], row[2]
        if (record, revision) in seen:
            found.append(f"revision {revision} of {record} is there twice")
        seen.add((record, revision))
        if record not in newest or newest[record][0] < revision:
            newest[record] = (revision, None if withdrawn else row[3:])
    return [row for _, row in newest.values() if row is not None]


def exact_sum(values):
    return sum((fractions.Fraction(value) for value in values), fractions.Fraction(0))


def rounded(value):
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def number(value):
    return fractions.Fraction(value)


def is_right(expected, value, column):
    """Whether a value is what it may be by the documentation."""
    how = column["how"]
    if expected is None or value is None:
        return expected is None and value is None
    if how == "SumOfList":
        return value == rounded(exact_sum(expected))
    if how == "MeanOfList":
        return value == rounded(exact_sum(expected)) / len(expected)
    if how == "About":
        return abs(value - expected) <= 2 + 0.07 * expected
    if isinstance(how, dict) and "PartOfList" in how:
        ordered = sorted(float(one) for one in expected)
        place = how["PartOfList"] * (len(ordered) - 1)
        low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
        right = low + (high - low) * (place - math.floor(place))
        return abs(value - right) <= 0.008 * max(abs(low), abs(high)) + 1e-9
    part = how["Near"]
    if isinstance(value, float) and math.isnan(value):
        return math.isnan(expected)
    return abs(float(value) - float(expected)) <= part * (1 + abs(float(expected)))


def comparable(value):
    """Equal if and only if it is the same: true is not 1, and 1 is not 1.0."""
    if isinstance(value, tuple):
        return tuple(comparable(one) for one in value)
    if isinstance(value, float):
        # There is one zero.
        return ("float", "nan" if math.isnan(value) else repr(value + 0.0))
    return (type(value).__name__, value)


def compare(name, columns, expected, actual):
    """Rows are the same in all columns that are exact; the others are compared in pairs of such rows."""
    exact = [at for at, column in enumerate(columns) if column["how"] == "Exact"]
    others = [at for at, column in enumerate(columns) if column["how"] != "Exact"]

    def grouped(rows):
        groups = defaultdict(list)
        for row in rows:
            groups[tuple(comparable(row[at]) for at in exact)].append(row)
        return groups

    expected, actual = grouped(expected), grouped(actual)
    differences = []

    def told(key):
        return "{" + ", ".join(f"{columns[at]['name']}: {value!r}" for at, value in zip(exact, (one[1:] for one in key))) + "}"

    for key in list(expected) + [key for key in actual if key not in expected]:
        right, found = expected.get(key, []), actual.get(key, [])
        if len(right) != len(found):
            differences.append(f"{name}: {len(found)} times instead of {len(right)}: {told(key)}")
            continue
        if not others:
            continue
        open_rows = list(found)
        for row in right:
            match = next((one for one in open_rows if all(is_right(row[at], one[at], columns[at]) for at in others)), None)
            if match is None:
                values = {columns[at]["name"]: (open_rows[0][at], "instead of", row[at]) for at in others if not is_right(row[at], open_rows[0][at], columns[at])}
                differences.append(f"{name}: {told(key)} has {values}")
                break
            open_rows.remove(match)
    return differences


def judge(request):
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("set enable_progress_bar = false")
    connection.execute("set timezone = 'UTC'")
    differences, rows = [], 0
    for statement in request["tables"]:
        try:
            connection.execute(statement)
        except duckdb.Error as error:
            return {"broken": f"{error}\n{statement}", "differences": [], "rows": 0}
    for sink in request["sinks"]:
        name, columns = sink["name"], sink["columns"]
        found = []
        try:
            actual = read_table(sink) if sink["format"] == "table" else read_files(connection, sink)
        except Exception as error:
            differences.append(f"{name}: cannot be read: {type(error).__name__}: {error}")
            continue
        if sink["results"] and sink["format"] != "table":
            actual = what_holds(actual, found)
        shown = ", ".join(projected(column) for column in columns) or "1"
        expected = connection.execute(f"select {shown} from ({sink['expected']})").fetchall()
        expected = [[plain(value) for value in row] for row in expected]
        rows += len(expected)
        if sink["count_only"]:
            found += [f"{name}: {len(actual)} rows instead of {len(expected)}"] if len(actual) != len(expected) else []
        else:
            found += compare(name, columns, expected, actual)
        differences += found[:5] + ([f"{name}: and {len(found) - 5} more"] if len(found) > 5 else [])
    connection.close()
    return {"differences": differences, "rows": rows}


for line in sys.stdin:
    try:
        answer = judge(json.loads(line))
    except Exception as error:
        answer = {"broken": f"{type(error).__name__}: {error}", "differences": [], "rows": 0}
    print(json.dumps(answer), flush=True)
