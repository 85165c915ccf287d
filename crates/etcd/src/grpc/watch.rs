//! Any number of watches on one gRPC stream, opened and closed while it runs.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::future::select_all;
use futures::{Stream, StreamExt};
use gantry_etcd_proto::etcdserverpb as pb;
use pb::watch_request::RequestUnion;
use tonic::{Status, Streaming};

use crate::identity::{Guard, Session};
use crate::space::Space;
use crate::watch::{Cursor, Step};

/// Watches one stream may have open; APISIX has one, `etcdctl` one.
const WATCHES_MAX: usize = 128;

/// The number etcd gives to no watch: answers that concern the whole stream have it.
const NO_WATCH: i64 = -1;

/// A stream of watches. Answers are made as the client reads them.
struct Watches {
    space: Arc<Space>,
    guard: Guard,
    requests: Streaming<pb::WatchRequest>,
    /// Whether the client may still open or close watches.
    listening: bool,
    /// In the order of their next turn.
    open: VecDeque<(i64, Cursor)>,
    /// The number of the next watch whose client chose none.
    next_id: i64,
}

/// Serves a stream until the client closes it, loses its right to it, or the server stops.
pub async fn answers(
    session: &Session,
    requests: Streaming<pb::WatchRequest>,
) -> Result<impl Stream<Item = Result<pb::WatchResponse, Status>> + Send + use<>, Status> {
    let watches = Watches {
        space: session.space().await?,
        guard: session.guard(),
        requests,
        listening: true,
        open: VecDeque::new(),
        next_id: 0,
    };
    Ok(futures::stream::unfold(Some(watches), |watches| async move {
        let mut watches = watches?;
        match watches.answer().await {
            Ok(Some(answer)) => Some((Ok(answer), Some(watches))),
            Ok(None) => None,
            Err(status) => Some((Err(status), None)),
        }
    }))
}

impl Watches {
    /// The next thing to say, or `None` when there will be nothing more.
    async fn answer(&mut self) -> Result<Option<pb::WatchResponse>, Status> {
        loop {
            if !self.listening && self.open.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = self.guard.due() => self.guard.check().await?,
                request = self.requests.next(), if self.listening => match request {
                    Some(request) => {
                        if let Some(answer) = self.handle(request?) {
                            return Ok(Some(answer));
                        }
                    }
                    None => self.listening = false,
                },
                (turn, step) = next(&mut self.open), if !self.open.is_empty() => {
                    return self.tell(turn, step).map(Some);
                }
            }
        }
    }

    fn handle(&mut self, request: pb::WatchRequest) -> Option<pb::WatchResponse> {
        match request.request_union? {
            RequestUnion::CreateRequest(create) => Some(self.create(&create)),
            RequestUnion::CancelRequest(cancel) => {
                let turn = self.open.iter().position(|(id, _)| *id == cancel.watch_id)?;
                let (watch_id, cursor) = self.open.remove(turn)?;
                let header = Some(cursor.header());
                Some(pb::WatchResponse { header, watch_id, canceled: true, ..Default::default() })
            }
            RequestUnion::ProgressRequest(_) => Some(self.progress()),
        }
    }

    fn create(&mut self, request: &pb::WatchCreateRequest) -> pb::WatchResponse {
        let refused = |reason: &str| pb::WatchResponse {
            header: Some(self.space.newest_header()),
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        };
        if self.open.len() >= WATCHES_MAX {
            return refused(&format!("etcdserver: too many watches: {WATCHES_MAX} on a stream"));
        }
        if request.watch_id != 0 && self.open.iter().any(|(id, _)| *id == request.watch_id) {
            return refused("etcdserver: duplicate watch id");
        }
        let cursor = match Cursor::open(Arc::clone(&self.space), request) {
            Ok(cursor) => cursor,
            Err(status) => return refused(status.message()),
        };
        let watch_id = if request.watch_id == 0 { self.free_id() } else { request.watch_id };
        let header = Some(cursor.header());
        self.open.push_back((watch_id, cursor));
        pb::WatchResponse { header, watch_id, created: true, ..Default::default() }
    }

    fn free_id(&mut self) -> i64 {
        while self.open.iter().any(|(id, _)| *id == self.next_id) {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        id
    }

    /// How far every watch of the stream has come.
    fn progress(&self) -> pb::WatchResponse {
        let positions = self.open.iter().map(|(_, cursor)| cursor.position());
        let revision = positions.min().unwrap_or_else(|| self.space.newest());
        pb::WatchResponse {
            header: Some(self.space.header(revision)),
            watch_id: NO_WATCH,
            ..Default::default()
        }
    }

    /// Says what the watch at `turn` found, and lets the others go first the next time.
    fn tell(
        &mut self,
        turn: usize,
        step: Result<Step, Status>,
    ) -> Result<pb::WatchResponse, Status> {
        let step = step?;
        let Some((watch_id, cursor)) = self.open.remove(turn) else {
            return Err(Status::internal("etcdserver: a watch got lost"));
        };
        Ok(match step {
            Step::Revision(revision) => {
                let events = cursor.events(&revision);
                let header = Some(self.space.header(revision.revision));
                self.open.push_back((watch_id, cursor));
                pb::WatchResponse { header, watch_id, events, ..Default::default() }
            }
            Step::Compacted(oldest) => pb::WatchResponse {
                header: Some(self.space.header(0)),
                watch_id,
                canceled: true,
                compact_revision: oldest,
                ..Default::default()
            },
        })
    }
}

/// Waits for the first watch that has something to tell. Can be dropped at any time.
async fn next(open: &mut VecDeque<(i64, Cursor)>) -> (usize, Result<Step, Status>) {
    let steps = open.iter_mut().map(|(_, cursor)| Box::pin(cursor.next()));
    let (step, turn, _) = select_all(steps).await;
    (turn, step)
}
