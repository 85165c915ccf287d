//! Canary releases: begun paused, then in progress until somebody pauses or finishes them. To finish
//! one makes its version the application's default.

use std::collections::BTreeMap;

use gantry_model::config::{
    ApplicationSpec, CanaryRelease, CanaryReleaseRequest, CanaryReleaseSpec, CanaryState,
    STATUS_READY,
};
use gantry_model::{Error, Id, ListQuery, Page, Result};
use gantry_store::Tx;
use gantry_store::canary_release::{self, state_number};
use gantry_store::resource::{self, Kind};
use gantry_translate::Keys;

use crate::change::{Change, change};
use crate::object::{self, Index, Spec, Stored};
use crate::{App, Cx, Written, application, check};

impl Spec for CanaryReleaseSpec {
    const KIND: Kind = Kind::CanaryRelease;

    fn index(&self) -> Index {
        Index {
            name: Some(self.name.clone()),
            sort_text: self.canary_upstream_version.clone(),
            sort_number: state_number(self.state),
            search_text: check::search_text([self.name.as_str()]),
            ..Index::default()
        }
    }
}

pub async fn list(cx: &Cx, app: Id, query: &ListQuery) -> Result<Page<CanaryRelease>> {
    let mut tx = cx.app.db.read().await?;
    object::cluster_of(cx, &mut tx, Kind::Application, app).await?;
    let (rows, count) = resource::list(&mut tx, Kind::CanaryRelease, app, query).await?;
    let stored = object::opened_all(&cx.app, rows)?;
    Ok(object::page(stored.into_iter().map(view).collect(), count))
}

pub async fn get(cx: &Cx, app: Id, id: Id) -> Result<CanaryRelease> {
    let mut tx = cx.app.db.read().await?;
    object::cluster_of(cx, &mut tx, Kind::Application, app).await?;
    Ok(view(object::find(&cx.app, &mut tx, app, id).await?))
}

/// Creates a release, which is paused whatever the request says.
pub async fn create(
    cx: &Cx,
    app: Id,
    request: CanaryReleaseRequest,
) -> Result<Written<CanaryRelease>> {
    let cluster = application::cluster_of(cx, app).await?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            let mut spec = checked(&parent.spec, request, CanaryState::Paused)?;
            if spec.state != CanaryState::Paused {
                spec.state = CanaryState::Paused;
                change.warning = Some(BEGINS_PAUSED.into());
            }
            let stored = object::insert(change, app, spec).await?;
            let after = check::json(&stored.spec)?;
            change.audit(Kind::CanaryRelease.name(), stored.row.id, None, Some(after));
            Ok(view(stored))
        })
    })
    .await
}

const BEGINS_PAUSED: &str =
    "a canary release begins paused: update it with `state` in_progress to start it";

pub async fn replace(
    cx: &Cx,
    app: Id,
    id: Id,
    request: CanaryReleaseRequest,
) -> Result<Written<CanaryRelease>> {
    let cluster = application::cluster_of(cx, app).await?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            let old = object::find(&change.app, change.tx, app, id).await?;
            save(change, parent, old, request).await
        })
    })
    .await
}

async fn save(
    change: &mut Change<'_>,
    parent: Stored<ApplicationSpec>,
    old: Stored<CanaryReleaseSpec>,
    request: CanaryReleaseRequest,
) -> Result<CanaryRelease> {
    let (app, id, state) = (parent.row.id, old.row.id, old.spec.state);
    let spec = match state {
        // The versions of the application may have changed since.
        CanaryState::Finished => readable(request, state)?,
        CanaryState::Paused | CanaryState::InProgress => checked(&parent.spec, request, state)?,
    };
    check_step(&old.spec, &spec)?;
    if spec.is_in_progress() {
        check_alone(change, app, id).await?;
    }
    let before = service(change, &parent).await?;
    let new = object::update(change, &old, spec).await?;
    let after = service(change, &parent).await?;
    change.keys(before, after);
    let (before, after) = (check::json(&old.spec)?, check::json(&new.spec)?);
    change.audit(Kind::CanaryRelease.name(), id, Some(before), Some(after));
    let version = &new.spec.canary_upstream_version;
    if new.spec.state != state
        && new.spec.state == CanaryState::Finished
        && *version != parent.spec.default_upstream_version
    {
        let promoted =
            ApplicationSpec { default_upstream_version: version.clone(), ..parent.spec.clone() };
        application::save(change, parent, promoted).await?;
    }
    Ok(view(new))
}

/// Deletes a release in any state; its requests go to the application's default version from then on.
pub async fn delete(cx: &Cx, app: Id, id: Id) -> Result<Written<()>> {
    let cluster = application::cluster_of(cx, app).await?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let parent = parent(change, app).await?;
            let stored = object::find(&change.app, change.tx, app, id).await?;
            let before = service(change, &parent).await?;
            remove(change, &stored).await?;
            let after = service(change, &parent).await?;
            change.keys(before, after);
            Ok(())
        })
    })
    .await
}

