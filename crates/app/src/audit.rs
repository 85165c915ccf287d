//! The audit: who did what to which object, in ledgers that cannot be edited unnoticed.
//!
//! The entries of a ledger are numbered without a gap, and each holds a keyed hash over itself and
//! the head before it; a head is a keyed hash over the newest entry's. One ledger lists all others.
//! Who can write the database but does not know the key can neither change, add, reorder nor remove
//! an entry or a ledger without [`verify`] telling; only a whole older state of the database holds.

use std::collections::BTreeMap;

use gantry_model::{Id, Result};
use gantry_store::Tx;
use gantry_store::audit::{self, AuditRow, Head};
use serde_json::Value;

use crate::seal::keyed_hash;
use crate::{App, Cx};

/// Entries read at a time while verifying.
const PAGE: i64 = 500;

/// Kind of the objects that the installation's ledger lists.
const LEDGER: &str = "ledger";

/// Whose history an entry belongs to. Their order is the one in which they are locked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ledger {
    Cluster {
        org: Id,
        id: Id,
    },
    Organization(Id),
    /// Id of a user.
    User(String),
    /// All other ledgers, each named when it begins.
    Installation,
}

impl Ledger {
    fn name(&self) -> String {
        match self {
            Self::Cluster { id, .. } => format!("cluster/{id}"),
            Self::Organization(id) => format!("organization/{id}"),
            Self::User(id) => format!("user/{id}"),
            Self::Installation => "installation".to_owned(),
        }
    }

    fn owners(&self) -> (Option<Id>, Option<Id>) {
        match self {
            Self::Cluster { org, id } => (Some(*org), Some(*id)),
            Self::Organization(id) => (Some(*id), None),
            Self::User(_) | Self::Installation => (None, None),
        }
    }
}

/// What happened to one object; secrets are masked already.
pub(crate) struct Entry {
    pub kind: &'static str,
    pub id: String,
    pub before: Option<Value>,
    pub after: Option<Value>,
}

/// Appends to ledgers, which stay locked until the transaction ends. `revision` is the
/// configuration revision of the same transaction, if it made one.
pub(crate) async fn append(
    tx: &mut Tx,
    cx: &Cx,
    revision: Option<i64>,
    entries: BTreeMap<Ledger, Vec<Entry>>,
) -> Result<()> {
    let mut begun = Vec::new();
    for (ledger, entries) in entries {
        if append_to(tx, cx, &ledger, revision, entries).await? {
            let id = ledger.name();
            begun.push(Entry { kind: LEDGER, id, before: None, after: None });
        }
    }
    append_to(tx, cx, &Ledger::Installation, None, begun).await.map(|_| ())
}

/// Answers whether the ledger begins here.
async fn append_to(
    tx: &mut Tx,
    cx: &Cx,
    ledger: &Ledger,
    revision: Option<i64>,
    entries: Vec<Entry>,
) -> Result<bool> {
    if entries.is_empty() {
        return Ok(false);
    }
    let name = ledger.name();
    let (org_id, cluster_id) = ledger.owners();
    let mut head = audit::lock_head(tx, &name).await?;
    let begins = head.seq == 0;
    for Entry { kind, id, before, after } in entries {
        let entry = cx.app.new_id();
        let place = place(entry);
        let text = |value: Option<Value>| value.map(|value| value.to_string());
        let (before, after) = (text(before), text(after));
        let seal = |text: &Option<String>| {
            text.as_ref().map(|text| cx.app.sealer.seal(&place, text.as_bytes())).transpose()
        };
        let mut row = AuditRow {
            id: entry,
            org_id,
            cluster_id,
            created_at: cx.app.now(),
            actor: cx.actor.label(),
            operation: cx.operation.to_owned(),
            request_id: cx.request_id.clone(),
            object_kind: kind.to_owned(),
            object_id: id,
            revision,
            before_sealed: seal(&before)?,
            after_sealed: seal(&after)?,
            ledger: name.clone(),
            seq: head.seq + 1,
            hash: String::new(),
        };
        row.hash = cx.app.audit_key.hash(&head.hash, &row, before.as_deref(), after.as_deref());
        audit::insert(tx, &row).await?;
        head = cx.app.audit_key.head(&row);
    }
    audit::set_head(tx, &name, &head).await?;
    Ok(begins)
}

fn place(id: Id) -> String {
    format!("audit/{id}")
}

/// Key of the hashes; it stays the same when the master key changes.
pub(crate) struct ChainKey(String);

