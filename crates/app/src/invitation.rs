//! Invitations: a link with a token that nobody can guess makes an address a member, once, for a
//! week. Who is signed in with that address needs no token.

use gantry_model::member::{INVITATION_S, Member, MemberCreate, RoleBinding};
use gantry_model::role::RoleScope;
use gantry_model::{Error, ErrorCode, Id, Result, Secret, Violation};
use gantry_store::member::{self, MemberRow};
use gantry_store::user::{self, UserRow};
use gantry_store::{Tx, cluster, organization};
use subtle::ConstantTimeEq as _;

use crate::access::Role;
use crate::act::act;
use crate::audit::Ledger;
use crate::mail::{Delivery, Mail};
use crate::member::{KIND, bindings_of, find, locked, record, view};
use crate::plan::{self, Counted};
use crate::seal::random_text;
use crate::{Actor, App, Cx, check, password};

/// An invitation, as its link names it.
#[derive(Clone, Debug)]
pub struct Invitation {
    pub email: String,
    pub org: Id,
    pub token: Option<Secret>,
}

/// What came of following the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    Joined,
    /// Nobody has an account with the invited address: [`join`] makes one.
    AccountWanted {
        /// Name of the inviting organization.
        organization: String,
        /// Whether people may come through an identity provider instead.
        by_provider: bool,
    },
}

/// Who joins without having an account.
#[derive(Clone, Debug)]
pub struct Newcomer {
    pub first_name: String,
    pub last_name: String,
    pub password: Secret,
}

/// What the inviter gets: the member, and what went wrong with the mail.
#[derive(Clone, Debug)]
pub struct Invited {
    pub member: Member,
    pub warning: Option<String>,
}

/// Invites an address.
pub async fn create(cx: &Cx, org: Id, create: MemberCreate) -> Result<Invited> {
    cx.see_organization(&mut cx.app.db.read().await?, org).await?;
    let token = random_text::<32>();
    let row = MemberRow {
        id: cx.app.new_id(),
        org_id: org,
        user_id: None,
        email: create.email.trim().to_lowercase(),
        first_name: String::new(),
        last_name: String::new(),
        token_hash: Some(cx.app.sealer.hash(&token)),
        expires_at: Some(cx.app.now().plus_seconds(INVITATION_S)),
        created_at: cx.app.now(),
        updated_at: cx.app.now(),
    };
    let made = act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            locked(act.tx, org).await?;
            let bindings = wanted(act.tx, org, &create).await?;
            let bindings = crate::member::checked(act.tx, org, &bindings).await?;
            plan::allow_another(&act.app, act.tx, org, Counted::Member).await?;
            member::insert(act.tx, &row).await?;
            member::set_bindings(act.tx, org, row.id, &bindings, act.now).await?;
            act.audit(KIND, row.id, None, Some(record(&row, &bindings)));
            view(act.tx, row).await
        })
    });
    invite(cx, made.await?, &token).await
}

/// Invites a pending member again; links sent before are void.
pub async fn renew(cx: &Cx, org: Id, id: Id) -> Result<Invited> {
    cx.see_organization(&mut cx.app.db.read().await?, org).await?;
    let token = random_text::<32>();
    let hash = cx.app.sealer.hash(&token);
    let renewed = act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            locked(act.tx, org).await?;
            let row = find(act.tx, org, id).await?;
            if row.user_id.is_some() {
                return Err(Error::conflict("the member has accepted the invitation already"));
            }
            let ends = act.now.plus_seconds(INVITATION_S);
            member::renew(act.tx, id, &hash, ends, act.now).await?;
            let shown = record(&row, &bindings_of(act.tx, id).await?);
            act.audit(KIND, id, Some(shown.clone()), Some(shown));
            view(act.tx, MemberRow { updated_at: act.now, ..row }).await
        })
    });
    invite(cx, renewed.await?, &token).await
}

/// Sends the link by mail, or else shows it to who invites.
async fn invite(cx: &Cx, mut member: Member, token: &str) -> Result<Invited> {
    let mut warning = None;
    if cx.dry_run {
        return Ok(Invited { member, warning });
    }
    let found = organization::find(&mut cx.app.db.read().await?, member.org_id).await?;
    let organization = found.map(|found| found.name).unwrap_or_default();
    let link = link(&cx.app, &member, token)?;
    let mail = Mail {
        to: member.email.clone(),
        subject: format!("Join {organization} on Gantry"),
        text: format!(
            "You are invited to join the organization \"{organization}\" on Gantry.\n\n\
             Follow this link within seven days; it works once:\n\n{link}\n\n\
             If you do not know why you got this mail, do nothing.\n"
        ),
    };
    match cx.app.mailer.send(mail).await {
        Ok(Delivery::Sent) => {}
        Ok(Delivery::NotConfigured) => {
            tracing::info!(member = %member.id, organization = %member.org_id,
                "no mail server is named: the link of the invitation was shown to who invited");
            member.invitation_link = Some(link);
        }
        Err(reason) => {
            tracing::warn!(member = %member.id, error = &reason as &dyn std::error::Error,
                "an invitation could not be sent");
            warning = Some("the mail could not be sent: invite the member again later".to_owned());
        }
    }
    Ok(Invited { member, warning })
}

fn link(app: &App, member: &Member, token: &str) -> Result<String> {
    let org = member.org_id.to_string();
    let query = [("email", member.email.as_str()), ("org_id", &org), ("token", token)];
    let query = serde_urlencoded::to_string(query).map_err(Error::internal)?;
    Ok(format!("{}/api/v1/user/accept_invitation?{query}", app.public_url))
}

