//! A watch as lines of JSON: one for its creation, one for each revision with events, one when its
//! next revision is forgotten. Between them silence: APISIX takes an unasked progress report with
//! an old revision for a restart of etcd.

use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use gantry_app::feed::Revision;
use gantry_etcd_proto::etcdserverpb::WatchCreateRequest;
use serde::Serialize;
use tonic::Status;

use super::{answer, http_status};
use crate::identity::{Guard, Session};
use crate::presence::Present;
use crate::watch::{Cursor, Step};

/// What the next line of a watch comes from.
enum Turn {
    Created,
    Watching,
    Over,
}

/// Opens a watch and answers its lines. They are made as the client reads them, so one that does
/// not read costs a place in the log and no memory.
pub async fn lines(
    session: &Session,
    request: &WatchCreateRequest,
) -> Result<impl Stream<Item = Result<Bytes, Status>> + use<>, Status> {
    let space = session.space().await?;
    let cursor = Cursor::open(Arc::clone(&space), request)?;
    let present = session.address().and_then(|address| Present::begin(space, address));
    let state = (Turn::Created, cursor, session.guard(), present);
    Ok(futures::stream::unfold(state, |(turn, mut cursor, mut guard, present)| async move {
        let (line, turn) = match turn {
            Turn::Created => (created(&cursor), Turn::Watching),
            Turn::Watching => match next(&mut cursor, &mut guard).await {
                Ok(Step::Revision(revision)) => (events(&cursor, &revision), Turn::Watching),
                Ok(Step::Compacted(oldest)) => (compacted(&cursor, oldest), Turn::Over),
                Err(status) => (failed(&status), Turn::Over),
            },
            Turn::Over => return None,
        };
        Some((Ok(line), (turn, cursor, guard, present)))
    }))
}

async fn next(cursor: &mut Cursor, guard: &mut Guard) -> Result<Step, Status> {
    loop {
        tokio::select! {
            biased;
            () = guard.due() => guard.check().await?,
            step = cursor.next() => return step,
        }
    }
}

fn created(cursor: &Cursor) -> Bytes {
    answer::line(answer::Watch::created(&cursor.header()))
}

fn events(cursor: &Cursor, revision: &Revision) -> Bytes {
    let write = || {
        let header = cursor.space().header(revision.revision);
        answer::line(answer::Watch::events(&header, &cursor.events(revision)))
    };
    if cursor.is_everything() { cursor.space().line(revision, write) } else { write() }
}

/// As in etcd, the header of this one has no revision.
fn compacted(cursor: &Cursor, oldest: i64) -> Bytes {
    answer::line(answer::Watch::canceled(&cursor.space().header(0), oldest))
}

/// The error of a stream has its own form.
fn failed(status: &Status) -> Bytes {
    #[derive(Serialize)]
    struct Failed<'a> {
        error: Error<'a>,
    }
    #[derive(Serialize)]
    struct Error<'a> {
        grpc_code: i32,
        http_code: u16,
        message: &'a str,
        http_status: &'static str,
    }
    let http = http_status(status.code());
    let error = Error {
        grpc_code: status.code().into(),
        http_code: http.as_u16(),
        message: status.message(),
        http_status: http.canonical_reason().unwrap_or_default(),
    };
    let mut line = serde_json::to_vec(&Failed { error }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
