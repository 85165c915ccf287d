//! APIs: paths of an application and how requests to them are treated.

use std::collections::BTreeMap;

use gantry_model::config::{
    Api, ApiSpec, ApiWithApplication, Application, ApplicationSpec, Plugins, STATUS_READY,
};
use gantry_model::{Id, ListQuery, Page, Result};
use gantry_store::resource::{self, Kind};
use gantry_translate::{Keys, References};
use serde_json::{Map, Value};

use crate::access::Reach;
use crate::change::{Change, change};
use crate::object::{self, Index, Spec, Stored};
use crate::plugin::check_usable;
use crate::{Cx, Written, application, check, mask, overlap};

impl Spec for ApiSpec {
    const KIND: Kind = Kind::Api;

    fn index(&self) -> Index {
        let paths = self.paths.iter().map(|path| path.path.as_str());
        Index {
            name: Some(self.name.clone()),
            active: self.active,
            search_text: check::search_text([self.name.as_str()].into_iter().chain(paths)),
            labels: self.labels.clone(),
            plugins: object::plugins_used(&[&self.plugins]),
            references: References::of_plugins(&self.plugins),
            ..Index::default()
        }
    }
}

pub async fn list(cx: &Cx, app: Id, query: &ListQuery) -> Result<Page<Api>> {
    let mut tx = cx.app.db.read().await?;
    object::cluster_of(cx, &mut tx, Kind::Application, app).await?;
    let (rows, count) = resource::list(&mut tx, Kind::Api, app, query).await?;
    let stored = object::opened_all(&cx.app, rows)?;
    Ok(object::page(stored.into_iter().map(view).collect(), count))
}

/// APIs of a whole cluster, each with its application; for a service admin, those of the caller's.
pub async fn search(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<ApiWithApplication>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = match cx.reach() {
        Reach::Everything => resource::list_in_cluster(&mut tx, cluster, query).await?,
        Reach::Of(member) => {
            let kind = Kind::Api;
            resource::list_of_service_admin(&mut tx, kind, cluster, member, query).await?
        }
    };
    let apis: Vec<Stored<ApiSpec>> = object::opened_all(&cx.app, rows)?;
    let mut ids: Vec<Id> = apis.iter().map(|api| api.row.parent_id).collect();
    ids.sort_unstable();
    ids.dedup();
    let rows = resource::find_many(&mut tx, Kind::Application, &ids).await?;
    let parents = object::opened_all(&cx.app, rows)?;
    let parents = application::views(&mut tx, cluster, parents).await?;
    let parents: BTreeMap<Id, Application> =
        parents.into_iter().map(|parent| (parent.id, parent)).collect();
    let with_parent = |api: Stored<ApiSpec>| {
        let application = parents.get(&api.row.parent_id)?.clone();
        Some(ApiWithApplication { api: view(api), application })
    };
    Ok(object::page(apis.into_iter().filter_map(with_parent).collect(), count))
}

pub async fn get(cx: &Cx, app: Id, id: Id) -> Result<Api> {
    let mut tx = cx.app.db.read().await?;
    object::cluster_of(cx, &mut tx, Kind::Application, app).await?;
    Ok(view(object::find(&cx.app, &mut tx, app, id).await?))
}

pub async fn create(cx: &Cx, app: Id, spec: ApiSpec) -> Result<Written<Api>> {
    let cluster = application::cluster_of(cx, app).await?;
    let spec = normalized(spec);
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            let stored = add(change, app, &parent, spec).await?;
            warn(change, &parent, &stored).await?;
            Ok(view(stored))
        })
    })
    .await
}

/// Tells the caller what of an accepted API may surprise.
async fn warn(
    change: &mut Change<'_>,
    parent: &ApplicationSpec,
    stored: &Stored<ApiSpec>,
) -> Result<()> {
    let Stored { row, spec } = stored;
    let overlap = overlap::warning(change, parent, row.id, spec).await?;
    let warnings = gantry_translate::warning(parent, spec).into_iter().chain(overlap);
    let warnings: Vec<String> = warnings.collect();
    change.warning = (!warnings.is_empty()).then(|| warnings.join("; "));
    Ok(())
}

/// Checks and stores a new API of the application `app`, which is `parent`.
pub(crate) async fn add(
    change: &mut Change<'_>,
    app: Id,
    parent: &ApplicationSpec,
    spec: ApiSpec,
) -> Result<Stored<ApiSpec>> {
    let around = change.around(&[&spec]).await?;
    check::refuse(&gantry_translate::check_api(parent, &spec, &around))?;
    check_usable(change, "plugins.", &Plugins::new(), &spec.plugins).await?;
    let stored = object::insert(change, app, spec).await?;
    let id = stored.row.id;
    change.keys(Keys::new(), gantry_translate::api(id, app, parent, &stored.spec, &around));
    change.audit(Kind::Api.name(), id, None, record(&stored.spec)?);
    overlap::index(change, parent, &stored.row, &stored.spec).await?;
    Ok(stored)
}

