//! What gateways are served for one resource: the very bytes, but for secrets.

use gantry_model::config::{ApiSpec, ApplicationSpec, CertificateSpec, ConsumerSpec, Plugins};
use gantry_model::{Error, Id, Result};
use gantry_store::resource::{self, Kind};
use gantry_store::{Tx, cluster, revision};
use gantry_translate::Keys;
use serde_json::{Map, Value, json};

use crate::change::key_place;
use crate::object::{self, Stored};
use crate::surroundings::of as around;
use crate::{App, Cx, certificate, mask};

/// Arrays that clients look for, present also when they are empty.
const ARRAYS: [&str; 5] = ["routes", "services", "upstreams", "consumers", "certificates"];

/// Keys of a resource as they are served. `kind` is `api`, `application`, `consumer`, `certificate`
/// or `cluster_settings`, whose id is the cluster's.
pub async fn dump(cx: &Cx, cluster: Id, kind: &str, id: Id) -> Result<Value> {
    let mut tx = cx.app.db.snapshot().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let keys = match kind {
        "api" => api(&cx.app, &mut tx, cluster, id).await?,
        "application" => application(&cx.app, &mut tx, cluster, id).await?,
        "consumer" => {
            let one = object::find::<ConsumerSpec>(&cx.app, &mut tx, cluster, id).await?;
            let around = around(&cx.app, &mut tx, cluster, &[&one.spec.plugins]).await?;
            gantry_translate::consumer(id, &one.spec, &around)
        }
        "certificate" => {
            let one = object::find::<CertificateSpec>(&cx.app, &mut tx, cluster, id).await?;
            let snis = certificate::facts(&one.spec.certificate, "certificate")?.snis;
            gantry_translate::certificate(id, &one.spec, &snis)
        }
        "cluster_settings" => settings(&cx.app, &mut tx, cluster, id).await?,
        _ => {
            let rule = "must be api, application, consumer, certificate or cluster_settings";
            return Err(Error::invalid_field("type", rule, "\"application\""));
        }
    };
    served(&cx.app, &mut tx, cluster, &keys).await
}

async fn api(app: &App, tx: &mut Tx, cluster: Id, id: Id) -> Result<Keys> {
    let row = resource::find(tx, Kind::Api, id).await?.filter(|row| row.cluster_id == cluster);
    let row = row.ok_or_else(|| Error::not_found("api"))?;
    let one: Stored<ApiSpec> = object::opened(app, row)?;
    let parent_id = one.row.parent_id;
    let parent = object::find::<ApplicationSpec>(app, tx, cluster, parent_id).await?;
    let plugins = [&parent.spec.plugins, &one.spec.plugins];
    let around = around(app, tx, cluster, &plugins).await?;
    let mut keys = gantry_translate::api(id, parent_id, &parent.spec, &one.spec, &around);
    if !keys.is_empty() {
        keys.extend(gantry_translate::application(parent_id, &parent.spec, &around));
    }
    Ok(keys)
}

async fn application(app: &App, tx: &mut Tx, cluster: Id, id: Id) -> Result<Keys> {
    let one = object::find::<ApplicationSpec>(app, tx, cluster, id).await?;
    let rows = resource::children(tx, Kind::Api, id).await?;
    let apis = object::opened_all::<ApiSpec>(app, rows)?;
    let plugins = apis.iter().map(|api| &api.spec.plugins).chain([&one.spec.plugins]);
    let around = around(app, tx, cluster, &plugins.collect::<Vec<_>>()).await?;
    let mut keys = gantry_translate::application(id, &one.spec, &around);
    for api in apis {
        keys.extend(gantry_translate::api(api.row.id, id, &one.spec, &api.spec, &around));
    }
    Ok(keys)
}

async fn settings(app: &App, tx: &mut Tx, cluster: Id, id: Id) -> Result<Keys> {
    let found = cluster::find(tx, cluster).await?.filter(|row| row.id == id);
    let found = found.ok_or_else(|| Error::not_found("cluster"))?;
    let (settings, plugins): (_, Plugins) = crate::cluster::opened(app, &found)?;
    let around = around(app, tx, cluster, &[&plugins]).await?;
    let records = crate::loaded_plugin::records(app, tx, cluster).await?;
    let states = crate::loaded_plugin::states(&records);
    let mut keys = gantry_translate::loaded_plugins(&states);
    keys.extend(gantry_translate::cluster(cluster, &settings, &plugins, &around));
    Ok(keys)
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
