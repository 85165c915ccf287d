//! Members of an organization: who they are, what roles they have, and the one who owns it.

use std::collections::BTreeSet;

use gantry_model::config::STATUS_READY;
use gantry_model::member::{Member, MemberState, RoleBinding};
use gantry_model::organization::Organization;
use gantry_model::role::{self, RoleScope};
use gantry_model::{Error, Id, ListQuery, Page, Result, Violation};
use gantry_store::member::{self, BindingRow, MemberRow};
use gantry_store::{Tx, cluster, organization};
use serde_json::{Value, json};

use crate::access::{self, Role};
use crate::act::{Act, act};
use crate::audit::Ledger;
use crate::{Actor, Cx, check};

/// The kind of object in the audit.
pub(crate) const KIND: &str = "member";

/// Roles that members are given, each with what it allows.
pub async fn roles(cx: &Cx, org: Id, query: &ListQuery) -> Result<Page<role::Role>> {
    cx.see_organization(&mut cx.app.db.read().await?, org).await?;
    let all: Vec<_> = access::GIVEN.into_iter().filter_map(|role| role.view(org)).collect();
    let count = i64::try_from(all.len()).map_err(Error::internal)?;
    let (skip, take) = (query.offset(), query.limit());
    let (skip, take) = (usize::try_from(skip), usize::try_from(take));
    let page = all.into_iter().skip(skip.unwrap_or(usize::MAX)).take(take.unwrap_or_default());
    Ok(Page { list: page.collect(), count })
}

/// One page of the members; with the name of a role, those who have it.
pub async fn list(
    cx: &Cx,
    org: Id,
    role_name: Option<&str>,
    query: &ListQuery,
) -> Result<Page<Member>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_organization(&mut tx, org).await?;
    let role = match role_name.filter(|name| !name.trim().is_empty()) {
        None => None,
        Some(name) => match Role::of_name(name) {
            Some(role) => Some(role.key()),
            None => return Ok(Page { list: Vec::new(), count: 0 }),
        },
    };
    let (rows, count) = member::list(&mut tx, org, role, query).await?;
    Ok(Page { list: views(&mut tx, rows).await?, count })
}

pub async fn get(cx: &Cx, org: Id, id: Id) -> Result<Member> {
    let mut tx = cx.app.db.read().await?;
    cx.see_organization(&mut tx, org).await?;
    let row = find(&mut tx, org, id).await?;
    view(&mut tx, row).await
}

/// Makes `bindings` the roles of a member.
pub async fn update(cx: &Cx, org: Id, id: Id, bindings: Vec<RoleBinding>) -> Result<()> {
    cx.see_organization(&mut cx.app.db.read().await?, org).await?;
    let caller = cx.actor.clone();
    act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            locked(act.tx, org).await?;
            let row = find(act.tx, org, id).await?;
            let before = bindings_of(act.tx, id).await?;
            if has(&before, Role::Owner) {
                return Err(Error::conflict(
                    "the owner's role cannot be changed: transfer the ownership first",
                ));
            }
            let after = checked(act.tx, org, &bindings).await?;
            if has(&before, Role::OrganizationAdmin) && !has(&after, Role::OrganizationAdmin) {
                refuse_last_admin(act.tx, &row, &caller).await?;
            }
            member::set_bindings(act.tx, org, id, &after, act.now).await?;
            act.audit(KIND, id, Some(record(&row, &before)), Some(record(&row, &after)));
            Ok(())
        })
    })
    .await
}

/// Removes a member or takes an invitation back; entries as service admin go too.
pub async fn delete(cx: &Cx, org: Id, id: Id) -> Result<()> {
    cx.see_organization(&mut cx.app.db.read().await?, org).await?;
    let caller = cx.actor.clone();
    act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            locked(act.tx, org).await?;
            let row = find(act.tx, org, id).await?;
            let bindings = bindings_of(act.tx, id).await?;
            if has(&bindings, Role::Owner) {
                return Err(Error::conflict(
                    "the owner cannot be removed: transfer the ownership first",
                ));
            }
            if has(&bindings, Role::OrganizationAdmin) {
                refuse_last_admin(act.tx, &row, &caller).await?;
            }
            member::delete(act.tx, id).await?;
            act.audit(KIND, id, Some(record(&row, &bindings)), None);
            Ok(())
        })
    })
    .await
}

