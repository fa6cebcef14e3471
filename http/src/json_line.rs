//! JSON with a newline at its end, so that a terminal's next prompt starts on its own line.

use axum::{
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderValue},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;

/// An answer in JSON, and a line's end.
#[derive(Clone, Debug)]
pub struct JsonLine<T>(pub T);

impl<T: Serialize> IntoResponse for JsonLine<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(mut text) => {
                text.push('\n');
                ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
            }
            // Answers are plain data: none of them fails to become text.
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot write JSON: {error}\n")).into_response(),
        }
    }
}
