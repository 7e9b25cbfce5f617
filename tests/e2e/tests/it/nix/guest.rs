//! The image for virtual machines.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use e2e::{Finished, IncusProject, guest_runner};
use pikaci::guest as words;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{bash, evaluated};
use crate::manifest::target_text;

fn guest() -> &'static Value {
    &evaluated()["guest"]
}

#[test]
fn the_guest_has_what_the_contract_asks_for() {
    let guest = guest();
    assert_eq!(guest["packages"], json!(["pikaci-incus-run"]));
    assert_eq!(guest["users"]["users"]["pikaci"]["uid"], words::USER_ID);
    assert_eq!(guest["users"]["groups"]["pikaci"]["gid"], words::USER_ID);
    assert_eq!(guest["agent"]["enable"], true);
    assert_eq!(guest["agent"]["serviceConfig"]["KillMode"], "process");
    let modules = guest["boot"]["kernelModules"].as_array().unwrap();
    for module in ["9p", "9pnet_virtio", "virtiofs"] {
        assert!(modules.contains(&json!(module)), "{modules:?}");
    }
    // Closures are mounted below /nix/store, so their folders must be made there.
    assert!(!guest["boot"]["nixStoreMountOpts"].as_array().unwrap().contains(&json!("ro")));
    assert_eq!(guest["networking"]["usePredictableInterfaceNames"], false);
    assert_eq!(guest["network"]["10-eth0"]["networkConfig"]["DHCP"], "ipv4");
}

#[test]
fn the_mount_points_are_there_before_the_agent_mounts() {
    let guest = guest();
    let of_root = [
        "/workspace",
        words::SNAPSHOT_PATH,
        words::STAGED_PATH,
        "/staged/linux-rust",
        "/staged/linux-rust/workspace-deps",
        "/staged/linux-rust/workspace-build",
    ];
    let of_the_job = [words::ARTIFACTS_PATH, words::CARGO_HOME_PATH, words::CARGO_TARGET_PATH];
    let rule = |path: &str, owner: &str| json!(format!("d {path} 0755 {owner} {owner} -"));
    let rules: Vec<Value> = of_root
        .into_iter()
        .map(|path| rule(path, "root"))
        .chain(of_the_job.into_iter().map(|path| rule(path, words::USER)))
        .collect();
    assert_eq!(guest["tmpfiles"], json!(rules));
    assert_eq!(guest["agent"]["after"], json!(["systemd-tmpfiles-setup.service"]));
}

#[test]
fn nobody_signs_in_to_the_guest_and_nothing_listens_in_it() {
    let guest = guest();
    assert_eq!((&guest["sshd"], &guest["cloudInit"]), (&json!(false), &json!(false)));
    // A locked password, which an empty or absent one is not, and none that a boot could set.
    for user in ["root", "pikaci"] {
        assert_eq!(guest["users"]["users"][user]["hashedPassword"], "!");
    }
    assert_eq!(guest["users"]["mutableUsers"], false);
    let link = &guest["network"]["10-eth0"]["networkConfig"];
    assert_eq!((&link["LLMNR"], &link["MulticastDNS"]), (&json!("no"), &json!("no")));
}

#[test]
fn the_disk_has_no_trace_of_when_and_where_it_was_made() {
    let disk = &guest()["disk"];
    assert_eq!((&disk["copyChannel"], &disk["deterministic"]), (&json!(false), &json!(true)));
    assert_eq!((&disk["format"], &disk["partitionTableType"]), (&json!("qcow2-compressed"), &json!("efi")));
}

/// Packs an image as the derivation does, of a runner and a disk that are none.
fn packed() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("runner/bin")).unwrap();
    fs::create_dir(at("disk")).unwrap();
    fs::create_dir(at("build")).unwrap();
    fs::write(at("runner/bin/pikaci-incus-run"), "runner").unwrap();
    fs::write(at("disk/nixos.qcow2"), b"QFI\xfb").unwrap();
    fs::set_permissions(at("disk/nixos.qcow2"), fs::Permissions::from_mode(0o600)).unwrap();
    let script = guest()["script"].as_str().unwrap();
    let script = script
        .replace("@pikaci-incus-run@", at("runner").to_str().unwrap())
        .replace("@disk@", at("disk").to_str().unwrap());
    Finished::of(&mut bash(&script, &at("build"))).expect(0);
    let image = at("build/out/pikaci-image.tar");
    (folder, image)
}

