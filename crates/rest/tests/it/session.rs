//! Sessions of browsers: cookies, renewal, end.

use gantry_app::Clock;
use gantry_model::Timestamp;
use gantry_testkit::Database;
use http::{HeaderMap, Method};
use serde_json::json;

use crate::harness::{Answer, Door, OWNER, PASSWORD, Server};

const HOUR_S: i64 = 3600;

/// Runs a story on both databases with a clock that it turns.
async fn on_both_with_clock<F: Future<Output = ()>>(story: impl Fn(Server, Clock) -> F) {
    for database in [Database::Sqlite, Database::postgres()] {
        let clock = Clock::fixed(Timestamp::from_seconds(1_800_000_000));
        let server = Server::behind(Door::open().await, database, |config| {
            config.clock = clock.clone();
            config.public_url = "https://gantry.example.com".into();
        });
        story(server.await, clock).await;
    }
}

/// The profile of whoever a browser with this session is.
async fn me(server: &Server, token: &str) -> Answer {
    let request = server.anonymous().request(Method::GET, "/user/me");
    Answer::read(request.header("cookie", format!("gantry_session={token}"))).await
}

/// The session that an answer gives to a browser.
fn given(headers: &HeaderMap) -> Option<String> {
    let cookie = headers.get("set-cookie")?.to_str().unwrap();
    for part in ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(cookie.split("; ").any(|one| one == part), "{cookie}");
    }
    let (token, _) = cookie.strip_prefix("gantry_session=").unwrap().split_once(';').unwrap();
    Some(token.to_owned())
}

#[tokio::test]
async fn a_browsers_session_is_renewed_under_a_new_id() {
    on_both_with_clock(|server, clock| async move {
        let login = json!({ "email": OWNER, "password": PASSWORD });
        let first = server.anonymous().post("/user/login", login).await;
        let old = given(&first.headers).unwrap();
        assert!(given(&me(&server, &old).await.headers).is_none(), "it is new");
        clock.turn(HOUR_S);
        // Who sends the token itself keeps it.
        let bearer = server.anonymous().request(Method::GET, "/user/me").bearer_auth(&old);
        assert!(given(&Answer::read(bearer).await.headers).is_none());
        let new = given(&me(&server, &old).await.headers).unwrap();
        assert_ne!(new, old);
        assert!(given(&me(&server, &old).await.headers).is_none(), "one successor is enough");
        me(&server, &new).await.ok();
        clock.turn(61);
        me(&server, &old).await.refused(401, 6);
        // Busy people are signed in for longer than one session lasts, but not for ever.
        let mut session = new;
        for _ in 0..16 {
            clock.turn(11 * HOUR_S);
            let answer = me(&server, &session).await;
            if answer.status == 401 {
                return;
            }
            session = given(&answer.headers).unwrap_or(session);
        }
        panic!("the session never ends");
    })
    .await;
}

#[tokio::test]
async fn signing_out_ends_what_a_renewal_left_behind() {
    on_both_with_clock(|server, clock| async move {
        let old = server.anonymous().new_session(OWNER, PASSWORD).await;
        clock.turn(HOUR_S);
        let new = given(&me(&server, &old).await.headers).unwrap();
        me(&server, &old).await.ok();
        let out = server.anonymous().request(Method::GET, "/user/logout");
        let out = Answer::read(out.header("cookie", format!("gantry_session={new}"))).await;
        assert_eq!(given(&out.headers).unwrap(), "");
        me(&server, &new).await.refused(401, 6);
        me(&server, &old).await.refused(401, 6);
    })
    .await;
}
