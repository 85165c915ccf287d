//! Members of organizations, invited ones too, and their roles.

use gantry_model::{Id, ListQuery, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, Sql, placeholders, vals};
use crate::list::{self, List};

/// A row of `members` with the names of the account behind it.
#[derive(Clone, Debug)]
pub struct MemberRow {
    pub id: Id,
    pub org_id: Id,
    /// `None` while the invitation is pending.
    pub user_id: Option<String>,
    /// The account's address, or the invited one; in lower case.
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    /// Keyed hash of the token in a pending invitation.
    pub token_hash: Option<String>,
    /// When a pending invitation ends.
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A row of `role_bindings`: a role, and the cluster it is given for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingRow {
    pub role: String,
    pub cluster_id: Option<Id>,
}

fn member(row: &Row) -> Result<MemberRow> {
    Ok(MemberRow {
        id: row.id("id")?,
        org_id: row.id("org_id")?,
        user_id: row.text_or_null("user_id")?,
        email: row.text("email")?,
        first_name: row.text_or_null("first_name")?.unwrap_or_default(),
        last_name: row.text_or_null("last_name")?.unwrap_or_default(),
        token_hash: row.text_or_null("token_hash")?,
        expires_at: row.time_or_null("expires_at")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

const COLUMNS: &str = "t.id, t.org_id, t.user_id, COALESCE(u.email, t.email) AS email,
    u.first_name, u.last_name, t.token_hash, t.expires_at, t.created_at, t.updated_at";
const FROM: &str = "members t LEFT JOIN users u ON u.id = t.user_id";
const OF_ORGANIZATION: &str = "t.org_id = $1";
const WITH_ROLE: &str = "t.org_id = $1 AND EXISTS
    (SELECT 1 FROM role_bindings b WHERE b.member_id = t.id AND b.role = $2)";

/// One page of an organization's members; with a role, those who have it.
pub async fn list(
    tx: &mut Tx,
    org: Id,
    role: Option<&str>,
    query: &ListQuery,
) -> Result<(Vec<MemberRow>, i64)> {
    let list = List {
        columns: COLUMNS,
        from: FROM,
        scope: if role.is_some() { WITH_ROLE } else { OF_ORGANIZATION },
        orders: &[
            ("updated_at", "t.updated_at"),
            ("created_at", "t.created_at"),
            ("id", "t.id"),
            ("org_id", "t.org_id"),
            ("role", "t.role"),
            ("user_id", "t.user_id"),
        ],
    };
    let scope = role.map_or_else(|| vals![org], |role| vals![org, role]);
    let (rows, count) = list::page(tx, &list, scope, query).await?;
    Ok((rows.iter().map(member).collect::<Result<_>>()?, count))
}

pub async fn find(tx: &mut Tx, org: Id, id: Id) -> Result<Option<MemberRow>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE t.org_id = $1 AND t.id = $2");
    let row = tx.row(Sql::assembled(sql), vals![org, id]).await?;
    row.as_ref().map(member).transpose()
}

/// The member of an account.
pub async fn find_by_user(tx: &mut Tx, org: Id, user_id: &str) -> Result<Option<MemberRow>> {
    let sql = format!("SELECT {COLUMNS} FROM {FROM} WHERE t.org_id = $1 AND t.user_id = $2");
    let row = tx.row(Sql::assembled(sql), vals![org, user_id]).await?;
    row.as_ref().map(member).transpose()
}

/// The pending member who was invited by an address.
pub async fn find_invited(tx: &mut Tx, org: Id, email: &str) -> Result<Option<MemberRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM}
         WHERE t.org_id = $1 AND t.email = $2 AND t.user_id IS NULL"
    );
    let row = tx.row(Sql::assembled(sql), vals![org, email]).await?;
    row.as_ref().map(member).transpose()
}

/// The memberships of an account, oldest first.
pub async fn of_user(tx: &mut Tx, user_id: &str) -> Result<Vec<MemberRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM {FROM} WHERE t.user_id = $1 ORDER BY t.created_at, t.org_id"
    );
    let rows = tx.all(Sql::assembled(sql), vals![user_id]).await?;
    rows.iter().map(member).collect()
}

/// Whether any organization has invited an address and still waits for an answer.
pub async fn is_invited(tx: &mut Tx, email: &str, now: Timestamp) -> Result<bool> {
    let row = tx
        .row(
            "SELECT id FROM members
             WHERE email = $1 AND user_id IS NULL AND expires_at > $2 LIMIT 1",
            vals![email, now],
        )
        .await?;
    Ok(row.is_some())
}

