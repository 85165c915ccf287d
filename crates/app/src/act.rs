//! A write outside the configuration of clusters: one transaction holds what is written and its
//! audit entries.

use std::collections::BTreeMap;
use std::fmt::Display;

use futures::future::BoxFuture;
use gantry_model::{Result, Timestamp};
use gantry_store::Tx;
use serde_json::Value;

use crate::audit::{self, Entry, Ledger};
use crate::{App, Cx};

/// A write under way.
pub(crate) struct Act<'t> {
    pub(crate) tx: &'t mut Tx,
    pub(crate) app: App,
    pub(crate) now: Timestamp,
    ledger: Ledger,
    /// In an order of their own, so that two writes never wait for each other's ledgers.
    entries: BTreeMap<Ledger, Vec<Entry>>,
}

/// Runs `work` and appends what it noted to `ledger`. Nothing of a failing `work` stays, nor of any
/// in a dry run: what leaves the database, such as mail, is for the caller to send afterwards, and
/// only `if !cx.dry_run`.
pub(crate) async fn act<T, W>(cx: &Cx, ledger: Ledger, work: W) -> Result<T>
where
    T: Send + 'static,
    W: for<'c, 't> FnOnce(&'c mut Act<'t>) -> BoxFuture<'c, Result<T>> + Send + 'static,
{
    let cx = cx.clone();
    let app = cx.app.clone();
    app.db.write(move |tx| Box::pin(run(tx, cx, ledger, work))).await
}

async fn run<T, W>(tx: &mut Tx, cx: Cx, ledger: Ledger, work: W) -> Result<T>
where
    W: for<'c, 't> FnOnce(&'c mut Act<'t>) -> BoxFuture<'c, Result<T>>,
{
    if cx.dry_run {
        tx.rehearse();
    }
    let (app, now) = (cx.app.clone(), cx.app.now());
    let mut act = Act { tx, app, now, ledger, entries: BTreeMap::new() };
    let value = work(&mut act).await?;
    audit::append(act.tx, &cx, None, act.entries).await?;
    Ok(value)
}

impl Act<'_> {
    /// Notes what happened to an object; secrets must be masked already.
    pub(crate) fn audit(
        &mut self,
        kind: &'static str,
        id: impl Display,
        before: Option<Value>,
        after: Option<Value>,
    ) {
        let entry = Entry { kind, id: id.to_string(), before, after };
        self.audit_in(self.ledger.clone(), entry);
    }

    /// The same in another ledger than the write's own.
    pub(crate) fn audit_in(&mut self, ledger: Ledger, entry: Entry) {
        self.entries.entry(ledger).or_default().push(entry);
    }
}
