//! A profile that comes to an early end goes on where it stopped, and has the bytes of one
//! that didn't.

use std::fs;
use std::path::Path;

use splitwave::run::profile::{Points, ProfileError, ProfileSpec};

use crate::profile::{bytes, faded, grid, try_make};

/// Stops when so many evaluations are done.
fn interrupted_at(wanted: u64, threads: usize, folder: &Path) -> u64 {
    let stopped = try_make(&faded(), &grid(), threads, folder, &mut |progress, interrupt| {
        assert_eq!(progress.all, 64);
        if progress.done >= wanted {
            interrupt.set();
        }
    });
    let Err(ProfileError::Interrupted { done, all: 64 }) = stopped else { panic!("{stopped:?}") };
    done
}

fn finish(threads: usize, folder: &Path) -> u64 {
    try_make(&faded(), &grid(), threads, folder, &mut |_, _| ()).unwrap().kept
}

fn files(folder: &Path) -> [Vec<u8>; 2] {
    ["records.csv", "table.csv"].map(|file| bytes(folder, file))
}

#[test]
fn an_interrupted_profile_has_the_bytes_of_an_undisturbed_one() {
    let undisturbed = tempfile::tempdir().unwrap();
    assert_eq!(finish(1, undisturbed.path()), 0);
    let whole = files(undisturbed.path());
    for (threads, then) in [(1, 2), (2, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let (first, partial) = (interrupted_at(1, threads, folder.path()), folder.path().join(".partial/records.csv"));
        assert_eq!(first, 16 * threads as u64, "a batch is 16 evaluations per thread");
        assert!(!folder.path().join("records.csv").exists() && !folder.path().join("table.csv").exists());
        let rows = fs::read(&partial).unwrap();
        assert!(whole[0].starts_with(&rows) && rows.ends_with(b"\n"));
        // Once more, one row further into a batch.
        let second = interrupted_at(first + 1, then, folder.path());
        assert!(second > first && second < 64, "{second}");
        assert_eq!(finish(then, folder.path()), second);
        assert_eq!(files(folder.path()), whole);
        assert!(!folder.path().join(".partial").exists());
    }
}

/// A killed process leaves half a row at worst.
#[test]
fn half_a_row_is_made_again() {
    let undisturbed = tempfile::tempdir().unwrap();
    finish(3, undisturbed.path());
    let folder = tempfile::tempdir().unwrap();
    interrupted_at(1, 1, folder.path());
    let partial = folder.path().join(".partial/records.csv");
    let mut rows = fs::read(&partial).unwrap();
    rows.truncate(rows.len() - 30);
    fs::write(&partial, &rows).unwrap();
    assert_eq!(finish(1, folder.path()), 15);
    assert_eq!(files(folder.path()), files(undisturbed.path()));
    // Not even the header: it begins anew.
    fs::remove_file(folder.path().join("records.csv")).unwrap();
    interrupted_at(1, 1, folder.path());
    fs::write(&partial, "model,spl").unwrap();
    assert_eq!(finish(1, folder.path()), 0);
    assert_eq!(files(folder.path()), files(undisturbed.path()));
}

#[test]
fn another_profile_does_not_go_on_from_it() {
    let folder = tempfile::tempdir().unwrap();
    interrupted_at(1, 1, folder.path());
    let other = ProfileSpec {
        splits: vec![1],
        points: Points::Grid { losses: vec![0.0, 0.3], noises: vec![0.0, 2.0], draws: 3 },
        ..grid()
    };
    let refused = try_make(&faded(), &other, 1, folder.path(), &mut |_, _| ()).unwrap_err();
    assert!(matches!(refused, ProfileError::Differs { .. }));
    let told = refused.to_string();
    assert!(told.contains("profile.splits was [1,12], is [1]; profile.points.grid.draws was 2, is 3"), "{told}");
    // What was there is still there, and a row that isn't its own is found.
    let partial = folder.path().join(".partial/records.csv");
    let rows = fs::read_to_string(&partial).unwrap();
    fs::write(&partial, rows.replacen(",12,", ",11,", 1)).unwrap();
    let damaged = try_make(&faded(), &grid(), 1, folder.path(), &mut |_, _| ()).unwrap_err();
    let line = 2 + rows.lines().skip(1).position(|row| row.contains(",12,")).unwrap() as u64;
    assert!(matches!(damaged, ProfileError::Damaged { line: found, .. } if found == line), "{damaged}");
    fs::write(&partial, rows).unwrap();
    assert_eq!(finish(1, folder.path()), 16);
}

#[test]
fn a_finished_profile_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let made = try_make(&faded(), &grid(), 1, folder.path(), &mut |_, _| ()).unwrap();
    assert!(!made.was_there);
    let again = |spec| try_make(&faded(), &spec, 2, folder.path(), &mut |_, _| panic!("an evaluation"));
    let found = again(grid()).unwrap();
    assert!(found.was_there);
    assert_eq!((found.kept, found.files), (64, made.files));
    // What doesn't fit is said first, then what differs.
    let refused = again(ProfileSpec { splits: vec![17], ..grid() }).unwrap_err();
    assert!(matches!(refused, ProfileError::Spec(_)), "{refused}");
    let refused = again(ProfileSpec { windows: Some(3), ..grid() }).unwrap_err();
    let records = folder.path().join("records.csv");
    let path = records.display();
    let said = format!("{path}: there is a profile already, and not this one: profile.windows was 4, is 3");
    assert_eq!(refused.to_string(), said);
    // Nor does one pass that was changed since.
    let text = String::from_utf8(bytes(folder.path(), "records.csv")).unwrap();
    fs::write(&records, text.replacen(",12,", ",11,", 1)).unwrap();
    let refused = again(grid()).unwrap_err().to_string();
    assert!(refused.contains("records.csv: its content has the hash "), "{refused}");
}

/// Two processes in one folder would write each other's rows.
#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut told = None;
    try_make(&faded(), &grid(), 1, folder.path(), &mut |progress, _| {
        if progress.done == 0 {
            let second = try_make(&faded(), &grid(), 1, folder.path(), &mut |_, _| ());
            told = Some(second.unwrap_err().to_string());
        }
    })
    .unwrap();
    assert!(told.unwrap().contains("another process is making a profile there"));
}
