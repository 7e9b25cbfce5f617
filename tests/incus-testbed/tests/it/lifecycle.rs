//! A testbed from its start to its end.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use incus_testbed::{Testbed, TestbedError};

use crate::guest::{import_image, init_of};
use crate::traces;

fn folder_of(testbed: &Testbed) -> PathBuf {
    testbed.incus_dir().parent().unwrap().to_owned()
}

#[test]
fn a_container_lives_over_restart_and_crash_of_the_daemon_and_ends_with_the_testbed() {
    let shared = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    fs::write(shared.path().join("file"), "of the user").unwrap();
    let testbed = Testbed::start_below_tmp().unwrap();
    let folder = folder_of(&testbed);
    import_image(&testbed, &[]);
    testbed.incus(&["launch", "tiny", "c1"]).unwrap();
    let source = format!("source={}", shared.path().display());
    testbed.incus(&["config", "device", "add", "c1", "shared", "disk", &source, "path=/shared"]).unwrap();
    assert_eq!(testbed.incus(&["exec", "c1", "--", "cat", "/shared/file"]).unwrap(), "of the user");
    // This one leaves a helper behind, which goes on beside the container.
    testbed.incus(&["file", "pull", "c1/etc/passwd", "-"]).unwrap();

    let (first, init) = (testbed.pid(), init_of(&testbed, "c1"));
    testbed.restart().unwrap();
    let second = testbed.pid();
    assert_eq!(init_of(&testbed, "c1"), init);
    testbed.kill().unwrap();
    assert_eq!(init_of(&testbed, "c1"), init);
    assert_eq!(testbed.incus(&["exec", "c1", "--", "cat", "/shared/file"]).unwrap(), "of the user");
    assert!(first != second && second != testbed.pid());
    assert!(!traces::is_alive(first) && !traces::is_alive(second));

    testbed.stop().unwrap();
    assert!(!traces::is_alive(init));
    assert_eq!(traces::of(&folder), Vec::<String>::new());
    assert_eq!(fs::read_to_string(shared.path().join("file")).unwrap(), "of the user");
}

#[test]
fn a_testbed_whose_daemon_is_dead_leaves_nothing_either() {
    let testbed = Testbed::start_below_tmp().unwrap();
    let folder = folder_of(&testbed);
    import_image(&testbed, &[]);
    testbed.incus(&["launch", "tiny", "c1"]).unwrap();
    let init = init_of(&testbed, "c1");
    testbed.crash().unwrap();
    assert!(testbed.incus(&["list"]).is_err() && traces::is_alive(init));
    testbed.restart().unwrap();
    assert_eq!(init_of(&testbed, "c1"), init);
    let groups = traces::control_groups_of(init);
    assert!(!groups.is_empty());
    testbed.crash().unwrap();
    drop(testbed);
    assert!(!traces::is_alive(init));
    assert_eq!(traces::of(&folder), Vec::<String>::new());
    let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
    assert!(left.is_empty(), "left: {left:?}");
}

#[test]
fn a_folder_with_files_of_the_user_is_refused_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "of the user").unwrap();
    assert!(matches!(Testbed::start(folder.path()), Err(TestbedError::Folder { .. })));
    assert_eq!(fs::read_to_string(folder.path().join("file")).unwrap(), "of the user");
}

#[test]
fn a_path_that_is_too_long_for_a_socket_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(100));
    assert!(matches!(Testbed::start(&long), Err(TestbedError::Folder { .. })));
    assert!(matches!(Testbed::start(Path::new("relative")), Err(TestbedError::Folder { .. })));
}
