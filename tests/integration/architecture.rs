//! The layout holds: who may import whom, who owns which crate, where tasks may begin, how long a file may be.

use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// Stages and what they may import of this crate.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("supervisor", &[]),
    ("docker", &["supervisor"]),
    ("tail", &["docker"]),
    ("hub", &["docker", "tail", "supervisor", "proto"]),
    ("grpc", &["docker", "tail", "hub", "supervisor", "proto"]),
    ("admin", &["docker", "hub", "supervisor"]),
    ("proto", &[]),
    ("shutdown", &[]),
    ("telemetry", &[]),
];

/// What wires the stages, and may import all of them.
const WIRES: [&str; 6] = ["app", "config", "demo", "lib", "main", "simulation"];

/// Crates and the only stages, or folders of them, that may name them.
const OWNED_BY: &[(&str, &[&str])] = &[
    ("bollard", &["docker"]),
    ("tonic", &["grpc", "proto"]),
    ("tonic_health", &["grpc"]),
    ("tonic_reflection", &["grpc"]),
    ("tonic_types", &["grpc"]),
    ("axum", &["admin"]),
    ("anyhow", &["main", "demo", "telemetry"]),
    ("pulsetail_client", &["main", "tail/model/"]),
    ("pulsetail_sim", &["demo", "simulation"]),
];

/// Files in which a task may begin without an owner, each for the reason its `allow` gives.
const MAY_SPAWN: &[&str] = &["docker/transport/mod.rs", "shutdown.rs"];

const MAX_LINES: usize = 400;

const BANNED_NAMES: [&str; 5] = ["utils", "util", "common", "types", "manager"];

/// Every path that a file names, from its first segment on.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Paths {
    fn of(source: &str) -> Vec<Vec<String>> {
        let mut paths = Self::default();
        paths.visit_file(&syn::parse_file(source).expect("src/ compiles"));
        paths.0
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.0.push(with(&name.ident)),
            syn::UseTree::Rename(rename) => self.0.push(with(&rename.ident)),
            syn::UseTree::Glob(_) => self.0.push([before, &["*".to_owned()]].concat()),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.tree(before, tree));
            }
        }
    }

    /// Paths in tokens that nobody has parsed: words joined by `::`.
    fn tokens(&mut self, text: &str) {
        let joined = text.replace(" :: ", "::");
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
        let words = joined.split(|c| !is_part(c)).filter(|w| w.contains("::"));
        let paths = words.map(|w| w.split("::").filter(|s| !s.is_empty()).map(str::to_owned));
        self.0.extend(paths.map(Iterator::collect));
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments = path.segments.iter().map(|s| s.ident.to_string());
        self.0.push(segments.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        self.tokens(&mac.tokens.to_string());
        visit::visit_macro(self, mac);
    }
}

/// What a file must not do, one line each. `file` is its path in `src/`.
fn offences(file: &str, source: &str) -> Vec<String> {
    let stage = stage_of(file);
    let allowed = MAY_IMPORT.iter().find(|(name, _)| *name == stage);
    let mut offences = Vec::new();
    for path in Paths::of(source) {
        let Some(told) = absolute(file, &path) else {
            continue;
        };
        let shown = path.join("::");
        match (told, allowed) {
            (Told::Here(other), Some((_, may))) if other != stage && !may.contains(&&*other) => {
                offences.push(format!("{file}: {stage} must not import {shown}"));
            }
            (Told::Crate(name), _) => {
                let owners = OWNED_BY.iter().find(|(owned, _)| *owned == name);
                let owns = |owner: &&str| match owner.ends_with('/') {
                    true => file.starts_with(owner),
                    false => *owner == stage,
                };
                if owners.is_some_and(|(_, owners)| !owners.iter().any(owns)) {
                    offences.push(format!("{file}: {stage} must not name {shown}"));
                }
                let spawns = shown.ends_with("tokio::spawn") || shown == "tokio::task::spawn";
                if spawns && !MAY_SPAWN.contains(&file) {
                    offences.push(format!("{file}: {shown}"));
                }
            }
            (Told::Here(_), _) => {}
        }
    }
    offences
}

enum Told {
    /// A top-level module of this crate.
    Here(String),
    /// Another crate, or a name from the file itself.
    Crate(String),
}

/// Where a path leads; `None`: nowhere outside of its stage.
fn absolute(file: &str, path: &[String]) -> Option<Told> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => rest.first().cloned().map(Told::Here),
        // Up to the crate's root, if a stage stands there; a test module may go up once more.
        "super" => {
            let ups = path.iter().take_while(|s| *s == "super").count();
            let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let other = path
                .get(ups)
                .filter(|name| MAY_IMPORT.iter().any(|(stage, _)| stage == name));
            let at_root = ups >= module.split('/').count();
            other.filter(|_| at_root).cloned().map(Told::Here)
        }
        "self" | "Self" => None,
        _ => Some(Told::Crate(first.clone())),
    }
}

