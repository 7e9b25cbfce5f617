//! The words of the command line.
//!
//! Invariant: ids are parsed here, so that nothing behind this file holds a name that could be mistaken for a path.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use pikaci::{InstanceType, JobId, RunId};

use crate::run_name::RunName;

const EXIT_CODES: &str = "\
Exit codes: 0 passed or skipped, 1 a job failed, 2 usage or manifest, 3 infrastructure, 4 timed out, 130 cancelled.";

/// The alias of the image that jobs use when they name none.
const IMAGE_DEFAULT: &str = "pikaci/dev";

/// Runs the jobs of a repository's pikaci.toml, each on a frozen copy of the tree.
#[derive(Debug, Parser)]
#[command(name = "pikaci", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The folder of runs and snapshots [default: $PIKACI_STATE_ROOT, else ./.pikaci]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_root: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a target, or one of its jobs with what it needs
    Run(RunArguments),
    /// Run the jobs of an earlier run again, on the same tree
    Rerun(RerunArguments),
    /// Write a pikaci.toml that fits the repository
    Init,
    /// List the runs, newest first
    List(Json),
    /// Show where a run stands
    Status(RunAndJson),
    /// Print the log of a job
    Logs(LogsArguments),
    /// Explain why a run did not pass
    Why(RunAndJson),
    /// Stop a run
    Cancel {
        /// A run id, a unique beginning of one, or `latest`
        run: RunName,
    },
    /// Show what was prepared for a run
    PreparedOutputs(RunAndJson),
    /// Take up or finish runs whose pikaci is gone, and delete instances that nobody waits for
    Sweep,
    /// Take up a run whose pikaci is gone, and see it to its end
    #[command(hide = true)]
    Resume(ResumeArguments),
    /// Make, import and check the images of guests
    #[command(subcommand)]
    Image(ImageCommand),
    /// Look after the instances that wait for jobs
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Make what jobs need on an Incus server: project, profile, network, certificate
    InitIncus(InitIncusArguments),
    /// Examine the Incus server, and say what to do about what is wrong
    Doctor(DoctorArguments),
    /// Look after the outputs that are built once and mounted into jobs
    #[command(subcommand)]
    Prepared(PreparedCommand),
    /// Remove runs, snapshots and prepared outputs that are not needed
    Gc(GcArguments),
    /// Print the completions of a shell
    Completions {
        /// The shell
        shell: Shell,
    },
}

/// `pikaci run`
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// A target of the manifest, or `target/job`
    pub(crate) target: String,
    /// Skip the target when none of its paths changed since the merge base with this revision
    #[arg(long, value_name = "REV")]
    pub(crate) base: Option<String>,
    /// Test this commit instead of the working tree; the repository may be bare
    #[arg(long, value_name = "REV")]
    pub(crate) rev: Option<String>,
    #[command(flatten)]
    pub(crate) execution: Execution,
}

/// `pikaci rerun`
#[derive(Debug, Args)]
pub(crate) struct RerunArguments {
    /// A run id, a unique beginning of one, or `latest`
    pub(crate) run: RunName,
    /// Only the jobs that did not pass
    #[arg(long)]
    pub(crate) failed: bool,
    #[command(flatten)]
    pub(crate) execution: Execution,
}

/// How jobs are run and shown.
#[derive(Debug, Args)]
pub(crate) struct Execution {
    /// Where the jobs run [default: $PIKACI_EXECUTOR, else local; again where they ran]
    #[arg(long, value_enum)]
    pub(crate) executor: Option<Executor>,
    /// How many jobs run at the same time [default: the number of processors]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
    /// A secret for the jobs that name it, from a file; may be repeated
    #[arg(long = "secret", value_name = "NAME=FILE", value_parser = secret_file)]
    pub(crate) secrets: Vec<(String, PathBuf)>,
    /// Reads secrets from standard input: one JSON object of names and base64
    #[arg(long, hide = true)]
    pub(crate) secrets_stdin: bool,
    /// The name of the new run
    #[arg(long, value_name = "ID", hide = true)]
    pub(crate) run_id: Option<RunId>,
}

