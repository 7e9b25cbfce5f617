//! The API held against its own description by schemathesis, which makes up requests, right and wrong ones: no answer is a fault
//! of the forge, and none is of a status, a type or a shape that is not described.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use axum::http::StatusCode;
use pikaci::{JobStatus, Outcome};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::fixture::{Fixture, MANIFEST, REPOSITORY, job_id, run_id, write_pikaci_run_fixture};
use crate::auth::Scopes;
use crate::web::server;

/// Where `cargo xtask test` puts it; else it is looked for on the path.
const PROGRAMS_VARIABLE: &str = "PIKA_TEST_PYTHON_PROGRAMS";
const PROGRAM: &str = "schemathesis";
const DEADLINE: Duration = Duration::from_secs(120);

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth";

/// Whom requests about users are of. Of its own account it would learn the name, and end its rights.
const OTHERS: &str = "[[operations]]\ninclude-path-regex = \"/users/\"\nparameters = { name = \"grace\" }\n";

/// What is there, so that not everything that is asked for is missing.
fn settings(branch: &str, lane_run: &str) -> String {
    format!(
        "[parameters]\nname = \"{REPOSITORY}\"\nrepository = \"{REPOSITORY}\"\nrun_id = \"{}\"\njob = \"unit\"\n\
         path = \"report.txt\"\nbranch_id = {branch}\nhead_id = 1\nlane_id = 1\nlane_run_id = {lane_run}\n{OTHERS}",
        run_id()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_has_an_answer_that_is_not_described() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let lane_run = fixture.claim(branch, Some(Outcome::Failed)).await;
    write_pikaci_run_fixture(&fixture.state, b"a log\n", &JobStatus::Failed);
    fs::write(fixture.state.artifacts_dir(&run_id(), &job_id("unit")).join("report.txt"), "all well")
        .unwrap();
    fixture.auth.ensure_user("grace", false).await.unwrap();
    let token = fixture.auth.create_token(&fixture.user, "used", &Scopes::all(), None).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served =
        tokio::spawn(server::serve(listener, fixture.router_with_git(), |_| false, fixture.shutdown.clone()));
    let config = fixture.folder.path().join("schemathesis.toml");
    for settings in [OTHERS.to_owned(), settings(&branch.to_string(), &lane_run.to_string())] {
        fs::write(&config, &settings).unwrap();
        let folder = std::env::var_os(PROGRAMS_VARIABLE).map(PathBuf::from).unwrap_or_default();
        let mut command = Command::new(folder.join(PROGRAM));
        command.current_dir(fixture.folder.path()).arg("--config-file").arg(&config);
        command.args(["--no-color", "run", &format!("http://{address}/news/api/openapi.json")]);
        command.args(["--header", &format!("Authorization: Bearer {}", token.reveal())]);
        command.args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "4",
            "--seed",
            "1",
            "--no-shrink",
        ]);
        command.args([
            "--workers",
            "1",
            "--continue-on-failure",
            "--request-timeout",
            "10",
            "--warnings",
            "off",
        ]);
        command.args(["--suppress-health-check", "all", "--checks", CHECKS]);
        // These go on for as long as somebody listens; `stream` and `events` read them.
        command.args(["--exclude-path-regex", "(/stream|/changes)$"]);
        // It finds the number of its own token among the answers.
        command.args(["--exclude-operation-id", "delete_forge_tokens_by_id"]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends in time");
        let output =
            output.unwrap_or_else(|error| panic!("{PROGRAM}: {error}; `cargo xtask test` installs it"));
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let still = fixture.get_with("/news/api/v1/tokens", token.reveal()).await;
    let audit = fixture.auth.list_audit(None, None, 100).await.unwrap();
    let lost = audit.iter().filter(|entry| entry.subject == "user ada").map(|entry| &entry.action);
    assert_eq!(still.status, StatusCode::OK, "the rights were lost: {:?}", lost.collect::<Vec<_>>());
    fixture.shutdown.cancel();
    served.await.unwrap();
}
