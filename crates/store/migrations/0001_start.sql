-- What is sealed is encrypted by the layer above: this file only sees text.
-- Times are microseconds since 1970 in UTC.
-- `TEXT /* bytewise */` becomes a text that sorts by bytes on both engines (see migrate.rs).

CREATE TABLE secrets (
    name TEXT NOT NULL PRIMARY KEY,
    sealed TEXT NOT NULL
);

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    avatar_url TEXT NOT NULL,
    connection TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT users_email UNIQUE (email)
);

CREATE TABLE sessions (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE access_tokens (
    id BIGINT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    notes TEXT NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX access_tokens_user ON access_tokens (user_id, created_at, id);

CREATE TABLE organizations (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    slug TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users (id),
    plan_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT organizations_slug UNIQUE (slug)
);

CREATE TABLE members (
    id BIGINT NOT NULL PRIMARY KEY,
    org_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT members_user UNIQUE (org_id, user_id)
);
CREATE INDEX members_by_user ON members (user_id, org_id);

CREATE TABLE regions (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT /* bytewise */ NOT NULL,
    provider TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE clusters (
    id BIGINT NOT NULL PRIMARY KEY,
    org_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    region_id BIGINT NOT NULL REFERENCES regions (id),
    name TEXT /* bytewise */ NOT NULL,
    domain TEXT NOT NULL,
    search_text TEXT NOT NULL,
    settings_sealed TEXT NOT NULL,
    plugins_sealed TEXT NOT NULL,
    config_version BIGINT NOT NULL,
    compacted_revision BIGINT NOT NULL,
    digest TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT clusters_name UNIQUE (org_id, name),
    CONSTRAINT clusters_domain UNIQUE (domain)
);

-- Every configuration kind: applications, APIs, consumers, certificates. `parent_id` is the
-- application of an API and the cluster of everything else. `sort_text` and `sort_number` hold what
-- a kind wants to be sorted by besides name and times.
CREATE TABLE resources (
    id BIGINT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    parent_id BIGINT NOT NULL,
    name TEXT /* bytewise */,
    active BIGINT NOT NULL,
    sort_text TEXT /* bytewise */ NOT NULL,
    sort_number BIGINT NOT NULL,
    search_text TEXT NOT NULL,
    spec_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT resources_name UNIQUE (kind, parent_id, name)
);
CREATE INDEX resources_by_update ON resources (kind, parent_id, updated_at, id);
CREATE INDEX resources_by_creation ON resources (kind, parent_id, created_at, id);
CREATE INDEX resources_by_text ON resources (kind, parent_id, sort_text, id);
CREATE INDEX resources_by_number ON resources (kind, parent_id, sort_number, id);
CREATE INDEX resources_by_cluster ON resources (cluster_id, kind, updated_at, id);

CREATE TABLE labels (
    resource_id BIGINT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    label TEXT /* bytewise */ NOT NULL,
    cluster_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (resource_id, label)
);
CREATE INDEX labels_by_label ON labels (cluster_id, kind, label, resource_id);

-- Names that decide about traffic: host and prefix of applications, server names of certificates.
CREATE TABLE served_names (
    resource_id BIGINT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    cluster_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (resource_id, name)
);
CREATE INDEX served_names_by_name ON served_names (cluster_id, kind, name, resource_id);

-- Which resource needs which: an application its client certificates.
CREATE TABLE resource_refs (
    source_id BIGINT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    target_id BIGINT NOT NULL REFERENCES resources (id),
    PRIMARY KEY (source_id, target_id)
);
CREATE INDEX resource_refs_by_target ON resource_refs (target_id, source_id);

-- What identifies a consumer, as a keyed hash.
CREATE TABLE credentials (
    consumer_id BIGINT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    cluster_id BIGINT NOT NULL,
    plugin TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (consumer_id, plugin),
    CONSTRAINT credentials_hash UNIQUE (cluster_id, plugin, hash)
);

CREATE TABLE gateway_certificates (
    serial TEXT NOT NULL PRIMARY KEY,
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    not_after BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX gateway_certificates_cluster ON gateway_certificates (cluster_id, created_at, serial);

CREATE TABLE gateway_tokens (
    name TEXT NOT NULL PRIMARY KEY,
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    secret_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX gateway_tokens_cluster ON gateway_tokens (cluster_id, created_at);

CREATE TABLE instances (
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    report TEXT NOT NULL,
    api_calls BIGINT NOT NULL,
    register_time BIGINT NOT NULL,
    last_seen_time BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, id)
);
CREATE INDEX instances_by_time ON instances (last_seen_time);

CREATE TABLE revisions (
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (cluster_id, revision)
);

CREATE TABLE revision_changes (
    cluster_id BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    key TEXT /* bytewise */ NOT NULL,
    value_sealed TEXT,
    create_revision BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, revision, seq),
    FOREIGN KEY (cluster_id, revision) REFERENCES revisions (cluster_id, revision) ON DELETE CASCADE
);
CREATE INDEX revision_changes_by_key ON revision_changes (cluster_id, key, revision);

CREATE TABLE config_keys (
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    key TEXT /* bytewise */ NOT NULL,
    value_sealed TEXT NOT NULL,
    create_revision BIGINT NOT NULL,
    mod_revision BIGINT NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, key)
);

CREATE TABLE audit (
    id BIGINT NOT NULL PRIMARY KEY,
    org_id BIGINT,
    cluster_id BIGINT,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    operation TEXT NOT NULL,
    request_id TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    revision BIGINT,
    before_sealed TEXT,
    after_sealed TEXT
);
CREATE INDEX audit_by_cluster ON audit (cluster_id, id);
CREATE INDEX audit_by_org ON audit (org_id, id);
