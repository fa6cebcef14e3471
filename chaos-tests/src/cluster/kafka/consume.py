"""Reads topics to their ends as any other consumer would, read committed, and ends.

    consume.py BROKERS files FOLDER TOPIC       each partition into a file FOLDER/PARTITION.log, a record a line
    consume.py BROKERS records TOPIC...         each record as a line of JSON on standard output
"""

import json
import sys
import time

from confluent_kafka import Consumer, KafkaError, TopicPartition

# Without a record: how long reading all of them takes depends on the machine.
PATIENCE_SECONDS = 90


def ends(consumer, topic):
    """The high watermark of each partition: an open transaction is waited for, and hides nothing."""
    found = consumer.list_topics(topic, timeout=30).topics[topic]
    if found.error is not None:
        raise SystemExit(f"topic {topic}: {found.error}")
    partitions = [TopicPartition(topic, number) for number in sorted(found.partitions)]
    return {(topic, one.partition): consumer.get_watermark_offsets(one, timeout=30) for one in partitions}


def read(brokers, topics):
    uncommitted = Consumer({"bootstrap.servers": brokers, "group.id": "ends", "isolation.level": "read_uncommitted"})
    bounds = {}
    for topic in topics:
        bounds.update(ends(uncommitted, topic))
    uncommitted.close()
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "recount",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    left = {place for place, (low, high) in bounds.items() if low < high}
    consumer.assign([TopicPartition(topic, number, bounds[topic, number][0]) for topic, number in bounds])
    enough = time.monotonic() + PATIENCE_SECONDS
    while left:
        if time.monotonic() > enough:
            raise SystemExit(f"{sorted(left)} are not read to their ends: a transaction stays open")
        message = consumer.poll(1.0)
        if message is None:
            continue
        place = (message.topic(), message.partition())
        if message.error() is None:
            yield message
            enough = time.monotonic() + PATIENCE_SECONDS
        elif message.error().code() != KafkaError._PARTITION_EOF:
            # The client goes on by itself when brokers are back.
            print(f"{place}: {message.error()}", file=sys.stderr)
        elif message.offset() >= bounds[place][1]:
            left.discard(place)
    consumer.close()


def to_files(brokers, folder, topic):
    files = {}
    for message in read(brokers, [topic]):
        number = message.partition()
        if number not in files:
            files[number] = open(f"{folder}/{number}.log", "wb")
        files[number].write(message.value() + b"\n")
    for file in files.values():
        file.close()


def to_records(brokers, topics):
    for message in read(brokers, topics):
        headers = {name: value.decode() for name, value in message.headers() or []}
        record = {
            "topic": message.topic(),
            "partition": message.partition(),
            "offset": message.offset(),
            "key": None if message.key() is None else message.key().decode(),
            "headers": headers,
            "value": json.loads(message.value()),
        }
        print(json.dumps(record))


if __name__ == "__main__":
    match sys.argv[1:]:
        case [brokers, "files", folder, topic]:
            to_files(brokers, folder, topic)
        case [brokers, "records", *topics]:
            to_records(brokers, topics)
        case _:
            raise SystemExit(__doc__)
