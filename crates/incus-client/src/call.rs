//! One request, before it is sent.

use std::time::Duration;

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::client::Tag;

/// All but the letters, digits and marks that RFC 3986 calls unreserved: also the slash of an alias.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    pub(crate) if_match: Option<Tag>,
    is_in_project: bool,
    is_targeted: bool,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) deadline: Option<Duration>,
}

impl Call {
    pub(crate) fn new(method: Method, path: impl Into<String>) -> Call {
        Call {
            method,
            path: path.into(),
            query: Vec::new(),
            body: None,
            if_match: None,
            is_in_project: true,
            is_targeted: false,
            headers: Vec::new(),
            deadline: None,
        }
    }

    pub(crate) fn get(path: impl Into<String>) -> Call {
        Call::new(Method::GET, path)
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn json(mut self, body: Value) -> Call {
        self.body = Some(body);
        self
    }

    pub(crate) fn if_match(mut self, tag: Option<&Tag>) -> Call {
        self.if_match = tag.cloned();
        self
    }

    /// For what belongs to the server and not to a project.
    pub(crate) fn global(mut self) -> Call {
        self.is_in_project = false;
        self
    }

    /// For what is on one member of a cluster.
    pub(crate) fn targeted(mut self) -> Call {
        self.is_targeted = true;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }

    /// Instead of the client's own.
    pub(crate) fn deadline(mut self, deadline: Duration) -> Call {
        self.deadline = Some(deadline);
        self
    }

    /// What errors call it. The query is left out: it may hold a secret.
    pub(crate) fn what(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The path with its query.
    pub(crate) fn target(&self, project: Option<&str>, member: Option<&str>) -> String {
        let mut target = self.path.clone();
        let mut separator = '?';
        let mut add = |name: &str, value: &str| {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            target.push_str(&segment(value));
            separator = '&';
        };
        for (name, value) in &self.query {
            add(name, value);
        }
        if let Some(project) = project.filter(|_| self.is_in_project) {
            add("project", project);
        }
        if let Some(member) = member.filter(|_| self.is_targeted) {
            add("target", member);
        }
        target
    }
}

/// Writes a name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    // Unescaped, these would be steps within the path.
    if matches!(name, "." | "..") {
        return name.replace('.', "%2E");
    }
    utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_its_query_are_escaped() {
        let project = Some("a b");
        let path = format!("/1.0/images/aliases/{}", segment("one/two"));
        let call = Call::get(path).query("filter", "name eq x");
        assert_eq!(
            call.target(project, None),
            "/1.0/images/aliases/one%2Ftwo?filter=name%20eq%20x&project=a%20b"
        );
        assert_eq!(Call::get("/1.0").global().target(project, Some("one")), "/1.0");
        assert_eq!(Call::get("/1.0").global().targeted().target(project, Some("one")), "/1.0?target=one");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("a.b"), "a.b");
    }

    #[test]
    fn an_error_never_shows_a_secret_of_the_query() {
        let call = Call::get("/1.0/operations/one/websocket").query("secret", "hush");
        assert_eq!(call.what(), "GET /1.0/operations/one/websocket");
    }
}
