//! Instances, on the real daemon: their life, commands, files and events.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use incus_client::{
    Error, Exec, ExecOutput, ExecRequest, FileKind, Filter, InstancePatch, NewFile, NewInstance, StateChange,
};
use tokio::time::{Instant, timeout};

use crate::world::{World, config};

const SECOND: Duration = Duration::from_secs(1);

fn shell(script: &str) -> ExecRequest {
    ExecRequest::new(["sh", "-c", script])
}

/// Reads until the command has printed this on its standard output.
async fn until_printed(exec: &mut Exec, text: &str) {
    let mut printed = String::new();
    let reading = async {
        while !printed.contains(text) {
            match exec.read().await.unwrap() {
                Some(ExecOutput::Stdout(bytes)) => printed.push_str(std::str::from_utf8(&bytes).unwrap()),
                other => panic!("{other:?} after {printed:?}"),
            }
        }
    };
    timeout(30 * SECOND, reading).await.unwrap();
}

#[tokio::test]
async fn an_instance_is_made_started_found_stopped_and_deleted() {
    let world = World::start().await;
    let (client, image) = (&world.client, world.image().await);
    let mut new = NewInstance::container("one", &image).started();
    new.config = config([("user.run", "A b,\"c\"")]);
    client.create_instance(&new).await.unwrap();
    let error = client.create_instance(&new).await.unwrap_err();
    assert!(matches!(error, Error::OperationFailed { .. }), "{error}");
    client.create_instance(&NewInstance::container("two", &image)).await.unwrap();

    let one = client.instance("one").await.unwrap().value;
    assert!(one.is_running() && !one.ephemeral);
    assert_eq!(one.base_image(), Some(image.as_str()));
    assert_eq!(one.expanded_devices["root"]["pool"], "default");
    assert!(client.instance_state("one").await.unwrap().pid > 0);
    let found = async |filter: Filter| {
        let found = client.instances(&filter).await.unwrap();
        found.into_iter().map(|instance| instance.name).collect::<Vec<_>>()
    };
    assert_eq!(found(Filter::all()).await, ["one", "two"]);
    assert_eq!(found(Filter::all().and_config("user.run", "A b,\"c\"")).await, ["one"]);
    for other in ["a b,\"c\"", "A", ".*", "A b", ""] {
        assert!(found(Filter::all().and_config("user.run", other)).await.is_empty(), "{other:?}");
    }
    let both = Filter::all().and_config("user.run", "A b,\"c\"").and_config("image.os", "busybox");
    assert_eq!(found(both).await, ["one"]);

    let error = client.delete_instance("one").await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error}");
    client.change_state("one", StateChange::Kill).await.unwrap();
    assert!(client.instance("one").await.unwrap().value.is_stopped());
    client.change_state("one", StateChange::Start).await.unwrap();
    client.change_state("one", StateChange::Kill).await.unwrap();
    client.delete_instance("one").await.unwrap();
    assert!(client.instance("one").await.unwrap_err().is_not_found());
    assert!(client.delete_instance("one").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn what_an_instance_cannot_be_made_of_is_refused() {
    let world = World::start().await;
    let image = world.image().await;
    let error =
        world.client.create_instance(&NewInstance::container("one", "0".repeat(64))).await.unwrap_err();
    assert!(
        matches!(error, Error::NotFound { .. } | Error::Refused { .. } | Error::OperationFailed { .. }),
        "{error}"
    );
    let error = world.client.create_instance(&NewInstance::container("no name", &image)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error}");
    world.client.patch_project(&world.project, &config([("limits.instances", "0")])).await.unwrap();
    let error = world.client.create_instance(&NewInstance::container("one", &image)).await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    // One that is made and can't be started says so, and stays.
    world.client.patch_project(&world.project, &config([("limits.instances", "")])).await.unwrap();
    let mut new = NewInstance::container("one", &image).started();
    new.config = config([("raw.lxc", "lxc.init.cmd = /nonexistent")]);
    let error = world.client.create_instance(&new).await.unwrap_err();
    assert!(matches!(error, Error::OperationFailed { .. }), "{error}");
    world.client.destroy_instance("one").await.unwrap();
}

#[tokio::test]
async fn a_change_by_a_stale_version_is_refused() {
    let world = World::start().await;
    let image = world.image().await;
    world.client.create_instance(&NewInstance::container("one", image)).await.unwrap();
    let set = |value| InstancePatch { config: config([("user.taken", value)]), ..InstancePatch::default() };
    let read = world.client.instance("one").await.unwrap();
    world.client.patch_instance("one", &set("me"), Some(&read.tag)).await.unwrap();
    let error = world.client.patch_instance("one", &set("you"), Some(&read.tag)).await.unwrap_err();
    assert!(matches!(error, Error::Stale { .. }), "{error}");
    let now = world.client.instance("one").await.unwrap();
    assert_eq!(now.value.config["user.taken"], "me");
    assert_ne!(now.tag, read.tag);
    // An empty value removes the key; without a version anything goes.
    world.client.patch_instance("one", &set(""), None).await.unwrap();
    assert!(!world.client.instance("one").await.unwrap().value.config.contains_key("user.taken"));
}

#[tokio::test]
async fn a_disk_is_given_to_a_running_instance() {
    let world = World::start().await;
    world.container("one").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.path().join("file"), "shared").unwrap();
    let source = folder.path().to_str().unwrap();
    let disk = config([("type", "disk"), ("source", source), ("path", "/mnt/in"), ("readonly", "true")]);
    let patch = InstancePatch { devices: [("in".to_owned(), disk)].into(), ..InstancePatch::default() };
    world.client.patch_instance("one", &patch, None).await.unwrap();
    let mut exec = world.client.exec("one", &ExecRequest::new(["cat", "/mnt/in/file"])).await.unwrap();
    until_printed(&mut exec, "shared").await;
    assert_eq!(exec.wait().await.unwrap(), 0);
    let code =
        world.client.exec_unattended("one", &shell("echo x > /mnt/in/file 2>/dev/null")).await.unwrap();
    assert_ne!(code, 0);
    world.client.destroy_instance("one").await.unwrap();
}