/// Makes another member the owner; who was it becomes an administrator.
pub async fn transfer_ownership(cx: &Cx, org: Id, id: Id) -> Result<()> {
    cx.see_organization(&mut cx.app.db.read().await?, org).await?;
    let caller = cx.user_id()?.to_owned();
    act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            let organization = locked(act.tx, org).await?;
            must_own(&organization, &caller)?;
            let target = find(act.tx, org, id).await?;
            let Some(user_id) = target.user_id.clone() else {
                return Err(Error::conflict(
                    "the member has to accept the invitation before owning the organization",
                ));
            };
            if user_id == caller {
                return Err(Error::conflict("you own the organization already"));
            }
            let owner = member::find_by_user(act.tx, org, &caller).await?;
            let owner = owner.ok_or_else(|| Error::internal("an owner who is no member"))?;
            // First the role goes, then it comes: there are never two.
            give(act, &owner, Role::OrganizationAdmin).await?;
            give(act, &target, Role::Owner).await?;
            organization::set_owner(act.tx, org, &user_id, act.now).await
        })
    })
    .await
}

/// Replaces all roles of a member by one of the whole organization.
async fn give(act: &mut Act<'_>, row: &MemberRow, role: Role) -> Result<()> {
    let before = bindings_of(act.tx, row.id).await?;
    let after = vec![BindingRow { role: role.key().to_owned(), cluster_id: None }];
    member::set_bindings(act.tx, row.org_id, row.id, &after, act.now).await?;
    act.audit(KIND, row.id, Some(record(row, &before)), Some(record(row, &after)));
    Ok(())
}

/// Makes a user the first member of a new organization, and its owner.
pub(crate) async fn insert_owner(tx: &mut Tx, row: &MemberRow) -> Result<()> {
    member::insert(tx, row).await?;
    let owner = BindingRow { role: Role::Owner.key().to_owned(), cluster_id: None };
    member::set_bindings(tx, row.org_id, row.id, &[owner], row.created_at).await
}

/// The organization, with its members held until the transaction ends.
pub(crate) async fn locked(tx: &mut Tx, org: Id) -> Result<Organization> {
    organization::lock(tx, org).await?.ok_or_else(|| Error::not_found("organization"))
}

/// The gate has asked too, but before the organization was locked.
pub(crate) fn must_own(organization: &Organization, user_id: &str) -> Result<()> {
    if organization.owner_id == user_id {
        return Ok(());
    }
    Err(Error::forbidden("only the owner of the organization can do this"))
}

/// Who administers an organization does not leave it without an administrator beside the owner.
async fn refuse_last_admin(tx: &mut Tx, row: &MemberRow, caller: &Actor) -> Result<()> {
    let Actor::User { id: caller, .. } = caller else { return Ok(()) };
    if row.user_id.as_ref() != Some(caller) {
        return Ok(());
    }
    if member::count_active(tx, row.org_id, Role::OrganizationAdmin.key()).await? > 1 {
        return Ok(());
    }
    Err(Error::conflict(
        "you are the only administrator of the organization: make another member administrator \
         first",
    ))
}

pub(crate) async fn find(tx: &mut Tx, org: Id, id: Id) -> Result<MemberRow> {
    member::find(tx, org, id).await?.ok_or_else(|| Error::not_found("member"))
}

pub(crate) async fn bindings_of(tx: &mut Tx, id: Id) -> Result<Vec<BindingRow>> {
    Ok(member::bindings(tx, &[id]).await?.into_iter().map(|(_, binding)| binding).collect())
}

fn has(bindings: &[BindingRow], role: Role) -> bool {
    bindings.iter().any(|binding| binding.role == role.key())
}

/// The roles that are meant, each once; roles of clusters need a cluster of the organization, others
/// must have none.
pub(crate) async fn checked(
    tx: &mut Tx,
    org: Id,
    bindings: &[RoleBinding],
) -> Result<Vec<BindingRow>> {
    let clusters: BTreeSet<Id> = cluster::of_organization(tx, org).await?.into_iter().collect();
    let mut rows: Vec<BindingRow> = Vec::new();
    let mut violations = Vec::new();
    for (position, binding) in bindings.iter().enumerate() {
        match check_binding(org, &clusters, position, binding) {
            Ok(row) if rows.contains(&row) => {}
            Ok(row) => rows.push(row),
            Err(violation) => violations.push(violation),
        }
    }
    check::refuse(&violations)?;
    Ok(rows)
}

