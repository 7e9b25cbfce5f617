//! Finds the items of a file: functions, types, modules, with their lines.
//!
//! Invariant: parsing is bounded in time and depth; a file that is not understood has no items, which costs precision and
//! nothing else.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tree_sitter::{Node, ParseOptions, ParseState, Parser};

use super::language::{Language, Meaning};

/// How long one file may take. A file of 10,000 lines takes a hundredth of it.
/// What makes a test in the common frameworks of JavaScript.
const TEST_CALLS: [&str; 9] =
    ["describe", "it", "test", "suite", "context", "specify", "bench", "fit", "fdescribe"];
const PARSE_TIME_MAX: Duration = Duration::from_millis(800);
const FILE_BYTES_MAX: usize = 2 << 20;
const DEPTH_MAX: usize = 24;
const ITEMS_MAX: usize = 20_000;
const NAME_CHARS_MAX: usize = 80;

/// An item of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    /// `function`, `struct`, …
    pub(super) kind: &'static str,
    /// Its name with those of the items around it.
    pub(super) name: String,
    /// Whether it checks others.
    pub(super) is_test: bool,
    /// Its first row, comments and attributes above it included, from 0.
    pub(super) first: usize,
    /// The row that its own text begins in.
    pub(super) begin: usize,
    /// Its last row.
    pub(super) last: usize,
    /// How many items are around it.
    pub(super) depth: usize,
}

/// Lists the items of a text, outer ones before inner ones.
pub(super) fn list(text: &[u8], language: Language) -> Vec<Item> {
    if text.len() > FILE_BYTES_MAX {
        return Vec::new();
    }
    let mut parser = Parser::new();
    if parser.set_language(&language.grammar()).is_err() {
        return Vec::new();
    }
    let ends_at = Instant::now() + PARSE_TIME_MAX;
    let mut go_on = |_: &ParseState| {
        if Instant::now() < ends_at { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut go_on);
    let mut read = |offset: usize, _| text.get(offset..).unwrap_or_default();
    let Some(tree) = parser.parse_with_options(&mut read, None, Some(options)) else { return Vec::new() };
    let mut walk = Walk { text, language, items: Vec::new() };
    walk.children(tree.root_node(), &Around::default(), 0, None);
    walk.items
}

/// What is around the nodes that are looked at.
#[derive(Clone, Default)]
struct Around {
    name: String,
    depth: usize,
    is_test: bool,
}

struct Walk<'a> {
    text: &'a [u8],
    language: Language,
    items: Vec<Item>,
}

