-- What each gateway said when it had applied a revision, and what it should have said: the digest of
-- the key space at the revision, empty where it was not kept.
ALTER TABLE revisions ADD COLUMN digest TEXT NOT NULL DEFAULT '';

ALTER TABLE instances ADD COLUMN run_started_at BIGINT NOT NULL DEFAULT 0;
UPDATE instances SET run_started_at = register_time;
-- How we know of the instance: `report` by its heartbeats, `server_info` by what it wrote over etcd,
-- `connection` by a watch that is open.
ALTER TABLE instances ADD COLUMN source TEXT NOT NULL DEFAULT 'report';
-- The revision in use, as in the report, and whether it is used otherwise than it was committed.
ALTER TABLE instances ADD COLUMN config_version BIGINT NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN differs BIGINT NOT NULL DEFAULT 0;

CREATE TABLE receipts (
    cluster_id BIGINT NOT NULL,
    instance_id TEXT NOT NULL,
    revision BIGINT NOT NULL,
    received_at BIGINT NOT NULL,
    digest TEXT NOT NULL,
    problems TEXT NOT NULL,
    PRIMARY KEY (cluster_id, instance_id, revision),
    FOREIGN KEY (cluster_id, instance_id) REFERENCES instances (cluster_id, id) ON DELETE CASCADE
);
CREATE INDEX receipts_by_revision ON receipts (cluster_id, revision);
CREATE INDEX receipts_by_time ON receipts (received_at);
