//! The table of floors against small workspaces on disk, each broken in one way.

use std::fs;
use std::path::Path;

use super::check;
use crate::tidy::workspace::Workspace;

const TABLE: &str = "\
# Architecture

| floor | crate | imports | keeps to itself |
|--:|---|---|---|
| 0 | `pikaci` | — | toml |
| 1 | `pikaci-engine` | `pikaci` | |
| 2 | `pika-news` | `pikaci` | axum |
| 3 | `xtask` | all | |
";

/// The violations of a workspace that has this table and these `[dependencies]` of each crate.
fn broken(table: &str, dependencies: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let inherited = "[workspace.dependencies]\npikaci = { path = \"crates/pikaci\" }\nanyhow = \"1\"\n";
    write(
        &root.join("Cargo.toml"),
        &format!("[workspace]\nmembers = [\"crates/*\", \"xtask\"]\n{inherited}"),
    );
    write(&root.join("ARCHITECTURE.md"), table);
    for name in ["pikaci", "pikaci-engine", "pika-news", "xtask"] {
        let lines = dependencies.iter().filter(|(of, _)| *of == name).map(|(_, line)| *line);
        let lines = lines.collect::<Vec<_>>().join("\n");
        let place = if name == "xtask" { root.join(name) } else { root.join("crates").join(name) };
        write(&place.join("Cargo.toml"), &format!("[package]\nname = \"{name}\"\n[dependencies]\n{lines}\n"));
    }
    let workspace = Workspace::read(root).unwrap();
    check(&workspace).iter().map(ToString::to_string).collect()
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Asserts that there is one violation, and that it says all of these.
#[track_caller]
fn assert_one(violations: &[String], words: &[&str]) {
    assert_eq!(violations.len(), 1, "{violations:#?}");
    for word in words {
        assert!(violations[0].contains(word), "{word:?} is not in {:?}", violations[0]);
    }
}

#[test]
fn a_workspace_as_its_table_says_has_no_violation() {
    let dependencies = [
        ("pikaci-engine", "pikaci.workspace = true"),
        ("pika-news", "pikaci.workspace = true"),
        ("pika-news", "anyhow.workspace = true"),
        ("xtask", "pikaci-engine = { path = \"../crates/pikaci-engine\" }"),
    ];
    assert_eq!(broken(TABLE, &dependencies), Vec::<String>::new());
}

#[test]
fn an_import_that_the_table_does_not_list_is_found_at_its_line() {
    let upwards = [("pikaci", "serde = \"1\""), ("pikaci", "xtask = { path = \"../../xtask\" }")];
    assert_one(&broken(TABLE, &upwards), &["crates/pikaci/Cargo.toml:5:", "does not list"]);
}

#[test]
fn an_import_for_tests_or_for_one_system_counts_as_well() {
    let dev = [("pikaci", "[dev-dependencies]\nxtask = { path = \"../../xtask\" }")];
    assert_one(&broken(TABLE, &dev), &["does not list"]);
    let unix = [("pikaci", "[target.'cfg(unix)'.dependencies]\nxtask = { path = \"../../xtask\" }")];
    assert_one(&broken(TABLE, &unix), &["does not list"]);
}

#[test]
fn a_row_that_lists_its_own_floor_or_a_higher_one_is_found() {
    let table = TABLE.replace("| 0 | `pikaci` | — |", "| 0 | `pikaci` | `pikaci-engine` |");
    assert_one(&broken(&table, &[]), &["ARCHITECTURE.md:5:", "not on a lower floor"]);
    let same_floor = TABLE.replace("| 1 | `pikaci-engine`", "| 0 | `pikaci-engine`");
    let dependencies = [("pikaci-engine", "pikaci.workspace = true")];
    let violations = broken(&same_floor, &dependencies);
    assert!(
        violations.iter().any(|text| text.contains("crates/pikaci-engine/Cargo.toml:4:")),
        "{violations:?}"
    );
}

#[test]
fn a_crate_without_a_row_and_a_row_without_a_crate_are_found() {
    let table = TABLE.replace("| 2 | `pika-news` | `pikaci` | axum |\n", "");
    assert_one(&broken(&table, &[]), &["crates/pika-news/Cargo.toml:2:", "give it a row"]);
    let table = format!("{TABLE}| 2 | `pika-tutorial` | `pikaci` | |\n");
    assert_one(&broken(&table, &[]), &["ARCHITECTURE.md:9:", "no member of the workspace"]);
}

#[test]
fn the_engine_is_found_in_the_tree_of_the_forge_on_any_way() {
    let table =
        TABLE.replace("| 2 | `pika-news` | `pikaci` |", "| 2 | `pika-news` | `pikaci`, `pikaci-engine` |");
    let dependencies = [("pika-news", "pikaci-engine = { path = \"../pikaci-engine\" }")];
    assert_one(&broken(&table, &dependencies), &["crates/pika-news/Cargo.toml:1:", "spawns `pikaci`"]);
}

#[test]
fn anyhow_is_found_in_a_library_and_allowed_in_its_tests() {
    assert_one(
        &broken(TABLE, &[("pikaci", "anyhow.workspace = true")]),
        &["crates/pikaci/Cargo.toml:4:", "thiserror"],
    );
    assert_eq!(broken(TABLE, &[("pikaci", "[dev-dependencies]\nanyhow = \"1\"")]), Vec::<String>::new());
}

#[test]
fn a_document_without_a_table_is_a_violation() {
    let violations = broken("# Architecture\n", &[]);
    assert!(violations[0].contains("no table of floors found"), "{violations:?}");
}
