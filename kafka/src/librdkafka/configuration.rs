//! What is set of librdkafka's properties, for each role of a handle.
//!
//! What promises rest on is [fixed](crate::properties::SET_BY_WEIR); the rest are defaults, which a user's properties take the place
//! of.

use crate::{
    cluster::Isolation,
    connection::Connection,
    error::{KafkaError, KafkaErrorKind, Result},
    properties::refusal,
};
use rdkafka::ClientConfig;
use std::time::Duration;

/// How long a request to a broker may take.
const REQUEST: Duration = Duration::from_secs(10);

/// How long a record without a transaction may be on its way.
const DELIVERY: Duration = Duration::from_secs(30);

/// What a handle is for.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// Asking about topics and offsets.
    Questions,
    /// Asking about a consumer group, and noting offsets for it, without being a member.
    Group(String),
    /// Reading partitions.
    Reading(Isolation),
    /// Writing without transactions.
    Writing,
    /// Writing transactions, which the broker leaves open for so long.
    Transactions { id: String, timeout: Duration },
}

/// Defaults of all roles. Connections are made again at once and then every second: jobs wait for brokers to be back. Brokers are
/// connected to before they are needed: with connections on demand only, a question that waits for a broker that is down has
/// librdkafka (2.12) try again without a pause, at the cost of a whole processor.
const COMMON: &[(&str, &str)] = &[
    ("client.id", "weir"),
    ("enable.sparse.connections", "false"),
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "1000"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("log.connection.close", "false"),
];

/// What no role lets a user change.
const COMMON_FIXED: &[(&str, &str)] =
    &[("allow.auto.create.topics", "false"), ("topic.metadata.propagation.max.ms", "5000")];

/// Defaults of reading. Per partition some megabytes are fetched ahead. When a queue is full, fetching goes on soon after it
/// has room: librdkafka's own pause of a second would starve a fast job.
const READING: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    ("fetch.queue.backoff.ms", "5"),
    ("queued.min.messages", "20000"),
    ("queued.max.messages.kbytes", "8192"),
    ("check.crcs", "true"),
];

/// A reader finds out by itself where it is, and nobody moves it: an offset that is not there is an error, the end is told.
const READING_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
];

/// Defaults of writing: what is handed over together goes out together, and at once.
const WRITING: &[(&str, &str)] = &[("linger.ms", "1"), ("queue.buffering.max.kbytes", "65536")];

/// Only the broker knows how large a record may be. Of records that are there, nothing is reported.
const WRITING_FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("message.max.bytes", "1000000000"),
    ("delivery.report.only.error", "true"),
];

/// All properties of a handle.
pub(super) fn configuration(connection: &Connection, role: &Role) -> Result<ClientConfig> {
    refuse(connection)?;
    let mut config = ClientConfig::new();
    set(&mut config, COMMON);
    match role {
        Role::Questions | Role::Group(_) => {}
        Role::Reading(_) => set(&mut config, READING),
        Role::Writing | Role::Transactions { .. } => set(&mut config, WRITING),
    }
    for (name, value) in &connection.properties {
        config.set(name, value.as_str());
    }
    set(&mut config, COMMON_FIXED);
    config.set("bootstrap.servers", &connection.brokers);
    config.set("socket.timeout.ms", REQUEST.as_millis().to_string());
    match role {
        Role::Questions => {}
        Role::Group(group) => {
            set(&mut config, READING_FIXED);
            config.set("group.id", group);
        }
        Role::Reading(isolation) => {
            set(&mut config, READING_FIXED);
            config.set("isolation.level", isolation_level(*isolation));
        }
        Role::Writing => {
            set(&mut config, WRITING_FIXED);
            config.set("request.timeout.ms", REQUEST.as_millis().to_string());
            config.set("message.timeout.ms", DELIVERY.as_millis().to_string());
        }
        Role::Transactions { id, timeout } => set_transactions(&mut config, id, *timeout),
    }
    Ok(config)
}

/// Nothing of a transaction is waited for longer than the broker leaves the transaction open.
fn set_transactions(config: &mut ClientConfig, id: &str, timeout: Duration) {
    let timeout = timeout.max(Duration::from_secs(1));
    let request = REQUEST.min(timeout - Duration::from_millis(100)).as_millis().to_string();
    set(config, WRITING_FIXED);
    // That an end was asked for once is told by how quickly it was confirmed.
    config.set("retry.backoff.ms", "100");
    config.set("retry.backoff.max.ms", "1000");
    config.set("transactional.id", id);
    config.set("transaction.timeout.ms", timeout.as_millis().to_string());
    config.set("message.timeout.ms", timeout.as_millis().to_string());
    config.set("request.timeout.ms", &request);
    config.set("socket.timeout.ms", &request);
}

