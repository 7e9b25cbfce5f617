//! Where the programs under test are.
//!
//! `cargo xtask test` builds everything first and names the folder; a plain `cargo test` has them built here, once a
//! test program, into the same target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PROGRAMS_VARIABLE: &str = "PIKA_E2E_PROGRAMS";
const GUEST_RUNNER_VARIABLE: &str = "PIKA_GUEST_RUNNER";
/// What the static guest runner is built for: with a target of its own, its flags leave all other builds as they are.
const GUEST_TARGET: &str = "x86_64-unknown-linux-gnu";

/// The command line of the CI engine.
pub fn pikaci() -> PathBuf {
    folder().join("pikaci")
}

/// The forge.
pub fn pika_news() -> PathBuf {
    folder().join("pika-news")
}

/// The guest runner as it is baked into images: one static file.
pub fn guest_runner() -> PathBuf {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    let find = || match std::env::var_os(GUEST_RUNNER_VARIABLE) {
        Some(runner) => PathBuf::from(runner),
        None => build_guest_runner(),
    };
    RUNNER.get_or_init(find).clone()
}

/// The folder that cargo builds into.
pub(crate) fn target_folder() -> PathBuf {
    profile_folder().parent().expect("a profile's folder is in the target folder").to_owned()
}

fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match std::env::var_os(PROGRAMS_VARIABLE) {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    })
}

fn build() -> PathBuf {
    let profile = profile_folder();
    let is_release = profile.file_name().is_some_and(|name| name == "release");
    let mut cargo = cargo_build();
    cargo.args(["-p", "pikaci-cli", "-p", "pika-news", "--bins"]).args(is_release.then_some("--release"));
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the programs under test do not build; see cargo's output above");
    profile
}

fn build_guest_runner() -> PathBuf {
    let mut cargo = cargo_build();
    cargo.args(["-p", "pikaci-incus-run", "--bin", "pikaci-incus-run", "--profile", "guest"]);
    cargo.args(["--target", GUEST_TARGET]);
    // Cargo would take the first of these two alone.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.status().expect("cargo runs");
    assert!(status.success(), "the static guest runner does not build; see cargo's output above");
    target_folder().join(GUEST_TARGET).join("guest/pikaci-incus-run")
}

fn cargo_build() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--target-dir"]).arg(target_folder());
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo
}

/// The folder of this test program's profile.
fn profile_folder() -> PathBuf {
    let this = std::env::current_exe().expect("a test program knows where it is");
    // <target>/<profile>/deps/<this>
    this.parent().and_then(Path::parent).expect("cargo runs tests below a profile's folder").to_owned()
}
