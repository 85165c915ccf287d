//! The sample application: something to try before anything of one's own is configured.

use gantry_model::config::{ApiSpec, ApplicationSpec, ConsumerSpec};
use gantry_model::{Error, Id, Result, Secret};
use gantry_store::resource::{self, Kind};
use serde_json::{Value, json};

use crate::object::{self, Stored};
use crate::seal::random_text;
use crate::{App, Cx, api, application, consumer, setup};

/// Name of the sample application and of its consumer.
const NAME: &str = "demo";
/// Path of the API that anybody may call.
const OPEN: &str = "/open";
/// Path of the API that wants a key in the header `apikey`.
const PROTECTED: &str = "/protected";

/// The sample as the person who starts Gantry should know it.
#[derive(Clone, Debug)]
pub struct Sample {
    pub application: Id,
    /// Path of the API that anybody may call.
    pub open_path: &'static str,
    /// Path of the API that wants a key in the header `apikey`.
    pub protected_path: &'static str,
    pub key: Secret,
}

/// Makes the sample application in front of `address`, host and port of a service.
pub async fn make(cx: &Cx, cluster: Id, address: &str) -> Result<Sample> {
    let (host, port) = split(address)?;
    let spec: ApplicationSpec = spec(json!({
        "name": NAME,
        "description": "A sample application, made by the first start",
        "hosts": ["127.0.0.1", "localhost"],
        "path_prefix": "/",
        "upstreams": [{
            "version": "default",
            "upstream": {
                "scheme": "http",
                "targets": [{"host": host, "port": port, "weight": 100}],
            },
        }],
    }))?;
    let application = application::create(cx, cluster, spec).await?.value.id;
    make_api(cx, application, "open", OPEN, json!({})).await?;
    make_api(cx, application, "protected", PROTECTED, json!({"key-auth": {}})).await?;
    let key = Secret::new(random_text::<24>());
    let spec: ConsumerSpec = self::spec(json!({
        "name": NAME,
        "description": "May call the protected sample API",
        "credentials": {"key-auth": {"key": key.expose()}},
    }))?;
    consumer::create(cx, cluster, spec).await?;
    Ok(Sample { application, open_path: OPEN, protected_path: PROTECTED, key })
}

/// The sample of an earlier start, now in front of `address`; `None` if its parts are gone.
pub async fn find(app: &App, address: &str) -> Result<Option<Sample>> {
    let cluster = setup::first_cluster(app).await?;
    let mut tx = app.db.read().await?;
    let application = resource::find_named(&mut tx, Kind::Application, cluster, NAME).await?;
    let consumer = resource::find_named(&mut tx, Kind::Consumer, cluster, NAME).await?;
    drop(tx);
    let (Some(application), Some(consumer)) = (application, consumer) else { return Ok(None) };
    let consumer: Stored<ConsumerSpec> = object::opened(app, consumer)?;
    let key = consumer.spec.credentials.get("key-auth").and_then(|auth| auth["key"].as_str());
    let Some(key) = key.map(Secret::new) else { return Ok(None) };
    let stored: Stored<ApplicationSpec> = object::opened(app, application)?;
    move_to(app, cluster, &stored, address).await?;
    let application = stored.row.id;
    Ok(Some(Sample { application, open_path: OPEN, protected_path: PROTECTED, key }))
}

/// Puts the application in front of `address` if its service was elsewhere before.
async fn move_to(
    app: &App,
    cluster: Id,
    stored: &Stored<ApplicationSpec>,
    address: &str,
) -> Result<()> {
    let (host, port) = split(address)?;
    let mut spec = stored.spec.clone();
    for entry in &mut spec.upstreams {
        for target in &mut entry.upstream.targets {
            host.clone_into(&mut target.host);
            target.port = port;
        }
    }
    if spec != stored.spec {
        let cx = Cx::system(app, "moveSample");
        application::replace(&cx, cluster, stored.row.id, spec).await?;
    }
    Ok(())
}

fn split(address: &str) -> Result<(&str, u16)> {
    address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?))).ok_or_else(
        || Error::invalid_field("sample", "must be a host and a port", "127.0.0.1:7070"),
    )
}

async fn make_api(cx: &Cx, app: Id, name: &str, path: &str, plugins: Value) -> Result<()> {
    let spec: ApiSpec = spec(json!({
        "name": name,
        "paths": [{"path": path, "path_type": "Prefix"}],
        "plugins": plugins,
    }))?;
    api::create(cx, app, spec).await.map(|_| ())
}

fn spec<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(Error::internal)
}
