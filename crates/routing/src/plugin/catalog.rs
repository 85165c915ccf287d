//! What is known about each plugin; the data was read from APISIX itself.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;
use serde_json::Value;

use super::Role;
use crate::schema::Schema;

/// One plugin of APISIX.
#[derive(Debug, Deserialize)]
pub struct Plugin {
    #[serde(skip)]
    pub name: String,
    /// Larger runs earlier.
    pub priority: i64,
    /// Such as `security` or `traffic`.
    pub category: String,
    /// `auth` for plugins that find out the consumer.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// One sentence.
    pub purpose: String,
    #[serde(default)]
    pub phases: Vec<String>,
    pub enabled_by_default: bool,
    /// Of `global`, `service`, `route`, `consumer`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// JSON Schema, draft 7, as the following two.
    pub schema: Value,
    /// Of the credential, for plugins of authentication.
    pub consumer_schema: Option<Value>,
    pub metadata_schema: Option<Value>,
    /// `prefer_route`: not run globally if the route has it too.
    pub run_policy: Option<String>,
    #[serde(default)]
    encrypt_fields: Vec<String>,
    #[serde(default)]
    encrypt_fields_consumer: Vec<String>,
    #[serde(default)]
    encrypt_fields_metadata: Vec<String>,
    #[serde(skip)]
    compiled: [OnceLock<Result<Schema, String>>; 3],
}

#[expect(clippy::expect_used, reason = "the data is embedded, and every test reads it")]
static CATALOG: LazyLock<BTreeMap<String, Plugin>> = LazyLock::new(|| {
    let mut catalog: BTreeMap<String, Plugin> =
        serde_json::from_str(include_str!("../../data/plugins.json"))
            .expect("the embedded catalog of plugins is valid");
    for (name, plugin) in &mut catalog {
        plugin.name.clone_from(name);
        crate::schema::portable(&mut plugin.schema);
    }
    catalog
});

/// Finds a plugin by name.
#[must_use]
pub fn get(name: &str) -> Option<&'static Plugin> {
    CATALOG.get(name)
}

/// All plugins by name.
pub fn all() -> impl Iterator<Item = &'static Plugin> {
    CATALOG.values()
}

/// What protects outside the categories that are about it.
const PROTECTING: [&str; 14] = [
    "ai-aliyun-content-moderation",
    "ai-aws-content-moderation",
    "ai-lakera-guard",
    "ai-prompt-guard",
    "ai-rate-limiting",
    "client-control",
    "graphql-limit-count",
    "limit-conn",
    "limit-count",
    "limit-req",
    "oas-validator",
    "real-ip",
    "request-validation",
    "workflow",
];

impl Plugin {
    /// Whether it finds out who the consumer is.
    #[must_use]
    pub fn is_auth(&self) -> bool {
        self.kind.as_deref() == Some("auth")
    }

    /// Whether requests get through without it that should not: authentication and access control,
    /// limits, checks of what is sent, and real-ip, whose address both go by.
    #[must_use]
    pub fn protects(&self) -> bool {
        matches!(&*self.category, "authentication" | "security")
            || PROTECTING.contains(&&*self.name)
    }

    /// The schema for a role; None if anything goes.
    #[must_use]
    pub fn schema_for(&self, role: Role) -> Option<&Value> {
        match role {
            Role::Switch => Some(&self.schema),
            Role::Consumer => Some(self.consumer_schema.as_ref().unwrap_or(&self.schema)),
            Role::Metadata => self.metadata_schema.as_ref(),
        }
    }

    /// As `schema_for`; compiled at first use.
    pub(super) fn compiled(&'static self, role: Role) -> Option<&'static Result<Schema, String>> {
        let source = self.schema_for(role)?;
        let [switch, consumer, metadata] = &self.compiled;
        let cell = match role {
            Role::Consumer if self.consumer_schema.is_some() => consumer,
            Role::Switch | Role::Consumer => switch,
            Role::Metadata => metadata,
        };
        Some(cell.get_or_init(|| Schema::compile(source)))
    }

    pub(super) fn secret_fields(&self, role: Role) -> &[String] {
        match role {
            Role::Consumer if self.consumer_schema.is_some() => &self.encrypt_fields_consumer,
            Role::Switch | Role::Consumer => &self.encrypt_fields,
            Role::Metadata => &self.encrypt_fields_metadata,
        }
    }
}