fn check_binding(
    org: Id,
    clusters: &BTreeSet<Id>,
    position: usize,
    binding: &RoleBinding,
) -> Result<BindingRow, Violation> {
    let field = |name: &str| format!("role_bindings[{position}].{name}");
    let role = binding.role_id.and_then(|id| Role::of_id(org, id));
    let role = role.ok_or_else(|| unknown_role(field("role_id"), org))?;
    check_given(role, field("role_id"))?;
    match (role.scope(), binding.cluster_id) {
        (RoleScope::Organization, Some(_)) => {
            let rule = format!("must be null: {} is a role of the organization", role.name());
            return Err(Violation::new(field("cluster_id"), rule, "null"));
        }
        (RoleScope::Cluster, id) if !id.is_some_and(|id| clusters.contains(&id)) => {
            let rule = format!("must be the id of a cluster, as {} is for one", role.name());
            let example = clusters.first().map(|id| format!("\"{id}\"")).unwrap_or_default();
            return Err(Violation::new(field("cluster_id"), rule, example));
        }
        _ => {}
    }
    Ok(BindingRow { role: role.key().to_owned(), cluster_id: binding.cluster_id })
}

pub(crate) fn unknown_role(field: impl Into<String>, org: Id) -> Violation {
    let example = Role::OrganizationViewer.id(org).map(|id| format!("\"{id}\""));
    let rule = "must be the id of a role from GET /orgs/{id}/roles";
    Violation::new(field, rule, example.unwrap_or_default())
}

/// Ownership is transferred, not given.
pub(crate) fn check_given(role: Role, field: impl Into<String>) -> Result<(), Violation> {
    if role != Role::Owner {
        return Ok(());
    }
    Err(Violation::new(field, "must not be the owner's role: transfer the ownership instead", ""))
}

/// A member in the audit.
pub(crate) fn record(row: &MemberRow, bindings: &[BindingRow]) -> Value {
    let roles = bindings.iter().map(|BindingRow { role, cluster_id }| match cluster_id {
        None => json!({ "role": role }),
        Some(id) => json!({ "role": role, "cluster_id": id }),
    });
    json!({ "email": row.email, "user_id": row.user_id, "roles": roles.collect::<Vec<_>>() })
}

pub(crate) async fn view(tx: &mut Tx, row: MemberRow) -> Result<Member> {
    let id = row.id;
    let mut views = views(tx, vec![row]).await?;
    views.pop().ok_or_else(|| Error::internal(format!("member {id} has no view")))
}

pub(crate) async fn views(tx: &mut Tx, rows: Vec<MemberRow>) -> Result<Vec<Member>> {
    let ids: Vec<Id> = rows.iter().map(|row| row.id).collect();
    let all = member::bindings(tx, &ids).await?;
    let of = |id: Id| all.iter().filter(move |(member, _)| *member == id).map(|(_, one)| one);
    Ok(rows
        .into_iter()
        .map(|row| {
            let bindings: Vec<&BindingRow> = of(row.id).collect();
            shown(row, &bindings)
        })
        .collect())
}

fn shown(row: MemberRow, bindings: &[&BindingRow]) -> Member {
    let org = row.org_id;
    let roles: BTreeSet<Role> =
        bindings.iter().filter_map(|binding| Role::of_key(&binding.role)).collect();
    let binding = |binding: &&BindingRow| RoleBinding {
        role_id: Role::of_key(&binding.role).and_then(|role| role.id(org)),
        cluster_id: binding.cluster_id,
    };
    Member {
        id: row.id,
        org_id: org,
        state: if row.user_id.is_some() { MemberState::Active } else { MemberState::Pending },
        user_id: row.user_id.unwrap_or_default(),
        first_name: row.first_name,
        last_name: row.last_name,
        email: row.email,
        roles: roles.into_iter().filter_map(|role| role.view(org)).collect(),
        role_bindings: bindings.iter().map(binding).collect(),
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        invitation_link: None,
    }
}
