//! `pika-news local` in a repository of its own, without a forge.

use std::process::{Command, Output};

use e2e::{WorkTree, pika_news};
use serde_json::Value;

const BEFORE: &str = "fn start() {\n    let root = 1;\n}\n";
const AFTER: &str = "fn start() {\n    let root = state_root();\n}\n\n/// Finds where state is kept.\nfn state_root() -> u8 {\n    1\n}\n";

/// A branch with one commit that `main` does not have.
fn tree() -> WorkTree {
    let tree = WorkTree::new("/nonexistent");
    tree.write("src/main.rs", BEFORE).write("Cargo.lock", "a\n").commit("Begin");
    tree.branch("state", "main");
    tree.write("src/main.rs", AFTER).write("Cargo.lock", "b\n").commit("Keep state");
    tree
}

fn local(tree: &WorkTree, arguments: &[&str]) -> Output {
    let mut command = Command::new(pika_news());
    command.arg("local").args(arguments).current_dir(tree.path()).env("GIT_CONFIG_GLOBAL", "/dev/null");
    command.output().unwrap()
}

#[track_caller]
fn json(tree: &WorkTree, arguments: &[&str]) -> Value {
    let output = local(tree, &[&["--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn titles(tutorial: &Value) -> Vec<&str> {
    tutorial["steps"].as_array().unwrap().iter().map(|step| step["title"].as_str().unwrap()).collect()
}

#[test]
fn a_branch_is_explained_from_where_it_left_the_default_branch() {
    let tree = tree();
    let tutorial = json(&tree, &[]);
    assert_eq!(
        titles(&tutorial),
        ["Add the function `state_root`", "Change the function `start`", "Update `Cargo.lock`"]
    );
    assert_eq!(tutorial["head"], tree.head());
    assert_eq!(tutorial["base"], tree.git(&["rev-parse", "main"]));
    assert_eq!(
        (&tutorial["branch"], &tutorial["title"]),
        (&Value::from("state"), &Value::from("Keep state"))
    );
    assert_eq!(tutorial["provider"], "builtin");
    assert_eq!(tutorial["coverage"]["hunks"], 2);
    assert_eq!(tutorial["coverage"]["explained"], 2);
    assert_eq!(tutorial["coverage"]["unexplained"], Value::Array(Vec::new()));
    assert_eq!(tutorial["problems"], Value::Array(Vec::new()));
    let evidence = &tutorial["steps"][0]["evidence"][0];
    assert_eq!(
        (&evidence["path"], &evidence["state"]),
        (&Value::from("src/main.rs"), &Value::from("verified"))
    );
    assert!(evidence["text"].as_str().unwrap().contains("+fn state_root() -> u8 {"));
}

#[test]
fn the_page_is_one_file_and_leaves_the_tree_as_it_is() {
    let tree = tree();
    let output = local(&tree, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = String::from_utf8(output.stdout).unwrap();
    let page = std::fs::read_to_string(path.trim_end()).unwrap();
    assert!(page.contains("state_root") && page.contains("No model wrote this page"));
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
    assert_eq!(tree.git(&["status", "--porcelain"]), "");
    let output = local(&tree, &["--out", "page.html"]);
    assert!(output.status.success() && tree.path().join("page.html").is_file());
}

#[test]
fn a_base_and_what_is_not_committed_can_be_asked_for() {
    let tree = tree();
    tree.write("notes.md", "Some notes.\n").write("src/main.rs", BEFORE);
    let tutorial = json(&tree, &["--base", "HEAD", "--include-uncommitted"]);
    let paths: Vec<&str> =
        tutorial["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["notes.md", "src/main.rs"]);
    assert_eq!(tutorial["base"], tree.head());
    assert_eq!(json(&tree, &["--base", "HEAD"])["steps"], Value::Array(Vec::new()));
    // On the default branch itself there is the last commit.
    tree.git(&["switch", "--quiet", "--discard-changes", "main"]);
    assert_eq!(titles(&json(&tree, &[])).len(), 2);
}

#[test]
fn a_command_writes_the_tutorial_and_what_it_invents_is_dropped() {
    let tree = tree();
    let answer = r##"{"executive_summary": "It keeps state.", "steps": [
        {"title": "Find the root", "intent": "One place.", "affected_files": ["src/main.rs"],
         "evidence_snippets": ["+fn state_root() -> u8 {\n+    1\n }"], "body_markdown": "A function."},
        {"title": "Bake it in", "intent": "x", "affected_files": ["nix/image.nix"],
         "evidence_snippets": ["@@ nix/image.nix"], "body_markdown": "y"}]}"##;
    let folder = tempfile_with(answer);
    let command = format!("cat > {0}/request; echo 'Here it is:'; cat {0}/answer", folder.path().display());
    let tutorial = json(&tree, &["--provider", "command", "--command", &command]);
    assert_eq!(tutorial["provider"], "command");
    assert_eq!(titles(&tutorial), ["Find the root", "Bake it in"]);
    assert_eq!(
        (&tutorial["steps"][0]["state"], &tutorial["steps"][1]["state"]),
        (&Value::from("verified"), &Value::from("unsupported"))
    );
    assert_eq!(tutorial["steps"][1]["affected_files"], Value::Array(Vec::new()));
    assert_eq!(tutorial["coverage"]["unexplained"].as_array().unwrap().len(), 1);
    assert!(tutorial["problems"].to_string().contains("nix/image.nix"));
    let request: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("request")).unwrap()).unwrap();
    assert_eq!(request["head"], tree.head());
    assert_eq!(request["files"][0]["path"], "Cargo.lock");
    assert!(request["files"][0]["hunks"][0]["text"].is_null());
    assert!(request["files"][1]["hunks"][0]["text"].as_str().unwrap().contains("+fn state_root"));
}

fn tempfile_with(answer: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("answer"), answer).unwrap();
    folder
}

#[test]
fn whatever_the_model_does_there_is_a_tutorial() {
    let tree = tree();
    for command in
        ["exit 7", "cat > /dev/null", "echo 'I cannot do that.'", "echo '{\"steps\": []}'", "kill -9 $$"]
    {
        let tutorial = json(&tree, &["--deadline", "20", "--command", command]);
        assert_eq!(tutorial["provider"], "builtin", "{command}");
        assert_eq!(tutorial["end"], "fell_back", "{command}");
        assert_eq!(titles(&tutorial).len(), 3, "{command}");
        assert!(tutorial["problems"][0].as_str().unwrap().contains("builtin"), "{command}");
    }
}

#[test]
fn what_the_repository_calls_generated_is_not_shown_to_a_model() {
    let tree = tree();
    tree.write(".gitattributes", "tables/** linguist-generated\n")
        .write("tables/one.rs", "fn a() {}\n")
        .commit("Tables");
    let folder = tempfile_with("{}");
    json(&tree, &["--command", &format!("cat > {}/request", folder.path().display())]);
    let request: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("request")).unwrap()).unwrap();
    let files = request["files"].as_array().unwrap();
    let tables = files.iter().find(|file| file["path"] == "tables/one.rs").unwrap();
    assert_eq!(tables["kind"], "generated files");
    assert!(tables["hunks"][0]["text"].is_null());
    assert!(request["not_shown"].to_string().contains("tables/one.rs"));
}

#[test]
fn outside_a_repository_it_says_so() {
    let outside = tempfile::tempdir().unwrap();
    let output = Command::new(pika_news()).arg("local").current_dir(outside.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is in no git repository"));
}
