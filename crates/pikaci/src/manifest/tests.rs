//! Manifests as people write them, and as they get them wrong.

use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;
use crate::id::JobId;
use crate::job::{InstanceType, NixSource};

/// The manifest of the format's description, with every key.
const COMPLETE: &str = r#"version = 1

[defaults]
image = "pikaci/dev"
instance = "virtual-machine"
timeout = "60m"
cpus = 2
memory = "4GiB"
env = { CI = "1", RUST_BACKTRACE = "0" }

[targets.pre-merge]
title = "Unit and integration tests"
paths = ["crates/**", "Cargo.*"]
on = ["branch"]
required = true
concurrency = { group = "heavy", size = 2 }

[[targets.pre-merge.jobs]]
id = "unit"
title = "Unit tests"
command = "cargo test --workspace"
timeout = "30m"
run_as_root = false
network = false
env = { RUST_BACKTRACE = "1" }
needs = ["format"]
artifacts = ["report/**"]
junit = ["report/*.xml"]
prepared = ["linux-rust"]

[[targets.pre-merge.jobs]]
id = "format"
command = ["cargo", "fmt", "--check"]
instance = "container"
cpus = 1
memory = "512MiB"
run_as_root = true
network = true

[targets.nightly]
on = ["nightly"]
required = false
jobs = [{ id = "soak", command = "./soak" }]

[prepared.linux-rust]
provider = "command"
command = "cargo build"
inputs = ["Cargo.lock", "crates/**"]

[prepared.tools]
provider = "nix"
installable = ".#tools"
inputs = ["flake.lock"]
mount = "/staged/elsewhere"
"#;

/// What somebody sees who writes these jobs below `[targets.t]`.
fn refusal(text: &str) -> String {
    Manifest::parse(text).expect_err("this manifest was to be refused").to_string()
}

/// What somebody sees who writes these lines into a job that is complete otherwise.
fn job_refusal(lines: &str) -> String {
    refusal(&format!("version = 1\n[targets.t]\n[[targets.t.jobs]]\nid = \"a\"\ncommand = \"true\"\n{lines}"))
}

fn ids(jobs: &[JobSpec]) -> Vec<&str> {
    jobs.iter().map(|job| job.id.as_str()).collect()
}

