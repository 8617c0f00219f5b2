//! `splitwave schema`

use std::fmt::Write as _;

use crate::cli::failure::Failure;
use crate::cli::print;
use crate::llm::Geometry;
use crate::record::{column_reference, column_section};
use crate::run::fit::{CalibrationRow, MetricsRow, PredictionRow};
use crate::run::fit_exit::ExitMetricsRow;
use crate::run::fit_reward::{
    HeadCalibrationRow, HeadMetricsRow, HeadPredictionRow, ShareRatioRow, ThresholdRow, TradeoffRow,
};
use crate::run::profile::{ProfilePoint, ProfileRecord};
use crate::scenario::devices::presets;
use crate::scenario::{json_schema, scenario_reference_markdown};
use crate::study::{study_reference_markdown, study_schema};

/// What docs/study.md says before its tables.
const STUDY_PAGE: &str = include_str!("study/study_page.md");

#[derive(clap::Args, Debug)]
pub struct SchemaArgs {
    /// Print the reference of the scenario file in Markdown (docs/scenario.md) instead.
    #[arg(long, conflicts_with = "columns")]
    markdown: bool,
    /// Print the reference of the CSV columns in Markdown (docs/columns.md) instead.
    #[arg(long)]
    columns: bool,
    /// Of the study file instead of the scenario file; with --markdown docs/study.md.
    #[arg(long, conflicts_with = "columns")]
    study: bool,
}

pub fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    let text = if args.columns {
        let mut page = column_reference();
        page.push_str("\n# Files of `splitwave profile`\n");
        column_section::<ProfileRecord>(&mut page);
        column_section::<ProfilePoint<'_>>(&mut page);
        page.push_str("\n# Files of `splitwave fit`\n");
        column_section::<MetricsRow>(&mut page);
        column_section::<PredictionRow>(&mut page);
        column_section::<CalibrationRow>(&mut page);
        page.push_str("\n# Files of `splitwave fit-exit`\n");
        column_section::<ExitMetricsRow>(&mut page);
        page.push_str("\n# Files of `splitwave fit-reward`\n");
        column_section::<HeadMetricsRow>(&mut page);
        column_section::<ShareRatioRow>(&mut page);
        column_section::<TradeoffRow>(&mut page);
        column_section::<ThresholdRow>(&mut page);
        column_section::<HeadCalibrationRow>(&mut page);
        column_section::<HeadPredictionRow>(&mut page);
        page
    } else if args.study && args.markdown {
        STUDY_PAGE.to_owned() + &study_reference_markdown()
    } else if args.study {
        pretty(&study_schema())?
    } else if args.markdown {
        "# The scenario file\n\nGenerated from the schema by `splitwave schema --markdown > docs/scenario.md`; do not edit.\n\n"
            .to_owned()
            + &scenario_reference_markdown(json_schema())
            + &names()
    } else {
        pretty(json_schema())?
    };
    print(&text)
}

fn pretty(schema: &serde_json::Value) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(schema);
    Ok(text.map_err(|error| Failure::failed(&error.to_string(), "please report this"))? + "\n")
}

/// What the names of devices and geometries stand for, in Markdown.
fn names() -> String {
    let mut page = String::from(
        "\n## Devices\n\nNames for `ue.device` and `edge.device`; a `[[device]]` table adds others.\n\n\
         | name | TFLOP/s × efficiency | GB/s × efficiency | bytes per parameter | overhead ms | W | where from |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for device in presets() {
        let _ = writeln!(
            page,
            "| `{}` | {} × {} | {} × {} | {} | {} | {} | {} |",
            device.name,
            device.peak_tflops.unwrap_or_default(),
            device.compute_efficiency,
            device.memory_gb_s.unwrap_or_default(),
            device.memory_efficiency,
            device.bytes_per_parameter,
            device.overhead_ms,
            device.power_w,
            device.reference
        );
    }
    page.push_str(
        "\n## Geometries\n\nNames for `model.cost_as`.\n\n\
         | name | layers | d | heads | key/value heads | head width | feed-forward | vocabulary |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for geometry in Geometry::names().filter_map(Geometry::named) {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} | {} | {} | {} |",
            geometry.name,
            geometry.layers,
            geometry.d_model,
            geometry.heads,
            geometry.kv_heads,
            geometry.head_dim,
            geometry.d_ff,
            geometry.vocab
        );
    }
    page
}
