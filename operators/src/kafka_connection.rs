//! Which Kafka cluster a source or a sink uses, and how it is reached: the keys `brokers` and `properties`, which both have.
//!
//! Invariant: a secret stands in a definition as a reference only, is resolved where the client is made, and is printed nowhere.

use crate::{
    confinement::{Location, Place},
    definition::{KeyPath, Kind, Mistake, Reader, Value},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use url::Url;
use weir_engine::{
    error::{EngineError, Result},
    hidden::Hidden,
    secrets::{self, Reference, SecretMistake},
};
use weir_kafka::{Cluster, Connection, properties};

/// The keys in a definition.
const BROKERS: &str = "brokers";
const PROPERTIES: &str = "properties";
/// Kafka's port where none is given.
const PORT: &str = "9092";

/// A cluster, and how it is reached, as a definition has it: secrets are references.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KafkaConnection {
    /// `HOST:PORT` of some brokers, separated by commas.
    pub brokers: String,
    /// Further properties of the client, by librdkafka's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, Hidden<String>>,
}

/// What a property is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Property {
    /// The client's own affair.
    Plain,
    /// Must not stand in a definition.
    Secret,
    /// Names a file of the machine.
    File,
    /// Leads to another server.
    Url,
    /// Decided by Weir, or harmful: not to be set. The reason.
    Refused(&'static str),
}

impl Property {
    fn of(name: &str) -> Self {
        const OWN: &str = "Weir sets it itself";
        const CODE: &str = "it makes the client run other code";
        match name {
            "bootstrap.servers" | "metadata.broker.list" => Property::Refused("that is what the key `brokers` says"),
            "group.id" => Property::Refused("partitions are assigned by Weir, and positions are in its checkpoints"),
            "isolation.level" => Property::Refused("only what is committed is read"),
            "acks" | "request.required.acks" | "enable.idempotence" | "enable.gapless.guarantee" => {
                Property::Refused("a write counts when all replicas have it, once")
            }
            "partitioner" => Property::Refused("that is what the key `partition_by` of a sink says"),
            // The rest of what is not a user's to set is on the client's own list.
            _ if properties::runs_code(name) => Property::Refused(CODE),
            _ if properties::refusal(name).is_some() => Property::Refused(OWN),
            "sasl.password" | "ssl.key.pem" | "ssl_key" | "sasl.oauthbearer.config" => Property::Secret,
            _ if [".password", ".secret", ".passphrase", ".private.key.pem"].iter().any(|end| name.ends_with(end)) => {
                Property::Secret
            }
            _ if properties::names_a_file(name) => Property::File,
            _ if name.ends_with(".url") => Property::Url,
            _ => Property::Plain,
        }
    }
}

impl KafkaConnection {
    /// To brokers, without further properties.
    pub fn to(brokers: impl Into<String>) -> Self {
        KafkaConnection { brokers: brokers.into(), properties: BTreeMap::new() }
    }

    /// Reads the keys of a `[source.NAME]` or `[sink.NAME]`.
    pub fn read(keys: &Reader<'_>) -> Self {
        let brokers = keys.required_text(BROKERS, "\"localhost:9092\"");
        let is_text = keys.value(BROKERS).is_some_and(|value| matches!(value.kind, Kind::Text(_)));
        if is_text && !are_brokers(&brokers) {
            let expected = "HOST:PORT of one or more brokers, as in \"kafka1:9092,kafka2:9092\"";
            keys.refuse(BROKERS, "these are no brokers", expected);
        }
        let mut properties = BTreeMap::new();
        if let Some(table) = keys.table(PROPERTIES) {
            for name in table.keys() {
                table.value(name).into_iter().for_each(|value| read_property(&table, name, value, &mut properties));
            }
            table.finish();
        }
        KafkaConnection { brokers, properties }
    }

