//! The Nix half: what can be shown of it without nixpkgs.
//!
//! Real `nix` in a store of the test's own; the real guest contract, forge, command line and Incus for what the modules
//! say. In the place of nixpkgs stands `tests/e2e/nix`, which knows types, priorities and the options that our modules
//! set, and nothing of what NixOS makes of them: `nix/README.md` says how to build that.

mod guest;
mod image;
mod payload;
mod service;
mod store;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use e2e::Finished;
use pikaci::guest as words;
use serde_json::Value;

use store::Store;

/// This repository.
fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// What our Nix files say: `tests/e2e/nix/evaluate.nix`.
fn evaluated() -> &'static Value {
    static EVALUATED: OnceLock<(Store, Value)> = OnceLock::new();
    let evaluate = || {
        let store = Store::new();
        let root = repository().canonicalize().unwrap();
        let expression = format!("import {0}/tests/e2e/nix/evaluate.nix {{ root = {0}; }}", root.display());
        let mut command = store.command("nix-instantiate");
        command.args(["--eval", "--strict", "--json", "--read-write-mode", "--expr"]).arg(expression);
        let value = Finished::of(&mut command).expect(0).json();
        (store, value)
    };
    &EVALUATED.get_or_init(evaluate).1
}

/// All files below a folder whose names end so.
fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

#[test]
fn every_nix_file_parses() {
    let mut files = files_below(&repository().join("nix"), ".nix");
    files.extend(files_below(&repository().join("tests/e2e/nix"), ".nix"));
    files.push(repository().join("flake.nix"));
    assert!(files.len() > 10, "{files:?}");
    let store = Store::new();
    Finished::of(store.command("nix-instantiate").arg("--parse").args(files)).expect(0);
    let broken = store.folder().join("broken.nix");
    std::fs::write(&broken, "{ a = ; }").unwrap();
    Finished::of(store.command("nix-instantiate").arg("--parse").arg(broken)).expect(1);
}

#[test]
fn nix_and_rust_use_the_same_words() {
    let contract = &evaluated()["contract"];
    let said = |name: &str| contract[name].as_str().unwrap_or_default();
    assert_eq!(contract["version"], words::IMAGE_CONTRACT_VERSION);
    assert_eq!(contract["userId"], words::USER_ID);
    assert_eq!(said("user"), words::USER);
    assert_eq!(said("runBinary"), words::RUN_BINARY);
    assert_eq!(said("snapshot"), words::SNAPSHOT_PATH);
    assert_eq!(said("staged"), words::STAGED_PATH);
    let writable = [words::ARTIFACTS_PATH, words::CARGO_HOME_PATH, words::CARGO_TARGET_PATH];
    assert_eq!(contract["writable"], serde_json::json!(writable));
    assert_eq!(contract["properties"]["contract"], words::IMAGE_CONTRACT_PROPERTY);
    for (name, folder) in [("workspaceDeps", "workspace-deps"), ("workspaceBuild", "workspace-build")] {
        assert_eq!(said(name), format!("{}/linux-rust/{folder}", words::STAGED_PATH));
    }
}

#[test]
fn the_flake_puts_together_what_its_readme_names() {
    let flake = &evaluated()["flake"];
    assert_eq!(flake["systems"], serde_json::json!(["aarch64-linux", "x86_64-linux"]));
    let readme = std::fs::read_to_string(repository().join("nix/README.md")).unwrap();
    let named: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("nix build "))
        .flat_map(|line| line.split_whitespace().filter_map(|word| word.strip_prefix(".#")))
        .collect();
    assert!(named.len() >= 5, "{named:?}");
    for name in named {
        assert!(flake["packages"].as_array().unwrap().contains(&Value::from(name)), "{name}");
    }
    assert_eq!(flake["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(flake["image"]["creation_date"], 1_700_000_000);
    assert_eq!(flake["image"]["properties"]["pikaci.revision"], "0123abc");
    assert_eq!(flake["outputs"], serde_json::json!(["buildDepsOnly", "mkCargoDerivation"]));
    assert_eq!(flake["guest"], serde_json::json!(["pikaci-incus-run"]));
    assert_eq!(flake["forge"], serde_json::json!(["webhook:/etc/webhook"]));
    assert_eq!(flake["host"], serde_json::json!(["multi-user.target"]));
}

#[test]
fn no_nix_file_names_a_mode_in_which_inputs_are_copied() {
    let mut files = files_below(&repository().join("nix"), ".nix");
    files.push(repository().join("flake.nix"));
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap().to_lowercase();
        assert!(!text.contains("incus_mode") && !text.contains("transfer"), "{}", file.display());
    }
}

#[test]
fn the_stand_in_for_nixpkgs_refuses_what_nixos_refuses() {
    let refused = evaluated()["refused"].as_object().unwrap();
    assert!(refused.len() >= 5 && refused.values().all(|value| value == true), "{refused:?}");
}

/// Runs a script as Nix's builder would.
fn bash(script: &str, folder: &Path) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(folder).env("out", folder.join("out"));
    command
}
