//! Resources whose translation reads something that changes: what gateways are served for them
//! changes in the same revision.

use std::collections::BTreeSet;

use gantry_model::{Error, Id, Result};
use gantry_store::reference;
use gantry_store::resource::{self, ResourceRow};
use gantry_translate::{Keys, References, Surroundings};

use crate::change::Change;
use crate::subject::{self, Subject};
use crate::{check, cluster};

/// What reads something that is about to change, and what it translates to before.
pub(crate) struct Dependents {
    rows: Vec<ResourceRow>,
    /// Whether the cluster's own plugins are among it.
    cluster: bool,
    before: Keys,
}

impl Dependents {
    /// What reads which consumers carry one of `labels`.
    pub(crate) async fn of_labels(
        change: &mut Change<'_>,
        labels: &BTreeSet<String>,
    ) -> Result<Self> {
        let rows = reference::naming(change.tx, change.cluster.id, labels).await?;
        let (_, plugins) = cluster::opened(&change.app, &change.cluster)?;
        let cluster = !References::of_plugins(&plugins).labels.is_disjoint(labels);
        Self::before(change, rows, cluster).await
    }

    /// What refers to a resource.
    pub(crate) async fn of_resource(change: &mut Change<'_>, id: Id) -> Result<Self> {
        let rows = reference::referrers(change.tx, id).await?;
        let cluster = refers_to(change, id)?;
        Self::before(change, rows, cluster).await
    }

    async fn before(
        change: &mut Change<'_>,
        rows: Vec<ResourceRow>,
        cluster: bool,
    ) -> Result<Self> {
        let mut dependents = Self { rows, cluster, before: Keys::new() };
        let (subjects, around) = dependents.load(change).await?;
        dependents.before = subjects.iter().flat_map(|subject| subject.keys(&around)).collect();
        Ok(dependents)
    }

    /// Refuses a change, called `what`, with which one of them could not be served. To be called when
    /// the change is written.
    pub(crate) async fn check(&self, change: &mut Change<'_>, what: &str) -> Result<()> {
        let (subjects, around) = self.load(change).await?;
        for subject in subjects {
            check::refuse(&subject.violations(&around)).map_err(|error| {
                let name = subject.name();
                let message = format!("{name} does not fit {what}: {}", error.message);
                Error::new(error.code, message)
            })?;
        }
        Ok(())
    }

    /// Notes what has become of their translations. To be called when the change is written.
    pub(crate) async fn follow(self, change: &mut Change<'_>) -> Result<()> {
        let (subjects, around) = self.load(change).await?;
        let after = subjects.iter().flat_map(|subject| subject.keys(&around)).collect();
        change.keys(self.before, after);
        Ok(())
    }

    async fn load(&self, change: &mut Change<'_>) -> Result<(Vec<Subject>, Surroundings)> {
        let (app, cluster) = (change.app.clone(), change.cluster.id);
        let mut subjects = Vec::with_capacity(self.rows.len() + 1);
        for row in &self.rows {
            // The consumer that changes may be its own dependent.
            if let Some(row) = resource::find(change.tx, row.kind, row.id).await? {
                subjects.push(Subject::of(&app, change.tx, row).await?);
            }
        }
        if self.cluster {
            let (settings, plugins) = cluster::opened(&app, &change.cluster)?;
            subjects.push(Subject::Cluster { id: cluster, settings, plugins });
        }
        let around = subject::around(&app, change.tx, cluster, &subjects).await?;
        Ok((subjects, around))
    }
}

/// Refuses to remove what others refer to, and says who does. `noun` and `name` say what it is.
pub(crate) async fn refuse_in_use(
    change: &mut Change<'_>,
    id: Id,
    noun: &str,
    name: &str,
) -> Result<()> {
    let rows = reference::referrers(change.tx, id).await?;
    let cluster = refers_to(change, id)?;
    let others = rows.len().saturating_sub(1) + usize::from(cluster && !rows.is_empty());
    let user = match rows.into_iter().next() {
        Some(row) => Subject::of(&change.app.clone(), change.tx, row).await?.name(),
        None if cluster => "the cluster's plugins".to_owned(),
        None => return Ok(()),
    };
    let more = if others == 0 { String::new() } else { format!(" and {others} more") };
    Err(Error::in_use(format!("{noun} `{name}` is used by {user}{more}: take it out there first")))
}

/// Whether the cluster's own plugins refer to a resource.
fn refers_to(change: &Change<'_>, id: Id) -> Result<bool> {
    let (_, plugins) = cluster::opened(&change.app, &change.cluster)?;
    Ok(References::of_plugins(&plugins).resources.contains(&id))
}
