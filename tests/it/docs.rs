//! The pages agree with the program and with each other.

use std::fs;
use std::path::{Path, PathBuf};

use splitwave::scenario::LoadedScenario;

use crate::cli_support::{Place, project};

/// Folders of what is built and run; hidden folders are left out, too.
const NOT_PAGES: [&str; 2] = ["target", "results"];

fn pages(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap().to_str().unwrap_or_default();
        if path.is_dir() {
            if !name.starts_with('.') && !NOT_PAGES.contains(&name) {
                pages(&path, into);
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            into.push(path);
        }
    }
}

fn all_pages() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    pages(project(), &mut paths);
    assert!(paths.len() >= 3, "{paths:?}");
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn generated_pages_are_up_to_date() {
    for (file, arguments) in [
        ("docs/columns.md", &["schema", "--columns"] as &[_]),
        ("docs/scenario.md", &["schema", "--markdown"]),
        ("docs/scenario.schema.json", &["schema"]),
        ("docs/study.md", &["schema", "--study", "--markdown"]),
        ("docs/study.schema.json", &["schema", "--study"]),
    ] {
        let made = Place::new().splitwave(arguments);
        assert_eq!((made.code, made.err.as_str()), (Some(0), ""));
        let written = fs::read_to_string(project().join(file)).unwrap_or_default().replace("\r\n", "\n");
        let differs = written.lines().zip(made.out.lines()).position(|(old, new)| old != new);
        let line = differs.unwrap_or(written.lines().count().min(made.out.lines().count())) + 1;
        assert!(
            written == made.out,
            "{file} is out of date from line {line} on; make it again:\n  cargo run --release -- {} > {file}",
            arguments.join(" ")
        );
    }
    serde_json::from_str::<serde_json::Value>(&Place::new().splitwave(&["schema"]).out).unwrap();
}

#[test]
fn the_two_commands_of_the_readme() {
    let Ok(readme) = fs::read_to_string(project().join("README.md")) else {
        println!("there is no README.md yet");
        return;
    };
    for command in ["cargo run --release -- run scenarios/quickstart.toml", "cargo test --release"] {
        assert!(readme.lines().any(|line| line == command), "README.md doesn't say `{command}` on a line of its own");
    }
}

/// The targets of `[text](target)` in a page, outside code.
fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        // Every other piece between backquotes is code.
        let pieces = line.split('`').step_by(2).filter(|_| !is_code);
        for piece in pieces {
            let targets = piece.match_indices("](").filter_map(|(at, open)| piece[at + open.len()..].split(')').next());
            found.extend(targets);
        }
    }
    found
}

#[test]
fn every_relative_link_leads_somewhere() {
    assert_eq!(
        links("[a](b.md) and ![c](d/e.png) `[f](g)`\n```\n[h](i)\n```\n[`j`](k.md#l)"),
        ["b.md", "d/e.png", "k.md#l"]
    );
    let mut dead = Vec::new();
    for (page, text) in all_pages() {
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            if !target.exists() {
                dead.push(format!("{}: {link}", page.display()));
            } else if !anchor.is_empty() && target.extension().is_some_and(|extension| extension == "md") {
                let headings = fs::read_to_string(&target).unwrap();
                if !headings.lines().filter(|line| line.starts_with('#')).any(|line| slug(line) == anchor) {
                    dead.push(format!("{}: {link}: no such heading", page.display()));
                }
            }
        }
    }
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_toml_block_is_a_scenario() {
    let mut blocks = 0;
    for (page, text) in all_pages() {
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("\n```").next().unwrap();
            let named = block.lines().any(|line| line.starts_with("name ="));
            let scenario = if named { block.to_owned() } else { format!("name = \"block\"\n{block}") };
            if let Err(bad) = LoadedScenario::from_bytes(Path::new("block.toml"), scenario.as_bytes(), &[]) {
                let problems: Vec<String> = bad.problems.iter().map(ToString::to_string).collect();
                panic!("{}: {}\n{scenario}", page.display(), problems.join("\n"));
            }
            blocks += 1;
        }
    }
    assert!(blocks >= 1 || !project().join("README.md").exists(), "README.md shows no scenario");
}
