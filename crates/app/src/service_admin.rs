//! Service admins: members who may work on single applications.

use std::collections::BTreeSet;

use gantry_model::service_admin::{ServiceAdmin, ServiceAdminAdd};
use gantry_model::{Error, Id, ListQuery, Page, Result, Violation};
use gantry_store::resource::{self, Kind};
use gantry_store::{member, service_admin};
use serde_json::json;

use crate::change::{Change, change};
use crate::{Cx, Written, application, check};

/// The kind of object in the audit.
const KIND: &str = "service_admin";

pub async fn list(cx: &Cx, app: Id, query: &ListQuery) -> Result<Page<ServiceAdmin>> {
    application::cluster_of(cx, app).await?;
    let (list, count) = service_admin::list(&mut cx.app.db.read().await?, app, query).await?;
    Ok(Page { list, count })
}

/// Adds members, invited ones too; who is there already stays.
pub async fn add(cx: &Cx, app: Id, add: ServiceAdminAdd) -> Result<Written<()>> {
    let cluster = application::cluster_of(cx, app).await?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            must_exist(change, app).await?;
            let ids: Vec<Id> = add.items.iter().map(|item| item.member_id).collect();
            let known = member::known(change.tx, change.cluster.org_id, &ids).await?;
            let known: BTreeSet<Id> = known.into_iter().collect();
            let strangers = ids.iter().enumerate().filter(|(_, id)| !known.contains(id));
            let violations = strangers.map(|(position, _)| {
                let rule = "must be the id of a member of the organization";
                Violation::new(format!("items[{position}].member_id"), rule, "")
            });
            check::refuse(&violations.collect::<Vec<_>>())?;
            for id in known {
                if service_admin::insert(change.tx, cluster, app, id, change.now).await? {
                    change.audit(KIND, id, None, Some(json!({ "app_id": app, "member_id": id })));
                }
            }
            Ok(())
        })
    })
    .await
}

pub async fn delete(cx: &Cx, app: Id, member: Id) -> Result<Written<()>> {
    let cluster = application::cluster_of(cx, app).await?;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            must_exist(change, app).await?;
            if !service_admin::delete(change.tx, app, member).await? {
                return Err(Error::not_found("service admin"));
            }
            let gone = json!({ "app_id": app, "member_id": member });
            change.audit(KIND, member, Some(gone), None);
            Ok(())
        })
    })
    .await
}

/// It was there when the gate asked; now nobody else can remove it.
async fn must_exist(change: &mut Change<'_>, app: Id) -> Result<()> {
    let found = resource::find(change.tx, Kind::Application, app).await?;
    found.map(|_| ()).ok_or_else(|| Error::not_found(Kind::Application.name()))
}
