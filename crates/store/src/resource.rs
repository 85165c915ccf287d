//! Configuration kinds: one table for documents that differ in fields, not in behaviour, and the
//! small tables that make their labels, names, credentials and references searchable and unique.

use gantry_model::{Error, Id, ListQuery, Result, Timestamp};

use crate::Tx;
use crate::db::{LIST_MAX, Row, Sql, Val, placeholders, vals};
use crate::list::{self, List};

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Application,
    Api,
    Consumer,
    Certificate,
    LogCollection,
    ServiceRegistry,
    CanaryRelease,
}

impl Kind {
    /// The kind in tables and audit entries.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::Api => "api",
            Self::Consumer => "consumer",
            Self::Certificate => "certificate",
            Self::LogCollection => "log_collection",
            Self::ServiceRegistry => "service_registry",
            Self::CanaryRelease => "canary_release",
        }
    }

    /// The kind in messages.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::LogCollection => "log collection",
            Self::CanaryRelease => "canary release",
            Self::ServiceRegistry => "service registry",
            other => other.name(),
        }
    }

    fn named(name: &str) -> Result<Self> {
        let all = [
            Self::Application,
            Self::Api,
            Self::Consumer,
            Self::Certificate,
            Self::LogCollection,
            Self::ServiceRegistry,
            Self::CanaryRelease,
        ];
        let found = all.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| Error::internal(format!("there are no resources of the kind `{name}`")))
    }

    /// Sort fields of the contract and the columns behind them, the default first.
    fn orders(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Application => &[
                ("updated_at", "t.updated_at"),
                ("created_at", "t.created_at"),
                ("name", "t.name"),
                ("path_prefix", "t.sort_text"),
            ],
            Self::Api | Self::Consumer | Self::LogCollection | Self::ServiceRegistry => &[
                ("updated_at", "t.updated_at"),
                ("created_at", "t.created_at"),
                ("name", "t.name"),
            ],
            Self::Certificate => &[
                ("updated_at", "t.updated_at"),
                ("created_at", "t.created_at"),
                ("not_after", "t.sort_number"),
            ],
            Self::CanaryRelease => {
                &[("updated_at", "t.updated_at"), ("created_at", "t.created_at")]
            }
        }
    }
}

