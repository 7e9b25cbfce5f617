//! The JSON routes that others rely on.

use axum::http::StatusCode;
use pikaci::{JobStatus, Outcome};

use super::fixture::{Fixture, MANIFEST, run_id, write_pikaci_run_fixture};
use crate::web::code::Code;
use crate::web::error::{ApiError, WebError};

#[tokio::test]
async fn api_forge_branch_logs_includes_persisted_pikaci_run_metadata() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let lane_run = fixture.claim(branch, Some(Outcome::Failed)).await;
    write_pikaci_run_fixture(&fixture.state, b"hello\n", &JobStatus::Failed);
    for query in ["?lane=check".to_owned(), format!("?lane_run_id={lane_run}"), String::new()] {
        let path = format!("/news/api/forge/branch/{branch}/logs{query}");
        let logs = fixture.get(&path).await.json(StatusCode::OK);
        assert_eq!(logs["branch_id"], branch.0);
        assert_eq!(logs["branch_name"], "topic");
        assert_eq!(logs["run_id"], run_id().as_str());
        assert_eq!(logs["lane"]["target"], "check");
        assert_eq!(logs["pikaci_run"]["status"], "failed");
        assert_eq!(logs["pikaci_log_metadata"]["jobs"][0]["guest_log_bytes"], 6);
        assert_eq!(logs["pikaci_prepared_outputs"]["outputs"][0]["node_id"], "prepared/linux-rust");
    }
    for query in ["?lane=nothing", "?lane_run_id=999", "?lane_run_id=x"] {
        let missing = fixture.get(&format!("/news/api/forge/branch/{branch}/logs{query}")).await;
        assert!(missing.json(StatusCode::NOT_FOUND)["error"].is_string(), "{query}");
    }
}

#[tokio::test]
async fn a_lane_that_waits_has_logs_without_a_run() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let logs =
        fixture.get(&format!("/news/api/forge/branch/{branch}/logs?lane=check")).await.json(StatusCode::OK);
    assert_eq!(logs["run_id"], serde_json::Value::Null);
    assert!(logs.get("pikaci_run").is_none());
}

#[tokio::test]
async fn api_forge_pikaci_handlers_load_persisted_run_and_logs() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"broken \xff byte\n", &JobStatus::Passed);
    let run = fixture.get(&format!("/news/api/forge/pikaci/run/{}", run_id())).await.json(StatusCode::OK);
    let stored = pikaci::load_run_record(&fixture.state, &run_id()).unwrap();
    assert_eq!(run, serde_json::to_value(&stored).unwrap());

    let path = format!("/news/api/forge/pikaci/logs/{}", run_id());
    let both = fixture.get(&format!("{path}?job=unit&kind=both")).await.json(StatusCode::OK);
    assert_eq!(both["run_id"], run_id().as_str());
    assert_eq!(both["job"], "unit");
    assert_eq!(both["host"], "guest started\n");
    assert_eq!(both["guest"], "broken \u{fffd} byte\n");
    assert_eq!(both["guest_is_cut"], false);
    let guest = fixture.get(&format!("{path}?kind=guest")).await.json(StatusCode::OK);
    assert_eq!((&guest["job"], &guest["host"]), (&"unit".into(), &serde_json::Value::Null));
}

#[tokio::test]
async fn api_forge_pikaci_prepared_outputs_handler_loads_persisted_record() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"", &JobStatus::Passed);
    let path = format!("/news/api/forge/pikaci/prepared-outputs/{}", run_id());
    let outputs = fixture.get(&path).await.json(StatusCode::OK);
    assert_eq!(outputs["run_id"], run_id().as_str());
    assert_eq!(outputs["prepared_outputs"]["outputs"][0]["node_id"], "prepared/linux-rust");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_names_no_path_of_the_server() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"", &JobStatus::Passed);
    let run = run_id();
    let mut paths = vec![
        "/news/api/forge/pikaci/run/20990301T142233Z-7f3a9c10".to_owned(),
        "/news/api/forge/pikaci/run/..%2F..%2Fetc".to_owned(),
        "/news/api/forge/pikaci/logs/..%2F..%2Fetc?job=unit".to_owned(),
        "/news/api/forge/pikaci/logs/..%2f/raw".to_owned(),
        "/news/api/forge/pikaci/logs/..%2f/stream".to_owned(),
        "/news/api/forge/pikaci/prepared-outputs/%2e%2e%2f".to_owned(),
        "/news/api/forge/branch/..%2F1/logs".to_owned(),
        "/news/api/forge/branch/999/logs".to_owned(),
        "/news/api/forge/lane-run/999".to_owned(),
        "/news/api/forge/nothing".to_owned(),
    ];
    for job in ["other", "..%2F..%2Frun.json", "%2Fetc%2Fpasswd"] {
        paths.extend(
            ["", "/raw", "/stream"]
                .map(|route| format!("/news/api/forge/pikaci/logs/{run}{route}?job={job}")),
        );
    }
    std::fs::write(fixture.state.run_dir(&run).join("run.json"), "{").unwrap();
    std::fs::write(fixture.state.run_dir(&run).join("events.jsonl"), "{").unwrap();
    paths.push(format!("/news/api/forge/pikaci/run/{run}"));
    for path in paths {
        let reply = fixture.get(&path).await;
        let body = reply.json(StatusCode::NOT_FOUND);
        assert_eq!(body["code"], "not_found", "{path}");
        let error = body["error"].as_str().unwrap().to_owned();
        assert!(!error.contains(fixture.folder.path().to_str().unwrap()), "{path}: {error}");
    }
}