fn secret_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("write NAME=FILE, such as DEPLOY_KEY=keys/deploy".to_owned()),
    }
}

/// `pikaci resume`
#[derive(Debug, Args)]
pub(crate) struct ResumeArguments {
    /// A run id, a unique beginning of one, or `latest`
    pub(crate) run: RunName,
    /// How many jobs run at the same time [default: the number of processors]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
    /// What is printed
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) output: Format,
}

/// `pikaci image`
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image for containers, import it, and let an alias mean it
    Build(ImageBuildArguments),
    /// Import an image from a file, and let an alias mean it
    Import {
        /// A tarball with metadata.yaml and rootfs
        file: PathBuf,
        /// The alias
        #[arg(long, value_name = "NAME", default_value = IMAGE_DEFAULT)]
        alias: String,
    },
    /// List the images of the project
    List(Json),
    /// Check that an image keeps the guest contract, with a probe job
    Verify {
        /// An alias or a fingerprint
        #[arg(default_value = IMAGE_DEFAULT)]
        image: String,
        /// What kind of instance it is for
        #[arg(long, value_enum)]
        instance: Option<Instance>,
    },
}

/// `pikaci image build`
#[derive(Debug, Args)]
pub(crate) struct ImageBuildArguments {
    /// Have Nix build it: an installable whose output is the image's tarball, or a folder with pikaci-image.tar
    #[arg(
        long,
        value_name = "INSTALLABLE",
        num_args = 0..=1,
        default_missing_value = ".#pikaci-image",
        conflicts_with_all = ["recipe", "suite", "packages", "mirror", "runner"]
    )]
    pub(crate) nix: Option<String>,
    /// What it is made of
    #[arg(long, value_enum, default_value_t = Recipe::Debian)]
    pub(crate) recipe: Recipe,
    /// The release of Debian
    #[arg(long, value_name = "NAME", default_value = "bookworm")]
    pub(crate) suite: String,
    /// A package of Debian beside the smallest system; may be repeated
    #[arg(long = "package", value_name = "NAME")]
    pub(crate) packages: Vec<String>,
    /// Where Debian's packages come from [default: Debian's own servers]
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// The guest runner, one static file [default: pikaci-incus-run beside this program]
    #[arg(long, value_name = "FILE")]
    pub(crate) runner: Option<PathBuf>,
    /// The alias
    #[arg(long, value_name = "NAME", default_value = IMAGE_DEFAULT)]
    pub(crate) alias: String,
    /// Write the image to this file and import nothing; ends in .tar.gz, .tar.zst or .tar
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What an image is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Recipe {
    /// One static program with all the usual commands; for jobs that bring everything else
    Busybox,
    /// Debian's smallest system, and packages
    Debian,
}

/// `pikaci pool`
#[derive(Debug, Subcommand)]
pub(crate) enum PoolCommand {
    /// Bring every pool of the settings to its size
    Fill,
    /// Delete every instance that waits
    Drain,
    /// Show the instances that wait
    Show(Json),
}

/// `pikaci prepared`
#[derive(Debug, Subcommand)]
pub(crate) enum PreparedCommand {
    /// Show what is kept, the newest first, and which builds failed
    List(Json),
    /// Show one output, or the log of its failed build
    Show {
        /// Its key, the beginning of one, or its name
        output: String,
        #[command(flatten)]
        format: Json,
    },
    /// Remove outputs that no run uses, and what is known of failed builds: they are built again when they are needed
    Rm {
        /// Keys, beginnings of keys, or names
        #[arg(required = true)]
        outputs: Vec<String>,
    },
    /// Remove the outputs that were not used for longest, to a budget
    Gc(PreparedGcArguments),
}

