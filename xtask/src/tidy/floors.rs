//! Holds the table of floors in ARCHITECTURE.md against every Cargo.toml.
//!
//! Invariant: the table is the only place that says who may import whom.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::Violation;
use super::workspace::Workspace;

/// What must never be reached from where, on whatever way.
const NEVER: [(&str, &str); 1] = [("pika-news", "pikaci-engine")];

/// One row of the table.
struct Floor<'a> {
    line: usize,
    number: u32,
    imports: Imports<'a>,
}

enum Imports<'a> {
    All,
    Listed(Vec<&'a str>),
}

/// Finds where the table and the manifests disagree.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let (floors, mut violations) = parse(&workspace.architecture);
    check_rows(workspace, &floors, &mut violations);
    for (name, member) in &workspace.members {
        let report = |dependency: &str, message: String| Violation {
            file: member.manifest(),
            line: member.line_of(dependency),
            message,
        };
        let Some(floor) = floors.get(name.as_str()) else {
            let message = format!("{name} is not in the table of floors; give it a row in ARCHITECTURE.md");
            violations.push(report("name", message));
            continue;
        };
        for dependency in &member.dependencies {
            let target = dependency.name.as_str();
            if dependency.is_path {
                violations.extend(
                    broken_import(name, floor, target, &floors).map(|message| report(target, message)),
                );
            } else if target == "anyhow" && !dependency.is_dev && is_library(name, &floors) {
                let message =
                    format!("{name} is a library: define its errors with thiserror instead of anyhow");
                violations.push(report(target, message));
            }
        }
    }
    violations.extend(check_never(workspace));
    violations
}

/// Why `name` may not import `target`, if it may not.
fn broken_import(
    name: &str,
    floor: &Floor<'_>,
    target: &str,
    floors: &BTreeMap<&str, Floor<'_>>,
) -> Option<String> {
    let is_listed = match &floor.imports {
        Imports::All => true,
        Imports::Listed(imports) => imports.contains(&target),
    };
    if !is_listed {
        return Some(format!(
            "{name} imports {target}, which its row in the table of floors does not list; drop the dependency, or \
             change ARCHITECTURE.md in the same commit and say why"
        ));
    }
    let number = floors.get(target)?.number;
    (number >= floor.number).then(|| {
        format!(
            "{name} (floor {}) imports {target} (floor {number}); a crate imports only from lower floors: move what \
             is shared down",
            floor.number
        )
    })
}

/// A crate that another one's row names is a library; what nobody imports is a program.
fn is_library(name: &str, floors: &BTreeMap<&str, Floor<'_>>) -> bool {
    floors.values().any(|floor| match &floor.imports {
        Imports::All => false,
        Imports::Listed(imports) => imports.contains(&name),
    })
}

fn check_rows(workspace: &Workspace, floors: &BTreeMap<&str, Floor<'_>>, violations: &mut Vec<Violation>) {
    for (name, floor) in floors {
        let mut report = |message: String| {
            violations.push(Violation { file: PathBuf::from("ARCHITECTURE.md"), line: floor.line, message });
        };
        if !workspace.members.contains_key(*name) {
            report(format!("the table names {name}, which is no member of the workspace; remove the row"));
        }
        let Imports::Listed(imports) = &floor.imports else { continue };
        for import in imports {
            match floors.get(import) {
                Some(lower) if lower.number < floor.number => {}
                Some(_) => {
                    report(format!("{name} lists {import}, which is not on a lower floor; mend the row"));
                }
                None => report(format!("{name} lists {import}, which has no row; mend the row")),
            }
        }
    }
}

fn check_never(workspace: &Workspace) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (from, never) in NEVER {
        let Some(member) = workspace.members.get(from) else { continue };
        let mut reached = BTreeSet::new();
        let mut open = vec![from];
        while let Some(name) = open.pop() {
            let Some(member) = workspace.members.get(name) else { continue };
            for dependency in member.dependencies.iter().filter(|dependency| dependency.is_path) {
                if reached.insert(dependency.name.as_str()) {
                    open.push(&dependency.name);
                }
            }
        }
        if reached.contains(never) {
            let message =
                format!("{never} is in {from}'s tree; {from} spawns `pikaci` instead of linking it");
            violations.push(Violation { file: member.manifest(), line: 1, message });
        }
    }
    violations
}

/// Reads the rows `| floor | crate | imports | … |`. A document without any is itself a violation.
fn parse(text: &str) -> (BTreeMap<&str, Floor<'_>>, Vec<Violation>) {
    let mut floors = BTreeMap::new();
    let mut violations = Vec::new();
    let mut report = |line: usize, message: &str| {
        violations.push(Violation { file: "ARCHITECTURE.md".into(), line, message: message.to_owned() });
    };
    for (index, line) in text.lines().enumerate() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", number, name, imports, ..] = cells[..] else { continue };
        let (Ok(number), Some(name)) = (number.parse(), code(name)) else { continue };
        let imports = match imports {
            "all" => Imports::All,
            "—" => Imports::Listed(Vec::new()),
            list => {
                let names: Option<Vec<&str>> = list.split(',').map(code).collect();
                let Some(names) = names else {
                    report(
                        index + 1,
                        "write the imports as `—`, `all`, or names in backticks with commas between",
                    );
                    continue;
                };
                Imports::Listed(names)
            }
        };
        if floors.insert(name, Floor { line: index + 1, number, imports }).is_some() {
            report(index + 1, "the crate has a row already; keep one");
        }
    }
    if floors.is_empty() {
        report(1, "no table of floors found; its rows are `| floor | crate | imports | keeps to itself |`");
    }
    (floors, violations)
}

fn code(text: &str) -> Option<&str> {
    text.trim().strip_prefix('`')?.strip_suffix('`')
}

#[cfg(test)]
mod tests;
