//! The first start: an owner, an organization with its cluster, and something to look at.

use gantry_model::access_token::AccessTokenCreate;
use gantry_model::region::Region;
use gantry_model::{Error, Id, Result, Secret};
use gantry_store::user::{self, UserRow};

use crate::sample::{self, Sample};
use crate::seal::random_text;
use crate::{App, Cx, access_token, organization, password};

/// Name of the first organization.
const ORGANIZATION: &str = "My organization";
/// How long the first access token lasts.
const TOKEN_S: i64 = 30 * 24 * 3600;

/// What the first start made, for the person who started it.
#[derive(Clone, Debug)]
pub struct FirstStart {
    pub email: String,
    /// The one-time password, if none was given.
    pub password: Option<Secret>,
    pub access_token: Secret,
    pub organization: Id,
    pub cluster: Id,
    /// The application to try things out with, if one was wanted.
    pub sample: Option<Sample>,
}

/// Makes the owner's account, an organization and its cluster, unless somebody has an account
/// already, and then the sample application in front of `sample`, host and port of a service.
pub async fn first_start(
    app: &App,
    email: &str,
    password: Option<Secret>,
    sample: &str,
) -> Result<Option<FirstStart>> {
    let Some(mut first) = first_owner(app, email, password).await? else { return Ok(None) };
    let cx = Cx::system(app, "firstStart");
    first.sample = Some(sample::make(&cx, first.cluster, sample).await?);
    Ok(Some(first))
}

/// The same without the sample.
pub async fn first_owner(
    app: &App,
    email: &str,
    password: Option<Secret>,
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
    let create = AccessTokenCreate {
        expire: app.now().plus_seconds(TOKEN_S).seconds(),
        notes: "made by the first start".into(),
    };
    let token = access_token::create_for(app, &owner.id, create).await?;
    Ok(Some(FirstStart {
        email: owner.email,
        password: one_time,
        access_token: Secret::new(token.token.unwrap_or_default()),
        organization,
        cluster,
        sample: None,
    }))
}

/// The oldest cluster: the one that came with the first start.
pub async fn first_cluster(app: &App) -> Result<Id> {
    let clusters = gantry_store::cluster::ids(&mut app.db.read().await?).await?;
    clusters.into_iter().min().ok_or_else(|| Error::not_found("cluster"))
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
    let cx = Cx::system(app, "firstStart");
    app.db
        .write(move |tx| {
            Box::pin(async move {
                if user::exists(tx).await? {
                    return Ok(None);
                }
                let now = cx.app.now();
                let region = Region {
                    id: cx.app.new_id(),
                    name: "local".into(),
                    provider: "self-hosted".into(),
                    status: 0,
                    created_at: now,
                    updated_at: now,
                };
                gantry_store::region::insert(tx, &region).await?;
                user::insert(tx, &owner).await?;
                let (made, cluster) =
                    organization::insert(&cx, tx, cx.app.new_id(), &owner.id, ORGANIZATION).await?;
                Ok(Some((made.id, cluster)))
            })
        })
        .await
}
