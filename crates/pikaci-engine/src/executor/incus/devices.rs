//! The devices and keys of an instance. Pure: a context in, configuration out.

use std::collections::BTreeMap;

use incus_client::{Config, Devices};
use pikaci::InstanceType;

use super::RemoteLinuxVmContext;
use super::context::key;

/// The disk devices of an attempt's inputs, all read-only, and its network, if it has one.
///
/// Virtual machines get `io.bus=virtiofs`, so that a fall-back to 9p is an error and not a slow job, and
/// `io.cache=metadata`: what is shared never changes. Containers know neither key.
pub fn configure_remote_incus_devices(context: &RemoteLinuxVmContext) -> Devices {
    let mut devices = Devices::new();
    for mount in &context.mounts {
        let (source, path) = (mount.share.source.to_string_lossy(), &mount.share.path);
        let mut keys = device(&[("type", "disk"), ("source", &source), ("path", path), ("readonly", "true")]);
        if context.kind == InstanceType::VirtualMachine {
            keys.extend(device(&[("io.bus", "virtiofs"), ("io.cache", "metadata")]));
        }
        devices.insert(mount.device.clone(), keys);
    }
    if let Some(network) = &context.network {
        devices.insert("eth0".to_owned(), device(&[("type", "nic"), ("network", network), ("name", "eth0")]));
    }
    devices
}

/// The keys of a job's instance: its limits, what it may not do, and whose it is.
pub(crate) fn instance_keys(context: &RemoteLinuxVmContext) -> Config {
    let mut keys = guest_keys(context.kind, context.cpus, context.memory_bytes, context.processes_max);
    keys.extend(job_keys(context));
    keys
}

/// What ties an instance to its attempt.
pub(crate) fn job_keys(context: &RemoteLinuxVmContext) -> Config {
    device(&[
        (key::RUN, context.run_id.as_str()),
        (key::JOB, context.job_id.as_str()),
        (key::ATTEMPT, &context.attempt.to_string()),
        (key::DEADLINE, &context.deadline.as_second().to_string()),
        (key::OWNER, &context.owner),
        (key::STATE, "taken"),
    ])
}

/// Limits, and what no guest may do.
pub(crate) fn guest_keys(kind: InstanceType, cpus: u32, memory_bytes: u64, processes_max: u32) -> Config {
    let mut keys = limit_keys(cpus, memory_bytes);
    match kind {
        InstanceType::Container => keys.extend(device(&[
            ("limits.processes", &processes_max.to_string()),
            ("security.privileged", "false"),
            ("security.nesting", "false"),
            // The guest can't ask Incus for anything.
            ("security.guestapi", "false"),
        ])),
        InstanceType::VirtualMachine => keys.extend(device(&[
            ("security.guestapi", "false"),
            // What an image boots is the operator's; a NixOS image is signed by nobody.
            ("security.secureboot", "false"),
        ])),
    }
    keys
}

/// Processors and memory. `limits.memory` without a unit is bytes.
pub(crate) fn limit_keys(cpus: u32, memory_bytes: u64) -> Config {
    device(&[("limits.cpu", &cpus.to_string()), ("limits.memory", &memory_bytes.to_string())])
}

fn device(keys: &[(&str, &str)]) -> BTreeMap<String, String> {
    keys.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::context::sample_remote_context;
    use super::*;

    #[test]
    fn inputs_are_read_only_disks_and_a_virtual_machine_may_not_fall_back_to_a_slower_bus() {
        let devices = configure_remote_incus_devices(&sample_remote_context());
        let snapshot = &devices["snapshot"];
        assert_eq!(snapshot["readonly"], "true");
        assert_eq!(snapshot["path"], "/workspace/snapshot");
        assert_eq!(snapshot["io.bus"], "virtiofs");
        assert_eq!(devices.len(), 1, "no network unless the job asks for one");
        let container = RemoteLinuxVmContext { kind: InstanceType::Container, ..sample_remote_context() };
        let devices = configure_remote_incus_devices(&container);
        assert!(!devices["snapshot"].keys().any(|key| key.starts_with("io.")), "containers refuse them");
    }

    #[test]
    fn a_job_that_asks_for_a_network_gets_the_operators() {
        let context = RemoteLinuxVmContext { network: Some("pikaci".to_owned()), ..sample_remote_context() };
        assert_eq!(configure_remote_incus_devices(&context)["eth0"]["network"], "pikaci");
    }

    #[test]
    fn every_instance_can_be_found_by_its_keys_and_a_container_has_no_way_up() {
        let container = RemoteLinuxVmContext { kind: InstanceType::Container, ..sample_remote_context() };
        let keys = instance_keys(&container);
        for key in [key::RUN, key::JOB, key::ATTEMPT, key::DEADLINE, key::OWNER] {
            assert!(keys.contains_key(key), "{key}");
        }
        assert_eq!(keys["security.privileged"], "false");
        assert_eq!(keys["security.nesting"], "false");
        assert_eq!(keys["limits.memory"], (4_u64 << 30).to_string());
        assert!(keys.contains_key("limits.processes"));
    }
}
