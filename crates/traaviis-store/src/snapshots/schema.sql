-- States of open instances. Made from the log, so a change here needs no migration: raise SCHEMA in
-- snapshots.rs and the next start makes them again.

-- `first` and `last` are the positions that are covered, NULL until a state of every open instance
-- is there. `count` and `sum` belong to the rows of `heads`: how many there are, and the sum of their
-- checksums.
CREATE TABLE progress (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    first INTEGER,
    last INTEGER,
    count INTEGER NOT NULL,
    sum INTEGER NOT NULL
);
INSERT INTO progress VALUES (1, NULL, NULL, 0, 0);

-- A start reads all of these and no state. `head` is JSON; of an ended instance, what is remembered
-- of it. `written` is the position with which the row was put.
CREATE TABLE heads (
    tenant BLOB NOT NULL,
    id BLOB NOT NULL,
    ended INTEGER NOT NULL,
    written INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    head BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) WITHOUT ROWID;

CREATE INDEX ended_heads ON heads (written) WHERE ended = 1;

-- A table with row ids: states are large, and the tree of keys stays small.
CREATE TABLE states (
    tenant BLOB NOT NULL,
    id BLOB NOT NULL,
    crc INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
);
