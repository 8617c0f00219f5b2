//! The sources obey the floors: imports run strictly downwards, and siblings
//! don't know each other. ARCHITECTURE.md says why; this file says what, and
//! `FLOORS` is the one place where a new folder of `src/` gets its floor.
//!
//! Every file under `src/` is parsed. A path counts wherever it stands: in a `use`
//! tree, in an expression, type or bound, in the arguments of a macro or an
//! attribute. It counts if it starts at the crate (`crate::`, `$crate::`, the
//! crate's own name) or climbs by `super::` into another floor.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, Macro, MetaList, UseTree};

/// Top-level modules, from the ground up.
const FLOORS: [&[&str]; 10] = [
    &["units", "stats"],
    &["kernel"],
    &["channel", "llm", "rl"],
    &["radio"],
    &["network"],
    &["control", "record"],
    &["scenario"],
    &["run"],
    &["study"],
    &["cli"],
];
/// Files that stand above all floors.
const ROOTS: [&str; 2] = ["main", "lib"];
/// Who may write to the terminal.
const PRINTERS: [&str; 2] = ["cli", "main"];
/// Who may read the clock.
const CLOCK_READERS: [&str; 3] = ["run", "study", "cli"];
const LONGEST_FILE: usize = 500;
const CRATE: &str = env!("CARGO_PKG_NAME");

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// The module path of a source file: `src/kernel/calendar/tests.rs` is
/// `[kernel, calendar, tests]`, `src/kernel/mod.rs` is `[kernel]`.
fn module_path(file: &str) -> Vec<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file);
    let path = inside.strip_suffix(".rs").unwrap_or(inside);
    path.strip_suffix("/mod").unwrap_or(path).split('/').map(str::to_owned).collect()
}

fn for_tests(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test");
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg") && is_test(attribute))
}

/// Every violation of `files`, pairs of a path such as `src/kernel/mod.rs` and its text.
fn violations(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut parsed = Vec::new();
    for (file, text) in files {
        match syn::parse_file(text) {
            Ok(syntax) => parsed.push((file, text, syntax)),
            Err(error) => found.push(format!("{file}:{}: {error}", error.span().start().line)),
        }
    }
    // Unit tests in a file of their own: `#[cfg(test)] mod tests;`.
    let mut test_modules = BTreeSet::new();
    for (file, _, syntax) in &parsed {
        for item in &syntax.items {
            match item {
                syn::Item::Mod(module) if for_tests(&module.attrs) => {
                    test_modules.insert([module_path(file), vec![module.ident.to_string()]].concat());
                }
                _ => {}
            }
        }
    }
    for (file, text, syntax) in &parsed {
        let module = module_path(file);
        let top = module[0].clone();
        let is_root = module.len() == 1 && ROOTS.contains(&top.as_str());
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            found.push(format!("{file}: {lines} lines; {LONGEST_FILE} are allowed: one idea per file"));
        }
        if !is_root && floor(&top).is_none() {
            found.push(format!("{file}: `{top}` has no floor: give it one in tests/it/floors.rs"));
            continue;
        }
        let in_tests = (1..=module.len()).any(|length| test_modules.contains(&module[..length]));
        let here = if is_root { Vec::new() } else { module };
        let mut reader = Reader { top, here, in_tests, found: Vec::new() };
        reader.visit_file(syntax);
        reader.found.sort();
        reader.found.dedup();
        found.extend(reader.found.into_iter().map(|(line, problem)| format!("{file}:{line}: {problem}")));
    }
    found
}

/// Walks through one file.
struct Reader {
    /// The module of `FLOORS` or the root that the file belongs to.
    top: String,
    /// The module that is being read, from the crate's root.
    here: Vec<String>,
    in_tests: bool,
    /// Line and problem.
    found: Vec<(usize, String)>,
}

impl Reader {
    fn report(&mut self, span: Span, problem: String) {
        self.found.push((span.start().line, problem));
    }

    /// The path from the crate's root; `None` if it starts elsewhere.
    fn absolute<'p>(&'p self, path: &'p [String]) -> Option<Vec<&'p str>> {
        let (mut absolute, mut rest) = match path.first()?.as_str() {
            name if name == "crate" || name == CRATE => (Vec::new(), &path[1..]),
            "self" | "super" => (self.here.iter().map(String::as_str).collect(), path),
            _ => return None,
        };
        while let Some((first, after)) = rest.split_first() {
            match first.as_str() {
                "self" => {}
                "super" => drop(absolute.pop()?),
                _ => break,
            }
            rest = after;
        }
        absolute.extend(rest.iter().map(String::as_str).filter(|name| *name != "self"));
        Some(absolute)
    }

