//! An application: backends, the hosts and path prefix it is reached by, and what its APIs share.

use serde::{Deserialize, Serialize};

use super::{DRAFT, PUBLISHED, Plugins, UpstreamVersion, null_as_default};
use crate::{Id, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    Http,
    Https,
}

/// Contract, schema `ApplicationSpec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApplicationSpec {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(deserialize_with = "null_as_default")]
    pub hosts: Vec<String>,
    pub path_prefix: String,
    /// Older, single form of `protocols`; read, never written.
    #[serde(default, skip_serializing)]
    pub protocol: Option<Protocol>,
    /// Empty means both.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub protocols: Vec<Protocol>,
    #[serde(deserialize_with = "null_as_default")]
    pub upstreams: Vec<UpstreamVersion>,
    #[serde(default = "default_version")]
    pub default_upstream_version: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub plugins: Plugins,
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: Vec<String>,
    #[serde(default)]
    pub active: u8,
}

fn default_version() -> String {
    "default".into()
}

impl ApplicationSpec {
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.active == PUBLISHED
    }

    /// The one protocol clients must use, if only one is allowed.
    #[must_use]
    pub fn only_protocol(&self) -> Option<Protocol> {
        match (self.protocols.as_slice(), self.protocol) {
            ([one], _) => Some(*one),
            ([], old) => old,
            _ => None,
        }
    }

    #[must_use]
    pub fn upstream(&self, version: &str) -> Option<&UpstreamVersion> {
        self.upstreams.iter().find(|entry| entry.version == version)
    }

    /// One spelling for each meaning: the old `protocol` becomes `protocols`, an empty default
    /// version becomes `default`, any draft number becomes [`DRAFT`].
    #[must_use]
    pub fn normalized(mut self) -> Self {
        if let Some(only) = self.protocol.take()
            && self.protocols.is_empty()
        {
            self.protocols = vec![only];
        }
        if self.default_upstream_version.is_empty() {
            self.default_upstream_version = default_version();
        }
        if self.active != PUBLISHED {
            self.active = DRAFT;
        }
        self
    }
}

/// Contract, schema `Application`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Application {
    pub id: Id,
    pub cluster_id: Id,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub spec: ApplicationSpec,
    /// Server certificates whose names cover one of the hosts.
    pub available_cert_ids: Vec<Id>,
    /// Canary releases in progress.
    pub canary_release_id: Vec<Id>,
    /// Versions used by canary releases in progress or paused.
    pub canary_upstream_version_list: Vec<String>,
}
