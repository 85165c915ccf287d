//! Service registries: where gateways look backends up.

use gantry_model::config::{STATUS_READY, ServiceRegistry, ServiceRegistrySpec};
use gantry_model::{Error, Id, ListQuery, Page, Result};
use gantry_store::Tx;
use gantry_store::resource::{self, Kind};
use gantry_translate::{Keys, service_registry};
use serde_json::Value;

use crate::change::{Change, change};
use crate::dependents::{self, Dependents};
use crate::mask::MASK;
use crate::object::{self, Index, Spec, Stored};
use crate::{App, Cx, Written, check};

impl Spec for ServiceRegistrySpec {
    const KIND: Kind = Kind::ServiceRegistry;

    fn index(&self) -> Index {
        Index {
            name: Some(self.name.clone()),
            search_text: check::search_text([self.name.as_str()]),
            ..Index::default()
        }
    }
}

pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<ServiceRegistry>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = resource::list(&mut tx, Kind::ServiceRegistry, cluster, query).await?;
    let stored = object::opened_all(&cx.app, rows)?;
    Ok(object::page(stored.into_iter().map(view).collect(), count))
}

pub async fn get(cx: &Cx, cluster: Id, id: Id) -> Result<ServiceRegistry> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    Ok(view(object::find(&cx.app, &mut tx, cluster, id).await?))
}

pub async fn create(
    cx: &Cx,
    cluster: Id,
    spec: ServiceRegistrySpec,
) -> Result<Written<ServiceRegistry>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            checked(&spec)?;
            let stored = object::insert(change, cluster, spec).await?;
            let id = stored.row.id;
            change.keys(Keys::new(), service_registry(id, &stored.spec));
            change.audit(Kind::ServiceRegistry.name(), id, None, record(&stored.spec)?);
            Ok(view(stored))
        })
    })
    .await
}

/// A mask keeps the stored token. Applications that are looked up here are translated anew.
pub async fn replace(
    cx: &Cx,
    cluster: Id,
    id: Id,
    spec: ServiceRegistrySpec,
) -> Result<Written<ServiceRegistry>> {
    object::edit(cx, cluster, cluster, id, move |change, old| Box::pin(save(change, old, spec)))
        .await
}

async fn save(
    change: &mut Change<'_>,
    old: Stored<ServiceRegistrySpec>,
    mut spec: ServiceRegistrySpec,
) -> Result<ServiceRegistry> {
    let id = old.row.id;
    let stored = &old.spec.kubernetes.service_account_token_value;
    let token = &mut spec.kubernetes.service_account_token_value;
    if token == MASK && !stored.is_empty() {
        token.clone_from(stored);
    }
    checked(&spec)?;
    let dependents = Dependents::of_resource(change, id).await?;
    let new = object::update(change, &old, spec).await?;
    dependents.follow(change).await?;
    change.keys(service_registry(id, &old.spec), service_registry(id, &new.spec));
    change.audit(Kind::ServiceRegistry.name(), id, record(&old.spec)?, record(&new.spec)?);
    Ok(view(new))
}

pub async fn delete(cx: &Cx, cluster: Id, id: Id) -> Result<Written<()>> {
    object::edit(cx, cluster, cluster, id, move |change, old: Stored<ServiceRegistrySpec>| {
        Box::pin(async move {
            dependents::refuse_in_use(change, id, "service registry", &old.spec.name).await?;
            resource::delete(change.tx, id).await?;
            change.keys(service_registry(id, &old.spec), Keys::new());
            change.audit(Kind::ServiceRegistry.name(), id, record(&old.spec)?, None);
            Ok(())
        })
    })
    .await
}

/// The registries of a cluster that are in use, by id.
pub(crate) async fn enabled(
    app: &App,
    tx: &mut Tx,
    cluster: Id,
) -> Result<Vec<Stored<ServiceRegistrySpec>>> {
    let rows = resource::children(tx, Kind::ServiceRegistry, cluster).await?;
    let mut registries = object::opened_all::<ServiceRegistrySpec>(app, rows)?;
    registries.retain(|one| one.spec.enabled);
    Ok(registries)
}

fn checked(spec: &ServiceRegistrySpec) -> Result<()> {
    if spec.kubernetes.service_account_token_value == MASK {
        let rule = "must be the token itself: there is no stored one that the mask stands for";
        let field = "kubernetes.service_account_token_value";
        return Err(Error::invalid_field(field, rule, "\"eyJhbGciOi…\""));
    }
    check::refuse(&gantry_translate::check_service_registry(spec))
}

fn record(spec: &ServiceRegistrySpec) -> Result<Option<Value>> {
    check::json(&masked(spec.clone())).map(Some)
}

fn masked(mut spec: ServiceRegistrySpec) -> ServiceRegistrySpec {
    let token = &mut spec.kubernetes.service_account_token_value;
    if !token.is_empty() {
        MASK.clone_into(token);
    }
    spec
}

fn view(stored: Stored<ServiceRegistrySpec>) -> ServiceRegistry {
    let Stored { row, spec } = stored;
    ServiceRegistry {
        id: row.id,
        cluster_id: row.cluster_id,
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        spec: masked(spec),
    }
}
