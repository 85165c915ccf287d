//! What gateways are served for one resource: the very bytes, but for secrets.

use gantry_model::{Error, Id, Result};
use gantry_store::resource::{self, Kind};
use gantry_store::{Tx, cluster, revision};
use gantry_translate::{Keys, Surroundings};
use serde_json::{Map, Value, json};

use crate::change::key_place;
use crate::subject::{self, Subject};
use crate::{App, Cx, mask};

/// Arrays that clients look for, present also when they are empty.
const ARRAYS: [&str; 5] = ["routes", "services", "upstreams", "consumers", "certificates"];

/// Keys of a resource as they are served. `kind` is `api`, `application`, `consumer`, `certificate`
/// or `cluster_settings`, whose id is the cluster's.
pub async fn dump(cx: &Cx, cluster: Id, kind: &str, id: Id) -> Result<Value> {
    let mut tx = cx.app.db.snapshot().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let subjects = match kind {
        "api" => api(&cx.app, &mut tx, cluster, id).await?,
        "application" => application(&cx.app, &mut tx, cluster, id).await?,
        "consumer" => vec![find(&cx.app, &mut tx, Kind::Consumer, cluster, id).await?],
        "certificate" => vec![find(&cx.app, &mut tx, Kind::Certificate, cluster, id).await?],
        "cluster_settings" => vec![settings(&cx.app, &mut tx, cluster, id).await?],
        _ => {
            let rule = "must be api, application, consumer, certificate or cluster_settings";
            return Err(Error::invalid_field("type", rule, "\"application\""));
        }
    };
    let around = subject::around(&cx.app, &mut tx, cluster, &subjects).await?;
    let mut keys: Keys = subjects.iter().flat_map(|subject| subject.keys(&around)).collect();
    if kind == "cluster_settings" {
        let records = crate::loaded_plugin::records(&cx.app, &mut tx, cluster).await?;
        keys.extend(gantry_translate::loaded_plugins(&crate::loaded_plugin::states(&records)));
    }
    served(&cx.app, &mut tx, cluster, &keys).await
}

async fn find(app: &App, tx: &mut Tx, kind: Kind, cluster: Id, id: Id) -> Result<Subject> {
    let row = resource::find(tx, kind, id).await?.filter(|row| row.cluster_id == cluster);
    Subject::of(app, tx, row.ok_or_else(|| Error::not_found(kind.name()))?).await
}

/// An API with its application, if the API is served.
async fn api(app: &App, tx: &mut Tx, cluster: Id, id: Id) -> Result<Vec<Subject>> {
    let api = find(app, tx, Kind::Api, cluster, id).await?;
    let Subject::Api { app: parent, .. } = &api else { return Ok(vec![api]) };
    let parent = find(app, tx, Kind::Application, cluster, *parent).await?;
    let is_served = !api.keys(&Surroundings::NONE).is_empty();
    Ok(if is_served { vec![api, parent] } else { Vec::new() })
}

/// An application with its APIs.
async fn application(app: &App, tx: &mut Tx, cluster: Id, id: Id) -> Result<Vec<Subject>> {
    let mut subjects = vec![find(app, tx, Kind::Application, cluster, id).await?];
    for row in resource::children(tx, Kind::Api, id).await? {
        subjects.push(Subject::of(app, tx, row).await?);
    }
    Ok(subjects)
}

async fn settings(app: &App, tx: &mut Tx, cluster: Id, id: Id) -> Result<Subject> {
    let found = cluster::find(tx, cluster).await?.filter(|row| row.id == id);
    let found = found.ok_or_else(|| Error::not_found("cluster"))?;
    let (settings, plugins) = crate::cluster::opened(app, &found)?;
    Ok(Subject::Cluster { id: cluster, settings, plugins })
}

/// The stored form of `keys`, by directory.
async fn served(app: &App, tx: &mut Tx, cluster: Id, keys: &Keys) -> Result<Value> {
    let mut dump: Map<String, Value> =
        ARRAYS.map(|name| (name.to_owned(), Value::Array(Vec::new()))).into_iter().collect();
    let names: Vec<&str> = keys.keys().map(String::as_str).collect();
    for row in revision::keys(tx, cluster, &names).await? {
        let value = app.sealer.open_text(&key_place(cluster, &row.key), &row.value_sealed)?;
        let mut parts = row.key.trim_start_matches("/apisix/").splitn(2, '/');
        let (directory, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let array = if directory == "ssls" { "certificates" } else { directory };
        let item = json!({
            "id": id,
            "key": row.key,
            "create_revision": row.create_revision,
            "mod_revision": row.mod_revision,
            "version": row.version,
            "value": mask::served(&row.key, &value)?,
        });
        let items = dump.entry(array).or_insert_with(|| Value::Array(Vec::new()));
        if let Some(items) = items.as_array_mut() {
            items.push(item);
        }
    }
    Ok(Value::Object(dump))
}
