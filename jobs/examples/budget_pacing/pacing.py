#!/usr/bin/env python3
"""Paces the budgets of ads: reads the aggregated topic, and says which ads are to stop because their budget is spent.

    python3 pacing.py --budgets budgets.csv --state pacing.sqlite [--brokers HOST:PORT] [--topic ad-counts-running]

What an ad has spent is its clicks times what a click costs, over all minutes. It prints a line of JSON when an ad is to stop, and
when one may go on (its budget was raised, or its count corrected).

Exactly once, whatever is killed: a record of the topic is a revision of a count, known by its `record_id`. Of each record the
highest revision counts, with its whole count and not a difference, so that nothing is spent twice; and what is known of it is in
one SQLite transaction with the offset behind it. What is printed, is printed at least once.
"""

import argparse
import csv
import fcntl
import json
import signal
import sqlite3
import sys
import time
from decimal import Decimal

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

TABLES = """
CREATE TABLE IF NOT EXISTS ads (
    ad_id TEXT PRIMARY KEY, budget TEXT, cost_per_click TEXT, clicks INTEGER NOT NULL DEFAULT 0, told TEXT NOT NULL DEFAULT 'running');
CREATE TABLE IF NOT EXISTS records (
    record_id TEXT PRIMARY KEY, ad_id TEXT NOT NULL, minute TEXT NOT NULL, revision INTEGER NOT NULL, clicks INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS records_by_minute ON records (minute);
CREATE TABLE IF NOT EXISTS offsets (topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, PRIMARY KEY (topic, partition));
CREATE TABLE IF NOT EXISTS forgotten (until TEXT NOT NULL);
"""
# New partitions of the topic are looked for as often, in seconds.
LOOK_EVERY = 10
# Records whose minute is so many days before the newest are corrected no more: far longer than the job's `allowed_lateness`.
FORGET_AFTER = "-2 days"


class State:
    """What is known: of records, ads and offsets, in one database. Others may read it; one process paces with it."""

    def __init__(self, path):
        self.lock = open(f"{path}.lock", "w", encoding="utf-8")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(f"{path}: another process paces with it")
        self.db = sqlite3.connect(path, isolation_level=None, timeout=60)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.executescript(TABLES)

    def set_budgets(self, path):
        with open(path, newline="", encoding="utf-8") as file, self.transaction():
            self.db.execute("UPDATE ads SET budget = NULL")
            for row in csv.DictReader(file):
                budget, cost = Decimal(row["budget"]), Decimal(row["cost_per_click"])
                self.db.execute(
                    "INSERT INTO ads (ad_id, budget, cost_per_click) VALUES (?, ?, ?) ON CONFLICT (ad_id) DO UPDATE"
                    " SET budget = excluded.budget, cost_per_click = excluded.cost_per_click",
                    (row["ad_id"], str(budget), str(cost)),
                )

    def transaction(self):
        return Transaction(self.db)

    def next_offset(self, topic, partition):
        row = self.db.execute(
            "SELECT next_offset FROM offsets WHERE topic = ? AND partition = ?", (topic, partition)).fetchone()
        return row[0] if row else OFFSET_BEGINNING

    def take(self, messages, filter_id):
        """All of some messages, and the offsets behind them, or nothing. Gives back the ads that they are about."""
        touched = set()
        with self.transaction():
            for message in messages:
                row = json.loads(message.value())
                if row.get("filter_id", filter_id) == filter_id and self.revise(row):
                    touched.add(row["ad_id"])
                self.db.execute(
                    "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
                    (message.topic(), message.partition(), message.offset() + 1),
                )
        return touched

    def revise(self, row):
        """Takes a revision in, if it is newer than what is known of its record. The ad has its new count then, and not the old one."""
        record_id, minute = row["record_id"], row["click_minute"]
        clicks = 0 if row["withdrawn"] else row["clicks"]
        known = self.db.execute("SELECT revision, clicks FROM records WHERE record_id = ?", (record_id,)).fetchone()
        if known and known[0] >= row["revision"]:
            return False
        if not known and self.is_forgotten(minute):
            print(f"too old to be corrected: {row}", file=sys.stderr)
            return False
        self.db.execute(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?) ON CONFLICT (record_id) DO UPDATE"
            " SET revision = excluded.revision, clicks = excluded.clicks",
            (record_id, row["ad_id"], minute, row["revision"], clicks),
        )
        self.db.execute("INSERT OR IGNORE INTO ads (ad_id) VALUES (?)", (row["ad_id"],))
        more = clicks - (known[1] if known else 0)
        self.db.execute("UPDATE ads SET clicks = clicks + ? WHERE ad_id = ?", (more, row["ad_id"]))
        return True

    def is_forgotten(self, minute):
        row = self.db.execute("SELECT max(until) FROM forgotten").fetchone()
        return row[0] is not None and minute < row[0]

    def forget(self):
        """Drops records that no correction comes for any more. What their ads have spent stays."""
        with self.transaction():
            newest = self.db.execute("SELECT max(minute) FROM records").fetchone()[0]
            until = self.db.execute("SELECT strftime('%Y-%m-%dT%H:%M:%SZ', ?, ?)", (newest, FORGET_AFTER)).fetchone()[0]
            if until and self.db.execute("DELETE FROM records WHERE minute < ?", (until,)).rowcount > 0:
                self.db.execute("DELETE FROM forgotten")
                self.db.execute("INSERT INTO forgotten VALUES (?)", (until,))

    def tell(self, ad_ids=None):
        """Prints what has changed for ads, and notes that it is printed. Without a list, of all."""
        some = "" if ad_ids is None else f" AND ad_id IN ({','.join('?' * len(ad_ids))})"
        ads = self.db.execute(
            f"SELECT ad_id, budget, cost_per_click, clicks, told FROM ads WHERE budget IS NOT NULL{some}", tuple(ad_ids or ()))
        for ad_id, budget, cost, clicks, told in ads.fetchall():
            spent = clicks * Decimal(cost)
            wanted = "stopped" if spent >= Decimal(budget) else "running"
            if wanted == told:
                continue
            line = {"ad_id": ad_id, "is": wanted, "spent": str(spent), "budget": budget, "at": time.time()}
            print(json.dumps(line), flush=True)
            self.db.execute("UPDATE ads SET told = ? WHERE ad_id = ?", (wanted, ad_id))


