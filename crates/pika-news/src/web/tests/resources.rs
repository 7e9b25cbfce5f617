//! The resources below `/news/api/v1`: lists in parts, files in parts, and the document that describes them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use pikaci::{JobStatus, Outcome};
use serde_json::Value;

use super::fixture::{Fixture, MANIFEST, REPOSITORY, Reply, job_id, run_id, write_pikaci_run_fixture};
use super::matrix::routes;

const TWO_LANES: &str = "version = 1\n\n[targets.check]\ntitle = \"Unit tests\"\n\n[[targets.check.jobs]]\nid = \"unit\"\ncommand = \"true\"\n\n[targets.lint]\n\n[[targets.lint.jobs]]\nid = \"lint\"\ncommand = \"true\"\n";

/// Reads a list to its end, following the `Link` headers, and holds each answer's `next` against them.
async fn walked(fixture: &Fixture, path: &str, limit: u32) -> Vec<Value> {
    let mark = if path.contains('?') { '&' } else { '?' };
    let mut address = format!("{path}{mark}limit={limit}");
    let mut rows = Vec::new();
    loop {
        let reply = fixture.get(&address).await;
        let body = reply.json(StatusCode::OK);
        let items = body["items"].as_array().unwrap();
        assert!(items.len() <= limit as usize, "{address}");
        rows.extend(items.iter().cloned());
        let link = reply.header("link").to_owned();
        match body["next"].as_str() {
            Some(_) => {
                let next =
                    link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
                assert_ne!(next, address);
                address = next.to_owned();
            }
            None => {
                assert_eq!(link, "");
                return rows;
            }
        }
    }
}

#[tokio::test]
async fn every_list_reads_the_same_in_parts_as_at_once() {
    let fixture = Fixture::new().await;
    fixture.push("main", &[("pikaci.toml", TWO_LANES)]).await;
    let topic = fixture.push("topic", &[("a", "1")]).await;
    fixture.push("topic", &[("a", "2")]).await;
    fixture.push("other", &[("b", "1")]).await;
    let run = fixture.claim(topic, Some(Outcome::Failed)).await;
    fixture.forge.rerun(REPOSITORY, run, crate::forge::RerunScope::All, "ada").await.unwrap();
    write_pikaci_run_fixture(&fixture.state, b"log", &JobStatus::Failed);
    let artifacts = fixture.state.artifacts_dir(&run_id(), &job_id("unit"));
    fs::create_dir_all(artifacts.join("report")).unwrap();
    for name in ["a.txt", "b & c.txt", "report/one.xml"] {
        fs::write(artifacts.join(name), name).unwrap();
    }
    fixture.auth.ensure_user("grace", false).await.unwrap();
    let detail = fixture.get(&format!("/news/api/v1/lane-runs/{run}")).await.json(StatusCode::OK);
    let lane = detail["lane"]["id"].as_i64().unwrap();
    let heads = walked(&fixture, &format!("/news/api/v1/branches/{topic}/heads"), 200).await;
    let head = heads[0]["id"].as_i64().unwrap();
    let job = format!("/news/api/v1/runs/{}/jobs", run_id());
    for (path, rows) in [
        ("/news/api/v1/repositories".to_owned(), 1),
        (format!("/news/api/v1/repositories/{REPOSITORY}/branches"), 3),
        (format!("/news/api/v1/repositories/{REPOSITORY}/branches?state=open"), 3),
        (format!("/news/api/v1/repositories/{REPOSITORY}/branches?state=merged"), 0),
        (format!("/news/api/v1/repositories/{REPOSITORY}/runs"), 9),
        (format!("/news/api/v1/branches/{topic}/heads"), 2),
        (format!("/news/api/v1/branches/{topic}/runs"), 5),
        (format!("/news/api/v1/heads/{head}/lanes"), 2),
        (format!("/news/api/v1/lanes/{lane}/attempts"), 2),
        (job.clone(), 1),
        (format!("{job}/unit/artifacts"), 3),
        ("/news/api/v1/queue".to_owned(), 6),
        ("/news/api/v1/users".to_owned(), 2),
        ("/news/api/v1/tokens".to_owned(), 1),
    ] {
        let whole = walked(&fixture, &path, 200).await;
        assert_eq!(whole.len(), rows, "{path}: {whole:#?}");
        for limit in [1, 2] {
            assert_eq!(walked(&fixture, &path, limit).await, whole, "{path} by {limit}");
        }
    }
    let current = fixture.get(&format!("/news/api/v1/heads/{head}")).await.json(StatusCode::OK);
    assert_eq!((&current["is_current"], &current["branch"]), (&true.into(), &"topic".into()));
    let lane = fixture.get(&format!("/news/api/v1/lanes/{lane}")).await.json(StatusCode::OK);
    assert_eq!((&lane["attempts"], &lane["latest"]["attempt"]), (&2.into(), &2.into()));
}

