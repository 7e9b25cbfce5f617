//! The rules of the house for one Rust file, on its tokens rather than its text: a comment or a string that speaks of
//! `todo!` is no violation, and a line break inside `std :: env` hides nothing.

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use super::Violation;
use super::workspace::RustSource;

/// The longest file, in lines.
const LINES_MAX: usize = 700;

/// Macros that must not be committed.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// How a statement of SQL begins, and a word that then follows somewhere: prose has one of them, SQL both.
const SQL: [(&str, &str); 10] = [
    ("SELECT ", " FROM "),
    ("INSERT ", " INTO "),
    ("UPDATE ", " SET "),
    ("DELETE ", " FROM "),
    ("CREATE ", " TABLE "),
    ("CREATE ", " INDEX "),
    ("ALTER ", " TABLE "),
    ("DROP ", " TABLE "),
    ("WITH ", " SELECT "),
    ("PRAGMA ", " "),
];

/// Where SQL lives: this folder, and the file of the same name.
const STORE: &str = "crates/pika-news/src/store";

/// Finds the rules that the file breaks.
pub(super) fn check(source: &RustSource) -> Vec<Violation> {
    let mut scan = Scan { path: &source.path, violations: Vec::new() };
    if !source.text.starts_with("//!") {
        scan.report(1, "begin the file with `//!` and what it is for".to_owned());
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        scan.report(
            lines,
            format!("{lines} lines, at most {LINES_MAX} are read with pleasure; split the file"),
        );
    }
    match source.text.parse::<TokenStream>() {
        Ok(tokens) => scan.tokens(tokens, source.is_test),
        Err(error) => {
            scan.report(
                error.span().start().line,
                "this is not Rust; the rules cannot be checked".to_owned(),
            );
        }
    }
    scan.violations
}

struct Scan<'a> {
    path: &'a Path,
    violations: Vec<Violation>,
}

impl Scan<'_> {
    fn report(&mut self, line: usize, message: String) {
        self.violations.push(Violation { file: self.path.to_owned(), line: line.max(1), message });
    }

    fn tokens(&mut self, tokens: TokenStream, is_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut is_test_item = false;
        for (index, token) in tokens.iter().enumerate() {
            let after = &tokens[index + 1..];
            match token {
                TokenTree::Group(group) => {
                    self.tokens(group.stream(), is_test || is_test_item);
                    is_test_item &= group.delimiter() != Delimiter::Brace;
                }
                TokenTree::Punct(mark) if mark.as_char() == '#' => {
                    is_test_item |= self.attribute(after);
                }
                // `#[cfg(test)] mod tests;` and `#[cfg(test)] use …;` end without braces.
                TokenTree::Punct(mark) if mark.as_char() == ';' => is_test_item = false,
                TokenTree::Punct(_) => {}
                TokenTree::Ident(word) => self.word(&word.to_string(), token, after, is_test || is_test_item),
                TokenTree::Literal(literal) => self.literal(&literal.to_string(), token),
            }
        }
    }

    /// Looks at what follows a `#`. Returns whether it marks the next item as one of tests.
    fn attribute(&mut self, after: &[TokenTree]) -> bool {
        let Some(TokenTree::Group(group)) = after.first() else { return false };
        let content: Vec<TokenTree> = group.stream().into_iter().collect();
        let Some(TokenTree::Ident(name)) = content.first() else { return false };
        if *name == "ignore" {
            let message = "an ignored test proves nothing; mend it or remove it";
            self.report(name.span().start().line, message.to_owned());
        }
        match &content[..] {
            [TokenTree::Ident(name)] => *name == "test",
            [TokenTree::Ident(name), TokenTree::Group(condition)] => {
                *name == "cfg" && condition.stream().to_string() == "test"
            }
            _ => false,
        }
    }

    fn word(&mut self, word: &str, token: &TokenTree, after: &[TokenTree], is_test: bool) {
        let line = token.span().start().line;
        if UNFINISHED.contains(&word)
            && matches!(after.first(), Some(TokenTree::Punct(mark)) if mark.as_char() == '!')
        {
            self.report(line, format!("`{word}!` must not be committed; finish what it stands for"));
        }
        if word == "std" && !is_test && !may_read_environment(self.path) && leads_to_environment(after) {
            let message =
                "only main.rs and config.rs of a program read the environment; take the value as an argument";
            self.report(line, message.to_owned());
        }
        if word == "rusqlite" && !is_store(self.path) && has_colons(after) {
            self.report(line, format!("the database is used in {STORE} alone; add a function there"));
        }
    }

    fn literal(&mut self, text: &str, token: &TokenTree) {
        // The rule's own words, and the benches of other systems, are in xtask.
        if is_store(self.path) || self.path.starts_with("xtask") {
            return;
        }
        let statement = text.trim_start_matches(['r', '#', '"']).replace("\\n", " ");
        let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
        if SQL.iter().any(|(begin, word)| statement.starts_with(begin) && statement.contains(word)) {
            let message = format!("SQL belongs into {STORE}; add a function there");
            self.report(token.span().start().line, message);
        }
    }
}

