-- From where the last report of a gateway came, as we see it: what it believes of its own address may
-- be another, and connections from here are its own.
ALTER TABLE instances ADD COLUMN address TEXT NOT NULL DEFAULT '';
