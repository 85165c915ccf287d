-- Canary releases are resources whose `sort_number` is their state: 0 paused, 1 in progress,
-- 2 finished. An application has at most one in progress.
CREATE UNIQUE INDEX resources_in_progress ON resources (cluster_id, parent_id)
    WHERE kind = 'canary_release' AND sort_number = 1;