    /// Notes references to secrets that are not written right, or, where the job runs, lead to nothing.
    pub fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        for (place, text) in self.texts(at) {
            let checked = check_reference(text).and_then(|has_reference| match has_reference && runs_here {
                true => secrets::resolve(text).map(|_| ()),
                false => Ok(()),
            });
            if let Err(wrong) = checked {
                let mistake = Mistake::new(place, wrong.message);
                mistakes.push(match wrong.expected {
                    None => mistake,
                    Some(expected) => mistake.expected(expected),
                });
            }
        }
    }

    /// All texts, and where they stand.
    fn texts(&self, at: &KeyPath) -> impl Iterator<Item = (KeyPath, &str)> {
        let properties = at.key(PROPERTIES);
        let of_property = move |(name, value): (&String, _)| (properties.key(name), value);
        let values = self.properties.iter().map(|(name, value)| (name, value.as_str()));
        std::iter::once((at.key(BROKERS), self.brokers.as_str())).chain(values.map(of_property))
    }

    /// Where it leads, for a cluster that confines its jobs: the brokers, and the files and servers that properties name.
    ///
    /// # Errors
    /// When a reference is not written right.
    pub fn locations(&self) -> Result<Vec<Location>> {
        let wrong = |key: &str, mistake: SecretMistake| EngineError::definition(format!("`{key}`: {mistake}"));
        // What a reference stands for is not known here. A host that begins like this is never allowed by name.
        let unknown = |key| Location { key, place: Place::url("kafka", format!("?{key}"), "") };
        let mut locations = Vec::new();
        if check_reference(&self.brokers).map_err(|mistake| wrong(BROKERS, mistake))? {
            locations.push(unknown(BROKERS));
        } else {
            let with_port = |broker: &str| if has_port(broker) { broker.into() } else { format!("{broker}:{PORT}") };
            let place = |broker| Place::url("kafka", with_port(broker), "");
            locations.extend(brokers_of(&self.brokers).map(|broker| Location { key: BROKERS, place: place(broker) }));
        }
        for (name, value) in &self.properties {
            check_reference(value).map_err(|mistake| wrong(name, mistake))?;
            let references = secrets::references(value).map_err(|mistake| wrong(name, mistake))?;
            for reference in &references {
                if let Reference::File(path) = reference {
                    locations.push(Location::path(PROPERTIES, *path));
                }
            }
            match Property::of(name) {
                Property::File | Property::Url if !references.is_empty() => locations.push(unknown(PROPERTIES)),
                // The client looks for the system's certificates itself.
                Property::File if value.as_str() != "probe" => {
                    locations.push(Location::path(PROPERTIES, value.as_str()));
                }
                Property::Url => {
                    let place = Url::parse(value).map(|url| Place::of_url(&url));
                    locations.push(Location { key: PROPERTIES, place: place.map_err(|error| not_a_url(name, error))? });
                }
                _ => {}
            }
        }
        Ok(locations)
    }

    /// The cluster. Nothing is asked of it yet.
    ///
    /// # Errors
    /// When a secret is not there, or the client does not know a property.
    pub fn connect(&self) -> Result<Arc<dyn Cluster>> {
        let resolve = |key: &str, text: &str| {
            check_reference(text)
                .and_then(|_| secrets::resolve(text))
                .map_err(|mistake| EngineError::definition(format!("`{key}`: {mistake}")))
        };
        let property = |(name, value): (&String, &Hidden<String>)| Ok((name.clone(), resolve(name, value)?));
        let brokers = String::clone(&*resolve(BROKERS, &self.brokers)?);
        let properties = self.properties.iter().map(property).collect::<Result<_>>()?;
        weir_kafka::connect(&Connection { brokers, properties })
            .map_err(|error| EngineError::from(error).context(format!("Kafka at {}", self.shown())))
    }

    /// The brokers, for people.
    pub fn shown(&self) -> &str {
        &self.brokers
    }
}