impl Walk<'_> {
    /// Looks at what a node holds. `above` are the rows of comments and attributes that belong to the first item.
    fn children(&mut self, node: Node<'_>, around: &Around, depth: usize, mut above: Option<(usize, usize)>) {
        if depth > DEPTH_MAX {
            return;
        }
        let mut cursor = node.walk();
        let mut is_marked_test = false;
        for child in node.named_children(&mut cursor) {
            if self.items.len() >= ITEMS_MAX {
                return;
            }
            let (first, last) = rows(child);
            match self.language.meaning(child) {
                Meaning::Above => {
                    let is_test_mark =
                        child.kind() == "attribute_item" && self.source(child).contains("test");
                    is_marked_test |= is_test_mark;
                    above = match above {
                        Some((start, end)) if first <= end + 1 => Some((start, last)),
                        _ => Some((first, last)),
                    };
                    continue;
                }
                Meaning::Item(kind) => {
                    let start = above.filter(|(_, end)| first <= end + 1).map_or(first, |(start, _)| start);
                    self.item(child, kind, (start, first, last), around, is_marked_test, depth);
                }
                Meaning::Around => {
                    let start = above.filter(|(_, end)| first <= end + 1).map_or(first, |(start, _)| start);
                    let begins_item = matches!(
                        child.kind(),
                        "decorated_definition"
                            | "export_statement"
                            | "lexical_declaration"
                            | "type_declaration"
                    );
                    self.children(child, around, depth + 1, begins_item.then_some((start, first)));
                }
                Meaning::Nothing => {}
            }
            above = None;
            is_marked_test = false;
        }
    }

    fn item(
        &mut self,
        node: Node<'_>,
        kind: &'static str,
        (first, begin, last): (usize, usize, usize),
        around: &Around,
        is_marked_test: bool,
        depth: usize,
    ) {
        // `app.get("/path", …)` has the shape of a test, and is none.
        let kind = if kind == "test" && !self.is_test_callee(node) { "call" } else { kind };
        let Some(own) = self.name(node, kind) else {
            return self.children(node, around, depth + 1, None);
        };
        let name = if around.name.is_empty() {
            own.clone()
        } else {
            format!("{}{}{own}", around.name, self.language.separator())
        };
        let is_test = around.is_test || is_marked_test || kind == "test" || self.is_test_name(&own, kind);
        self.items.push(Item { kind, name: name.clone(), is_test, first, begin, last, depth: around.depth });
        if self.language.is_container(kind) {
            let inner = Around { name, depth: around.depth + 1, is_test };
            self.children(node, &inner, depth + 1, None);
        }
    }

    fn is_test_name(&self, own: &str, kind: &str) -> bool {
        match self.language {
            Language::Rust => kind == "module" && matches!(own, "tests" | "test"),
            Language::Python => own.starts_with("test_") || kind == "class" && own.starts_with("Test"),
            Language::Go => ["Test", "Benchmark", "Fuzz"].iter().any(|word| own.starts_with(word)),
            Language::JavaScript | Language::TypeScript | Language::Tsx | Language::C => false,
        }
    }

    /// Whether what is called makes a test: `it(…)`, `test.only(…)`, `Deno.test(…)`.
    fn is_test_callee(&self, node: Node<'_>) -> bool {
        let callee =
            node.child_by_field_name("function").map(|callee| self.source(callee)).unwrap_or_default();
        let mut words = callee.split(['.', '(']);
        let first = words.next().unwrap_or_default();
        TEST_CALLS.contains(&first) || matches!(first, "Deno" | "QUnit" | "t") && words.next() == Some("test")
    }

    fn name(&self, node: Node<'_>, kind: &str) -> Option<String> {
        let field = |name| node.child_by_field_name(name).map(|child| self.source(child));
        let name = match (self.language, kind) {
            (Language::Rust, "implementation") => {
                let type_name = without_generics(&field("type")?);
                match field("trait") {
                    Some(trait_name) => format!("<{type_name} as {}>", without_generics(&trait_name)),
                    None => type_name,
                }
            }
            (Language::Python, "variable") => field("left")?,
            (Language::Go, "method") => {
                let receiver = field("receiver").unwrap_or_default();
                let word = |letter: char| !(letter.is_alphanumeric() || letter == '_');
                let names: Vec<&str> = receiver.split(word).filter(|word| !word.is_empty()).collect();
                let type_name = names.get(1).or_else(|| names.first()).copied().unwrap_or_default();
                format!("{type_name}.{}", field("name")?)
            }
            (Language::C, "function" | "declaration" | "type") => self.declared(node)?,
            (_, "test" | "call") => {
                let arguments = node.child_by_field_name("arguments")?;
                let text = self.source(arguments.named_child(0)?);
                let text = text.trim_matches(['"', '\'', '`']);
                // What is called tells `app.get` from `app.delete` of the same path.
                if kind == "call" { format!("{} {text}", field("function")?) } else { text.to_owned() }
            }
            _ => field("name")?,
        };
        let name: String = name
            .chars()
            .take(NAME_CHARS_MAX)
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        (!name.trim().is_empty()).then_some(name)
    }

    /// The name within C's declarators: `int *(*name)(void)`.
    fn declared(&self, node: Node<'_>) -> Option<String> {
        let mut declarator = node.child_by_field_name("declarator")?;
        for _ in 0..DEPTH_MAX {
            if matches!(declarator.kind(), "identifier" | "type_identifier" | "field_identifier") {
                return Some(self.source(declarator));
            }
            declarator = match declarator.child_by_field_name("declarator") {
                Some(inner) => inner,
                None => declarator.named_child(0)?,
            };
        }
        None
    }

    fn source(&self, node: Node<'_>) -> String {
        let bytes = self.text.get(node.byte_range()).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_CHARS_MAX * 4)]).into_owned()
    }
}

fn without_generics(name: &str) -> String {
    name.split('<').next().unwrap_or(name).trim().to_owned()
}

