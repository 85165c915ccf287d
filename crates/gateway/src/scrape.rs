//! The text Prometheus scrapes. Many series take a while to write: that is done away from requests, and
//! not again for a time, so that scrapes never take more than a small share of the machine.

use std::{
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::sync::Mutex;

use crate::plugin::Shared;

/// A text that took less is written anew for everybody.
const CHEAP: Duration = Duration::from_millis(50);
/// A text is good for so many times what it took to write.
const SHARE: u32 = 10;
/// But not for longer than APISIX keeps its own.
const FRESH: Duration = Duration::from_secs(15);

/// The newest texts, plain and packed.
#[derive(Default)]
pub struct Scrapes([Mutex<Option<Scrape>>; 2]);

struct Scrape {
    text: Bytes,
    good_until: Instant,
}

/// All metrics, packed with gzip if `is_packed`. Who comes while the text is being written waits for
/// it and gets the same.
pub async fn scrape(shared: Arc<Shared>, is_packed: bool) -> Bytes {
    let [loose, tight] = &shared.scrapes.0;
    let mut newest = if is_packed { tight } else { loose }.lock().await;
    if let Some(scrape) = newest.as_ref().filter(|scrape| scrape.good_until > Instant::now()) {
        return scrape.text.clone();
    }
    let writer = Arc::clone(&shared);
    let start = Instant::now();
    let write = if is_packed { packed } else { plain };
    let written = tokio::task::spawn_blocking(move || Bytes::from(write(&writer)));
    let text = match written.await {
        Ok(text) => text,
        Err(error) => {
            tracing::error!(%error, "writing metrics broke off");
            return Bytes::new();
        }
    };
    let took = start.elapsed();
    let good = if took < CHEAP { Duration::ZERO } else { (took * SHARE).min(FRESH) };
    *newest = Some(Scrape { text: text.clone(), good_until: Instant::now() + good });
    text
}

fn plain(shared: &Shared) -> Vec<u8> {
    let mut text = Vec::new();
    shared.exposition(&mut |piece| text.append(&mut std::mem::take(piece).into_bytes()));
    text
}

/// The whole text is some thirty times as large and never there at once.
fn packed(shared: &Shared) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    shared.exposition(&mut |piece| {
        // Writing to memory does not fail.
        let _ = encoder.write_all(piece.as_bytes());
        piece.clear();
    });
    encoder.finish().unwrap_or_default()
}
