//! Scripts that hand a study to a batch system. They are plain bash, for people to
//! read and to edit; the product has no daemon and no scheduler of its own.

mod options;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::run::wording::counted;
pub use crate::study::submit::options::{Engine, Memory, SiteName, WallTime};

/// How long before its time limit a task is told [s].
const NOTICE_S: u32 = 60;
/// Shards where none are asked for: enough for a small cluster to help, few enough to read their logs.
const DEFAULT_SHARDS: u32 = 8;

/// What each task asks the batch system for; `None`: what the system gives by itself.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// Tasks; `None`: 8, or one per run if there are fewer.
    pub shards: Option<u32>,
    /// Cores of a task, and its threads; `None`: 1, or locally all of the machine.
    pub cpus: Option<u32>,
    /// Limit on a task's wall time.
    pub time: Option<WallTime>,
    /// Memory of a task.
    pub mem: Option<Memory>,
    /// Partition of the cluster.
    pub partition: Option<SiteName>,
    /// Account that is charged.
    pub account: Option<SiteName>,
}

/// A study, to be handed to an engine. All paths are absolute.
#[derive(Clone, Debug)]
pub struct Submission {
    /// What runs the shards.
    pub engine: Engine,
    /// Name of the study.
    pub name: String,
    /// Number of its runs.
    pub runs: usize,
    /// The program, where every node finds it.
    pub program: PathBuf,
    /// The study file.
    pub study: PathBuf,
    /// Its output folder.
    pub out: PathBuf,
    /// The working directory, in which the study file's relative paths hold.
    pub directory: PathBuf,
    /// What a task asks for.
    pub resources: Resources,
    /// The command that makes the scripts, for their heads.
    pub command: String,
}

/// A script of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name in the folder `submit`.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// Why no scripts were made.
#[derive(Debug, Error)]
pub enum SubmitError {
    /// A path that a script can't carry.
    #[error("{}: the path of {what} holds {character:?}, which {reader} can't carry", path.display())]
    Path {
        /// What it is the path of.
        what: &'static str,
        /// The path.
        path: PathBuf,
        /// The character.
        character: char,
        /// What can't carry it.
        reader: &'static str,
    },
    /// More shards than there is work for.
    #[error("--shards {shards}: the study has {}; allowed: 1 to {runs}", counted(*runs as u64, "run"))]
    Shards {
        /// As asked for.
        shards: u32,
        /// Runs of the study.
        runs: usize,
    },
    /// An option that the engine has no use for.
    #[error("--{option} plays no part with --engine {engine}")]
    Option {
        /// The option.
        option: &'static str,
        /// The engine.
        engine: Engine,
    },
    /// A script could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SubmitError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Path { .. } => "rename the folder, or reach it by a symbolic link with a plain name",
            Self::Shards { .. } => "ask for fewer; a task that runs many runs spends less time waiting in the queue",
            Self::Option { engine: Engine::Local, .. } => {
                "leave it out: one process does all runs; --cpus limits its threads"
            }
            Self::Option { .. } => {
                "leave it out: partition and account belong to HyperQueue's workers (`hq alloc add`)"
            }
            Self::Write { .. } => "is the disk full, or the folder not yours? choose another one with --out",
        }
    }
}

impl Submission {
    /// The folder of the scripts.
    pub fn folder(&self) -> PathBuf {
        self.out.join("submit")
    }