#[tokio::test]
async fn destroying_is_verified_and_idempotent() {
    let world = World::start().await;
    let image = world.image().await;
    for (name, is_ephemeral, is_started) in
        [("plain", false, true), ("stopped", false, false), ("ephemeral", true, true)]
    {
        let mut new = NewInstance::container(name, &image);
        (new.ephemeral, new.start) = (is_ephemeral, is_started);
        world.client.create_instance(&new).await.unwrap();
        // Two at once, and once more.
        let (one, two) =
            tokio::join!(world.client.destroy_instance(name), world.client.destroy_instance(name));
        one.unwrap();
        two.unwrap();
        assert!(world.client.instance(name).await.unwrap_err().is_not_found());
        world.client.destroy_instance(name).await.unwrap();
    }
}

#[tokio::test]
async fn an_attached_command_has_input_output_environment_and_exit_code() {
    let world = World::start().await;
    world.container("one").await;
    let mut request = shell("cat; echo err >&2; echo $COLOR $PWD; exit 3").env("COLOR", "blue & green");
    request.folder = Some("/tmp".to_owned());
    let mut exec = world.client.exec("one", &request).await.unwrap();
    exec.write("in").await.unwrap();
    exec.write("put\n").await.unwrap();
    exec.close_stdin().await.unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    while let Some(output) = exec.read().await.unwrap() {
        match output {
            ExecOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
            ExecOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
        }
    }
    assert_eq!(String::from_utf8(out).unwrap(), "input\nblue & green /tmp\n");
    assert_eq!(String::from_utf8(err).unwrap(), "err\n");
    assert_eq!(exec.wait().await.unwrap(), 3);
}

#[tokio::test]
async fn a_signal_reaches_the_command_and_a_dropped_command_is_killed() {
    let world = World::start().await;
    world.container("one").await;
    let script = "trap 'echo got it; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut exec = world.client.exec("one", &shell(script)).await.unwrap();
    until_printed(&mut exec, "ready").await;
    exec.signal(15).await.unwrap();
    until_printed(&mut exec, "got it").await;
    assert_eq!(exec.wait().await.unwrap(), 7);

    let mut exec = world.client.exec("one", &shell("echo ready; exec sleep 1000")).await.unwrap();
    until_printed(&mut exec, "ready").await;
    exec.signal(9).await.unwrap();
    assert_eq!(exec.wait().await.unwrap(), 128 + 9);

    let mut exec =
        world.client.exec("one", &shell("echo $$ > /tmp/pid; echo ready; exec sleep 1000")).await.unwrap();
    until_printed(&mut exec, "ready").await;
    drop(exec);
    let start = Instant::now();
    while world.client.exec_unattended("one", &shell("kill -0 $(cat /tmp/pid) 2>/dev/null")).await.unwrap()
        == 0
    {
        assert!(start.elapsed() < 20 * SECOND, "it lives on");
    }
}

#[tokio::test]
async fn an_unattended_command_has_an_exit_code() {
    let world = World::start().await;
    world.container("one").await;
    let client = &world.client;
    assert_eq!(client.exec_unattended("one", &shell("exit 5")).await.unwrap(), 5);
    for (program, code) in [("/nope", 127), ("/etc/passwd", 126)] {
        let request = ExecRequest::new([program]);
        assert_eq!(client.exec_unattended("one", &request).await.unwrap(), code);
        assert_eq!(client.exec("one", &request).await.unwrap().wait().await.unwrap(), code);
    }
    assert!(client.exec_unattended("none", &shell("true")).await.unwrap_err().is_not_found());
    assert!(client.exec("none", &shell("true")).await.unwrap_err().is_not_found());
    let hasty = client.with_deadline(SECOND);
    let error = hasty.exec_unattended("one", &shell("sleep 2")).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { after: SECOND, .. }), "{error}");
    let mut exec = client.exec("one", &shell("exit 0")).await.unwrap();
    while exec.read().await.unwrap().is_some() {}
    client.change_state("one", StateChange::Kill).await.unwrap();
    let error = client.exec("one", &shell("true")).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 400, .. }), "{error}");
}

