//! What `pikaci init` writes for a Cargo workspace, run with the compiler of this host.

use std::fs;

use pikaci::{JobId, RunRecord};

use crate::project::{Ended, Project};

/// Stands for cargo-nextest, which takes minutes to compile: it packs the target folder, and runs every test of it.
const STAND_IN: &str = r#"
mkdir -p "$PIKACI_ARTIFACTS/out/bin"
cat > "$PIKACI_ARTIFACTS/out/bin/cargo-nextest" <<'END'
#!/bin/sh
set -eu
shift
action=$1
while test $# -gt 0; do
    case $1 in
        --archive-file) archive=$2 ;;
        --extract-to) folder=$2 ;;
    esac
    shift
done
if test "$action" = archive; then
    cargo test --workspace --locked --no-run
    exec tar -C "$CARGO_TARGET_DIR/.." -cf "$archive" target
fi
tar -C "$folder" -xf "$archive"
find "$folder/target/debug/deps" -type f -perm -u+x ! -name '*.so' | while read -r test; do "$test"; done
END
chmod +x "$PIKACI_ARTIFACTS/out/bin/cargo-nextest"
"#;

const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", "[workspace]\nmembers = [\"alpha\", \"beta\"]\nresolver = \"2\"\n"),
    (".gitignore", "/target\n"),
    (
        "alpha/Cargo.toml",
        "[package]\nname = \"alpha\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nkept = { path = \"../kept\" }\n",
    ),
    (
        "alpha/src/lib.rs",
        "/// ```\n/// assert_eq!(alpha::answer(), 42);\n/// ```\npub fn answer() -> u32 { kept::HALF * 2 }\n",
    ),
    ("kept/Cargo.toml", "[package]\nname = \"kept\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("kept/src/lib.rs", "pub const HALF: u32 = 21;\n"),
    (
        "beta/Cargo.toml",
        "[package]\nname = \"beta\"\nversion = \"0.1.0\"\nedition = \"2021\"\nbuild = \"make.rs\"\n[dependencies]\nalpha = { path = \"../alpha\" }\n\
         [[bin]]\nname = \"beta\"\npath = \"src/start.rs\"\n[[test]]\nname = \"program\"\n",
    ),
    ("beta/make.rs", "fn main() { println!(\"cargo:rustc-env=WORD=built\"); }\n"),
    ("beta/src/start.rs", "fn main() { println!(\"{} {}\", env!(\"WORD\"), alpha::answer()); }\n"),
];

/// Where the compiled program is: a path that was compiled into the test.
const PROGRAM_TEST: &str = r#"
#[test]
fn the_program_is_where_it_was_compiled() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_beta")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "built 42\n");
}
"#;

fn pikaci(project: &Project, arguments: &[&str]) -> Ended {
    let mut command = project.command(arguments);
    // Where the compiler is.
    let home = std::env::var_os("HOME").unwrap();
    Ended::of(&command.env("HOME", home).output().unwrap())
}

fn log(project: &Project, record: &RunRecord, job: &str) -> String {
    let path = project.state().guest_log(&record.run_id, &JobId::parse(job).unwrap());
    fs::read_to_string(path).unwrap_or_default()
}

fn is_hit(project: &Project, output: &str) -> bool {
    let record = pikaci(project, &["prepared-outputs", "latest", "--json"]).expect(0).json();
    let outputs = record["outputs"].as_array().unwrap();
    let node = format!("prepared/{output}");
    outputs.iter().find(|output| output["node_id"] == *node).unwrap()["is_hit"] == true
}

#[test]
fn a_workspace_is_tested_whole_and_its_dependencies_are_compiled_once() {
    let project = Project::bare_folder();
    project.git(&["init", "--quiet"]);
    for (name, content) in FILES {
        project.write(name, content);
    }
    project.write("beta/tests/program.rs", PROGRAM_TEST);
    let mut lock = std::process::Command::new(env!("CARGO"));
    assert!(
        lock.args(["generate-lockfile", "--offline"])
            .current_dir(project.source())
            .status()
            .unwrap()
            .success()
    );
    pikaci(&project, &["init"]).expect(0);
    let manifest = fs::read_to_string(project.source().join("pikaci.toml")).unwrap();
    let (before, rest) = manifest.split_once("[prepared.nextest]").unwrap();
    let (_, rest) = rest.split_once("command = '''").unwrap();
    let (_, after) = rest.split_once("'''").unwrap();
    let stand_in =
        format!("{before}[prepared.nextest]\nprovider = \"command\"\ncommand = '''{STAND_IN}'''{after}");
    project.write("pikaci.toml", &stand_in);
    project.commit();

    let ended = pikaci(&project, &["run", "pre-merge"]);
    let record = project.latest();
    assert_eq!(
        ended.code,
        Some(0),
        "{}\n{}",
        ended.output,
        log(&project, &record, "prepare.workspace-build")
    );
    assert!(log(&project, &record, "tests-1").contains("the_program_is_where_it_was_compiled ... ok"));
    assert!(log(&project, &record, "doc-tests").contains("alpha/src/lib.rs - answer (line 1) ... ok"));

    // A source decides about the tests, and not about the dependencies.
    project.write("alpha/src/lib.rs", "/// None.\npub fn answer() -> u32 { kept::HALF }\n");
    pikaci(&project, &["run", "pre-merge"]).expect(1);
    assert!(is_hit(&project, "workspace-deps") && is_hit(&project, "nextest"));
    assert!(!is_hit(&project, "workspace-build"));
    assert!(
        log(&project, &project.latest(), "tests-1").contains("left: \"built 21"),
        "an old program was tested"
    );
    let lock = project.source().join("Cargo.lock");
    let text = fs::read_to_string(&lock).unwrap();
    fs::write(lock, format!("{text}\n")).unwrap();
    pikaci(&project, &["run", "pre-merge/prepare.workspace-deps"]).expect(0);
    assert!(!is_hit(&project, "workspace-deps"));
}
