//! The command `pika-tutorial`: a diff in, a page or JSON out.
//!
//! Invariant: it succeeds whatever a model answers; it fails only when it can't read the diff, can't write the page, or is
//! told of no writer.
#![allow(clippy::print_stderr)]

use std::fs::File;
use std::io::{self, BufWriter, Read as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use pika_tutorial::command_line::WriterArguments;
use pika_tutorial::{About, Change, Diff, Explained, SettingsError, Sources, explain, reanchor, write_page};

/// Explains a diff, and checks every claim of the explanation against it.
#[derive(Debug, Parser)]
#[command(name = "pika-tutorial", version, max_term_width = 100)]
struct Arguments {
    /// The diff, as git or diff write it; `-` reads it from the standard input
    #[arg(value_name = "DIFF", default_value = "-")]
    diff: PathBuf,
    /// Where to write; `-` is the standard output
    #[arg(long, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Write the checked tutorial as JSON instead of a page
    #[arg(long)]
    json: bool,
    /// Show this tutorial, as --json wrote it, instead of writing one; what no longer holds is marked as stale
    #[arg(long, value_name = "FILE")]
    tutorial: Option<PathBuf>,
    /// What the change is called
    #[arg(long, value_name = "TEXT", default_value = "")]
    title: String,
    /// The name of the commit before
    #[arg(long, value_name = "NAME", default_value = "")]
    base: String,
    /// The name of the commit after
    #[arg(long, value_name = "NAME", default_value = "")]
    head: String,
    #[command(flatten)]
    writer: WriterArguments,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is no tutorial as --json writes it: {source}", path.display())]
    Tutorial { path: PathBuf, source: serde_json::Error },
    #[error("cannot start the runtime: {source}")]
    Runtime { source: io::Error },
    #[error(transparent)]
    Settings(#[from] SettingsError),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pika-tutorial: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    let provider = arguments.writer.provider(std::env::vars_os().collect())?;
    let diff = Arc::new(Diff::parse(read(&arguments.diff)?));
    let about =
        About { title: arguments.title, base: arguments.base, head: arguments.head, ..About::default() };
    let explained = match &arguments.tutorial {
        Some(path) => show(path, &about, &diff)?,
        None => {
            let change = Change { about, diff: diff.clone(), sources: Arc::new(Sources::default()) };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|source| Failure::Runtime { source })?;
            runtime.block_on(explain(&change, &provider, &arguments.writer.options()))
        }
    };
    let written = if arguments.out.as_os_str() == "-" {
        write(BufWriter::new(io::stdout().lock()), arguments.json, &explained, &diff)
    } else {
        File::create(&arguments.out)
            .and_then(|file| write(BufWriter::new(file), arguments.json, &explained, &diff))
    };
    written.map_err(|source| Failure::Write { path: arguments.out, source })
}

/// Reads a tutorial and carries it over to this diff.
fn show(path: &PathBuf, about: &About, diff: &Diff) -> Result<Explained, Failure> {
    let stored: Result<Explained, _> = serde_json::from_slice(&read(path)?);
    let stored = stored.map_err(|source| Failure::Tutorial { path: path.clone(), source })?;
    let own = stored.tutorial.about.clone();
    let or = |named: &String, own: String| if named.is_empty() { own } else { named.clone() };
    let about = About {
        title: or(&about.title, own.title),
        base: or(&about.base, own.base),
        head: or(&about.head, own.head),
        ..own
    };
    Ok(Explained { tutorial: reanchor(&stored.tutorial, &about, diff).tutorial, ..stored })
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    read.map_err(|source| Failure::Read { path: path.clone(), source })?;
    Ok(bytes)
}

fn write(mut writer: impl Write, is_json: bool, explained: &Explained, diff: &Diff) -> io::Result<()> {
    if is_json {
        serde_json::to_writer_pretty(&mut writer, explained)?;
        writer.write_all(b"\n")?;
    } else {
        write_page(&mut writer, explained, diff)?;
    }
    writer.flush()
}
