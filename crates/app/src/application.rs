//! Applications: backends, hosts and prefix, and what their APIs share.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::config::{
    ApiSpec, Application, ApplicationSpec, CertificateSpec, CertificateType, Plugins, STATUS_READY,
};
use gantry_model::{Error, Id, ListQuery, Page, Result, Violation};
use gantry_store::Tx;
use gantry_store::canary_release::OpenRelease;
use gantry_store::resource::{self, Kind};
use gantry_translate::{Keys, References, Surroundings};
use serde_json::{Map, Value};

use crate::access::Reach;
use crate::change::{Change, change};
use crate::object::{self, Index, Spec, Stored};
use crate::plugin::check_usable;
use crate::{Cx, Written, api, canary_release, check, mask, overlap};

impl Spec for ApplicationSpec {
    const KIND: Kind = Kind::Application;

    fn index(&self) -> Index {
        let prefix = self.path_prefix.trim_end_matches('/');
        let served_names: Vec<String> =
            self.hosts.iter().map(|host| host.clone() + prefix).collect();
        let texts = [self.name.as_str(), self.path_prefix.as_str()];
        Index {
            name: Some(self.name.clone()),
            active: self.active,
            sort_text: self.path_prefix.clone(),
            sort_number: 0,
            search_text: check::search_text(
                texts.into_iter().chain(served_names.iter().map(String::as_str)),
            ),
            labels: self.labels.clone(),
            served_names,
            references: References::of_application(self),
            plugins: object::plugins_used(&[&self.plugins]),
        }
    }
}

/// The applications of a cluster; for a service admin, those of the caller.
pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<Application>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = match cx.reach() {
        Reach::Everything => resource::list(&mut tx, Kind::Application, cluster, query).await?,
        Reach::Of(member) => {
            let kind = Kind::Application;
            resource::list_of_service_admin(&mut tx, kind, cluster, member, query).await?
        }
    };
    let stored = object::opened_all(&cx.app, rows)?;
    Ok(object::page(views(&mut tx, cluster, stored).await?, count))
}

pub async fn get(cx: &Cx, cluster: Id, id: Id) -> Result<Application> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let stored = object::find(&cx.app, &mut tx, cluster, id).await?;
    view(&mut tx, stored).await
}

/// The cluster of an application that the caller may see.
pub async fn cluster_of(cx: &Cx, id: Id) -> Result<Id> {
    object::cluster_of(cx, &mut cx.app.db.read().await?, Kind::Application, id).await
}

pub async fn create(cx: &Cx, cluster: Id, spec: ApplicationSpec) -> Result<Written<Application>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let stored = add(change, spec).await?;
            finish(change, stored).await
        })
    })
    .await
}

/// Checks and stores a new application.
pub(crate) async fn add(
    change: &mut Change<'_>,
    spec: ApplicationSpec,
) -> Result<Stored<ApplicationSpec>> {
    let around = change.around(&[&spec]).await?;
    let spec = checked(spec, &around)?;
    check_usable(change, "plugins.", &Plugins::new(), &spec.plugins).await?;
    check_registries(&BTreeSet::new(), &spec, &around)?;
    check_client_certificates(change, &spec).await?;
    let stored = object::insert(change, change.cluster.id, spec).await?;
    let id = stored.row.id;
    change.keys(Keys::new(), gantry_translate::application(id, &stored.spec, &around));
    change.audit(Kind::Application.name(), id, None, record(&stored.spec)?);
    Ok(stored)
}

pub async fn replace(
    cx: &Cx,
    cluster: Id,
    id: Id,
    spec: ApplicationSpec,
) -> Result<Written<Application>> {
    object::edit(cx, cluster, cluster, id, move |change, old| Box::pin(edit(change, old, spec)))
        .await
}

/// Puts `patch` over the stored application at the top level.
pub async fn patch(
    cx: &Cx,
    cluster: Id,
    id: Id,
    mut patch: Map<String, Value>,
) -> Result<Written<Application>> {
    // The older form means the newer field, which the stored application may have.
    if let (Some(only), false) = (patch.remove("protocol"), patch.contains_key("protocols")) {
        patch.insert("protocols".into(), Value::Array(vec![only]));
    }
    object::edit(cx, cluster, cluster, id, move |change, old: Stored<ApplicationSpec>| {
        Box::pin(async move {
            let spec = check::merged(&old.spec, patch)?;
            edit(change, old, spec).await
        })
    })
    .await
}

/// Saves an application as its editor wants it.
async fn edit(
    change: &mut Change<'_>,
    old: Stored<ApplicationSpec>,
    spec: ApplicationSpec,
) -> Result<Application> {
    let (id, prefix) = (old.row.id, old.spec.path_prefix.clone());
    let saved = save(change, old, spec).await?;
    if saved.spec.path_prefix.trim_end_matches('/') != prefix.trim_end_matches('/') {
        let apis = api::of_application(change, id).await?;
        let stale = apis.iter().find(|api| gantry_translate::spells_out(&prefix, &api.spec));
        if let Some(api) = stale {
            let warning = format!(
                "a condition of the API `{}` spells out the old path prefix: change it too",
                api.spec.name
            );
            let earlier = change.warning.take().map(|earlier| earlier + "; ");
            change.warning = Some(earlier.unwrap_or_default() + &warning);
        }
    }
    Ok(saved)
}

