//! The sink that posts what blocks of minutes come to.

/// Where rows are posted to, as a definition has it.
pub const URL: &str = "http://simulation/blocks";

/// The sink.
pub(crate) const SINK: &str = r#"
[sink.webhook]
connector = "http"
input = "blocks"
url = "http://simulation/blocks"
batch = 3
"#;
