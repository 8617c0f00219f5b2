//! `splitwave schema`

use crate::cli::failure::Failure;
use crate::cli::print;
use crate::record::{column_reference, column_section};
use crate::run::profile::{ProfilePoint, ProfileRecord};
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
        let mut page = column_reference();
        page.push_str("\n# Files of `splitwave profile`\n");
        column_section::<ProfileRecord>(&mut page);
        column_section::<ProfilePoint<'_>>(&mut page);
        page
    } else if args.markdown {
        "# The scenario file\n\nGenerated from the schema by `splitwave schema --markdown > docs/scenario.md`; do not edit.\n\n"
            .to_owned()
            + &scenario_reference_markdown(&json_schema())
    } else {
        serde_json::to_string_pretty(&json_schema())
            .map_err(|error| Failure::failed(&error.to_string(), "please report this"))?
            + "\n"
    };
    print(&text)
}
