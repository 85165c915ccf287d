-- Where applications and APIs that were imported from an OpenAPI document came from, and what the
-- document said about them the last time. Both go with what they describe.
CREATE TABLE openapi_imports (
    app_id BIGINT NOT NULL PRIMARY KEY REFERENCES resources (id) ON DELETE CASCADE,
    cluster_id BIGINT NOT NULL,
    title TEXT /* bytewise */ NOT NULL,
    document_sealed TEXT NOT NULL,
    CONSTRAINT openapi_imports_title UNIQUE (cluster_id, title)
);

CREATE TABLE openapi_operations (
    api_id BIGINT NOT NULL PRIMARY KEY REFERENCES resources (id) ON DELETE CASCADE,
    app_id BIGINT NOT NULL,
    operation TEXT NOT NULL,
    document_sealed TEXT NOT NULL
);
CREATE INDEX openapi_operations_by_application ON openapi_operations (app_id, api_id);
