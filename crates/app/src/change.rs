//! The only way to change configuration: one transaction holds the cluster's row, the resource, the
//! revision with its keys, and the audit entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use futures::future::BoxFuture;
use gantry_model::config::Plugins;
use gantry_model::{Error, Id, Result, Timestamp};
use gantry_routing::digest::Digest;
use gantry_store::Tx;
use gantry_store::cluster::{self, ClusterRow};
use gantry_store::revision::{self, ChangeRow, KeyRow, RevisionRow};
use gantry_translate::{Keys, References, Surroundings};
use serde_json::Value;

use crate::act::Act;
use crate::audit::{self, Entry, Ledger};
use crate::object::Spec;
use crate::preview::{KeyChange, ObjectChange, Preview};
use crate::{Actor, App, Cx, Written, receipt, surroundings};

/// A change under way. The cluster's row is locked: what was read stays true until the commit.
pub(crate) struct Change<'t> {
    pub(crate) tx: &'t mut Tx,
    pub(crate) app: App,
    pub(crate) cluster: ClusterRow,
    pub(crate) now: Timestamp,
    /// Gantry itself writes, such as the sample of a first start: no plan limits it.
    pub(crate) by_system: bool,
    /// See [`Cx::optional_plugins`].
    pub(crate) optional_plugins: Vec<String>,
    /// Nothing will stay.
    dry_run: bool,
    /// Told to the caller beside the result.
    pub(crate) warning: Option<String>,
    /// New value of each key that may have changed; `None` for keys to go.
    keys: BTreeMap<String, Option<String>>,
    audit: Vec<Entry>,
    /// What became of the keys, for a dry run.
    changes: Vec<KeyChange>,
}

/// Changes a cluster that the actor may see. Nothing of a failing `work` stays.
pub(crate) async fn change<T, W>(cx: &Cx, cluster: Id, work: W) -> Result<Written<T>>
where
    T: Send + 'static,
    W: for<'c, 't> FnOnce(&'c mut Change<'t>) -> BoxFuture<'c, Result<T>> + Send + 'static,
{
    cx.see_cluster(&mut cx.app.db.read().await?, cluster).await?;
    let origin = cx.clone();
    let mut written = cx.app.db.write(move |tx| Box::pin(run(tx, origin, cluster, work))).await?;
    if let Some(wait) = cx.wait.filter(|_| !cx.dry_run) {
        written.delivery = Some(receipt::wait(&cx.app, cluster, written.revision, wait).await);
    }
    Ok(written)
}

async fn run<T, W>(tx: &mut Tx, cx: Cx, cluster: Id, work: W) -> Result<Written<T>>
where
    W: for<'c, 't> FnOnce(&'c mut Change<'t>) -> BoxFuture<'c, Result<T>>,
{
    if cx.dry_run {
        tx.rehearse();
    }
    let row = cluster::lock(tx, cluster).await?.ok_or_else(|| Error::not_found("cluster"))?;
    let before = row.config_version;
    let mut change = Change::new(tx, &cx, row);
    let value = work(&mut change).await?;
    change.write_revision(&cx).await?;
    let objects: Vec<ObjectChange> = change.audit.iter().map(ObjectChange::from).collect();
    change.write_audit(&cx, before).await?;
    let Change { cluster, warning, changes, .. } = change;
    if cx.dry_run {
        let preview = Some(Preview { revision: before, objects, changes });
        return Ok(Written { value, revision: before, warning, preview, delivery: None });
    }
    let revision = cluster.config_version;
    Ok(Written { value, revision, warning, preview: None, delivery: None })
}

/// Writes what a new cluster serves before anything is configured, in the transaction that made it.
pub(crate) async fn begin(
    act: &mut Act<'_>,
    cx: &Cx,
    cluster: ClusterRow,
    keys: Keys,
) -> Result<ClusterRow> {
    let mut change = Change::new(act.tx, cx, cluster);
    change.keys(Keys::new(), keys);
    change.write_revision(cx).await?;
    let cluster = change.cluster;
    let ledger = Ledger::Cluster { org: cluster.org_id, id: cluster.id };
    let after = Some(serde_json::json!({ "name": cluster.name }));
    act.audit_in(
        ledger,
        Entry { kind: "cluster", id: cluster.id.to_string(), before: None, after },
    );
    Ok(cluster)
}

impl<'t> Change<'t> {
    fn new(tx: &'t mut Tx, cx: &Cx, cluster: ClusterRow) -> Self {
        Self {
            app: cx.app.clone(),
            now: cx.app.now(),
            by_system: cx.actor == Actor::System,
            optional_plugins: cx.optional_plugins.clone(),
            dry_run: cx.dry_run,
            cluster,
            warning: None,
            keys: BTreeMap::new(),
            audit: Vec::new(),
            changes: Vec::new(),
            tx,
        }
    }

    /// What these resources refer to, as it is now.
    pub(crate) async fn around<S: Spec>(&mut self, specs: &[&S]) -> Result<Surroundings> {
        let references = specs.iter().map(|spec| spec.index().references).collect();
        surroundings::of(&self.app, self.tx, self.cluster.id, references).await
    }