#[tokio::test]
async fn a_long_log_is_cut_inline_and_read_by_range() {
    let fixture = Fixture::new().await;
    let log = [b"first\n".to_vec(), vec![b'x'; 3 << 20], b"\nlast\n".to_vec()].concat();
    write_pikaci_run_fixture(&fixture.state, &log, &JobStatus::Passed);
    let path = format!("/news/api/forge/pikaci/logs/{}", run_id());
    let inline = fixture.get(&format!("{path}?job=unit&kind=guest")).await.json(StatusCode::OK);
    let text = inline["guest"].as_str().unwrap();
    assert!(text.len() <= 1 << 20 && text.ends_with("\nlast\n"));
    assert_eq!(
        (inline["guest_is_cut"].as_bool(), inline["guest_bytes"].as_u64()),
        (Some(true), Some(log.len() as u64))
    );

    let whole = fixture.get(&format!("{path}/raw?job=unit")).await;
    assert_eq!((whole.status, whole.bytes == log), (StatusCode::OK, true));
    assert_eq!(whole.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let ranged = |range: &'static str| {
        let bearer = format!("Bearer {}", fixture.token);
        let request = fixture.request(axum::http::Method::GET, &format!("{path}/raw?job=unit"));
        let request = request.header("authorization", bearer).header("range", range);
        fixture.send(request.body(axum::body::Body::empty()).unwrap())
    };
    let part = ranged("bytes=-5").await;
    assert_eq!((part.status, part.text().as_str()), (StatusCode::PARTIAL_CONTENT, "last\n"));
    assert_eq!(
        part.header("content-range"),
        format!("bytes {}-{}/{}", log.len() - 5, log.len() - 1, log.len())
    );
    assert_eq!(part.header("content-length"), "5");
    let beyond = ranged("bytes=99999999-").await;
    assert_eq!(beyond.json(StatusCode::RANGE_NOT_SATISFIABLE)["code"], "range_not_satisfiable");
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", log.len()));
}

#[tokio::test]
async fn a_refusal_says_why_in_a_word_that_is_documented() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let merge = format!("/news/api/forge/branch/{branch}/merge");
    let json = "application/json";
    let other_head = format!("{{\"expected_head\": \"{}\"}}", "1".repeat(40));
    let refused = [
        (fixture.get_as_stranger("/news/api/forge/repositories").await, 401, "unauthenticated"),
        (fixture.get(&merge).await, 405, "method_not_allowed"),
        (fixture.post(&merge, json, "{").await, 400, "bad_request"),
        (fixture.post(&merge, json, &other_head).await, 409, "stale_head"),
    ];
    for (reply, status, code) in refused {
        let body = reply.json(StatusCode::from_u16(status).unwrap());
        assert_eq!(body["code"], code, "{body}");
        assert!(body["error"].is_string() && body.get("id").is_none(), "{body}");
    }
    let documented = include_str!("../../../../../docs/formats/api.md");
    let example = documented.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let example: serde_json::Value = serde_json::from_str(example).unwrap();
    assert!(example["error"].is_string() && example["code"] == Code::StaleHead.as_str(), "{example}");
    for code in Code::ALL {
        let row = format!("| `{}` | {} |", code.as_str(), code.status().as_u16());
        assert!(documented.contains(&row), "docs/formats/api.md has no row {row}");
    }
}

#[tokio::test]
async fn every_body_is_refused_for_a_key_that_is_not_known() {
    // A misspelt `expires_in_days` would make a token without an end.
    let document = include_str!("../../../../../docs/openapi.json");
    let document: serde_json::Value = serde_json::from_str(document).unwrap();
    let mut bodies = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, described) in methods.as_object().unwrap() {
            let schema = &described["requestBody"]["content"]["application/json"]["schema"];
            let reference = schema["$ref"].as_str().or_else(|| {
                schema["oneOf"].as_array().and_then(|of| of.iter().find_map(|one| one["$ref"].as_str()))
            });
            let Some(name) = reference.and_then(|reference| reference.rsplit('/').next()) else { continue };
            let body = &document["components"]["schemas"][name];
            assert_eq!(body["additionalProperties"], false, "{method} {path}: {name}");
            bodies += 1;
        }
    }
    assert!(bodies >= 10, "{bodies}");
    let fixture = Fixture::new().await;
    let misspelt = "{\"title\":\"t\",\"scopes\":[\"read\"],\"expires_days\":7}";
    let refused = fixture.post("/news/api/forge/tokens", "application/json", misspelt).await;
    let body = refused.json(StatusCode::BAD_REQUEST);
    assert!(body["error"].as_str().unwrap().contains("expires_days"), "{body}");
}

#[tokio::test]
async fn a_fault_of_the_forge_is_named_by_an_id_and_not_by_its_cause() {
    use axum::response::IntoResponse as _;
    let fault = ApiError(WebError::internal(&std::io::Error::other("/secret/path"))).into_response();
    assert_eq!(fault.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let bytes = axum::body::to_bytes(fault.into_body(), 4096).await.unwrap();
    let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((&body["code"], body["id"].as_str().unwrap().len()), (&"internal".into(), 8));
    assert!(!body["error"].as_str().unwrap().contains("secret"), "{body}");
}
