//! Members of an organization.

use gantry_app::invitation::Invited;
use gantry_app::{invitation, member};
use gantry_model::member::{Member, MemberCreate, RoleBinding};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfOrganization, Params};

#[derive(Deserialize)]
pub struct OfMember {
    id: Id,
    member_id: Id,
}

#[derive(Deserialize)]
pub struct Filter {
    role_name: Option<String>,
}

/// Contract, schema `MemberUpdate`.
#[derive(Deserialize)]
pub struct Update {
    role_bindings: Vec<RoleBinding>,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
    Params(Filter { role_name }): Params<Filter>,
    List(query): List,
) -> Reply<Page<Member>> {
    Ok(Answer::new(member::list(&cx, id, role_name.as_deref(), &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
    Body(create): Body<MemberCreate>,
) -> Reply<Member> {
    Ok(invited(invitation::create(&cx, id, create).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfMember { id, member_id }): Params<OfMember>,
) -> Reply<Member> {
    Ok(Answer::new(member::get(&cx, id, member_id).await?))
}

pub async fn update(
    Caller(cx): Caller,
    Params(OfMember { id, member_id }): Params<OfMember>,
    Body(Update { role_bindings }): Body<Update>,
) -> Reply<()> {
    member::update(&cx, id, member_id, role_bindings).await?;
    Ok(Answer::empty())
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfMember { id, member_id }): Params<OfMember>,
) -> Reply<()> {
    member::delete(&cx, id, member_id).await?;
    Ok(Answer::empty())
}

pub async fn transfer_ownership(
    Caller(cx): Caller,
    Params(OfMember { id, member_id }): Params<OfMember>,
) -> Reply<()> {
    member::transfer_ownership(&cx, id, member_id).await?;
    Ok(Answer::empty())
}

pub async fn invite_again(
    Caller(cx): Caller,
    Params(OfMember { id, member_id }): Params<OfMember>,
) -> Reply<Member> {
    Ok(invited(invitation::renew(&cx, id, member_id).await?))
}

fn invited(Invited { member, warning }: Invited) -> Answer<Member> {
    Answer::new(member).with_warning(warning)
}