    /// Judges a path. What an import names is known only if it isn't the crate's root itself.
    fn reach(&mut self, path: &[String], span: Span, is_import: bool) {
        if path.len() > 1 || is_import {
            self.reach_floor(path, span, is_import);
        }
        self.reach_clock(path, span);
    }

    fn reach_floor(&mut self, path: &[String], span: Span, is_import: bool) {
        let Some(own) = floor(&self.top) else { return };
        let Some(absolute) = self.absolute(path) else { return };
        let top = &self.top;
        let problem = match absolute.first() {
            None | Some(&"*") if is_import => format!("`{top}` must not import the crate's root: name the module"),
            None => return,
            Some(target) if target == top => return,
            Some(target) => match floor(target) {
                Some(other) if other < own => return,
                Some(other) => format!("`{top}` (floor {own}) must not use `{target}` (floor {other})"),
                None => format!("`{top}` (floor {own}) must not use `{target}`, which has no floor"),
            },
        };
        self.report(span, problem);
    }

    fn reach_clock(&mut self, path: &[String], span: Span) {
        let inside = path.strip_prefix(&["std".to_owned()]).unwrap_or(path);
        if let [time, name, ..] = inside
            && time == "time"
            && matches!(name.as_str(), "Instant" | "SystemTime" | "UNIX_EPOCH" | "*")
            && !CLOCK_READERS.contains(&self.top.as_str())
        {
            self.report(span, format!("`time::{name}` in `{}`: only run/, study/ and cli/ read the clock", self.top));
        }
    }

    fn reach_terminal(&mut self, macro_name: &str, span: Span) {
        let forbidden = match macro_name {
            "print" | "println" | "eprint" | "eprintln" => !self.in_tests,
            "dbg" => true,
            _ => false,
        };
        if forbidden && !PRINTERS.contains(&self.top.as_str()) {
            self.report(span, format!("`{macro_name}!` in `{}`: only cli/ and main.rs print", self.top));
        }
    }

    /// Judges each leaf of an import.
    fn import(&mut self, tree: &UseTree, prefix: &[String]) {
        let (name, span, branch) = match tree {
            UseTree::Path(path) => (path.ident.to_string(), path.ident.span(), Some(&*path.tree)),
            UseTree::Name(leaf) => (leaf.ident.to_string(), leaf.ident.span(), None),
            UseTree::Rename(leaf) => (leaf.ident.to_string(), leaf.ident.span(), None),
            UseTree::Glob(leaf) => ("*".to_owned(), leaf.star_token.spans[0], None),
            UseTree::Group(group) => {
                group.items.iter().for_each(|item| self.import(item, prefix));
                return;
            }
        };
        let mut path = prefix.to_vec();
        path.push(name);
        match branch {
            Some(branch) => self.import(branch, &path),
            None => self.reach(&path, span, true),
        }
    }

    /// Reads what the syntax tree leaves unparsed: arguments of macros and attributes.
    fn tokens(&mut self, stream: TokenStream) {
        let trees: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < trees.len() {
            let length = match &trees[at] {
                TokenTree::Group(group) => {
                    self.tokens(group.stream());
                    1
                }
                TokenTree::Ident(name) => {
                    if trees.get(at + 1).is_some_and(|next| is_punct(next, '!')) {
                        self.reach_terminal(&name.to_string(), name.span());
                    }
                    self.token_path(&trees[at..])
                }
                // `#[serde(with = "crate::…")]` names paths in strings.
                TokenTree::Literal(literal) => {
                    if let Ok(text) = syn::parse_str::<syn::LitStr>(&literal.to_string())
                        && let Ok(path) = syn::parse_str::<syn::Path>(&text.value())
                    {
                        self.reach(&names(&path), literal.span(), false);
                    }
                    1
                }
                TokenTree::Punct(_) => 1,
            };
            at += length;
        }
    }

