//! The tutorial as HTML: steps beside what shows them, then the whole diff with the shown lines marked.
//!
//! Invariants: whatever comes from a model or a diff is escaped or sanitised; the page loads nothing and sends nothing, and
//! its policy says so; the first bytes do not depend on the length of the diff.

mod changes;
mod embedding;
mod markdown;
mod steps;
mod text;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::diff::Diff;
use crate::explain::Explained;

use changes::{FileView, Form, Marks};
use steps::Head;

pub use embedding::Embedding;

/// The sheet of the page and of its fragments.
pub const PAGE_STYLE: &str = include_str!("../static/tutorial.css");
/// The script of the page: opens files, remembers ticks. The page can be read without it, but for long files.
pub const PAGE_SCRIPT: &str = include_str!("../static/tutorial.js");

/// Up to how many lines in all, every file is written out.
const WHOLE_LINES_MAX: usize = 3_000;
/// Up to how many lines a single file is written out in a larger diff, and shown open in a smaller one.
const FILE_LINES_MAX: usize = 150;

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    head: Head<'a>,
    policy: String,
}

#[derive(Template)]
#[template(path = "steps.html")]
struct Steps<'a> {
    head: Head<'a>,
}

#[derive(Template)]
#[template(path = "file.html")]
struct File<'a> {
    file: FileView<'a>,
}

/// Writes one HTML file that needs no other: no server, no network.
pub fn write_page(writer: &mut impl Write, explained: &Explained, diff: &Diff) -> io::Result<()> {
    let (marks, embedding) = (Marks::new(&explained.tutorial), Embedding::default());
    let page = Page { head: Head::new(explained, diff, &embedding), policy: policy() };
    write!(writer, "{}", Rendered(&page))?;
    writer.flush()?;
    let lines: usize = diff.hunks().map(|hunk| hunk.hunk().lines.len()).sum();
    for index in 0..diff.files().len() {
        let file_lines: usize = diff.hunks_of(index).map(|hunk| hunk.hunk().lines.len()).sum();
        let is_written_out =
            lines <= WHOLE_LINES_MAX || file_lines <= FILE_LINES_MAX && lines <= WHOLE_LINES_MAX * 4;
        let is_open = is_written_out && lines <= WHOLE_LINES_MAX && file_lines <= FILE_LINES_MAX;
        let form = if is_written_out { Form::Whole } else { Form::Data };
        let file = File { file: FileView::new(diff, index, &marks, form, is_open) };
        write!(writer, "{}", Rendered(&file))?;
    }
    write!(writer, "</main>\n<script>{PAGE_SCRIPT}</script>\n</body>\n</html>\n")
}

/// Renders summary, steps and what no step shows, for a page of the caller's.
pub fn render_steps(explained: &Explained, diff: &Diff, embedding: &Embedding) -> String {
    Rendered(&Steps { head: Head::new(explained, diff, embedding) }).to_string()
}

/// Renders every file of the diff for a page of the caller's: those of a small diff with their lines, of a large one only
/// what leads to them. Its length does not depend on the number of lines.
pub fn render_files(explained: &Explained, diff: &Diff, embedding: &Embedding) -> String {
    let marks = Marks::new(&explained.tutorial);
    let lines: usize = diff.hunks().map(|hunk| hunk.hunk().lines.len()).sum();
    let mut html = String::new();
    for index in 0..diff.files().len() {
        let file_lines: usize = diff.hunks_of(index).map(|hunk| hunk.hunk().lines.len()).sum();
        let is_whole = lines <= WHOLE_LINES_MAX;
        let form = if is_whole { Form::Whole } else { Form::Elsewhere(embedding.file(index + 1)) };
        let is_open = is_whole && file_lines <= FILE_LINES_MAX;
        let file = File { file: FileView::new(diff, index, &marks, form, is_open) };
        html += &Rendered(&file).to_string();
    }
    html
}

/// Renders one file of the diff with the lines marked that the steps show, for a page that loads files as they are opened.
pub fn render_file(explained: &Explained, diff: &Diff, index: usize) -> String {
    let marks = Marks::new(&explained.tutorial);
    let file = File { file: FileView::new(diff, index, &marks, Form::Whole, true) };
    Rendered(&file).to_string()
}

/// Renders a model's Markdown: without links, images and HTML.
pub fn render_markdown(markdown: &str) -> String {
    markdown::render(markdown)
}

/// A template as text. Rendering into memory can't fail, and there is no better text for it if it did.
struct Rendered<'a, T: Template>(&'a T);

impl<T: Template> std::fmt::Display for Rendered<'_, T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.render_into(formatter).map_err(|_| std::fmt::Error)
    }
}

/// Allows this sheet and this script, by their digests, and nothing else.
fn policy() -> String {
    let digest = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        digest(PAGE_STYLE),
        digest(PAGE_SCRIPT)
    )
}
