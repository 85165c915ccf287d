-- Lists and searches among 100,000 resources of one kind.
--
-- What a list looks at must not lie between sealed specifications: they move out. Labels are also
-- kept as one text, `\na\nb\n`, so that filters find them where they find names.
-- `/* sqlite: … */` is part of the statement on SQLite only (see migrate.rs): there an index that
-- holds all that filters look at is read instead of the table. PostgreSQL limits the size of index
-- entries; its rows are narrow enough now, and it searches by trigrams.

CREATE TABLE resource_specs (
    resource_id BIGINT NOT NULL PRIMARY KEY REFERENCES resources (id) ON DELETE CASCADE,
    spec_sealed TEXT NOT NULL
);
INSERT INTO resource_specs (resource_id, spec_sealed) SELECT id, spec_sealed FROM resources;
ALTER TABLE resources DROP COLUMN spec_sealed;

ALTER TABLE resources ADD COLUMN label_text TEXT NOT NULL DEFAULT '';
UPDATE resources SET label_text = (
    SELECT '
' || string_agg(l.label, '
') || '
' FROM labels l WHERE l.resource_id = resources.id)
WHERE EXISTS (SELECT 1 FROM labels l WHERE l.resource_id = resources.id);

DROP INDEX resources_by_update;
DROP INDEX resources_by_creation;
DROP INDEX resources_by_text;
DROP INDEX resources_by_number;
DROP INDEX resources_by_cluster;
CREATE INDEX resources_by_cluster ON resources (cluster_id, kind, id);
CREATE INDEX resources_by_update ON resources
    (kind, parent_id, updated_at, id /* sqlite: , active, label_text, search_text */);
CREATE INDEX resources_by_creation ON resources
    (kind, parent_id, created_at, id /* sqlite: , active, label_text, search_text */);
CREATE INDEX resources_by_name ON resources
    (kind, parent_id, name, id /* sqlite: , active, label_text, search_text */);
CREATE INDEX applications_by_prefix ON resources
    (parent_id, sort_text, id /* sqlite: , active, label_text, search_text */)
    WHERE kind = 'application';
CREATE INDEX certificates_by_end ON resources
    (parent_id, sort_number, id /* sqlite: , active, label_text, search_text */)
    WHERE kind = 'certificate';
-- Only APIs are also listed beyond their parent.
CREATE INDEX apis_by_update ON resources
    (cluster_id, updated_at, id /* sqlite: , active, label_text, search_text */) WHERE kind = 'api';
CREATE INDEX apis_by_creation ON resources
    (cluster_id, created_at, id /* sqlite: , active, label_text, search_text */) WHERE kind = 'api';
CREATE INDEX apis_by_name ON resources
    (cluster_id, name, id /* sqlite: , active, label_text, search_text */) WHERE kind = 'api';

-- How many resources of a kind there are below an application or in a cluster, its owners.
CREATE TABLE resource_counts (
    owner_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    resources BIGINT NOT NULL,
    PRIMARY KEY (owner_id, kind)
);
CREATE INDEX resource_counts_by_cluster ON resource_counts (cluster_id);
INSERT INTO resource_counts (owner_id, kind, cluster_id, resources)
    SELECT parent_id, kind, cluster_id, COUNT(*) FROM resources GROUP BY parent_id, kind, cluster_id;
INSERT INTO resource_counts (owner_id, kind, cluster_id, resources)
    SELECT cluster_id, kind, cluster_id, COUNT(*) FROM resources WHERE kind = 'api'
    GROUP BY cluster_id, kind;
