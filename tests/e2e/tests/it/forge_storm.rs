//! The forge is killed again and again while branches are pushed, tested, explained and merged: nothing is lost, nothing runs twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use e2e::{Client, TestForge, TestForgeOptions, soon};
use pikaci::RunId;
use serde_json::{Value, json};

use crate::manifest::of_jobs;

const KILLS: usize = 20;
/// From when the forge answers to when it is killed, at most.
const LIFE_MS_MAX: u64 = 1_200;
/// How long everything may take that was begun, on a busy machine.
const CALM: Duration = Duration::from_secs(180);
/// A writer that names the first hunk that it is shown.
const WRITER: &str = r#"[tutorial]
provider = "command"
command = ["sh", "-c", '''
hunk=$(grep -o '"id":"h[0-9a-f]*"' | head -n 1 | cut -d '"' -f 4); sleep 0.1
echo "{\"executive_summary\": \"s\", \"steps\": [{\"title\": \"t\", \"intent\": \"i\", \"evidence\": [{\"hunk\": \"$hunk\"}]}]}"
''']
"#;

/// What was promised to somebody, and must be true in the end.
#[derive(Default)]
struct Promises {
    /// Branches of which git said that they were pushed, with their commit.
    pushed: BTreeMap<String, String>,
    /// Heads of which the forge said that they were merged.
    merged: BTreeSet<String>,
}

/// A random number below `bound`, by xorshift; what is random is only when the forge is killed.
fn random(seed: &mut u64, bound: u64) -> u64 {
    for shift in [(13, true), (7, false), (17, true)] {
        *seed ^= if shift.1 { *seed << shift.0 } else { *seed >> shift.0 };
    }
    *seed % bound
}

/// Whether it is over; waits so long for that.
fn is_over(end: &Receiver<()>, within: Duration) -> bool {
    end.recv_timeout(within) != Err(RecvTimeoutError::Timeout)
}

fn push_branches(forge: &TestForge, promises: &Arc<Mutex<Promises>>) -> (Sender<()>, thread::JoinHandle<()>) {
    let (tree, promises) = (forge.work_tree_with(&of_jobs(&[("unit", "sleep 0.05")])), Arc::clone(promises));
    let (sender, end) = channel();
    let pushing = thread::spawn(move || {
        for number in 0.. {
            let branch = format!("b{number}");
            tree.branch(&branch, "main").write(&format!("files/{number}"), format!("{number}\n"));
            let head = tree.commit(&format!("Add {number}"));
            // What fails may have arrived all the same.
            if tree.try_push(&branch).is_accepted {
                promises.lock().unwrap().pushed.insert(branch, head);
            }
            if is_over(&end, Duration::from_millis(60)) {
                return;
            }
        }
    });
    (sender, pushing)
}

fn merge_branches(
    forge: &TestForge,
    promises: &Arc<Mutex<Promises>>,
) -> (Sender<()>, thread::JoinHandle<()>) {
    let (client, promises) = (forge.client(), Arc::clone(promises));
    let (sender, end) = channel();
    let merging = thread::spawn(move || {
        while !is_over(&end, Duration::from_millis(100)) {
            for branch in list_branches(&client).unwrap_or_default().into_iter().take(3) {
                let (id, head) = (&branch["id"], branch["head_oid"].as_str().unwrap_or_default());
                if branch["name"] == "main" || branch["state"] != "open" || branch["head_state"] != "passed" {
                    continue;
                }
                let path = format!("/news/api/forge/branch/{id}/merge");
                let answer = client.try_post(&path, &json!({"expected_head": head}));
                if answer.is_ok_and(|answer| (200..300).contains(&answer.status)) {
                    promises.lock().unwrap().merged.insert(head.to_owned());
                }
            }
        }
    });
    (sender, merging)
}

/// All branches of all states; `None` while the forge is away.
fn list_branches(client: &Client) -> Option<Vec<Value>> {
    let mut branches = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/news/api/v1/repositories/sample/branches?limit=200{after}");
        let part: Value = serde_json::from_str(&client.try_get(&path).ok()?.body).ok()?;
        branches.extend(part["items"].as_array()?.iter().cloned());
        let Some(next) = part["next"].as_str() else { return Some(branches) };
        after = format!("&after={next}");
    }
}

