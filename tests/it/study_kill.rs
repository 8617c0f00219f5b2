//! `study run` killed at any moment, and files of attempts that are torn or damaged: what was written
//! down counts, the rest is run again, and the figures are those of an undisturbed run.
#![cfg(unix)]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use splitwave::run::inputs::Library;
use splitwave::run::signals::Interrupt;
use splitwave::study::Plan;
use splitwave::study::attempt_log::AttemptLog;
use splitwave::study::attempts::{Attempts, Header};
use splitwave::study::folder::StudyFolder;
use splitwave::study::runner::{End, Keep, StudyNews, StudyOptions, StudyTally, run_study};
use splitwave::study::shard::Shard;

use crate::cli_support::{BINARY, Place};
use crate::study_support::{ATTEMPTS, BASE, GRID, attempts, figures, place, study_run};

const KILLS: usize = 20;

/// 1,200 runs: more than twenty processes do before they are killed, on any machine.
const MANY: &str = r#"name = "grid"
base = "s.toml"
replications = 40
[axes]
"split.initial" = { from = 1, to = 5, count = 5 }
"radio.bandwidth_mhz" = [4.0, 5.0, 6.0, 8.0, 10.0, 12.0]
"#;

/// A few numbers that look like chance.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn start(place: &Place, shard: &str, threads: &str) -> Child {
    let mut command = Command::new(BINARY);
    command.args(["study", "run", "study.toml", "--quiet", "--shard", shard, "--threads", threads]);
    command.current_dir(place.path("")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Bytes in files of attempts.
fn written(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

/// Killed twenty times, each time at another moment of another part with other threads, once in a while
/// with a second process at the same part; then completed. Nothing is lost, and nothing differs.
#[test]
fn killed_at_any_moment_and_resumed() {
    let place = place(BASE, MANY);
    study_run(&place, &["--out", "whole", "--threads", "1", "--quiet"]).says(0, &[]);
    let whole = figures(&attempts(&place.path("whole/attempts")));
    assert_eq!(whole.len(), 1200);

    let folder = place.path(ATTEMPTS);
    let mut chance = Chance(4);
    let (mut killed, mut twice) = (0, 0);
    while killed < KILLS {
        let of = 1 + chance.below(3);
        let shard = format!("{}/{of}", 1 + chance.below(of));
        let threads = ["1", "2", "3"][chance.below(3) as usize];
        let before = written(&folder);
        // Some in the midst of starting, most at a random number of lines, which are about 1 kB long.
        let target = before + 1500 * chance.below(6);
        let mut children = vec![start(&place, &shard, threads)];
        if chance.below(4) == 0 {
            children.push(start(&place, &shard, threads));
            twice += 1;
        }
        let mut looks = 0;
        while written(&folder) < target && looks < 500 && children[0].try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(1));
            looks += 1;
        }
        sleep(Duration::from_micros(chance.below(1000)));
        for child in &mut children {
            // A process that has ended can't be killed.
            let _ = child.kill();
            let status = child.wait().unwrap();
            killed += usize::from(status.signal() == Some(9));
        }
    }
    assert!(twice > 0);
    let so_far =
        figures(&Attempts::read(&folder).unwrap().entries.into_iter().map(|(_, entry)| entry).collect::<Vec<_>>());
    assert!((20..1200).contains(&so_far.len()), "{}", so_far.len());

    for shard in ["1/2", "2/2"] {
        study_run(&place, &["--shard", shard, "--threads", "2", "--quiet"]).says(0, &[]);
    }
    let read = Attempts::read(&folder).unwrap();
    // A kill tears at most the line that was being written.
    assert!(read.defects.len() <= killed, "{:?}", read.defects);
    let entries: Vec<_> = read.entries.into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(figures(&entries), whole);
    let again = study_run(&place, &[]);
    assert!(
        again.out.starts_with("grid: 1200 runs, 1200 done before, 0 done now, 0 failed, 0 left\n"),
        "{}",
        again.out
    );
}

/// A study inside of this process.
struct Inside {
    plan: Plan,
    library: Library,
    folder: StudyFolder,
}

impl Inside {
    fn new(place: &Place) -> Self {
        let mut library = Library::default();
        let plan = Plan::open(&place.path("study.toml"), &mut library).unwrap();
        let folder = StudyFolder::open(&place.path("out"), plan.name()).unwrap();
        Self { plan, library, folder }
    }