impl ChainKey {
    pub(crate) fn new(key: String) -> Self {
        Self(key)
    }

    /// The head once `row` is the newest entry; its hash stands nowhere else.
    fn head(&self, row: &AuditRow) -> Head {
        let text = format!("head {} {} {}", row.ledger, row.seq, row.hash);
        let hash = hex::encode(keyed_hash(self.0.as_bytes(), text.as_bytes()));
        Head { seq: row.seq, hash }
    }

    /// Every field enters with its length, so that no two entries read the same.
    fn hash(
        &self,
        previous: &str,
        row: &AuditRow,
        before: Option<&str>,
        after: Option<&str>,
    ) -> String {
        let number = |value: Option<i64>| value.map(|value| value.to_string());
        let mut text = Vec::new();
        let fields = [
            Some(previous.to_owned()),
            Some(row.ledger.clone()),
            number(Some(row.seq)),
            number(Some(row.id.get())),
            number(row.org_id.map(Id::get)),
            number(row.cluster_id.map(Id::get)),
            number(Some(row.created_at.micros())),
            Some(row.actor.clone()),
            Some(row.operation.clone()),
            Some(row.request_id.clone()),
            Some(row.object_kind.clone()),
            Some(row.object_id.clone()),
            number(row.revision),
            before.map(str::to_owned),
            after.map(str::to_owned),
        ];
        for field in fields {
            // 0 stands for an absent field, which differs from an empty one.
            let length = field.as_ref().map_or(0, |field| field.len() as u64 + 1);
            text.extend(length.to_be_bytes());
            text.extend(field.unwrap_or_default().into_bytes());
        }
        hex::encode(keyed_hash(self.0.as_bytes(), &text))
    }
}

/// What a check of all ledgers found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub ledgers: usize,
    pub entries: i64,
    /// One sentence for each ledger that does not hold; none if all do.
    pub broken: Vec<String>,
}

/// Reads every ledger from its first entry to its head.
pub async fn verify(app: &App) -> Result<Report> {
    let mut tx = app.db.snapshot().await?;
    let mut report = Report::default();
    let heads = audit::heads(&mut tx).await?;
    for (ledger, head) in &heads {
        report.ledgers += 1;
        report.entries += head.seq;
        if let Some(why) = check(app, &mut tx, ledger, head).await? {
            report.broken.push(format!("ledger {ledger}: {why}"));
        }
    }
    // Every cluster has a ledger from the transaction on that made it, and every ledger is listed.
    let mut headless = audit::orphans(&mut tx).await?;
    let clusters = gantry_store::cluster::ids(&mut tx).await?;
    headless.extend(clusters.into_iter().map(|id| format!("cluster/{id}")));
    let installation = Ledger::Installation.name();
    headless.extend(audit::objects(&mut tx, &installation).await?);
    if !heads.is_empty() {
        headless.push(installation);
    }
    headless.retain(|ledger| !heads.iter().any(|(name, _)| name == ledger));
    headless.sort();
    headless.dedup();
    report.broken.extend(headless.iter().map(|ledger| format!("ledger {ledger}: it was removed")));
    Ok(report)
}

/// Why a ledger does not hold, if it does not.
async fn check(app: &App, tx: &mut Tx, ledger: &str, head: &Head) -> Result<Option<String>> {
    let mut at = Head::default();
    loop {
        let rows = audit::after(tx, ledger, at.seq, PAGE).await?;
        if rows.is_empty() {
            break;
        }
        for row in rows {
            if row.seq != at.seq + 1 {
                let missing = at.seq + 1;
                return Ok(Some(format!("entry {missing} is missing or stands there twice")));
            }
            if !holds(app, &at.hash, &row) {
                return Ok(Some(format!("entry {} (id {}) was changed", row.seq, row.id)));
            }
            at = app.audit_key.head(&row);
        }
    }
    if at != *head || audit::count(tx, ledger).await? != head.seq {
        return Ok(Some(format!(
            "it ends at entry {}, its head says {}: entries were added or removed",
            at.seq, head.seq
        )));
    }
    Ok(None)
}

fn holds(app: &App, previous: &str, row: &AuditRow) -> bool {
    let place = place(row.id);
    let open = |sealed: &Option<String>| {
        sealed.as_ref().map(|sealed| app.sealer.open_text(&place, sealed)).transpose()
    };
    let (Ok(before), Ok(after)) = (open(&row.before_sealed), open(&row.after_sealed)) else {
        return false;
    };
    app.audit_key.hash(previous, row, before.as_deref(), after.as_deref()) == row.hash
}