    /// Judges the path that `trees` starts with, and tells its length. It is read as an import, so that
    /// `crate::{…}` and `crate::*` in a macro are understood too.
    fn token_path(&mut self, trees: &[TokenTree]) -> usize {
        let mut length = 1;
        while let [first, second, leaf, ..] = &trees[length..]
            && is_punct(first, ':')
            && is_punct(second, ':')
        {
            let is_leaf = match leaf {
                TokenTree::Ident(_) => true,
                TokenTree::Punct(star) => star.as_char() == '*',
                TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
                TokenTree::Literal(_) => false,
            };
            if !is_leaf {
                break;
            }
            length += 3;
            if !matches!(leaf, TokenTree::Ident(_)) {
                break;
            }
        }
        if length > 1
            && let Ok(tree) = syn::parse2::<UseTree>(trees[..length].iter().cloned().collect())
        {
            self.import(&tree, &[]);
        }
        length
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        if floor(&self.top).is_none() && self.here.is_empty() && floor(&module.ident.to_string()).is_none() {
            let problem = format!("`{}` has no floor: give it one in tests/it/floors.rs", module.ident);
            self.report(module.ident.span(), problem);
        }
        if module.attrs.iter().any(|attribute| attribute.path().is_ident("path")) {
            self.report(module.ident.span(), "`#[path]` hides on which floor a module stands".to_owned());
        }
        let outside = self.in_tests;
        self.in_tests |= for_tests(&module.attrs);
        self.here.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.here.pop();
        self.in_tests = outside;
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        self.import(&import.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if let Some(first) = path.segments.first() {
            self.reach(&names(path), first.ident.span(), false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast Macro) {
        if let Some(last) = called.path.segments.last() {
            self.reach_terminal(&last.ident.to_string(), last.ident.span());
        }
        self.tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }

    fn visit_meta_list(&mut self, list: &'ast MetaList) {
        self.tokens(list.tokens.clone());
        visit::visit_meta_list(self, list);
    }
}

fn names(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

fn is_punct(tree: &TokenTree, character: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == character)
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_sources_obey_the_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    rust_files(&root.join("src"), &mut paths);
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        (name, std::fs::read_to_string(path).unwrap())
    };
    let files: Vec<_> = paths.iter().map(read).collect();
    assert!(files.iter().any(|(name, _)| name == "src/lib.rs"), "the sources are there");
    let found = violations(&files);
    assert!(found.is_empty(), "{} violations:\n{}", found.len(), found.join("\n"));
}

/// The violations of one synthetic file.
fn of(file: &str, text: &str) -> Vec<String> {
    violations(&[(file.to_owned(), text.to_owned())])
}

#[test]
fn upward_and_sideways_paths_are_caught() {
    let upwards = "src/channel/fading.rs:1: `channel` (floor 2) must not use `network` (floor 4)";
    for text in [
        "use crate::network::World;",
        "use crate::{kernel::{Streams, Calendar}, network::{self as net, World}};",
        "use crate::network::*;",
        "pub use crate::network as below;",
        "use super::super::network::World;",
        "use super::{super::network::World};",
        "mod inner { use super::super::super::network::World; }",
        "use splitwave::network::World;",
        "fn f() -> crate::network::World { loop {} }",
        "fn f() { crate::network::run::<u8>(); }",
        "fn f() { super::super::network::run(); }",
        "fn f<T: Into<crate::network::World>>() {}",
        "fn f() { assert_eq!(1, [crate::network::run(2)][0]); }",
        "macro_rules! m { () => { $crate::network::run() }; }",
        "macro_rules! m { () => { use $crate::{kernel::Streams, network::World}; }; }",
        "#[derive(crate::network::Row)] struct S;",
        "struct S { #[serde(with = \"crate::network::seconds\")] t: u64 }",
        "#[cfg(test)] mod tests { use crate::network::World; }",
        "impl crate::network::Port for S {}",
        "pub(in crate::network) struct S;",
    ] {
        assert_eq!(of("src/channel/fading.rs", text), [upwards], "{text}");
    }
    assert_eq!(
        of("src/channel/mod.rs", "use crate::kernel::Streams;\n\nuse super::llm::Decoder;"),
        ["src/channel/mod.rs:3: `channel` (floor 2) must not use `llm` (floor 2)"]
    );
    assert_eq!(
        of("src/units.rs", "use crate::stats::Moments;"),
        ["src/units.rs:1: `units` (floor 0) must not use `stats` (floor 0)"]
    );
}

#[test]
fn the_crates_root_and_modules_without_a_floor_are_caught() {
    for text in ["use crate::*;", "use super::super::*;", "use super::super as root;", "use crate::{self as root};"] {
        let found = of("src/network/ue.rs", text);
        assert_eq!(
            found,
            ["src/network/ue.rs:1: `network` must not import the crate's root: name the module"],
            "{text}"
        );
    }
    assert_eq!(
        of("src/network/ue.rs", "use crate::Simulation;"),
        ["src/network/ue.rs:1: `network` (floor 4) must not use `Simulation`, which has no floor"]
    );
    assert_eq!(
        of("src/helpers/mod.rs", ""),
        ["src/helpers/mod.rs: `helpers` has no floor: give it one in tests/it/floors.rs"]
    );
    assert_eq!(
        of("src/lib.rs", "pub mod units;\npub mod helpers;"),
        ["src/lib.rs:2: `helpers` has no floor: give it one in tests/it/floors.rs"]
    );
    assert_eq!(
        of("src/kernel/mod.rs", "#[path = \"../network/ue.rs\"] mod ue;"),
        ["src/kernel/mod.rs:1: `#[path]` hides on which floor a module stands"]
    );
    assert_eq!(of("src/kernel/mod.rs", "\nfn f( {").len(), 1, "a file that doesn't parse");
}

#[test]
fn printing_clocks_and_long_files_are_caught() {
    for (text, name) in [
        ("fn f() { println!(\"\"); }", "println"),
        ("fn f() { std::eprint!(\"\"); }", "eprint"),
        ("fn f() { assert!(dbg!(true)); }", "dbg"),
        ("#[cfg(test)] mod tests { fn f() { dbg!(1); } }", "dbg"),
    ] {
        let expected = format!("src/kernel/mod.rs:1: `{name}!` in `kernel`: only cli/ and main.rs print");
        assert_eq!(of("src/kernel/mod.rs", text), [expected], "{text}");
    }
    assert_eq!(of("src/lib.rs", "fn f() { println!(); }").len(), 1);
    for (text, name) in [
        ("use std::time::{Duration, Instant};", "Instant"),
        ("use std::{fs, time::SystemTime as Clock};", "SystemTime"),
        ("use std::time::*;", "*"),
        ("fn f() { std::time::UNIX_EPOCH; }", "UNIX_EPOCH"),
        ("use std::time; fn f() { time::Instant::now(); }", "Instant"),
        ("fn f() { vec![std::time::Instant::now()]; }", "Instant"),
    ] {
        let expected =
            format!("src/record/mod.rs:1: `time::{name}` in `record`: only run/, study/ and cli/ read the clock");
        assert_eq!(of("src/record/mod.rs", text), [expected], "{text}");
    }
    assert!(of("src/stats/mod.rs", &"\n".repeat(LONGEST_FILE)).is_empty());
    assert_eq!(
        of("src/stats/mod.rs", &"\n".repeat(LONGEST_FILE + 1)),
        ["src/stats/mod.rs: 501 lines; 500 are allowed: one idea per file"]
    );
}

#[test]
fn what_is_allowed_passes() {
    for (file, text) in [
        (
            "src/network/ue.rs",
            "use crate::{channel, llm::Decoder, network::spec}; use super::world; use std::time::Duration;",
        ),
        (
            "src/network/ue.rs",
            "pub(crate) struct S; pub(super) fn f() { self::g(); super::h::<crate::units::SimTime>(); }",
        ),
        ("src/network/ue.rs", "fn f(network: u8) { let cli = network; run(cli, \"use crate::network\"); }"),
        (
            "src/channel/mod.rs",
            "//! [`World`](crate::network::World)\nuse crate::units::SimTime; mod time {} use time::Grid;",
        ),
        ("src/channel/mod.rs", "#[cfg(test)] mod tests { use super::*; fn f() { println!(); } }"),
        ("src/run/manifest.rs", "use std::time::Instant; use crate::scenario::Scenario;"),
        ("src/cli/mod.rs", "fn f() { println!(\"{:?}\", std::time::Instant::now()); crate::run::go(); }"),
        ("src/main.rs", "mod cli; fn main() { eprintln!(); splitwave::study::plan(); crate::cli::main(); }"),
        ("src/lib.rs", "pub mod units; pub use crate::units::SimTime; pub use network::World;"),
    ] {
        assert_eq!(of(file, text), [""; 0], "{text}");
    }
    let out_of_line = [
        ("src/kernel/calendar.rs".to_owned(), "#[cfg(test)]\nmod tests;".to_owned()),
        ("src/kernel/calendar/tests.rs".to_owned(), "fn f() { println!(); }".to_owned()),
    ];
    assert_eq!(violations(&out_of_line), [""; 0]);
    assert_eq!(violations(&out_of_line[1..]).len(), 1);
}
