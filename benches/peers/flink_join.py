"""Joins each order with all clicks that its user made within a minute before it, in Flink, and says how long the job took.

One argument, a JSON object: {"input": folder with the folders orders and clicks of JSON lines, "work": empty folder,
"parallelism": ...}. One line of output: {"version": ..., "seconds": ..., "cpu_seconds": ..., "peak_bytes": ...}; results are
JSON lines in work/out/pairs. Time is the job's own, without starting Python and the JVM; CPU and memory are those of the JVM.
"""

import json
import os
import sys

from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment
from pyflink.version import __version__

request = json.loads(sys.argv[1])
tables = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
for key, value in {
    "parallelism.default": str(request["parallelism"]),
    "execution.checkpointing.interval": "1 s",
    "execution.checkpointing.mode": "EXACTLY_ONCE",
    "execution.checkpointing.dir": "file://" + request["work"] + "/checkpoints",
    "state.backend.type": "hashmap",
    "table.local-time-zone": "UTC",
}.items():
    tables.get_config().set(key, value)
# A file on a local disk is one split, read in order.
for table, number, time in [("orders", "order_id", "ordered_at"), ("clicks", "click_id", "clicked_at")]:
    tables.execute_sql(f"""
        create table {table} (
            {number} bigint, user_id string, {time} bigint, event_time as to_timestamp_ltz({time}, 3),
            watermark for event_time as event_time - interval '5' second
        ) with ('connector' = 'filesystem', 'path' = 'file://{request["input"]}/{table}', 'format' = 'json')
    """)
tables.execute_sql(f"""
    create table pairs (order_id bigint, click_id bigint)
    with ('connector' = 'filesystem', 'path' = 'file://{request["work"]}/out/pairs', 'format' = 'json')
""")
job = tables.execute_sql("""
    insert into pairs
    select o.order_id, c.click_id from orders o, clicks c
    where o.user_id = c.user_id and c.event_time between o.event_time - interval '1' minute and o.event_time
""").get_job_client()
seconds = job.get_job_execution_result().result().get_net_runtime() / 1000

jvm = int(get_gateway().jvm.java.lang.ProcessHandle.current().pid())
with open(f"/proc/{jvm}/stat") as stat:
    fields = stat.read().rsplit(")", 1)[1].split()
cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
with open(f"/proc/{jvm}/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"version": __version__, "seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak}))