/// The roles that an invitation names. Roles of clusters are for the cluster that is named beside
/// them, or for the only one.
async fn wanted(tx: &mut Tx, org: Id, create: &MemberCreate) -> Result<Vec<RoleBinding>> {
    let single = create.role_id.iter().map(|id| ("role_id".to_owned(), id));
    let several = create.role_ids.iter().enumerate();
    let several = several.map(|(position, id)| (format!("role_ids[{position}]"), id));
    let clusters = cluster::of_organization(tx, org).await?;
    let only = clusters.first().copied().filter(|_| clusters.len() == 1);
    let cluster_id = create.cluster_id.or(only);
    let known = create.cluster_id.is_none_or(|id| clusters.contains(&id));
    let mut bindings = Vec::new();
    let mut violations = Vec::new();
    for (field, text) in single.chain(several) {
        let id = text.parse::<Id>().ok();
        let Some(role) = id.and_then(|id| Role::of_id(org, id)) else {
            violations.push(crate::member::unknown_role(field, org));
            continue;
        };
        violations.extend(crate::member::check_given(role, field).err());
        let of_cluster = role.scope() == RoleScope::Cluster;
        if of_cluster && (cluster_id.is_none() || !known) {
            let rule = format!("must be the id of a cluster, as {} is for one", role.name());
            let example = clusters.first().map(|id| format!("\"{id}\"")).unwrap_or_default();
            violations.push(Violation::new("cluster_id", rule, example));
        }
        let cluster_id = cluster_id.filter(|_| of_cluster);
        bindings.push(RoleBinding { role_id: id, cluster_id });
    }
    check::refuse(&violations)?;
    Ok(bindings)
}

/// Accepts an invitation for the account with the invited address. `visitor` is who is signed in.
pub async fn follow(
    app: &App,
    visitor: Option<&Actor>,
    request_id: &str,
    invitation: &Invitation,
) -> Result<Followed> {
    let (row, name) = entitled(app, visitor, invitation).await?;
    let account = user::find_by_email(&mut app.db.read().await?, &row.email).await?;
    let Some(account) = account else {
        let by_provider = app.oidc.is_some();
        return Ok(Followed::AccountWanted { organization: name, by_provider });
    };
    let cx = acting(app, &account, "acceptInvitation", request_id);
    let (org, user_id) = (row.org_id, account.id);
    act(&cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            locked(act.tx, org).await?;
            activate(act, &row, &user_id).await
        })
    })
    .await?;
    Ok(Followed::Joined)
}

/// Makes a local account for the invited address and accepts the invitation for it.
pub async fn join(
    app: &App,
    request_id: &str,
    invitation: &Invitation,
    newcomer: Newcomer,
) -> Result<()> {
    let (row, _) = entitled(app, None, invitation).await?;
    let known = user::find_by_email(&mut app.db.read().await?, &row.email).await?;
    if known.is_some() {
        return Err(Error::conflict(
            "there is an account with this address already: sign in and follow the link again",
        ));
    }
    let hash = password::hash(newcomer.password).await?;
    // Who has the token has read the mail.
    let account = UserRow {
        first_name: newcomer.first_name,
        last_name: newcomer.last_name,
        verified_at: Some(app.now()),
        ..crate::user::new(app, &row.email, hash)
    };
    let cx = acting(app, &account, "joinByInvitation", request_id);
    let org = row.org_id;
    act(&cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            locked(act.tx, org).await?;
            crate::user::insert(act, &account).await?;
            activate(act, &row, &account.id).await
        })
    })
    .await
}

async fn activate(act: &mut crate::act::Act<'_>, row: &MemberRow, user_id: &str) -> Result<()> {
    if !member::activate(act.tx, row, user_id, act.now).await? {
        return Err(void());
    }
    let bindings = bindings_of(act.tx, row.id).await?;
    let joined = MemberRow { user_id: Some(user_id.to_owned()), ..row.clone() };
    act.audit(KIND, row.id, Some(record(row, &bindings)), Some(record(&joined, &bindings)));
    Ok(())
}

/// The pending member whose invitation this is, and the organization's name. One answer for whatever
/// is wrong: who guesses learns nothing.
async fn entitled(
    app: &App,
    visitor: Option<&Actor>,
    invitation: &Invitation,
) -> Result<(MemberRow, String)> {
    let email = invitation.email.trim().to_lowercase();
    let mut tx = app.db.read().await?;
    let found = member::find_invited(&mut tx, invitation.org, &email).await?;
    let row = found.filter(|row| row.expires_at > Some(app.now())).ok_or_else(void)?;
    let is_invited = matches!(visitor, Some(Actor::User { email, .. }) if *email == row.email);
    let hash = invitation.token.as_ref().map(|token| app.sealer.hash(token.expose()));
    let has_token = hash
        .zip(row.token_hash.as_ref())
        .is_some_and(|(given, kept)| bool::from(given.as_bytes().ct_eq(kept.as_bytes())));
    if !is_invited && !has_token {
        return Err(void());
    }
    let found = organization::find(&mut tx, row.org_id).await?.ok_or_else(void)?;
    Ok((row, found.name))
}

fn void() -> Error {
    Error::new(
        ErrorCode::NotFound,
        "no such invitation: it was used, taken back or sent again, or it has ended; ask who \
         invited you for a new one",
    )
}

/// The account as the one who acts: following the link is its doing.
fn acting(app: &App, account: &UserRow, operation: &'static str, request_id: &str) -> Cx {
    let (id, email) = (account.id.clone(), account.email.clone());
    Cx::new(app, Actor::User { id, email, session: None }, operation, request_id.to_owned())
}