#[test]
fn every_key_reaches_the_plan() {
    let manifest = Manifest::parse(COMPLETE).unwrap();
    assert_eq!(manifest.targets().len(), 2);
    let target = manifest.find_target(&TargetId::parse("pre-merge").unwrap()).unwrap();
    assert_eq!(target.title, "Unit and integration tests");
    assert_eq!(target.on, [Trigger::Branch]);
    assert!(target.required);
    assert_eq!(target.concurrency, Some(Concurrency { group: "heavy".to_owned(), size: 2 }));
    assert_eq!(target.paths.as_ref().unwrap().patterns(), ["crates/**", "Cargo.*"]);
    let [unit, format] = target.jobs.as_slice() else { panic!("two jobs") };
    assert_snapshot!(serde_json::to_string(unit).unwrap(), @r#"{"id":"unit","description":"Unit tests","target_id":"pre-merge","command":"cargo test --workspace","timeout_secs":1800,"run_as_root":false,"network":false,"env":{"CI":"1","RUST_BACKTRACE":"1"},"needs":["format"],"artifacts":["report/**"],"junit":["report/*.xml"],"prepared":["linux-rust"],"image":"pikaci/dev","instance":"virtual-machine","cpus":2,"memory_bytes":4294967296}"#);
    assert_snapshot!(serde_json::to_string(format).unwrap(), @r#"{"id":"format","description":"cargo fmt --check","target_id":"pre-merge","command":["cargo","fmt","--check"],"timeout_secs":3600,"run_as_root":true,"network":true,"env":{"CI":"1","RUST_BACKTRACE":"0"},"needs":[],"artifacts":[],"junit":[],"prepared":[],"image":"pikaci/dev","instance":"container","cpus":1,"memory_bytes":536870912}"#);
    let mounts: Vec<&str> = manifest.prepared().map(|spec| spec.output.mount.as_str()).collect();
    assert_eq!(mounts, ["/staged/linux-rust", "/staged/elsewhere"]);
    let tools = &manifest.find_prepared("tools").unwrap().output;
    assert_eq!(tools.nix, Some(NixSource::Installable(".#tools".to_owned())));
}

#[test]
fn what_is_not_written_has_the_documented_default() {
    let manifest =
        Manifest::parse("version = 1\n[[targets.t.jobs]]\nid = \"a\"\ncommand = \"\"\"\n\n make all\n\"\"\"")
            .unwrap();
    let target = &manifest.targets()[0];
    assert_eq!((target.title.as_str(), target.required), ("t", true));
    assert_eq!(
        (target.on.as_slice(), &target.paths, &target.concurrency),
        (&[Trigger::Branch][..], &None, &None)
    );
    let job = &target.jobs[0];
    assert_eq!((job.timeout_secs, job.cpus, job.memory_bytes), (3600, 2, 4 << 30));
    assert_eq!((job.image.as_str(), job.instance), ("pikaci/dev", InstanceType::VirtualMachine));
    assert_eq!((job.run_as_root, job.network), (false, false));
    assert_eq!(job.description, "make all");
}

#[test]
fn targets_and_jobs_keep_the_order_of_the_text() {
    let job =
        |target: &str, id: &str| format!("[[targets.{target}.jobs]]\nid = \"{id}\"\ncommand = \"true\"\n");
    let text =
        ["version = 1\n".to_owned(), job("z", "b"), job("z", "a"), job("m", "c"), job("a", "d")].concat();
    let manifest = Manifest::parse(&text).unwrap();
    let targets: Vec<&str> = manifest.targets().iter().map(|target| target.id.as_str()).collect();
    assert_eq!(targets, ["z", "m", "a"]);
    assert_eq!(ids(&manifest.targets()[0].jobs), ["b", "a"]);
}

#[test]
fn a_target_with_paths_is_for_changes_of_these_paths_only() {
    let manifest = Manifest::parse(COMPLETE).unwrap();
    let [filtered, unfiltered] = manifest.targets() else { panic!("two targets") };
    assert!(filtered.matches(&["README.md", "crates/pikaci/src/lib.rs"]));
    assert!(!filtered.matches(&["README.md"]));
    assert!(unfiltered.matches(&["README.md"]));
    assert!(unfiltered.matches(&[] as &[&str]));
}

#[test]
fn a_job_named_alone_brings_what_it_needs() {
    let manifest = Manifest::parse(COMPLETE).unwrap();
    assert_eq!(ids(&manifest.select("pre-merge").unwrap().jobs), ["prepare.linux-rust", "unit", "format"]);
    assert_eq!(
        ids(&manifest.select("pre-merge/unit").unwrap().jobs),
        ["prepare.linux-rust", "unit", "format"]
    );
    assert_eq!(ids(&manifest.select("pre-merge/format").unwrap().jobs), ["format"]);
    assert_eq!(manifest.select("nightly/soak").unwrap().target.id.as_str(), "nightly");
}

#[test]
fn an_unknown_name_says_what_was_probably_meant() {
    let manifest = Manifest::parse(COMPLETE).unwrap();
    let refusal = |text: &str| manifest.select(text).unwrap_err().to_string();
    assert_snapshot!(refusal("premerge"), @"there is no target `premerge`; did you mean `pre-merge`?");
    assert_snapshot!(refusal("premerge/unit"), @"there is no target `premerge`; did you mean `pre-merge/unit`?");
    assert_snapshot!(refusal("unit"), @"there is no target `unit`; did you mean `pre-merge/unit`?");
    assert_snapshot!(refusal("deploy"), @"there is no target `deploy`; its targets are `pre-merge`, `nightly`");
    assert_snapshot!(refusal("pre-merge/unti"), @"the target `pre-merge` has no job `unti`; did you mean `unit`?");
    assert_snapshot!(refusal("pre-merge/a/b"), @"the target `pre-merge` has no job `a/b`; its jobs are `unit`, `format`");
    assert_snapshot!(refusal(""), @"there is no target ``; its targets are `pre-merge`, `nightly`");
}

#[test]
fn one_look_finds_every_mistake_in_the_order_of_the_text() {
    let text = r#"version = 1
[defaults]
timout = "5m"
[targets.unit]
path = ["crates/**"]
[[targets.unit.jobs]]
id = "test"
comand = "cargo test"
needs = ["biuld"]
[[targets.unit.jobs]]
id = "build"
command = ""
timeout = 30
memory = "4GB"
prepared = ["linux-rust"]
[targets.empty]
"#;
    assert_snapshot!(refusal(text), @r#"
    pikaci.toml:3:1: unknown key `timout`; did you mean `timeout`?
      3 | timout = "5m"
        | ^^^^^^
    pikaci.toml:5:1: unknown key `path`; did you mean `paths`?
      5 | path = ["crates/**"]
        | ^^^^
    pikaci.toml:6:1: the key `command` is missing; write `command = "cargo test"`
      6 | [[targets.unit.jobs]]
        | ^^^^^^^^^^^^^^^^^^^^^
    pikaci.toml:8:1: unknown key `comand`; did you mean `command`?
      8 | comand = "cargo test"
        | ^^^^^^
    pikaci.toml:9:10: the target `unit` has no job `biuld`; did you mean `build`?
      9 | needs = ["biuld"]
        |          ^^^^^^^
    pikaci.toml:12:11: `command` is empty; write what to run, such as "cargo test"
      12 | command = ""
         |           ^^
    pikaci.toml:13:11: `timeout` takes text with a unit; write "30s" for seconds
      13 | timeout = 30
         |           ^^
    pikaci.toml:14:10: the unit of a size is binary; write "4GiB"
      14 | memory = "4GB"
         |          ^^^^^
    pikaci.toml:15:13: there is no prepared output `linux-rust`; write [prepared.linux-rust]
      15 | prepared = ["linux-rust"]
         |             ^^^^^^^^^^^^
    pikaci.toml:16:10: the target `empty` has no job; write [[targets.empty.jobs]]
      16 | [targets.empty]
         |          ^^^^^
    "#);
}

#[test]
fn circles_are_named() {
    let text = r#"version = 1
defaults = { command = "true" }
targets.t.jobs = [
  { id = "a", needs = ["b"] },
  { id = "b", needs = ["c"] },
  { id = "c", needs = ["b", "d"] },
  { id = "d", needs = ["d"] },
]
"#;
    assert_snapshot!(refusal(text), @r#"
    pikaci.toml:6:24: these jobs wait for each other: b → c → b; take one need out
      6 |   { id = "c", needs = ["b", "d"] },
        |                        ^^^
    pikaci.toml:7:24: the job `d` needs itself; take it out
      7 |   { id = "d", needs = ["d"] },
        |                        ^^^
    "#);
}

#[test]
fn values_of_the_wrong_kind_say_how_to_write_them() {
    let text = r#"version = "1"
[targets.t]
required = "yes"
on = "branch"
paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
concurrency = "heavy"
[[targets.t.jobs]]
id = 7
command = ["", "x"]
env = { "A B" = "1", C = 2, D = true }
cpus = 0
instance = "vm"
artifacts = ["/artifacts/report/*"]
image = "-x"
memory = 4
run_as_root = 1
network = 1979-05-27
"#;
    assert_snapshot!(refusal(text), @r#"
    pikaci.toml:1:11: `version` takes a whole number without quotes, not text
      1 | version = "1"
        |           ^^^
    pikaci.toml:3:12: `required` takes true or false, without quotes, not text
      3 | required = "yes"
        |            ^^^^^
    pikaci.toml:4:6: `on` takes a list; write ["branch"]
      4 | on = "branch"
        |      ^^^^^^^^
    pikaci.toml:5:10: the pattern "../x" leaves its folder by `..`; name what is inside
      5 | paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
        |          ^^^^^^
    pikaci.toml:5:18: the pattern "/etc/*" is absolute, but is taken below the repository's root; write "etc/*"
      5 | paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
        |                  ^^^^^^^^
    pikaci.toml:5:28: the pattern "./y" has a part `.`; leave it away
      5 | paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
        |                            ^^^^^
    pikaci.toml:5:35: the pattern "!z" begins with `!`; there is no excluding, name what is meant
      5 | paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
        |                                   ^^^^
    pikaci.toml:5:41: the pattern "docs/" names a folder and matches no file; write "docs/**"
      5 | paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
        |                                         ^^^^^^^
    pikaci.toml:5:50: the pattern "a[" is no pattern: unclosed character class; missing ']'
      5 | paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
        |                                                  ^^^^
    pikaci.toml:5:56: `paths` is empty; leave the key away or give it a text
      5 | paths = ["../x", "/etc/*", "./y", "!z", "docs/", "a[", ""]
        |                                                        ^^
    pikaci.toml:6:15: `concurrency` takes a table, such as { group = "heavy", size = 2 }, not text
      6 | concurrency = "heavy"
        |               ^^^^^^^
    pikaci.toml:8:6: `id` takes text, not a number; write "7"
      8 | id = 7
        |      ^
    pikaci.toml:9:11: `command` is empty; write what to run, such as "cargo test"
      9 | command = ["", "x"]
        |           ^^^^^^^^^
    pikaci.toml:10:9: "A B" is no variable's name; use letters, digits and '_', no digit first
      10 | env = { "A B" = "1", C = 2, D = true }
         |         ^^^^^
    pikaci.toml:10:26: `C` takes text, not a number; write "2"
      10 | env = { "A B" = "1", C = 2, D = true }
         |                          ^
    pikaci.toml:10:33: `D` takes text, not true or false; write "true"
      10 | env = { "A B" = "1", C = 2, D = true }
         |                                 ^^^^
    pikaci.toml:11:8: `cpus` is 0; write a number from 1 to 1024
      11 | cpus = 0
         |        ^
    pikaci.toml:12:12: `instance` knows no "vm"; write `virtual-machine`, `container`
      12 | instance = "vm"
         |            ^^^^
    pikaci.toml:13:14: the pattern "/artifacts/report/*" is absolute, but is taken below /artifacts; write "report/*"
      13 | artifacts = ["/artifacts/report/*"]
         |              ^^^^^^^^^^^^^^^^^^^^^
    pikaci.toml:14:9: "-x" is no image; write an alias, such as "pikaci/dev", or a fingerprint
      14 | image = "-x"
         |         ^^^^
    pikaci.toml:15:10: `memory` takes text with a unit; write "4GiB" or "4MiB"
      15 | memory = 4
         |          ^
    pikaci.toml:16:15: `run_as_root` takes true or false, without quotes, not a number
      16 | run_as_root = 1
         |               ^
    pikaci.toml:17:11: `network` takes true or false, without quotes, not a date
      17 | network = 1979-05-27
         |           ^^^^^^^^^^
    "#);
}

#[test]
fn prepared_outputs_are_complete_and_apart() {
    let text = r#"version = 1
targets.t.jobs = [{ id = "a", command = "true", prepared = ["linux-rst"] }]
[prepared.linux-rust]
provider = "command"
inputs = []
[prepared.deps]
provider = "nix"
mount = "/staged/linux-rust/deps"
inputs = ["flake.lock"]
[prepared.out]
provider = "docker"
mount = "/etc"
"#;
    assert_snapshot!(refusal(text), @r#"
    pikaci.toml:2:61: there is no prepared output `linux-rst`; did you mean `linux-rust`?
      2 | targets.t.jobs = [{ id = "a", command = "true", prepared = ["linux-rst"] }]
        |                                                             ^^^^^^^^^^^
    pikaci.toml:3:11: the provider `command` needs the key `command`: what builds the output
      3 | [prepared.linux-rust]
        |           ^^^^^^^^^^
    pikaci.toml:5:10: the list `inputs` is empty; write what is meant, or leave the key away
      5 | inputs = []
        |          ^^
    pikaci.toml:6:11: the provider `nix` needs one of the keys `installable`, such as ".#tests", and `expression`
      6 | [prepared.deps]
        |           ^^^^
    pikaci.toml:6:11: the mount /staged/linux-rust/deps overlaps with the one of `linux-rust`; set `mount`
      6 | [prepared.deps]
        |           ^^^^
    pikaci.toml:10:11: the key `inputs` is missing; write `inputs = ["Cargo.lock"]`
      10 | [prepared.out]
         |           ^^^
    pikaci.toml:10:11: the provider `command` needs the key `command`: what builds the output
      10 | [prepared.out]
         |           ^^^
    pikaci.toml:11:12: `provider` knows no "docker"; write `command`, `nix`
      11 | provider = "docker"
         |            ^^^^^^^^
    pikaci.toml:12:9: "/etc" is not below /staged; write a path such as "/staged/name"
      12 | mount = "/etc"
         |         ^^^^^^
    "#);
}

#[test]
fn a_group_has_one_size() {
    let text = r#"version = 1
defaults.command = "true"
[targets.a]
concurrency = { group = "heavy", size = 2 }
jobs = [{ id = "x" }]
[targets.b]
concurrency = { group = "heavy" }
jobs = [{ id = "x" }, { id = "x" }]
"#;
    assert_snapshot!(refusal(text), @r#"
    pikaci.toml:7:25: the group `heavy` has size 1 here and 2 on line 4; write one size
      7 | concurrency = { group = "heavy" }
        |                         ^^^^^^^
    pikaci.toml:8:30: the job `x` is already on line 8; give each its own id
      8 | jobs = [{ id = "x" }, { id = "x" }]
        |                              ^^^
    "#);
}

#[test]
fn another_version_is_wrong_in_its_version_only() {
    assert_snapshot!(refusal("version = 2\n[pipelines.x]\n"), @r#"
    pikaci.toml:1:11: version 2 is not supported; this pikaci reads version 1, upgrade it
      1 | version = 2
        |           ^
    "#);
    assert_snapshot!(refusal("version = 0\n"), @r#"
    pikaci.toml:1:11: version 0 is not supported; this pikaci reads version 1
      1 | version = 0
        |           ^
    "#);
}

#[test]
fn broken_syntax_and_empty_files_are_told_apart() {
    assert_snapshot!(refusal("version = 1\n[targets.t\nid = \n"), @r#"
    pikaci.toml:2:11: unclosed table, expected `]`
      2 | [targets.t
        |           ^
    "#);
    assert_snapshot!(refusal(""), @r#"pikaci.toml:1:1: the key `version` is missing; write `version = 1`"#);
    assert_snapshot!(refusal("version = 1\n"), @r#"
    pikaci.toml:1:1: the manifest has no target; write [targets.pre-merge] and its [[targets.pre-merge.jobs]]
      1 | version = 1
        | ^
    "#);
    assert_snapshot!(refusal("version = 1\nversion = 1\n"), @r#"
    pikaci.toml:2:1: duplicate key
      2 | version = 1
        | ^^^^^^^
    "#);
    let error = Manifest::parse_bytes(b"version = 1\n# caf\xe9\n").unwrap_err();
    assert_snapshot!(error, @r#"
    pikaci.toml:2:6: the text is not UTF-8 from here on; save it as UTF-8
      2 | # caf
        |      ^
    "#);
}

#[test]
fn sizes_have_limits() {
    assert_snapshot!(refusal(&"#".repeat(MANIFEST_BYTES_MAX + 1)), @r#"
    pikaci.toml:1:1: the manifest has 1048577 bytes; at most 1048576 are read
      1 | ####################################################################################################
        | ^
    "#);
    assert_snapshot!(job_refusal(&format!("timeout = \"25h\"\nimage = \"{}\"", "x".repeat(2000))), @r#"
    pikaci.toml:6:11: a timeout is at most 24h
      6 | timeout = "25h"
        |           ^^^^^
    pikaci.toml:7:9: `image` has 2000 bytes; at most 1024 are read
      7 | image = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
        |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    let job = |at: usize| format!("{{ id = \"j{at}\" }},");
    let jobs: String = (0..JOBS_MAX).map(job).collect();
    let text = format!(
        "version = 1\ndefaults.command = \"true\"\ntargets.t.jobs = [{jobs}]\ntargets.u.jobs = [{{ id = \"a\" }}]\n"
    );
    assert_snapshot!(refusal(&text), @r#"
    pikaci.toml:1:1: the manifest has 501 jobs; at most 500 are allowed
      1 | version = 1
        | ^
    "#);
    let command = "x".repeat(64 * 1024 + 1);
    let text = format!("version = 1\ntargets.t.jobs = [{{ id = \"a\", command = \"{command}\" }}]\n");
    assert_snapshot!(refusal(&text), @r#"
    pikaci.toml:2:41: `command` has 65537 bytes; at most 65536 are allowed, put it into a script of the repository
      2 | targets.t.jobs = [{ id = "a", command = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
        |                                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    "#);
    let value = "'".repeat(32 * 1024);
    assert_snapshot!(job_refusal(&format!("env = {{ A = \"{value}\" }}")), @r#"
    pikaci.toml:4:6: command and environment have 131095 bytes together; at most 129024 are allowed, put some of it into a file
      4 | id = "a"
        |      ^^^
    "#);
}

#[test]
fn the_number_of_problems_and_what_is_shown_of_them_is_bounded() {
    let text = format!("version = 1\n{}", "x\u{85}y = 1\n".repeat(200_000 / 8));
    let error = Manifest::parse(&text).unwrap_err();
    assert!(error.problems.len() <= 50);
    assert!(error.to_string().len() < 64 * 1024);
    let keys: String = (0..1000).map(|at| format!("\"k\\u001b[31m{at}\" = 1\n")).collect();
    let error = Manifest::parse(&keys).unwrap_err();
    assert_eq!((error.problems.len(), error.omitted), (50, 951));
    assert!(!error.to_string().contains('\u{1b}'));
}

#[test]
fn the_largest_texts_are_refused_without_much_work() {
    let needs = |count: usize| format!("needs = [{}]", "\"b\",".repeat(count));
    assert_snapshot!(job_refusal(&needs(200_000)).lines().next().unwrap(), @r#"pikaci.toml:6:9: `needs` has 200000 entries; at most 500 are read"#);
    // As many as there may be, of which each would be compared with each.
    let job = |at: usize| format!("{{ id = \"j{at}\", {} }},", needs(480));
    let jobs: String = (0..JOBS_MAX).map(job).collect();
    let text = format!("version = 1\ndefaults.command = \"true\"\ntargets.t.jobs = [{jobs}]\n");
    assert_snapshot!(refusal(&text).lines().next().unwrap(), @r#"pikaci.toml:3:41: the target `t` has no job `b`; its jobs are `j0`, `j1`, `j10`, `j100`, `j101`, `j102`, `j103`, `j104`, `j105`, `j106`, `j107`, `j108`, `j109`, `j11`, `j110`, `j111`, `j112`, `j113`, `j114`, `j115` and 480 more"#);
    let keys: String = (0..100_000).map(|at| format!("k{at}=1\n")).collect();
    assert_eq!(Manifest::parse(&keys).unwrap_err().problems.len(), 50);
}

#[test]
fn five_hundred_jobs_in_a_row_are_fine() {
    let jobs: String = (0..JOBS_MAX)
        .map(|at| match at {
            0 => "{ id = \"j0\" },".to_owned(),
            _ => format!("{{ id = \"j{at}\", needs = [\"j{}\"] }},", at - 1),
        })
        .collect();
    let text = format!("version = 1\ndefaults.command = \"true\"\ntargets.t.jobs = [{jobs}]\n");
    let manifest = Manifest::parse(&text).unwrap();
    assert_eq!(manifest.select("t/j499").unwrap().jobs.len(), JOBS_MAX);
    assert_eq!(manifest.select("t/j9").unwrap().jobs.len(), 10);
}

#[test]
fn the_manifest_of_this_repository_is_one() {
    let manifest = Manifest::parse(include_str!("../../../../pikaci.toml")).unwrap();
    assert!(manifest.find_target(&TargetId::parse("pre-merge").unwrap()).is_some());
}

proptest! {
    #[test]
    fn no_text_is_too_strange_to_be_refused(text in "(?s).{0,200}") {
        if let Err(error) = Manifest::parse(&text) {
            prop_assert!(!error.problems.is_empty());
            let _ = error.to_string();
        }
    }

    #[test]
    fn a_manifest_that_was_damaged_is_refused_or_whole(
        cuts in prop::collection::vec((0..COMPLETE.len(), 0_usize..40, "[\\[\\]{}=\"'a-z0-9.\n\\PC]{0,6}"), 1..6),
    ) {
        let mut bytes = COMPLETE.as_bytes().to_vec();
        for (at, removed, added) in cuts {
            let at = at.min(bytes.len());
            let end = (at + removed).min(bytes.len());
            bytes.splice(at..end, added.into_bytes());
        }
        match Manifest::parse_bytes(&bytes) {
            Err(error) => {
                prop_assert!(!error.problems.is_empty());
                let _ = error.to_string();
            }
            Ok(manifest) => for target in manifest.targets() {
                prop_assert!(!target.jobs.is_empty());
                for job in &target.jobs {
                    prop_assert!(job.needs.iter().all(|need| target.jobs.iter().any(|other| other.id == *need)));
                    let selected = manifest.select(&format!("{}/{}", target.id, job.id)).unwrap();
                    prop_assert!(selected.jobs.iter().any(|other| other.id == job.id));
                }
            }
        }
    }
}

#[test]
fn what_is_prepared_is_made_by_jobs_before_those_that_need_it() {
    let text = r#"version = 1
[defaults]
instance = "container"
artifacts = ["report/**"]
prepared = ["tests"]
[targets.t]
jobs = [
    { id = "unit", command = "true", needs = ["format"] },
    { id = "format", command = "true", prepared = [] },
]
[prepared.tests]
provider = "command"
command = "make tests"
inputs = ["src/**"]
prepared = ["tools"]
memory = "512MiB"
[prepared.tools]
provider = "nix"
expression = "import ./tools.nix {}"
inputs = ["tools.nix"]
[prepared.unused]
provider = "command"
command = "true"
inputs = ["src/**"]
"#;
    let manifest = Manifest::parse(text).unwrap();
    let jobs = manifest.select("t").unwrap().jobs;
    assert_eq!(ids(&jobs), ["prepare.tests", "prepare.tools", "unit", "format"]);
    let needs = |at: usize| jobs[at].needs.iter().map(JobId::as_str).collect::<Vec<_>>();
    assert_eq!(needs(0), ["prepare.tools"]);
    assert_eq!(needs(2), ["format", "prepare.tests"]);
    // By themselves, as `pikaci why` offers them.
    let alone = manifest.select("t/prepare.tests").unwrap().jobs;
    assert_eq!(ids(&alone), ["prepare.tests", "prepare.tools"]);
    assert!(manifest.select("t/prepare.none").is_err());
    assert_eq!(needs(3), Vec::<&str>::new());
    assert_eq!((jobs[0].instance, jobs[0].memory_bytes), (InstanceType::Container, 512 << 20));
    assert_eq!(jobs[0].artifacts, Vec::<String>::new());
    assert_eq!(jobs[1].command.summary(), "nix build --expr import ./tools.nix {}");
    assert_eq!(jobs[1].output.as_ref().unwrap().mount, "/staged/tools");
    assert_eq!(ids(&manifest.select("t/format").unwrap().jobs), ["format"]);
}

#[test]
fn prepared_outputs_do_not_wait_for_themselves_or_for_jobs() {
    let text = r#"version = 1
targets.t.jobs = [{ id = "prepare.a", command = "true" }]
[prepared.a]
provider = "command"
command = "true"
installable = ".#a"
inputs = ["a"]
prepared = ["b"]
needs = ["unit"]
[prepared.b]
provider = "nix"
installable = ".#b"
expression = "b"
inputs = ["b"]
prepared = ["a"]
"#;
    assert_snapshot!(refusal(text), @r#"
    pikaci.toml:2:26: ids that begin with `prepare.` are those of prepared outputs
      2 | targets.t.jobs = [{ id = "prepare.a", command = "true" }]
        |                          ^^^^^^^^^^^
    pikaci.toml:3:11: `installable` and `expression` are for the provider `nix`
      3 | [prepared.a]
        |           ^
    pikaci.toml:3:11: `a` needs itself prepared, in the end; break the circle
      3 | [prepared.a]
        |           ^
    pikaci.toml:9:9: an output needs no job; name other outputs with `prepared`
      9 | needs = ["unit"]
        |         ^^^^^^^^
    pikaci.toml:10:11: the provider `nix` needs one of the keys `installable`, such as ".#tests", and `expression`
      10 | [prepared.b]
         |           ^
    pikaci.toml:10:11: `b` needs itself prepared, in the end; break the circle
      10 | [prepared.b]
         |           ^
    "#);
}

#[test]
fn a_policy_of_secrets_names_branches_and_maybe_targets() {
    let manifest = Manifest::parse(
        "version = 1
[targets]
t.jobs = [{ id = \"a\", command = \"true\", secrets = [\"DEPLOY\"] }]
[secrets]
DEPLOY = { branches = [\"main\", \"release/*\"], targets = [\"t\"] }
OTHER = { branches = [\"**\"] }
",
    )
    .unwrap();
    let given = |branch: &str, target: &str| -> Vec<String> {
        let target = TargetId::parse(target).unwrap();
        manifest.list_secrets_for(branch, &target).map(str::to_owned).collect()
    };
    assert_eq!(given("main", "t"), ["DEPLOY", "OTHER"]);
    assert_eq!(given("release/1", "t"), ["DEPLOY", "OTHER"]);
    assert_eq!(given("release/1/evil", "t"), ["OTHER"]);
    assert_eq!(given("mainly", "t"), ["OTHER"]);
    assert_eq!(given("main", "u"), ["OTHER"]);
    let wrong = Manifest::parse(
        "version = 1
targets.t.jobs = [{ id = \"a\", command = \"true\", secrets = [\"../x\"] }]
[secrets.DEPLOY]
value = \"hunter22\"
",
    );
    let words = wrong.unwrap_err().to_string();
    for word in
        ["\"../x\" is not the name of a secret", "`branches` is missing", "set in the forge, never here"]
    {
        assert!(words.contains(word), "{words}");
    }
}
