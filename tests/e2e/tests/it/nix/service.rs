//! The modules for the forge and for a host of Incus.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use e2e::{Finished, pika_news, pikaci};
use serde_json::{Value, json};

use super::{bash, evaluated};

/// A unit file of this service, as NixOS writes it. What it starts is a program that every machine has.
fn unit(service: &Value) -> String {
    let mut text = "[Unit]\nDescription=under test\n[Service]\n".to_owned();
    for (key, value) in service["serviceConfig"].as_object().unwrap() {
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for value in values {
            let value = match value {
                Value::String(_) if key.starts_with("ExecStart") => "/bin/true".to_owned(),
                Value::String(text) => text,
                other => other.to_string(),
            };
            text.push_str(&format!("{key}={value}\n"));
        }
    }
    if !text.contains("\nExecStart=") {
        text.push_str("ExecStart=/bin/true\n");
    }
    text
}

/// What systemd complains about in a unit.
fn complaints(unit: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("under-test.service");
    fs::write(&file, unit).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&file).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

/// Whether systemd's own estimate of what a unit exposes, from 0 to 10, stays within a bound; in tenths.
fn exposes_at_most(unit: &str, tenths: u32) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("under-test.service");
    fs::write(&file, unit).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--no-pager", "--offline=yes", &format!("--threshold={tenths}")]).arg(&file);
    command.output().unwrap().status.success()
}

