//! Who may connect. The producer says [`Hello`] and names its channels at once; the consumer answers [`Welcome`], or refuses
//! with a reason.
//!
//! Invariant: before the token was found right, no more than [`HELLO_BYTES`] are read and nothing is changed.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, sync::Arc};
use weir_engine::ids::ChannelId;

/// The longest body of a Hello.
pub(super) const HELLO_BYTES: usize = 4096;
/// The longest token, so that a Hello always fits.
pub(super) const TOKEN_BYTES: usize = 256;

/// The secret of one attempt, which only its workers know.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

impl Token {
    /// Of these bytes, at most 256.
    pub fn new(secret: impl Into<Arc<[u8]>>) -> Self {
        Token(secret.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Compares in a time that depends only on the lengths.
    pub(super) fn matches(&self, other: &[u8]) -> bool {
        let difference = self.0.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other));
        // Without it the compiler may leave the loop at the first difference.
        std::hint::black_box(difference) == 0 && self.0.len() == other.len()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// The first thing that a producer says.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Hello {
    /// [`weir_proto::PROTOCOL_VERSION`] of the sender.
    pub(super) protocol: u32,
    pub(super) job: String,
    pub(super) attempt: u64,
    /// The worker that dials.
    pub(super) sender: String,
    /// The worker that it believes to dial: an address may have a new owner.
    pub(super) receiver: String,
    pub(super) token: Vec<u8>,
}

/// The second: the channels of the connection. Frames name them by their place in this list.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Channels {
    pub(super) channels: Vec<ChannelId>,
}

/// The answer to those who may come in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// The credit of each channel.
    pub(super) channel_bytes: u64,
}

/// The body of a frame of the handshake. JSON, so that another version can still read what it does not agree with.
pub(super) fn to_body(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).expect("structs of texts and numbers can be written as JSON")
}

/// # Errors
/// When the body is not this message.
pub(super) fn from_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the handshake cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_itself_and_nothing_else() {
        let token = Token::new(*b"secret");
        assert!(token.matches(b"secret"));
        for other in [&b"secreT"[..], b"Secret", b"secre", b"secrets", b""] {
            assert!(!token.matches(other), "{other:?}");
        }
        assert!(Token::new([]).matches(b""));
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn the_longest_hello_with_names_of_a_usual_length_fits() {
        let name = "x".repeat(200);
        let hello = Hello {
            protocol: u32::MAX,
            job: name.clone(),
            attempt: u64::MAX,
            sender: name.clone(),
            receiver: name,
            token: vec![255; TOKEN_BYTES],
        };
        assert!(to_body(&hello).len() <= HELLO_BYTES);
    }
}