#[tokio::test]
async fn a_hundred_megabytes_come_through_without_loss() {
    const LINE: &[u8] = b"0123456789abcde\n";
    const COUNT: usize = 100 << 20;
    let world = World::start().await;
    world.container("one").await;
    let script = format!("yes 0123456789abcde | head -c {COUNT}");
    let mut exec = world.client.exec("one", &shell(&script)).await.unwrap();
    let expected = LINE.repeat((1 << 20) / LINE.len());
    let mut count = 0;
    while let Some(output) = exec.read().await.unwrap() {
        let ExecOutput::Stdout(bytes) = output else { panic!("{output:?}") };
        let begin = count % LINE.len();
        assert!(bytes[..] == expected[begin..begin + bytes.len()], "after {count} bytes");
        count += bytes.len();
    }
    assert_eq!(count, COUNT);
    assert_eq!(exec.wait().await.unwrap(), 0);
}

#[tokio::test]
async fn what_is_written_to_a_command_comes_back_while_it_is_written() {
    const PIECES: usize = 256;
    let world = World::start().await;
    world.container("one").await;
    let mut exec = world.client.exec("one", &ExecRequest::new(["cat"])).await.unwrap();
    let mut input = exec.take_stdin().unwrap();
    let writing = async move {
        for number in 0..PIECES {
            input.write(vec![u8::try_from(number).unwrap(); 32 << 10]).await.unwrap();
        }
        input.close().await.unwrap();
    };
    let reading = async {
        let mut all = Vec::new();
        while let Some(output) = exec.read().await.unwrap() {
            let ExecOutput::Stdout(bytes) = output else { panic!("{output:?}") };
            all.extend_from_slice(&bytes);
        }
        all
    };
    let (all, ()) = tokio::join!(reading, writing);
    assert_eq!(all.len(), PIECES * (32 << 10));
    assert!(
        all.chunks(32 << 10)
            .enumerate()
            .all(|(number, piece)| piece.iter().all(|byte| usize::from(*byte) == number))
    );
    assert_eq!(exec.wait().await.unwrap(), 0);
}

#[tokio::test]
async fn files_are_written_read_listed_and_removed() {
    let world = World::start().await;
    world.container("one").await;
    let client = &world.client;
    let content: Vec<u8> = (0..5_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let file = NewFile { mode: 0o640, user: 7, group: 8, ..NewFile::new(content.clone()) };
    client.push_file("one", "/tmp/a b&c", &file).await.unwrap();
    let mut read = client.file("one", "/tmp/a b&c").await.unwrap();
    assert_eq!((read.kind, read.mode, read.user, read.group), (FileKind::File, 0o640, 7, 8));
    assert!(read.body.read_all(content.len()).await.unwrap().unwrap() == content);
    client.push_file("one", "/tmp/a b&c", &NewFile::new("short")).await.unwrap();
    let mut read = client.file("one", "/tmp/a b&c").await.unwrap();
    assert_eq!(read.body.read_all(100).await.unwrap().unwrap(), b"short");

    let link = client.file("one", "/bin/sh").await;
    let mut link = link.unwrap();
    assert_eq!(link.kind, FileKind::Link);
    assert_eq!(link.body.read_all(100).await.unwrap().unwrap().trim_ascii(), b"/bin/busybox");

    let folder = client.file("one", "/tmp").await.unwrap();
    assert_eq!(folder.kind, FileKind::Folder);
    assert_eq!(folder.names().await.unwrap(), ["a b&c"]);
    let error = client.file("one", "/etc/passwd").await.unwrap().names().await.unwrap_err();
    assert!(matches!(error, Error::Shape { .. }), "{error}");

    client.delete_file("one", "/tmp/a b&c").await.unwrap();
    assert!(client.file("one", "/tmp").await.unwrap().names().await.unwrap().is_empty());
    for error in [
        client.file("one", "/tmp/a b&c").await.map(|_| ()).unwrap_err(),
        client.delete_file("one", "/tmp/a b&c").await.unwrap_err(),
        client.file("none", "/tmp").await.map(|_| ()).unwrap_err(),
        client.push_file("one", "/nope/file", &NewFile::new("x")).await.unwrap_err(),
    ] {
        assert!(error.is_not_found(), "{error}");
    }
}

#[tokio::test]
async fn events_tell_of_a_creation() {
    let world = World::start().await;
    let image = world.image().await;
    let mut events = world.client.events(&["lifecycle"]).await.unwrap();
    world.client.create_instance(&NewInstance::container("one", image).started()).await.unwrap();
    let mut told = Vec::new();
    let listening = async {
        while !told.iter().any(|action| action == "instance-started") {
            let event = events.next().await.unwrap().unwrap();
            assert_eq!((event.kind.as_str(), event.project.as_str()), ("lifecycle", world.project.as_str()));
            if event.metadata["source"].as_str().unwrap().starts_with("/1.0/instances/one") {
                told.push(event.metadata["action"].as_str().unwrap().to_owned());
            }
        }
    };
    timeout(30 * SECOND, listening).await.unwrap();
    assert!(told.iter().any(|action| action == "instance-created"), "{told:?}");
}
