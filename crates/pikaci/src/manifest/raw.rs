//! The tables of a manifest as they are written, and as the schema describes them.
//!
//! The doc comments of the fields are the descriptions that an editor shows. A field is absent when its key is, or when
//! its value was bad and has been noted; `has_…` tells the two apart.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::Trigger;
use super::leaf::{Command, Count, Environment, Image, Memory, Mount, Name, SecretName, Timeout, Word};
use super::paths::Globs;
use super::table::{AtLeastOne, Located, ReadTable, Table, TableReader};
use crate::id::{JobId, TargetId};
use crate::job::{InstanceType, Provider};

/// The value of a key, if there is one.
type Entry<T> = Option<Located<T>>;
/// The values of a list.
type List<T> = Vec<Located<T>>;

/// What pikaci runs for a repository: `pikaci.toml` at its root.
#[derive(Debug, JsonSchema)]
#[schemars(title = "pikaci.toml", deny_unknown_fields)]
pub(super) struct RawManifest {
    /// The version of this format: 1.
    #[schemars(required, range(min = 1, max = 1))]
    pub(super) version: Entry<i64>,
    /// Keys of jobs, for every job that does not set them itself. Variables of `env` are added to those of the job.
    pub(super) defaults: Entry<Table<RawSettings>>,
    /// Groups of jobs that are run and judged together, by name.
    #[schemars(with = "BTreeMap<String, RawTarget>", required)]
    pub(super) targets: Vec<(Located<String>, RawTarget)>,
    /// What is built once and mounted into the jobs that name it, by name.
    #[schemars(with = "Option<BTreeMap<String, RawPrepared>>")]
    pub(super) prepared: Vec<(Located<String>, RawPrepared)>,
    /// Which lanes of a forge get which secrets, by name. Counts on the default branch alone.
    #[schemars(with = "Option<BTreeMap<String, RawSecret>>")]
    pub(super) secrets: Vec<(Located<String>, RawSecret)>,
}

/// Who gets a secret.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Secret", deny_unknown_fields)]
pub(super) struct RawSecret {
    /// Patterns of the branches whose lanes get it, such as "main" or "release/*".
    #[schemars(required)]
    pub(super) branches: Entry<AtLeastOne<Globs>>,
    /// The targets that get it. Default: all.
    pub(super) targets: Entry<List<TargetId>>,
}

/// A group of jobs that are run and judged together.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Target", deny_unknown_fields)]
pub(super) struct RawTarget {
    /// What a person reads. Default: the target's name.
    pub(super) title: Entry<Word>,
    /// Patterns of changed paths that the target is for. Without this key it is for every change.
    pub(super) paths: Entry<AtLeastOne<Globs>>,
    /// What starts the target: a pushed branch, or the night. Default: `["branch"]`. `[]` leaves it to people.
    pub(super) on: Entry<List<Trigger>>,
    /// Whether a branch needs this target to pass before it is merged. Default: `true`.
    pub(super) required: Entry<bool>,
    /// Limits how many targets of one group run at the same time.
    pub(super) concurrency: Entry<Table<RawConcurrency>>,
    /// The jobs, in the order in which they are shown.
    #[schemars(required)]
    pub(super) jobs: Entry<AtLeastOne<List<Table<RawJob>>>>,
    #[schemars(skip)]
    pub(super) has_jobs: bool,
}

/// A limit that targets share.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Concurrency", deny_unknown_fields)]
pub(super) struct RawConcurrency {
    /// The group's name. Targets of one group count together.
    #[schemars(required)]
    pub(super) group: Entry<Name>,
    /// How many of the group run at the same time. Default: 1.
    pub(super) size: Entry<Count>,
}

/// One command in one fresh machine.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Job", deny_unknown_fields)]
pub(super) struct RawJob {
    /// The job's name, unique within its target.
    #[schemars(required)]
    pub(super) id: Entry<JobId>,
    /// The other keys, which may come from `defaults` as well.
    #[schemars(flatten)]
    pub(super) settings: RawSettings,
}

