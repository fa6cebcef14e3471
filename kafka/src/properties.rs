//! The properties of the client, by librdkafka's names: which of them a user may set.
//!
//! Invariant: what a promise of this crate rests on (transactions, offsets, isolation, time-outs that fit together), what loads or
//! runs code, and what only Weir can know is not a user's to set.

/// What Weir sets itself. Any other property may be set, and takes the place of Weir's default for it.
pub const SET_BY_WEIR: &[&str] = &[
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "log.queue",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "message.max.bytes",
    "message.send.max.retries",
    "message.timeout.ms",
    "metadata.broker.list",
    "offset.store.method",
    "offset.store.path",
    "partitioner",
    "produce.offset.report",
    "queuing.strategy",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "socket.timeout.ms",
    "statistics.interval.ms",
    "topic.metadata.propagation.max.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Whether a property would load a library into Weir, or run a command.
pub fn runs_code(name: &str) -> bool {
    let loads = ["plugin.", "ssl.engine."].iter().any(|prefix| name.starts_with(prefix)) || name.ends_with("_cb");
    loads || matches!(name, "interceptors" | "opaque" | "sasl.kerberos.kinit.cmd" | "ssl.providers")
}

/// Whether a property names a file or folder on the machine that the job runs on.
pub fn names_a_file(name: &str) -> bool {
    name.ends_with(".location") || name.ends_with(".file") || name == "sasl.kerberos.keytab"
}

/// Why a property is not a user's to set, as the end of a sentence that begins with its name; none: it may be set.
pub fn refusal(name: &str) -> Option<&'static str> {
    if SET_BY_WEIR.contains(&name) {
        return Some("is set by Weir itself");
    }
    runs_code(name).then_some("would run code that is not Weir's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_promises_rest_on_is_refused() {
        assert_eq!(refusal("isolation.level"), Some("is set by Weir itself"));
        for code in ["plugin.anything", "ssl.engine.id", "sasl.kerberos.kinit.cmd", "log_cb"] {
            assert_eq!(refusal(code), Some("would run code that is not Weir's"), "{code}");
        }
        for allowed in ["compression.type", "security.protocol", "sasl.password", "ssl.ca.location", "linger.ms"] {
            assert_eq!(refusal(allowed), None, "{allowed}");
        }
    }
}
