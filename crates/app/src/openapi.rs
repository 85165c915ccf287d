//! Import of OpenAPI documents. The first import of a document makes an application and its APIs;
//! a later one of the same title brings them to what the document says now. What somebody changed by
//! hand stays, until the document says something new about it.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::config::{ApiSpec, Application, ApplicationSpec, DRAFT};
use gantry_model::{Error, ErrorCode, Id, Result};
use gantry_store::openapi::{self as origin, ImportRow, OperationRow};
use gantry_store::resource::{self, Kind};
use gantry_translate::openapi::{self, Import, ImportedApi, VERSION, free_name};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::change::{Change, change};
use crate::object::{self, Stored};
use crate::{Cx, Written, api, application, check};

/// Imports a document into a cluster, in one transaction.
pub async fn import(cx: &Cx, cluster: Id, text: &str) -> Result<Written<Application>> {
    let import = openapi::read(text).map_err(|broken| Error::invalid(&broken))?;
    change(cx, cluster, move |change| Box::pin(run(change, import))).await
}

async fn run(change: &mut Change<'_>, import: Import) -> Result<Application> {
    let cluster = change.cluster.id;
    let known = origin::find(change.tx, cluster, &import.title).await?;
    let id = match &known {
        None => begin(change, &import).await?,
        Some(known) => follow(change, known, &import).await?,
    };
    let place = place(Kind::Application, id);
    let document_sealed = change.app.sealer.seal_json(&place, &import.application)?;
    let row = ImportRow { application: id, document_sealed };
    origin::put_import(change.tx, cluster, &import.title, &row).await?;
    let mut notes = import.notes;
    notes.extend(change.warning.take());
    change.warning = (!notes.is_empty()).then(|| notes.join("; "));
    let stored = object::find(&change.app, change.tx, cluster, id).await?;
    application::view(change.tx, stored).await
}

/// Creates the application and its APIs.
async fn begin(change: &mut Change<'_>, import: &Import) -> Result<Id> {
    let name = free_application_name(change, &import.application.name).await?;
    let spec = ApplicationSpec { name, ..import.application.clone() };
    let stored = application::add(change, spec).await.map_err(|error| about(error, "openapi"))?;
    for one in &import.apis {
        add(change, &stored, one, one.spec.clone()).await?;
    }
    Ok(stored.row.id)
}

async fn free_application_name(change: &mut Change<'_>, wanted: &str) -> Result<String> {
    let cluster = change.cluster.id;
    let mut taken = BTreeSet::new();
    loop {
        let name = free_name(wanted, |name| taken.contains(name));
        let other = resource::find_named(change.tx, Kind::Application, cluster, &name).await?;
        if other.is_none() {
            return Ok(name);
        }
        taken.insert(name);
    }
}

async fn add(
    change: &mut Change<'_>,
    parent: &Stored<ApplicationSpec>,
    imported: &ImportedApi,
    spec: ApiSpec,
) -> Result<()> {
    let app = parent.row.id;
    let stored = api::add(change, app, &parent.spec, spec).await;
    let stored = stored.map_err(|error| about(error, &imported.place))?;
    note(change, app, stored.row.id, imported).await
}

/// Remembers what the document said about an API.
async fn note(change: &mut Change<'_>, app: Id, id: Id, imported: &ImportedApi) -> Result<()> {
    let document_sealed = change.app.sealer.seal_json(&place(Kind::Api, id), &imported.spec)?;
    let operation = imported.operation.clone();
    origin::put_operation(change.tx, app, &OperationRow { api: id, operation, document_sealed })
        .await
}

/// Brings an application and its APIs to what the document says now.
async fn follow(change: &mut Change<'_>, known: &ImportRow, import: &Import) -> Result<Id> {
    let (cluster, id) = (change.cluster.id, known.application);
    let old: Stored<ApplicationSpec> = object::find(&change.app, change.tx, cluster, id).await?;
    let mut rows: BTreeMap<String, OperationRow> = BTreeMap::new();
    for row in origin::operations(change.tx, id).await? {
        rows.insert(row.operation.clone(), row);
    }
    let named: BTreeSet<&str> = import.apis.iter().map(|one| one.operation.as_str()).collect();
    for row in rows.values().filter(|row| !named.contains(row.operation.as_str())) {
        let gone = object::find(&change.app, change.tx, id, row.api).await?;
        api::remove(change, &old.spec, gone).await?;
    }
    follow_application(change, known, old, &import.application).await?;
    let parent = object::find(&change.app, change.tx, cluster, id).await?;
    follow_apis(change, &parent, &rows, import).await?;
    Ok(id)
}

