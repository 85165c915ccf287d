//! What older versions left behind is put right when the control plane starts.

use gantry_app::{App, api, loaded_plugin, plugin_reference};
use gantry_model::ListQuery;
use gantry_store::loaded_plugin as rows;
use gantry_store::resource::{self, Kind};
use gantry_testkit::database::Database;
use serde_json::json;

use crate::harness::{Bench, on_both_engines, parse};

on_both_engines!(uses_nobody_noted_are_found_at_the_start);

async fn uses_nobody_noted_are_found_at_the_start(database: Database) {
    let bench = Bench::new(database).await;
    let (cluster, shop) = (bench.cluster(), bench.application("shop").await);
    let spec = json!({"name": "cart", "paths": [{"path": "/cart", "path_type": "Exact"}],
        "plugins": {"zipkin": {"endpoint": "http://127.0.0.1:9411/api", "sample_ratio": 1}}});
    let cart = api::create(&bench.cx, shop, parse(spec)).await.unwrap().value.id;
    let store = bench.store().await;
    let written = store.write(move |tx| {
        Box::pin(async move {
            let row = resource::find(tx, Kind::Api, cart).await?.unwrap();
            rows::set_uses(tx, &row, &[]).await
        })
    });
    written.await.unwrap();
    // Unloading is possible only because the use is not known.
    loaded_plugin::unload(&bench.cx, cluster, "zipkin".into()).await.unwrap();
    bench.app.close().await;
    let app = App::open(bench.config.clone()).await.unwrap();
    let mut cx = bench.cx.clone();
    cx.app = app;
    let found = plugin_reference::get(&cx, cluster, "zipkin").await.unwrap();
    assert_eq!((found.count, found.apis[0].id), (1, cart));
    let query = ListQuery { search: "zipkin".into(), ..ListQuery::default() };
    assert_eq!(loaded_plugin::list(&cx, cluster, &query).await.unwrap().count, 1);
    let refused = loaded_plugin::unload(&cx, cluster, "zipkin".into()).await.unwrap_err();
    assert!(refused.message.contains("API `cart`"), "{}", refused.message);
    store.close().await;
}
