//! Each rule, broken and kept.

use std::path::PathBuf;

use super::{check, test_modules};
use crate::tidy::workspace::RustSource;

/// The lines and messages of what a file with a proper header breaks.
fn broken_at(path: &str, text: &str) -> Vec<(usize, String)> {
    check(&source_at(path, text)).into_iter().map(|violation| (violation.line, violation.message)).collect()
}

fn source_at(path: &str, text: &str) -> RustSource {
    let is_test = path.contains("tests");
    RustSource { path: PathBuf::from(path), text: format!("//! What it is for.\n{text}\n"), is_test }
}

fn broken(text: &str) -> Vec<(usize, String)> {
    broken_at("crates/pikaci/src/some.rs", text)
}

#[test]
fn a_file_without_a_header_is_named() {
    let text = "fn main() {}\n".to_owned();
    let source = RustSource { path: "crates/pikaci/src/some.rs".into(), text, is_test: false };
    let violations = check(&source);
    assert_eq!(violations.len(), 1);
    assert!(violations[0].to_string().starts_with("crates/pikaci/src/some.rs:1: begin the file with `//!`"));
}

#[test]
fn a_file_that_is_too_long_is_named_at_its_end() {
    assert_eq!(broken(&"// more\n".repeat(698)), []);
    assert_eq!(broken(&"// more\n".repeat(700))[0].0, 702);
}

#[test]
fn an_ignored_test_is_found_with_and_without_a_reason() {
    assert_eq!(broken("#[test]\n#[ignore]\nfn one() {}")[0].0, 3);
    assert_eq!(broken("#[test]\n#[ignore = \"slow\"]\nfn one() {}").len(), 1);
    assert_eq!(broken("// #[ignore] is not used here\nfn ignore() { ignore() }"), []);
}

#[test]
fn unfinished_code_is_found_but_not_in_words_about_it() {
    assert_eq!(broken("fn one() {\n    todo!()\n}")[0].0, 3);
    assert_eq!(broken("fn one() { std::dbg!(1); }").len(), 1);
    assert_eq!(broken("fn one() { unimplemented! { } }").len(), 1);
    assert_eq!(broken("// todo!()\nfn todo() { let text = \"todo!()\"; }"), []);
}

#[test]
fn the_environment_is_read_at_the_border_of_a_program_alone() {
    for text in [
        "fn one() { std::env::var(\"HOME\"); }",
        "use std::env;",
        "use std::{env, fs};",
        "use ::std::env::vars;",
    ] {
        assert_eq!(broken(text).len(), 1, "{text}");
        assert_eq!(broken_at("crates/pika-news/src/ci/lane.rs", text).len(), 1, "{text}");
        assert_eq!(broken_at("crates/pika-news/src/config.rs", text), [], "{text}");
        assert_eq!(broken_at("crates/pikaci-cli/src/main.rs", text), [], "{text}");
        assert_eq!(broken_at("crates/pikaci/tests/it/main.rs", text), [], "{text}");
        assert_eq!(broken_at("crates/pikaci/src/store/tests.rs", text), [], "{text}");
    }
    assert_eq!(broken("use std::{fs, process::{env, id}};"), []);
    assert_eq!(broken("fn one() { std::env::split_paths(path); }"), []);
}

#[test]
fn a_module_of_tests_may_read_the_environment_and_what_follows_it_may_not() {
    let read = "fn one() { std::env::temp_dir(); }";
    assert_eq!(broken(&format!("#[cfg(test)]\nmod tests {{ {read} }}")), []);
    assert_eq!(broken(&format!("#[cfg(test)]\nmod tests {{ }}\n{read}"))[0].0, 4);
    assert_eq!(broken(&format!("#[cfg(test)]\nmod tests;\n{read}"))[0].0, 4);
    assert_eq!(broken(&format!("#[cfg(not(test))]\nmod other {{ {read} }}")).len(), 1);
}

#[test]
fn a_module_that_is_declared_for_tests_alone_is_known_by_its_declaration() {
    let declared = "mod plain;\n#[cfg(test)]\nmod exam;\n#[cfg(test)]\npub(crate) mod scripted;\n#[cfg(test)]\nmod inline { }";
    let at = |path: &str| {
        let modules = test_modules(&source_at(path, declared));
        modules.into_iter().map(|path| path.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(at("crates/a/src/lib.rs"), ["crates/a/src/exam.rs", "crates/a/src/scripted.rs"]);
    assert_eq!(at("crates/a/src/run.rs"), ["crates/a/src/run/exam.rs", "crates/a/src/run/scripted.rs"]);
}

#[test]
fn sql_stays_in_the_store() {
    let statements = [
        "const A: &str = \"SELECT name FROM branch\";",
        "const A: &str = \"\n    UPDATE lane_run\n    SET status = 1\";",
        "const A: &str = r#\"INSERT INTO token VALUES (?1)\"#;",
        "const A: &str = \"PRAGMA journal_mode\";",
        "use rusqlite::Connection;",
    ];
    for text in statements {
        assert_eq!(broken_at("crates/pika-news/src/forge/merge.rs", text).len(), 1, "{text}");
        for store in ["crates/pika-news/src/store/lane.rs", "crates/pika-news/src/store.rs"] {
            assert_eq!(broken_at(store, text), [], "{text}");
        }
    }
    assert_eq!(broken("const A: &str = \"Select one from the list\";"), []);
    assert_eq!(broken("const A: &str = \"UPDATE required\";"), []);
}

#[test]
fn what_does_not_parse_is_a_violation_and_no_panic() {
    assert_eq!(broken("fn one() { (").len(), 1);
}
