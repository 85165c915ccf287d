//! Who may call what: every operation by every kind of caller, against the tables, and as a file
//! that people can read.

use std::fmt::Write as _;

use gantry_app::Clock;
use gantry_app::access::{self, Role, Rule, Scope};
use gantry_model::Timestamp;
use gantry_model::role::RoleScope;
use gantry_rest::contract::{Operation, contract, example};
use gantry_testkit::Database;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Person, Server, api, certificate};

/// What reviewers read. `GANTRY_WRITE_MATRIX=1` writes it anew.
const MATRIX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../api/permission-matrix.txt");

/// What the gate decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Admitted,
    /// 401.
    Unknown,
    /// 403: a member without the right.
    Denied,
    /// 404: to others it does not exist.
    Foreign,
}

/// What a caller is in the organization that the operations are about.
#[derive(Clone, Copy, Debug)]
enum Standing {
    Nobody,
    Stranger,
    /// Roles of the organization or of its first cluster.
    Has(&'static [Role]),
    /// Roles of another cluster.
    Elsewhere(Role),
    /// Service admin of the application that the operations are about.
    LooksAfterIt,
    /// Service admin of another one in the same cluster.
    LooksAfterAnother,
}

struct Caller {
    name: &'static str,
    standing: Standing,
    person: Person,
}

/// The decision that follows from the tables.
fn expected(standing: Standing, rule: &Rule, path: &str) -> Decision {
    let admitted = match (rule.scope, standing) {
        (Scope::Public, _) => true,
        (_, Standing::Nobody) => return Decision::Unknown,
        (Scope::User, _) => true,
        (_, Standing::Stranger) => return Decision::Foreign,
        (_, Standing::Has(roles)) => roles.iter().any(|role| role.may(rule)),
        (scope, Standing::Elsewhere(role)) => {
            assert_eq!(role.scope(), RoleScope::Cluster);
            role.may(rule) && scope == Scope::Clusters
        }
        (_, Standing::LooksAfterIt) => Role::ServiceAdmin.may(rule),
        (_, Standing::LooksAfterAnother) => {
            Role::ServiceAdmin.may(rule) && !path.contains("{app_id}")
        }
    };
    if admitted { Decision::Admitted } else { Decision::Denied }
}

/// The decision that the gate takes. Writes are stopped by the contract right after it, as
/// `dry_run` is neither true nor false.
async fn decision(caller: &Caller, operation: &Operation, path: &str) -> Decision {
    let path = match *operation.method() {
        Method::GET => path.to_owned(),
        _ => format!("{path}?dry_run=neither"),
    };
    let mut request = caller.person.request(operation.method().clone(), &path);
    if !caller.person.token.is_empty() {
        request = request.bearer_auth(&caller.person.token);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or_default();
    let foreign = ["no such organization", "no such cluster", "no such application"];
    match status {
        401 => Decision::Unknown,
        403 if body["status"]["code"] == 5 => Decision::Denied,
        404 if foreign.iter().any(|sentence| body["error"] == *sentence) => Decision::Foreign,
        _ if operation.method() == Method::GET => Decision::Admitted,
        _ => {
            let stopped = body["error"].as_str().is_some_and(|text| text.contains("`dry_run`"));
            assert!(stopped, "{} by {}: {status} {body}", operation.id, caller.name);
            Decision::Admitted
        }
    }
}

/// The operation's path with the ids of what is there.
fn path(operation: &Operation, ids: &[(&str, String)]) -> String {
    let segments = operation.path().split('/').skip(3).map(|segment| {
        let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            return segment.to_owned();
        };
        if let Some((_, id)) = ids.iter().find(|(known, _)| *known == name) {
            return id.clone();
        }
        let schema = &operation.params().schema()["properties"][name];
        let unknown = schema.get("pattern").map(|_| json!("999999999999999999"));
        unknown.or_else(|| example(schema)).unwrap().as_str().unwrap().to_owned()
    });
    segments.fold(String::new(), |path, segment| path + "/" + &segment)
}

/// Ids of what the operations are about, and of what others look after.
struct Place {
    ids: Vec<(&'static str, String)>,
    other_app: String,
    other_cluster: String,
}

async fn place(owner: &Person) -> Place {
    let app = owner.application("shop").await;
    let other_app = owner.application("other").await;
    let id = owner.post(&format!("/apps/{app}/apis"), api("cart")).await.id();
    let consumer = owner.post(&owner.in_cluster("/consumers"), json!({ "name": "c" })).await.id();
    let tls = owner.post(&owner.in_cluster("/certificates"), certificate("a.example.com")).await;
    let other_cluster = owner.post(&owner.in_org("/clusters"), json!({ "name": "b" })).await.id();
    let ids = vec![
        ("id", owner.org.clone()),
        ("cluster_id", owner.cluster.clone()),
        ("app_id", app.clone()),
        ("api_id", id),
        ("consumer_id", consumer),
        ("certificate_id", tls.id()),
        ("obj_id", app),
        ("revision", owner.revision().await.to_string()),
    ];
    Place { ids, other_app, other_cluster }
}

/// A member who has what `standing` says.
async fn member(server: &Server, place: &Place, name: &'static str, standing: Standing) -> Caller {
    let owner = &server.owner;
    let email = format!("{}@example.com", name.replace(' ', "-"));
    let (person, id) = server.member(&email, "Organization Viewer").await;
    let here = Some(owner.cluster.as_str());
    let roles: Vec<(&str, Option<&str>)> = match standing {
        Standing::Has(roles) => {
            let of_cluster = |role: &Role| role.scope() == RoleScope::Cluster;
            roles.iter().map(|role| (role.name(), here.filter(|_| of_cluster(role)))).collect()
        }
        Standing::Elsewhere(role) => vec![(role.name(), Some(place.other_cluster.as_str()))],
        _ => Vec::new(),
    };
    owner.bind(&id, &roles).await;
    let app = match standing {
        Standing::LooksAfterIt => &place.ids[2].1,
        Standing::LooksAfterAnother => &place.other_app,
        _ => return Caller { name, standing, person },
    };
    let items = json!({ "items": [{ "member_id": id }] });
    owner.post(&format!("/apps/{app}/service_admins"), items).await.ok();
    Caller { name, standing, person }
}

async fn callers(server: &Server, place: &Place, clock: &Clock) -> Vec<Caller> {
    use Standing::{Elsewhere, Has, LooksAfterAnother, LooksAfterIt, Nobody, Stranger};
    let plain = |name, standing, person: Person| Caller { name, standing, person };
    let mut all = vec![
        plain("owner", Has(&[Role::Owner]), with_token(&server.owner, 0).await),
        plain("another organization's owner", Stranger, with_token(&server.stranger, 0).await),
        plain("nobody", Nobody, server.anonymous()),
        plain("revoked token", Nobody, revoked(&server.owner).await),
    ];
    let leaving = server.newcomer("leaving@example.com").await;
    let left = with_token(&leaving, 0).await;
    leaving.delete("/user/me").await.ok();
    all.push(plain("deleted user", Nobody, left));
    let expiring = clock.now().seconds() + 60;
    all.push(plain("expired token", Nobody, with_token(&server.owner, expiring).await));
    let invited = server.newcomer("invited@example.com").await;
    server.owner.invite("invited@example.com", "Organization Admin").await.ok();
    all.push(plain("pending organization admin", Stranger, invited));
    for (name, standing) in [
        ("organization admin", Has(&[Role::OrganizationAdmin] as &[Role])),
        ("organization viewer", Has(&[Role::OrganizationViewer])),
        ("billing admin", Has(&[Role::BillingAdmin])),
        ("cluster admin", Has(&[Role::ClusterAdmin])),
        ("cluster viewer", Has(&[Role::ClusterViewer])),
        ("cluster admin elsewhere", Elsewhere(Role::ClusterAdmin)),
        ("cluster viewer elsewhere", Elsewhere(Role::ClusterViewer)),
        ("service admin", LooksAfterIt),
        ("service admin of another application", LooksAfterAnother),
        ("member without roles", Has(&[])),
        ("billing admin and cluster viewer", Has(&[Role::BillingAdmin, Role::ClusterViewer])),
    ] {
        all.push(member(server, place, name, standing).await);
    }
    clock.turn(61);
    all
}

/// The person with an access token, which signing out does not end.
async fn with_token(person: &Person, expire: i64) -> Person {
    let body = json!({ "expire": expire, "notes": "test" });
    let token = person.post("/user/access_tokens", body).await;
    person.with(token.ok()["token"].as_str().unwrap())
}

async fn revoked(person: &Person) -> Person {
    let body = json!({ "expire": 0, "notes": "to be revoked" });
    let token = person.post("/user/access_tokens", body).await;
    person.delete(&format!("/user/access_tokens/{}", token.id())).await.ok();
    person.with(token.ok()["token"].as_str().unwrap())
}

#[tokio::test]
async fn every_operation_is_open_to_exactly_those_whom_the_tables_admit() {
    for database in [Database::Sqlite, Database::postgres()] {
        let clock = Clock::fixed(Timestamp::from_seconds(1_800_000_000));
        let server = Server::start_with(database, |config| config.clock = clock.clone()).await;
        let place = place(&server.owner).await;
        let callers = callers(&server, &place, &clock).await;
        let mut wrong = Vec::new();
        let mut tried = 0;
        for rule in access::rules() {
            if matches!(rule.scope, Scope::Public | Scope::Gateway) {
                continue;
            }
            let operation = contract().operation(rule.operation).unwrap();
            let path = path(operation, &place.ids);
            for caller in &callers {
                // A session that was signed out would be nobody's.
                if rule.operation == "logout" {
                    continue;
                }
                let wanted = expected(caller.standing, &rule, operation.path());
                let given = decision(caller, operation, &path).await;
                tried += 1;
                if given != wanted {
                    let who = caller.name;
                    wrong.push(format!("{} by {who}: {given:?}, not {wanted:?}", rule.operation));
                }
            }
        }
        assert_eq!(wrong, Vec::<String>::new(), "of {tried}");
        assert!(tried > 1500, "only {tried} were tried");
    }
}

/// Columns of the file: a letter, who it is, and the standing.
const COLUMNS: &[(char, &str, Standing)] = &[
    ('O', "Organization Owner", Standing::Has(&[Role::Owner])),
    ('A', "Organization Admin", Standing::Has(&[Role::OrganizationAdmin])),
    ('V', "Organization Viewer", Standing::Has(&[Role::OrganizationViewer])),
    ('B', "Billing Admin", Standing::Has(&[Role::BillingAdmin])),
    ('C', "Cluster Admin of the cluster", Standing::Has(&[Role::ClusterAdmin])),
    ('c', "Cluster Viewer of the cluster", Standing::Has(&[Role::ClusterViewer])),
    ('E', "Cluster Admin of another cluster", Standing::Elsewhere(Role::ClusterAdmin)),
    ('S', "Service Admin of the application", Standing::LooksAfterIt),
    ('s', "Service Admin of another application", Standing::LooksAfterAnother),
    ('M', "member without roles", Standing::Has(&[])),
    ('X', "somebody of another organization, or invited and not yet a member", Standing::Stranger),
    ('N', "nobody: no token, or one that was revoked or has ended", Standing::Nobody),
];

fn matrix() -> String {
    let mut text = String::from(
        "Who may call which operation: api/permissions.csv and the built-in roles, put together.\n\
         A test compares this file with them, and what the server does with both.\n\n\
         The letter of who may, `-` where the answer is 403, `0` where it is 404, `!` where it is \
         401.\n\n",
    );
    for (letter, who, _) in COLUMNS {
        writeln!(text, "  {letter}  {who}").unwrap();
    }
    text.push('\n');
    for rule in access::rules() {
        let path = contract().operation(rule.operation).unwrap().path().to_owned();
        let cells =
            COLUMNS.iter().map(|(letter, _, standing)| match expected(*standing, &rule, &path) {
                Decision::Admitted => *letter,
                Decision::Denied => '-',
                Decision::Foreign => '0',
                Decision::Unknown => '!',
            });
        let permission = rule.permission.map_or_else(
            || format!("{:?}", rule.scope).to_lowercase(),
            |one| format!("{}.{}.{}", one.group, one.resource, one.verb),
        );
        let cells = match rule.scope {
            Scope::Gateway => "gateways only".to_owned(),
            _ => cells.collect(),
        };
        writeln!(text, "{:<30}{:<44}{cells}", rule.operation, permission).unwrap();
    }
    text
}

#[test]
fn the_file_of_permissions_is_true() {
    let matrix = matrix();
    if std::env::var_os("GANTRY_WRITE_MATRIX").is_some() {
        std::fs::write(MATRIX, &matrix).unwrap();
    }
    let kept = std::fs::read_to_string(MATRIX).unwrap_or_default();
    assert!(kept == matrix, "write it anew with GANTRY_WRITE_MATRIX=1 and read the difference");
}