/// Deletes all releases of an application that is about to go itself.
pub(crate) async fn remove_all(change: &mut Change<'_>, app: Id) -> Result<()> {
    let rows = resource::children(change.tx, Kind::CanaryRelease, app).await?;
    for stored in object::opened_all(&change.app, rows)? {
        remove(change, &stored).await?;
    }
    Ok(())
}

async fn remove(change: &mut Change<'_>, stored: &Stored<CanaryReleaseSpec>) -> Result<()> {
    resource::delete(change.tx, stored.row.id).await?;
    let before = check::json(&stored.spec)?;
    change.audit(Kind::CanaryRelease.name(), stored.row.id, Some(before), None);
    Ok(())
}

/// Releases of a cluster that are in progress, by application.
pub(crate) async fn in_progress(
    app: &App,
    tx: &mut Tx,
    cluster: Id,
) -> Result<BTreeMap<Id, CanaryReleaseSpec>> {
    let rows = canary_release::in_progress(tx, cluster).await?;
    let stored = object::opened_all::<CanaryReleaseSpec>(app, rows)?;
    Ok(stored.into_iter().map(|one| (one.row.parent_id, one.spec)).collect())
}

/// Refuses versions of an application that would leave a release without its own.
pub(crate) async fn check_versions(
    change: &mut Change<'_>,
    app: Id,
    spec: &ApplicationSpec,
) -> Result<()> {
    let open = canary_release::open(change.tx, &[app]).await?;
    let mut bereft = open.iter().filter(|release| spec.upstream(&release.version).is_none());
    let Some(release) = bereft.next() else { return Ok(()) };
    Err(Error::in_use(format!(
        "the upstream version `{}` is used by the canary release `{}`: keep the version, or delete \
         the release first",
        release.version, release.name
    )))
}

/// What the application's service and upstreams are, with the release in progress if there is one.
async fn service(change: &mut Change<'_>, parent: &Stored<ApplicationSpec>) -> Result<Keys> {
    let around = change.around(&[&parent.spec]).await?;
    Ok(gantry_translate::application(parent.row.id, &parent.spec, &around))
}

async fn parent(change: &mut Change<'_>, app: Id) -> Result<Stored<ApplicationSpec>> {
    let cluster = change.cluster.id;
    object::find(&change.app, change.tx, cluster, app).await
}

/// The specification of a request, with every rule checked that needs no other release.
fn checked(
    parent: &ApplicationSpec,
    request: CanaryReleaseRequest,
    state: CanaryState,
) -> Result<CanaryReleaseSpec> {
    let has_rules = request.has_rules();
    let spec = readable(request, state)?;
    let mut violations = gantry_translate::check_canary_release(parent, &spec);
    if has_rules {
        for violation in &mut violations {
            violation.field = as_rule(&violation.field);
        }
    }
    check::refuse(&violations)?;
    Ok(spec)
}

fn readable(request: CanaryReleaseRequest, state: CanaryState) -> Result<CanaryReleaseSpec> {
    request.into_spec(state).map_err(|violations| Error::invalid(&violations))
}

/// The path of a field in the older form of conditions.
fn as_rule(field: &str) -> String {
    match field.strip_prefix("expressions") {
        Some(rest) => format!("rules{}", rest.replace(".name", ".key")),
        None => field.to_owned(),
    }
}

/// Refuses steps that a release cannot take, and changes that its state does not allow
/// (facts/api7-cloud.md §17).
fn check_step(old: &CanaryReleaseSpec, new: &CanaryReleaseSpec) -> Result<()> {
    use CanaryState::{Finished, InProgress, Paused};
    match (old.state, new.state) {
        (Finished, Finished)
            if *old == (CanaryReleaseSpec { name: old.name.clone(), ..new.clone() }) =>
        {
            return Ok(());
        }
        (Finished, _) => {
            return Err(Error::conflict(
                "the canary release is finished, which is final: only its name can be changed; \
                 create another one",
            ));
        }
        (Paused, Finished) => {
            return Err(Error::conflict(
                "a paused canary release cannot be finished: send `state` in_progress first",
            ));
        }
        (Paused, Paused | InProgress) | (InProgress, _) => {}
    }
    let moved = old.kind != new.kind || old.canary_upstream_version != new.canary_upstream_version;
    if old.state == InProgress && moved {
        return Err(Error::conflict(
            "`type` and `canary_upstream_version` can be changed only while the canary release is \
             paused",
        ));
    }
    Ok(())
}

/// Refuses a second release in progress.
async fn check_alone(change: &mut Change<'_>, app: Id, id: Id) -> Result<()> {
    let open = canary_release::open(change.tx, &[app]).await?;
    match open.iter().find(|release| release.in_progress && release.id != id) {
        None => Ok(()),
        Some(other) => Err(Error::conflict(format!(
            "the canary release `{}` of this application is in progress: pause or finish it first",
            other.name
        ))),
    }
}

fn view(stored: Stored<CanaryReleaseSpec>) -> CanaryRelease {
    let Stored { row, spec } = stored;
    CanaryRelease {
        id: row.id,
        app_id: row.parent_id,
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        rules: spec.rules(),
        spec,
    }
}
