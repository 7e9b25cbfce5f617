//! What kinds of projects a repository holds, judged by the files at its root.
//!
//! Invariant: a file's content decides only between commands that are written here; no text of it gets into a manifest.

use std::fs;
use std::io::Read as _;
use std::path::Path;

/// More than any honest file that is looked into here has.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A kind of project, and how its tests are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The job's name.
    pub(crate) id: &'static str,
    /// What it is, for people.
    pub(crate) title: &'static str,
    /// The file that says so.
    pub(crate) evidence: &'static str,
    /// The command's text.
    pub(crate) script: &'static str,
    /// Whether the command needs a tree that it can write to.
    pub(crate) writes_into_tree: bool,
    /// Whether it is a Cargo workspace, which is compiled once and tested in parts.
    pub(crate) is_workspace: bool,
}

/// Finds what can be tested. Make comes last and only alone: where there is another tool, it mostly calls that.
pub(crate) fn survey(root: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        [cargo(root), npm(root), python(root), go(root)].into_iter().flatten().collect();
    if findings.is_empty() {
        findings.extend(make(root));
    }
    findings
}

fn cargo(root: &Path) -> Option<Finding> {
    let script = match (exists(root, "Cargo.toml"), exists(root, "Cargo.lock")) {
        (true, true) => "cargo test --workspace --locked",
        // Cargo writes the lock file beside the manifest.
        (true, false) => "cargo test --workspace",
        (false, _) => return None,
    };
    let writes_into_tree = !exists(root, "Cargo.lock");
    let manifest = read(root, "Cargo.toml").unwrap_or_default();
    let is_workspace = !writes_into_tree && manifest.lines().any(|line| line.trim() == "[workspace]");
    let (id, title, evidence) = ("cargo", "Rust tests", "Cargo.toml");
    Some(Finding { id, title, evidence, script, writes_into_tree, is_workspace })
}

fn npm(root: &Path) -> Option<Finding> {
    let package: serde_json::Value = serde_json::from_str(&read(root, "package.json")?).unwrap_or_default();
    let has_tests = package["scripts"]["test"].is_string();
    let script = match (exists(root, "package-lock.json"), has_tests) {
        (true, true) => "npm ci\nnpm test",
        (true, false) => "npm ci",
        (false, true) => "npm install\nnpm test",
        (false, false) => "npm install",
    };
    Some(Finding {
        id: "npm",
        title: "Node.js tests",
        evidence: "package.json",
        script,
        writes_into_tree: true,
        is_workspace: false,
    })
}

fn python(root: &Path) -> Option<Finding> {
    let (evidence, script) = if exists(root, "pyproject.toml") {
        (
            "pyproject.toml",
            "python3 -m venv \"$work/.venv\"\n. \"$work/.venv/bin/activate\"\npip install --quiet . pytest\npython -m pytest",
        )
    } else if exists(root, "requirements.txt") {
        (
            "requirements.txt",
            "python3 -m venv \"$work/.venv\"\n. \"$work/.venv/bin/activate\"\npip install --quiet -r requirements.txt pytest\npython -m pytest",
        )
    } else {
        return None;
    };
    let (id, title) = ("python", "Python tests");
    Some(Finding { id, title, evidence, script, writes_into_tree: true, is_workspace: false })
}

fn go(root: &Path) -> Option<Finding> {
    exists(root, "go.mod").then_some(Finding {
        id: "go",
        title: "Go tests",
        evidence: "go.mod",
        script: "go test ./...",
        writes_into_tree: false,
        is_workspace: false,
    })
}

fn make(root: &Path) -> Option<Finding> {
    let evidence = ["GNUmakefile", "makefile", "Makefile"].into_iter().find(|name| exists(root, name))?;
    let text = read(root, evidence).unwrap_or_default();
    let has_rule = |name: &str| {
        text.lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.trim_start().starts_with(':')))
    };
    let script = match (has_rule("test"), has_rule("check")) {
        (true, _) => "make test",
        (false, true) => "make check",
        (false, false) => "make",
    };
    let (id, title) = ("make", "Make");
    Some(Finding { id, title, evidence, script, writes_into_tree: true, is_workspace: false })
}

fn exists(root: &Path, name: &str) -> bool {
    root.join(name).is_file()
}

fn read(root: &Path, name: &str) -> Option<String> {
    let mut content = Vec::new();
    let path = root.join(name);
    if !path.is_file() {
        return None;
    }
    fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut content).ok()?;
    Some(String::from_utf8_lossy(&content).into_owned())
}