pub(crate) async fn save(
    change: &mut Change<'_>,
    old: Stored<ApplicationSpec>,
    mut spec: ApplicationSpec,
) -> Result<Application> {
    mask::restore(&mut spec.plugins, &old.spec.plugins);
    let around = change.around(&[&old.spec, &spec]).await?;
    let spec = checked(spec, &around)?;
    check_usable(change, "plugins.", &old.spec.plugins, &spec.plugins).await?;
    let before = gantry_translate::registries(&old.spec).collect();
    check_registries(&before, &spec, &around)?;
    check_client_certificates(change, &spec).await?;
    canary_release::check_versions(change, old.row.id, &spec).await?;
    let new = object::update(change, &old, spec).await?;
    let id = new.row.id;
    change.keys(
        gantry_translate::application(id, &old.spec, &around),
        gantry_translate::application(id, &new.spec, &around),
    );
    if gantry_translate::touches_routes(&old.spec, &new.spec) {
        for api in api::of_application(change, id).await? {
            // What the APIs said was right for the old application need not be for the new one.
            let around = change.around(&[&api.spec]).await?;
            check_kept_api(&new.spec, &api.spec, &around)?;
            overlap::index(change, &new.spec, &api.row, &api.spec).await?;
            change.keys(
                gantry_translate::api(api.row.id, id, &old.spec, &api.spec, &around),
                gantry_translate::api(api.row.id, id, &new.spec, &api.spec, &around),
            );
        }
    }
    change.audit(Kind::Application.name(), id, record(&old.spec)?, record(&new.spec)?);
    finish(change, new).await
}

/// Refuses an edit of an application with which one of its APIs could not be served.
fn check_kept_api(
    application: &ApplicationSpec,
    api: &ApiSpec,
    around: &Surroundings,
) -> Result<()> {
    check::refuse(&gantry_translate::check_api(application, api, around)).map_err(|error| {
        let name = &api.name;
        let message =
            format!("the API `{name}` does not fit the changed application: {}", error.message);
        Error::new(error.code, message)
    })
}

/// Deletes an application; with `cascade` its APIs too, without it there must be none. Its canary
/// releases go along in both cases: they are about nothing else.
pub async fn delete(cx: &Cx, cluster: Id, id: Id, cascade: bool) -> Result<Written<()>> {
    object::edit(cx, cluster, cluster, id, move |change, stored| {
        Box::pin(remove(change, stored, cascade))
    })
    .await
}

/// Deletes all applications of a cluster, in one transaction.
pub async fn delete_all(cx: &Cx, cluster: Id, cascade: bool) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let rows = resource::children(change.tx, Kind::Application, cluster).await?;
            for stored in object::opened_all(&change.app, rows)? {
                remove(change, stored, cascade).await?;
            }
            Ok(())
        })
    })
    .await
}

async fn remove(
    change: &mut Change<'_>,
    stored: Stored<ApplicationSpec>,
    cascade: bool,
) -> Result<()> {
    let id = stored.row.id;
    if !cascade && resource::has_children(change.tx, Kind::Api, id).await? {
        return Err(Error::in_use(format!(
            "application `{}` has APIs: delete them first, or send `cascade=true`",
            stored.spec.name
        )));
    }
    for api in api::of_application(change, id).await? {
        api::remove(change, &stored.spec, api).await?;
    }
    canary_release::remove_all(change, id).await?;
    resource::delete(change.tx, id).await?;
    let around = change.around(&[&stored.spec]).await?;
    change.keys(gantry_translate::application(id, &stored.spec, &around), Keys::new());
    change.audit(Kind::Application.name(), id, record(&stored.spec)?, None);
    Ok(())
}

/// One spelling for each meaning, and every rule that needs no other resource.
fn checked(spec: ApplicationSpec, around: &Surroundings) -> Result<ApplicationSpec> {
    let mut spec = spec.normalized();
    for host in &mut spec.hosts {
        host.make_ascii_lowercase();
    }
    check::refuse(&gantry_translate::check_application(&spec, around))?;
    Ok(spec)
}

/// Refuses registries that are switched off, but for those that the application was looked up in
/// `before`: it stays as it is while its registry is off, and can be edited.
fn check_registries(
    before: &BTreeSet<Id>,
    spec: &ApplicationSpec,
    around: &Surroundings,
) -> Result<()> {
    let mut violations = Vec::new();
    for (position, entry) in spec.upstreams.iter().enumerate() {
        let Some(discovery) = &entry.upstream.service_discovery else { continue };
        let id = discovery.service_registry_id;
        if around.service_registries.get(&id) == Some(&false) && !before.contains(&id) {
            violations.push(Violation::new(
                format!("upstreams[{position}].upstream.service_discovery.service_registry_id"),
                "must be the id of a service registry that is `enabled`",
                "",
            ));
        }
    }
    check::refuse(&violations)
}

