"""Reads a Parquet file with the reader named first, and prints its columns as texts: {column: [text or null, ...]}.

Times are microseconds since midnight or the epoch, dates days, durations milliseconds, bytes hexadecimal."""

import decimal
import json
import re
import sys
import uuid

import pyarrow as pa

UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def read(reader, path):
    if reader == "duckdb":
        import duckdb

        return duckdb.connect().execute("select * from read_parquet(?)", [path]).to_arrow_table()
    if reader == "polars":
        import polars

        return polars.read_parquet(path).to_arrow()
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path)


def plain(column):
    """The numbers behind times, the values behind dictionaries and extensions."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        return plain(pa.chunked_array([chunk.storage for chunk in column.chunks], type=kind.storage_type))
    if pa.types.is_dictionary(kind):
        return plain(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    if pa.types.is_time(kind):
        return column.cast(pa.time64("us")).cast(pa.int64())
    if pa.types.is_duration(kind):
        return column.cast(pa.duration("ms")).cast(pa.int64())
    if pa.types.is_date32(kind):
        return column.cast(pa.int32())
    return column


def text(value):
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    # DuckDB hands UUIDs over as texts.
    return str(value).replace("-", "") if UUID.fullmatch(str(value)) else str(value)


table = read(sys.argv[1], sys.argv[2])
json.dump({name: [text(value) for value in plain(table[name]).to_pylist()] for name in table.column_names}, sys.stdout)
