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
    "partitioner",
    "request.required.acks",
    "request.timeout.ms",
    "retries",
    "socket.timeout.ms",
    "topic.metadata.propagation.max.ms",
    "transaction.timeout.ms",
    "transactional.id",
];

/// What would load a library into Weir, or run a command.
pub const RUNS_CODE: &[&str] =
    &["plugin.library.paths", "sasl.kerberos.kinit.cmd", "ssl.engine.id", "ssl.engine.location", "ssl.providers"];

/// What names a file or folder on the machine that the job runs on.
pub const NAMES_A_FILE: &[&str] = &[
    "https.ca.location",
    "sasl.kerberos.keytab",
    "sasl.oauthbearer.assertion.file",
    "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.assertion.private.key.file",
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];

/// Why a property is not a user's to set, as the end of a sentence that begins with its name; none: it may be set.
pub fn refusal(name: &str) -> Option<&'static str> {
    if SET_BY_WEIR.contains(&name) {
        return Some("is set by Weir itself");
    }
    if RUNS_CODE.contains(&name) || name.ends_with("_cb") || name == "opaque" {
        return Some("would run code that is not Weir's");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_promises_rest_on_is_refused() {
        assert_eq!(refusal("isolation.level"), Some("is set by Weir itself"));
        assert_eq!(refusal("plugin.library.paths"), Some("would run code that is not Weir's"));
        for allowed in ["compression.type", "security.protocol", "sasl.password", "ssl.ca.location", "linger.ms"] {
            assert_eq!(refusal(allowed), None, "{allowed}");
        }
    }
}
