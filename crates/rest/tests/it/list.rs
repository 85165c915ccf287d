//! What holds for every list.

use serde_json::json;

use crate::harness::{application, on_both};

#[tokio::test]
async fn lists_page_order_and_search() {
    on_both(|server| async move {
        let owner = &server.owner;
        for name in ["carrot", "apple", "banana"] {
            owner.application(name).await;
        }
        let list =
            async |query: &str| owner.get(&owner.in_cluster(&format!("/apps?{query}"))).await;
        let by_name = list("order_by=name&direction=asc").await;
        assert_eq!(by_name.names(), ["apple", "banana", "carrot"]);
        let second = list("order_by=name&direction=ASC&page=2&page_size=2").await;
        assert_eq!(second.names(), ["carrot"]);
        assert_eq!(second.ok()["count"], 3);
        let past = list("page=4&page_size=1").await;
        assert_eq!(*past.ok(), json!({ "list": [], "count": 3 }));
        assert_eq!(list("page=9223372036854775807").await.names(), Vec::<String>::new());
        assert_eq!(list("search=AN").await.names(), ["banana"]);
        assert_eq!(list("search=carrot.example").await.names(), ["carrot"]);
        for name in ["%25", "_", "'"] {
            assert_eq!(list(&format!("search={name}")).await.ok()["count"], 0, "{name}");
        }
        list("order_by=color").await.refused(400, 2);
        list("page=0").await.refused(400, 2);
        list("page_size=many").await.refused(400, 2);
    })
    .await;
}

#[tokio::test]
async fn lists_filter_by_labels_and_publication() {
    on_both(|server| async move {
        let owner = &server.owner;
        for (name, labels, active) in
            [("one", json!(["a", "b"]), 0), ("two", json!(["a"]), 1), ("three", json!([]), 0)]
        {
            let mut body = application(name);
            body["labels"] = labels;
            body["active"] = json!(active);
            owner.post(&owner.in_cluster("/apps"), body).await.ok();
        }
        let list = async |query: &str| {
            let path = owner.in_cluster(&format!("/apps?order_by=name&direction=ASC&{query}"));
            owner.get(&path).await.names()
        };
        assert_eq!(list("labels=a").await, ["one", "two"]);
        assert_eq!(list("labels=a,b").await, ["one"]);
        assert_eq!(list("labels=a&labels=b").await, ["one"]);
        assert_eq!(list("active=1").await, ["two"]);
        assert_eq!(list("active=0").await, ["one", "three"]);
        assert_eq!(list("active=-1").await, ["one", "three", "two"]);
    })
    .await;
}
