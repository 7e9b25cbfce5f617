//! The commands that are run in an instance. Pure.

use std::time::Duration;

use incus_client::ExecRequest;
use pikaci::JobSpec;
use pikaci::guest::{COMMAND_VARIABLE, RUN_AS_ROOT_VARIABLE, RUN_BINARY, TIMEOUT_VARIABLE};

use super::RemoteLinuxVmContext;

/// Between TERM and KILL inside the guest, so that a cancelled job is gone within five seconds.
pub(crate) const GRACE_MS: u64 = 3000;

/// How long a job that asks for a network waits for the guest's address. The image asks for it at boot, and commands can be
/// run before it is there.
pub(crate) const NETWORK_DEADLINE: Duration = Duration::from_secs(30);

/// The command that starts a job: the guest runner, which detaches the job from the session and is its first follower.
///
/// No secrets: arguments and environment can be read by whoever sees the server's operations.
pub fn build_remote_incus_launch_command(job: &JobSpec, context: &RemoteLinuxVmContext) -> ExecRequest {
    let mut words = vec![RUN_BINARY.to_owned(), "run".to_owned(), "--detach".to_owned()];
    words.extend(["--grace-ms".to_owned(), GRACE_MS.to_string()]);
    words.extend(["--sentinel-wait-ms".to_owned(), context.mount_deadline.as_millis().to_string()]);
    if context.network.is_some() {
        words.extend(["--network-wait-ms".to_owned(), NETWORK_DEADLINE.as_millis().to_string()]);
    }
    for mount in &context.mounts {
        words.extend(mount.share.proof_arguments());
    }
    ExecRequest::new(words)
        .env(COMMAND_VARIABLE, job.guest_command())
        .env(TIMEOUT_VARIABLE, job.timeout_secs.to_string())
        .env(RUN_AS_ROOT_VARIABLE, if job.run_as_root { "1" } else { "0" })
}

/// The command that takes up a job's log from a byte on.
pub(crate) fn follow_command(offset: u64) -> ExecRequest {
    ExecRequest::new([RUN_BINARY, "follow", "--from", &offset.to_string()])
}

#[cfg(test)]
mod tests {
    use super::super::context::sample_remote_context;
    use super::*;
    use crate::executor::sample_shell_job;

    #[test]
    fn the_launch_command_sets_the_three_variables_and_runs_the_images_own_runner() {
        let job = JobSpec { timeout_secs: 90, ..sample_shell_job("unit", "cargo test") };
        let request = build_remote_incus_launch_command(&job, &sample_remote_context());
        assert_eq!(request.command[0], "/run/current-system/sw/bin/pikaci-incus-run");
        assert_eq!(request.environment["PIKACI_INCUS_GUEST_COMMAND"], "set -e\ncargo test");
        assert_eq!(request.environment["PIKACI_INCUS_TIMEOUT_SECS"], "90");
        assert_eq!(request.environment["PIKACI_INCUS_RUN_AS_ROOT"], "0");
        assert_eq!(request.environment.len(), 3);
        assert_eq!(
            request.user, 0,
            "the runner is root's: it prepares the folders and switches the user itself"
        );
    }

    #[test]
    fn a_job_that_runs_as_root_says_so() {
        let job = JobSpec { run_as_root: true, ..sample_shell_job("unit", "id") };
        let request = build_remote_incus_launch_command(&job, &sample_remote_context());
        assert_eq!(request.environment["PIKACI_INCUS_RUN_AS_ROOT"], "1");
    }

    #[test]
    fn only_a_job_with_a_network_waits_for_it() {
        let job = sample_shell_job("unit", "true");
        let waits = |context: &RemoteLinuxVmContext| {
            let request = build_remote_incus_launch_command(&job, context);
            request.command.windows(2).any(|pair| pair == ["--network-wait-ms", "30000"])
        };
        assert!(!waits(&sample_remote_context()));
        let network = Some("pikaci".to_owned());
        assert!(waits(&RemoteLinuxVmContext { network, ..sample_remote_context() }));
    }

    #[test]
    fn every_mount_is_proved_by_its_sentinel() {
        let request =
            build_remote_incus_launch_command(&sample_shell_job("unit", "true"), &sample_remote_context());
        assert!(request.command.windows(2).any(|pair| pair == ["--sentinel", "/workspace/snapshot=abc"]));
    }
}
