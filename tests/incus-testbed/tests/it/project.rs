//! Projects, by which test programs share a daemon.

use incus_testbed::Testbed;

use crate::guest::import_image;

#[test]
fn a_dropped_project_takes_its_instances_along_and_no_other_project_s() {
    let testbed = Testbed::start_below_tmp().unwrap();
    let (one, other) = (testbed.project("test").unwrap(), testbed.project("test").unwrap());
    assert_ne!(one.name(), other.name());
    for project in [&one, &other] {
        import_image(&testbed, &["--project", project.name()]);
        project.incus(&["launch", "tiny", "c1"]).unwrap();
    }
    drop(one);
    let instances = testbed.incus(&["list", "--all-projects", "--format=csv", "--columns=ens"]).unwrap();
    assert_eq!(instances.trim(), format!("{},c1,RUNNING", other.name()));
    other.delete().unwrap();
    assert_eq!(
        testbed.incus(&["project", "list", "--format=csv", "--columns=n"]).unwrap().trim(),
        "default (current)"
    );
    testbed.stop().unwrap();
}
