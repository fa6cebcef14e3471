//! `weir explain`: checks a definition and shows the graph it compiles to.

use crate::{definition::DefinitionArguments, failure::Failure, text};
use clap::{Args, ValueEnum};
use weir_jobs::explain::ExplainFormat;
use weir_operators::Extensions;

/// Arguments of `weir explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    #[command(flatten)]
    definition: DefinitionArguments,
    /// Output format: text, a Mermaid flowchart, or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Text,
    Mermaid,
    Json,
}

/// Shows the graph of a job.
pub fn explain(arguments: &ExplainArguments, extensions: &Extensions) -> Result<(), Failure> {
    let job = arguments.definition.load(extensions)?;
    let shown = job.explain(match arguments.format {
        Format::Text => ExplainFormat::Text,
        Format::Mermaid => ExplainFormat::Mermaid,
        Format::Json => ExplainFormat::Json,
    })?;
    text::print(&format!("{}\n", shown.trim_end()))
}
