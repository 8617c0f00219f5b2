//! The schema of the study file, and its reference page.

use crate::scenario::scenario_reference_markdown;
use crate::study::file::StudyTable;
use crate::study::range::{DrawnRange, SpacedRange};

/// The JSON Schema of the study file.
pub fn study_schema() -> serde_json::Value {
    schemars::schema_for!(StudyTable).to_value()
}

/// The reference of the study file in Markdown: a section per table, a row per key.
pub fn study_reference_markdown() -> String {
    let part = |header: &str, schema: &serde_json::Value| {
        scenario_reference_markdown(schema).replacen("## Top level", header, 1)
    };
    let spaced = part("## A range of an axis", schemars::schema_for!(SpacedRange).as_value());
    let drawn = part("## A range to draw from", schemars::schema_for!(DrawnRange).as_value());
    [scenario_reference_markdown(&study_schema()), spaced, drawn].join("\n")
}
