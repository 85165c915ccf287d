-- What was decided about plugins in a cluster; without a row a plugin is as gateways start with it.
-- `loaded` is 1 or 0, or null if the plugin was neither loaded nor unloaded.

CREATE TABLE loaded_plugins (
    cluster_id BIGINT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    management_id TEXT NOT NULL,
    category TEXT NOT NULL,
    loaded BIGINT,
    metadata_sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, name),
    CONSTRAINT loaded_plugins_management_id UNIQUE (cluster_id, management_id)
);

-- Which resource needs which plugin on the gateway.
CREATE TABLE plugin_uses (
    resource_id BIGINT NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    plugin TEXT NOT NULL,
    cluster_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    PRIMARY KEY (resource_id, plugin)
);
CREATE INDEX plugin_uses_by_plugin ON plugin_uses (cluster_id, plugin, kind, resource_id);
