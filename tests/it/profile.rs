//! `splitwave profile`: the table is what its records say, and the same at any
//! number of threads.

use std::ops::ControlFlow;
use std::path::Path;

use splitwave::control::QualityTable;
use splitwave::run::assembly::Assembly;
use splitwave::run::assembly::assemble;
use splitwave::run::inputs::Library;
use splitwave::run::profile::{ProfileError, ProfileGrid, profile};
use splitwave::run::runner::evaluation_pool;
use splitwave::scenario::LoadedScenario;

const CHANNEL: &str = "name = \"profile\"\n[channel]\ndoppler_hz = 60.0\n[radio]\nbandwidth_mhz = 1.0\n";

fn assembly(text: &str) -> Assembly {
    let loaded = LoadedScenario::from_bytes(Path::new("profile.toml"), text.as_bytes(), &[]).unwrap();
    assemble(loaded, &mut Library::default()).unwrap()
}

fn grid() -> ProfileGrid {
    ProfileGrid {
        splits: vec![1, 12],
        losses: vec![0.0, 0.3],
        noises: vec![0.0, 2.0],
        windows: 4,
        draws: 2,
        tokens: 16,
    }
}

fn make(assembly: &Assembly, threads: usize, folder: &Path) -> (Vec<u8>, Vec<u8>) {
    let pool = evaluation_pool(threads).unwrap();
    profile(assembly, &grid(), 1, &pool, folder, "", &mut |_| ControlFlow::Continue(())).unwrap();
    (std::fs::read(folder.join("records.csv")).unwrap(), std::fs::read(folder.join("table.csv")).unwrap())
}

#[test]
fn the_table_is_what_its_records_say() {
    let folder = tempfile::tempdir().unwrap();
    let (records, table) = make(&assembly(CHANNEL), 2, folder.path());
    let table = QualityTable::from_csv("table.csv", &table).unwrap();
    let mut reader = csv::Reader::from_reader(records.as_slice());
    let headers = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2 * 2 * 2 * 4 * 2);
    let cell = |row: &csv::StringRecord, name: &str| -> f64 {
        row[headers.iter().position(|header| header == name).unwrap()].parse().unwrap()
    };
    for (split, loss, noise) in [(1, 0.0, 0.0), (1, 0.0, 2.0), (12, 0.3, 0.0), (12, 0.3, 2.0)] {
        let here = rows.iter().filter(|row| {
            cell(row, "split") == f64::from(split)
                && cell(row, "loss_probability") == loss
                && cell(row, "noise_std") == noise
        });
        let (mut nll, mut tokens) = (0.0, 0.0);
        for row in here {
            if &row[headers.len() - 1] == "false" {
                nll += cell(row, "nll_sum");
                tokens += cell(row, "tokens_scored");
            }
        }
        let value = table.value(split, loss, noise);
        assert!((value.ppl.unwrap() / (nll / tokens).exp() - 1.0).abs() < 1e-12);
    }
    // Nothing lost and no noise: the equalised tensor is the clean one.
    let clean = table.value(1, 0.0, 0.0);
    assert_eq!(clean.relative_gain, Some(0.0));
    // Absolute noise hurts an early split more; any impairment hurts.
    assert!(table.value(1, 0.0, 2.0).ppl > table.value(12, 0.0, 2.0).ppl);
    assert!(table.value(12, 0.3, 0.0).ppl > clean.ppl);
}

#[test]
fn threads_do_not_change_a_byte() {
    let assembly = assembly(CHANNEL);
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    assert_eq!(make(&assembly, 1, folders[0].path()), make(&assembly, 3, folders[1].path()));
}

#[test]
fn grids_that_do_not_fit_are_refused() {
    let assembly = assembly(CHANNEL);
    let folder = tempfile::tempdir().unwrap();
    let pool = evaluation_pool(1).unwrap();
    let refused = |change: fn(&mut ProfileGrid)| {
        let mut grid = grid();
        change(&mut grid);
        match profile(&assembly, &grid, 1, &pool, folder.path(), "", &mut |_| ControlFlow::Continue(())) {
            Err(ProfileError::Grid(message)) => message,
            other => panic!("{other:?}"),
        }
    };
    assert!(refused(|grid| grid.splits.push(17)).contains("17 is no split of this model; allowed: 1 to 16"));
    assert!(refused(|grid| grid.losses.push(1.0)).contains("allowed: 0 to below 1"));
    assert!(refused(|grid| grid.noises.push(f64::NAN)).contains("--noises"));
    assert!(refused(|grid| grid.noises.push(2.0)).contains("twice"));
    assert!(refused(|grid| grid.windows = 100_000).contains("windows of 16 tokens only"));
    assert!(refused(|grid| grid.splits.clear()).contains("empty"));
}

#[test]
fn an_interrupted_profile_keeps_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let pool = evaluation_pool(1).unwrap();
    let mut calls = 0;
    let stopped = profile(&assembly(CHANNEL), &grid(), 1, &pool, folder.path(), "", &mut |_| {
        calls += 1;
        if calls == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(stopped, Err(ProfileError::Interrupted { done: 16, all: 64 })));
    let records = std::fs::read_to_string(folder.path().join(".partial/records.csv")).unwrap();
    assert!(!folder.path().join("table.csv").exists());
    assert_eq!(records.lines().count(), 17);
}