/// A row of `resources`.
#[derive(Clone, Debug)]
pub struct ResourceRow {
    pub id: Id,
    pub kind: Kind,
    pub cluster_id: Id,
    /// The application of APIs and canary releases, the cluster of everything else.
    pub parent_id: Id,
    /// Unique below the parent; certificates have none.
    pub name: Option<String>,
    pub active: u8,
    pub sort_text: String,
    pub sort_number: i64,
    /// What a search looks at, in lower case.
    pub search_text: String,
    /// What filters by label look at: see [`label_text`].
    pub label_text: String,
    pub spec_sealed: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn resource(kind: Kind, row: &Row) -> Result<ResourceRow> {
    Ok(ResourceRow {
        id: row.id("id")?,
        kind,
        cluster_id: row.id("cluster_id")?,
        parent_id: row.id("parent_id")?,
        name: row.text_or_null("name")?,
        active: u8::from(row.int("active")? != 0),
        sort_text: row.text("sort_text")?,
        sort_number: row.int("sort_number")?,
        search_text: row.text("search_text")?,
        label_text: row.text("label_text")?,
        spec_sealed: row.text("spec_sealed")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(crate) fn resources(kind: Kind, rows: &[Row]) -> Result<Vec<ResourceRow>> {
    rows.iter().map(|row| resource(kind, row)).collect()
}

/// Resources with their specifications.
pub(crate) const RESOURCES: &str = "resources t JOIN resource_specs s ON s.resource_id = t.id";

/// `\na\nb\n`: each label of a resource between line feeds, which no label contains.
#[must_use]
pub fn label_text(labels: &[String]) -> String {
    if labels.is_empty() { String::new() } else { format!("\n{}\n", labels.join("\n")) }
}

/// Rows of several kinds.
pub(crate) fn of_any_kind(rows: &[Row]) -> Result<Vec<ResourceRow>> {
    rows.iter().map(|row| resource(Kind::named(&row.text("kind")?)?, row)).collect()
}

/// One page of the resources below a parent.
pub async fn list(
    tx: &mut Tx,
    kind: Kind,
    parent: Id,
    query: &ListQuery,
) -> Result<(Vec<ResourceRow>, i64)> {
    // The kind once more as a constant where an index is about one kind only.
    let scope = match kind {
        Kind::Application => "t.kind = $1 AND t.kind = 'application' AND t.parent_id = $2",
        Kind::Certificate => "t.kind = $1 AND t.kind = 'certificate' AND t.parent_id = $2",
        _ => "t.kind = $1 AND t.parent_id = $2",
    };
    let total = count(tx, kind, parent).await?;
    page(tx, kind, scope, vals![parent], Some(total), query).await
}

/// One page of a whole cluster's APIs.
pub async fn list_in_cluster(
    tx: &mut Tx,
    cluster: Id,
    query: &ListQuery,
) -> Result<(Vec<ResourceRow>, i64)> {
    let scope = "t.kind = $1 AND t.kind = 'api' AND t.cluster_id = $2";
    let total = count(tx, Kind::Api, cluster).await?;
    page(tx, Kind::Api, scope, vals![cluster], Some(total), query).await
}

/// One page of the applications, or of their APIs, that a member looks after in a cluster.
pub async fn list_of_service_admin(
    tx: &mut Tx,
    kind: Kind,
    cluster: Id,
    member: Id,
    query: &ListQuery,
) -> Result<(Vec<ResourceRow>, i64)> {
    let scope = match kind {
        Kind::Api => {
            "t.kind = $1 AND t.cluster_id = $2 AND t.parent_id IN
                 (SELECT s.app_id FROM service_admins s WHERE s.member_id = $3)"
        }
        _ => {
            "t.kind = $1 AND t.cluster_id = $2 AND t.id IN
                 (SELECT s.app_id FROM service_admins s WHERE s.member_id = $3)"
        }
    };
    page(tx, kind, scope, vals![cluster, member], None, query).await
}

async fn page(
    tx: &mut Tx,
    kind: Kind,
    scope: &'static str,
    owners: Vec<Val>,
    total: Option<i64>,
    query: &ListQuery,
) -> Result<(Vec<ResourceRow>, i64)> {
    let list =
        List { columns: "t.*, s.spec_sealed", from: RESOURCES, scope, orders: kind.orders() };
    let mut values = vals![kind.name()];
    values.extend(owners);
    let (rows, count) = list::long_page(tx, &list, "resources t", values, total, query).await?;
    Ok((resources(kind, &rows)?, count))
}

/// Number of resources of a kind below an application or in a cluster.
async fn count(tx: &mut Tx, kind: Kind, owner: Id) -> Result<i64> {
    let row = tx
        .row(
            "SELECT resources FROM resource_counts WHERE owner_id = $1 AND kind = $2",
            vals![owner, kind.name()],
        )
        .await?;
    row.map_or(Ok(0), |row| row.int("resources"))
}

pub async fn find(tx: &mut Tx, kind: Kind, id: Id) -> Result<Option<ResourceRow>> {
    let sql = format!("SELECT * FROM {RESOURCES} WHERE t.id = $1 AND t.kind = $2");
    let row = tx.row(Sql::assembled(sql), vals![id, kind.name()]).await?;
    row.as_ref().map(|row| resource(kind, row)).transpose()
}

pub async fn find_named(
    tx: &mut Tx,
    kind: Kind,
    parent: Id,
    name: &str,
) -> Result<Option<ResourceRow>> {
    let sql =
        format!("SELECT * FROM {RESOURCES} WHERE t.kind = $1 AND t.parent_id = $2 AND t.name = $3");
    let row = tx.row(Sql::assembled(sql), vals![kind.name(), parent, name]).await?;
    row.as_ref().map(|row| resource(kind, row)).transpose()
}

pub async fn find_many(tx: &mut Tx, kind: Kind, ids: &[Id]) -> Result<Vec<ResourceRow>> {
    let mut found = Vec::new();
    for ids in ids.chunks(LIST_MAX) {
        let sql = format!(
            "SELECT * FROM {RESOURCES} WHERE t.kind = $1 AND t.id IN ({}) ORDER BY t.id",
            placeholders(2, ids.len())
        );
        let mut values = vals![kind.name()];
        values.extend(list::ids(ids));
        found.extend(resources(kind, &tx.all(Sql::assembled(sql), values).await?)?);
    }
    Ok(found)
}

/// Every resource of one kind below a parent, by id.
pub async fn children(tx: &mut Tx, kind: Kind, parent: Id) -> Result<Vec<ResourceRow>> {
    let sql =
        format!("SELECT * FROM {RESOURCES} WHERE t.kind = $1 AND t.parent_id = $2 ORDER BY t.id");
    resources(kind, &tx.all(Sql::assembled(sql), vals![kind.name(), parent]).await?)
}

/// Every resource of one kind in a cluster, by id.
pub async fn all(tx: &mut Tx, kind: Kind, cluster: Id) -> Result<Vec<ResourceRow>> {
    let sql =
        format!("SELECT * FROM {RESOURCES} WHERE t.cluster_id = $1 AND t.kind = $2 ORDER BY t.id");
    resources(kind, &tx.all(Sql::assembled(sql), vals![cluster, kind.name()]).await?)
}

pub async fn has_children(tx: &mut Tx, kind: Kind, parent: Id) -> Result<bool> {
    let row = tx
        .row(
            "SELECT id FROM resources WHERE kind = $1 AND parent_id = $2 LIMIT 1",
            vals![kind.name(), parent],
        )
        .await?;
    Ok(row.is_some())
}

pub async fn insert(tx: &mut Tx, row: &ResourceRow) -> Result<()> {
    tx.run(
        "INSERT INTO resources (id, kind, cluster_id, parent_id, name, active, sort_text,
             sort_number, search_text, label_text, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        vals![
            row.id,
            row.kind.name(),
            row.cluster_id,
            row.parent_id,
            row.name.as_deref(),
            i64::from(row.active),
            &row.sort_text,
            row.sort_number,
            &row.search_text,
            &row.label_text,
            row.created_at,
            row.updated_at,
        ],
    )
    .await?;
    tx.run(
        "INSERT INTO resource_specs (resource_id, spec_sealed) VALUES ($1, $2)",
        vals![row.id, &row.spec_sealed],
    )
    .await?;
    count_one_more(tx, row).await
}

async fn count_one_more(tx: &mut Tx, row: &ResourceRow) -> Result<()> {
    let mut values = vals![row.kind.name(), row.cluster_id];
    let mut owners = String::from("($2, $1, $2, 1)");
    if row.parent_id != row.cluster_id {
        values.push(row.parent_id.into());
        owners += ", ($3, $1, $2, 1)";
    }
    let sql = format!(
        "INSERT INTO resource_counts (owner_id, kind, cluster_id, resources) VALUES {owners}
         ON CONFLICT (owner_id, kind) DO UPDATE SET resources = resource_counts.resources + 1"
    );
    tx.run(Sql::assembled(sql), values).await?;
    Ok(())
}

/// Replaces everything but id, kind, cluster, parent and time of creation.
pub async fn update(tx: &mut Tx, row: &ResourceRow) -> Result<()> {
    tx.run(
        "UPDATE resources SET name = $2, active = $3, sort_text = $4, sort_number = $5,
             search_text = $6, label_text = $7, updated_at = $8 WHERE id = $1",
        vals![
            row.id,
            row.name.as_deref(),
            i64::from(row.active),
            &row.sort_text,
            row.sort_number,
            &row.search_text,
            &row.label_text,
            row.updated_at,
        ],
    )
    .await?;
    tx.run(
        "UPDATE resource_specs SET spec_sealed = $2 WHERE resource_id = $1",
        vals![row.id, &row.spec_sealed],
    )
    .await?;
    Ok(())
}

/// Removes a resource with its labels, names, credentials and references to others.
pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    tx.run(
        "UPDATE resource_counts SET resources = resources - 1 WHERE (owner_id, kind) IN (
             SELECT r.parent_id, r.kind FROM resources r WHERE r.id = $1
             UNION SELECT r.cluster_id, r.kind FROM resources r WHERE r.id = $1)",
        vals![id],
    )
    .await?;
    tx.run("DELETE FROM resource_counts WHERE owner_id = $1", vals![id]).await?;
    tx.run("DELETE FROM resources WHERE id = $1", vals![id]).await?;
    Ok(())
}

/// Makes `labels` the labels of a resource.
pub async fn set_labels(tx: &mut Tx, row: &ResourceRow, labels: &[String]) -> Result<()> {
    tx.run("DELETE FROM labels WHERE resource_id = $1", vals![row.id]).await?;
    for label in labels {
        tx.run(
            "INSERT INTO labels (resource_id, label, cluster_id, kind) VALUES ($1, $2, $3, $4)
             ON CONFLICT (resource_id, label) DO NOTHING",
            vals![row.id, label, row.cluster_id, row.kind.name()],
        )
        .await?;
    }
    Ok(())
}

/// Labels in use by one kind in a cluster, each once, sorted.
pub async fn labels(tx: &mut Tx, cluster: Id, kind: Kind) -> Result<Vec<String>> {
    let rows = tx
        .all(
            // From label to label in the index, however many resources have each.
            "WITH RECURSIVE used (label) AS (
                 SELECT MIN(label) FROM labels WHERE cluster_id = $1 AND kind = $2
                 UNION ALL
                 SELECT (SELECT MIN(l.label) FROM labels l
                         WHERE l.cluster_id = $1 AND l.kind = $2 AND l.label > used.label)
                 FROM used WHERE used.label IS NOT NULL)
             SELECT label FROM used WHERE label IS NOT NULL ORDER BY label",
            vals![cluster, kind.name()],
        )
        .await?;
    rows.iter().map(|row| row.text("label")).collect()
}

/// Makes `names` what a resource serves: hosts with prefix, path patterns, or server names.
pub async fn set_served_names(tx: &mut Tx, row: &ResourceRow, names: &[String]) -> Result<()> {
    tx.run("DELETE FROM served_names WHERE resource_id = $1", vals![row.id]).await?;
    for name in names {
        tx.run(
            "INSERT INTO served_names (resource_id, name, cluster_id, kind)
             VALUES ($1, $2, $3, $4) ON CONFLICT (resource_id, name) DO NOTHING",
            vals![row.id, name, row.cluster_id, row.kind.name()],
        )
        .await?;
    }
    Ok(())
}

/// Which resources of a kind serve one of `names`, as pairs of name and id.
pub async fn serving(
    tx: &mut Tx,
    cluster: Id,
    kind: Kind,
    names: &[String],
) -> Result<Vec<(String, Id)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT name, resource_id FROM served_names
         WHERE cluster_id = $1 AND kind = $2 AND name IN ({}) ORDER BY resource_id, name",
        placeholders(3, names.len())
    );
    let mut values = vals![cluster, kind.name()];
    values.extend(names.iter().map(Val::from));
    let rows = tx.all(Sql::assembled(sql), values).await?;
    rows.iter().map(|row| Ok((row.text("name")?, row.id("resource_id")?))).collect()
}

