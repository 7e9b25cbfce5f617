//! Projects, and the profiles within them.

use std::collections::BTreeMap;

use hyper::Method;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::call::{Call, segment};
use crate::client::{Client, Tagged};
use crate::error::Error;
use crate::instances::{Config, Devices};

/// A project.
#[derive(Clone, Debug, Deserialize)]
pub struct Project {
    /// Its name.
    pub name: String,
    /// Its keys: features, limits, restrictions.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub config: Config,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// A project to be made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewProject {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub config: Config,
    /// For people.
    pub description: String,
}

/// What a project uses of what it may use.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ProjectState {
    /// By resource: `instances`, `containers`, `virtual-machines`, `cpu`, `memory`, `disk`, `processes`.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub resources: BTreeMap<String, ProjectUsage>,
}

/// The use of one resource; bytes where it is memory or disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ProjectUsage {
    /// The limit; below 0: none.
    #[serde(rename = "Limit", alias = "limit")]
    pub limit: i64,
    /// What is used.
    #[serde(rename = "Usage", alias = "usage")]
    pub usage: i64,
}

/// A profile.
#[derive(Clone, Debug, Deserialize)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Its keys.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub config: Config,
    /// Its devices.
    #[serde(default, deserialize_with = "crate::answer::null_as_empty")]
    pub devices: Devices,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// A profile to be made.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NewProfile {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub config: Config,
    /// Its devices.
    pub devices: Devices,
    /// For people.
    pub description: String,
}

impl Client {
    /// Every project that the client may see.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        self.ask_list(Call::get("/1.0/projects").global().query("recursion", "1")).await
    }

    /// A project by name. [`Error::NotFound`] when there is none, or when the client may not see it.
    pub async fn find_project(&self, name: &str) -> Result<Tagged<Project>, Error> {
        self.ask_tagged(Call::get(project_path(name)).global())
            .await
            .map_err(|error| error.missing(|| format!("project {name}")))
    }

    /// What a project uses. [`Error::NotFound`] when there is none.
    pub async fn project_state(&self, name: &str) -> Result<ProjectState, Error> {
        self.ask(Call::get(format!("{}/state", project_path(name))).global()).await
    }

    /// Makes a project. [`Error::Conflict`] when there is one of that name.
    pub async fn create_project(&self, project: &NewProject) -> Result<(), Error> {
        let body = serde_json::to_value(project).map_err(|error| Error::shape("new project", error))?;
        let made = self.tell(Call::new(Method::POST, "/1.0/projects").global().json(body)).await;
        match made {
            Err(error) => Err(self.conflict_if(error, self.find_project(&project.name)).await),
            Ok(()) => Ok(()),
        }
    }

    /// Sets keys of a project; an empty value removes one, and what is not named stays.
    ///
    /// [`Error::Refused`] when a key is not known, or does not fit what the project has in it already.
    pub async fn patch_project(&self, name: &str, config: &Config) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            // Not by PATCH: Incus 6.0 takes that for all keys that there are, so that the features of the project, its images
            // and profiles with them, would be switched off.
            let hurried = self.with_deadline(self.deadline().saturating_sub(start.elapsed()));
            let found = hurried.find_project(name).await?;
            let mut wanted = found.value.config;
            wanted.extend(config.clone());
            wanted.retain(|_, value| !value.is_empty());
            let body = serde_json::json!({ "config": wanted, "description": found.value.description });
            let hurried = self.with_deadline(self.deadline().saturating_sub(start.elapsed()));
            let call =
                Call::new(Method::PUT, project_path(name)).global().json(body).if_match(Some(&found.tag));
            match hurried.tell(call).await {
                // Somebody else changed it between the two.
                Err(Error::Stale { .. }) => {}
                done => return done,
            }
        }
    }

    /// Removes an empty project. [`Error::Refused`] when it is not empty, [`Error::NotFound`] when there is none.
    pub async fn delete_project(&self, name: &str) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, project_path(name)).global()).await
    }

    /// Every profile of the project.
    pub async fn profiles(&self) -> Result<Vec<Profile>, Error> {
        self.ask_list(Call::get("/1.0/profiles").query("recursion", "1")).await
    }

    /// A profile by name. [`Error::NotFound`] when there is none.
    pub async fn profile(&self, name: &str) -> Result<Tagged<Profile>, Error> {
        self.ask_tagged(Call::get(profile_path(name)))
            .await
            .map_err(|error| error.missing(|| format!("profile {name} in project {}", self.project())))
    }

    /// Makes a profile. [`Error::Conflict`] when there is one of that name.
    pub async fn create_profile(&self, profile: &NewProfile) -> Result<(), Error> {
        let body = serde_json::to_value(profile).map_err(|error| Error::shape("new profile", error))?;
        match self.tell(Call::new(Method::POST, "/1.0/profiles").json(body)).await {
            Err(error) => Err(self.conflict_if(error, self.profile(&profile.name)).await),
            Ok(()) => Ok(()),
        }
    }

    /// Incus 6.0 has no word of its own (409) for a project or profile that exists already: it is looked for.
    async fn conflict_if<T>(&self, error: Error, existing: impl Future<Output = Result<T, Error>>) -> Error {
        match error {
            Error::Refused { what, status: 500, message } if existing.await.is_ok() => {
                Error::Conflict { what, message }
            }
            error => error,
        }
    }

    /// Replaces a profile's keys and devices, for the instances that use it too. [`Error::NotFound`] when there is none.
    pub async fn put_profile(&self, profile: &NewProfile) -> Result<(), Error> {
        let body = serde_json::to_value(profile).map_err(|error| Error::shape("profile", error))?;
        self.tell(Call::new(Method::PUT, profile_path(&profile.name)).json(body)).await
    }

    /// Removes a profile that no instance uses. [`Error::Refused`] when one does, [`Error::NotFound`] when there is none.
    pub async fn delete_profile(&self, name: &str) -> Result<(), Error> {
        self.tell(Call::new(Method::DELETE, profile_path(name))).await
    }
}

fn project_path(name: &str) -> String {
    format!("/1.0/projects/{}", segment(name))
}

fn profile_path(name: &str) -> String {
    format!("/1.0/profiles/{}", segment(name))
}
