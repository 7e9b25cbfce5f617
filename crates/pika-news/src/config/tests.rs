//! What an operator reads when the configuration is wrong.

use super::*;
use crate::forge::push_rules::Permitted;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, "pika.toml", Path::new("/srv/pika")).map_err(|error| error.to_string())
}

#[test]
fn the_smallest_configuration_has_sensible_defaults() {
    let config = parse("data = \"state\"\n[[repositories]]\nname = \"app\"\n").unwrap();
    assert_eq!(config.data, Path::new("/srv/pika/state"));
    assert_eq!(config.listen.to_string(), "127.0.0.1:7800");
    assert_eq!(config.public_url, "http://127.0.0.1:7800");
    assert_eq!(config.ci, CiConfig::default());
    assert_eq!(config.repositories[0].path, Path::new("/srv/pika/state/repositories/app.git"));
    assert_eq!(config.repositories[0].default_branch, "main");
}

#[test]
fn an_unknown_key_is_refused_with_what_is_known() {
    let error = parse("data = \"state\"\n\n[ci]\nslotz = 3\n").unwrap_err();
    assert!(error.starts_with("pika.toml:4:1: unknown field `slotz`"), "{error}");
    assert!(error.contains("`slots`") && error.contains("`infra_retries`"), "{error}");
}

#[test]
fn every_problem_is_reported_with_its_line() {
    let text = "data = \"state\"\nlisten = \"nowhere\"\npublic_url = \"pika.example.org\"\n[ci]\nslots = 0\nlease_s = 1\npass_env = [\"A-B\"]\nstate_max = \"5GB\"\n";
    let error = parse(text).unwrap_err();
    let places: Vec<&str> = error.lines().map(|line| line.split(':').nth(1).unwrap()).collect();
    assert_eq!(places, ["2", "3", "5", "6", "7", "8"], "{error}");
}

#[test]
fn two_repositories_with_one_slug_are_refused() {
    let text = "data = \"state\"\n[[repositories]]\nname = \"a.b\"\n[[repositories]]\nname = \"a-b\"\n";
    assert_eq!(
        parse(text).unwrap_err(),
        "pika.toml:5:8: repositories \"a.b\" and \"a-b\" would share the folder \"a-b\"; rename one"
    );
}

#[test]
fn a_name_that_a_page_of_the_forge_has_is_refused() {
    for name in ["api", "git", "settings", "sign-in", "sign-out", "static"] {
        let error = parse(&format!("data = \"s\"\n[[repositories]]\nname = {name:?}\n")).unwrap_err();
        assert!(error.starts_with("pika.toml:3:8: "), "{error}");
    }
}

#[test]
fn a_name_that_could_leave_its_folder_is_refused() {
    for name in ["../up", "a/b", "", ".hidden", "a..b", "app.git"] {
        let error = parse(&format!("data = \"s\"\n[[repositories]]\nname = {name:?}\n")).unwrap_err();
        assert!(error.starts_with("pika.toml:3:8: "), "{error}");
    }
}

#[test]
fn the_slug_keeps_letters_digits_dash_and_underscore() {
    assert_eq!(slug("My_app-2.0"), "My_app-2-0");
}

#[test]
fn settings_that_make_no_writer_are_refused_when_the_file_is_read() {
    let config = parse("data = \"s\"\n").unwrap();
    assert_eq!(config.tutorial, TutorialConfig::default());
    let text = "data = \"s\"\n[tutorial]\nprovider = \"openai\"\nslots = 0\nretries = 99\n";
    let error = parse(text).unwrap_err();
    assert!(error.contains("pika.toml:3:12: [tutorial]: the provider openai needs `model`"), "{error}");
    assert!(error.contains("pika.toml:4:9") && error.contains("pika.toml:5:11"), "{error}");
    let text =
        "data = \"s\"\n[tutorial]\nprovider = \"command\"\ncommand = [\"writer\"]\nkey_file = \"none\"\n";
    assert!(parse(text).unwrap_err().contains("/srv/pika/none"), "a key file that is not there");
    let text =
        "data = \"s\"\n[tutorial]\nprovider = \"command\"\ncommand = [\"writer\", \"-q\"]\ndeadline_s = 5\n";
    let config = parse(text).unwrap();
    assert_eq!(config.tutorial.settings.command, ["writer", "-q"]);
    assert_eq!(config.tutorial.deadline.as_secs(), 5);
}