pub async fn replace(cx: &Cx, app: Id, id: Id, spec: ApiSpec) -> Result<Written<Api>> {
    let cluster = application::cluster_of(cx, app).await?;
    object::edit(cx, cluster, app, id, move |change, old| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            save(change, &parent, old, spec).await
        })
    })
    .await
}

/// Puts `patch` over the stored API at the top level.
pub async fn patch(cx: &Cx, app: Id, id: Id, patch: Map<String, Value>) -> Result<Written<Api>> {
    let cluster = application::cluster_of(cx, app).await?;
    object::edit(cx, cluster, app, id, move |change, old: Stored<ApiSpec>| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            let spec = check::merged(&old.spec, patch)?;
            save(change, &parent, old, spec).await
        })
    })
    .await
}

pub(crate) async fn save(
    change: &mut Change<'_>,
    parent: &ApplicationSpec,
    old: Stored<ApiSpec>,
    spec: ApiSpec,
) -> Result<Api> {
    let (id, app) = (old.row.id, old.row.parent_id);
    let mut spec = normalized(spec);
    mask::restore(&mut spec.plugins, &old.spec.plugins);
    let around = change.around(&[&old.spec, &spec]).await?;
    check::refuse(&gantry_translate::check_api(parent, &spec, &around))?;
    check_usable(change, "plugins.", &old.spec.plugins, &spec.plugins).await?;
    let new = object::update(change, &old, spec).await?;
    change.keys(
        gantry_translate::api(id, app, parent, &old.spec, &around),
        gantry_translate::api(id, app, parent, &new.spec, &around),
    );
    change.audit(Kind::Api.name(), id, record(&old.spec)?, record(&new.spec)?);
    if gantry_translate::patterns(parent, &old.spec)
        != gantry_translate::patterns(parent, &new.spec)
    {
        overlap::index(change, parent, &new.row, &new.spec).await?;
    }
    warn(change, parent, &new).await?;
    Ok(view(new))
}

pub async fn delete(cx: &Cx, app: Id, id: Id) -> Result<Written<()>> {
    let cluster = application::cluster_of(cx, app).await?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            let stored = object::find(&change.app, change.tx, app, id).await?;
            remove(change, &parent, stored).await
        })
    })
    .await
}

/// Deletes all APIs of an application, in one transaction.
pub async fn delete_all(cx: &Cx, app: Id) -> Result<Written<()>> {
    let cluster = application::cluster_of(cx, app).await?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            for stored in of_application(change, app).await? {
                remove(change, &parent, stored).await?;
            }
            Ok(())
        })
    })
    .await
}

pub(crate) async fn of_application(
    change: &mut Change<'_>,
    app: Id,
) -> Result<Vec<Stored<ApiSpec>>> {
    let rows = resource::children(change.tx, Kind::Api, app).await?;
    object::opened_all(&change.app, rows)
}

pub(crate) async fn remove(
    change: &mut Change<'_>,
    parent: &ApplicationSpec,
    stored: Stored<ApiSpec>,
) -> Result<()> {
    let Stored { row, spec } = stored;
    let around = change.around(&[&spec]).await?;
    resource::delete(change.tx, row.id).await?;
    let before = gantry_translate::api(row.id, row.parent_id, parent, &spec, &around);
    change.keys(before, Keys::new());
    change.audit(Kind::Api.name(), row.id, record(&spec)?, None);
    Ok(())
}

async fn parent(change: &mut Change<'_>, app: Id) -> Result<ApplicationSpec> {
    let cluster = change.cluster.id;
    Ok(object::find::<ApplicationSpec>(&change.app, change.tx, cluster, app).await?.spec)
}

fn normalized(mut spec: ApiSpec) -> ApiSpec {
    spec.active = spec.active.min(1);
    spec
}

fn record(spec: &ApiSpec) -> Result<Option<Value>> {
    let shown = ApiSpec { plugins: mask::plugins(spec.plugins.clone()), ..spec.clone() };
    check::json(&shown).map(mask::document).map(Some)
}

fn view(stored: Stored<ApiSpec>) -> Api {
    let Stored { row, mut spec } = stored;
    spec.plugins = mask::plugins(spec.plugins);
    Api {
        id: row.id,
        app_id: row.parent_id,
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        spec,
    }
}