class Transaction:
    """All that is done within, or nothing."""

    def __init__(self, db):
        self.db = db

    def __enter__(self):
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind, *_):
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")


class Topic:
    """The committed records of all partitions of a topic, from the offsets of the state on."""

    def __init__(self, brokers, name, state):
        self.name, self.state, self.partitions, self.looked = name, state, [], None
        self.consumer = Consumer({
            "bootstrap.servers": brokers,
            "group.id": "budget-pacing",  # required, and not used: partitions are assigned here, and offsets are in the state
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            # A record that is gone before it was read is an error, and never skipped.
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "allow.auto.create.topics": False,
        })

    def look(self):
        """Reads partitions that are new, too."""
        if self.looked is not None and time.monotonic() - self.looked < LOOK_EVERY:
            return
        self.looked = time.monotonic()
        try:
            found = self.consumer.list_topics(self.name, timeout=5).topics[self.name]
        except KafkaException as error:
            print(f"waits for {self.name}: {error}", file=sys.stderr)
            return
        new = [number for number in sorted(found.partitions) if number not in self.partitions]
        if new:
            self.partitions += new
            self.consumer.incremental_assign(
                [TopicPartition(self.name, number, self.state.next_offset(self.name, number)) for number in new])

    def messages(self):
        """What has come; after a tenth of a second nothing."""
        messages = []
        for message in self.consumer.consume(500, timeout=0.1 if self.partitions else 0):
            error = message.error()
            if error is None:
                if message.value() is not None:
                    messages.append(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                sys.exit(f"{message.topic()}-{message.partition()}: records were removed before they were read: {error}")
            elif error.code() != KafkaError._PARTITION_EOF:
                print(f"waits for {self.name}: {error}", file=sys.stderr)
        if not self.partitions:
            time.sleep(0.1)
        return messages


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budgets", required=True, help="a CSV: ad_id,budget,cost_per_click")
    parser.add_argument("--state", required=True, help="an SQLite file")
    parser.add_argument("--brokers", default="localhost:9092")
    parser.add_argument("--topic", default="ad-counts-running")
    parser.add_argument("--filter", default="0000", help="the filter whose counts are paid for")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    state = State(options.state)
    state.set_budgets(options.budgets)
    state.tell()
    topic = Topic(options.brokers, options.topic, state)
    forgot = time.monotonic()
    while True:
        topic.look()
        messages = topic.messages()
        if messages:
            touched = state.take(messages, options.filter)
            if touched:
                state.tell(sorted(touched))
        if time.monotonic() - forgot > 60:
            state.forget()
            forgot = time.monotonic()


if __name__ == "__main__":
    main()