    /// The scripts; `submit.sh` is the one to start.
    ///
    /// # Errors
    /// On options that don't fit the engine or the study, and on paths that scripts can't carry.
    pub fn scripts(&self) -> Result<Vec<Script>, SubmitError> {
        self.check_options()?;
        let shards = self.shards()?;
        let cpus = self.resources.cpus.unwrap_or(1);
        let folder = self.folder();
        let place = |what, path: &Path| plain(what, path).map(quoted);
        let mut values = vec![
            ("NAME", self.name.clone()),
            ("RUNS", counted(self.runs as u64, "run")),
            ("SHARDS", shards.to_string()),
            ("SHARDS_COUNTED", counted(shards, "task")),
            ("CPUS", cpus.to_string()),
            ("COMMAND", self.command.replace(|c: char| c.is_control(), "?")),
            ("PROGRAM", place("splitwave", &self.program)?),
            ("STUDY", place("the study file", &self.study)?),
            ("OUT", place("the output folder", &self.out)?),
            ("DIRECTORY", place("the working directory", &self.directory)?),
            ("FOLDER", place("the output folder", &folder)?),
            ("COLLECT", place("the output folder", &folder.join("collect.sh"))?),
            ("THREADS", self.resources.cpus.map_or(String::new(), |cpus| format!("--threads {cpus} "))),
        ];
        let mut script = |name, template: &str, options: String| {
            values.retain(|(key, _)| *key != "OPTIONS");
            values.push(("OPTIONS", options));
            Script { name, text: fill(template, &values) }
        };
        Ok(match self.engine {
            Engine::Slurm => vec![
                script("shards.sh", include_str!("submit/templates/slurm_shards.sh"), self.slurm_shards(shards, cpus)?),
                script("collect.sh", include_str!("submit/templates/slurm_collect.sh"), self.slurm_collect()?),
                script("submit.sh", include_str!("submit/templates/slurm_submit.sh"), String::new()),
            ],
            Engine::HyperQueue => vec![
                script("submit.sh", include_str!("submit/templates/hq_submit.sh"), self.hq_options(shards, cpus)?),
                script("collect.sh", include_str!("submit/templates/hq_collect.sh"), String::new()),
            ],
            Engine::Local => vec![script("submit.sh", include_str!("submit/templates/local_submit.sh"), String::new())],
        })
    }

    /// Writes the scripts. One that is there and differs, because somebody edited it or
    /// asked for something else, is kept under another name; these names are given.
    ///
    /// # Errors
    /// If they can't be written.
    pub fn write(&self, scripts: &[Script]) -> Result<Vec<PathBuf>, SubmitError> {
        let folder = self.folder();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| SubmitError::Write { path, source }
        };
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let mut kept = Vec::new();
        for script in scripts {
            let path = folder.join(script.name);
            match fs::read(&path) {
                Ok(text) if text == script.text.as_bytes() => continue,
                Ok(_) => {
                    let old = unused(&path);
                    fs::rename(&path, &old).map_err(failed(&old))?;
                    kept.push(old);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path)(error)),
            }
            // Beside and renamed: a script is whole or not there.
            let beside = folder.join(format!(".{}.{}", script.name, std::process::id()));
            fs::write(&beside, &script.text).map_err(failed(&beside))?;
            fs::rename(&beside, &path).map_err(failed(&path))?;
        }
        Ok(kept)
    }

    /// Tasks to make.
    fn shards(&self) -> Result<u32, SubmitError> {
        let most = u32::try_from(self.runs).unwrap_or(u32::MAX).max(1);
        match self.resources.shards {
            Some(shards) if shards > most || shards == 0 => Err(SubmitError::Shards { shards, runs: self.runs }),
            Some(shards) => Ok(shards),
            None => Ok(DEFAULT_SHARDS.min(most)),
        }
    }

    /// An option that plays no part is refused, never ignored.
    fn check_options(&self) -> Result<(), SubmitError> {
        let Resources { shards, time, mem, partition, account, .. } = &self.resources;
        let of_clusters = [("partition", partition.is_some()), ("account", account.is_some())];
        let of_tasks = [("shards", shards.is_some()), ("time", time.is_some()), ("mem", mem.is_some())];
        let foreign = match self.engine {
            Engine::Slurm => Vec::new(),
            Engine::HyperQueue => of_clusters.to_vec(),
            Engine::Local => [&of_tasks[..], &of_clusters].concat(),
        };
        match foreign.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(SubmitError::Option { option, engine: self.engine }),
            None => Ok(()),
        }
    }

    /// The `#SBATCH` lines that shards and collector share.
    fn slurm_common(&self, suffix: &str, log: &str) -> Result<Vec<String>, SubmitError> {
        let directory = in_sbatch("the working directory", &self.directory)?;
        // Slurm replaces %x and the like in the names of logs.
        let folder = in_sbatch("the output folder", &self.folder())?.replace('%', "%%");
        let mut options = vec![
            format!("--job-name={}{suffix}", self.name),
            format!("--chdir=\"{directory}\""),
            format!("--output=\"{folder}/{log}\""),
            "--open-mode=append".to_owned(),
            "--ntasks=1".to_owned(),
        ];
        let Resources { time, mem, partition, account, .. } = &self.resources;
        options.extend(time.map(|time| format!("--time={time}")));
        options.extend(mem.map(|mem| format!("--mem={mem}")));
        options.extend(partition.iter().map(|partition| format!("--partition={partition}")));
        options.extend(account.iter().map(|account| format!("--account={account}")));
        Ok(options)
    }

    fn slurm_shards(&self, shards: u32, cpus: u32) -> Result<String, SubmitError> {
        let mut options = self.slurm_common("", "shard-%a.log")?;
        options.push(format!("--cpus-per-task={cpus}"));
        options.push(format!("--array=1-{shards}"));
        options.push("--requeue".to_owned());
        options.push(format!("--signal=B:USR1@{NOTICE_S}"));
        Ok(directives(&options))
    }

    fn slurm_collect(&self) -> Result<String, SubmitError> {
        let mut options = self.slurm_common("-collect", "collect.log")?;
        options.push("--cpus-per-task=1".to_owned());
        options.push("--requeue".to_owned());
        Ok(directives(&options))
    }

    fn hq_options(&self, shards: u32, cpus: u32) -> Result<String, SubmitError> {
        let folder = self.folder();
        let log = |suffix: &str| {
            let log = folder.join(format!("shard-%{{TASK_ID}}-%{{JOB_ID}}-%{{INSTANCE_ID}}.{suffix}"));
            plain("the output folder", &log).map(quoted)
        };
        // HyperQueue replaces %{…} in these paths, and ends that of a log at a colon.
        let paths = [("the output folder", &folder, "%:"), ("the working directory", &self.directory, "%")];
        for (what, path, special) in paths {
            let text = plain(what, path)?;
            let is_special = |c: &char| special.contains(*c) && (*c != '%' || text.contains("%{"));
            if let Some(character) = text.chars().find(is_special) {
                return Err(SubmitError::Path { what, path: path.clone(), character, reader: "HyperQueue" });
            }
        }
        let mut options = vec![
            format!("--name={}", self.name),
            format!("--array=1-{shards}"),
            format!("--cpus={cpus}"),
            format!("--cwd={}", quoted(plain("the working directory", &self.directory)?)),
            format!("--stdout={}", log("out")?),
            format!("--stderr={}", log("log")?),
        ];
        let Resources { time, mem, .. } = &self.resources;
        options.extend(time.map(|time| format!("--time-limit={}s", time.seconds())));
        options.extend(mem.map(|mem| format!("--resource=mem={}", mem.mebibytes())));
        Ok(options.join(" \\\n    "))
    }
}

