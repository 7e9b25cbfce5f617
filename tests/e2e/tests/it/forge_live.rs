//! Logs of a lane: while it runs, when it is cancelled, and when they are huge.

use std::time::{Duration, Instant};

use e2e::{TestForge, TestForgeOptions, processes_with_argument, resident_bytes_max};

use crate::manifest::{WAITS, endless, of_jobs, unique_seconds};

#[test]
fn a_log_line_is_visible_over_the_stream_before_the_job_ends() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", WAITS)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let run = forge.wait_for_log("unit", "ready", &[]);
    let path = format!("/news/api/forge/pikaci/logs/{run}/stream?job=unit&kind=guest");
    let mut stream = forge.client().stream(&path, None);
    let (seen, id) = stream.read_until("ready\n");
    assert_eq!(seen, "ready\n");
    assert_eq!(forge.lane(&pushed, "check").state(), "running");

    forge.let_go_on(&run, "unit");
    assert_eq!(stream.read_to_end(), "went\n");
    assert_eq!(forge.wait_for_lane(&pushed, "check").state(), "passed");
    // Who comes back with the last event's id gets the rest, each byte once.
    assert_eq!(forge.client().stream(&path, id.as_deref()).read_to_end(), "went\n");
    assert_eq!(forge.client().stream(&path, None).read_to_end(), "ready\nwent\n");
}

#[test]
fn cancel_stops_a_lane_within_five_seconds_and_keeps_its_log() {
    let forge = TestForge::start();
    let seconds = unique_seconds();
    let tree = forge.work_tree();
    let stubborn = format!("trap '' TERM; {}", endless(&seconds));
    tree.write("pikaci.toml", of_jobs(&[("stuck", &stubborn)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let run = forge.wait_for_log("stuck", "ready", &[]);

    let start = Instant::now();
    forge.cancel(&forge.lane(&pushed, "check"));
    let lane = forge.wait_for_lane(&pushed, "check");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(processes_with_argument(&seconds), Vec::<u32>::new());
    assert_eq!((lane.outcome(), lane.fault()), ("cancelled", "user"));
    assert_eq!(lane.attempts(), 1, "what a person stopped is not tried again");
    assert_eq!(forge.head_state(&pushed), "cancelled");
    assert_eq!(forge.guest_log(run.as_str(), "stuck"), "ready\n");
}

#[test]
fn a_hundred_megabytes_of_log_with_a_broken_byte_cost_neither_page_nor_memory() {
    const MEGABYTE: u64 = 1_000_000;
    let mut forge = TestForge::start();
    let tree = forge.work_tree();
    // The broken byte, then 100 MB without a single line break, then the end.
    let script =
        "printf 'broken \\377 byte\\n'; head -c 100000000 /dev/zero | tr '\\0' 'x'; printf '\\nthe end\\n'";
    tree.write("pikaci.toml", of_jobs(&[("flood", script)])).commit("Begin");
    let pushed = tree.push("main:topic");
    let lane = forge.wait_for_lane(&pushed, "check");
    assert_eq!(lane.state(), "passed");
    let run = lane.run_id();

    let page = forge.client().get(&forge.lane_run_page(&lane)).expect(200);
    assert!(page.bytes.len() < 1_000_000, "the page has {} bytes", page.bytes.len());
    assert!(page.body.contains("the end"));
    let metadata = forge
        .client()
        .get(&format!("/news/api/forge/branch/{}/logs?lane=check", pushed.branch_id()))
        .expect(200)
        .json()["pikaci_log_metadata"]
        .clone();
    let size = metadata["jobs"][0]["guest_log_bytes"].as_u64().unwrap();
    assert_eq!(size, 100 * MEGABYTE + "broken x byte\n".len() as u64 + "\nthe end\n".len() as u64);

    let raw = format!("/news/api/forge/pikaci/logs/{run}/raw?job=flood&kind=guest");
    let first = forge.client().get_range(&raw, 0, 14).expect(206);
    assert_eq!(first.bytes, b"broken \xff byte\nx");
    let last = forge.client().get_range(&raw, size - 8, size - 1).expect(206);
    assert_eq!(last.bytes, b"the end\n");
    let inline =
        forge.client().get(&format!("/news/api/forge/pikaci/logs/{run}?job=flood&kind=guest")).expect(200);
    assert!(inline.bytes.len() < 8_000_000, "{} bytes inline", inline.bytes.len());

    let mut stream = forge
        .client()
        .stream(&format!("/news/api/forge/pikaci/logs/{run}/stream?job=flood&kind=guest"), None);
    let streamed = stream.read_to_end();
    assert!(streamed.starts_with("broken \u{fffd} byte\nx"));
    assert!(streamed.ends_with("x\nthe end\n"));
    assert_eq!(streamed.chars().count() as u64, size);
    let used = resident_bytes_max(forge.process().pid());
    assert!(used < 96 * 1024 * 1024, "the forge used {used} bytes");
}

#[test]
fn a_log_in_json_has_one_object_a_line() {
    let mut forge = TestForge::start_with(&TestForgeOptions {
        arguments: &["--log-format", "json"],
        ..TestForgeOptions::default()
    });
    assert!(forge.terminate().success());
    let log = forge.log();
    let lines =
        log.lines().filter(|line| !line.starts_with("pika-news serves") && !line.starts_with("sign in"));
    let lines: Vec<serde_json::Value> = lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert!(lines.iter().any(|line| line["message"] == "draining"), "{lines:?}");
    assert!(lines.iter().all(|line| line["level"].is_string() && line["message"].is_string()), "{lines:?}");
}
