//! Tells what kind of file a path names: code, tests, documents, settings, or what no person wrote.

use crate::attributes::Attributes;
use crate::diff::{Diff, LineKind};

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// What the program is made of.
    Code,
    /// What checks it.
    Tests,
    /// What configures, builds and ships it.
    Settings,
    /// What is written about it.
    Documents,
    /// Versions that a tool picked.
    Lock,
    /// What a tool wrote.
    Generated,
    /// What others wrote.
    Vendored,
}

impl Area {
    /// Whether a person wrote it for this repository.
    pub fn is_written_here(self) -> bool {
        match self {
            Area::Code | Area::Tests | Area::Settings | Area::Documents => true,
            Area::Lock | Area::Generated | Area::Vendored => false,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Area::Code => "code",
            Area::Tests => "tests",
            Area::Settings => "settings",
            Area::Documents => "documents",
            Area::Lock => "lock files",
            Area::Generated => "generated files",
            Area::Vendored => "vendored files",
        }
    }
}

const LOCKS: &[&str] = &[
    "bun.lockb",
    "cargo.lock",
    "composer.lock",
    "flake.lock",
    "gemfile.lock",
    "go.sum",
    "gradle.lockfile",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "packages.lock.json",
    "pipfile.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "pubspec.lock",
    "uv.lock",
    "yarn.lock",
];
const VENDOR_FOLDERS: &[&str] =
    &["vendor", "node_modules", "third_party", "third-party", "thirdparty", "bower_components"];
const TEST_FOLDERS: &[&str] = &["test", "tests", "__tests__", "spec", "specs", "testdata", "fixtures", "e2e"];
const SETTINGS_NAMES: &[&str] = &[
    "makefile",
    "dockerfile",
    "containerfile",
    "justfile",
    "cmakelists.txt",
    "procfile",
    "jenkinsfile",
    "go.mod",
    "requirements.txt",
    "codeowners",
    "pipfile",
    "gemfile",
];
const SETTINGS_ENDINGS: &[&str] = &[
    "toml",
    "yaml",
    "yml",
    "json",
    "jsonc",
    "ini",
    "cfg",
    "conf",
    "nix",
    "env",
    "properties",
    "cmake",
    "service",
    "tf",
    "hcl",
    "bazel",
    "bzl",
    "gradle",
    "csproj",
    "editorconfig",
    "gitignore",
    "gitattributes",
    "gitmodules",
    "dockerignore",
];
const DOCUMENT_ENDINGS: &[&str] = &["md", "markdown", "rst", "txt", "adoc", "org", "tex"];
const GENERATED_ENDINGS: &[&str] = &[
    ".pb.go",
    "_pb2.py",
    "_pb2_grpc.py",
    ".pb.cc",
    ".pb.h",
    ".g.dart",
    ".min.js",
    ".min.css",
    ".map",
    ".snap",
];
/// How many of a file's first lines may say that it was generated.
const BANNER_LINES: usize = 12;

/// Tells the area of each file of a diff, in its order.
pub fn list_areas(diff: &Diff, attributes: &Attributes) -> Vec<Area> {
    (0..diff.files().len()).map(|index| find_area(diff, index, attributes)).collect()
}

fn find_area(diff: &Diff, index: usize, attributes: &Attributes) -> Area {
    let file = &diff.files()[index];
    let path = file.display_path();
    let marks = attributes.of(&path);
    match (marks.is_generated, marks.is_vendored, marks.is_documentation) {
        (Some(true), ..) => return Area::Generated,
        (_, Some(true), _) => return Area::Vendored,
        (_, _, Some(true)) => return Area::Documents,
        _ => {}
    }
    let area = of_path(&path);
    // What the repository says about a path holds against its name.
    match area {
        Area::Lock | Area::Generated if marks.is_generated == Some(false) => Area::Code,
        Area::Vendored if marks.is_vendored == Some(false) => Area::Code,
        Area::Code | Area::Tests if marks.is_generated.is_none() && has_banner(diff, index) => {
            Area::Generated
        }
        area => area,
    }
}