/// The keys of a job that may come from `defaults`.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(rename = "Defaults", deny_unknown_fields)]
pub(super) struct RawSettings {
    /// What a person reads. Default: the first line of the command.
    pub(super) title: Entry<Word>,
    /// What to run: text for `/bin/sh`, which stops at the first failing line, or a list of program and arguments.
    pub(super) command: Entry<Command>,
    #[schemars(skip)]
    pub(super) has_command: bool,
    /// How long the command may take, such as "30m", "90s" or "1h30m", at most 24h. Default: "60m".
    pub(super) timeout: Entry<Timeout>,
    /// Whether the command runs as root inside the guest. Default: `false`.
    pub(super) run_as_root: Entry<bool>,
    /// Whether the guest has a network. Default: `false`.
    pub(super) network: Entry<bool>,
    /// Variables of the command's environment. No secrets: they are stored with the run.
    pub(super) env: Entry<Environment>,
    /// Jobs of the same target that must pass first.
    pub(super) needs: Entry<List<JobId>>,
    /// Patterns of what is kept, below `/artifacts`.
    pub(super) artifacts: Entry<Globs>,
    /// Patterns of JUnit reports below `/artifacts`. They are kept, and their failures are shown.
    pub(super) junit: Entry<Globs>,
    /// Names of the prepared outputs that are mounted.
    pub(super) prepared: Entry<List<Name>>,
    /// Names of the secrets that the job gets, each as a file below `$PIKACI_SECRETS`, when the run has them.
    pub(super) secrets: Entry<List<SecretName>>,
    /// The image's alias or fingerprint. Default: "pikaci/dev".
    pub(super) image: Entry<Image>,
    /// What kind of instance the job runs in. Default: "virtual-machine".
    pub(super) instance: Entry<InstanceType>,
    /// Processors of the instance. Default: 2.
    pub(super) cpus: Entry<Count>,
    /// Memory of the instance, such as "512MiB" or "4GiB". Default: "4GiB".
    pub(super) memory: Entry<Memory>,
    /// Disk of the instance, such as "20GiB". Default: what the operator's profile says.
    pub(super) disk: Entry<Memory>,
}

/// Something that is built once and mounted read-only into jobs.
#[derive(Debug, JsonSchema)]
#[schemars(rename = "Prepared", deny_unknown_fields)]
pub(super) struct RawPrepared {
    /// What builds it.
    #[schemars(required)]
    pub(super) provider: Entry<Provider>,
    /// What the provider `nix` builds, such as ".#tests"; `.` is the frozen tree.
    pub(super) installable: Entry<Word>,
    #[schemars(skip)]
    pub(super) has_installable: bool,
    /// What the provider `nix` builds, as text of its language, such as "import ./ci.nix {}".
    pub(super) expression: Entry<Word>,
    #[schemars(skip)]
    pub(super) has_expression: bool,
    /// Patterns of the files that it depends on, below the repository's root.
    #[schemars(required)]
    pub(super) inputs: Entry<AtLeastOne<Globs>>,
    /// Where guests see it. Default: "/staged/" and its name.
    pub(super) mount: Entry<Mount>,
    /// What the provider `command` runs, and where: the keys of a job.
    #[schemars(flatten)]
    pub(super) settings: RawSettings,
}

impl ReadTable for RawManifest {
    const EXAMPLE: &str = "version = 1";

    fn read_table(table: &mut TableReader<'_, '_, '_>) -> RawManifest {
        RawManifest {
            version: table.required("version", "version = 1"),
            defaults: table.entry("defaults"),
            targets: table.named("targets"),
            prepared: table.named("prepared"),
            secrets: table.named("secrets"),
        }
    }

    fn remedy(key: &str) -> Option<&'static str> {
        match key {
            "jobs" | "job" => Some("jobs belong to a target: write [[targets.NAME.jobs]]"),
            "env" | "image" | "timeout" => Some("what holds for every job belongs below [defaults]"),
            _ => None,
        }
    }
}

impl ReadTable for RawSecret {
    const EXAMPLE: &str = "{ branches = [\"main\"] }";

    fn read_table(table: &mut TableReader<'_, '_, '_>) -> RawSecret {
        RawSecret {
            branches: table.required("branches", "branches = [\"main\"]"),
            targets: table.entry("targets"),
        }
    }