async fn check_client_certificates(change: &mut Change<'_>, spec: &ApplicationSpec) -> Result<()> {
    let wanted: Vec<Id> =
        spec.upstreams.iter().filter_map(|entry| entry.client_cert_id()).collect();
    let rows = resource::find_many(change.tx, Kind::Certificate, &wanted).await?;
    let found: Vec<Stored<CertificateSpec>> = object::opened_all(&change.app, rows)?;
    let is_usable = |id: Id| {
        found.iter().any(|certificate| {
            certificate.row.id == id
                && certificate.row.cluster_id == change.cluster.id
                && certificate.spec.kind == CertificateType::Client
        })
    };
    let mut violations = Vec::new();
    for (position, entry) in spec.upstreams.iter().enumerate() {
        if entry.client_cert_id().is_some_and(|id| !is_usable(id)) {
            violations.push(Violation::new(
                format!("upstreams[{position}].upstream.client_cert_id"),
                "must be the id of a certificate of type Client in the same cluster",
                "",
            ));
        }
    }
    check::refuse(&violations)
}

/// The answer to a write, with a warning when others serve the same host and prefix.
async fn finish(change: &mut Change<'_>, stored: Stored<ApplicationSpec>) -> Result<Application> {
    let (cluster, id) = (change.cluster.id, stored.row.id);
    let names = stored.spec.index().served_names;
    let serving = resource::serving(change.tx, cluster, Kind::Application, &names).await?;
    if let Some((served, other)) = serving.iter().find(|(_, other)| *other != id) {
        let other = resource::find(change.tx, Kind::Application, *other).await?;
        let name = other.and_then(|row| row.name).unwrap_or_default();
        change.warning = Some(format!(
            "`{served}` is also the host and path prefix of the application `{name}`: requests go \
             to whichever route is more specific"
        ));
    }
    view(change.tx, stored).await
}

fn record(spec: &ApplicationSpec) -> Result<Option<Value>> {
    let shown = ApplicationSpec { plugins: mask::plugins(spec.plugins.clone()), ..spec.clone() };
    check::json(&shown).map(mask::document).map(Some)
}

pub(crate) async fn view(tx: &mut Tx, stored: Stored<ApplicationSpec>) -> Result<Application> {
    let (cluster, id) = (stored.row.cluster_id, stored.row.id);
    let mut views = views(tx, cluster, vec![stored]).await?;
    views.pop().ok_or_else(|| Error::internal(format!("application {id} has no view")))
}

pub(crate) async fn views(
    tx: &mut Tx,
    cluster: Id,
    stored: Vec<Stored<ApplicationSpec>>,
) -> Result<Vec<Application>> {
    let mut names: Vec<String> =
        stored.iter().flat_map(|one| &one.spec.hosts).flat_map(|host| covering(host)).collect();
    names.sort();
    names.dedup();
    let mut certificates: BTreeMap<String, Vec<Id>> = BTreeMap::new();
    for (name, id) in resource::serving(tx, cluster, Kind::Certificate, &names).await? {
        certificates.entry(name).or_default().push(id);
    }
    let ids: Vec<Id> = stored.iter().map(|one| one.row.id).collect();
    let mut releases: BTreeMap<Id, Vec<OpenRelease>> = BTreeMap::new();
    for release in gantry_store::canary_release::open(tx, &ids).await? {
        releases.entry(release.application).or_default().push(release);
    }
    let views = stored.into_iter().map(|one| {
        let releases = releases.remove(&one.row.id).unwrap_or_default();
        application(one, &certificates, &releases)
    });
    Ok(views.collect())
}

fn application(
    stored: Stored<ApplicationSpec>,
    certificates: &BTreeMap<String, Vec<Id>>,
    releases: &[OpenRelease],
) -> Application {
    let Stored { row, mut spec } = stored;
    spec.plugins = mask::plugins(spec.plugins);
    let names = spec.hosts.iter().flat_map(|host| covering(host));
    let mut available: Vec<Id> =
        names.filter_map(|name| certificates.get(&name)).flatten().copied().collect();
    available.sort_unstable();
    available.dedup();
    let in_progress = releases.iter().filter(|release| release.in_progress);
    let mut versions: Vec<String> =
        releases.iter().map(|release| release.version.clone()).collect();
    versions.sort();
    versions.dedup();
    Application {
        id: row.id,
        cluster_id: row.cluster_id,
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        spec,
        available_cert_ids: available,
        canary_release_id: in_progress.map(|release| release.id).collect(),
        canary_upstream_version_list: versions,
    }
}

/// Names by which a certificate covers a host: the host itself and its wildcard.
fn covering(host: &str) -> Vec<String> {
    let mut names = vec![host.to_owned()];
    if let Some((_, parent)) = host.split_once('.')
        && !host.starts_with('*')
    {
        names.push(format!("*.{parent}"));
    }
    names
}
