//! What every column means, as a page.

use std::fmt::Write as _;

use crate::network::rows::{DecisionRow, Record, RequestRow, SeriesRow, UpdateRow};
use crate::record::evaluation_row::EvaluationRow;
use crate::record::summary_row::SummaryRow;

/// The text of `docs/columns.md` (Markdown): a section per record file, with a
/// table of its columns from their definitions.
pub fn column_reference() -> String {
    let mut page = String::from(
        "# Columns of the record files\n\n\
         Generated from the definitions of the rows by `splitwave schema --columns > docs/columns.md`; do not edit.\n\n\
         An empty cell means \"does not apply\", never 0 or false. Times are exact decimals of nanoseconds. Columns are\n\
         only ever appended; read them by name.\n",
    );
    section::<RequestRow<'_>>(&mut page);
    section::<DecisionRow<'_>>(&mut page);
    section::<SeriesRow>(&mut page);
    section::<UpdateRow>(&mut page);
    section::<EvaluationRow>(&mut page);
    section::<SummaryRow<'_>>(&mut page);
    page
}

/// Appends the section of one record file.
pub fn section<R: Record>(page: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(page, "\n## {}\n\n{}\n\n| column | meaning |\n|---|---|\n", R::FILE, R::ABOUT.trim());
    for column in R::COLUMNS {
        let _ = writeln!(page, "| `{}` | {} |", column.name, column.doc.trim().replace('|', "\\|"));
    }
}
