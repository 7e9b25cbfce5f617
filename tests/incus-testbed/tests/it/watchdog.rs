//! What becomes of a testbed when nobody is left to drop it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use incus_testbed::Testbed;

use crate::guest::{import_image, init_of};
use crate::traces;

/// Set in the process that this test starts of itself, and kills.
const IS_OWNER_VARIABLE: &str = "INCUS_TESTBED_IS_OWNER";
const WORD: &str = "testbed is up: ";

#[test]
fn a_testbed_whose_owner_is_killed_is_gone_soon() {
    if std::env::var_os(IS_OWNER_VARIABLE).is_some() {
        own_a_testbed();
    }
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "watchdog::a_testbed_whose_owner_is_killed_is_gone_soon"])
        .env(IS_OWNER_VARIABLE, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let up = lines.find_map(|line| line.split_once(WORD).map(|(_, words)| words.to_owned()));
    let up = up.expect("the owner starts a testbed");
    let (folder, init) = up.split_once(' ').unwrap();
    let (folder, init) = (PathBuf::from(folder), init.parse().unwrap());
    assert!(!traces::of(&folder).is_empty() && traces::is_alive(init));
    owner.kill().unwrap();
    owner.wait().unwrap();
    traces::gone(&folder, Duration::from_secs(30));
    assert!(!traces::is_alive(init));
}

/// Starts a container, says so, and waits to be killed.
fn own_a_testbed() -> ! {
    let testbed = Testbed::start_below_tmp().unwrap();
    import_image(&testbed, &[]);
    testbed.incus(&["launch", "tiny", "c1"]).unwrap();
    println!("{WORD}{} {}", testbed.incus_dir().parent().unwrap().display(), init_of(&testbed, "c1"));
    // The input ends when the test does, should it fail before it kills.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(testbed);
    std::process::exit(1)
}
