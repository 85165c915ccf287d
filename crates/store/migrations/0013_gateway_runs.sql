-- Serial number of the certificate that a gateway showed with its last heartbeat.
ALTER TABLE instances ADD COLUMN certificate TEXT;

-- API calls that a run of a gateway has counted since it started, as far as they were taken over:
-- a report that comes twice counts once.
CREATE TABLE api_usage_runs (
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    instance_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    calls BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, instance_id, run_id)
);
CREATE INDEX api_usage_runs_by_time ON api_usage_runs (seen_at);
