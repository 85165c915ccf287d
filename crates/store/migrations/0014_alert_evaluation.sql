-- When policies are looked at, and what of their alerts is still to be delivered. An entry of the
-- history is its own outbox: it is due until it was delivered or given up.

ALTER TABLE alert_policies ADD COLUMN due_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE alert_policies ADD COLUMN checked_at BIGINT;
ALTER TABLE alert_policies ADD COLUMN firing_since BIGINT;
ALTER TABLE alert_policies ADD COLUMN check_problem TEXT;
CREATE INDEX alert_policies_by_due_time ON alert_policies (disabled, due_at);

ALTER TABLE alert_histories ADD COLUMN due_at BIGINT;
CREATE INDEX alert_histories_by_due_time ON alert_histories (due_at);