/// `pikaci prepared gc`
#[derive(Debug, Args)]
pub(crate) struct PreparedGcArguments {
    /// What they may take together; a path of the Nix store counts once
    #[arg(long, value_name = "SIZE", default_value = "20GiB", value_parser = parse_size)]
    pub(crate) max_size: u64,
    /// Of how many of the newest runs the outputs stay whatever they take
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) keep: usize,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// `pikaci init-incus`
#[derive(Debug, Args)]
pub(crate) struct InitIncusArguments {
    /// The storage pool of instances [default: `default`, else the first, else a new one of the kind dir]
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
    /// Size of an instance's disk, such as 20GiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) disk: Option<String>,
    /// The most instances at once
    #[arg(long, value_name = "N")]
    pub(crate) max_instances: Option<u32>,
    /// A folder whose content may be shared with instances; may be repeated [default: the state root]
    #[arg(long, value_name = "DIR")]
    pub(crate) share: Vec<PathBuf>,
    /// Let jobs that ask for a network reach beyond this host
    #[arg(long)]
    pub(crate) egress: bool,
    /// Where the restricted client certificate and its key are kept, and made when they are not there
    #[arg(long, value_name = "DIR")]
    pub(crate) certificate: Option<PathBuf>,
}

/// `pikaci doctor`
#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// The image to examine
    #[arg(long, value_name = "IMAGE", default_value = IMAGE_DEFAULT)]
    pub(crate) image: String,
    /// What kind of instance [default: what the image is for]
    #[arg(long, value_enum)]
    pub(crate) instance: Option<Instance>,
    #[command(flatten)]
    pub(crate) format: Json,
}

/// What kind of instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Instance {
    /// A kernel of its own
    VirtualMachine,
    /// The host's kernel
    Container,
}

impl From<Instance> for InstanceType {
    fn from(instance: Instance) -> InstanceType {
        match instance {
            Instance::VirtualMachine => InstanceType::VirtualMachine,
            Instance::Container => InstanceType::Container,
        }
    }
}

/// `pikaci logs`
#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// A run id, a unique beginning of one, or `latest`
    pub(crate) run: RunName,
    /// The job [default: the first that did not pass, else the first]
    #[arg(long, value_name = "ID")]
    pub(crate) job: Option<JobId>,
    /// What the executor did, what the command printed, or both
    #[arg(long, value_enum, default_value_t = Kind::Guest)]
    pub(crate) kind: Kind,
    /// Go on printing until the job has ended
    #[arg(long, short, conflicts_with = "metadata_json")]
    pub(crate) follow: bool,
    /// Print which logs there are, as JSON
    #[arg(long)]
    pub(crate) metadata_json: bool,
}

/// `pikaci gc`
#[derive(Debug, Args)]
pub(crate) struct GcArguments {
    /// What runs and snapshots may take together; the oldest runs go until they do
    #[arg(long, value_name = "SIZE", default_value = "20GiB", value_parser = parse_size)]
    pub(crate) max_size: u64,
    /// What prepared outputs may take together; the longest unused go until they do
    #[arg(long, value_name = "SIZE", default_value = "20GiB", value_parser = parse_size)]
    pub(crate) max_prepared_size: u64,
    /// What snapshots may take; the oldest runs go with theirs [default: no bound of their own]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_snapshots_size: Option<u64>,
    /// What logs may take; the long ones of the oldest runs go [default: no bound of their own]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_logs_size: Option<u64>,
    /// What artifacts may take; those of the oldest runs go [default: no bound of their own]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) max_artifacts_size: Option<u64>,
    /// Runs older than this go
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_age_days: Option<u16>,
    /// How many of the newest runs stay, and the outputs that they used, whatever they take
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) keep: usize,
    /// Only say what would be removed
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Reads a size as the manifest writes it; `0` takes no unit.
fn parse_size(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    pikaci::manifest::parse_size_bytes(text).map_err(|error| error.to_string())
}

/// A command about one run.
#[derive(Debug, Args)]
pub(crate) struct RunAndJson {
    /// A run id, a unique beginning of one, or `latest`
    pub(crate) run: RunName,
    #[command(flatten)]
    pub(crate) format: Json,
}

/// Whether programs read it.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where jobs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Executor {
    /// In sandboxes on this machine
    Local,
    /// In fresh Incus instances
    Incus,
}

/// What a run prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Progress for people
    Human,
    /// The run's record, at the end
    Json,
    /// Each event, as it happens
    Jsonl,
}

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// What the executor did
    Host,
    /// What the command printed
    Guest,
    /// One after the other
    Both,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_declarations_do_not_contradict_each_other() {
        Arguments::command().debug_assert();
    }
}
