#!/usr/bin/env python3
"""Writes impressions of ads, and the clicks on them, as lines of JSON: the same options give the same lines.

    python3 jobs/examples/ad_events/produce.py --events 1000 > events.jsonl
    python3 jobs/examples/ad_events/produce.py --rate 200 --start now | kafka-console-producer.sh ...

With `--rate` they are written as they happen; with `--speed 20` twenty times as fast.

Lines come in the order in which a server would write them, each with the time at which the event has arrived there. Some events
come twice, because a device has sent them again, and some are wrong: of no known type, without an ad, or much older than their
arrival.
"""

import argparse
import heapq
import itertools
import json
import random
import sys
import time
from datetime import datetime, timezone


def moment(seconds):
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def events(options, start):
    """Events as (arrival in seconds, event), in the order of their arrival, without an end."""
    # Only `random()` itself gives the same numbers in all versions of Python.
    chance = random.Random(options.seed).random
    coming = []
    for number in itertools.count():
        now = start + number / options.event_rate
        while coming and coming[0][0] <= now:
            arrival, _, event = heapq.heappop(coming)
            yield arrival, event
        shown = dict(
            event_id=f"{options.prefix}{number:08d}",
            event_type="impression",
            ad_id=f"ad{int(options.ads * chance() ** 3) + 1:03d}",
            user_id=f"user {int(1000 * chance())}",
            country=("USA", "DEU", "KOR", "BRA")[int(4 * chance())],
        )
        queue(coming, shown, now, chance)
        if chance() < options.click_rate:
            clicked = dict(shown, event_id=shown["event_id"] + "c", event_type="click")
            queue(coming, clicked, now + 1 + 20 * chance(), chance)


def queue(coming, event, at, chance):
    """An event that happens at a moment, on its way to the server; now and then twice, and now and then wrong."""
    arrival, fate = at + 0.05 + 2 * chance() ** 4, chance()
    event = dict(event, event_at=moment(at))
    if fate < 0.004:
        event["event_type"] = "hover"
    elif fate < 0.008:
        event["ad_id"] = None
    elif fate < 0.012:
        event["event_at"] = moment(at - 2 * 86_400)
    sent = [arrival, arrival + 5 + 30 * chance()] if 0.5 < fate < 0.51 else [arrival]
    for arrival in sent:
        order = (round(arrival, 3), event["event_id"])
        heapq.heappush(coming, (*order, dict(event, arrived_at=moment(arrival))))


def begin(text, now):
    if text == "now":
        return now
    if text.lstrip("-").isdigit():
        return now + int(text)
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, help="how many lines; without it, for ever")
    parser.add_argument("--seed", type=int, default=1, help="of all random choices")
    parser.add_argument("--ads", type=int, default=20)
    parser.add_argument("--click-rate", type=float, default=0.05, help="clicks per impression")
    parser.add_argument("--event-rate", type=float, default=10, help="impressions a second of event time")
    parser.add_argument("--start", default="2022-03-04T00:00:00Z", help="when they begin: a time, `now`, or seconds from now, as in -600")
    parser.add_argument("--rate", type=float, help="as many impressions a second, of real time and of event time")
    parser.add_argument("--speed", type=float, help="event time goes so many times as fast as real time")
    parser.add_argument("--prefix", default="e", help="what event ids begin with: each server has its own")
    options = parser.parse_args()
    began = time.time()
    start = begin(options.start, began)
    options.event_rate = options.rate or options.event_rate
    speed = options.speed or (1 if options.rate else None)
    try:
        for arrival, event in itertools.islice(events(options, start), options.events):
            if speed and (early := (arrival - start) / speed - (time.time() - began)) > 0:
                sys.stdout.flush()
                time.sleep(early)
            sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
    except (BrokenPipeError, KeyboardInterrupt):
        # Who read the lines has seen enough.
        sys.stderr.close()


if __name__ == "__main__":
    main()