    /// Runs what is left; the defects that it names.
    fn run(&self) -> (StudyTally, Vec<String>) {
        let options = StudyOptions {
            shard: Shard::WHOLE,
            threads: 1,
            keep: Keep::Summary,
            max_failures: None,
            timeout: None,
            retries: 0,
            interrupt: Interrupt::new(),
            job: None,
        };
        let mut defects = Vec::new();
        let tally = run_study(&self.plan, &self.library, &self.folder, &options, &mut |news| {
            if let StudyNews::Defect(defect) = news {
                defects.push(defect.to_string());
            }
        });
        (tally.unwrap(), defects)
    }
}

/// A run that takes its process along every time must not keep the others from being run.
#[test]
fn what_was_under_way_when_a_process_died_comes_last() {
    let place = place(BASE, &GRID.replace("[1, 2, 3]", "[1]"));
    let inside = Inside::new(&place);
    let id = |run: usize| inside.plan.run(run).id.to_string();
    for begun in [&[0, 2][..], &[0]] {
        let header = Header::of_this_process("grid", None, None, 1);
        let log = AttemptLog::create(&inside.folder.attempts(), &header).unwrap();
        for &run in begun {
            log.begun(&id(run)).unwrap();
        }
    }
    let (tally, defects) = inside.run();
    assert_eq!((tally.done, defects), (4, Vec::new()));
    let read = Attempts::read(&inside.folder.attempts()).unwrap();
    let order: Vec<String> = read.entries.into_iter().map(|(_, entry)| entry.run_id).collect();
    assert_eq!(order, [1, 3, 2, 0].map(id));
    assert_eq!(read.begun.len(), 3, "what the dead processes had begun");
    assert_eq!(read.files.iter().filter(|file| file.footer.is_some()).count(), 1);
}

/// The one file of attempts cut within its last line, and damaged in each line: what is not whole is named with
/// its line, run again, and nothing else is. (The reader's own test cuts at every byte.)
#[test]
fn torn_and_damaged_lines_are_run_again() {
    let place = place(BASE, &GRID.replace("[1, 2, 3]", "[1]"));
    let inside = Inside::new(&place);
    let (tally, _) = inside.run();
    assert_eq!((tally.runs, tally.done, tally.end), (4, 4, End::Whole));
    let log = tally.log.unwrap();
    let undisturbed = figures(&attempts(&inside.folder.attempts()));
    let mut whole = fs::read(&log).unwrap();
    // Less the last line, which says that the process has ended.
    let footer = whole.iter().rposition(|&byte| byte == b'{').unwrap();
    assert!(whole[footer..].starts_with(b"{\"ended\":\"whole\""));
    whole.truncate(whole[..footer].iter().rposition(|&byte| byte == b'\n').unwrap() + 1);
    let ends: Vec<usize> = (0..whole.len()).filter(|&at| whole[at] == b'\n').collect();
    assert_eq!(ends.len(), 5);

    let check = |content: &[u8], expected_done: usize, line: Option<usize>| {
        fs::write(&log, content).unwrap();
        let (tally, defects) = inside.run();
        assert_eq!((tally.before, tally.done), (4 - expected_done, expected_done));
        let named = defects.iter().map(|defect| defect.split(": ").next().unwrap().to_owned()).collect::<Vec<_>>();
        let line = line.map(|line| format!("{}, line {line}", log.display()));
        assert_eq!(named, Vec::from_iter(line));
        let read = Attempts::read(&inside.folder.attempts()).unwrap();
        let entries: Vec<_> = read.entries.into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(entries.len(), 4, "no run twice");
        assert_eq!(figures(&entries), undisturbed);
        fs::remove_file(tally.log.unwrap()).unwrap();
    };
    let cuts = (ends[3] + 2..ends[4]).step_by(29);
    for length in cuts.chain(ends[4] - 3..=ends[4]) {
        check(&whole[..length], 1, Some(5));
    }
    check(&whole[..=ends[3]], 1, None);
    for (line, range) in ends.windows(2).map(|ends| ends[0] + 1..ends[1]).enumerate() {
        for at in range.step_by(211) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            check(&damaged, 1, Some(line + 2));
        }
    }
    // Without its first line nobody knows what the others mean.
    let mut damaged = whole.clone();
    damaged[ends[0] / 2] ^= 1;
    check(&damaged, 4, Some(1));
}
