//! Who may read what: strangers, hostile ids, forged records.

use std::fs;
use std::os::unix::fs::symlink;

use e2e::TestForge;
use pikaci::RunId;

use crate::manifest::of_jobs;

/// Every JSON route and stream about a run.
fn run_routes(run: &str) -> Vec<String> {
    let routes = [
        "run/{}",
        "logs/{}?kind=both",
        "logs/{}/raw?job=unit&kind=guest",
        "logs/{}/stream?job=unit&kind=guest",
        "prepared-outputs/{}",
    ];
    routes.iter().map(|route| format!("/news/api/forge/pikaci/{}", route.replace("{}", run))).collect()
}

#[test]
fn strangers_are_refused_everywhere() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", "echo the secret plan")])).commit("Begin");
    let pushed = tree.push("main:topic");
    let lane = forge.wait_for_lane(&pushed, "check");
    let mut routes = run_routes(lane.run_id());
    routes.push(format!("/news/api/forge/branch/{}/logs?lane=check", pushed.branch_id()));
    for route in &routes {
        let refused = forge.stranger().get(route).expect(401);
        assert!(refused.json()["error"].is_string(), "{route}");
    }
    for page in [
        "/news".to_owned(),
        "/news/sample".to_owned(),
        forge.branch_page(&pushed),
        forge.lane_run_page(&lane),
    ] {
        let reply = forge.stranger().get(&page);
        assert!((300..500).contains(&reply.status), "{page} is shown to strangers");
        assert!(!reply.body.contains("topic") && !reply.body.contains("secret plan"), "{page}");
    }
    forge.merge(&forge.stranger(), &pushed, &tree.head()).expect(401);
    tree.git(&["remote", "set-url", "origin", &format!("{}/news/git/sample.git", forge.url())]);
    assert!(!tree.try_push("main:other").is_accepted);
}

#[test]
fn ids_that_are_paths_are_not_found_on_every_route() {
    let forge = TestForge::start();
    let hostile = [
        "..%2F..%2F..%2Fetc%2Fpasswd",
        "..%2f",
        "%2e%2e",
        ".%00",
        "20260301T142233Z-7f3a9c10%2F..",
        "%2Fetc%2Fpasswd",
    ];
    for id in hostile {
        let pages = [
            format!("/news/sample/branch/{id}"),
            format!("/news/sample/lane-run/{id}"),
            format!("/news/{id}"),
        ];
        let branch = format!("/news/api/forge/branch/{id}/logs?lane=check");
        for route in run_routes(id).into_iter().chain(pages).chain([branch]) {
            let reply = forge.client().get(&route);
            assert_eq!(reply.status, 404, "{route}: {}", reply.body);
            assert!(
                !reply.body.contains("root:") && !reply.body.contains("/tmp/"),
                "{route}: {}",
                reply.body
            );
        }
    }
}

#[test]
fn an_id_of_a_job_that_is_a_path_is_not_found() {
    let forge = TestForge::start();
    let tree = forge.work_tree();
    tree.write("pikaci.toml", of_jobs(&[("unit", "true")])).commit("Begin");
    let lane = forge.wait_for_lane(&tree.push("main:topic"), "check");
    for job in ["..%2F..%2Frun.json", "no-such-job", "%2Fetc"] {
        for route in ["", "/raw", "/stream"] {
            let path = format!("/news/api/forge/pikaci/logs/{}{route}?job={job}&kind=guest", lane.run_id());
            assert_eq!(forge.client().get(&path).status, 404, "{path}");
        }
    }
}

#[test]
fn a_forged_record_shows_nothing_from_outside_its_run() {
    let forge = TestForge::start();
    let run = RunId::parse("20260301T142233Z-7f3a9c10").unwrap();
    let folder = forge.state().run_dir(&run);
    let secret = forge.config();
    let artifacts = folder.join("jobs/unit/artifacts");
    fs::create_dir_all(&artifacts).unwrap();
    let record = format!(
        r#"{{"schema_version":1,"run_id":"{run}","status":"passed","source_root":"/","created_at":"2026-03-01T14:22:33Z",
            "prepared_outputs_path":{secret:?},"plan_path":{secret:?},
            "jobs":[{{"id":"unit","status":"passed","executor":"host_local","started_at":"2026-03-01T14:22:34Z",
            "host_log_path":{secret:?},"guest_log_path":"../../../../../pika-news.toml"}}]}}"#
    );
    fs::write(folder.join("run.json"), record).unwrap();
    symlink(&secret, artifacts.join("guest.log")).unwrap();
    symlink(&secret, folder.join("jobs/unit/host.log")).unwrap();
    symlink(&secret, folder.join("prepared-outputs.json")).unwrap();
    let marker = "[[repositories]]";
    assert!(fs::read_to_string(&secret).unwrap().contains(marker));
    for route in run_routes(run.as_str()) {
        let reply = forge.client().get(&route);
        assert!(!reply.body.contains(marker), "{route}: {}", reply.body);
    }
}