    fn remedy(key: &str) -> Option<&'static str> {
        matches!(key, "value" | "secret").then_some("a secret's content is set in the forge, never here")
    }
}

impl ReadTable for RawTarget {
    const EXAMPLE: &str = "{ jobs = [{ id = \"unit\", command = \"cargo test\" }] }";

    fn read_table(table: &mut TableReader<'_, '_, '_>) -> RawTarget {
        RawTarget {
            title: table.entry("title"),
            paths: table.entry("paths"),
            on: table.entry("on"),
            required: table.entry("required"),
            concurrency: table.entry("concurrency"),
            has_jobs: table.has("jobs"),
            jobs: table.entry("jobs"),
        }
    }

    fn remedy(key: &str) -> Option<&'static str> {
        match key {
            "name" | "description" => Some("write `title`"),
            "command" | "timeout" | "env" | "image" | "needs" | "memory" | "disk" | "cpus" | "network" => {
                Some("it is a key of jobs: write it below [[targets.NAME.jobs]] or [defaults]")
            }
            _ => None,
        }
    }
}

impl ReadTable for RawConcurrency {
    const EXAMPLE: &str = "{ group = \"heavy\", size = 2 }";

    fn read_table(table: &mut TableReader<'_, '_, '_>) -> RawConcurrency {
        RawConcurrency { group: table.required("group", "group = \"heavy\""), size: table.entry("size") }
    }
}

impl ReadTable for RawJob {
    const EXAMPLE: &str = "{ id = \"unit\", command = \"cargo test\" }";

    fn read_table(table: &mut TableReader<'_, '_, '_>) -> RawJob {
        RawJob { id: table.required("id", "id = \"unit\""), settings: RawSettings::read_table(table) }
    }

    fn remedy(key: &str) -> Option<&'static str> {
        match key {
            "name" => Some("write `id` for what programs use, or `title` for what people read"),
            "paths" | "on" | "required" | "concurrency" => Some("it is a key of the target"),
            _ => RawSettings::remedy(key),
        }
    }
}

impl ReadTable for RawSettings {
    const EXAMPLE: &str = "{ timeout = \"30m\" }";

    fn read_table(table: &mut TableReader<'_, '_, '_>) -> RawSettings {
        RawSettings {
            title: table.entry("title"),
            has_command: table.has("command"),
            command: table.entry("command"),
            timeout: table.entry("timeout"),
            run_as_root: table.entry("run_as_root"),
            network: table.entry("network"),
            env: table.entry("env"),
            needs: table.entry("needs"),
            artifacts: table.entry("artifacts"),
            junit: table.entry("junit"),
            prepared: table.entry("prepared"),
            secrets: table.entry("secrets"),
            image: table.entry("image"),
            instance: table.entry("instance"),
            cpus: table.entry("cpus"),
            memory: table.entry("memory"),
            disk: table.entry("disk"),
        }
    }

    fn remedy(key: &str) -> Option<&'static str> {
        match key {
            "description" => Some("write `title`"),
            "run" | "script" | "cmd" | "commands" => Some("write `command`"),
            "environment" | "variables" => Some("write `env`"),
            "depends_on" | "after" | "requires" => Some("write `needs`"),
            "timeout_secs" | "timeout_s" | "deadline" => Some("write `timeout`, with a unit: \"30m\""),
            _ => None,
        }
    }
}

impl ReadTable for RawPrepared {
    const EXAMPLE: &str = "{ provider = \"command\", command = \"make\", inputs = [\"Makefile\"] }";

    fn read_table(table: &mut TableReader<'_, '_, '_>) -> RawPrepared {
        RawPrepared {
            provider: table.required("provider", "provider = \"command\""),
            has_installable: table.has("installable"),
            installable: table.entry("installable"),
            has_expression: table.has("expression"),
            expression: table.entry("expression"),
            inputs: table.required("inputs", "inputs = [\"Cargo.lock\"]"),
            mount: table.entry("mount"),
            settings: RawSettings::read_table(table),
        }
    }

    fn remedy(key: &str) -> Option<&'static str> {
        match key {
            "flake" | "attribute" | "package" => Some("write `installable`"),
            "paths" | "sources" => Some("write `inputs`"),
            _ => RawSettings::remedy(key),
        }
    }
}
