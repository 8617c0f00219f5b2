//! Texts from Parquet files.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use splitwave::llm::*;
use splitwave::study::parquet_file::{ColumnKind, ParquetColumn, write_parquet};

const LINES: [Option<&str>; 6] = [
    Some(" = Robert = \n"),
    Some(""),
    Some(" A bus arrives late . It rains . \n"),
    None,
    Some(" Two lines\nin one row \n"),
    Some(" the end"),
];

/// A Parquet file with the columns `names`; the last one holds `lines`.
fn parquet(names: &[&str], lines: &[Option<&str>]) -> Vec<u8> {
    let columns: Vec<ParquetColumn> = names
        .iter()
        .enumerate()
        .map(|(place, name)| ParquetColumn {
            name: (*name).to_owned(),
            kind: if *name == "id" { ColumnKind::Integer } else { ColumnKind::Text },
            cell: Box::new(move |row| match names.len() - place {
                1 => lines[row].map(str::to_owned),
                _ => Some(row.to_string()),
            }),
        })
        .collect();
    let mut file = Vec::new();
    write_parquet(&mut file, &(0..lines.len()).collect::<Vec<_>>(), &columns).unwrap();
    file
}

fn tokenizer() -> Tokenizer {
    LoadedModel::builtin().unwrap().tokenizer
}

fn corpus(file: &str, bytes: &[u8]) -> Result<Corpus, CorpusError> {
    Corpus::from_bytes(file, bytes, &tokenizer(), 2048, Segmentation::Tokens)
}

/// The rows are the lines of the text file, whether or not they end with one.
#[test]
fn a_parquet_file_is_the_text_of_its_rows() {
    let text = " = Robert = \n\n A bus arrives late . It rains . \n\n Two lines\nin one row \n the end\n";
    let expected = tokenizer().encode(text).unwrap();
    for names in [&["text"][..], &["id", "text"], &["title", "text"], &["id", "page"]] {
        let found = corpus("a.parquet", &parquet(names, &LINES)).unwrap();
        assert_eq!(found.window(0, expected.len()).unwrap(), expected, "{names:?}");
    }
    // By the name of the file, as the hash of a corpus is that of its bytes.
    let sentences =
        Corpus::from_bytes("a.PARQUET", &parquet(&["text"], &LINES), &tokenizer(), 2048, Segmentation::Sentence);
    assert!(sentences.unwrap().window_count(0) >= 2);
}

#[test]
fn what_is_no_text_is_refused() {
    let said = |bytes: &[u8]| corpus("dir/a.parquet", bytes).unwrap_err().to_string();
    let refused = said(&parquet(&["left", "right"], &LINES));
    assert_eq!(
        refused,
        "dir/a.parquet: is no Parquet file that a text can be read from: it has no column `text` of texts; \
         its columns are left, right"
    );
    assert!(said(b"plain text").contains("is no Parquet file"));
    assert!(said(b"").contains("is no Parquet file"));
    let whole = parquet(&["text"], &LINES);
    assert!(said(&whole[..whole.len() - 1]).contains("is no Parquet file"));
}

/// The data set that the papers use, as a text and as a Parquet file, is one corpus.
#[test]
fn wikitext_is_the_same_in_both_forms() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/wikitext-2/valid.txt");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let text: String = text.split_inclusive('\n').take(300).collect();
    // As released: empty rows where the text file has a space.
    let rows: Vec<Option<&str>> =
        text.split_inclusive('\n').map(|line| Some(if line.trim().is_empty() { "" } else { line })).collect();
    let plain = text.replace("\n \n", "\n\n").replace("\n \n", "\n\n");
    let plain = plain.strip_prefix(" \n").map_or(plain.clone(), |rest| format!("\n{rest}"));
    let expected = tokenizer().encode(&plain).unwrap();
    let found = corpus("valid.parquet", &parquet(&["text"], &rows)).unwrap();
    assert_eq!(found.window(0, expected.len()).unwrap(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(200), failure_persistence: None, ..ProptestConfig::default() })]

    /// Damaged files give an error or another text.
    #[test]
    fn changed_bytes_never_panic(flips in prop::collection::vec((0_usize..2000, any::<u8>()), 1..8), cut in 0_usize..2000) {
        let mut bytes = parquet(&["id", "text"], &LINES);
        let length = bytes.len();
        for (place, value) in flips {
            bytes[place % length] = value;
        }
        if cut < length / 2 {
            bytes.truncate(length - cut);
        }
        let _ = corpus("a.parquet", &bytes);
    }
}
