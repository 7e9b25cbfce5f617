//! Images read back as tarballs. A scripted mmdebstrap stands in for the real one, which needs Debian's servers; busybox
//! is real.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use pikaci::guest::{IMAGE_CONTRACT_PROPERTY, RUN_BINARY, USER_ID};
use tar::EntryType;

use super::*;

/// What is at one path of a tarball.
struct Found {
    kind: EntryType,
    mode: u32,
    owner: (u64, u64),
    mtime_s: u64,
    target: Option<PathBuf>,
    attributes: Vec<String>,
    content: Vec<u8>,
}

fn read_back(path: &Path) -> BTreeMap<String, Found> {
    let file = File::open(path).unwrap();
    let reader: Box<dyn io::Read> = match path.extension().unwrap().to_str().unwrap() {
        "gz" => Box::new(flate2::read::GzDecoder::new(file)),
        "zst" => Box::new(zstd::stream::read::Decoder::new(file).unwrap()),
        _ => Box::new(file),
    };
    let mut found = BTreeMap::new();
    for entry in tar::Archive::new(reader).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8_lossy(&entry.path_bytes()).trim_end_matches('/').to_owned();
        let extensions = entry.pax_extensions().unwrap().into_iter().flatten();
        let attributes = extensions.map(|extension| extension.unwrap().key().unwrap().to_owned()).collect();
        let target = entry.link_name().unwrap().map(std::borrow::Cow::into_owned);
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        let header = entry.header();
        let one = Found {
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime_s: header.mtime().unwrap(),
            target,
            attributes,
            content,
        };
        assert!(found.insert(path.clone(), one).is_none(), "{path} is there twice");
    }
    found
}

/// A folder with what a build needs. The guest runner is any static program: busybox.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        Bench { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn request(&self, recipe: Recipe, name: &str) -> BuildRequest {
        let runner = Programs::find(OsStr::new("")).busybox;
        assert!(
            runner.is_file(),
            "busybox is missing; run `cargo xtask test`, or `apt-get install busybox-static`"
        );
        let request = BuildRequest::new(recipe, runner, &self.path("out").join(name));
        BuildRequest { created_at: "2026-01-02T03:04:05Z".parse().unwrap(), ..request }
    }

    /// A build of Debian by a script in place of mmdebstrap. It finds the tarball of [`system`] as `$tarball`.
    fn debian(&self, script: &str) -> BuildRequest {
        fs::write(self.path("system.tar"), system(&[])).unwrap();
        self.debian_of(script)
    }

    fn debian_of(&self, script: &str) -> BuildRequest {
        let mmdebstrap = self.path("mmdebstrap");
        let script = format!("#!/bin/sh\ntarball={}\n{script}\n", self.path("system.tar").display());
        // By another process: while this one has the file open, a test beside it may fork, and then it can't be run.
        let write = r#"cat > "$0" && chmod 755 "$0""#;
        let mut shell =
            Command::new("sh").args(["-c", write]).arg(&mmdebstrap).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        let recipe = Recipe::Debian {
            suite: "bookworm".to_owned(),
            packages: vec!["git".to_owned(), "g++".to_owned()],
            mirror: Some("http://mirror.example/debian".to_owned()),
        };
        let mut request = self.request(recipe, "debian.tar.zst");
        request.programs.mmdebstrap = mmdebstrap;
        request
    }

    /// What a build left where the image should be.
    fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }
}

const LONG_NAME: &str = "usr/lib/a-name-that-is-far-longer-than-the-hundred-bytes-that-the-oldest-kind-of-header-has/\
                         and-goes-on-below-a-folder/file";

