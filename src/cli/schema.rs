//! `splitwave schema`

use crate::cli::failure::Failure;
use crate::cli::print;
use crate::record::column_reference;
use crate::scenario::{json_schema, scenario_reference_markdown};

#[derive(clap::Args, Debug)]
pub struct SchemaArgs {
    /// Print the reference of the scenario file in Markdown (docs/scenario.md) instead.
    #[arg(long, conflicts_with = "columns")]
    markdown: bool,
    /// Print the reference of the CSV columns in Markdown (docs/columns.md) instead.
    #[arg(long)]
    columns: bool,
}

pub fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    let text = if args.columns {
        column_reference()
    } else if args.markdown {
        scenario_reference_markdown(&json_schema())
    } else {
        serde_json::to_string_pretty(&json_schema())
            .map_err(|error| Failure::failed(&error.to_string(), "please report this"))?
            + "\n"
    };
    print(&text)
}
