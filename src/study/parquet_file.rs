//! A table as a Parquet file (<https://parquet.apache.org/docs/file-format/>): types that readers
//! don't have to guess.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as PhysicalType, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

/// Rows of a group: what a reader takes in at once.
const GROUP_ROWS: usize = 65_536;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnKind {
    /// 64-bit integers.
    Integer,
    /// 64-bit integers without a sign.
    Unsigned,
    /// Doubles.
    Real,
    /// UTF-8.
    Text,
}

/// A column: the text of each of its cells, `None` for null.
pub struct ParquetColumn<'a> {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnKind,
    /// The cell of a row.
    pub cell: Box<dyn Fn(usize) -> Option<String> + 'a>,
}

/// Writes the `rows` of a table, zstd-compressed.
///
/// # Errors
/// If a cell isn't of its column's type, or `file` can't be written.
pub fn write_parquet(file: &mut (impl Write + Send), rows: &[usize], columns: &[ParquetColumn]) -> io::Result<()> {
    let schema = schema(columns).map_err(io::Error::other)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(io::Error::other)?;
    for rows in rows.chunks(GROUP_ROWS) {
        let mut group = writer.next_row_group().map_err(io::Error::other)?;
        for column in columns {
            let cells: Vec<Option<String>> = rows.iter().map(|&row| (column.cell)(row)).collect();
            // 1 where there is a value, 0 for null.
            let levels: Vec<i16> = cells.iter().map(|cell| i16::from(cell.is_some())).collect();
            let values = cells.iter().flatten();
            let Some(mut open) = group.next_column().map_err(io::Error::other)? else { break };
            match open.untyped() {
                ColumnWriter::Int64ColumnWriter(writer) => {
                    let number = |cell: &String| match column.kind {
                        // The same bits.
                        ColumnKind::Unsigned => parsed::<u64>(cell, column).map(u64::cast_signed),
                        _ => parsed(cell, column),
                    };
                    let values = values.map(number).collect::<io::Result<Vec<i64>>>()?;
                    writer.write_batch(&values, Some(&levels), None)
                }
                ColumnWriter::DoubleColumnWriter(writer) => {
                    let values = values.map(|cell| parsed(cell, column)).collect::<io::Result<Vec<f64>>>()?;
                    writer.write_batch(&values, Some(&levels), None)
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let values: Vec<ByteArray> = values.map(|cell| cell.as_str().into()).collect();
                    writer.write_batch(&values, Some(&levels), None)
                }
                _ => Err(ParquetError::General(format!("`{}` has a type of its own", column.name))),
            }
            .map_err(io::Error::other)?;
            open.close().map_err(io::Error::other)?;
        }
        group.close().map_err(io::Error::other)?;
    }
    writer.close().map_err(io::Error::other)?;
    Ok(())
}

fn parsed<T: std::str::FromStr>(cell: &str, column: &ParquetColumn) -> io::Result<T> {
    let refuse = |_| io::Error::other(format!("`{}` is `{cell}`, which is not {:?}", column.name, column.kind));
    cell.parse().map_err(refuse)
}

fn schema(columns: &[ParquetColumn]) -> Result<Arc<Type>, ParquetError> {
    let mut fields = Vec::new();
    for column in columns {
        let physical = match column.kind {
            ColumnKind::Integer | ColumnKind::Unsigned => PhysicalType::INT64,
            ColumnKind::Real => PhysicalType::DOUBLE,
            ColumnKind::Text => PhysicalType::BYTE_ARRAY,
        };
        let logical = match column.kind {
            ColumnKind::Text => Some(LogicalType::String),
            ColumnKind::Unsigned => Some(LogicalType::integer(64, false)),
            ColumnKind::Integer | ColumnKind::Real => None,
        };
        let field = Type::primitive_type_builder(&column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()?;
        fields.push(Arc::new(field));
    }
    Ok(Arc::new(Type::group_type_builder("runs").with_fields(fields).build()?))
}
