-- Which resource names which label of consumers: when that label's consumers change, the resource is
-- translated anew. `resource_refs` says the same of resources.
CREATE TABLE label_refs (
    source_id BIGINT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    label TEXT /* bytewise */ NOT NULL,
    cluster_id BIGINT NOT NULL,
    PRIMARY KEY (source_id, label)
);
CREATE INDEX label_refs_by_label ON label_refs (cluster_id, label, source_id);
