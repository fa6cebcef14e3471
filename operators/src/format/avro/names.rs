//! The names of types, made comparable: by Avro's rules two types match by their names without namespaces, but arrow-avro compares
//! them as they are written, and one may be written whole, or within the namespace of what is around it.
//!
//! So each schema is rewritten with short names before arrow-avro sees it. Where two types of one schema have the same short name,
//! these keep their namespaces as a part of it.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
/// The types that have names.
const NAMED: [&str; 4] = ["record", "error", "enum", "fixed"];

/// A schema with short names.
///
/// # Errors
/// When it is no JSON.
pub(super) fn with_short_names(schema: &str) -> Result<String, String> {
    let mut schema: Value = serde_json::from_str(schema).map_err(|error| format!("it is no JSON: {error}"))?;
    let mut names = Names::default();
    names.walk(&mut schema, "", false);
    names.walk(&mut schema, "", true);
    Ok(schema.to_string())
}

/// How often each short name is one of a type, by the whole names.
#[derive(Default)]
struct Names {
    whole: BTreeMap<String, Vec<String>>,
}

impl Names {
    /// Collects the names below a type, or rewrites them.
    fn walk(&mut self, schema: &mut Value, namespace: &str, rewrite: bool) {
        match schema {
            Value::String(name) if rewrite && !PRIMITIVES.contains(&name.as_str()) => {
                *name = self.short(&whole_name(name, namespace));
            }
            Value::Array(branches) => branches.iter_mut().for_each(|branch| self.walk(branch, namespace, rewrite)),
            Value::Object(keys) => self.walk_object(keys, namespace, rewrite),
            _ => {}
        }
    }

    fn walk_object(&mut self, keys: &mut Map<String, Value>, namespace: &str, rewrite: bool) {
        let kind = keys.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if NAMED.contains(&kind.as_str()) {
            let namespace = self.name(keys, namespace, rewrite);
            let fields = keys.get_mut("fields").and_then(Value::as_array_mut);
            for field in fields.into_iter().flatten() {
                if let Some(of_field) = field.get_mut("type") {
                    self.walk(of_field, &namespace, rewrite);
                }
            }
            return;
        }
        let below = match kind.as_str() {
            "array" => "items",
            "map" => "values",
            _ => "type",
        };
        if let Some(schema) = keys.get_mut(below) {
            self.walk(schema, namespace, rewrite);
        }
    }

    /// Collects the name of a type, or rewrites it; gives back the namespace within it.
    fn name(&mut self, keys: &mut Map<String, Value>, around: &str, rewrite: bool) -> String {
        // The second time the names are short, and the namespaces still there.
        let own = keys.get("namespace").and_then(Value::as_str).map(str::to_owned);
        let own = own.unwrap_or_else(|| around.to_owned());
        let Some(name) = keys.get("name").and_then(Value::as_str).map(|name| whole_name(name, &own)) else {
            return own;
        };
        let within = name.rsplit_once('.').map_or(String::new(), |(namespace, _)| namespace.to_owned());
        if !rewrite {
            let of_short = self.whole.entry(last(&name).to_owned()).or_default();
            if !of_short.contains(&name) {
                of_short.push(name);
            }
            return within;
        }
        keys.insert("name".into(), self.short(&name).into());
        keys.remove("namespace");
        for alias in keys.get_mut("aliases").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(written) = alias.as_str() {
                *alias = self.short(&whole_name(written, &within)).into();
            }
        }
        within
    }

    fn short(&self, whole: &str) -> String {
        match self.whole.get(last(whole)) {
            Some(several) if several.len() > 1 => whole.replace('.', "_"),
            _ => last(whole).to_owned(),
        }
    }
}

fn whole_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn short(schema: Value) -> Value {
        serde_json::from_str(&with_short_names(&schema.to_string()).unwrap()).unwrap()
    }

    #[test]
    fn however_a_name_is_written_it_is_the_same_one() {
        let of = |namespace: Option<&str>, record: &str, kind: &str, reference: &str| {
            let kind = json!({ "type": "enum", "name": kind, "symbols": ["A"] });
            let mut schema = json!({ "type": "record", "name": record, "aliases": ["x.Old"], "fields": [
                { "name": "a", "type": ["null", kind], "default": null },
                { "name": "b", "type": { "type": "array", "items": { "type": "map", "values": reference } } },
                { "name": "c", "type": { "type": "string", "logicalType": "uuid" } },
            ] });
            if let Some(namespace) = namespace {
                schema["namespace"] = namespace.into();
            }
            schema
        };
        let plain = short(of(None, "Click", "Kind", "Kind"));
        assert_eq!(short(of(Some("ads"), "Click", "Kind", "ads.Kind")), plain);
        assert_eq!(short(of(None, "ads.Click", "ads.Kind", "Kind")), plain);
        assert_eq!(plain["aliases"], json!(["Old"]));
        assert_eq!(plain["fields"][1]["type"]["items"]["values"], "Kind");
        assert_eq!(plain["fields"][2]["type"], json!({ "type": "string", "logicalType": "uuid" }));
    }

    #[test]
    fn two_types_do_not_become_one() {
        let kind = |namespace: &str| json!({ "type": "fixed", "name": "Kind", "namespace": namespace, "size": 2 });
        let schema = short(json!({ "type": "record", "name": "a.Click", "fields": [
            { "name": "a", "type": kind("one") }, { "name": "b", "type": kind("other") }, { "name": "c", "type": "one.Kind" },
        ] }));
        let fields = &schema["fields"];
        let names = [&fields[0]["type"]["name"], &fields[1]["type"]["name"], &fields[2]["type"]];
        assert_eq!(names, ["one_Kind", "other_Kind", "one_Kind"]);
        assert!(with_short_names("{").is_err());
    }
}
