//! What a server's answer means for the rows that were posted. The only copy of that rule.

use chrono::DateTime;
use reqwest::{StatusCode, header::HeaderMap};
use std::time::Duration;

/// A server that says when to come again is not believed beyond this.
const LONGEST_AFTER: Duration = Duration::from_secs(3_600);

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The rows are there.
    Taken,
    /// They are to be posted again: waiting heals it, or somebody has to. With what the server asks for.
    Later { cause: String, after: Option<Duration> },
    /// A request with the same key is being worked on, says the server.
    InWork(String),
    /// The server does not want these rows.
    Refused(String),
}

/// Judges an answer. `told` is the beginning of its body.
pub(crate) fn judge(status: StatusCode, headers: &HeaderMap, told: &str, now_ms: i64) -> Answer {
    let cause = match told.trim() {
        "" => format!("it answers {status}"),
        told => format!("it answers {status}: {told}"),
    };
    match status.as_u16() {
        200..=299 => Answer::Taken,
        408 | 425 | 429 | 500.. => Answer::Later { cause, after: retry_after(headers, now_ms) },
        // Not these rows are wrong, but who asks, or where. Somebody has to mend that, and nothing is lost until then.
        401 | 403 | 404 | 405 | 407 | 410 => Answer::Later { cause, after: None },
        300..=399 => Answer::Later {
            cause: format!("{cause}; redirects are not followed, so `url` must be the last one"),
            after: None,
        },
        409 => Answer::InWork(cause),
        400..=499 => Answer::Refused(cause),
        _ => Answer::Later { cause, after: None },
    }
}

/// `Retry-After`, in seconds or as a date.
fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let text = headers.get("retry-after")?.to_str().ok()?.trim();
    let after = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(text).ok()?.timestamp_millis();
            Duration::from_millis(u64::try_from(at - now_ms).unwrap_or(0))
        }
    };
    Some(after.min(LONGEST_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, after: Option<&str>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(after) = after {
            headers.insert("retry-after", after.parse().unwrap());
        }
        // Fri, 04 Mar 2022 00:00:00 GMT
        judge(StatusCode::from_u16(status).unwrap(), &headers, " no\n", 1_646_352_000_000)
    }

    #[test]
    fn each_status_has_one_meaning() {
        for status in [200, 201, 202, 204] {
            assert_eq!(of(status, None), Answer::Taken, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599, 401, 403, 404, 405, 407, 410, 301, 308] {
            assert!(matches!(of(status, None), Answer::Later { after: None, .. }), "{status}");
        }
        for status in [400, 402, 406, 411, 413, 414, 415, 422, 431, 451] {
            assert!(matches!(of(status, None), Answer::Refused(_)), "{status}");
        }
        assert_eq!(of(422, None), Answer::Refused("it answers 422 Unprocessable Entity: no".into()));
        assert!(matches!(of(409, None), Answer::InWork(_)));
    }

    #[test]
    fn a_server_says_when_to_come_again() {
        let after = |text| match of(503, Some(text)) {
            Answer::Later { after, .. } => after.map(|after| after.as_secs()),
            other => panic!("{other:?}"),
        };
        assert_eq!(after("7"), Some(7));
        assert_eq!(after("Fri, 04 Mar 2022 00:01:00 GMT"), Some(60));
        assert_eq!(after("Thu, 03 Mar 2022 00:01:00 GMT"), Some(0));
        assert_eq!(after("86400"), Some(3_600));
        assert_eq!(after("soon"), None);
    }
}
