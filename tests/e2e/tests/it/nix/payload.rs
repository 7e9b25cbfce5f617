//! Prepared outputs that Nix builds, and the manifest of what is in them.

use std::fs;
use std::path::Path;

use e2e::Finished;
use serde_json::{Value, json};

use super::{Store, evaluated, repository};

const DOCUMENT: &str = include_str!("../../../../../docs/formats/prepared.md");

/// The payload manifest that an output's script installs.
fn installed(output: &str, phase: &str) -> Value {
    let script = evaluated()["linuxRust"][output]["arguments"][phase].as_str().unwrap();
    let file = script.split_whitespace().find(|word| word.ends_with("-payload-manifest.json")).unwrap();
    assert!(script.contains("\"$out/share/pikaci/payload-manifest.json\""), "{script}");
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

/// The names of entries, and their kinds.
fn entries(manifest: &Value) -> Vec<(&str, &str)> {
    let entries = manifest["entries"].as_array().unwrap();
    entries.iter().map(|entry| (entry["name"].as_str().unwrap(), entry["kind"].as_str().unwrap())).collect()
}

#[test]
fn the_outputs_of_the_workspace_say_what_is_in_them() {
    let deps = installed("workspaceDeps", "postInstall");
    assert_eq!((&deps["schema_version"], &deps["name"]), (&json!(1), &json!("workspace-deps")));
    assert_eq!(
        entries(&deps),
        [("vendor", "cargo-vendor"), ("cargo-config", "cargo-config"), ("target", "cargo-target")]
    );
    let build = installed("workspaceBuild", "installPhaseCommand");
    assert_eq!(
        entries(&build),
        [("tests", "nextest-archive"), ("pikaci", "program"), ("pika-news", "program")]
    );
    // What was linked against one C library runs in the image that has it.
    assert_eq!(deps["contract_id"], build["contract_id"]);
    assert_eq!(deps["contract_id"], evaluated()["guest"]["properties"]["pikaci.contract-id"]);
}

#[test]
fn cargo_finds_the_sources_where_guests_have_them() {
    let deps = &evaluated()["linuxRust"]["workspaceDeps"]["arguments"];
    let mount = evaluated()["contract"]["workspaceDeps"].as_str().unwrap();
    let script = deps["postInstall"].as_str().unwrap();
    assert!(script.contains(&format!("directory = \"{mount}/vendor\"")), "{script}");
}

/// A derivation of no nixpkgs, with a payload manifest of these entries.
fn expression(store: &Store, entries: &str) -> String {
    let busybox = std::env::split_paths(&std::env::var_os("PATH").unwrap())
        .map(|folder| folder.join("busybox"))
        .find(|program| program.is_file())
        .unwrap();
    // busybox goes by the name that it was called by, which the store makes its own but for what is in a folder.
    let tools = store.folder().join("tools");
    fs::create_dir_all(&tools).unwrap();
    fs::copy(busybox, tools.join("busybox")).unwrap();
    format!(
        r#"let
          tools = "${{{tools}}}";
          text = import {root}/nix/ci/payload-manifest.nix {{
            name = "example";
            contractId = (import {root}/nix/contract.nix).staticContractId;
            entries = [ {entries} ];
          }};
        in derivation {{
          name = "example";
          system = builtins.currentSystem;
          builder = "${{tools}}/busybox";
          args = [ "sh" "-euc" ''
            b=${{tools}}/busybox
            $b mkdir -p $out/bin $out/share/pikaci
            $b cp $b $out/bin/busybox
            $b cp ${{builtins.toFile "payload-manifest.json" text}} $out/share/pikaci/payload-manifest.json
          '' ];
        }}"#,
        tools = tools.display(),
        root = repository().canonicalize().unwrap().display(),
    )
}

fn built(store: &Store, entries: &str) -> Finished {
    let file = store.folder().join("example.nix");
    fs::write(&file, expression(store, entries)).unwrap();
    let mut command = store.command("nix");
    Finished::of(command.args(["build", "--no-link", "--json", "--file"]).arg(&file))
}

#[test]
fn a_real_build_has_its_manifest_where_readers_look() {
    let store = Store::new();
    let answer =
        built(&store, r#"{ name = "sh"; path = "bin/busybox"; kind = "program"; }"#).expect(0).json();
    let output = answer[0]["outputs"]["out"].as_str().unwrap();
    let manifest = fs::read(Path::new(output).join("share/pikaci/payload-manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let expected = json!({
        "schema_version": 1,
        "name": "example",
        "contract_id": "static",
        "entries": [{ "name": "sh", "path": "bin/busybox", "kind": "program" }],
    });
    assert_eq!(manifest, expected);
}

#[test]
fn what_a_reader_would_refuse_is_not_built() {
    let store = Store::new();
    let entry =
        |name: &str, path: &str| format!("{{ name = \"{name}\"; path = \"{path}\"; kind = \"file\"; }}");
    for path in ["/etc/passwd", "../other", "bin/../../other", "bin//sh", "./bin", "bin/", ""] {
        built(&store, &entry("sh", path)).expect(1);
    }
    built(&store, &entry("../sh", "bin/busybox")).expect(1);
    built(&store, &[entry("sh", "bin/busybox"), entry("sh", "bin")].join(" ")).expect(1);
    built(&store, &[entry("sh", "bin/busybox"), entry("folder", "bin")].join(" ")).expect(0);
}

#[test]
fn the_documented_manifest_is_the_one_that_is_written() {
    let shown = DOCUMENT.split("```json payload-manifest\n").nth(1).unwrap().split("```").next().unwrap();
    let shown: Value = serde_json::from_str(shown).unwrap();
    let mut written = installed("workspaceBuild", "installPhaseCommand");
    written["contract_id"] = evaluated()["contract"]["contractIdOfGlibc"].clone();
    assert_eq!(shown, written);
}
