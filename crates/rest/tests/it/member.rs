//! Members and roles, from invitation to the transfer of ownership.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Server, on_both};

fn member_path(server: &Server, id: &str) -> String {
    server.owner.in_org(&format!("/members/{id}"))
}

fn emails(answer: &Answer) -> Vec<String> {
    let list = answer.ok()["list"].as_array().unwrap();
    list.iter().map(|one| one["email"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn roles_are_built_in_and_show_what_they_grant() {
    on_both(|server| async move {
        let owner = &server.owner;
        let path = owner.in_org("/roles");
        let roles = owner.get(&path).await;
        let roles = roles.ok().as_array().unwrap();
        let names: Vec<&str> = roles.iter().map(|role| role["name"].as_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "Organization Owner",
                "Organization Admin",
                "Organization Viewer",
                "Billing Admin",
                "Cluster Admin",
                "Cluster Viewer"
            ]
        );
        assert_eq!(roles[0]["owner"], true);
        assert!(roles[1..].iter().all(|role| role["owner"] == false));
        assert_eq!(
            (&roles[3]["scope"], &roles[4]["scope"]),
            (&json!("organization"), &json!("cluster"))
        );
        assert_eq!(roles[0]["permissions"]["organization"]["ownership"]["post"], true);
        assert_eq!(roles[1]["permissions"]["organization"]["ownership"]["post"], false);
        assert_eq!(
            roles[2]["permissions"]["api_management"]["applications"],
            json!({ "get": true, "put": false, "post": false, "patch": false, "delete": false })
        );
        assert_eq!(roles[2]["permissions"]["billing"]["plan"]["get"], false);
        assert_eq!(owner.get(&path).await.ok().as_array().unwrap(), roles, "ids are stable");
        let past = owner.get(&format!("{path}?page=2")).await;
        assert_eq!(past.ok(), &json!([]));
        let page = owner.get(&format!("{path}?page=2&page_size=4")).await;
        assert_eq!(page.ok().as_array().unwrap(), &roles[4..]);
    })
    .await;
}

#[tokio::test]
async fn roles_have_the_form_that_the_sdk_reads() {
    on_both(|server| async move {
        let owner = &server.owner;
        let request = owner.request(Method::GET, &owner.in_org("/roles?page=1&page_size=4"));
        let request = request.bearer_auth(&owner.token).header("User-Agent", "Go-http-client/1.1");
        let answer = Answer::read(request).await;
        assert_eq!(answer.ok()["count"], 6);
        assert_eq!(answer.names().len(), 4);
    })
    .await;
}

#[tokio::test]
async fn members_are_invited_listed_and_removed() {
    on_both(|server| async move {
        let owner = &server.owner;
        let members = owner.in_org("/members");
        let invited = owner.invite("Alice@Example.com", "Organization Viewer").await;
        assert_eq!(invited.ok()["state"], "Pending");
        assert_eq!(invited.ok()["email"], "alice@example.com");
        assert_eq!(invited.ok()["user_id"], "");
        assert_eq!(invited.ok()["roles"][0]["name"], "Organization Viewer");
        owner.invite("ALICE@example.com", "Billing Admin").await.refused(409, 3);
        let shown = owner.get(&member_path(&server, &invited.id())).await;
        assert!(shown.ok().get("invitation_link").is_none(), "only the inviter sees the link");
        let (_, bob) = server.member("bob@example.com", "Organization Viewer").await;
        let list = owner.get(&format!("{members}?order_by=created_at&direction=asc")).await;
        assert_eq!(emails(&list), ["owner@example.com", "alice@example.com", "bob@example.com"]);
        assert_eq!(list.ok()["list"][0]["roles"][0]["owner"], true);
        assert_eq!(list.ok()["list"][2]["state"], "Active");
        let viewers = format!("{members}?role_name=organization%20viewer&page_size=1");
        let viewers = owner.get(&viewers).await;
        assert_eq!((&viewers.ok()["count"], emails(&viewers).len()), (&json!(2), 1));
        assert_eq!(owner.get(&format!("{members}?role_name=Owl")).await.ok()["count"], 0);
        for field in ["id", "org_id", "role", "user_id", "created_at", "updated_at"] {
            let sorted = owner.get(&format!("{members}?order_by={field}")).await;
            assert_eq!(sorted.ok()["count"], 3, "{field}");
        }
        let by_role = owner.get(&format!("{members}?order_by=role&direction=desc")).await;
        // The order of the roles' names in the database: organization_viewer, owner.
        let sorted = ["owner@example.com", "bob@example.com", "alice@example.com"];
        assert_eq!(emails(&by_role), sorted);
        owner.delete(&member_path(&server, &invited.id())).await.ok();
        owner.delete(&member_path(&server, &bob)).await.ok();
        owner.get(&member_path(&server, &bob)).await.refused(404, 4);
        assert_eq!(emails(&owner.get(&members).await), ["owner@example.com"]);
        let rehearsed = format!("{members}?dry_run=true");
        let role = owner.role("Billing Admin").await;
        let body = json!({ "email": "carol@example.com", "role_ids": [role] });
        let rehearsed = owner.post(&rehearsed, body).await;
        assert!(rehearsed.ok().get("invitation_link").is_none());
        assert_eq!(owner.get(&members).await.ok()["count"], 1);
    })
    .await;
}

#[tokio::test]
async fn invitations_name_roles_that_exist_and_can_be_given() {
    on_both(|server| async move {
        let owner = &server.owner;
        let members = owner.in_org("/members");
        let invite = |roles: Value| {
            let mut body = json!({ "email": "alice@example.com" });
            body.as_object_mut().unwrap().extend(roles.as_object().unwrap().clone());
            owner.post(&members, body)
        };
        let message = invite(json!({})).await;
        assert!(message.refused(400, 2).contains("role_id"));
        let both = json!({ "role_id": owner.role("Billing Admin").await, "role_ids": ["1"] });
        invite(both).await.refused(400, 2);
        let unknown = invite(json!({ "role_ids": ["5", "x"] })).await;
        let message = unknown.refused(400, 2);
        assert!(
            message.contains("`role_ids[0]`") && message.contains("`role_ids[1]`"),
            "{message}"
        );
        invite(json!({ "role_ids": [] })).await.refused(400, 2);
        invite(json!({ "role_ids": vec!["5"; 33] })).await.refused(400, 2);
        let ownership = owner.role("Organization Owner").await;
        let refused = invite(json!({ "role_id": ownership })).await;
        assert!(refused.refused(400, 2).contains("transfer the ownership"));
        let foreign = server.stranger.role("Organization Viewer").await;
        invite(json!({ "role_id": foreign })).await.refused(400, 2);
        // With one cluster there is no doubt which one is meant.
        let cluster_admin = owner.role("Cluster Admin").await;
        let viewer = owner.role("Organization Viewer").await;
        let roles = json!({ "role_ids": [viewer, cluster_admin, cluster_admin] });
        let invited = invite(roles.clone()).await;
        let bindings = json!([
            { "role_id": cluster_admin, "cluster_id": owner.cluster },
            { "role_id": viewer, "cluster_id": null }
        ]);
        assert_eq!(invited.ok()["role_bindings"], bindings);
        owner.delete(&member_path(&server, &invited.id())).await.ok();
        let second = owner.post(&owner.in_org("/clusters"), json!({ "name": "b" })).await.id();
        let message = invite(roles.clone()).await;
        assert!(message.refused(400, 2).contains("`cluster_id` must be the id of a cluster"));
        let mut named = roles;
        named["cluster_id"] = json!(second);
        let invited = invite(named.clone()).await;
        assert_eq!(invited.ok()["role_bindings"][0]["cluster_id"], json!(second));
        named["cluster_id"] = json!(server.stranger.cluster);
        invite(named).await.refused(400, 2);
    })
    .await;
}

#[tokio::test]
async fn roles_are_replaced_as_an_object_and_as_a_bare_array() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (bob, id) = server.member("bob@example.com", "Organization Viewer").await;
        let path = member_path(&server, &id);
        let (admin, of_cluster) =
            (owner.role("Organization Admin").await, owner.role("Cluster Viewer").await);
        let body = json!({ "role_bindings": [
            { "role_id": admin, "cluster_id": null },
            { "role_id": of_cluster, "cluster_id": owner.cluster } ] });
        owner.put(&path, body).await.ok();
        assert_eq!(owner.get(&path).await.ok()["roles"].as_array().unwrap().len(), 2);
        bob.post(&owner.in_cluster("/consumers"), json!({ "name": "c" })).await.ok();
        let array = json!([{ "role_id": admin, "cluster_id": "0" }, { "role_id": admin }]);
        owner.put(&path, array).await.ok();
        let bindings = json!([{ "role_id": admin, "cluster_id": null }]);
        assert_eq!(owner.get(&path).await.ok()["role_bindings"], bindings);
        let wrong = json!({ "role_bindings": [
            { "role_id": admin, "cluster_id": owner.cluster },
            { "role_id": of_cluster },
            { "role_id": of_cluster, "cluster_id": server.stranger.cluster },
            { "role_id": owner.role("Organization Owner").await },
            { "cluster_id": null } ] });
        let refused = owner.put(&path, wrong).await;
        let message = refused.refused(400, 2);
        for part in [
            "`role_bindings[0].cluster_id` must be null",
            "`role_bindings[1].cluster_id` must be the id of a cluster",
            "`role_bindings[2].cluster_id` must be the id of a cluster",
            "`role_bindings[3].role_id` must not be the owner's role",
            "`role_bindings[4].role_id` must be the id of a role",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        owner.put(&path, json!([])).await.ok();
        let message = bob.get(&owner.in_cluster("/apps")).await;
        let message = message.refused(403, 5);
        assert!(message.contains("`api_management.applications.get`"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn the_owner_stays_until_the_ownership_is_transferred() {
    on_both(|server| async move {
        let owner = &server.owner;
        let me = owner.get(&owner.in_org("/members?role_name=Organization%20Owner")).await;
        assert_eq!(me.ok()["count"], 1);
        let me = me.ok()["list"][0]["id"].as_str().unwrap().to_owned();
        let (bob, bob_id) = server.member("bob@example.com", "Organization Admin").await;
        let viewer = owner.role("Organization Viewer").await;
        for caller in [owner, &bob] {
            caller.delete(&member_path(&server, &me)).await.refused(409, 3);
            let body = json!([{ "role_id": viewer }]);
            caller.put(&member_path(&server, &me), body).await.refused(409, 3);
        }
        let transfer = |id: &str| member_path(&server, id) + "/transfer_ownership";
        let refused = bob.post(&transfer(&bob_id), Value::Null).await;
        assert!(refused.refused(403, 5).contains("`organization.ownership.post`"));
        let pending = owner.invite("carol@example.com", "Organization Viewer").await.id();
        owner.post(&transfer(&pending), Value::Null).await.refused(409, 3);
        owner.post(&transfer(&me), Value::Null).await.refused(409, 3);
        owner.post(&transfer("999"), Value::Null).await.refused(404, 4);
        let rehearsal = transfer(&bob_id) + "?dry_run=true";
        owner.post(&rehearsal, Value::Null).await.ok();
        owner.call(Method::POST, &transfer(&bob_id), None).await.ok();
        let bob_user = bob.get("/user/me").await.id();
        assert_eq!(owner.get(&owner.in_org("")).await.ok()["owner_id"], json!(bob_user));
        let roles = |answer: Answer| answer.ok()["roles"][0]["name"].clone();
        let old = owner.get(&member_path(&server, &me)).await;
        assert_eq!(roles(old), "Organization Admin");
        assert_eq!(roles(owner.get(&member_path(&server, &bob_id)).await), "Organization Owner");
        owner.post(&transfer(&me), Value::Null).await.refused(403, 5);
        owner.delete(&owner.in_org("")).await.refused(403, 5);
        // The old owner is now the only administrator, who cannot leave without another.
        let alone = owner.delete(&member_path(&server, &me)).await;
        assert!(alone.refused(409, 3).contains("only administrator"));
        owner.put(&member_path(&server, &me), json!([])).await.refused(409, 3);
        server.member("dave@example.com", "Organization Admin").await;
        owner.delete(&member_path(&server, &me)).await.ok();
        owner.get(&owner.in_org("")).await.refused(404, 4);
        bob.get(&owner.in_org("")).await.ok();
    })
    .await;
}

#[tokio::test]
async fn a_right_taken_away_is_gone_with_the_next_request() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (bob, id) = server.member("bob@example.com", "Organization Admin").await;
        owner.bind(&id, &[("Cluster Admin", Some(&owner.cluster))]).await;
        bob.application("shop").await;
        bob.get(&owner.in_org("/members")).await.refused(403, 5);
        bob.post(&owner.in_org("/clusters"), json!({ "name": "b" })).await.refused(403, 5);
        owner.bind(&id, &[("Cluster Viewer", Some(&owner.cluster))]).await;
        let app = json!({ "name": "x" });
        bob.post(&owner.in_cluster("/apps"), app.clone()).await.refused(403, 5);
        assert_eq!(bob.get(&owner.in_cluster("/apps")).await.names(), ["shop"]);
        owner.delete(&member_path(&server, &id)).await.ok();
        let gone = bob.get(&owner.in_cluster("/apps")).await;
        let unknown = bob.get("/clusters/999999999999999999/apps").await;
        gone.refused(404, 4);
        assert_eq!(gone.body, unknown.body);
    })
    .await;
}

#[tokio::test]
async fn who_has_roles_in_some_clusters_sees_those() {
    on_both(|server| async move {
        let owner = &server.owner;
        let clusters = owner.in_org("/clusters");
        let second = owner.post(&clusters, json!({ "name": "second" })).await.id();
        owner.post(&clusters, json!({ "name": "third" })).await.ok();
        let (bob, id) = server.member("bob@example.com", "Organization Viewer").await;
        assert_eq!(bob.get(&clusters).await.ok()["count"], 3);
        owner.bind(&id, &[("Cluster Viewer", Some(&second))]).await;
        let seen = bob.get(&clusters).await;
        assert_eq!((seen.names(), &seen.ok()["count"]), (vec!["second".to_owned()], &json!(1)));
        bob.get(&format!("/clusters/{second}")).await.ok();
        bob.get(&owner.in_cluster("")).await.refused(403, 5);
        owner.bind(&id, &[("Billing Admin", None)]).await;
        bob.get(&clusters).await.refused(403, 5);
    })
    .await;
}