fn set(config: &mut ClientConfig, properties: &[(&str, &str)]) {
    for (name, value) in properties {
        config.set(*name, *value);
    }
}

fn isolation_level(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Committed => "read_committed",
        Isolation::Uncommitted => "read_uncommitted",
    }
}

/// Refuses what is Weir's to set, and what this build cannot do.
fn refuse(connection: &Connection) -> Result<()> {
    for (name, value) in &connection.properties {
        let reason = match refusal(name) {
            Some(reason) => reason.into(),
            None if !cfg!(feature = "tls") && wants_tls(name, value) => {
                "needs TLS, which this Weir was built without: build it with `cargo build --release --features tls`"
                    .into()
            }
            None => continue,
        };
        let shown = if name == "security.protocol" || name.starts_with("sasl.mechanism") {
            format!("{name} = {}", value.as_str())
        } else {
            name.clone()
        };
        let reason: String = reason;
        return Err(KafkaError::of(KafkaErrorKind::Refused, format!("the Kafka property {shown} {reason}")));
    }
    Ok(())
}

/// Whether a property only works with TLS compiled in: encryption, and the mechanisms that librdkafka uses OpenSSL for.
fn wants_tls(name: &str, value: &str) -> bool {
    let value = value.to_ascii_uppercase();
    match name {
        "security.protocol" => value == "SSL" || value == "SASL_SSL",
        "sasl.mechanism" | "sasl.mechanisms" => value.starts_with("SCRAM") || value == "OAUTHBEARER",
        _ => name.starts_with("ssl.") || name == "enable.ssl.certificate.verification",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::hidden::Hidden;

    fn connection(properties: &[(&str, &str)]) -> Connection {
        Connection {
            brokers: "127.0.0.1:1".into(),
            properties: properties.iter().map(|(name, value)| ((*name).into(), Hidden::from(*value))).collect(),
        }
    }

    fn roles() -> Vec<Role> {
        let transactions = |timeout| Role::Transactions { id: "t".into(), timeout };
        vec![
            Role::Questions,
            Role::Group("g".into()),
            Role::Reading(Isolation::Committed),
            Role::Writing,
            transactions(Duration::from_secs(1)),
            transactions(Duration::from_secs(60)),
        ]
    }

    #[test]
    fn a_user_takes_the_place_of_defaults_only() {
        let given = connection(&[("linger.ms", "7"), ("client.id", "mine")]);
        let config = configuration(&given, &Role::Writing).unwrap();
        assert_eq!(config.get("linger.ms"), Some("7"));
        assert_eq!(config.get("client.id"), Some("mine"));
        for role in roles() {
            for name in crate::properties::SET_BY_WEIR {
                let error = configuration(&connection(&[(name, "secret")]), &role).unwrap_err();
                assert_eq!(error.message, format!("the Kafka property {name} is set by Weir itself"));
            }
        }
    }

    #[test]
    fn all_that_is_fixed_is_on_the_list() {
        let defaults: Vec<&str> = [COMMON, READING, WRITING].concat().iter().map(|(name, _)| *name).collect();
        for role in roles() {
            let config = configuration(&connection(&[]), &role).unwrap();
            for name in config.config_map().keys().filter(|name| !defaults.contains(*name)) {
                assert!(crate::properties::SET_BY_WEIR.contains(name), "{name}");
            }
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn what_needs_tls_says_how_to_get_it() {
        let error = configuration(&connection(&[("security.protocol", "sasl_ssl")]), &Role::Questions).unwrap_err();
        let said = "the Kafka property security.protocol = sasl_ssl needs TLS, which this Weir was built without: build it with \
                    `cargo build --release --features tls`";
        assert_eq!((error.kind, error.message.as_str()), (KafkaErrorKind::Refused, said));
        for given in [("sasl.mechanism", "SCRAM-SHA-256"), ("sasl.mechanisms", "OAUTHBEARER"), ("ssl.ca.location", "x")]
        {
            let error = configuration(&connection(&[given]), &Role::Questions).unwrap_err();
            assert!(error.message.contains("--features tls"), "{}", error.message);
        }
        let plain = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "PLAIN"), ("sasl.password", "x")];
        configuration(&connection(&plain), &Role::Questions).unwrap();
    }
}