async fn follow_application(
    change: &mut Change<'_>,
    known: &ImportRow,
    old: Stored<ApplicationSpec>,
    new: &ApplicationSpec,
) -> Result<()> {
    let place = place(Kind::Application, known.application);
    let last: ApplicationSpec = change.app.sealer.open_json(&place, &known.document_sealed)?;
    let mut patch = news(&last, new)?;
    if patch.remove("upstreams").is_some() {
        // Other versions are none of the document's business.
        let mut upstreams = old.spec.upstreams.clone();
        upstreams.retain(|entry| entry.version != VERSION);
        upstreams.splice(0..0, new.upstreams.iter().cloned());
        patch.insert("upstreams".into(), check::json(&upstreams)?);
    }
    if patch.remove("name").is_some() {
        let name = free_application_name(change, &new.name).await?;
        patch.insert("name".into(), name.into());
    }
    let spec = check::merged(&old.spec, patch)?;
    if spec != old.spec {
        application::save(change, old, spec).await.map_err(|error| about(error, "openapi"))?;
    }
    Ok(())
}

async fn follow_apis(
    change: &mut Change<'_>,
    parent: &Stored<ApplicationSpec>,
    rows: &BTreeMap<String, OperationRow>,
    import: &Import,
) -> Result<()> {
    let app = parent.row.id;
    let mut names: BTreeMap<Id, String> = BTreeMap::new();
    for one in api::of_application(change, app).await? {
        names.insert(one.row.id, one.spec.name);
    }
    let mut drafts = 0;
    for imported in &import.apis {
        let own = rows.get(&imported.operation).map(|row| row.api);
        let others = |name: &str| names.iter().any(|(id, known)| Some(*id) != own && known == name);
        let name = free_name(&imported.spec.name, others);
        if let Some(row) = rows.get(&imported.operation) {
            let spec = follow_api(change, parent, row, imported, name).await?;
            names.insert(row.api, spec.name);
        } else {
            // Nobody has looked at a new operation of an application that is in use.
            let active = if parent.spec.is_published() { DRAFT } else { imported.spec.active };
            drafts += usize::from(active == DRAFT);
            let spec = ApiSpec { name, active, ..imported.spec.clone() };
            let stored = api::add(change, app, &parent.spec, spec).await;
            let stored = stored.map_err(|error| about(error, &imported.place))?;
            note(change, app, stored.row.id, imported).await?;
            names.insert(stored.row.id, stored.spec.name);
        }
    }
    if drafts > 0 {
        let note = format!("{drafts} new APIs are drafts, because the application is published");
        let earlier = change.warning.take().map(|warning| warning + "; ").unwrap_or_default();
        change.warning = Some(earlier + &note);
    }
    Ok(())
}

/// Brings one API to what the document says now; answers what it is then.
async fn follow_api(
    change: &mut Change<'_>,
    parent: &Stored<ApplicationSpec>,
    row: &OperationRow,
    imported: &ImportedApi,
    name: String,
) -> Result<ApiSpec> {
    let app = parent.row.id;
    let old: Stored<ApiSpec> = object::find(&change.app, change.tx, app, row.api).await?;
    let place = place(Kind::Api, row.api);
    let last: ApiSpec = change.app.sealer.open_json(&place, &row.document_sealed)?;
    let mut patch = news(&last, &imported.spec)?;
    if patch.is_empty() {
        return Ok(old.spec);
    }
    if patch.contains_key("name") {
        patch.insert("name".into(), name.into());
    }
    let spec = check::merged(&old.spec, patch)?;
    if spec != old.spec {
        let saved = api::save(change, &parent.spec, old, spec.clone()).await;
        saved.map_err(|error| about(error, &imported.place))?;
    }
    note(change, app, row.api, imported).await?;
    Ok(spec)
}

/// Top-level fields about which the document says something else than the last time.
fn news<S: Serialize + DeserializeOwned>(last: &S, new: &S) -> Result<Map<String, Value>> {
    let (Value::Object(last), Value::Object(new)) = (check::json(last)?, check::json(new)?) else {
        return Err(Error::internal("a specification is an object"));
    };
    let gone = last.keys().filter(|field| !new.contains_key(*field));
    let gone = gone.map(|field| (field.clone(), Value::Null));
    let told = new.iter().filter(|(field, value)| last.get(*field) != Some(value));
    let told = told.map(|(field, value)| (field.clone(), value.clone()));
    Ok(told.chain(gone).collect())
}

/// Where what a document said is sealed to.
fn place(kind: Kind, id: Id) -> String {
    format!("openapi/{}/{id}", kind.name())
}

/// The same error, with the place in the document it is about.
fn about(error: Error, place: &str) -> Error {
    let message = format!("`{place}` cannot be imported: {}", error.message);
    if error.code == ErrorCode::Internal { error } else { Error::new(error.code, message) }
}
