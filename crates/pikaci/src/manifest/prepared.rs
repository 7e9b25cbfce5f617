//! The prepared outputs of a manifest, and the jobs that make them.
//!
//! Invariant: after [`outputs`] found nothing, what an output needs prepared leads to an end, and no two mounts overlap.

use std::collections::BTreeMap;

use super::leaf::Name;
use super::nearest::{listed, nearest};
use super::problem::Problems;
use super::raw::{RawPrepared, RawSettings};
use super::table::{Located, shown};
use super::{Manifest, PreparedSpec};
use crate::guest::STAGED_PATH;
use crate::id::{JobId, TargetId};
use crate::job::{JobCommand, JobSpec, NixSource, OutputSpec, Provider};

/// What the ids of the jobs begin with that make prepared outputs.
pub(super) const JOB_PREFIX: &str = "prepare.";

/// Checks the outputs and fills in the defaults.
pub(super) fn outputs(
    raw: Vec<(Located<String>, RawPrepared)>,
    defaults: &RawSettings,
    problems: &mut Problems<'_>,
) -> BTreeMap<String, PreparedSpec> {
    // What a job needs is not what its inputs need.
    let defaults = RawSettings {
        title: None,
        command: None,
        has_command: false,
        needs: None,
        artifacts: None,
        junit: None,
        prepared: None,
        ..defaults.clone()
    };
    let names: Vec<String> = raw.iter().map(|(name, _)| name.value.clone()).collect();
    let mut outputs: BTreeMap<String, PreparedSpec> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (Located { value: name, span }, raw) in raw {
        let id = match JobId::parse(&format!("{JOB_PREFIX}{name}")) {
            Ok(id) => id,
            Err(_) => {
                problems.push(
                    &span,
                    format!(
                        "`{}` can't be the name of an output; use 1 to 56 letters, digits, '-', '_' and '.', the first a letter or digit, \
                         and no `..`",
                        shown(&name)
                    ),
                );
                continue;
            }
        };
        check_names(&raw.settings, &names.iter().map(String::as_str), problems);
        let Some((output, command)) = output(&name, &span, &raw, problems) else { continue };
        let overlap = outputs.values().find(|other| overlaps(&other.output.mount, &output.mount));
        if let Some(other) = overlap {
            problems.push(
                &span,
                format!(
                    "the mount {} overlaps with the one of `{}`; set `mount`",
                    output.mount, other.output.name
                ),
            );
        }
        if let Some(needs) = &raw.settings.needs {
            problems.push(&needs.span, "an output needs no job; name other outputs with `prepared`");
        }
        if let Some(secrets) = &raw.settings.secrets {
            problems.push(&secrets.span, "an output gets no secrets: other branches are given it too");
        }
        // Judged by `inputs` and its provider: its target is filled in where it is run.
        let Ok(target) = TargetId::parse("prepared") else { continue };
        let mut job = raw.settings.over(&defaults).into_job(id, target);
        if let Some(command) = command {
            (job.description, job.command) = (format!("prepare {name}"), command);
        }
        job.output = Some(output.clone());
        places.insert(name.clone(), span);
        outputs.insert(name, PreparedSpec { output, job });
    }
    for (name, span) in &places {
        if reaches_itself(name, &outputs) {
            problems.push(span, format!("`{name}` needs itself prepared, in the end; break the circle"));
        }
    }
    outputs
}

