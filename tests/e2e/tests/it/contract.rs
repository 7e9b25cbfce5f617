//! The words that host and guest share are written down twice, because the guest runner imports nothing of ours. Here the
//! two are held against each other.

use pikaci::guest::{self, GuestResult};
use pikaci_incus_run as runner;

#[test]
fn host_and_guest_runner_use_the_same_words() {
    let words = [
        (guest::COMMAND_VARIABLE, runner::COMMAND_VARIABLE),
        (guest::TIMEOUT_VARIABLE, runner::TIMEOUT_VARIABLE),
        (guest::RUN_AS_ROOT_VARIABLE, runner::RUN_AS_ROOT_VARIABLE),
        (guest::SNAPSHOT_PATH, runner::SNAPSHOT_PATH),
        (guest::ARTIFACTS_PATH, runner::ARTIFACTS_PATH),
        (guest::CARGO_HOME_PATH, runner::CARGO_HOME_PATH),
        (guest::CARGO_TARGET_PATH, runner::CARGO_TARGET_PATH),
        (guest::SENTINEL_NAME, runner::SENTINEL_NAME),
        (guest::USER, runner::USER),
        (guest::LOG_NAME, runner::LOG_NAME),
        (guest::RESULT_NAME, runner::RESULT_NAME),
    ];
    assert_eq!(guest::LOG_BYTES_MAX, runner::LOG_BYTES_MAX);
    for (host, guest) in words {
        assert_eq!(host, guest);
    }
}

#[test]
fn every_status_that_the_guest_runner_writes_is_known_to_the_host() {
    use guest::GuestStatus as Host;
    use runner::GuestStatus as Guest;
    let statuses = [
        (Guest::Passed, Host::Passed),
        (Guest::Failed, Host::Failed),
        (Guest::TimedOut, Host::TimedOut),
        (Guest::Cancelled, Host::Cancelled),
        (Guest::Refused, Host::Refused),
    ];
    for (written, expected) in statuses {
        let at = "2026-03-01T14:22:33Z".parse().unwrap();
        let message = Some("said by the guest".to_owned());
        let report = runner::GuestReport {
            status: written,
            exit_code: Some(9),
            started_at: at,
            finished_at: at,
            message,
        };
        let read = GuestResult::parse(&serde_json::to_vec(&report).unwrap()).unwrap();
        assert_eq!(read.status, expected);
        assert_eq!((read.exit_code, read.started_at, read.finished_at), (Some(9), at, at));
        assert_eq!(read.message, report.message);
    }
}
