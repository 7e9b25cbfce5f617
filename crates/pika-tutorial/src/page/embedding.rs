//! What a page of the caller's adds to steps and files.

use std::collections::HashSet;

/// Where links of a fragment lead, and what its reader has ticked off. By default everything is on one page.
#[derive(Clone, Debug, Default)]
pub struct Embedding {
    /// The address of a file by itself; the file's number is put at its end. Without one, every file is on the page.
    pub file_url: String,
    /// Where a tick is sent. Without one, the page's script remembers ticks.
    pub tick_url: Option<String>,
    /// The keys of the steps that were ticked off.
    pub ticked: HashSet<String>,
}

impl Embedding {
    /// The address of a file.
    pub(super) fn file(&self, number: usize) -> String {
        if self.file_url.is_empty() { String::new() } else { format!("{}{number}", self.file_url) }
    }
}
