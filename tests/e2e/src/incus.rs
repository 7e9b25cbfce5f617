//! A repository whose jobs run in instances of the daemon that all tests share.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use incus_testbed::Daemon;

use crate::{Finished, Process, Project, programs};

/// A [`Project`] with its own Incus project. Dropped, it leaves nothing on the server.
pub struct IncusProject {
    /// The repository.
    pub project: Project,
    name: String,
    daemon: Daemon,
}

impl IncusProject {
    /// Sets everything up through the product's own commands.
    #[track_caller]
    pub fn new(manifest: &str) -> IncusProject {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("e2e-{}-{number}", std::process::id());
        let manifest =
            format!("version = 1\n[defaults]\ninstance = \"container\"\nmemory = \"256MiB\"\n{manifest}");
        let world = IncusProject { project: Project::new(&manifest), name, daemon: Daemon::shared() };
        // A network would outlive the daemon, and no job here asks for one: its name is none that can be had.
        let settings = format!("project = {:?}\nnetwork = \"a/b\"\n", world.name);
        fs::write(world.settings(), settings).expect("the settings can be written");
        world.pikaci(&["init-incus"]).expect(0);
        let image = image().to_string_lossy().into_owned();
        world.pikaci(&["image", "import", &image]).expect(0);
        world
    }

    /// The Incus project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator's own command line, in the project. Returns what it printed.
    #[track_caller]
    pub fn incus(&self, arguments: &[&str]) -> String {
        let arguments: Vec<&str> =
            ["--project", &self.name].into_iter().chain(arguments.iter().copied()).collect();
        self.daemon.incus(&arguments).expect("the operator's command succeeds")
    }

    /// The operator's settings.
    pub fn settings(&self) -> PathBuf {
        self.project.state().path().with_file_name("incus.toml")
    }

    /// `pikaci …`, not started yet.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("INCUS_DIR", &self.daemon.incus_dir);
        command.env("PIKACI_INCUS_SETTINGS", self.settings()).env("PIKACI_EXECUTOR", "incus");
        command
    }

    /// Runs `pikaci …` to its end.
    #[track_caller]
    pub fn pikaci(&self, arguments: &[&str]) -> Finished {
        Finished::of(&mut self.command(arguments))
    }

    /// Starts `pikaci …` and lets it run.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Process {
        let log = self.settings().with_file_name("pikaci.log");
        Process::start(&mut self.command(arguments), &log)
    }

    /// The names of the instances that are there now.
    #[track_caller]
    pub fn instances(&self) -> Vec<String> {
        let listed =
            self.daemon.incus(&["list", "--project", &self.name, "--format", "csv", "--columns", "n"]);
        listed.expect("instances can be listed").lines().map(str::to_owned).collect()
    }
}

impl Drop for IncusProject {
    fn drop(&mut self) {
        for instance in self.instances() {
            let _ = self.daemon.incus(&["delete", "--force", "--project", &self.name, &instance]);
        }
        let listed = self.daemon.incus(&[
            "image",
            "list",
            "--project",
            &self.name,
            "--format",
            "csv",
            "--columns",
            "F",
        ]);
        for image in listed.unwrap_or_default().lines() {
            let _ = self.daemon.incus(&["image", "delete", "--project", &self.name, image]);
        }
        let _ = self.daemon.incus(&["profile", "delete", "--project", &self.name, "pikaci"]);
        let _ = self.daemon.incus(&["project", "delete", &self.name]);
    }
}

/// An image of this code's guest runner, built once.
fn image() -> &'static PathBuf {
    static IMAGE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let build = || {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("image.tar.gz");
        let runner = programs::guest_runner();
        let mut command = Command::new(programs::pikaci());
        command
            .args(["image", "build", "--recipe", "busybox", "--runner"])
            .arg(runner)
            .arg("--output")
            .arg(&file);
        Finished::of(&mut command).expect(0);
        (folder, file)
    };
    &IMAGE.get_or_init(build).1
}
