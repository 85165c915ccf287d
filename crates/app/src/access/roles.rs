//! What each role may do. Roles are code: this table is what enforcement asks and what `listRoles`
//! shows.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use gantry_model::role::{Methods, Permissions, RoleScope};
use gantry_model::{Id, role};

use super::table::{Permission, Rule, Scope, rules};

/// A built-in role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything; exactly one member of an organization has it.
    Owner,
    OrganizationAdmin,
    OrganizationViewer,
    BillingAdmin,
    ClusterAdmin,
    ClusterViewer,
    /// Not given to members as a role: who is administrator of an application has it there.
    ServiceAdmin,
}

/// Roles that members are given, in the order in which they are listed. The order is part of the
/// roles' ids: new ones come last.
pub const GIVEN: [Role; 6] = [
    Role::Owner,
    Role::OrganizationAdmin,
    Role::OrganizationViewer,
    Role::BillingAdmin,
    Role::ClusterAdmin,
    Role::ClusterViewer,
];

/// Set in the ids of roles and in no id that is made from the time before the year 2058.
const ROLE_BIT: i64 = 1 << 62;

impl Role {
    /// The role in the database.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::OrganizationAdmin => "organization_admin",
            Self::OrganizationViewer => "organization_viewer",
            Self::BillingAdmin => "billing_admin",
            Self::ClusterAdmin => "cluster_admin",
            Self::ClusterViewer => "cluster_viewer",
            Self::ServiceAdmin => "service_admin",
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "Organization Owner",
            Self::OrganizationAdmin => "Organization Admin",
            Self::OrganizationViewer => "Organization Viewer",
            Self::BillingAdmin => "Billing Admin",
            Self::ClusterAdmin => "Cluster Admin",
            Self::ClusterViewer => "Cluster Viewer",
            Self::ServiceAdmin => "Service Admin",
        }
    }

    /// Where the role applies; that of service admins to their applications only.
    #[must_use]
    pub fn scope(self) -> RoleScope {
        match self {
            Self::ClusterAdmin | Self::ClusterViewer | Self::ServiceAdmin => RoleScope::Cluster,
            _ => RoleScope::Organization,
        }
    }

    /// The role with this key in the database.
    #[must_use]
    pub fn of_key(key: &str) -> Option<Self> {
        GIVEN.into_iter().find(|role| role.key() == key)
    }

    /// The role with this name, in any letter case.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        GIVEN.into_iter().find(|role| role.name().eq_ignore_ascii_case(name.trim()))
    }

    /// The role with this id in an organization.
    #[must_use]
    pub fn of_id(org: Id, id: Id) -> Option<Self> {
        GIVEN.into_iter().find(|role| role.id(org) == Some(id))
    }

    /// Id of the role in an organization, always the same; `None` for a role that is not given.
    #[must_use]
    pub fn id(self, org: Id) -> Option<Id> {
        let position = GIVEN.into_iter().position(|role| role == self)?;
        Id::new((ROLE_BIT | org.get()).checked_add(i64::try_from(position).ok()? + 1)?)
    }

    /// Whether who has the role, in the place that the operation is about, may call it.
    #[must_use]
    pub fn may(self, rule: &Rule) -> bool {
        // A role of a cluster says nothing about what belongs to the organization.
        let applies = match rule.scope {
            Scope::Organization => self.scope() == RoleScope::Organization,
            Scope::Cluster | Scope::Application | Scope::Clusters | Scope::Applications => true,
            Scope::Public | Scope::User | Scope::Gateway => false,
        };
        applies && rule.permission.is_some_and(|permission| self.grants(&permission))
    }

    fn grants(self, permission: &Permission) -> bool {
        let Permission { group, resource, verb } = *permission;
        match self {
            Self::Owner => true,
            Self::OrganizationAdmin => !matches!(
                (group, resource, verb),
                ("organization", "ownership", _) | ("organization", "organization", "delete")
            ),
            Self::OrganizationViewer => verb == "get" && group != "billing",
            Self::BillingAdmin => {
                group == "billing"
                    || (group, resource, verb) == ("organization", "organization", "get")
            }
            Self::ClusterAdmin => matches!(group, "cluster" | "api_management"),
            Self::ClusterViewer => matches!(group, "cluster" | "api_management") && verb == "get",
            Self::ServiceAdmin => service_admin(permission),
        }
    }

    /// What the role may do, as it is shown: the operations it may call.
    #[must_use]
    pub fn permissions(self) -> &'static Permissions {
        static ALL: LazyLock<BTreeMap<Role, Permissions>> = LazyLock::new(|| {
            let roles = GIVEN.into_iter().chain([Role::ServiceAdmin]);
            roles.map(|role| (role, derived(role))).collect()
        });
        static NONE: Permissions = Permissions {
            organization: BTreeMap::new(),
            cluster: BTreeMap::new(),
            billing: BTreeMap::new(),
            api_management: BTreeMap::new(),
        };
        ALL.get(&self).unwrap_or(&NONE)
    }

    /// The role as an organization lists it; `None` for a role that is not given.
    #[must_use]
    pub fn view(self, org: Id) -> Option<role::Role> {
        Some(role::Role {
            id: self.id(org)?,
            name: self.name().to_owned(),
            org_id: org,
            owner: self == Self::Owner,
            scope: self.scope(),
            permissions: self.permissions().clone(),
        })
    }
}