/// A path as text that scripts carry: no line breaks, and no characters that no shell can be given.
fn plain<'p>(what: &'static str, path: &'p Path) -> Result<&'p str, SubmitError> {
    let refused = |character, reader| SubmitError::Path { what, path: path.to_owned(), character, reader };
    let text = path.to_str().ok_or_else(|| refused(char::REPLACEMENT_CHARACTER, "a script"))?;
    match text.chars().find(|c| c.is_control()) {
        Some(character) => Err(refused(character, "a script")),
        None => Ok(text),
    }
}

/// A path between the double quotes of an `#SBATCH` line, where Slurm gives quotes and backslashes a meaning.
fn in_sbatch(what: &'static str, path: &Path) -> Result<String, SubmitError> {
    let text = plain(what, path)?;
    match text.chars().find(|c| "\"\\".contains(*c)) {
        Some(character) => Err(SubmitError::Path { what, path: path.to_owned(), character, reader: "an #SBATCH line" }),
        None => Ok(text.to_owned()),
    }
}

/// `#SBATCH` lines.
fn directives(options: &[String]) -> String {
    options.iter().map(|option| format!("#SBATCH {option}")).collect::<Vec<_>>().join("\n")
}

/// A word as a shell reads it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A template with `@KEY@` replaced, in one pass: what is filled in is not looked at again.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::with_capacity(2 * template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        text.push_str(before);
        let key =
            after.split_once('@').and_then(|(key, end)| Some((values.iter().find(|(name, _)| *name == key)?, end)));
        if let Some(((_, value), end)) = key {
            text.push_str(value);
            rest = end;
        } else {
            text.push('@');
            rest = after;
        }
    }
    text.push_str(rest);
    text
}

/// `PATH.old`, or the first of `PATH.old2` … that is not there.
fn unused(path: &Path) -> PathBuf {
    let named = |suffix: String| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let mut old = named(".old".to_owned());
    let mut number = 2;
    while old.exists() {
        old = named(format!(".old{number}"));
        number += 1;
    }
    old
}

#[cfg(test)]
mod tests;
