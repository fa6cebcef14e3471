"""Counts clicks per ad and minute in Flink, first come first kept for each event id, and says how long the job took.

One argument, a JSON object: {"input": folder of JSON lines, "work": empty folder, "parallelism": ...}.
One line of output: {"version": ..., "seconds": ..., "cpu_seconds": ..., "peak_bytes": ...}; results are JSON lines in
work/out/counts. Time is the job's own, without starting Python and the JVM; CPU and memory are those of the JVM.
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
    "execution.checkpointing.dir": "file://" + request["work"] + "/checkpoints",
    "state.backend.type": "hashmap",
    "table.exec.mini-batch.enabled": "true",
    "table.exec.mini-batch.allow-latency": "1 s",
    "table.exec.mini-batch.size": "50000",
    "table.local-time-zone": "UTC",
}.items():
    tables.get_config().set(key, value)
# A file on a local disk is one split, read in order, so the delay is that of Weir's job and finds nothing late.
tables.execute_sql(f"""
    create table clicks (
        event_id string, ad_id string, click_timestamp timestamp_ltz(3), arrival as proctime(),
        watermark for click_timestamp as click_timestamp - interval '15' second
    ) with ('connector' = 'filesystem', 'path' = 'file://{request["input"]}', 'format' = 'json',
            'json.timestamp-format.standard' = 'ISO-8601')
""")
tables.execute_sql(f"""
    create table counts (ad_id string, click_minute timestamp(3), `count` bigint)
    with ('connector' = 'filesystem', 'path' = 'file://{request["work"]}/out/counts', 'format' = 'json')
""")
tables.execute_sql("""
    create temporary view unique_clicks as
    select ad_id, click_timestamp from (
        select *, row_number() over (partition by event_id order by arrival) as n from clicks
    ) where n = 1
""")
job = tables.execute_sql("""
    insert into counts
    select ad_id, window_start, count(*)
    from table(tumble(table unique_clicks, descriptor(click_timestamp), interval '1' minute))
    group by ad_id, window_start, window_end
""").get_job_client()
seconds = job.get_job_execution_result().result().get_net_runtime() / 1000

jvm = int(get_gateway().jvm.java.lang.ProcessHandle.current().pid())
with open(f"/proc/{jvm}/stat") as stat:
    fields = stat.read().rsplit(")", 1)[1].split()
cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
with open(f"/proc/{jvm}/status") as status:
    peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print(json.dumps({"version": __version__, "seconds": seconds, "cpu_seconds": cpu, "peak_bytes": peak}))