#[tokio::test]
async fn a_place_or_a_limit_that_is_none_is_refused() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    for query in ["after=soon", "after=1.x", "limit=0", "limit=201", "limit=many", "limit=-1"] {
        for path in [format!("repositories/{REPOSITORY}/branches"), format!("branches/{branch}/heads")] {
            let refused = fixture.get(&format!("/news/api/v1/{path}?{query}")).await;
            assert_eq!(refused.json(StatusCode::BAD_REQUEST)["code"], "bad_request", "{path} {query}");
        }
    }
    for path in
        ["branches/99", "branches/x/heads", "heads/99", "lanes/99/attempts", "lane-runs/99", "runs/x/jobs"]
    {
        fixture.get(&format!("/news/api/v1/{path}")).await.json(StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_queue_says_why_a_lane_waits() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let id = fixture.forge.branch(REPOSITORY, branch).await.unwrap().head.lanes[0].attempts[0].id;
    fixture.forge.store().claim(Vec::new(), vec![(id, "no slot is free".to_owned())], 1).await.unwrap();
    let rows = walked(&fixture, "/news/api/v1/queue?repository=sample", 50).await;
    assert_eq!((&rows[0]["status"], &rows[0]["waits"]), (&"queued".into(), &"no slot is free".into()));
    assert_eq!((&rows[0]["lane"], &rows[0]["branch"]), (&"check".into(), &"topic".into()));
    fixture.get("/news/api/v1/queue?repository=none").await.json(StatusCode::NOT_FOUND);
}

async fn get_with(fixture: &Fixture, path: &str, headers: &[(header::HeaderName, &str)]) -> Reply {
    let mut request = fixture.request(Method::GET, path);
    request = request.header(header::AUTHORIZATION, format!("Bearer {}", fixture.token));
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    fixture.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn a_file_is_sent_in_parts_to_who_has_the_rest_of_the_same_bytes() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"0123456789", &JobStatus::Passed);
    let artifacts = fixture.state.artifacts_dir(&run_id(), &job_id("unit"));
    fs::write(artifacts.join("page.html"), "0123456789").unwrap();
    let log = format!("/news/api/forge/pikaci/logs/{}/raw?job=unit", run_id());
    let file = format!("/news/api/v1/runs/{}/jobs/unit/artifacts/page.html", run_id());
    for path in [&log, &file] {
        let whole = fixture.get(path).await;
        assert_eq!((whole.status, whole.text().as_str()), (StatusCode::OK, "0123456789"));
        assert_eq!(
            (whole.header("accept-ranges"), whole.header("x-content-type-options")),
            ("bytes", "nosniff")
        );
        let tag = whole.header("etag").to_owned();
        let part = get_with(&fixture, path, &[(header::RANGE, "bytes=2-4"), (header::IF_RANGE, &tag)]).await;
        assert_eq!((part.status, part.text().as_str()), (StatusCode::PARTIAL_CONTENT, "234"));
        assert_eq!(part.header("content-range"), "bytes 2-4/10");
        let known = get_with(&fixture, path, &[(header::IF_NONE_MATCH, &tag)]).await;
        assert_eq!((known.status, known.bytes.len()), (StatusCode::NOT_MODIFIED, 0));
        let other = [(header::RANGE, "bytes=2-4"), (header::IF_RANGE, "\"other\"")];
        assert_eq!(get_with(&fixture, path, &other).await.text(), "0123456789");
        let beyond = get_with(&fixture, path, &[(header::RANGE, "bytes=10-")]).await;
        assert_eq!(beyond.header("content-range"), "bytes */10");
        assert_eq!(beyond.json(StatusCode::RANGE_NOT_SATISFIABLE)["code"], "range_not_satisfiable");
    }
    let sent = fixture.get(&file).await;
    assert_eq!(sent.header("content-type"), "application/octet-stream");
    assert_eq!(sent.header("content-disposition"), "attachment; filename*=UTF-8''page.html");
    let tag = sent.header("etag").to_owned();
    fs::write(artifacts.join("page.html"), "012345678X").unwrap();
    let stale = get_with(&fixture, &file, &[(header::RANGE, "bytes=8-"), (header::IF_RANGE, &tag)]).await;
    assert_eq!((stale.status, stale.text().as_str()), (StatusCode::OK, "012345678X"));
}

