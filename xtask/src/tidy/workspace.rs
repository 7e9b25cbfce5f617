//! The workspace as text: its members' manifests, ARCHITECTURE.md, and the Rust files below the members.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use toml::{Table, Value};

/// What the checks look at.
pub(super) struct Workspace {
    root: PathBuf,
    /// By package name.
    pub(super) members: BTreeMap<String, Member>,
    /// The text of ARCHITECTURE.md.
    pub(super) architecture: String,
}

/// One crate of the workspace.
pub(super) struct Member {
    /// Its folder, relative to the root.
    pub(super) folder: PathBuf,
    /// The text of its Cargo.toml.
    pub(super) text: String,
    /// All names under any `dependencies` table, with whether they are crates of this workspace.
    pub(super) dependencies: Vec<Dependency>,
}

/// One line of a Cargo.toml.
pub(super) struct Dependency {
    /// The package's name.
    pub(super) name: String,
    /// Whether it is a folder of this repository.
    pub(super) is_path: bool,
    /// Only tests and examples see it.
    pub(super) is_dev: bool,
}

/// One Rust file.
pub(super) struct RustSource {
    /// Relative to the workspace's root.
    pub(super) path: PathBuf,
    /// Its text.
    pub(super) text: String,
    /// Only tests are made of it.
    pub(super) is_test: bool,
}

impl Member {
    /// The manifest's path, relative to the root.
    pub(super) fn manifest(&self) -> PathBuf {
        self.folder.join("Cargo.toml")
    }

    /// The line of the manifest that begins with `word`; 1 when none does.
    pub(super) fn line_of(&self, word: &str) -> usize {
        let begins = |line: &str| {
            let rest = line.trim_start().strip_prefix(word);
            rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        self.text.lines().position(begins).map_or(1, |position| position + 1)
    }
}

impl Workspace {
    /// Reads the manifests. An error when one cannot be read: cargo would not work either.
    pub(super) fn read(root: &Path) -> Result<Workspace> {
        let table = read_toml(&root.join("Cargo.toml"))?.1;
        let workspace = table.get("workspace").and_then(Value::as_table);
        let workspace = workspace.context("the root Cargo.toml has no [workspace]")?;
        let path_dependencies: Vec<&str> = workspace
            .get("dependencies")
            .and_then(Value::as_table)
            .into_iter()
            .flatten()
            .filter(|(_, value)| value.get("path").is_some())
            .map(|(name, _)| name.as_str())
            .collect();
        let mut members = BTreeMap::new();
        for folder in member_folders(root, workspace)? {
            let (text, table) = read_toml(&root.join(&folder).join("Cargo.toml"))?;
            let name = table.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
            let name = name.with_context(|| format!("{}/Cargo.toml names no package", folder.display()))?;
            let mut dependencies = Vec::new();
            collect_dependencies(&table, &path_dependencies, &mut dependencies);
            members.insert(name.to_owned(), Member { folder, text, dependencies });
        }
        let architecture = root.join("ARCHITECTURE.md");
        let architecture = fs::read_to_string(&architecture)
            .with_context(|| format!("cannot read {}", architecture.display()))?;
        Ok(Workspace { root: root.to_owned(), members, architecture })
    }

    /// Reads every Rust file below the members' folders.
    pub(super) fn rust_sources(&self) -> Result<Vec<RustSource>> {
        let mut sources = Vec::new();
        for member in self.members.values() {
            collect_sources(&self.root, &member.folder, &mut sources)?;
        }
        Ok(sources)
    }
}

fn read_toml(path: &Path) -> Result<(String, Table)> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table = text.parse().with_context(|| format!("cannot parse {}", path.display()))?;
    Ok((text, table))
}

/// Expands `members`; of globs it knows `folder/*`, as this workspace uses.
fn member_folders(root: &Path, workspace: &Table) -> Result<Vec<PathBuf>> {
    let members = workspace.get("members").and_then(Value::as_array).context("[workspace] has no members")?;
    let mut folders = Vec::new();
    for member in members.iter().filter_map(Value::as_str) {
        let Some(parent) = member.strip_suffix("/*") else {
            folders.push(PathBuf::from(member));
            continue;
        };
        for entry in list(&root.join(parent))? {
            let folder = Path::new(parent).join(&entry);
            if root.join(&folder).join("Cargo.toml").is_file() {
                folders.push(folder);
            }
        }
    }
    Ok(folders)
}

fn collect_dependencies(table: &Table, path_dependencies: &[&str], found: &mut Vec<Dependency>) {
    for (key, value) in table {
        let Some(value) = value.as_table() else { continue };
        match key.as_str() {
            "dependencies" | "build-dependencies" | "dev-dependencies" => {
                for (name, value) in value {
                    let is_inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
                    let is_path = value.get("path").is_some()
                        || is_inherited && path_dependencies.contains(&name.as_str());
                    let name = value.get("package").and_then(Value::as_str).unwrap_or(name).to_owned();
                    found.push(Dependency { name, is_path, is_dev: key == "dev-dependencies" });
                }
            }
            // [target.'cfg(…)'.dependencies]
            "target" => {
                for target in value.values().filter_map(Value::as_table) {
                    collect_dependencies(target, path_dependencies, found);
                }
            }
            _ => {}
        }
    }
}

fn collect_sources(root: &Path, folder: &Path, found: &mut Vec<RustSource>) -> Result<()> {
    for name in list(&root.join(folder))? {
        let path = folder.join(&name);
        let full = root.join(&path);
        if full.is_dir() && !full.is_symlink() {
            // Build output beside a member, and hidden folders, are no sources.
            if !name.starts_with("target") && !name.starts_with('.') {
                collect_sources(root, &path, found)?;
            }
        } else if name.ends_with(".rs") {
            let text =
                fs::read_to_string(&full).with_context(|| format!("cannot read {}", full.display()))?;
            // Below a folder `tests`, or the tests of the module beside it.
            let is_test =
                path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs");
            found.push(RustSource { path, text, is_test });
        }
    }
    Ok(())
}

fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}
