//! From tables as written to a manifest that can be run: defaults are filled in, and names are held against each other.

use std::collections::BTreeMap;
use std::ops::Range;

use super::leaf::Name;
use super::needs;
use super::paths::PathFilter;
use super::problem::Problems;
use super::raw::{RawConcurrency, RawJob, RawManifest, RawSettings, RawTarget};
use super::table::{Located, Table};
use super::{Concurrency, JOBS_MAX, Manifest, PreparedSpec, Target, Trigger, VERSION};
use super::{prepared, secrets};
use crate::id::{JobId, TargetId};
use crate::job::{InstanceType, JobCommand, JobSpec};

const TIMEOUT_SECS_DEFAULT: u64 = 60 * 60;
const IMAGE_DEFAULT: &str = "pikaci/dev";
const CPUS_DEFAULT: u32 = 2;
const MEMORY_BYTES_DEFAULT: u64 = 4 << 30;
/// The kernel takes 128 KiB for one variable, its name included (`MAX_ARG_STRLEN`).
const GUEST_COMMAND_BYTES_MAX: usize = 126 * 1024;

/// Makes a manifest of what was read. Its content counts only if no problem was noted.
pub(super) fn manifest(raw: RawManifest, problems: &mut Problems<'_>) -> Manifest {
    let defaults = raw.defaults.map(|defaults| defaults.value.0).unwrap_or_default();
    let outputs = prepared::outputs(raw.prepared, &defaults, problems);
    let mut groups = Groups::default();
    let mut targets = Vec::with_capacity(raw.targets.len());
    for (name, target) in raw.targets {
        let Some(id) = target_id(&name, problems) else { continue };
        targets.push(self::target(id, &name.span, target, &defaults, &outputs, &mut groups, problems));
    }
    let jobs: usize = targets.iter().map(|target| target.jobs.len()).sum();
    if jobs > JOBS_MAX {
        problems.push(&(0..0), format!("the manifest has {jobs} jobs; at most {JOBS_MAX} are allowed"));
    }
    if targets.is_empty() && problems.is_empty() {
        problems.push(
            &(0..0),
            "the manifest has no target; write [targets.pre-merge] and its [[targets.pre-merge.jobs]]",
        );
    }
    let secrets = secrets::policies(raw.secrets, problems);
    Manifest { targets, prepared: outputs, secrets }
}

/// Notes a version that this program does not read.
pub(super) fn is_readable_version(raw: &RawManifest, problems: &mut Problems<'_>) -> bool {
    match &raw.version {
        Some(version) if version.value != VERSION => {
            let message = if version.value > VERSION {
                format!(
                    "version {} is not supported; this pikaci reads version {VERSION}, upgrade it",
                    version.value
                )
            } else {
                format!("version {} is not supported; this pikaci reads version {VERSION}", version.value)
            };
            problems.push(&version.span, message);
            false
        }
        Some(_) | None => true,
    }
}

fn target_id(name: &Located<String>, problems: &mut Problems<'_>) -> Option<TargetId> {
    match TargetId::parse(&name.value) {
        Ok(id) => Some(id),
        Err(error) => {
            problems.push(&name.span, error.to_string());
            None
        }
    }
}

fn target(
    id: TargetId,
    span: &Range<usize>,
    raw: RawTarget,
    defaults: &RawSettings,
    outputs: &BTreeMap<String, PreparedSpec>,
    groups: &mut Groups,
    problems: &mut Problems<'_>,
) -> Target {
    let concurrency = raw.concurrency.and_then(|table| groups.concurrency(table.value.0, problems));
    let on = match raw.on {
        Some(on) => on.value.into_iter().map(|trigger| trigger.value).collect(),
        None => vec![Trigger::Branch],
    };
    if !raw.has_jobs {
        problems.push(span, format!("the target `{id}` has no job; write [[targets.{id}.jobs]]"));
    }
    let raw_jobs = raw.jobs.map(|jobs| jobs.value.0).unwrap_or_default();
    Target {
        title: raw.title.map_or_else(|| id.to_string(), |title| title.value.0),
        // That they compile was seen when they were read.
        paths: raw.paths.and_then(|paths| PathFilter::new(paths.value.0.0).ok()),
        on,
        required: raw.required.is_none_or(|required| required.value),
        concurrency,
        jobs: jobs(&id, raw_jobs, defaults, outputs, problems),
        id,
    }
}

