//! The decision as a table: who, what, which repository, with which token.

use super::*;

fn user(is_admin: bool) -> User {
    User { id: 7, name: "ada".to_owned(), is_admin }
}

fn principal(is_admin: bool, role: Option<Role>, scopes: &str) -> Principal {
    let roles = role.map(|role| ("closed".to_owned(), role)).into_iter().collect();
    Principal::new(user(is_admin), roles, Scopes::parse(scopes), public())
}

fn public() -> PublicRepositories {
    Arc::new(["open".to_owned()].into())
}

const ACTIONS: [Action; 4] = [Action::Read, Action::Push, Action::Write, Action::Administer];

/// One letter for each action: a(llowed), u(nauthenticated), h(idden), r(ole), s(cope), n(ot an administrator).
fn letters(principal: &Principal, resource: Resource<'_>) -> String {
    let letter = |action| match principal.decide(action, resource) {
        Decision::Allowed => 'a',
        Decision::Unauthenticated => 'u',
        Decision::Hidden => 'h',
        Decision::Forbidden(Refused::Role(_)) => 'r',
        Decision::Forbidden(Refused::Scope(_)) => 's',
        Decision::Forbidden(Refused::NotAdministrator) => 'n',
    };
    ACTIONS.into_iter().map(letter).collect()
}

#[test]
fn each_role_reaches_as_far_as_its_name_says_and_no_further() {
    let all = "read push write admin";
    let table = [
        (Principal::anonymous(public()), "auuu", "uuuu", "uuuu", "uuuu"),
        (principal(false, None, all), "arrr", "hhhh", "nnnn", "hhhh"),
        (principal(false, Some(Role::Read), all), "arrr", "arrr", "nnnn", "hhhh"),
        (principal(false, Some(Role::Write), all), "arrr", "aaar", "nnnn", "hhhh"),
        (principal(false, Some(Role::Admin), all), "arrr", "aaaa", "nnnn", "hhhh"),
        (principal(true, None, all), "aaaa", "aaaa", "aaaa", "aaaa"),
    ];
    for (principal, open, closed, forge, other_account) in table {
        assert_eq!(letters(&principal, Resource::Repository("open")), open, "{principal:?}");
        assert_eq!(letters(&principal, Resource::Repository("closed")), closed, "{principal:?}");
        assert_eq!(letters(&principal, Resource::Forge), forge, "{principal:?}");
        assert_eq!(letters(&principal, Resource::Account(8)), other_account, "{principal:?}");
    }
}

#[test]
fn a_token_is_worth_its_scopes_and_never_more_than_its_user() {
    let resource = Resource::Repository("closed");
    for (scopes, admin, writer) in [
        ("", "ssss", "sssr"),
        ("read", "asss", "assr"),
        ("read push", "aass", "aasr"),
        ("read write", "asas", "asar"),
        ("read push write admin", "aaaa", "aaar"),
        ("everything", "ssss", "sssr"),
    ] {
        assert_eq!(letters(&principal(true, None, scopes), resource), admin, "{scopes}");
        assert_eq!(letters(&principal(false, Some(Role::Write), scopes), resource), writer, "{scopes}");
    }
    assert_eq!(letters(&principal(false, None, "read"), Resource::Account(7)), "asss");
    assert_eq!(letters(&principal(false, None, "admin"), Resource::Account(7)), "saaa");
    assert_eq!(letters(&principal(true, None, "read push write"), Resource::Forge), "ssss");
}

#[test]
fn what_is_stored_of_scopes_reads_back() {
    let scopes = Scopes::parse("write read");
    assert_eq!(scopes.to_string(), "read write");
    assert_eq!(Scopes::parse(&scopes.to_string()), scopes);
}
