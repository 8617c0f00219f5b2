//! A text from a Parquet file, as data sets like WikiText are released.
//!
//! Every row is a line, whether or not it ends with one: the rows of
//! WikiText's release give its text file again, but that lines of a single space
//! are empty there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

/// The column that is taken if there are several of texts.
const COLUMN: &str = "text";
/// Texts compress to a third or a tenth. What says that it is more than this times its file
/// is damaged or hostile.
const LARGEST_RATIO: u64 = 1000;

/// The lines of the file's `text` column (or its only column of texts).
///
/// # Errors
/// What is wrong with the file, in words.
pub(super) fn read(bytes: &[u8]) -> Result<String, String> {
    let bytes = Bytes::copy_from_slice(bytes);
    // The library promises no panic-free reading of damaged files.
    let read = catch_unwind(AssertUnwindSafe(|| lines(bytes)));
    read.unwrap_or_else(|_| Err("it is damaged".to_owned()))
}

fn lines(bytes: Bytes) -> Result<String, String> {
    let words = |error: ParquetError| match error {
        // The library names the part of itself that wasn't built in.
        ParquetError::General(text) if text.contains("Disabled feature") => {
            "its compression isn't supported; write it with snappy, zstd or none".to_owned()
        }
        error => error.to_string(),
    };
    let length = bytes.len() as u64;
    let reader = SerializedFileReader::new(bytes).map_err(words)?;
    let metadata = reader.metadata();
    let claimed = metadata
        .row_groups()
        .iter()
        .try_fold(0u64, |sum, group| sum.checked_add(u64::try_from(group.total_byte_size()).ok()?));
    if claimed.is_none_or(|claimed| claimed > length.saturating_mul(LARGEST_RATIO)) {
        return Err(format!("it claims to hold more than {LARGEST_RATIO} times its {length} bytes"));
    }
    let schema = metadata.file_metadata().schema();
    let column = text_column(schema)?;
    let projection = Type::group_type_builder(schema.name()).with_fields(vec![column]).build().map_err(words)?;
    let mut text = String::new();
    for row in reader.get_row_iter(Some(projection)).map_err(words)? {
        let row: Row = row.map_err(words)?;
        let line = match row.get_column_iter().next() {
            Some((_, Field::Str(line))) => line.as_str(),
            Some((_, Field::Bytes(line))) => {
                std::str::from_utf8(line.data()).map_err(|_| "a row is not UTF-8 text".to_owned())?
            }
            _ => "",
        };
        text.push_str(line.strip_suffix('\n').unwrap_or(line));
        text.push('\n');
    }
    Ok(text)
}

fn text_column(schema: &Type) -> Result<std::sync::Arc<Type>, String> {
    let is_text =
        |field: &&std::sync::Arc<Type>| field.is_primitive() && field.get_physical_type() == PhysicalType::BYTE_ARRAY;
    let fields = schema.get_fields();
    let texts: Vec<_> = fields.iter().filter(is_text).collect();
    let named = texts.iter().find(|field| field.name() == COLUMN);
    match (named, texts.as_slice()) {
        (Some(field), _) => Ok((*field).clone()),
        (None, [only]) => Ok((*only).clone()),
        _ => {
            let names: Vec<&str> = fields.iter().map(|field| field.name()).collect();
            Err(format!("it has no column `{COLUMN}` of texts; its columns are {}", names.join(", ")))
        }
    }
}
