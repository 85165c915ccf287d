-- How people prove who they are: by a password, with an address that was verified, or through an
-- identity provider, which knows them as `subject`. Sessions are renewed under new ids.

ALTER TABLE users ADD COLUMN subject TEXT;
ALTER TABLE users ADD COLUMN verified_at BIGINT;
-- JSON; NULL before the tour has begun.
ALTER TABLE users ADD COLUMN product_tour TEXT;
CREATE UNIQUE INDEX users_subject ON users (connection, subject);
-- Accounts so far were made by the operator.
UPDATE users SET verified_at = created_at;
-- Who is invited, wherever, may come through an identity provider.
CREATE INDEX members_by_email ON members (email);
CREATE INDEX organizations_owner ON organizations (owner_id);

-- Links that were mailed to prove an address, as keyed hashes of their tokens.
CREATE TABLE email_verifications (
    token_hash TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    expires_at BIGINT NOT NULL
);
CREATE INDEX email_verifications_user ON email_verifications (user_id);
CREATE INDEX email_verifications_expiry ON email_verifications (expires_at);

-- The sessions that follow from one sign-in share its id and the time of it.
ALTER TABLE sessions ADD COLUMN sign_in_id BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN signed_in_at BIGINT NOT NULL DEFAULT 0;
-- When another session took the place of this one, which then ends soon.
ALTER TABLE sessions ADD COLUMN renewed_at BIGINT;
UPDATE sessions SET sign_in_id = id, signed_in_at = created_at;
CREATE INDEX sessions_sign_in ON sessions (sign_in_id);
