//! Who may see and do what, and how people get in.

use gantry_app::session::Visitor;
use gantry_app::{application, organization, session, setup, user};
use gantry_model::user::LoginResult;
use gantry_model::{ErrorCode, ListQuery, Result, Secret};
use gantry_testkit::database::Database;

use crate::harness::{Bench, application_spec, on_both_engines, signed_in};

on_both_engines! {
    signing_in_and_out
    guesses_are_slowed_down
    others_do_not_exist
    the_second_start_keeps_everything
}

async fn sign_in(
    bench: &Bench,
    email: &str,
    password: &Secret,
    address: &str,
) -> Result<LoginResult> {
    let visitor = Visitor { address: address.into(), request_id: "request".into() };
    session::login(&bench.app, email, password, &visitor).await
}

async fn signing_in_and_out(database: Database) {
    let bench = Bench::new(database).await;
    let password = Secret::new("owner-password");
    let login = sign_in(&bench, "OWNER@example.com", &password, "::1").await.unwrap();
    assert_eq!(login.user.org_ids, [bench.first.organization]);
    let cx = signed_in(&bench.app, &login.token).await;
    assert_eq!(user::me(&cx).await.unwrap().email, "owner@example.com");
    session::logout(&cx).await.unwrap();
    let refused = session::authenticate(&bench.app, &login.token).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unauthorized);
    let again = sign_in(&bench, "owner@example.com", &password, "::1").await.unwrap();
    bench.config.clock.turn(13 * 3600);
    let expired = session::authenticate(&bench.app, &again.token).await.unwrap_err();
    assert_eq!(expired.message, "Token is expired");
}

async fn guesses_are_slowed_down(database: Database) {
    let bench = Bench::new(database).await;
    let wrong = Secret::new("wrong");
    let unknown = sign_in(&bench, "no@example.com", &wrong, "a").await.unwrap_err();
    let known = sign_in(&bench, "owner@example.com", &wrong, "b").await.unwrap_err();
    assert_eq!(unknown.message, known.message);
    for _ in 0..9 {
        sign_in(&bench, "owner@example.com", &wrong, "b").await.unwrap_err();
    }
    let right = Secret::new("owner-password");
    let slowed = sign_in(&bench, "owner@example.com", &right, "c").await.unwrap_err();
    assert_eq!(slowed.code, ErrorCode::TooManyRequests);
    bench.config.clock.turn(301);
    sign_in(&bench, "owner@example.com", &right, "c").await.unwrap();
}

async fn others_do_not_exist(database: Database) {
    let bench = Bench::new(database).await;
    let other = organization::create(&bench.cx, "Other").await.unwrap();
    let mut stranger = bench.cx.clone();
    stranger.actor = gantry_app::Actor::User {
        id: "nobody".into(),
        email: "nobody@example.com".into(),
        session: None,
    };
    let app = bench.first.sample.as_ref().unwrap().application;
    let foreign = application::get(&stranger, bench.cluster(), app).await.unwrap_err();
    let unknown = application::get(&bench.cx, other.id, app).await.unwrap_err();
    assert_eq!(foreign.code, ErrorCode::NotFound);
    assert_eq!((foreign.code, foreign.message), (unknown.code, unknown.message));
    let write = application::create(&stranger, bench.cluster(), application_spec("x")).await;
    assert_eq!(write.unwrap_err().code, ErrorCode::NotFound);
    assert!(organization::get(&stranger, other.id).await.is_err());
}

async fn the_second_start_keeps_everything(database: Database) {
    let bench = Bench::new(database).await;
    bench.app.close().await;
    let app = gantry_app::App::open(bench.config.clone()).await.unwrap();
    let again = setup::first_start(&app, "owner@example.com", None, "127.0.0.1:1").await.unwrap();
    assert!(again.is_none());
    let cx = signed_in(&app, bench.first.access_token.expose()).await;
    let query = ListQuery { search: "DEM".into(), ..ListQuery::default() };
    let page = application::list(&cx, bench.cluster(), &query).await.unwrap();
    assert_eq!((page.count, page.list[0].spec.name.as_str()), (1, "demo"));
    app.close().await;
}