/// As much of TOML as JSON is, which the stand-in for nixpkgs writes instead.
fn toml(value: &Value) -> String {
    let table = |table: &serde_json::Map<String, Value>, between: &str| {
        let pairs = table.iter().map(|(key, value)| format!("{key:?} = {}", toml(value)));
        pairs.collect::<Vec<_>>().join(between)
    };
    match value {
        Value::Object(pairs) => format!("{{ {} }}", table(pairs, ", ")),
        Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

/// A file of TOML.
fn toml_file(value: &Value) -> String {
    let pairs = value.as_object().unwrap().iter();
    pairs.map(|(key, value)| format!("{key} = {}\n", toml(value))).collect()
}

#[test]
fn systemd_knows_every_setting_of_our_units() {
    let nix = evaluated();
    for service in [&nix["forge"]["local"], &nix["forge"]["incus"], &nix["host"]["whole"]] {
        assert_eq!(complaints(&unit(service)), "");
    }
    let misspelt = "[Service]\nExecStart=/bin/true\nProtectSytem=strict\n";
    assert!(complaints(misspelt).contains("ProtectSytem"));
}

#[test]
fn the_forge_may_do_little_and_less_where_jobs_run_elsewhere() {
    let forge = &evaluated()["forge"];
    for service in [&forge["local"], &forge["incus"]] {
        let settings = &service["serviceConfig"];
        assert_eq!(settings["User"], "pika-news");
        assert_eq!(settings["ProtectSystem"], "strict");
        assert_eq!((&settings["NoNewPrivileges"], &settings["ProtectHome"]), (&json!(true), &json!(true)));
        assert_eq!(settings["CapabilityBoundingSet"], "");
        assert_eq!((&settings["StateDirectoryMode"], &settings["UMask"]), (&json!("0700"), &json!("0077")));
        // A restart costs no run.
        assert_eq!(settings["KillMode"], "process");
    }
    assert!(exposes_at_most(&unit(&forge["incus"]), 20));
    assert!(exposes_at_most(&unit(&forge["local"]), 50));
    assert!(!exposes_at_most("[Service]\nExecStart=/bin/true\n", 50));
    assert_eq!(forge["off"], json!({}));
}

/// The keys of a unit file and their values.
fn settings(unit: &str) -> std::collections::BTreeMap<String, String> {
    let service = unit.split("\n[Service]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let pairs = service.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_unit_for_other_systems_is_as_hard_as_the_one_of_nixos() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = fs::read_to_string(root.join("packaging/systemd/pika-news.service")).unwrap();
    let installed = text.replace("/usr/local/bin/pika-news", "/bin/true");
    assert_eq!(complaints(&installed), "");
    assert!(exposes_at_most(&installed, 50));
    let ours = settings(&text);
    for (key, value) in evaluated()["forge"]["local"]["serviceConfig"].as_object().unwrap() {
        // What is started, and where its secrets come from, is each system's own.
        if key.starts_with("ExecStart") || key == "LoadCredential" {
            continue;
        }
        let words = |value: &Value| match value {
            Value::Bool(true) => "yes".to_owned(),
            Value::String(text) => text.clone(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        };
        assert_eq!(ours.get(key).map(String::as_str), Some(words(value).as_str()), "{key}");
    }
}

#[test]
fn secrets_reach_the_forge_as_credentials_and_never_through_the_store() {
    let forge = &evaluated()["forge"];
    assert_eq!(forge["local"]["serviceConfig"]["LoadCredential"], json!(["webhook:/etc/secrets/webhook"]));
    assert_eq!(forge["local"]["failed"], json!([]));
    let refusal = forge["leaking"].as_array().unwrap();
    assert!(refusal.len() == 1 && refusal[0].as_str().unwrap().contains("credentials"), "{refusal:?}");
    // The key of the restricted certificate is one of them.
    let loaded = forge["incus"]["serviceConfig"]["LoadCredential"].as_array().unwrap();
    assert!(loaded.contains(&json!("incus-client.key:/var/lib/pikaci-incus/client.key")), "{loaded:?}");
    assert_eq!(
        forge["incus"]["incusSettings"]["client_key"],
        "/run/credentials/pika-news.service/incus-client.key"
    );
}

#[test]
fn the_forge_takes_the_configuration_that_the_module_writes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pika-news.toml");
    for kind in ["local", "incus"] {
        let mut settings = evaluated()["forge"][kind]["settings"].clone();
        assert_eq!(settings["ci"]["executor"], kind);
        settings["ci"]["pikaci"] = json!(pikaci());
        fs::write(&file, toml_file(&settings)).unwrap();
        Finished::of(Command::new(pika_news()).args(["check-config", "--config"]).arg(&file)).expect(0);
        settings["ci"]["executer"] = json!("local");
        fs::write(&file, toml_file(&settings)).unwrap();
        Finished::of(Command::new(pika_news()).args(["check-config", "--config"]).arg(&file)).expect(1);
    }
}

#[test]
fn pikaci_takes_the_settings_for_incus_that_the_module_writes() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("incus.toml");
    let settings_of = |value: &Value| {
        fs::write(&settings, toml_file(value)).unwrap();
        let mut command = Command::new(pikaci());
        command.args(["image", "list"]).current_dir(folder.path());
        command.env("PIKACI_INCUS_SETTINGS", &settings).output().unwrap()
    };
    let mut written = evaluated()["forge"]["incus"]["incusSettings"].clone();
    // Every key is known; what is missing is a file that no test machine has.
    let said = String::from_utf8(settings_of(&written).stderr).unwrap();
    assert!(said.contains("/run/credentials/pika-news.service/incus-client.crt"), "{said}");
    written["clientkey"] = json!("x");
    let said = String::from_utf8(settings_of(&written).stderr).unwrap();
    assert!(said.contains("clientkey"), "{said}");
}

/// A program that writes down what it was called with, one argument a line.
fn recorder(folder: &Path, name: &str) {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\nprintf '%s\\n' {name} \"$@\" >> calls\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What the set-up of a host calls.
fn calls(host: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    recorder(folder.path(), "pikaci");
    recorder(folder.path(), "incus");
    let script = evaluated()["host"][host]["script"].as_str().unwrap();
    let script = script.replace("@pikaci@/bin/pikaci", "./pikaci");
    let mut command = bash(&script, folder.path());
    command.env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
    Finished::of(&mut command).expect(0);
    fs::read_to_string(folder.path().join("calls")).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_host_is_set_up_by_pikaci_itself() {
    let small = calls("small");
    let init = [
        "pikaci",
        "--state-root",
        "/var/lib/pikaci-incus/state",
        "init-incus",
        "--certificate",
        "/var/lib/pikaci-incus",
        "--share",
        "/var/lib/pika-news",
    ];
    assert_eq!(small[..init.len()], init);
    assert!(!small.contains(&"image".to_owned()));

    let whole = calls("whole");
    // As it was written, whatever a shell makes of it.
    let more = ["--pool", "it's", "--disk", "20GiB", "--max-instances", "8", "--egress", "incus"];
    assert_eq!(whole[init.len()..init.len() + more.len()], more);
    let import = ["image", "import", "@image@/pikaci-image.tar", "--alias", "pikaci/dev"];
    assert_eq!(whole[whole.len() - import.len()..], import);

    // Every option is one that the real program has.
    let help = Finished::of(Command::new(pikaci()).args(["init-incus", "--help"])).expect(0).output;
    for option in
        whole.iter().filter(|word| word.starts_with("--") && *word != "--project" && *word != "--alias")
    {
        assert!(help.contains(option.as_str()), "{option}");
    }
}

#[test]
fn a_host_lets_guests_ask_for_names_and_addresses_and_nothing_else() {
    let host = &evaluated()["host"]["small"];
    assert_eq!(host["incus"], true);
    assert_eq!(host["networking"]["nftables"]["enable"], true);
    let open = json!({ "pikaci": { "allowedTCPPorts": [53], "allowedUDPPorts": [53, 67] } });
    assert_eq!(host["networking"]["firewall"]["interfaces"], open);
    assert!(host["boot"]["kernelModules"].as_array().unwrap().contains(&json!("vhost_vsock")));
}
