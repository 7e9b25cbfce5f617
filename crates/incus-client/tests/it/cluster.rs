//! A real cluster of three daemons on 127.0.0.1, .2 and .3.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use incus_client::{Client, Error, ExecOutput, ExecRequest, NewInstance};
use tempfile::TempDir;

use crate::world::World;

/// Where packages put the daemon.
const PROGRAMS: [&str; 3] = ["/usr/libexec/incus/incusd", "/usr/lib/incus/incusd", "/opt/incus/bin/incusd"];
const START_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn instances_and_volumes_are_made_on_the_member_that_was_named() {
    let cluster = Cluster::start().await;
    let world = World::start_at(&cluster.socket()).await;
    let members = world.client.cluster_members().await.unwrap();
    let names: Vec<&str> = members.iter().map(|member| member.server_name.as_str()).collect();
    assert_eq!(names, ["m1", "m2", "m3"]);
    for member in &members {
        assert!(member.status == "Online" && member.url.starts_with("https://127.0.0."), "{member:?}");
        let state = world.client.cluster_member_state(&member.server_name).await.unwrap();
        assert!(state.sysinfo["total_ram"].as_u64().unwrap() > 0);
    }
    assert!(world.client.cluster_member_state("m4").await.unwrap_err().is_not_found());
    assert!(world.client.server().await.unwrap().environment.server_clustered);

    let image = world.image().await;
    let other = world.client.with_target("m2");
    other.create_instance(&NewInstance::container("one", &image).started()).await.unwrap();
    // Who asks does not need to know where it is: operations and streams are passed on.
    assert_eq!(world.client.instance("one").await.unwrap().value.location, "m2");
    let mut exec = world.client.exec("one", &ExecRequest::new(["cat"])).await.unwrap();
    exec.write("hello").await.unwrap();
    exec.close_stdin().await.unwrap();
    assert_eq!(exec.read().await.unwrap(), Some(ExecOutput::Stdout("hello".into())));
    assert_eq!(exec.wait().await.unwrap(), 0);
    assert_eq!(world.client.exec_unattended("one", &ExecRequest::new(["/nope"])).await.unwrap(), 127);
    world.client.destroy_instance("one").await.unwrap();

    other.create_volume("default", "cache", &BTreeMap::new()).await.unwrap();
    other.delete_volume("default", "cache").await.unwrap();
    let nowhere = world.client.with_target("m4");
    let error = nowhere.create_instance(&NewInstance::container("two", &image)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { .. } | Error::Refused { .. }), "{error}");
}

/// The daemons, in the order of their addresses.
struct Cluster(Vec<Daemon>);

impl Cluster {
    async fn start() -> Cluster {
        let daemons: Vec<Daemon> = (1..=3).map(Daemon::start).collect();
        for daemon in &daemons {
            daemon.until_ready().await;
        }
        let (first, others) = daemons.split_first().unwrap();
        first.incus(&["config", "set", "core.https_address", &first.address]);
        first.incus(&["config", "set", "cluster.https_address", &first.address]);
        first.incus(&["cluster", "enable", "m1"]);
        first.incus(&["storage", "create", "default", "dir"]);
        for (daemon, name) in others.iter().zip(["m2", "m3"]) {
            let token = first.incus(&["cluster", "add", name, "--quiet"]);
            let token = token.split_whitespace().last().unwrap().to_owned();
            daemon.join(&token);
        }
        Cluster(daemons)
    }

    fn socket(&self) -> PathBuf {
        self.0[0].socket()
    }
}

/// A daemon with a folder and an address of its own.
struct Daemon {
    folder: TempDir,
    address: String,
    process: Child,
}

impl Daemon {
    fn start(number: u8) -> Daemon {
        // A short path: a socket's may have 107 bytes.
        let folder = tempfile::Builder::new().prefix("icc").tempdir_in("/tmp").unwrap();
        let address = TcpListener::bind(format!("127.0.0.{number}:0")).unwrap().local_addr().unwrap();
        let program = PROGRAMS.into_iter().find(|program| Path::new(program).exists());
        // The daemon ends with whoever started it, even when that is killed.
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program.expect("the package incus"), "--group", "root"])
            .env("INCUS_DIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Daemon { folder, address: address.to_string(), process }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("unix.socket")
    }

    async fn until_ready(&self) {
        let client = Client::unix(self.socket());
        let start = Instant::now();
        while let Err(error) = client.server().await {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(error.is_transport() && start.elapsed() < START_WITHIN, "{error}\n{log}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the command line client and returns what it printed.
    fn incus(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("incus");
        command.args(arguments).env("INCUS_DIR", self.folder.path()).env("INCUS_CONF", self.folder.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn join(&self, token: &str) {
        let preseed = format!(
            "cluster:\n  enabled: true\n  server_address: {}\n  cluster_token: {token}\n  member_config:\n  \
             - {{entity: storage-pool, name: default, key: source, value: ''}}\n",
            self.address
        );
        let file = self.folder.path().join("preseed");
        fs::write(&file, preseed).unwrap();
        let mut command = Command::new("incus");
        command.args(["admin", "init", "--preseed"]).env("INCUS_DIR", self.folder.path());
        command.env("INCUS_CONF", self.folder.path()).stdin(fs::File::open(file).unwrap());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // What it mounted outlives it, and would keep the folder.
        let folder = self.folder.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        let mut points: Vec<&str> = points.filter(|point| point.starts_with(folder)).collect();
        points.reverse();
        if !points.is_empty() {
            let _ = Command::new("umount").arg("--lazy").args(points).status();
        }
    }
}