#[tokio::test]
async fn no_artifact_leads_out_of_its_job() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"log", &JobStatus::Passed);
    let artifacts = fixture.state.artifacts_dir(&run_id(), &job_id("unit"));
    fs::write(fixture.folder.path().join("secret"), "secret").unwrap();
    symlink(fixture.folder.path().join("secret"), artifacts.join("link")).unwrap();
    symlink(fixture.folder.path(), artifacts.join("folder")).unwrap();
    let base = format!("/news/api/v1/runs/{}/jobs/unit/artifacts", run_id());
    assert_eq!(walked(&fixture, &base, 50).await, Vec::<Value>::new());
    for path in
        ["link", "folder/secret", "..%2Fhost.log", "../host.log", "%2Fetc%2Fpasswd", "guest.log", "none"]
    {
        fixture.get(&format!("{base}/{path}")).await.json(StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn the_reports_of_a_job_without_a_plan_are_none() {
    let fixture = Fixture::new().await;
    write_pikaci_run_fixture(&fixture.state, b"log", &JobStatus::Passed);
    let tests = fixture.get(&format!("/news/api/v1/runs/{}/jobs/unit/tests", run_id())).await;
    assert_eq!(tests.json(StatusCode::OK)["has_reports"], false);
}

#[tokio::test]
async fn whoever_asks_is_told_of_every_route_of_the_api() {
    let fixture = Fixture::new().await;
    let reply = fixture.get_as_stranger("/news/api/openapi.json").await;
    let document = reply.json(StatusCode::OK);
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let served: BTreeSet<(String, String)> = routes(&format!("{:?}", fixture.router_with_git()))
        .into_iter()
        .filter(|(_, path)| path.starts_with("/news/api/"))
        // What answers all that is not there, and the document itself.
        .filter(|(_, path)| path != "/news/api/{*rest}" && path != "/news/api/openapi.json")
        .map(|(method, path)| (method, path.replace("{*", "{")))
        .collect();
    assert!(served.len() > 60);
    let untold: Vec<_> = served.difference(&described).collect();
    assert!(untold.is_empty(), "not described: {untold:?}");
    let unserved: Vec<_> = described.difference(&served).collect();
    assert!(unserved.is_empty(), "not served: {unserved:?}");
    let tag = reply.header("etag").to_owned();
    let again = get_with(&fixture, "/news/api/openapi.json", &[(header::IF_NONE_MATCH, &tag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_badge_says_where_a_branch_stands_to_who_may_read_it() {
    let fixture = Fixture::new().await;
    let branch = fixture.push("topic", &[("pikaci.toml", MANIFEST)]).await;
    let path = "/news/sample/badge.svg?branch=topic";
    assert_eq!(fixture.get_as_stranger(path).await.status, StatusCode::SEE_OTHER);
    let queued = fixture.get(path).await;
    assert!(queued.text().contains("topic: queued") && queued.header("cache-control").starts_with("private"));
    fixture.auth.set_public(BTreeSet::from([REPOSITORY.to_owned()]).into());
    fixture.claim(branch, Some(Outcome::Passed)).await;
    let passed = fixture.get_as_stranger(path).await;
    assert_eq!((passed.status, passed.header("content-type")), (StatusCode::OK, "image/svg+xml"));
    assert!(passed.text().contains("topic: passed"), "{}", passed.text());
    assert_eq!(passed.header("cross-origin-resource-policy"), "cross-origin");
    assert_eq!(
        fixture.get_as_stranger("/news/sample").await.header("cross-origin-resource-policy"),
        "same-origin"
    );
    let tag = passed.header("etag").to_owned();
    assert_ne!(tag, queued.header("etag"));
    let request = fixture.request(Method::GET, path).header(header::IF_NONE_MATCH, tag);
    assert_eq!(fixture.send(request.body(Body::empty()).unwrap()).await.status, StatusCode::NOT_MODIFIED);
    let hostile = fixture.get_as_stranger("/news/sample/badge.svg?branch=%3Cscript%3E%22%26%00").await;
    assert!(hostile.text().contains("&lt;script&gt;&quot;&amp;\u{fffd}: unknown"), "{}", hostile.text());
    assert!(!hostile.text().contains("<script"));
}
