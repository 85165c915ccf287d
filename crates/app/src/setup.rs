//! The first start: an owner, an organization with its cluster, and something to look at.

use gantry_model::access_token::AccessTokenCreate;
use gantry_model::config::{ApiSpec, ApplicationSpec, ConsumerSpec};
use gantry_model::region::Region;
use gantry_model::{Error, Id, Result, Secret};
use gantry_store::user::{self, UserRow};
use serde_json::{Value, json};

use crate::seal::random_text;
use crate::{App, Cx, access_token, api, application, consumer, organization, password};

/// Name of the first organization.
const ORGANIZATION: &str = "My organization";

/// What the first start made, for the person who started it.
#[derive(Clone, Debug)]
pub struct FirstStart {
    pub email: String,
    /// The one-time password, if none was given.
    pub password: Option<Secret>,
    pub access_token: Secret,
    pub organization: Id,
    pub cluster: Id,
    pub sample: Sample,
}

/// The application to try things out with.
#[derive(Clone, Debug)]
pub struct Sample {
    pub application: Id,
    /// Path of the API that anybody may call.
    pub open_path: &'static str,
    pub open_api: Id,
    /// Path of the API that wants a key in the header `apikey`.
    pub protected_path: &'static str,
    pub protected_api: Id,
    pub consumer: Id,
    pub key: Secret,
}

/// Makes the owner's account and the rest, unless somebody has an account already.
///
/// `sample` is host and port of the service behind the sample application.
pub async fn first_start(
    app: &App,
    email: &str,
    password: Option<Secret>,
    sample: &str,
) -> Result<Option<FirstStart>> {
    if user::exists(&mut app.db.read().await?).await? {
        return Ok(None);
    }
    let one_time = password.is_none().then(|| Secret::new(random_text::<15>()));
    let chosen = password.or_else(|| one_time.clone());
    let chosen = chosen.ok_or_else(|| Error::internal("no password was chosen"))?;
    let owner = owner(app, email, chosen).await?;
    let Some((organization, cluster)) = insert(app, owner.clone()).await? else { return Ok(None) };
    app.renew_server_certificate().await?;
    let create = AccessTokenCreate { expire: 0, notes: "made by the first start".into() };
    let token = access_token::create_for(app, &owner.id, create).await?;
    let cx = Cx::system(app, "firstStart");
    Ok(Some(FirstStart {
        email: owner.email,
        password: one_time,
        access_token: Secret::new(token.token.unwrap_or_default()),
        organization,
        cluster,
        sample: make_sample(&cx, cluster, sample).await?,
    }))
}

async fn owner(app: &App, email: &str, chosen: Secret) -> Result<UserRow> {
    let now = app.now();
    Ok(UserRow {
        id: app.new_id().to_string(),
        email: email.trim().to_lowercase(),
        first_name: "Gantry".into(),
        last_name: "Owner".into(),
        avatar_url: String::new(),
        connection: "local".into(),
        password_hash: password::hash(chosen).await?,
        created_at: now,
        updated_at: now,
    })
}

/// The owner with organization and cluster in one transaction; `None` if another server was faster.
async fn insert(app: &App, owner: UserRow) -> Result<Option<(Id, Id)>> {
    let shared = app.clone();
    app.db
        .write(move |tx| {
            Box::pin(async move {
                if user::exists(tx).await? {
                    return Ok(None);
                }
                let now = shared.now();
                let region = Region {
                    id: shared.new_id(),
                    name: "local".into(),
                    provider: "self-hosted".into(),
                    status: 0,
                    created_at: now,
                    updated_at: now,
                };
                gantry_store::region::insert(tx, &region).await?;
                user::insert(tx, &owner).await?;
                let (made, cluster) =
                    organization::insert(&shared, tx, &owner.id, ORGANIZATION).await?;
                Ok(Some((made.id, cluster)))
            })
        })
        .await
}

async fn make_sample(cx: &Cx, cluster: Id, address: &str) -> Result<Sample> {
    let (host, port) = address.rsplit_once(':').ok_or_else(|| {
        Error::invalid_field("sample", "must be a host and a port", "127.0.0.1:9082")
    })?;
    let port: u16 = port.parse().map_err(Error::internal)?;
    let spec: ApplicationSpec = spec(json!({
        "name": "demo",
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
    let (open_path, protected_path) = ("/open", "/protected");
    let open_api = make_api(cx, application, "open", open_path, json!({})).await?;
    let plugins = json!({"key-auth": {}});
    let protected_api = make_api(cx, application, "protected", protected_path, plugins).await?;
    let key = Secret::new(random_text::<24>());
    let spec: ConsumerSpec = self::spec(json!({
        "name": "demo",
        "description": "May call the protected sample API",
        "credentials": {"key-auth": {"key": key.expose()}},
    }))?;
    let consumer = consumer::create(cx, cluster, spec).await?.value.id;
    Ok(Sample { application, open_path, open_api, protected_path, protected_api, consumer, key })
}

async fn make_api(cx: &Cx, app: Id, name: &str, path: &str, plugins: Value) -> Result<Id> {
    let spec: ApiSpec = spec(json!({
        "name": name,
        "paths": [{"path": path, "path_type": "Prefix"}],
        "plugins": plugins,
    }))?;
    Ok(api::create(cx, app, spec).await?.value.id)
}

fn spec<T: serde::de::DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(Error::internal)
}