/// Which of `ids` are members of an organization.
pub async fn known(tx: &mut Tx, org: Id, ids: &[Id]) -> Result<Vec<Id>> {
    let sql = format!(
        "SELECT id FROM members WHERE org_id = $1 AND id IN ({}) ORDER BY id",
        placeholders(2, ids.len())
    );
    let mut values = vals![org];
    values.extend(list::ids(ids));
    let rows = tx.all(Sql::assembled(sql), values).await?;
    rows.iter().map(|row| row.id("id")).collect()
}

/// Inserts a member without roles; `email` is in lower case.
pub async fn insert(tx: &mut Tx, member: &MemberRow) -> Result<()> {
    tx.run(
        "INSERT INTO members
             (id, org_id, user_id, email, role, token_hash, expires_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, '', $5, $6, $7, $8)",
        vals![
            member.id,
            member.org_id,
            member.user_id.as_deref(),
            &member.email,
            member.token_hash.as_deref(),
            member.expires_at,
            member.created_at,
            member.updated_at,
        ],
    )
    .await?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    tx.run("DELETE FROM members WHERE id = $1", vals![id]).await?;
    Ok(())
}

/// Gives a pending invitation a new token and end.
pub async fn renew(
    tx: &mut Tx,
    id: Id,
    token_hash: &str,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<()> {
    tx.run(
        "UPDATE members SET token_hash = $2, expires_at = $3, updated_at = $4
         WHERE id = $1 AND user_id IS NULL",
        vals![id, token_hash, expires_at, now],
    )
    .await?;
    Ok(())
}

/// Makes a pending member the member of an account, if the invitation is still the one that was
/// read, and uses its token up.
pub async fn activate(
    tx: &mut Tx,
    invited: &MemberRow,
    user_id: &str,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE members SET user_id = $2, token_hash = NULL, expires_at = NULL, updated_at = $3
             WHERE id = $1 AND user_id IS NULL AND token_hash = $4",
            vals![invited.id, user_id, now, invited.token_hash.as_deref()],
        )
        .await?;
    Ok(changed == 1)
}

/// The roles of members, by member, as they were given.
pub async fn bindings(tx: &mut Tx, members: &[Id]) -> Result<Vec<(Id, BindingRow)>> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT member_id, role, cluster_id FROM role_bindings WHERE member_id IN ({})
         ORDER BY member_id, role, cluster_id",
        placeholders(1, members.len())
    );
    let rows = tx.all(Sql::assembled(sql), list::ids(members)).await?;
    let binding = |row: &Row| {
        let cluster_id = row.int_or_null("cluster_id")?.and_then(Id::new);
        Ok((row.id("member_id")?, BindingRow { role: row.text("role")?, cluster_id }))
    };
    rows.iter().map(binding).collect()
}

/// Makes `bindings` the roles of a member.
pub async fn set_bindings(
    tx: &mut Tx,
    org: Id,
    member: Id,
    bindings: &[BindingRow],
    now: Timestamp,
) -> Result<()> {
    tx.run("DELETE FROM role_bindings WHERE member_id = $1", vals![member]).await?;
    for BindingRow { role, cluster_id } in bindings {
        tx.run(
            "INSERT INTO role_bindings (member_id, org_id, role, cluster_id)
             VALUES ($1, $2, $3, $4)",
            vals![member, org, role, *cluster_id],
        )
        .await?;
    }
    let first = bindings.iter().map(|binding| binding.role.as_str()).min().unwrap_or_default();
    tx.run(
        "UPDATE members SET role = $2, updated_at = $3 WHERE id = $1",
        vals![member, first, now],
    )
    .await?;
    Ok(())
}

/// How many members with an account have a role of the whole organization.
pub async fn count_active(tx: &mut Tx, org: Id, role: &str) -> Result<i64> {
    let row = tx
        .row(
            "SELECT COUNT(DISTINCT m.id) AS members FROM role_bindings b
             JOIN members m ON m.id = b.member_id
             WHERE b.org_id = $1 AND b.role = $2 AND m.user_id IS NOT NULL",
            vals![org, role],
        )
        .await?;
    row.map_or(Ok(0), |row| row.int("members"))
}
