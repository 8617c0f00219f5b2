//! Tells the program which commit it is built from, where git knows.

use std::path::Path;
use std::process::Command;

fn main() {
    for path in ["build.rs", "src", ".git/HEAD", ".git/index", ".git/logs/HEAD"] {
        // A path that isn't there would run this with every build.
        if Path::new(path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    if let Some(commit) = git(&["rev-parse", "HEAD"]) {
        println!("cargo::rustc-env=SPLITWAVE_COMMIT={commit}");
        if let Some(changes) = git(&["status", "--porcelain", "--untracked-files=no"]) {
            println!("cargo::rustc-env=SPLITWAVE_DIRTY={}", !changes.is_empty());
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
