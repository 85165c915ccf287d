//! The first start: an owner, an organization with its cluster, and something to look at.

use gantry_model::access_token::AccessTokenCreate;
use gantry_model::region::Region;
use gantry_model::{Error, Id, Result, Secret};
use gantry_store::user::{self, UserRow};

use crate::act::act;
use crate::audit::Ledger;
use crate::sample::{self, Sample};
use crate::seal::random_text;
use crate::{App, Cx, access_token, check, organization, password};

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
    let cx = Cx::system(app, "firstStart");
    let one_time = password.is_none().then(|| Secret::new(random_text::<15>()));
    let chosen = password.or_else(|| one_time.clone());
    let chosen = chosen.ok_or_else(|| Error::internal("no password was chosen"))?;
    let owner = UserRow {
        first_name: "Gantry".into(),
        last_name: "Owner".into(),
        verified_at: Some(app.now()),
        ..crate::user::new(app, email, password::hash(chosen).await?)
    };
    let Some((organization, cluster)) = insert(&cx, owner.clone()).await? else { return Ok(None) };
    app.renew_server_certificate().await?;
    let create = AccessTokenCreate {
        expire: app.now().plus_seconds(TOKEN_S).seconds(),
        notes: "made by the first start".into(),
    };
    let token = access_token::create_for(&cx, &owner.id, create).await?;
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

/// The owner with organization and cluster in one transaction; `None` if another server was faster.
async fn insert(cx: &Cx, owner: UserRow) -> Result<Option<(Id, Id)>> {
    let origin = cx.clone();
    let id = cx.app.new_id();
    act(cx, Ledger::Organization(id), move |act| {
        Box::pin(async move {
            if user::exists(act.tx).await? {
                return Ok(None);
            }
            let region = Region {
                id: act.app.new_id(),
                name: "local".into(),
                provider: "self-hosted".into(),
                status: 0,
                created_at: act.now,
                updated_at: act.now,
            };
            gantry_store::region::insert(act.tx, &region).await?;
            act.audit("region", region.id, None, Some(check::json(&region)?));
            crate::user::insert(act, &owner).await?;
            let (made, cluster) =
                organization::insert(&origin, act, id, &owner.id, ORGANIZATION).await?;
            act.audit("organization", id, None, Some(check::json(&made)?));
            Ok(Some((made.id, cluster)))
        })
    })
    .await
}
