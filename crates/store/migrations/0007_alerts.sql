-- Alert policies, their webhooks, and what was sent. Histories keep copies of names: they outlive
-- policy and webhook.

CREATE TABLE alert_policies (
    id BIGINT NOT NULL PRIMARY KEY,
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    name TEXT /* bytewise */ NOT NULL,
    disabled BIGINT NOT NULL,
    search_text TEXT NOT NULL,
    spec_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT alert_policies_name UNIQUE (cluster_id, name)
);
CREATE INDEX alert_policies_by_update ON alert_policies (cluster_id, updated_at, id);
CREATE INDEX alert_policies_by_creation ON alert_policies (cluster_id, created_at, id);

CREATE TABLE alert_webhooks (
    id BIGINT NOT NULL PRIMARY KEY,
    policy_id BIGINT NOT NULL REFERENCES alert_policies (id) ON DELETE CASCADE,
    name TEXT /* bytewise */ NOT NULL,
    spec_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT alert_webhooks_name UNIQUE (policy_id, name)
);

CREATE TABLE alert_histories (
    id BIGINT NOT NULL PRIMARY KEY,
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    search_text TEXT NOT NULL,
    delivery_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX alert_histories_by_cluster ON alert_histories (cluster_id, created_at, id);
CREATE INDEX alert_histories_by_time ON alert_histories (created_at);
