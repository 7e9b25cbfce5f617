//! A project of the shared daemon, for one test or one test program.
//!
//! Invariant: names never repeat, so that tests that run at once, or one after another that died, meet nobody's instances.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::{Daemon, TestbedError};

/// A project with images, profiles and instances of its own. Dropped, it is deleted with everything in it.
#[derive(Debug)]
pub struct Project {
    daemon: Daemon,
    name: String,
    is_deleted: bool,
}

impl Project {
    pub(crate) fn create(daemon: &Daemon, prefix: &str) -> Result<Project, TestbedError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: the name is part of the paths of an instance's sockets.
        let name = format!("{prefix}-{:x}-{count}", std::process::id());
        daemon.incus(&["project", "create", &name])?;
        let project = Project { daemon: daemon.clone(), name, is_deleted: false };
        project.incus(&["profile", "device", "add", "default", "root", "disk", "path=/", "pool=default"])?;
        Ok(project)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The daemon that has it.
    pub fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    /// Runs the command line client in this project and returns what it printed.
    pub fn incus(&self, arguments: &[&str]) -> Result<String, TestbedError> {
        self.daemon.incus(&[&["--project", &self.name], arguments].concat())
    }

    /// Deletes it with everything in it.
    pub fn delete(mut self) -> Result<(), TestbedError> {
        self.is_deleted = true;
        self.delete_all()
    }

    fn delete_all(&self) -> Result<(), TestbedError> {
        let instances = self.list(&["list", "--format=csv", "--columns=n"])?;
        // At once: each takes half a second to stop. One that somebody else deletes meanwhile is no fault.
        thread::scope(|scope| {
            for instance in &instances {
                scope.spawn(|| self.incus(&["delete", "--force", instance]));
            }
        });
        for image in self.list(&["image", "list", "--format=csv", "--columns=f"])? {
            self.incus(&["image", "delete", &image])?;
        }
        // Incus 6.0.0 does not know `force`, and needs none for an empty project. The client's own would ask first.
        let path = format!("/1.0/projects/{}?force=true", self.name);
        self.daemon.incus(&["query", "--request=DELETE", &path]).map(|_| ())
    }

    fn list(&self, arguments: &[&str]) -> Result<Vec<String>, TestbedError> {
        Ok(self.incus(arguments)?.lines().map(str::to_owned).collect())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.is_deleted {
            return;
        }
        let deleted = self.delete_all();
        // What is left would slow down whoever shares the daemon; a test that already fails says something more useful.
        if !thread::panicking() {
            deleted.expect("the project can be deleted");
        }
    }
}
