//! Reads tables of a manifest key by key, with the place of everything that is read.
//!
//! Reading goes on after a mistake: a bad value is noted and counts as absent, so that one look finds every mistake.

use std::borrow::Cow;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ENTRIES_MAX;
use super::nearest::{listed, nearest};
use super::problem::Problems;

/// A value and its place in the text.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// A place does not show in the schema.
impl<T: JsonSchema> JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// What a value of a manifest can be read as.
pub(super) trait Read: Sized {
    /// Reads the value of `key`, or notes why it can't.
    fn read(key: &str, value: &DeValue<'_>, span: &Range<usize>, problems: &mut Problems<'_>)
    -> Option<Self>;
}

/// What a table of a manifest can be read as.
pub(super) trait ReadTable: Sized {
    /// How such a table looks in one line, for messages.
    const EXAMPLE: &str;
    /// Reads the table; every key it asks for is thereby known.
    fn read_table(table: &mut TableReader<'_, '_, '_>) -> Self;
    /// What would be right instead of a key that is unknown, where its likeness to a known one does not say it.
    fn remedy(_key: &str) -> Option<&'static str> {
        None
    }
}

/// One table that is being read.
pub(super) struct TableReader<'r, 'i, 't> {
    table: &'r DeTable<'i>,
    span: Range<usize>,
    known: Vec<&'static str>,
    pub(super) problems: &'r mut Problems<'t>,
}

impl TableReader<'_, '_, '_> {
    /// Reads the value of a key, if it is there and as it should be.
    pub(super) fn entry<T: Read>(&mut self, key: &'static str) -> Option<Located<T>> {
        self.known.push(key);
        let value = self.table.get(key)?;
        let span = value.span();
        let value = T::read(key, value.get_ref(), &span, self.problems)?;
        Some(Located { value, span })
    }

    /// Whether the table has the key, whatever its value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Reads the value of a key that must be there.
    pub(super) fn required<T: Read>(&mut self, key: &'static str, example: &str) -> Option<Located<T>> {
        if !self.has(key) {
            self.problems.push(&self.span, format!("the key `{key}` is missing; write `{example}`"));
        }
        self.entry(key)
    }

    /// Reads the entries of a table whose keys are names that the author chose, in the order of the text.
    pub(super) fn named<T: ReadTable>(&mut self, key: &'static str) -> Vec<(Located<String>, T)> {
        let Some(Located { value: NamedTables(entries), .. }) = self.entry::<NamedTables<T>>(key) else {
            return Vec::new();
        };
        entries
    }

    #[cfg(test)]
    pub(super) fn known_keys<T: ReadTable>() -> Vec<&'static str> {
        let (table, mut problems) = (DeTable::new(), Problems::new(""));
        let mut reader =
            TableReader { table: &table, span: 0..0, known: Vec::new(), problems: &mut problems };
        T::read_table(&mut reader);
        reader.known
    }
}

/// Reads a whole table, and notes the keys that nobody asked for.
pub(super) fn read_table<T: ReadTable>(
    table: &DeTable<'_>,
    span: Range<usize>,
    problems: &mut Problems<'_>,
) -> T {
    let mut reader = TableReader { table, span, known: Vec::new(), problems };
    let read = T::read_table(&mut reader);
    let known = reader.known;
    for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
        if problems.is_full() {
            problems.push(&key.span(), String::new());
            continue;
        }
        let name = key.get_ref().as_ref();
        let remedy = match (T::remedy(name), nearest(name, known.iter().copied())) {
            (Some(remedy), _) => remedy.to_owned(),
            (None, Some(similar)) => format!("did you mean `{similar}`?"),
            (None, None) => format!("known here are {}", listed(known.iter().copied())),
        };
        problems.push(&key.span(), format!("unknown key `{}`; {remedy}", shown(name)));
    }
    read
}

/// Cuts an author's text to what a message may hold.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 80;
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

/// What a value is, for a message.
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The tables below a table whose keys are names.
struct NamedTables<T>(Vec<(Located<String>, T)>);

