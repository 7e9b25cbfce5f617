//! The smallest container that boots, and what a test asks of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use incus_testbed::Daemon;

/// Imports a busybox as image `tiny`. `options` come before the subcommand, such as a project.
pub(crate) fn import_image(daemon: &Daemon, options: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let rootfs = folder.path().join("rootfs");
    for name in ["bin", "sbin", "etc", "proc", "sys", "dev", "tmp", "run", "shared"] {
        fs::create_dir_all(rootfs.join(name)).unwrap();
    }
    fs::copy(busybox(), rootfs.join("bin/busybox")).unwrap();
    for applet in ["sh", "cat", "sleep", "touch"] {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
    symlink("../bin/busybox", rootfs.join("sbin/init")).unwrap();
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(rootfs.join("etc/inittab"), "::sysinit:/bin/busybox true\n").unwrap();
    let metadata = format!("architecture: {}\ncreation_date: 1\n", std::env::consts::ARCH);
    fs::write(folder.path().join("metadata.yaml"), metadata).unwrap();
    let image = folder.path().join("image.tar");
    let packed = Command::new("tar")
        .args(["--owner=0", "--group=0", "-cf"])
        .arg(&image)
        .arg("-C")
        .arg(folder.path())
        .args(["metadata.yaml", "rootfs"])
        .status();
    assert!(packed.unwrap().success());
    let import = ["image", "import", image.to_str().unwrap(), "--alias", "tiny"];
    daemon.incus(&[options, &import].concat()).unwrap();
}

/// The first process of a running instance, as the host sees it.
pub(crate) fn init_of(daemon: &Daemon, instance: &str) -> u32 {
    let info = daemon.incus(&["info", instance]).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("PID: "));
    pid.unwrap_or_else(|| panic!("the instance does not run:\n{info}")).parse().unwrap()
}

fn busybox() -> PathBuf {
    let places = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let found = places.into_iter().find(|place| place.is_file());
    found.expect("busybox is missing; run `cargo xtask test`, or `apt-get install busybox-static`").to_owned()
}
