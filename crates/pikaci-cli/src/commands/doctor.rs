//! `pikaci doctor`

use pikaci::InstanceType;
use pikaci_engine::executor::incus::doctor::{Finding, Health, examine};
use serde_json::json;

use super::{DONE, session};
use crate::arguments::{DoctorArguments, Instance};
use crate::config::Config;
use crate::failure::{Failure, INFRASTRUCTURE};
use crate::incus;
use crate::output::{plain, print_json, print_line};

/// Examines the server. Returns 3 when jobs can't be run on it.
pub(crate) fn doctor(arguments: &DoctorArguments, config: &Config) -> Result<u8, Failure> {
    let findings = findings(&arguments.image, arguments.instance, config)?;
    if arguments.format.json {
        print_json(&json!({ "findings": findings }));
        return Ok(code(&findings));
    }
    Ok(show(&findings))
}

/// Everything that is found out.
pub(super) fn findings(
    image: &str,
    instance: Option<Instance>,
    config: &Config,
) -> Result<Vec<Finding>, Failure> {
    let settings = incus::settings(config)?;
    let folder = config.state.path().join("doctor");
    let instance = instance.map(InstanceType::from);
    session::block_on(async { Ok(examine(&settings, image, instance, &folder).await) })
}

/// Prints findings for people. Returns the exit code.
pub(super) fn show(findings: &[Finding]) -> u8 {
    for finding in findings {
        let mark = match finding.health {
            Health::Ok => "ok     ",
            Health::Warning => "warning",
            Health::Bad => "BAD    ",
        };
        print_line(&format!("{mark}  {}: {}", finding.what, plain(&finding.detail)));
        if let Some(remedy) = &finding.remedy {
            print_line(&format!("         -> {remedy}"));
        }
    }
    code(findings)
}

fn code(findings: &[Finding]) -> u8 {
    let is_bad = findings.iter().any(|finding| finding.health == Health::Bad);
    if is_bad { INFRASTRUCTURE } else { DONE }
}