fn is_store(path: &Path) -> bool {
    path.with_extension("").starts_with(STORE)
}

fn has_colons(after: &[TokenTree]) -> bool {
    let is_colon =
        |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == ':');
    is_colon(after.first()) && is_colon(after.get(1))
}

/// Whether `std` goes on with `::env`, or with a group `::{…}` that has `env` at its top level. Functions of that module
/// that only compute are fine when they are called by their whole path.
fn leads_to_environment(after: &[TokenTree]) -> bool {
    if !has_colons(after) {
        return false;
    }
    match after.get(2) {
        Some(TokenTree::Ident(word)) => *word == "env" && !computes(&after[3..]),
        Some(TokenTree::Group(group)) => begins_an_item(group, "env"),
        _ => false,
    }
}

fn computes(after: &[TokenTree]) -> bool {
    let word = if has_colons(after) { after.get(2) } else { None };
    matches!(word, Some(TokenTree::Ident(word)) if ["split_paths", "join_paths", "consts"].iter().any(|name| word == name))
}

fn begins_an_item(group: &Group, name: &str) -> bool {
    let mut is_start = true;
    group.stream().into_iter().any(|token| {
        let is_match = is_start && matches!(&token, TokenTree::Ident(word) if *word == name);
        is_start = matches!(&token, TokenTree::Punct(mark) if mark.as_char() == ',');
        is_match
    })
}

fn may_read_environment(path: &Path) -> bool {
    let is_program =
        ["xtask", "crates/pika-news", "crates/pika-tutorial", "crates/pikaci-cli", "crates/pikaci-incus-run"]
            .iter()
            .any(|folder| path.starts_with(folder));
    let is_border = path.file_name().is_some_and(|name| name == "main.rs" || name == "config.rs");
    // The subcommands of the forge belong to the binary; its library cannot reach them.
    let is_subcommand = path.starts_with("crates/pika-news/src/commands");
    path.starts_with("xtask") || is_program && is_border || is_subcommand
}

/// The files that this one declares as modules of tests: `#[cfg(test)] mod name;`.
pub(super) fn test_modules(source: &RustSource) -> Vec<PathBuf> {
    let Ok(tokens) = source.text.parse::<TokenStream>() else { return Vec::new() };
    let words: Vec<String> = tokens.into_iter().map(|token| token.to_string()).collect();
    let mut modules = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if word.split_whitespace().collect::<String>() != "[cfg(test)]" {
            continue;
        }
        let item: Vec<&str> =
            words[index + 1..].iter().map(String::as_str).take_while(|word| *word != ";").collect();
        // Whatever its visibility; a module with a body has more words.
        let name = match item[..] {
            ["mod", name] | ["pub", "mod", name] => name,
            ["pub", _, "mod", name] => name,
            _ => continue,
        };
        modules.push(module_folder(&source.path).join(format!("{name}.rs")));
    }
    modules
}

/// The folder that a file's modules are in: beside `main.rs`, `lib.rs` and `mod.rs`, below any other.
fn module_folder(path: &Path) -> PathBuf {
    let is_root =
        path.file_name().is_some_and(|name| name == "main.rs" || name == "lib.rs" || name == "mod.rs");
    if is_root { path.with_file_name("") } else { path.with_extension("") }
}

#[cfg(test)]
mod tests;
