//! The binary as a user runs it, and what its result folders hold.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_splitwave");

/// A scenario without the language model that takes milliseconds, and loses packets.
pub const SMALL: &str = r#"name = "small"
seed = 3
duration_s = 20.0
[quality]
source = "none"
[controller]
kind = "random"
[channel]
loss_probability = { min = 0.0, max = 0.3, draw = "per-episode" }
doppler_hz = 200.0
[radio]
bandwidth_mhz = 5.0
[[ue]]
name = "phone"
count = 3
workload = { rate_per_s = 0.5, prompt_tokens = 16 }
"#;

/// The root of the project.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A working directory of its own.
pub struct Place {
    folder: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// Exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A place with `s.toml`.
    pub fn with(scenario: &str) -> Self {
        let place = Self::new();
        place.write("s.toml", scenario);
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// `splitwave ARGUMENTS` here.
    pub fn splitwave(&self, arguments: &[&str]) -> Done {
        self.command(BINARY, arguments)
    }

    /// A line of shell here, with `splitwave` on the path.
    pub fn shell(&self, line: &str) -> Done {
        self.command("sh", &["-c", line])
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Done {
        let folder = Path::new(BINARY).parent().unwrap().to_owned();
        let system = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&system))).unwrap();
        let output = assert_cmd::Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("PATH", path)
            .timeout(Duration::from_secs(240))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// A run that must succeed; the folders of the scenario's finished runs, in the order of replications.
    pub fn run(&self, arguments: &[&str], finished: &str) -> Vec<PathBuf> {
        let done = self.splitwave(&[&["run"], arguments].concat());
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.err);
        self.finished(finished)
    }

    /// The finished runs in a folder such as `results/small`, in the order of replications.
    pub fn finished(&self, folder: &str) -> Vec<PathBuf> {
        let (_, mut shown) = names(&self.path(folder));
        shown.sort_by_key(|run| manifest(run)["replication"].as_u64());
        shown
    }

    /// The hidden folders there: attempts, and runs moved aside.
    pub fn hidden(&self, folder: &str) -> Vec<PathBuf> {
        names(&self.path(folder)).0
    }
}

/// Hidden and other entries of a folder; none where there is no folder.
fn names(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().partition(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'))
}

impl Done {
    /// Asserts the exit status and that standard error says all of this, in this order.
    pub fn says(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let mut rest = self.err.as_str();
        for part in parts {
            let Some(at) = rest.find(part) else { panic!("`{part}` is not said, or not here:\n{}", self.err) };
            rest = &rest[at + part.len()..];
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

/// `manifest.json` of a run.
pub fn manifest(run: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap()
}

/// The CSV files of a run, by name.
pub fn records(run: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.extension().is_some_and(|extension| extension == "csv"));
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())).collect()
}

/// A CSV file: its header, and its rows by column.
pub fn csv_rows(path: &Path) -> (Vec<String>, Vec<BTreeMap<String, String>>) {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let header: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let row = |record: csv::StringRecord| header.iter().cloned().zip(record.iter().map(str::to_owned)).collect();
    let rows = reader.records().map(|record| row(record.unwrap())).collect();
    (header, rows)
}

/// The row of `summary.csv` for all UEs.
pub fn summary_of_all(run: &Path) -> BTreeMap<String, String> {
    let (_, rows) = csv_rows(&run.join("summary.csv"));
    rows.into_iter().find(|row| row["scope"] == "all").unwrap()
}