/// What an output is, and the command that stands for it where it has none of its own.
fn output(
    name: &str,
    span: &std::ops::Range<usize>,
    raw: &RawPrepared,
    problems: &mut Problems<'_>,
) -> Option<(OutputSpec, Option<JobCommand>)> {
    let provider = raw.provider.as_ref().map_or(Provider::Command, |provider| provider.value);
    let installable = raw.installable.as_ref().map(|text| NixSource::Installable(text.value.0.clone()));
    let expression = raw.expression.as_ref().map(|text| NixSource::Expression(text.value.0.clone()));
    match provider {
        Provider::Command if !raw.settings.has_command => {
            problems.push(span, "the provider `command` needs the key `command`: what builds the output");
        }
        Provider::Command if raw.has_installable || raw.has_expression => {
            problems.push(span, "`installable` and `expression` are for the provider `nix`");
        }
        Provider::Nix if raw.settings.has_command => {
            problems.push(span, "the provider `nix` takes no `command`; write `installable` or `expression`");
        }
        Provider::Nix if raw.has_installable == raw.has_expression => {
            problems.push(
                span,
                "the provider `nix` needs one of the keys `installable`, such as \".#tests\", and `expression`",
            );
        }
        Provider::Command | Provider::Nix => {}
    }
    let nix = installable.or(expression).filter(|_| provider == Provider::Nix);
    let command = nix.as_ref().map(|nix| {
        let mut words = vec!["nix".to_owned(), "build".to_owned()];
        match nix {
            NixSource::Installable(text) => words.push(text.clone()),
            NixSource::Expression(text) => words.extend(["--expr".to_owned(), text.clone()]),
        }
        JobCommand::Argv(words)
    });
    let mount = match &raw.mount {
        Some(mount) => mount.value.0.clone(),
        None => format!("{STAGED_PATH}/{name}"),
    };
    let inputs = raw.inputs.as_ref().map(|inputs| inputs.value.0.0.clone()).unwrap_or_default();
    Some((OutputSpec { name: name.to_owned(), provider, nix, inputs, mount }, command))
}

fn overlaps(one: &str, other: &str) -> bool {
    let below = |inner: &str, outer: &str| format!("{inner}/").starts_with(&format!("{outer}/"));
    below(one, other) || below(other, one)
}

fn reaches_itself(name: &str, outputs: &BTreeMap<String, PreparedSpec>) -> bool {
    let mut open: Vec<&str> = vec![name];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(next) = open.pop() {
        for needed in outputs.get(next).into_iter().flat_map(|spec| &spec.job.prepared) {
            if needed == name {
                return true;
            }
            if seen.insert(needed.as_str()) {
                open.push(needed);
            }
        }
    }
    false
}

/// Notes names of prepared outputs that there are not.
pub(super) fn check_names<'n>(
    settings: &RawSettings,
    known: &(impl Iterator<Item = &'n str> + Clone),
    problems: &mut Problems<'_>,
) {
    for name in settings.prepared.iter().flat_map(|names| &names.value) {
        let Name(text) = &name.value;
        if !known.clone().any(|known| known == text) && !problems.is_full() {
            let remedy = match nearest(text, known.clone()) {
                Some(similar) => format!("did you mean `{similar}`?"),
                None if known.clone().next().is_none() => format!("write [prepared.{text}]"),
                None => format!("there are {}", listed(known.clone())),
            };
            problems.push(&name.span, format!("there is no prepared output `{text}`; {remedy}"));
        }
    }
}

impl Manifest {
    /// The jobs, with those before them that make what they need prepared.
    pub(super) fn with_prepared(&self, target: &TargetId, jobs: Vec<JobSpec>) -> Vec<JobSpec> {
        let names = jobs.iter().flat_map(|job| job.prepared.clone()).collect();
        self.making(target, names, jobs)
    }

    /// The job that makes an output, with those that make what it needs; `None`: that is not the name of one.
    pub(super) fn maker(&self, target: &TargetId, job: &str) -> Option<Vec<JobSpec>> {
        let name = job.strip_prefix(JOB_PREFIX)?;
        self.find_prepared(name)?;
        Some(self.making(target, vec![name.to_owned()], Vec::new()))
    }

    /// The jobs, with those before them that make these outputs and what they need.
    fn making(&self, target: &TargetId, mut open: Vec<String>, mut jobs: Vec<JobSpec>) -> Vec<JobSpec> {
        let mut making: BTreeMap<&str, JobSpec> = BTreeMap::new();
        while let Some(name) = open.pop() {
            if let Some(spec) = self.find_prepared(&name)
                && !making.contains_key(spec.output.name.as_str())
            {
                open.extend(spec.job.prepared.iter().cloned());
                making.insert(&spec.output.name, spec.job(target));
            }
        }
        let mut all: Vec<JobSpec> = making.into_values().collect();
        all.append(&mut jobs);
        let makers: BTreeMap<String, JobId> = all
            .iter()
            .filter_map(|job| job.output.as_ref().map(|output| (output.name.clone(), job.id.clone())))
            .collect();
        for job in &mut all {
            job.needs.extend(job.prepared.iter().filter_map(|name| makers.get(name).cloned()));
        }
        all
    }
}