    /// The same for plugins of the cluster itself.
    pub(crate) async fn around_plugins(&mut self, plugins: &[&Plugins]) -> Result<Surroundings> {
        let references = plugins.iter().map(|plugins| References::of_plugins(plugins)).collect();
        surroundings::of(&self.app, self.tx, self.cluster.id, references).await
    }

    /// Notes what a resource translated to and what it translates to now.
    pub(crate) fn keys(&mut self, before: Keys, after: Keys) {
        for key in before.into_keys() {
            self.keys.insert(key, None);
        }
        for (key, value) in after {
            self.keys.insert(key, Some(value));
        }
    }

    /// Notes what happened to a resource; secrets must be masked already.
    pub(crate) fn audit(
        &mut self,
        kind: &'static str,
        id: impl Display,
        before: Option<Value>,
        after: Option<Value>,
    ) {
        self.audit.push(Entry { kind, id: id.to_string(), before, after });
    }

    /// Writes the keys whose bytes differ from the stored ones as the next revision, if any do.
    async fn write_revision(&mut self, cx: &Cx) -> Result<()> {
        let keys = std::mem::take(&mut self.keys);
        let names: Vec<&str> = keys.keys().map(String::as_str).collect();
        let stored = revision::keys(self.tx, self.cluster.id, &names).await?;
        let stored: BTreeMap<&str, &KeyRow> =
            stored.iter().map(|row| (row.key.as_str(), row)).collect();
        let mut digest: Digest = self.cluster.digest.parse().map_err(Error::internal)?;
        let next = self.cluster.config_version + 1;
        let mut changes = Vec::new();
        for (key, value) in &keys {
            let old = stored.get(key.as_str()).copied();
            let change = self.key_change(next, key, value.as_deref(), old, &mut digest)?;
            changes.extend(change);
        }
        if changes.is_empty() {
            return Ok(());
        }
        sort(&mut changes);
        let row = RevisionRow {
            cluster_id: self.cluster.id,
            revision: next,
            created_at: self.now,
            actor: cx.actor.label(),
            operation: cx.operation.to_owned(),
            digest: digest.to_string(),
        };
        revision::insert(self.tx, &row, &changes).await?;
        self.cluster.config_version = next;
        let (app, cluster) = (self.app.clone(), self.cluster.id);
        self.tx.after_commit(move || app.feeds.wake(cluster, next));
        Ok(())
    }

    /// What becomes of one key; `None` if it stays as it is.
    fn key_change(
        &mut self,
        next: i64,
        key: &str,
        value: Option<&str>,
        old: Option<&KeyRow>,
        digest: &mut Digest,
    ) -> Result<Option<ChangeRow>> {
        let place = key_place(self.cluster.id, key);
        let old_value =
            old.map(|row| self.app.sealer.open_text(&place, &row.value_sealed)).transpose()?;
        if old_value.as_deref() == value {
            return Ok(None);
        }
        if self.dry_run {
            self.changes.push(KeyChange::new(key, old_value.as_deref(), value)?);
        }
        if let Some(old_value) = &old_value {
            digest.remove(key, old_value);
        }
        if let Some(value) = value {
            digest.add(key, value);
        }
        let value_sealed =
            value.map(|value| self.app.sealer.seal(&place, value.as_bytes())).transpose()?;
        let (create_revision, version) = match (old, value) {
            // As in etcd: a deleted key has neither.
            (_, None) => (0, 0),
            (Some(old), Some(_)) => (old.create_revision, old.version + 1),
            (None, Some(_)) => (next, 1),
        };
        let key = key.to_owned();
        Ok(Some(ChangeRow { revision: next, key, value_sealed, create_revision, version }))
    }

    async fn write_audit(&mut self, cx: &Cx, before: i64) -> Result<()> {
        let revision = self.cluster.config_version;
        let ledger = Ledger::Cluster { org: self.cluster.org_id, id: self.cluster.id };
        let entries = std::mem::take(&mut self.audit);
        let revision = (revision > before).then_some(revision);
        audit::append(self.tx, cx, revision, [(ledger, entries)].into()).await
    }
}

/// What others need comes first; deletions come last, in the reverse order.
fn sort(changes: &mut [ChangeRow]) {
    changes.sort_by_key(|change| {
        let rank = i16::from(gantry_translate::rank(&change.key));
        if change.value_sealed.is_some() { (false, rank) } else { (true, -rank) }
    });
}

/// Where a key's value belongs, as the sealer wants to know it.
pub(crate) fn key_place(cluster: Id, key: &str) -> String {
    format!("key/{cluster}{key}")
}

/// Keys that are stored but that nothing translates to any more, and all that something does.
pub(crate) fn replace_all(change: &mut Change<'_>, stored: &BTreeSet<String>, full: Keys) {
    let gone = stored.iter().filter(|key| !full.contains_key(*key));
    let gone: Keys = gone.map(|key| (key.clone(), String::new())).collect();
    change.keys(gone, full);
}