#[test]
fn kill_9_at_twenty_moments_loses_nothing_runs_nothing_twice_at_once_and_leaves_no_ghost_branch() {
    let mut forge =
        TestForge::start_with(&TestForgeOptions { more: WRITER.to_owned(), ..TestForgeOptions::default() });
    let promises = Arc::new(Mutex::new(Promises::default()));
    let (stop_pushing, pushing) = push_branches(&forge, &promises);
    let (stop_merging, merging) = merge_branches(&forge, &promises);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut seed = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap() | 1;
    let seed_of_all = seed;
    let (_never, moments) = channel();
    for _ in 0..KILLS {
        let life = Duration::from_millis(random(&mut seed, LIFE_MS_MAX));
        assert!(!is_over(&moments, life));
        forge.kill();
        forge.restart();
    }
    drop(stop_pushing);
    pushing.join().unwrap();
    let client = forge.client();
    soon("nothing waits or runs any more", CALM, || {
        let queue: Value = client.get("/news/api/v1/queue").expect(200).json();
        queue["items"].as_array().unwrap().is_empty().then_some(())
    });
    drop(stop_merging);
    merging.join().unwrap();
    let promises = Arc::into_inner(promises).unwrap().into_inner().unwrap();
    let load = (promises.pushed.len(), promises.merged.len());
    assert!(load.0 > 4 && load.1 > 0, "{load:?} pushes and merges; the moments follow from {seed_of_all}");

    let repository = forge.repository();
    let git = |arguments: &[&str]| {
        let output =
            std::process::Command::new("git").arg("-C").arg(&repository).args(arguments).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Nothing that was promised is lost.
    let (_, references) = git(&["for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads"]);
    let references: BTreeMap<&str, &str> =
        references.lines().filter_map(|line| line.split_once(' ')).collect();
    for (branch, head) in &promises.pushed {
        assert_eq!(references.get(branch.as_str()), Some(&head.as_str()), "{branch} was pushed");
    }
    for head in &promises.merged {
        assert!(git(&["merge-base", "--is-ancestor", head, "main"]).0, "{head} was merged");
    }
    // What git has and what the forge tells is the same: no branch is missing, none is a ghost.
    let told = list_branches(&client).unwrap();
    let alive = told.iter().filter(|branch| branch["state"] != "deleted");
    let told_heads: BTreeMap<&str, &str> = alive
        .map(|branch| (branch["name"].as_str().unwrap(), branch["head_oid"].as_str().unwrap()))
        .collect();
    assert_eq!(told_heads, references);
    // Each head came to its verdict, by attempts that did not overlap, and every run belongs to one of them.
    let mut runs: BTreeSet<RunId> = forge.runs().into_iter().collect();
    for branch in told.iter().filter(|branch| branch["name"] != "main") {
        assert_eq!(branch["head_state"], "passed", "{branch}");
        let id = branch["id"].as_i64().unwrap();
        let path = format!("/news/api/v1/branches/{id}/runs?limit=200");
        let attempts: Value = client.get(&path).expect(200).json();
        let mut spans = Vec::new();
        for attempt in attempts["items"].as_array().unwrap() {
            let Some(run) = attempt["run_id"].as_str().and_then(|run| RunId::parse(run).ok()) else {
                continue;
            };
            if let Ok(record) = pikaci::store::load_run_record(&forge.state(), &run) {
                spans.push((record.created_at, record.finished_at.expect("the run is over")));
            }
            runs.remove(&run);
        }
        spans.sort();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{branch}: {spans:?}");
        let path = format!("/news/api/forge/branch/{id}/tutorial/state");
        soon("the tutorial is written", CALM, || {
            let tutorial: Value = client.get(&path).expect(200).json();
            (tutorial["status"] == "written").then_some(())
        });
    }
    for branch in told.iter().filter(|branch| branch["name"] == "main") {
        let path = format!("/news/api/v1/branches/{}/runs?limit=200", branch["id"]);
        for attempt in client.get(&path).expect(200).json()["items"].as_array().unwrap() {
            let run = attempt["run_id"].as_str().and_then(|run| RunId::parse(run).ok());
            run.map(|run| runs.remove(&run));
        }
    }
    assert!(runs.is_empty(), "runs of no attempt: {runs:?}");
    let (is_clean, said) = git(&["fsck", "--strict", "--no-dangling"]);
    assert!(is_clean, "{said}");
}