fn jobs(
    target: &TargetId,
    raw: Vec<Located<Table<RawJob>>>,
    defaults: &RawSettings,
    outputs: &BTreeMap<String, PreparedSpec>,
    problems: &mut Problems<'_>,
) -> Vec<JobSpec> {
    let mut first_place: BTreeMap<JobId, usize> = BTreeMap::new();
    let mut jobs = Vec::with_capacity(raw.len());
    for Located { value: Table(RawJob { id, settings }), span } in raw {
        let settings = settings.over(defaults);
        prepared::check_names(&settings, &outputs.keys().map(String::as_str), problems);
        if !settings.has_command {
            problems.push(&span, "the key `command` is missing; write `command = \"cargo test\"`");
        }
        let Some(Located { value: id, span: id_span }) = id else { continue };
        if let Some(earlier) = first_place.get(&id) {
            let line = problems.line_of(*earlier);
            problems
                .push(&id_span, format!("the job `{id}` is already on line {line}; give each its own id"));
            continue;
        }
        if id.as_str().starts_with(prepared::JOB_PREFIX) {
            let prefix = prepared::JOB_PREFIX;
            problems.push(&id_span, format!("ids that begin with `{prefix}` are those of prepared outputs"));
        }
        first_place.insert(id.clone(), id_span.start);
        let needs = settings.needs.as_ref().map(|needs| needs.value.clone()).unwrap_or_default();
        let job = settings.into_job(id, target.clone());
        let command_bytes = job.guest_command().len();
        if command_bytes > GUEST_COMMAND_BYTES_MAX {
            problems.push(
                &id_span,
                format!(
                    "command and environment have {command_bytes} bytes together; at most \
                     {GUEST_COMMAND_BYTES_MAX} are allowed, put some of it into a file"
                ),
            );
        }
        jobs.push((job, needs));
    }
    let nodes: Vec<needs::Node<'_>> =
        jobs.iter().map(|(job, needs)| needs::Node { id: &job.id, needs }).collect();
    needs::check(target.as_str(), &nodes, problems);
    jobs.into_iter().map(|(job, _)| job).collect()
}

/// The concurrency groups seen so far, with the size and place of their first mention.
#[derive(Default)]
struct Groups(BTreeMap<String, (u32, usize)>);

impl Groups {
    fn concurrency(&mut self, raw: RawConcurrency, problems: &mut Problems<'_>) -> Option<Concurrency> {
        let Located { value: Name(group), span } = raw.group?;
        let size = raw.size.map_or(1, |size| size.value.0);
        let (first_size, place) = *self.0.entry(group.clone()).or_insert((size, span.start));
        if first_size != size {
            let line = problems.line_of(place);
            problems.push(
                &span,
                format!(
                    "the group `{group}` has size {size} here and {first_size} on line {line}; write one size"
                ),
            );
        }
        Some(Concurrency { group, size })
    }
}

impl RawSettings {
    /// These settings, and the defaults for what they leave open.
    pub(super) fn over(self, defaults: &RawSettings) -> RawSettings {
        let env = match (self.env, &defaults.env) {
            (Some(mut own), Some(shared)) => {
                // The job's own come last, and so win.
                own.value.0.splice(0..0, shared.value.0.iter().cloned());
                Some(own)
            }
            (own, shared) => own.or_else(|| shared.clone()),
        };
        RawSettings {
            title: self.title.or_else(|| defaults.title.clone()),
            has_command: self.has_command || defaults.has_command,
            command: self.command.or_else(|| defaults.command.clone()),
            timeout: self.timeout.or_else(|| defaults.timeout.clone()),
            run_as_root: self.run_as_root.or_else(|| defaults.run_as_root.clone()),
            network: self.network.or_else(|| defaults.network.clone()),
            env,
            needs: self.needs.or_else(|| defaults.needs.clone()),
            artifacts: self.artifacts.or_else(|| defaults.artifacts.clone()),
            junit: self.junit.or_else(|| defaults.junit.clone()),
            prepared: self.prepared.or_else(|| defaults.prepared.clone()),
            secrets: self.secrets.or_else(|| defaults.secrets.clone()),
            image: self.image.or_else(|| defaults.image.clone()),
            instance: self.instance.or_else(|| defaults.instance.clone()),
            cpus: self.cpus.or_else(|| defaults.cpus.clone()),
            memory: self.memory.or_else(|| defaults.memory.clone()),
            disk: self.disk.or_else(|| defaults.disk.clone()),
        }
    }

    pub(super) fn into_job(self, id: JobId, target_id: TargetId) -> JobSpec {
        // Without a command there is a problem already, and the job is never seen.
        let command = self.command.map_or(JobCommand::Argv(Vec::new()), |command| command.value.0);
        JobSpec {
            id,
            description: self.title.map_or_else(|| command.summary(), |title| title.value.0),
            target_id,
            command,
            timeout_secs: self.timeout.map_or(TIMEOUT_SECS_DEFAULT, |timeout| timeout.value.0),
            run_as_root: self.run_as_root.is_some_and(|is_root| is_root.value),
            network: self.network.is_some_and(|has_network| has_network.value),
            env: self.env.map(|env| env.value.0.into_iter().collect()).unwrap_or_default(),
            needs: self.needs.map(|needs| values(needs.value)).unwrap_or_default(),
            artifacts: self.artifacts.map(|globs| globs.value.0).unwrap_or_default(),
            junit: self.junit.map(|globs| globs.value.0).unwrap_or_default(),
            prepared: self
                .prepared
                .map(|names| names.value.into_iter().map(|name| name.value.0).collect())
                .unwrap_or_default(),
            secrets: self
                .secrets
                .map(|names| names.value.into_iter().map(|name| name.value.0).collect())
                .unwrap_or_default(),
            image: self.image.map_or_else(|| IMAGE_DEFAULT.to_owned(), |image| image.value.0),
            instance: self.instance.map_or(InstanceType::VirtualMachine, |instance| instance.value),
            cpus: self.cpus.map_or(CPUS_DEFAULT, |cpus| cpus.value.0),
            memory_bytes: self.memory.map_or(MEMORY_BYTES_DEFAULT, |memory| memory.value.0),
            disk_bytes: self.disk.map(|disk| disk.value.0),
            output: None,
        }
    }
}

fn values<T>(located: Vec<Located<T>>) -> Vec<T> {
    located.into_iter().map(|item| item.value).collect()
}
