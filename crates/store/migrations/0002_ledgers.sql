-- The audit becomes a set of ledgers. The entries of one are numbered without a gap, and each holds
-- a keyed hash over itself and its predecessor; `audit_heads` has the newest. Entries from before
-- have no ledger.

ALTER TABLE audit ADD COLUMN ledger TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN seq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_by_ledger ON audit (ledger, seq);

CREATE TABLE audit_heads (
    ledger TEXT NOT NULL PRIMARY KEY,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL
);
