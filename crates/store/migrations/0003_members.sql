-- Members can be invited: they have an address before they have an account. Their roles become rows,
-- and applications get administrators.

CREATE TABLE invited_members (
    id BIGINT NOT NULL PRIMARY KEY,
    org_id BIGINT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    -- NULL while the invitation is pending.
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    -- In lower case.
    email TEXT NOT NULL,
    -- The first of the roles, for sorting.
    role TEXT NOT NULL,
    -- Keyed hash of the token in the invitation, and when it ends; NULL once it is used.
    token_hash TEXT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT members_account UNIQUE (org_id, user_id),
    CONSTRAINT members_email UNIQUE (org_id, email)
);
INSERT INTO invited_members (id, org_id, user_id, email, role, created_at, updated_at)
    SELECT m.id, m.org_id, m.user_id, u.email, m.role, m.created_at, m.updated_at
    FROM members m JOIN users u ON u.id = m.user_id;
DROP TABLE members;
ALTER TABLE invited_members RENAME TO members;
CREATE INDEX members_of_user ON members (user_id, org_id);
CREATE INDEX members_by_update ON members (org_id, updated_at, id);
CREATE INDEX members_by_creation ON members (org_id, created_at, id);
CREATE INDEX members_by_role ON members (org_id, role, id);

CREATE TABLE role_bindings (
    member_id BIGINT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    -- That of the member.
    org_id BIGINT NOT NULL,
    role TEXT NOT NULL,
    -- NULL for roles of the whole organization.
    cluster_id BIGINT REFERENCES clusters (id) ON DELETE CASCADE
);
CREATE INDEX role_bindings_by_member ON role_bindings (member_id, role);
CREATE INDEX role_bindings_by_role ON role_bindings (org_id, role, member_id);
CREATE INDEX role_bindings_by_cluster ON role_bindings (cluster_id);
-- No organization has two owners, whatever happens at once.
CREATE UNIQUE INDEX role_bindings_owner ON role_bindings (org_id) WHERE role = 'owner';
INSERT INTO role_bindings (member_id, org_id, role, cluster_id)
    SELECT id, org_id, role, NULL FROM members;

CREATE TABLE service_admins (
    app_id BIGINT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    member_id BIGINT NOT NULL REFERENCES members (id) ON DELETE CASCADE,
    -- That of the application.
    cluster_id BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (app_id, member_id)
);
CREATE INDEX service_admins_by_member ON service_admins (member_id, cluster_id, app_id);