/// Tells the area by the path alone.
pub(crate) fn of_path(path: &str) -> Area {
    let lower = path.to_lowercase();
    let (folders, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let has_folder = |names: &[&str]| folders.split('/').any(|folder| names.contains(&folder));
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    if LOCKS.contains(&name) {
        Area::Lock
    } else if has_folder(VENDOR_FOLDERS) {
        Area::Vendored
    } else if GENERATED_ENDINGS.iter().any(|end| name.ends_with(end))
        || stem.ends_with(".generated")
        || has_folder(&["__snapshots__"])
    {
        Area::Generated
    } else if is_test_name(stem, ending) || has_folder(TEST_FOLDERS) {
        Area::Tests
    } else if SETTINGS_NAMES.contains(&name)
        || name.starts_with("dockerfile")
        || lower.starts_with(".github/")
    {
        Area::Settings
    } else if DOCUMENT_ENDINGS.contains(&ending)
        || ["license", "readme", "changelog", "notice"].contains(&stem)
    {
        Area::Documents
    } else if SETTINGS_ENDINGS.contains(&ending) {
        Area::Settings
    } else {
        Area::Code
    }
}

fn is_test_name(stem: &str, ending: &str) -> bool {
    stem.ends_with("_test")
        || stem.ends_with("_tests")
        || stem.ends_with(".test")
        || stem.ends_with(".spec")
        || stem.ends_with("_spec")
        || matches!(stem, "tests" | "test" | "conftest")
        || ending == "py" && stem.starts_with("test_")
}

/// Whether the file's first lines, as far as the diff shows them, say that a tool wrote it.
fn has_banner(diff: &Diff, index: usize) -> bool {
    let Some(hunk) = diff.hunks_of(index).find(|hunk| !hunk.hunk().is_note()) else { return false };
    if hunk.hunk().new.is_none_or(|range| range.start > 3) {
        return false;
    }
    let lines = hunk.hunk().lines.iter().filter(|line| line.kind != LineKind::Removed).take(BANNER_LINES);
    lines.map(|line| String::from_utf8_lossy(hunk.content(line))).any(|text| {
        text.contains("@generated") && is_comment(&text)
            || text.contains("Code generated by") && text.contains("DO NOT EDIT")
    })
}

fn is_comment(text: &str) -> bool {
    ["//", "#", "/*", "*", "--", ";", "<!--"].iter().any(|mark| text.trim_start().starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_what_the_file_is_for() {
        for (path, area) in [
            ("src/main.rs", Area::Code),
            ("Cargo.lock", Area::Lock),
            ("web/package-lock.json", Area::Lock),
            ("vendor/zlib/inflate.c", Area::Vendored),
            ("api/v1.pb.go", Area::Generated),
            ("web/app.min.js", Area::Generated),
            ("src/store/tests.rs", Area::Tests),
            ("tests/it/main.rs", Area::Tests),
            ("pkg/list_test.go", Area::Tests),
            ("web/list.spec.ts", Area::Tests),
            ("test_list.py", Area::Tests),
            ("latest.rs", Area::Code),
            ("docs/plan.md", Area::Documents),
            ("LICENSE", Area::Documents),
            ("nix/ci.nix", Area::Settings),
            (".github/workflows/ci.yml", Area::Settings),
            ("Dockerfile.dev", Area::Settings),
            ("go.mod", Area::Settings),
        ] {
            assert_eq!(of_path(path), area, "{path}");
        }
    }

    #[test]
    fn attributes_and_banners_hold_against_names() {
        let text = "\
--- /dev/null\n+++ b/src/tables.rs\n@@ -0,0 +1 @@\n+// @generated by a tool\n
--- /dev/null\n+++ b/src/plain.rs\n@@ -0,0 +1 @@\n+let text = \"@generated\";\n
--- /dev/null\n+++ b/src/made.rs\n@@ -0,0 +1 @@\n+x\n
--- /dev/null\n+++ b/vendor/ours.rs\n@@ -0,0 +1 @@\n+x\n";
        let diff = Diff::parse(text.as_bytes());
        let attributes =
            Attributes::parse([("", "src/made.rs linguist-generated\nvendor/** -linguist-vendored\n")]);
        let areas = list_areas(&diff, &attributes);
        assert_eq!(areas, [Area::Generated, Area::Code, Area::Generated, Area::Code]);
    }
}
