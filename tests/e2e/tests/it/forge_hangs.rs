//! A writer, a mirror and a lane that hang, all at once, and whoever works beside them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use e2e::{TestForge, TestForgeOptions, eventually};
use serde_json::{Value, json};

use crate::manifest::of_jobs;

#[test]
fn a_writer_a_mirror_and_a_lane_that_hang_delay_nothing_else() {
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let forge = TestForge::start_with(&TestForgeOptions {
        more: "[tutorial]\nprovider = \"command\"\ncommand = [\"sleep\", \"1000\"]\n".to_owned(),
        after: format!("[repositories.mirror]\nurl = \"http://{address}/elsewhere.git\"\n"),
        ..TestForgeOptions::default()
    });
    let tree = forge.work_tree_with(&of_jobs(&[("unit", "test ! -e hang || sleep 1000")]));
    let client = forge.client();
    tree.write("hang", "").commit("Hang");
    let hanging = tree.push("HEAD:hanging");
    eventually("the lane hangs", || (forge.lane(&hanging, "check").state() == "running").then_some(()));
    eventually("the writer hangs", || {
        let path = format!("/news/api/forge/branch/{}/tutorial/state", hanging.branch_id());
        (client.get(&path).expect(200).json()["status"] == "running").then_some(())
    });
    let mirror = "/news/api/v1/repositories/sample/mirror";
    eventually("the mirror hangs", || {
        (client.get(mirror).expect(200).json()["status"] == "running").then_some(())
    });

    tree.git(&["rm", "--quiet", "hang"]);
    tree.commit("Go on");
    let started = Instant::now();
    let pushed = tree.push("HEAD:beside");
    forge.wait_for_lane(&pushed, "check");
    assert_eq!(forge.head_state(&pushed), "passed");
    // The reader is shown the diff and the tutorial that a program makes, as if nobody was awaited.
    let page = client.get(&forge.branch_page(&pushed)).expect(200).body;
    assert!(page.contains("Go on"), "{page}");
    forge.merge(&client, &pushed, &tree.head()).expect_success();
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let ready: Value = forge.stranger().get("/readyz").expect(200).json();
    assert_eq!(ready["status"], json!("ready"), "{ready}");
    assert_eq!(client.get(mirror).expect(200).json()["status"], "running");
}