#[test]
fn rules_of_pushes_are_safe_where_they_are_silent_and_their_mistakes_have_lines() {
    let text = "data = \"d\"\n[[repositories]]\nname = \"a\"\n[[repositories.rules]]\npattern = \"release/*\"\npush = \"admin\"\n[[repositories.rules]]\npattern = \"refs/tags/nightly\"\nforce = \"write\"\n";
    let config = Config::parse(text, "f", Path::new("/")).unwrap();
    let rule = |pattern: &str, push, force| PushRule {
        pattern: pattern.to_owned(),
        push,
        merge: Permitted::Write,
        force,
        delete: Permitted::Never,
    };
    let expected = [
        rule("refs/heads/release/*", Permitted::Admin, Permitted::Never),
        rule("refs/tags/nightly", Permitted::Write, Permitted::Write),
    ];
    assert_eq!(config.repositories[0].rules, expected);
    for (wrong, said) in
        [("refs/notes/*", "branches and tags alone"), ("", "1 to 500 bytes"), ("release/[", "no glob")]
    {
        let text = text.replace("release/*", wrong);
        let error = Config::parse(&text, "f", Path::new("/")).unwrap_err().to_string();
        assert!(error.starts_with("f:5:") && error.contains(said), "{error}");
    }
}

#[test]
fn a_repository_is_its_members_unless_it_is_said_to_be_public() {
    let text = "data = \"d\"\n[[repositories]]\nname = \"a\"\n[[repositories]]\nname = \"b\"\nvisibility = \"public\"\n";
    let config = Config::parse(text, "forge.toml", Path::new("/srv")).unwrap();
    let public: Vec<_> = config.public_repositories().iter().cloned().collect();
    assert_eq!(public, ["b"]);
    let wrong = text.replace("public", "world");
    assert_eq!(Config::parse(&wrong, "forge.toml", Path::new("/srv")).unwrap_err().problems[0].line, 6);
}

#[test]
fn the_examples_of_the_pages_are_configurations() {
    let git = include_str!("../../../../docs/formats/git.md");
    let operating = include_str!("../../../../docs/operating.md");
    let examples: Vec<&str> = [git, operating]
        .iter()
        .flat_map(|page| page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()))
        .collect();
    assert_eq!(examples.len(), 6);
    for example in examples {
        let text = format!("data = \"d\"\n{example}");
        if let Err(error) = Config::parse(&text, "forge.toml", Path::new("/srv")) {
            panic!("{text}\n{error}");
        }
    }
}

#[test]
fn a_nightly_has_a_time_of_the_day() {
    let text = |time: &str| format!("data = \"d\"\n[[repositories]]\nname = \"a\"\nnightly = {time:?}\n");
    let config = parse(&text("03:30")).unwrap();
    assert_eq!(config.repositories[0].nightly, Some(jiff::civil::time(3, 30, 0, 0)));
    for wrong in ["25:00", "half past three", ""] {
        let error = parse(&text(wrong)).unwrap_err();
        assert!(error.starts_with("pika.toml:4:11: `nightly` is "), "{error}");
    }
}

#[test]
fn what_is_kept_is_said_to_the_engine_in_its_own_words() {
    let text = "data = \"d\"\n[retention]\nruns_min = 5\ndays = 90\nlogs_max = \"1GiB\"\nartifacts_max = \"2GiB\"\nsnapshots_max = \"3GiB\"\nprepared_max = \"4GiB\"\n";
    let said = parse(text).unwrap().retention.arguments().join(" ");
    assert_eq!(
        said,
        "--keep 5 --max-age-days 90 --max-logs-size 1048576KiB --max-artifacts-size 2097152KiB --max-snapshots-size 3145728KiB --max-prepared-size 4194304KiB"
    );
    assert_eq!(parse("data = \"d\"\n").unwrap().retention.arguments(), ["--keep", "20"]);
    let error = parse("data = \"d\"\n[retention]\ndays = 0\nlogs_max = \"1GB\"\n").unwrap_err();
    assert!(error.contains("pika.toml:3:8: `days` is 0") && error.contains("pika.toml:4:"), "{error}");
}