#[test]
fn the_image_is_the_same_to_the_byte_and_says_what_is_in_it() {
    let (_folder, image) = packed();
    let (_other_folder, again) = packed();
    assert_eq!(fs::read(&image).unwrap(), fs::read(again).unwrap());

    let mut list = Command::new("tar");
    list.args(["--list", "--verbose", "--full-time", "--utc", "--numeric-owner", "--file"]).arg(&image);
    let listed = Finished::of(&mut list).expect(0).output;
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let [metadata, disk] = lines.as_slice() else { panic!("{listed}") };
    for (line, name) in [(metadata, "metadata.yaml"), (disk, "rootfs.img")] {
        assert_eq!(line.as_slice(), ["-rw-r--r--", "0/0", line[2], "2023-11-14", "22:13:20", name]);
    }

    let mut extract = Command::new("tar");
    extract.args(["--extract", "--to-stdout", "--file"]).arg(&image).arg("metadata.yaml");
    let metadata = Finished::of(&mut extract).expect(0).json();
    assert_eq!(metadata["creation_date"], 1_700_000_000);
    assert_eq!(metadata["architecture"], "x86_64");
    let properties = &metadata["properties"];
    assert_eq!(properties[words::IMAGE_CONTRACT_PROPERTY], words::IMAGE_CONTRACT_VERSION.to_string());
    assert_eq!(properties["pikaci.revision"], "0123abc");
    // Of the bytes `runner`.
    let digest = "527aa9f431539da8e151d5434d1d5e611d973f601d8e970790882624554146b0";
    assert_eq!(properties["pikaci.runner-sha256"], digest);
    let contract_id = properties["pikaci.contract-id"].as_str().unwrap();
    assert!(contract_id.starts_with("glibc-") && contract_id.len() == 70, "{contract_id}");
}

#[test]
fn incus_takes_the_image_for_one_of_virtual_machines() {
    let world = IncusProject::new(&target_text("check", &[("unused", "true")]));
    let (_folder, image) = packed();
    let image = image.to_str().unwrap();
    world.pikaci(&["image", "import", image, "--alias", "pikaci/nix"]).expect(0);
    let images = world.pikaci(&["image", "list", "--json"]).expect(0).json();
    let images = images.as_array().unwrap();
    let imported = images.iter().find(|image| image["aliases"] == json!(["pikaci/nix"])).unwrap();
    assert_eq!((&imported["type"], &imported["contract"]), (&json!("virtual-machine"), &json!("1")));
}

/// Whether a program passes what the package checks of its own.
fn passes_the_check_of_the_package(program: &[u8]) -> bool {
    let script =
        evaluated()["packages"]["pikaci-incus-run"]["arguments"]["installCheckPhase"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("out/bin")).unwrap();
    fs::write(folder.path().join("out/bin/pikaci-incus-run"), program).unwrap();
    bash(script, folder.path()).env("READELF", "readelf").output().unwrap().status.success()
}

#[test]
fn the_packaged_guest_runner_is_one_small_static_file() {
    let runner = &evaluated()["packages"]["pikaci-incus-run"];
    assert_eq!((&runner["asked"], &runner["arguments"]["buildType"]), (&json!("static"), &json!("guest")));
    let mut program = fs::read(guest_runner()).unwrap();
    assert!(passes_the_check_of_the_package(&program));
    program.resize(1_572_864, 0);
    assert!(!passes_the_check_of_the_package(&program));
    let dynamic = fs::read("/bin/true").unwrap();
    assert!(dynamic.len() < 1_572_864 && !passes_the_check_of_the_package(&dynamic));
}
