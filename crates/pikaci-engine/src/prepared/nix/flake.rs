//! What a branch may name as a flake: the tree itself, and what is on other hosts; never a folder of this one, whose content
//! would end up in the store and in the job's log.

use serde_json::Value;

/// What other hosts serve. A name without a scheme is looked up in the operator's registry.
const SCHEMES: [&str; 10] = [
    "github",
    "gitlab",
    "sourcehut",
    "https",
    "http",
    "git+https",
    "git+http",
    "git+ssh",
    "tarball+https",
    "tarball+http",
];

/// Whether a reference names a flake of another host, or of the operator's registry.
pub(super) fn is_elsewhere(reference: &str) -> bool {
    match reference.split_once(':') {
        Some(("flake", name)) => is_name(name),
        Some((scheme, _)) => SCHEMES.contains(&scheme),
        None => is_name(reference),
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && !text.contains("..")
}

/// The first input, of those that `nix flake metadata --json` prints, that is a folder or repository of this host.
pub(super) fn input_of_this_host(metadata: &str) -> Result<Option<String>, serde_json::Error> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let nodes = metadata["locks"]["nodes"].as_object().into_iter().flatten();
    let mut inputs = nodes.filter(|(_, node)| node.get("locked").is_some());
    Ok(inputs.find(|(_, node)| !is_allowed(node)).map(|(name, _)| name.clone()))
}

fn is_allowed(node: &Value) -> bool {
    let (locked, original) = (&node["locked"], &node["original"]);
    let text = |key: &str| locked[key].as_str().unwrap_or_default();
    // The operator's registry may name what it likes.
    if original["type"] == "indirect" {
        return true;
    }
    match text("type") {
        "github" | "gitlab" | "sourcehut" => true,
        "git" | "tarball" | "file" => {
            ["https://", "http://", "ssh://"].iter().any(|scheme| text("url").starts_with(scheme))
        }
        // Of the flake itself.
        "path" => !text("path").starts_with('/') && !text("path").split('/').any(|part| part == ".."),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_leads_elsewhere_or_nowhere() {
        for reference in
            ["nixpkgs", "nixpkgs/nixos-25.11", "flake:nixpkgs", "github:a/b", "git+ssh://git@host/x?ref=y"]
        {
            assert!(is_elsewhere(reference), "{reference}");
        }
        for reference in [
            "path:/etc",
            "/etc",
            "./sub",
            "..",
            "~/x",
            "git+file:///srv",
            "file:///srv/x.tar",
            "a/../../b",
            "",
            "hg+file:///x",
        ] {
            assert!(!is_elsewhere(reference), "{reference}");
        }
    }

    #[test]
    fn an_input_of_this_host_is_found_wherever_it_stands() {
        let found = |locked: &str, original: &str| {
            let text = format!(
                r#"{{"locks":{{"nodes":{{"root":{{"inputs":{{}}}},"x":{{"locked":{locked},"original":{original}}}}}}}}}"#
            );
            input_of_this_host(&text).unwrap()
        };
        for locked in [
            r#"{"type":"path","path":"/srv/secrets"}"#,
            r#"{"type":"path","path":"./a/../../b"}"#,
            r#"{"type":"git","url":"file:///srv/repository"}"#,
            r#"{"type":"git","url":"/srv/repository"}"#,
            r#"{"type":"tarball","url":"file:///srv/x.tar"}"#,
            r#"{"type":"hg","url":"https://example.org"}"#,
        ] {
            assert_eq!(found(locked, "{}").as_deref(), Some("x"), "{locked}");
        }
        for locked in [
            r#"{"type":"path","path":"./sub"}"#,
            r#"{"type":"github","owner":"a","repo":"b"}"#,
            r#"{"type":"git","url":"https://example.org/x"}"#,
        ] {
            assert_eq!(found(locked, "{}"), None, "{locked}");
        }
        assert_eq!(
            found(r#"{"type":"path","path":"/nix/store/x"}"#, r#"{"type":"indirect","id":"nixpkgs"}"#),
            None
        );
        assert!(input_of_this_host("no JSON").is_err());
    }
}