/// Reads one property. Within a definition's dotted keys it is a table in tables: `properties.security.protocol` is the same as
/// `properties."security.protocol"`.
fn read_property(table: &Reader<'_>, name: &str, value: &Value, found: &mut BTreeMap<String, Hidden<String>>) {
    let text = match &value.kind {
        Kind::Table(entries) => {
            for entry in entries {
                read_property(table, &format!("{name}.{}", entry.key), &entry.value, found);
            }
            return;
        }
        Kind::Text(text) => text.clone(),
        Kind::Integer(number) => number.to_string(),
        Kind::Boolean(flag) => flag.to_string(),
        other => {
            let mistake = Mistake::new(table.path.key(name), format!("this is {}", other.name()));
            table.note(mistake.expected("a text, a whole number, true or false"));
            return;
        }
    };
    let place = table.path.key(name);
    match Property::of(name) {
        Property::Refused(why) => {
            let mistake = Mistake::on_key(place, format!("`{name}` can't be set: {why}"));
            table.note(mistake.expected("no such property"));
        }
        Property::Secret if !text.starts_with("${") => {
            let mistake = Mistake::new(place, "a secret stands in the definition, where whoever sees the job reads it");
            table.note(mistake.expected(secrets::EXAMPLES));
        }
        Property::Url if !text.starts_with("${") && Url::parse(&text).is_err() => {
            table.note(Mistake::new(place, "this is no URL").found(format!("{text:?}")).expected("https://HOST/PATH"));
        }
        _ => {}
    }
    found.insert(name.to_owned(), text.into());
}

fn not_a_url(name: &str, error: url::ParseError) -> EngineError {
    EngineError::definition(format!("`{name}` is no URL: {error}"))
}

/// Whether a text is a reference. One among other text would be escaped as a part of a URL, which nothing here is.
fn check_reference(text: &str) -> Result<bool, SecretMistake> {
    let has_reference = !secrets::references(text)?.is_empty();
    if has_reference && !(text.starts_with("${") && text.find('}') == Some(text.len() - 1)) {
        let expected = Some("a reference and nothing else in the value".to_owned());
        return Err(SecretMistake { message: "a reference stands for the whole value here".to_owned(), expected });
    }
    Ok(has_reference)
}

fn brokers_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

fn are_brokers(text: &str) -> bool {
    let is_broker = |broker: &str| {
        let strange = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?' | '#');
        !broker.is_empty() && !broker.contains(strange)
    };
    text.starts_with("${") || brokers_of(text).all(is_broker)
}

