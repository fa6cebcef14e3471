//! How a schema registry is reached.

use serde::{Deserialize, Serialize};
use url::Url;
use weir_engine::{
    error::{EngineError, Result},
    hidden::Hidden,
    secrets::{self, Reference, SecretMistake},
};

use crate::{
    confinement::{Location, Place},
    definition::{KeyPath, Mistake, Reader},
};

/// The key in a definition.
pub const KEY: &str = "registry";

/// A registry as a definition has it. Of secrets it has references.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrySettings {
    /// Where it is.
    pub url: String,
    /// Who asks, with a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Hidden<String>>,
    /// What is shown instead of a user and a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Hidden<String>>,
}

impl RegistrySettings {
    /// Reads `registry`, `user`, `password` and `token`; none without the first of them.
    pub fn read(keys: &Reader<'_>) -> Option<Self> {
        let url = keys.text(KEY);
        let (user, password, token) = (keys.text("user"), secret(keys, "password"), secret(keys, "token"));
        if url.is_none() {
            for key in ["user", "password", "token"] {
                if keys.has(key) {
                    keys.refuse(
                        key,
                        format!("`{key}` is for a registry"),
                        "`registry = \"http://HOST:8081\"` beside it",
                    );
                }
            }
            return None;
        }
        if token.is_some() && user.is_some() {
            keys.refuse("token", "a token is shown instead of a user", "either `token`, or `user` and `password`");
        }
        if user.is_some() != password.is_some() && token.is_none() {
            let (there, missing) = if user.is_some() { ("user", "password") } else { ("password", "user") };
            keys.refuse(there, format!("there is no `{missing}` to it"), "both of `user` and `password`");
        }
        let url = url?;
        if let Err(problem) = parse(&url) {
            keys.refuse(KEY, problem, "a URL as in \"http://HOST:8081\"");
        }
        Some(RegistrySettings { url, user, password, token })
    }

    /// The URL that all others begin with.
    pub(super) fn base(&self) -> Result<Url> {
        parse(&self.url).map_err(|problem| EngineError::definition(format!("`{KEY}`: {problem}")))
    }

    fn secrets(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let password = self.password.as_ref().map(|secret| ("password", secret.as_str()));
        let token = self.token.as_ref().map(|secret| ("token", secret.as_str()));
        password.into_iter().chain(token)
    }

    /// Whether references to secrets lead to something; asked where the job runs.
    pub fn check_secrets(&self, runs_here: bool, at: &KeyPath, mistakes: &mut Vec<Mistake>) {
        if !runs_here {
            return;
        }
        for (key, secret) in self.secrets() {
            if let Err(SecretMistake { message, expected }) = secrets::resolve(secret) {
                let mistake = Mistake::new(at.key(key), message);
                mistakes.push(match expected {
                    None => mistake,
                    Some(expected) => mistake.expected(expected),
                });
            }
        }
    }

    /// Where it is, and the files that secrets are in.
    ///
    /// # Errors
    /// When the URL is none, or a reference is not written right.
    pub fn locations(&self) -> Result<Vec<Location>> {
        let mut locations = vec![Location { key: KEY, place: Place::of_url(&self.base()?) }];
        for (key, secret) in self.secrets() {
            let references = secrets::references(secret);
            let references = references.map_err(|mistake| EngineError::definition(format!("`{key}`: {mistake}")))?;
            locations.extend(references.into_iter().filter_map(|reference| match reference {
                Reference::File(path) => Some(Location::path(key, path)),
                Reference::Env(_) => None,
            }));
        }
        Ok(locations)
    }
}

fn parse(text: &str) -> std::result::Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("this is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("a registry is asked over http or https".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user and a password have keys of their own".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("nothing may follow the path of the URL".to_owned());
    }
    Ok(url)
}

/// A secret, which must be a reference: a definition is shown to many.
fn secret(keys: &Reader<'_>, key: &str) -> Option<Hidden<String>> {
    let text = keys.text(key)?;
    match secrets::references(&text) {
        Ok(references) if !references.is_empty() => return Some(text.into()),
        Ok(_) => keys.refuse(key, "a secret would stand in the definition", secrets::EXAMPLES),
        Err(mistake) => keys.refuse(key, mistake.message, mistake.expected.as_deref().unwrap_or(secrets::EXAMPLES)),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::testing::read;
    use serde_json::json;

    #[test]
    fn a_registry_is_read_with_references_to_its_secrets() {
        let keys = json!({ "registry": "https://r:8081/api", "user": "me", "password": "${env:REGISTRY_PASSWORD}" });
        let (registry, wrong) = read(keys, RegistrySettings::read);
        let registry = registry.unwrap();
        assert_eq!((registry.user.as_deref(), wrong.len()), (Some("me"), 0));
        assert!(!format!("{registry:?}").contains("REGISTRY_PASSWORD"));
        let stored = json!({ "url": "https://r:8081/api", "user": "me", "password": "${env:REGISTRY_PASSWORD}" });
        assert_eq!(serde_json::to_value(&registry).unwrap(), stored);
        assert_eq!(RegistrySettings::deserialize(&stored).unwrap(), registry);
        let file = RegistrySettings { token: Some("${file:/run/token}".into()), ..registry };
        let locations = file.locations().unwrap();
        assert_eq!(locations[0].place, Place::url("https", "r:8081", "api"));
        assert_eq!(locations[1], Location::path("token", "/run/token"));
    }

    #[test]
    fn what_is_wrong_is_told_at_its_key() {
        let wrong = |keys| read(keys, RegistrySettings::read).1;
        assert_eq!(wrong(json!({ "registry": "r:8081" })), ["registry: a registry is asked over http or https"]);
        let told = wrong(json!({ "registry": "http://me:pw@r" }));
        assert_eq!(told, ["registry: a user and a password have keys of their own"]);
        let told = wrong(json!({ "registry": "http://r", "user": "me", "password": "pw" }));
        assert_eq!(told[0], "password: a secret would stand in the definition");
        assert_eq!(wrong(json!({ "token": "${env:T}" })), ["token: `token` is for a registry"]);
        let told = wrong(json!({ "registry": "http://r", "token": "${env:T}", "user": "me", "password": "${env:P}" }));
        assert_eq!(told, ["token: a token is shown instead of a user"]);
        assert_eq!(wrong(json!({ "registry": "http://r", "user": "me" })), ["user: there is no `password` to it"]);
    }
}
