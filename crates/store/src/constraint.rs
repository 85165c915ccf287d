//! What the database refuses, as sentences: the constraints and what callers did to meet them.

use gantry_model::Error;

/// Name of a constraint, its columns as SQLite reports them, and what to tell the caller.
const UNIQUE: &[(&str, &str, &str)] = &[
    ("users_email", "users.email", "`email` is used by another account"),
    (
        "users_subject",
        "users.connection, users.subject",
        "another account belongs to this person of the identity provider",
    ),
    (
        "organizations_slug",
        "organizations.slug",
        "`name` leads to the same address as another organization's: pick another",
    ),
    (
        "members_account",
        "members.org_id, members.user_id",
        "this user is already a member of the organization",
    ),
    (
        "members_email",
        "members.org_id, members.email",
        "`email` is the address of a member, or was invited already: invite again instead",
    ),
    (
        "clusters_name",
        "clusters.org_id, clusters.name",
        "`name` is used by another cluster of this organization",
    ),
    ("clusters_domain", "clusters.domain", "`name` leads to a host name that is already in use"),
    (
        "resources_name",
        "resources.kind, resources.parent_id, resources.name",
        "`name` is already used by another object of the same kind here: pick another",
    ),
    (
        "loaded_plugins_management_id",
        "loaded_plugins.cluster_id, loaded_plugins.management_id",
        "`plugin_management_id` is already the id of another plugin of this cluster",
    ),
    (
        "resources_in_progress",
        "resources.cluster_id, resources.parent_id",
        "another canary release of this application is in progress: pause or finish it first",
    ),
    (
        "credentials_hash",
        "credentials.cluster_id, credentials.plugin, credentials.hash",
        "`credentials` holds a key, user name or access key that another consumer of this cluster \
         uses: each must be unique in the cluster",
    ),
    (
        "alert_policies_name",
        "alert_policies.cluster_id, alert_policies.name",
        "`name` is used by another alert policy of this cluster",
    ),
    (
        "alert_webhooks_name",
        "alert_webhooks.policy_id, alert_webhooks.name",
        "`name` is used by another webhook of this alert policy",
    ),
];

/// The error for a statement that failed in PostgreSQL: a conflict when a unique constraint said so.
pub(crate) fn error(error: sqlx::Error) -> Error {
    let Some(database) = error.as_database_error() else { return Error::internal(error) };
    if !database.is_unique_violation() {
        return Error::internal(error);
    }
    let constraint = database.constraint();
    match UNIQUE.iter().find(|(name, ..)| constraint == Some(*name)) {
        Some((.., sentence)) => Error::conflict(*sentence),
        None => Error::internal(error),
    }
}

/// The same for SQLite, which names the columns.
pub(crate) fn sqlite_error(error: rusqlite::Error) -> Error {
    let rusqlite::Error::SqliteFailure(_, Some(message)) = &error else {
        return Error::internal(error);
    };
    let violated = message.strip_prefix("UNIQUE constraint failed: ");
    match UNIQUE.iter().find(|(_, columns, _)| violated == Some(*columns)) {
        Some((.., sentence)) => Error::conflict(*sentence),
        None => Error::internal(error),
    }
}