fn stage_of(file: &str) -> &str {
    let top = file.split('/').next().unwrap_or(file);
    top.trim_end_matches(".rs")
}

fn source_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of `src/` with its path in there and its text.
fn sources() -> Vec<(String, String)> {
    let (mut folders, mut files) = (vec![source_folder()], Vec::new());
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(folder).expect("src/ is readable") {
            let path = item.expect("src/ is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(source_folder()).expect("it is inside");
                let text = fs::read_to_string(&path).expect("it is text");
                files.push((name.display().to_string(), text));
            }
        }
    }
    assert!(files.len() > 30, "src/ was not found");
    files
}

#[test]
fn stages_import_upstream_only_and_crates_stay_with_their_owners() {
    let sources = sources();
    let offences: Vec<_> = sources.iter().flat_map(|(f, s)| offences(f, s)).collect();
    assert!(offences.is_empty(), "{offences:#?}");
}

#[test]
fn whatever_stands_in_src_is_in_the_table_and_named_for_what_it_is() {
    for (file, _) in sources() {
        let stage = stage_of(&file);
        let listed = MAY_IMPORT.iter().any(|(name, _)| *name == stage);
        assert!(
            listed || WIRES.contains(&stage),
            "{file} is of no known stage"
        );
        let mut names = file.trim_end_matches(".rs").split('/');
        assert!(names.all(|name| !BANNED_NAMES.contains(&name)), "{file}");
    }
}

#[test]
fn no_file_passes_400_lines() {
    for (file, source) in sources() {
        let lines = source.lines().count();
        assert!(lines <= MAX_LINES, "{file} has {lines} lines");
    }
}

#[test]
fn the_list_of_exceptions_holds_nothing_that_is_none() {
    let sources = sources();
    let source = |name: &str| sources.iter().find(|(file, _)| file == name);
    for file in MAY_SPAWN {
        let (_, text) = source(file).expect("a listed file exists");
        assert!(text.contains("tokio::spawn"), "{file} spawns no more");
    }
}

#[test]
fn what_is_forbidden_is_found_however_it_is_written() {
    let forbidden = [
        ("tail/live/mod.rs", "use crate::hub::Log;"),
        (
            "tail/live/mod.rs",
            "use crate::{docker::Record, grpc::Server};",
        ),
        ("tail/live/mod.rs", "fn f() -> crate::hub::Log { loop {} }"),
        ("tail/live/mod.rs", "fn f() { let _ = crate::grpc::serve; }"),
        (
            "tail/live/mod.rs",
            "fn f() { assert!(crate::hub::CAP > 1); }",
        ),
        ("tail/live/mod.rs", "use super::super::hub::Log;"),
        ("tail/model/log.rs", "use super::super::super::hub::Log;"),
        ("hub/log.rs", "use tonic::Status;"),
        ("hub/log.rs", "use ::bollard::{self, Docker as Engine};"),
        ("docker/engine.rs", "use crate::tail::*;"),
        ("admin/mod.rs", "type T = bollard::Docker;"),
        ("app.rs", "fn f() { tokio::spawn(async {}); }"),
        ("hub/log.rs", "use tokio::{spawn, time::sleep};"),
        ("grpc/log.rs", "use pulsetail_sim::Sim;"),
        ("tail/cursor.rs", "use pulsetail_client::history::Chain;"),
    ];
    for (file, source) in forbidden {
        assert!(!offences(file, source).is_empty(), "{file}: {source}");
    }
}

#[test]
fn what_is_allowed_passes() {
    let allowed = [
        (
            "grpc/log.rs",
            "use crate::{hub::{Ended, OpenError}, tail::Cursor}; use tonic::Status;",
        ),
        (
            "tail/live/mod.rs",
            "use super::Next; mod tests { use super::super::Delivery; }",
        ),
        (
            "tail/live/mod.rs",
            "fn f() { crate::docker::Tail::All; Self::g(); debug!(\"hub::x\"); }",
        ),
        ("app.rs", "use crate::{admin, docker, grpc, hub, tail};"),
        ("shutdown.rs", "fn f() { tokio::spawn(async {}); }"),
        (
            "tail/model/validator.rs",
            "use pulsetail_client::history::Chain;",
        ),
    ];
    for (file, source) in allowed {
        assert_eq!(offences(file, source), [""; 0], "{source}");
    }
}
