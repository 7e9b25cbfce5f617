//! Where the programs under test are.
//!
//! `cargo xtask test` builds everything first and names the folder; a plain `cargo test` has them built here, once a
//! test program, into the same target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PROGRAMS_VARIABLE: &str = "PIKA_E2E_PROGRAMS";

/// The command line of the CI engine.
pub fn pikaci() -> PathBuf {
    folder().join("pikaci")
}

/// The forge.
pub fn pika_news() -> PathBuf {
    folder().join("pika-news")
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os(PROGRAMS_VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    })
}

fn build() -> PathBuf {
    let this = std::env::current_exe().expect("a test program knows where it is");
    // <target>/<profile>/deps/<this>
    let profile = this.parent().and_then(Path::parent).expect("cargo runs tests below a profile's folder");
    let target = profile.parent().expect("a profile's folder is in the target folder");
    let is_release = profile.file_name().is_some_and(|name| name == "release");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "-p", "pikaci-cli", "-p", "pika-news", "--bins"])
        .args(is_release.then_some("--release"))
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the programs under test do not build; see cargo's output above");
    profile.to_owned()
}