impl<T: ReadTable> Read for NamedTables<T> {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let DeValue::Table(table) = value else {
            problems.push(span, format!("`{key}` takes tables, such as [{key}.name], not {}", kind(value)));
            return None;
        };
        let mut entries = Vec::new();
        for (name, value) in in_text_order(table) {
            let name = Located { value: name.get_ref().to_string(), span: name.span() };
            match value.get_ref() {
                DeValue::Table(inner) => {
                    let read = read_table(inner, name.span.clone(), problems);
                    entries.push((name, read));
                }
                other => problems.push(
                    &value.span(),
                    format!("`{}` takes a table, [{key}.{0}], not {}", shown(&name.value), kind(other)),
                ),
            }
        }
        Some(NamedTables(entries))
    }
}

fn in_text_order<'r, 'i>(
    table: &'r DeTable<'i>,
) -> Vec<(&'r Spanned<Cow<'i, str>>, &'r Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// A table that is a value, such as `concurrency = { … }`, or the entry of a list of tables.
#[derive(Clone, Debug)]
pub(super) struct Table<T>(pub(super) T);

impl<T: ReadTable> Read for Table<T> {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let DeValue::Table(table) = value else {
            problems
                .push(span, format!("`{key}` takes a table, such as {}, not {}", T::EXAMPLE, kind(value)));
            return None;
        };
        Some(Table(read_table(table, span.clone(), problems)))
    }
}

impl<T: JsonSchema> JsonSchema for Table<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl Read for String {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<String> {
        match value {
            DeValue::String(text) if text.contains('\0') => {
                problems.push(span, format!("`{key}` holds a NUL character, which no program can be given"));
                None
            }
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => {
                problems.push(span, format!("`{key}` takes text, not a number; write \"{number}\""));
                None
            }
            DeValue::Boolean(value) => {
                problems.push(span, format!("`{key}` takes text, not true or false; write \"{value}\""));
                None
            }
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                problems.push(span, format!("`{key}` takes text in quotes, not {}", kind(value)));
                None
            }
        }
    }
}

impl Read for bool {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<bool> {
        if value.as_bool().is_none() {
            problems.push(span, format!("`{key}` takes true or false, without quotes, not {}", kind(value)));
        }
        value.as_bool()
    }
}

impl Read for i64 {
    fn read(key: &str, value: &DeValue<'_>, span: &Range<usize>, problems: &mut Problems<'_>) -> Option<i64> {
        let DeValue::Integer(number) = value else {
            problems.push(span, format!("`{key}` takes a whole number without quotes, not {}", kind(value)));
            return None;
        };
        let number = i64::from_str_radix(number.as_str(), number.radix()).ok();
        if number.is_none() {
            problems.push(span, format!("the number of `{key}` is too large"));
        }
        number
    }
}

impl<T: Read> Read for Vec<Located<T>> {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let DeValue::Array(items) = value else {
            let message = match value {
                DeValue::String(text) => format!("`{key}` takes a list; write [\"{}\"]", shown(text)),
                DeValue::Table(_) => {
                    format!("`{key}` takes a list of tables; write [[…{key}]] with two brackets")
                }
                other => format!("`{key}` takes a list, not {}", kind(other)),
            };
            problems.push(span, message);
            return None;
        };
        if items.len() > ENTRIES_MAX {
            let message = format!("`{key}` has {} entries; at most {ENTRIES_MAX} are read", items.len());
            problems.push(span, message);
            return None;
        }
        let mut read = Vec::with_capacity(items.len());
        for item in items {
            let span = item.span();
            if let Some(value) = T::read(key, item.get_ref(), &span, problems) {
                read.push(Located { value, span });
            }
        }
        Some(read)
    }
}

/// A list that must not be empty.
#[derive(Clone, Debug)]
pub(super) struct AtLeastOne<L>(pub(super) L);

impl<L: Read> Read for AtLeastOne<L> {
    fn read(
        key: &str,
        value: &DeValue<'_>,
        span: &Range<usize>,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        if value.as_array().is_some_and(|items| items.is_empty()) {
            problems
                .push(span, format!("the list `{key}` is empty; write what is meant, or leave the key away"));
            return None;
        }
        L::read(key, value, span, problems).map(AtLeastOne)
    }
}

impl<L: JsonSchema> JsonSchema for AtLeastOne<L> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        L::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = L::json_schema(generator);
        schema.insert("minItems".to_owned(), 1.into());
        schema
    }
}
