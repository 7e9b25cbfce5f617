//! Secrets on their way from a file to a job, and out of everything that is kept.

use std::fs;
use std::path::Path;

use crate::project::Project;

const MANIFEST: &str = "version = 1
[[targets.check.jobs]]
id = \"with\"
secrets = [\"DEPLOY\", \"NOT_GIVEN\"]
command = 'ls $PIKACI_SECRETS; cat $PIKACI_SECRETS/DEPLOY; base64 $PIKACI_SECRETS/DEPLOY; env; cat /proc/1/cmdline'
[[targets.check.jobs]]
id = \"without\"
command = 'test ! -e /run/pikaci-secrets && test -z \"$PIKACI_SECRETS\"'
";

/// Every file below a folder that holds a text.
fn holders(folder: &Path, text: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            found.extend(holders(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|part| part == text)) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn a_secret_reaches_the_job_that_names_it_and_nothing_that_is_kept() {
    let project = Project::new(&[]);
    project.write("pikaci.toml", MANIFEST);
    project.commit();
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("deploy");
    fs::write(&file, "hunter22-and-more\n").unwrap();
    let secret = format!("DEPLOY={}", file.display());
    project.pikaci(&["run", "check", "--secret", &secret]).expect(0);
    let record = project.latest();
    let log =
        pikaci::load_logs(&project.state(), &record.run_id, Some(&record.jobs[0].id), pikaci::LogKind::Guest);
    let log = log.unwrap().guest.unwrap();
    assert!(log.starts_with("DEPLOY\n***\n***\n"), "{log}");
    assert_eq!(holders(project.state().path(), b"hunter22"), [""; 0]);
    assert_eq!(holders(project.state().path(), b"aHVudGVy"), [""; 0]);
}

#[test]
fn secrets_that_are_none_are_refused_by_name() {
    let project = Project::new(&[("one", "true")]);
    for (argument, words) in [
        ("DEPLOY", "write NAME=FILE"),
        ("DEPLOY=/nonexistent/file", "cannot read the secret DEPLOY from /nonexistent/file"),
        ("../x=pikaci.toml", "\"../x\" is not the name of a secret"),
    ] {
        let refused = project.pikaci(&["run", "check", "--secret", argument]).expect(2);
        assert!(refused.errors.contains(words), "{}", refused.errors);
    }
}
