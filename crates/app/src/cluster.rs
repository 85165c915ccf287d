//! Clusters: settings and plugins for all of their traffic.

use gantry_model::config::cluster::{ClusterCreate, STAGE_NORMAL};
use gantry_model::config::{Cluster, ClusterSettings, ClusterSummary, Plugins};
use gantry_model::{Error, Id, ListQuery, Page, Result};
use gantry_routing::digest::Digest;
use gantry_store::cluster::{self, ClusterRow};
use gantry_store::{organization, region};
use gantry_translate::Surroundings;
use serde_json::json;

use crate::access::Reach;
use crate::act::{Act, act};
use crate::audit::Ledger;
use crate::change::{Change, begin, change};
use crate::plan::{self, Counted};
use crate::plugin::check_usable;
use crate::{App, Cx, Written, check, mask};

/// The revision of a cluster without configuration: an empty etcd says the same.
const FIRST_REVISION: i64 = 1;
/// Longest label of a host name.
const NAME_CHARS_MAX: usize = 63;

/// The clusters of an organization; for who has roles in some only, those.
pub async fn list(cx: &Cx, org: Id, query: &ListQuery) -> Result<Page<ClusterSummary>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_organization(&mut tx, org).await?;
    let member = match cx.reach() {
        Reach::Everything => None,
        Reach::Of(member) => Some(member),
    };
    let (rows, count) = cluster::list(&mut tx, org, member, query).await?;
    let summary = |row: ClusterRow| {
        let org_name = row.org_name.clone();
        Ok(ClusterSummary { cluster: view(&cx.app, row)?, org_name, config_payload: String::new() })
    };
    Ok(Page { list: rows.into_iter().map(summary).collect::<Result<_>>()?, count })
}

pub async fn get(cx: &Cx, id: Id) -> Result<Cluster> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, id).await?;
    let row = cluster::find(&mut tx, id).await?.ok_or_else(|| Error::not_found("cluster"))?;
    view(&cx.app, row)
}

pub async fn create(cx: &Cx, org: Id, create: ClusterCreate) -> Result<Cluster> {
    let ClusterCreate { name, region_id } = create;
    let is_label = |text: &str| {
        text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !text.starts_with('-')
            && !text.ends_with('-')
    };
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !is_label(&name) {
        let rule = "must be 1 to 63 lower-case letters, digits or hyphens, as it is part of a \
                    host name";
        return Err(Error::invalid_field("name", rule, "\"production\""));
    }
    cx.see_organization(&mut cx.app.db.read().await?, org).await?;
    let origin = cx.clone();
    let row = act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            let row = insert(&origin, act, org, &name, region_id).await?;
            act.audit("cluster", row.id, None, Some(json!({ "name": row.name })));
            Ok(row)
        })
    });
    let row = row.await?;
    cx.app.renew_server_certificate().await?;
    view(&cx.app, row)
}

/// Inserts a cluster without resources, in the first region unless one is named.
pub(crate) async fn insert(
    cx: &Cx,
    act: &mut Act<'_>,
    org: Id,
    name: &str,
    region_id: Option<Id>,
) -> Result<ClusterRow> {
    let (app, tx) = (&cx.app, &mut *act.tx);
    plan::allow_another(app, tx, org, Counted::Cluster).await?;
    let (id, now) = (app.new_id(), app.now());
    let region_id = match region_id {
        Some(wanted) => region::find(tx, wanted).await?.map(|region| region.id),
        None => region::list(tx, &ListQuery::default()).await?.0.first().map(|first| first.id),
    };
    let region_id = region_id.ok_or_else(|| {
        Error::invalid_field("region_id", "must be the id of a region from GET /regions", "")
    })?;
    let organization = organization::find(tx, org).await?;
    let slug = organization::slug(tx, org).await?.unwrap_or_default();
    let row = ClusterRow {
        id,
        org_id: org,
        org_name: organization.map(|found| found.name).unwrap_or_default(),
        region_id,
        name: name.to_owned(),
        domain: format!("{name}.{slug}.{}", app.domain),
        settings_sealed: app.sealer.seal_json(&settings_place(id), &ClusterSettings::default())?,
        plugins_sealed: app.sealer.seal_json(&plugins_place(id), &Plugins::new())?,
        config_version: FIRST_REVISION,
        compacted_revision: FIRST_REVISION,
        digest: Digest::default().to_string(),
        created_at: now,
        updated_at: now,
    };
    cluster::insert(tx, &row).await?;
    let keys = gantry_translate::cluster(
        id,
        &ClusterSettings::default(),
        &Plugins::new(),
        &Surroundings::NONE,
    );
    begin(act, cx, row, keys).await
}

