//! Roles.

use gantry_app::member;
use gantry_model::role::Role;

use crate::answer::{Answer, Reply};
use crate::compat::{Form, Listed};
use crate::extract::{Caller, List, OfOrganization, Params};

pub async fn list(
    form: Form,
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
    List(query): List,
) -> Reply<Listed<Role>> {
    Ok(Answer::new(form.list(member::roles(&cx, id, &query).await?)))
}