/// The rows of a node. One that ends with a line end does not reach into the next row.
fn rows(node: Node<'_>) -> (usize, usize) {
    let (start, end) = (node.start_position(), node.end_position());
    let last = if end.column == 0 && end.row > start.row { end.row - 1 } else { end.row };
    (start.row, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str, language: Language) -> Vec<String> {
        list(text.as_bytes(), language)
            .into_iter()
            .map(|item| {
                let test = if item.is_test { " test" } else { "" };
                format!("{} {} {}-{}{test}", item.kind, item.name, item.first, item.last)
            })
            .collect()
    }

    #[test]
    fn rust_items_are_found_with_their_comments() {
        let text = "\
/// Says it.
#[derive(Debug)]
pub struct Said<T>(T);

impl<T> fmt::Display for Said<T> {
    // how
    fn fmt(&self) {}
}
impl Said<u8> { fn new() {} }
const MAX: usize = 1;
macro_rules! say { () => {} }

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_said() {}
}
";
        assert_eq!(
            outline(text, Language::Rust),
            [
                "struct Said 0-2",
                "implementation <Said as fmt::Display> 4-7",
                "function <Said as fmt::Display>::fmt 5-6",
                "implementation Said 8-8",
                "function Said::new 8-8",
                "constant MAX 9-9",
                "macro say 10-10",
                "module tests 12-16 test",
                "function tests::it_is_said 14-15 test",
            ]
        );
    }

    #[test]
    fn python_items_are_found_with_their_decorators() {
        let text = "\
LIMIT = 3
class List:
    size = 1
    @property
    def first(self):
        inner = 1
def test_list(): pass
";
        assert_eq!(
            outline(text, Language::Python),
            [
                "variable LIMIT 0-0",
                "class List 1-5",
                "variable List.size 2-2",
                "function List.first 3-5",
                "function test_list 6-6 test",
            ]
        );
    }

    #[test]
    fn script_items_are_found_through_exports() {
        let text = "\
export const LIMIT = 3;
export default class List {
  first() { return 1; }
}
const last = (list) => list.at(-1);
function size() {}
describe('list', () => {
  it('has a first', () => {});
});
";
        let expected = [
            "variable LIMIT 0-0",
            "class List 1-3",
            "method List.first 2-2",
            "function last 4-4",
            "function size 5-5",
            "test list 6-8 test",
        ];
        assert_eq!(outline(text, Language::JavaScript), expected);
        assert_eq!(outline(text, Language::Tsx), expected);
        let text = "interface List<T> { first: T }\nexport type Size = number;\nenum Kind { A }\nnamespace N { export function f() {} }\n";
        assert_eq!(
            outline(text, Language::TypeScript),
            ["interface List 0-0", "type Size 1-1", "enum Kind 2-2", "namespace N 3-3", "function N.f 3-3"]
        );
    }

    #[test]
    fn go_items_are_found_with_their_receivers() {
        let text = "\
package list
// List is one.
type List struct { size int }
func (l *List) First() int { return 1 }
func TestFirst(t *testing.T) {}
const (
	Max = 1
	Min = 0
)
var last int
";
        assert_eq!(
            outline(text, Language::Go),
            [
                "type List 1-2",
                "method List.First 3-3",
                "function TestFirst 4-4 test",
                "constant Max 6-6",
                "constant Min 7-7",
                "variable last 9-9",
            ]
        );
    }

    #[test]
    fn c_items_are_found_within_conditions_and_declarators() {
        let text = "\
#define MAX 3
#ifdef LIST
struct list { int size; };
static char *(*first)(void);
/* last */
int *last(struct list *l) { return 0; }
#endif
typedef struct list list_t;
";
        assert_eq!(
            outline(text, Language::C),
            [
                "macro MAX 0-0",
                "struct list 2-2",
                "declaration first 3-3",
                "function last 4-5",
                "type list_t 7-7",
            ]
        );
    }

    #[test]
    fn a_part_of_a_file_still_shows_its_whole_items() {
        let text = "        let x = 1;\n    }\n}\n\nfn whole() {\n    one();\n}\n\nfn cut() {\n";
        assert!(outline(text, Language::Rust).contains(&"function whole 4-6".to_owned()));
    }

    #[test]
    fn deep_nesting_ends_in_time() {
        for language in [Language::Rust, Language::Python, Language::TypeScript, Language::Go, Language::C] {
            for text in
                ["(".repeat(4_000), "{".repeat(4_000), "class A { ".repeat(2_000), "mod a { ".repeat(2_000)]
            {
                let _ = list(text.as_bytes(), language);
            }
        }
    }
}
