-- The index of a data directory. Made from the log, so a change here needs no migration: raise
-- SCHEMA in index.rs and the next start makes it again.

-- Every record before `position` of the log is reflected in the rows.
CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    position INTEGER NOT NULL
);
INSERT INTO progress VALUES (1, 0);

-- Ids are 16 bytes in the order of creation, where a child is as old as its parent. Times are
-- microseconds.
CREATE TABLE instances (
    tenant BLOB NOT NULL,
    id BLOB NOT NULL,
    workflow TEXT NOT NULL COLLATE NOCASE,
    version TEXT NOT NULL,
    status TEXT NOT NULL,
    state TEXT NOT NULL,
    correlation TEXT,
    asks INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER,
    due INTEGER,
    first INTEGER,
    last INTEGER NOT NULL,
    parent BLOB,
    created_by TEXT,
    -- A JSON list; none when there are none.
    tags TEXT,
    -- None of one that belongs to itself.
    correlation_id TEXT,
    waits INTEGER NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

-- Lists go by id, which never changes, and not by time of change: a page then stays a page while
-- instances move, and a step moves no entry of these two.
CREATE INDEX by_status ON instances (tenant, status, id);
CREATE INDEX by_workflow ON instances (tenant, workflow, status, id);
CREATE INDEX by_correlation ON instances (tenant, correlation, id) WHERE correlation IS NOT NULL;
CREATE INDEX by_correlation_id ON instances (tenant, correlation_id, id)
    WHERE correlation_id IS NOT NULL;
CREATE INDEX by_asks ON instances (tenant, id) WHERE asks = 1;
CREATE INDEX by_due ON instances (tenant, due) WHERE due IS NOT NULL;

-- One entry for each tag of each instance.
CREATE TABLE tags (
    tenant BLOB NOT NULL,
    tag TEXT NOT NULL,
    id BLOB NOT NULL,
    PRIMARY KEY (tenant, tag, id)
) WITHOUT ROWID;

-- Whole states, apart so that lists stay small. One of an earlier record than the row's is not
-- true any more and counts for nothing.
CREATE TABLE snapshots (
    tenant BLOB NOT NULL,
    id BLOB NOT NULL,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
);