/// `[::1]` has none, nor has `::1`.
fn has_port(broker: &str) -> bool {
    match broker.rsplit_once(':') {
        Some((host, _)) => !host.contains(':') || host.ends_with(']'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::testing::read;
    use serde_json::json;

    fn read_keys(keys: serde_json::Value) -> (KafkaConnection, Vec<String>) {
        read(keys, KafkaConnection::read)
    }

    #[test]
    fn brokers_and_properties_are_read() {
        let (found, wrong) = read_keys(json!({
            "brokers": "a:9092, b:9092",
            "properties": {
                "sasl.password": "${env:KAFKA_PASSWORD}", "fetch.wait.max.ms": 100, "security": { "protocol": "SASL_SSL" },
                "socket": { "keepalive": { "enable": true } },
            },
        }));
        assert_eq!((wrong, found.brokers.as_str()), (Vec::<String>::new(), "a:9092, b:9092"));
        let texts: Vec<(&str, &str)> =
            found.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("fetch.wait.max.ms", "100"),
            ("sasl.password", "${env:KAFKA_PASSWORD}"),
            ("security.protocol", "SASL_SSL"),
            ("socket.keepalive.enable", "true"),
        ];
        assert_eq!(texts, expected);
        let again: KafkaConnection = serde_json::from_value(json!(found)).unwrap();
        assert_eq!(again, found);
        assert_eq!(json!(KafkaConnection::to("a:1")), json!({ "brokers": "a:1" }));
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_is_shown() {
        let (_, wrong) = read_keys(json!({}));
        assert_eq!(wrong, ["the key `brokers` is missing"]);
        for brokers in ["", "a:9092,", "kafka://a:9092", "a b"] {
            assert_eq!(read_keys(json!({ "brokers": brokers })).1, ["brokers: these are no brokers"], "{brokers}");
        }
        for (name, part) in [
            ("bootstrap.servers", "the key `brokers`"),
            ("isolation.level", "only what is committed"),
            ("transactional.id", "itself"),
            ("plugin.anything", "other code"),
            ("sasl.kerberos.kinit.cmd", "other code"),
            ("sasl.password", "a secret stands in the definition"),
            ("ssl.key.password", "a secret stands in the definition"),
            ("sasl.oauthbearer.client.secret", "a secret stands in the definition"),
            ("sasl.oauthbearer.token.endpoint.url", "no URL"),
        ] {
            let (found, wrong) = read_keys(json!({ "brokers": "a:1", "properties": { name: "hunter2" } }));
            assert!(wrong.len() == 1 && wrong[0].contains(part), "{name}: {wrong:?}");
            assert!(!format!("{found:?}").contains("hunter2"), "{name}");
        }
        let (_, wrong) = read_keys(json!({ "brokers": "a:1", "properties": { "debug": ["all"] } }));
        assert_eq!(wrong, ["properties.debug: this is a list"]);
    }

    #[test]
    fn references_stand_alone_and_are_looked_up_where_the_job_runs() {
        let of = |value: &str| KafkaConnection {
            properties: [("sasl.password".to_owned(), value.into())].into(),
            ..KafkaConnection::to("a:1")
        };
        let told = |runs_here: bool, value: &str| {
            let mut mistakes = Vec::new();
            of(value).check_secrets(runs_here, &KeyPath::default(), &mut mistakes);
            mistakes.iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)).collect::<Vec<_>>()
        };
        assert!(told(false, "${env:KAFKA_NOT_SET}").is_empty());
        let unset = &told(true, "${env:KAFKA_NOT_SET}")[0];
        assert!(
            unset.starts_with("properties.\"sasl.password\":") && unset.contains("'KAFKA_NOT_SET' is not set"),
            "{unset}"
        );
        for (value, part) in
            [("x${env:A}", "whole value"), ("${env:A}${env:B}", "whole value"), ("${vault:x}", "no such reference")]
        {
            assert!(told(false, value)[0].contains(part), "{value}");
        }
        let error = of("${file:/no/such/secret}").connect().unwrap_err();
        assert!(error.message.contains("`sasl.password`") && error.message.contains("/no/such/secret"), "{error}");
    }

    #[test]
    fn it_says_where_it_leads() {
        let shown = |connection: &KafkaConnection| {
            let locations = connection.locations().unwrap();
            locations.iter().map(|at| format!("{} {}", at.key, at.place)).collect::<Vec<_>>()
        };
        let plain = KafkaConnection::to("a:9093, b,[::1],[::1]:7");
        let expected = [
            "brokers kafka://a:9093",
            "brokers kafka://b:9092",
            "brokers kafka://[::1]:9092",
            "brokers kafka://[::1]:7",
        ];
        assert_eq!(shown(&plain), expected);
        let property = |name: &str, value: &str| (name.to_owned(), Hidden::from(value));
        let properties = [
            property("ssl.ca.location", "/etc/ca.pem"),
            property("https.ca.location", "probe"),
            property("sasl.password", "${file:/run/secret}"),
            property("sasl.oauthbearer.token.endpoint.url", "https://id.example/token"),
            property("ssl.key.location", "${env:KEY}"),
        ];
        let secured = KafkaConnection { properties: properties.into(), ..KafkaConnection::to("${env:KAFKA}") };
        let expected = [
            "brokers kafka://?brokers",
            "properties https://id.example:443/token",
            "properties /run/secret",
            "properties /etc/ca.pem",
            "properties kafka://?properties",
        ];
        assert_eq!(shown(&secured), expected);
    }
}
