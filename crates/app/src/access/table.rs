//! Who may call what, as one table beside the contract: `api/permissions.csv`, a line an operation.
//!
//! An operation without a line can be called by nobody.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Where an operation's permission is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anybody may call it.
    Public,
    /// Any signed-in user, about himself or about what all users may know.
    User,
    /// Members of the organization `id`.
    Organization,
    /// Members of the organization `id`, for those of its clusters where a role grants it.
    Clusters,
    /// Members of the organization that owns the cluster `cluster_id`.
    Cluster,
    /// The same, for those of its applications that the caller may see.
    Applications,
    /// Members of the organization that owns the application `app_id`.
    Application,
    /// Gateways, on the port of their own.
    Gateway,
}

/// A permission, as roles grant it (contract, schema `Permissions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// `organization`, `cluster`, `billing` or `api_management`.
    pub group: &'static str,
    /// Such as `applications`.
    pub resource: &'static str,
    /// `get`, `put`, `post`, `patch` or `delete`.
    pub verb: &'static str,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Operation id of the contract.
    pub operation: &'static str,
    pub scope: Scope,
    /// What a role must grant; `None` where being who the scope asks for is enough.
    pub permission: Option<Permission>,
}

static TABLE: LazyLock<BTreeMap<&'static str, Rule>> = LazyLock::new(|| {
    let lines = include_str!("../../../../api/permissions.csv").lines().skip(1);
    lines.filter_map(parse).map(|rule| (rule.operation, rule)).collect()
});

/// The line of an operation.
#[must_use]
pub fn rule(operation: &str) -> Option<Rule> {
    TABLE.get(operation).copied()
}

/// Every line, in the order of the operations' ids.
pub fn rules() -> impl Iterator<Item = Rule> {
    TABLE.values().copied()
}

/// `None` for a line that is not one; a test keeps those out.
fn parse(line: &'static str) -> Option<Rule> {
    let mut fields = line.split(',');
    let mut next = || fields.next();
    let (operation, scope) = (next()?, next()?);
    let (group, resource, verb) = (next()?, next()?, next()?);
    let scope = match scope {
        "public" => Scope::Public,
        "user" => Scope::User,
        "organization" => Scope::Organization,
        "clusters" => Scope::Clusters,
        "cluster" => Scope::Cluster,
        "applications" => Scope::Applications,
        "application" => Scope::Application,
        "gateway" => Scope::Gateway,
        _ => return None,
    };
    let permission = (!group.is_empty()).then_some(Permission { group, resource, verb });
    Some(Rule { operation, scope, permission })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_once() {
        let lines = include_str!("../../../../api/permissions.csv").lines().count();
        assert_eq!(rules().count(), lines - 1);
    }

    #[test]
    fn what_belongs_to_somebody_needs_a_permission() {
        for rule in rules() {
            let owned = !matches!(rule.scope, Scope::Public | Scope::User | Scope::Gateway);
            assert_eq!(rule.permission.is_some(), owned, "{}", rule.operation);
            let Some(Permission { group, verb, .. }) = rule.permission else { continue };
            assert!(["organization", "cluster", "billing", "api_management"].contains(&group));
            assert!(["get", "put", "post", "patch", "delete"].contains(&verb));
        }
    }
}
