//! The date of an answer, which HTTP wants: by the clock of the process, since a simulation has its own.

use axum::http::{HeaderValue, Response, header::DATE};
use weir_engine::env::Env;

/// Dates an answer. Done by the server itself it would be real time.
pub fn date<B>(env: &Env, mut response: Response<B>) -> Response<B> {
    let now = chrono::DateTime::from_timestamp_millis(env.wall_clock_ms()).unwrap_or_default();
    let text = now.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(DATE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_date_is_that_of_the_clock() {
        let env = Env::simulated(1, Arc::new(|| 784_111_777_000));
        assert_eq!(date(&env, Response::new(())).headers()[DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}
