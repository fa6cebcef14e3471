"""Runs one query that gives one row in DuckDB, and says how long the query alone took.

One argument, a JSON object: {"sql": ..., "threads": ..., "temp_directory": ...}.
One line of output: {"version": ..., "seconds": ..., "row": [...]}; a hash is written as a string.
"""

import json
import sys
import time

import duckdb

request = json.loads(sys.argv[1])
connection = duckdb.connect()
# Drawn on standard output, where the answer goes.
connection.execute("set enable_progress_bar = false")
connection.execute(f"set threads = {int(request['threads'])}")
connection.execute("set temp_directory = ?", [request["temp_directory"]])
begin = time.perf_counter()
row = connection.execute(request["sql"]).fetchone()
seconds = time.perf_counter() - begin
row = [str(value) for value in row]
print(json.dumps({"version": duckdb.__version__, "seconds": seconds, "row": row}))
