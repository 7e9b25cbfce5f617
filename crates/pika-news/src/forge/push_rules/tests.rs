//! The decision as a table.

use super::*;

const WRITE: Option<Role> = Some(Role::Write);
const ADMIN: Option<Role> = Some(Role::Admin);
const MAIN: &str = "refs/heads/main";

fn rules(rules: &[PushRule]) -> PushRules {
    PushRules::new(&BranchName::parse("main").unwrap(), rules)
}

fn rule(pattern: &str, push: Permitted, force: Permitted, delete: Permitted) -> PushRule {
    PushRule { pattern: pattern.to_owned(), push, merge: Permitted::Write, force, delete }
}

/// For each move, who may: nobody, a writer, or only an administrator.
#[track_caller]
fn expect(rules: &PushRules, reference: &str, table: [(RefMove, Permitted); 5]) {
    for (change, permitted) in table {
        for role in [None, Some(Role::Read), WRITE, ADMIN] {
            let is_allowed = role.is_some_and(|role| permitted.allows(role));
            let decided = rules.decide(role, reference, change);
            assert_eq!(decided.is_ok(), is_allowed, "{reference} {change:?} {role:?}: {decided:?}");
        }
    }
}

#[test]
fn without_rules_the_default_branch_is_protected_and_the_others_belong_to_writers() {
    use Permitted::{Admin, Never, Write};
    use RefMove::{Create, Delete, Force, Forward, Merge};
    let rules = rules(&[]);
    let table = [(Create, Write), (Forward, Admin), (Force, Never), (Delete, Never), (Merge, Write)];
    expect(&rules, MAIN, table);
    let table = [(Create, Write), (Forward, Write), (Force, Write), (Delete, Write), (Merge, Write)];
    expect(&rules, "refs/heads/topic/main", table);
    let table = [(Create, Write), (Forward, Write), (Force, Never), (Delete, Admin), (Merge, Write)];
    expect(&rules, "refs/tags/v1", table);
}

#[test]
fn the_first_rule_that_matches_decides_and_a_star_stops_at_a_slash() {
    use Permitted::{Admin, Never, Write};
    let rules = rules(&[
        rule("refs/heads/release/*", Admin, Never, Never),
        rule("refs/heads/release/**", Never, Never, Never),
        rule("refs/tags/nightly", Write, Write, Write),
    ]);
    assert!(rules.decide(WRITE, "refs/heads/release/1", RefMove::Create).is_err());
    assert!(rules.decide(ADMIN, "refs/heads/release/1", RefMove::Create).is_ok());
    assert!(rules.decide(ADMIN, "refs/heads/release/1/2", RefMove::Create).is_err());
    assert!(rules.decide(WRITE, "refs/heads/release", RefMove::Force).is_ok());
    assert!(rules.decide(WRITE, "refs/tags/nightly", RefMove::Force).is_ok());
}

#[test]
fn who_may_not_push_may_not_force_either() {
    use Permitted::{Admin, Write};
    let rules = rules(&[rule("refs/heads/release/*", Admin, Write, Write)]);
    assert!(rules.decide(WRITE, "refs/heads/release/1", RefMove::Force).is_err());
}

#[test]
fn a_pattern_does_not_loosen_the_default_branch_and_its_name_does() {
    use Permitted::{Never, Write};
    let all = rule("refs/heads/**", Write, Write, Write);
    assert!(rules(std::slice::from_ref(&all)).decide(ADMIN, MAIN, RefMove::Force).is_err());
    let rules = rules(&[all, rule(MAIN, Write, Never, Never)]);
    assert!(rules.decide(WRITE, MAIN, RefMove::Forward).is_ok());
    assert!(rules.decide(ADMIN, MAIN, RefMove::Force).is_err());
}

#[test]
fn a_rule_for_the_default_branch_holds_from_the_first_push() {
    use Permitted::{Admin, Never};
    let rules = rules(&[rule(MAIN, Admin, Never, Never)]);
    assert!(rules.decide(WRITE, MAIN, RefMove::Create).is_err());
    assert!(rules.decide(ADMIN, MAIN, RefMove::Create).is_ok());
}

#[test]
fn what_is_neither_branch_nor_tag_is_refused_to_everybody() {
    let rules = rules(&[rule("**", Permitted::Write, Permitted::Write, Permitted::Write)]);
    for reference in
        ["refs/pika/x", "refs/notes/commits", "refs/replace/1", "refs/tags/", "HEAD", "refs/heads"]
    {
        for change in [RefMove::Create, RefMove::Forward, RefMove::Force, RefMove::Delete] {
            assert!(rules.decide(ADMIN, reference, change).is_err(), "{reference} {change:?}");
        }
    }
}

#[test]
fn a_name_that_the_forge_cannot_follow_is_refused_and_may_be_removed() {
    let name = format!("refs/heads/{}", "x".repeat(pika_git::BRANCH_NAME_BYTES_MAX + 1));
    let refused = rules(&[]).decide(ADMIN, &name, RefMove::Create).unwrap_err();
    assert!(refused.contains("use another name"), "{refused}");
    assert!(rules(&[]).decide(WRITE, &name, RefMove::Delete).is_ok());
}

#[test]
fn a_refusal_says_what_would_be_right() {
    let said = rules(&[]).decide(WRITE, MAIN, RefMove::Forward).unwrap_err();
    assert_eq!(
        said,
        "default branch main: pushing to it needs the role `admin` in the repository; push another branch and merge it through the forge"
    );
}
