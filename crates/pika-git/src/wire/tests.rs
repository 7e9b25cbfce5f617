//! The wire against the real git, with clients that behave and clients that do not.

use tokio::io::AsyncWriteExt as _;

use super::*;
use crate::fixture::{Fixture, branch};

fn exchange(service: Service) -> WireRequest {
    WireRequest::new(service, WireStep::Exchange, WireProtocol::default())
}

/// One line of the wire: its length in four hex digits, then its text.
fn packet(text: &str) -> String {
    format!("{:04x}{text}", text.len() + 4)
}

/// What a client sends to create `branch` at `head`, before the pack.
fn create_command(branch: &str, head: &str) -> Vec<u8> {
    let null = "0".repeat(40);
    let mut command = packet(&format!("{null} {head} refs/heads/{branch}\0 report-status")).into_bytes();
    command.extend_from_slice(b"0000");
    command
}

/// The pack that holds everything below a commit of the working copy.
fn pack_of(fixture: &Fixture, head: &str) -> Vec<u8> {
    let list = fixture.scratch.path().join("revisions");
    std::fs::write(&list, format!("{head}\n")).unwrap();
    let output = crate::fixture::client(&fixture.work())
        .args(["pack-objects", "--revs", "--stdout", "-q"])
        .stdin(std::fs::File::open(list).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A fixture with an unpushed commit of incompressible content, and that commit.
async fn with_unpushed_commit(bytes: usize) -> (Fixture, String) {
    let fixture = Fixture::new().await;
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    })
    .take(bytes)
    .collect();
    fixture.write("noise", noise);
    fixture.git(&["add", "--all"]);
    fixture.git(&["commit", "--quiet", "-m", "noise"]);
    let head = fixture.git(&["rev-parse", "HEAD"]);
    (fixture, head)
}

#[tokio::test]
async fn an_advertisement_lists_the_branches() {
    let fixture = Fixture::new().await;
    let head = fixture.push("main", "first");
    let request = WireRequest::new(Service::UploadPack, WireStep::Advertise, WireProtocol::default());
    let mut answer = Vec::new();
    let end = fixture.bare.serve(&request, tokio::io::empty(), &mut answer).await.unwrap();
    assert_eq!(end, WireEnd::Answered);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.contains(&format!("{head} refs/heads/main")), "{answer}");
}

#[tokio::test]
async fn a_whole_push_is_stored() {
    let (fixture, head) = with_unpushed_commit(1000).await;
    let mut input = create_command("topic", &head);
    input.extend(pack_of(&fixture, &head));
    let mut answer = Vec::new();
    let end = fixture.bare.serve(&exchange(Service::ReceivePack), &input[..], &mut answer).await.unwrap();
    assert_eq!(end, WireEnd::Answered);
    assert!(String::from_utf8_lossy(&answer).contains("ok refs/heads/topic"));
    assert_eq!(fixture.bare.find_branch(&branch("topic")).await.unwrap().unwrap().as_str(), head);
}

#[tokio::test]
async fn half_a_push_leaves_no_reference_and_nothing_to_clean_up() {
    let (fixture, head) = with_unpushed_commit(1 << 20).await;
    let pack = pack_of(&fixture, &head);
    let mut input = create_command("topic", &head);
    input.extend(&pack[..pack.len() / 2]);
    // Git reports the refusal to a client that still listens, so this may count as answered.
    let _ = fixture.bare.serve(&exchange(Service::ReceivePack), &input[..], tokio::io::sink()).await;
    assert_eq!(fixture.bare.find_branch(&branch("topic")).await.unwrap(), None);
    assert_eq!(leftovers(&fixture), Vec::<String>::new());
    fixture.bare.fsck().await.unwrap();
}

/// What an unfinished push would leave among the objects.
fn leftovers(fixture: &Fixture) -> Vec<String> {
    let entries = std::fs::read_dir(fixture.bare.path().join("objects")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "info" && name != "pack").collect()
}

#[tokio::test]
async fn a_client_that_stops_sending_is_given_up_and_its_push_dropped() {
    let (fixture, head) = with_unpushed_commit(1 << 20).await;
    let pack = pack_of(&fixture, &head);
    let (mut client, input) = tokio::io::duplex(1 << 20);
    client.write_all(&create_command("topic", &head)).await.unwrap();
    client.write_all(&pack[..pack.len() / 2]).await.unwrap();
    let request = WireRequest { idle_max: Duration::from_millis(300), ..exchange(Service::ReceivePack) };
    let error = fixture.bare.serve(&request, input, tokio::io::sink()).await.unwrap_err();
    assert!(matches!(error, GitError::TimedOut { what: "take a push", .. }), "{error}");
    assert_eq!(fixture.bare.find_branch(&branch("topic")).await.unwrap(), None);
    assert_eq!(leftovers(&fixture), Vec::<String>::new());
    fixture.bare.fsck().await.unwrap();
}

#[tokio::test]
async fn a_push_whose_client_does_not_wait_for_the_answer_is_stored() {
    let (fixture, head) = with_unpushed_commit(1000).await;
    let mut input = create_command("topic", &head);
    input.extend(pack_of(&fixture, &head));
    let (gone, output) = tokio::io::duplex(16);
    drop(gone);
    let end = fixture.bare.serve(&exchange(Service::ReceivePack), &input[..], output).await.unwrap();
    assert_eq!(end, WireEnd::ClientGone);
    assert_eq!(fixture.bare.find_branch(&branch("topic")).await.unwrap().unwrap().as_str(), head);
}

#[tokio::test]
async fn a_fetch_whose_client_is_gone_ends_at_once() {
    let (fixture, head) = with_unpushed_commit(4 << 20).await;
    fixture.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    let input = format!("{}0000{}", packet(&format!("want {head} side-band-64k\n")), packet("done\n"));
    let (gone, output) = tokio::io::duplex(16);
    drop(gone);
    let end = fixture.bare.serve(&exchange(Service::UploadPack), input.as_bytes(), output).await.unwrap();
    assert_eq!(end, WireEnd::ClientGone);
}

#[tokio::test]
async fn a_pack_above_the_limit_is_refused_and_git_tells_the_client() {
    let (fixture, head) = with_unpushed_commit(1 << 20).await;
    let mut input = create_command("topic", &head);
    input.extend(pack_of(&fixture, &head));
    let request = WireRequest { pack_bytes_max: Some(10_000), ..exchange(Service::ReceivePack) };
    let mut answer = Vec::new();
    let _ = fixture.bare.serve(&request, &input[..], &mut answer).await;
    assert!(String::from_utf8_lossy(&answer).contains("ng refs/heads/topic"));
    assert_eq!(fixture.bare.find_branch(&branch("topic")).await.unwrap(), None);
}

#[test]
fn protocol_parameters_that_no_git_sends_are_refused() {
    assert!(WireProtocol::parse("version=2").is_some_and(|protocol| protocol.is_version_2()));
    assert!(
        WireProtocol::parse("object-format=sha256:version=2").is_some_and(|protocol| protocol.is_version_2())
    );
    assert!(WireProtocol::parse("version=1").is_some_and(|protocol| !protocol.is_version_2()));
    assert_eq!(WireProtocol::parse("version=2\nPATH=/tmp"), None);
    assert_eq!(WireProtocol::parse(&"a".repeat(PROTOCOL_BYTES_MAX + 1)), None);
}