/// One application, its APIs and canary releases; of the cluster what is needed to work on them.
fn service_admin(permission: &Permission) -> bool {
    let Permission { group, resource, verb } = *permission;
    match (group, resource) {
        ("api_management", "applications") => matches!(verb, "get" | "put" | "patch"),
        ("api_management", "apis" | "canary_releases") => true,
        ("api_management", "consumers" | "certificates" | "labels") => verb == "get",
        // Without the cluster no client finds the way to the application.
        ("cluster", "clusters" | "metrics") => verb == "get",
        _ => false,
    }
}

fn derived(role: Role) -> Permissions {
    let mut permissions = Permissions::default();
    for rule in rules() {
        let Some(Permission { group, resource, verb }) = rule.permission else { continue };
        let rights = match group {
            "organization" => &mut permissions.organization,
            "cluster" => &mut permissions.cluster,
            "billing" => &mut permissions.billing,
            _ => &mut permissions.api_management,
        };
        let methods = rights.entry(resource.to_owned()).or_default();
        let Some(method) = method(methods, verb) else { continue };
        *method |= role.may(&rule);
    }
    permissions
}

fn method<'m>(methods: &'m mut Methods, verb: &str) -> Option<&'m mut bool> {
    match verb {
        "get" => Some(&mut methods.get),
        "put" => Some(&mut methods.put),
        "post" => Some(&mut methods.post),
        "patch" => Some(&mut methods.patch),
        "delete" => Some(&mut methods.delete),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::rule;
    use super::*;

    fn allowed(role: Role) -> Vec<&'static str> {
        rules().filter(|rule| role.may(rule)).map(|rule| rule.operation).collect()
    }

    #[test]
    fn the_owner_may_all_and_the_admin_all_but_two() {
        let owned = rules().filter(|rule| rule.permission.is_some()).count();
        assert_eq!(allowed(Role::Owner).len(), owned);
        let admin = allowed(Role::OrganizationAdmin);
        let missing: Vec<_> =
            allowed(Role::Owner).into_iter().filter(|id| !admin.contains(id)).collect();
        assert_eq!(missing, ["deleteOrganization", "transferOwnership"]);
    }

    #[test]
    fn viewers_change_nothing_and_see_no_bills() {
        for role in [Role::OrganizationViewer, Role::ClusterViewer] {
            for operation in allowed(role) {
                let permission = rule(operation).unwrap().permission.unwrap();
                assert_eq!(permission.verb, "get", "{operation}");
                assert_ne!(permission.group, "billing", "{operation}");
            }
            // Its answer holds a private key with which everything can be read in clear.
            assert!(!role.may(&rule("generateGatewayCertificate").unwrap()));
        }
    }

    #[test]
    fn billing_is_for_those_who_pay() {
        for role in GIVEN {
            let pays = matches!(role, Role::Owner | Role::OrganizationAdmin | Role::BillingAdmin);
            for operation in ["createSubscription", "getUpcomingInvoice", "getPlan"] {
                assert_eq!(role.may(&rule(operation).unwrap()), pays, "{role:?} {operation}");
            }
        }
        assert!(Role::BillingAdmin.may(&rule("getOrganization").unwrap()));
        assert_eq!(allowed(Role::BillingAdmin).len(), 5);
    }

    #[test]
    fn roles_of_clusters_reach_nothing_of_the_organization() {
        for role in [Role::ClusterAdmin, Role::ClusterViewer, Role::ServiceAdmin] {
            for operation in allowed(role) {
                assert_ne!(rule(operation).unwrap().scope, Scope::Organization, "{operation}");
            }
        }
        assert!(!Role::ClusterAdmin.may(&rule("createCluster").unwrap()));
        assert!(!Role::ClusterAdmin.permissions().cluster["clusters"].post);
        assert!(Role::ClusterAdmin.permissions().cluster["plugins"].patch);
    }

    #[test]
    fn service_admins_cannot_make_or_remove_applications_or_admins() {
        for operation in [
            "createApplication",
            "createApplicationFromOpenAPI",
            "deleteApplication",
            "deleteAllApplications",
            "addServiceAdmins",
            "deleteServiceAdmin",
            "createConsumer",
            "createConsumerJWT",
            "updateClusterSettings",
            "debugResource",
        ] {
            assert!(!Role::ServiceAdmin.may(&rule(operation).unwrap()), "{operation}");
        }
    }

    #[test]
    fn what_is_shown_is_what_is_enforced() {
        for role in GIVEN {
            for rule in rules() {
                let Some(Permission { group, resource, verb }) = rule.permission else { continue };
                let same = rules().filter(|other| other.permission == rule.permission);
                let expected = same.into_iter().any(|other| role.may(&other));
                let permissions = role.permissions();
                let rights = match group {
                    "organization" => &permissions.organization,
                    "cluster" => &permissions.cluster,
                    "billing" => &permissions.billing,
                    _ => &permissions.api_management,
                };
                let mut methods = rights[resource];
                assert_eq!(*method(&mut methods, verb).unwrap(), expected, "{role:?} {rule:?}");
            }
        }
    }

    #[test]
    fn ids_lead_to_roles_of_their_organization_only() {
        let (one, other) = (Id::new(453_750_199_534_224_179), Id::new(453_750_199_534_999_999));
        let (one, other) = (one.unwrap(), other.unwrap());
        for role in GIVEN {
            let id = role.id(one).unwrap();
            assert_eq!(Role::of_id(one, id), Some(role));
            assert_eq!(Role::of_id(other, id), None);
            assert_eq!(Role::of_key(role.key()), Some(role));
            assert_eq!(Role::of_name(&role.name().to_lowercase()), Some(role));
        }
        assert_eq!(Role::ServiceAdmin.id(one), None);
        assert_eq!(Role::of_key("service_admin"), None);
    }
}
