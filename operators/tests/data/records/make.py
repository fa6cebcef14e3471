"""Makes the samples of this folder with writers of another make: fastavro for Avro, Google's protobuf for Protobuf.

    python3 -m venv /tmp/v && /tmp/v/bin/pip install fastavro cramjam backports.zstd grpcio-tools
    /tmp/v/bin/python make.py

What is in `expected` are the columns that are to come out, as text; "-" stands for null.
"""

import base64
import datetime
import decimal
import io
import json
import pathlib
import subprocess
import sys
import tempfile
import uuid

import fastavro
from fastavro import schema as avro_schema

HERE = pathlib.Path(__file__).parent
UTC = datetime.timezone.utc
V1 = fastavro.parse_schema(json.loads((HERE / "clicks_v1.avsc").read_text()))
V2 = fastavro.parse_schema(json.loads((HERE / "clicks_v2.avsc").read_text()))
START = datetime.datetime(2022, 3, 4, 0, 0, 1, 250_000, tzinfo=UTC)
KINDS = ["VIEW", "CLICK", "HOVER"]


def time(moment):
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return text + (f".{moment.microsecond // 1000:03}Z" if moment.microsecond else "Z")


def compact(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


def old(n):
    record = {
        "ad_id": f"ad{n}", "dropped": [{"a": n}, {}, {"b": 1, "c": -n}], "user_id": n - 2, "clicked_at":
        START + datetime.timedelta(seconds=n), "cost": n / 4, "kind": KINDS[n % 3],
    }
    kind = record["kind"] if record["kind"] != "HOVER" else "OTHER"
    expected = [time(record["clicked_at"]), f"ad{n}", str(n - 2), str(float(n) / 4), kind, "??", "-", "false", "-", "-", "-",
                "[]", "{}", "-", "", "-", "-"]
    return record, expected


def new(n):
    full = n % 2 == 0
    page = {"url": f"/p/{n}", "seen_at": None if n % 4 else START, "size": {"width": 100 + n}}
    identity = uuid.UUID(int=n)
    other = [None, n, f"\u00e9{n}"][n % 3]
    record = {
        "clicked_at": START + datetime.timedelta(seconds=n), "ad_id": f"ad{n}", "user": 2**40 + n, "cost": n * 1.5,
        "kind": ["OTHER", "VIEW", "CLICK"][n % 3], "country": "USA", "ip": "1.1.1.1" if full else None, "paid": full,
        "price": decimal.Decimal(n) / 100 if full else None, "day": datetime.date(2022, 3, 4) if full else None,
        "page": page if full else None, "tags": ["a", "b"][: n % 3], "counts": {"x": n} if full else {}, "other": other,
        "raw": bytes([0, 255, n % 256]), "id": str(identity) if full else None,
        "at": datetime.time(1, 2, 3, 4_000) if full else None,
    }
    seen = None if page["seen_at"] is None else time(START)
    expected = [
        time(record["clicked_at"]), f"ad{n}", str(2**40 + n), str(n * 1.5), record["kind"], "USA",
        record["ip"] or "-", str(full).lower(), f"{decimal.Decimal(n) / 100:.2f}" if full else "-",
        "2022-03-04" if full else "-", {"url": page["url"], "seen_at": seen, "size": page["size"]} if full else "-",
        record["tags"], record["counts"], "-" if other is None else json.dumps(other, ensure_ascii=False),
        base64.b64encode(record["raw"]).decode(), str(identity) if full else "-", "01:02:03.004" if full else "-",
    ]
    return record, [value if isinstance(value, str) else compact(value) for value in expected]


def encoded(schema, record):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def avro_messages():
    messages = []
    for n in range(12):
        version, (record, expected) = (1, old(n)) if n % 3 == 0 else (2, new(n))
        body = encoded(V1 if version == 1 else V2, record)
        messages.append({"version": version, "body": body.hex(), "expected": expected})
    fingerprint = avro_schema.fingerprint(avro_schema.to_parsing_canonical_form(V2), "CRC-64-AVRO")
    sample = {"fingerprint": fingerprint, "messages": messages}
    (HERE / "clicks_avro.json").write_text(json.dumps(sample, indent=1) + "\n")


def avro_files():
    expected = {}
    for codec in ["null", "deflate", "snappy", "zstandard", "bzip2"]:
        rows = [new(n) for n in range(40)]
        name = f"clicks_{codec}.avro"
        with open(HERE / name, "wb") as out:
            fastavro.writer(out, V2, [row for row, _ in rows], codec=codec, sync_interval=1000, sync_marker=b"0123456789abcdef")
        expected[name] = [row for _, row in rows]
    rows = [old(n) for n in range(10)]
    with open(HERE / "clicks_v1.avro", "wb") as out:
        fastavro.writer(out, V1, [row for row, _ in rows], codec="null", sync_interval=100, sync_marker=b"fedcba9876543210")
    expected["clicks_v1.avro"] = [row for _, row in rows]
    (HERE / "clicks_files.json").write_text(json.dumps(expected, indent=1) + "\n")


def protobuf():
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", "--include_imports",
                    f"--descriptor_set_out={HERE / 'clicks.desc'}", "clicks.proto", "legacy.proto"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{HERE}", f"--python_out={folder}", "clicks.proto",
                        "legacy.proto"], check=True)
        sys.path.insert(0, folder)
        import clicks_pb2
        import legacy_pb2
    click = clicks_pb2.Click(ad_id="ad1", user=-7, cost=1.5, kind="CLICK", ip="", paid=True, tags=["a", "b"],
                             counts={"y": 2, "x": 1}, number=0, raw=b"\0\xff", big=2**63)
    click.clicked_at.FromDatetime(START)
    click.country.value = "USA"
    click.page.url = "/p"
    click.page.seen_at.FromDatetime(START)
    click.page.size.width = 3
    click.pages.add(url="/q")
    unheard_of = clicks_pb2.NewClick(ad_id="ad3", user=3)
    unheard_of.unheard_of[7].url = "/r"
    strange = clicks_pb2.Click(ad_id="\u00e9", kind=9, text="t")
    page = compact({"url": "/p", "seen_at": time(START), "size": {"width": 3}})
    nothing = ["0.0", "OTHER", "-", "-", "false", "-", "[]", "{}", "-", "-", "", "0", "[]"]
    messages = {
        "full, but for `big`, which no int64 holds": (click, None),
        "empty": (clicks_pb2.Click(), ["", "0", "-", *nothing]),
        "old": (clicks_pb2.OldClick(ad_id="ad2", user=2), ["ad2", "2", "-", *nothing]),
        "new": (unheard_of, ["ad3", "3", "-", *nothing]),
        "an enum's number without a name": (
            strange, ["\u00e9", "0", "-", "0.0", "9", "-", "-", "false", "-", "[]", "{}", "-", "t", "", "0", "[]"]),
    }
    click2 = clicks_pb2.Click()
    click2.CopyFrom(click)
    click2.big = 7
    messages["full"] = (click2, ["ad1", "-7", time(START), "1.5", "CLICK", "USA", "", "true", page, '["a","b"]', '{"x":1,"y":2}',
                                 "0", "-", "AP8=", "7", '[{"url":"/q"}]'])
    samples = [{"name": name, "body": message.SerializeToString(deterministic=True).hex(), "expected": expected}
               for name, (message, expected) in messages.items()]
    legacy = [{"name": "legacy", "body": legacy_pb2.Legacy(ad_id="a").SerializeToString().hex(), "expected": ["a", "5", "-"]}]
    (HERE / "clicks_protobuf.json").write_text(json.dumps({"ads.Click": samples, "ads.Legacy": legacy}, indent=1) + "\n")


avro_messages()
avro_files()
protobuf()
