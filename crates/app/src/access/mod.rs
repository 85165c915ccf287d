//! Who may call what, decided before anything else is looked at.

mod table;

use gantry_model::{Id, Result};

use crate::{Cx, application};

pub use table::{Permission, Rule, Scope, rule, rules};

/// The ids in a request's path that say whose things it is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject {
    pub organization: Option<Id>,
    pub cluster: Option<Id>,
    pub application: Option<Id>,
}

/// Refuses what the actor may not call. Ids of others are refused as unknown ones; an id that is
/// absent is left to the contract. Answers the cluster of the application in a path that names no
/// cluster.
pub async fn enforce(cx: &Cx, rule: &Rule, subject: Subject) -> Result<Option<Id>> {
    match rule.scope {
        Scope::Public | Scope::User | Scope::Gateway => Ok(None),
        Scope::Organization => {
            let Some(id) = subject.organization else { return Ok(None) };
            cx.see_organization(&mut cx.app.db.read().await?, id).await.map(|()| None)
        }
        Scope::Cluster => {
            let Some(id) = subject.cluster else { return Ok(None) };
            cx.see_cluster(&mut cx.app.db.read().await?, id).await.map(|()| None)
        }
        Scope::Application => {
            let Some(id) = subject.application else { return Ok(None) };
            application::cluster_of(cx, id).await.map(Some)
        }
    }
}
