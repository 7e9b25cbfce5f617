//! What outputs take on the disk, and what is done about it.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::super::store::{StorePath, new_kept};
use super::*;

fn key_of(digit: char) -> Digest {
    Digest::parse(&digit.to_string().repeat(64)).unwrap()
}

fn set_used(store: &Store, key: &Digest, hours_ago: u64) {
    let at = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
    store.open_lock(key).unwrap().set_modified(at).unwrap();
}

fn age(path: &Path) {
    let hours_ago = SystemTime::now() - Duration::from_secs(7200);
    fs::File::open(path).unwrap().set_modified(hours_ago).unwrap();
}

/// Keeps an output of Nix that refers to these paths, of which the first is its own.
fn keep_nix(fixture: &Fixture, key: &Digest, paths: &[(PathBuf, u64)]) {
    let run = pikaci::RunId::random(Timestamp::now());
    let mut kept = new_kept(key, "nix", Provider::Nix, &run, paths[0].0.clone());
    kept.closure =
        paths.iter().map(|(path, bytes)| StorePath { path: path.clone(), bytes: *bytes }).collect();
    kept.closure_bytes = paths.iter().map(|(_, bytes)| bytes).sum();
    let folder = fixture.state.prepared_dir().join(key);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("record.json"), serde_json::to_vec(&kept).unwrap()).unwrap();
    symlink(&paths[0].0, Store::new(&fixture.state).root(key).unwrap()).unwrap();
}

#[test]
fn what_nix_built_is_weighed_once_and_let_go_when_it_is_over_the_budget() {
    let fixture = Fixture::new();
    let [one, other, shared] = ["one", "other", "shared"].map(|name| fixture.root().join(name));
    for path in [&one, &other, &shared] {
        fs::create_dir(path).unwrap();
    }
    let (old, new) = (key_of('a'), key_of('b'));
    keep_nix(&fixture, &old, &[(one, 10), (shared.clone(), 100)]);
    keep_nix(&fixture, &new, &[(other, 20), (shared, 100)]);
    let store = Store::new(&fixture.state);
    set_used(&store, &old, 2);
    set_used(&store, &new, 1);
    let within =
        |bytes_max| evict(&fixture.state, &PreparedBudget { bytes_max, runs_min: 0 }, false).unwrap();
    assert_eq!(within(130).removed, []);
    let removed: Vec<_> = within(125).removed.into_iter().map(|(kept, bytes, _)| (kept.key, bytes)).collect();
    assert_eq!(removed, [(old.clone(), 10)]);
    let roots = fixture.state.prepared_dir().join("roots");
    assert!(fs::symlink_metadata(roots.join(&old)).is_err(), "Nix would keep it for ever");
    assert!(fs::symlink_metadata(roots.join(&new)).is_ok());
    assert_eq!(within(0).removed.iter().map(|(_, bytes, _)| *bytes).collect::<Vec<_>>(), [120]);
}

#[test]
fn failures_are_forgotten_when_there_is_no_room_for_them_but_not_those_of_the_newest_runs() {
    let fixture = Fixture::new();
    let record = play(&fixture, vec![maker("a", "false")], scripted(&[("prepare.a", Script::Exit(3))]));
    let store = Store::new(&fixture.state);
    let forgotten = |budget| evict(&fixture.state, &budget, false).unwrap().failures;
    assert_eq!(forgotten(PreparedBudget { bytes_max: 1 << 20, runs_min: 0 }), 0);
    assert_eq!(forgotten(PreparedBudget { bytes_max: 0, runs_min: 1 }), 0, "{}", record.run_id);
    assert_eq!(forgotten(PreparedBudget { bytes_max: 0, runs_min: 0 }), 1);
    assert_eq!(store.failures(), []);
}

#[test]
fn what_killed_builds_leave_is_collected_and_what_is_in_use_is_not() {
    let fixture = Fixture::new();
    passes(&fixture);
    let store = Store::new(&fixture.state);
    let kept = store.list().remove(0).key;
    let prepared = fixture.state.prepared_dir();
    // A root whose build never came to its end, one that is being built, and one that is kept.
    let (lost, building) = (key_of('c'), key_of('d'));
    for key in [&lost, &building, &kept] {
        symlink("/nowhere", store.root(key).unwrap()).unwrap();
    }
    let at_work = store.open_lock(&building).unwrap();
    at_work.lock().unwrap();
    // Locks of outputs that there are no more.
    let (gone, young) = (key_of('e'), key_of('f'));
    set_used(&store, &gone, 2);
    set_used(&store, &kept, 2);
    store.open_lock(&young).unwrap();
    // A record that nobody can read.
    let unreadable = prepared.join(key_of('0'));
    fs::create_dir(&unreadable).unwrap();
    fs::write(unreadable.join("record.json"), "{").unwrap();
    age(&unreadable);
    let budget = PreparedBudget { bytes_max: u64::MAX, runs_min: 0 };
    assert_eq!(evict(&fixture.state, &budget, true).unwrap().leftovers, 3);
    assert!(unreadable.exists());
    assert_eq!(evict(&fixture.state, &budget, false).unwrap().leftovers, 3);
    assert!(!unreadable.exists());
    let there = |folder: &str| {
        let names = fs::read_dir(prepared.join(folder)).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    };
    let text = |keys: &[&Digest]| {
        let mut keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
        keys.sort();
        keys
    };
    assert_eq!(there("roots"), text(&[&building, &kept]));
    assert_eq!(there("locks"), text(&[&building, &kept, &young, &lost, &key_of('0')]));
    assert!(store.take(&kept).is_some());
}

#[test]
fn a_lock_that_was_collected_while_it_was_opened_holds_nothing() {
    let fixture = Fixture::new();
    passes(&fixture);
    let store = Store::new(&fixture.state);
    let kept = store.list().remove(0).key;
    let opened = store.open_lock(&kept).unwrap();
    fs::remove_file(fixture.state.prepared_dir().join("locks").join(&kept)).unwrap();
    assert!(store.hold(&kept, opened).is_err());
    assert!(store.take(&kept).is_some());
}

#[test]
fn only_the_newest_graves_are_remembered() {
    let fixture = Fixture::new();
    passes(&fixture);
    let store = Store::new(&fixture.state);
    let grave = |number: u32| {
        let at = Timestamp::from_second(number.into()).unwrap();
        format!(
            "{{\"key\":\"{}\",\"name\":\"a\",\"evicted_at\":\"{at}\",\"rule\":\"r\",\"bytes\":1}}\n",
            key_of('1')
        )
    };
    let file = fixture.state.prepared_dir().join("tombstones.jsonl");
    let budget = PreparedBudget { bytes_max: u64::MAX, runs_min: 0 };
    fs::write(&file, (0..2000).map(grave).collect::<String>()).unwrap();
    evict(&fixture.state, &budget, false).unwrap();
    assert_eq!(store.tombstones().len(), 2000);
    fs::write(&file, (0..2001).map(grave).collect::<String>()).unwrap();
    evict(&fixture.state, &budget, false).unwrap();
    assert_eq!(store.tombstones().len(), 1000);
    assert_eq!(store.tombstones()[999].evicted_at.as_second(), 2000);
}
