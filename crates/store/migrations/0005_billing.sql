ALTER TABLE organizations ADD COLUMN plan_expire_time BIGINT;
ALTER TABLE organizations ADD COLUMN subscription_started_at BIGINT;

-- What the provider of payments calls an organization.
CREATE TABLE billing_accounts (
    org_id BIGINT NOT NULL PRIMARY KEY REFERENCES organizations (id) ON DELETE CASCADE,
    customer TEXT NOT NULL,
    subscription TEXT,
    subscription_item TEXT
);

-- API calls that gateways reported. A day is counted from 1970 in UTC; a cluster's calls stay when it
-- goes, as they are owed.
CREATE TABLE api_usage (
    org_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    day BIGINT NOT NULL,
    cluster_id BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (org_id, day, cluster_id)
);