/// Other resources of a kind than `own` that serve one of `names`, at most `limit` of them.
pub async fn also_serving(
    tx: &mut Tx,
    cluster: Id,
    kind: Kind,
    names: &[String],
    own: Id,
    limit: i64,
) -> Result<Vec<Id>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT DISTINCT resource_id FROM served_names
         WHERE cluster_id = $1 AND kind = $2 AND resource_id <> $3 AND name IN ({})
         ORDER BY resource_id LIMIT $4",
        placeholders(5, names.len())
    );
    let mut values = vals![cluster, kind.name(), own, limit];
    values.extend(names.iter().map(Val::from));
    tx.all(Sql::assembled(sql), values).await?.iter().map(|row| row.id("resource_id")).collect()
}

/// The plugin of the first of `hashes`, pairs of plugin and keyed hash, that is a credential of
/// another consumer than `consumer`.
pub async fn taken_credential(
    tx: &mut Tx,
    cluster: Id,
    consumer: Id,
    hashes: &[(String, String)],
) -> Result<Option<String>> {
    for (plugin, hash) in hashes {
        let row = tx
            .row(
                "SELECT plugin FROM credentials
                 WHERE cluster_id = $1 AND plugin = $2 AND hash = $3 AND consumer_id <> $4",
                vals![cluster, plugin, hash, consumer],
            )
            .await?;
        if let Some(row) = row {
            return row.text("plugin").map(Some);
        }
    }
    Ok(None)
}

/// Makes `hashes`, pairs of plugin and keyed hash, the credentials of a consumer.
pub async fn set_credentials(
    tx: &mut Tx,
    cluster: Id,
    consumer: Id,
    hashes: &[(String, String)],
) -> Result<()> {
    tx.run("DELETE FROM credentials WHERE consumer_id = $1", vals![consumer]).await?;
    for (plugin, hash) in hashes {
        tx.run(
            "INSERT INTO credentials (consumer_id, cluster_id, plugin, hash)
             VALUES ($1, $2, $3, $4)",
            vals![consumer, cluster, plugin, hash],
        )
        .await?;
    }
    Ok(())
}
