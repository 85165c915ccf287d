//! Two hundred watchers in a storm of changes, some of them coming and going: each must see every
//! revision once, in order.

use std::sync::Arc;

use gantry_testkit::Database;

use crate::grpc::{Stream, create};
use crate::support::{Gateways, Http, TestCluster, revision, watch};

const WATCHERS: usize = 200;
const REVISIONS: i64 = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_skips_repeats_or_reorders_on_sqlite() {
    storm(Database::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_skips_repeats_or_reorders_on_postgres() {
    storm(Database::postgres()).await;
}

async fn storm(database: Database) {
    let gateways = Arc::new(Gateways::start_on(database).await);
    let cluster = Arc::new(gateways.cluster().await);
    let first = cluster.add("ann").await;
    let last = first + REVISIONS;
    let watchers: Vec<_> = (0..WATCHERS)
        .map(|number| {
            let (gateways, cluster) = (Arc::clone(&gateways), Arc::clone(&cluster));
            tokio::spawn(async move {
                // Every third leaves and comes back after a number of revisions of its own.
                let stay = if number % 3 == 0 { 50 + number as i64 } else { i64::MAX };
                let mut next = first;
                while next <= last {
                    let until = next.saturating_add(stay).min(last + 1);
                    if number % 2 == 0 {
                        follow_json(&gateways, &cluster, next, until).await;
                    } else {
                        follow_grpc(&gateways, &cluster, next, until).await;
                    }
                    next = until;
                }
            })
        })
        .collect();
    for number in 1..=REVISIONS {
        match number % 10 {
            1 => cluster.add("bob").await,
            0 => cluster.remove("bob").await,
            _ => cluster.change("ann", number).await,
        };
    }
    for watcher in watchers {
        watcher.await.expect("a watcher saw everything in order");
    }
}

async fn follow_json(gateways: &Gateways, cluster: &TestCluster, from: i64, until: i64) {
    let mut http = Http::connect(gateways, Some(&cluster.bundle)).await.expect("a connection");
    let mut lines = http.stream("/v3/watch", &watch("/apisix/", "/apisix0", from)).await;
    assert_eq!(lines.result().await["created"], true);
    for expected in from..until {
        assert_eq!(revision(&lines.result().await), expected);
    }
}

async fn follow_grpc(gateways: &Gateways, cluster: &TestCluster, from: i64, until: i64) {
    let channel = gateways.channel(&cluster.bundle).await;
    let mut stream = Stream::open(channel, create("/apisix/", "/apisix0", from)).await;
    assert!(stream.next().await.created);
    for expected in from..until {
        let told = stream.next().await;
        assert_eq!(told.header.map(|header| header.revision), Some(expected));
        assert!(!told.events.is_empty());
    }
}
