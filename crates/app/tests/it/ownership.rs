//! Whatever members do to each other, one after the other or at once: an organization has one owner.

use futures::future::join_all;
use gantry_app::access::{self, Role, Subject, rule};
use gantry_app::{App, Cx, invitation, member, organization, user};
use gantry_model::member::{MemberCreate, RoleBinding};
use gantry_model::{ErrorCode, Id, ListQuery, Result, Secret};
use gantry_testkit::database::Database;

use crate::harness::{Bench, on_both_engines};

on_both_engines! {
    there_is_always_one_owner
}

const PEOPLE: usize = 5;
const ROUNDS: usize = 120;
/// Calls of one round, which run at once.
const AT_ONCE: usize = 3;

/// Numbers that are the same in every run (Knuth's MMIX generator).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// One call: who asks for what about whom.
#[derive(Clone, Copy, Debug)]
struct Move {
    operation: &'static str,
    by: usize,
    about: usize,
    role: Role,
}

struct Game {
    bench: Bench,
    people: Vec<Cx>,
    org: Id,
}

impl Game {
    async fn new(database: Database) -> Self {
        let bench = Bench::new(database).await;
        let org = organization::create(&bench.cx, "Acme").await.unwrap().id;
        let mut people = vec![bench.cx.clone()];
        for number in 1..PEOPLE {
            people.push(person(&bench.app, &format!("person{number}@example.com")).await);
        }
        Self { bench, people, org }
    }

    /// The call as it goes through the gate. Refusals are part of the game.
    async fn play(&self, one: Move) -> Result<()> {
        let subject = Subject { organization: Some(self.org), ..Subject::default() };
        let rule = rule(one.operation).unwrap();
        let cx = access::enforce(self.people[one.by].clone(), &rule, subject).await?;
        let about = self.member_of(one.about).await;
        let role_id = one.role.id(self.org);
        match (one.operation, about) {
            ("createMember", _) => {
                let create = MemberCreate {
                    email: email(&self.people[one.about]),
                    role_id: role_id.map(|id| id.to_string()),
                    role_ids: Vec::new(),
                    cluster_id: None,
                };
                invitation::create(&cx, self.org, create).await?;
                self.accept(one.about).await
            }
            ("updateMember", Some(id)) => {
                let binding = RoleBinding { role_id, cluster_id: None };
                member::update(&cx, self.org, id, vec![binding]).await
            }
            ("deleteMember", Some(id)) => member::delete(&cx, self.org, id).await,
            ("transferOwnership", Some(id)) => member::transfer_ownership(&cx, self.org, id).await,
            _ => Ok(()),
        }
    }

    async fn accept(&self, number: usize) -> Result<()> {
        let cx = &self.people[number];
        let invitation = invitation::Invitation { email: email(cx), org: self.org, token: None };
        let followed = invitation::follow(&self.bench.app, Some(&cx.actor), "", &invitation).await;
        followed.map(|_| ())
    }

    async fn member_of(&self, number: usize) -> Option<Id> {
        let wanted = email(&self.people[number]);
        let all = self.members().await;
        all.into_iter().find(|member| member.email == wanted).map(|member| member.id)
    }

    async fn members(&self) -> Vec<gantry_model::member::Member> {
        let cx = Cx::system(&self.bench.app, "test");
        let query = ListQuery { page_size: 100, ..ListQuery::default() };
        member::list(&cx, self.org, None, &query).await.unwrap().list
    }

    /// Answers who the owner is.
    async fn check(&self) -> String {
        let members = self.members().await;
        let is_owner =
            |member: &&gantry_model::member::Member| member.roles.iter().any(|role| role.owner);
        let owners: Vec<_> = members.iter().filter(is_owner).collect();
        let [owner] = owners.as_slice() else { panic!("{} owners: {members:#?}", owners.len()) };
        let cx = Cx::system(&self.bench.app, "test");
        let organization = organization::get(&cx, self.org).await.unwrap();
        assert_eq!(organization.owner_id, owner.user_id, "an active member");
        assert_eq!(owner.role_bindings.len(), 1);
        owner.user_id.clone()
    }
}

async fn person(app: &App, email: &str) -> Cx {
    let system = Cx::system(app, "test");
    user::create(&system, email, Secret::new("password")).await.unwrap();
    let id = user::id_of(app, email).await.unwrap();
    let actor = gantry_app::Actor::User { id, email: email.into(), session: None };
    Cx::new(app, actor, "test", String::new())
}

fn email(cx: &Cx) -> String {
    match &cx.actor {
        gantry_app::Actor::User { email, .. } => email.clone(),
        _ => String::new(),
    }
}

async fn there_is_always_one_owner(database: Database) {
    let game = Game::new(database).await;
    let mut dice = Dice(7);
    let roles = [Role::Owner, Role::OrganizationAdmin, Role::OrganizationViewer];
    let operations = [
        "createMember",
        "createMember",
        "updateMember",
        "updateMember",
        "deleteMember",
        "transferOwnership",
    ];
    let (mut owners, mut done) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        let moves: Vec<Move> = (0..AT_ONCE)
            .map(|_| Move {
                operation: operations[dice.throw(operations.len())],
                by: dice.throw(PEOPLE),
                about: dice.throw(PEOPLE),
                role: roles[dice.throw(roles.len())],
            })
            .collect();
        for outcome in join_all(moves.iter().map(|one| game.play(*one))).await {
            match outcome {
                Ok(()) => done += 1,
                Err(error) => assert_ne!(error.code, ErrorCode::Internal, "{moves:?}: {error:?}"),
            }
        }
        let owner = game.check().await;
        if owners.last() != Some(&owner) {
            owners.push(owner);
        }
    }
    assert!(owners.len() > 2 && done > ROUNDS / 3, "{} owners, {done} moves", owners.len());
    let report = gantry_app::audit::verify(&game.bench.app).await.unwrap();
    assert_eq!(report.broken, Vec::<String>::new());
}
