//! The members of a cluster.

use serde::Deserialize;

use crate::call::{Call, segment};
use crate::client::Client;
use crate::error::Error;

/// A member of a cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// Its name, for [`Client::with_target`].
    pub server_name: String,
    /// Where it listens.
    #[serde(default)]
    pub url: String,
    /// `Online`, `Offline` and the like.
    #[serde(default)]
    pub status: String,
    /// More on that.
    #[serde(default)]
    pub message: String,
}

/// What a member has.
#[derive(Clone, Debug, Deserialize)]
pub struct MemberState {
    /// Its machine.
    #[serde(default)]
    pub sysinfo: serde_json::Value,
}

impl Client {
    /// Every member, when the server is one of a cluster; else [`Error::Refused`].
    pub async fn cluster_members(&self) -> Result<Vec<Member>, Error> {
        self.ask_list(Call::get("/1.0/cluster/members").global().query("recursion", "1")).await
    }

    /// What a member has. [`Error::NotFound`] when there is no such member.
    pub async fn cluster_member_state(&self, member: &str) -> Result<MemberState, Error> {
        self.ask(Call::get(format!("/1.0/cluster/members/{}/state", segment(member))).global()).await
    }
}
