//! Warnings about APIs that take the same requests: gateways choose one of them by rules that nobody
//! wants to think about.

use std::collections::BTreeMap;

use gantry_model::config::{ApiSpec, ApplicationSpec};
use gantry_model::{Id, Result};
use gantry_store::resource::{self, Kind, ResourceRow};

use crate::change::Change;
use crate::object::{self, Stored};

/// Most other APIs that are looked at: a common path such as `/` may be that of thousands.
const OTHERS_MAX: i64 = 200;

/// Makes the path patterns of an API findable.
pub(crate) async fn index(
    change: &mut Change<'_>,
    parent: &ApplicationSpec,
    row: &ResourceRow,
    spec: &ApiSpec,
) -> Result<()> {
    resource::set_served_names(change.tx, row, &gantry_translate::patterns(parent, spec)).await
}

/// Names an API with the same host, pattern, method and conditions, if there is one.
pub(crate) async fn warning(
    change: &mut Change<'_>,
    parent: &ApplicationSpec,
    id: Id,
    spec: &ApiSpec,
) -> Result<Option<String>> {
    let (cluster, patterns) = (change.cluster.id, gantry_translate::patterns(parent, spec));
    let ids =
        resource::also_serving(change.tx, cluster, Kind::Api, &patterns, id, OTHERS_MAX).await?;
    let rows = resource::find_many(change.tx, Kind::Api, &ids).await?;
    let mut others: Vec<Stored<ApiSpec>> = object::opened_all(&change.app, rows)?;
    others.retain(|other| gantry_translate::overlap(spec, &other.spec));
    let mut ids: Vec<Id> = others.iter().map(|other| other.row.parent_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = resource::find_many(change.tx, Kind::Application, &ids).await?;
    let parents: Vec<Stored<ApplicationSpec>> = object::opened_all(&change.app, rows)?;
    let parents: BTreeMap<Id, ApplicationSpec> =
        parents.into_iter().map(|one| (one.row.id, one.spec)).collect();
    for other in others {
        let Some(of) = parents.get(&other.row.parent_id) else { continue };
        let host = of.hosts.iter().find(|host| parent.hosts.contains(host));
        let theirs = gantry_translate::patterns(of, &other.spec);
        let pattern = theirs.into_iter().find(|pattern| patterns.contains(pattern));
        if let (Some(host), Some(pattern)) = (host, pattern) {
            return Ok(Some(format!(
                "the API `{}` of application `{}` takes requests to `{host}{pattern}` too: set \
                 methods or conditions that tell them apart",
                other.spec.name, of.name
            )));
        }
    }
    Ok(None)
}