/// A tarball as mmdebstrap writes it: paths begin with `./`, and the system is its own.
fn system(more: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind: EntryType, path: &str, mode: u32, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(if path.ends_with("shadow") { 42 } else { 0 });
        header.set_mtime(1);
        header.set_size(0);
        let path = format!("./{path}");
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            builder.append_link(&mut header, path, content).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
    };
    for (path, mode) in [("", 0o755), ("dev", 0o755), ("run", 0o755), ("tmp", 0o1777), ("usr", 0o755)] {
        add(EntryType::Directory, path, mode, "");
    }
    add(EntryType::Char, "dev/null", 0o666, "");
    add(EntryType::Fifo, "usr/pipe", 0o666, "");
    add(EntryType::Symlink, "sbin", 0o777, "usr/sbin");
    add(EntryType::Symlink, "usr/sbin/init", 0o777, "/lib/systemd/systemd");
    add(EntryType::Regular, "run/left-over", 0o644, "");
    add(EntryType::Regular, "etc/hostname", 0o644, "the-host-that-built-it\n");
    add(EntryType::Regular, "etc/resolv.conf", 0o644, "nameserver 192.0.2.1\n");
    add(EntryType::Regular, "usr/bin/su", 0o4755, "su");
    add(EntryType::Link, "usr/bin/other-su", 0o4755, "./usr/bin/su");
    add(EntryType::Regular, LONG_NAME, 0o600, "deep");
    let users = [
        ("passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("group", "root:x:0:\n"),
        ("shadow", "root:*:1::::::"),
    ];
    for (name, content) in users {
        let mode = if name == "shadow" { 0o640 } else { 0o644 };
        let content = more.iter().find(|(path, _)| *path == name).map_or(content, |(_, other)| *other);
        add(EntryType::Regular, &format!("etc/{name}"), mode, content);
    }
    builder.append_pax_extensions([("SCHILY.xattr.security.capability", &b"\x01\0\0\x02"[..])]).unwrap();
    let mut header = tar::Header::new_ustar();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mode(0o755);
    header.set_size(4);
    header.set_mtime(1);
    builder.append_data(&mut header, "./usr/bin/ping", &b"ping"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn text(found: &Found) -> &str {
    std::str::from_utf8(&found.content).unwrap()
}

fn contract_is_kept(image: &BTreeMap<String, Found>) {
    let metadata: serde_json::Value = serde_json::from_slice(&image["metadata.yaml"].content).unwrap();
    assert_eq!(metadata["architecture"], std::env::consts::ARCH);
    assert_eq!(metadata["creation_date"], 1_767_323_045);
    let properties = &metadata["properties"];
    assert_eq!(properties[IMAGE_CONTRACT_PROPERTY], "1");
    assert!(
        properties.as_object().unwrap().values().all(serde_json::Value::is_string),
        "Incus takes only text"
    );
    let at = |path: &str| &image[&format!("rootfs{path}")];
    let runner = &at(at(RUN_BINARY).target.as_ref().unwrap().to_str().unwrap());
    assert_eq!((runner.kind, runner.mode, runner.owner), (EntryType::Regular, 0o755, (0, 0)));
    assert_eq!(properties["pikaci.runner-sha256"], hex(&Sha256::digest(&runner.content)));
    let places = [
        "/workspace/snapshot",
        "/staged/linux-rust/workspace-deps",
        "/staged/linux-rust/workspace-build",
        "/artifacts",
        "/cargo-home",
        "/cargo-target",
    ];
    for place in places {
        assert_eq!((at(place).kind, at(place).mode), (EntryType::Directory, 0o755), "{place}");
    }
    let home = at("/home/pikaci");
    assert_eq!((home.kind, home.owner), (EntryType::Directory, (USER_ID.into(), USER_ID.into())));
    assert_eq!((at("/tmp").kind, at("/tmp").mode), (EntryType::Directory, 0o1777));
    let passwd = text(at("/etc/passwd"));
    assert!(passwd.ends_with("\npikaci:x:1000:1000::/home/pikaci:/bin/sh\n"), "{passwd}");
    assert!(text(at("/etc/group")).ends_with("\npikaci:x:1000:\n"));
    assert!(text(at("/etc/shadow")).ends_with("\npikaci:*:::::::\n"));
    assert_eq!(at("/etc/shadow").mode, 0o640);
    assert!(text(at("/etc/hosts")).contains("127.0.0.1 localhost\n"));
    assert_eq!(at("/etc/resolv.conf").kind, EntryType::Regular);
    assert!(text(at("/etc/inittab")).lines().any(|line| !line.starts_with('#')), "or it starts logins");
    let own = image.iter().filter(|(path, _)| !path.starts_with("rootfs/dev/"));
    assert_eq!(own.count(), image.len(), "Incus makes the devices");
}

#[test]
fn the_busybox_image_keeps_the_contract_and_has_every_command() {
    let bench = Bench::new();
    let built = build(&bench.request(Recipe::Busybox, "busybox.tar.gz")).unwrap();
    let image = read_back(&built.path);
    contract_is_kept(&image);
    for command in ["bin/sh", "sbin/init", "usr/bin/env", "bin/busybox", "usr/bin/["] {
        let found = &image[&format!("rootfs/{command}")];
        assert_eq!(found.target.as_deref(), Some(Path::new("/usr/lib/pikaci/busybox")), "{command}");
    }
    assert_eq!(image["rootfs/usr/lib/pikaci/busybox"].mode, 0o755);
    assert!(image.values().all(|found| found.mtime_s == 1_767_323_045));
    assert_eq!(built.sha256, digest_of_file(&built.path).unwrap());
    assert_eq!(built.bytes, fs::metadata(&built.path).unwrap().len());
    assert_eq!(bench.left(), ["busybox.tar.gz"]);
}

#[test]
fn the_same_inputs_make_the_same_bytes_and_another_date_others() {
    let bench = Bench::new();
    for ending in OUTPUT_ENDINGS {
        let one = build(&bench.request(Recipe::Busybox, &format!("one{ending}"))).unwrap();
        let other = build(&bench.request(Recipe::Busybox, &format!("other{ending}"))).unwrap();
        assert_eq!(one.sha256, other.sha256, "{ending}");
        contract_is_kept(&read_back(&one.path));
    }
    let request = bench.request(Recipe::Busybox, "one.tar");
    let one = build(&request).unwrap();
    let other = build(&BuildRequest { created_at: Timestamp::UNIX_EPOCH, ..request }).unwrap();
    assert_ne!(one.sha256, other.sha256);
    assert_eq!(one.path, other.path, "an image replaces the one of its name");
}

#[test]
fn a_runner_that_needs_a_loader_or_is_missing_is_refused_with_the_command_that_builds_one() {
    let bench = Bench::new();
    let request = bench.request(Recipe::Busybox, "image.tar");
    let own = std::env::current_exe().unwrap();
    for (runner, expected) in [(own, "is not static"), (bench.path("none"), "does not exist")] {
        let error = build(&BuildRequest { runner, ..request.clone() }).unwrap_err();
        assert!(matches!(error, ImageError::Runner { .. }), "{error}");
        let message = error.to_string();
        assert!(message.contains(expected) && message.contains(RUNNER_BUILD_COMMAND), "{message}");
    }
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn what_can_not_be_built_is_refused_before_anything_is_made() {
    let bench = Bench::new();
    let request = bench.request(Recipe::Busybox, "image.tar");
    let mut poor = request.clone();
    poor.programs.busybox = bench.path("none");
    let error = build(&poor).unwrap_err();
    assert!(error.to_string().contains("apt-get install busybox-static"), "{error}");

    let output = bench.path("out").join("image.zip");
    let error = build(&BuildRequest { output, ..request.clone() }).unwrap_err();
    assert!(matches!(error, ImageError::Name { .. }), "{error}");

    let error = build(&BuildRequest { instance: InstanceType::VirtualMachine, ..request }).unwrap_err();
    assert!(matches!(error, ImageError::VirtualMachine), "{error}");

    let mut debian = bench.debian("exit 1");
    debian.programs.mmdebstrap = bench.path("none");
    let error = build(&debian).unwrap_err();
    assert!(error.to_string().contains("apt-get install mmdebstrap"), "{error}");
    for (suite, package, mirror) in
        [("--setup-hook=x", "git", None), ("bookworm", "git,--x", None), ("bookworm", "git", Some("-"))]
    {
        let recipe = Recipe::Debian {
            suite: suite.to_owned(),
            packages: vec![package.to_owned()],
            mirror: mirror.map(str::to_owned),
        };
        let error = build(&bench.request(recipe, "image.tar")).unwrap_err();
        assert!(matches!(error, ImageError::Word { .. }), "{error}");
    }
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn the_debian_image_is_the_system_with_ours_in_place_of_its_own() {
    let bench = Bench::new();
    let request = bench.debian(r#"echo "$SOURCE_DATE_EPOCH $*" > "$0.words"; cat "$tarball""#);
    let built = build(&request).unwrap();
    let words = fs::read_to_string(bench.path("mmdebstrap.words")).unwrap();
    assert!(words.starts_with("1767323045 --variant=minbase "), "{words}");
    assert!(words.ends_with(" --include=git,g++ bookworm - http://mirror.example/debian\n"), "{words}");

    let image = read_back(&built.path);
    contract_is_kept(&image);
    let at = |path: &str| image.get(&format!("rootfs/{path}"));
    assert_eq!(at("usr/sbin/init").unwrap().target.as_deref(), Some(Path::new("/usr/lib/pikaci/busybox")));
    assert_eq!(at("sbin").unwrap().target.as_deref(), Some(Path::new("usr/sbin")));
    assert!(at("sbin/init").is_none());
    assert!(at("run/left-over").is_none() && at("usr/pipe").is_none() && at("dev/null").is_none());
    assert!(!text(at("etc/hostname").unwrap()).contains("the-host-that-built-it"));
    assert!(!text(at("etc/resolv.conf").unwrap()).contains("192.0.2.1"));
    assert_eq!(at("usr/bin/su").unwrap().mode, 0o4755);
    let link = at("usr/bin/other-su").unwrap();
    assert_eq!((link.kind, link.target.as_deref()), (EntryType::Link, Some(Path::new("rootfs/usr/bin/su"))));
    assert_eq!(at("usr/bin/ping").unwrap().attributes, ["SCHILY.xattr.security.capability"]);
    assert_eq!(text(at(LONG_NAME).unwrap()), "deep");
    let shadow = at("etc/shadow").unwrap();
    assert_eq!((shadow.owner, text(shadow)), ((0, 42), "root:*:1::::::\npikaci:*:::::::\n"));
}

#[test]
fn a_system_whose_user_1000_is_another_one_is_refused() {
    let bench = Bench::new();
    for (file, line) in
        [("passwd", "debian:x:1000:1000::/home/debian:/bin/sh\n"), ("group", "pikaci:x:77:\n")]
    {
        fs::write(bench.path("system.tar"), system(&[(file, line)])).unwrap();
        let error = build(&bench.debian_of(r#"cat "$tarball""#)).unwrap_err();
        assert!(
            matches!(&error, ImageError::System { problem, .. } if problem.contains(line.trim())),
            "{error}"
        );
    }
    fs::write(bench.path("system.tar"), []).unwrap();
    let error = build(&bench.debian_of(r#"cat "$tarball""#)).unwrap_err();
    assert!(
        matches!(&error, ImageError::System { problem, .. } if problem.contains("no /etc/passwd")),
        "{error}"
    );
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_mmdebstrap_that_fails_is_heard_whatever_it_had_written_and_leaves_no_image() {
    let bench = Bench::new();
    for written in [r#"cat "$tarball""#, r#"head -c 3000 "$tarball""#, "true"] {
        let error =
            build(&bench.debian(&format!("{written}; echo 'E: no such suite' >&2; exit 25"))).unwrap_err();
        let ImageError::Failed { status, message, .. } = &error else { panic!("{written}: {error}") };
        assert_eq!((status.code(), message.as_str()), (Some(25), "E: no such suite"));
    }
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_build_that_is_late_or_cancelled_ends_at_once_with_all_its_processes() {
    let bench = Bench::new();
    // Found by what it was called with: its number is one of a namespace of its own.
    let sleep = format!("sleep 3600.{}", std::process::id());
    let script = format!(r#"cat "$tarball"; {sleep} & wait"#);
    let sleepers = || {
        let of_process = |process: fs::DirEntry| fs::read(process.path().join("cmdline")).unwrap_or_default();
        let commands = fs::read_dir("/proc").unwrap().map(|process| of_process(process.unwrap()));
        commands.filter(|command| command.starts_with(sleep.replace(' ', "\0").as_bytes())).count()
    };
    let mut request = bench.debian(&script);
    let cancel = request.cancel.clone();
    let error = std::thread::scope(|scope| {
        let build = scope.spawn(|| build(&request));
        while sleepers() == 0 {
            assert!(!build.is_finished(), "it ended before it was cancelled");
            std::thread::yield_now();
        }
        cancel.cancel();
        build.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, ImageError::Cancelled), "{error}");
    assert_eq!(sleepers(), 0);

    request.cancel = CancellationToken::new();
    request.deadline = Duration::from_millis(500);
    request.recipe = Recipe::Debian { suite: "bookworm".to_owned(), packages: Vec::new(), mirror: None };
    let error = build(&request).unwrap_err();
    assert!(matches!(error, ImageError::Late { .. }), "{error}");
    assert_eq!(sleepers(), 0);
    assert_eq!(bench.left(), Vec::<String>::new());
}

#[test]
fn a_container_of_the_image_answers_at_once_and_has_what_jobs_count_on() {
    let project = incus_testbed::Daemon::shared().project("image").unwrap();
    let bench = Bench::new();
    let runner =
        std::env::var_os("PIKA_GUEST_RUNNER").expect("PIKA_GUEST_RUNNER is not set: run `cargo xtask test`");
    let runner = PathBuf::from(runner);
    let built = build(&BuildRequest { runner, ..bench.request(Recipe::Busybox, "busybox.tar.gz") }).unwrap();
    project.incus(&["image", "import", built.path.to_str().unwrap(), "--alias", "guest"]).unwrap();
    project.incus(&["image", "info", &built.sha256]).expect("Incus knows it by its fingerprint");
    project.incus(&["launch", "guest", "c1"]).unwrap();
    let version = project.incus(&["exec", "c1", "--", RUN_BINARY, "--version"]).unwrap();
    assert!(version.starts_with("pikaci-incus-run "), "{version}");
    let exec = |script: &str| {
        let booted =
            r#"until grep -q /dev/shm /proc/mounts && grep -q "$(hostname)" /etc/hosts; do sleep 0.01; done"#;
        project.incus(&["exec", "c1", "--", "sh", "-c", &format!("{booted}; {script}")]).unwrap()
    };
    let found = exec(r#"id -u pikaci; id -g pikaci; stat -c "%a %U" /dev/shm /run/lock /home/pikaci"#);
    assert_eq!(found, "1000\n1000\n1777 root\n1777 root\n755 pikaci\n");
    let found = exec(r#"ping -c 1 "$(hostname)" | grep -c "from 127""#);
    assert_eq!(found, "1\n", "the loopback is down");

    exec("mkdir /run/pikaci && touch -d '2020-01-01 00:00' /run/pikaci");
    project.incus(&["restart", "--force", "c1"]).unwrap();
    let found = exec(&format!("ls /run; {RUN_BINARY} --version"));
    assert_eq!(found, format!("current-system\nlock\nutmp\n{version}"), "a boot empties /run");
}
