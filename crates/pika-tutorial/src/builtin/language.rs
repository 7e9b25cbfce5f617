//! The languages whose items are found, and what an item is in each of them.

use tree_sitter::Node;

/// A language that is parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    Rust,
    Python,
    JavaScript,
    TypeScript,
    Tsx,
    Go,
    C,
}

/// What a node of a syntax tree is to us.
pub(super) enum Meaning {
    /// An item of this kind.
    Item(&'static str),
    /// Nothing itself; its children are looked at.
    Around,
    /// A comment or an attribute, which belongs to the item below it.
    Above,
    Nothing,
}

impl Language {
    /// Tells the language by the ending of the name.
    pub(crate) fn of_path(path: &str) -> Option<Language> {
        let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
        match ending {
            "rs" => Some(Language::Rust),
            "py" | "pyi" => Some(Language::Python),
            "js" | "mjs" | "cjs" | "jsx" => Some(Language::JavaScript),
            "ts" | "mts" | "cts" => Some(Language::TypeScript),
            "tsx" => Some(Language::Tsx),
            "go" => Some(Language::Go),
            "c" | "h" => Some(Language::C),
            _ => None,
        }
    }

    pub(super) fn grammar(self) -> tree_sitter::Language {
        match self {
            Language::Rust => tree_sitter_rust::LANGUAGE.into(),
            Language::Python => tree_sitter_python::LANGUAGE.into(),
            Language::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
            Language::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            Language::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
            Language::Go => tree_sitter_go::LANGUAGE.into(),
            Language::C => tree_sitter_c::LANGUAGE.into(),
        }
    }

    /// What stands between a container's name and its item's.
    pub(super) fn separator(self) -> &'static str {
        match self {
            Language::Rust => "::",
            Language::Python
            | Language::JavaScript
            | Language::TypeScript
            | Language::Tsx
            | Language::Go
            | Language::C => ".",
        }
    }

    pub(super) fn meaning(self, node: Node<'_>) -> Meaning {
        let kind = node.kind();
        if matches!(kind, "comment" | "line_comment" | "block_comment" | "attribute_item" | "decorator") {
            return Meaning::Above;
        }
        // What the parser could not understand may hold items that it could: a diff shows parts of files.
        if kind == "ERROR" {
            return Meaning::Around;
        }
        let item = match self {
            Language::Rust => rust(kind),
            Language::Python => python(node, kind),
            Language::JavaScript | Language::TypeScript | Language::Tsx => script(node, kind),
            Language::Go => go(kind),
            Language::C => c(node, kind),
        };
        if let Some(item) = item {
            return Meaning::Item(item);
        }
        let is_around = matches!(
            kind,
            "export_statement"
                | "decorated_definition"
                | "declaration_list"
                | "class_body"
                | "block"
                | "statement_block"
                | "lexical_declaration"
                | "variable_declaration"
                | "type_declaration"
                | "const_declaration"
                | "var_declaration"
                | "var_spec_list"
                | "expression_statement"
                | "linkage_specification"
                | "preproc_ifdef"
                | "preproc_if"
                | "preproc_else"
                | "foreign_mod_item"
                | "ambient_declaration"
                | "if_statement"
        );
        if is_around { Meaning::Around } else { Meaning::Nothing }
    }

    /// Whether items are looked for inside an item of this kind.
    pub(super) fn is_container(self, item: &str) -> bool {
        matches!(item, "class" | "module" | "implementation" | "trait" | "interface" | "namespace")
    }
}

fn rust(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "function_item" | "function_signature_item" => "function",
        "struct_item" => "struct",
        "enum_item" => "enum",
        "union_item" => "union",
        "trait_item" => "trait",
        "impl_item" => "implementation",
        "type_item" | "associated_type" => "type",
        "const_item" => "constant",
        "static_item" => "static",
        "mod_item" => "module",
        "macro_definition" => "macro",
        _ => return None,
    })
}

fn python(node: Node<'_>, kind: &str) -> Option<&'static str> {
    match kind {
        "function_definition" => Some("function"),
        "class_definition" => Some("class"),
        // Only what stands at the top or in a class: locals are not looked at.
        "assignment" if node.child_by_field_name("left").is_some_and(|left| left.kind() == "identifier") => {
            Some("variable")
        }
        _ => None,
    }
}

fn script(node: Node<'_>, kind: &str) -> Option<&'static str> {
    Some(match kind {
        "function_declaration" | "generator_function_declaration" | "function_signature" => "function",
        "class_declaration" | "abstract_class_declaration" => "class",
        "method_definition" | "abstract_method_signature" => "method",
        "interface_declaration" => "interface",
        "type_alias_declaration" => "type",
        "enum_declaration" => "enum",
        "internal_module" | "module" => "namespace",
        "variable_declarator" => match node.child_by_field_name("value").map(|value| value.kind()) {
            Some("arrow_function" | "function_expression") => "function",
            _ => "variable",
        },
        // `describe("…", () => …)`
        "call_expression" if test_call(node) => "test",
        _ => return None,
    })
}

/// Whether a call is one that makes a test: its argument is a text, and a function of the test's body.
fn test_call(node: Node<'_>) -> bool {
    let is_statement = node.parent().is_some_and(|parent| parent.kind() == "expression_statement");
    let arguments = node.child_by_field_name("arguments");
    let first = arguments.and_then(|arguments| arguments.named_child(0));
    let has_function = arguments.is_some_and(|arguments| {
        (0..arguments.named_child_count()).any(|index| {
            let argument = arguments.named_child(u32::try_from(index).unwrap_or(u32::MAX));
            argument
                .is_some_and(|argument| matches!(argument.kind(), "arrow_function" | "function_expression"))
        })
    });
    is_statement
        && first.is_some_and(|first| matches!(first.kind(), "string" | "template_string"))
        && has_function
}

fn go(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "function_declaration" => "function",
        "method_declaration" => "method",
        "type_spec" | "type_alias" => "type",
        "const_spec" => "constant",
        "var_spec" => "variable",
        _ => return None,
    })
}

fn c(node: Node<'_>, kind: &str) -> Option<&'static str> {
    let has_body = || node.child_by_field_name("body").is_some();
    Some(match kind {
        "function_definition" => "function",
        "preproc_def" | "preproc_function_def" => "macro",
        "struct_specifier" if has_body() => "struct",
        "union_specifier" if has_body() => "union",
        "enum_specifier" if has_body() => "enum",
        "type_definition" => "type",
        "declaration" => "declaration",
        _ => return None,
    })
}
