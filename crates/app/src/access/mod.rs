//! Who may call what, decided before anything else is looked at: membership and roles, in one query,
//! two for service admins. Nothing is remembered between requests: a right taken away is gone.

mod roles;
mod table;

use gantry_model::role::RoleScope;
use gantry_model::{Error, Id, Result};
use gantry_store::Tx;
use gantry_store::access::{self, Membership};
use gantry_store::{cluster, organization};

use crate::{Actor, Cx};

pub use roles::{GIVEN, Role};
pub use table::{Permission, Rule, Scope, rule, rules};

/// The ids in a request's path that say whose things it is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject {
    pub organization: Option<Id>,
    pub cluster: Option<Id>,
    pub application: Option<Id>,
}

/// What a request may touch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// It did not come through the gate: whether its actor belongs to the owner of what it touches
    /// is asked each time.
    Undecided,
    /// What [`enforce`] has admitted it to, and nothing else.
    Granted { organization: Option<Id>, cluster: Option<Id>, reach: Reach },
}

/// How far a right reaches in the place that a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Everything,
    /// To the clusters where this member has roles, and the applications the member looks after.
    Of(Id),
}

/// Nothing but what the actor may touch about itself.
const NOTHING: Access =
    Access::Granted { organization: None, cluster: None, reach: Reach::Everything };

/// Admits a request to what it is about, or refuses it. Ids of others are refused as unknown ones;
/// with an id that is absent or none it is admitted to nothing, and the contract refuses it.
pub async fn enforce(mut cx: Cx, rule: &Rule, subject: Subject) -> Result<Cx> {
    cx.access = NOTHING;
    let Actor::User { id: user, .. } = &cx.actor else { return Ok(cx) };
    let mut tx = cx.app.db.read().await?;
    let (noun, found) = match rule.scope {
        Scope::Public | Scope::User | Scope::Gateway => return Ok(cx),
        Scope::Organization | Scope::Clusters => {
            let Some(id) = subject.organization else { return Ok(cx) };
            ("organization", access::in_organization(&mut tx, id, user).await?)
        }
        Scope::Cluster | Scope::Applications => {
            let Some(id) = subject.cluster else { return Ok(cx) };
            ("cluster", access::in_cluster(&mut tx, id, user).await?)
        }
        Scope::Application => {
            let Some(id) = subject.application else { return Ok(cx) };
            ("application", access::in_application(&mut tx, id, user).await?)
        }
    };
    let membership = found.ok_or_else(|| Error::not_found(noun))?;
    let reach = reach(&mut tx, rule, subject, &membership).await?.ok_or_else(|| missing(rule))?;
    let Membership { org, cluster, .. } = membership;
    cx.access = Access::Granted { organization: Some(org), cluster, reach };
    Ok(cx)
}

/// How far the roles of a member reach in the place of the request; `None` if none of them does.
async fn reach(
    tx: &mut Tx,
    rule: &Rule,
    subject: Subject,
    membership: &Membership,
) -> Result<Option<Reach>> {
    let mut found = None;
    for (key, cluster) in &membership.bindings {
        let Some(role) = Role::of_key(key).filter(|role| role.may(rule)) else { continue };
        match (role.scope(), cluster) {
            (RoleScope::Organization, None) => return Ok(Some(Reach::Everything)),
            // A list over clusters shows those that the member has roles in.
            (RoleScope::Cluster, Some(_)) if rule.scope == Scope::Clusters => {
                found = Some(Reach::Of(membership.member));
            }
            (RoleScope::Cluster, Some(_)) => return Ok(Some(Reach::Everything)),
            _ => {}
        }
    }
    if found.is_some() || !Role::ServiceAdmin.may(rule) {
        return Ok(found);
    }
    let (member, cluster) = (membership.member, membership.cluster);
    let administers = access::administers(tx, member, cluster, subject.application).await?;
    Ok(administers.then_some(Reach::Of(member)))
}

fn missing(rule: &Rule) -> Error {
    let Some(Permission { group, resource, verb }) = rule.permission else {
        return Error::forbidden("nobody may do this");
    };
    Error::forbidden(format!(
        "this needs the permission `{group}.{resource}.{verb}`, which none of your roles grants here"
    ))
}

impl Cx {
    /// How far the caller's right reaches in the place that the request is about.
    pub(crate) fn reach(&self) -> Reach {
        match self.access {
            Access::Undecided => Reach::Everything,
            Access::Granted { reach, .. } => reach,
        }
    }

    /// The cluster that the request was admitted to.
    #[must_use]
    pub fn cluster(&self) -> Option<Id> {
        match self.access {
            Access::Undecided => None,
            Access::Granted { cluster, .. } => cluster,
        }
    }

    /// Refuses clusters other than the one the request was admitted to as if they did not exist.
    pub(crate) async fn see_cluster(&self, tx: &mut Tx, id: Id) -> Result<()> {
        let visible = match (self.access, &self.actor) {
            (Access::Granted { cluster, .. }, _) => cluster == Some(id),
            (_, Actor::User { id: user, .. }) => access::in_cluster(tx, id, user).await?.is_some(),
            (_, Actor::Gateway(identity)) => identity.cluster == id,
            (_, Actor::System) => cluster::find(tx, id).await?.is_some(),
        };
        if visible { Ok(()) } else { Err(Error::not_found("cluster")) }
    }

    /// The same for organizations.
    pub(crate) async fn see_organization(&self, tx: &mut Tx, id: Id) -> Result<()> {
        let visible = match (self.access, &self.actor) {
            (Access::Granted { organization, .. }, _) => organization == Some(id),
            (_, Actor::User { id: user, .. }) => {
                access::in_organization(tx, id, user).await?.is_some()
            }
            (_, Actor::Gateway(identity)) => identity.org == id,
            (_, Actor::System) => organization::find(tx, id).await?.is_some(),
        };
        if visible { Ok(()) } else { Err(Error::not_found("organization")) }
    }
}
