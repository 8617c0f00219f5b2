use super::*;
use crate::study::attempt_log::AttemptLog;

fn header() -> Header {
    Header::of_this_process("a-study", Some("2/8".to_owned()), None, 1)
}

fn done(id: u64) -> Entry {
    Entry {
        run_id: format!("{id:016x}"),
        replication: id as u32,
        attempt: 1,
        status: Status::Done,
        error: None,
        wall_s: 0.25,
        ended_at: "2026-01-31T12:00:00Z".to_owned(),
        figures: header().figures.iter().map(|name| format!("{name}-{id}")).collect(),
        groups: Vec::new(),
    }
}

fn failed(id: u64, error: &str) -> Entry {
    Entry { status: Status::Failed, error: Some(error.to_owned()), figures: Vec::new(), ..done(id) }
}

/// A file with a header and two entries.
fn written(folder: &Path) -> PathBuf {
    let log = AttemptLog::create(folder, &header()).unwrap();
    log.push(&done(7)).unwrap();
    log.push(&failed(8, "a line\nbreak, \"quotes\" and \u{fc}")).unwrap();
    log.sync().unwrap();
    log.path().to_owned()
}

#[test]
fn what_is_written_is_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("attempts");
    assert!(Attempts::read(&folder).unwrap().files.is_empty(), "no folder, no attempts");
    let first = written(&folder);
    let second = written(&folder);
    assert_ne!(first, second);
    let name = first.file_name().unwrap().to_str().unwrap();
    assert!(name.ends_with(&format!("-{}-0.ndjson", std::process::id())), "{name}");

    fs::write(folder.join("notes.txt"), "not a file of attempts").unwrap();
    let attempts = Attempts::read(&folder).unwrap();
    let paths: Vec<&PathBuf> = attempts.files.iter().map(|file| &file.path).collect();
    assert_eq!(paths, [&first, &second]);
    assert_eq!(attempts.files[0].header.shard.as_deref(), Some("2/8"));
    let entries: Vec<(usize, &str)> =
        attempts.entries.iter().map(|(file, entry)| (*file, entry.run_id.as_str())).collect();
    let (seven, eight) = ("0000000000000007", "0000000000000008");
    assert_eq!(entries, [(0, seven), (0, eight), (1, seven), (1, eight)]);
    assert_eq!(attempts.entries[0].1, done(7));
    assert_eq!(attempts.entries[1].1.error.as_deref(), Some("a line\nbreak, \"quotes\" and \u{fc}"));
    assert_eq!(attempts.defects, []);
}

#[test]
fn the_hash_is_that_of_the_body() {
    let line = framed(b"{\"a\":1}");
    let hash = blake3::hash(b"{\"a\":1}").to_hex();
    assert_eq!(String::from_utf8(line.clone()).unwrap(), format!("{{\"blake3\":\"{hash}\",\"body\":{{\"a\":1}}}}\n"));
    assert_eq!(unframed(&line), Ok(&b"{\"a\":1}"[..]));
}

/// A file cut at every byte of its last line: the lines before it count, the torn one is named.
#[test]
fn torn_lines_are_named() {
    let place = tempfile::tempdir().unwrap();
    let path = written(place.path());
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    for length in last..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let attempts = Attempts::read(place.path()).unwrap();
        let torn = (last + 1..whole.len()).contains(&length);
        assert_eq!(attempts.entries.len(), if length == whole.len() { 2 } else { 1 }, "{length}");
        let what = "cut off: the line has no end (unless it is being written just now)".to_owned();
        let defect = Defect { path: path.clone(), line: 3, what };
        assert_eq!(attempts.defects, if torn { vec![defect] } else { vec![] }, "{length}");
    }
}

/// Bytes of the file flipped, one at a time: never is another content read than what was written.
#[test]
fn damaged_lines_are_named() {
    let place = tempfile::tempdir().unwrap();
    let path = written(place.path());
    let whole = fs::read(&path).unwrap();
    let undisturbed = Attempts::read(place.path()).unwrap().entries;
    let by_a_line_end = |at: usize| whole[at.saturating_sub(2)..(at + 3).min(whole.len())].contains(&b'\n');
    for at in (0..whole.len()).filter(|&at| at % 7 == 0 || by_a_line_end(at)) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        let attempts = Attempts::read(place.path()).unwrap();
        let line = whole[..at].split(|&byte| byte == b'\n').count() as u64;
        assert!(attempts.entries.iter().all(|entry| undisturbed.contains(entry)), "byte {at}");
        assert_eq!(attempts.defects.first().map(|defect| defect.line), Some(line), "byte {at}: {:?}", attempts.defects);
        let lost = undisturbed.len() - attempts.entries.len();
        // A line end that is gone takes the next line with it, and one that is new cuts its line in two.
        let expected = match (line, whole[at]) {
            (1, _) | (2, b'\n') => 2,
            _ => 1,
        };
        assert_eq!(lost, expected, "byte {at}");
    }
}

#[test]
fn other_versions_and_other_figures_do_not_count() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str, header: &Header, entries: &[Entry]| {
        let bodies = entries.iter().map(|entry| serde_json::to_vec(entry).unwrap());
        let lines: Vec<Vec<u8>> =
            [serde_json::to_vec(header).unwrap()].into_iter().chain(bodies).map(|body| framed(&body)).collect();
        fs::write(place.path().join(name), lines.concat()).unwrap();
    };
    file("a.ndjson", &Header { results_version: 1, ..header() }, &[done(1)]);
    let mut short = done(2);
    short.figures.pop();
    file("b.ndjson", &header(), &[short, done(3)]);
    fs::write(place.path().join("c.ndjson"), "").unwrap();
    let attempts = Attempts::read(place.path()).unwrap();
    assert_eq!(attempts.entries, [(0, done(3))]);
    let said: Vec<(u64, &str)> = attempts.defects.iter().map(|defect| (defect.line, defect.what.as_str())).collect();
    let n = header().figures.len();
    let version = format!(
        "written by results version 1; this program has {RESULTS_VERSION}; without its first line nothing in the file counts"
    );
    let figures = format!("not understood: {} figures, not {n} as the first line says", n - 1);
    assert_eq!(said, [(1, version.as_str()), (2, figures.as_str())]);
}

/// Lines of any length are read in bounded memory.
#[test]
fn a_file_of_something_else_is_one_defect() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("a.ndjson"), vec![b'x'; 1 << 20]).unwrap();
    let attempts = Attempts::read(place.path()).unwrap();
    assert_eq!((attempts.files.len(), attempts.entries.len(), attempts.defects.len()), (0, 0, 1));
}