/// Takes over the groups of settings that are sent.
pub async fn update_settings(
    cx: &Cx,
    id: Id,
    settings: ClusterSettings,
) -> Result<Written<Cluster>> {
    change(cx, id, move |change| {
        Box::pin(async move {
            let (old, plugins) = opened(&change.app, &change.cluster)?;
            let new = old.clone().merged(settings);
            let around = change.around_plugins(&[&plugins]).await?;
            check::refuse(&gantry_translate::check_cluster(&new, &plugins, &around))?;
            let sealed = change.app.sealer.seal_json(&settings_place(id), &new)?;
            cluster::set_settings(change.tx, id, &sealed, change.now).await?;
            change.cluster.settings_sealed = sealed;
            change.audit(
                "cluster",
                id,
                Some(mask::document(check::json(&old)?)),
                Some(mask::document(check::json(&new)?)),
            );
            finish(change, &around, (&old, &plugins), (&new, &plugins)).await
        })
    })
    .await
}

/// Takes over the plugins that are sent; `null` removes one.
pub async fn update_plugins(cx: &Cx, id: Id, sent: Plugins) -> Result<Written<Cluster>> {
    change(cx, id, move |change| {
        Box::pin(async move {
            let (settings, old) = opened(&change.app, &change.cluster)?;
            let mut new = old.clone();
            let mut sent = sent;
            mask::restore(&mut sent, &old);
            for (name, config) in sent {
                if config.is_null() {
                    new.remove(&name);
                } else {
                    new.insert(name, config);
                }
            }
            let around = change.around_plugins(&[&old, &new]).await?;
            check::refuse(&gantry_translate::check_cluster(&settings, &new, &around))?;
            check_usable(change, "", &old, &new).await?;
            let sealed = change.app.sealer.seal_json(&plugins_place(id), &new)?;
            cluster::set_plugins(change.tx, id, &sealed, change.now).await?;
            change.cluster.plugins_sealed = sealed;
            change.audit(
                "cluster",
                id,
                Some(mask::document(check::json(&mask::plugins(old.clone()))?)),
                Some(mask::document(check::json(&mask::plugins(new.clone()))?)),
            );
            finish(change, &around, (&settings, &old), (&settings, &new)).await
        })
    })
    .await
}

async fn finish(
    change: &mut Change<'_>,
    around: &Surroundings,
    old: (&ClusterSettings, &Plugins),
    new: (&ClusterSettings, &Plugins),
) -> Result<Cluster> {
    let id = change.cluster.id;
    change.keys(
        gantry_translate::cluster(id, old.0, old.1, around),
        gantry_translate::cluster(id, new.0, new.1, around),
    );
    change.cluster.updated_at = change.now;
    view(&change.app, change.cluster.clone())
}

/// Settings and plugins of a cluster.
pub(crate) fn opened(app: &App, row: &ClusterRow) -> Result<(ClusterSettings, Plugins)> {
    Ok((
        app.sealer.open_json(&settings_place(row.id), &row.settings_sealed)?,
        app.sealer.open_json(&plugins_place(row.id), &row.plugins_sealed)?,
    ))
}

fn settings_place(id: Id) -> String {
    format!("cluster/{id}/settings")
}

fn plugins_place(id: Id) -> String {
    format!("cluster/{id}/plugins")
}

fn view(app: &App, row: ClusterRow) -> Result<Cluster> {
    let (settings, plugins) = opened(app, &row)?;
    let plugins = mask::plugins(plugins);
    Ok(Cluster {
        id: row.id,
        name: row.name,
        org_id: row.org_id,
        region_id: row.region_id,
        status: STAGE_NORMAL,
        domain: row.domain,
        settings,
        policies: plugins.clone(),
        plugins,
        config_version: row.config_version,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}
